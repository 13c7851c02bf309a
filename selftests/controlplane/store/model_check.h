/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half that judges, for one inclusion by a test program. Revisions say in
 * which order the store claims to have made its changes; so linearizability is
 * three questions about that order, each with one answer:
 *  - does every change find its conditions true and its result as reported?
 *  - does it respect time: what ended before something else began, comes first?
 *  - is there, for every read and every refusal, a moment between its begin and
 *    its end at which the state was as it was told?
 * Operations cut off by a kill may have happened, once, or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "selftests/controlplane/store/model.h"

struct version {
	uint64_t revision; /* 0: no such revision is known */
	uint64_t value;
	uint64_t prev;
	uint32_t key;
	bool deleted, event;
	uint32_t child, stream; /* who told of it last */
	uint64_t begun;         /* when its operation began */
};

struct judge {
	struct model_history *h;
	struct version *at; /* by revision */
	uint64_t max;
	uint64_t *keys[MODEL_KEYS]; /* revisions of each key, in order */
	size_t nr_keys[MODEL_KEYS];
	struct model_rec **invoked; /* sorted by id */
	size_t nr_invoked;
	struct model_verdict v;
};

int model_add(struct model_history *h, const struct model_rec *r)
{
	if (h->nr == h->size) {
		size_t size = h->size ? h->size * 2 : 65536;
		void *v = realloc(h->v, size * sizeof(*h->v));

		if (!v)
			return -ENOMEM;
		h->v = v;
		h->size = size;
	}
	h->v[h->nr++] = *r;
	return 0;
}

#define WRONG(j, fmt, ...)                                           \
	do {                                                         \
		if ((j)->v.failures++ < 20)                          \
			printf("# wrong: " fmt "\n", ##__VA_ARGS__); \
	} while (0)
#define LL(x) ((unsigned long long)(x))

static int by_id(const void *a, const void *b)
{
	const struct model_rec *x = *(struct model_rec *const *)a;
	const struct model_rec *y = *(struct model_rec *const *)b;

	return (x->id > y->id) - (x->id < y->id);
}

static struct model_rec *invoked(struct judge *j, uint64_t id)
{
	struct model_rec want = { .id = id }, *p = &want, **found;

	found = bsearch(&p, j->invoked, j->nr_invoked,
			sizeof(struct model_rec *), by_id);
	return found ? *found : NULL;
}

/* Events say what happened; two that disagree say that history was changed. */
static void collect_events(struct judge *j)
{
	for (size_t i = 0; i < j->h->nr; i++) {
		struct model_rec *r = &j->h->v[i];
		struct version *v;

		if (r->type == M_INVOKE)
			j->invoked[j->nr_invoked++] = r;
		if (r->type != M_EVENT)
			continue;
		v = &j->at[r->revision];
		if (v->event &&
		    (v->value != r->value || v->key != r->key ||
		     v->deleted != !!r->deleted || v->prev != r->id))
			WRONG(j,
			      "revision %llu is told in two ways: key %u value "
			      "%llu after %llu%s by child %u, watch %u; key %u "
			      "value %llu after %llu%s by child %u, watch %u",
			      LL(r->revision), v->key, LL(v->value),
			      LL(v->prev), v->deleted ? ", deleted" : "",
			      v->child, v->stream, r->key, LL(r->value),
			      LL(r->id), r->deleted ? ", deleted" : "",
			      r->child, r->stream);
		if (!v->event)
			j->v.events++;
		*v = (struct version){ .revision = r->revision,
				       .value = r->value,
				       .prev = r->id,
				       .key = r->key,
				       .deleted = r->deleted,
				       .child = r->child,
				       .stream = r->stream,
				       .event = true };
	}
	qsort(j->invoked, j->nr_invoked, sizeof(struct model_rec *), by_id);
}

/* Every event was caused by an operation that was asked for, and each key's
 * events follow one on another. */
static void replay(struct judge *j)
{
	uint64_t last[MODEL_KEYS] = { 0 };

	for (uint64_t rv = 2; rv <= j->max; rv++) {
		struct version *v = &j->at[rv];
		struct version *was;
		struct model_rec *op;

		if (!v->event) {
			WRONG(j, "no event of revision %llu: a gap", LL(rv));
			continue;
		}
		was = &j->at[last[v->key]];
		if (v->prev !=
		    (last[v->key] && !was->deleted ? last[v->key] : 0))
			WRONG(j,
			      "revision %llu follows %llu%s, its event says "
			      "%llu",
			      LL(rv), LL(last[v->key]),
			      was->deleted ? ", a deletion" : "", LL(v->prev));
		if (v->deleted &&
		    (!last[v->key] || was->deleted || was->value != v->value))
			WRONG(j, "revision %llu deletes what was not there",
			      LL(rv));
		last[v->key] = rv;
		j->keys[v->key][j->nr_keys[v->key]++] = rv;
		if (v->deleted)
			continue;
		op = invoked(j, v->value / 4);
		if (!op || op->change[v->value % 4].key != v->key)
			WRONG(j, "revision %llu holds what nobody wrote: %llu",
			      LL(rv), LL(v->value));
		else
			v->begun = op->ns;
	}
}

/* The version of @key that was there at @rv; 0: none. */
static uint64_t version_at(const struct judge *j, uint32_t key, uint64_t rv)
{
	size_t lo = 0, hi = j->nr_keys[key];
	uint64_t found;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (j->keys[key][mid] <= rv)
			lo = mid + 1;
		else
			hi = mid;
	}
	found = lo ? j->keys[key][lo - 1] : 0;
	return found && !j->at[found].deleted ? found : 0;
}

