// SPDX-License-Identifier: Apache-2.0
/*
 * What a shard's thread does with segments: a batch's part is put under a name
 * that says its first revision and its batch, so that two who try the same
 * revisions write two of them. Of what is read, only that counts which the
 * system's segments name.
 */
#include <stdio.h>
#include <time.h>

#include "controlplane/store/etcd_shard.h"
#include "controlplane/store/record.h"
#include "lib/str.h"

#define PAGE  32
#define TRIES 4 /* with each another member is asked */

char *shard_key(const struct shard *sh, uint64_t first, uint64_t batch)
{
	return str_printf("%s%016llx-%016llx", sh->c.log,
			  (unsigned long long)first, (unsigned long long)batch);
}

/* A request that may be made twice. Where nobody answers, another is asked;
 * where one takes its time, there is none left for that. */
static int ask(struct shard *sh, const char *method, const struct buf *q,
	       struct buf *reply, struct err *e)
{
	int r = -EHOSTUNREACH;

	for (int i = 0; i < TRIES && r == -EHOSTUNREACH; i++) {
		if (i)
			nanosleep(&(struct timespec){ .tv_nsec = 50000000 },
				  NULL);
		r = etcd_call(&sh->c, method, q, reply, NULL, e);
	}
	return r;
}

static int ask_txn(struct shard *sh, const struct buf *q, struct buf *reply,
		   struct err *e)
{
	return ask(sh, "/etcdserverpb.KV/Txn", q, reply, e);
}

static void reached(struct shard *sh, uint64_t revision)
{
	if (revision > atomic_load(&sh->at))
		atomic_store(&sh->at, revision);
}

static int put(struct shard *sh, struct shard_job *job, struct err *e)
{
	auto_buf struct buf reply = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;
	struct etcd_answer a = { 0 };
	int r;

	etcd_if_mod(&q, sh->ident, sh->ident_mod);
	etcd_do_put(&q, ETCD_THEN, job->keys, job->data.data, job->data.len, 0);
	r = ask_txn(sh, &q, &reply, e);
	if (r == 0 && etcd_read_txn(&reply, &a, etcd_ignore_pair, NULL) < 0)
		r = err_set(e, -EBADMSG, "its answer cannot be read");
	if (r == 0 && !a.succeeded)
		r = err_set(e, -EREMOTEIO, "it is not the one it was");
	if (r < 0)
		return r;
	job->revision = a.revision;
	reached(sh, a.revision);
	return 0;
}

static int delete (struct shard *sh, struct shard_job *job, struct err *e)
{
	auto_buf struct buf reply = BUF_INIT;
	const char *key = job->keys;
	size_t i = 0;
	int r = 0;

	/* etcd takes 128 at a time. */
	while (r == 0 && i < job->nr_keys) {
		auto_buf struct buf q = BUF_INIT;

		for (size_t n = 0; n < 64 && i < job->nr_keys; n++, i++) {
			etcd_do_delete(&q, ETCD_THEN, key, NULL);
			key += strlen(key) + 1;
		}
		r = ask_txn(sh, &q, &reply, e);
	}
	return r;
}

/* --- reading --- */

struct reading {
	struct shard *sh;
	struct shard_job *job;
	struct err *e;
	size_t pairs;
	char last[STORE_KEY_MAX]; /* key */
};

static const struct segment_ref *named(const struct shard_job *job,
				       const struct segment_head *h)
{
	size_t lo = 0, hi = job->nr_parts;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (job->parts[mid].first < h->first)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == job->nr_parts || job->parts[lo].first != h->first ||
	    job->parts[lo].batch != h->batch)
		return NULL;
	return &job->parts[lo];
}

static int keep(struct shard_job *job, struct object_bytes *o)
{
	if (job->nr == job->size) {
		size_t size = job->size ? job->size * 2 : 64;
		struct object_bytes **v;

		v = realloc(job->v, size * sizeof(struct object_bytes *));
		if (!v) {
			object_unref(o);
			return -ENOMEM;
		}
		job->v = v;
		job->size = size;
	}
	job->v[job->nr++] = o;
	return 0;
}

static int keep_seg(struct shard_job *job, const struct segment_head *h)
{
	struct seg *s = &job->segs[job->nr_segs];

	if (job->nr_segs == job->segs_size) {
		size_t size = job->segs_size ? job->segs_size * 2 : 64;

		s = realloc(job->segs, size * sizeof(*s));
		if (!s)
			return -ENOMEM;
		job->segs = s;
		job->segs_size = size;
		s += job->nr_segs;
	}
	if (h->last - h->first > 1u << 24)
		return -EBADMSG;
	*s = (struct seg){ .first = h->first,
			   .last = h->last,
			   .batch = h->batch,
			   .nr = h->nr,
			   .has = calloc(1, (h->last - h->first) / 8 + 1) };
	if (!s->has)
		return -ENOMEM;
	job->nr_segs++;
	return 0;
}

