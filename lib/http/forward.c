// SPDX-License-Identifier: Apache-2.0
/*
 * Port-forward: a connection is a pair of streams of SPDY, one for bytes and
 * one for the story when it fails; or, the older way over WebSocket, a pair of
 * channels for each port the URL names.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/http/spdy.h"
#include "lib/http/stream.h"
#include "lib/http/upgrade.h"
#include "lib/http/url.h"
#include "lib/str.h"

#define PIECE     16384
#define PORTS_MAX 64 /* of a URL */
#define ID_MAX    64 /* bytes of a request's id */

enum { DATA, ERRORS };

struct forward_conn {
	struct forward *f;
	struct forward_conn *next, **link;
	void *data;
	uint16_t port;
	char id[ID_MAX];               /* the client's, of the pair */
	struct spdy_stream *stream[2]; /* DATA, ERRORS */
	bool seen[2];
	int channel; /* of WebSocket; its errors are one above */
	bool opened, ended, high;
};

struct forward {
	struct upgrade u;
	const struct forward_ops *ops;
	void *arg;
	struct spdy *spdy;
	struct forward_conn *conns;
	int channel; /* of the message coming in; -1: not known yet */
	bool over;
};

static const char *const spdy_versions[] = { "portforward.k8s.io", NULL };
static const char *const ws_versions[] = { "v4.channel.k8s.io",
					   "portforward.k8s.io", NULL };
static const char *const tunnels[] = { "SPDY/3.1+portforward.k8s.io", NULL };

/* --- connections ---------------------------------------------------------- */

static struct forward_conn *conn_add(struct forward *f, const char *id)
{
	struct forward_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->f = f;
	c->channel = -1;
	strncpy(c->id, id, sizeof(c->id) - 1);
	c->next = f->conns;
	c->link = &f->conns;
	if (c->next)
		c->next->link = &c->next;
	f->conns = c;
	return c;
}

static void conn_free(struct forward_conn *c)
{
	struct forward *f = c->f;

	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (c->opened)
		f->ops->closed(f->arg, c);
	free(c);
}

static struct forward_conn *conn_find(struct forward *f, const char *id)
{
	struct forward_conn *c = f->conns;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

static void client_ended(struct forward_conn *c)
{
	if (!c->opened || c->ended)
		return;
	c->ended = true;
	c->f->ops->end(c->f->arg, c);
}

/* --- SPDY ----------------------------------------------------------------- */

static const char *field(const struct h1_field *f, size_t nr, const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(f[i].name, name) == 0)
			return f[i].value;
	return NULL;
}

static void on_opened(void *arg, struct spdy_stream *s,
		      const struct h1_field *fields, size_t nr)
{
	struct forward *f = arg;
	const char *type = field(fields, nr, "streamtype");
	const char *id = field(fields, nr, "requestid");
	const char *port = field(fields, nr, "port");
	int k = str_eq(type, "data") ? DATA : ERRORS;
	struct forward_conn *c;
	char own[16];
	uint64_t n = 0;

	if (!type || (k == ERRORS && strcmp(type, "error") != 0) || !port ||
	    str_to_u64(port, &n) < 0 || !n || n > UINT16_MAX ||
	    (id && strlen(id) >= ID_MAX)) {
		spdy_reset(s);
		return;
	}
	/* Clients that give no id open the errors first, then the data. */
	snprintf(own, sizeof(own), "#%u", s->id - (k == DATA ? 2 : 0));
	c = conn_find(f, id ? id : own);
	if (!c)
		c = conn_add(f, id ? id : own);
	if (!c || c->seen[k]) {
		spdy_reset(s);
		return;
	}
	s->data = c;
	c->stream[k] = s;
	c->seen[k] = true;
	c->port = (uint16_t)n;
	if (c->seen[!k] && c->stream[!k]) {
		c->opened = true;
		f->ops->open(f->arg, c, c->port);
	}
}

