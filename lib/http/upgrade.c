// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/err.h"
#include "lib/http/h1.h"
#include "lib/http/stream.h"
#include "lib/http/upgrade.h"
#include "lib/str.h"

#define GOODBYE_MS 5000
#define PIECE      16384
#define TURN       8 /* pieces read before others have their turn */

/* --- agreeing ------------------------------------------------------------- */

static int refuse(struct http_req *req, int status, const char *why,
		  struct err *e)
{
	(void)http_reply(req, status, "text/plain; charset=utf-8", why,
			 strlen(why));
	return err_set(e, -EPROTO, "%s", why);
}

static bool is_named(const struct h1_head *h, const char *field,
		     const char *what, bool *ret_asked)
{
	for (size_t i = 0; i < h->nr_fields; i++) {
		if (strcasecmp(h->fields[i].name, field) != 0)
			continue;
		*ret_asked = true;
		if (h1_has_token(h->fields[i].value, what))
			return true;
	}
	return false;
}

/* The first of ours that the client has, too. Clients name several in one
 * field, or repeat the field. */
static const char *best(const struct h1_head *h, const char *field,
			const char *const *offer, bool *ret_asked)
{
	for (; offer && *offer; offer++)
		if (is_named(h, field, *offer, ret_asked))
			return *offer;
	return NULL;
}

static int accept_ws(struct upgrade *u, struct http_req *req,
		     const struct upgrade_offer *offer, struct err *e)
{
	static const char name[] = "Sec-WebSocket-Protocol";
	const struct h1_head *h = req->head;
	const char *key = h1_field(h, "Sec-WebSocket-Key");
	const char *version = h1_field(h, "Sec-WebSocket-Version");
	struct h1_field out[3] = { { "Upgrade", "websocket" },
				   { "Sec-WebSocket-Accept", NULL },
				   { name, NULL } };
	auto_buf struct buf early = BUF_INIT;
	char accept[WS_KEY_TEXT];
	bool asked = false;
	SSL *ssl = NULL;
	int fd, r;

	if (strcmp(h->method, "GET") != 0 || !str_eq(version, "13") || !key ||
	    ws_accept(key, accept) < 0)
		return refuse(req, 400, "not a WebSocket handshake\n", e);
	u->kind = UPGRADE_TUNNEL;
	u->protocol = best(h, name, offer->tunnel, &asked);
	if (!u->protocol) {
		u->kind = UPGRADE_WS;
		u->protocol = best(h, name, offer->ws, &asked);
	}
	if (!u->protocol)
		return refuse(req, 400,
			      "none of the WebSocket subprotocols asked for is "
			      "served\n",
			      e);
	out[1].value = accept;
	out[2].value = u->protocol;
	u->loop = http_req_loop(req);
	r = http_take_tls(req, out, 3, &fd, &ssl, &early, e);
	if (r < 0)
		return r;
	ws_init(&u->ws, WS_SERVER);
	return wire_take(&u->w, u->loop, fd, ssl, &early, e);
}

static int accept_spdy(struct upgrade *u, struct http_req *req,
		       const struct upgrade_offer *offer, struct err *e)
{
	static const char name[] = "X-Stream-Protocol-Version";
	struct h1_field out[2] = { { "Upgrade", "SPDY/3.1" }, { name, NULL } };
	auto_buf struct buf early = BUF_INIT;
	bool asked = false;
	SSL *ssl = NULL;
	int fd, r;

	u->kind = UPGRADE_SPDY;
	u->protocol = best(req->head, name, offer->spdy, &asked);
	if (!u->protocol && asked)
		return refuse(req, 403,
			      "none of the stream protocol versions asked for "
			      "is served\n",
			      e);
	out[1].value = u->protocol;
	u->loop = http_req_loop(req);
	r = http_take_tls(req, out, u->protocol ? 2 : 1, &fd, &ssl, &early, e);
	if (r < 0)
		return r;
	return wire_take(&u->w, u->loop, fd, ssl, &early, e);
}

int upgrade_accept(struct upgrade *u, struct http_req *req,
		   const struct upgrade_offer *offer, struct err *e)
{
	const char *to = req->head->upgrade;

	if (http_gone(req))
		return err_set(e, -EPIPE, "the client has gone");
	if (!to)
		return refuse(req, 400, "Upgrade request required\n", e);
	if (strcasecmp(to, "websocket") == 0)
		return accept_ws(u, req, offer, e);
	if (strcasecmp(to, "SPDY/3.1") == 0)
		return accept_spdy(u, req, offer, e);
	return refuse(req, 400,
		      "only upgrades to SPDY/3.1 and websocket are served\n",
		      e);
}

/* --- in ------------------------------------------------------------------- */

