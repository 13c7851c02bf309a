// SPDX-License-Identifier: Apache-2.0
/* HTTP/2 over a connection: a request a stream, each answered by itself. */
#include <stdio.h>

#include "controlplane/apiserver/conn.h"
#include "lib/http/h2.h"

#define FIELDS_OUT_MAX 24

/* --- requests come --- */

static struct req *req_of(struct h2_stream *s)
{
	return s->data;
}

static void unlink_todo(struct conn *c, struct req *r)
{
	struct req **at = &c->todo;

	while (*at && *at != r)
		at = &(*at)->todo_next;
	if (!*at)
		return;
	*at = r->todo_next;
	if (!*at)
		c->todo_tail = at;
}

static void add_todo(struct conn *c, struct req *r)
{
	r->body_done = true;
	r->todo_next = NULL;
	*c->todo_tail = r;
	c->todo_tail = &r->todo_next;
}

void h2_todo(struct req *r)
{
	add_todo(r->conn, r);
}

/* Answered before it was read to the end. */
static void refuse(struct req *r, int code, const char *reason, const char *msg)
{
	r->handled = true;
	r->conn->bodies -= r->body.len;
	buf_clear(&r->body);
	reply_error(r, code, reason, "%s", msg);
}

static int take_head(struct req *r, const struct h2_head *h)
{
	struct framing f = { .length = 0 };
	int res = req_target(r, h->method, h->path);

	for (size_t i = 0; i < h->nr_fields && res == 0; i++)
		res = req_field(r, h->fields[i].name, strlen(h->fields[i].name),
				h->fields[i].value, strlen(h->fields[i].value),
				&f, NULL);
	if (res == 0 && h->authority)
		res = req_field(r, "host", 4, h->authority,
				strlen(h->authority), &f, NULL);
	if (res == 0 && f.length > BODY_MAX)
		res = -EFBIG;
	return res;
}

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	struct conn *c = arg;
	struct req *r = req_new(c, c->loop);
	int res;

	if (!r) {
		h2_reset(s, H2_INTERNAL_ERROR);
		return;
	}
	s->data = r;
	r->stream = s;
	r->keep_alive = true;
	r->came_ms = r->moved_ms = ev_now_ms(c->loop->ev);
	r->next = c->reqs;
	r->link = &c->reqs;
	if (r->next)
		r->next->link = &r->next;
	c->reqs = r;
	c->nr_reqs++;
	res = take_head(r, h);
	r->head_only = r->method && strcmp(r->method, "HEAD") == 0;
	if (res == -EFBIG)
		refuse(r, 413, "RequestEntityTooLarge",
		       "request body is too large, the limit is 3 MiB");
	else if (res == -ENAMETOOLONG)
		refuse(r, 414, "RequestURITooLong", TARGET_TOO_LONG);
	else if (res == -E2BIG)
		refuse(r, 431, "RequestHeaderFieldsTooLarge",
		       "request head is too large");
	else if (res < 0)
		refuse(r, 400, "BadRequest", "malformed request");
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	struct conn *c = arg;
	struct req *r = req_of(s);

	if (!r || r->handled)
		return;
	if (r->body.len + len > BODY_MAX) {
		refuse(r, 413, "RequestEntityTooLarge",
		       "request body is too large, the limit is 3 MiB");
		return;
	}
	if (c->bodies + len > BODIES_MAX) {
		reply_field(r, "Retry-After", "1");
		refuse(r, 429, "TooManyRequests",
		       "too many large requests at once on one connection");
		return;
	}
	if (buf_add(&r->body, data, len) < 0) {
		refuse(r, 500, "InternalError", "out of memory");
		return;
	}
	c->bodies += len;
}

static void on_end(void *arg, struct h2_stream *s)
{
	struct conn *c = arg;
	struct req *r = req_of(s);

	if (!r)
		return;
	if (r->handled) {
		r->body_done = true;
		return;
	}
	c->bodies -= r->body.len;
	add_todo(c, r);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	struct conn *c = arg;
	struct req *r = req_of(s);

	(void)code;
	if (!r)
		return;
	if (!r->body_done)
		c->bodies -= r->body.len;
	unlink_todo(c, r);
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	c->nr_reqs--;
	if (!c->nr_reqs)
		c->idle_ms = ev_now_ms(c->loop->ev);
	r->stream = NULL;
	if (r->write)
		write_orphan(r);
	else
		req_free(r);
}

