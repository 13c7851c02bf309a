/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which steps lead from what an endpoint is to what it should be. Pure. Every
 * step is idempotent, and they are ordered so that stopping between any two
 * leaves nothing open: a link has its program before it comes up, and is found
 * by others only when all of it is there; on the way back what leads to a link
 * goes last, so that nothing is left that cannot be found again.
 */
#ifndef AGENT_NETWORK_PLAN_H
#define AGENT_NETWORK_PLAN_H

#include <stdbool.h>
#include <stddef.h>

enum endpoint_step {
	STEP_FORGET_LINK, /* whose link it was: it can send no more */
	STEP_LINK_REMOVE, /* the host's side, and with it the pod's */
	STEP_HIDE,        /* others no longer find the address */
	STEP_NS_REMOVE,   /* the namespace's pin */
	STEP_NS_CREATE,
	STEP_LINK_CREATE,
	STEP_LINK_KNOWN, /* whose link it is, and its counters */
	STEP_PROGRAM,    /* on the host's side */
	STEP_LINK_UP,
	/* Sysctls, addresses, routes, up. After the host's side is: a link that
	 * comes up before its peer sends nothing until the kernel's link watch
	 * has run, some time later. */
	STEP_NS_CONFIGURE,
	STEP_SHOW, /* others find the address */
	STEP_NR
};

/* "link-create"; for messages and for tests. */
const char *endpoint_step_name(enum endpoint_step step);

struct endpoint_want {
	bool present;
	bool has_ns; /* a container */
};

/* What is there. The later ones count only when the earlier ones hold. */
struct endpoint_have {
	bool ns_pin;     /* something is at the path */
	bool ns;         /* and it is a namespace */
	bool link;       /* something has the host side's name */
	bool link_right; /* of the right kind and MTU, its peer in our ns */
	bool configured; /* the pod's side is up, which comes last there */
	bool known_any;  /* the datapath has an entry for its ifindex */
	bool known;      /* and it is right */
	bool known_old;  /* entries of an earlier ifindex are left */
	bool program;    /* this build's */
	bool up;
	bool shown; /* under its present ifindex */
	bool shown_any;
};

/* Write the steps in order; return how many (0: nothing to do). */
size_t endpoint_plan(const struct endpoint_want *want,
		     const struct endpoint_have *have,
		     enum endpoint_step ret_steps[STEP_NR]);

#endif /* AGENT_NETWORK_PLAN_H */
