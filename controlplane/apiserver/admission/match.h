/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests webhooks and policies are asked about. */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_MATCH_H
#define CONTROLPLANE_APISERVER_ADMISSION_MATCH_H

#include <stdbool.h>
#include <yyjson.h>

struct admission;
struct type;

/* The annotation that names tenants, if there is one, names the request's. */
bool match_tenant(const struct admission *a, yyjson_val *config);
/* Is @hook, of the configuration @config, to be asked about the request? All
 * but its conditions. */
bool match_webhook(const struct admission *a, yyjson_val *config,
		   yyjson_val *hook);
/* The version of the request's type that a MatchResources (NULL: all of them)
 * is about; NULL: it is not about this request. */
const struct type *match_resources(const struct admission *a,
				   yyjson_val *resources);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_MATCH_H */
