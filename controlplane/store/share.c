// SPDX-License-Identifier: Apache-2.0
/*
 * A hash table in shards, each with a lock. A text enters it when it is seen
 * for the second time: of what only one object says there is nothing but a
 * word of a table of fixed size. Chains are short, whoever chooses the texts:
 * what does not fit is not shared.
 */
#include <pthread.h>

#include "controlplane/store/internal.h"
#include "controlplane/store/share.h"
#include "lib/random.h"

#define SHARDS      16
#define BUCKETS_MIN 16
#define CHAIN_MAX   8
#define SEEN        8192

struct share_shard {
	pthread_mutex_t lock;
	struct share **buckets;
	size_t nr, size;
	struct share_table *table;
};

struct share_table {
	atomic_size_t refs; /* the owner's, and one of each share */
	uint64_t seed;
	struct share_shard shards[SHARDS];
	atomic_uint_fast32_t seen[SEEN];
};

struct share_table *share_table_new(void)
{
	struct share_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	atomic_init(&t->refs, 1);
	if (random_bytes(&t->seed, sizeof(t->seed)))
		t->seed = 0x9e3779b97f4a7c15;
	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&t->shards[i].lock, NULL);
		t->shards[i].table = t;
	}
	return t;
}

void share_table_unref(struct share_table *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		pthread_mutex_destroy(&t->shards[i].lock);
		free(t->shards[i].buckets);
	}
	free(t);
}

static uint64_t hash_of(const struct share_table *t, const char *p, size_t len)
{
	uint64_t h = t->seed ^ len, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0x9fb21c651e98df25;
		h ^= h >> 32;
	}
	for (; len; p++, len--)
		h = (h ^ (unsigned char)*p) * 0x100000001b3;
	/* So that every bit is of all of it. */
	h = (h ^ h >> 33) * 0xff51afd7ed558ccd;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53;
	return h ^ h >> 33;
}

