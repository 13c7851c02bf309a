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
	SEL_LT
};

struct selector_term {
	enum selector_op op;
	const char *tag; /* "l:app", "f:status.phase"; in selector.text */
	const char **values;
	size_t nr_values;
};

/* All terms must hold. Owns its strings. */
struct selector {
	struct selector_term terms[SELECTOR_TERMS_MAX];
	size_t nr;
	char *text[2];
	const char *name; /* metadata.name=..., else NULL */
};

/* "app=web,tier in (a,b),!old" and "status.phase!=Running". */
int selector_parse_labels(struct selector *s, const char *text, struct err *e);
int selector_parse_fields(struct selector *s, const struct type *t,
			  const char *text, struct err *e);
bool selector_match(const struct selector *s, const struct object_bytes *o);
void selector_clear(struct selector *s);

#endif /* CONTROLPLANE_APISERVER_SELECTOR_H */
