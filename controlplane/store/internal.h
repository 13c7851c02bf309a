/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_STORE_INTERNAL_H
#define CONTROLPLANE_STORE_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "controlplane/store/admin.h"
#include "controlplane/store/backend.h"
#include "controlplane/store/keys.h"
#include "controlplane/store/share.h"
#include "controlplane/store/store.h"
#include "lib/heap.h"

/* --- object.c ------------------------------------------------------------- */

/* A version of @key: @data with @revision spliced in at @rv_off. */
struct object_bytes *object_at(const struct object_bytes *o, uint64_t revision);

/* The same as @o, which shares nothing, with those shares (they are copied). */
struct object_bytes *object_with(const struct object_bytes *o,
				 struct share_refs *refs);

/* Room for the parts, zeroed, one reference, NULs in place; .len is @len. */
struct object_bytes *object_alloc(size_t len, size_t tags_len, size_t key_len);

static inline struct object_share *object_shares(const struct object_bytes *o)
{
	return (struct object_share *)o->room;
}

/* What of the text is the object's own: all, unless it shares some. */
static inline char *object_own(const struct object_bytes *o)
{
	return (char *)o->room + o->nr_shares * sizeof(struct object_share);
}

/* --- index.c: map of version chains, in order and by hash
 * ------------------------------- */

#define INDEX_LEVELS 20
#define GIVE_NS      100000 /* of the CPU at once, then it is others' turn */

struct entry {
	struct object_bytes *head; /* newest version; the chain holds refs */
	struct entry **next;
	struct entry *hash_next;
	uint32_t hash;
	uint32_t ttl_slot; /* place in the store's heap, from 1; 0: not there */
	uint16_t key_len;
	char key[];
};

struct index {
	struct entry *first[INDEX_LEVELS];
	uint64_t random;
	size_t nr;

	/* By hash; grows a bucket with each key, so that nobody waits for all
	 * of it to be made anew. */
	struct entry **buckets;
	size_t nr_buckets, room;
};

struct entry *index_find(const struct index *x, const char *key);
struct entry *index_find_or_add(struct index *x, const char *key, size_t len);
void index_del(struct index *x, const char *key);
/* The first entry whose key is >= @key. */
struct entry *index_seek(const struct index *x, const char *key);
void index_clear(struct index *x);

static inline struct entry *entry_next(const struct entry *en)
{
	return en->next[0];
}

/* The version a reader at @revision sees; NULL: no such object then. */
struct object_bytes *entry_at(const struct entry *en, uint64_t revision);

int lmdb_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e);
int etcd_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e);

/* A store folder with @nr versions and nothing else; for backups. */
int lmdb_write_folder(const char *dir, struct store_keys *keys,
		      struct object_bytes **v, size_t nr, uint64_t revision,
		      struct err *e);

/* Copy a folder that another process may be writing. */
int lmdb_copy_folder(const char *dir, const char *to, struct err *e);

/* --- watch.c: history and watchers --- */

#define TOPICS 4096

struct history {
	struct store_event *v; /* ring; both references owned */
	size_t size, head, nr;
	uint64_t bytes; /* of the versions that only history holds */
};

#define WATCH_FEW 2 /* events of a watcher that need no memory of their own */

struct store_watch {
	struct store *s;
	struct store_watch *next, **link; /* in its topic */
	void (*notify)(void *arg);
	void *arg;
	/* Of what follows; taken within the hub's, or alone: so that readers of
	 * what was fanned out do not meet each other. */
	pthread_mutex_t lock;
	uint64_t seen; /* newest revision queued or read */
	bool live;     /* fed by fan-out; else reads from history */
	bool stale;    /* history went away under it */
	bool waiting;  /* wants a notify */
	struct store_event few[WATCH_FEW];
	struct store_event *queue; /* @few, or up to STORE_WATCH_REFS */
	unsigned int q_head, q_nr, q_size;
	size_t prefix_len;
	char prefix[];
};

struct store {
	struct store_backend *backend;
	struct store_keys *keys;
	struct share_table *shares;

