// SPDX-License-Identifier: Apache-2.0
/*
 * The one thread that changes a store. It takes every transaction that has
 * queued up while the last commit was under way, checks them in order against
 * the index, gives out revisions, makes the whole batch durable with one
 * commit, and only then publishes and acknowledges it.
 *
 * New versions enter the index before they are durable: readers do not see
 * them, since they look no further than the published revision. A commit that
 * fails takes them out again.
 */
#include <time.h>

#include "controlplane/store/internal.h"

#define BATCH_OPS   4096
#define BATCH_BYTES (16u << 20)
#define DEAD_MAX    4096 /* revisions dropped with one commit */
#define TICK_S      5    /* how often an idle store looks at its history */

struct batch {
	struct store_txn *txns, **tail; /* in order, with their results */
	struct store_event *events;
	struct object_bytes **objs;
	size_t nr;
	size_t bytes;
	uint64_t revision; /* last one given out */
	uint64_t *dead;
	size_t nr_dead;
	size_t pops; /* history events that go with @dead */
	uint64_t compacted;
};

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The newest version, published or not. */
static struct object_bytes *newest(struct store *s, const char *key)
{
	struct entry *en = index_find(&s->index, key);

	return en && en->head && !en->head->deleted ? en->head : NULL;
}

static int check_op(struct store *s, struct store_txn *txn, struct store_op *op)
{
	struct object_bytes *cur = newest(s, op->key);
	int r = 0;

	if (op->expect == STORE_ABSENT && cur)
		r = err_set(&txn->err, -EEXIST, "%s exists", op->key);
	else if ((op->expect == STORE_MATCH || op->remove) && !cur)
		r = err_set(&txn->err, -ENOENT, "%s does not exist", op->key);
	else if (op->expect == STORE_MATCH && cur->revision != op->revision)
		r = err_set(&txn->err, -ESTALE,
			    "%s is at revision %llu, expected %llu", op->key,
			    (unsigned long long)cur->revision,
			    (unsigned long long)op->revision);
	if (r < 0 && cur && cur->revision <= atomic_load(&s->revision))
		op->ret = object_ref(cur);
	return r;
}

static int check_sizes(struct store_txn *txn)
{
	if (txn->nr_ops > STORE_OPS_MAX)
		return err_set(&txn->err, -EINVAL,
			       "%zu changes in one transaction, the limit is "
			       "%d",
			       txn->nr_ops, STORE_OPS_MAX);
	for (size_t i = 0; i < txn->nr_ops; i++) {
		const struct store_op *op = &txn->ops[i];
		size_t len = strlen(op->key);

		if (len == 0 || len > STORE_KEY_MAX)
			return err_set(&txn->err, -EINVAL, "key of %zu bytes",
				       len);
		if (op->len > STORE_VALUE_MAX || op->tags_len > STORE_TAGS_MAX)
			return err_set(&txn->err, -EINVAL,
				       "%s: %u bytes and %u of labels, the "
				       "limits are %d and %d",
				       op->key, op->len, op->tags_len,
				       STORE_VALUE_MAX, STORE_TAGS_MAX);
		if (op->rv_off != STORE_NO_RV && op->rv_off > op->len)
			return err_set(&txn->err, -EINVAL,
				       "%s: revision outside of the bytes",
				       op->key);
	}
	return 0;
}

static void undo_op(struct store *s, struct object_bytes *o)
{
	struct entry *en = index_find(&s->index, o->key);

	en->head = o->older;
	object_unref(o);
	if (!en->head)
		index_del(&s->index, en->key);
}

/* Enter the new version into the index; not yet visible. */
static int apply_op(struct store *s, struct batch *b, struct store_op *op)
{
	struct object_bytes *cur = newest(s, op->key);
	struct object_bytes *o;
	struct entry *en;

	if (op->remove)
		o = object_at(cur, b->revision + 1);
	else
		o = object_new(op, b->revision + 1);
	if (!o)
		return -ENOMEM;
	en = index_find_or_add(&s->index, op->key, o->key_len);
	if (!en) {
		object_unref(o);
		return -ENOMEM;
	}
	o->deleted = op->remove;
	o->created = cur ? cur->created : o->revision;
	o->stored_ms = now_ms();
	o->older = en->head;
	en->head = o;
	b->events[b->nr].obj = o;
	b->events[b->nr].prev = cur;
	b->objs[b->nr++] = o;
	b->bytes += o->len;
	b->revision++;
	op->ret = object_ref(o);
	return 0;
}

/* Forget the new versions a failed transaction was to return; what a failed
 * condition found stays. */
