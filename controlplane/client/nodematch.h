/* SPDX-License-Identifier: Apache-2.0 */
/* Does a node do for a pod, by its labels and taints? Of the scheduler and of
 * daemons. */
#ifndef CONTROLPLANE_CLIENT_NODEMATCH_H
#define CONTROLPLANE_CLIENT_NODEMATCH_H

#include <stdbool.h>
#include <yyjson.h>

/* A NodeSelectorTerm: matchExpressions and matchFields. */
bool node_term_matches(yyjson_val *term, yyjson_val *node);
/* nodeSelector and required node affinity; both may be NULL. */
bool node_selected(yyjson_val *selector, yyjson_val *affinity,
		   yyjson_val *node);
bool taint_tolerated(yyjson_val *tolerations, const char *key,
		     const char *value, const char *effect);

#endif /* CONTROLPLANE_CLIENT_NODEMATCH_H */
