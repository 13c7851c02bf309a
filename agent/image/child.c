// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/spawn.h"

#define TICK_MS     200
#define OUT_MAX     (8 * 1024 * 1024)
#define ERRORS_KEPT (64 * 1024)

struct running {
	const struct child *c;
	struct spawn_child proc;
	int out, errors; /* our ends of its pipes */
};

/* Into a buffer with a limit; *@fd is closed at the end of file. */
static int drain(int *fd, struct buf *b, size_t max)
{
	char *to = buf_reserve(b, 16384);
	ssize_t n = to ? read(*fd, to, 16384) : -1;

	if (!to)
		return -ENOMEM;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		close(take_fd(fd));
		return 0;
	}
	buf_commit(b, (size_t)n);
	return b->len > max ? -EFBIG : 0;
}

static int pump(struct running *run, struct buf *out, struct buf *errors,
		struct err *e)
{
	const struct child *c = run->c;
	int r = 0;

	while (r == 0 && (run->out >= 0 || run->errors >= 0)) {
		struct pollfd p[2] = {
			{ .fd = run->out, .events = POLLIN },
			{ .fd = run->errors, .events = POLLIN },
		};

		if (poll(p, 2, TICK_MS) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (p[0].revents)
			r = drain(&run->out, out, OUT_MAX);
		if (r == 0 && p[1].revents)
			r = drain(&run->errors, errors, OUT_MAX);
		/* The last words tell what went wrong. */
		if (errors->len > ERRORS_KEPT)
			buf_consume(errors, errors->len - ERRORS_KEPT / 2);
		if (c->cancel && atomic_load(c->cancel))
			return err_set(e, -ECANCELED, "cancelled");
		if (c->tick)
			c->tick(c->arg, out);
	}
	return r < 0 ? err_wrap(e, r, "output of '%s'", c->argv[0]) : 0;
}

static int start(struct running *run, struct err *e)
{
	int out[2], errors[2];
	struct spawn_fd fds[3];
	struct spawn_opts o = { .argv = run->c->argv, .fds = fds };
	int r;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	if (pipe2(errors, O_CLOEXEC) < 0) {
		r = err_sys(e, "pipe");
		close(out[0]);
		close(out[1]);
		return r;
	}
	fds[o.nr_fds++] = (struct spawn_fd){ .from = out[1], .to = 1 };
	fds[o.nr_fds++] = (struct spawn_fd){ .from = errors[1], .to = 2 };
	if (run->c->in >= 0)
		fds[o.nr_fds++] =
			(struct spawn_fd){ .from = run->c->in, .to = 0 };
	r = spawn_start(&o, &run->proc, e);
	close(out[1]);
	close(errors[1]);
	run->out = out[0];
	run->errors = errors[0];
	return r;
}

int child_run(const struct child *c, struct buf *out, struct buf *errors,
	      int *ret_status, struct err *e)
{
	struct running run = { .c = c, .out = -EBADF, .errors = -EBADF };
	int r = start(&run, e);

	if (r == 0) {
		r = pump(&run, out, errors, e);
		if (r == 0)
			r = spawn_wait(&run.proc, -1, ret_status, e);
		if (r < 0)
			spawn_kill(&run.proc);
	}
	auto_close_(&run.out);
	auto_close_(&run.errors);
	return r;
}
