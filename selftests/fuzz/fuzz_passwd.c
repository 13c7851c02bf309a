// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/supervisor/user.c lib/str.c lib/err.c lib/buf.c
/* /etc/passwd and /etc/group of an image, read by the supervisor's child while
 * it still is root. */
#include <stdlib.h>
#include <string.h>

#include "agent/supervisor/child.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct ids ids = { .nr_groups = 0 };
	char name[64];
	gid_t gid;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	(void)user_find(text, "app", 0, &ids, name, sizeof(name));
	(void)user_find(text, NULL, 1000, &ids, name, sizeof(name));
	(void)group_find(text, "app", &gid);
	group_members(text, "app", &ids);
	if (ids.nr_groups > sizeof(ids.groups) / sizeof(ids.groups[0]))
		abort();
	free(text);
	return 0;
}
