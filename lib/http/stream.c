// SPDX-License-Identifier: Apache-2.0
/* Exec and attach: channels over SPDY's streams or WebSocket's messages. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/http/spdy.h"
#include "lib/http/stream.h"
#include "lib/http/upgrade.h"
#include "lib/http/url.h"
#include "lib/json.h"
#include "lib/str.h"

#define RESIZE_TEXT_MAX 256
#define PIECE           16384

enum { CH_INPUT, CH_OUTPUT, CH_ERROUT, CH_ERROR, CH_RESIZE, CHANNELS };
#define CH_CLOSE 255 /* of v5: the next byte is a channel that has ended */

struct stream {
	struct upgrade u;
	struct stream_opts o;
	struct spdy *spdy;
	struct spdy_stream *ch[CHANNELS];
	bool want[CHANNELS];
	bool begun, said, input_ended;
	int version;     /* of the stream protocol: 1 to 5 */
	int channel;     /* of the message coming in; -1: not known yet */
	struct buf size; /* text of a resize, so far */
};

static const char *const spdy_versions[] = {
	"v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io",
	"v2.channel.k8s.io", "channel.k8s.io",    NULL
};
static const char *const ws_versions[] = { "v5.channel.k8s.io",
					   "v4.channel.k8s.io",
					   "channel.k8s.io", NULL };

/* --- what comes ----------------------------------------------------------- */

static void begin(struct stream *s)
{
	s->begun = true;
	ev_timer_del(&s->u.timer);
	s->o.ops->begin(s->o.arg, s);
}

static void take_size(struct stream *s)
{
	struct json_ref root, f;
	yyjson_doc *doc = NULL;
	int64_t cols = 0, rows = 0;

	if (json_parse(s->size.data, s->size.len, &doc, NULL) < 0)
		return;
	root = json_root(doc);
	f = json_get(&root, "Width");
	(void)json_i64(&f, 1, UINT16_MAX, &cols, NULL);
	f = json_get(&root, "Height");
	(void)json_i64(&f, 1, UINT16_MAX, &rows, NULL);
	yyjson_doc_free(doc);
	if (cols && rows)
		s->o.ops->resize(s->o.arg, s, (uint16_t)cols, (uint16_t)rows);
}

/* Objects one after another, cut anywhere. */
static void take_resize(struct stream *s, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		buf_putc(&s->size, data[i]);
		if (data[i] == '}')
			take_size(s);
		if (data[i] == '}' || s->size.len > RESIZE_TEXT_MAX)
			buf_reset(&s->size);
	}
}

static void take(struct stream *s, int channel, const char *data, size_t len)
{
	if (!s->begun || s->said || !len)
		return;
	if (channel == CH_INPUT && s->o.input && !s->input_ended)
		s->o.ops->input(s->o.arg, s, data, len);
	else if (channel == CH_RESIZE && s->o.tty)
		take_resize(s, data, len);
}

static void take_end(struct stream *s, int channel)
{
	if (channel != CH_INPUT || s->input_ended || s->said || !s->begun)
		return;
	s->input_ended = true;
	if (s->o.input)
		s->o.ops->input_end(s->o.arg, s);
}

/* --- SPDY ----------------------------------------------------------------- */

static int channel_of(const struct h1_field *fields, size_t nr)
{
	static const char *const names[] = { "stdin", "stdout", "stderr",
					     "error", "resize" };

	for (size_t i = 0; i < nr; i++)
		for (int k = 0; k < CHANNELS; k++)
			if (strcmp(fields[i].name, "streamtype") == 0 &&
			    strcmp(fields[i].value, names[k]) == 0)
				return k;
	return -1;
}

static void on_opened(void *arg, struct spdy_stream *st,
		      const struct h1_field *fields, size_t nr)
{
	struct stream *s = arg;
	int k = channel_of(fields, nr);

	if (k < 0 || s->ch[k] || !s->want[k]) {
		spdy_reset(st);
		return;
	}
	s->ch[k] = st;
	st->data = (void *)(intptr_t)(k + 1);
	for (k = 0; k < CHANNELS; k++)
		if (s->want[k] && !s->ch[k])
			return;
	if (!s->begun)
		begin(s);
}

static int index_of(const struct spdy_stream *st)
{
	return (int)(intptr_t)st->data - 1;
}

static void on_data(void *arg, struct spdy_stream *st, const void *data,
		    size_t len)
{
	take(arg, index_of(st), data, len);
}

static void on_ended(void *arg, struct spdy_stream *st)
{
	take_end(arg, index_of(st));
}

static void on_closed(void *arg, struct spdy_stream *st)
{
	struct stream *s = arg;
	int k = index_of(st);

	if (k < 0)
		return;
	s->ch[k] = NULL;
	take_end(s, k);
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
	struct stream *s = arg;

	return spdy_in(s->spdy, data, len, NULL);
}

static int on_piece(void *arg, const struct ws_piece *piece)
{
	struct stream *s = arg;
	const char *p = piece->data;
	size_t len = piece->len;

	if (piece->first)
		s->channel = -1;
	if (s->channel < 0 && len) {
		s->channel = (unsigned char)*p++;
		len--;
	}
	if (s->channel == CH_CLOSE && s->version >= 5 && len)
		take_end(s, (unsigned char)*p);
	else if (s->channel >= 0)
		take(s, s->channel, p, len);
	return 0;
}

static void on_drain(void *arg)
{
	struct stream *s = arg;

	if (!s->said)
		s->o.ops->drain(s->o.arg, s);
}

static void on_gone(void *arg)
{
	struct stream *s = arg;

	s->said = true; /* nothing comes any more */
	s->o.ops->gone(s->o.arg, s);
	spdy_free(s->spdy);
	upgrade_clear(&s->u);
	buf_clear(&s->size);
	free(s);
}

