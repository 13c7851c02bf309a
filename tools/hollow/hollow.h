/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated nodes: Node objects, leases that are renewed, and pods that "run"
 * as soon as they are bound. Everything it makes is labelled
 * arktos.futurewei.com/simulated=true; nothing is ever run.
 */
#ifndef TOOLS_HOLLOW_HOLLOW_H
#define TOOLS_HOLLOW_HOLLOW_H

#include <stdbool.h>
#include <stdio.h>

#include "lib/auto.h"

struct err;
struct hollow;

#define HOLLOW_LABEL   "arktos.futurewei.com/simulated"
/* Annotations of a pod: its containers end with this code, so long after. */
#define HOLLOW_EXIT    "arktos.futurewei.com/hollow-exit"
#define HOLLOW_RUN_MS  "arktos.futurewei.com/hollow-run-ms"
/* Its containers never become ready. */
#define HOLLOW_UNREADY "arktos.futurewei.com/hollow-unready"

struct hollow_opts {
	const char *kubeconfig;
	const char *prefix; /* of the nodes' names */
	unsigned nodes;
	unsigned lease_s;         /* how often leases are renewed; 0: 10 */
	const char *cpu, *memory; /* capacity of each */
	unsigned pods;
	unsigned workers;  /* requests at once */
	const char *zones; /* number of zones, labels topology zone; NULL: 1 */
};

int hollow_usage(FILE *to); /* the exit code */
bool hollow_parse(int argc, char **argv, struct hollow_opts *o);

/* Returns once all nodes are Ready. */
int hollow_start(const struct hollow_opts *opts, struct hollow **ret,
		 struct err *e);
/* The nodes stay, without anybody renewing their leases. */
void hollow_stop(struct hollow *h);
DEFINE_AUTO_PTR(hollow, hollow_stop)

#endif /* TOOLS_HOLLOW_HOLLOW_H */
