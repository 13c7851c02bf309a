// SPDX-License-Identifier: Apache-2.0
/* port-forward: connections to a port of a pod, whichever way leads there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/remote/server.h"
#include "lib/http/stream.h"
#include "lib/str.h"

struct session {
	struct server *s;
	char key[KEY_MAX];
	struct forward *f;
};

struct conn {
	struct session *x;
	struct forward_conn *c;
	uint16_t port;
	unsigned int way; /* that is tried */
	int fd;
	struct ev_io io;
	struct buf to;
	bool connected, end, full;
};

static void conn_events(struct conn *n)
{
	uint32_t ev = 0;

	if (n->connected && !n->full)
		ev |= EPOLLIN;
	if (!n->connected || n->to.len)
		ev |= EPOLLOUT;
	(void)ev_io_set(&n->io, ev);
}

static void conn_fail(struct conn *n, const char *why)
{
	char text[ERR_MSG_SIZE + 64];

	ev_io_del(&n->io);
	snprintf(text, sizeof(text), "error forwarding port %u: %s",
		 (unsigned)n->port, why);
	forward_end(n->c, text);
}

static void conn_write(struct conn *n)
{
	while (n->connected && n->to.len) {
		ssize_t k = send(n->fd, n->to.data, n->to.len, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN)
			break;
		if (k < 0) {
			conn_fail(n, strerror(errno));
			return;
		}
		buf_consume(&n->to, (size_t)k);
	}
	forward_pause(forward_of(n->c), n->to.len > SERVE_HIGH);
	if (n->end && !n->to.len && n->connected)
		(void)shutdown(n->fd, SHUT_WR);
	conn_events(n);
}

static void conn_read(struct conn *n)
{
	char *chunk = n->x->s->chunk;
	ssize_t k = recv(n->fd, chunk, SERVE_CHUNK, 0);

	if (k < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (k <= 0) {
		ev_io_del(&n->io);
		forward_end(n->c, NULL);
		return;
	}
	if (forward_write(n->c, chunk, (size_t)k) < 0)
		return;
	if (forward_backlog(n->c) > SERVE_HIGH) {
		n->full = true;
		conn_events(n);
	}
}

static void conn_ready(void *arg, uint32_t events);

/* The next way that can be begun. @why the last one could not be gone. */
static void conn_try(struct conn *n, const char *why)
{
	const struct remote_opts *o = &n->x->s->r->o;
	struct err e = { 0 }, last = { 0 };
	int r;

	ev_io_del(&n->io);
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -EBADF;
	err_set(&last, -ECONNREFUSED, "%s", why);
	while ((r = o->ops->connect(o->arg, n->x->key, n->port, n->way, &n->fd,
				    &e)) < 0 &&
	       r != -ERANGE && r != -ENOENT && r != -ESTALE) {
		last = e;
		n->way++;
	}
	if (r == 0)
		r = ev_io_add(n->x->s->loop, &n->io, n->fd, EPOLLOUT,
			      conn_ready, n, &e);
	if (r < 0)
		conn_fail(n, r == -ERANGE ? last.msg : e.msg);
}

static void conn_ready(void *arg, uint32_t events)
{
	struct conn *n = arg;
	socklen_t len = sizeof(int);
	int error = 0;

	if (!n->connected) {
		if (getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			error = errno;
		if (error) {
			n->way++;
			conn_try(n, strerror(error));
			return;
		}
		n->connected = true;
		conn_write(n);
		return;
	}
	if (events & EPOLLOUT)
		conn_write(n);
	else
		conn_read(n);
}

static void on_open(void *arg, struct forward_conn *c, uint16_t port)
{
	struct conn *n = calloc(1, sizeof(*n));

	if (!n) {
		forward_end(c, "out of memory");
		return;
	}
	n->x = arg;
	n->c = c;
	n->port = port;
	n->fd = -EBADF;
	forward_set_data(c, n);
	conn_try(n, "");
}

static void on_data(void *arg, struct forward_conn *c, const void *data,
		    size_t len)
{
	struct conn *n = forward_data(c);

	(void)arg;
	if (!n || n->fd < 0)
		return;
	(void)buf_add(&n->to, data, len);
	if (n->connected)
		conn_write(n);
}

static void on_end(void *arg, struct forward_conn *c)
{
	struct conn *n = forward_data(c);

	(void)arg;
	if (!n || n->fd < 0)
		return;
	n->end = true;
	if (n->connected)
		conn_write(n);
}

static void on_drain(void *arg, struct forward_conn *c)
{
	struct conn *n = forward_data(c);

	(void)arg;
	if (!n || n->fd < 0)
		return;
	n->full = false;
	conn_events(n);
}

static void on_closed(void *arg, struct forward_conn *c)
{
	struct conn *n = forward_data(c);

	(void)arg;
	if (!n)
		return;
	forward_set_data(c, NULL);
	ev_io_del(&n->io);
	if (n->fd >= 0)
		close(n->fd);
	buf_clear(&n->to);
	free(n);
}

static void on_gone(void *arg, struct forward *f)
{
	(void)f;
	free(arg);
}

static const struct forward_ops ops = {
	.open = on_open,
	.data = on_data,
	.end = on_end,
	.drain = on_drain,
	.closed = on_closed,
	.gone = on_gone,
};

void serve_forward(struct server *s, struct http_req *req, struct serve_path *p)
{
	struct session *x = calloc(1, sizeof(*x));
	struct remote_pod pod = { .ours = false };
	struct err e = { 0 };

	if (!x) {
		err_set(&e, -ENOMEM, "out of memory");
		serve_error(req, -ENOMEM, &e);
		serve_path_clear(p);
		return;
	}
	x->s = s;
	snprintf(x->key, sizeof(x->key), "%s/%s/%s", p->pod.tenant,
		 p->pod.namespace, p->pod.name);
	serve_path_clear(p);
	if (s->r->o.ops->get(s->r->o.arg, x->key, &pod) < 0) {
		err_set(&e, -ENOENT, "pod does not exist");
		serve_error(req, -ENOENT, &e);
		free(x);
		return;
	}
	free(pod.json);
	if (forward_accept(req, &ops, x, &x->f, &e) < 0)
		free(x);
}
