// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <strings.h>

#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "lib/http/h1.h"
#include "lib/http/stream.h"
#include "lib/http/tls.h"
#include "lib/http/wire.h"
#include "lib/str.h"

#define AHEAD_MAX  ((size_t)64 * 1024) /* bytes waiting, either way */
#define CONNECT_MS 10000
#define ANSWER_MS  60000 /* from the request to the answer's head */
#define PIECE      16384
#define TEXT_MAX   1500 /* bytes of an error that is told in text */

/* EXPLAINING: collects the text of an error. */
enum state { SENDING, WAITING, EXPLAINING, ANSWERING, TUNNEL, OVER };

struct relay {
	struct req *r;  /* NULL: a tunnel, or over */
	struct conn *c; /* of a tunnel */
	struct loop *loop;
	struct wire up;
	struct ev_timer timer;
	struct ev_defer defer;
	enum state state;
	bool freed;
	struct h1 answer;
	struct buf to_up, to_client;
	bool up_eof;
	bool dialling; /* @request follows when that has worked */
	struct buf request;
	bool unavailable;    /* see struct relay_to */
	bool text_is_status; /* the same, as all below */
	unsigned int deadline_ms;
	void (*failed)(struct req *r);
};

static void ready(void *arg);

/* --- heads ---------------------------------------------------------------- */

/* Fields of one connection only, and those that name the client to us. */
static bool is_hop(const char *name, size_t n, bool request)
{
	static const char *const hop[] = {
		"connection",       "keep-alive",          "proxy-authenticate",
		"proxy-connection", "proxy-authorization", "te",
		"trailer",          "transfer-encoding",   "upgrade",
		"content-length",
	};
	static const char *const ours[] = { "authorization", "host", "expect",
					    "audit-id" };

	for (size_t i = 0; i < ARRAY_LEN(hop); i++)
		if (strlen(hop[i]) == n && !strncasecmp(name, hop[i], n))
			return true;
	if (!request)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (strlen(ours[i]) == n && !strncasecmp(name, ours[i], n))
			return true;
	return (n > 12 && !strncasecmp(name, "impersonate-", 12)) ||
	       (n > 9 && !strncasecmp(name, "x-remote-", 9));
}

static void put_request(struct relay *y, const struct relay_to *to)
{
	struct req *r = y->r;
	const char *p = buf_str(&r->fields);

	h1_put_request(&y->to_up, r->method, to->target, to->name);
	while (*p) {
		size_t n = strcspn(p, ":"), line = strcspn(p, "\r");

		if (!is_hop(p, n, true))
			buf_add(&y->to_up, p, line + 2);
		p += line + 2;
	}
	if (r->upgrade && r->wants_upgrade) {
		h1_put_field(&y->to_up, "Connection", "Upgrade");
		h1_put_field(&y->to_up, "Upgrade", r->upgrade);
	} else {
		h1_put_field(&y->to_up, "Connection", "close");
	}
	if (r->body.len || strcmp(r->method, "POST") == 0 ||
	    strcmp(r->method, "PUT") == 0)
		h1_put_length(&y->to_up, r->body.len);
	h1_put_field(&y->to_up, "Audit-ID", r->audit_id);
	if (to->fields)
		buf_puts(&y->to_up, to->fields);
	h1_put_end(&y->to_up);
	buf_add(&y->to_up, buf_str(&r->body), r->body.len);
}

/* The way first: what was to be sent goes over it. */
static void put_dial(struct relay *y, const struct relay_to *to)
{
	y->dialling = true;
	y->request = y->to_up;
	y->to_up = (struct buf)BUF_INIT;
	h1_put_request(&y->to_up, "GET", to->dial, to->name);
	h1_put_field(&y->to_up, "Connection", "Upgrade");
	h1_put_field(&y->to_up, "Upgrade", STREAM_TCP);
	h1_put_end(&y->to_up);
}

/* --- failures ------------------------------------------------------------- */

static void finish(struct relay *y)
{
	y->state = OVER;
	ev_timer_del(&y->timer);
	wire_close(&y->up);
}

