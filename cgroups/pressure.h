/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pressure stall information: the share of time in which some, or all, tasks of
 * a cgroup waited for a resource. From the unified hierarchy, on hybrid hosts
 * too; -EOPNOTSUPP on legacy ones and where the kernel has PSI switched off.
 */
#ifndef CGROUPS_PRESSURE_H
#define CGROUPS_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

struct cg;
struct err;

enum cg_pressure_kind {
	CG_PRESSURE_CPU,
	CG_PRESSURE_MEMORY,
	CG_PRESSURE_IO,
	CG_NR_PRESSURES,
};

struct cg_stall {
	uint32_t avg10, avg60, avg300; /* hundredths of a percent: 0..10000 */
	uint64_t total_us;
};

struct cg_pressure {
	struct cg_stall some, full;
	bool has_full; /* kernels before 5.13 have none for cpu */
};

/* 0 or -EBADMSG. */
int cg_pressure_parse(const char *text, struct cg_pressure *ret);
int cg_pressure_read(const struct cg *cg, enum cg_pressure_kind kind,
		     struct cg_pressure *ret, struct err *e);

/**
 * cg_pressure_trigger() - Get a descriptor that polls EPOLLPRI on a stall.
 * @full:      All tasks stalled, not just some.
 * @stall_us:  At least so much of it ...
 * @window_us: ... within this time: 500000 .. 10000000; a multiple of 2000000
 *             for who lacks CAP_SYS_RESOURCE.
 * @ret_fd:    Owned. EPOLLERR on it: the cgroup is gone.
 */
int cg_pressure_trigger(const struct cg *cg, enum cg_pressure_kind kind,
			bool full, uint64_t stall_us, uint64_t window_us,
			int *ret_fd, struct err *e);

#endif /* CGROUPS_PRESSURE_H */
