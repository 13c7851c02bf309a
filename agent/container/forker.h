/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's end of the program that supervisors are copies of
 * (agent/supervisor/forker.c). */
#ifndef AGENT_CONTAINER_FORKER_H
#define AGENT_CONTAINER_FORKER_H

#include <stddef.h>

struct err;

/**
 * forker_order() - Ask for a supervisor.
 * @binary: arktos-pod.
 * @pods:   The folder of all pods' run directories. What is mounted below it no
 *          supervisor is given along with the host's mounts: it is other pods',
 *          and would live as long as the last one that was started after it.
 * @words:  Its command line, each word with its NUL; @len bytes in all, at most
 *          PROTO_FORK_MAX.
 * @fds:    What it finds as 3 and up; borrowed, at most PROTO_FORK_FDS.
 *
 * One forker serves all of the process. It is started when it is first needed,
 * in the namespaces and cgroups of the calling thread, when it has died, and
 * when another @binary or @pods is asked for. Any thread, at any time.
 *
 * Return: 0 (what comes of it is told on the descriptor that the words name),
 * or -errno with the reason in @e.
 */
int forker_order(const char *binary, const char *pods, const char *words,
		 size_t len, const int *fds, size_t nr_fds, struct err *e);

#endif /* AGENT_CONTAINER_FORKER_H */
