// SPDX-License-Identifier: Apache-2.0
/*
 * Reading the log: the system's segments, and the parts that they name in
 * other clusters. What comes back is in order of revision, whichever cluster
 * it was in.
 *
 * A cluster that does not answer is left out: what memory lacks of it is
 * remembered, nobody is shown what should have it (store_whole()), and it is
 * taken in when the cluster is back (etcd_attach()).
 */
#include <stdio.h>

#include "controlplane/store/etcd_shard.h"
#include "controlplane/store/record.h"
#include "lib/str.h"

#define PAGE    32   /* segments read at once */
#define NEWS_MS 2000 /* how long a batch waits for what others have written */

struct fetch {
	struct etcd *c;
	backend_record fn;
	void *arg;
	struct err *e;
	struct etcd_head head;
	uint64_t *ret_compacted; /* is set as soon as it is known */
	uint64_t head_mod, last_first;
	uint64_t after; /* deliver what is newer */
	bool seen_head;
	bool wait;   /* until all is there, to be put in order */
	size_t segs; /* in this page */
	struct object_bytes **v;
	size_t nr, size;
	struct segment_ref *parts;
	size_t nr_parts, parts_size;
	uint64_t fresh[SHARDS_MAX]; /* records named, by cluster */
	uint64_t missing;           /* of them, those that are not to be had */
	uint64_t gone_to;           /* before this, parts are gone */
};

static void fetch_clear(struct fetch *f)
{
	for (size_t i = 0; i < f->nr; i++)
		object_unref(f->v[i]);
	free(f->v);
	free(f->parts);
}

static int keep(struct fetch *f, struct object_bytes *o)
{
	if (f->nr == f->size) {
		size_t size = f->size ? f->size * 2 : 256;
		struct object_bytes **v;

		v = realloc(f->v, size * sizeof(struct object_bytes *));
		if (!v) {
			object_unref(o);
			return -ENOMEM;
		}
		f->v = v;
		f->size = size;
	}
	f->v[f->nr++] = o;
	return 0;
}