struct share *share_ref(struct share *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

/* Unless it is going already. */
static bool ref_live(struct share *s)
{
	unsigned int n = atomic_load_explicit(&s->refs, memory_order_relaxed);

	while (n)
		if (atomic_compare_exchange_weak(&s->refs, &n, n + 1))
			return true;
	return false;
}

void share_unref(struct share *s)
{
	struct share_shard *d = s->shard;
	struct share **at;

	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_lock(&d->lock);
	at = &d->buckets[s->hash / SHARDS & (d->size - 1)];
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	d->nr--;
	pthread_mutex_unlock(&d->lock);
	free(s);
	share_table_unref(d->table);
}

/* Twice the buckets. When there is no memory it stays as it is. */
static void grow(struct share_shard *d)
{
	size_t size = d->size ? d->size * 2 : BUCKETS_MIN;
	struct share **v = calloc(size, sizeof(*v));

	if (!v)
		return;
	for (size_t i = 0; i < d->size; i++) {
		struct share *s = d->buckets[i], *next;

		for (; s; s = next) {
			struct share **to = &v[s->hash / SHARDS & (size - 1)];

			next = s->next;
			s->next = *to;
			*to = s;
		}
	}
	free(d->buckets);
	d->buckets = v;
	d->size = size;
}

static bool seen_before(struct share_table *t, uint64_t hash)
{
	uint32_t mark = (uint32_t)(hash >> 32) | 1;

	return atomic_exchange_explicit(&t->seen[hash % SEEN], mark,
					memory_order_relaxed) == mark;
}

static struct share *share_add(struct share_shard *d, struct share **bucket,
			       uint64_t hash, const char *text, size_t len)
{
	struct share *s = malloc(sizeof(*s) + len);

	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->len = len;
	s->hash = hash;
	s->shard = d;
	memcpy(s->text, text, len);
	s->next = *bucket;
	*bucket = s;
	d->nr++;
	atomic_fetch_add(&d->table->refs, 1);
	return s;
}

struct share *share_find(struct share_table *t, const char *text, size_t len)
{
	uint64_t hash = hash_of(t, text, len);
	struct share_shard *d = &t->shards[hash % SHARDS];
	struct share *s = NULL, **bucket;
	size_t chain = 0;

	pthread_mutex_lock(&d->lock);
	if (d->nr >= d->size)
		grow(d);
	if (!d->size)
		goto out;
	bucket = &d->buckets[hash / SHARDS & (d->size - 1)];
	for (s = *bucket; s; s = s->next, chain++)
		if (s->hash == hash && s->len == len &&
		    memcmp(s->text, text, len) == 0 && ref_live(s))
			goto out;
	if (chain < CHAIN_MAX && seen_before(t, hash))
		s = share_add(d, bucket, hash, text, len);
out:
	pthread_mutex_unlock(&d->lock);
	return s;
}

size_t share_count(struct share_table *t)
{
	return atomic_load(&t->refs) - 1;
}

/* --- what is shared --- */

/* Sets of fields of lists that are keyed by an address differ in it alone. */
#define ADDRESS "\"k:{\\\"ip\\\":\\\""

struct finder {
	struct share_span *v;
	size_t nr;
	const char *data;
	size_t hole, hole_end;
};

static void add_span(struct finder *f, const char *from, const char *to)
{
	size_t at = (size_t)(from - f->data), len = (size_t)(to - from);

	if (len < SHARE_MIN || f->nr == OBJECT_SHARES_MAX ||
	    (at < f->hole_end && at + len > f->hole))
		return;
	f->v[f->nr++] = (struct share_span){ (uint32_t)at, (uint32_t)len };
}

static void add_set(struct finder *f, const char *p, const char *end)
{
	const char *at, *quote;

	while ((at = memmem(p, (size_t)(end - p), ADDRESS, strlen(ADDRESS)))) {
		at += strlen(ADDRESS);
		quote = memchr(at, '\\', (size_t)(end - at));
		if (!quote)
			break;
		add_span(f, p, at);
		p = quote;
	}
	add_span(f, p, end);
}

/* Where a set begins is told by its name. It ends before the next manager, or
 * with the last one. */
size_t share_spans(const char *data, size_t len, size_t hole, size_t hole_len,
		   struct share_span v[OBJECT_SHARES_MAX])
{
	static const char name[] = "\"fieldsV1\":{", next[] = ",{\"manager\":";
	struct finder f = {
		.v = v, .data = data, .hole = hole, .hole_end = hole + hole_len
	};
	const char *p = data, *last = data + len;

	while (f.nr < OBJECT_SHARES_MAX &&
	       (p = memmem(p, (size_t)(last - p), name, strlen(name)))) {
		const char *end, *other;

		p += strlen(name);
		end = memmem(p, (size_t)(last - p), "}]", 2);
		end = end ? end : last;
		other = memmem(p, (size_t)(end - p), next, strlen(next));
		end = other ? other : end;
		add_set(&f, p, end);
		p = end;
	}
	return f.nr;
}

void share_refs_find(struct share_table *t, const char *data, size_t len,
		     size_t hole, size_t hole_len, struct share_refs *ret)
{
	struct share_span v[OBJECT_SHARES_MAX];
	size_t n = share_spans(data, len, hole, hole_len, v);

	ret->nr = 0;
	for (size_t i = 0; i < n; i++) {
		struct share *s = share_find(t, data + v[i].at, v[i].len);

		if (s)
			ret->v[ret->nr++] =
				(struct object_share){ s, v[i].at, v[i].len };
	}
}

void share_refs_clear(struct share_refs *r)
{
	while (r->nr)
		share_unref(r->v[--r->nr].share);
}

struct object_bytes *share_object(struct share_table *t, struct object_bytes *o)
{
	struct share_refs refs;
	struct object_bytes *made;

	share_refs_find(t, object_own(o), o->len, o->rv_off, o->rv_len, &refs);
	made = refs.nr ? object_with(o, &refs) : NULL;
	share_refs_clear(&refs);
	if (!made)
		return o;
	object_unref(o);
	return made;
}
