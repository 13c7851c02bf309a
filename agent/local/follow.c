// SPDX-License-Identifier: Apache-2.0
/*
 * Logs: the backend writes into a pipe, the loop passes on what comes out of it
 * as fast as the client reads. When the client is slow, the pipe fills, and the
 * backend waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/local/internal.h"
#include "lib/auto.h"

#define CHUNK    (32 * 1024)
#define HIGH     (4 * HTTP_LOW) /* do not read more while so much is unsent */
#define TIME_MAX (INT64_MAX / 2000000000)

struct follow {
	struct task t;
	struct api_logs logs;
	int read_fd, write_fd;
	struct ev_io io;
	bool begun;    /* the answer's head is sent */
	bool eof;      /* of the pipe */
	bool finished; /* the backend has returned */
};

static void release(struct task *t)
{
	struct follow *f = (struct follow *)t;

	ev_io_del(&f->io);
	if (f->read_fd >= 0)
		close(f->read_fd);
	if (f->write_fd >= 0)
		close(f->write_fd);
}

static void run(struct task *t)
{
	struct follow *f = (struct follow *)t;

	t->r = t->api->o.backend->pod_logs(t->api->o.arg, &f->logs, f->write_fd,
					   &t->err);
	close(take_fd(&f->write_fd));
}

/* All is said by both: end the answer. */
static void conclude(struct follow *f)
{
	struct task *t = &f->t;

	if (!f->finished || !f->eof)
		return;
	if (!f->begun) {
		t->type = "text/plain";
		task_finish(t);
		return;
	}
	http_on_end(t->req, NULL, NULL);
	http_on_drain(t->req, NULL, NULL);
	if (t->r < 0)
		http_stream_abort(t->req); /* it is not the whole log */
	else
		http_stream_end(t->req);
	task_free(t);
}

static void stop_reading(struct follow *f)
{
	f->eof = true;
	ev_io_del(&f->io);
	if (f->read_fd >= 0)
		close(take_fd(&f->read_fd)); /* the backend gets EPIPE */
}

static void pipe_ready(void *arg, uint32_t events)
{
	struct follow *f = arg;
	char chunk[CHUNK];
	ssize_t n = read(f->read_fd, chunk, sizeof(chunk));

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stop_reading(f);
		conclude(f);
		return;
	}
	/* Writing may end the request, and with it come back to gone(). */
	if (!f->begun && http_stream(f->t.req, 200, "text/plain") < 0)
		return;
	f->begun = true;
	if (http_stream_write(f->t.req, chunk, (size_t)n) < 0)
		return;
	if (http_backlog(f->t.req) >= HIGH)
		(void)ev_io_set(&f->io, 0);
}

static void drained(void *arg)
{
	struct follow *f = arg;

	if (f->io.loop && ev_io_set(&f->io, EPOLLIN) < 0)
		http_stream_abort(f->t.req);
}

static void gone(struct task *t)
{
	stop_reading((struct follow *)t);
}

static void finish(struct task *t)
{
	struct follow *f = (struct follow *)t;

	f->finished = true;
	if (atomic_load(&t->cancel))
		f->eof = true;
	conclude(f);
}

static int read_options(struct follow *f, struct err *e)
{
	const struct route *r = &f->t.route;
	struct api_logs *l = &f->logs;
	int code;

	*l = (struct api_logs){ .pod = route_pod(r),
				.container = url_param(&r->url, "container"),
				.follow = url_flag(&r->url, "follow"),
				.previous = url_flag(&r->url, "previous"),
				.timestamps = url_flag(&r->url, "timestamps"),
				.tail = -1,
				.since_s = -1,
				.limit = -1,
				.cancel = &f->t.cancel };
	code = route_number(r, "tailLines", 0, INT64_MAX, &l->tail, e);
	if (code == 0)
		code = route_number(r, "sinceSeconds", 0, TIME_MAX, &l->since_s,
				    e);
	if (code == 0)
		code = route_number(r, "limitBytes", 1, INT64_MAX, &l->limit,
				    e);
	return code;
}

static int begin(struct follow *f, struct err *e)
{
	struct api *api = f->t.api;
	int fds[2], r;

	if (!api->o.backend->pod_logs)
		return err_set(e, -EOPNOTSUPP, "this agent has no logs");
	r = read_options(f, e);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	f->read_fd = fds[0];
	f->write_fd = fds[1];
	fcntl(f->read_fd, F_SETFL, O_NONBLOCK);
	return ev_io_add(api->o.loop, &f->io, f->read_fd, EPOLLIN, pipe_ready,
			 f, e);
}

void handle_logs(struct api *api, struct http_req *req, struct route *r)
{
	struct follow *f = (struct follow *)task_new(api, req, r, sizeof(*f));

	if (!f)
		return;
	f->read_fd = f->write_fd = -EBADF;
	f->t.run = run;
	f->t.release = release;
	f->t.r = begin(f, &f->t.err);
	if (f->t.r < 0) {
		task_finish(&f->t);
		return;
	}
	f->t.ended = gone;
	f->t.finish = finish;
	http_on_drain(req, drained, f);
	task_start_long(&f->t);
}
