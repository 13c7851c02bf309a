// SPDX-License-Identifier: Apache-2.0
/*
 * Which key is where: Tenant objects say in which cluster a tenant is, and
 * StorageCluster objects where that is. Both are in the system's cluster, and
 * are followed as they become visible. All without a tenant is in the
 * system's, too.
 */
#include <stdio.h>

#include "controlplane/store/etcd_shard.h"
#include "lib/str.h"

#define TENANTS  "core/tenants///"
#define CLUSTERS "core/storageclusters///"

/* The tenant's part of a key; false: it ends before. */
static bool tenant_in(const char *key, const char **ret, size_t *ret_len)
{
	const char *p = strchr(key, '/');

	p = p ? strchr(p + 1, '/') : NULL;
	if (!p)
		return false;
	*ret = ++p;
	*ret_len = strcspn(p, "/");
	return p[*ret_len] == '/';
}

int shards_place(struct etcd *c, const char *key)
{
	struct shards *s = c->shards;
	const char *tenant;
	size_t len;
	void *id;

	if (s->opts.place)
		return s->opts.place(key);
	if (!atomic_load(&s->nr))
		return 0;
	if (!tenant_in(key, &tenant, &len))
		return -1;
	pthread_rwlock_rdlock(&s->lock);
	id = len ? map_get_n(&s->tenants, tenant, len) : NULL;
	pthread_rwlock_unlock(&s->lock);
	return (int)(uintptr_t)id;
}

int shards_place_of(struct store_backend *b, const char *key)
{
	return shards_place((struct etcd *)b, key);
}

void shards_dead(struct store_backend *b, const struct object_bytes *o)
{
	struct etcd *c = (struct etcd *)b;

	etcd_seg_dead(c, c, o);
	for (int id = 1; atomic_load(&c->shards->nr) && id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		if (sh)
			etcd_seg_dead(c, &sh->c, o);
	}
}

void shards_outlived(struct store_backend *b, const struct object_bytes *o)
{
	struct etcd *c = (struct etcd *)b;

	etcd_seg_outlived(c, c, o);
	for (int id = 1; atomic_load(&c->shards->nr) && id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		if (sh)
			etcd_seg_outlived(c, &sh->c, o);
	}
}

struct shard *shards_get(struct etcd *c, int id)
{
	struct shards *s = c->shards;
	struct shard *sh = NULL;

	if (!s || !atomic_load(&s->nr) || id <= 0 || id >= SHARDS_MAX)
		return NULL;
	pthread_rwlock_rdlock(&s->lock);
	sh = s->v[id];
	pthread_rwlock_unlock(&s->lock);
	return sh; /* none is freed before the store is closed */
}

/* --- following the objects --- */

static void add_shard(struct etcd *c, int id, const char *name,
		      const char *address, const struct object_bytes *o)
{
	struct shards *s = c->shards;
	struct shard *sh = shard_new(c, id, name, address);
	bool start;

	if (!sh)
		return; /* its tenants are told that it is not known */
	sh->defined = o ? o->revision : 0;
	sh->created = o ? o->created : 0;
	pthread_rwlock_wrlock(&s->lock);
	s->v[id] = sh;
	start = s->start;
	atomic_fetch_add(&s->nr, 1);
	pthread_rwlock_unlock(&s->lock);
	if (start && shard_start(sh) < 0)
		shard_state_set(sh, SHARD_AWAY, -EHOSTUNREACH,
				"cannot start a thread");
}

static void drop_shard(struct etcd *c, const char *name, uint64_t at)
{
	struct shards *s = c->shards;
	struct shard *before, *after;

	pthread_rwlock_wrlock(&s->lock);
	before = s->gone;
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = s->v[id];

		if (!sh || strcmp(sh->name, name) != 0 || at <= sh->defined)
			continue;
		for (size_t i = 0; i < sh->c.nr_segs; i++)
			etcd_part_is_gone(c, sh->c.segs[i].first);
		shard_end(sh, at);
		sh->next = s->gone;
		s->gone = sh;
		s->v[id] = NULL;
		atomic_fetch_sub(&s->nr, 1);
	}
	after = s->gone;
	pthread_rwlock_unlock(&s->lock);
	for (; after != before; after = after->next)
		etcd_graves_forget(c, &after->c);
}

