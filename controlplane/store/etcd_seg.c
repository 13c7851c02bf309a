// SPDX-License-Identifier: Apache-2.0
/*
 * Which records of which segment are dead, and giving their room back: a
 * segment without live ones is deleted, one in which most are dead is written
 * again without them. Both only after the head says that they are compacted.
 */
#include "controlplane/store/etcd_shard.h"
#include "controlplane/store/record.h"
#include "lib/str.h"

#define LOOK_MAX   512 /* segments looked at between two commits */
#define DELETE_MAX 64  /* deleted with one transaction */

/* The last segment that begins at or before @revision. */
struct seg *etcd_seg_find(struct etcd *c, uint64_t revision)
{
	size_t lo = 0, hi = c->nr_segs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->segs[mid].first <= revision)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &c->segs[lo - 1] : NULL;
}

static void clear_bits(struct seg *s)
{
	free(s->dead);
	free(s->has);
	free(s->graves);
}

int etcd_seg_add(struct etcd *c, const struct seg *seg)
{
	struct seg *s = etcd_seg_find(c, seg->first);

	if (seg->last - seg->first > 1u << 24)
		return -EBADMSG;
	if (s && s->first == seg->first) {
		/* Tried before, or written by another after all. */
		clear_bits(s);
	} else {
		if (c->nr_segs == c->segs_size) {
			size_t size = c->segs_size ? c->segs_size * 2 : 1024;

			s = realloc(c->segs, size * sizeof(*s));
			if (!s)
				return -ENOMEM;
			c->segs = s;
			c->segs_size = size;
		}
		s = etcd_seg_find(c, seg->first);
		s = s ? s + 1 : c->segs;
		memmove(s + 1, s,
			(size_t)(c->segs + c->nr_segs - s) * sizeof(*s));
		c->nr_segs++;
	}
	*s = *seg;
	s->dead = NULL;
	s->graves = NULL;
	s->nr_dead = s->nr_buried = 0;
	/* Some are in other clusters, or were dropped. */
	s->has = seg->has;
	if (!s->has && s->nr != s->last - s->first + 1)
		s->has = calloc(1, (s->last - s->first) / 8 + 1);
	if (!s->has && s->nr != s->last - s->first + 1)
		s->nr = UINT32_MAX; /* out of memory: it is kept */
	return 0;
}

void etcd_seg_has(struct seg *s, uint64_t revision)
{
	uint64_t bit = revision - s->first;

	if (s->has)
		s->has[bit / 8] |= (uint8_t)(1 << bit % 8);
}

void etcd_segs_clear(struct etcd *c)
{
	for (size_t i = 0; i < c->nr_segs; i++)
		clear_bits(&c->segs[i]);
	c->nr_segs = c->gc_at = 0;
}

static bool is_dead(const struct seg *s, uint64_t revision)
{
	uint64_t bit = revision - s->first;

	return s->dead && s->dead[bit / 8] & 1 << bit % 8;
}

void etcd_seg_mark(struct seg *s, uint64_t revision)
{
	uint64_t bit = revision - s->first;

	if (!s->dead)
		s->dead = calloc(1, (s->last - s->first) / 8 + 1);
	/* Out of memory: it is kept until the next start. */
	if (!s->dead || is_dead(s, revision))
		return;
	s->dead[bit / 8] |= (uint8_t)(1 << bit % 8);
	s->nr_dead++;
}

/* The one that holds this record. */
static struct seg *holder(struct etcd *in, uint64_t revision)
{
	struct seg *s = etcd_seg_find(in, revision);
	uint64_t bit;

	if (!s || revision > s->last)
		return NULL;
	bit = revision - s->first;
	return s->has && !(s->has[bit / 8] & 1 << bit % 8) ? NULL : s;
}

/* Counted, once. False: out of memory. */
static bool outlived(struct etcd *c, struct seg *s,
		     const struct object_bytes *o)
{
	uint64_t at = o->revision - s->first;

	if (!s->graves)
		s->graves =
			calloc(s->last - s->first + 1, sizeof(struct grave *));
	if (!s->graves)
		c->graves.blind = true;
	else if (!s->graves[at])
		s->graves[at] = etcd_grave_of(c, o->key);
	return s->graves && s->graves[at];
}

void etcd_seg_outlived(struct etcd *c, struct etcd *in,
		       const struct object_bytes *o)
{
	struct seg *s = holder(in, o->revision);

	if (s && !o->deleted && !is_dead(s, o->revision))
		(void)outlived(c, s, o);
}

void etcd_seg_dead(struct etcd *c, struct etcd *in,
		   const struct object_bytes *o)
{
	struct seg *s = holder(in, o->revision);

	if (!s || is_dead(s, o->revision))
		return;
	if (o->deleted ? !etcd_grave_bury(c, in, s, o) : outlived(c, s, o))
		etcd_seg_mark(s, o->revision);
}

