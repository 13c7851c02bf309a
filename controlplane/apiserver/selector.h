/* SPDX-License-Identifier: Apache-2.0 */
/* Label and field selectors, evaluated on an object's tags: no parsing of
 * objects on the read path. */
#ifndef CONTROLPLANE_APISERVER_SELECTOR_H
#define CONTROLPLANE_APISERVER_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct object_bytes;
struct type;

#define SELECTOR_TERMS_MAX 64
#define SELECTOR_LEN_MAX   16384

enum selector_op {
	SEL_IN,
	SEL_NOT_IN,
	SEL_EXISTS,
	SEL_NOT_EXISTS,
	SEL_GT,
	SEL_LT,
	SEL_GTE,
	SEL_LTE
};

struct selector_term {
	enum selector_op op;
	int group;       /* of fields, divided by ';'; -1: a label */
	const char *tag; /* "l:app", "f:status.phase"; in selector.text */
	const char **values;
	size_t nr_values;
};

/* All terms must hold; of fields, all terms of any one group. Owns its
 * strings. */
struct selector {
	struct selector_term *terms;
	size_t nr, room;
	int groups;
	char *text[2];
	const char *name; /* metadata.name=..., else NULL */
};

/* "app=web,tier in (a,b),!old" and "status.phase!=Running". Fields know
 * alternatives (a=1;b=2) and, for metadata.hashkey and
 * metadata.ownerReferences. hashkey.KIND, ranges:
 * "metadata.hashkey=gt:5,metadata.hashkey=lte:9". */
int selector_parse_labels(struct selector *s, const char *text, struct err *e);
int selector_parse_fields(struct selector *s, const struct type *t,
			  const char *text, struct err *e);
bool selector_match(const struct selector *s, const struct object_bytes *o);
void selector_clear(struct selector *s);

#endif /* CONTROLPLANE_APISERVER_SELECTOR_H */