static int keep_part(struct segment_ref **v, size_t *nr, size_t *size,
		     const struct segment_ref *ref)
{
	if (*nr == *size) {
		size_t more = *size ? *size * 2 : 64;
		struct segment_ref *p = realloc(*v, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		*v = p;
		*size = more;
	}
	(*v)[(*nr)++] = *ref;
	return 0;
}

static int take_head(struct fetch *f, const struct etcd_kv *kv)
{
	if (kv->value_len != sizeof(f->head))
		return err_set(f->e, -EBADMSG, "etcd: %s is not ours",
			       f->c->head);
	memcpy(&f->head, kv->value, sizeof(f->head));
	f->head_mod = kv->mod_revision;
	f->seen_head = true;
	if (f->ret_compacted)
		*f->ret_compacted = f->head.compacted;
	return 0;
}

static int take_record(struct fetch *f, struct seg *seg,
		       const struct segment_record *rec)
{
	struct object_bytes *o = NULL;
	int r;

	if (seg)
		etcd_seg_has(seg, rec->revision);
	if (rec->revision <= f->after || rec->revision > f->head.revision)
		return 0;
	r = record_decode(rec->data, rec->len, rec->revision, f->c->base.keys,
			  "etcd", &o, f->e);
	if (r < 0)
		return r;
	/* Where the parts are must be known before they can be read. */
	shards_seen_cluster(&f->c->base, o);
	if (f->wait)
		return keep(f, o);
	return f->fn(f->arg, o);
}

static int take_segment(struct fetch *f, const struct etcd_kv *kv)
{
	struct segment_record rec;
	struct segment_in in;
	struct seg seg;
	int r = segment_open(&in, kv->value, kv->value_len);

	f->segs++;
	if (r == 0) {
		f->last_first = in.head.first;
		seg = (struct seg){ .first = in.head.first,
				    .last = in.head.last,
				    .batch = in.head.batch,
				    .nr = in.head.nr,
				    .refs = (uint32_t)in.nr_refs };
		r = etcd_seg_add(f->c, &seg);
		f->wait |= in.nr_refs > 0;
	}
	for (size_t i = 0; r == 0 && i < in.nr_refs; i++) {
		struct segment_ref ref = segment_ref_at(&in, i);

		r = keep_part(&f->parts, &f->nr_parts, &f->parts_size, &ref);
	}
	while (r >= 0 && (r = segment_next(&in, &rec)) > 0)
		r = take_record(f, etcd_seg_find(f->c, in.head.first), &rec);
	if (r == -EBADMSG && !f->e->code)
		err_set(f->e, r, "etcd: %.*s is damaged; restore a backup",
			(int)kv->key_len, kv->key);
	return r;
}

static int take_pair(void *arg, const struct etcd_kv *kv)
{
	struct fetch *f = arg;
	size_t len = strlen(f->c->head);

	if (kv->key_len == len && memcmp(kv->key, f->c->head, len) == 0)
		return take_head(f, kv);
	if (!f->seen_head)
		return err_set(f->e, -EBADMSG,
			       "etcd: there is a log below %s and no head",
			       f->c->prefix);
	return take_segment(f, kv);
}

/* The head and the log's first page come from one moment of etcd, and so do,
 * by its revision, the other pages. */
static int fetch(struct fetch *f)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_range r = { .end = f->c->log_end, .limit = PAGE };
	struct etcd_answer a;
	uint64_t pinned;
	int res;

	auto_free char *from = etcd_log_key(f->c, f->after + 1);

	r.key = from;
	etcd_do_range(&q, ETCD_THEN, &(struct etcd_range){ .key = f->c->head });
	etcd_do_range(&q, ETCD_THEN, &r);
	res = from ? etcd_call(f->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL,
			       f->e)
		   : -ENOMEM;
	if (res == 0)
		res = etcd_read_txn(&reply, &a, take_pair, f);
	pinned = a.revision;
	while (res == 0 && f->segs == PAGE) {
		auto_free char *next = etcd_log_key(f->c, f->last_first + 1);

		if (!next)
			return -ENOMEM;
		f->segs = 0;
		r.key = next;
		r.revision = pinned;
		buf_reset(&q);
		etcd_range_request(&q, &r);
		res = etcd_call(f->c, "/etcdserverpb.KV/Range", &q, &reply,
				NULL, f->e);
		if (res == 0)
			res = etcd_read_range(&reply, &a, take_pair, f);
	}
	if (res == -EBADMSG && !f->e->code)
		err_set(f->e, res, "etcd: its answer cannot be read");
	return res;
}

static void know_head(struct etcd *c, const struct fetch *f)
{
	c->head_mod = f->head_mod;
	c->head_rev = f->head.revision;
	if (f->head.compacted > c->compacted)
		c->compacted = f->head.compacted;
}

static int by_revision(const void *a, const void *b)
{
	const struct object_bytes *x = *(struct object_bytes *const *)a;
	const struct object_bytes *y = *(struct object_bytes *const *)b;

	return x->revision < y->revision ? -1 : x->revision > y->revision;
}

static int deliver(struct object_bytes **v, size_t *nr, backend_record fn,
		   void *arg)
{
	int r = 0;

	if (*nr)
		qsort(v, *nr, sizeof(struct object_bytes *), by_revision);
	for (size_t i = 0; i < *nr; i++) {
		if (r == 0)
			r = fn(arg, v[i]);
		else
			object_unref(v[i]);
	}
	*nr = 0;
	return r;
}

/* --- parts --- */

/* The parts named in what was read become those that their shards are to
 * deliver. Those of a cluster that is no more had nothing but history. */
