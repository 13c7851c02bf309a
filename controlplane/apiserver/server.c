// SPDX-License-Identifier: Apache-2.0
/*
 * Connections: each belongs to one loop for life. A connection handles one
 * request at a time (HTTP/1.1); what comes in meanwhile waits, bounded.
 */
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sys/socket.h>

#include "controlplane/apiserver/conn.h"
#include "lib/log.h"
#include "lib/str.h"

struct req *req_new(struct conn *c, struct loop *l)
{
	struct req *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->conn = c;
	r->loop = l;
	r->api = l->api;
	r->user = c->user;
	return r;
}

void req_free(struct req *r)
{
	if (!r)
		return;
	watch_stop(r);
	ev_timer_del(&r->timer);
	ev_timer_del(&r->mark_timer);
	for (size_t i = r->out_at; i < r->out_nr; i++) {
		object_unref(r->out[i].object);
		free(r->out[i].own);
	}
	free(r->out);
	write_free(r->write);
	selector_clear(&r->selector);
	type_set_unref(r->types);
	buf_clear(&r->body);
	buf_clear(&r->warnings);
	user_free(r->own_user);
	free(r->method);
	free(r->path);
	free(r->own_path);
	free(r->query);
	free(r->accept);
	free(r->content_type);
	free(r->bearer);
	free(r->user_agent);
	free(r);
}

static void conn_close(struct conn *c)
{
	struct loop *l = c->loop;

	if (c->req && c->req->write)
		write_orphan(c->req);
	else
		req_free(c->req);
	ev_io_del(&c->io);
	ev_timer_del(&c->timer);
	SSL_free(c->ssl);
	close(c->fd);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	l->nr_conns--;
	atomic_fetch_sub(&l->api->nr_conns, 1);
	user_free(c->user);
	buf_clear(&c->in);
	free(c->out);
	free(c);
}

static void conn_timeout(void *arg)
{
	conn_close(arg);
}

static void set_timer(struct conn *c)
{
	unsigned int ms = !c->handshaken ? HANDSHAKE_MS
			  : c->in.len || (c->req && !c->req->body_done)
				  ? REQUEST_MS
				  : IDLE_MS;

	if (c->req && c->req->body_done)
		ev_timer_del(&c->timer);
	else
		ev_timer_set(c->loop->ev, &c->timer, ms, conn_timeout, c);
}

/* --- in --- */

static void refuse(struct conn *c, int code, const char *msg)
{
	c->req->keep_alive = false;
	c->req->body_done = true;
	reply_error(c->req, code,
		    code == 413 ? "RequestEntityTooLarge" : "BadRequest", "%s",
		    msg);
}

/* A request's head from the input, if it is there. */
static bool next_request(struct conn *c)
{
	struct err e = { 0 };
	int64_t body = 0;
	ssize_t n;

	if (!c->in.len)
		return false;
	if (!memmem(c->in.data, c->in.len, "\r\n\r\n", 4) &&
	    c->in.len <= HEAD_MAX)
		return false;
	c->req = req_new(c, c->loop);
	if (!c->req) {
		c->dead = true;
		return false;
	}
	n = http1_head(c->in.data, c->in.len, c->req, &body, &e);
	if (n <= 0) {
		c->eof = true;
		refuse(c, n == -E2BIG ? 431 : 400, e.msg);
		return true;
	}
	buf_consume(&c->in, n);
	c->req->head_only = strcmp(c->req->method, "HEAD") == 0;
	c->body_left = body;
	c->req->body_done = body == 0;
	if (body > BODY_MAX) {
		c->eof = true;
		refuse(c, 413, "request body is too large, the limit is 3 MiB");
	}
	return true;
}

/* More of the body. */
static void take_body(struct conn *c)
{
	struct req *r = c->req;

	while (!r->body_done && c->in.len && c->body_left < 0) {
		ssize_t n = http1_chunk(c->in.data, c->in.len, &r->body,
					&r->body_done);

		if (n == 0)
			return;
		if (n < 0) {
			c->eof = true;
			refuse(c, n == -E2BIG ? 413 : 400,
			       n == -E2BIG ? "request body is too large, the "
					     "limit is 3 MiB"
					   : "malformed chunk");
			return;
		}
		buf_consume(&c->in, n);
	}
	if (!r->body_done && c->body_left > 0 && c->in.len) {
		size_t n = c->in.len < (size_t)c->body_left
				   ? c->in.len
				   : (size_t)c->body_left;

		buf_add(&r->body, c->in.data, n);
		buf_consume(&c->in, n);
		c->body_left -= n;
		r->body_done = c->body_left == 0;
	}
}

