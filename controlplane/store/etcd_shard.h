/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Further etcd clusters that hold the records of some tenants: shards.
 *
 * The system's cluster orders everything. Of a batch the shards get their
 * parts first; the batch is done when the system's head says so, and its
 * segment there names the parts. A part that is named nowhere does not count,
 * whoever wrote it, and is collected.
 *
 * Each shard has a thread, which alone asks it; others leave it jobs and do
 * not wait longer than they like.
 */
#ifndef CONTROLPLANE_STORE_ETCD_SHARD_H
#define CONTROLPLANE_STORE_ETCD_SHARD_H

#include "controlplane/store/etcd.h"

#define SHARDS_MAX        SEGMENT_REFS_MAX /* their numbers are below this */
#define SHARD_PATIENCE_MS 300              /* how long a batch waits for one */
#define SHARD_TIMEOUT_MS  3000             /* of one request, at most */

enum shard_state {
	SHARD_NEW,   /* not asked yet */
	SHARD_READY, /* takes writes */
	SHARD_SLOW,  /* has not answered yet, or rests; its writes wait */
	SHARD_AWAY,  /* its writes are refused */
};

enum shard_task {
	SHARD_PUT,
	SHARD_GET,
	SHARD_LOAD,
	SHARD_DELETE,
	SHARD_SHRINK
};

struct shard_job {
	enum shard_task task;
	atomic_uint refs;
	struct shard_job *next;
	char *keys; /* to put, or to delete: each with its NUL */
	size_t nr_keys;
	struct buf data;             /* to put */
	struct segment_ref *parts;   /* to get; to load: which of them count */
	size_t nr_parts, nr_pending; /* the last of them are not in memory */
	struct seg seg;              /* to shrink; owns its bits */
	bool missing;                /* it is not there */
	/* Under the lock of the shard's owner. */
	bool done;
	int result;
	struct err err;
	/* Once it is done. */
	struct object_bytes **v; /* owned references */
	size_t nr, size;
	struct seg *segs; /* of what was found */
	size_t nr_segs, segs_size;
	struct buf orphans; /* keys of what does not count, each with its NUL */
	size_t nr_orphans;
	uint64_t revision; /* of etcd */
	/* To load: what begins behind this may come to count yet. */
	uint64_t newest;
};

struct shard {
	struct etcd c; /* its .g and .lock; the rest as with the system's */
	struct etcd *owner;
	struct shard *next; /* in the list of those that are gone */
	int id;
	char *name;       /* of its StorageCluster */
	char *ident;      /* key that says whose it is */
	char *since;      /* and of which StorageCluster, by @created */
	uint64_t defined; /* revision of its StorageCluster */
	uint64_t created; /* what is named before is of another one */
	pthread_t thread;
	bool started;
	/* Under .c.lock */
	char *address; /* as its StorageCluster has it */
	bool moved;    /* connect again */
	bool gone, over;
	uint64_t empty; /* it was deleted then: leave nothing there; 0: no */
	enum shard_state state;
	bool damaged; /* away for good, unless it moves */
	int code;     /* why writes are refused */
	char why[ERR_MSG_SIZE];
	struct shard_job *jobs, **jobs_tail;
	uint64_t ident_mod;
	/* From any thread. */
	atomic_bool loaded;           /* memory has all of it */
	atomic_bool used;             /* parts of it are named */
	atomic_uint_fast64_t took_ms; /* the last that was put */
	atomic_uint_fast64_t at;      /* etcd's revision that it has reached */
	atomic_uint_fast64_t floor;   /* snapshots before are not whole */
	/* The writer's. */
	struct segment_ref *parts; /* what is to be in memory and is not */
	size_t nr_parts, parts_size;
	struct shard_job *gc, *load;
	struct buf orphans;
	size_t nr_orphans;
	/* Its thread's. */
	uint64_t compacted_at;
	uint64_t compact_to;
	uint64_t rest_until; /* it was slow: nothing is put before */
	bool full;           /* the last word was that there is no room */
};

struct shards {
	pthread_rwlock_t lock; /* of the two maps; taken after the store's */
	struct shard *v[SHARDS_MAX];
	struct shard *gone;
	struct map tenants; /* to the number of the cluster, as a pointer */
	atomic_size_t nr;
	bool start; /* those that are made may begin */
	bool lost;  /* memory misses parts of one; the writer's */
	pthread_mutex_t done_lock;
	pthread_cond_t done;
	char store_id[40];      /* under .lock */
	struct store_etcd opts; /* its strings are ours */
};

/* --- etcd_route.c: which key is where --- */

