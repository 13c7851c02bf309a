// SPDX-License-Identifier: Apache-2.0
/*
 * Which tombstones are still needed.
 *
 * A record that is dead stays in etcd as long as most of its segment lives. At
 * the next start nothing tells that it is dead but a newer record of its key:
 * a version that lives, or a tombstone. That one is dead, too, once it is
 * compacted, but may go only when no older record of its key is left, in
 * whichever cluster; or what was deleted would be back.
 *
 * So for each key the older records that are known to be there are counted,
 * until their segments are gone or written again without them. While a cluster
 * has not been read, nobody knows what there is, and all tombstones stay.
 */
#include "controlplane/store/etcd_shard.h"

#define BUCKETS_MIN 256

struct grave {
	struct grave *next;
	uint64_t hash;
	struct etcd *in;  /* where its tombstone is; NULL: it has none */
	uint64_t tomb;    /* that one's revision */
	uint32_t garbage; /* older records that are there */
	char key[];
};

static struct grave **place_of(const struct graves *t, const char *key,
			       uint64_t hash)
{
	struct grave **at = &t->v[hash & (t->size - 1)];

	while (*at && ((*at)->hash != hash || strcmp((*at)->key, key) != 0))
		at = &(*at)->next;
	return at;
}

static struct grave *find(const struct graves *t, const char *key)
{
	return t->nr ? *place_of(t, key, map_hash(key, strlen(key))) : NULL;
}

static bool grow(struct graves *t)
{
	size_t size = t->size ? t->size * 2 : BUCKETS_MIN;
	struct grave **v, *g, *next;

	if (t->nr < t->size)
		return true;
	v = calloc(size, sizeof(*v));
	if (!v)
		return t->size > 0;
	for (size_t i = 0; i < t->size; i++)
		for (g = t->v[i]; g; g = next) {
			next = g->next;
			g->next = v[g->hash & (size - 1)];
			v[g->hash & (size - 1)] = g;
		}
	free(t->v);
	t->v = v;
	t->size = size;
	return true;
}

static struct grave *find_or_add(struct graves *t, const char *key)
{
	size_t len = strlen(key);
	struct grave *g = find(t, key);

	if (g)
		return g;
	g = grow(t) ? calloc(1, sizeof(*g) + len + 1) : NULL;
	if (!g) {
		t->blind = true;
		return NULL;
	}
	memcpy(g->key, key, len + 1);
	g->hash = map_hash(key, len);
	g->next = t->v[g->hash & (t->size - 1)];
	t->v[g->hash & (t->size - 1)] = g;
	t->nr++;
	return g;
}

static void drop(struct graves *t, struct grave *g)
{
	*place_of(t, g->key, g->hash) = g->next;
	t->nr--;
	free(g);
}

/* May there be records of which is not known here? */
static bool is_blind(struct etcd *c)
{
	if (c->graves.blind)
		return true;
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		if (sh && !atomic_load(&sh->loaded))
			return true;
	}
	return false;
}

/* Its tombstone is as dead as any other record. */
static void release(struct grave *g)
{
	struct seg *s = g->in ? etcd_seg_find(g->in, g->tomb) : NULL;

	g->in = NULL;
	if (!s || g->tomb > s->last)
		return;
	if (s->nr_buried)
		s->nr_buried--;
	etcd_seg_mark(s, g->tomb);
}

struct grave *etcd_grave_of(struct etcd *c, const char *key)
{
	struct grave *g = find_or_add(&c->graves, key);

	if (g)
		g->garbage++;
	return g;
}

void etcd_grave_gone(struct etcd *c, struct grave *g)
{
	if (--g->garbage || (g->in && is_blind(c)))
		return;
	release(g);
	drop(&c->graves, g);
}

bool etcd_grave_bury(struct etcd *c, struct etcd *in, struct seg *s,
		     const struct object_bytes *o)
{
	struct grave *g = find(&c->graves, o->key);

	if (!g && !is_blind(c))
		return false;
	if (!g)
		g = find_or_add(&c->graves, o->key);
	if (!g)
		return true; /* it is kept until the next start */
	if (g->in && g->tomb == o->revision)
		return true;
	if (g->in && g->tomb > o->revision)
		return false; /* that one says the same */
	release(g);
	g->in = in;
	g->tomb = o->revision;
	s->nr_buried++;
	return true;
}

bool etcd_grave_hides(const struct etcd *c, const struct object_bytes *o)
{
	const struct grave *g = find(&c->graves, o->key);

	return g && g->in && g->tomb > o->revision;
}

/* Those that have nothing more to wait for. */
static void sweep(struct etcd *c, const struct etcd *gone)
{
	struct graves *t = &c->graves;

	for (size_t i = 0; i < t->size; i++)
		for (struct grave *g = t->v[i], *next; g; g = next) {
			next = g->next;
			if (gone && g->in == gone)
				g->in = NULL;
			if (g->garbage)
				continue;
			release(g);
			drop(t, g);
		}
}

void etcd_graves_look(struct etcd *c)
{
	if (!is_blind(c))
		sweep(c, NULL);
}

void etcd_graves_forget(struct etcd *c, struct etcd *gone)
{
	for (size_t i = 0; i < gone->nr_segs; i++) {
		struct seg *s = &gone->segs[i];

		for (uint64_t n = 0; s->graves && n <= s->last - s->first; n++)
			if (s->graves[n])
				s->graves[n]->garbage--;
		free(s->graves);
		s->graves = NULL;
	}
	if (!is_blind(c))
		sweep(c, gone);
}

void etcd_graves_clear(struct graves *t)
{
	for (size_t i = 0; i < t->size; i++)
		for (struct grave *g = t->v[i], *next; g; g = next) {
			next = g->next;
			free(g);
		}
	free(t->v);
	memset(t, 0, sizeof(*t));
}
