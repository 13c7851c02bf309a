// SPDX-License-Identifier: Apache-2.0
/*
 * The one thread that changes a store. It takes every transaction that has
 * queued up while the last commit was under way, checks them in order against
 * the index, gives out revisions, makes the whole batch durable with one
 * commit, and only then publishes and acknowledges it.
 *
 * New versions enter the index before they are durable: readers do not see
 * them, since they look no further than the published revision. A commit that
 * fails takes them out again; one that lost to another process is done again
 * on top of what that one wrote.
 *
 * A commit whose outcome is not known leaves the store unsettled: nothing is
 * written until the back end has said what is durable, and that no late write
 * can change it.
 */
#include "controlplane/store/internal.h"
#include "lib/slice.h"

#define BATCH_OPS       4096
#define BATCH_BYTES     (16u << 20)
#define DEAD_MAX        4096  /* revisions dropped with one commit */
#define TICK_MS         5000  /* how often an idle store looks at its history */
#define EXPIRE_MAX      256   /* objects whose time is up, per batch */
#define AGAIN_MS        10000 /* how long a batch goes on losing to others */
#define LOCKED_OPS      32    /* entered under one lock */
#define WRITER_SLICE_NS 200000
#define EXPIRE_AGAIN_MS 1000 /* what is due and cannot be deleted now */
#define RECORD_EXTRA    128  /* bytes of a record beside the object's */

struct batch {
	struct store_txn *txns, **tail; /* in order, with their results */
	struct store_event *events;
	struct object_bytes **objs;
	size_t nr;
	uint64_t revision;          /* last one given out */
	struct object_bytes **dead; /* borrowed from the history */
	size_t nr_dead;
	size_t pops; /* history events that go with @dead */
	uint64_t compacted;
	size_t bytes; /* of what is to be made durable, about */
	bool barrier; /* somebody waits for what others have written */
	struct store_txn *expire; /* our own, EXPIRE_MAX of them */
	struct store_op *expire_ops;
	struct object_bytes **expired;
	size_t nr_expired;
	uint64_t expire_again_ms; /* not before: the last try failed */
};

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
	if (r == 0 && !op->check)
		r = place_check(s, op, cur, &txn->err);
	if (r < 0 && cur && cur->revision <= atomic_load(&s->revision))
		op->ret = object_ref(cur);
	return r;
}

/* Can all of its keys be written now? -EINPROGRESS: soon, or never. */
static int check_clusters(struct store *s, struct store_txn *txn)
{
	int (*may)(struct store_backend * b, const char *key, struct err *e) =
		s->backend->ops->may;
	int r = 0;

	for (size_t i = 0; may && i < txn->nr_ops && r == 0; i++)
		if (!txn->ops[i].check)
			r = may(s->backend, txn->ops[i].key, &txn->err);
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
	if (op->ttl_ms && !op->remove)
		o->expires_ms = o->stored_ms + op->ttl_ms;
	o->older = en->head;
	en->head = o;
	b->events[b->nr].obj = o;
	b->events[b->nr].prev = cur;
	b->objs[b->nr++] = o;
	b->revision++;
	op->ret = object_ref(o);
	/* What it is born with is in the same transaction. */
	if (!cur && s->backend->ops->seen && place_is_tenant(o->key))
		s->backend->ops->seen(s->backend, o);
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

	if (r == 0)
		r = check_clusters(s, txn);

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
		/* On what its refusal rests; see fail_batch(). */
		txn->revision = start ? b->revision : 0;
		drop_results(txn, atomic_load(&s->revision));
		while (b->nr > start) {
			undo_op(s, b->objs[--b->nr]);
			b->revision--;
		}
		return;
	}
	txn->revision = b->revision;
}

