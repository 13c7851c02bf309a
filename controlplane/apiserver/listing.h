/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of a list on their way out, a page of references at a time: the
 * store's lock is held for a page only, and a list of 150,000 objects needs no
 * memory of that length. All pages are of one snapshot, which is pinned for
 * LISTING_PIN_MS; a client that reads longer has what is left taken at once.
 * What an object looks like to who asks (a table's row, an event) is made when
 * the client takes it.
 */
#ifndef CONTROLPLANE_APISERVER_LISTING_H
#define CONTROLPLANE_APISERVER_LISTING_H

#include "controlplane/apiserver/internal.h"
#include "controlplane/store/pin.h"

#define LISTING_PAGE   512
#define LISTING_PIN_MS 5000

struct listing {
	struct object_bytes **v; /* owned references, from @at on */
	size_t nr, at;
	bool events; /* ADDED ones, of a watch; else with commas between */
	bool made;   /* @row is what @at looks like */
	struct buf row;

	/* What follows this page. */
	bool more;
	struct object_bytes *last; /* the page's; the next begins behind it */
	char *prefix;
	struct store_pin pin;
	struct store_list rest; /* all of it, once the pin was given up */
};

/* The first page of @range, which has neither a revision nor a limit, of the
 * newest snapshot. @ret_revision is that one's. */
int listing_open(struct req *r, const struct store_range *range,
		 struct listing **ret, uint64_t *ret_revision, struct err *e);
/* All of what is in @l, which is taken. NULL when out of memory. */
struct listing *listing_whole(struct store_list *l);
/* Copy what comes next; at most @size bytes. When it cannot be read, r->broken
 * is set: half a list must not look like a whole one. */
size_t listing_put(struct req *r, struct listing *l, char *p, size_t size);
static inline bool listing_is_out(const struct listing *l)
{
	return l->at == l->nr && !l->more;
}
void listing_free(struct listing *l);

#endif /* CONTROLPLANE_APISERVER_LISTING_H */
