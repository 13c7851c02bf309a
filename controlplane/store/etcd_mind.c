// SPDX-License-Identifier: Apache-2.0
/*
 * A thread beside the writer. It keeps a watch on the head open, so that news
 * of others wake the writer; it takes and keeps the lease of the collector, if
 * nobody else has it; and, as the collector, has etcd forget old revisions.
 */
#include <time.h>

#include "controlplane/store/etcd.h"

#define LEASE_S    10
#define STEP_MS    1000
#define COMPACT_MS 60000 /* how old etcd's revisions get, once to twice */

static void wake(struct etcd *c)
{
	if (c->base.wake)
		c->base.wake(c->base.wake_arg);
}

/* --- the watch --- */

static int take_event(void *arg, bool deleted, const struct etcd_kv *kv)
{
	struct etcd *c = arg;

	(void)deleted;
	if (kv->mod_revision > atomic_load(&c->seen_mod))
		atomic_store(&c->seen_mod, kv->mod_revision);
	return 0;
}

static void signal_over(struct etcd *c, bool *what)
{
	pthread_mutex_lock(&c->lock);
	*what = true;
	pthread_cond_broadcast(&c->cond);
	pthread_mutex_unlock(&c->lock);
}

static void watch_message(void *arg, const void *data, size_t len)
{
	struct etcd *c = arg;
	struct etcd_answer a;

	if (etcd_read_watch(data, len, &a, take_event, c) < 0 || a.canceled) {
		/* Compacted or refused: go on from what there is now. */
		c->resume = a.compacted;
		atomic_store(&c->news, true);
		signal_over(c, &c->watch_over);
		wake(c);
		return;
	}
	/* Progress notifications have no events; a fragment is not all of its
	 * revision. */
	if (!a.created && !a.fragment && a.revision >= c->resume)
		c->resume = a.revision + 1;
	if (a.events)
		wake(c);
}

static void watch_end(void *arg, int code, const struct err *e)
{
	struct etcd *c = arg;

	(void)code, (void)e;
	signal_over(c, &c->watch_over);
}

static struct grpc_stream *open_watch(struct etcd *c)
{
	static const struct grpc_stream_ops ops = { watch_message, watch_end };
	auto_buf struct buf q = BUF_INIT;
	struct grpc_stream *st = NULL;

	if (grpc_stream_open(c->g, "/etcdserverpb.Watch/Watch", &ops, c, &st,
			     NULL))
		return NULL;
	etcd_watch_request(&q,
			   &(struct etcd_range){ .key = c->head,
						 .revision = c->resume },
			   true);
	if (grpc_stream_send(st, q.data, q.len)) {
		grpc_stream_close(st);
		return NULL;
	}
	/* Between two watches anything may have happened. */
	atomic_store(&c->news, true);
	wake(c);
	return st;
}

/* --- the lease --- */

static void keep_message(void *arg, const void *data, size_t len)
{
	struct etcd *c = arg;
	struct etcd_answer a;

	if (etcd_read_lease(data, len, &a) < 0 || !a.ttl) {
		signal_over(c, &c->keep_over); /* it has run out */
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->kept_ms = mono_ms();
	pthread_mutex_unlock(&c->lock);
}

static void keep_end(void *arg, int code, const struct err *e)
{
	struct etcd *c = arg;

	(void)code, (void)e;
	signal_over(c, &c->keep_over);
}

static void lease_revoke(struct etcd *c)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;

	etcd_lease_id_request(&q, c->lease);
	/* It runs out by itself otherwise. */
	(void)etcd_call(c, "/etcdserverpb.Lease/LeaseRevoke", &q, &reply, NULL,
			NULL);
	c->lease = 0;
}

/* Become the collector, unless there is one. */
static struct grpc_stream *take_lease(struct etcd *c)
{
	static const struct grpc_stream_ops ops = { keep_message, keep_end };
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct grpc_stream *st = NULL;
	struct etcd_answer a;

