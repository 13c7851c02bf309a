/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for a request that blocks (on the disk): done on a thread of its own, so
 * that no loop waits for it.
 */
#ifndef CONTROLPLANE_APISERVER_ASIDE_H
#define CONTROLPLANE_APISERVER_ASIDE_H

#include "controlplane/apiserver/internal.h"

#define ASIDE_MAX 2 /* at once */

struct aside {
	struct req *req; /* on the loop only; NULL: the client has gone */
	struct api *api;
	struct loop *loop;
	struct aside *next;            /* of the loop's list */
	void (*work)(struct aside *a); /* on the thread: must not look at req */
	void (*done)(struct aside *a); /* on the loop, while there is a req */
	void (*free)(struct aside *a);
	void *data;
	int result;
	struct err err;
};

/* Takes @a (from malloc()); replies with 429 when there are too many. */
void aside_run(struct aside *a);
void aside_orphan(struct req *r); /* NULL work is fine */
void aside_done(struct aside *a); /* on the loop */
/* Until none is under way. */
void aside_wait(struct api *api);

#endif /* CONTROLPLANE_APISERVER_ASIDE_H */
