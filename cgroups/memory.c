// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroups/internal.h"
#include "cgroups/memory.h"
#include "lib/err.h"
#include "lib/str.h"

#define LIMIT  "memory.limit_in_bytes"
#define MEMSW  "memory.memsw.limit_in_bytes"
#define KIB(n) ((n) / 1024)

/* v1 spells "unlimited" as the largest page count in bytes; what is larger than
 * any machine means the same. */
#define V1_UNLIMITED (UINT64_C(1) << 62)

static bool on_v1(const struct cg *cg)
{
	return cg->at[CG_MEMORY] >= 0 && !cg_is_v2(cg, CG_MEMORY);
}

static void format(uint64_t bytes, const char *unlimited, char *buf,
		   size_t size)
{
	if (bytes == CG_MEM_UNLIMITED)
		snprintf(buf, size, "%s", unlimited);
	else
		snprintf(buf, size, "%" PRIu64, bytes);
}

static int v1_read(const struct cg *cg, const char *file, uint64_t *ret,
		   struct err *e)
{
	int r = cg_read_u64(cg, CG_MEMORY, file, ret, e);

	if (r == 0 && *ret >= V1_UNLIMITED)
		*ret = CG_MEM_UNLIMITED;
	return r;
}

static int v1_write(const struct cg *cg, const char *file, uint64_t bytes,
		    struct err *e)
{
	char text[24];

	format(bytes, "-1", text, sizeof(text));
	if (str_eq(file, LIMIT))
		return cg_write_held(cg, CG_HOLD_MEM_MAX, CG_MEMORY, file, text,
				     e);
	return cg_write(cg, CG_MEMORY, file, text, e);
}

/*
 * memory+swap is one limit on v1, which the memory limit may not exceed: when
 * that is in the way, move it along and keep what it leaves for swap.
 */
static int v1_max_write(const struct cg *cg, uint64_t bytes, struct err *e)
{
	uint64_t limit, memsw, swap;
	int r;

	r = v1_write(cg, LIMIT, bytes, e);
	if (r == -EBUSY)
		return err_set(e, r,
			       "cgroup '%s': more than %" PRIu64
			       " KiB are in use and cannot be reclaimed",
			       cg->path, KIB(bytes));
	if (r != -EINVAL || v1_read(cg, LIMIT, &limit, NULL) < 0 ||
	    v1_read(cg, MEMSW, &memsw, NULL) < 0 || memsw < limit ||
	    bytes <= memsw)
		return r;
	swap = memsw - limit;
	if (__builtin_add_overflow(bytes, swap, &memsw))
		memsw = CG_MEM_UNLIMITED;
	r = v1_write(cg, MEMSW, memsw, e);
	return r < 0 ? r : v1_write(cg, LIMIT, bytes, e);
}

static int v1_swap_write(const struct cg *cg, uint64_t bytes, struct err *e)
{
	uint64_t limit, memsw;
	int r;

	r = v1_read(cg, LIMIT, &limit, e);
	if (r < 0)
		return r;
	if (limit == CG_MEM_UNLIMITED && bytes != CG_MEM_UNLIMITED)
		return err_set(e, -EOPNOTSUPP,
			       "cgroup '%s': on v1 swap can only be limited "
			       "where memory is",
			       cg->path);
	if (__builtin_add_overflow(limit, bytes, &memsw))
		memsw = CG_MEM_UNLIMITED;
	r = v1_write(cg, MEMSW, memsw, e);
	if (r == -ENOENT)
		return err_set(e, -EOPNOTSUPP,
			       "cgroup '%s': swap is not accounted: boot with "
			       "swapaccount=1",
			       cg->path);
	return r;
}

static int v1_knob_write(const struct cg *cg, enum cg_mem_knob knob,
			 uint64_t bytes, struct err *e)
{
	switch (knob) {
	case CG_MEM_MAX:
		return v1_max_write(cg, bytes, e);
	case CG_MEM_LOW: /* what nobody exceeds protects nothing */
		return v1_write(cg, "memory.soft_limit_in_bytes",
				bytes ? bytes : CG_MEM_UNLIMITED, e);
	case CG_MEM_SWAP_MAX:
		return v1_swap_write(cg, bytes, e);
	case CG_MEM_HIGH:
		return cg_unsupported(cg, "memory.high", e);
	case CG_MEM_MIN:
		return cg_unsupported(cg, "memory.min", e);
	}
	return -EINVAL;
}

