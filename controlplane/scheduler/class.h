/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A class: pods that are decided alike (one ReplicaSet's, usually). What of a
 * decision depends on the node's shape alone is worked out once for each node,
 * so that deciding is a scan over numbers.
 */
#ifndef CONTROLPLANE_SCHEDULER_CLASS_H
#define CONTROLPLANE_SCHEDULER_CLASS_H

#include "controlplane/scheduler/columns.h"

/* Why a node does not do. */
enum reason {
	REASON_NONE,
	REASON_UNSCHEDULABLE,
	REASON_TAINT, /* node(s) had untolerated taint {...} */
	REASON_AFFINITY,
	REASON_RUNTIME,
	REASON_PORTS,
	REASON_PODS,
	REASON_CPU,
	REASON_MEMORY,
	REASON_EPHEMERAL,
	REASON_EXT,
	REASON_NR,
};

#define CLASS_NEVER (-1e30f) /* the bonus of a row that can not do */

struct sclass {
	struct ask ask;
	yyjson_doc *doc;                               /* the signature */
	yyjson_val *selector, *affinity, *tolerations; /* in it */
	bool is_vm, blind; /* blind: it tolerates every NoSchedule */
	char *key;         /* in the table */
	unsigned refs;
	size_t room;
	uint8_t *verdict; /* per row: enum reason of the static filters */
	float *bonus;     /* per row: preferences, 0..500; CLASS_NEVER */
	float *same;      /* per row: pods of the class on it */
	float *scores;    /* of the last scan */
	float most_same;
	uint32_t *zone_same; /* per zone */
	uint32_t nr_zones, most_zone;
	/* Pods of it that found no node, and as of when there was none. */
	struct spod *waiting;
	uint64_t hopeless;
	unsigned reasons;
	char *message; /* of the last refusal */
};

/* NULL: out of memory. */
struct sclass *class_new(const char *signature, size_t len,
			 const struct ask *ask);

/* Look at one row anew: after its shape changed. 0 or -ENOMEM. */
int class_look(struct sclass *k, const struct columns *c, uint32_t row);
/* Rows that were added since. */
int class_fit_rows(struct sclass *k, const struct columns *c);
void class_count(struct sclass *k, const struct columns *c, uint32_t row,
		 int sign);
void class_free(struct sclass *k);

/* Would this row do, now? */
bool class_fits(const struct sclass *k, const struct columns *c, uint32_t row);

/* The best row, or NODE_NONE. @start: where to begin, so that equals share. */
uint32_t class_decide(const struct sclass *k, const struct columns *c,
		      uint32_t start);

/* "0/3 nodes are available: 1 Insufficient cpu, 2 ...". @ret_reasons: a bit
 * per enum reason. */
void class_explain(const struct sclass *k, const struct columns *c,
		   struct buf *b, unsigned *ret_reasons);

#endif /* CONTROLPLANE_SCHEDULER_CLASS_H */
