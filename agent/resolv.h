/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's /etc/resolv.conf. Pure. */
#ifndef AGENT_RESOLV_H
#define AGENT_RESOLV_H

#include "agent/spec.h"

struct buf;

/**
 * resolv_conf() - What a pod asks for names.
 * @dns:  Its dnsPolicy and dnsConfig.
 * @host: The host's own resolv.conf.
 * @out:  Appended to.
 *
 * The host's, word for word, unless the pod wants something else: then what it
 * adds comes after the host's, as in Kubernetes (at most three nameservers;
 * an option of its own replaces the host's of that name).
 *
 * Return: 0 or -ENOMEM.
 */
int resolv_conf(const struct dns_spec *dns, const char *host, struct buf *out);

#endif /* AGENT_RESOLV_H */
