// SPDX-License-Identifier: Apache-2.0
/* Who is to be converted when: the requests' side of conversion.h. */
#include "controlplane/apiserver/conversion.h"

#include "controlplane/apiserver/conversion_call.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

bool conversion_wanted(const struct req *r, const struct object_bytes *o)
{
	const struct type *t = r->route.type;

	if (!t->webhook || !t->convert ||
	    (str_eq(r->tenant, "all") && !r->types->forced))
		return false;
	return !conversion_is_of_object(t, o);
}

/* --- beside the loop --- */

static void work(struct aside *a)
{
	conversion_call(a->api, a->data);
}

static void done(struct aside *a)
{
	struct conversion *c = a->data;

	c->then(a->req, c);
}

static void clear(struct aside *a)
{
	struct conversion *c = a->data;

	store_list_clear(&c->list);
	object_unref(c->cur);
	type_set_unref(c->types);
	buf_clear(&c->why);
	free(c->owner);
	free(c->kinds);
}

void conversion_run(struct req *r, struct conversion *c)
{
	struct aside *a = &c->aside;

	c->types = type_set_ref(r->types);
	c->owner = strdup(r->types->system ? SYSTEM : r->tenant);
	*a = (struct aside){ .req = r,
			     .api = r->api,
			     .loop = r->loop,
			     .kind = ASIDE_HOOK,
			     .tenant = c->owner,
			     .work = work,
			     .done = done,
			     .free = clear,
			     .data = c };
	if (c->owner && aside_try(a) == 0)
		return;
	/* Told later all the same: who began it is not through. */
	c->failed = true;
	buf_puts(&c->why, "a conversion cannot be begun: no memory or thread");
	r->aside = a;
	aside_post(a);
}

void conversion_reply_failed(struct req *r, struct conversion *c)
{
	reply_error(r, 500, "", "%s", buf_str(&c->why));
}

/* With @o (taken) as the only one of its list. */
static struct conversion *of_one(struct req *r, struct object_bytes *o,
				 const struct type *to)
{
	struct conversion *c = calloc(1, sizeof(*c));

	if (c)
		c->list.v = calloc(1, sizeof(struct object_bytes *));
	if (!o || !c || !c->list.v) {
		object_unref(o);
		free(c);
		reply_error(r, 500, "InternalError", "out of memory");
		return NULL;
	}
	c->list.v[c->list.nr++] = o;
	c->to = to;
	return c;
}

/* --- reading --- */

static void then_got(struct req *r, struct conversion *c)
{
	if (c->failed)
		conversion_reply_failed(r, c);
	else
		c->got(r, &c->list.v[0]);
}

void conversion_get(struct req *r, struct object_bytes *o,
		    void (*got)(struct req *r, struct object_bytes **slot))
{
	struct conversion *c;

	if (!conversion_wanted(r, o)) {
		auto_ptr(object_bytes) own = object_ref(o);

		got(r, &own);
		return;
	}
	c = of_one(r, object_ref(o), r->route.type);
	if (!c)
		return;
	c->got = got;
	c->then = then_got;
	conversion_run(r, c);
}

static void then_listed(struct req *r, struct conversion *c)
{
	if (c->failed)
		conversion_reply_failed(r, c);
	else
		c->listed(r, &c->list);
}

void conversion_list(struct req *r, struct store_list *l,
		     void (*listed)(struct req *r, struct store_list *l))
{
	struct conversion *c = NULL;
	bool wanted = false;

	for (size_t i = 0; r->route.type->webhook && i < l->nr && !wanted; i++)
		wanted = conversion_wanted(r, l->v[i]);
	if (wanted)
		c = calloc(1, sizeof(*c));
	if (!c) {
		if (!wanted) {
			listed(r, l);
			return;
		}
		store_list_clear(l);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	c->list = *l;
	memset(l, 0, sizeof(*l));
	c->to = r->route.type;
	c->listed = listed;
	c->then = then_listed;
	conversion_run(r, c);
}

/* --- writing --- */

static void then_first(struct req *r, struct conversion *c)
{
	struct write *w = r->write;

	if (c->failed) {
		conversion_reply_failed(r, c);
		return;
	}
	object_unref(w->converted);
	w->converted = object_ref(c->list.v[0]);
	write_again(w);
}

bool conversion_first(struct write *w, struct object_bytes **slot)
{
	struct req *r = w->req;
	const struct type *t = r->route.type;
	struct conversion *c;

	if (!t->webhook)
		return false;
	w->migrates = !conversion_is_of_object(type_stored(t), *slot);
	if (!conversion_wanted(r, *slot))
		return false;
	if (w->converted && w->converted->revision == (*slot)->revision) {
		object_unref(*slot);
		*slot = object_ref(w->converted);
		return false;
	}
	c = of_one(r, object_ref(*slot), t);
	if (c) {
		c->then = then_first;
		conversion_run(r, c);
	}
	return true;
}

/* What came back is of the stored version: its schema has the last word. */
static void then_store(struct req *r, struct conversion *c)
{
	const struct type *t = type_stored(r->route.type);
	yyjson_mut_doc *doc;

	if (c->failed) {
		conversion_reply_failed(r, c);
		return;
	}
	doc = object_tree(c->list.v[0]);
	if (doc && schema_prune(t->schema, yyjson_mut_doc_get_root(doc), NULL,
				NULL) == 0)
		write_submit_as(r->write, doc, yyjson_mut_doc_get_root(doc),
				c->cur, false);
	else
		reply_error(r, 500, "InternalError", "out of memory");
	yyjson_mut_doc_free(doc);
}

bool conversion_store(struct write *w, yyjson_mut_val *obj,
		      struct object_bytes *cur, bool remove)
{
	struct req *r = w->req;
	const struct type *to = type_stored(r->route.type);
	auto_buf struct buf b = BUF_INIT;
	struct store_op op = { .key = "", .rv_off = STORE_NO_RV };
	struct conversion *c;

	if (!r->route.type->webhook || remove || w->dry_run)
		return false;
	if (json_write_mut(obj, false, &b) < 0) {
		reply_error(r, 500, "InternalError", "out of memory");
		return true;
	}
	if (conversion_is_of(to, buf_str(&b), b.len))
		return false;
	op.data = b.data;
	op.len = b.len;
	c = of_one(r, object_new(&op, 0), to);
	if (c) {
		c->cur = object_ref(cur);
		c->then = then_store;
		conversion_run(r, c);
	}
	return true;
}
