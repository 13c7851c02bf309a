// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "controlplane/apiserver/aggregator/internal.h"
#include "lib/str.h"

#define PIECE 16384

static void end(struct fetch *f, int result)
{
	f->busy = false;
	ev_timer_del(&f->timer);
	wire_close(&f->up);
	f->done(f->arg, result); /* may start it again */
}

static void on_timeout(void *arg)
{
	struct fetch *f = arg;

	end(f, err_set(&f->err, -ETIMEDOUT, "no answer within %d s",
		       PROBE_MS / 1000));
}

static int take(struct fetch *f, const char *data, size_t len)
{
	struct h1_piece piece;
	size_t used;
	int r;

	do {
		r = h1_next(&f->answer, data, len, &used, &piece, &f->err);
		data += used;
		len -= used;
		if (r == H1_HEAD && f->answer.head.status == 101)
			return err_set(&f->err, -EPROTO,
				       "an upgrade nobody asked for");
		if (r == H1_HEAD)
			f->status = f->answer.head.status;
		if (r == H1_BODY && buf_add(&f->body, piece.data, piece.len))
			return err_set(&f->err, -E2BIG,
				       "the answer is larger than %zu bytes",
				       f->body.max);
	} while (r == H1_HEAD || r == H1_BODY);
	return r == H1_END ? 1 : r;
}

/* 1: the answer is whole. */
static int receive(struct fetch *f)
{
	char data[PIECE];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = wire_read(&f->up, data, sizeof(data))) > 0)
		r = take(f, data, (size_t)n);
	if (r || n == -EAGAIN)
		return r;
	if (n == 0)
		return h1_eof(&f->answer, &f->err) == H1_END
			       ? 1
			       : err_set(&f->err, -ECONNRESET,
					 "closed before its answer was whole");
	return err_set(&f->err, (int)n, "%s", f->up.why.msg);
}

static void ready(void *arg)
{
	struct fetch *f = arg;
	int r;

	while (f->out.len) {
		ssize_t n = wire_write(&f->up, f->out.data, f->out.len);

		if (n == -EAGAIN) {
			wire_want(&f->up, false, true);
			return;
		}
		if (n < 0) {
			end(f, err_set(&f->err, (int)n, "%s", f->up.why.msg));
			return;
		}
		buf_consume(&f->out, (size_t)n);
	}
	r = receive(f);
	if (r)
		end(f, r < 0 ? r : 0);
	else
		wire_want(&f->up, true, false);
}

static void fail_later(void *arg)
{
	struct fetch *f = arg;

	end(f, -EIO);
}

void fetch_start(struct fetch *f, struct ev *loop, const struct fetch_opts *o,
		 void (*done)(void *arg, int result), void *arg)
{
	static const struct h1_limits limits = { .body = OPENAPI_MAX };

	fetch_clear(f);
	f->busy = true;
	f->done = done;
	f->arg = arg;
	f->body.max = o->max;
	h1_init(&f->answer, H1_RESPONSE, &limits);
	h1_put_request(&f->out, "GET", o->target, o->host);
	h1_put_field(&f->out, "Accept", o->accept);
	h1_put_field(&f->out, "User-Agent", "arktos-apiserver");
	h1_put_field(&f->out, "Connection", "close");
	buf_puts(&f->out, o->fields);
	h1_put_end(&f->out);
	if (buf_error(&f->out) ||
	    wire_connect(&f->up, loop, (const void *)&o->to->sa, o->to->len,
			 o->tls, o->host, ready, f, &f->err) < 0)
		ev_timer_set(loop, &f->timer, 0, fail_later, f);
	else
		ev_timer_set(loop, &f->timer, PROBE_MS, on_timeout, f);
}

void fetch_cancel(struct fetch *f)
{
	if (!f->busy)
		return;
	f->busy = false;
	ev_timer_del(&f->timer);
	wire_close(&f->up);
}

void fetch_clear(struct fetch *f)
{
	fetch_cancel(f);
	h1_clear(&f->answer);
	buf_clear(&f->out);
	buf_clear(&f->body);
	f->status = 0;
	f->err = (struct err){ 0 };
	memset(&f->up, 0, sizeof(f->up));
	f->up.fd = -EBADF;
}
