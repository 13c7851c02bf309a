/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a request's turn is counted: writes on their way to the disk,
 * lists on their way to a client. Each takes seats, by what it costs; a tenant
 * has so many, and all tenants together. Who finds none waits, in the line of
 * its user; free seats go to the tenants in turn, and in a tenant to its users
 * in turn. A line that is too long, or stands still, is told 429.
 *
 * system:masters and nodes take no seats: their work must go on while a tenant
 * floods, and is bounded by other means. Gets and watches that have begun take
 * none either: they cost turns (turns.c), and memory that is bounded.
 */
#ifndef CONTROLPLANE_APISERVER_FLOW_H
#define CONTROLPLANE_APISERVER_FLOW_H

#include <stdbool.h>
#include <stddef.h>

struct api;
struct api_limits;
struct buf;
struct conn;
struct loop;
struct req;
struct seats;
struct user;

int flow_open(struct api *api, const struct api_limits *limits);
void flow_close(struct api *api);

/* True: go on. False: @go is called later, on the request's loop, or it has
 * been refused. */
bool flow_enter(struct req *r, void (*go)(struct req *r));
/* It turned out to be @nr objects. */
void flow_grow(struct req *r, size_t nr);
/* Its seats are free again; it may never have had any. Also of one that waits:
 * it will not be called. */
void flow_leave(struct seats **slot);
/* On the loop: those of its requests that have got seats go on. */
void flow_granted(struct loop *l);

/* Whose connection it is from now on; NULL: nobody's any more. False: the
 * tenant has too many, and what comes over this one is to be refused. */
bool flow_conn(struct conn *c, const struct user *u);
/* One more watch of the tenant's; false after it was refused. */
bool flow_watch(struct req *r);
void flow_watch_end(struct req *r); /* fine when there is none */

void flow_metrics(struct api *api, struct buf *b);

#endif /* CONTROLPLANE_APISERVER_FLOW_H */