static void drop_results(struct store_txn *txn, uint64_t published)
{
	for (size_t i = 0; i < txn->nr_ops; i++) {
		struct store_op *op = &txn->ops[i];

		if (!op->ret || op->ret->revision <= published)
			continue;
		object_unref(op->ret);
		op->ret = NULL;
	}
}

/* All of a transaction's changes, or none. Write lock held. */
static void apply_txn(struct store *s, struct batch *b, struct store_txn *txn)
{
	size_t start = b->nr;
	int r = check_sizes(txn);

	for (size_t i = 0; i < txn->nr_ops && r == 0; i++) {
		/* A later change of the same transaction sees the earlier. */
		r = check_op(s, txn, &txn->ops[i]);
		if (r < 0)
			break;
		if (!txn->ops[i].check)
			r = apply_op(s, b, &txn->ops[i]);
		if (r < 0)
			err_set(&txn->err, r, "store: out of memory");
	}
	txn->result = r;
	if (r < 0) {
		drop_results(txn, atomic_load(&s->revision));
		while (b->nr > start) {
			undo_op(s, b->objs[--b->nr]);
			b->revision--;
		}
		return;
	}
	txn->revision = b->revision;
}

static size_t take_batch(struct store *s, struct batch *b)
{
	size_t ops = 0, bytes = 0;

	while (s->queue && ops < BATCH_OPS && bytes < BATCH_BYTES) {
		struct store_txn *txn = s->queue;

		if (ops && ops + txn->nr_ops > BATCH_OPS)
			break;
		s->queue = txn->next;
		if (!s->queue)
			s->queue_tail = &s->queue;
		txn->next = NULL;
		*b->tail = txn;
		b->tail = &txn->next;
		ops += txn->nr_ops;
		for (size_t i = 0; i < txn->nr_ops; i++)
			bytes += txn->ops[i].len;
	}
	return ops;
}

/* Which history goes now: what store_compact() asked for, what is too old,
 * and what exceeds the room. */
static void plan_compaction(struct store *s, struct batch *b, uint64_t asked)
{
	uint64_t room = s->live_bytes;
	uint64_t old = now_ms() - (uint64_t)s->history_s * 1000;
	uint64_t bytes = s->history.bytes;

	if (room < s->history_min)
		room = s->history_min;
	b->compacted = s->compacted;
	while (b->pops < s->history.nr && b->nr_dead + 2 < DEAD_MAX) {
		const struct store_event *ev = history_at(&s->history, b->pops);
		const struct object_bytes *o = ev->obj;

		if (o->revision > asked && bytes <= room && o->stored_ms >= old)
			break;
		if (ev->prev) {
			b->dead[b->nr_dead++] = ev->prev->revision;
			bytes -= sizeof(*ev->prev) + ev->prev->len;
		}
		if (o->deleted) {
			b->dead[b->nr_dead++] = o->revision;
			bytes -= sizeof(*o) + o->len;
		}
		b->compacted = o->revision;
		b->pops++;
	}
	/* Being looked at costs nothing on the disk; only a change does. */
	if (!b->nr_dead && b->compacted < asked)
		b->compacted = asked;
}

/* Drop the versions of one event that nobody can ask for any more. */
static void forget(struct store *s, const struct store_event *ev)
{
	struct entry *en = index_find(&s->index, ev->obj->key);
	struct object_bytes *o, *older;

	if (!en)
		return;
	for (o = en->head; o && o != ev->obj; o = o->older)
		;
	if (!o)
		return;
	older = o->older;
	o->older = NULL;
	while (older) {
		struct object_bytes *next = older->older;

		object_unref(older);
		older = next;
	}
	if (o->deleted && en->head == o) {
		en->head = NULL;
		index_del(&s->index, en->key);
		object_unref(o);
	}
}

static void count(struct store *s, const struct store_event *ev)
{
	if (ev->prev) {
		s->live_objects--;
		s->live_bytes -= ev->prev->len;
	}
	if (!ev->obj->deleted) {
		s->live_objects++;
		s->live_bytes += ev->obj->len;
	}
}

static void publish(struct store *s, struct batch *b)
{
	pthread_rwlock_wrlock(&s->lock);
	for (size_t i = 0; i < b->nr; i++) {
		struct store_event ev = b->events[i];

		count(s, &ev);
		object_ref(ev.obj);
		object_ref(ev.prev);
		/* Room was made in advance: it cannot fail here. */
		(void)history_add(&s->history, ev);
	}
	for (size_t i = 0; i < b->pops; i++) {
		forget(s, history_at(&s->history, 0));
		history_pop(&s->history);
	}
	s->compacted = b->compacted;
	atomic_store(&s->revision, b->revision);
	pthread_rwlock_unlock(&s->lock);
	if (b->nr)
		watch_fan_out(s, b->nr);
}

