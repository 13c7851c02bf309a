// SPDX-License-Identifier: Apache-2.0
/* Opening, reading, and handing transactions to the writer. */
#include <stdio.h>
#include <time.h>

#include "controlplane/store/internal.h"
#include "lib/slice.h"

#define HISTORY_BYTES (16u << 20)
#define HISTORY_S     300
#define LIST_STEP     256 /* keys looked at under one lock */
#define LIST_TRIES    8

static void store_destroy(struct store *s)
{
	if (s->backend)
		s->backend->ops->close(s->backend);
	store_keys_free(s->keys);
	history_clear(&s->history);
	index_clear(&s->index);
	heap_clear(&s->ttl);
	late_clear(s);
	share_table_unref(s->shares);
	pthread_rwlock_destroy(&s->lock);
	pthread_mutex_destroy(&s->hub);
	pthread_mutex_destroy(&s->pin_lock);
	pthread_mutex_destroy(&s->queue_lock);
	pthread_cond_destroy(&s->queue_cond);
	free(s);
}

static int start_writer(struct store *s, struct err *e)
{
	int rc = pthread_create(&s->writer, NULL, store_writer, s);
	bool started;

	if (rc)
		return err_set(e, -rc, "store: cannot start a thread: %s",
			       strerror(rc));
	pthread_mutex_lock(&s->queue_lock);
	while (!s->started && !s->closing)
		pthread_cond_wait(&s->queue_cond, &s->queue_lock);
	started = s->started;
	pthread_mutex_unlock(&s->queue_lock);
	if (started)
		return 0;
	pthread_join(s->writer, NULL);
	return err_set(e, -ENOMEM, "store: out of memory");
}

/* The back end has news; from its threads. */
static void poke(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->queue_lock);
	s->poked = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
}

static int open_backend(struct store *s, const struct store_opts *opts,
			struct err *e)
{
	int r = 0;

	if (opts->key_file)
		r = store_keys_open(opts->key_file, opts->create_key_file,
				    &s->keys, e);
	if (r == 0 && opts->etcd)
		r = etcd_backend_open(opts, &s->backend, e);
	else if (r == 0)
		r = lmdb_backend_open(opts, &s->backend, e);
	if (r < 0)
		return r;
	s->backend->keys = s->keys;
	s->backend->wake_arg = s;
	s->backend->wake = poke;
	return 0;
}

int store_open(const struct store_opts *opts, struct store **ret, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	pthread_rwlockattr_t rw;
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "store: out of memory");
	/* However many read all the time, the writer gets in. */
	pthread_rwlockattr_init(&rw);
	pthread_rwlockattr_setkind_np(
		&rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->lock, &rw);
	pthread_rwlockattr_destroy(&rw);
	pthread_mutex_init(&s->hub, NULL);
	pthread_mutex_init(&s->pin_lock, NULL);
	pthread_mutex_init(&s->queue_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->queue_cond, &attr);
	pthread_condattr_destroy(&attr);
	s->queue_tail = &s->queue;
	s->parked_tail = &s->parked;
	s->ttl.moved = ttl_moved;
	s->history_min =
		opts->history_bytes ? opts->history_bytes : HISTORY_BYTES;
	s->history_s = opts->history_s ? opts->history_s : HISTORY_S;

	s->shares = share_table_new();
	r = s->shares ? open_backend(s, opts, e)
		      : err_set(e, -ENOMEM, "store: out of memory");
	if (r == 0)
		r = store_load(s, e);
	if (r == 0)
		r = start_writer(s, e);
	if (r < 0) {
		store_destroy(s);
		return r;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->queue_lock);
	s->closing = true;
	pthread_cond_broadcast(&s->queue_cond);
	pthread_mutex_unlock(&s->queue_lock);
	pthread_join(s->writer, NULL);
	store_destroy(s);
}

uint64_t store_revision(struct store *s)
{
	return atomic_load(&s->revision);
}

uint64_t store_compacted(struct store *s)
{
	uint64_t compacted;

	pthread_rwlock_rdlock(&s->lock);
	compacted = s->compacted;
	pthread_rwlock_unlock(&s->lock);
	return compacted;
}

struct object_bytes *store_get(struct store *s, const char *key)
{
	struct object_bytes *o = NULL;
	struct entry *en;

	pthread_rwlock_rdlock(&s->lock);
	en = index_find(&s->index, key);
	if (en)
		o = object_ref(entry_at(en, atomic_load(&s->revision)));
	pthread_rwlock_unlock(&s->lock);
	return o;
}

static int list_add(struct store_list *l, size_t *size, struct object_bytes *o)
{
	struct object_bytes **v;

	if (l->nr == *size) {
		*size = *size ? *size * 2 : 64;
		v = realloc(l->v, *size * sizeof(struct object_bytes *));
		if (!v)
			return -ENOMEM;
		l->v = v;
	}
	l->v[l->nr++] = object_ref(o);
	return 0;
}