/* --- out --- */

static const char *reason_of(int code)
{
	return code == 200   ? "OK"
	       : code == 201 ? "Created"
	       : code == 404 ? "Not Found"
	       : code == 409 ? "Conflict"
			     : "Status";
}

static size_t put_head(struct req *r, char *p, size_t size)
{
	char length[64] = "Transfer-Encoding: chunked\r\n";

	if (!r->streaming)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
			 r->out_bytes);
	return snprintf(p, size,
			"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s"
			"Cache-Control: no-cache, private\r\n%s%s\r\n",
			r->code, reason_of(r->code), r->type, length,
			r->keep_alive ? "" : "Connection: close\r\n",
			buf_str(&r->warnings));
}

/* Copy pieces into @p. */
static size_t put_pieces(struct req *r, char *p, size_t size)
{
	size_t n = 0;

	while (r->out_at < r->out_nr && n < size) {
		struct piece *at = &r->out[r->out_at];
		size_t left = at->len - r->out_off;
		size_t m = left < size - n ? left : size - n;

		memcpy(p + n, at->data + r->out_off, m);
		n += m;
		r->out_off += m;
		if (r->out_off < at->len)
			break;
		object_unref(at->object);
		free(at->own);
		r->out_at++;
		r->out_off = 0;
	}
	r->out_bytes -= n;
	return n;
}

bool http1_fill(struct conn *c)
{
	struct req *r = c->req;
	size_t n = 0, room, m;

	if (!r || !r->started || (!r->streaming && !r->finished))
		return false;
	if (!c->out)
		c->out = malloc(OUT_CHUNK);
	if (!c->out) {
		c->dead = true;
		return false;
	}
	if (!r->head_sent) {
		n = put_head(r, c->out, OUT_CHUNK - 64);
		r->head_sent = true;
		if (n > OUT_CHUNK - 64) {
			c->dead = true;
			return false;
		}
	}
	if (r->head_only) {
		while (r->out_at < r->out_nr)
			put_pieces(r, c->out + n, OUT_CHUNK - n);
	} else if (!r->streaming) {
		n += put_pieces(r, c->out + n, OUT_CHUNK - n);
	} else if (r->out_at < r->out_nr && OUT_CHUNK - n > 512) {
		room = OUT_CHUNK - n - 32;
		m = put_pieces(r, c->out + n + 8, room);
		/* Leading zeros are as good as blanks: a fixed-width size. */
		snprintf(c->out + n, 9, "%06zx\r", m);
		c->out[n + 7] = '\n';
		n += 8 + m;
		memcpy(c->out + n, "\r\n", 2);
		n += 2;
	}
	if (r->streaming && r->finished && r->out_at == r->out_nr &&
	    OUT_CHUNK - n > 8) {
		memcpy(c->out + n, "0\r\n\r\n", 5);
		n += 5;
		r->streaming = false;
		r->head_only = true;
	}
	c->out_len = n;
	c->out_off = 0;
	return n > 0;
}

/* 1: the request is done; 0: no more now; negative: the connection is. */
static int conn_write(struct conn *c)
{
	for (;;) {
		int n, why;

		if (c->out_off == c->out_len) {
			if (!http1_fill(c))
				break;
		}
		ERR_clear_error();
		n = SSL_write(c->ssl, c->out + c->out_off,
			      c->out_len - c->out_off);
		if (n > 0) {
			c->out_off += n;
			continue;
		}
		why = SSL_get_error(c->ssl, n);
		if (why != SSL_ERROR_WANT_WRITE && why != SSL_ERROR_WANT_READ)
			return -EPIPE;
		ev_io_set(&c->io, EPOLLIN | EPOLLOUT);
		return 0;
	}
	if (c->io.events & EPOLLOUT)
		ev_io_set(&c->io, EPOLLIN);
	if (c->dead)
		return -ENOMEM;
	if (c->req && c->req->finished && c->req->out_at == c->req->out_nr)
		return 1;
	return 0;
}

