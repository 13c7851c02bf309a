// SPDX-License-Identifier: Apache-2.0
/* get and list: stored bytes by reference; a table only where one is asked
 * for. */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/conversion.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/listing.h"
#include "controlplane/apiserver/metrics.h"
#include "controlplane/apiserver/read.h"
#include "controlplane/apiserver/vmview.h"
#include "lib/json.h"
#include "lib/str.h"

#define LIMIT_MAX 100000

static void put_metadata(yyjson_val *obj, struct buf *b)
{
	buf_puts(b, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":"
		    "\"meta.k8s.io/v1\",\"metadata\":");
	json_write(yyjson_obj_get(obj, "metadata"), false, b);
	buf_putc(b, '}');
}

static void put_text(const struct object_bytes *o, struct buf *b)
{
	char *p = buf_reserve(b, o->len);

	if (!p)
		return;
	object_copy(o, 0, p, o->len);
	buf_commit(b, o->len);
}

/* One row of a table. */
static void put_row(struct req *r, struct object_bytes *o, const char *include,
		    struct buf *b)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_val *root = yyjson_doc_get_root(doc);

	buf_puts(b, "{\"cells\":");
	table_cells(r->route.type, root, time(NULL), b);
	if (str_eq(include, "Object")) {
		buf_puts(b, ",\"object\":");
		put_text(o, b);
	} else if (!str_eq(include, "None")) {
		buf_puts(b, ",\"object\":");
		put_metadata(root, b);
	}
	buf_putc(b, '}');
	yyjson_doc_free(doc);
}

void put_view(struct req *r, struct object_bytes *o, bool columns,
	      struct buf *b)
{
	char include[16] = "", rv[24];
	yyjson_doc *doc;

	if (r->view == VIEW_OBJECT) {
		put_text(o, b);
		return;
	}
	if (r->view == VIEW_METADATA) {
		doc = object_doc(o);
		put_metadata(yyjson_doc_get_root(doc), b);
		yyjson_doc_free(doc);
		return;
	}
	query_get(r, "includeObject", include, sizeof(include));
	snprintf(rv, sizeof(rv), "%llu", (unsigned long long)o->revision);
	buf_printf(b,
		   "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\","
		   "\"metadata\":{\"resourceVersion\":\"%s\"},"
		   "\"columnDefinitions\":",
		   rv);
	if (columns)
		table_columns(r->route.type, b);
	else
		buf_puts(b, "[]");
	buf_puts(b, ",\"rows\":[");
	put_row(r, o, include, b);
	buf_puts(b, "]}");
}

void reply_one(struct req *r, int code, struct object_bytes *o)
{
	struct buf b = BUF_INIT;

	if (r->view == VIEW_OBJECT) {
		reply_begin(r, code, "application/json");
		reply_object(r, o);
		reply_end(r);
		return;
	}
	put_view(r, o, true, &b);
	reply_json(r, code, &b);
}

static void got(struct req *r, struct object_bytes **slot)
{
	if (object_as(r->route.type, slot) ||
	    (vm_view_wanted(r) && vm_view(slot)))
		reply_error(r, 500, "InternalError", "out of memory");
	else
		reply_one(r, 200, *slot);
}

void read_get(struct req *r)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	route_key(r, r->route.name, &key);
	o = store_get(r->api->store, buf_str(&key));
	if (!o)
		reply_not_found(r);
	else if (r->route.type->webhook)
		conversion_get(r, o, got);
	else
		got(r, &o);
}

/* --- list --- */

int request_selector(struct req *r, struct selector *s)
{
	char text[SELECTOR_LEN_MAX];
	struct err e = { 0 };
	int res = 0;

	if (query_get(r, "labelSelector", text, sizeof(text)))
		res = selector_parse_labels(s, text, &e);
	if (res == 0 && query_get(r, "fieldSelector", text, sizeof(text)))
		res = selector_parse_fields(s, r->route.type, text, &e);
	if (res < 0)
		reply_error(r, 400, "BadRequest", "%s", e.msg);
	return res;
}

