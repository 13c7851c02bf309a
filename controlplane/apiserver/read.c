// SPDX-License-Identifier: Apache-2.0
/* get and list: stored bytes by reference; a table only where one is asked
 * for. */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/listing.h"
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

/* One row of a table. */
static void put_row(struct req *r, struct object_bytes *o, const char *include,
		    struct buf *b)
{
	yyjson_doc *doc = yyjson_read(o->data, o->len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);

	buf_puts(b, "{\"cells\":");
	table_cells(r->route.type, root, time(NULL), b);
	if (str_eq(include, "Object")) {
		buf_puts(b, ",\"object\":");
		buf_add(b, o->data, o->len);
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
		buf_add(b, o->data, o->len);
		return;
	}
	if (r->view == VIEW_METADATA) {
		doc = yyjson_read(o->data, o->len, 0);
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

void read_get(struct req *r)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	route_key(r, r->route.name, &key);
	o = store_get(r->api->store, buf_str(&key));
	if (!o)
		reply_not_found(r);
	else if (object_as(r->route.type, &o) ||
		 (vm_view_wanted(r) && vm_view(&o)))
		reply_error(r, 500, "InternalError", "out of memory");
	else
		reply_one(r, 200, o);
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

/* Whether the objects go out as they are stored, however many there are. */
static bool in_pages(const struct req *r, const struct store_range *range)
{
	return r->view == VIEW_OBJECT && !range->limit && !range->after &&
	       !range->revision && !r->route.type->convert &&
	       !crd_is(r->route.type) && !vm_view_wanted(r);
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

static void reply_objects(struct req *r, struct listing *l,
			  const struct buf *meta)
{
	const struct type *t = r->route.type;
	struct buf b = BUF_INIT;
	char version[256];

	buf_printf(&b, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",%s,\"items\":[",
		   t->list_kind, type_api_version(t, version, sizeof(version)),
		   buf_str(meta));
	reply_begin(r, 200, "application/json");
	reply_add(r, &b);
	r->streaming = true; /* nobody has counted its bytes */
	reply_listing(r, l);
	reply_text(r, "]}\n", 3);
	reply_end(r);
}

static void reply_view(struct req *r, const struct store_list *l,
		       const struct buf *meta)
{
	char include[16] = "";
	struct buf b = BUF_INIT;

	query_get(r, "includeObject", include, sizeof(include));
	if (r->view == VIEW_TABLE) {
		buf_printf(&b,
			   "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/"
			   "v1\",%s,\"columnDefinitions\":",
			   buf_str(meta));
		table_columns(r->route.type, &b);
		buf_puts(&b, ",\"rows\":[");
	} else {
		buf_printf(&b,
			   "{\"kind\":\"PartialObjectMetadataList\","
			   "\"apiVersion\":\"meta.k8s.io/v1\",%s,\"items\":[",
			   buf_str(meta));
	}
	for (size_t i = 0; i < l->nr; i++) {
		if (i)
			buf_putc(&b, ',');
		if (r->view == VIEW_TABLE)
			put_row(r, l->v[i], include, &b);
		else
			put_view(r, l->v[i], false, &b);
	}
	buf_puts(&b, "]}\n");
	reply_json(r, 200, &b);
}

/* @l is taken, where the objects themselves are asked for. */
static void reply_whole(struct req *r, struct store_list *l,
			const struct buf *meta)
{
	struct listing *all;

	if (r->view != VIEW_OBJECT) {
		reply_view(r, l, meta);
		return;
	}
	all = listing_whole(l);
	if (all)
		reply_objects(r, all, meta);
	else
		reply_error(r, 500, "InternalError", "out of memory");
}

void reply_made_list(struct req *r, struct store_list *l)
{
	auto_buf struct buf meta = BUF_INIT;

	buf_puts(&meta, "\"metadata\":{}");
	reply_whole(r, l, &meta);
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
	else
		reply_store_error(r, res, e);
}

void read_list(struct req *r)
{
	auto_buf struct buf prefix = BUF_INIT, after = BUF_INIT,
			    meta = BUF_INIT;
	char token[STORE_KEY_MAX * 2], limit[24];
	struct store_range range = { .match = match, .arg = &r->selector };
	struct listing *pages = NULL;
	struct store_list list;
	struct err e = { 0 };
	uint64_t n = 0;
	int res;

	if (request_selector(r, &r->selector) < 0 ||
	    list_revision(r, &range.revision) < 0)
		return;
	route_key(r, NULL, &prefix);
	range.prefix = buf_str(&prefix);
	if (!r->selector.nr)
		range.match = NULL;
	if (query_get(r, "limit", limit, sizeof(limit)) && *limit &&
	    str_to_u64(limit, &n)) {
		reply_error(r, 400, "BadRequest", "invalid limit \"%s\"",
			    limit);
		return;
	}
	range.limit = n > LIMIT_MAX ? LIMIT_MAX : n;
	if (query_get(r, "continue", token, sizeof(token)) && *token) {
		if (token_read(token, &range.revision, &after) ||
		    !str_starts(buf_str(&after), range.prefix)) {
			reply_error(r, 400, "BadRequest",
				    "continue key is not valid");
			return;
		}
		range.after = buf_str(&after);
	}
	if (in_pages(r, &range)) {
		list = (struct store_list){ 0 };
		res = listing_open(r, &range, &pages, &list.revision, &e);
	} else {
		res = store_list(r->api->store, &range, &list, &e);
	}
	if (res < 0) {
		list_failed(r, res, &e);
		return;
	}
	if (crd_is(r->route.type) && !range.after && !r->selector.nr &&
	    strcmp(r->tenant, SYSTEM) && strcmp(r->tenant, "all"))
		res = crds_add_forced(r->api, &list);
	for (size_t i = 0; r->route.type->convert && i < list.nr; i++)
		res |= object_as(r->route.type, &list.v[i]);
	if (vm_view_wanted(r))
		for (size_t i = 0; i < list.nr; i++)
			res |= vm_view(&list.v[i]);
	if (res < 0) {
		store_list_clear(&list);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	put_list_meta(&list, r->selector.nr != 0, range.limit, &meta);
	if (pages)
		reply_objects(r, pages, &meta);
	else
		reply_whole(r, &list, &meta);
	store_list_clear(&list);
}
