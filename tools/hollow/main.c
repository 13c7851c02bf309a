// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"
#include "lib/log.h"
#include "tools/hollow/hollow.h"

int main(int argc, char **argv)
{
	struct hollow_opts o = { .prefix = "hollow-",
				 .nodes = 10,
				 .cpu = "8",
				 .memory = "32Gi",
				 .pods = 110,
				 .workers = 8 };
	struct hollow *h = NULL;
	struct err e = { 0 };
	sigset_t set;
	int sig;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return hollow_usage(stdout);
	if (!hollow_parse(argc, argv, &o))
		return hollow_usage(stderr);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (hollow_start(&o, &h, &e) < 0) {
		fprintf(stderr, "arktos-hollow: %s\n", e.msg);
		return 1;
	}
	log_info("%u simulated nodes are ready", o.nodes);
	while (sigwait(&set, &sig) != 0)
		;
	hollow_stop(h);
	return 0;
}
