// SPDX-License-Identifier: Apache-2.0
/*
 * Keys in order: a skip list. One writer at a time, under the store's write
 * lock; readers under its read lock. Each entry holds its versions, newest
 * first, so that one structure serves every snapshot.
 */
#include "controlplane/store/internal.h"

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
	struct entry *en = seek(x, key, NULL);

	return en && strcmp(en->key, key) == 0 ? en : NULL;
}

struct entry *index_find_or_add(struct index *x, const char *key, size_t len)
{
	struct entry **links[INDEX_LEVELS];
	struct entry *en = seek(x, key, links);
	unsigned int levels;
	size_t room;

	if (en && strcmp(en->key, key) == 0)
		return en;
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
	memset(x, 0, sizeof(*x));
}

struct object_bytes *entry_at(const struct entry *en, uint64_t revision)
{
	struct object_bytes *o = en->head;

	while (o && o->revision > revision)
		o = o->older;
	return o && !o->deleted ? o : NULL;
}