/* Over, without a whole answer. The request may be gone after this. */
static void fail(struct relay *y, const char *why)
{
	struct req *r = take_ptr(y->r);
	bool begun = y->state == ANSWERING;

	finish(y);
	if (!r)
		return;
	if (y->failed)
		y->failed(r);
	if (begun)
		req_abort(r);
	else if (y->unavailable)
		reply_error(r, 503, "ServiceUnavailable",
			    "error trying to reach service: %s", why);
	else
		reply_error(r, 500, "InternalError",
			    "error dialing backend: %s", why);
}

static void on_timeout(void *arg)
{
	struct relay *y = arg;

	fail(y, y->state == SENDING     ? "timeout while connecting"
		: y->state == ANSWERING ? "the answer took too long"
					: "no answer within 60 s");
}

/* --- the answer ----------------------------------------------------------- */

static void put_status(struct relay *y, struct buf *b)
{
	const struct h1_head *h = &y->answer.head;

	h1_put_status(b, h->status);
	for (size_t i = 0; i < h->nr_fields; i++)
		h1_put_field(b, h->fields[i].name, h->fields[i].value);
	h1_put_end(b);
}

/* From now on both ends speak through us. */
static void begin_tunnel(struct relay *y, const char *rest, size_t len)
{
	struct req *r = take_ptr(y->r);

	y->c = r->conn;
	y->state = TUNNEL;
	ev_timer_del(&y->timer);
	put_status(y, &y->to_client);
	buf_add(&y->to_client, rest, len);
	/* Counted, and never sent: the tunnel does. */
	reply_begin(r, 101, "");
	r->relay = NULL;
	y->c->tunnel = y;
	/* What came behind the request was meant for the other end. */
	buf_add(&y->to_up, buf_str(&y->c->in), y->c->in.len);
	buf_clear(&y->c->in);
}

static void begin_answer(struct relay *y)
{
	const struct h1_head *h = &y->answer.head;
	struct req *r = y->r;
	const char *type = h1_field(h, "Content-Type");

	y->state = ANSWERING;
	if (!y->deadline_ms)
		ev_timer_del(&y->timer);
	r->own_type = strdup(type ? type : "application/octet-stream");
	reply_begin(r, h->status, r->own_type ? r->own_type : "text/plain");
	for (size_t i = 0; i < h->nr_fields; i++) {
		const char *name = h->fields[i].name;

		if (!is_hop(name, strlen(name), false) &&
		    strcasecmp(name, "content-type") != 0 &&
		    strcasecmp(name, "audit-id") != 0 &&
		    strcasecmp(name, "cache-control") != 0)
			reply_field(r, name, h->fields[i].value);
	}
	r->streaming = true;
}

static void put_text(struct relay *y, const char *data, size_t len)
{
	size_t room = TEXT_MAX - y->to_client.len;

	buf_add(&y->to_client, data, len < room ? len : room);
}

static bool is_told_in_text(const struct relay *y)
{
	const char *type = h1_field(&y->answer.head, "Content-Type");

	return (y->text_is_status || y->dialling) &&
	       y->answer.head.status >= 400 && type &&
	       str_starts(type, "text/plain");
}

static void explain(struct relay *y)
{
	static const struct {
		int code;
		const char *reason;
	} table[] = {
		{ 400, "BadRequest" },         { 401, "Unauthorized" },
		{ 403, "Forbidden" },          { 404, "NotFound" },
		{ 409, "Conflict" },           { 429, "TooManyRequests" },
		{ 503, "ServiceUnavailable" },
	};
	int code = y->answer.head.status;
	const char *reason = "InternalError";
	struct req *r = take_ptr(y->r);

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].code == code)
			reason = table[i].reason;
	finish(y);
	reply_error(r, code, reason, "%s", buf_str(&y->to_client));
	buf_clear(&y->to_client);
}

static bool is_upgrade(const struct relay *y)
{
	return y->answer.head.status == 101 && y->r->upgrade &&
	       y->r->wants_upgrade && !y->r->stream;
}

static bool is_redirect(const struct relay *y)
{
	int status = y->answer.head.status;

	return status >= 300 && status < 400 && status != 304;
}

/* The pod has been reached. */
static void begin_request(struct relay *y)
{
	y->dialling = false;
	h1_clear(&y->answer);
	h1_init(&y->answer, H1_RESPONSE, NULL);
	if (y->r->head_only)
		h1_no_body(&y->answer);
	buf_clear(&y->to_up);
	y->to_up = y->request;
	y->request = (struct buf)BUF_INIT;
	y->state = SENDING;
	wire_want(&y->up, false, true);
}