static void on_data(void *arg, struct spdy_stream *s, const void *data,
		    size_t len)
{
	struct forward *f = arg;
	struct forward_conn *c = s->data;

	if (c && c->opened && s == c->stream[DATA])
		f->ops->data(f->arg, c, data, len);
}

static void on_ended(void *arg, struct spdy_stream *s)
{
	struct forward_conn *c = s->data;

	(void)arg;
	if (c && s == c->stream[DATA])
		client_ended(c);
}

static void on_closed(void *arg, struct spdy_stream *s)
{
	struct forward_conn *c = s->data;
	int k;

	(void)arg;
	if (!c)
		return;
	k = s == c->stream[ERRORS] ? ERRORS : DATA;
	c->stream[k] = NULL;
	if (k == DATA)
		client_ended(c);
	if (!c->stream[DATA] && !c->stream[ERRORS])
		conn_free(c);
}

static const struct spdy_ops spdy_ops = {
	.opened = on_opened,
	.data = on_data,
	.ended = on_ended,
	.closed = on_closed,
};

/* --- events of the connection --------------------------------------------- */

static int on_bytes(void *arg, const char *data, size_t len)
{
	struct forward *f = arg;
	int r;

	ev_timer_del(&f->u.timer); /* it has begun */
	r = spdy_in(f->spdy, data, len, NULL);
	upgrade_flush(&f->u);
	return r;
}

static int on_piece(void *arg, const struct ws_piece *piece)
{
	struct forward *f = arg;
	const char *p = piece->data;
	size_t len = piece->len;

	if (piece->first)
		f->channel = -1;
	if (f->channel < 0 && len) {
		f->channel = (unsigned char)*p++;
		len--;
	}
	for (struct forward_conn *c = f->conns; c && len; c = c->next)
		if (c->channel == f->channel && !c->ended) {
			f->ops->data(f->arg, c, p, len);
			break;
		}
	return 0;
}

static void on_drain(void *arg)
{
	struct forward *f = arg;

	for (struct forward_conn *c = f->conns, *next; c; c = next) {
		next = c->next;
		if (!c->high)
			continue;
		c->high = false;
		f->ops->drain(f->arg, c);
	}
}

static void on_gone(void *arg)
{
	struct forward *f = arg;

	f->over = true;
	spdy_free(f->spdy); /* closes the connections it has */
	while (f->conns)
		conn_free(f->conns);
	f->ops->gone(f->arg, f);
	upgrade_clear(&f->u);
	free(f);
}

static const struct upgrade_ops upgrade_ops = {
	.bytes = on_bytes,
	.piece = on_piece,
	.drain = on_drain,
	.gone = on_gone,
};

/* --- accepting ------------------------------------------------------------ */

/* "port=80&port=443", or "ports=80,443". */
static size_t take_ports(const char *target, uint16_t *port)
{
	size_t nr = 0;
	struct url u;

	if (url_parse(target, &u, NULL) < 0)
		return 0;
	for (size_t i = 0; i < u.nr_params; i++) {
		const char *p = u.param[i].value;

		if (strcmp(u.param[i].name, "port") != 0 &&
		    strcmp(u.param[i].name, "ports") != 0)
			continue;
		while (*p && nr < PORTS_MAX) {
			char text[8] = "";
			size_t n = strcspn(p, ",");
			uint64_t v;

			if (n < sizeof(text))
				memcpy(text, p, n);
			if (str_to_u64(text, &v) == 0 && v && v <= UINT16_MAX)
				port[nr++] = (uint16_t)v;
			p += n + (p[n] == ',');
		}
	}
	url_clear(&u);
	return nr;
}

static void begin_ws(struct forward *f, const uint16_t *port, size_t nr)
{
	ev_timer_del(&f->u.timer);
	for (size_t i = 0; i < nr; i++) {
		const char head[2] = { (char)port[i], (char)(port[i] >> 8) };
		struct forward_conn *c = conn_add(f, "");
		char channel = (char)(2 * i);

		if (!c)
			break;
		c->port = port[i];
		c->channel = channel;
		c->opened = true;
		/* Both channels begin with the port's number. */
		ws_put2(&f->u.raw, WS_SERVER, WS_BINARY, &channel, 1, head, 2);
		channel++;
		ws_put2(&f->u.raw, WS_SERVER, WS_BINARY, &channel, 1, head, 2);
	}
	upgrade_flush(&f->u);
	for (struct forward_conn *c = f->conns, *next; c; c = next) {
		next = c->next;
		f->ops->open(f->arg, c, c->port);
	}
}

