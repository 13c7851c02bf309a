/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling declarations: load.c for built-in types, crd.c for custom ones. */
#ifndef CONTROLPLANE_SCHEMA_LOAD_H
#define CONTROLPLANE_SCHEMA_LOAD_H

#include "controlplane/schema/types.h"

struct loader {
	struct type_set *set;
	struct map local; /* definitions of this document, by short name */
	struct schema_ref {
		struct schema *at;
		const char *to; /* short name of a definition */
	} * refs;
	size_t nr_refs;
	struct err *e;
	const char *where;
	size_t nodes, re_bytes; /* compiled so far */
	bool custom; /* of a custom resource: $ref is nothing special */
};

/* Memory that is zeroed, and freed with the set. */
void *loader_keep(struct type_set *set, size_t nr, size_t size);
/* A list of strings, borrowed, ended by NULL. */
const char **loader_strs(struct loader *l, yyjson_val *v);
struct schema *loader_compile(struct loader *l, yyjson_val *v, int depth);
/* Compile the rules of @s and what it holds, once its fields are all there. A
 * rule that is wrong is kept, and fails all values. 0 or -ENOMEM. */
int loader_rules(struct type_set *set, struct schema *s);
/* Note what is wrong with them, @at the schema. */
void schema_rules_check(const struct schema *s, struct path *at,
			struct field_errors *errs);
int loader_columns(struct loader *l, struct type *t, yyjson_val *cols);

#endif /* CONTROLPLANE_SCHEMA_LOAD_H */
