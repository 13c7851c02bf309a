/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: an ordered map from key to immutable bytes that loses nothing.
 *
 *  - Every change gets a revision of its own; revisions only ever grow.
 *  - A change is acknowledged after it is on the disk (fsync), never before.
 *  - Reads come from memory: objects are handed out by reference.
 *  - A list is a snapshot of one revision, also across its pages.
 *  - A watch delivers every change of its range, once, in order of revision.
 *  - History is kept back to the compacted revision; what would need older
 *    history fails with -ESTALE, it is never silently incomplete.
 *
 * Keys have segments divided by '/'. The callers' layout is
 * <group>/<resource>/<tenant>/<namespace>/<name>, with empty segments where a
 * scope does not apply: a tenant's part of a resource is one prefix.
 *
 * Back ends: LMDB in a folder, and etcd. All functions may be called from
 * any thread.
 */
#ifndef CONTROLPLANE_STORE_STORE_H
#define CONTROLPLANE_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/store/object.h"
#include "lib/auto.h"
#include "lib/err.h"

#define STORE_KEY_MAX    1024              /* bytes of a key */
#define STORE_VALUE_MAX  (3 * 1024 * 1024) /* bytes of an object */
#define STORE_TAGS_MAX   (1024 * 1024)     /* bytes of an object's tags */
#define STORE_OPS_MAX    1024              /* changes in one transaction */
#define STORE_NO_RV      UINT32_MAX        /* the bytes hold no revision */
#define STORE_WATCH_REFS 256               /* events queued for one watcher */

struct store;
struct store_etcd; /* see admin.h */

struct store_opts {
	const char *dir; /* created when missing; one process at a time */
	const struct store_etcd *etcd; /* not in @dir but there; borrowed */
	/* Encryption at rest: a key file (see keys.h); NULL: not encrypted. */
	const char *key_file;
	bool create_key_file;   /* when it is missing */
	uint64_t map_bytes;     /* ceiling of the file; 0: 64 GiB (sparse) */
	uint64_t history_bytes; /* least history kept; 0: 16 MiB. The most is
				 * this or as much as the live data */
	uint32_t history_s;     /* history older than this goes; 0: 300 s */
};

/**
 * store_open() - Open or create a store and load it into memory.
 * @opts: Borrowed.
 * @ret:  The store, owned by the caller.
 * @e:    Filled on error.
 *
 * Return: 0, -EBUSY (another process has it open), -EBADMSG (not a store of
 * this version, or damaged), -ENOKEY (sealed with a key that is not in the
 * file).
 */
int store_open(const struct store_opts *opts, struct store **ret,
	       struct err *e);

/* Wait for what is queued, then close. Watches must be closed before. */
void store_close(struct store *s);
DEFINE_AUTO_PTR(store, store_close)

/* Wait until memory shows everything that any process had been told was done
 * before: for reads of a shared store that must not be stale. -ETIMEDOUT and
 * -EHOSTUNREACH: what is in memory may be old. */
int store_sync(struct store *s, struct err *e);

bool store_is_shared(const struct store *s); /* others may write it */
/* The newest acknowledged one, and the oldest a list may ask for. */
uint64_t store_revision(struct store *s);
uint64_t store_compacted(struct store *s);

/* The newest version of @key, or NULL. Owned reference. */
struct object_bytes *store_get(struct store *s, const char *key);

struct store_range {
	const char *prefix; /* "", ends in '/', or a whole key; borrowed */
	const char *after;  /* go on behind this key; NULL: from the start */
	uint64_t revision;  /* snapshot to read; 0: the newest */
	size_t limit;       /* 0: all */
	bool peek;          /* .remaining need only tell 0 from more */
	bool whole;         /* only if all is known, see store_whole() */
	size_t steps_max;   /* of 256 keys, then -E2BIG; 0: all */
	bool yields;        /* between two of them others have the CPU */
	/* Runs under the store's read lock. NULL: everything matches. */
	bool (*match)(const struct object_bytes *o, void *arg);
	void *arg;
};

struct store_list {
	struct object_bytes **v; /* owned references, ordered by key */
	size_t nr;
	uint64_t revision; /* of the snapshot */
	size_t remaining;  /* matching objects behind the last one */
	size_t nr_steps;   /* that it took */
};

/**
 * store_list() - Read a range of one snapshot.
 * @r:   What to read. Borrowed.
 * @ret: Filled; release with store_list_clear().
 * @e:   Filled on error.
 *
 * Return: 0, -ESTALE (the snapshot has been compacted away), -ERANGE (the
 * revision has not been reached yet), -E2BIG, -ENOMEM, -EHOSTUNREACH (.whole).
 */