static int hand_out(struct fetch *f)
{
	for (size_t i = 0; i < f->nr_parts; i++) {
		const struct segment_ref *ref = &f->parts[i];
		struct shard *sh = shards_get(f->c, (int)ref->cluster);

		if (!sh || ref->first <= sh->created) {
			etcd_part_is_gone(f->c, ref->first);
			f->missing += ref->nr;
			f->gone_to = ref->last;
			continue;
		}
		atomic_store(&sh->used, true);
		if (ref->at > atomic_load(&sh->at))
			atomic_store(&sh->at, ref->at);
		f->fresh[ref->cluster] += ref->nr;
		/* Read before, in vain. */
		if (sh->nr_parts &&
		    ref->first <= sh->parts[sh->nr_parts - 1].first)
			continue;
		if (keep_part(&sh->parts, &sh->nr_parts, &sh->parts_size, ref))
			return err_set(f->e, -ENOMEM, "etcd: out of memory");
	}
	return 0;
}

/* To load: what was taken in before counts as well. */
static struct shard_job *read_job(struct shard *sh, enum shard_task task)
{
	size_t known = task == SHARD_LOAD ? sh->c.nr_segs : 0;
	struct shard_job *job = shard_job_new(task);

	if (!job)
		return NULL;
	job->newest = sh->owner->head_rev;
	job->parts = calloc(known + sh->nr_parts + 1, sizeof(*job->parts));
	if (!job->parts) {
		shard_job_unref(job);
		return NULL;
	}
	for (size_t i = 0; i < known; i++)
		job->parts[i] =
			(struct segment_ref){ .batch = sh->c.segs[i].batch,
					      .first = sh->c.segs[i].first,
					      .last = sh->c.segs[i].last };
	memcpy(job->parts + known, sh->parts,
	       sh->nr_parts * sizeof(*job->parts));
	job->nr_parts = known + sh->nr_parts;
	job->nr_pending = sh->nr_parts;
	return job;
}

static bool is_known(struct shard *sh, const struct segment_ref *ref)
{
	const struct seg *s = etcd_seg_find(&sh->c, ref->first);

	return s && s->first == ref->first && s->batch == ref->batch;
}

static int damaged(struct shard *sh, const struct segment_ref *ref,
		   struct err *e)
{
	pthread_mutex_lock(&sh->c.lock);
	sh->damaged = true;
	pthread_mutex_unlock(&sh->c.lock);
	shard_state_set(sh, SHARD_AWAY, -EHOSTUNREACH,
			"it lacks revisions %llu to %llu: its data was lost or "
			"restored; restore a backup",
			(unsigned long long)ref->first,
			(unsigned long long)ref->last);
	return err_set(e, -ENODATA, "storage cluster %d: revisions are missing",
		       sh->id);
}

/* The segments of a job that is done become the shard's. -ENODATA: there are
 * not as many as were named. */
static int take_in(struct shard *sh, struct shard_job *job, uint64_t compacted,
		   struct err *e)
{
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; i < job->nr_parts && r == 0; i++) {
		const struct segment_ref *ref = &job->parts[i];

		if (at < job->nr_segs && job->segs[at].first == ref->first) {
			if (!is_known(sh, ref)) {
				r = etcd_seg_add(&sh->c, &job->segs[at]);
				job->segs[at].has = NULL;
			}
			at++;
		} else if (ref->last > compacted) {
			r = damaged(sh, ref, e);
		} else {
			etcd_part_is_gone(sh->owner, ref->first);
		}
	}
	if (r == 0 && job->nr_orphans) {
		buf_add(&sh->orphans, job->orphans.data, job->orphans.len);
		sh->nr_orphans += job->nr_orphans;
	}
	if (r < 0)
		return r;
	free(sh->parts);
	sh->parts = NULL;
	sh->nr_parts = sh->parts_size = 0;
	return 0;
}

