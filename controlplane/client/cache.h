/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The informer's cache: objects by key and by index, and what an event or a
 * page of a list makes of them. No network here. One writer; readers lock.
 */
#ifndef CONTROLPLANE_CLIENT_CACHE_H
#define CONTROLPLANE_CLIENT_CACHE_H

#include <pthread.h>

#include "controlplane/client/informer.h"
#include "lib/map.h"

struct err;

struct cache {
	pthread_rwlock_t lock;
	struct map objects;                    /* key: struct informer_object */
	struct map index[INFORMER_NR_INDEXES]; /* value: struct cache_set */
	struct informer_opts opts;             /* strings borrowed */
	size_t bytes;
	uint32_t round; /* of the present list */
	/* Told after the change, with no lock held. */
	void (*changed)(void *arg, const struct informer_event *ev);
	void *arg;
	bool initial;
};

void cache_init(struct cache *c, const struct informer_opts *opts);
void cache_clear(struct cache *c);

/* An object was listed. @text may be NULL: written from @obj. */
int cache_put(struct cache *c, yyjson_val *obj, const char *text, size_t len,
	      struct err *e);
int cache_remove(struct cache *c, yyjson_val *obj, struct err *e);

/* A list begins; what it did not mention at its end is gone. */
void cache_begin(struct cache *c);
int cache_end(struct cache *c);

enum cache_verdict { CACHE_OK, CACHE_EXPIRED, CACHE_FAILED };

/* One line of a watch. @ret_revision: set when the line tells one. -EBADMSG:
 * not such a line; else enum cache_verdict. */
int cache_line(struct cache *c, const char *line, size_t len,
	       uint64_t *ret_revision, struct err *e);

struct cache_page {
	uint64_t revision;
	char *more; /* the continue token, owned; NULL at the end */
};

/* One page of a list. */
int cache_page(struct cache *c, const char *text, size_t len,
	       struct cache_page *ret, struct err *e);

/* Of one value of an index. Locked by the caller. */
int cache_list(struct cache *c, enum informer_index by, const char *value,
	       struct informer_list *ret);
size_t cache_count(struct cache *c, enum informer_index by, const char *value);

#endif /* CONTROLPLANE_CLIENT_CACHE_H */
