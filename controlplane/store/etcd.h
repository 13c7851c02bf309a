/* SPDX-License-Identifier: Apache-2.0 */
/* The etcd back end's parts, shared by its own files only. */
#ifndef CONTROLPLANE_STORE_ETCD_H
#define CONTROLPLANE_STORE_ETCD_H

#include <stdatomic.h>

#include "controlplane/store/etcd_proto.h"
#include "controlplane/store/internal.h" /* never seen outside of the folder */
#include "controlplane/store/segment.h"
#include "lib/grpc/grpc.h"
#include "lib/map.h"

/* One batch of changes as etcd has it, and which of them nobody needs. */
struct seg {
	uint64_t first, last;
	uint64_t batch;
	uint32_t nr, nr_dead;  /* records in it, and the dead among them */
	uint32_t nr_buried;    /* tombstones that wait: etcd_grave.c */
	uint32_t refs;         /* parts of it that other clusters have */
	uint8_t *dead;         /* a bit for each revision; NULL: none */
	uint8_t *has;          /* which it has; NULL: all */
	struct grave **graves; /* of records that were outlived; NULL: none */
};

struct grave;
struct graves {
	struct grave **v; /* by hash of the key */
	size_t nr, size;
	bool blind; /* out of memory: some are missing, until the next load */
};

struct shard;
struct shards;
struct etcd_parts;

struct etcd {
	struct store_backend base;
	struct shards *shards; /* NULL: this is one itself */
	struct grpc *g;
	pthread_rwlock_t g_lock; /* for writing: @g changes */
	uint32_t timeout_ms;
	char *prefix, *head, *log, *log_end, *gc;

	/* The writer's. */
	uint64_t head_mod; /* etcd's revision of the head as we know it */
	uint64_t head_rev; /* ours, that it says */
	uint64_t compacted;
	uint64_t batch, tried_first;
	struct seg *segs;
	size_t nr_segs, segs_size, gc_at;
	struct graves graves;     /* of all clusters */
	bool sure;                /* all that is there is known */
	uint64_t gone_to;         /* history before went with its cluster */
	struct etcd_parts *doubt; /* of a commit that is to be settled */

	/* The minder's: watches the head, and holds the collector's lease. */
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool closing, watch_over, keep_over;
	atomic_uint_fast64_t seen_mod; /* the newest head the watch told of */
	atomic_bool news;              /* look, even without having been told */
	atomic_bool collects;          /* we collect garbage here */
	uint64_t resume;               /* where the watch goes on */
	uint64_t kept_ms;              /* when the lease was last confirmed */
	uint64_t lease, compact_to;
};

/* The value of the head. */
struct etcd_head {
	uint64_t revision, compacted, batch;
};

/* One request, with the back end's time limit. *ret_sent: it may be done. */
int etcd_call(struct etcd *c, const char *method, const struct buf *request,
	      struct buf *reply, bool *ret_sent, struct err *e);

int etcd_init(struct etcd *c, const struct store_etcd *o, const char *prefix,
	      struct err *e);
void etcd_fini(struct etcd *c);
/* Connect to @endpoints, with the certificates of @o. */
int etcd_connect(struct etcd *c, const struct store_etcd *o,
		 const char *endpoints, struct err *e);

/* Names of records, as one value. */
int etcd_build_segment(struct etcd *c, uint64_t batch,
		       const struct segment_ref *refs, size_t nr_refs,
		       struct object_bytes **v, size_t nr, uint64_t first,
		       uint64_t last, struct buf *seg, struct err *e);
int etcd_ignore_pair(void *arg, const struct etcd_kv *kv);

/* --- etcd_seg.c --- */

/* @has: it may have fewer than all of that range; see etcd_seg_has(). */
int etcd_seg_add(struct etcd *c, const struct seg *seg);
void etcd_seg_has(struct seg *s, uint64_t revision);
struct seg *etcd_seg_find(struct etcd *c, uint64_t revision);
/* Without the records that are dead in @seg. 1, 0: somebody else has changed
 * it, -ENOENT: it is not there. */
int etcd_seg_shrink(struct etcd *c, const struct seg *seg, const char *key,
		    uint32_t *ret_nr);
void etcd_seg_forget(struct etcd *c, uint64_t first, uint64_t batch);
/* A record is dead; @c is the system's cluster, @in the one that may have it.
 */
void etcd_seg_dead(struct etcd *c, struct etcd *in,
		   const struct object_bytes *o);
/* There is a newer one of its key, but it is not dead yet. */
void etcd_seg_outlived(struct etcd *c, struct etcd *in,
		       const struct object_bytes *o);
void etcd_seg_mark(struct seg *s, uint64_t revision);
void etcd_segs_clear(struct etcd *c);
bool etcd_tidy(struct store_backend *b, uint64_t live_bytes);
int etcd_reencrypt(struct store_backend *b, uint64_t *ret_nr, struct err *e);
char *etcd_log_key(const struct etcd *c, uint64_t first);

/* --- etcd_grave.c; @c is the system's cluster --- */

/* That of a record that was outlived, which counts from now on. */
struct grave *etcd_grave_of(struct etcd *c, const char *key);
void etcd_grave_gone(struct etcd *c, struct grave *g); /* one that counted */
/* A tombstone that was compacted: must it stay? */
bool etcd_grave_bury(struct etcd *c, struct etcd *in, struct seg *s,
		     const struct object_bytes *o);
/* Is there a tombstone, compacted already, that is newer? */
bool etcd_grave_hides(const struct etcd *c, const struct object_bytes *o);
/* A cluster has been read that had not been. */
void etcd_graves_look(struct etcd *c);
/* A cluster is no more. */
void etcd_graves_forget(struct etcd *c, struct etcd *gone);
void etcd_graves_clear(struct graves *t);

/* --- etcd_mind.c --- */

void *etcd_minder(void *arg);
/* Have etcd forget what was old the last time. */
void etcd_compact(struct etcd *c, uint64_t *compact_to);

#endif /* CONTROLPLANE_STORE_ETCD_H */
