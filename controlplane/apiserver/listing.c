// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/listing.h"
#include "controlplane/apiserver/read.h"
#include "controlplane/apiserver/vmview.h"

#define LISTING_ROW_KEPT 65536

static bool match(const struct object_bytes *o, void *arg)
{
	return selector_match(arg, o);
}

static void clear_page(struct listing *l)
{
	while (l->at < l->nr)
		object_unref(l->v[l->at++]);
	free(l->v);
	l->v = NULL;
	l->nr = l->at = 0;
}

void listing_free(struct listing *l)
{
	if (!l)
		return;
	clear_page(l);
	buf_clear(&l->row);
	store_unpin(&l->pin);
	store_list_clear(&l->rest);
	object_unref(l->last);
	free(l->prefix);
	free(l);
}

/* What is in @page is the listing's. */
static void take_page(struct listing *l, struct store_list *page)
{
	l->v = take_ptr(page->v);
	l->nr = page->nr;
	page->nr = 0;
	l->more = page->remaining > 0;
	object_unref(l->last);
	l->last = l->more ? object_ref(l->v[l->nr - 1]) : NULL;
	if (!l->more)
		store_unpin(&l->pin);
}

/* The next page, or (@limit 0) all that is left. */
static int read_on(struct req *r, struct listing *l, size_t limit,
		   struct store_list *ret)
{
	struct store_range range = { .prefix = l->prefix,
				     .after = l->last->key,
				     .revision = l->pin.revision,
				     .limit = limit,
				     .peek = true,
				     .arg = &r->selector };

	if (r->selector.nr)
		range.match = match;
	return store_list(r->api->store, &range, ret, NULL);
}

/* It takes long: let the history go on. */
static void on_pinned_long(void *arg)
{
	struct req *r = arg;
	struct listing *l = NULL;

	for (size_t i = r->out_at; i < r->out_nr; i++)
		if (r->out[i].list)
			l = r->out[i].list;
	if (!l || !l->more)
		return;
	if (read_on(r, l, 0, &l->rest) < 0)
		req_abort(r);
	else
		store_unpin(&l->pin);
}

int listing_open(struct req *r, const struct store_range *range,
		 struct listing **ret, uint64_t *ret_revision, struct err *e)
{
	struct listing *l = calloc(1, sizeof(*l));
	struct store_range first = *range;
	struct store_list page;
	int res;

	if (l)
		l->prefix = strdup(range->prefix);
	if (!l || !l->prefix) {
		listing_free(l);
		return err_set(e, -ENOMEM, "list: out of memory");
	}
	store_pin(r->api->store, &l->pin);
	first.revision = l->pin.revision;
	first.limit = LISTING_PAGE;
	first.peek = true;
	res = store_list(r->api->store, &first, &page, e);
	if (res < 0) {
		listing_free(l);
		return res;
	}
	*ret_revision = page.revision;
	take_page(l, &page);
	if (l->more)
		ev_timer_set(r->loop->ev, &r->timer, LISTING_PIN_MS,
			     on_pinned_long, r);
	*ret = l;
	return 0;
}

struct listing *listing_whole(struct store_list *l)
{
	struct listing *list = calloc(1, sizeof(*list));

	if (list) {
		list->v = take_ptr(l->v);
		list->nr = l->nr;
		l->nr = 0;
	}
	return list;
}

/* Whether there is an object at @at; what comes next may have to be read. */
static bool has_object(struct req *r, struct listing *l)
{
	struct store_list page;

	if (l->at < l->nr || !l->more)
		return l->at < l->nr;
	clear_page(l);
	if (l->rest.v) {
		take_page(l, &l->rest);
	} else if (read_on(r, l, LISTING_PAGE, &page) == 0) {
		take_page(l, &page);
	} else {
		l->more = false;
		r->broken = true;
	}
	return l->at < l->nr;
}

/* *@ret is NULL: the object's text as it is. */
static size_t row_of(struct req *r, struct listing *l, const char **ret)
{
	struct object_bytes **slot = &l->v[l->at];

	if (r->view == VIEW_OBJECT && !l->events && !r->route.type->convert &&
	    !r->as_vm) {
		*ret = NULL;
		return (*slot)->len;
	}
	if (!l->made) {
		l->made = true;
		buf_reset(&l->row);
		if (object_as(r->route.type, slot) ||
		    (r->as_vm && !l->events && vm_view(slot)))
			r->broken = true;
		else
			put_row_of(r, *slot, l->events, &l->row);
		r->broken |= buf_error(&l->row) != 0;
	}
	*ret = buf_str(&l->row);
	return l->row.len;
}

static void next_row(struct req *r, struct listing *l)
{
	object_unref(l->v[l->at++]);
	l->made = false;
	r->out_off = 0;
	/* The large one is not kept for the small ones. */
	if (l->row.size > LISTING_ROW_KEPT)
		buf_clear(&l->row);
}

size_t listing_put(struct req *r, struct listing *l, char *p, size_t size)
{
	size_t n = 0;

	while (n < size && !r->broken && has_object(r, l)) {
		const char *data;
		size_t len = row_of(r, l, &data);
		bool follows = !l->events && (l->at + 1 < l->nr || l->more);
		size_t left = len - r->out_off;
		size_t m = left < size - n ? left : size - n;

		if (data)
			memcpy(p + n, data + r->out_off, m);
		else
			object_copy(l->v[l->at], r->out_off, p + n, m);
		n += m;
		r->out_off += m;
		if (r->out_off < len || (follows && n == size))
			break;
		if (follows)
			p[n++] = ',';
		next_row(r, l);
	}
	return n;
}
