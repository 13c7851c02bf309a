/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry of API types: what types/ (and CRDs) declare.
 *
 * One YAML document declares one group and version:
 *
 *	group: apps
 *	version: v1
 *	package: io.k8s.api.apps.v1
 *	resources:
 *	- name: deployments
 *	  kind: Deployment
 *	  scope: Namespaced		# Namespaced | Tenant | Cluster
 *	  shortNames: [deploy]
 *	  categories: [all]
 *	  subresources: [status, scale]
 *	  selectable: [status.phase]	# beside metadata.name, .namespace
 *	  columns: [{name: Ready, path: .status.x}, {name: Up, func: x}]
 *	  storedAs: {group: "", version: v1, convert: event}	# see below
 *	definitions:
 *	  Deployment: { type: object, properties: { ... } }
 *
 * $ref names a definition of the same document, else of any earlier one.
 */
#ifndef CONTROLPLANE_SCHEMA_TYPES_H
#define CONTROLPLANE_SCHEMA_TYPES_H

#include <stdatomic.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/map.h"

enum type_scope { SCOPE_CLUSTER, SCOPE_TENANT, SCOPE_NAMESPACED };

enum type_verb {
	VERB_GET = 1 << 0,
	VERB_LIST = 1 << 1,
	VERB_WATCH = 1 << 2,
	VERB_CREATE = 1 << 3,
	VERB_UPDATE = 1 << 4,
	VERB_PATCH = 1 << 5,
	VERB_DELETE = 1 << 6,
	VERB_DELETECOLLECTION = 1 << 7,
};
#define VERB_ALL 0xff

struct type;

/* What a column shows when a path is not enough. Writes the cell's JSON value
 * (string or number) through @b; @now_s is the wall clock. */
typedef void (*type_column_fn)(yyjson_val *obj, int64_t now_s, struct buf *b);

struct type_column {
	const char *name, *type, *format, *description, *path;
	int priority; /* 0: always; 1: with -o wide */
	type_column_fn fn;
};

/*
 * Behaviour that is more than data. Every hook may be NULL.
 */
struct type_hooks {
	const char *name;
	/* Defaults that a schema cannot say. Of what is stored, too: it may
	 * be older than they are. */
	void (*complete)(yyjson_mut_doc *doc, yyjson_mut_val *obj);
	/* After defaulting: derive fields, reset what users do not own.
	 * @old is NULL for a create. */
	void (*prepare)(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			yyjson_mut_val *old, const char *subresource);
	void (*validate)(yyjson_mut_val *obj, struct field_errors *errs);
	void (*validate_update)(yyjson_mut_val *obj, yyjson_mut_val *old,
				struct field_errors *errs);
	/* Before a deletion: what holds it back. May be called again. */
	void (*deleting)(yyjson_mut_doc *doc, yyjson_mut_val *obj);
};

/*
 * Between a version and the one objects are stored in; each in place, of one
 * object. 0 or -ENOMEM. @t is the version that is not the stored one.
 */
struct type_convert {
	const char *name;
	int (*to_stored)(const struct type *t, yyjson_mut_doc *doc,
			 yyjson_mut_val *obj);
	int (*from_stored)(const struct type *t, yyjson_mut_doc *doc,
			   yyjson_mut_val *obj);
};

struct type {
	const char *group, *version, *package;
	const char *plural, *singular, *kind, *list_kind;
	const char **short_names, **categories, **subresources; /* NULL-ended */
	const char **selectable; /* field paths */
	const char **selected;   /* tags of the stored form; NULL: the same */
	enum type_scope scope;
	unsigned int verbs;
	const char *name_rule; /* "label", "subdomain" (default), "path" */
	struct schema *schema;
	/* Another version is the one that is stored; NULL: this one is. */
	const struct type *stored;
	const struct type_convert *convert;
	const char *stored_group, *stored_version;
	struct type_column *columns;
	size_t nr_columns;
	const struct type_hooks *hooks; /* never NULL */
	bool virtual;                   /* answered, never stored (reviews) */
	/* Of custom resources. */
	bool custom;
	yyjson_val *webhook; /* converts between versions; NULL: nobody does */
	const char *deprecated; /* what to warn of; NULL: of nothing */
	/* Paths of the scale subresource; NULL: as Kubernetes' own types. */
	const char *scale_spec, *scale_status, *scale_selector;
};

struct type_set {
	struct type *types;
	size_t nr;
	struct map definitions; /* full name -> struct schema */
	struct map short_names; /* short name -> struct schema, newest */
	yyjson_doc **docs;
	size_t nr_docs;
	void **owned; /* everything allocated */
	size_t nr_owned;
	struct cel **exprs; /* of rules */
	size_t nr_exprs, expr_bytes;
	/* Of a CustomResourceDefinition's types, which come and go: requests
	 * hold references. The built-in ones are never freed. */
	atomic_uint refs;
	char *name;        /* of the definition */
	uint64_t revision; /* at which it was stored */
	bool forced;       /* shared with all tenants */
	bool system;       /* the system's */
};

