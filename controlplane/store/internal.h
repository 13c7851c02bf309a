/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_STORE_INTERNAL_H
#define CONTROLPLANE_STORE_INTERNAL_H

#include <pthread.h>

#include "controlplane/store/store.h"

/* --- object.c ------------------------------------------------------------- */

/* A version of @key: @data with @revision spliced in at @rv_off. */
struct object_bytes *object_at(const struct object_bytes *o, uint64_t revision);

/* --- index.c: ordered map of version chains ------------------------------- */

#define INDEX_LEVELS 20

struct entry {
	struct object_bytes *head; /* newest version; the chain holds refs */
	struct entry **next;
	uint16_t key_len;
	char key[];
};

struct index {
	struct entry *first[INDEX_LEVELS];
	uint64_t random;
	size_t nr;
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

/* --- back end: what makes changes durable --- */

struct store_backend {
	const struct store_backend_ops *ops;
};

/* Called in order of revision while loading. Takes the reference. */
typedef int (*backend_record)(void *arg, struct object_bytes *o);

struct store_backend_ops {
	int (*load)(struct store_backend *b, backend_record fn, void *arg,
		    uint64_t *ret_revision, uint64_t *ret_compacted,
		    struct err *e);
	/* Make @nr new versions durable, drop the @nr_dead revisions, and
	 * remember @compacted and @revision; all or nothing. -EUNATCH: it is
	 * not known which; load_tail() tells. */
	int (*commit)(struct store_backend *b, struct object_bytes **v,
		      size_t nr, const uint64_t *dead, size_t nr_dead,
		      uint64_t compacted, uint64_t revision, struct err *e);
	/* After -EUNATCH: reopen, and say the newest durable revision. */
	int (*recover)(struct store_backend *b, uint64_t *ret_revision,
		       struct err *e);
	int (*backup)(struct store_backend *b, const char *dir, struct err *e);
	uint64_t (*file_bytes)(struct store_backend *b);
	void (*close)(struct store_backend *b);
};

int lmdb_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e);

/* --- watch.c: history and watchers --- */

#define TOPICS 4096

struct history {
	struct store_event *v; /* ring; both references owned */
	size_t size, head, nr;
	uint64_t bytes; /* of the versions that only history holds */
};

struct store_watch {
	struct store *s;
	struct store_watch *next, **link; /* in its topic */
	void (*notify)(void *arg);
	void *arg;
	uint64_t seen;             /* newest revision queued or read */
	bool live;                 /* fed by fan-out; else reads from history */
	bool stale;                /* history went away under it */
	bool waiting;              /* wants a notify */
	struct store_event *queue; /* STORE_WATCH_REFS, allocated on use */
	unsigned int q_head, q_nr;
	size_t prefix_len;
	char prefix[];
};

struct store {
	struct store_backend *backend;

	pthread_rwlock_t lock; /* index, history, the figures below */
	struct index index;
	struct history history;
	atomic_uint_fast64_t revision; /* newest published */
	uint64_t compacted;
	uint64_t live_bytes;
	size_t live_objects;
	uint64_t history_min;
	uint32_t history_s;

	pthread_mutex_t hub; /* watchers; taken before @lock */
	struct store_watch *topics[TOPICS];
	size_t nr_watchers;
	uint64_t fanned; /* newest revision that went through fan-out */

	pthread_mutex_t queue_lock;
	pthread_cond_t queue_cond;
	struct store_txn *queue, **queue_tail;
	bool closing;
	bool started;
	uint64_t compact_to; /* asked for by store_compact() */
	pthread_t writer;
	atomic_uint_fast64_t commits, changes, failed_commits;
};

int history_add(struct history *h, struct store_event ev);
struct store_event *history_at(const struct history *h, size_t i);
void history_pop(struct history *h);
void history_clear(struct history *h);

/* Pass the newest @nr events of the history on. Writer thread, no lock held. */
void watch_fan_out(struct store *s, size_t nr);

/* --- writer.c --- */

void *store_writer(void *arg);
uint64_t now_ms(void);

#endif /* CONTROLPLANE_STORE_INTERNAL_H */