static void roll_back(struct store *s, struct batch *b, int r,
		      const struct err *e)
{
	pthread_rwlock_wrlock(&s->lock);
	while (b->nr)
		undo_op(s, b->objs[--b->nr]);
	pthread_rwlock_unlock(&s->lock);
	for (struct store_txn *t = b->txns; t; t = t->next) {
		if (t->result < 0)
			continue;
		for (size_t i = 0; i < t->nr_ops; i++) {
			object_unref(t->ops[i].ret);
			t->ops[i].ret = NULL;
		}
		t->result = r;
		t->err = *e;
	}
	atomic_fetch_add(&s->failed_commits, 1);
}

/* The history ring must not fail to grow once the batch is durable. */
static int reserve_history(struct store *s, size_t nr)
{
	struct history *h = &s->history;
	struct store_event *v;
	size_t size = h->size ? h->size : 1024;

	while (size < h->nr + nr)
		size *= 2;
	if (size == h->size)
		return 0;
	v = calloc(size, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < h->nr; i++)
		v[i] = *history_at(h, i);
	pthread_rwlock_wrlock(&s->lock);
	free(h->v);
	h->v = v;
	h->size = size;
	h->head = 0;
	pthread_rwlock_unlock(&s->lock);
	return 0;
}

static int make_durable(struct store *s, struct batch *b, struct err *e)
{
	struct store_backend *be = s->backend;
	uint64_t durable = 0;
	int r = reserve_history(s, b->nr);

	if (r < 0)
		return err_set(e, r, "store: out of memory");
	if (!b->nr && !b->nr_dead)
		return 0;
	r = be->ops->commit(be, b->objs, b->nr, b->dead, b->nr_dead,
			    b->compacted, b->revision, e);
	if (r != -EUNATCH)
		return r;
	/* The disk failed in the act: what is there now, decides. */
	r = be->ops->recover(be, &durable, e);
	if (r < 0)
		return err_wrap(e, -EIO, "the disk failed");
	if (b->nr && durable == b->revision)
		return 0;
	return err_set(e, -EIO, "store: the disk failed, nothing was changed");
}

static void run_batch(struct store *s, struct batch *b, uint64_t asked)
{
	struct store_txn *t, *next;
	struct err e = { 0 };
	int r;

	b->revision = atomic_load(&s->revision);
	pthread_rwlock_wrlock(&s->lock);
	for (t = b->txns; t; t = t->next)
		apply_txn(s, b, t);
	pthread_rwlock_unlock(&s->lock);
	plan_compaction(s, b, asked);
	r = make_durable(s, b, &e);
	if (r < 0) {
		roll_back(s, b, r, &e);
	} else if (b->nr || b->compacted != s->compacted) {
		atomic_fetch_add(&s->commits, b->nr ? 1 : 0);
		atomic_fetch_add(&s->changes, b->nr);
		publish(s, b);
	}
	for (t = b->txns; t; t = next) {
		next = t->next;
		t->done(t);
	}
}

static bool wait_for_work(struct store *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += TICK_S;
	while (!s->queue && !s->closing && !s->compact_to)
		if (pthread_cond_timedwait(&s->queue_cond, &s->queue_lock,
					   &until))
			break;
	return s->queue || !s->closing;
}

void *store_writer(void *arg)
{
	static const size_t room = BATCH_OPS + STORE_OPS_MAX;
	struct store *s = arg;
	struct batch b = { 0 };

	b.events = calloc(room, sizeof(*b.events));
	b.objs = calloc(room, sizeof(struct object_bytes *));
	b.dead = calloc(DEAD_MAX, sizeof(*b.dead));
	pthread_mutex_lock(&s->queue_lock);
	s->started = b.events && b.objs && b.dead;
	pthread_cond_broadcast(&s->queue_cond);
	while (s->started && wait_for_work(s)) {
		uint64_t asked = s->compact_to;

		b.txns = NULL;
		b.tail = &b.txns;
		b.nr = b.nr_dead = b.pops = 0;
		b.bytes = 0;
		take_batch(s, &b);
		pthread_mutex_unlock(&s->queue_lock);
		run_batch(s, &b, asked);
		pthread_mutex_lock(&s->queue_lock);
		if (asked && (s->compacted >= asked || !b.pops) &&
		    s->compact_to == asked) {
			s->compact_to = 0;
			pthread_cond_broadcast(&s->queue_cond);
		}
	}
	s->closing = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	free(b.events);
	free(b.objs);
	free(b.dead);
	return NULL;
}
