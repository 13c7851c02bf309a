/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work for a request that takes long or blocks: done on a thread of its own, so
 * that no loop waits for it. A few at once; those who wait are served tenant by
 * tenant. There are no threads while there is no work.
 */
#ifndef CONTROLPLANE_APISERVER_ASIDE_H
#define CONTROLPLANE_APISERVER_ASIDE_H

#include "controlplane/apiserver/internal.h"

enum aside_kind {
	ASIDE_READ,   /* long walks: memory only */
	ASIDE_HEAVY,  /* large requests as a whole, see away.c */
	ASIDE_DELETE, /* waits for the disk */
	ASIDE_HOOK,   /* waits for somebody's webhook */
	NR_ASIDE_KINDS,
};

struct aside {
	struct req *req; /* on the loop only; NULL: the client has gone */
	struct api *api;
	struct loop *loop;
	enum aside_kind kind;
	const char *tenant;            /* in whose line; NULL: the user's */
	struct aside *next;            /* of its line, or the loop's list */
	void (*work)(struct aside *a); /* on the thread: must not look at req */
	void (*done)(struct aside *a); /* on the loop, while there is a req */
	void (*free)(struct aside *a);
	void *data;
	int result;
	struct err err;
};

/* Takes @a (from malloc()); replies when that is not possible. */
void aside_run(struct aside *a);
/* The same, and on failure nothing has happened. */
int aside_try(struct aside *a);
/* The work has been done elsewhere: back to the loop. From any thread. */
void aside_post(struct aside *a);
void aside_orphan(struct req *r); /* NULL work is fine */
void aside_done(struct aside *a); /* on the loop */
/* Until none is under way. */
void aside_wait(struct api *api);

int asides_open(struct api *api);
void asides_close(struct api *api);

#endif /* CONTROLPLANE_APISERVER_ASIDE_H */