/* Is there a moment in [lo, hi] at which @key's version satisfies the test?
 * Looks at the moments at which it changes. */
static bool sometime(const struct judge *j, uint32_t key, uint64_t lo,
		     uint64_t hi, bool (*test)(uint64_t version, uint64_t arg),
		     uint64_t arg)
{
	if (test(version_at(j, key, lo), arg))
		return true;
	for (size_t i = 0; i < j->nr_keys[key]; i++) {
		uint64_t rv = j->keys[key][i];

		if (rv > lo && rv <= hi &&
		    test(j->at[rv].deleted ? 0 : rv, arg))
			return true;
	}
	return false;
}

static bool is(uint64_t version, uint64_t arg)
{
	return version == arg;
}

static bool is_there(uint64_t version, uint64_t arg)
{
	(void)arg;
	return version != 0;
}

static bool is_another(uint64_t version, uint64_t arg)
{
	return version != 0 && version != arg;
}

static void check_written(struct judge *j, struct model_rec *r, uint64_t lo)
{
	uint64_t first = r->revision - r->nr + 1;

	if (first <= lo)
		WRONG(j, "op %llx got revision %llu, %llu was there before it",
		      LL(r->id), LL(r->revision), LL(lo));
	for (uint32_t i = 0; i < r->nr; i++) {
		struct model_change *ch = &r->change[i];
		struct version *v = &j->at[first + i];
		uint64_t before = version_at(j, ch->key, first + i - 1);

		if (!v->event || v->key != ch->key ||
		    v->deleted != !!ch->remove ||
		    (!ch->remove && v->value != ch->value))
			WRONG(j, "op %llx was acknowledged at %llu and is lost",
			      LL(r->id), LL(first + i));
		if ((ch->expect == 1 && before) ||
		    (ch->expect > 1 && before != ch->expect) ||
		    (ch->remove && !before))
			WRONG(j, "op %llx was done against its condition",
			      LL(r->id));
	}
}

