// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "cgroups/pressure.h"
#include "lib/auto.h"
#include "lib/err.h"

static const char *file_of(enum cg_pressure_kind kind)
{
	static const char *const files[CG_NR_PRESSURES] = {
		[CG_PRESSURE_CPU] = "cpu.pressure",
		[CG_PRESSURE_MEMORY] = "memory.pressure",
		[CG_PRESSURE_IO] = "io.pressure",
	};

	return files[kind];
}

static int no_psi(const struct cg *cg, struct err *e)
{
	return err_set(e, -EOPNOTSUPP, "cgroup '%s': no pressure figures: %s",
		       cg->path,
		       cg->unified < 0
			       ? "they need a unified hierarchy"
			       : "the kernel has them off, boot with psi=1");
}

int cg_pressure_read(const struct cg *cg, enum cg_pressure_kind kind,
		     struct cg_pressure *ret, struct err *e)
{
	char text[512];
	int r;

	if (cg->unified < 0)
		return no_psi(cg, e);
	r = cg_file_read(cg->dir[cg->unified], file_of(kind), text,
			 sizeof(text), e);
	if (r == -ENOENT || r == -EOPNOTSUPP)
		return no_psi(cg, e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	if (cg_pressure_parse(text, ret) < 0)
		return err_set(e, -EBADMSG, "cgroup '%s': odd %s", cg->path,
			       file_of(kind));
	return 0;
}

int cg_pressure_trigger(const struct cg *cg, enum cg_pressure_kind kind,
			bool full, uint64_t stall_us, uint64_t window_us,
			int *ret_fd, struct err *e)
{
	auto_close int fd = -EBADF;
	char text[64];
	ssize_t n;
	int len;

	if (cg->unified < 0)
		return no_psi(cg, e);
	fd = openat(cg->dir[cg->unified], file_of(kind),
		    O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == EOPNOTSUPP))
		return no_psi(cg, e);
	if (fd < 0)
		return err_sys(e, "cgroup '%s': open '%s'", cg->path,
			       file_of(kind));
	len = snprintf(text, sizeof(text), "%s %" PRIu64 " %" PRIu64,
		       full ? "full" : "some", stall_us, window_us);
	n = write(fd, text, (size_t)len + 1); /* the NUL ends it */
	if (n < 0 && errno == EINVAL)
		return err_set(e, -EINVAL,
			       "cgroup '%s': trigger '%s' of '%s' is refused: "
			       "without CAP_SYS_RESOURCE the window is a "
			       "multiple of 2 s",
			       cg->path, text, file_of(kind));
	if (n < 0)
		return err_sys(e, "cgroup '%s': write '%s' to '%s'", cg->path,
			       text, file_of(kind));
	*ret_fd = take_fd(&fd);
	return 0;
}