/* --- answers go --- */

static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	struct conn *c = arg;
	struct req *r = req_of(s);
	size_t n = put_pieces(r, buf, size);

	if (r->stalled && r->out_at == r->out_nr) {
		req_fill(r);
		n += put_pieces(r, (char *)buf + n, size - n);
	}
	if (r->broken)
		return -EIO;
	if (n)
		r->moved_ms = ev_now_ms(c->loop->ev);
	*ret_eof = r->finished && r->out_at == r->out_nr;
	if (*ret_eof && !r->body_done)
		h2_reset(s, H2_NO_ERROR); /* the rest is not wanted */
	return (ssize_t)n;
}

/* "Name: value\r\n" lines as fields. They are cut up in place. */
static size_t cut_lines(char *p, struct h1_field *f, size_t max)
{
	size_t nr = 0;

	while (p && *p && nr < max) {
		char *end = strstr(p, "\r\n"), *colon = strstr(p, ": ");

		if (!end || !colon || colon > end)
			break;
		*colon = *end = '\0';
		f[nr].name = p;
		f[nr++].value = colon + 2;
		p = end + 2;
	}
	return nr;
}

static int send_head(struct req *r)
{
	struct h1_field f[FIELDS_OUT_MAX] = {
		{ "content-type", r->type },
		{ "cache-control", "no-cache, private" },
	};
	bool body = !r->head_only && (!r->finished || r->out_at < r->out_nr);
	char length[24];
	size_t nr = 2;

	r->head_sent = true;
	if (!r->streaming) {
		snprintf(length, sizeof(length), "%zu", r->out_bytes);
		f[nr++] = (struct h1_field){ "content-length", length };
	}
	if (r->lines.len)
		nr += cut_lines(r->lines.data, f + nr, FIELDS_OUT_MAX - nr);
	return h2_respond(r->stream, r->code, f, nr, body);
}

void h2_flush_all(struct conn *c)
{
	c->busy = true;
	for (struct req *r = c->reqs, *next; r; r = next) {
		next = r->next;
		if (r->started && r->stream)
			h2_flush_req(r);
	}
}

void h2_flush_req(struct req *r)
{
	struct conn *c = r->conn;

	if (!r->stream)
		return;
	if (!r->head_sent && r->started && (r->streaming || r->finished)) {
		if (send_head(r) < 0)
			h2_reset(r->stream, H2_INTERNAL_ERROR);
	} else if (r->head_sent) {
		h2_resume(r->stream);
	}
	if (!c->busy)
		turn_add(c, 0);
}

void h2_abort_req(struct req *r)
{
	struct conn *c = r->conn;

	if (r->stream)
		h2_reset(r->stream, H2_INTERNAL_ERROR);
	if (!c->busy)
		turn_add(c, 0);
}

/* Small frames share a TLS record, large ones go as they are. */
static bool h2_fill(struct conn *c)
{
	const uint8_t *data;
	size_t sum = 0;
	ssize_t n;

	for (;;) {
		if (c->lent_len) {
			data = (const uint8_t *)c->lent;
			n = (ssize_t)c->lent_len;
		} else {
			n = h2_out(c->h2, &data);
		}
		c->lent_len = 0;
		if (n < 0)
			c->dead = true;
		if (n <= 0)
			break;
		if (!sum && n >= OUT_CHUNK / 2) {
			c->w = (const char *)data;
			c->w_len = (size_t)n;
			return true;
		}
		if (sum + (size_t)n > OUT_CHUNK) {
			/* Valid until the next h2_out(). */
			c->lent = (const char *)data;
			c->lent_len = (size_t)n;
			break;
		}
		memcpy(peer_room() + sum, data, (size_t)n);
		sum += (size_t)n;
	}
	c->w = peer_room();
	c->w_len = sum;
	return sum > 0 && !c->dead;
}

