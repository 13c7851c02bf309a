// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 over a connection: one request at a time; what comes in meanwhile
 * waits, bounded.
 */
#include <stdio.h>

#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "lib/http/h1.h"

enum phase { GREETING, IDLE, READING, ANSWERING };

/* --- in --- */

static void refuse(struct conn *c, int code, const char *msg)
{
	c->req->keep_alive = false;
	c->req->body_done = true;
	c->eof = true;
	reply_error(c->req, code,
		    code == 413   ? "RequestEntityTooLarge"
		    : code == 414 ? "RequestURITooLong"
		    : code == 431 ? "RequestHeaderFieldsTooLarge"
				  : "BadRequest",
		    "%s", msg);
}

#define TOO_LARGE "request body is too large, the limit is 3 MiB"

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
		refuse(c,
		       n == -E2BIG          ? 431
		       : n == -ENAMETOOLONG ? 414
					    : 400,
		       e.msg);
		return true;
	}
	buf_consume(&c->in, (size_t)n);
	c->req->head_only = strcmp(c->req->method, "HEAD") == 0;
	c->body_left = body;
	c->chunks = (struct chunks){ .state = CHUNK_SIZE };
	c->req->body_done = body == 0;
	if (body > BODY_MAX)
		refuse(c, 413, TOO_LARGE);
	else if (body && c->req->expect_continue && !c->in.len)
		c->req->send_continue = true;
	return true;
}

static void take_chunks(struct conn *c)
{
	struct req *r = c->req;

	ssize_t n = http1_chunks(c->in.data, c->in.len, &c->chunks, &r->body,
				 &r->body_done);

	if (n < 0)
		refuse(c, n == -E2BIG ? 413 : 400,
		       n == -E2BIG ? TOO_LARGE : "malformed chunk");
	else
		buf_consume(&c->in, (size_t)n);
}

void h1_take(struct conn *c)
{
	struct req *r = c->req;
	size_t n;

	if (!r || r->body_done || !c->in.len)
		return;
	if (c->body_left < 0) {
		take_chunks(c);
		return;
	}
	n = c->in.len < (size_t)c->body_left ? c->in.len : (size_t)c->body_left;
	if (buf_add(&r->body, c->in.data, n) < 0)
		c->dead = true;
	buf_consume(&c->in, n);
	c->body_left -= (int64_t)n;
	r->body_done = c->body_left == 0;
}

/* --- out --- */

static size_t put_head(struct req *r, char *p, size_t size)
{
	char length[64] = "Transfer-Encoding: chunked\r\n";

	if (!r->streaming)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
			 r->out_bytes);
	return (size_t)snprintf(p, size,
				"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s"
				"Cache-Control: no-cache, private\r\n%s%s\r\n",
				r->code, h1_reason(r->code), r->type, length,
				r->keep_alive ? "" : "Connection: close\r\n",
				buf_str(&r->lines));
}

static size_t put_chunk(struct req *r, char *p, size_t room)
{
	char size[16];
	size_t m = put_pieces(r, p + 8, room - 32);

	if (!m)
		return 0;
	/* Leading zeros are as good as blanks: a fixed-width size. */
	snprintf(size, sizeof(size), "%06x\r\n", (unsigned int)m);
	memcpy(p, size, 8);
	memcpy(p + 8 + m, "\r\n", 2);
	return m + 10;
}

static size_t put_body(struct req *r, char *p, size_t size)
{
	size_t n = 0;

	if (r->head_only) {
		while (r->out_at < r->out_nr)
			piece_clear(&r->out[r->out_at++]);
		return 0;
	}
	if (!r->streaming)
		return put_pieces(r, p, size);
	if (r->out_at < r->out_nr && size > 512)
		n = put_chunk(r, p, size);
	if (r->finished && r->out_at == r->out_nr && size - n > 8) {
		memcpy(p + n, "0\r\n\r\n", 5);
		n += 5;
		r->streaming = false;
		r->head_only = true;
	}
	return n;
}

