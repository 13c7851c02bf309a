// SPDX-License-Identifier: Apache-2.0
/*
 * The etcd back end. Below a prefix there are
 *
 *	head		the newest revision of ours, the compacted one, and the
 *			number of the last batch
 *	log/<first>	one batch of records (segment.h), by its first revision
 *	collector	who deletes dead records; bound to a lease
 *
 * A commit is one etcd transaction: if the head is still as we know it, put the
 * new head and one segment. So a batch of any number of objects is one round of
 * etcd's consensus, revisions have no gap, and of several processes that write
 * one wins and the others do it again on top. A process that was stopped for an
 * hour and wakes up in the middle of a commit changes nothing.
 *
 * News from others: a watch on the head says that there is something, a read of
 * the log from our revision on says what. A watch that broke, was compacted, or
 * skipped can therefore not lose anything. etcd's own old revisions are never
 * needed and are compacted by the collector.
 */
#include <openssl/rand.h>
#include <stdio.h>

#include "controlplane/store/etcd.h"
#include "controlplane/store/record.h"
#include "controlplane/store/segment.h"
#include "lib/str.h"

#define TIMEOUT_MS    5000
#define MESSAGE_MAX   (64u << 20)
#define PAGE          32                     /* segments read at once */
#define REQUEST_BYTES ((1536u << 10) - 4096) /* etcd's default limit */
#define BATCH_BYTES   (512u << 10)

struct head_value {
	uint64_t revision, compacted, batch;
};

static struct etcd *etcd_of(struct store_backend *b)
{
	return (struct etcd *)b;
}

int etcd_call(struct etcd *c, const char *method, const struct buf *request,
	      struct buf *reply, bool *ret_sent, struct err *e)
{
	struct grpc_call call = { .method = method,
				  .data = request->data,
				  .len = request->len,
				  .timeout_ms = c->timeout_ms };
	int r;

	if (buf_error(request))
		return err_set(e, -ENOMEM, "etcd: out of memory");
	r = grpc_call(c->g, &call, e);
	if (ret_sent)
		*ret_sent = call.sent;
	buf_clear(reply);
	*reply = call.reply;
	/* A member without a leader, or one that is stopped: try another. */
	if (r == -EHOSTUNREACH || r == -ETIMEDOUT)
		grpc_rotate(c->g);
	return r < 0 ? err_wrap(e, r, "etcd") : 0;
}

char *etcd_log_key(const struct etcd *c, uint64_t first)
{
	return str_printf("%s%016llx", c->log, (unsigned long long)first);
}

static int txn(struct etcd *c, const struct buf *request, struct buf *reply,
	       bool *ret_sent, struct err *e)
{
	return etcd_call(c, "/etcdserverpb.KV/Txn", request, reply, ret_sent,
			 e);
}

/* --- reading the log --- */

struct fetch {
	struct etcd *c;
	backend_record fn;
	void *arg;
	struct err *e;
	struct head_value head;
	uint64_t head_mod, last_first;
	uint64_t after;    /* deliver what is newer */
	uint64_t expected; /* next revision; 0: there may be holes */
	uint64_t *ret_compacted;
	bool seen_head;
	size_t segs; /* in this page */
};

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

static int take_record(struct fetch *f, const struct segment_record *rec)
{
	struct object_bytes *o = NULL;
	int r;

	if (rec->revision <= f->after || rec->revision > f->head.revision)
		return 0;
	if (f->expected && rec->revision != f->expected)
		return -ESTALE;
	if (f->expected)
		f->expected++;
	r = record_decode(rec->data, rec->len, rec->revision, f->c->base.keys,
			  "etcd", &o, f->e);
	return r < 0 ? r : f->fn(f->arg, o);
}

