// SPDX-License-Identifier: Apache-2.0
/*
 * Kubernetes' protobuf encoding of request bodies, read by the declared
 * schemas: newer clients send nothing else for built-in types. Each field says
 * its number (x-kubernetes-protobuf); "2.5" is field 5 of a nested message that
 * JSON does not have, and a trailing "?" marks fields whose zero value means
 * something when it is sent (pointers, in Go).
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/schema/schema.h"
#include "lib/json.h"
#include "lib/str.h"

struct wire {
	const unsigned char *p, *end;
};

struct field {
	unsigned int number, type;
	uint64_t value;   /* varint, fixed */
	struct wire data; /* length-delimited */
};

struct decoder {
	yyjson_mut_doc *doc;
	struct err *e;
	int depth;
};

static int bad(struct decoder *d)
{
	return err_set(d->e, -EBADMSG, "malformed protobuf");
}

static bool get_varint(struct wire *w, uint64_t *ret)
{
	uint64_t v = 0;

	for (int shift = 0; shift < 64 && w->p < w->end; shift += 7) {
		unsigned char c = *w->p++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool get_field(struct wire *w, struct field *f)
{
	uint64_t tag, len;
	size_t fixed;

	memset(f, 0, sizeof(*f));
	if (!get_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
		return false;
	f->number = tag >> 3;
	f->type = tag & 7;
	if (f->type == 0)
		return get_varint(w, &f->value);
	if (f->type == 2) {
		if (!get_varint(w, &len) || len > (size_t)(w->end - w->p))
			return false;
		f->data = (struct wire){ w->p, w->p + len };
		w->p += len;
		return true;
	}
	fixed = f->type == 1 ? 8 : f->type == 5 ? 4 : 0;
	if (!fixed || fixed > (size_t)(w->end - w->p))
		return false;
	memcpy(&f->value, w->p, fixed);
	w->p += fixed;
	return true;
}

static bool is_zero(const struct field *f)
{
	return f->type == 2 ? f->data.p == f->data.end : !f->value;
}

static yyjson_mut_val *put_strn(struct decoder *d, const struct wire *w)
{
	const char *s = (const char *)w->p;
	size_t len = w->end - w->p;

	if (memchr(s, 0, len))
		return NULL;
	return yyjson_mut_strncpy(d->doc, s, len);
}

/* Time and MicroTime: seconds and nanoseconds. */
static yyjson_mut_val *get_time(struct decoder *d, struct wire w)
{
	int64_t seconds = 0, nanos = 0;
	struct field f;
	struct tm tm;
	char text[64];
	time_t t;

	while (w.p < w.end) {
		if (!get_field(&w, &f))
			return NULL;
		if (f.number == 1)
			seconds = f.value;
		else if (f.number == 2)
			nanos = f.value;
	}
	t = seconds;
	if (!gmtime_r(&t, &tm))
		return NULL;
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	if (nanos > 0 && nanos < 1000000000)
		snprintf(text + strlen(text), 16, ".%06dZ",
			 (int)(nanos / 1000));
	else
		memcpy(text + strlen(text), "Z", 2);
	return yyjson_mut_strcpy(d->doc, text);
}

/* IntOrString: which, the number, the text. */
static yyjson_mut_val *get_int_or_string(struct decoder *d, struct wire w)
{
	struct wire text = { NULL, NULL };
	uint64_t kind = 0;
	int64_t n = 0;
	struct field f;

	while (w.p < w.end) {
		if (!get_field(&w, &f))
			return NULL;
		if (f.number == 1)
			kind = f.value;
		else if (f.number == 2)
			n = f.value;
		else if (f.number == 3)
			text = f.data;
	}
	if (kind == 0)
		return yyjson_mut_sint(d->doc, n);
	return text.p ? put_strn(d, &text) : yyjson_mut_str(d->doc, "");
}

static int decode_message(struct decoder *d, const struct schema *s,
			  const char *prefix, struct wire w,
			  yyjson_mut_val *obj);

static yyjson_mut_val *get_quantity(struct decoder *d, struct wire w)
{
	struct field f;

	while (w.p < w.end) {
		if (!get_field(&w, &f))
			return NULL;
		if (f.number == 1 && f.type == 2)
			return put_strn(d, &f.data);
	}
	return yyjson_mut_str(d->doc, "0");
}

static yyjson_mut_val *get_string(struct decoder *d, const struct schema *s,
				  const struct field *f)
{
	auto_buf struct buf b = BUF_INIT;

	if (f->type != 2)
		return NULL;
	if (str_eq(s->format, "date-time"))
		return get_time(d, f->data);
	if (str_eq(s->format, "byte")) {
		schema_base64(&b, f->data.p, f->data.end - f->data.p);
		return yyjson_mut_strcpy(d->doc, buf_str(&b));
	}
	return put_strn(d, &f->data);
}

static yyjson_mut_val *get_value(struct decoder *d, const struct schema *s,
				 const struct field *f)
{
	yyjson_mut_val *obj;

	switch (s->type) {
	case SCHEMA_STRING:
		return get_string(d, s, f);
	case SCHEMA_INTEGER:
		return f->type == 0 ? yyjson_mut_sint(d->doc, f->value) : NULL;
	case SCHEMA_BOOLEAN:
		return f->type == 0 ? yyjson_mut_bool(d->doc, f->value) : NULL;
	case SCHEMA_QUANTITY:
		return f->type == 2 ? get_quantity(d, f->data) : NULL;
	case SCHEMA_INT_OR_STRING:
		return f->type == 2 ? get_int_or_string(d, f->data) : NULL;
	case SCHEMA_OBJECT:
		if (f->type != 2 || s->preserve_unknown)
			return NULL;
		obj = yyjson_mut_obj(d->doc);
		return obj && decode_message(d, s, "", f->data, obj) == 0
			       ? obj
			       : NULL;
	default:
		return NULL;
	}
}

/* An entry of a map: its key and value. */
static int add_entry(struct decoder *d, const struct schema *s,
		     const struct field *f, yyjson_mut_val *map)
{
	yyjson_mut_val *key = yyjson_mut_str(d->doc, ""), *val = NULL;
	struct wire w = f->data;
	struct field part;

	while (f->type == 2 && w.p < w.end) {
		if (!get_field(&w, &part))
			return bad(d);
		if (part.number == 1 && part.type == 2)
			key = put_strn(d, &part.data);
		else if (part.number == 2)
			val = get_value(d, s, &part);
	}
	if (!val && s->type == SCHEMA_STRING)
		val = yyjson_mut_str(d->doc, "");
	if (!key || !val)
		return bad(d);
	return yyjson_mut_obj_put(map, key, val) ? 0 : -ENOMEM;
}

static int add_field(struct decoder *d, const struct schema_field *sf,
		     const struct field *f, yyjson_mut_val *obj)
{
	const struct schema *s = sf->schema;
	bool present = str_ends(s->protobuf, "?") || sf->required;
	yyjson_mut_val *old = yyjson_mut_obj_get(obj, sf->name), *val;

	if (s->type == SCHEMA_ARRAY ||
	    (s->type == SCHEMA_OBJECT && s->additional && !s->nr_fields)) {
		bool list = s->type == SCHEMA_ARRAY;

		if (!old) {
			old = list ? yyjson_mut_arr(d->doc)
				   : yyjson_mut_obj(d->doc);
			if (!old || mut_put(d->doc, obj, sf->name, old))
				return -ENOMEM;
		}
		if (!list)
			return add_entry(d, s->additional, f, old);
		val = get_value(d, s->items, f);
		if (!val)
			return bad(d);
		return yyjson_mut_arr_append(old, val) ? 0 : -ENOMEM;
	}
	if (!present && is_zero(f))
		return 0;
	val = get_value(d, s, f);
	if (!val)
		return s->preserve_unknown || s->type == SCHEMA_ANY
			       ? err_set(d->e, -ENOTSUP,
					 "field %s cannot be sent as protobuf",
					 sf->name)
			       : bad(d);
	/* A struct that is always sent, and says nothing. */
	if (!present && yyjson_mut_is_obj(val) && !yyjson_mut_obj_size(val))
		return 0;
	return mut_put(d->doc, obj, sf->name, val);
}

/* The field of @s with number @number below @prefix. *@ret_inner: it is a
 * nested message whose fields are @s's own. */
static const struct schema_field *by_number(const struct schema *s,
					    const char *prefix,
					    unsigned int number,
					    bool *ret_inner)
{
	size_t n = strlen(prefix);

	*ret_inner = false;
	for (size_t i = 0; i < s->nr_fields; i++) {
		const char *p = s->fields[i].schema->protobuf;
		char *end;

		if (!p || strncmp(p, prefix, n))
			continue;
		if (strtoul(p + n, &end, 10) != number)
			continue;
		if (!*end || *end == '?')
			return &s->fields[i];
		*ret_inner |= *end == '.';
	}
	return NULL;
}

static int decode_message(struct decoder *d, const struct schema *s,
			  const char *prefix, struct wire w,
			  yyjson_mut_val *obj)
{
	int r = 0;

	if (++d->depth > SCHEMA_DEPTH_MAX)
		return bad(d);
	while (r == 0 && w.p < w.end) {
		const struct schema_field *sf;
		struct field f;
		bool inner;
		char deeper[64];

		if (!get_field(&w, &f))
			return bad(d);
		sf = by_number(s, prefix, f.number, &inner);
		if (sf) {
			r = add_field(d, sf, &f, obj);
		} else if (inner && f.type == 2) {
			snprintf(deeper, sizeof(deeper), "%s%u.", prefix,
				 f.number);
			r = decode_message(d, s, deeper, f.data, obj);
		}
		/* Others are fields we do not have: managedFields and the
		 * like are the server's anyway. */
	}
	d->depth--;
	return r;
}

int schema_from_protobuf(const struct schema *s, yyjson_mut_doc *doc,
			 const void *data, size_t len, yyjson_mut_val **ret,
			 struct err *e)
{
	struct decoder d = { .doc = doc, .e = e };
	struct wire w = { data, (const unsigned char *)data + len };
	yyjson_mut_val *obj = yyjson_mut_obj(doc);
	int r;

	if (!obj)
		return err_set(e, -ENOMEM, "out of memory");
	r = decode_message(&d, s, "", w, obj);
	if (r == -ENOMEM)
		err_set(e, r, "out of memory");
	if (r == 0)
		*ret = obj;
	return r;
}

int schema_protobuf_envelope(const void *data, size_t len,
			     struct protobuf_envelope *ret, struct err *e)
{
	struct wire w = { data, (const unsigned char *)data + len };
	struct decoder d = { .e = e };
	struct field f, part;

	memset(ret, 0, sizeof(*ret));
	if (len < 4 || memcmp(data, "k8s", 4))
		return bad(&d);
	w.p += 4;
	while (w.p < w.end) {
		if (!get_field(&w, &f))
			return bad(&d);
		if (f.type != 2)
			continue;
		if (f.number == 2) {
			ret->raw = f.data.p;
			ret->raw_len = f.data.end - f.data.p;
		}
		while (f.number == 1 && f.data.p < f.data.end) {
			char *slot;
			size_t n;

			if (!get_field(&f.data, &part))
				return bad(&d);
			if (part.type != 2 || part.number > 2)
				continue;
			slot = part.number == 1 ? ret->api_version : ret->kind;
			n = part.data.end - part.data.p;
			if (n >= sizeof(ret->kind))
				return bad(&d);
			memcpy(slot, part.data.p, n);
			slot[n] = '\0';
		}
	}
	return 0;
}
