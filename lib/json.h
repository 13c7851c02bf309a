/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON on top of yyjson: parsing with limits, reading with field paths,
 *writing.
 *
 *	yyjson_doc *doc;
 *	struct json_ref root, spec, image;
 *
 *	r = json_parse(text, len, &doc, e);
 *	root = json_root(doc);
 *	spec = json_get(&root, "spec");
 *	image = json_get(&spec, "image");
 *	r = json_str(&image, &s, e);	"spec.image: must be a string"
 *
 * A struct json_ref is a value and the way to it, kept on the caller's stack:
 * a ref points to its parent, so the parent must outlive it. A missing field
 * and null are the same (val == NULL), as in the Kubernetes API.
 *
 * Duplicate keys: Go takes the last one, yyjson finds the first, and whoever
 * checks one and uses the other has a hole. Here, in this one place, a text
 *with a duplicate key is refused.
 */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

struct buf;
struct err;

#define JSON_DEPTH_MAX 64                 /* nesting of one document */
#define JSON_LEN_MAX   (16 * 1024 * 1024) /* bytes of one document */
#define JSON_NODES_MAX (1024 * 1024)      /* values in one document */

struct json_limits {
	size_t len;   /* bytes; 0 is JSON_LEN_MAX */
	size_t nodes; /* values, keys included; 0 is JSON_NODES_MAX */
	size_t depth; /* at most, and if 0, JSON_DEPTH_MAX */
};

/**
 * json_parse() - Parse one document, strictly and within limits.
 * @text: UTF-8 text. Borrowed, and no longer needed afterwards.
 * @len:  Its length in bytes.
 * @ret:  Set to the document; free it with yyjson_doc_free().
 * @e:    Filled on error, with line and column, or with the field's path.
 *
 * Strictly: RFC 8259 and nothing more, valid UTF-8, no NUL inside a key or a
 * string, no duplicate keys.
 *
 * Return: 0, or
 *   -EBADMSG  not such JSON, or a key twice in one object
 *   -E2BIG    beyond a limit
 *   -ENOMEM
 */
int json_parse(const char *text, size_t len, yyjson_doc **ret, struct err *e);
int json_parse_within(const char *text, size_t len,
		      const struct json_limits *limits, yyjson_doc **ret,
		      struct err *e);

/* --- reading ------------------------------------------------------------ */

struct json_ref {
	yyjson_val *val;           /* NULL when missing or null */
	const struct json_ref *up; /* NULL at the root */
	const char *key;           /* NULL for an array's item */
	size_t index;
};

struct json_ref json_root(const yyjson_doc *doc);

/* The field or item; missing if there is none or @up is no object or array. */
struct json_ref json_get(const struct json_ref *up, const char *key);
struct json_ref json_at(const struct json_ref *up, size_t index);

static inline bool json_has(const struct json_ref *r)
{
	return r->val != NULL;
}

/*
 * Typed reads. -EINVAL and "path: must be ..." when it is of another type,
 * "path: is required" when it is missing. The json_opt_ forms leave *@ret as it
 * was, and succeed, when it is missing. Strings are borrowed from the document.
 */
int json_str(const struct json_ref *r, const char **ret, struct err *e);
int json_bool(const struct json_ref *r, bool *ret, struct err *e);
int json_i64(const struct json_ref *r, int64_t min, int64_t max, int64_t *ret,
	     struct err *e);
int json_u64(const struct json_ref *r, uint64_t max, uint64_t *ret,
	     struct err *e);
int json_opt_str(const struct json_ref *r, const char **ret, struct err *e);
/* A quantity is a string, or a plain number: "250m", 2, 0.5. The text of
 * either, or "" when it is missing. */
int json_opt_quantity(const struct json_ref *r, char *buf, size_t size,
		      struct err *e);
int json_opt_bool(const struct json_ref *r, bool *ret, struct err *e);
int json_opt_i64(const struct json_ref *r, int64_t min, int64_t max,
		 int64_t *ret, struct err *e);
