/* SPDX-License-Identifier: Apache-2.0 */
/* Block I/O: limits per device, and what was read and written. v1: blkio
 * throttling; buffered writes are not limited there. */
#ifndef CGROUPS_IO_H
#define CGROUPS_IO_H

#include <stddef.h>
#include <stdint.h>

struct cg;
struct err;

#define CG_IO_UNLIMITED   UINT64_MAX
#define CG_IO_DEVICES_MAX 64 /* in one statistic; further ones only add up */

struct cg_io_max {
	uint32_t major, minor;
	uint64_t rbps, wbps, riops, wiops; /* or CG_IO_UNLIMITED */
};

/* -ENODEV: no such device (a partition is none). -ENOENT: no controller. */
int cg_io_max_write(const struct cg *cg, const struct cg_io_max *max,
		    struct err *e);
/* @ret->major and minor choose the device. */
int cg_io_max_read(const struct cg *cg, struct cg_io_max *ret, struct err *e);

struct cg_io_counts {
	uint32_t major, minor;
	uint64_t rbytes, wbytes, rios, wios, dbytes, dios;
};

/* Children included. */
struct cg_io_stat {
	struct cg_io_counts total; /* major, minor: 0 */
	struct cg_io_counts dev[CG_IO_DEVICES_MAX];
	size_t nr_dev;
};

/* Text of io.stat. 0 or -EBADMSG. */
int cg_io_stat_parse(const char *text, struct cg_io_stat *ret);
int cg_io_stat_read(const struct cg *cg, struct cg_io_stat *ret, struct err *e);

#endif /* CGROUPS_IO_H */
