// SPDX-License-Identifier: Apache-2.0
/* Opening, the thread, and calls from other threads. */
#include <stdio.h>

#include "lib/grpc/internal.h"
#include "lib/str.h"

#define DEFAULT_MAX (4 << 20)

/* --- calls, on the loop's thread --- */

static void gcall_late(void *arg)
{
	gcall_end(arg, -ETIMEDOUT, "no answer in time");
}

void gcall_begin(struct call *c)
{
	struct grpc *g = c->g;

	c->status = -1;
	c->in.max = g->max_message;
	c->next = g->calls;
	c->link = &g->calls;
	if (c->next)
		c->next->link = &c->next;
	g->calls = c;
	if (c->timeout_ms)
		(void)ev_timer_set(g->loop, &c->timer, c->timeout_ms,
				   gcall_late, c);
	if (g->stopped) {
		gcall_end(c, -ESHUTDOWN, "the client is closing");
		return;
	}
	if (g->state == CONN_READY && !g->draining && gh2_submit(g, c)) {
		gcall_end(c, -ENOMEM, "out of memory");
		return;
	}
	gconn_want(g);
}

/* Out of the list and of nghttp2's sight. */
static void detach(struct call *c)
{
	struct grpc *g = c->g;

	c->over = true;
	ev_timer_del(&c->timer);
	if (c->link) {
		*c->link = c->next;
		if (c->next)
			c->next->link = c->link;
		c->link = NULL;
	}
	if (c->id && g->h2) {
		nghttp2_session_set_stream_user_data(g->h2, c->id, NULL);
		nghttp2_submit_rst_stream(g->h2, 0, c->id, NGHTTP2_CANCEL);
	}
	c->id = 0;
}

void gcall_end(struct call *c, int local, const char *why)
{
	struct grpc *g = c->g;
	struct err e = { 0 };
	int code = local;

	detach(c);
	if (local == -ETIMEDOUT && !c->sent)
		err_set(&e, local, "%s: no connection in time (%s)", c->path,
			g->why);
	else if (local)
		err_set(&e, local, "%s: %s", c->path, why);
	else
		code = grpc_errno(c->status);
	if (!local && code)
		err_set(&e, code, "%s: %s (status %d)", c->path, c->message,
			c->status);
	c->end_fn(c, code, &e);
	gconn_flush(g);
}

void gcall_cancel(struct call *c)
{
	struct grpc *g = c->g;

	if (!c->over)
		detach(c);
	gconn_flush(g);
}

static struct call *gcall_new(struct grpc *g, const char *method)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->g = g;
	c->path = strdup(method);
	if (c->path)
		return c;
	free(c);
	return NULL;
}

static void gcall_free(struct call *c)
{
	buf_clear(&c->out);
	buf_clear(&c->in.b);
	free(c->path);
	free(c);
}

/* --- unary calls --- */

struct unary {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	struct grpc_call *call;
	unsigned int messages;
	int code;
	struct err e;
};

static void unary_message(struct call *c, const void *data, size_t len)
{
	struct unary *u = c->arg;

	if (u->messages++ == 0)
		buf_add(&u->call->reply, data, len);
}

static void unary_end(struct call *c, int code, const struct err *e)
{
	struct unary *u = c->arg;

	pthread_mutex_lock(&u->lock);
	u->code = code;
	u->e = *e;
	if (code == 0 && (u->messages != 1 || buf_error(&u->call->reply)))
		u->code = err_set(&u->e, -EBADMSG,
				  "%s: the answer is not one message", c->path);
	u->call->status = c->status;
	u->call->sent = c->sent;
	u->done = true;
	pthread_cond_signal(&u->cond);
	pthread_mutex_unlock(&u->lock);
}

static void post_begin(void *arg)
{
	gcall_begin(arg);
}