/* What comes next of c->req. False: nothing now. */
static bool h1_fill(struct conn *c)
{
	struct req *r = c->req;
	char *to = peer_room();
	size_t n = 0;

	if (!r || !r->started || (!r->streaming && !r->finished))
		return false;
	if (!r->head_sent) {
		n = put_head(r, to, OUT_CHUNK - 64);
		r->head_sent = true;
		if (n > OUT_CHUNK - 64) {
			c->dead = true;
			return false;
		}
	}
	n += put_body(r, to + n, OUT_CHUNK - n);
	if (r->broken) {
		c->dead = true;
		return false;
	}
	c->w = to;
	c->w_len = n;
	return n > 0;
}

static bool is_answered(const struct conn *c)
{
	return c->req && c->req->finished && c->req->out_at == c->req->out_nr;
}

static bool continue_fill(struct conn *c)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (!c->req->send_continue)
		return false;
	c->req->send_continue = false;
	c->w = line;
	c->w_len = sizeof(line) - 1;
	return true;
}

/* --- time --- */

static enum phase phase_of(const struct conn *c)
{
	if (!c->handshaken)
		return GREETING;
	if (c->tunnel || (c->req && c->req->body_done))
		return ANSWERING;
	return c->in.len || c->req ? READING : IDLE;
}

/* A request has its time from the first byte on, however many follow. */
static void set_timer(struct conn *c)
{
	const struct api_patience *w = &c->loop->api->patience;
	const unsigned int ms[] = { w->handshake_ms, w->idle_ms, w->request_ms,
				    w->stall_ms };
	enum phase p = phase_of(c);

	if ((int)p == c->phase)
		return;
	c->phase = p;
	c->moved = true;
	peer_timer(c, ms[p]);
}

void h1_timer(struct conn *c)
{
	if (c->phase != ANSWERING) {
		peer_close(c);
		return;
	}
	/* Reading slowly is not stalling; and a watch may have nothing. */
	if (!seal_is_out(c) && !c->moved) {
		peer_close(c);
		return;
	}
	c->moved = false;
	peer_timer(c, c->loop->api->patience.stall_ms);
	if (c->dead)
		peer_close(c);
}

/* --- requests --- */

static void request_over(struct conn *c)
{
	if (!c->req->keep_alive || c->loop->draining)
		c->dead = true;
	req_free(c->req);
	c->req = NULL;
	c->phase = GREETING; /* the next request has its own time */
}

/* One step: true when there may be a further one. */
static bool h1_step(struct conn *c, int *handled)
{
	int r;

	if (!c->req && !next_request(c))
		return false;
	h1_take(c);
	if (c->req->send_continue && peer_write(c, continue_fill))
		return false;
	if (c->req->body_done && !c->req->started &&
	    (!c->req->handled || c->req->go)) {
		if ((*handled)++ && turn_is_over(c->loop)) {
			c->more = true;
			return false;
		}
		peer_handle(c->req);
		if (c->tunnel)
			return true;
		if (c->away)
			return false;
	}
	r = peer_write(c, h1_fill);
	if (r)
		return false;
	if (is_answered(c)) {
		request_over(c);
		return true;
	}
	if (c->req->stalled && c->req->out_at == c->req->out_nr) {
		req_fill(c->req);
		return c->req->out_at < c->req->out_nr || c->req->finished;
	}
	return false;
}

void h1_run(struct conn *c)
{
	int handled = 0;

	c->busy = true;
	while (!c->dead && !c->tunnel && h1_step(c, &handled))
		;
	if (c->away)
		return;
	if (c->tunnel && !c->dead)
		relay_run(c->tunnel);
	if (c->eof && !c->req && !c->tunnel && seal_is_out(c))
		c->dead = true;
	if (!c->dead)
		set_timer(c);
	/* Who only waits holds no buffer. */
	if (!c->in.len)
		buf_clear(&c->in);
	c->busy = false;
	if (c->dead)
		peer_close(c);
	else if (c->more)
		turn_add(c, 0);
}