static int feed_ws(struct upgrade *u, char *data, size_t len)
{
	struct ws_piece piece;
	struct err e = { 0 };
	size_t used;
	int r;

	do {
		r = ws_next(&u->ws, data, len, &used, &piece, &e);
		data += used;
		len -= used;
		if (r == WS_PINGED)
			ws_put(&u->raw, WS_SERVER, WS_PONG, piece.data,
			       piece.len);
		else if (r == WS_PIECE && u->kind == UPGRADE_TUNNEL)
			r = piece.len ? u->ops->bytes(u->arg, piece.data,
						      piece.len)
				      : 0;
		else if (r == WS_PIECE)
			r = u->ops->piece(u->arg, &piece);
		else if (r == WS_CLOSED)
			return -ECONNRESET;
	} while (r >= 0 && len && !u->over);
	if (r == -EBADMSG)
		ws_put_close(&u->raw, WS_SERVER, 1002, e.msg);
	return r;
}

/* Fewer than TURN pieces. 0, or why it is over. */
static int take_in(struct upgrade *u)
{
	char data[PIECE];

	for (int i = 0; i < TURN && !u->paused && !u->over; i++) {
		ssize_t n = wire_read(&u->w, data, sizeof(data));
		int r;

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		if (u->ending)
			continue; /* only its end is awaited */
		r = u->kind == UPGRADE_SPDY
			    ? u->ops->bytes(u->arg, data, (size_t)n)
			    : feed_ws(u, data, (size_t)n);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- out ------------------------------------------------------------------ */

struct buf *upgrade_out(struct upgrade *u)
{
	return u->kind == UPGRADE_TUNNEL ? &u->spdy : &u->raw;
}

size_t upgrade_backlog(const struct upgrade *u)
{
	return u->raw.len + u->spdy.len;
}

static void wrap(struct upgrade *u)
{
	const char *p = buf_str(&u->spdy);
	size_t len = u->spdy.len;

	while (len) {
		size_t n = len < 2 * PIECE ? len : 2 * PIECE;

		ws_put(&u->raw, WS_SERVER, WS_BINARY, p, n);
		p += n;
		len -= n;
	}
	buf_reset(&u->spdy);
}

static int send_out(struct upgrade *u)
{
	size_t done = 0;
	ssize_t n = 0;

	wrap(u);
	if (buf_error(&u->raw) || buf_error(&u->spdy))
		return -ENOMEM;
	while (done < u->raw.len) {
		n = wire_write(&u->w, u->raw.data + done, u->raw.len - done);
		if (n < 0)
			break;
		done += (size_t)n;
	}
	buf_consume(&u->raw, done);
	return n < 0 && n != -EAGAIN ? (int)n : 0;
}

void upgrade_flush(struct upgrade *u)
{
	if (u->over)
		return;
	if (send_out(u) < 0) {
		upgrade_over(u);
		return;
	}
	u->high = u->high || upgrade_backlog(u) >= STREAM_LOW;
	wire_want(&u->w, !u->paused, u->raw.len > 0);
}

static void ready(void *arg)
{
	struct upgrade *u = arg;
	int r = take_in(u);

	if (r < 0 && !u->over) {
		(void)send_out(u); /* a last word, if there is room */
		upgrade_over(u);
	}
	upgrade_flush(u);
	if (u->over || !u->high || upgrade_backlog(u) >= STREAM_LOW)
		return;
	u->high = false;
	u->ops->drain(u->arg);
}

void upgrade_pause(struct upgrade *u, bool pause)
{
	u->paused = pause;
	if (u->over)
		return;
	/* Bytes may wait within TLS: with room to write, we are called. */
	wire_want(&u->w, !pause, u->raw.len > 0 || !pause);
}

/* --- life ----------------------------------------------------------------- */

static void tell_gone(void *arg)
{
	struct upgrade *u = arg;

	u->ops->gone(u->arg);
}

void upgrade_over(struct upgrade *u)
{
	if (u->over)
		return;
	u->over = true;
	ev_timer_del(&u->timer);
	wire_close(&u->w);
	ev_defer(u->loop, &u->defer, tell_gone, u);
}

static void on_timeout(void *arg)
{
	upgrade_over(arg);
}

void upgrade_end(struct upgrade *u)
{
	if (u->over || u->ending)
		return;
	u->ending = true;
	u->paused = false;
	wrap(u);
	if (u->kind != UPGRADE_SPDY)
		ws_put_close(&u->raw, WS_SERVER, 1000, "");
	(void)ev_timer_set(u->loop, &u->timer, GOODBYE_MS, on_timeout, u);
	upgrade_flush(u);
}

void upgrade_start(struct upgrade *u, const struct upgrade_ops *ops, void *arg)
{
	u->ops = ops;
	u->arg = arg;
	u->w.ready = ready;
	u->w.arg = u;
	(void)ev_timer_set(u->loop, &u->timer, STREAM_BEGIN_MS, on_timeout, u);
	/* What came behind the request is read at once. */
	wire_want(&u->w, true, true);
}

void upgrade_clear(struct upgrade *u)
{
	ev_timer_del(&u->timer);
	wire_close(&u->w);
	buf_clear(&u->raw);
	buf_clear(&u->spdy);
}