static int take_segment(struct fetch *f, const struct etcd_kv *kv)
{
	struct segment_record rec;
	struct segment_in in;
	int r = segment_open(&in, kv->value, kv->value_len);

	f->segs++;
	if (r == 0) {
		f->last_first = in.head.first;
		r = etcd_seg_add(f->c, in.head.first, in.head.last, in.head.nr);
		if (r < 0)
			return r;
	}
	while (r >= 0 && (r = segment_next(&in, &rec)) > 0)
		r = take_record(f, &rec);
	if (r == -EBADMSG && f->e && !f->e->code)
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
	res = from ? txn(f->c, &q, &reply, NULL, f->e) : -ENOMEM;
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
	if (res == -EBADMSG && f->e && !f->e->code)
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

static int etcd_load(struct store_backend *b, backend_record fn, void *arg,
		     uint64_t *ret_revision, uint64_t *ret_compacted,
		     struct err *e)
{
	struct etcd *c = etcd_of(b);
	struct err local = { 0 };
	struct fetch f = { .c = c,
			   .fn = fn,
			   .arg = arg,
			   .e = e ? e : &local,
			   .ret_compacted = ret_compacted };
	int r;

	etcd_segs_clear(c);
	*ret_compacted = 0;
	r = fetch(&f);
	if (r == -ESTALE)
		r = err_set(e, -EAGAIN,
			    "etcd: compacted while it was being read");
	if (r < 0)
		return r;
	know_head(c, &f);
	*ret_revision = f.head.revision;
	if (!c->started && pthread_create(&c->thread, NULL, etcd_minder, c))
		return err_set(e, -EAGAIN, "etcd: cannot start a thread");
	c->started = true;
	return 0;
}

static int etcd_tail(struct store_backend *b, uint64_t after, bool force,
		     backend_record fn, void *arg, uint64_t *ret_revision,
		     struct err *e)
{
	struct etcd *c = etcd_of(b);
	struct err local = { 0 };
	struct fetch f = { .c = c,
			   .fn = fn,
			   .arg = arg,
			   .e = e ? e : &local,
			   .after = after,
			   .expected = after + 1 };
	int r;

	if (!force && !atomic_exchange(&c->news, false) &&
	    atomic_load(&c->seen_mod) <= c->head_mod)
		return 0;
	r = fetch(&f);
	if (r < 0) {
		atomic_store(&c->news, true);
		return r;
	}
	if (c->head_mod && (!f.seen_head || f.head.revision < after))
		return err_set(e, -EIO,
			       "etcd: it went back from revision %llu to "
			       "%llu: its data was lost or restored; restart "
			       "to accept that",
			       (unsigned long long)after,
			       (unsigned long long)f.head.revision);
	/* What was compacted away in between cannot be told event by event. The
	 * head is known only once the caller has what it stands for. */
	if (f.seen_head && f.head.revision > after &&
	    (f.head.compacted > after || f.expected != f.head.revision + 1)) {
		atomic_store(&c->news, true);
		return -ESTALE;
	}
	know_head(c, &f);
	if (f.seen_head)
		*ret_revision = f.head.revision;
	return 0;
}

/* --- writing --- */

static void put_head(struct etcd *c, struct buf *q, uint64_t revision,
		     uint64_t compacted)
{
	struct head_value h = { revision, compacted, c->batch };

	etcd_do_put(q, ETCD_THEN, c->head, &h, sizeof(h), 0);
}

static int build_segment(struct etcd *c, struct object_bytes **v, size_t nr,
			 struct buf *seg, struct err *e)
{
	segment_begin(seg, c->batch, v[0]->revision, v[nr - 1]->revision);
	for (size_t i = 0; i < nr; i++) {
		size_t size = record_size(v[i], c->base.keys);
		auto_free void *rec = malloc(size);

		if (!rec)
			return err_set(e, -ENOMEM, "etcd: out of memory");
		if (record_encode(v[i], c->base.keys, rec))
			return err_set(e, -EIO, "etcd: encryption failed");
		segment_add(seg, v[i]->revision, rec, size);
	}
	if (buf_error(seg))
		return err_set(e, -ENOMEM, "etcd: out of memory");
	if (seg->len > REQUEST_BYTES)
		return err_set(e, -EFBIG,
			       "etcd: %zu bytes in one request, it takes %u",
			       seg->len, REQUEST_BYTES);
	return 0;
}

static int ignore_pair(void *arg, const struct etcd_kv *kv)
{
	(void)arg, (void)kv;
	return 0;
}

/* What became of a commit that ended with @r. */
static int judge(int r, bool sent, struct err *e)
{
	if (r == 0 || r == -ENOSPC || r == -EINVAL || r == -EACCES)
		return r; /* it says itself that nothing was done */
	if (!sent)
		return err_wrap(e, r, "not sent");
	if (e && r != -ETIMEDOUT)
		e->code = -EIO;
	return -EUNATCH;
}

static int etcd_commit(struct store_backend *b, struct object_bytes **v,
		       size_t nr, const uint64_t *dead, size_t nr_dead,
		       uint64_t compacted, uint64_t revision, struct err *e)
{
	struct etcd *c = etcd_of(b);
	auto_buf struct buf seg = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	auto_free char *key = etcd_log_key(c, nr ? v[0]->revision : 0);
	struct etcd_answer a = { 0 };
	bool sent = false;
	int r = 0;

	/* Revisions follow on those of the head, or it is not the head whose
	 * objects the caller has looked at. */
	if (c->head_mod && revision - nr != c->head_rev) {
		atomic_store(&c->news, true);
		return err_set(e, -EAGAIN, "etcd: the head is at %llu",
			       (unsigned long long)c->head_rev);
	}
	if (compacted < c->compacted)
		compacted = c->compacted;
	c->batch++;
	c->tried_first = nr ? v[0]->revision : 0;
	etcd_if_mod(&q, c->head, c->head_mod);
	put_head(c, &q, revision, compacted);
	if (nr && key) {
		r = build_segment(c, v, nr, &seg, e);
		etcd_do_put(&q, ETCD_THEN, key, seg.data, seg.len, 0);
	}
	if (r == 0 && !key)
		r = err_set(e, -ENOMEM, "etcd: out of memory");
	if (r == 0 && nr)
		r = etcd_seg_add(c, v[0]->revision, v[nr - 1]->revision, nr);
	if (r < 0)
		return r;
	r = txn(c, &q, &reply, &sent, e);
	r = judge(r, sent, e);
	if (r == 0 && etcd_read_txn(&reply, &a, ignore_pair, NULL) < 0)
		return err_set(e, -EUNATCH, "etcd: its answer cannot be read");
	if (r < 0)
		return r;
	if (!a.succeeded) {
		atomic_store(&c->news, true);
		return err_set(e, -EAGAIN, "etcd: somebody else has written");
	}
	c->head_mod = a.revision;
	c->head_rev = revision;
	c->compacted = compacted;
	for (size_t i = 0; i < nr_dead; i++)
		etcd_seg_dead(c, dead[i]);
	return 0;
}

struct found {
	struct etcd *c;
	bool head, ours;
};

static int look(void *arg, const struct etcd_kv *kv)
{
	struct found *f = arg;
	struct segment_in in;
	struct head_value h;

	if (kv->key_len == strlen(f->c->head) &&
	    memcmp(kv->key, f->c->head, kv->key_len) == 0) {
		f->head = true;
		if (kv->value_len == sizeof(h)) {
			memcpy(&h, kv->value, sizeof(h));
			f->ours |= h.batch == f->c->batch;
		}
	} else if (segment_open(&in, kv->value, kv->value_len) == 0) {
		f->ours |= in.head.batch == f->c->batch;
	}
	return 0;
}

/*
 * Rewrite the head if it is still the one that the lost commit was to replace:
 * then that commit has not happened, and cannot happen any more, however late
 * its request arrives. Otherwise its segment says whose the new head is.
 */
static int etcd_settle(struct store_backend *b, bool *ret_happened,
		       struct err *e)
{
	struct etcd *c = etcd_of(b);
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	auto_free char *key = etcd_log_key(c, c->tried_first);
	struct found f = { .c = c };
	struct etcd_answer a = { 0 };
	uint64_t tried = c->batch;
	int r;

	if (!key)
		return err_set(e, -ENOMEM, "etcd: out of memory");
	etcd_if_mod(&q, c->head, c->head_mod);
	c->batch++; /* of the rewritten head */
	put_head(c, &q, c->head_rev, c->compacted);
	c->batch = tried;
	etcd_do_range(&q, ETCD_ELSE, &(struct etcd_range){ .key = c->head });
	etcd_do_range(&q, ETCD_ELSE, &(struct etcd_range){ .key = key });
	r = txn(c, &q, &reply, NULL, e);
	if (r == 0)
		r = etcd_read_txn(&reply, &a, look, &f);
	if (r < 0)
		return r;
	if (a.succeeded)
		c->head_mod = a.revision;
	c->batch = tried + 1;
	atomic_store(&c->news, true);
	*ret_happened = !a.succeeded && f.ours;
	return 0;
}

static uint64_t etcd_file_bytes(struct store_backend *b)
{
	auto_buf struct buf reply = BUF_INIT;
	struct buf q = BUF_INIT;
	struct etcd_answer a;

	if (etcd_call(etcd_of(b), "/etcdserverpb.Maintenance/Status", &q,
		      &reply, NULL, NULL) ||
	    etcd_read_status(&reply, &a))
		return 0;
	return a.db_bytes;
}

static void etcd_dead(struct store_backend *b, uint64_t revision)
{
	etcd_seg_dead(etcd_of(b), revision);
}

static void etcd_close(struct store_backend *b)
{
	struct etcd *c = etcd_of(b);

	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
	if (c->started)
		pthread_join(c->thread, NULL);
	grpc_close(c->g);
	etcd_segs_clear(c);
	free(c->segs);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->cond);
	free(c->prefix);
	free(c->head);
	free(c->log);
	free(c->log_end);
	free(c->gc);
	free(c);
}