/* Take what has come. 1: all is there; 0: more is to come. */
static int take_answer(struct relay *y, const char *data, size_t len)
{
	struct h1_piece piece;
	struct err e = { 0 };
	size_t used;
	int r;

	do {
		r = h1_next(&y->answer, data, len, &used, &piece, &e);
		data += used;
		len -= used;
		if (r == H1_HEAD && y->dialling &&
		    y->answer.head.status == 101) {
			begin_request(y);
			return len ? err_set(&y->up.why, -EPROTO,
					     "an answer before its request")
				   : 0;
		}
		if (r == H1_HEAD && y->dialling && y->answer.head.status < 400)
			return err_set(&y->up.why, -EPROTO,
				       "the node does not dial");
		if (r == H1_HEAD && is_upgrade(y)) {
			begin_tunnel(y, data, len);
			return 0;
		}
		if (r == H1_HEAD && y->answer.head.status == 101)
			return err_set(&y->up.why, -EPROTO,
				       "an upgrade nobody asked for");
		if (r == H1_HEAD && y->unavailable && is_redirect(y))
			return err_set(&y->up.why, -EPROTO,
				       "the backend attempted to redirect this "
				       "request, which is not permitted");
		if (r == H1_HEAD && is_told_in_text(y))
			y->state = EXPLAINING;
		else if (r == H1_HEAD && y->answer.head.status >= 200)
			begin_answer(y);
		else if (r == H1_BODY && y->state == EXPLAINING)
			put_text(y, piece.data, piece.len);
		else if (r == H1_BODY)
			reply_text(y->r, piece.data, piece.len);
	} while (r == H1_HEAD || r == H1_BODY);
	if (r < 0)
		err_set(&y->up.why, r, "%s", e.msg);
	return r == H1_END ? 1 : r < 0 ? r : 0;
}

static void end_answer(struct relay *y)
{
	struct req *r;

	if (y->state == EXPLAINING) {
		explain(y);
		return;
	}
	r = take_ptr(y->r);
	finish(y);
	if (r)
		reply_end(r);
}

static void read_answer(struct relay *y)
{
	char data[PIECE];
	struct err e = { 0 };
	ssize_t n = -EAGAIN;
	int r = 0;

	for (int i = 0;
	     i < 4 && r == 0 && y->state != TUNNEL && y->state != SENDING;
	     i++) {
		if (y->r->out_bytes > AHEAD_MAX) {
			y->r->stalled = true; /* relay_fill() comes */
			break;
		}
		n = wire_read(&y->up, data, sizeof(data));
		if (n <= 0)
			break;
		r = take_answer(y, data, (size_t)n);
	}
	if (y->state == TUNNEL || (y->state == SENDING && r == 0))
		return;
	if (r == 0 && n == 0)
		r = h1_eof(&y->answer, &e) == H1_END
			    ? 1
			    : err_set(&y->up.why, -ECONNRESET,
				      "closed before its answer was whole");
	if (r < 0 || (n < 0 && n != -EAGAIN))
		fail(y, y->up.why.msg);
	else if (r == 1)
		end_answer(y);
	else
		wire_want(&y->up, !y->r->stalled, false);
}

/* --- bytes ---------------------------------------------------------------- */

/* Send what waits for the server. 0 or -errno. */
static int send_up(struct relay *y)
{
	while (y->to_up.len) {
		ssize_t n = wire_write(&y->up, y->to_up.data, y->to_up.len);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return (int)n;
		buf_consume(&y->to_up, (size_t)n);
	}
	return 0;
}

static void go_on(struct relay *y)
{
	struct req *r = y->r;

	if (send_up(y) < 0) {
		fail(y, y->up.why.msg);
		return;
	}
	if (y->to_up.len) {
		wire_want(&y->up, false, true);
		return;
	}
	if (y->state == SENDING) {
		y->state = WAITING;
		ev_timer_set(y->loop->ev, &y->timer,
			     y->deadline_ms ? y->deadline_ms : ANSWER_MS,
			     on_timeout, y);
	}
	read_answer(y);
	/* What has been taken is to be sent, unless it was. */
	if (y->state == ANSWERING && y->r == r)
		req_flush(r);
	else if (y->state == TUNNEL)
		turn_add(y->c, 0);
}