int grpc_call(struct grpc *g, struct grpc_call *call, struct err *e)
{
	struct unary u = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
			   .call = call };
	struct call *c = gcall_new(g, call->method);

	call->sent = false;
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	grpc_frame_put(&c->out, call->data, call->len);
	c->half_closed = true;
	c->timeout_ms = call->timeout_ms;
	c->message_fn = unary_message;
	c->end_fn = unary_end;
	c->arg = &u;
	if (buf_error(&c->out) || ev_post(g->loop, post_begin, c) < 0) {
		gcall_free(c);
		return err_set(e, -ENOMEM, "out of memory");
	}
	pthread_mutex_lock(&u.lock);
	while (!u.done)
		pthread_cond_wait(&u.cond, &u.lock);
	pthread_mutex_unlock(&u.lock);
	gcall_free(c);
	if (u.code && e)
		*e = u.e;
	return u.code;
}

/* --- streams --- */

struct grpc_stream {
	struct call *c;
	const struct grpc_stream_ops *ops;
	void *arg;
};

static void stream_message(struct call *c, const void *data, size_t len)
{
	struct grpc_stream *st = c->arg;

	st->ops->message(st->arg, data, len);
}

static void stream_end(struct call *c, int code, const struct err *e)
{
	struct grpc_stream *st = c->arg;

	st->ops->end(st->arg, code, e);
}

int grpc_stream_open(struct grpc *g, const char *method,
		     const struct grpc_stream_ops *ops, void *arg,
		     struct grpc_stream **ret, struct err *e)
{
	struct grpc_stream *st = calloc(1, sizeof(*st));

	if (st)
		st->c = gcall_new(g, method);
	if (!st || !st->c) {
		free(st);
		return err_set(e, -ENOMEM, "out of memory");
	}
	st->ops = ops;
	st->arg = arg;
	st->c->arg = st;
	st->c->message_fn = stream_message;
	st->c->end_fn = stream_end;
	*ret = st;
	if (ev_post(g->loop, post_begin, st->c) < 0) {
		*ret = NULL;
		gcall_free(st->c);
		free(st);
		return err_set(e, -ENOMEM, "out of memory");
	}
	return 0;
}

struct parcel {
	struct call *c;
	struct buf b;
};

static void post_send(void *arg)
{
	struct parcel *p = arg;
	struct call *c = p->c;

	if (!c->over)
		buf_add(&c->out, p->b.data, p->b.len);
	if (!c->over && c->deferred) {
		c->deferred = false;
		nghttp2_session_resume_data(c->g->h2, c->id);
	}
	gconn_flush(c->g);
	buf_clear(&p->b);
	free(p);
}

int grpc_stream_send(struct grpc_stream *st, const void *data, size_t len)
{
	struct parcel *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->c = st->c;
	grpc_frame_put(&p->b, data, len);
	if (!buf_error(&p->b) && ev_post(st->c->g->loop, post_send, p) == 0)
		return 0;
	buf_clear(&p->b);
	free(p);
	return -ENOMEM;
}

struct closing {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	struct call *c;
};

static void post_close(void *arg)
{
	struct closing *cl = arg;

	gcall_cancel(cl->c);
	pthread_mutex_lock(&cl->lock);
	cl->done = true;
	pthread_cond_signal(&cl->cond);
	pthread_mutex_unlock(&cl->lock);
}

void grpc_stream_close(struct grpc_stream *st)
{
	struct closing cl = { PTHREAD_MUTEX_INITIALIZER,
			      PTHREAD_COND_INITIALIZER, false, NULL };

	if (!st)
		return;
	cl.c = st->c;
	/* Out of memory: others' freeing will make room. */
	while (ev_post(st->c->g->loop, post_close, &cl) < 0)
		sched_yield();
	pthread_mutex_lock(&cl.lock);
	while (!cl.done)
		pthread_cond_wait(&cl.cond, &cl.lock);
	pthread_mutex_unlock(&cl.lock);
	gcall_free(st->c);
	free(st);
}

/* --- the client --- */

static void post_rotate(void *arg)
{
	struct grpc *g = arg;

	if (g->state == CONN_READY)
		gconn_drop(g, "the endpoint is of no use");
}

void grpc_rotate(struct grpc *g)
{
	(void)ev_post(g->loop, post_rotate, g); /* it fails again otherwise */
}

