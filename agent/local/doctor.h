/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can this host run pods? Every requirement is tried out, not looked up: a BPF
 * program is loaded, a veth is made (in a network namespace of its own), a
 * guest instruction is run. Nothing is left behind.
 */
#ifndef AGENT_LOCAL_DOCTOR_H
#define AGENT_LOCAL_DOCTOR_H

#include "lib/checks.h"

struct doctor {
	const char *state_dir;
	const char *qemu; /* NULL: qemu-system-x86_64 */
	struct checks found;
};

#define DOCTOR_INIT                             \
	{                                       \
		.found = {.failed = "missing" } \
	}

/* Run all checks: takes about a second. The caller clears what was found. */
void doctor_run(struct doctor *d);

/* Parts of it, of doctor_*.c. */
void doctor_kernel(struct doctor *d);
void doctor_network(struct doctor *d);

#endif /* AGENT_LOCAL_DOCTOR_H */
