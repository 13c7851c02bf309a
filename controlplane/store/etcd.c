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

#include "controlplane/store/etcd_shard.h"
#include "controlplane/store/record.h"
#include "lib/slice.h"
#include "lib/str.h"

#define TIMEOUT_MS    5000
#define MESSAGE_MAX   (64u << 20)
#define REQUEST_BYTES ((1536u << 10) - 4096) /* etcd's default limit */
#define BATCH_BYTES   (512u << 10)

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
	pthread_rwlock_rdlock(&c->g_lock);
	r = c->g ? grpc_call(c->g, &call, e)
		 : err_set(e, -EHOSTUNREACH, "there is no address");
	if (ret_sent)
		*ret_sent = call.sent;
	buf_clear(reply);
	*reply = call.reply;
	/* A member without a leader, or one that is stopped: try another. */
	if (c->g && (r == -EHOSTUNREACH || r == -ETIMEDOUT))
		grpc_rotate(c->g);
	pthread_rwlock_unlock(&c->g_lock);
	if (r == -ENOSPC && e && strstr(e->msg, "space"))
		return err_wrap(e, r,
				"etcd is full, and deleting needs room as "
				"well: compact and defragment it, or raise its "
				"quota, then 'etcdctl alarm disarm'");
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

/* --- writing --- */

static void put_head(struct etcd *c, struct buf *q, uint64_t revision,
		     uint64_t compacted)
{
	struct etcd_head h = { revision, compacted, c->batch };

	etcd_do_put(q, ETCD_THEN, c->head, &h, sizeof(h), 0);
}

int etcd_build_segment(struct etcd *c, uint64_t batch,
		       const struct segment_ref *refs, size_t nr_refs,
		       struct object_bytes **v, size_t nr, uint64_t first,
		       uint64_t last, struct buf *seg, struct err *e)
{
	segment_begin_with(seg, batch, first, last, refs, nr_refs);
	for (size_t i = 0; i < nr; i++) {
		size_t size = record_size(v[i], c->base.keys);
		auto_free void *rec = malloc(size);

		if (!rec)
			return err_set(e, -ENOMEM, "etcd: out of memory");
		if (record_encode(v[i], c->base.keys, rec))
			return err_set(e, -EIO, "etcd: encryption failed");
		segment_add(seg, v[i]->revision, rec, size);
		slice_give(GIVE_NS);
	}
	if (buf_error(seg))
		return err_set(e, -ENOMEM, "etcd: out of memory");
	if (seg->len > REQUEST_BYTES)
		return err_set(e, -EFBIG,
			       "etcd: %zu bytes in one request, it takes %u",
			       seg->len, REQUEST_BYTES);
	return 0;
}

int etcd_ignore_pair(void *arg, const struct etcd_kv *kv)
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

/* The head goes on only from the one that is known here. */
static int commit_head(struct etcd *c, struct etcd_parts *p, uint64_t compacted,
		       uint64_t revision, struct err *e)
{
	auto_buf struct buf seg = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	auto_free char *key = etcd_log_key(c, p->first);
	struct etcd_answer a = { 0 };
	bool sent = false;
	int r = 0;

	etcd_if_mod(&q, c->head, c->head_mod);
	put_head(c, &q, revision, compacted);
	if (!key)
		return err_set(e, -ENOMEM, "etcd: out of memory");
	if (p->first) {
		r = etcd_build_segment(c, c->batch, p->refs, p->nr_refs, p->own,
				       p->nr_own, p->first, p->last, &seg, e);
		etcd_do_put(&q, ETCD_THEN, key, seg.data, seg.len, 0);
	}
	if (r == 0)
		r = etcd_parts_know(c, p, e);
	if (r < 0)
		return r;
	r = txn(c, &q, &reply, &sent, e);
	r = judge(r, sent, e);
	if (r == 0 && etcd_read_txn(&reply, &a, etcd_ignore_pair, NULL) < 0)
		return err_set(e, -EUNATCH, "etcd: its answer cannot be read");
	if (r < 0)
		return r;
	if (!a.succeeded) {
		atomic_store(&c->news, true);
		return err_set(e, -EAGAIN, "etcd: somebody else has written");
	}
	c->head_mod = a.revision;
	return 0;
}

static int etcd_commit(struct store_backend *b, struct object_bytes **v,
		       size_t nr, struct object_bytes **dead, size_t nr_dead,
		       uint64_t compacted, uint64_t revision, struct err *e)
{
	struct etcd *c = etcd_of(b);
	struct etcd_parts p;
	int r;

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
	r = etcd_parts_put(c, v, nr, &p, e);
	if (r == 0)
		r = commit_head(c, &p, compacted, revision, e);
	/* What of it is in the shards counts for nothing, or who knows. */
	if (r < 0 && r != -EUNATCH)
		etcd_parts_drop(c, &p);
	else if (r == -EUNATCH && p.nr_refs && (c->doubt = malloc(sizeof(p))))
		*c->doubt = p;
	if (r == -EUNATCH && p.nr_refs)
		p.nr_refs = 0; /* their bits are the shards' */
	etcd_parts_clear(&p);
	if (r < 0)
		return r;
	c->head_rev = revision;
	c->compacted = compacted;
	for (size_t i = 0; i < nr_dead; i++)
		shards_dead(b, dead[i]);
	return 0;
}

