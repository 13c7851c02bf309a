/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, for those who answer with one. */
#ifndef CONTROLPLANE_APISERVER_READ_H
#define CONTROLPLANE_APISERVER_READ_H

#include "controlplane/apiserver/internal.h"

/* An object as the request wants to see it. */
void put_view(struct req *r, struct object_bytes *o, bool columns,
	      struct buf *b);
/* An item of the list that @r asks for, or an event of its watch. */
void put_row_of(struct req *r, struct object_bytes *o, bool event,
		struct buf *b);

/* A list for @r: at once if it is short, else aside; then @done, on the loop,
 * with what was found, or after a refusal was sent, not. Keeps r->selector. */
struct listed {
	struct store_range range;
	struct buf prefix, after;
};

void list_for(struct req *r, struct listed *q,
	      void (*done)(struct req *r, struct store_list *l));

#endif /* CONTROLPLANE_APISERVER_READ_H */