static void check_refused(struct judge *j, struct model_rec *r, uint64_t lo,
			  uint64_t hi)
{
	for (uint32_t i = 0; i < r->nr; i++) {
		struct model_change *ch = &r->change[i];

		if (r->result == -EEXIST && ch->expect == 1 &&
		    sometime(j, ch->key, lo, hi, is_there, 0))
			return;
		if (r->result == -ENOENT && (ch->expect > 1 || ch->remove) &&
		    sometime(j, ch->key, lo, hi, is, 0))
			return;
		if (r->result == -ESTALE && ch->expect > 1 &&
		    sometime(j, ch->key, lo, hi, is_another, ch->expect))
			return;
	}
	WRONG(j, "op %llx was refused (%d) with no reason in [%llu, %llu]",
	      LL(r->id), r->result, LL(lo), LL(hi));
}

static void check_list(struct judge *j, struct model_rec *r, uint64_t lo,
		       uint64_t hi)
{
	if (r->revision < lo || r->revision > hi)
		WRONG(j, "list %llx is of %llu, it was asked in [%llu, %llu]",
		      LL(r->id), LL(r->revision), LL(lo), LL(hi));
	for (uint32_t k = 0; k < MODEL_KEYS; k++) {
		uint64_t want = version_at(j, k, r->revision);

		if (r->key < MODEL_TENANTS && k % MODEL_TENANTS != r->key)
			want = 0;
		if (r->seen[k] != want)
			WRONG(j,
			      "list %llx of %llu has key %u at %llu, not %llu",
			      LL(r->id), LL(r->revision), k, LL(r->seen[k]),
			      LL(want));
	}
}

/* What is known to have happened when @r ends. */
static uint64_t known_after(struct model_rec *r)
{
	if (r->type != M_DONE || r->result)
		return r->type == M_EVENT ? r->revision : 0;
	return r->revision;
}