static void conn_run(struct conn *c)
{
	c->busy = true;
	while (!c->dead) {
		int r;

		if (!c->req && !next_request(c))
			break;
		if (!c->req->body_done)
			take_body(c);
		if (c->req->body_done && !c->req->started &&
		    !c->req->begun.tv_sec)
			handle(c->req);
		r = conn_write(c);
		if (r < 0)
			c->dead = true;
		if (r == 0 && c->req && c->req->stalled &&
		    c->out_off == c->out_len &&
		    c->req->out_at == c->req->out_nr) {
			watch_fill(c->req);
			continue;
		}
		if (r <= 0)
			break;
		if (!c->req->keep_alive)
			c->dead = true;
		req_free(c->req);
		c->req = NULL;
		free(c->out);
		c->out = NULL;
		c->out_len = c->out_off = 0;
	}
	if (c->eof && !c->req)
		c->dead = true;
	c->busy = false;
	if (c->dead)
		conn_close(c);
	else
		set_timer(c);
}

void conn_flush(struct conn *c)
{
	if (!c->busy)
		conn_run(c);
}

/* Read what is there, within what we are willing to keep. */
static void conn_read(struct conn *c)
{
	for (int i = 0; i < 16 && !c->eof && c->in.len <= HEAD_MAX; i++) {
		char *p = buf_reserve(&c->in, OUT_CHUNK);
		int n, why;

		if (!p) {
			c->dead = true;
			return;
		}
		ERR_clear_error();
		n = SSL_read(c->ssl, p, OUT_CHUNK);
		if (n > 0) {
			buf_commit(&c->in, n);
			if (c->req && !c->req->body_done)
				take_body(c);
			continue;
		}
		why = SSL_get_error(c->ssl, n);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			c->dead = true;
		break;
	}
	if (!c->in.len)
		buf_clear(&c->in);
}

static void handshake(struct conn *c)
{
	struct err e = { 0 };
	X509 *cert;
	int n;

	ERR_clear_error();
	n = SSL_accept(c->ssl);
	if (n <= 0) {
		int why = SSL_get_error(c->ssl, n);

		if (why == SSL_ERROR_WANT_WRITE)
			ev_io_set(&c->io, EPOLLIN | EPOLLOUT);
		else if (why != SSL_ERROR_WANT_READ)
			c->dead = true;
		return;
	}
	c->handshaken = true;
	cert = SSL_get1_peer_certificate(c->ssl);
	if (cert && user_from_cert(cert, &c->user, &e) < 0) {
		log_warn("connection refused: %s", e.msg);
		c->dead = true;
	}
	X509_free(cert);
}

static void conn_event(void *arg, uint32_t events)
{
	struct conn *c = arg;

	c->busy = true;
	if (!c->handshaken)
		handshake(c);
	if (c->handshaken && !c->dead && events & ~EPOLLOUT)
		conn_read(c);
	c->busy = false;
	if (c->dead)
		conn_close(c);
	else if (c->handshaken)
		conn_run(c);
}