static void take_batch(struct store *s, struct batch *b)
{
	size_t most = s->backend->ops->batch_bytes;
	size_t ops = 0, bytes = 0;

	most = most ? most : BATCH_BYTES;
	b->txns = NULL;
	b->tail = &b->txns;
	b->barrier = false;
	while (s->queue && ops < BATCH_OPS && bytes < most) {
		struct store_txn *txn = s->queue;
		size_t more = 0;

		for (size_t i = 0; i < txn->nr_ops; i++)
			more += txn->ops[i].len + txn->ops[i].tags_len;
		if (ops &&
		    (ops + txn->nr_ops > BATCH_OPS || bytes + more > most))
			break;
		bytes += more;
		s->queue = txn->next;
		if (!s->queue)
			s->queue_tail = &s->queue;
		txn->next = NULL;
		*b->tail = txn;
		b->tail = &txn->next;
		ops += txn->nr_ops;
		b->barrier |= !txn->nr_ops;
	}
}

/* --- objects whose time is up --- */

static void expire_done(struct store_txn *txn)
{
	struct batch *b = txn->arg;

	object_unref(txn->ops[0].ret);
	/* Somebody was faster: what is there now has an end of its own. */
	if (txn->result < 0 && txn->result != -ENOENT && txn->result != -ESTALE)
		b->expire_again_ms = mono_ms() + TICK_MS;
}

static void add_expired(struct store *s, struct batch *b)
{
	uint64_t now = now_ms();

	b->nr_expired = 0;
	if (!s->ttl.nr || s->ttl.v[0].at > now ||
	    mono_ms() < b->expire_again_ms)
		return;
	/* Walks the heap's upper part: all of it that is due, children of what
	 * is not due cannot be. */
	for (size_t i = 0; i < s->ttl.nr && b->nr_expired < EXPIRE_MAX; i++) {
		struct store_txn *txn = &b->expire[b->nr_expired];
		struct store_op *op = &b->expire_ops[b->nr_expired];
		struct entry *en = s->ttl.v[i].p;
		struct object_bytes *o = en->head;

		if (s->ttl.v[i].at > now)
			continue;
		if (i > 64 * EXPIRE_MAX)
			break;
		if (s->backend->ops->may &&
		    s->backend->ops->may(s->backend, o->key, NULL) < 0) {
			/* Those of others are not to wait for it. */
			b->expire_again_ms = mono_ms() + EXPIRE_AGAIN_MS;
			continue;
		}
		b->expired[b->nr_expired++] = object_ref(o);
		*op = (struct store_op){ .key = o->key,
					 .remove = true,
					 .expect = STORE_MATCH,
					 .revision = o->revision };
		*txn = (struct store_txn){
			.ops = op, .nr_ops = 1, .done = expire_done, .arg = b
		};
		*b->tail = txn;
		b->tail = &txn->next;
	}
}

/* --- a batch --- */

void store_count_event(struct store *s, const struct store_event *ev)
{
	if (ev->prev) {
		s->live_objects--;
		s->live_bytes -= ev->prev->len;
	}
	if (!ev->obj->deleted) {
		s->live_objects++;
		s->live_bytes += ev->obj->len;
	}
	if (ev->obj->expires_ms || (ev->prev && ev->prev->expires_ms))
		ttl_update(s, index_find(&s->index, ev->obj->key));
}

static void publish(struct store *s, struct batch *b)
{
	pthread_rwlock_wrlock(&s->lock);
	for (size_t i = 0; i < b->nr; i++) {
		struct store_event ev = b->events[i];

		if (s->backend->ops->seen)
			s->backend->ops->seen(s->backend, ev.obj);
		store_count_event(s, &ev);
		object_ref(ev.obj);
		object_ref(ev.prev);
		/* Room was made in advance: it cannot fail here. */
		(void)history_add(&s->history, ev);
	}
	s->compacted = b->compacted;
	atomic_store(&s->revision, b->revision);
	pthread_rwlock_unlock(&s->lock);
	/* What was compacted nobody asks for: it goes bit by bit. */
	for (size_t i = 0; i < b->pops;) {
		size_t end = i + LOCKED_OPS;

		pthread_rwlock_wrlock(&s->lock);
		for (; i < b->pops && i < end; i++) {
			history_forget(s, history_at(&s->history, 0));
			history_pop(&s->history);
		}
		pthread_rwlock_unlock(&s->lock);
		slice_give(GIVE_NS);
	}
	if (b->nr)
		watch_fan_out(s, b->nr);
	if (b->nr || b->nr_dead)
		late_compacted(s);
}