	pthread_rwlock_t lock; /* index, history, the figures below */
	struct index index;
	struct history history;
	atomic_uint_fast64_t revision; /* newest published */
	uint64_t compacted;
	uint64_t live_bytes;
	size_t live_objects;
	uint64_t history_min;
	uint32_t history_s;
	struct heap ttl;  /* of entries, by their end */
	struct heap late; /* the writer's; owned versions, see late.c */

	pthread_mutex_t hub; /* watchers; taken before @lock */
	struct store_watch *topics[TOPICS];
	size_t nr_watchers;
	uint64_t fanned; /* newest revision that went through fan-out */

	pthread_mutex_t pin_lock; /* taken last */
	struct store_pin *pins;

	pthread_mutex_t queue_lock;
	pthread_cond_t queue_cond;
	struct store_txn *queue, **queue_tail;
	struct store_txn *parked, **parked_tail; /* wait for their cluster */
	bool closing;
	bool started;
	bool poked;          /* the back end has news */
	bool unsettled;      /* a commit's outcome is not known; writer's */
	bool waited;         /* the back end had time to itself; writer's */
	uint64_t compact_to; /* asked for by store_compact() */
	pthread_t writer;
	atomic_uint_fast64_t commits, changes, failed_commits, expired, tidied;
};

int history_add(struct history *h, struct store_event ev);
struct store_event *history_at(const struct history *h, size_t i);
void history_pop(struct history *h);
void history_clear(struct history *h);

/* Pass the newest @nr events of the history on. Writer thread, no lock held. */
void watch_fan_out(struct store *s, size_t nr);

/* History is gone: every watch is behind it. Hub and write lock held. */
void watch_cut_all(struct store *s);

/* End those watches that cannot have seen all: of a cluster whose versions are
 * not in memory, or came late. Hub held. */
void watch_cut_partial(struct store *s, bool late);

/* The oldest snapshot of what is below @prefix. A lock held. */
uint64_t store_oldest(struct store *s, const char *prefix);

/* --- load.c: versions that are durable already enter memory --- */

int store_load(struct store *s, struct err *e);

/* Take in what others have committed. @force: ask the back end. */
int store_follow(struct store *s, bool force, struct err *e);

/* A cluster that was away is back: take in what memory lacks of it. */
void store_attach(struct store *s);

/* --- place.c --- */

bool place_is_tenant(const char *key);
/* May this change of a Tenant or StorageCluster object be made? Write lock. */
int place_check(struct store *s, const struct store_op *op,
		const struct object_bytes *cur, struct err *e);

/* --- ttl.c: what goes by itself. All under the write lock --- */

void ttl_moved(void *entry, size_t place);
int ttl_reserve(struct store *s, size_t nr);
void ttl_update(struct store *s, struct entry *en);

/* --- compact.c --- */

/* Room for @nr further events, so that publishing cannot fail. */
int history_reserve(struct store *s, size_t nr);
/* Drop the versions of one event that nobody can ask for any more. */
void history_forget(struct store *s, const struct store_event *ev);

/* Which of the oldest events go now: what is older than @asked or the time
 * kept, and what exceeds the room. Adds their dead revisions to @dead. */
size_t compaction_plan(struct store *s, uint64_t asked,
		       struct object_bytes **dead, size_t *nr_dead, size_t max,
		       uint64_t *ret_compacted);

/* @o has been replaced (or deleted) at @revision, and there is no event of it:
 * what is to be said of it once that is compacted. */
void late_add(struct store *s, struct object_bytes *o, uint64_t revision);
void late_compacted(struct store *s); /* made durable, that is */
void late_clear(struct store *s);

/* --- clock.c --- */

uint64_t now_ms(void);
uint64_t mono_ms(void);
/* That much from now, on the clock that conditions here wait by. */
struct timespec mono_in_ms(uint64_t ms);

/* --- pin.c --- */

/* No compaction goes beyond it. UINT64_MAX: nothing is pinned. */
uint64_t pin_oldest(struct store *s);

/* --- store.c --- */

/* Tell who submitted it. */
void txn_done(struct store_txn *txn);

/* --- writer.c --- */

/* Figures and TTL of an event that becomes visible. Write lock held. */
void store_count_event(struct store *s, const struct store_event *ev);

void *store_writer(void *arg);

#endif /* CONTROLPLANE_STORE_INTERNAL_H */
