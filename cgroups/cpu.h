/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU: the hard ceiling (cpu.max), the share under contention (cpu.weight), and
 * what was used. On v1: cpu.cfs_quota_us/cfs_period_us, cpu.shares, cpuacct.
 *
 * A ceiling of <quota> in each <period> is for all threads below the cgroup
 * together; a quota above the period means more than one CPU.
 *
 * v1 refuses (-EINVAL) a child's ceiling above its parent's, v2 takes the lower
 * one: raise from the top down and lower from the bottom up to suit both.
 */
#ifndef CGROUPS_CPU_H
#define CGROUPS_CPU_H

#include <stddef.h>
#include <stdint.h>

struct cg;
struct err;

#define CG_CPU_UNLIMITED     UINT64_MAX /* "max" on disk */
#define CG_CPU_QUOTA_MIN_US  1000u      /* the kernel refuses less */
#define CG_CPU_PERIOD_MIN_US 1000u
#define CG_CPU_PERIOD_MAX_US 1000000u
#define CG_CPU_PERIOD_US     100000u         /* the kernel's default */
#define CG_CPU_MILLI_MAX     100000000000ull /* the kernel takes 1.7 times it */
#define CG_CPU_MAX_TEXT      42              /* two u64, a space, a NUL */

struct cg_cpu_max {
	uint64_t quota_us;  /* per period, or CG_CPU_UNLIMITED */
	uint64_t period_us; /* CG_CPU_PERIOD_MIN_US .. CG_CPU_PERIOD_MAX_US */
};

/* @milli: thousandths of a CPU ("250m" is 250); 0 means no ceiling. Below 10m
 * the least the kernel takes, 10m. */
struct cg_cpu_max cg_cpu_max_from_milli(uint64_t milli);

/* The way back, rounded down; 0 when there is no ceiling. */
uint64_t cg_cpu_max_to_milli(const struct cg_cpu_max *max);

/* Returns the length of the text in @buf without its NUL, or -ENOSPC. */
int cg_cpu_max_format(const struct cg_cpu_max *max, char *buf, size_t size);
/* One line of cpu.max. 0 or -EBADMSG. */
int cg_cpu_max_parse(const char *text, struct cg_cpu_max *ret);

/**
 * cg_cpu_max_write() - Set the CPU ceiling of a cgroup.
 *
 * Takes effect at once, for running threads too. On error nothing has changed
 * (v1: the period may have).
 *
 * Return: 0, or
 *   -ERANGE  quota or period outside the bounds above
 *   -ENOENT  no cpu controller for this cgroup
 *   -EINVAL  v1: above the parent's ceiling, or below a child's
 *   -errno   of openat(2) or write(2) otherwise
 */
int cg_cpu_max_write(const struct cg *cg, const struct cg_cpu_max *max,
		     struct err *e);
/* What the kernel holds now. */
int cg_cpu_max_read(const struct cg *cg, struct cg_cpu_max *ret, struct err *e);

/* Kubernetes' way from a request to cpu.weight: milli -> shares (v1) -> weight
 * (v2): 1000m are 1024 shares or weight 39. A request of 0 is the least. */
uint64_t cg_cpu_shares_from_milli(uint64_t milli);   /* 2 .. 262144 */
uint64_t cg_cpu_weight_from_shares(uint64_t shares); /* 1 .. 10000 */

/* Set the share for a request of @milli (weight on v2, shares on v1). */
int cg_cpu_request_write(const struct cg *cg, uint64_t milli, struct err *e);
/* What the kernel holds: cpu.weight; on v1 the weight its shares stand for. */
int cg_cpu_weight_read(const struct cg *cg, uint64_t *ret, struct err *e);

struct cg_cpu_stat {
	uint64_t usage_us, user_us, system_us;
	uint64_t nr_periods, nr_throttled, throttled_us; /* 0: no ceiling */
};

/* Text of cpu.stat (v2). Unknown keys are skipped. 0 or -EBADMSG. */
int cg_cpu_stat_parse(const char *text, struct cg_cpu_stat *ret);
int cg_cpu_stat_read(const struct cg *cg, struct cg_cpu_stat *ret,
		     struct err *e);
/* Only ->usage_us of it, in one small file: for who looks often. */
int cg_cpu_usage_read(const struct cg *cg, uint64_t *ret_us, struct err *e);

#endif /* CGROUPS_CPU_H */
