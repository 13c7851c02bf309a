// SPDX-License-Identifier: Apache-2.0
/*
 * Caches of ours follow the store. One that fell behind the history, or whose
 * store took in a cluster that had been away, looks at everything again.
 */
#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

bool missed_events(struct store_watch *w, int n)
{
	if (n != -ESTALE)
		return false;
	store_watch_again(w);
	return true;
}

void missed_tenants(struct api *api, struct map *tenants)
{
	static const char prefix[] = "core/tenants///";
	struct store_range range = { .prefix = prefix };
	struct store_list list;

	(void)map_set(tenants, SYSTEM, api, NULL);
	if (store_list(api->store, &range, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < list.nr; i++)
		(void)map_set(tenants, list.v[i]->key + strlen(prefix), api,
			      NULL);
	store_list_clear(&list);
}
