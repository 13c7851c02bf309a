/* SPDX-License-Identifier: Apache-2.0 */
/* Files the agent writes for a pod: /etc/hosts and its kin, termination logs.
 */
#ifndef AGENT_POD_FILES_H
#define AGENT_POD_FILES_H

#include <stddef.h>

struct ctr;
struct err;
struct pod;

#define POD_HOST_NAME_MAX 64 /* the kernel's */
/* What the pod calls itself: its hostname, that with its domain if it is to be
 * the name, or the host's own on the host's network. -EINVAL: too long. */
int pod_host_name(const struct pod *pod, char ret[POD_HOST_NAME_MAX + 1],
		  struct err *e);

/* Write <state>/etc/{hosts,hostname,resolv.conf} unless they are there. */
int pod_files_write(const struct pod *pod, struct err *e);

/* Make an empty file for this attempt's termination message, and tell where. */
int pod_files_termination_log(const struct pod *pod, const struct ctr *c,
			      char *path, size_t size, struct err *e);

/* The message a container has left, at most @size - 1 bytes; else, if asked for
 * and it failed, the end of its log. "" when there is none. */
void pod_files_termination_message(const struct pod *pod, const struct ctr *c,
				   char *ret, size_t size);

#endif /* AGENT_POD_FILES_H */
