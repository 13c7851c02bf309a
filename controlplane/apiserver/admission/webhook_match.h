/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_MATCH_H
#define CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_MATCH_H

#include <stdbool.h>
#include <yyjson.h>

struct admission;

/* Is this webhook of configuration @config to be asked about the request? */
bool webhook_matches(const struct admission *a, yyjson_val *config,
		     yyjson_val *hook);

#endif /* CONTROLPLANE_APISERVER_ADMISSION_WEBHOOK_MATCH_H */
