/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Custom resources whose versions somebody's webhook converts.
 *
 * An object is stored in the version that is the stored one at the time, and
 * says which. Before a request sees it in another one, the webhook is asked, on
 * a thread beside; everything behind that finds objects of the version it
 * wants. What is written is converted to the stored version just before it is
 * stored. Answers are checked as Kubernetes does: same kind, name, namespace,
 * UID, and of the metadata only labels and annotations are believed.
 *
 * A list over all tenants is not converted, but for a definition that is forced
 * on them: each tenant's webhook sees that tenant's objects only.
 */
#ifndef CONTROLPLANE_APISERVER_CONVERSION_H
#define CONTROLPLANE_APISERVER_CONVERSION_H

#include "controlplane/apiserver/aside.h"

#define CONVERSION_S 30 /* to wait for a webhook, as in Kubernetes */

struct write;

struct conversion {
	struct aside aside;     /* the first: it is freed by that */
	struct store_list list; /* exchanged for objects of version @to */
	const struct type *to;
	/* On the loop: done, or c->failed, which is told nobody yet. */
	void (*then)(struct req *r, struct conversion *c);
	bool failed;
	struct buf why;
	/* For @then. */
	void (*listed)(struct req *r, struct store_list *l);
	void (*got)(struct req *r, struct object_bytes **slot);
	struct object_bytes *cur;
	const char **kinds; /* of events; freed with it */
	struct type_set *types;
	char *owner; /* the tenant whose webhook it is */
};

/* Is @o to be converted before @r can see it? */
bool conversion_wanted(const struct req *r, const struct object_bytes *o);

/* Convert c->list (c from calloc(), taken), then call c->then. */
void conversion_run(struct req *r, struct conversion *c);
void conversion_reply_failed(struct req *r, struct conversion *c);

/* What @r gets: @got is called with it, at once or later. */
void conversion_get(struct req *r, struct object_bytes *o,
		    void (*got)(struct req *r, struct object_bytes **slot));
/* What it lists. *l is taken. */
void conversion_list(struct req *r, struct store_list *l,
		     void (*listed)(struct req *r, struct store_list *l));

/* Before a change of what is stored: true when @w comes again, with *slot in
 * its version. */
bool conversion_first(struct write *w, struct object_bytes **slot);
/* Before @obj is stored: true when write_submit_as() is called later. */
bool conversion_store(struct write *w, yyjson_mut_val *obj,
		      struct object_bytes *cur, bool remove);

#endif /* CONTROLPLANE_APISERVER_CONVERSION_H */
