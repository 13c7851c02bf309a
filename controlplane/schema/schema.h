/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types are data: one engine over declared schemas.
 *
 * A schema is the structural OpenAPI v3 subset that CRDs use, compiled once.
 * Built-in types (types/, see types.h) and CRDs go through the same
 * functions: prune or refuse unknown fields, set defaults, validate, patch,
 * apply. Objects are yyjson mutable values; a schema is immutable and may be
 * used from any thread.
 */
#ifndef CONTROLPLANE_SCHEMA_SCHEMA_H
#define CONTROLPLANE_SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/buf.h"
#include "lib/err.h"

#define SCHEMA_DEPTH_MAX  64
#define SCHEMA_ERRORS_MAX 64 /* reported of one object */
#define SCHEMA_PATH_MAX   512
/* Steps that checking one object may take: schemas and objects come from
 * users, and a few bytes of each could keep a server busy for minutes. */
#define SCHEMA_COST_MAX   50000000
#define SCHEMA_RE_MAX     (2 * 1024 * 1024) /* bytes of one type's patterns */
#define SCHEMA_NODES_MAX  50000             /* schemas within one type */

enum schema_type {
	SCHEMA_ANY, /* preserves whatever it is given */
	SCHEMA_OBJECT,
	SCHEMA_ARRAY,
	SCHEMA_STRING,
	SCHEMA_INTEGER,
	SCHEMA_NUMBER,
	SCHEMA_BOOLEAN,
	SCHEMA_INT_OR_STRING,
	SCHEMA_QUANTITY, /* string or number; stored as a string */
};

enum schema_list { LIST_ATOMIC, LIST_SET, LIST_MAP };

struct re;
struct schema;

struct schema_field {
	const char *name;
	bool required;
	uint32_t len; /* of @name */
	struct schema *schema;
};

/* All strings and values are borrowed from the document it was compiled of. */
struct schema {
	enum schema_type type;
	const char *ref;         /* short name of the definition it refers to */
	const char *name;        /* full name, when it is a definition itself */
	const struct schema *of; /* the definition; NULL: no reference */
	const char *format, *description, *pattern;
	struct re *re;        /* the pattern, compiled; NULL: none */
	const char *protobuf; /* its field number; see protobuf.c */
	struct schema_field *fields;
	size_t nr_fields;
	struct schema *items;      /* of an array */
	struct schema *additional; /* of an object used as a map */
	yyjson_val *def;           /* default */
	yyjson_val *allowed;       /* enum */
	enum schema_list list;
	const char **keys; /* LIST_MAP: NULL-terminated */
	bool map_atomic;
	bool patch_merge;      /* strategic merge of a list */
	bool retain_keys;      /* strategic: a union, keys are replaced */
	const char *patch_key; /* its merge key; NULL for scalars */
	bool preserve_unknown, nullable, embedded;
	bool has_min, has_max, exclusive_min, exclusive_max;
	double min, max;
	int64_t min_len, max_len;     /* -1: none */
	int64_t min_items, max_items; /* -1: none */
	/* What only custom resources' schemas say. */
	int64_t min_props, max_props; /* -1: none */
	double multiple_of;           /* 0: of nothing */
	const char **required;        /* undeclared fields; NULL: none */
	struct schema **all_of, **any_of, **one_of, *not_of; /* NULL-ended */
	bool custom;            /* messages are those of custom resources */
	yyjson_val *rules_text; /* x-kubernetes-validations; NULL: none */
	struct schema_rule *rules;
	size_t nr_rules;
	bool rules_below; /* here or in what it holds */
};

/* The field @name of an object's schema, or NULL. */
const struct schema_field *schema_field(const struct schema *s,
					const char *name);
const struct schema_field *schema_field_n(const struct schema *s,
					  const char *name, size_t len);

/* --- field errors, in Kubernetes' words --- */

enum field_error_type {
	FIELD_REQUIRED,
	FIELD_INVALID,
	FIELD_NOT_SUPPORTED,
	FIELD_DUPLICATE,
	FIELD_FORBIDDEN,
	FIELD_TYPE,
	FIELD_TOO_LONG,
	FIELD_TOO_MANY,
};

struct field_error {
	enum field_error_type type;
	char *path;
	char *message; /* "Invalid value: \"x\": must be ..." */
};

struct field_errors {
	struct field_error v[SCHEMA_ERRORS_MAX];
	size_t nr;
	uint64_t spent; /* on the object so far; see SCHEMA_COST_MAX */
};

/* Note one error. @fmt is the detail behind the type and value; @value may be
 * NULL. Beyond SCHEMA_ERRORS_MAX it does nothing. */
void field_error_add(struct field_errors *errs, enum field_error_type type,
		     const char *path, yyjson_mut_val *value, const char *fmt,
		     ...) __attribute__((format(printf, 5, 6)));