static const struct upgrade_ops upgrade_ops = {
	.bytes = on_bytes,
	.piece = on_piece,
	.drain = on_drain,
	.gone = on_gone,
};

/* --- accepting ------------------------------------------------------------ */

void stream_opts_parse(const char *target, struct stream_opts *ret)
{
	static const struct {
		const char *kubelet, *api;
		size_t place;
	} names[] = {
		{ "input", "stdin", offsetof(struct stream_opts, input) },
		{ "output", "stdout", offsetof(struct stream_opts, output) },
		{ "error", "stderr", offsetof(struct stream_opts, error) },
		{ "tty", "tty", offsetof(struct stream_opts, tty) },
	};
	struct url u;

	ret->input = ret->output = ret->error = ret->tty = false;
	if (url_parse(target, &u, NULL) < 0)
		return;
	for (size_t i = 0; i < u.nr_params; i++)
		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			if (strcmp(u.param[i].name, names[k].kubelet) == 0 ||
			    strcmp(u.param[i].name, names[k].api) == 0)
				*((bool *)((char *)ret + names[k].place)) =
					url_is_true(u.param[i].value);
	url_clear(&u);
	/* A terminal has one output. */
	if (ret->tty)
		ret->error = false;
}

static int version_of(const char *protocol)
{
	return protocol && *protocol == 'v' ? protocol[1] - '0' : 1;
}

static void begin_ws(struct stream *s)
{
	static const char to[] = { CH_OUTPUT, CH_ERROUT, CH_ERROR };
	const char *ch = s->o.output ? to : s->o.error ? to + 1 : to + 2;

	/* An empty message tells the client that we are there. */
	ws_put(&s->u.raw, WS_SERVER, WS_BINARY, ch, 1);
	upgrade_flush(&s->u);
	begin(s);
}

int stream_accept(struct http_req *req, const struct stream_opts *opts,
		  struct stream **ret, struct err *e)
{
	const struct upgrade_offer offer = { .spdy = spdy_versions,
					     .ws = ws_versions };
	struct stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->o = *opts;
	r = upgrade_accept(&s->u, req, &offer, e);
	if (r == 0 && s->u.kind == UPGRADE_SPDY)
		r = spdy_new(true, &spdy_ops, s, &s->u.raw, &s->spdy, e);
	if (r < 0) {
		upgrade_clear(&s->u);
		free(s);
		return r;
	}
	s->version = version_of(s->u.protocol);
	s->want[CH_INPUT] = opts->input;
	s->want[CH_OUTPUT] = opts->output;
	s->want[CH_ERROUT] = opts->error;
	s->want[CH_ERROR] = true;
	s->want[CH_RESIZE] = opts->tty && s->version >= 3;
	upgrade_start(&s->u, &upgrade_ops, s);
	*ret = s;
	if (s->u.kind == UPGRADE_WS)
		begin_ws(s);
	return 0;
}

/* --- what goes ------------------------------------------------------------ */

static void put(struct stream *s, int k, const char *data, size_t len)
{
	const char channel = (char)k;

	if (s->u.kind == UPGRADE_SPDY) {
		if (s->ch[k])
			spdy_write(s->ch[k], data, len);
		return;
	}
	while (len) {
		size_t n = len < PIECE ? len : PIECE;

		ws_put2(&s->u.raw, WS_SERVER, WS_BINARY, &channel, 1, data, n);
		data += n;
		len -= n;
	}
}

int stream_write(struct stream *s, enum stream_out to, const void *data,
		 size_t len)
{
	if (s->u.over || s->said)
		return -EPIPE;
	if (s->want[to])
		put(s, (int)to, data, len);
	upgrade_flush(&s->u);
	return s->u.over ? -EPIPE : 0;
}

size_t stream_backlog(const struct stream *s)
{
	return upgrade_backlog(&s->u);
}

void stream_pause(struct stream *s, bool pause)
{
	upgrade_pause(&s->u, pause);
}

/* Say how it ended, and that nothing follows. */
static void end(struct stream *s, const struct buf *status)
{
	if (s->said || s->u.over)
		return;
	put(s, CH_ERROR, buf_str(status), status->len);
	s->said = true;
	for (int k = 0; k < CHANNELS; k++)
		if (s->ch[k])
			spdy_end(s->ch[k]);
	upgrade_end(&s->u);
}

void stream_exit(struct stream *s, int code)
{
	auto_buf struct buf b = BUF_INIT;

	if (s->version >= 4 && !code)
		buf_puts(&b, "{\"metadata\":{},\"status\":\"Success\"}");
	else if (s->version >= 4)
		buf_printf(&b,
			   "{\"metadata\":{},\"status\":\"Failure\",\"message\""
			   ":\"command terminated with non-zero exit code: "
			   "exit status %d\",\"reason\":\"NonZeroExitCode\","
			   "\"details\":{\"causes\":[{\"reason\":\"ExitCode\","
			   "\"message\":\"%d\"}]}}",
			   code, code);
	else if (code)
		buf_printf(&b,
			   "command terminated with non-zero exit code: exit "
			   "status %d",
			   code);
	end(s, &b);
}

void stream_fail(struct stream *s, const char *error)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	if (s->version < 4) {
		buf_puts(&b, error);
		end(s, &b);
		return;
	}
	json_put_object(&o, NULL);
	json_put_object(&o, "metadata");
	json_put_end(&o);
	json_put_str(&o, "status", "Failure");
	json_put_str(&o, "message", error);
	json_put_str(&o, "reason", "InternalError");
	json_put_i64(&o, "code", 500);
	json_put_end(&o);
	end(s, &b);
}

void stream_abort(struct stream *s)
{
	upgrade_over(&s->u);
}
