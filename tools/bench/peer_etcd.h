/* SPDX-License-Identifier: Apache-2.0 */
/* A real etcd, one member below a folder, and what it does there in a second:
 * through our gRPC client on one HTTP/2 connection. */
#ifndef TOOLS_BENCH_PEER_ETCD_H
#define TOOLS_BENCH_PEER_ETCD_H

#define PEER_CONNS 64
#define PEER_NODES 512 /* that renew their leases at once */
#define PEER_BYTES 1200

struct peer_figures {
	double put, get; /* a second, PEER_CONNS at a time */
	double range;    /* GB/s */
	double lease;    /* updates a second, PEER_NODES at a time */
	double watch;    /* their events, to one watcher */
	/* What else is to be measured on it, before the rest; may be NULL. */
	int (*also)(const char *dir, const char *url);
};

/* Prints what it measures, too. Returns 0 or 1. */
int peer_etcd(const char *dir, struct peer_figures *ret);

#endif /* TOOLS_BENCH_PEER_ETCD_H */
