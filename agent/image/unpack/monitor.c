// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/image/entry.h"
#include "agent/image/unpack/monitor.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"

#define CHUNK (128 * 1024)

struct feeding {
	struct monitor *m;
	struct digest digest;
	char *chunk;
	size_t len, at;
	bool ended; /* of the archive */
	bool done;  /* the sandbox has reported */
	struct buf in;
	struct layer_result result;
	struct err verdict;
};

int frame_send(int fd, enum frame_type type, const void *data, size_t len)
{
	struct frame f = { .type = (uint8_t)type, .len = (uint16_t)len };
	char whole[sizeof(f) + ENTRY_PATH_MAX + 1];

	if (len > sizeof(whole) - sizeof(f))
		return -EMSGSIZE;
	memcpy(whole, &f, sizeof(f));
	memcpy(whole + sizeof(f), data, len);
	/* At most PIPE_BUF bytes: written whole or not at all. */
	return write(fd, whole, sizeof(f) + len) < 0 ? -errno : 0;
}

/* Both spellings: overlayfs reads the one that fits how it is mounted. */
static int mark_opaque(struct feeding *f, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	auto_close int fd = (int)syscall(SYS_openat2, f->m->root,
					 *path ? path : ".", &how, sizeof(how));

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return -errno;
	if (fsetxattr(fd, "user.overlay.opaque", "y", 1, 0) < 0 &&
	    errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

static int take_frame(struct feeding *f, const struct frame *h,
		      const char *data)
{
	uint64_t bytes;

	switch (h->type) {
	case FRAME_OPAQUE:
		if (h->len == 0 || h->len > ENTRY_PATH_MAX + 1 ||
		    data[h->len - 1] != '\0')
			return -EPROTO;
		return mark_opaque(f, data);
	case FRAME_PROGRESS:
		if (h->len != sizeof(bytes))
			return -EPROTO;
		memcpy(&bytes, data, sizeof(bytes));
		dprintf(f->m->report, "at %" PRIu64 "\n", bytes);
		return 0;
	case FRAME_RESULT:
		if (h->len != sizeof(f->result))
			return -EPROTO;
		memcpy(&f->result, data, sizeof(f->result));
		f->result.diff_id[sizeof(f->result.diff_id) - 1] = '\0';
		f->done = digest_is_valid(f->result.diff_id);
		return f->done ? 0 : -EPROTO;
	case FRAME_ERROR:
		if (h->len != sizeof(f->verdict))
			return -EPROTO;
		memcpy(&f->verdict, data, sizeof(f->verdict));
		f->verdict.msg[sizeof(f->verdict.msg) - 1] = '\0';
		return f->verdict.code < 0 ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

static int take_frames(struct feeding *f)
{
	struct frame h;
	int r = 0;

	while (r == 0 && f->in.len >= sizeof(h)) {
		memcpy(&h, f->in.data, sizeof(h));
		if (f->in.len < sizeof(h) + h.len)
			break;
		r = take_frame(f, &h, f->in.data + sizeof(h));
		buf_consume(&f->in, sizeof(h) + h.len);
	}
	return r;
}

/* 1: more may come, 0: the sandbox has closed its end. */
static int read_back(struct feeding *f)
{
	char *to = buf_reserve(&f->in, 8192);
	ssize_t n = to ? read(f->m->back, to, 8192) : 0;
	int r;

	if (!to)
		return -ENOMEM;
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	if (n == 0)
		return 0;
	buf_commit(&f->in, (size_t)n);
	r = take_frames(f);
	return r < 0 ? r : 1;
}

static int read_archive(struct feeding *f)
{
	ssize_t n;

	do
		n = read(f->m->archive, f->chunk, CHUNK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	digest_add(&f->digest, f->chunk, (size_t)n);
	f->ended = n == 0;
	f->len = (size_t)n;
	f->at = 0;
	return 0;
}

static void stop_feeding(struct feeding *f)
{
	close(take_fd(&f->m->feed));
}

static int feed(struct feeding *f)
{
	ssize_t n;
	int r;

	if (f->at == f->len) {
		r = read_archive(f);
		if (r < 0)
			return r;
		if (f->ended) {
			stop_feeding(f);
			return 0;
		}
	}
	n = write(f->m->feed, f->chunk + f->at, f->len - f->at);
	if (n > 0)
		f->at += (size_t)n;
	else if (errno == EPIPE)
		stop_feeding(f);
	else if (errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

static int serve(struct feeding *f, struct err *e)
{
	int r = 1;

	while (r > 0) {
		struct pollfd p[2] = {
			{ .fd = f->m->back, .events = POLLIN },
			{ .fd = f->m->feed, .events = POLLOUT },
		};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (p[1].revents) {
			r = feed(f);
			if (r < 0)
				return err_wrap(e, r, "feed the sandbox");
			r = 1;
		}
		if (p[0].revents)
			r = read_back(f);
	}
	if (r == -EPROTO)
		return err_set(e, -EPERM, "the sandbox was taken over");
	return r < 0 ? err_wrap(e, r, "mark opaque folders") : 0;
}

/* How the sandbox ended, if it did not tell. */
static int judge_end(struct feeding *f, int status, struct err *e)
{
	if (f->verdict.code)
		return err_set(e, f->verdict.code, "%s", f->verdict.msg);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return err_set(e, -EPERM,
			       "the sandbox was taken over: forbidden system "
			       "call");
	if (WIFSIGNALED(status))
		return err_set(e, -EFBIG,
			       "the sandbox was killed by signal %d: out of "
			       "time or memory",
			       WTERMSIG(status));
	if (!f->done)
		return err_set(e, -EPERM, "the sandbox ended without a word");
	return 0;
}

int monitor_run(struct monitor *m, struct layer_result *ret,
		char ret_digest[DIGEST_TEXT_MAX], struct err *e)
{
	struct feeding f = { .m = m };
	int status = 0, r = -ENOMEM;

	f.chunk = malloc(CHUNK);
	digest_begin(&f.digest);
	if (f.chunk)
		r = serve(&f, e);
	if (r < 0)
		(void)kill(m->child, SIGKILL); /* nothing it says counts now */
	while (waitpid(m->child, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0)
		r = judge_end(&f, status, e);
	/* What the sandbox did not care to read is part of the digest, too. */
	while (r == 0 && !f.ended) {
		r = read_archive(&f);
		if (r < 0)
			r = err_wrap(e, r, "read the archive");
	}
	if (r == 0)
		r = digest_end(&f.digest, ret_digest);
	if (r == 0)
		*ret = f.result;
	digest_drop(&f.digest);
	free(f.chunk);
	buf_clear(&f.in);
	return r;
}
