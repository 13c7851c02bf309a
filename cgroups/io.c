// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroups/internal.h"
#include "cgroups/io.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define IO_TEXT_MAX (256 * 1024) /* a line per device */

static bool on_v1(const struct cg *cg)
{
	return cg->at[CG_IO] >= 0 && !cg_is_v2(cg, CG_IO);
}

static int read_text(const struct cg *cg, const char *name, struct buf *b,
		     struct err *e)
{
	int dir = cg_dir(cg, CG_IO, e);
	int r;

	if (dir < 0)
		return dir;
	buf_reset(b);
	r = fs_read(dir, name, IO_TEXT_MAX, b, e);
	return r < 0 ? err_wrap(e, r, "cgroup '%s'", cg->path) : 0;
}

static int odd(const struct cg *cg, const char *name, struct err *e)
{
	return err_set(e, -EBADMSG, "cgroup '%s': odd %s", cg->path, name);
}

static const char *const v1_limits[] = {
	"blkio.throttle.read_bps_device",
	"blkio.throttle.write_bps_device",
	"blkio.throttle.read_iops_device",
	"blkio.throttle.write_iops_device",
};

static int no_device(const struct cg *cg, const struct cg_io_max *max,
		     struct err *e)
{
	return err_set(e, -ENODEV,
		       "cgroup '%s': %u:%u is no whole block device", cg->path,
		       max->major, max->minor);
}

static int v1_max_write(const struct cg *cg, const struct cg_io_max *max,
			struct err *e)
{
	const uint64_t values[] = { max->rbps, max->wbps, max->riops,
				    max->wiops };
	char text[64];
	int r;

	for (size_t i = 0; i < ARRAY_LEN(v1_limits); i++) {
		/* 0 lifts the limit. */
		snprintf(text, sizeof(text), "%u:%u %" PRIu64, max->major,
			 max->minor,
			 values[i] == CG_IO_UNLIMITED ? 0 : values[i]);
		r = cg_write(cg, CG_IO, v1_limits[i], text, e);
		if (r == -ENODEV || r == -ENXIO)
			return no_device(cg, max, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static size_t add_limit(char *text, size_t len, size_t size, const char *key,
			uint64_t value)
{
	int n;

	if (value == CG_IO_UNLIMITED)
		n = snprintf(text + len, size - len, " %s=max", key);
	else
		n = snprintf(text + len, size - len, " %s=%" PRIu64, key,
			     value);
	return len + (size_t)n;
}

int cg_io_max_write(const struct cg *cg, const struct cg_io_max *max,
		    struct err *e)
{
	char text[160];
	size_t len;
	int r;

	if (!max->rbps || !max->wbps || !max->riops || !max->wiops)
		return err_set(e, -ERANGE,
			       "io.max: a limit of 0 would stop all I/O");
	if (on_v1(cg))
		return v1_max_write(cg, max, e);
	len = (size_t)snprintf(text, sizeof(text), "%u:%u", max->major,
			       max->minor);
	len = add_limit(text, len, sizeof(text), "rbps", max->rbps);
	len = add_limit(text, len, sizeof(text), "wbps", max->wbps);
	len = add_limit(text, len, sizeof(text), "riops", max->riops);
	add_limit(text, len, sizeof(text), "wiops", max->wiops);
	r = cg_write(cg, CG_IO, "io.max", text, e);
	return r == -ENODEV || r == -ENXIO ? no_device(cg, max, e) : r;
}

static int v1_max_read(const struct cg *cg, struct cg_io_max *max,
		       struct buf *b, struct err *e)
{
	uint64_t *const values[] = { &max->rbps, &max->wbps, &max->riops,
				     &max->wiops };
	int r;

	for (size_t i = 0; i < ARRAY_LEN(v1_limits); i++) {
		r = read_text(cg, v1_limits[i], b, e);
		if (r < 0)
			return r;
		r = cg_blkio_max_find(buf_str(b), max->major, max->minor,
				      values[i]);
		if (r < 0)
			return odd(cg, v1_limits[i], e);
	}
	return 0;
}

int cg_io_max_read(const struct cg *cg, struct cg_io_max *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct cg_io_max max = {
		.major = ret->major,
		.minor = ret->minor,
		.rbps = CG_IO_UNLIMITED,
		.wbps = CG_IO_UNLIMITED,
		.riops = CG_IO_UNLIMITED,
		.wiops = CG_IO_UNLIMITED,
	};
	int r;

	if (on_v1(cg)) {
		r = v1_max_read(cg, &max, &b, e);
	} else {
		r = read_text(cg, "io.max", &b, e);
		if (r == 0 && cg_io_max_find(buf_str(&b), &max) < 0)
			r = odd(cg, "io.max", e);
	}
	if (r == 0)
		*ret = max;
	return r;
}

static int v1_stat(const struct cg *cg, struct cg_io_stat *st, struct buf *b,
		   struct err *e)
{
	static const char *const files[] = {
		"blkio.throttle.io_serviced_recursive",
		"blkio.throttle.io_service_bytes_recursive",
	};
	int r;

	*st = (struct cg_io_stat){ 0 };
	for (int bytes = 0; bytes <= 1; bytes++) {
		r = read_text(cg, files[bytes], b, e);
		if (r < 0)
			return r;
		if (cg_blkio_parse(buf_str(b), bytes, st) < 0)
			return odd(cg, files[bytes], e);
	}
	return 0;
}

int cg_io_stat_read(const struct cg *cg, struct cg_io_stat *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r;

	if (on_v1(cg))
		return v1_stat(cg, ret, &b, e);
	r = read_text(cg, "io.stat", &b, e);
	if (r == 0 && cg_io_stat_parse(buf_str(&b), ret) < 0)
		r = odd(cg, "io.stat", e);
	return r;
}
