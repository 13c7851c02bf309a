// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/auto.h"
#include "qmp/internal.h"

#define CONN_READ_BYTES     (64U << 10)
#define CONN_READS_PER_PUMP 8
#define CONN_OUT_MAX        (8U << 20)
#define CONN_KEEP_BYTES     (64U << 10)

int64_t conn_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t conn_deadline_ns(int timeout_ms)
{
	return conn_now_ns() + (int64_t)timeout_ms * 1000000;
}

/* A path that does not fit into sun_path is reached through its folder. */
static int fill_address(const char *path, struct sockaddr_un *sa, int *dirfd,
			struct err *e)
{
	const char *slash = strrchr(path, '/');
	auto_free char *dir = NULL;
	int n;

	if (strlen(path) < sizeof(sa->sun_path)) {
		memcpy(sa->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash)
		return err_set(e, -ENAMETOOLONG, "socket name '%s'", path);
	dir = strndup(path, (size_t)(slash - path) + 1);
	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	*dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd < 0)
		return err_sys(e, "open '%s'", dir);
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s",
		     *dirfd, slash + 1);
	if (n < 0 || (size_t)n >= sizeof(sa->sun_path))
		return err_set(e, -ENAMETOOLONG, "socket name '%s'", slash + 1);
	return 0;
}

int qmp_unix_connect(const char *path, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	auto_close int dirfd = -EBADF;
	auto_close int fd = -EBADF;
	int r;

	r = fill_address(path, &sa, &dirfd, e);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == EAGAIN)
			return err_set(e, -EBUSY,
				       "connect to '%s': others wait there",
				       path);
		return err_sys(e, "connect to '%s'", path);
	}
	return take_fd(&fd);
}

static int conn_make_epoll(struct conn *c, struct err *e)
{
	int fds[] = { c->fd, c->event_fd };

	for (size_t i = 0; i < 2; i++) {
		struct epoll_event ev = { .events = EPOLLIN,
					  .data.fd = fds[i] };

		if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fds[i], &ev) < 0)
			return err_sys(e, "epoll_ctl");
	}
	return 0;
}

int conn_init(struct conn *c, int fd, const struct conn_ops *ops,
	      const char *peer, size_t message_max, struct err *e)
{
	auto_close int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	auto_close int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	auto_close int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pthread_condattr_t attr;
	int flags, r;

	if (event_fd < 0 || wake_fd < 0 || epoll_fd < 0)
		return err_sys(e, "eventfd or epoll_create");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(e, "set the socket non-blocking");
	*c = (struct conn){ .ops = ops,
			    .peer = peer,
			    .fd = fd,
			    .event_fd = event_fd,
			    .wake_fd = wake_fd,
			    .epoll_fd = epoll_fd,
			    .out.max = CONN_OUT_MAX,
			    .message_max = message_max };
	r = conn_make_epoll(c, e);
	if (r < 0)
		return r;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->progress, &attr);
	pthread_condattr_destroy(&attr);
	take_fd(&event_fd);
	take_fd(&wake_fd);
	take_fd(&epoll_fd);
	return 0;
}

void conn_clear(struct conn *c)
{
	close(c->epoll_fd);
	close(c->event_fd);
	close(c->wake_fd);
	close(c->fd);
	buf_clear(&c->in);
	buf_clear(&c->out);
	pthread_cond_destroy(&c->progress);
	pthread_mutex_destroy(&c->lock);
}

int conn_fail(struct conn *c, int code, const char *fmt, ...)
{
	char text[ERR_MSG_SIZE];
	va_list ap;

	if (c->error)
		return c->error;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->error = err_set(&c->story, code, "%s", text);
	return code;
}

int conn_error(const struct conn *c, struct err *e)
{
	if (c->error && e)
		*e = c->story;
	return c->error;
}

static void eventfd_raise(int fd)
{
	uint64_t one = 1;

	/* Fails only when it is raised 2^64 - 1 times already. */
	(void)!write(fd, &one, sizeof(one));
}

static void eventfd_lower(int fd)
{
	uint64_t count;

	/* EAGAIN: was not raised. */
	(void)!read(fd, &count, sizeof(count));
}

void conn_set_readable(struct conn *c, bool readable)
{
	if (readable)
		eventfd_raise(c->event_fd);
	else
		eventfd_lower(c->event_fd);
}

static int conn_lost(struct conn *c)
{
	if (errno == EPIPE || errno == ECONNRESET)
		return conn_fail(c, -EPIPE, "%s has closed the connection",
				 c->peer);
	return conn_fail(c, -errno, "connection to %s: %s", c->peer,
			 strerror(errno));
}

