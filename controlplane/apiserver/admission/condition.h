/* SPDX-License-Identifier: Apache-2.0 */
/* matchConditions: expressions in CEL about a request, all of which must hold
 * for a webhook to be asked. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_CONDITION_H
#define CONTROLPLANE_APISERVER_ADMISSION_CONDITION_H

#include <yyjson.h>

struct admission;
struct err;

/* What the expressions of one request see; made when the first is met. */
struct condition_view {
	yyjson_mut_doc *doc;
	yyjson_mut_val *request;
};
void condition_view_clear(struct condition_view *v);

/* Whether they all hold: 1, 0 (one is false, whatever the others are), or
 * -EINVAL: one cannot be told, says @e. */
int conditions_hold(struct admission *a, struct condition_view *view,
		    yyjson_val *conditions, struct err *e);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_CONDITION_H */