/* --- the connection --- */

static const struct h2_ops ops = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.pull = on_pull,
	.closed = on_closed,
};

int h2_start(struct conn *c)
{
	struct h2_opts o = { .server = true, .ops = &ops, .arg = c };
	int r = h2_new(&o, &c->h2, NULL);

	if (r < 0)
		return r;
	c->idle_ms = ev_now_ms(c->loop->ev);
	peer_timer(c, c->loop->api->patience.stall_ms / CHECKS);
	return 0;
}

void h2_stop(struct conn *c)
{
	struct h2 *h = c->h2;

	c->busy = true;
	c->h2 = NULL;
	h2_free(h);
}

void h2_fed(struct conn *c, const char *data, size_t len)
{
	struct err e = { 0 };

	if (h2_in(c->h2, data, len, &e) == 0)
		return;
	/* What is left to say is said, as far as it goes now. */
	c->eof = true;
	(void)peer_write(c, h2_fill);
	c->dead = true;
}

/* Watches for which there is something. */
static void serve_ready(struct conn *c)
{
	c->ready = false;
	for (struct req *r = c->reqs; r; r = r->next)
		if (r->stalled && r->out_at == r->out_nr && r->head_sent)
			h2_resume(r->stream);
}

void h2_run(struct conn *c)
{
	int handled = 0;

	c->busy = true;
	if (c->ready)
		serve_ready(c);
	while (c->todo && !c->dead && (!handled++ || !turn_is_over(c->loop))) {
		struct req *r = c->todo;

		unlink_todo(c, r);
		peer_handle(r);
		if (c->away)
			return;
	}
	if (!c->dead)
		(void)peer_write(c, h2_fill);
	if (h2_is_done(c->h2) ||
	    (c->leaving && !c->nr_reqs && !c->lent_len && seal_is_out(c)))
		c->dead = true;
	c->busy = false;
	if (c->dead)
		peer_close(c);
	else if (c->more || c->todo || c->ready)
		turn_add(c, 0);
}

static void check_req(struct req *r, uint64_t now)
{
	const struct api_patience *w = &r->api->patience;
	bool pending = r->head_sent && r->out_at < r->out_nr;

	if (!r->body_done && now - r->came_ms > w->request_ms)
		h2_reset(r->stream, H2_CANCEL);
	else if (pending && now - r->moved_ms > w->stall_ms)
		h2_reset(r->stream, H2_CANCEL);
	else if (!pending)
		r->moved_ms = now;
}

void h2_timer(struct conn *c)
{
	const struct api_patience *w = &c->loop->api->patience;
	uint64_t now = ev_now_ms(c->loop->ev);

	if (!seal_is_out(c) && !c->moved && ++c->stalls >= CHECKS)
		c->dead = true;
	/* Not even its preface. */
	if (!h2_has_begun(c->h2) && now - c->idle_ms > w->request_ms)
		c->dead = true;
	if (c->moved)
		c->stalls = 0;
	c->moved = false;
	for (struct req *r = c->reqs; r; r = r->next)
		check_req(r, now);
	if (!c->nr_reqs && now - c->idle_ms > w->idle_ms && !c->leaving) {
		c->leaving = true;
		h2_goaway(c->h2, true);
	}
	peer_timer(c, w->stall_ms / CHECKS);
	if (c->dead)
		peer_close(c);
	else
		h2_run(c);
}

/* --- the end --- */

void peer_drain(struct conn *c)
{
	if (c->away)
		return; /* it comes back to a loop that drains */
	if (!c->handshaken || c->tunnel || (!c->h2 && !c->req)) {
		peer_close(c);
		return;
	}
	c->busy = true;
	if (c->req && c->req->watch)
		watch_end(c->req);
	for (struct req *r = c->reqs; r; r = r->next)
		if (r->watch)
			watch_end(r);
	if (c->h2) {
		c->leaving = true;
		h2_goaway(c->h2, true);
	}
	c->busy = false;
	if (c->h2)
		h2_run(c);
	else
		h1_run(c);
}