/* Take the versions of a batch out of the index again. */
static void undo_batch(struct store *s, struct batch *b)
{
	pthread_rwlock_wrlock(&s->lock);
	while (b->nr)
		undo_op(s, b->objs[--b->nr]);
	pthread_rwlock_unlock(&s->lock);
}

/* Was it refused for what is, or is not, in memory? Others may have changed
 * that, unless a commit or the back end said just now that it is the newest. */
static bool rests_on_memory(const struct store *s, const struct store_txn *t)
{
	return s->backend->ops->shared &&
	       (t->result == -EEXIST || t->result == -ENOENT ||
		t->result == -ESTALE);
}

/* Nothing of the batch has been done (or nobody knows: @r is -EIO or
 * -ETIMEDOUT): those who were to get a result get @r. */
static void fail_batch(struct store *s, struct batch *b, int r,
		       const struct err *e)
{
	undo_batch(s, b);
	for (struct store_txn *t = b->txns; t; t = t->next) {
		/* A refusal stands, unless it may rest on a change that has
		 * just been undone. */
		if (t->result < 0 && (t->result == -EINVAL ||
				      (!t->revision && !rests_on_memory(s, t))))
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

/* Before anything is written: know what is there. */
static int settle(struct store *s, bool force, struct err *e)
{
	bool happened;
	int r = 0;

	if (s->unsettled)
		r = s->backend->ops->settle(s->backend, &happened, e);
	if (r == 0 || r == -ENODATA)
		r = store_follow(s, force || s->unsettled, e);
	if (r == 0)
		s->unsettled = false;
	return r;
}

static int make_durable(struct store *s, struct batch *b, struct err *e)
{
	struct store_backend *be = s->backend;
	bool happened = false;
	struct err why = { 0 };
	int r, res;

	if (!b->nr && !b->nr_dead)
		return 0;
	if (history_reserve(s, b->nr) || ttl_reserve(s, b->nr))
		return err_set(e, -ENOMEM, "store: out of memory");
	r = be->ops->commit(be, b->objs, b->nr, b->dead, b->nr_dead,
			    b->compacted, b->revision, e);
	if (r != -EUNATCH)
		return r;
	/* It failed in the act: what is there now, decides. */
	r = e->code == -ETIMEDOUT ? -ETIMEDOUT : -EIO;
	res = be->ops->settle(be, &happened, &why);
	if (res == -ENODATA)
		return err_wrap(e, r, "it is not known whether this was done");
	if (res < 0) {
		s->unsettled = true;
		return err_wrap(e, r, "it is not known whether this was done");
	}
	for (size_t i = 0; happened && be->ops->dead && i < b->nr_dead; i++)
		be->ops->dead(be, b->dead[i]);
	if (happened)
		return 0;
	/* That is certain, unlike the code's usual meaning. */
	return err_wrap(e, r, "nothing was changed");
}

/* Those whose cluster has not answered yet wait for it, and nobody else does.
 */
static void park(struct store *s, struct batch *b)
{
	struct store_txn *t, **at = &b->txns;

	while ((t = *at)) {
		if (t->result != -EINPROGRESS || t->done == expire_done) {
			at = &t->next;
			continue;
		}
		if (s->closing) {
			t->result = -EHOSTUNREACH;
			at = &t->next;
			continue;
		}
		*at = t->next;
		t->next = NULL;
		t->result = 0;
		t->err = (struct err){ 0 };
		pthread_mutex_lock(&s->queue_lock);
		*s->parked_tail = t;
		s->parked_tail = &t->next;
		pthread_mutex_unlock(&s->queue_lock);
	}
	b->tail = at;
}

/* Queue lock held. They were first. */
static void unpark(struct store *s)
{
	if (!s->parked)
		return;
	*s->parked_tail = s->queue;
	if (!s->queue)
		s->queue_tail = s->parked_tail;
	s->queue = s->parked;
	s->parked = NULL;
	s->parked_tail = &s->parked;
}

/* Of a back end that takes only so much at once. A tombstone has all that was
 * deleted. Write lock held. */
static bool fits(struct store *s, struct batch *b, const struct store_txn *txn)
{
	size_t most = s->backend->ops->batch_bytes, bytes = b->bytes;

	for (size_t i = 0; most && i < txn->nr_ops; i++) {
		const struct store_op *op = &txn->ops[i];
		const struct object_bytes *cur =
			op->remove ? newest(s, op->key) : NULL;

		if (!op->check)
			bytes += strlen(op->key) + RECORD_EXTRA;
		if (!op->check)
			bytes += cur ? cur->len + cur->tags_len
				     : op->len + op->tags_len;
	}
	if (b->nr && bytes > most)
		return false;
	b->bytes = bytes;
	return true;
}

/* From @t on they go with the next batch; those of ours are made again. */
static void put_off(struct store *s, struct batch *b, struct store_txn *t)
{
	struct store_txn **at = &b->txns, *first = t, **end = &first;

	while (*at != t)
		at = &(*at)->next;
	*at = NULL;
	b->tail = at;
	while (*end && (*end)->done != expire_done)
		end = &(*end)->next;
	if (end == &first)
		return;
	pthread_mutex_lock(&s->queue_lock);
	*end = s->queue;
	if (!s->queue)
		s->queue_tail = end;
	s->queue = first;
	pthread_mutex_unlock(&s->queue_lock);
}

/* Nobody sees what is entered until it is published: readers may come in
 * between. */
static void enter(struct store *s, struct batch *b)
{
	struct store_txn *t = b->txns;
	bool fit = true;

	while (t && fit) {
		size_t end = b->nr + LOCKED_OPS;

		pthread_rwlock_wrlock(&s->lock);
		for (; t && b->nr < end && (fit = fits(s, b, t)); t = t->next)
			apply_txn(s, b, t);
		pthread_rwlock_unlock(&s->lock);
		slice_give(GIVE_NS);
	}
	if (t)
		put_off(s, b, t);
}

static int try_batch(struct store *s, struct batch *b, uint64_t asked,
		     struct err *e)
{
	struct store_txn *t;
	int r = settle(s, b->barrier, e);

	if (r < 0) {
		for (t = b->txns; t; t = t->next)
			t->result = 0;
		b->nr = 0;
		return err_wrap(e, r, "nothing was tried");
	}
	b->nr = b->nr_dead = b->bytes = 0;
	b->revision = atomic_load(&s->revision);
	enter(s, b);
	park(s, b);
	b->pops = compaction_plan(s, asked, b->dead, &b->nr_dead, DEAD_MAX,
				  &b->compacted);
	return make_durable(s, b, e);
}

/* Lost to another process: the same again on top of what it wrote. */
static void again(struct store *s, struct batch *b)
{
	undo_batch(s, b);
	for (struct store_txn *t = b->txns; t; t = t->next) {
		for (size_t i = 0; i < t->nr_ops; i++) {
			object_unref(t->ops[i].ret);
			t->ops[i].ret = NULL;
		}
		t->err = (struct err){ 0 };
	}
}

/* Nothing was committed, and nobody asked whether there is news: those that
 * were refused are looked at again. */
static bool look_again(struct store *s, struct batch *b)
{
	if (b->barrier || b->nr || b->nr_dead)
		return false;
	for (struct store_txn *t = b->txns; t; t = t->next)
		b->barrier |= rests_on_memory(s, t);
	return b->barrier;
}

static void run_batch(struct store *s, struct batch *b, uint64_t asked)
{
	uint64_t until = mono_ms() + AGAIN_MS;
	struct store_txn *t, *next;
	struct err e = { 0 };
	int r;

	while (((r = try_batch(s, b, asked, &e)) == -EAGAIN &&
		mono_ms() < until) ||
	       (r == 0 && look_again(s, b)))
		again(s, b);
	if (r == -EAGAIN)
		r = err_wrap(&e, -EBUSY, "others write all the time");
	if (r < 0) {
		fail_batch(s, b, r, &e);
	} else if (b->nr || b->compacted != s->compacted) {
		atomic_fetch_add(&s->commits, b->nr ? 1 : 0);
		atomic_fetch_add(&s->changes, b->nr);
		for (t = b->txns; t; t = t->next)
			if (t->done == expire_done && t->result == 0)
				atomic_fetch_add(&s->expired, 1);
		publish(s, b);
	}
	for (t = b->txns; t; t = next) {
		next = t->next;
		txn_done(t);
	}
	for (size_t i = 0; i < b->nr_expired; i++)
		object_unref(b->expired[i]);
}

static uint64_t wait_ms(struct store *s, const struct batch *b)
{
	uint64_t now = now_ms(), wait = TICK_MS, left;

	if (s->ttl.nr) {
		left = s->ttl.v[0].at > now ? s->ttl.v[0].at - now : 0;
		wait = left < wait ? left : wait;
	}
	if (b->expire_again_ms > mono_ms())
		wait = TICK_MS;
	return wait;
}

/* Queue lock held. False: it is time to end. */
static bool wait_for_work(struct store *s, const struct batch *b)
{
	struct timespec until = mono_in_ms(wait_ms(s, b));

	while (!s->queue && !s->closing && !s->compact_to && !s->poked)
		if (pthread_cond_timedwait(&s->queue_cond, &s->queue_lock,
					   &until))
			break;
	/* News may be that of their cluster. */
	if (s->poked || s->closing)
		unpark(s);
	s->poked = false;
	return s->queue || s->parked || !s->closing;
}

static void work(struct store *s, struct batch *b)
{
	uint64_t asked = s->compact_to;

	b->nr = b->nr_dead = b->pops = 0;
	take_batch(s, b);
	pthread_mutex_unlock(&s->queue_lock);
	store_attach(s);
	add_expired(s, b);
	run_batch(s, b, asked);
	if (s->backend->ops->tidy &&
	    s->backend->ops->tidy(s->backend, s->live_bytes))
		atomic_fetch_add(&s->tidied, 1);
	pthread_mutex_lock(&s->queue_lock);
	if (asked && (s->compacted >= asked || !b->pops) &&
	    s->compact_to == asked) {
		s->compact_to = 0;
		pthread_cond_broadcast(&s->queue_cond);
	}
}

void *store_writer(void *arg)
{
	static const size_t room = BATCH_OPS + STORE_OPS_MAX + EXPIRE_MAX;
	struct store *s = arg;
	struct batch b = { 0 };

	(void)pthread_setname_np(pthread_self(), "arktos-store");
	slice_set(WRITER_SLICE_NS);
	b.events = calloc(room, sizeof(*b.events));
	b.objs = calloc(room, sizeof(struct object_bytes *));
	b.dead = calloc(DEAD_MAX, sizeof(struct object_bytes *));
	b.expire = calloc(EXPIRE_MAX, sizeof(*b.expire));
	b.expire_ops = calloc(EXPIRE_MAX, sizeof(*b.expire_ops));
	b.expired = calloc(EXPIRE_MAX, sizeof(struct object_bytes *));
	pthread_mutex_lock(&s->queue_lock);
	s->started = b.events && b.objs && b.dead && b.expire && b.expire_ops &&
		     b.expired;
	pthread_cond_broadcast(&s->queue_cond);
	while (s->started && wait_for_work(s, &b))
		work(s, &b);
	s->closing = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	free(b.events);
	free(b.objs);
	free(b.dead);
	free(b.expire);
	free(b.expire_ops);
	free(b.expired);
	return NULL;
}