/* A continue token is "<revision>:<last key>", in base64url without padding so
 * that clients take it for what it is: opaque. */
static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			  "0123456789-_";

static void token_write(struct buf *b, uint64_t revision, const char *key)
{
	auto_buf struct buf t = BUF_INIT;
	uint32_t acc = 0;
	int bits = 0;

	buf_printf(&t, "%llu:%s", (unsigned long long)revision, key);
	for (size_t i = 0; i < t.len; i++) {
		acc = acc << 8 | (unsigned char)t.data[i];
		for (bits += 8; bits >= 6; bits -= 6)
			buf_putc(b, b64[acc >> (bits - 6) & 63]);
	}
	if (bits)
		buf_putc(b, b64[acc << (6 - bits) & 63]);
}

static int token_read(const char *token, uint64_t *revision, struct buf *key)
{
	auto_buf struct buf t = BUF_INIT;
	uint32_t acc = 0;
	int bits = 0;
	char *colon;

	for (; *token; token++) {
		const char *d = strchr(b64, *token);

		if (!d)
			return -EINVAL;
		acc = acc << 6 | (uint32_t)(d - b64);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_putc(&t, (char)(acc >> bits));
		}
	}
	if (!t.len || memchr(t.data, 0, t.len))
		return -EINVAL;
	colon = strchr(t.data, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	buf_puts(key, colon + 1);
	return str_to_u64(t.data, revision);
}

static bool match(const struct object_bytes *o, void *arg)
{
	return selector_match(arg, o);
}

/* resourceVersion and resourceVersionMatch, as Kubernetes has them. */
static int list_revision(struct req *r, uint64_t *ret)
{
	char rv[32] = "", how[32] = "";
	uint64_t want = 0;

	query_get(r, "resourceVersion", rv, sizeof(rv));
	query_get(r, "resourceVersionMatch", how, sizeof(how));
	if (*rv && str_to_u64(rv, &want)) {
		reply_error(r, 400, "BadRequest",
			    "invalid resource version \"%s\"", rv);
		return -EINVAL;
	}
	if (*how && !*rv) {
		reply_error(r, 400, "BadRequest",
			    "resourceVersionMatch is forbidden unless "
			    "resourceVersion is provided");
		return -EINVAL;
	}
	if (want > store_revision(r->api->store)) {
		reply_error(r, 504, "Timeout",
			    "Too large resource version: %llu, current: %llu",
			    (unsigned long long)want,
			    (unsigned long long)store_revision(r->api->store));
		return -ERANGE;
	}
	*ret = strcmp(how, "Exact") == 0 ? want : 0;
	return 0;
}

static void put_list_meta(const struct store_list *l, bool selective,
			  size_t limit, struct buf *b)
{
	buf_printf(b, "\"metadata\":{\"resourceVersion\":\"%llu\"",
		   (unsigned long long)l->revision);
	if (l->remaining && limit) {
		buf_puts(b, ",\"continue\":\"");
		token_write(b, l->revision, l->v[l->nr - 1]->key);
		buf_putc(b, '"');
		if (!selective)
			buf_printf(b, ",\"remainingItemCount\":%zu",
				   l->remaining);
	}
	buf_putc(b, '}');
}

void put_row_of(struct req *r, struct object_bytes *o, bool event,
		struct buf *b)
{
	char include[16] = "";

	if (event) {
		metrics_event(r);
		buf_puts(b, "{\"type\":\"ADDED\",\"object\":");
		put_view(r, o, !r->columns_sent, b);
		buf_puts(b, "}\n");
		r->columns_sent = true;
	} else if (r->view == VIEW_TABLE) {
		query_get(r, "includeObject", include, sizeof(include));
		put_row(r, o, include, b);
	} else {
		put_view(r, o, false, b);
	}
}