static void seen_cluster(struct etcd *c, const struct object_bytes *o)
{
	const char *name = o->key + strlen(CLUSTERS);
	const char *text = object_tag(o, "f:storageClusterId");
	const char *address = object_tag(o, "f:serviceAddress");
	struct shard *sh;
	int id = 0;

	if (o->deleted) {
		drop_shard(c, name, o->revision);
		return;
	}
	if (!text || str_to_int(text, &id) || id <= 0 || id >= SHARDS_MAX ||
	    !address)
		return;
	pthread_rwlock_rdlock(&c->shards->lock);
	sh = c->shards->v[id];
	pthread_rwlock_unlock(&c->shards->lock);
	if (!sh) {
		add_shard(c, id, name, address, o);
	} else if (strcmp(sh->name, name) == 0 && o->revision > sh->defined) {
		sh->defined = o->revision;
		shard_move(sh, address);
	}
}

static void seen_tenant(struct etcd *c, const struct object_bytes *o)
{
	const char *name = o->key + strlen(TENANTS);
	const char *text = object_tag(o, "f:spec.storageClusterId");
	int id = 0;

	if (text && str_to_int(text, &id))
		id = 0;
	pthread_rwlock_wrlock(&c->shards->lock);
	if (o->deleted || id <= 0 || id >= SHARDS_MAX ||
	    strcmp(name, "system") == 0)
		(void)map_del(&c->shards->tenants, name);
	else
		(void)map_set(&c->shards->tenants, name, (void *)(uintptr_t)id,
			      NULL);
	pthread_rwlock_unlock(&c->shards->lock);
}

void shards_seen_cluster(struct store_backend *b, const struct object_bytes *o)
{
	struct etcd *c = (struct etcd *)b;

	if (!c->shards->opts.place && str_starts(o->key, CLUSTERS))
		seen_cluster(c, o);
}

void shards_seen(struct store_backend *b, const struct object_bytes *o)
{
	struct etcd *c = (struct etcd *)b;

	if (c->shards->opts.place || !str_starts(o->key, "core/"))
		return;
	if (str_starts(o->key, CLUSTERS))
		seen_cluster(c, o);
	else if (str_starts(o->key, TENANTS))
		seen_tenant(c, o);
}

/* --- what others ask --- */

static int name_it(const struct shard *sh, int code, struct err *e)
{
	return err_wrap(e, code, "storage cluster %d (%s)", sh->id, sh->name);
}

int shards_may(struct store_backend *b, const char *key, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	int id = shards_place(c, key), r = 0;
	struct shard *sh;

	if (id <= 0)
		return 0;
	sh = shards_get(c, id);
	if (!sh)
		return err_set(e, -EHOSTUNREACH,
			       "there is no storage cluster %d: make a "
			       "StorageCluster with that storageClusterId",
			       id);
	pthread_mutex_lock(&sh->c.lock);
	if (sh->state == SHARD_AWAY)
		r = err_set(e, sh->code, "%s", sh->why);
	else if (sh->state != SHARD_READY || !atomic_load(&sh->loaded))
		r = err_set(e, -EINPROGRESS, "it has not answered yet");
	pthread_mutex_unlock(&sh->c.lock);
	return r < 0 ? name_it(sh, r, e) : 0;
}

static int whole_one(struct shard *sh, uint64_t *floor, struct err *e)
{
	uint64_t own = atomic_load(&sh->floor);

	if (own > *floor)
		*floor = own;
	if (atomic_load(&sh->loaded))
		return 0;
	pthread_mutex_lock(&sh->c.lock);
	err_set(e, -EHOSTUNREACH, "what is in it is not known here: %s",
		sh->state == SHARD_AWAY ? sh->why : "it is being read");
	pthread_mutex_unlock(&sh->c.lock);
	return name_it(sh, -EHOSTUNREACH, e);
}

