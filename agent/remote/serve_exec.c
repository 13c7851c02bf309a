// SPDX-License-Identifier: Apache-2.0
/* exec and attach: a command in a container or in a VM's guest, a VM's serial
 * console, a container's main process. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/remote/server.h"
#include "lib/http/stream.h"
#include "lib/str.h"

#define ARGS_MAX  1024
#define LINGER_MS 30 /* a terminal passes on its last words with a delay */

struct session {
	struct job_thread job;
	struct server *s;
	struct http_req *req; /* referenced; NULL once it is a stream */
	struct serve_path path;
	bool attach;
	struct stream_opts opts;
	char *argv[ARGS_MAX + 1];
	struct api_exec exec;
	struct api_session io;
	bool opened, result_asked, gone;
	unsigned busy;         /* threads that use it */
	struct stream *stream; /* NULL: not yet, or no more */
	struct ev_io in_io, out_io, err_io, done_io;
	struct ev_timer linger;
	struct buf to; /* for its standard input */
	bool in_end;
	int code, exit_code;
	struct err e;
};

static void close_fd(struct ev_io *io, int *fd)
{
	ev_io_del(io);
	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
}

static void close_all(struct session *x)
{
	close_fd(&x->in_io, &x->io.in_fd);
	close_fd(&x->out_io, &x->io.out_fd);
	close_fd(&x->err_io, &x->io.err_fd);
	close_fd(&x->done_io, &x->io.done_fd);
	ev_timer_del(&x->linger);
}

static void session_free(struct session *x)
{
	close_all(x);
	http_req_unref(x->req);
	serve_path_clear(&x->path);
	buf_clear(&x->to);
	free(x);
}

/* --- its end --- */

static void closed(struct job_thread *j)
{
	session_free((struct session *)j);
}

static void close_run(struct job_thread *j)
{
	struct session *x = (struct session *)j;
	const struct remote_opts *o = &j->s->r->o;

	if (x->opened && x->io.cookie)
		o->backend->session_close(o->backend_arg, x->io.cookie);
}

/* No thread works for it any more, and nobody listens. */
static void session_end(struct session *x)
{
	close_all(x);
	x->job.run = close_run;
	x->job.done = closed;
	/* When all is being stopped it is done here. */
	if (serve_job(x->s, &x->job) < 0) {
		close_run(&x->job);
		session_free(x);
	}
}

static void result_run(struct job_thread *j)
{
	struct session *x = (struct session *)j;
	const struct remote_opts *o = &j->s->r->o;

	if (x->io.cookie)
		x->code =
			o->backend->session_result(o->backend_arg, x->io.cookie,
						   &x->exit_code, &x->e);
}

static void result_done(struct job_thread *j)
{
	struct session *x = (struct session *)j;

	x->busy--;
	if (x->gone) {
		if (!x->busy)
			session_end(x);
		return;
	}
	if (x->code < 0)
		stream_fail(x->stream, x->e.msg);
	else
		stream_exit(x->stream, x->exit_code);
}

/* It has ended, and all it said has been passed on. */
static void ask_result(struct session *x)
{
	if (x->result_asked || x->gone)
		return;
	x->result_asked = true;
	close_all(x);
	x->job.run = result_run;
	x->job.done = result_done;
	if (serve_job(x->s, &x->job) == 0)
		x->busy++;
	else
		stream_abort(x->stream);
}

/* --- output --- */

static bool too_much(const struct session *x)
{
	return stream_backlog(x->stream) > SERVE_HIGH;
}

static void watch_output(struct session *x, bool on)
{
	if (x->io.out_fd >= 0)
		(void)ev_io_set(&x->out_io, on ? EPOLLIN : 0);
	if (x->io.err_fd >= 0)
		(void)ev_io_set(&x->err_io, on ? EPOLLIN : 0);
}

/* Bytes passed on; 0: none now. Closes at the end. */
static ssize_t pass_on(struct session *x, struct ev_io *io, int *fd,
		       enum stream_out to)
{
	char *chunk = x->s->chunk;
	ssize_t n = *fd < 0 ? 0 : read(*fd, chunk, SERVE_CHUNK);

