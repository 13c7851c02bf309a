/* SPDX-License-Identifier: Apache-2.0 */
/* What expressions see of a request: the variables of schema/expressions.h,
 * each made when it is first wanted. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_SCENE_H
#define CONTROLPLANE_APISERVER_ADMISSION_SCENE_H

#include <stdint.h>

#include "controlplane/schema/expressions.h"

struct admission;
struct err;
struct type;

struct scene {
	const struct admission *a;
	const struct type *as; /* the version it is shown in */
	yyjson_mut_doc *doc;   /* what was made for it */
	yyjson_mut_val null;
	yyjson_mut_val *vars[EXPR_NR_VARS]; /* once scene_fill() was called */
	struct cel_authorizer who;
};

/* @as: the request's type, or another version of it. */
void scene_open(struct scene *v, const struct admission *a,
		const struct type *as);
void scene_close(struct scene *v);
/* 0, -ENOMEM, or -EINVAL: it cannot be shown in that version. */
int scene_fill(struct scene *v, struct err *e);

/* Whether the conditions of a webhook all hold: 1, 0 (one is false, whatever
 * the others are), or -EINVAL: one cannot be told, says @e. */
int scene_conditions(struct scene *v, yyjson_val *conditions, struct err *e);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_SCENE_H */