int json_opt_u64(const struct json_ref *r, uint64_t max, uint64_t *ret,
		 struct err *e);
/* An owned copy replaces *@slot (free()d before). */
int json_opt_strdup(const struct json_ref *r, char **slot, struct err *e);

/* Missing is fine; anything but an object (an array) is -EINVAL. */
int json_want_object(const struct json_ref *r, struct err *e);
int json_want_array(const struct json_ref *r, size_t max, struct err *e);

/* Items or fields; 0 when missing or of another type. */
size_t json_len(const struct json_ref *r);

/* Refuse fields that are not in the NULL-terminated list @known:
 * "spec.contianers: unknown field (did you mean 'containers'?)". */
int json_only(const struct json_ref *object, const char *const *known,
	      struct err *e);

/* @v, or an empty object where it is missing or something else. */
static inline yyjson_val *json_obj_or_empty(yyjson_val *v)
{
	static yyjson_val none[3] = { { .tag = YYJSON_TYPE_OBJ } };

	return yyjson_is_obj(v) ? v : none;
}

/* yyjson_obj_foreach(), also of what is missing or no object: yyjson's own
 * computes with a null pointer then. */
#define json_obj_foreach(obj, i, max, key, val) \
	yyjson_obj_foreach(json_obj_or_empty(obj), i, max, key, val)

/* Walk an object or array:
 *
 *	json_for_each(it, &containers)
 *		r = parse_container(&it.item, e);
 */
struct json_iter {
	struct json_ref item; /* the present field or item */
	size_t i, nr;
	yyjson_val *next;
	bool fields;
};

struct json_iter json_iter(const struct json_ref *of);
bool json_next(struct json_iter *i);

#define json_for_each(iter, of) \
	for (struct json_iter iter = json_iter(of); json_next(&(iter));)

/* Report "path: what" with @code. Returns @code. */
int json_err(const struct json_ref *r, int code, struct err *e, const char *fmt,
	     ...) __attribute__((format(printf, 4, 5)));

/* Write the path, "spec.containers[0].image", to @buf; "." for the root. */
void json_path(const struct json_ref *r, char *buf, size_t size);

/* --- writing ------------------------------------------------------------ */

/*
 * A stream of JSON into a struct buf. @key is NULL for an array's items and
 * the root. Failures are kept by the buf; nesting errors are our own bugs.
 */
struct json_out {
	struct buf *buf;
	uint64_t comma; /* bit per level: something came before */
	unsigned depth;
	bool is_object[JSON_DEPTH_MAX]; /* per level */
};

#define JSON_OUT(b)         \
	{                   \
		.buf = (b), \
	}

void json_put_object(struct json_out *o, const char *key);
void json_put_array(struct json_out *o, const char *key);
void json_put_end(struct json_out *o); /* closes either */
void json_put_str(struct json_out *o, const char *key, const char *s);
void json_put_strn(struct json_out *o, const char *key, const char *s,
		   size_t len);
void json_put_fmt(struct json_out *o, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void json_put_i64(struct json_out *o, const char *key, int64_t v);
void json_put_u64(struct json_out *o, const char *key, uint64_t v);
void json_put_double(struct json_out *o, const char *key, double v);
void json_put_bool(struct json_out *o, const char *key, bool v);
void json_put_null(struct json_out *o, const char *key);
/* @text is JSON already. */
void json_put_raw(struct json_out *o, const char *key, const char *text,
		  size_t len);
void json_put_val(struct json_out *o, const char *key, yyjson_val *val);

/* A string as a JSON string, quotes included. Invalid UTF-8 becomes U+FFFD. */
void json_escape(struct buf *b, const char *s, size_t len);

/* Append a value, compact or indented by two spaces. 0 or -ENOMEM. */
int json_write(yyjson_val *val, bool pretty, struct buf *b);
int json_write_mut(yyjson_mut_val *val, bool pretty, struct buf *b);

#endif /* LIB_JSON_H */