int store_list(struct store *s, const struct store_range *r,
	       struct store_list *ret, struct err *e);
void store_list_clear(struct store_list *l);

/* How many objects a prefix has now. */
size_t store_count(struct store *s, const char *prefix);
enum store_expect {
	STORE_ANY,    /* no condition */
	STORE_ABSENT, /* the key must not exist */
	STORE_MATCH,  /* the key must exist at exactly .revision */
};

struct store_op {
	const char *key; /* all borrowed until the transaction is done */
	enum store_expect expect;
	uint64_t revision;
	bool remove;
	bool check;       /* only the condition; changes nothing */
	const char *data; /* to put; ignored by remove */
	uint32_t len;
	uint32_t rv_off; /* the revision's digits are inserted here */
	const char *tags;
	uint32_t tags_len;
	uint64_t ttl_ms; /* of this version, then it is deleted; 0: never */
	struct share_refs *shares; /* the store's own, until done */
	/* Set on success: the new version (the last state for a remove). On a
	 * failed condition of this op: the version found, or NULL. Owned by
	 * the caller. */
	struct object_bytes *ret;
};

/*
 * A transaction: all of its changes or none. One without any is a barrier: done
 * once memory shows what was there when it was submitted, see store_sync().
 * Submitted from one thread, and
 * @done is called from the store's writer thread: it should only pass on.
 */
struct store_txn {
	struct store_op *ops;
	size_t nr_ops;
	void (*done)(struct store_txn *txn);
	void *arg;
	int result; /* 0, -EEXIST, -ENOENT, -ESTALE (other revision),
		     * -ENOSPC, -EINVAL, -ESHUTDOWN: nothing was changed;
		     * -EIO, -ETIMEDOUT: nobody knows, read it again */
	struct err err;
	uint64_t revision;      /* of the last change, on success */
	struct store_txn *next; /* the store's */
};

/* Queue @txn; @txn->done is always called, once. */
void store_submit(struct store *s, struct store_txn *txn);

/* Submit and wait. Returns txn->result and copies the story to @e. */
int store_commit(struct store *s, struct store_txn *txn, struct err *e);

/* A watcher that is not read costs at most STORE_WATCH_REFS references: beyond,
 * it reads on from the history, and fails with -ESTALE once that has gone. */
struct store_watch;

struct store_event {
	struct object_bytes *obj;  /* new state; ->deleted: the last state */
	struct object_bytes *prev; /* state before; NULL when just created */
};

/**
 * store_watch_open() - Follow a range from a revision on.
 * @s:        Store.
 * @prefix:   A whole key, or a prefix that ends in '/'. Copied.
 * @revision: Deliver what is newer than this; 0: newer than now.
 * @notify:   Called from the writer thread with a lock held when there is
 *            something to read: it may only signal another thread.
 * @arg:      For @notify.
 * @ret:      The watch, owned by the caller.
 * @e:        Filled on error.
 *
 * Return: 0, -ESTALE (history since @revision has been compacted), -ERANGE.
 */
int store_watch_open(struct store *s, const char *prefix, uint64_t revision,
		     void (*notify)(void *arg), void *arg,
		     struct store_watch **ret, struct err *e);
void store_watch_close(struct store_watch *w);

/* Take up to @max events, references owned by the caller. Returns their number,
 * 0 when there are none now (@notify will be called), or -ESTALE. */
int store_watch_read(struct store_watch *w, struct store_event *ev, int max);
/* After -ESTALE: follow what is newer than now. */
void store_watch_again(struct store_watch *w);
/* In bounded time: -EAGAIN, without a @notify: the history was not all seen.
 * *@ret_waits: there is no more now, @notify comes (or came). */
int store_watch_step(struct store_watch *w, struct store_event *ev, int max,
		     bool *ret_waits);

/* Everything of this watch up to the returned revision has been read; 0 when
 * something is still to be read. For bookmarks. */
uint64_t store_watch_progress(struct store_watch *w);
void store_event_clear(struct store_event *ev);
struct store_stats {
	uint64_t revision, compacted;
	uint64_t live_objects, live_bytes;
	uint64_t history_events, history_bytes;
	uint64_t commits, changes, failed_commits;
	uint64_t file_bytes;
	uint64_t expired; /* objects deleted because their time was up */
	uint64_t tidied;  /* times the file was made smaller */
	uint64_t watchers;
};

void store_stats(struct store *s, struct store_stats *ret);

#endif /* CONTROLPLANE_STORE_STORE_H */
