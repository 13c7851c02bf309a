// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/cpu.h"
#include "cgroups/internal.h"
#include "lib/err.h"
#include "lib/str.h"

#define SHARES_MIN 2u
#define SHARES_MAX 262144u
#define WEIGHT_MAX 10000u

struct cg_cpu_max cg_cpu_max_from_milli(uint64_t milli)
{
	const uint64_t us_per_milli = CG_CPU_PERIOD_US / 1000;
	struct cg_cpu_max max = {
		.quota_us = CG_CPU_UNLIMITED,
		.period_us = CG_CPU_PERIOD_US,
	};

	if (milli == 0 || milli > UINT64_MAX / us_per_milli)
		return max;
	max.quota_us = milli * us_per_milli;
	if (max.quota_us < CG_CPU_QUOTA_MIN_US)
		max.quota_us = CG_CPU_QUOTA_MIN_US;
	return max;
}

uint64_t cg_cpu_max_to_milli(const struct cg_cpu_max *max)
{
	if (max->quota_us == CG_CPU_UNLIMITED || max->period_us == 0)
		return 0;
	return (uint64_t)((unsigned __int128)max->quota_us * 1000 /
			  max->period_us);
}

int cg_cpu_max_format(const struct cg_cpu_max *max, char *buf, size_t size)
{
	int len;

	if (max->quota_us == CG_CPU_UNLIMITED)
		len = snprintf(buf, size, "max %" PRIu64, max->period_us);
	else
		len = snprintf(buf, size, "%" PRIu64 " %" PRIu64, max->quota_us,
			       max->period_us);
	return (size_t)len < size ? len : -ENOSPC;
}

static int check(const struct cg_cpu_max *max, struct err *e)
{
	if (max->period_us < CG_CPU_PERIOD_MIN_US ||
	    max->period_us > CG_CPU_PERIOD_MAX_US)
		return err_set(e, -ERANGE,
			       "cpu.max: period of %" PRIu64
			       " us, allowed are %u to %u",
			       max->period_us, CG_CPU_PERIOD_MIN_US,
			       CG_CPU_PERIOD_MAX_US);
	if (max->quota_us < CG_CPU_QUOTA_MIN_US)
		return err_set(e, -ERANGE,
			       "cpu.max: quota of %" PRIu64
			       " us, the least is %u",
			       max->quota_us, CG_CPU_QUOTA_MIN_US);
	return 0;
}

static int v1_period_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	int fd = cg->hold[CG_HOLD_CPU_PERIOD];
	char text[32];
	ssize_t n;

	if (fd < 0)
		return cg_read_u64(cg, CG_CPU, "cpu.cfs_period_us", ret, e);
	n = pread(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return err_sys(e, "cgroup '%s': read 'cpu.cfs_period_us'",
			       cg->path);
	text[n] = '\0';
	return cg_u64_parse(text, ret);
}

static int v1_max_write(const struct cg *cg, const struct cg_cpu_max *max,
			struct err *e)
{
	uint64_t period_us;
	char text[24];
	int r;

	r = v1_period_read(cg, &period_us, e);
	if (r < 0)
		return r;
	if (period_us != max->period_us) {
		snprintf(text, sizeof(text), "%" PRIu64, max->period_us);
		r = cg_write_held(cg, CG_HOLD_CPU_PERIOD, CG_CPU,
				  "cpu.cfs_period_us", text, e);
		if (r < 0)
			return r;
	}
	if (max->quota_us == CG_CPU_UNLIMITED)
		snprintf(text, sizeof(text), "-1");
	else
		snprintf(text, sizeof(text), "%" PRIu64, max->quota_us);
	r = cg_write_held(cg, CG_HOLD_CPU_MAX, CG_CPU, "cpu.cfs_quota_us", text,
			  e);
	if (r == -EINVAL)
		return err_set(e, r,
			       "cgroup '%s': a quota of %s us is refused: "
			       "above the parent's or below a child's (v1)",
			       cg->path, text);
	return r;
}

int cg_cpu_max_write(const struct cg *cg, const struct cg_cpu_max *max,
		     struct err *e)
{
	char text[CG_CPU_MAX_TEXT];
	int r;

	r = check(max, e);
	if (r < 0)
		return r;
	if (cg->at[CG_CPU] >= 0 && !cg_is_v2(cg, CG_CPU))
		return v1_max_write(cg, max, e);
	r = cg_cpu_max_format(max, text, sizeof(text));
	if (r < 0)
		return err_wrap(e, r, "cpu.max");
	return cg_write_held(cg, CG_HOLD_CPU_MAX, CG_CPU, "cpu.max", text, e);
}

int cg_cpu_max_read(const struct cg *cg, struct cg_cpu_max *ret, struct err *e)
{
	struct cg_cpu_max max;
	char text[64];
	int r;

	if (cg_is_v2(cg, CG_CPU) || cg->at[CG_CPU] < 0) {
		r = cg_read(cg, CG_CPU, "cpu.max", text, sizeof(text), e);
		if (r >= 0 && cg_cpu_max_parse(text, ret) < 0)
			r = err_set(e, -EBADMSG, "cgroup '%s': odd cpu.max",
				    cg->path);
		return r < 0 ? r : 0;
	}
	r = cg_read_u64(cg, CG_CPU, "cpu.cfs_period_us", &max.period_us, e);
	if (r < 0)
		return r;
	r = cg_read(cg, CG_CPU, "cpu.cfs_quota_us", text, sizeof(text), e);
	if (r < 0)
		return r;
	if (str_starts(text, "-1"))
		max.quota_us = CG_CPU_UNLIMITED;
	else if (cg_u64_parse(text, &max.quota_us) < 0)
		return err_set(e, -EBADMSG, "cgroup '%s': odd cpu.cfs_quota_us",
			       cg->path);
	*ret = max;
	return 0;
}

