/* SPDX-License-Identifier: Apache-2.0 */
/* Targets: "/api/v1/namespaces/a%20b/pods?watch=1&command=ls&command=-l". */
#ifndef LIB_HTTP_URL_H
#define LIB_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct err;

#define URL_SEGMENTS_MAX 24
#define URL_PARAMS_MAX   256

struct url_param {
	const char *name;
	const char *value;
};

struct url {
	const char *segment[URL_SEGMENTS_MAX]; /* of the path, decoded */
	size_t nr_segments;
	struct url_param param[URL_PARAMS_MAX]; /* of the query, decoded */
	size_t nr_params;
	char *text; /* owned: what the pointers point into */
};

/**
 * url_parse() - Take a target apart.
 * @target: "/path?query". Borrowed.
 * @ret:    Set on success; release with url_clear().
 *
 * Empty segments, "." and "..", NUL and '/' inside a segment are refused.
 *
 * Return: 0, -EBADMSG, -E2BIG, or -ENOMEM.
 */
int url_parse(const char *target, struct url *ret, struct err *e);
void url_clear(struct url *u);

/* The first value of that name; NULL: there is none. */
const char *url_param(const struct url *u, const char *name);
/* As Kubernetes reads a flag: all but "false" and "0" is true, also "True" and
 * nothing ("?watch"). */
bool url_is_true(const char *value);
bool url_flag(const struct url *u, const char *name);

/* Append @s, percent-encoded except for letters, digits and "-._~". */
void url_encode(struct buf *b, const char *s);

#endif /* LIB_HTTP_URL_H */
