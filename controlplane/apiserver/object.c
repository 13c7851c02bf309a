// SPDX-License-Identifier: Apache-2.0
/* Between JSON trees and stored bytes. */
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/away.h"
#include "lib/json.h"
#include "lib/random.h"
#include "lib/str.h"

yyjson_doc *object_doc(const struct object_bytes *o)
{
	auto_buf struct buf room = BUF_INIT;
	const char *text = o ? object_text(o, &room) : NULL;

	return text ? yyjson_read(text, o->len, 0) : NULL;
}

yyjson_mut_doc *object_tree(const struct object_bytes *o)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_mut_doc *out = doc ? yyjson_doc_mut_copy(doc, NULL) : NULL;

	yyjson_doc_free(doc);
	return out;
}

static void put_tag(struct buf *tags, const char *kind, const char *name,
		    const char *value)
{
	buf_puts(tags, kind);
	buf_add(tags, name, strlen(name) + 1);
	buf_add(tags, value, strlen(value) + 1);
}

static void put_field_tag(struct buf *tags, const char *path, yyjson_mut_val *v)
{
	auto_buf struct buf text = BUF_INIT;

	if (yyjson_mut_is_str(v)) {
		put_tag(tags, "f:", path, yyjson_mut_get_str(v));
	} else if (yyjson_mut_is_bool(v) || yyjson_mut_is_num(v)) {
		json_write_mut(v, false, &text);
		put_tag(tags, "f:", path, buf_str(&text));
	}
}

yyjson_mut_doc *object_tree_as(const struct type *t,
			       const struct object_bytes *o)
{
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;

	if (!doc)
		return NULL;
	if ((t->convert && t->convert->from_stored(t, doc, obj)) ||
	    schema_default(t->schema, doc, obj)) {
		yyjson_mut_doc_free(doc);
		return NULL;
	}
	if (t->hooks->complete)
		t->hooks->complete(doc, obj);
	return doc;
}

bool object_is_stored(const struct type *t, yyjson_mut_doc *doc,
		      yyjson_mut_val *obj, const struct object_bytes *o)
{
	yyjson_mut_val *now = yyjson_mut_val_mut_copy(doc, obj), *was;
	yyjson_mut_doc *stored = object_tree(o);
	bool same = false;

	if (stored && now &&
	    (!t->convert || t->convert->to_stored(t, doc, now) == 0)) {
		was = yyjson_mut_doc_get_root(stored);
		mut_remove(was, "metadata.resourceVersion");
		mut_remove(now, "metadata.resourceVersion");
		same = mut_equal(now, was);
	}
	yyjson_mut_doc_free(stored);
	return same;
}

int object_rewrite(struct object_bytes **slot, yyjson_mut_doc *doc)
{
	auto_buf struct buf b = BUF_INIT;

	if (json_write_mut(yyjson_mut_doc_get_root(doc), false, &b) < 0)
		return -ENOMEM;
	return object_retext(slot, buf_str(&b), b.len);
}

int object_retext(struct object_bytes **slot, const char *text, size_t len)
{
	struct object_bytes *o = *slot, *made = NULL;
	struct store_op op = { .rv_off = STORE_NO_RV };

	op.key = o->key;
	op.data = text;
	op.len = len;
	op.tags = o->tags;
	op.tags_len = o->tags_len;
	made = object_new(&op, o->revision);
	if (!made)
		return -ENOMEM;
	made->deleted = o->deleted;
	made->created = o->created;
	made->stored_ms = o->stored_ms;
	object_unref(o);
	*slot = made;
	return 0;
}

int object_as(const struct type *t, struct object_bytes **slot)
{
	yyjson_mut_doc *doc;
	int r;

	if (!t->convert)
		return 0;
	doc = object_tree_as(t, *slot);
	r = doc ? object_rewrite(slot, doc) : -ENOMEM;
	yyjson_mut_doc_free(doc);
	return r;
}

/* What controllers that share work by ranges select by: the object's own hash
 * and those of its owners. */
static void pack_hashes(yyjson_mut_val *obj, struct buf *tags)
{
	yyjson_mut_val *owner;
	size_t i, max;

	put_field_tag(tags, "metadata.hashkey",
		      mut_get(obj, "metadata.hashKey"));
	yyjson_mut_arr_foreach(mut_get(obj, "metadata.ownerReferences"), i, max,
			       owner)
	{
		yyjson_mut_val *hash = mut_get(owner, "hashKey");
		const char *kind = mut_str(owner, "kind");
		char name[160];

		if (!hash || !kind || strlen(kind) > 100)
			continue;
		snprintf(name, sizeof(name),
			 "metadata.ownerReferences.hashkey.%s", kind);
		put_field_tag(tags, name, hash);
	}
}