	etcd_range_request(&q, &(struct etcd_range){ .key = c->gc });
	if (etcd_call(c, "/etcdserverpb.KV/Range", &q, &reply, NULL, NULL) ||
	    etcd_read_range(&reply, &a, etcd_ignore_pair, NULL) || a.count)
		return NULL;
	buf_reset(&q);
	etcd_lease_grant_request(&q, LEASE_S);
	if (etcd_call(c, "/etcdserverpb.Lease/LeaseGrant", &q, &reply, NULL,
		      NULL) ||
	    etcd_read_lease(reply.data, reply.len, &a) || !a.lease)
		return NULL;
	c->lease = a.lease;
	buf_reset(&q);
	etcd_if_create(&q, c->gc, 0);
	etcd_do_put(&q, ETCD_THEN, c->gc, "1", 1, c->lease);
	if (etcd_call(c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, NULL) ||
	    etcd_read_txn(&reply, &a, etcd_ignore_pair, NULL) || !a.succeeded ||
	    grpc_stream_open(c->g, "/etcdserverpb.Lease/LeaseKeepAlive", &ops,
			     c, &st, NULL)) {
		lease_revoke(c);
		return NULL;
	}
	pthread_mutex_lock(&c->lock);
	c->kept_ms = mono_ms();
	c->keep_over = false;
	pthread_mutex_unlock(&c->lock);
	atomic_store(&c->collects, true);
	return st;
}

static void keep(struct etcd *c, struct grpc_stream *st)
{
	auto_buf struct buf q = BUF_INIT;

	etcd_lease_id_request(&q, c->lease);
	(void)grpc_stream_send(st, q.data, q.len); /* the next one then */
}

void etcd_compact(struct etcd *c, uint64_t *compact_to)
{
	auto_buf struct buf q = BUF_INIT;
	auto_buf struct buf reply = BUF_INIT;
	struct etcd_answer a;

	if (*compact_to) {
		etcd_compact_request(&q, *compact_to);
		/* Done by another already, most likely. */
		(void)etcd_call(c, "/etcdserverpb.KV/Compact", &q, &reply, NULL,
				NULL);
		buf_reset(&q);
	}
	*compact_to = 0;
	etcd_range_request(&q, &(struct etcd_range){ .key = c->log });
	if (etcd_call(c, "/etcdserverpb.KV/Range", &q, &reply, NULL, NULL) ==
		    0 &&
	    etcd_read_range(&reply, &a, etcd_ignore_pair, NULL) == 0)
		*compact_to = a.revision;
}

/* Lock held. */
static void pause_ms(struct etcd *c, uint64_t ms)
{
	struct timespec until = mono_in_ms(ms);

	while (!c->closing && !c->watch_over && !c->keep_over)
		if (pthread_cond_timedwait(&c->cond, &c->lock, &until))
			break;
}

void *etcd_minder(void *arg)
{
	struct grpc_stream *watch = NULL, *lease = NULL;
	struct etcd *c = arg;
	uint64_t compact_at = mono_ms() + COMPACT_MS;

	pthread_mutex_lock(&c->lock);
	while (!c->closing) {
		bool watch_over = c->watch_over, keep_over = c->keep_over;
		bool late = mono_ms() > c->kept_ms + LEASE_S * 1000;

		c->watch_over = c->keep_over = false;
		pthread_mutex_unlock(&c->lock);
		if (watch && watch_over) {
			grpc_stream_close(watch);
			watch = NULL;
		}
		if (!watch)
			watch = open_watch(c);
		if (lease && (keep_over || late)) {
			atomic_store(&c->collects, false);
			grpc_stream_close(lease);
			lease = NULL;
		}
		if (!lease)
			lease = take_lease(c);
		else
			keep(c, lease);
		if (lease && mono_ms() > compact_at) {
			etcd_compact(c, &c->compact_to);
			compact_at = mono_ms() + COMPACT_MS;
		}
		pthread_mutex_lock(&c->lock);
		/* A stream that ends at once is not opened in a tight loop. */
		if (watch_over || keep_over)
			pause_ms(c, 100);
		else
			pause_ms(c, STEP_MS);
	}
	pthread_mutex_unlock(&c->lock);
	grpc_stream_close(watch);
	grpc_stream_close(lease);
	if (lease)
		lease_revoke(c);
	return NULL;
}