struct found {
	struct etcd *c;
	struct etcd_head head;
	bool segment, ours;
};

static int look(void *arg, const struct etcd_kv *kv)
{
	struct found *f = arg;
	struct segment_in in;

	if (kv->key_len == strlen(f->c->head) &&
	    memcmp(kv->key, f->c->head, kv->key_len) == 0) {
		if (kv->value_len == sizeof(f->head)) {
			memcpy(&f->head, kv->value, sizeof(f->head));
			f->ours |= f->head.batch == f->c->batch;
		}
	} else if (segment_open(&in, kv->value, kv->value_len) == 0) {
		f->segment = true;
		f->ours |= in.head.batch == f->c->batch;
	}
	return 0;
}

/*
 * Rewrite the head if it is still the one that the lost commit was to replace:
 * then that commit has not happened, and cannot happen any more, however late
 * its request arrives. Otherwise its segment says whose the new head is; if
 * that was compacted and collected meanwhile, nothing does (-ENODATA).
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
	r = !a.succeeded && !f.ours && !f.segment && c->tried_first &&
			    f.head.compacted >= c->tried_first
		    ? err_set(e, -ENODATA, "others have compacted it away")
		    : 0;
	if (c->doubt && !*ret_happened && r == 0)
		etcd_parts_drop(c, c->doubt);
	free(c->doubt);
	c->doubt = NULL;
	return r;
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

void etcd_fini(struct etcd *c)
{
	free(c->doubt);
	grpc_close(c->g);
	etcd_segs_clear(c);
	etcd_graves_clear(&c->graves);
	free(c->segs);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->cond);
	pthread_rwlock_destroy(&c->g_lock);
	free(c->prefix);
	free(c->head);
	free(c->log);
	free(c->log_end);
	free(c->gc);
}

static void etcd_close(struct store_backend *b)
{
	struct etcd *c = etcd_of(b);

	shards_close(c);
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
	if (c->started)
		pthread_join(c->thread, NULL);
	etcd_fini(c);
	free(c);
}

static const struct store_backend_ops etcd_ops = {
	.load = etcd_load,
	.commit = etcd_commit,
	.settle = etcd_settle,
	.tail = etcd_tail,
	.tidy = etcd_tidy,
	.dead = shards_dead,
	.outlived = shards_outlived,
	.reencrypt = etcd_reencrypt,
	.may = shards_may,
	.seen = shards_seen,
	.whole = shards_whole,
	.place = shards_place_of,
	.cluster = shards_cluster,
	.attach = etcd_attach,
	.attached = etcd_attached,
	.lost = etcd_lost,
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

int etcd_init(struct etcd *c, const struct store_etcd *o, const char *prefix,
	      struct err *e)
{
	pthread_condattr_t attr;

	c->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	pthread_mutex_init(&c->lock, NULL);
	pthread_rwlock_init(&c->g_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	atomic_store(&c->news, true);
	if (set_names(c, prefix) == 0)
		return 0;
	return err_set(e, -ENOMEM, "etcd: out of memory");
}

int etcd_connect(struct etcd *c, const struct store_etcd *o,
		 const char *endpoints, struct err *e)
{
	struct grpc_opts g = { .endpoints = endpoints,
			       .ca_file = o->ca_file,
			       .cert_file = o->cert_file,
			       .key_file = o->key_file,
			       .max_message = MESSAGE_MAX };
	struct grpc *now = NULL;
	int r = grpc_open(&g, &now, e);

	pthread_rwlock_wrlock(&c->g_lock);
	grpc_close(c->g);
	c->g = now;
	pthread_rwlock_unlock(&c->g_lock);
	return r;
}

int etcd_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e)
{
	const struct store_etcd *o = opts->etcd;
	struct etcd *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, -ENOMEM, "etcd: out of memory");
	c->base.ops = &etcd_ops;
	r = etcd_init(c, o, o->prefix ? o->prefix : "/arktos/", e);
	/* Where this process's batch numbers begin: no other has the same. */
	if (r == 0 &&
	    RAND_bytes((unsigned char *)&c->batch, sizeof(c->batch)) != 1)
		r = err_set(e, -EIO, "etcd: no random numbers");
	c->batch &= ~(uint64_t)UINT32_MAX;
	if (r == 0)
		r = shards_open(c, o, e);
	if (r == 0)
		r = etcd_connect(c, o, o->endpoints, e);
	if (r < 0) {
		etcd_close(&c->base);
		return r;
	}
	*ret = &c->base;
	return 0;
}