static const struct store_backend_ops etcd_ops = {
	.load = etcd_load,
	.commit = etcd_commit,
	.settle = etcd_settle,
	.tail = etcd_tail,
	.tidy = etcd_tidy,
	.dead = etcd_dead,
	.reencrypt = etcd_reencrypt,
	.file_bytes = etcd_file_bytes,
	.close = etcd_close,
	.batch_bytes = BATCH_BYTES,
	.shared = true,
};

static int set_names(struct etcd *c, const char *prefix)
{
	size_t len = strlen(prefix);

	c->prefix = str_printf("%s%s", prefix,
			       len && prefix[len - 1] == '/' ? "" : "/");
	if (!c->prefix)
		return -ENOMEM;
	c->head = str_printf("%shead", c->prefix);
	c->log = str_printf("%slog/", c->prefix);
	c->log_end = str_printf("%slog0", c->prefix); /* '0' is '/' + 1 */
	c->gc = str_printf("%scollector", c->prefix);
	return c->head && c->log && c->log_end && c->gc ? 0 : -ENOMEM;
}

int etcd_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e)
{
	const struct store_etcd *o = opts->etcd;
	struct grpc_opts g = { .endpoints = o->endpoints,
			       .ca_file = o->ca_file,
			       .cert_file = o->cert_file,
			       .key_file = o->key_file,
			       .max_message = MESSAGE_MAX };
	struct etcd *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	int r;

	if (!c)
		return err_set(e, -ENOMEM, "etcd: out of memory");
	c->base.ops = &etcd_ops;
	c->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	atomic_store(&c->news, true);
	r = set_names(c, o->prefix ? o->prefix : "/arktos/");
	/* Where this process's batch numbers begin: no other has the same. */
	if (r == 0 &&
	    RAND_bytes((unsigned char *)&c->batch, sizeof(c->batch)) != 1)
		r = -EIO;
	c->batch &= ~0u;
	if (r < 0)
		err_set(e, r, "etcd: out of memory");
	if (r == 0)
		r = grpc_open(&g, &c->g, e);
	if (r < 0) {
		etcd_close(&c->base);
		return r;
	}
	*ret = &c->base;
	return 0;
}
