// SPDX-License-Identifier: Apache-2.0
/* arktos-unpack: what touches archives and foreign disks. Started by the agent
 * only; its words are an interface between the two, not for people. */
#include <stdio.h>
#include <string.h>

#include "agent/image/unpack/verbs.h"

int main(int argc, char **argv)
{
	if (argc == 9 && strcmp(argv[1], "layer") == 0)
		return verb_layer(argv + 2);
	if (argc > 2 && strcmp(argv[1], "exec") == 0)
		return verb_exec(argv + 2);
	if (argc > 2 && strcmp(argv[1], "tether") == 0)
		return verb_tether(argv + 2);
	if (argc > 2 && strcmp(argv[1], "iso") == 0)
		return verb_iso(argv + 2);
	fputs("arktos-unpack is started by arktos-node\n", stderr);
	return 2;
}
