// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "controlplane/control.h"

int main(int argc, char **argv)
{
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
	control_help(argc >= 2 && strcmp(argv[1], "--help") == 0 ? stdout
								 : stderr);
	return argc >= 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
