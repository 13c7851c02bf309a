/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections by the address they come from: so many at once, and so many of
 * those that have not said who they are. What is beyond is closed before its
 * handshake, which would cost more than all the rest. An address is one of
 * IPv4, or the first 64 bits of one of IPv6, which is what a single host has.
 * From the loopback, where many share one address, it is ten times as many.
 */
#ifndef CONTROLPLANE_APISERVER_ORIGIN_H
#define CONTROLPLANE_APISERVER_ORIGIN_H

#include <stdbool.h>
#include <sys/socket.h>

struct api;
struct api_limits;
struct buf;
struct origin;

#define ORIGIN_LOOPBACK_TIMES 10

int origins_open(struct api *api, const struct api_limits *limits);
void origins_close(struct api *api);

/* One more connection from @from. NULL: too many, or out of memory. From any
 * thread, like all of these. */
struct origin *origin_enter(struct api *api,
			    const struct sockaddr_storage *from);
/* Which one; borrowed. */
const char *origin_name(const struct origin *o);
/* It has said who it is. */
void origin_known(struct api *api, struct origin *o);
/* It is closed; @known: origin_known() was called for it. */
void origin_leave(struct api *api, struct origin *o, bool known);

void origin_metrics(struct api *api, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_ORIGIN_H */
