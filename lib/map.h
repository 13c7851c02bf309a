/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from strings to pointers.
 *
 *	struct map pods = MAP_INIT;
 *	struct map_iter it = MAP_ITER_INIT;
 *
 *	map_set(&pods, "default/web", pod, NULL);
 *	pod = map_get(&pods, "default/web");
 *	while (map_next(&pods, &it))		in the order of insertion
 *		if (it.value == gone)
 *			map_del(&pods, it.key);	allowed while iterating
 *
 * Keys are copied, values are borrowed. The hash is keyed with a random seed,
 * so that whoever chooses the keys cannot choose the collisions. Not locked.
 */
#ifndef LIB_MAP_H
#define LIB_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_entry;

struct map {
	struct map_entry *entries; /* in the order of insertion, with holes */
	uint32_t *slots;           /* hash table of indexes into entries */
	size_t nr;                 /* keys present */
	size_t used;               /* entries in use, holes included */
	size_t nr_slots;           /* power of two, 0 while empty */
	uint64_t serial;           /* of the next key added */
};

#define MAP_INIT                \
	{                       \
		.entries = NULL \
	}

struct map_iter {
	const char *key; /* borrowed; valid until the key is deleted */
	void *value;
	uint64_t next; /* serial of the next key */
	size_t place;  /* where it is, unless keys moved */
};

#define MAP_ITER_INIT        \
	{                    \
		.key = NULL, \
	}

/**
 * map_set() - Add a key, or replace its value.
 * @m:       The map.
 * @key:     Copied.
 * @value:   Borrowed; not NULL, so that map_get() is unambiguous.
 * @ret_old: Set to the value replaced, or NULL. May be NULL.
 *
 * Adding while iterating is allowed; the iteration will come to the new key.
 *
 * Return: 0, or -ENOMEM (nothing has changed then).
 */
int map_set(struct map *m, const char *key, void *value, void **ret_old);

/* The value of @key, or NULL. The second form takes a key without its NUL. */
void *map_get(const struct map *m, const char *key);
void *map_get_n(const struct map *m, const char *key, size_t len);

/* Remove @key and return its value; NULL when it was not there. */
void *map_del(struct map *m, const char *key);

/* Step to the next key; false at the end. */
bool map_next(const struct map *m, struct map_iter *it);

/* Remove all keys. @free_value is called for each value unless it is NULL. */
void map_clear(struct map *m, void (*free_value)(void *value));

static inline size_t map_len(const struct map *m)
{
	return m->nr;
}

/* The keyed hash itself (SipHash-1-3, one random key per process). */
uint64_t map_hash(const void *data, size_t len);

#endif /* LIB_MAP_H */
