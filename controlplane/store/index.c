// SPDX-License-Identifier: Apache-2.0
/*
 * Keys in order: a skip list; and by hash, for those who know the key: a list
 * of 150,000 is 40 comparisons of keys that begin alike. One writer at a time,
 * under the store's write lock; readers under its read lock. Each entry holds
 * its versions, newest first, so that one structure serves every snapshot.
 */
#include "controlplane/store/internal.h"
#include "lib/map.h"

#define BUCKETS_MIN 1024

/* --- by hash: linear hashing --- */

static struct entry **bucket_of(const struct index *x, uint32_t hash)
{
	size_t mask = BUCKETS_MIN;
	size_t at;

	/* The power of two above what there is; what is not there yet is
	 * still with the bucket it will be split from. */
	while (mask < x->nr_buckets)
		mask *= 2;
	at = hash & (mask - 1);
	if (at >= x->nr_buckets)
		at &= mask / 2 - 1;
	return &x->buckets[at];
}

/* One bucket more, out of the one it was part of. */
static void split(struct index *x)
{
	size_t half = BUCKETS_MIN;
	struct entry *en, *next, **from;

	while (half * 2 <= x->nr_buckets)
		half *= 2;
	from = &x->buckets[x->nr_buckets - half];
	en = *from;
	*from = NULL;
	x->buckets[x->nr_buckets++] = NULL;
	for (; en; en = next) {
		struct entry **to = bucket_of(x, en->hash);

		next = en->hash_next;
		en->hash_next = *to;
		*to = en;
	}
}

static int hash_room(struct index *x)
{
	size_t room = x->room ? x->room * 2 : BUCKETS_MIN;
	struct entry **v;

	if (x->nr_buckets && x->nr < x->nr_buckets)
		return 0;
	if (x->nr_buckets == x->room) {
		v = reallocarray(x->buckets, room, sizeof(*v));
		if (!v)
			return -ENOMEM;
		x->buckets = v;
		x->room = room;
	}
	if (x->nr_buckets) {
		split(x);
		return 0;
	}
	memset(x->buckets, 0, BUCKETS_MIN * sizeof(*x->buckets));
	x->nr_buckets = BUCKETS_MIN;
	return 0;
}

static void hash_del(struct index *x, const struct entry *en)
{
	struct entry **at = bucket_of(x, en->hash);

	while (*at != en)
		at = &(*at)->hash_next;
	*at = en->hash_next;
}

static struct entry *hash_find(const struct index *x, const char *key,
			       size_t len, uint32_t hash)
{
	struct entry *en = x->nr_buckets ? *bucket_of(x, hash) : NULL;

	for (; en; en = en->hash_next)
		if (en->hash == hash && en->key_len == len &&
		    memcmp(en->key, key, len) == 0)
			return en;
	return NULL;
}

/* --- in order --- */

static unsigned int random_levels(struct index *x)
{
	unsigned int n = 1;

	/* xorshift: good enough to balance, and needs no seed from outside */
	x->random ^= x->random << 13;
	x->random ^= x->random >> 7;
	x->random ^= x->random << 17;
	for (uint64_t r = x->random; (r & 3) == 3 && n < INDEX_LEVELS; r >>= 2)
		n++;
	return n;
}

/* For each level the link that leads to the first entry >= @key. */
static struct entry *seek(const struct index *x, const char *key,
			  struct entry **links[INDEX_LEVELS])
{
	struct entry *const *level = x->first;
	struct entry *en = NULL;

	for (int i = INDEX_LEVELS - 1; i >= 0; i--) {
		while ((en = level[i]) && strcmp(en->key, key) < 0)
			level = en->next;
		if (links)
			links[i] = (struct entry **)&level[i];
	}
	return en;
}

struct entry *index_seek(const struct index *x, const char *key)
{
	return seek(x, key, NULL);
}

struct entry *index_find(const struct index *x, const char *key)
{
	size_t len = strlen(key);

	return hash_find(x, key, len, (uint32_t)map_hash(key, len));
}

struct entry *index_find_or_add(struct index *x, const char *key, size_t len)
{
	struct entry **links[INDEX_LEVELS];
	uint32_t hash = (uint32_t)map_hash(key, len);
	struct entry *en = hash_find(x, key, len, hash), **bucket;
	unsigned int levels;
	size_t room;

	if (en)
		return en;
	if (hash_room(x) < 0)
		return NULL;
	(void)seek(x, key, links);
	if (!x->random)
		x->random = 0x9e3779b97f4a7c15;
	levels = random_levels(x);
	room = (sizeof(*en) + len + 1 + 7) & ~(size_t)7;
	en = malloc(room + levels * sizeof(struct entry *));
	if (!en)
		return NULL;
	en->head = NULL;
	en->ttl_slot = 0;
	en->key_len = len;
	memcpy(en->key, key, len);
	en->key[len] = '\0';
	en->next = (struct entry **)((char *)en + room);
	for (unsigned int i = 0; i < levels; i++) {
		en->next[i] = *links[i];
		*links[i] = en;
	}
	bucket = bucket_of(x, hash);
	en->hash = hash;
	en->hash_next = *bucket;
	*bucket = en;
	x->nr++;
	return en;
}

void index_del(struct index *x, const char *key)
{
	struct entry **links[INDEX_LEVELS];
	struct entry *en = seek(x, key, links);

	if (!en || strcmp(en->key, key) != 0)
		return;
	for (int i = 0; i < INDEX_LEVELS && *links[i] == en; i++)
		*links[i] = en->next[i];
	hash_del(x, en);
	x->nr--;
	free(en);
}

void index_clear(struct index *x)
{
	struct entry *en = x->first[0], *next;

	for (; en; en = next) {
		struct object_bytes *o = en->head, *older;

		next = en->next[0];
		for (; o; o = older) {
			older = o->older;
			object_unref(o);
		}
		free(en);
	}
	free(x->buckets);
	memset(x, 0, sizeof(*x));
}

struct object_bytes *entry_at(const struct entry *en, uint64_t revision)
{
	struct object_bytes *o = en->head;

	while (o && o->revision > revision)
		o = o->older;
	return o && !o->deleted ? o : NULL;
}