static int v1_knob_read(const struct cg *cg, enum cg_mem_knob knob,
			uint64_t *ret, struct err *e)
{
	uint64_t limit, memsw;
	int r;

	switch (knob) {
	case CG_MEM_MAX:
		return v1_read(cg, LIMIT, ret, e);
	case CG_MEM_LOW:
		r = v1_read(cg, "memory.soft_limit_in_bytes", ret, e);
		if (r == 0 && *ret == CG_MEM_UNLIMITED)
			*ret = 0;
		return r;
	case CG_MEM_SWAP_MAX:
		r = v1_read(cg, LIMIT, &limit, e);
		if (r == 0)
			r = v1_read(cg, MEMSW, &memsw, e);
		if (r < 0)
			return r;
		*ret = memsw == CG_MEM_UNLIMITED ? memsw
		       : memsw > limit           ? memsw - limit
						 : 0;
		return 0;
	case CG_MEM_HIGH:
		return cg_unsupported(cg, "memory.high", e);
	case CG_MEM_MIN:
		return cg_unsupported(cg, "memory.min", e);
	}
	return -EINVAL;
}

static const char *knob_file(enum cg_mem_knob knob)
{
	switch (knob) {
	case CG_MEM_MAX:
		return "memory.max";
	case CG_MEM_HIGH:
		return "memory.high";
	case CG_MEM_LOW:
		return "memory.low";
	case CG_MEM_MIN:
		return "memory.min";
	case CG_MEM_SWAP_MAX:
		return "memory.swap.max";
	}
	return "memory.?";
}

int cg_mem_write(const struct cg *cg, enum cg_mem_knob knob, uint64_t bytes,
		 struct err *e)
{
	char text[24];

	if (on_v1(cg))
		return v1_knob_write(cg, knob, bytes, e);
	format(bytes, "max", text, sizeof(text));
	if (knob == CG_MEM_MAX)
		return cg_write_held(cg, CG_HOLD_MEM_MAX, CG_MEMORY,
				     "memory.max", text, e);
	return cg_write(cg, CG_MEMORY, knob_file(knob), text, e);
}

int cg_mem_read(const struct cg *cg, enum cg_mem_knob knob, uint64_t *ret,
		struct err *e)
{
	uint64_t value;
	int r;

	if (on_v1(cg))
		r = v1_knob_read(cg, knob, &value, e);
	else
		r = cg_read_u64(cg, CG_MEMORY, knob_file(knob), &value, e);
	if (r == 0)
		*ret = value;
	return r;
}

static int too_much(const struct cg *cg, uint64_t current, uint64_t bytes,
		    struct err *e)
{
	return err_set(e, -EBUSY,
		       "cgroup '%s': %" PRIu64 " KiB are in use and cannot be "
		       "reclaimed, so the limit cannot become %" PRIu64 " KiB",
		       cg->path, KIB(current), KIB(bytes));
}

int cg_mem_max_lower(const struct cg *cg, uint64_t bytes, uint64_t *ret_current,
		     struct err *e)
{
	uint64_t current;
	int r;

	r = cg_mem_current_read(cg, &current, e);
	if (r < 0)
		return r;
	if (on_v1(cg)) {
		/* The write itself reclaims, and fails rather than kill. */
		r = cg_mem_write(cg, CG_MEM_MAX, bytes, e);
		if (cg_mem_current_read(cg, &current, NULL) == 0 && ret_current)
			*ret_current = current;
		return r == -EBUSY ? too_much(cg, current, bytes, e) : r;
	}
	if (current > bytes) {
		/* Whether it got all, the next figure says. */
		(void)cg_mem_reclaim(cg, current - bytes, NULL);
		r = cg_mem_current_read(cg, &current, e);
		if (r < 0)
			return r;
	}
	if (ret_current)
		*ret_current = current;
	if (current > bytes)
		return too_much(cg, current, bytes, e);
	return cg_mem_write(cg, CG_MEM_MAX, bytes, e);
}

int cg_mem_reclaim(const struct cg *cg, uint64_t bytes, struct err *e)
{
	int r;

	if (on_v1(cg))
		return cg_unsupported(cg, "memory.reclaim", e);
	r = cg_write_u64(cg, CG_MEMORY, "memory.reclaim", bytes, e);
	if (r == -ENOENT && cg->at[CG_MEMORY] >= 0)
		return err_set(e, -EOPNOTSUPP,
			       "cgroup '%s': memory.reclaim needs Linux 5.19",
			       cg->path);
	return r;
}

