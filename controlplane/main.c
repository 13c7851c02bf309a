// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/control.h"

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	if (wants_help(argc, argv)) {
		control_help(stdout);
		return 0;
	}
	if (argc >= 2 && strcmp(argv[1], "run") == 0)
		return control_run(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "backup") == 0)
		return control_backup(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "restore") == 0)
		return control_restore(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "rotate-key") == 0)
		return control_rotate_key(argc - 1, argv + 1);
	if (argc >= 2 && strcmp(argv[1], "reencrypt") == 0)
		return control_reencrypt(argc - 1, argv + 1);
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("arktos-control %s\n", ARKTOS_VERSION);
		return 0;
	}
	control_help(stderr);
	return 2;
}