uint64_t cg_cpu_shares_from_milli(uint64_t milli)
{
	uint64_t shares;

	if (milli > UINT64_MAX / 1024)
		return SHARES_MAX;
	shares = milli * 1024 / 1000;
	if (shares < SHARES_MIN)
		return SHARES_MIN;
	return shares > SHARES_MAX ? SHARES_MAX : shares;
}

uint64_t cg_cpu_weight_from_shares(uint64_t shares)
{
	if (shares < SHARES_MIN)
		shares = SHARES_MIN;
	if (shares > SHARES_MAX)
		shares = SHARES_MAX;
	return 1 + (shares - SHARES_MIN) * (WEIGHT_MAX - 1) /
			   (SHARES_MAX - SHARES_MIN);
}

int cg_cpu_request_write(const struct cg *cg, uint64_t milli, struct err *e)
{
	uint64_t shares = cg_cpu_shares_from_milli(milli);

	if (cg->at[CG_CPU] >= 0 && !cg_is_v2(cg, CG_CPU))
		return cg_write_u64(cg, CG_CPU, "cpu.shares", shares, e);
	return cg_write_u64(cg, CG_CPU, "cpu.weight",
			    cg_cpu_weight_from_shares(shares), e);
}

int cg_cpu_weight_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	uint64_t shares;
	int r;

	if (cg->at[CG_CPU] < 0 || cg_is_v2(cg, CG_CPU))
		return cg_read_u64(cg, CG_CPU, "cpu.weight", ret, e);
	r = cg_read_u64(cg, CG_CPU, "cpu.shares", &shares, e);
	if (r == 0)
		*ret = cg_cpu_weight_from_shares(shares);
	return r;
}

static int v1_usage(const struct cg *cg, struct cg_cpu_stat *st, struct err *e)
{
	uint64_t ns;
	int r;

	r = cg_read_u64(cg, CG_CPUACCT, "cpuacct.usage", &ns, e);
	if (r < 0)
		return r;
	st->usage_us = ns / 1000;
	r = cg_read_u64(cg, CG_CPUACCT, "cpuacct.usage_user", &ns, e);
	if (r < 0)
		return r;
	st->user_us = ns / 1000;
	r = cg_read_u64(cg, CG_CPUACCT, "cpuacct.usage_sys", &ns, e);
	if (r < 0)
		return r;
	st->system_us = ns / 1000;
	return 0;
}

static int v1_throttled(const struct cg *cg, struct cg_cpu_stat *st,
			struct err *e)
{
	char text[CG_TEXT_SIZE];
	const char *s = text, *key;
	uint64_t value;
	size_t len;
	int r;

	r = cg_read(cg, CG_CPU, "cpu.stat", text, sizeof(text), e);
	if (r < 0)
		return r;
	r = cg_cpu_stat_parse(text, st);
	while (r == 0 && (r = cg_line_next(&s, &key, &len, &value)) > 0) {
		if (len == strlen("throttled_time") &&
		    memcmp(key, "throttled_time", len) == 0)
			st->throttled_us = value / 1000;
		r = 0;
	}
	if (r < 0)
		return err_set(e, r, "cgroup '%s': odd cpu.stat", cg->path);
	return 0;
}

static int v2_stat(const struct cg *cg, enum cg_controller c,
		   struct cg_cpu_stat *ret, struct err *e)
{
	char text[CG_TEXT_SIZE];
	int r;

	r = cg_read(cg, c, "cpu.stat", text, sizeof(text), e);
	if (r < 0)
		return r;
	r = cg_cpu_stat_parse(text, ret);
	if (r < 0)
		return err_set(e, r, "cgroup '%s': odd cpu.stat", cg->path);
	return 0;
}

int cg_cpu_stat_read(const struct cg *cg, struct cg_cpu_stat *ret,
		     struct err *e)
{
	struct cg_cpu_stat throttled = { 0 }, st = { 0 };
	bool v1_cpu = cg->at[CG_CPU] >= 0 && !cg_is_v2(cg, CG_CPU);
	int r;

	if (v1_cpu) {
		r = v1_throttled(cg, &throttled, e);
		if (r < 0)
			return r;
	}
	if (cg_is_v2(cg, CG_CPUACCT))
		r = v2_stat(cg, CG_CPUACCT, &st, e);
	else
		r = v1_usage(cg, &st, e);
	if (r < 0)
		return r;
	if (v1_cpu) {
		st.nr_periods = throttled.nr_periods;
		st.nr_throttled = throttled.nr_throttled;
		st.throttled_us = throttled.throttled_us;
	}
	*ret = st;
	return 0;
}

int cg_cpu_usage_read(const struct cg *cg, uint64_t *ret_us, struct err *e)
{
	struct cg_cpu_stat st = { 0 };
	uint64_t ns;
	int r;

	if (cg_is_v2(cg, CG_CPUACCT)) {
		r = v2_stat(cg, CG_CPUACCT, &st, e);
	} else {
		r = cg_read_u64(cg, CG_CPUACCT, "cpuacct.usage", &ns, e);
		st.usage_us = r == 0 ? ns / 1000 : 0;
	}
	if (r == 0)
		*ret_us = st.usage_us;
	return r;
}
