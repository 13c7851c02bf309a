/* SPDX-License-Identifier: Apache-2.0 */
/* A command in a guest, with any amount of standard input. */
#ifndef AGENT_VM_STDIN_H
#define AGENT_VM_STDIN_H

#include <stdatomic.h>

#include "agent/pod.h"
#include "qmp/qga.h"

struct err;

/**
 * vm_run() - Run @argv in the pod's guest to its end.
 * @in_fd:      Its standard input, read to its end before; -1: none.
 * @timeout_ms: Of the command itself, and of every step before.
 * @cancel:     Becomes true when nobody waits any more: -ECANCELED.
 * @ret:        qga_exec_result_clear() it.
 *
 * The guest's agent takes the input with the command. What is more than 1 MiB
 * goes into a file of the guest first, piece by piece, which is gone when the
 * command starts; so no more than that is held here at a time. It takes a
 * shell, cat and mktemp in the guest, and room in its /tmp.
 */
int vm_run(struct pod *pod, int in_fd, const char *const *argv, int timeout_ms,
	   const atomic_bool *cancel, struct qga_exec_result *ret,
	   struct err *e);

#endif /* AGENT_VM_STDIN_H */
