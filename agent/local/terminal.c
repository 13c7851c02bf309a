// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "agent/local/stream.h"
#include "agent/local/terminal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"

#define CHUNK      (16 * 1024)
#define HIGH       (256 * 1024) /* unsent input: read no more of it */
#define DETACH_KEY 0x1d         /* Ctrl-] */

struct terminal {
	struct terminal_opts o;
	int fd;
	int sigfd; /* SIGWINCH, and those that would leave the tty raw */
	struct buf *in;
	struct buf out;
	bool in_open;
	bool over;
	int code;
	struct termios before;
	bool is_raw;
	struct err *e;
};

void terminal_size(uint16_t *ret_rows, uint16_t *ret_cols)
{
	struct winsize ws = { 0 };

	(void)ioctl(STDIN_FILENO, TIOCGWINSZ, &ws); /* no terminal: zeros */
	*ret_rows = ws.ws_row;
	*ret_cols = ws.ws_col;
}

static void make_raw(struct terminal *t)
{
	struct termios raw;

	if (!t->o.raw || tcgetattr(STDIN_FILENO, &t->before) < 0)
		return;
	raw = t->before;
	cfmakeraw(&raw);
	t->is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void restore(struct terminal *t)
{
	if (t->is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

static void send_size(struct terminal *t)
{
	uint16_t rows, cols;

	terminal_size(&rows, &cols);
	if (t->o.raw && rows)
		stream_put_size(&t->out, rows, cols);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = { fd, POLLOUT, 0 };

			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
			continue;
		}
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int take_end(struct terminal *t, const struct stream_frame *f)
{
	const char *why = NULL;
	int64_t code = 255;
	yyjson_doc *doc;
	int r;

	r = json_parse(f->data, f->len, &doc, t->e);
	if (r < 0)
		return r;
	struct json_ref root = json_root(doc);
	struct json_ref c = json_get(&root, "exitCode");
	struct json_ref m = json_get(&root, "message");

	(void)json_opt_i64(&c, 0, 255, &code, NULL);
	(void)json_opt_str(&m, &why, NULL);
	if (why)
		r = err_set(t->e, -EREMOTEIO, "%s", why);
	t->code = (int)code;
	t->over = true;
	yyjson_doc_free(doc);
	return r;
}

static int take_frames(struct terminal *t)
{
	struct stream_frame f;
	int r, n;

	for (;;) {
		n = stream_parse(buf_str(t->in), t->in->len, &f);
		if (n == 0)
			return 0;
		if (n < 0)
			return err_set(t->e, n, "the agent sent nonsense");
		if (f.channel == STREAM_END)
			r = take_end(t, &f);
		else if (f.channel == STREAM_OUT || f.channel == STREAM_ERR)
			r = write_all(f.channel == STREAM_OUT ? STDOUT_FILENO
							      : STDERR_FILENO,
				      f.data, f.len);
		else
			r = -EBADMSG;
		buf_consume(t->in, (size_t)n);
		if (r < 0)
			return t->e->msg[0]
				       ? r
				       : err_set(t->e, r,
						 "the session has ended: %s",
						 strerror(-r));
	}
}

static int read_stream(struct terminal *t)
{
	char *to = buf_reserve(t->in, CHUNK);
	ssize_t n;

	if (!to)
		return err_set(t->e, -ENOMEM, "out of memory");
	n = recv(t->fd, to, CHUNK, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return err_set(t->e, -ECONNRESET,
			       "the agent closed the connection");
	buf_commit(t->in, (size_t)n);
	return take_frames(t);
}

static int write_stream(struct terminal *t)
{
	ssize_t n = send(t->fd, t->out.data, t->out.len,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0)
		buf_consume(&t->out, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR && errno != EPIPE)
		return err_sys(t->e, "send");
	else if (errno == EPIPE)
		buf_reset(&t->out); /* what it still says will be read */
	return 0;
}

static int read_input(struct terminal *t)
{
	char chunk[CHUNK];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
	char *key = NULL;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		t->in_open = false;
		return stream_put(&t->out, STREAM_IN, "", 0);
	}
	if (t->o.detach)
		key = memchr(chunk, DETACH_KEY, (size_t)n);
	if (key) {
		t->over = true;
		n = key - chunk;
	}
	return n ? stream_put(&t->out, STREAM_IN, chunk, (size_t)n) : 0;
}

static void take_signal(struct terminal *t)
{
	struct signalfd_siginfo info;

	if (read(t->sigfd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		send_size(t);
		return;
	}
	t->over = true;
	t->code = 128 + (int)info.ssi_signo;
}

static int step(struct terminal *t)
{
	bool read_in = t->in_open && t->out.len < HIGH;
	struct pollfd p[] = {
		{ t->fd, (short)(POLLIN | (t->out.len ? POLLOUT : 0)), 0 },
		{ read_in ? STDIN_FILENO : -1, POLLIN, 0 },
		{ t->sigfd, POLLIN, 0 },
	};
	int r = 0;

	if (poll(p, 3, -1) < 0)
		return errno == EINTR ? 0 : err_sys(t->e, "poll");
	if (p[2].revents)
		take_signal(t);
	if (p[1].revents)
		r = read_input(t);
	if (r == 0 && t->out.len)
		r = write_stream(t);
	if (r == 0 && p[0].revents & (POLLIN | POLLHUP | POLLERR))
		r = read_stream(t);
	return r;
}

int terminal_run(int fd, struct buf *early, const struct terminal_opts *o,
		 int *ret_code, struct err *e)
{
	struct terminal t = { .o = *o, .fd = fd, .in = early, .e = e };
	sigset_t set, before;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, &before);
	t.sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	t.in_open = o->in;
	make_raw(&t);
	send_size(&t);
	r = take_frames(&t);
	while (r == 0 && !t.over)
		r = step(&t);
	restore(&t);
	if (t.sigfd >= 0)
		close(t.sigfd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	buf_clear(&t.out);
	if (r == 0)
		*ret_code = t.code;
	return r;
}