int shards_open(struct etcd *c, const struct store_etcd *o, struct err *e);
void shards_close(struct etcd *c);
void shards_start(struct etcd *c);

/* The number of the cluster whose keys begin like this; -1: of several. */
int shards_place(struct etcd *c, const char *key);
struct shard *shards_get(struct etcd *c, int id);

void shards_seen(struct store_backend *b, const struct object_bytes *o);
/* Only of a StorageCluster; more than once with the same does nothing. */
void shards_seen_cluster(struct store_backend *b, const struct object_bytes *o);
int shards_may(struct store_backend *b, const char *key, struct err *e);
int shards_whole(struct store_backend *b, const char *prefix,
		 uint64_t *ret_floor, struct err *e);
int shards_cluster(struct store_backend *b, int id, struct store_cluster *ret);

int shards_place_of(struct store_backend *b, const char *key);
void shards_dead(struct store_backend *b, const struct object_bytes *o);
void shards_outlived(struct store_backend *b, const struct object_bytes *o);

/* --- etcd_parts.c: a batch is put where its keys are --- */

struct etcd_parts {
	struct object_bytes **own; /* what is the system's */
	size_t nr_own;
	uint64_t first, last; /* of the batch; 0: nothing */
	struct segment_ref refs[SHARDS_MAX];
	struct seg segs[SHARDS_MAX];
	size_t nr_refs;
};

/* Put all but the system's part. -EAGAIN: one did not take it, and is known
 * for that now; nothing of this batch counts. */
int etcd_parts_put(struct etcd *c, struct object_bytes **v, size_t nr,
		   struct etcd_parts *ret, struct err *e);
/* Which segments there are, if this batch comes to count. */
int etcd_parts_know(struct etcd *c, struct etcd_parts *p, struct err *e);
void etcd_parts_drop(struct etcd *c, struct etcd_parts *p);
void etcd_parts_clear(struct etcd_parts *p);

/* --- etcd_shard.c --- */

struct shard *shard_new(struct etcd *owner, int id, const char *name,
			const char *address);
int shard_start(struct shard *sh);
void shard_move(struct shard *sh, const char *address);
/* Its thread is to end: its StorageCluster was deleted with revision @at, and
 * nothing of it is to be left. */
void shard_end(struct shard *sh, uint64_t at);
/* The same, whatever it is at; there all stays. */
void shard_stop(struct shard *sh);
void shard_free(struct shard *sh); /* waits for that */
void shard_state_set(struct shard *sh, enum shard_state state, int code,
		     const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
enum shard_state shard_state(struct shard *sh);

struct shard_job *shard_job_new(enum shard_task task);
void shard_job_unref(struct shard_job *job);
DEFINE_AUTO_PTR(shard_job, shard_job_unref)
void shard_post(struct shard *sh,
		struct shard_job *job); /* takes a reference */
/* Until all are done, or @ms are over. 0 or -ETIMEDOUT. */
int shard_wait(struct etcd *owner, struct shard_job **jobs, size_t nr,
	       uint32_t ms);
bool shard_job_done(struct etcd *owner, struct shard_job *job);

/* Give one that has not been asked yet some time to answer. */
void shard_await_word(struct shard *sh);

/* --- etcd_ident.c: whose an etcd is; all by the shard's thread --- */

/* Is it the one it should be? What is nobody's becomes ours. */
int shard_identify(struct shard *sh, struct err *e);
/* It was full: does it take anything now? */
int shard_try_room(struct shard *sh, struct err *e);
void shard_leave_nothing(struct shard *sh);

/* --- etcd_part.c: what the jobs do with segments --- */

int shard_do(struct shard *sh, struct shard_job *job, struct err *e);
char *shard_key(const struct shard *sh, uint64_t first, uint64_t batch);

/* --- etcd_read.c --- */

int etcd_load(struct store_backend *b, backend_record fn, void *arg,
	      uint64_t *ret_revision, uint64_t *ret_compacted, struct err *e);
int etcd_tail(struct store_backend *b, uint64_t after, bool force,
	      backend_record fn, void *arg, uint64_t *ret_revision,
	      struct err *e);
int etcd_attach(struct store_backend *b, backend_record fn, void *arg,
		int *ret_id, struct err *e);
void etcd_attached(struct store_backend *b, int id, uint64_t floor);
bool etcd_lost(struct store_backend *b);

/* --- etcd_seg.c --- */

/* What counts for nothing goes in any case, what is dead if we collect. */
void shards_tidy(struct etcd *c, bool collects);
/* One of the parts that a segment of the system's names is not there. */
void etcd_part_is_gone(struct etcd *c, uint64_t first);

#endif /* CONTROLPLANE_STORE_ETCD_SHARD_H */