/* Compile a YAML stream of declarations into @set (zeroed at first). */
int type_set_load(struct type_set *set, const char *yaml, size_t len,
		  struct err *e);
/* The same of JSON, one document a line. */
int type_set_load_lines(struct type_set *set, const char *json, size_t len,
			struct err *e);
/* The types built into the program. Loads once, fails only by our own bug. */
int type_set_builtin(struct type_set **ret, struct err *e);
void type_set_clear(struct type_set *set);

/**
 * type_set_of_crd() - The types a CustomResourceDefinition declares.
 * @crd:    The object, as stored.
 * @len:    Its length.
 * @system: Of the tenant system: its scope Cluster is the cluster's.
 * @ret:    The set, with one reference.
 * @e:      Filled on error.
 *
 * Return: 0, -EINVAL when it declares no usable types, -ENOMEM.
 */
int type_set_of_crd(const char *crd, size_t len, bool system,
		    struct type_set **ret, struct err *e);
struct type_set *type_set_ref(struct type_set *set);
void type_set_unref(struct type_set *set);
DEFINE_AUTO_PTR(type_set, type_set_unref)

/* Everything that is wrong with a CustomResourceDefinition (crd_check.c). */
void crd_validate(yyjson_mut_val *obj, struct field_errors *errs);
void crd_validate_update(yyjson_mut_val *obj, yyjson_mut_val *old,
			 struct field_errors *errs);
void crd_check_conversion(yyjson_mut_val *obj, struct field_errors *errs);
void crd_deleting(yyjson_mut_doc *doc, yyjson_mut_val *obj);
void crd_prepare(yyjson_mut_doc *doc, yyjson_mut_val *obj, yyjson_mut_val *old,
		 const char *subresource);

const struct type *type_find(const struct type_set *set, const char *group,
			     const char *version, const char *plural);
const struct type *type_find_kind(const struct type_set *set, const char *group,
				  const char *version, const char *kind);
/* The version of @t that objects are stored in. */
static inline const struct type *type_stored(const struct type *t)
{
	return t->stored ? t->stored : t;
}

const struct type_convert *type_convert_find(const char *name);
bool type_has_subresource(const struct type *t, const char *name);
/* "v1" or "apps/v1" into @buf. */
const char *type_api_version(const struct type *t, char *buf, size_t size);

const struct type_hooks *type_hooks_find(const char *name);
type_column_fn type_column_find(const char *name);

/* Of a pod's resize only the resources count; whatever else it says of the spec
 * is left away, as in Kubernetes, unless it adds, takes or renames containers:
 * then all of it stays, to be refused. */
void pod_limit_to_resize(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			 yyjson_mut_val *old);

/* --- tables, discovery, OpenAPI: everything printed from a type --- */

/* Append the columnDefinitions array / one row's cells array. */
void table_columns(const struct type *t, struct buf *b);
void table_cells(const struct type *t, yyjson_val *obj, int64_t now_s,
		 struct buf *b);

/* Evaluate a printer column's path; NULL when there is nothing. Borrowed. */
yyjson_val *json_path_get(yyjson_val *obj, const char *path);

/* Which types a user sees: @tenant users do not see cluster-scoped ones. */
/* A group's version that another server serves; all borrowed. */
struct discovery_foreign {
	const char *group, *version;
	bool current;          /* the server answers */
	yyjson_val *resources; /* its APIResourceList; NULL: never told */
	yyjson_val *openapi;   /* its version 2 document; NULL: none */
	bool openapi_v3;       /* it has one of version 3 */
	uint64_t hash;
};

struct discovery {
	const struct type_set *set;   /* the built-in types */
	struct type_set *const *more; /* custom ones; borrowed */
	size_t nr_more;
	/* By priority of the group, then of the version. No group of @set. */
	const struct discovery_foreign *foreign;
	size_t nr_foreign;
	const struct type **types; /* all of them, made by discovery_open() */
	size_t nr;
	bool system;
	const char *address; /* host:port */
};

/* Once .set and .more are given. 0 or -ENOMEM. */
int discovery_open(struct discovery *d);
void discovery_close(struct discovery *d);

void discovery_api(const struct discovery *d, struct buf *b);
void discovery_apis(const struct discovery *d, struct buf *b);
/* -ENOENT when there is no such group or version. */
int discovery_group(const struct discovery *d, const char *group,
		    struct buf *b);
int discovery_resources(const struct discovery *d, const char *group,
			const char *version, struct buf *b);
/* apidiscovery.k8s.io/v2 (or v2beta1); core or the other groups. */
void discovery_aggregated(const struct discovery *d, bool core,
			  const char *version, struct buf *b);
void openapi_v3_index(const struct discovery *d, struct buf *b);
int openapi_v3(const struct discovery *d, const char *group,
	       const char *version, struct buf *b);
void openapi_v2(const struct discovery *d, struct buf *b);
/* The same in gnostic's protobuf form, converted from the JSON text. */
int openapi_v2_protobuf(const char *json, size_t len, struct buf *b);

#endif /* CONTROLPLANE_SCHEMA_TYPES_H */
