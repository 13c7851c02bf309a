/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: limits, use, reclaim, and the out-of-memory counters.
 *
 * v1 has no counterpart for some of it: those calls return -EOPNOTSUPP and say
 * so, and cg_describe() lists them.
 */
#ifndef CGROUPS_MEMORY_H
#define CGROUPS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct cg;
struct err;

#define CG_MEM_UNLIMITED UINT64_MAX /* "max" on disk */

enum cg_mem_knob {
	CG_MEM_MAX,  /* hard: beyond it the OOM killer. v1: limit_in_bytes */
	CG_MEM_HIGH, /* throttle and reclaim above it. v1: none */
	CG_MEM_LOW,  /* best-effort protection. v1: soft_limit_in_bytes */
	CG_MEM_MIN,  /* hard protection. v1: none */
	CG_MEM_SWAP_MAX, /* of swap alone. v1: memsw minus memory limit */
};

/**
 * cg_mem_write() - Set a limit or a protection.
 * @bytes: %CG_MEM_UNLIMITED for none of the former; 0 for none of the latter.
 *         The kernel rounds down to pages.
 *
 * Setting %CG_MEM_MAX below what is in use reclaims and, on v2, kills what does
 * not fit: cg_mem_max_lower() is the careful way. On v1 it fails with -EBUSY
 * and changes nothing.
 *
 * Return: 0, -ENOENT no memory controller, -EOPNOTSUPP, -errno of write(2)
 */
int cg_mem_write(const struct cg *cg, enum cg_mem_knob knob, uint64_t bytes,
		 struct err *e);
int cg_mem_read(const struct cg *cg, enum cg_mem_knob knob, uint64_t *ret,
		struct err *e);

/**
 * cg_mem_max_lower() - Lower the hard limit without killing for it.
 * @bytes:       The new, lower limit.
 * @ret_current: Set to the use measured last, also on -EBUSY. May be NULL.
 *
 * If more is in use, the kernel is asked to reclaim the difference first. May
 * take as long as that reclaim does.
 *
 * Return: 0, or -EBUSY: too much cannot be reclaimed; nothing has changed, @e
 * has the figures. -errno otherwise.
 */
int cg_mem_max_lower(const struct cg *cg, uint64_t bytes, uint64_t *ret_current,
		     struct err *e);

/* Have @bytes reclaimed: 0, -EAGAIN (some, not all), -EOPNOTSUPP (v1, or a
 * kernel before 5.19). */
int cg_mem_reclaim(const struct cg *cg, uint64_t bytes, struct err *e);

/* When one process is OOM-killed, kill all of the cgroup. v1: -EOPNOTSUPP. */
int cg_mem_oom_group_write(const struct cg *cg, bool on, struct err *e);

int cg_mem_current_read(const struct cg *cg, uint64_t *ret, struct err *e);
/* The most ever used. -EOPNOTSUPP before Linux 5.19 on v2. */
int cg_mem_peak_read(const struct cg *cg, uint64_t *ret, struct err *e);
/* Swap in use; 0 where swap is not accounted. */
int cg_mem_swap_read(const struct cg *cg, uint64_t *ret, struct err *e);

/* Children included. */
struct cg_mem_stat {
	uint64_t anon, file, shmem, kernel, slab, mapped;
	uint64_t inactive_anon, active_anon, inactive_file, active_file;
	uint64_t pgfault, pgmajfault;
	uint64_t refault; /* workingset: pages that came back too soon */
};

/* Text of memory.stat. @v1: take its total_ lines. Unknown keys are skipped.
 * 0 or -EBADMSG. */
int cg_mem_stat_parse(const char *text, bool v1, struct cg_mem_stat *ret);
int cg_mem_stat_read(const struct cg *cg, struct cg_mem_stat *ret,
		     struct err *e);

/* As Kubernetes computes it: use minus inactive page cache, never below 0. */
uint64_t cg_mem_working_set(uint64_t current, const struct cg_mem_stat *stat);

/* How often each happened, here and below. v1 has max (failcnt of this cgroup),
 * oom_kill and, as oom, the same figure. */
struct cg_mem_events {
	uint64_t low, high, max, oom, oom_kill, oom_group_kill;
};

int cg_mem_events_parse(const char *text, struct cg_mem_events *ret);
int cg_mem_events_read(const struct cg *cg, struct cg_mem_events *ret,
		       struct err *e);

#endif /* CGROUPS_MEMORY_H */