void field_errors_clear(struct field_errors *errs);
/* The reason a Status cause gives for it: "FieldValueRequired". */
const char *field_error_reason(enum field_error_type type);

/* A path under construction: "spec.containers[0].name". */
struct path {
	char text[SCHEMA_PATH_MAX];
	size_t len;
};

/* Each returns the length to go back to with path_cut(). */
size_t path_field(struct path *p, const char *name);
size_t path_field_n(struct path *p, const char *name, size_t len);
size_t path_index(struct path *p, size_t index);
size_t path_key(struct path *p, const char *key); /* labels[app] */
static inline void path_cut(struct path *p, size_t len)
{
	p->len = len;
	p->text[len] = '\0';
}

/* --- the engine --- */

/**
 * schema_prune() - Remove fields that the schema does not know.
 * @s:       Schema of @v.
 * @v:       Object, changed in place.
 * @unknown: Called with each unknown field's path; may be NULL.
 * @arg:     For @unknown.
 *
 * Return: 0, or -E2BIG when nested beyond %SCHEMA_DEPTH_MAX.
 */
int schema_prune(const struct schema *s, yyjson_mut_val *v,
		 void (*unknown)(void *arg, const char *path), void *arg);

/* Set what is missing to its default, and bring quantities into their stored
 * form. 0 or -ENOMEM. */
int schema_default(const struct schema *s, yyjson_mut_doc *doc,
		   yyjson_mut_val *v);

/* Note everything that is wrong with @v. */
void schema_validate(const struct schema *s, yyjson_mut_val *v, struct path *at,
		     struct field_errors *errs);

/* Note which of the rules (x-kubernetes-validations) @v breaks, once all else
 * is right with it. @old is what was there before; NULL: it is new. */
void schema_validate_rules(const struct schema *s, yyjson_mut_val *v,
			   yyjson_mut_val *old, struct path *at,
			   struct field_errors *errs);

/* Whether @text is what a custom resource's string format says. */
bool format_holds(const char *format, const char *text);

/* Keys of labels ("example.com/name") and their values; what to say of those
 * that are none. */
bool name_is_qualified(const char *s);
bool name_is_label_value(const char *s);
extern const char name_key_rule[], name_value_rule[], name_subdomain_rule[];

/* --- patches --- */

/* Each returns the patched value (in @doc, sharing parts of @target, which is
 * no longer to be used), or NULL with the story in @e: code -EINVAL for a patch
 * that is wrong by itself (400), -ERANGE for one that does not fit (422). */
yyjson_mut_val *patch_json(yyjson_mut_doc *doc, yyjson_mut_val *target,
			   yyjson_val *patch, struct err *e);
yyjson_mut_val *patch_merge(yyjson_mut_doc *doc, yyjson_mut_val *target,
			    yyjson_mut_val *patch, struct err *e);
yyjson_mut_val *patch_strategic(const struct schema *s, yyjson_mut_doc *doc,
				yyjson_mut_val *target, yyjson_mut_val *patch,
				struct err *e);

/* --- Kubernetes' protobuf, of request bodies --- */

struct protobuf_envelope {
	char api_version[128], kind[128];
	const unsigned char *raw; /* borrowed; NULL: there is none */
	size_t raw_len;
};

/* What is around every object: magic, type, bytes. 0 or -EBADMSG. */
int schema_protobuf_envelope(const void *data, size_t len,
			     struct protobuf_envelope *ret, struct err *e);
/* An object of type @s. -EBADMSG, or -ENOTSUP for a field without schema. */
int schema_from_protobuf(const struct schema *s, yyjson_mut_doc *doc,
			 const void *data, size_t len, yyjson_mut_val **ret,
			 struct err *e);

/* --- small helpers over yyjson --- */

/* Walk "metadata.name"; NULL when missing. Keys hold no dots. */
yyjson_mut_val *mut_get(yyjson_mut_val *v, const char *path);
const char *mut_str(yyjson_mut_val *v, const char *path); /* NULL: not there */
int64_t mut_int(yyjson_mut_val *v, const char *path, int64_t missing);
bool mut_bool(yyjson_mut_val *v, const char *path);
/* Set the field at @path (objects on the way are made). Copies strings. */
int mut_set(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
	    yyjson_mut_val *value);
/* The same for one field by its name, which may hold dots. */
int mut_put(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *name,
	    yyjson_mut_val *value);
int mut_set_str(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
		const char *value);
int mut_set_int(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *path,
		int64_t value);
void mut_remove(yyjson_mut_val *v, const char *path);
void schema_base64(struct buf *b, const void *data, size_t len);
bool mut_equal(yyjson_mut_val *a, yyjson_mut_val *b);

#endif /* CONTROLPLANE_SCHEMA_SCHEMA_H */
