// SPDX-License-Identifier: Apache-2.0
// FUZZ: cgroups/host.c lib/str.c lib/err.c lib/buf.c
/* /proc/self/mountinfo, a NUL byte, /proc/self/cgroup. */
#include <stdlib.h>
#include <string.h>

#include "cgroups/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 2);
	struct cg_mounts m;
	const char *proc;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = text[size + 1] = '\0';
	proc = text + strlen(text) + (strlen(text) < size);
	if (cg_mounts_parse(text, &m) < 0) {
		free(text);
		return 0;
	}
	for (size_t i = 0; i < m.nr; i++) {
		char *path = NULL, *dir = NULL;

		if (cg_proc_path(proc, &m.v[i], &path) == 0 &&
		    cg_mount_path(&m.v[i], path, &dir) == 0 &&
		    strncmp(dir, m.v[i].point, strlen(m.v[i].point)) != 0)
			__builtin_trap();
		free(path);
		free(dir);
	}
	cg_mounts_clear(&m);
	free(text);
	return 0;
}
