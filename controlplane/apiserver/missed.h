/* SPDX-License-Identifier: Apache-2.0 */
/* Caches of ours that follow the store, when events have passed them by. */
#ifndef CONTROLPLANE_APISERVER_MISSED_H
#define CONTROLPLANE_APISERVER_MISSED_H

#include <stdbool.h>

struct api;
struct map;
struct store_watch;

/* Whether @n, of reading @w, says that events were missed; it goes on then. */
bool missed_events(struct store_watch *w, int n);

/* All there are (borrowed value: @api), for who has to look at each again. */
void missed_tenants(struct api *api, struct map *tenants);

#endif /* CONTROLPLANE_APISERVER_MISSED_H */