static int refuse(struct http_req *req, struct err *e)
{
	static const char why[] = "query parameter \"port\" is required\n";

	(void)http_reply(req, 400, "text/plain; charset=utf-8", why,
			 sizeof(why) - 1);
	return err_set(e, -EPROTO, "port-forward: no port is named");
}

int forward_accept(struct http_req *req, const struct forward_ops *ops,
		   void *arg, struct forward **ret, struct err *e)
{
	const char *to = req->head->upgrade;
	const char *sub = h1_field(req->head, "Sec-WebSocket-Protocol");
	struct upgrade_offer offer = { .spdy = spdy_versions,
				       .tunnel = tunnels,
				       .ws = ws_versions };
	uint16_t port[PORTS_MAX];
	size_t nr = take_ports(req->head->target, port);
	struct forward *f;
	int r;

	if (to && (*to | 32) == 'w' && !nr &&
	    !(sub && h1_has_token(sub, tunnels[0])))
		return refuse(req, e);
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->ops = ops;
	f->arg = arg;
	r = upgrade_accept(&f->u, req, &offer, e);
	if (r == 0 && f->u.kind != UPGRADE_WS)
		r = spdy_new(true, &spdy_ops, f, upgrade_out(&f->u), &f->spdy,
			     e);
	if (r < 0) {
		upgrade_clear(&f->u);
		free(f);
		return r;
	}
	upgrade_start(&f->u, &upgrade_ops, f);
	*ret = f;
	if (f->u.kind == UPGRADE_WS)
		begin_ws(f, port, nr);
	return 0;
}

/* --- what goes ------------------------------------------------------------ */

static void put_channel(struct forward *f, int channel, const char *data,
			size_t len)
{
	const char head = (char)channel;

	while (len) {
		size_t n = len < PIECE ? len : PIECE;

		ws_put2(&f->u.raw, WS_SERVER, WS_BINARY, &head, 1, data, n);
		data += n;
		len -= n;
	}
}

int forward_write(struct forward_conn *c, const void *data, size_t len)
{
	struct forward *f = c->f;

	if (f->over || f->u.over || (f->spdy && !c->stream[DATA]))
		return -EPIPE;
	if (f->spdy)
		spdy_write(c->stream[DATA], data, len);
	else
		put_channel(f, c->channel, data, len);
	upgrade_flush(&f->u);
	c->high = c->high || upgrade_backlog(&f->u) >= STREAM_LOW;
	return f->u.over ? -EPIPE : 0;
}

size_t forward_backlog(const struct forward_conn *c)
{
	return upgrade_backlog(&c->f->u);
}

void forward_end(struct forward_conn *c, const char *error)
{
	struct forward *f = c->f;
	struct spdy_stream *data = c->stream[DATA], *errors = c->stream[ERRORS];

	if (f->over || f->u.over)
		return;
	if (!f->spdy && error)
		put_channel(f, c->channel + 1, error, strlen(error));
	if (error && errors)
		spdy_write(errors, error, strlen(error));
	/* Ending the last of the two may free the connection. */
	if (errors)
		spdy_end(errors);
	if (data)
		spdy_end(data);
	upgrade_flush(&f->u);
}

void forward_pause(struct forward *f, bool pause)
{
	upgrade_pause(&f->u, pause);
}

void forward_abort(struct forward *f)
{
	upgrade_over(&f->u);
}

struct forward *forward_of(const struct forward_conn *c)
{
	return c->f;
}

void forward_set_data(struct forward_conn *c, void *data)
{
	c->data = data;
}

void *forward_data(const struct forward_conn *c)
{
	return c->data;
}
