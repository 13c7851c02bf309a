// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lib/auto.h"
#include "lib/map.h"

/* Entries lie in the order of insertion; the hash table holds their places. A
 * deleted entry leaves a hole (key NULL) and a tombstone, and both go when the
 * map is next rebuilt. Iterators remember a serial number, not a place, so they
 * survive that. */
struct map_entry {
	char *key; /* owned; NULL for a hole */
	size_t len;
	uint64_t serial; /* ascending */
	uint64_t hash;
	void *value;
};

#define SLOT_FREE UINT32_MAX
#define SLOT_GONE (UINT32_MAX - 1)
#define SLOTS_MIN 8
#define KEYS_MAX  (UINT32_MAX / 4)
#define NOT_FOUND SIZE_MAX

static uint64_t seed[2];

static void make_seed(void)
{
	struct timespec ts;

	if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		return;
	/* Early boot: the address space layout and the clock must do. */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	seed[0] = (uint64_t)ts.tv_nsec * 0x9e3779b97f4a7c15u;
	seed[1] = (uint64_t)(uintptr_t)&ts ^ (uint64_t)ts.tv_sec;
}

static inline uint64_t rotl(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

uint64_t map_hash(const void *data, size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const unsigned char *p = data;
	uint64_t v[4], m, last = (uint64_t)len << 56;

	pthread_once(&once, make_seed);
	v[0] = seed[0] ^ 0x736f6d6570736575u;
	v[1] = seed[1] ^ 0x646f72616e646f6du;
	v[2] = seed[0] ^ 0x6c7967656e657261u;
	v[3] = seed[1] ^ 0x7465646279746573u;
	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&m, p, 8);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot that holds @key, or NOT_FOUND. */
static size_t find_slot(const struct map *m, const char *key, size_t len,
			uint64_t hash)
{
	size_t mask = m->nr_slots - 1;

	if (!m->nr_slots)
		return NOT_FOUND;
	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		const struct map_entry *ent;

		if (m->slots[i] == SLOT_FREE)
			return NOT_FOUND;
		if (m->slots[i] == SLOT_GONE)
			continue;
		ent = &m->entries[m->slots[i]];
		if (ent->hash == hash && ent->len == len &&
		    memcmp(ent->key, key, len) == 0)
			return i;
	}
}

static void put_slot(uint32_t *slots, size_t nr_slots, uint64_t hash,
		     uint32_t index)
{
	size_t i = hash & (nr_slots - 1);

	while (slots[i] != SLOT_FREE)
		i = (i + 1) & (nr_slots - 1);
	slots[i] = index;
}

/* Make room for one more key: squeeze out the holes, and leave the table at
 * most half full of entries. */
static int make_room(struct map *m)
{
	size_t nr = 0, nr_slots = SLOTS_MIN;
	struct map_entry *entries;
	uint32_t *slots;

	if (m->used < m->nr_slots / 2)
		return 0;
	if (m->nr >= KEYS_MAX)
		return -ENOMEM;
	while (nr_slots / 2 <= m->nr + m->nr / 2)
		nr_slots *= 2;
	slots = malloc(nr_slots * sizeof(*slots));
	entries = malloc(nr_slots / 2 * sizeof(*entries));
	if (!slots || !entries) {
		free(slots);
		free(entries);
		return -ENOMEM;
	}
	memset(slots, 0xff, nr_slots * sizeof(*slots));
	for (size_t i = 0; i < m->used; i++) {
		if (!m->entries[i].key)
			continue;
		put_slot(slots, nr_slots, m->entries[i].hash, (uint32_t)nr);
		entries[nr++] = m->entries[i];
	}
	free(m->slots);
	free(m->entries);
	m->slots = slots;
	m->entries = entries;
	m->nr_slots = nr_slots;
	m->used = nr;
	return 0;
}

int map_set(struct map *m, const char *key, void *value, void **ret_old)
{
	size_t len = strlen(key);
	uint64_t hash = map_hash(key, len);
	size_t slot = find_slot(m, key, len, hash);
	char *copy;
	int r;

	if (slot != NOT_FOUND) {
		struct map_entry *ent = &m->entries[m->slots[slot]];

		if (ret_old)
			*ret_old = ent->value;
		ent->value = value;
		return 0;
	}
	copy = strdup(key);
	if (!copy)
		return -ENOMEM;
	r = make_room(m);
	if (r < 0) {
		free(copy);
		return r;
	}
	m->entries[m->used] = (struct map_entry){ .key = copy,
						  .len = len,
						  .serial = m->serial++,
						  .hash = hash,
						  .value = value };
	put_slot(m->slots, m->nr_slots, hash, (uint32_t)m->used);
	m->used++;
	m->nr++;
	if (ret_old)
		*ret_old = NULL;
	return 0;
}

void *map_get_n(const struct map *m, const char *key, size_t len)
{
	size_t slot;

	if (!m->nr)
		return NULL;
	slot = find_slot(m, key, len, map_hash(key, len));
	return slot == NOT_FOUND ? NULL : m->entries[m->slots[slot]].value;
}

void *map_get(const struct map *m, const char *key)
{
	return map_get_n(m, key, strlen(key));
}

void *map_del(struct map *m, const char *key)
{
	size_t len = strlen(key);
	size_t slot = find_slot(m, key, len, map_hash(key, len));
	struct map_entry *ent;

	if (slot == NOT_FOUND)
		return NULL;
	ent = &m->entries[m->slots[slot]];
	m->slots[slot] = SLOT_GONE;
	free(take_ptr(ent->key)); /* @key may have been this very string */
	m->nr--;
	return ent->value;
}

/* The first place whose serial is not below @serial. */
static size_t seek(const struct map *m, uint64_t serial)
{
	size_t lo = 0, hi = m->used;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->entries[mid].serial < serial)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool map_next(const struct map *m, struct map_iter *it)
{
	size_t i = it->place;

	if (i > m->used || (i > 0 && m->entries[i - 1].serial + 1 != it->next))
		i = seek(m, it->next);
	for (; i < m->used; i++) {
		const struct map_entry *ent = &m->entries[i];

		if (!ent->key)
			continue;
		it->key = ent->key;
		it->value = ent->value;
		it->next = ent->serial + 1;
		it->place = i + 1;
		return true;
	}
	return false;
}

void map_clear(struct map *m, void (*free_value)(void *value))
{
	for (size_t i = 0; i < m->used; i++) {
		if (!m->entries[i].key)
			continue;
		free(m->entries[i].key);
		if (free_value)
			free_value(m->entries[i].value);
	}
	free(m->entries);
	free(m->slots);
	*m = (struct map){ .serial = m->serial };
}
