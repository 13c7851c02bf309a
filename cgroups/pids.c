// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroups/internal.h"
#include "cgroups/pids.h"
#include "lib/err.h"
#include "lib/str.h"

int cg_pids_max_write(const struct cg *cg, uint64_t max, struct err *e)
{
	if (max == CG_PIDS_UNLIMITED)
		return cg_write(cg, CG_PIDS, "pids.max", "max", e);
	return cg_write_u64(cg, CG_PIDS, "pids.max", max, e);
}

int cg_pids_max_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	return cg_read_u64(cg, CG_PIDS, "pids.max", ret, e);
}

int cg_pids_current_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	return cg_read_u64(cg, CG_PIDS, "pids.current", ret, e);
}

int cg_pids_events_read(const struct cg *cg, uint64_t *ret, struct err *e)
{
	const char *s, *key;
	char text[256];
	uint64_t value;
	size_t len;
	int r;

	r = cg_read(cg, CG_PIDS, "pids.events", text, sizeof(text), e);
	if (r < 0)
		return r;
	s = text;
	while ((r = cg_line_next(&s, &key, &len, &value)) > 0) {
		if (len != strlen("max") || !str_starts(key, "max "))
			continue;
		*ret = value;
		return 0;
	}
	return err_set(e, -EBADMSG, "cgroup '%s': odd pids.events", cg->path);
}