/* Records whose bits are in @dead are there no more; NULL: none is. */
static void gone(struct etcd *c, struct seg *s, const uint8_t *dead)
{
	for (uint64_t n = 0; s->graves && n <= s->last - s->first; n++) {
		struct grave *g = s->graves[n];

		if (!g || (dead && !(dead[n / 8] & 1 << n % 8)))
			continue;
		s->graves[n] = NULL;
		etcd_grave_gone(c, g);
	}
}

static void forget(struct etcd *c, struct seg *s)
{
	clear_bits(s);
	memmove(s, s + 1, (size_t)(c->segs + c->nr_segs - s - 1) * sizeof(*s));
	c->nr_segs--;
}

void etcd_seg_forget(struct etcd *c, uint64_t first, uint64_t batch)
{
	struct seg *s = etcd_seg_find(c, first);

	if (s && s->first == first && s->batch == batch)
		forget(c, s);
}

static bool delete_whole(struct etcd *c, struct seg **v, size_t nr)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a;

	for (size_t i = 0; i < nr; i++) {
		auto_free char *key = etcd_log_key(c, v[i]->first);

		if (!key)
			return false;
		etcd_do_delete(&q, ETCD_THEN, key, NULL);
	}
	if (etcd_call(c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, NULL) ||
	    etcd_read_txn(&reply, &a, etcd_ignore_pair, NULL))
		return false;
	for (size_t i = nr; i--;) {
		gone(c, v[i], NULL);
		forget(c, v[i]);
	}
	return true;
}

struct rewrite {
	struct etcd *c;
	const struct seg *seg; /* NULL: nothing is dead */
	struct buf out;
	uint64_t mod;
	char *key; /* of the last one looked at */
	uint32_t nr;
	bool sealed_anew;
	struct err *e;
};

static int copy_record(struct rewrite *w, const struct segment_record *rec)
{
	struct object_bytes *o = NULL;
	auto_free void *sealed = NULL;
	size_t size;
	int r;

	w->nr++;
	if (w->seg || record_is_current(rec->data, rec->len, w->c->base.keys)) {
		segment_add(&w->out, rec->revision, rec->data, rec->len);
		return 0;
	}
	r = record_decode(rec->data, rec->len, rec->revision, w->c->base.keys,
			  "etcd", &o, w->e);
	if (r < 0)
		return r;
	size = record_size(o, w->c->base.keys);
	sealed = malloc(size);
	r = sealed ? record_encode(o, w->c->base.keys, sealed) : -ENOMEM;
	object_unref(o);
	if (r == 0)
		segment_add(&w->out, rec->revision, sealed, size);
	w->sealed_anew = true;
	return r;
}

static int copy_segment(void *arg, const struct etcd_kv *kv)
{
	struct segment_ref refs[SEGMENT_REFS_MAX];
	struct rewrite *w = arg;
	struct segment_record rec;
	struct segment_in in;
	int r = segment_open(&in, kv->value, kv->value_len);

	if (r < 0)
		return r;
	w->mod = kv->mod_revision;
	free(w->key);
	w->key = strndup(kv->key, kv->key_len);
	w->nr = 0;
	buf_reset(&w->out);
	for (size_t i = 0; i < in.nr_refs; i++)
		refs[i] = segment_ref_at(&in, i);
	segment_begin_with(&w->out, in.head.batch, in.head.first, in.head.last,
			   refs, in.nr_refs);
	while (r >= 0 && (r = segment_next(&in, &rec)) > 0)
		if (!w->seg || !is_dead(w->seg, rec.revision))
			r = copy_record(w, &rec);
	return r < 0 ? r : buf_error(&w->out);
}

/* 1: written; 0: somebody else has changed it. */
static int put_back(struct rewrite *w, const char *key)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a = { 0 };
	int r;

	etcd_if_mod(&q, key, w->mod);
	etcd_do_put(&q, ETCD_THEN, key, w->out.data, w->out.len, 0);
	r = etcd_call(w->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, w->e);
	if (r == 0)
		r = etcd_read_txn(&reply, &a, etcd_ignore_pair, NULL);
	return r < 0 ? r : a.succeeded;
}

static int get_segment(struct rewrite *w, const char *key)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a;
	int r;

	etcd_range_request(&q, &(struct etcd_range){ .key = key });
	w->mod = 0;
	r = etcd_call(w->c, "/etcdserverpb.KV/Range", &q, &reply, NULL, w->e);
	return r < 0 ? r : etcd_read_range(&reply, &a, copy_segment, w);
}

