// SPDX-License-Identifier: Apache-2.0
/*
 * A plain connection to a port of a pod's address, for the API server: after
 * "101 Switching Protocols" its bytes go through both ways. The proxies of pods
 * and services speak HTTP over it, which is nothing to us.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/remote/server.h"
#include "lib/auto.h"
#include "lib/http/stream.h"
#include "lib/http/wire.h"
#include "lib/str.h"

struct dial {
	struct server *s;
	struct dial *next, **at; /* of s->dials, when taken */
	struct http_req *req;    /* waiting for its answer; NULL: taken */
	int fd;                  /* the pod's */
	struct ev_io io;
	struct wire w; /* the API server's */
	struct buf to_pod, to_api;
	bool pod_eof, api_eof;
	bool pod_deaf; /* takes no more; what it says is still told */
};

static void dial_free(struct dial *d)
{
	if (d->at) {
		*d->at = d->next;
		if (d->next)
			d->next->at = d->at;
	}
	ev_io_del(&d->io);
	if (d->fd >= 0)
		close(d->fd);
	wire_close(&d->w);
	buf_clear(&d->to_pod);
	buf_clear(&d->to_api);
	free(d);
}

void serve_dials_end(struct server *s)
{
	while (s->dials)
		dial_free(s->dials);
}

/* --- bytes ---------------------------------------------------------------- */

/* Each returns whether something has moved. */
static bool from_api(struct dial *d)
{
	ssize_t n;

	if (d->api_eof || d->to_pod.len >= SERVE_HIGH)
		return false;
	n = wire_read(&d->w, d->s->chunk, SERVE_CHUNK);
	if (n == -EAGAIN)
		return false;
	if (n <= 0 ||
	    (!d->pod_deaf && buf_add(&d->to_pod, d->s->chunk, (size_t)n) < 0))
		d->api_eof = true;
	return true;
}

static bool from_pod(struct dial *d)
{
	ssize_t n;

	if (d->pod_eof || d->to_api.len >= SERVE_HIGH)
		return false;
	n = recv(d->fd, d->s->chunk, SERVE_CHUNK, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || buf_add(&d->to_api, d->s->chunk, (size_t)n) < 0)
		d->pod_eof = true;
	return true;
}

static bool to_pod(struct dial *d)
{
	ssize_t n;

	if (!d->to_pod.len)
		return false;
	n = send(d->fd, d->to_pod.data, d->to_pod.len,
		 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0) {
		buf_clear(&d->to_pod);
		d->pod_deaf = true;
		return true;
	}
	buf_consume(&d->to_pod, (size_t)n);
	return true;
}

static bool to_api(struct dial *d)
{
	ssize_t n;

	if (!d->to_api.len)
		return false;
	n = wire_write(&d->w, d->to_api.data, d->to_api.len);
	if (n == -EAGAIN)
		return false;
	if (n < 0) {
		buf_clear(&d->to_api);
		d->pod_eof = d->api_eof = true;
		return true;
	}
	buf_consume(&d->to_api, (size_t)n);
	return true;
}

static void pump(void *arg)
{
	struct dial *d = arg;
	uint32_t want = 0;
	bool moved = true;

	for (int i = 0; i < 16 && moved; i++) {
		moved = from_api(d);
		moved |= to_pod(d);
		moved |= from_pod(d);
		moved |= to_api(d);
	}
	/* Whoever has asked may be gone; an answer that is over is over. */
	if ((d->pod_eof && !d->to_api.len) || (d->api_eof && !d->to_pod.len)) {
		dial_free(d);
		return;
	}
	if (!d->pod_eof && d->to_api.len < SERVE_HIGH)
		want |= EPOLLIN;
	if (d->to_pod.len)
		want |= EPOLLOUT;
	(void)ev_io_set(&d->io, want);
	/* After so many rounds the others come first, and we again. */
	wire_want(&d->w, !d->api_eof && d->to_pod.len < SERVE_HIGH,
		  moved || d->to_api.len);
}

static void pod_ready(void *arg, uint32_t events)
{
	(void)events;
	pump(arg);
}

/* --- life ----------------------------------------------------------------- */

static void on_gone(void *arg)
{
	struct dial *d = arg;

	if (d->req)
		dial_free(d);
}

static void refuse(struct dial *d, struct err *e)
{
	struct http_req *req = take_ptr(d->req);

	http_on_end(req, NULL, NULL);
	serve_error(req, -EAGAIN, e);
	dial_free(d);
}

static void begin(struct dial *d)
{
	static const struct h1_field upgrade = { "Upgrade", STREAM_TCP };
	struct http_req *req = take_ptr(d->req);
	auto_buf struct buf early = BUF_INIT;
	struct err e = { 0 };
	SSL *ssl = NULL;
	int fd, r;

	http_on_end(req, NULL, NULL);
	r = http_take_tls(req, &upgrade, 1, &fd, &ssl, &early, &e);
	if (r == 0)
		r = wire_take(&d->w, d->s->loop, fd, ssl, &early, &e);
	if (r < 0) {
		dial_free(d);
		return;
	}
	d->w.ready = pump;
	d->w.arg = d;
	d->next = d->s->dials;
	if (d->next)
		d->next->at = &d->next;
	d->at = &d->s->dials;
	d->s->dials = d;
	ev_io_del(&d->io);
	if (ev_io_add(d->s->loop, &d->io, d->fd, EPOLLIN, pod_ready, d, &e) < 0)
		dial_free(d);
	else
		pump(d);
}

static void connected(void *arg, uint32_t events)
{
	struct dial *d = arg;
	socklen_t len = sizeof(int);
	int error = 0;
	struct err e = { 0 };

	(void)events;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (!error) {
		begin(d);
		return;
	}
	err_set(&e, -error, "connect to the pod: %s", strerror(error));
	refuse(d, &e);
}

void serve_dial(struct server *s, struct http_req *req, struct serve_path *p)
{
	const struct remote_opts *o = &s->r->o;
	struct dial *d = calloc(1, sizeof(*d));
	struct err e = { 0 };
	uint64_t port = 0;
	char key[KEY_MAX];
	int r;

	snprintf(key, sizeof(key), "%s/%s/%s", p->pod.tenant, p->pod.namespace,
		 p->pod.name);
	if (str_to_u64(p->container, &port) < 0 || !port || port > UINT16_MAX)
		r = err_set(&e, -EINVAL, "'%s' is no port", p->container);
	else if (!str_eq(req->head->upgrade, STREAM_TCP))
		r = err_set(&e, -EINVAL,
			    "an upgrade to " STREAM_TCP " is wanted here");
	else
		r = d ? 0 : err_set(&e, -ENOMEM, "out of memory");
	serve_path_clear(p);
	if (r < 0) {
		free(d);
		serve_error(req, r, &e);
		return;
	}
	d->s = s;
	d->req = req;
	d->fd = d->w.fd = -EBADF;
	http_on_end(req, on_gone, d);
	r = o->ops->connect(o->arg, key, (uint16_t)port, REMOTE_BY_ADDRESS,
			    &d->fd, &e);
	if (r == 0)
		r = ev_io_add(s->loop, &d->io, d->fd, EPOLLOUT, connected, d,
			      &e);
	if (r < 0)
		refuse(d, &e);
}
