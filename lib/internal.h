/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of lib/ only. */
#ifndef LIB_INTERNAL_H
#define LIB_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

struct yaml_scalar {
	const char *text; /* NUL-terminated, without NUL inside */
	size_t len;
	const char *tag; /* NULL: none */
	bool plain;      /* not quoted */
};

/* What the scalar means. 0, -EBADMSG with *@ret_why set ("'.inf' has no ..."),
 * or -ENOMEM. */
int yaml_scalar_resolve(yyjson_mut_doc *doc, const struct yaml_scalar *s,
			yyjson_mut_val **ret, const char **ret_why);

/* Would this text, written plainly, be read as something else than a string? */
bool yaml_scalar_needs_quotes(const char *text, size_t len);

#endif /* LIB_INTERNAL_H */