/* Nobody has counted its bytes: they are made when the client takes them. */
static void reply_objects(struct req *r, struct listing *l,
			  const struct buf *meta)
{
	const struct type *t = r->route.type;
	struct buf b = BUF_INIT;
	char version[256];

	if (!l) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	if (r->view == VIEW_TABLE) {
		buf_printf(&b,
			   "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/"
			   "v1\",%s,\"columnDefinitions\":",
			   buf_str(meta));
		table_columns(t, &b);
		buf_puts(&b, ",\"rows\":[");
	} else if (r->view == VIEW_METADATA) {
		buf_printf(&b,
			   "{\"kind\":\"PartialObjectMetadataList\","
			   "\"apiVersion\":\"meta.k8s.io/v1\",%s,\"items\":[",
			   buf_str(meta));
	} else {
		buf_printf(&b,
			   "{\"kind\":\"%s\",\"apiVersion\":\"%s\",%s,"
			   "\"items\":[",
			   t->list_kind,
			   type_api_version(t, version, sizeof(version)),
			   buf_str(meta));
	}
	r->as_vm = vm_view_wanted(r);
	reply_begin(r, 200, "application/json");
	reply_add(r, &b);
	r->streaming = true;
	reply_listing(r, l);
	reply_text(r, "]}\n", 3);
	reply_end(r);
}

void reply_made_list(struct req *r, struct store_list *l)
{
	auto_buf struct buf meta = BUF_INIT;

	buf_puts(&meta, "\"metadata\":{}");
	reply_objects(r, listing_whole(l), &meta);
	store_list_clear(l);
}

static void list_failed(struct req *r, int res, const struct err *e)
{
	if (res == -ESTALE)
		reply_error(r, 410, "Expired",
			    "The provided continue parameter is too old to "
			    "display a consistent list result. You can start a "
			    "new list without the continue parameter.");
	else if (res == -ERANGE)
		reply_error(r, 504, "Timeout", "%s", e->msg);
	else if (res == -EHOSTUNREACH)
		reply_error(r, 503, "ServiceUnavailable", "%s", e->msg);
	else
		reply_store_error(r, res, e);
}

/* --- lists that take long --- */

struct long_list {
	struct listed q;
	struct selector selector;
	struct store_list list;
	void (*done)(struct req *r, struct store_list *l);
};

static void long_work(struct aside *a)
{
	struct long_list *l = a->data;

	l->q.range.prefix = buf_str(&l->q.prefix);
	l->q.range.after = l->q.after.len ? buf_str(&l->q.after) : NULL;
	l->q.range.arg = &l->selector;
	l->q.range.steps_max = 0;
	l->q.range.yields = true;
	a->result = store_list(a->api->store, &l->q.range, &l->list, &a->err);
}

static void long_done(struct aside *a)
{
	struct long_list *l = a->data;
	struct req *r = a->req;

	r->selector = l->selector;
	memset(&l->selector, 0, sizeof(l->selector));
	if (a->result < 0)
		list_failed(r, a->result, &a->err);
	else
		conversion_list(r, &l->list, l->done);
}

static void long_free(struct aside *a)
{
	struct long_list *l = a->data;

	selector_clear(&l->selector);
	store_list_clear(&l->list);
	buf_clear(&l->q.prefix);
	buf_clear(&l->q.after);
	free(l);
}