unsigned int grpc_connections(struct grpc *g)
{
	return atomic_load(&g->connections);
}

static void *run(void *arg)
{
	struct grpc *g = arg;

	(void)ev_run(g->loop);
	return NULL;
}

static int parse_endpoint(const char *text, size_t len, struct endpoint *ep,
			  struct err *e)
{
	auto_free char *url = strndup(text, len);
	char *host, *colon;

	if (!url)
		return err_set(e, -ENOMEM, "out of memory");
	ep->tls = strncmp(url, "https://", 8) == 0;
	if (!ep->tls && strncmp(url, "http://", 7) != 0)
		return err_set(e, -EINVAL,
			       "endpoint '%s': want http:// or https://", url);
	host = url + (ep->tls ? 8 : 7);
	host[strcspn(host, "/")] = '\0';
	colon = strrchr(host, ':');
	if (!colon || colon == host || !colon[1] || strlen(host) > 255)
		return err_set(e, -EINVAL, "endpoint '%s': want HOST:PORT",
			       url);
	*colon = '\0';
	if (*host == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		host++;
	}
	ep->host = strdup(host);
	ep->port = strdup(colon + 1);
	return ep->host && ep->port ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int parse_endpoints(struct grpc *g, const char *text, struct err *e)
{
	while (*text) {
		size_t len = strcspn(text, ",");
		int r;

		if (g->nr_endpoints == GRPC_ENDPOINTS_MAX)
			return err_set(e, -EINVAL, "more than %d endpoints",
				       GRPC_ENDPOINTS_MAX);
		r = parse_endpoint(text, len, &g->endpoints[g->nr_endpoints++],
				   e);
		if (r < 0)
			return r;
		text += len + (text[len] == ',');
	}
	return g->nr_endpoints ? 0 : err_set(e, -EINVAL, "no endpoint");
}

int grpc_open(const struct grpc_opts *opts, struct grpc **ret, struct err *e)
{
	struct grpc *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return err_set(e, -ENOMEM, "out of memory");
	g->fd = -EBADF;
	g->max_message = opts->max_message ? opts->max_message : DEFAULT_MAX;
	g->connect_ms = opts->connect_ms ? opts->connect_ms : 2000;
	g->keepalive_ms = opts->keepalive_ms ? opts->keepalive_ms : 6000;
	g->silence_ms = opts->silence_ms ? opts->silence_ms : 2000;
	snprintf(g->why, sizeof(g->why), "not tried yet");
	r = parse_endpoints(g, opts->endpoints, e);
	if (r == 0)
		r = gtls_open(g, opts, e);
	if (r == 0)
		r = ev_new(&g->loop, e);
	if (r == 0 && pthread_create(&g->thread, NULL, run, g))
		r = err_set(e, -EAGAIN, "cannot start a thread");
	if (r < 0) {
		grpc_close(g);
		return r;
	}
	g->started = true;
	*ret = g;
	return 0;
}

static void end_all(void *arg)
{
	struct grpc *g = arg;

	g->stopped = true;
	while (g->calls)
		gcall_end(g->calls, -ESHUTDOWN, "the client is closing");
}

void grpc_stop(struct grpc *g)
{
	(void)ev_post(g->loop, end_all, g); /* it takes its time otherwise */
}

static void post_close_all(void *arg)
{
	struct grpc *g = arg;

	end_all(g);
	g->nr_endpoints = g->nr_endpoints ? g->nr_endpoints : 1;
	gconn_drop(g, "closing");
	ev_timer_del(&g->timer);
	ev_stop(g->loop);
}

void grpc_close(struct grpc *g)
{
	if (!g)
		return;
	if (g->started) {
		while (ev_post(g->loop, post_close_all, g) < 0)
			sched_yield();
		pthread_join(g->thread, NULL);
	}
	if (g->loop)
		ev_free(g->loop);
	buf_clear(&g->out);
	gtls_close(g);
	for (size_t i = 0; i < GRPC_ENDPOINTS_MAX; i++) {
		free(g->endpoints[i].host);
		free(g->endpoints[i].port);
	}
	free(g);
}