/* What a prefix that does not end in '/' names is one key: "t1" must not show
 * what is in "t10". */
static bool in_prefix(const struct entry *en, const char *prefix, size_t len)
{
	if (strncmp(en->key, prefix, len) != 0)
		return false;
	return !len || prefix[len - 1] == '/' || en->key_len == len;
}

/* One step: LIST_STEP keys from @from on. 1: there is more, from *@from on,
 * which is the key's own then. */
static int list_step(struct store *s, const struct store_range *r,
		     struct store_list *l, size_t *size, const char **from,
		     char next[STORE_KEY_MAX + 1], struct err *e)
{
	uint64_t newest = atomic_load(&s->revision);
	uint64_t at = l->revision ? l->revision : newest;
	size_t len = strlen(r->prefix), looked = 0;
	uint64_t oldest;
	struct entry *en;

	if (l->revision && at < newest &&
	    at < (oldest = store_oldest(s, r->prefix)))
		return err_set(e, -ESTALE,
			       "too old resource version: %llu (%llu)",
			       (unsigned long long)at,
			       (unsigned long long)oldest);
	if (at > newest)
		return err_set(e, -ERANGE,
			       "Too large resource version: %llu, current: %llu",
			       (unsigned long long)at,
			       (unsigned long long)newest);
	/* Under the lock: nothing newer than what is missing is visible. */
	if (r->whole && store_whole(s, r->prefix, e) < 0)
		return -EHOSTUNREACH;
	l->revision = at;
	en = index_seek(&s->index, *from);
	if (en && *from == r->after && strcmp(en->key, r->after) == 0)
		en = entry_next(en);
	for (; en && in_prefix(en, r->prefix, len); en = entry_next(en)) {
		struct object_bytes *o;

		if (looked++ == LIST_STEP) {
			memcpy(next, en->key, en->key_len + 1);
			*from = next;
			return 1;
		}
		o = entry_at(en, at);
		if (!o || (r->match && !r->match(o, r->arg)))
			continue;
		if (r->limit && l->nr == r->limit) {
			l->remaining++;
			if (r->peek)
				break;
		} else if (list_add(l, size, o))
			return err_set(e, -ENOMEM, "list: out of memory");
	}
	return 0;
}

/* The lock is given back between two steps, so that nobody waits for a long
 * list; it is of one revision all the same. */
static int list_all(struct store *s, const struct store_range *r,
		    struct store_list *l, struct err *e)
{
	const char *from = r->after ? r->after : r->prefix;
	char next[STORE_KEY_MAX + 1];
	size_t size = 0;
	int res;

	l->revision = r->revision;
	do {
		pthread_rwlock_rdlock(&s->lock);
		res = list_step(s, r, l, &size, &from, next, e);
		pthread_rwlock_unlock(&s->lock);
		if (res == 1 && r->steps_max && l->nr_steps == r->steps_max)
			return -E2BIG;
		l->nr_steps++;
		if (res == 1 && r->yields)
			slice_give(GIVE_NS);
	} while (res == 1);
	return res;
}

int store_list(struct store *s, const struct store_range *range,
	       struct store_list *ret, struct err *e)
{
	struct store_list l = { 0 };
	int r = 0;

	/* What is newest when it begins may be history no longer kept when it
	 * comes to the end: then it begins again. */
	for (int tries = 0; tries < LIST_TRIES; tries++) {
		l = (struct store_list){ 0 };
		r = list_all(s, range, &l, e);
		if (r == 0) {
			*ret = l;
			return 0;
		}
		store_list_clear(&l);
		if (r != -ESTALE || range->revision)
			break;
	}
	return r;
}

