/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded back end's parts, shared by its own files only. */
#ifndef CONTROLPLANE_STORE_LMDB_H
#define CONTROLPLANE_STORE_LMDB_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "controlplane/store/internal.h" /* never seen outside of the folder */

enum tidy_state { TIDY_IDLE, TIDY_COPYING, TIDY_COPIED, TIDY_FAILED };

/* A smaller file in the making. */
struct tidy {
	atomic_int state;
	pthread_t thread;
	uint64_t copied; /* newest revision that is in it */
	uint64_t *dead;  /* revisions dropped since it was begun */
	size_t nr_dead, dead_size;
	atomic_bool spoiled; /* something happened that it cannot follow */
	uint64_t look_again_ms;
	MDB_env *env;
	MDB_dbi log, meta;
};

struct lmdb {
	struct store_backend base;
	char *dir;
	uint64_t map_bytes;
	int lock_fd;
	MDB_env *env; /* NULL after a failure: settle() opens it again */
	MDB_dbi log, meta;
	uint64_t batch;    /* number of the last commit that was tried */
	uint64_t unmapped; /* @batch when the file was last unmapped */
	struct tidy tidy;
	pthread_mutex_t job; /* held by what reads the file at length */
};

/* Errors of LMDB, as ours. -EUNATCH: unknown what is on the disk. */
int lmdb_failed(struct err *e, int rc, const char *what);

/* An environment at @path with both databases. @flags: of mdb_env_open(). */
int lmdb_env_open(const char *path, unsigned int flags, uint64_t map_bytes,
		  MDB_env **ret, MDB_dbi *ret_log, MDB_dbi *ret_meta,
		  struct err *e);
int lmdb_open(struct lmdb *l, struct err *e);
int lmdb_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t value);
int lmdb_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *ret);

/* --- lmdb_tidy.c --- */

bool lmdb_tidy(struct store_backend *b, uint64_t live_bytes);
void lmdb_tidy_dead(struct lmdb *l, struct object_bytes **dead, size_t nr);
void lmdb_tidy_stop(struct lmdb *l);

/* --- lmdb_map.c --- */

/* Let go of the pages of the file that have been looked at. */
void lmdb_map_drop(struct lmdb *l);

/* --- lmdb_tidy.c --- */

/* Room that only deletions may use when the disk is full. */
void lmdb_ballast_make(struct lmdb *l);
bool lmdb_ballast_drop(struct lmdb *l);

#endif /* CONTROLPLANE_STORE_LMDB_H */