int etcd_seg_shrink(struct etcd *c, const struct seg *seg, const char *key,
		    uint32_t *ret_nr)
{
	struct rewrite w = { .c = c, .seg = seg };
	int r = get_segment(&w, key);

	if (r == 0)
		r = w.mod ? put_back(&w, key) : -ENOENT;
	*ret_nr = w.nr;
	buf_clear(&w.out);
	free(w.key);
	return r;
}

/* Bits of what is no longer there stay: they cannot be told again. */
static void shrunk(struct etcd *c, struct seg *s, uint32_t nr, uint32_t dropped,
		   const uint8_t *dead)
{
	s->nr = nr;
	s->nr_dead -= dropped;
	gone(c, s, dead);
}

static bool shrink(struct etcd *c, struct seg *s)
{
	auto_free char *key = etcd_log_key(c, s->first);
	uint32_t nr;
	int r = key ? etcd_seg_shrink(c, s, key, &nr) : -ENOMEM;

	if (r == -ENOENT) {
		/* Another collected it. */
		gone(c, s, NULL);
		forget(c, s);
	}
	if (r <= 0)
		return false;
	shrunk(c, s, nr, s->nr_dead, s->dead);
	return true;
}

/* Tombstones that wait for others' records count for it: they are what a
 * segment is kept for then, each for the one before. */
static bool is_half_dead(const struct seg *s)
{
	return s->nr_dead &&
	       (s->nr_dead + (uint64_t)s->nr_buried) * 2 > s->nr &&
	       s->nr_dead * 8ull >= s->nr;
}

/* Which are to go with one transaction, in the order of the array; or NULL and
 * *ret_shrink. */
static size_t choose(struct etcd *c, struct seg *whole[DELETE_MAX],
		     struct seg **ret_shrink)
{
	size_t nr = 0;

	*ret_shrink = NULL;
	for (size_t i = 0; i < LOOK_MAX && i < c->nr_segs; i++) {
		size_t at = c->gc_at++ % c->nr_segs;
		struct seg *s = &c->segs[at];

		if (!at)
			c->gc_at = 1;
		if (s->nr_dead >= s->nr && !s->refs) {
			if (nr && s <= whole[nr - 1])
				break;
			whole[nr++] = s;
			if (nr == DELETE_MAX)
				break;
		} else if (is_half_dead(s) && !nr) {
			*ret_shrink = s;
			break;
		}
	}
	return nr;
}

bool etcd_tidy(struct store_backend *b, uint64_t live_bytes)
{
	struct etcd *c = (struct etcd *)b;
	struct seg *whole[DELETE_MAX], *half;
	size_t nr;

	/* Nothing goes before the head says so, to whoever reads it. */
	bool collects = atomic_load(&c->collects) && c->sure &&
			c->gone_to <= c->compacted;

	(void)live_bytes;
	shards_tidy(c, collects);
	if (!collects)
		return false;
	nr = choose(c, whole, &half);
	if (half)
		return shrink(c, half);
	return nr && delete_whole(c, whole, nr);
}

/* --- of the shards, by their own threads --- */

void etcd_part_is_gone(struct etcd *c, uint64_t first)
{
	struct seg *s = etcd_seg_find(c, first);

	if (s && first <= s->last && s->refs)
		s->refs--;
}

static void end_gc(struct etcd *c, struct shard *sh)
{
	struct shard_job *job = sh->gc;
	struct seg *s;

	sh->gc = NULL;
	if (job->result == 0 && job->task == SHARD_SHRINK) {
		s = etcd_seg_find(&sh->c, job->seg.first);
		if (s &&
		    (s->first != job->seg.first || s->batch != job->seg.batch))
			s = NULL;
		if (s && job->missing) {
			etcd_part_is_gone(c, s->first);
			gone(c, s, NULL);
			forget(&sh->c, s);
		} else if (s) {
			shrunk(c, s, job->seg.nr, job->seg.nr_dead,
			       job->seg.dead);
		}
	}
	for (size_t i = 0; job->result == 0 && i < job->nr_segs; i++) {
		s = etcd_seg_find(&sh->c, job->segs[i].first);
		if (!s || s->first != job->segs[i].first ||
		    s->batch != job->segs[i].batch)
			continue;
		etcd_part_is_gone(c, s->first);
		gone(c, s, NULL);
		forget(&sh->c, s);
	}
	shard_job_unref(job);
}

static void add_key(struct buf *keys, const char *key)
{
	buf_add(keys, key, strlen(key) + 1);
}

static struct shard_job *delete_job(struct shard *sh, struct seg **v, size_t nr)
{
	struct shard_job *job = shard_job_new(SHARD_DELETE);
	auto_buf struct buf keys = BUF_INIT;

