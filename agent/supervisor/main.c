// SPDX-License-Identifier: Apache-2.0
/* arktos-pod: the supervisor of one pod, and what makes supervisors for the
 * agent. Started by arktos-node only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "agent/supervisor/sup.h"
#include "lib/str.h"

int main(int argc, char **argv)
{
	struct sup sup = { .epoll = -1, .state_fd = -1 };
	struct child_report rep = { .type = CHILD_FAILED };
	struct opts opts = { .ready_fd = -1 };
	struct err e = { 0 };
	int r;

	if (argc == 2 && str_eq(argv[1], "--version")) {
		dprintf(STDOUT_FILENO, "arktos-pod " ARKTOS_VERSION "\n");
		return EXIT_SUCCESS;
	}
	if (argc != 4 || !str_eq(argv[1], "--forker=3")) {
		dprintf(STDERR_FILENO,
			"arktos-pod: started by arktos-node only\n");
		return EX_USAGE;
	}
	r = boot_seal(argv, &e);
	r = r < 0 ? r : forker_run(3, argv[2], &argv, &e);
	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	/* From here on a copy, that is to be a pod's. */
	r = opts_parse(&opts, r, argv, &e);
	r = r < 0 ? r : boot(&sup, &opts, &e);
	if (r < 0) {
		rep.code = e.code;
		snprintf(rep.message, sizeof(rep.message), "%s", e.msg);
		(void)!send(opts.ready_fd, &rep, sizeof(rep), MSG_NOSIGNAL);
		return EXIT_FAILURE;
	}
	/* PID 1 of the pod: whatever ends here ends all of it. */
	return server_run(&sup, &e) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
