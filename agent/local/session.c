// SPDX-License-Identifier: Apache-2.0
/*
 * exec and attach. A thread opens the session with the backend, has the loop
 * hand the connection over, and then pumps: frames from the client to the
 * command's input, its outputs as frames to the client.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "agent/local/internal.h"
#include "agent/local/stream.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define CHUNK     (16 * 1024)
#define HIGH      (256 * 1024) /* unsent bytes: read no more outputs */
#define ARGS_MAX  256
#define LINGER_MS 500   /* for a terminal's last words after its end */
#define FLUSH_MS  10000 /* for a slow client's last words */

struct session {
	struct task t;
	struct message hand_over;
	bool attach;
	char *argv[ARGS_MAX];
	struct api_exec exec;
	struct api_session s;
	bool opened;

	/* The connection, once it is handed over. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool handed;
	int fd;
	struct buf in;  /* frames not yet complete */
	struct buf out; /* frames not yet sent */
	struct buf to;  /* input not yet taken by the command */
	bool in_end;    /* close its input after that */
	bool done;      /* the command has ended */
};

/* --- handing over (on the loop) --------------------------------------------
 */

static void hand_over(struct message *m)
{
	struct session *s =
		(struct session *)((char *)m -
				   offsetof(struct session, hand_over));
	int fd = -EBADF;

	http_on_end(s->t.req, NULL, NULL);
	if (!http_gone(s->t.req) && !atomic_load(&s->t.api->stopping))
		(void)http_take(s->t.req, STREAM_PROTOCOL, &fd, &s->in, NULL);
	pthread_mutex_lock(&s->lock);
	s->fd = fd;
	s->handed = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void get_connection(struct session *s)
{
	s->hand_over.fn = hand_over;
	api_send(s->t.api, &s->hand_over);
	pthread_mutex_lock(&s->lock);
	while (!s->handed)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* --- pumping (in the thread) -----------------------------------------------
 */

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

static void close_input(struct session *s)
{
	if (s->s.in_fd >= 0 && s->s.in_fd == s->s.out_fd)
		s->s.in_fd = -EBADF; /* a terminal: closed as output */
	close_end(&s->s.in_fd);
	buf_reset(&s->to);
}

static void close_output(struct session *s, int *fd)
{
	if (*fd >= 0 && *fd == s->s.in_fd)
		s->s.in_fd = -EBADF;
	close_end(fd);
}

static int take_frame(struct session *s, const struct stream_frame *f)
{
	uint16_t rows, cols;

	switch (f->channel) {
	case STREAM_IN:
		if (!f->len)
			s->in_end = true;
		else if (!s->in_end && s->s.in_fd >= 0)
			return buf_add(&s->to, f->data, f->len);
		return 0;
	case STREAM_RESIZE:
		if (stream_size(f, &rows, &cols) < 0)
			return -EBADMSG;
		if (s->s.tty && s->s.out_fd >= 0) {
			struct winsize ws = { .ws_row = rows, .ws_col = cols };

			(void)ioctl(s->s.out_fd, TIOCSWINSZ, &ws);
		}
		return 0;
	default:
		return -EBADMSG; /* ours to send, not to get */
	}
}

static int take_frames(struct session *s)
{
	struct stream_frame f;
	int r;

	for (;;) {
		r = stream_parse(buf_str(&s->in), s->in.len, &f);
		if (r <= 0)
			return r;
		if (take_frame(s, &f) < 0)
			return -EBADMSG;
		buf_consume(&s->in, (size_t)r);
	}
}

/* 0, or -errno: the client has gone or talks nonsense. */
static int read_client(struct session *s)
{
	char *to = buf_reserve(&s->in, CHUNK);
	ssize_t n;

	if (!to)
		return -ENOMEM;
	n = recv(s->fd, to, CHUNK, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	buf_commit(&s->in, (size_t)n);
	return take_frames(s);
}

static int write_client(struct session *s)
{
	ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	buf_consume(&s->out, (size_t)n);
	return 0;
}

static void write_input(struct session *s)
{
	ssize_t n = write(s->s.in_fd, s->to.data, s->to.len);

	if (n > 0)
		buf_consume(&s->to, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		close_input(s); /* it does not want more */
}

/* 1 when something came, 0 when not; closes *@fd at its end. */
static int read_output(struct session *s, int *fd, enum stream_channel ch)
{
	char chunk[CHUNK];
	ssize_t n;

	if (*fd < 0)
		return 0;
	n = read(*fd, chunk, sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) { /* EIO: the end of a terminal */
		close_output(s, fd);
		return 0;
	}
	return stream_put(&s->out, ch, chunk, (size_t)n) < 0 ? -ENOMEM : 1;
}

enum { P_CLIENT, P_IN, P_OUT, P_ERR, P_DONE, P_STOP, P_NR };

static void want(struct session *s, struct pollfd p[P_NR])
{
	bool room = s->out.len < HIGH;

	for (int i = 0; i < P_NR; i++)
		p[i] = (struct pollfd){ .fd = -1 };
	p[P_CLIENT].fd = s->fd;
	p[P_CLIENT].events =
		(s->to.len < HIGH ? POLLIN : 0) | (s->out.len ? POLLOUT : 0);
	if (s->to.len && s->s.in_fd >= 0)
		p[P_IN] = (struct pollfd){ s->s.in_fd, POLLOUT, 0 };
	if (room && s->s.out_fd >= 0)
		p[P_OUT] = (struct pollfd){ s->s.out_fd, POLLIN, 0 };
	if (room && s->s.err_fd >= 0)
		p[P_ERR] = (struct pollfd){ s->s.err_fd, POLLIN, 0 };
	if (!s->done && s->s.done_fd >= 0)
		p[P_DONE] = (struct pollfd){ s->s.done_fd, POLLIN, 0 };
	p[P_STOP] = (struct pollfd){ s->t.api->stopfd, POLLIN, 0 };
}

static int pump_once(struct session *s, struct pollfd p[P_NR])
{
	int r = 0;

	if (p[P_STOP].revents)
		return -ESHUTDOWN;
	if (p[P_CLIENT].revents & (POLLIN | POLLHUP | POLLERR))
		r = read_client(s);
	if (r == 0 && p[P_IN].revents && s->s.in_fd >= 0)
		write_input(s);
	if (r == 0 && p[P_OUT].revents)
		r = read_output(s, &s->s.out_fd, STREAM_OUT) < 0 ? -ENOMEM : 0;
	if (r == 0 && p[P_ERR].revents)
		r = read_output(s, &s->s.err_fd, STREAM_ERR) < 0 ? -ENOMEM : 0;
	if (p[P_DONE].revents)
		s->done = true;
	if (r == 0 && s->out.len)
		r = write_client(s);
	return r;
}

static uint64_t clock_ms(void)
{
	return ev_clock_ms();
}

/* The command has ended: what it wrote before is still in the pipes. Whoever
 * holds them open beyond its end is not waited for, but a terminal passes
 * things on with a delay. */
static int last_words(struct session *s)
{
	uint64_t end = clock_ms() + LINGER_MS;

	for (;;) {
		struct pollfd p[2] = { { s->s.out_fd, POLLIN, 0 },
				       { s->s.err_fd, POLLIN, 0 } };
		int a, b;

		if (s->s.out_fd < 0 && s->s.err_fd < 0)
			return 0;
		if (s->s.tty && poll(p, 2, 20) < 0 && errno != EINTR)
			return -errno;
		a = read_output(s, &s->s.out_fd, STREAM_OUT);
		b = read_output(s, &s->s.err_fd, STREAM_ERR);
		if (a < 0 || b < 0)
			return -ENOMEM;
		if (!a && !b && (!s->s.tty || clock_ms() > end))
			return 0;
		if (s->out.len > 64 * HIGH) /* it will not end */
			return 0;
	}
}

static int flush(struct session *s)
{
	uint64_t end = clock_ms() + FLUSH_MS;

	while (s->out.len) {
		struct pollfd p[2] = { { s->fd, POLLOUT, 0 },
				       { s->t.api->stopfd, POLLIN, 0 } };
		uint64_t now = clock_ms();
		int r;

		if (now >= end)
			return -ETIMEDOUT;
		if (poll(p, 2, (int)(end - now)) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			return -ESHUTDOWN;
		r = write_client(s);
		if (r < 0)
			return r;
	}
	return 0;
}

static void say_end(struct session *s)
{
	const struct api *api = s->t.api;
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	struct err e = { 0 };
	int code = 0, r = 0;

	if (api->o.backend->session_result)
		r = api->o.backend->session_result(api->o.arg, s->s.cookie,
						   &code, &e);
	json_put_object(&o, NULL);
	if (r < 0)
		json_put_str(&o, "message", e.msg[0] ? e.msg : strerror(-r));
	else
		json_put_i64(&o, "exitCode", code);
	json_put_end(&o);
	if (stream_put(&s->out, STREAM_END, buf_str(&b), b.len) == 0)
		(void)flush(s); /* if the client has gone, it does not care */
}

static void pump(struct session *s)
{
	struct pollfd p[P_NR];
	int r = take_frames(s); /* what came with the request */

	while (r == 0 && !s->done) {
		/* A terminal's end is a character, not a closed descriptor. */
		if (s->in_end && !s->to.len && s->s.in_fd != s->s.out_fd)
			close_input(s);
		want(s, p);
		if (poll(p, P_NR, -1) < 0) {
			if (errno != EINTR)
				return;
			continue;
		}
		r = pump_once(s, p);
		if (s->s.done_fd < 0 && s->s.out_fd < 0)
			s->done = true;
	}
	if (r == 0)
		r = last_words(s);
	if (r == 0)
		say_end(s);
}

/* --- the session -----------------------------------------------------------
 */

static void set_nonblocking(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static int open_session(struct session *s)
{
	const struct api_backend *b = s->t.api->o.backend;
	void *arg = s->t.api->o.arg;

	s->s = (struct api_session){ -1, -1, -1, -1, false, NULL };
	if (s->attach) {
		s->exec.console = true;
		return b->pod_attach(arg, &s->exec, &s->s, &s->t.err);
	}
	return b->pod_exec(arg, &s->exec, &s->s, &s->t.err);
}

static void run(struct task *t)
{
	struct session *s = (struct session *)t;

	t->r = open_session(s);
	if (t->r < 0)
		return;
	s->opened = true;
	set_nonblocking(s->s.in_fd);
	set_nonblocking(s->s.out_fd);
	set_nonblocking(s->s.err_fd);
	get_connection(s);
	if (s->fd >= 0)
		pump(s);
	close_input(s);
	close_output(s, &s->s.out_fd);
	close_output(s, &s->s.err_fd);
	close_end(&s->s.done_fd);
	if (t->api->o.backend->session_close)
		t->api->o.backend->session_close(t->api->o.arg, s->s.cookie);
	close_end(&s->fd);
}

static void release(struct task *t)
{
	struct session *s = (struct session *)t;

	buf_clear(&s->in);
	buf_clear(&s->out);
	buf_clear(&s->to);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}

static void finish(struct task *t)
{
	struct session *s = (struct session *)t;

	if (s->opened)
		task_free(t); /* the connection was taken, or is gone */
	else
		task_finish(t);
}

static int read_request(struct session *s, struct err *e)
{
	const struct route *r = &s->t.route;
	struct api_exec *x = &s->exec;
	int64_t rows = 0, cols = 0;
	int code;

	*x = (struct api_exec){ .pod = route_pod(r),
				.container = url_param(&r->url, "container"),
				.tty = url_flag(&r->url, "tty"),
				.in = url_flag(&r->url, "stdin"),
				.argv = { .v = s->argv } };
	for (size_t i = 0; i < r->url.nr_params && !s->attach; i++) {
		if (!str_eq(r->url.param[i].name, "command"))
			continue;
		if (x->argv.nr == ARGS_MAX - 1)
			return err_set(e, -E2BIG, "too many arguments");
		s->argv[x->argv.nr++] =
			(char *)(uintptr_t)r->url.param[i].value;
	}
	if (!s->attach && (!x->argv.nr || !s->argv[0][0]))
		return err_set(e, -EBADMSG, "command: is required");
	code = route_number(r, "rows", 0, UINT16_MAX, &rows, e);
	if (code == 0)
		code = route_number(r, "columns", 0, UINT16_MAX, &cols, e);
	x->rows = (uint16_t)rows;
	x->cols = (uint16_t)cols;
	return code;
}

static int check_upgrade(const struct session *s, struct err *e)
{
	const struct api_backend *b = s->t.api->o.backend;
	const char *upgrade = s->t.req->head->upgrade;

	if (s->attach ? !b->pod_attach : !b->pod_exec)
		return err_set(e, -EOPNOTSUPP, "this agent cannot do that");
	if (!upgrade || !h1_has_token(upgrade, STREAM_PROTOCOL))
		return err_set(
			e, -EBADMSG,
			"send 'Connection: Upgrade' and 'Upgrade: " STREAM_PROTOCOL
			"'");
	return 0;
}

void handle_session(struct api *api, struct http_req *req, struct route *r)
{
	struct session *s = (struct session *)task_new(api, req, r, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return;
	s->fd = -EBADF;
	s->attach = s->t.route.op == ROUTE_POD_ATTACH;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	s->t.run = run;
	s->t.release = release;
	s->t.r = check_upgrade(s, &s->t.err);
	if (s->t.r == 0)
		s->t.r = read_request(s, &s->t.err);
	if (s->t.r < 0) {
		task_finish(&s->t);
		return;
	}
	s->t.finish = finish;
	task_start_long(&s->t);
}