static void conn_new(struct loop *l, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct err e;
	int one = 1;

	if (c)
		c->ssl = SSL_new(l->api->tls);
	if (!c || !c->ssl || !SSL_set_fd(c->ssl, fd)) {
		if (c)
			SSL_free(c->ssl);
		free(c);
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	SSL_set_accept_state(c->ssl);
	c->loop = l;
	c->fd = fd;
	c->in.max = HEAD_MAX + BODY_MAX;
	c->next = l->conns;
	c->link = &l->conns;
	if (c->next)
		c->next->link = &c->next;
	l->conns = c;
	l->nr_conns++;
	atomic_fetch_add(&l->api->nr_conns, 1);
	if (ev_io_add(l->ev, &c->io, fd, EPOLLIN, conn_event, c, &e) < 0) {
		conn_close(c);
		return;
	}
	set_timer(c);
}

static void on_accept(void *arg, uint32_t events)
{
	struct loop *l = arg;
	int fd;

	(void)events;
	for (int i = 0; i < 16; i++) {
		fd = accept4(l->api->listen_fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		if (atomic_load(&l->api->nr_conns) >= CONNS_MAX)
			close(fd);
		else
			conn_new(l, fd);
	}
}

/* --- loops --- */

/* Watches and writes that other threads have finished with. */
static void loop_posted(void *arg)
{
	struct loop *l = arg;
	struct write *done, *next_write;
	struct req *ready, *next;

	pthread_mutex_lock(&l->lock);
	l->posted = false;
	ready = l->ready;
	l->ready = NULL;
	done = l->done;
	l->done = NULL;
	for (next = ready; next; next = next->ready_next)
		next->ready = false;
	pthread_mutex_unlock(&l->lock);
	for (; done; done = next_write) {
		next_write = write_next(done);
		write_done(done);
	}
	/* Serving one watch may end another: it takes itself off the list. */
	l->serving = ready;
	while ((ready = l->serving)) {
		l->serving = ready->ready_next;
		ready->ready_next = NULL;
		watch_ready(ready);
	}
}

void loop_wake(struct loop *l)
{
	bool post;

	pthread_mutex_lock(&l->lock);
	post = !l->posted;
	l->posted = true;
	pthread_mutex_unlock(&l->lock);
	if (post)
		(void)ev_post(l->ev, loop_posted, l);
}

static void *loop_run(void *arg)
{
	struct loop *l = arg;

	(void)ev_run(l->ev); /* ends by ev_stop() only */
	return NULL;
}

static int listen_on(struct api *api, struct err *e)
{
	const char *colon = strrchr(api->address, ':');
	auto_free char *host = NULL;
	struct addrinfo hints = { .ai_flags = AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai = NULL;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char service[16];
	int one = 1, fd, rc;

	if (!colon)
		return err_set(e, -EINVAL, "listen '%s': want ADDRESS:PORT",
			       api->address);
	host = strndup(api->address, colon - api->address);
	rc = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &ai);
	if (rc)
		return err_set(e, -EINVAL, "listen '%s': %s", api->address,
			       gai_strerror(rc));
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) ||
	    listen(fd, 4096) || getsockname(fd, (void *)&sa, &len)) {
		rc = err_sys(e, "listen on %s", api->address);
		freeaddrinfo(ai);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	freeaddrinfo(ai);
	getnameinfo((void *)&sa, len, NULL, 0, service, sizeof(service),
		    NI_NUMERICSERV);
	api->port = strtoul(service, NULL, 10);
	api->listen_fd = fd;
	return 0;
}

int server_listen(struct api *api, struct err *e)
{
	return listen_on(api, e);
}

int server_start(struct api *api, unsigned int threads, struct err *e)
{
	api->loops = calloc(threads, sizeof(*api->loops));
	if (!api->loops)
		return err_set(e, -ENOMEM, "server: out of memory");
	for (; api->nr_loops < threads; api->nr_loops++) {
		struct loop *l = &api->loops[api->nr_loops];
		int r, rc;

		l->api = api;
		pthread_mutex_init(&l->lock, NULL);
		r = ev_new(&l->ev, e);
		if (r < 0)
			return r;
		r = ev_io_add(l->ev, &l->listener, api->listen_fd,
			      EPOLLIN | EPOLLEXCLUSIVE, on_accept, l, e);
		if (r < 0)
			return r;
		rc = pthread_create(&l->thread, NULL, loop_run, l);
		if (rc)
			return err_set(e, -rc, "server: cannot start a thread");
		l->running = true;
	}
	return 0;
}

void server_stop(struct api *api)
{
	for (unsigned int i = 0; i < api->nr_loops; i++) {
		struct loop *l = &api->loops[i];

		if (!l->running)
			continue;
		ev_stop(l->ev);
		pthread_join(l->thread, NULL);
		while (l->conns)
			conn_close(l->conns);
	}
}

void server_free(struct api *api)
{
	for (unsigned int i = 0; i < api->nr_loops; i++) {
		struct loop *l = &api->loops[i];

		loop_posted(l);
		ev_io_del(&l->listener);
		ev_free(l->ev);
		pthread_mutex_destroy(&l->lock);
	}
	free(api->loops);
}