static int pack_tags(const struct type *t, yyjson_mut_val *obj,
		     struct buf *tags)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	yyjson_mut_obj_foreach(mut_get(obj, "metadata.labels"), i, max, key,
			       val) if (yyjson_mut_is_str(val))
		put_tag(tags, "l:", yyjson_mut_get_str(key),
			yyjson_mut_get_str(val));
	pack_hashes(obj, tags);
	for (i = 0; t->selectable[i]; i++)
		put_field_tag(tags, t->selectable[i],
			      mut_get(obj, t->selectable[i]));
	return buf_error(tags);
}

int object_pack(struct api *api, const struct type *t, yyjson_mut_doc *doc,
		yyjson_mut_val *obj, struct buf *data, uint32_t *rv_off,
		struct buf *tags)
{
	size_t token = strlen(api->rv_token);
	char *at;
	int r = 0;

	if (t->convert)
		r = t->convert->to_stored(t, doc, obj);
	t = type_stored(t);
	if (r == 0)
		r = mut_set_str(doc, obj, "metadata.resourceVersion",
				api->rv_token);
	away_give();
	if (r == 0)
		r = json_write_mut(obj, false, data);
	if (r < 0)
		return r;
	away_give();
	/* A token of this process nobody else knows: it is there once. */
	at = memmem(data->data, data->len, api->rv_token, token);
	if (!at)
		return -EINVAL;
	*rv_off = at - data->data;
	memmove(at, at + token, data->data + data->len - at - token + 1);
	data->len -= token;
	return pack_tags(t, obj, tags);
}

int object_commit(struct api *api, const struct type *t, struct store_op *op,
		  yyjson_mut_doc *doc, yyjson_mut_val *obj, struct err *e)
{
	auto_buf struct buf data = BUF_INIT, tags = BUF_INIT;
	struct store_txn txn = { .ops = op, .nr_ops = 1 };
	int r = obj ? object_pack(api, t, doc, obj, &data, &op->rv_off, &tags)
		    : 0;

	if (obj) {
		op->data = data.data;
		op->len = data.len;
		op->tags = tags.data;
		op->tags_len = tags.len;
	}
	if (r == 0)
		r = store_commit(api->store, &txn, e);
	object_unref(op->ret);
	op->ret = NULL;
	op->data = op->tags = NULL;
	return r;
}

yyjson_mut_val *object_condition_of(yyjson_mut_doc *doc, yyjson_mut_val *obj,
				    const char *type)
{
	yyjson_mut_val *list = mut_get(obj, "status.conditions"), *c;
	size_t i, max;

	if (!yyjson_mut_is_arr(list)) {
		list = yyjson_mut_arr(doc);
		mut_set(doc, obj, "status.conditions", list);
	}
	yyjson_mut_arr_foreach(list, i, max, c)
	{
		if (str_eq(mut_str(c, "type"), type))
			return c;
	}
	c = yyjson_mut_obj(doc);
	mut_set_str(doc, c, "type", type);
	yyjson_mut_arr_append(list, c);
	return c;
}

bool object_condition(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		      const char *type, bool status, const char *reason,
		      const char *message)
{
	yyjson_mut_val *c = object_condition_of(doc, obj, type);
	const char *text = status ? "True" : "False";
	char now[32];

	if (str_eq(mut_str(c, "status"), text) &&
	    str_eq(mut_str(c, "reason"), reason) &&
	    str_eq(mut_str(c, "message"), message))
		return false;
	if (!str_eq(mut_str(c, "status"), text)) {
		now_text(now);
		mut_set_str(doc, c, "status", text);
		mut_set_str(doc, c, "lastTransitionTime", now);
	}
	mut_set_str(doc, c, "reason", reason);
	mut_set_str(doc, c, "message", message);
	return true;
}

/* What a name is made of is cut to fit, as in Kubernetes. */
#define GENERATED_MAX 63

int object_generate_name(yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	static const char digits[] = "bcdfghjklmnpqrstvwxz2456789";
	const char *prefix = mut_str(obj, "metadata.generateName");
	unsigned char random[5];
	char name[GENERATED_MAX + 1];
	size_t n;

	if (!prefix || !*prefix || random_bytes(random, sizeof(random)))
		return -EINVAL;
	n = strnlen(prefix, GENERATED_MAX - sizeof(random));
	memcpy(name, prefix, n);
	for (size_t i = 0; i < sizeof(random); i++)
		name[n++] = digits[random[i] % (sizeof(digits) - 1)];
	name[n] = '\0';
	return mut_set_str(doc, obj, "metadata.name", name);
}

void new_uid(char out[37])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char b[16];

	if (random_bytes(b, sizeof(b)))
		memset(b, 0, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (size_t i = 0; i < sizeof(b); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 15];
	}
	*out = '\0';
}

void now_text(char out[32])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