int cg_mem_oom_group_write(const struct cg *cg, bool on, struct err *e)
{
	if (on_v1(cg))
		return cg_unsupported(cg, "memory.oom.group", e);
	return cg_write(cg, CG_MEMORY, "memory.oom.group", on ? "1" : "0", e);
}

int cg_mem_current_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	return cg_read_u64(cg, CG_MEMORY,
			   on_v1(cg) ? "memory.usage_in_bytes"
				     : "memory.current",
			   ret, e);
}

int cg_mem_peak_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	int r;

	if (on_v1(cg))
		return cg_read_u64(cg, CG_MEMORY, "memory.max_usage_in_bytes",
				   ret, e);
	r = cg_read_u64(cg, CG_MEMORY, "memory.peak", ret, e);
	if (r == -ENOENT && cg->at[CG_MEMORY] >= 0)
		return err_set(e, -EOPNOTSUPP,
			       "cgroup '%s': memory.peak needs Linux 5.19",
			       cg->path);
	return r;
}

int cg_mem_swap_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	uint64_t mem, both;
	int r;

	if (cg->at[CG_MEMORY] < 0)
		return cg_dir(cg, CG_MEMORY, e);
	if (!on_v1(cg)) {
		r = cg_read_u64(cg, CG_MEMORY, "memory.swap.current", ret, e);
	} else {
		r = cg_read_u64(cg, CG_MEMORY, "memory.memsw.usage_in_bytes",
				&both, e);
		if (r == 0)
			r = cg_mem_current_read(cg, &mem, e);
		if (r == 0)
			*ret = both > mem ? both - mem : 0;
	}
	if (r == -ENOENT) {
		*ret = 0;
		return 0;
	}
	return r;
}

int cg_mem_stat_read(const struct cg *cg, struct cg_mem_stat *ret,
		     struct err *e)
{
	char text[CG_TEXT_SIZE];
	int r;

	r = cg_read(cg, CG_MEMORY, "memory.stat", text, sizeof(text), e);
	if (r < 0)
		return r;
	if (cg_mem_stat_parse(text, on_v1(cg), ret) < 0)
		return err_set(e, -EBADMSG, "cgroup '%s': odd memory.stat",
			       cg->path);
	return 0;
}

uint64_t cg_mem_working_set(uint64_t current, const struct cg_mem_stat *stat)
{
	return current > stat->inactive_file ? current - stat->inactive_file
					     : 0;
}

/* On v1 the counters are of one cgroup, so add up those below. */
static int v1_events_add(int dir, void *arg, struct err *e)
{
	struct cg_mem_events one = { 0 };
	struct cg_mem_events *sum = arg;
	char text[256];
	int r;

	r = cg_file_read(dir, "memory.oom_control", text, sizeof(text), e);
	if (r == -ENOENT || r == -ENODEV)
		return 0; /* removed since */
	if (r < 0)
		return r;
	if (cg_mem_events_parse(text, &one) < 0)
		return err_set(e, -EBADMSG, "odd memory.oom_control");
	sum->oom_kill += one.oom_kill;
	return 0;
}

static int v1_events(const struct cg *cg, struct cg_mem_events *ret,
		     struct err *e)
{
	struct cg_mem_events ev = { 0 };
	int dir = cg_dir(cg, CG_MEMORY, e);
	uint64_t both;
	int r;

	r = cg_walk(dir, CG_DEPTH_MAX, v1_events_add, &ev, e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	r = cg_read_u64(cg, CG_MEMORY, "memory.failcnt", &ev.max, e);
	if (r < 0)
		return r;
	/* With a limit of swap, that of both may be hit first. */
	r = cg_read_u64(cg, CG_MEMORY, "memory.memsw.failcnt", &both, e);
	if (r < 0 && r != -ENOENT)
		return r;
	ev.max += r == 0 ? both : 0;
	ev.oom = ev.oom_kill;
	*ret = ev;
	return 0;
}

int cg_mem_events_read(const struct cg *cg, struct cg_mem_events *ret,
		       struct err *e)
{
	char text[CG_TEXT_SIZE];
	int r;

	if (on_v1(cg))
		return v1_events(cg, ret, e);
	r = cg_read(cg, CG_MEMORY, "memory.events", text, sizeof(text), e);
	if (r < 0)
		return r;
	if (cg_mem_events_parse(text, ret) < 0)
		return err_set(e, -EBADMSG, "cgroup '%s': odd memory.events",
			       cg->path);
	return 0;
}