static int take_records(struct reading *f, struct segment_in *in)
{
	struct seg *s = &f->job->segs[f->job->nr_segs - 1];
	struct segment_record rec;
	int r;

	while ((r = segment_next(in, &rec)) > 0) {
		struct object_bytes *o = NULL;

		etcd_seg_has(s, rec.revision);
		r = record_decode(rec.data, rec.len, rec.revision,
				  f->sh->c.base.keys, "etcd", &o, f->e);
		if (r == 0)
			r = keep(f->job, o);
		if (r < 0)
			return r;
	}
	return r;
}

static int take(void *arg, const struct etcd_kv *kv)
{
	struct reading *f = arg;
	struct segment_in in;
	int r = segment_open(&in, kv->value, kv->value_len);

	f->pairs++;
	snprintf(f->last, sizeof(f->last), "%.*s", (int)kv->key_len, kv->key);
	if (r == 0 && !named(f->job, &in.head)) {
		if (in.head.first > f->job->newest)
			return 0;
		buf_add(&f->job->orphans, f->last, strlen(f->last) + 1);
		f->job->nr_orphans++;
		return buf_error(&f->job->orphans);
	}
	if (r == 0)
		r = keep_seg(f->job, &in.head);
	if (r == 0)
		r = take_records(f, &in);
	if (r == -EBADMSG && !f->e->code)
		err_set(f->e, r, "%s is damaged; restore a backup", f->last);
	return r;
}

static int load(struct shard *sh, struct shard_job *job, struct err *e)
{
	struct reading f = { .sh = sh, .job = job, .e = e };
	auto_free char *from = strdup(sh->c.log);
	uint64_t pinned = 0;
	int r = from ? 0 : -ENOMEM;

	do {
		struct etcd_range range = { .key = from,
					    .end = sh->c.log_end,
					    .limit = PAGE,
					    .revision = pinned };
		auto_buf struct buf reply = BUF_INIT;
		auto_buf struct buf q = BUF_INIT;
		struct etcd_answer a;

		f.pairs = 0;
		if (r < 0)
			break;
		etcd_range_request(&q, &range);
		r = ask(sh, "/etcdserverpb.KV/Range", &q, &reply, e);
		if (r == 0)
			r = etcd_read_range(&reply, &a, take, &f);
		if (r < 0)
			break;
		if (!pinned)
			pinned = a.revision;
		free(from);
		from = str_printf("%s!", f.last);
		if (!from)
			r = -ENOMEM;
	} while (f.pairs == PAGE);
	reached(sh, pinned);
	return r;
}

static int get(struct shard *sh, struct shard_job *job, struct err *e)
{
	struct reading f = { .sh = sh, .job = job, .e = e };
	int r = 0;

	for (size_t i = 0; i < job->nr_parts && r == 0;) {
		auto_buf struct buf reply = BUF_INIT;
		auto_buf struct buf q = BUF_INIT;
		struct etcd_answer a;

		for (size_t n = 0; n < PAGE && i < job->nr_parts; n++, i++) {
			auto_free char *key = shard_key(sh, job->parts[i].first,
							job->parts[i].batch);

			if (!key)
				return err_set(e, -ENOMEM, "out of memory");
			etcd_do_range(&q, ETCD_THEN,
				      &(struct etcd_range){ .key = key });
		}
		r = ask_txn(sh, &q, &reply, e);
		if (r == 0)
			r = etcd_read_txn(&reply, &a, take, &f);
		if (r == 0)
			reached(sh, a.revision);
	}
	return r;
}

int shard_do(struct shard *sh, struct shard_job *job, struct err *e)
{
	int r = -EINVAL;

	switch (job->task) {
	case SHARD_PUT:
		r = put(sh, job, e);
		break;
	case SHARD_DELETE:
		r = delete (sh, job, e);
		break;
	case SHARD_LOAD:
		r = load(sh, job, e);
		break;
	case SHARD_GET:
		r = get(sh, job, e);
		break;
	case SHARD_SHRINK:
		r = etcd_seg_shrink(&sh->c, &job->seg, job->keys, &job->seg.nr);
		job->missing = r == -ENOENT;
		if (r == 0)
			r = -EAGAIN; /* it has changed */
		if (job->missing)
			r = 0;
		break;
	}
	if (r < 0 && !e->code)
		err_set(e, r, "it cannot be read: %s", strerror(-r));
	return r > 0 ? 0 : r;
}
