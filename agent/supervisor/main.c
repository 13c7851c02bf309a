// SPDX-License-Identifier: Apache-2.0
/* arktos-pod: the supervisor of one pod. Started by arktos-node only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "agent/supervisor/sup.h"

/* To the agent if it listens, else to whoever has started us. */
static int fail(const struct opts *o, const struct err *e, int status)
{
	struct child_report rep = { .type = CHILD_FAILED, .code = e->code };

	snprintf(rep.message, sizeof(rep.message), "%s", e->msg);
	if (o->ready_fd < 3 ||
	    send(o->ready_fd, &rep, sizeof(rep), MSG_NOSIGNAL) < 0)
		dprintf(STDERR_FILENO, "arktos-pod: %s\n", e->msg);
	return status;
}

int main(int argc, char **argv)
{
	struct sup sup = { .epoll = -1, .state_fd = -1 };
	struct opts opts;
	struct err e = { 0 };

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		dprintf(STDOUT_FILENO, "arktos-pod " ARKTOS_VERSION "\n");
		return EXIT_SUCCESS;
	}
	if (opts_parse(&opts, argc, argv, &e) < 0)
		return fail(&opts, &e, EX_USAGE);
	if (boot_seal(argv, &e) < 0 || boot(&sup, &opts, &e) < 0)
		return fail(&opts, &e, EXIT_FAILURE);
	/* PID 1 of the pod: whatever ends here ends all of it. */
	return server_run(&sup, &e) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
