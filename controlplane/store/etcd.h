/* SPDX-License-Identifier: Apache-2.0 */
/* The etcd back end's parts, shared by its own files only. */
#ifndef CONTROLPLANE_STORE_ETCD_H
#define CONTROLPLANE_STORE_ETCD_H

#include <stdatomic.h>

#include "controlplane/store/etcd_proto.h"
#include "controlplane/store/internal.h" /* never seen outside of the folder */
#include "lib/grpc/grpc.h"

/* One batch of changes as etcd has it, and which of them nobody needs. */
struct seg {
	uint64_t first, last;
	uint32_t nr, nr_dead; /* records in it, and the dead among them */
	uint8_t *dead;        /* a bit for each revision; NULL: none */
};

struct etcd {
	struct store_backend base;
	struct grpc *g;
	uint32_t timeout_ms;
	char *prefix, *head, *log, *log_end, *gc;

	/* The writer's. */
	uint64_t head_mod; /* etcd's revision of the head as we know it */
	uint64_t head_rev; /* ours, that it says */
	uint64_t compacted;
	uint64_t batch, tried_first;
	struct seg *segs;
	size_t nr_segs, segs_size, gc_at;

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

/* One request, with the back end's time limit. *ret_sent: it may be done. */
int etcd_call(struct etcd *c, const char *method, const struct buf *request,
	      struct buf *reply, bool *ret_sent, struct err *e);

/* --- etcd_seg.c --- */

int etcd_seg_add(struct etcd *c, uint64_t first, uint64_t last, uint32_t nr);
void etcd_seg_dead(struct etcd *c, uint64_t revision);
void etcd_segs_clear(struct etcd *c);
bool etcd_tidy(struct store_backend *b, uint64_t live_bytes);
int etcd_reencrypt(struct store_backend *b, uint64_t *ret_nr, struct err *e);
char *etcd_log_key(const struct etcd *c, uint64_t first);

/* --- etcd_mind.c --- */

void *etcd_minder(void *arg);

#endif /* CONTROLPLANE_STORE_ETCD_H */