int shards_whole(struct store_backend *b, const char *prefix,
		 uint64_t *ret_floor, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	struct shard *sh;
	int id, r = 0;

	*ret_floor = 0;
	if (!atomic_load(&c->shards->nr))
		return 0;
	id = shards_place(c, prefix);
	if (id >= 0) {
		sh = shards_get(c, id);
		return sh ? whole_one(sh, ret_floor, e) : 0;
	}
	for (id = 1; id < SHARDS_MAX && r == 0; id++)
		if ((sh = shards_get(c, id)))
			r = whole_one(sh, ret_floor, e);
	return r;
}

int shards_cluster(struct store_backend *b, int id, struct store_cluster *ret)
{
	struct shard *sh = shards_get((struct etcd *)b, id);

	memset(ret, 0, sizeof(*ret));
	if (!sh)
		return -ENOENT;
	ret->id = id;
	snprintf(ret->name, sizeof(ret->name), "%s", sh->name);
	ret->whole = atomic_load(&sh->loaded);
	pthread_mutex_lock(&sh->c.lock);
	snprintf(ret->address, sizeof(ret->address), "%s", sh->address);
	ret->ready = (sh->state == SHARD_READY || sh->state == SHARD_SLOW) &&
		     ret->whole;
	ret->asked = sh->state != SHARD_AWAY && !ret->ready;
	if (!ret->ready)
		snprintf(ret->why, sizeof(ret->why), "%s",
			 sh->state == SHARD_AWAY ? sh->why
						 : "it has not answered yet");
	pthread_mutex_unlock(&sh->c.lock);
	return 0;
}

/* --- life --- */

void shards_start(struct etcd *c)
{
	struct shards *s = c->shards;

	pthread_rwlock_wrlock(&s->lock);
	s->start = true;
	for (int id = 1; id < SHARDS_MAX; id++)
		if (s->v[id] && shard_start(s->v[id]) < 0)
			shard_state_set(s->v[id], SHARD_AWAY, -EHOSTUNREACH,
					"cannot start a thread");
	pthread_rwlock_unlock(&s->lock);
}

static char *copy(const char *text, int *ret_error)
{
	char *s = text ? strdup(text) : NULL;

	if (text && !s)
		*ret_error = -ENOMEM;
	return s;
}

int shards_open(struct etcd *c, const struct store_etcd *o, struct err *e)
{
	struct shards *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int r = 0;

	if (!s)
		return err_set(e, -ENOMEM, "etcd: out of memory");
	s->opts = *o;
	s->opts.ca_file = copy(o->ca_file, &r);
	s->opts.cert_file = copy(o->cert_file, &r);
	s->opts.key_file = copy(o->key_file, &r);
	pthread_rwlock_init(&s->lock, NULL);
	pthread_mutex_init(&s->done_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->done, &attr);
	pthread_condattr_destroy(&attr);
	c->shards = s;
	for (int id = 1; o->clusters && o->clusters[id - 1]; id++) {
		auto_free char *name = str_printf("cluster-%d", id);

		if (name)
			add_shard(c, id, name, o->clusters[id - 1], NULL);
	}
	return r < 0 ? err_set(e, r, "etcd: out of memory") : 0;
}

void shards_close(struct etcd *c)
{
	struct shards *s = c->shards;
	struct shard *sh;

	if (!s)
		return;
	for (int id = 1; id < SHARDS_MAX; id++)
		if (s->v[id])
			shard_stop(s->v[id]);
	for (int id = 1; id < SHARDS_MAX; id++)
		if (s->v[id])
			shard_free(s->v[id]);
	while ((sh = s->gone)) {
		s->gone = sh->next;
		shard_free(sh);
	}
	map_clear(&s->tenants, NULL);
	free((char *)s->opts.ca_file);
	free((char *)s->opts.cert_file);
	free((char *)s->opts.key_file);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->done_lock);
	pthread_cond_destroy(&s->done);
	free(s);
	c->shards = NULL;
}