	if (*fd < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	if (n <= 0) { /* EIO: the end of a terminal */
		close_fd(io, fd);
		return 0;
	}
	(void)stream_write(x->stream, to, chunk, (size_t)n);
	return n;
}

static void output(struct session *x, struct ev_io *io, int *fd,
		   enum stream_out to)
{
	(void)pass_on(x, io, fd, to);
	if (x->gone)
		return;
	if (x->io.done_fd < 0 && x->io.out_fd < 0 && x->io.err_fd < 0)
		ask_result(x);
	else if (too_much(x))
		watch_output(x, false);
}

static void out_ready(void *arg, uint32_t events)
{
	struct session *x = arg;

	(void)events;
	output(x, &x->out_io, &x->io.out_fd, STREAM_STDOUT);
}

static void err_ready(void *arg, uint32_t events)
{
	struct session *x = arg;

	(void)events;
	output(x, &x->err_io, &x->io.err_fd, STREAM_STDERR);
}

/* What it wrote before it ended is still in the pipes; who holds them open
 * beyond its end is not waited for. */
static void last_words(void *arg)
{
	struct session *x = arg;
	ssize_t n;

	do {
		n = pass_on(x, &x->out_io, &x->io.out_fd, STREAM_STDOUT);
		n += pass_on(x, &x->err_io, &x->io.err_fd, STREAM_STDERR);
	} while (n > 0 && !x->gone &&
		 stream_backlog(x->stream) < 64 * SERVE_HIGH);
	if (!x->gone)
		ask_result(x);
}

static void done_ready(void *arg, uint32_t events)
{
	struct session *x = arg;

	(void)events;
	ev_io_del(&x->done_io);
	if (!x->io.tty ||
	    ev_timer_set(x->s->loop, &x->linger, LINGER_MS, last_words, x) < 0)
		last_words(x);
}

/* --- input --- */

static void write_input(struct session *x)
{
	while (x->to.len && x->io.in_fd >= 0) {
		ssize_t n = write(x->io.in_fd, x->to.data, x->to.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* it wants no more */
			close_fd(&x->in_io, &x->io.in_fd);
			buf_reset(&x->to);
			break;
		}
		buf_consume(&x->to, (size_t)n);
	}
	if (x->io.in_fd >= 0)
		(void)ev_io_set(&x->in_io, x->to.len ? EPOLLOUT : 0);
	if (x->stream)
		stream_pause(x->stream, x->to.len > SERVE_HIGH);
	/* The end of a terminal's input is a character, not a closed end. */
	if (x->in_end && !x->to.len && !x->io.tty && x->io.in_fd >= 0)
		close_fd(&x->in_io, &x->io.in_fd);
}

static void in_ready(void *arg, uint32_t events)
{
	(void)events;
	write_input(arg);
}

static void on_input(void *arg, struct stream *st, const void *data, size_t len)
{
	struct session *x = arg;

	(void)st;
	if (x->io.in_fd < 0)
		return;
	(void)buf_add(&x->to, data, len);
	write_input(x);
}

static void on_input_end(void *arg, struct stream *st)
{
	struct session *x = arg;

	(void)st;
	x->in_end = true;
	write_input(x);
}

static void on_resize(void *arg, struct stream *st, uint16_t cols,
		      uint16_t rows)
{
	struct session *x = arg;
	struct winsize ws = { .ws_row = rows, .ws_col = cols };

	(void)st;
	if (!x->io.tty)
		return;
	/* Attached, what it writes comes another way than what it reads. */
	if (x->io.in_fd >= 0)
		(void)ioctl(x->io.in_fd, TIOCSWINSZ, &ws);
	else if (x->io.out_fd >= 0)
		(void)ioctl(x->io.out_fd, TIOCSWINSZ, &ws);
}

static void on_drain(void *arg, struct stream *st)
{
	(void)st;
	watch_output(arg, true);
}

static void on_gone(void *arg, struct stream *st)
{
	struct session *x = arg;

	(void)st;
	x->gone = true;
	x->stream = NULL;
	close_all(x);
	if (!x->busy)
		session_end(x);
}

/* --- its begin --- */

static int watch(struct session *x, struct ev_io *io, int fd, uint32_t events,
		 void (*fn)(void *arg, uint32_t events))
{
	if (fd < 0)
		return 0;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return ev_io_add(x->s->loop, io, fd, events, fn, x, &x->e);
}

static void on_begin(void *arg, struct stream *st)
{
	struct session *x = arg;
	int r;

	/* One descriptor both ways cannot be watched twice. */
	if (x->io.in_fd >= 0 && x->io.in_fd == x->io.out_fd)
		x->io.in_fd = fcntl(x->io.out_fd, F_DUPFD_CLOEXEC, 3);
	r = watch(x, &x->in_io, x->io.in_fd, 0, in_ready);
	if (r == 0)
		r = watch(x, &x->out_io, x->io.out_fd, EPOLLIN, out_ready);
	if (r == 0)
		r = watch(x, &x->err_io, x->io.err_fd, EPOLLIN, err_ready);
	if (r == 0 && x->io.done_fd >= 0)
		r = ev_io_add(x->s->loop, &x->done_io, x->io.done_fd, EPOLLIN,
			      done_ready, x, &x->e);
	if (r < 0)
		stream_fail(st, x->e.msg);
	else
		write_input(x); /* what came early */
}

static const struct stream_ops ops = {
	.begin = on_begin,
	.input = on_input,
	.input_end = on_input_end,
	.resize = on_resize,
	.drain = on_drain,
	.gone = on_gone,
};

static void open_run(struct job_thread *j)
{
	struct session *x = (struct session *)j;
	const struct remote_opts *o = &j->s->r->o;

	x->io = (struct api_session){ -1, -1, -1, -1, false, NULL };
	if (!x->attach)
		x->code = o->backend->pod_exec(o->backend_arg, &x->exec, &x->io,
					       &x->e);
	else
		x->code = o->backend->pod_attach(o->backend_arg, &x->exec,
						 &x->io, &x->e);
	x->opened = x->code == 0;
}

static void open_done(struct job_thread *j)
{
	struct session *x = (struct session *)j;
	struct http_req *req = x->req;

	if (x->code < 0) {
		serve_error(req, x->code, &x->e);
		session_free(x);
		return;
	}
	x->opts.ops = &ops;
	x->opts.arg = x;
	if (stream_accept(req, &x->opts, &x->stream, &x->e) < 0) {
		session_end(x);
		return;
	}
	x->req = NULL;
	http_req_unref(req);
}

static int read_command(struct session *x, struct err *e)
{
	const struct url *u = &x->path.url;
	struct strv *argv = &x->exec.argv;

	argv->v = x->argv;
	for (size_t i = 0; i < u->nr_params; i++) {
		if (!str_eq(u->param[i].name, "command"))
			continue;
		if (argv->nr == ARGS_MAX)
			return err_set(e, -EINVAL, "too many arguments");
		x->argv[argv->nr++] = (char *)(uintptr_t)u->param[i].value;
	}
	if (!argv->nr)
		return err_set(e, -EINVAL,
			       "you must specify at least one command for the "
			       "container");
	return 0;
}

void serve_exec(struct server *s, struct http_req *req, struct serve_path *p,
		bool attach)
{
	struct session *x = calloc(1, sizeof(*x));
	struct err e = { 0 };
	int r;

	if (!x) {
		err_set(&e, -ENOMEM, "out of memory");
		serve_error(req, -ENOMEM, &e);
		serve_path_clear(p);
		return;
	}
	x->s = s;
	x->path = *p;
	x->attach = attach;
	x->io = (struct api_session){ -1, -1, -1, -1, false, NULL };
	x->to.max = 16 * 1024 * 1024;
	stream_opts_parse(req->head->target, &x->opts);
	r = attach ? 0 : read_command(x, &e);
	x->exec.pod = x->path.pod;
	x->exec.container = x->path.container;
	x->exec.tty = x->opts.tty;
	x->exec.in = x->opts.input;
	x->req = http_req_ref(req);
	x->job = (struct job_thread){ .run = open_run, .done = open_done };
	if (r == 0)
		r = serve_job(s, &x->job);
	if (r < 0) {
		serve_error(req, r, &e);
		session_free(x);
	}
}