void store_list_clear(struct store_list *l)
{
	for (size_t i = 0; i < l->nr; i++)
		object_unref(l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

size_t store_count(struct store *s, const char *prefix)
{
	size_t len = strlen(prefix), nr = 0, looked;
	char from[STORE_KEY_MAX + 1];
	struct entry *en;
	uint64_t at;

	if (len > STORE_KEY_MAX)
		return 0;
	memcpy(from, prefix, len + 1);
	do {
		looked = 0;
		pthread_rwlock_rdlock(&s->lock);
		at = atomic_load(&s->revision);
		for (en = index_seek(&s->index, from);
		     en && in_prefix(en, prefix, len) && looked < LIST_STEP;
		     en = entry_next(en), looked++)
			nr += entry_at(en, at) != NULL;
		if (looked == LIST_STEP && en)
			memcpy(from, en->key, en->key_len + 1);
		pthread_rwlock_unlock(&s->lock);
	} while (looked == LIST_STEP && en);
	return nr;
}

/* Before the writer has it: what is done here, many can do at once. */
static void find_shares(struct store *s, struct store_op *op)
{
	struct share_refs refs = { .nr = 0 };

	op->shares = NULL;
	if (op->remove || op->check || !op->data || op->len > STORE_VALUE_MAX)
		return;
	share_refs_find(s->shares, op->data, op->len, op->rv_off, 0, &refs);
	if (refs.nr)
		op->shares = malloc(sizeof(refs));
	if (op->shares)
		*op->shares = refs;
	else
		share_refs_clear(&refs);
}

void txn_done(struct store_txn *txn)
{
	for (size_t i = 0; i < txn->nr_ops; i++) {
		struct store_op *op = &txn->ops[i];

		if (op->shares)
			share_refs_clear(op->shares);
		free(op->shares);
		op->shares = NULL;
	}
	txn->done(txn);
}

void store_submit(struct store *s, struct store_txn *txn)
{
	bool closing;

	txn->next = NULL;
	txn->result = 0;
	for (size_t i = 0; i < txn->nr_ops; i++) {
		txn->ops[i].ret = NULL;
		find_shares(s, &txn->ops[i]);
	}
	pthread_mutex_lock(&s->queue_lock);
	closing = s->closing;
	if (!closing) {
		*s->queue_tail = txn;
		s->queue_tail = &txn->next;
		pthread_cond_broadcast(&s->queue_cond);
	}
	pthread_mutex_unlock(&s->queue_lock);
	if (closing) {
		txn->result = err_set(&txn->err, -ESHUTDOWN,
				      "the store is shutting down");
		txn_done(txn);
	}
}

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void wake_waiter(struct store_txn *txn)
{
	struct waiter *w = txn->arg;

	pthread_mutex_lock(&w->lock);
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int store_commit(struct store *s, struct store_txn *txn, struct err *e)
{
	struct waiter w = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
			    false };

	txn->done = wake_waiter;
	txn->arg = &w;
	store_submit(s, txn);
	pthread_mutex_lock(&w.lock);
	while (!w.done)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	if (txn->result < 0 && e)
		*e = txn->err;
	return txn->result;
}

int store_compact(struct store *s, uint64_t revision, struct err *e)
{
	if (revision > store_revision(s))
		return err_set(e, -ERANGE, "revision %llu is in the future",
			       (unsigned long long)revision);
	pthread_mutex_lock(&s->queue_lock);
	if (revision > s->compact_to)
		s->compact_to = revision;
	pthread_cond_broadcast(&s->queue_cond);
	while (s->compact_to && !s->closing)
		pthread_cond_wait(&s->queue_cond, &s->queue_lock);
	pthread_mutex_unlock(&s->queue_lock);
	if (store_compacted(s) < revision)
		return err_set(e, -EIO, "compaction did not succeed");
	return 0;
}

bool store_is_shared(const struct store *s)
{
	return s->backend->ops->shared;
}

int store_sync(struct store *s, struct err *e)
{
	struct store_txn barrier = { 0 };

	return store_is_shared(s) ? store_commit(s, &barrier, e) : 0;
}

uint64_t store_oldest(struct store *s, const char *prefix)
{
	uint64_t floor = 0;

	if (s->backend->ops->whole)
		(void)s->backend->ops->whole(s->backend, prefix, &floor, NULL);
	return floor > s->compacted ? floor : s->compacted;
}

int store_whole(struct store *s, const char *prefix, struct err *e)
{
	uint64_t floor;

	return s->backend->ops->whole
		       ? s->backend->ops->whole(s->backend, prefix, &floor, e)
		       : 0;
}

int store_cluster(struct store *s, int id, struct store_cluster *ret)
{
	if (!s->backend->ops->cluster)
		return -ENOTSUP;
	return s->backend->ops->cluster(s->backend, id, ret);
}

void store_stats(struct store *s, struct store_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
	pthread_rwlock_rdlock(&s->lock);
	ret->revision = atomic_load(&s->revision);
	ret->compacted = s->compacted;
	ret->live_objects = s->live_objects;
	ret->live_bytes = s->live_bytes;
	ret->history_events = s->history.nr;
	ret->history_bytes = s->history.bytes;
	pthread_rwlock_unlock(&s->lock);
	ret->commits = atomic_load(&s->commits);
	ret->changes = atomic_load(&s->changes);
	ret->failed_commits = atomic_load(&s->failed_commits);
	ret->expired = atomic_load(&s->expired);
	ret->tidied = atomic_load(&s->tidied);
	ret->file_bytes = s->backend->ops->file_bytes(s->backend);
	pthread_mutex_lock(&s->hub);
	ret->watchers = s->nr_watchers;
	pthread_mutex_unlock(&s->hub);
}