static void ready(void *arg)
{
	struct relay *y = arg;

	if (y->state == TUNNEL)
		turn_add(y->c, 0);
	else if (y->state != OVER)
		go_on(y);
}

void relay_fill(struct relay *y)
{
	struct req *r = y->r;

	if (!r || y->state != ANSWERING)
		return;
	r->stalled = false;
	/* Bytes may wait within TLS: read in a turn of its own. */
	wire_want(&y->up, true, true);
}

/* --- tunnels -------------------------------------------------------------- */

bool relay_wants(const struct relay *y)
{
	return y->to_up.len < AHEAD_MAX;
}

void relay_fed(struct relay *y, const char *data, size_t len)
{
	buf_add(&y->to_up, data, len);
}

static bool tunnel_fill(struct conn *c)
{
	struct relay *y = c->tunnel;
	size_t n = y->to_client.len < OUT_CHUNK ? y->to_client.len : OUT_CHUNK;

	if (!n)
		return false;
	memcpy(peer_room(), y->to_client.data, n);
	buf_consume(&y->to_client, n);
	c->w = peer_room();
	c->w_len = n;
	return true;
}

void relay_run(struct relay *y)
{
	struct conn *c = y->c;
	char data[PIECE];
	ssize_t n = -EAGAIN;

	for (int i = 0;
	     i < 16 && !y->up_eof && !c->dead && y->to_client.len < AHEAD_MAX;
	     i++) {
		n = wire_read(&y->up, data, sizeof(data));
		if (n <= 0)
			break;
		buf_add(&y->to_client, data, (size_t)n);
	}
	if (n <= 0 && n != -EAGAIN)
		y->up_eof = true;
	if (!y->up_eof && send_up(y) < 0)
		y->up_eof = true;
	if (buf_error(&y->to_client) || buf_error(&y->to_up)) {
		c->dead = true;
		return;
	}
	if (peer_write(c, tunnel_fill) < 0)
		return;
	if (n > 0)
		c->more = true; /* there may be some within TLS */
	if (y->up_eof && !y->to_client.len && seal_is_out(c))
		c->dead = true;
	if (!y->up_eof)
		wire_want(&y->up, y->to_client.len<AHEAD_MAX, y->to_up.len> 0);
	else
		wire_close(&y->up);
}

/* --- life ----------------------------------------------------------------- */

static void release(void *arg)
{
	struct relay *y = arg;

	atomic_fetch_sub(&y->loop->api->nr_relays, 1);
	h1_clear(&y->answer);
	buf_clear(&y->to_up);
	buf_clear(&y->request);
	buf_clear(&y->to_client);
	free(y);
}

/* Whoever calls may have been called by us: memory goes after the batch. */
void relay_free(struct relay *y)
{
	if (!y || y->freed)
		return;
	y->freed = true;
	y->r = NULL;
	finish(y);
	ev_defer(y->loop->ev, &y->defer, release, y);
}

void relay_start(struct req *r, const struct relay_to *to)
{
	struct relay *y = calloc(1, sizeof(*y));
	struct err e = { 0 };

	if (!y) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	y->r = r;
	y->loop = r->loop;
	y->unavailable = to->unavailable;
	y->text_is_status = to->text_is_status;
	y->deadline_ms = to->deadline_ms;
	y->failed = to->failed;
	y->up.fd = -EBADF;
	atomic_fetch_add(&y->loop->api->nr_relays, 1);
	r->relay = y;
	h1_init(&y->answer, H1_RESPONSE, NULL);
	if (r->head_only)
		h1_no_body(&y->answer);
	put_request(y, to);
	if (to->dial)
		put_dial(y, to);
	buf_clear(&r->body);
	if (wire_connect(&y->up, r->loop->ev, (const void *)&to->addr,
			 to->addr_len, to->tls, to->name, ready, y, &e) < 0 ||
	    (to->subject && tls_expect_subject(y->up.ssl, to->subject) < 0)) {
		fail(y, e.msg);
		return;
	}
	ev_timer_set(r->loop->ev, &y->timer, CONNECT_MS, on_timeout, y);
}