static void list_aside(struct req *r, struct listed *q,
		       void (*done)(struct req *r, struct store_list *l))
{
	struct long_list *l = calloc(1, sizeof(*l));
	struct aside *a = calloc(1, sizeof(*a));

	if (!a || !l) {
		free(a);
		free(l);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	l->q = *q;
	memset(q, 0, sizeof(*q));
	l->selector = r->selector;
	memset(&r->selector, 0, sizeof(r->selector));
	l->done = done;
	*a = (struct aside){ .req = r,
			     .kind = ASIDE_READ,
			     .work = long_work,
			     .done = long_done,
			     .free = long_free,
			     .data = l };
	aside_run(a);
}

void list_for(struct req *r, struct listed *q,
	      void (*done)(struct req *r, struct store_list *l))
{
	struct store_list list;
	struct err e = { 0 };
	int res;

	q->range.prefix = buf_str(&q->prefix);
	q->range.whole = true;
	q->range.after = q->after.len ? buf_str(&q->after) : NULL;
	q->range.steps_max = 2;
	q->range.match = r->selector.nr ? match : NULL;
	q->range.arg = &r->selector;
	res = store_list(r->api->store, &q->range, &list, &e);
	if (res == -E2BIG)
		list_aside(r, q, done);
	else if (res < 0)
		list_failed(r, res, &e);
	else
		conversion_list(r, &list, done);
}

/* --- the verb --- */

static int list_limit(struct req *r, size_t *ret)
{
	char limit[24];
	uint64_t n = 0;

	if (query_get(r, "limit", limit, sizeof(limit)) && *limit &&
	    str_to_u64(limit, &n)) {
		reply_error(r, 400, "BadRequest", "invalid limit \"%s\"",
			    limit);
		return -EINVAL;
	}
	*ret = n > LIMIT_MAX ? LIMIT_MAX : n;
	return 0;
}

static void list_found(struct req *r, struct store_list *list)
{
	auto_buf struct buf meta = BUF_INIT;
	char token[STORE_KEY_MAX * 2];
	size_t limit = 0;

	if (crd_is(r->route.type) && !r->selector.nr &&
	    strcmp(r->tenant, SYSTEM) && strcmp(r->tenant, "all") &&
	    !(query_get(r, "continue", token, sizeof(token)) && *token) &&
	    crds_add_forced(r->api, list) < 0) {
		store_list_clear(list);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	(void)list_limit(r, &limit); /* it was good before */
	flow_grow(r, list->nr);
	put_list_meta(list, r->selector.nr != 0, limit, &meta);
	reply_objects(r, listing_whole(list), &meta);
	store_list_clear(list);
}

/* Everything there is, of now: a page at a time. What a selector leaves of it
 * may be far apart. */
static bool in_pages(const struct req *r, const struct listed *q)
{
	return !q->range.limit && !q->after.len && !q->range.revision &&
	       !r->selector.nr && !crd_is(r->route.type) &&
	       !r->route.type->webhook;
}

static void list_pages(struct req *r, struct listed *q)
{
	auto_buf struct buf meta = BUF_INIT;
	struct store_list list = { 0 };
	struct listing *pages;
	struct err e = { 0 };
	int res;

	q->range.prefix = buf_str(&q->prefix);
	q->range.whole = true;
	res = listing_open(r, &q->range, &pages, &list.revision, &e);
	if (res < 0) {
		list_failed(r, res, &e);
		return;
	}
	put_list_meta(&list, false, 0, &meta);
	reply_objects(r, pages, &meta);
}

void read_list(struct req *r)
{
	struct listed q = { .range = { .limit = 0 } };
	char token[STORE_KEY_MAX * 2];

	if (request_selector(r, &r->selector) < 0 ||
	    list_revision(r, &q.range.revision) < 0 ||
	    list_limit(r, &q.range.limit) < 0)
		return;
	route_key(r, NULL, &q.prefix);
	if (query_get(r, "continue", token, sizeof(token)) && *token &&
	    (token_read(token, &q.range.revision, &q.after) ||
	     !str_starts(buf_str(&q.after), buf_str(&q.prefix))))
		reply_error(r, 400, "BadRequest", "continue key is not valid");
	else if (in_pages(r, &q))
		list_pages(r, &q);
	else
		list_for(r, &q, list_found);
	buf_clear(&q.prefix);
	buf_clear(&q.after);
}