static ssize_t send_some(int fd, const void *data, size_t len, int pass_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (pass_fd >= 0) {
		struct cmsghdr *cm;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &pass_fd, sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n;
}

static int conn_flush(struct conn *c)
{
	size_t sent = 0;

	while (sent < c->out.len) {
		ssize_t n = send_some(c->fd, c->out.data + sent,
				      c->out.len - sent, -1);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return conn_lost(c);
		sent += (size_t)n;
	}
	if (sent)
		buf_consume(&c->out, sent);
	return 0;
}

int conn_send(struct conn *c, const void *data, size_t len, int pass_fd)
{
	ssize_t n = 0;
	int r;

	if (c->error)
		return c->error;
	r = conn_flush(c);
	if (r < 0)
		return r;
	if (pass_fd >= 0 && c->out.len)
		return -EAGAIN;
	if (!c->out.len) {
		n = send_some(c->fd, data, len, pass_fd);
		if (n < 0 && errno != EAGAIN)
			return conn_lost(c);
		if (n < 0 && pass_fd >= 0)
			return -EAGAIN;
		if (n < 0)
			n = 0;
	}
	if ((size_t)n == len)
		return 0;
	if (c->out.len + len - (size_t)n > CONN_OUT_MAX)
		return -EBUSY;
	r = buf_add(&c->out, (const char *)data + n, len - (size_t)n);
	if (r < 0)
		return conn_fail(c, r, "out of memory");
	if (c->polling)
		eventfd_raise(c->wake_fd); /* it should wait for room, too */
	return 0;
}

/* Handle the whole lines of @in; leave the rest. Returns how many there were.
 */
static int conn_lines(struct conn *c)
{
	size_t begin = 0;
	int nr = 0, r = 0;

	while (c->in.len > c->scanned) {
		char *from = c->in.data + c->scanned;
		char *end = memchr(from, '\n', c->in.len - c->scanned);
		size_t len;

		if (!end) {
			c->scanned = c->in.len;
			break;
		}
		len = (size_t)(end - c->in.data) - begin;
		c->scanned = begin + len + 1;
		if (!c->skipping && len <= c->message_max)
			r = c->ops->message(c, c->in.data + begin, len);
		else if (!c->skipping)
			r = c->ops->oversize(c);
		c->skipping = false;
		begin = c->scanned;
		nr++;
		if (r < 0)
			break;
	}
	buf_consume(&c->in, begin);
	c->scanned -= begin;
	return r < 0 ? r : nr;
}

static int conn_take(struct conn *c)
{
	int r = conn_lines(c);

	if (r < 0)
		return r;
	if (c->skipping || c->in.len > c->message_max) {
		if (!c->skipping && c->ops->oversize(c) < 0)
			return c->error;
		c->skipping = true;
		buf_reset(&c->in);
		c->scanned = 0;
	}
	if (!c->in.len && c->in.size > CONN_KEEP_BYTES)
		buf_clear(&c->in);
	return r;
}

int conn_pump(struct conn *c)
{
	int handled = 0;

	if (c->error || conn_flush(c) < 0)
		return c->error;
	for (int i = 0; i < CONN_READS_PER_PUMP; i++) {
		void *to = buf_reserve(&c->in, CONN_READ_BYTES);
		ssize_t n;
		int r;

		if (!to)
			return conn_fail(c, -ENOMEM, "out of memory");
		n = recv(c->fd, to, CONN_READ_BYTES, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n == 0)
			errno = EPIPE;
		if (n <= 0) {
			conn_lost(c);
			break;
		}
		buf_commit(&c->in, (size_t)n);
		r = conn_take(c);
		if (r < 0)
			break;
		handled += r;
		if ((size_t)n < CONN_READ_BYTES)
			break;
	}
	if (!c->in.len && c->in.size)
		buf_clear(&c->in);
	if (c->error || handled) {
		pthread_cond_broadcast(&c->progress);
		if (c->polling)
			eventfd_raise(c->wake_fd);
	}
	return c->error;
}

static void conn_poll(struct conn *c, int64_t deadline_ns)
{
	struct pollfd pfd[2] = {
		{ .fd = c->fd,
		  .events = (short)(POLLIN | (c->out.len ? POLLOUT : 0)) },
		{ .fd = c->wake_fd, .events = POLLIN },
	};
	int64_t left_ns = deadline_ns - conn_now_ns();
	struct timespec left = { 0 };

	if (left_ns > 0) {
		left.tv_sec = left_ns / 1000000000;
		left.tv_nsec = left_ns % 1000000000;
	}
	c->polling = true;
	pthread_mutex_unlock(&c->lock);
	/* EINTR and time-outs are seen by whoever looks at the clock next. */
	(void)ppoll(pfd, 2, &left, NULL);
	pthread_mutex_lock(&c->lock);
	c->polling = false;
	eventfd_lower(c->wake_fd);
}

static void conn_sleep(struct conn *c, int64_t deadline_ns)
{
	struct timespec at = { .tv_sec = deadline_ns / 1000000000,
			       .tv_nsec = deadline_ns % 1000000000 };

	(void)pthread_cond_timedwait(&c->progress, &c->lock, &at);
}

int conn_wait(struct conn *c, bool (*done)(void *arg), void *arg,
	      int64_t deadline_ns)
{
	int r = 0;

	while (!done(arg)) {
		r = conn_pump(c);
		if (done(arg))
			r = 0;
		if (done(arg) || r < 0)
			break;
		if (conn_now_ns() >= deadline_ns) {
			r = -ETIMEDOUT;
			break;
		}
		if (c->polling)
			conn_sleep(c, deadline_ns);
		else
			conn_poll(c, deadline_ns);
	}
	if (done(arg))
		r = 0;
	/* Somebody else has to poll now. */
	pthread_cond_broadcast(&c->progress);
	return r;
}
