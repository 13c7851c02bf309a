// SPDX-License-Identifier: Apache-2.0
/* A container's log, or a VM's console: a thread writes it into a pipe, the
 * loop passes it on as fast as the client reads. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "agent/remote/server.h"
#include "lib/str.h"

struct logs {
	struct job_thread job;
	struct http_req *req; /* referenced */
	struct serve_path path;
	struct api_logs l;
	atomic_bool cancel;
	int in, out; /* ends of the pipe: the loop's, the thread's */
	struct ev_io io;
	bool streaming, eof, finished, gone, over;
	int code;
	struct err e;
};

static void logs_free(struct logs *l)
{
	ev_io_del(&l->io);
	if (l->in >= 0)
		close(l->in);
	if (l->out >= 0)
		close(l->out);
	serve_path_clear(&l->path);
	http_req_unref(l->req);
	free(l);
}

static void logs_finish(struct logs *l)
{
	if (!l->eof || !l->finished)
		return;
	l->over = true;
	if (l->gone)
		;
	else if (l->streaming)
		http_stream_end(l->req);
	else if (l->code < 0 && l->code != -EPIPE)
		serve_error(l->req, l->code, &l->e);
	else
		http_reply(l->req, 200, "text/plain", "", 0);
	logs_free(l);
}

static void logs_run(struct job_thread *j)
{
	struct logs *l = (struct logs *)j;

	l->code = j->s->r->o.backend->pod_logs(j->s->r->o.backend_arg, &l->l,
					       l->out, &l->e);
	close(l->out);
	l->out = -EBADF;
}

static void logs_done(struct job_thread *j)
{
	struct logs *l = (struct logs *)j;

	l->finished = true;
	logs_finish(l);
}

static void logs_gone(void *arg)
{
	struct logs *l = arg;

	if (l->over)
		return;
	l->gone = l->eof = true;
	atomic_store(&l->cancel, true);
	ev_io_del(&l->io);
	if (l->in >= 0)
		close(l->in);
	l->in = -EBADF;
	logs_finish(l);
}

static void logs_drained(void *arg)
{
	struct logs *l = arg;

	if (!l->over && !l->eof)
		(void)ev_io_set(&l->io, EPOLLIN);
}

static void logs_readable(void *arg, uint32_t events)
{
	struct logs *l = arg;
	char *chunk = l->job.s->chunk;
	ssize_t n = read(l->in, chunk, SERVE_CHUNK);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ev_io_del(&l->io);
		l->eof = true;
		logs_finish(l);
		return;
	}
	if (!l->streaming) {
		l->streaming = true;
		if (http_stream(l->req, 200, "text/plain") < 0)
			return; /* its end has come, or comes */
	}
	if (http_stream_write(l->req, chunk, (size_t)n) < 0)
		return;
	if (http_backlog(l->req) > SERVE_HIGH) {
		(void)ev_io_set(&l->io, 0);
		http_on_drain(l->req, logs_drained, l);
	}
}

static int64_t number(const struct url *u, const char *name, int64_t otherwise)
{
	const char *text = url_param(u, name);
	int64_t n;

	return text && str_to_i64(text, &n) == 0 && n >= 0 ? n : otherwise;
}

static int64_t since(const struct url *u)
{
	const char *at = url_param(u, "sinceTime");
	int64_t s = at ? status_time(at) : -1, now = (int64_t)time(NULL);

	if (s >= 0)
		return now > s ? now - s : 0;
	return number(u, "sinceSeconds", -1);
}

void serve_logs(struct server *s, struct http_req *req, struct serve_path *p)
{
	struct logs *l = calloc(1, sizeof(*l));
	struct err e = { 0 };
	int ends[2] = { -1, -1 };
	int r;

	if (!l || pipe2(ends, O_CLOEXEC) < 0) {
		err_set(&e, -ENOMEM, "out of memory or descriptors");
		serve_error(req, -ENOMEM, &e);
		serve_path_clear(p);
		free(l);
		return;
	}
	l->path = *p;
	l->in = ends[0];
	l->out = ends[1];
	fcntl(l->in, F_SETFL, O_NONBLOCK);
	l->l = (struct api_logs){
		.pod = l->path.pod,
		.container = l->path.container,
		.follow = url_flag(&l->path.url, "follow"),
		.previous = url_flag(&l->path.url, "previous"),
		.timestamps = url_flag(&l->path.url, "timestamps"),
		.tail = number(&l->path.url, "tailLines", -1),
		.since_s = since(&l->path.url),
		.limit = number(&l->path.url, "limitBytes", -1),
		.cancel = &l->cancel,
	};
	l->job = (struct job_thread){ .run = logs_run, .done = logs_done };
	l->req = http_req_ref(req);
	r = ev_io_add(s->loop, &l->io, l->in, EPOLLIN, logs_readable, l, &e);
	if (r == 0)
		r = serve_job(s, &l->job);
	if (r < 0) {
		serve_error(req, r, &e);
		logs_free(l);
		return;
	}
	http_on_end(req, logs_gone, l);
}