static int move_records(struct fetch *f, struct shard_job *job)
{
	int r = 0;

	for (size_t i = 0; i < job->nr; i++) {
		struct object_bytes *o = job->v[i];

		if (r < 0 || o->revision <= f->after ||
		    o->revision > f->head.revision)
			object_unref(o);
		else
			r = keep(f, o);
	}
	job->nr = 0;
	return r;
}

/* Ask the shards for their parts, all at once, and wait for @ms. */
static int gather(struct fetch *f, enum shard_task task, uint32_t ms)
{
	struct shard_job *jobs[SHARDS_MAX] = { NULL };
	struct etcd *c = f->c;
	int r = 0;

	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		if (!sh || !sh->nr_parts)
			continue;
		if (task == SHARD_LOAD)
			shard_await_word(sh);
		if (shard_state(sh) == SHARD_AWAY ||
		    (task == SHARD_GET && !atomic_load(&sh->loaded)))
			continue;
		jobs[id] = read_job(sh, task);
		if (!jobs[id])
			r = -ENOMEM;
		else
			shard_post(sh, jobs[id]);
	}
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);
		int res = -EHOSTUNREACH;

		if (jobs[id] && sh && shard_wait(c, &jobs[id], 1, ms) == 0)
			res = jobs[id]->result;
		if (sh && jobs[id] && res == 0 && r == 0)
			res = take_in(sh, jobs[id], f->head.compacted, NULL);
		if (sh && jobs[id] && res == 0 && r == 0)
			r = move_records(f, jobs[id]);
		if (sh && sh->nr_parts) {
			f->missing += f->fresh[id];
			c->shards->lost |= atomic_load(&sh->loaded);
			atomic_store(&sh->loaded, false);
		}
		shard_job_unref(jobs[id]);
	}
	return r;
}

static void forget_all(struct etcd *c)
{
	etcd_segs_clear(c);
	etcd_graves_clear(&c->graves);
	c->sure = false;
	c->gone_to = 0;
	for (int id = 1; id < SHARDS_MAX; id++) {
		struct shard *sh = shards_get(c, id);

		if (!sh)
			continue;
		etcd_segs_clear(&sh->c);
		sh->nr_parts = 0;
		sh->nr_orphans = 0;
		buf_reset(&sh->orphans);
		shard_job_unref(sh->load);
		sh->load = NULL;
		atomic_store(&sh->loaded, true);
	}
}

int etcd_load(struct store_backend *b, backend_record fn, void *arg,
	      uint64_t *ret_revision, uint64_t *ret_compacted, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	struct err local = { 0 };
	struct fetch f = { .c = c,
			   .fn = fn,
			   .arg = arg,
			   .e = e ? e : &local,
			   .ret_compacted = ret_compacted };
	int r;

	forget_all(c);
	*ret_compacted = 0;
	r = fetch(&f);
	if (r == 0) {
		know_head(c, &f);
		r = hand_out(&f);
	}
	shards_start(c);
	if (r == 0)
		r = gather(&f, SHARD_LOAD, UINT32_MAX);
	/* History in which something is missing is none. */
	c->gone_to = f.gone_to;
	if (f.gone_to > f.head.compacted)
		f.head.compacted = f.gone_to;
	if (f.seen_head)
		*ret_compacted = f.head.compacted;
	if (r == 0)
		r = deliver(f.v, &f.nr, fn, arg);
	fetch_clear(&f);
	if (r == -ESTALE)
		r = err_set(e, -EAGAIN,
			    "etcd: compacted while it was being read");
	if (r < 0)
		return r;
	*ret_revision = f.head.revision;
	c->sure = true;
	if (!c->started && pthread_create(&c->thread, NULL, etcd_minder, c))
		return err_set(e, -EAGAIN, "etcd: cannot start a thread");
	c->started = true;
	return 0;
}

