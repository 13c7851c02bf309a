/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster as columns of numbers: one array per quantity, one row per node.
 * A decision is a scan over rows; nothing is sampled. Single-threaded.
 */
#ifndef CONTROLPLANE_SCHEDULER_COLUMNS_H
#define CONTROLPLANE_SCHEDULER_COLUMNS_H

#include "controlplane/scheduler/podspec.h"
#include "lib/map.h"

#define NODE_NONE UINT32_MAX

/* Memory and storage are counted in units of 4 KiB, so that 8 TiB fit into an
 * int32_t: what there is rounded down, what is asked for rounded up. */
#define UNIT_BYTES 4096

static inline int32_t units_up(int64_t bytes)
{
	int64_t n = (bytes + UNIT_BYTES - 1) / UNIT_BYTES;

	return n > INT32_MAX / 4 ? INT32_MAX / 4 : (int32_t)n;
}

static inline int64_t units_down(int64_t bytes)
{
	int64_t n = bytes / UNIT_BYTES;

	return n > INT32_MAX / 4 ? INT32_MAX / 4 : n;
}

static inline int32_t milli_of(int64_t milli)
{
	return milli > INT32_MAX / 4 ? INT32_MAX / 4 : (int32_t)milli;
}

struct node_ext {
	uint32_t name;
	int64_t free;
};

/* What is looked at rarely: when a class of pods meets a node anew. */
struct node_info {
	char *name;
	yyjson_doc *doc; /* labels, taints, conditions */
	uint64_t shape;  /* hash of what static filters look at */
	struct node_ext *ext;
	uint32_t *ports; /* host ports taken, sorted not */
	unsigned nr_ext, nr_ports, room_ports;
	int64_t cpu_alloc, mem_alloc, eph_alloc, pods_alloc; /* rounded */
	int64_t cpu_score, mem_score; /* free as scores see it; exact */
};

struct columns {
	size_t nr, room; /* rows, dead ones included */
	size_t nr_live;
	uint8_t *live;
	/* Free, negative when over-committed; memory in units, so that a row is
	 * four numbers of one width. */
	int32_t *cpu, *mem, *eph, *pods;
	float *cpu_free, *mem_free; /* parts of capacity, as scores see it */
	float *cpu_part, *mem_part; /* 1 / capacity */
	uint32_t *zone;
	struct node_info *info;
	struct map by_name; /* row + 1 */
	struct map zones;   /* name: zone + 1 */
	bool zoneless;      /* some node is in none */
};

void columns_clear(struct columns *c);

enum columns_change {
	COLUMNS_SAME = 0,
	COLUMNS_ROOM = 1 << 0,  /* it has more to give */
	COLUMNS_SHAPE = 1 << 1, /* labels, taints, conditions, ... */
	COLUMNS_NEW = 1 << 2,
};

/* A node appeared or changed; @doc becomes ours. -ENOMEM, else what changed. */
int columns_put(struct columns *c, const char *name, yyjson_doc *doc,
		uint32_t *ret_row);
/* It is gone; pods that are still on it are counted for its return. */
void columns_del(struct columns *c, const char *name);

/* The row of a name; made, without a node, when @make. NODE_NONE: none. */
uint32_t columns_row(struct columns *c, const char *name, bool make);

/* A pod is on a row (+1) or leaves it (-1). */
void columns_charge(struct columns *c, uint32_t row, const struct ask *a,
		    int sign);
bool columns_port_free(const struct columns *c, uint32_t row,
		       const struct ask *a);
int64_t columns_ext_free(const struct columns *c, uint32_t row, uint32_t name);

#endif /* CONTROLPLANE_SCHEDULER_COLUMNS_H */