static int by_time(const void *a, const void *b)
{
	const struct model_rec *x = a, *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

/* The newest revision that may have been made before @ns. */
static uint64_t newest_begun(const uint64_t *begun_max, uint64_t max,
			     uint64_t ns)
{
	uint64_t lo = 1, hi = max;

	while (lo < hi) {
		uint64_t mid = (lo + hi + 1) / 2;

		if (begun_max[mid] < ns)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* Nothing was done or said, and that is certain? */
static void count_error(struct judge *j, int result)
{
	if (result == -EIO || result == -ETIMEDOUT)
		j->v.unknown++;
	else
		j->v.refused++;
}

static void check_done(struct judge *j, struct model_rec *r, uint64_t lo,
		       uint64_t hi)
{
	struct version *v;

	j->v.ops++;
	if (r->kind == M_GET || r->kind == M_LIST) {
		j->v.reads++;
		if (r->result)
			count_error(j, r->result);
		else if (r->kind == M_LIST)
			check_list(j, r, lo, hi);
		else if (!sometime(j, r->key, lo, hi, is, r->revision))
			WRONG(j,
			      "get %llx saw key %u at %llu, never so in "
			      "[%llu, %llu]",
			      LL(r->id), r->key, LL(r->revision), LL(lo),
			      LL(hi));
		v = &j->at[r->revision];
		if (!r->result && r->kind == M_GET && r->revision &&
		    v->value != r->value)
			WRONG(j, "get %llx: %llu is not what %llu holds",
			      LL(r->id), LL(r->value), LL(r->revision));
		return;
	}
	j->v.writes++;
	if (r->result == 0)
		check_written(j, r, lo);
	else if (r->result == -EEXIST || r->result == -ENOENT ||
		 r->result == -ESTALE)
		check_refused(j, r, lo, hi);
	else
		count_error(j, r->result);
}

/* A refusal that is no doubt: what it wanted to write must never appear. */
static void check_definite(struct judge *j)
{
	for (size_t i = 0; i < j->h->nr; i++) {
		struct model_rec *r = &j->h->v[i];

		if (r->type != M_DONE || r->kind > M_TXN || !r->result ||
		    r->result == -EIO || r->result == -ETIMEDOUT)
			continue;
		for (uint64_t rv = 2; rv <= j->max; rv++)
			if (!j->at[rv].deleted && j->at[rv].event &&
			    j->at[rv].value / 4 == r->id)
				WRONG(j,
				      "op %llx was refused (%d) and happened",
				      LL(r->id), r->result);
	}
}

/* Each watch: nothing skipped, nothing twice, nothing out of order. */
static void check_watches(struct judge *j)
{
	for (size_t i = 0; i < j->h->nr; i++) {
		struct model_rec *w = &j->h->v[i];
		uint64_t at = w->revision;

		if (w->type != M_WATCH || w->result)
			continue;
		for (size_t k = i + 1; k < j->h->nr; k++) {
			struct model_rec *r = &j->h->v[k];

			if (r->child != w->child || r->stream != w->stream ||
			    (r->type != M_EVENT && r->type != M_WATCH))
				continue;
			if (r->type == M_WATCH)
				break;
			if (r->revision <= at)
				WRONG(j, "a watch goes back from %llu to %llu",
				      LL(at), LL(r->revision));
			for (uint64_t rv = at + 1; rv < r->revision; rv++)
				if (w->key == MODEL_TENANTS ||
				    j->at[rv].key % MODEL_TENANTS == w->key)
					WRONG(j, "a watch skipped %llu",
					      LL(rv));
			at = r->revision;
		}
	}
}

/* Walk through time; @lo is what everybody must have known at each moment. */
static void check_ops(struct judge *j)
{
	uint64_t *begun_max = calloc(j->max + 2, sizeof(*begun_max));
	static uint64_t opening[4096];
	uint64_t lo = 1, *floor_at = calloc(j->h->nr, sizeof(*floor_at));
	struct model_rec *sorted = calloc(j->h->nr, sizeof(*sorted));

	for (uint64_t rv = 2; rv <= j->max; rv++) {
		begun_max[rv] = begun_max[rv - 1];
		if (j->at[rv].begun > begun_max[rv])
			begun_max[rv] = j->at[rv].begun;
	}
	memset(opening, 0, sizeof(opening));
	memcpy(sorted, j->h->v, j->h->nr * sizeof(*sorted));
	qsort(sorted, j->h->nr, sizeof(*sorted), by_time);
	for (size_t i = 0; i < j->h->nr; i++) {
		struct model_rec *r = &sorted[i], *inv;

		if (r->type == M_INVOKE) {
			inv = invoked(j, r->id);
			floor_at[inv - j->h->v] = lo;
		} else if (r->type == M_DONE) {
			inv = invoked(j, r->id);
			check_done(j, r, floor_at[inv - j->h->v],
				   newest_begun(begun_max, j->max, r->ns));
		} else if (r->type == M_OPENING) {
			opening[r->child % 4096] = lo;
		} else if (r->type == M_OPEN && !r->result &&
			   r->revision < opening[r->child % 4096]) {
			WRONG(j, "opened at revision %llu after %llu",
			      LL(r->revision), LL(lo));
		}
		if (known_after(r) > lo)
			lo = known_after(r);
	}
	free(sorted);
	free(floor_at);
	free(begun_max);
}

struct model_verdict model_check(struct model_history *h)
{
	struct judge j = { .h = h };

	for (size_t i = 0; i < h->nr; i++)
		if (h->v[i].type != M_INVOKE && h->v[i].revision > j.max)
			j.max = h->v[i].revision;
	j.at = calloc(j.max + 2, sizeof(*j.at));
	j.invoked = calloc(h->nr + 1, sizeof(struct model_rec *));
	for (int k = 0; k < MODEL_KEYS; k++)
		j.keys[k] = calloc(j.max + 1, sizeof(uint64_t));
	collect_events(&j);
	replay(&j);
	check_ops(&j);
	check_definite(&j);
	check_watches(&j);
	for (int k = 0; k < MODEL_KEYS; k++)
		free(j.keys[k]);
	free(j.invoked);
	free(j.at);
	return j.v;
}
