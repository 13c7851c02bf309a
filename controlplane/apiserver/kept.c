// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/kept.h"

#include <pthread.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/internal.h"
#include "lib/map.h"
#include "lib/str.h"

struct kept {
	struct kept_opts opts;
	pthread_rwlock_t lock;
	struct map tenants; /* -> struct kept_head */
	struct store_watch *watches[KEPT_WATCHES_MAX];
	atomic_uint_fast64_t seq; /* counts what the watches tell */
	atomic_uint_fast64_t applied;
	uint64_t changes[256];
};

void kept_unref(void *made)
{
	struct kept_head *h = made;

	if (h && atomic_fetch_sub(&h->refs, 1) == 1)
		h->free(h);
}

static void on_change(void *arg)
{
	struct kept *k = arg;

	atomic_fetch_add(&k->seq, 1);
}

/* How often a tenant's objects have changed; some tenants share a count. */
static uint64_t *changes_of(struct kept *k, const char *tenant)
{
	return &k->changes[map_hash(tenant, strlen(tenant)) %
			   ARRAY_LEN(k->changes)];
}

/* Forget what was made for the tenant in which @key has changed. */
static void forget(struct kept *k, const char *key)
{
	const char *tenant = strchr(strchr(key, '/') + 1, '/') + 1;
	char name[64];
	size_t n = strcspn(tenant, "/");

	if (n >= sizeof(name))
		return;
	memcpy(name, tenant, n);
	name[n] = '\0';
	(*changes_of(k, name))++;
	kept_unref(map_del(&k->tenants, name));
}

/* With the lock held for writing. */
static void catch_up(struct kept *k)
{
	uint64_t seq = atomic_load(&k->seq);
	struct store_event ev[64];
	int n;

	for (size_t w = 0; w < k->opts.nr_prefixes; w++) {
		while ((n = store_watch_read(k->watches[w], ev, 64)) > 0)
			for (int i = 0; i < n; i++) {
				forget(k, ev[i].obj->key);
				store_event_clear(&ev[i]);
			}
		/* It fell behind: nothing that is known is sure. */
		if (missed_events(k->watches[w], n)) {
			map_clear(&k->tenants, kept_unref);
			for (size_t i = 0; i < ARRAY_LEN(k->changes); i++)
				k->changes[i]++;
		}
	}
	atomic_store(&k->applied, seq);
}

/* Kept, unless the tenant's objects have changed while it was made. */
static void keep(struct kept *k, const char *tenant, struct kept_head *made,
		 uint64_t changes)
{
	void *old = NULL;

	pthread_rwlock_wrlock(&k->lock);
	catch_up(k);
	if (map_len(&k->tenants) >= KEPT_TENANTS_MAX)
		map_clear(&k->tenants, kept_unref);
	if (*changes_of(k, tenant) == changes &&
	    map_set(&k->tenants, tenant, made, &old) == 0)
		atomic_fetch_add(&made->refs, 1);
	kept_unref(old);
	pthread_rwlock_unlock(&k->lock);
}

static struct kept_head *find(struct kept *k, const char *tenant)
{
	struct kept_head *made = map_get(&k->tenants, tenant);

	if (made)
		atomic_fetch_add(&made->refs, 1);
	return made;
}

void *kept_get(struct kept *k, const char *tenant)
{
	struct kept_head *made = NULL;
	uint64_t changes;

	pthread_rwlock_rdlock(&k->lock);
	if (atomic_load(&k->applied) == atomic_load(&k->seq))
		made = find(k, tenant);
	pthread_rwlock_unlock(&k->lock);
	if (made)
		return made;
	pthread_rwlock_wrlock(&k->lock);
	catch_up(k);
	made = find(k, tenant);
	changes = *changes_of(k, tenant);
	pthread_rwlock_unlock(&k->lock);
	if (made)
		return made;
	/* Without the lock: a tenant with many objects keeps nobody else
	 * waiting. It has all that was acknowledged before this request. */
	made = k->opts.make(k->opts.api, tenant);
	if (!made)
		return NULL;
	atomic_init(&made->refs, 1);
	keep(k, tenant, made, changes);
	return made;
}

int kept_open(const struct kept_opts *o, struct kept **ret, struct err *e)
{
	struct kept *k = calloc(1, sizeof(*k));
	int r = 0;

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	k->opts = *o;
	pthread_rwlock_init(&k->lock, NULL);
	for (size_t i = 0; i < o->nr_prefixes && r == 0; i++)
		r = store_watch_open(o->api->store, o->prefixes[i], 0,
				     on_change, k, &k->watches[i], e);
	if (r < 0) {
		kept_close(k);
		return r;
	}
	/* Read once, so that they tell. */
	catch_up(k);
	*ret = k;
	return 0;
}

void kept_close(struct kept *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->opts.nr_prefixes; i++)
		if (k->watches[i])
			store_watch_close(k->watches[i]);
	map_clear(&k->tenants, kept_unref);
	pthread_rwlock_destroy(&k->lock);
	free(k);
}