int etcd_tail(struct store_backend *b, uint64_t after, bool force,
	      backend_record fn, void *arg, uint64_t *ret_revision,
	      struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	struct err local = { 0 };
	struct fetch f = { .c = c,
			   .fn = fn,
			   .arg = arg,
			   .e = e ? e : &local,
			   .wait = true,
			   .after = after };
	int r;

	if (!force && !atomic_exchange(&c->news, false) &&
	    atomic_load(&c->seen_mod) <= c->head_mod)
		return 0;
	r = fetch(&f);
	if (r == 0)
		r = hand_out(&f);
	if (r == 0 && f.nr_parts)
		r = gather(&f, SHARD_GET, NEWS_MS);
	if (r == 0 && c->head_mod && (!f.seen_head || f.head.revision < after))
		r = err_set(e, -EIO,
			    "etcd: it went back from revision %llu to "
			    "%llu: its data was lost or restored; restart "
			    "to accept that",
			    (unsigned long long)after,
			    (unsigned long long)f.head.revision);
	/* What was compacted away in between cannot be told event by event. The
	 * head is known only once the caller has what it stands for. */
	if (r == 0 && f.seen_head && f.head.revision > after &&
	    (f.head.compacted > after || f.gone_to ||
	     f.nr + f.missing != f.head.revision - after))
		r = -ESTALE;
	if (r == 0)
		r = deliver(f.v, &f.nr, fn, arg);
	fetch_clear(&f);
	if (r < 0) {
		atomic_store(&c->news, true);
		return r;
	}
	know_head(c, &f);
	if (f.seen_head)
		*ret_revision = f.head.revision;
	return 0;
}

/* --- what has come --- */

bool etcd_lost(struct store_backend *b)
{
	struct shards *s = ((struct etcd *)b)->shards;
	bool lost = s->lost;

	s->lost = false;
	return lost;
}

/* What was deleted by a record elsewhere, which is compacted, is dead. */
static void drop_hidden(struct etcd *c, struct shard *sh, struct shard_job *job)
{
	size_t nr = 0;

	for (size_t i = 0; i < job->nr; i++) {
		struct object_bytes *o = job->v[i];

		if (!etcd_grave_hides(c, o)) {
			job->v[nr++] = o;
			continue;
		}
		etcd_seg_dead(c, &sh->c, o);
		object_unref(o);
	}
	job->nr = nr;
}

/* 1: @sh has delivered all that is named of it. */
static int attach(struct etcd *c, struct shard *sh, backend_record fn,
		  void *arg, struct err *e)
{
	struct shard_job *job = sh->load;
	int r = 0;

	if (job && !shard_job_done(c, job))
		return 0;
	if (job && job->result == 0 && job->nr_pending == sh->nr_parts) {
		r = take_in(sh, job, c->compacted, e);
		if (r == 0)
			drop_hidden(c, sh, job);
		if (r == 0)
			r = deliver(job->v, &job->nr, fn, arg);
		r = r < 0 ? r : 1;
	}
	shard_job_unref(job);
	sh->load = NULL;
	if (r || shard_state(sh) != SHARD_READY)
		return r;
	sh->load = read_job(sh, SHARD_LOAD);
	if (sh->load)
		shard_post(sh, sh->load);
	return 0;
}

int etcd_attach(struct store_backend *b, backend_record fn, void *arg,
		int *ret_id, struct err *e)
{
	struct etcd *c = (struct etcd *)b;
	int r = 0;

	for (int id = 1; id < SHARDS_MAX && r == 0; id++) {
		struct shard *sh = shards_get(c, id);

		if (!sh || atomic_load(&sh->loaded))
			continue;
		*ret_id = id;
		r = attach(c, sh, fn, arg, e);
	}
	return r;
}

void etcd_attached(struct store_backend *b, int id, uint64_t floor)
{
	struct shard *sh = shards_get((struct etcd *)b, id);

	if (!sh)
		return;
	atomic_store(&sh->floor, floor);
	atomic_store(&sh->loaded, true);
	etcd_graves_look((struct etcd *)b);
}
