/* SPDX-License-Identifier: Apache-2.0 */
/* The program that makes seeds, of the build a test belongs to. */
#ifndef SELFTESTS_AGENT_VM_UNPACKER_H
#define SELFTESTS_AGENT_VM_UNPACKER_H

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* build/bin/arktos-unpack, from build/selftests/agent/vm/test_command. */
static inline const char *unpacker_path(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	for (int up = 0; n > 0 && up < 4; up++) {
		path[n] = '\0';
		n = strrchr(path, '/') - path;
	}
	snprintf(path + n, 32, "/bin/arktos-unpack");
	return path;
}

#endif /* SELFTESTS_AGENT_VM_UNPACKER_H */