	if (!job)
		return NULL;
	job->segs = calloc(nr + 1, sizeof(*job->segs));
	for (size_t i = 0; job->segs && i < nr; i++) {
		auto_free char *key = shard_key(sh, v[i]->first, v[i]->batch);

		if (!key)
			continue;
		add_key(&keys, key);
		job->segs[job->nr_segs] = *v[i];
		job->segs[job->nr_segs].dead = NULL;
		job->segs[job->nr_segs].graves = NULL;
		job->segs[job->nr_segs++].has = NULL;
	}
	job->nr_keys = job->nr_segs;
	if (!nr) {
		buf_add(&keys, sh->orphans.data, sh->orphans.len);
		job->nr_keys = sh->nr_orphans;
		sh->nr_orphans = 0;
		buf_reset(&sh->orphans);
	}
	job->keys = buf_take(&keys);
	if (!job->keys || !job->segs) {
		shard_job_unref(job);
		return NULL;
	}
	return job;
}

static struct shard_job *shrink_job(struct shard *sh, const struct seg *s)
{
	struct shard_job *job = shard_job_new(SHARD_SHRINK);
	size_t bytes = (s->last - s->first) / 8 + 1;

	if (!job)
		return NULL;
	job->seg = *s;
	job->seg.has = NULL;
	job->seg.graves = NULL;
	job->seg.dead = malloc(bytes);
	job->keys = shard_key(sh, s->first, s->batch);
	if (!job->seg.dead || !job->keys) {
		shard_job_unref(job);
		return NULL;
	}
	memcpy(job->seg.dead, s->dead, bytes);
	return job;
}

void shards_tidy(struct etcd *c, bool collects)
{
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);
		struct seg *whole[DELETE_MAX], *half = NULL;
		size_t nr = 0;

		if (!sh)
			continue;
		if (sh->gc && shard_job_done(c, sh->gc))
			end_gc(c, sh);
		if (sh->gc || shard_state(sh) != SHARD_READY ||
		    !atomic_load(&sh->loaded))
			continue;
		if (!sh->nr_orphans && collects)
			nr = choose(&sh->c, whole, &half);
		if (sh->nr_orphans || nr)
			sh->gc = delete_job(sh, whole, nr);
		else if (half)
			sh->gc = shrink_job(sh, half);
		if (sh->gc)
			shard_post(sh, sh->gc);
	}
}

static int reencrypt_one(struct etcd *c, uint64_t *ret_nr, struct err *e)
{
	auto_free char *from = strdup(c->log);
	struct rewrite w = { .c = c, .e = e };
	int r = from ? 0 : -ENOMEM;

	while (r == 0) {
		auto_buf struct buf q = BUF_INIT;
		auto_buf struct buf reply = BUF_INIT;
		struct etcd_answer a;

		etcd_range_request(&q, &(struct etcd_range){ .key = from,
							     .end = c->log_end,
							     .limit = 1 });
		w.mod = 0;
		w.sealed_anew = false;
		r = etcd_call(c, "/etcdserverpb.KV/Range", &q, &reply, NULL, e);
		if (r == 0)
			r = etcd_read_range(&reply, &a, copy_segment, &w);
		if (r < 0 || !w.mod)
			break;
		if (w.sealed_anew) {
			r = w.key ? put_back(&w, w.key) : -ENOMEM;
			if (r == 0)
				continue; /* changed meanwhile: again */
			*ret_nr += r > 0 ? w.nr : 0;
		}
		r = r < 0 ? r : 0;
		free(from);
		/* Behind it, and before whatever follows it. */
		from = w.key ? str_printf("%s!", w.key) : NULL;
		if (!from)
			r = -ENOMEM;
	}
	buf_clear(&w.out);
	free(w.key);
	return r;
}

static int reencrypt_shard(struct shard *sh, uint64_t *ret_nr, struct err *e)
{
	struct store_cluster is;
	int r;

	if (!atomic_load(&sh->used))
		return 0;
	shard_await_word(sh);
	(void)shards_cluster(&sh->owner->base, sh->id, &is);
	r = shard_state(sh) == SHARD_READY || shard_state(sh) == SHARD_SLOW
		    ? reencrypt_one(&sh->c, ret_nr, e)
		    : err_set(e, -EHOSTUNREACH, "%s", is.why);
	return r < 0 ? err_wrap(e, r, "storage cluster %d (%s)", sh->id,
				sh->name)
		     : 0;
}

int etcd_reencrypt(struct store_backend *b, uint64_t *ret_nr, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	struct err why = { 0 };
	int r, res;

	*ret_nr = 0;
	r = reencrypt_one(c, ret_nr, e);
	/* One that is away does not keep the others from it. */
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		res = sh ? reencrypt_shard(sh, ret_nr, &why) : 0;
		if (res == 0 || r < 0)
			continue;
		r = err_set(e, res,
			    "not all is sealed anew, keep the old keys and "
			    "try again: %s",
			    why.msg);
	}
	return r;
}
