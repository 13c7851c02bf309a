// SPDX-License-Identifier: Apache-2.0
/* What a peer of HTTP/2 sends: heads put together, floods seen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/h2_internal.h"
#include "lib/str.h"

/* --- floods --------------------------------------------------------------- */

/* One more frame that is cheap to send. False: too many. */
static bool keep_calm(struct h2 *h, int64_t price)
{
	uint64_t now;

	h->calm -= price;
	if (h->calm > 0 || h->o.trusted)
		return true;
	now = ev_clock_ms();
	h->calm += (int64_t)((now - h->calm_ms) * CALM_PER_S / 1000);
	h->calm_ms = now;
	if (h->calm > CALM_BURST)
		h->calm = CALM_BURST;
	if (h->calm <= 0)
		h->flooded = true;
	return !h->flooded;
}

static int64_t price_of(const nghttp2_frame *f)
{
	switch (f->hd.type) {
	case NGHTTP2_SETTINGS:
		return f->hd.flags & NGHTTP2_FLAG_ACK ? 1 : 20;
	case NGHTTP2_PING:
		return f->hd.flags & NGHTTP2_FLAG_ACK ? 1 : 4;
	case NGHTTP2_PRIORITY:
	case NGHTTP2_RST_STREAM:
		return 1;
	case NGHTTP2_WINDOW_UPDATE:
		/* Crumbs make us send crumbs. */
		return f->window_update.window_size_increment < 1024 ? 2 : 0;
	case NGHTTP2_DATA:
		return f->hd.length == 0 &&
				       !(f->hd.flags & NGHTTP2_FLAG_END_STREAM)
			       ? 4
			       : 0;
	default:
		return 0;
	}
}

/* --- heads ---------------------------------------------------------------- */

void h2_text_free(struct h2_text *t)
{
	if (!t)
		return;
	buf_clear(&t->text);
	free(t);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *f,
			    void *arg)
{
	struct h2 *h = arg;
	int32_t id = f->hd.stream_id;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(ng, id);

	if (!s && h->o.server) {
		s = h2_stream_new(h, id);
		if (!s)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		nghttp2_session_set_stream_user_data(ng, id, s);
	}
	if (!s)
		return 0;
	h2_text_free(s->text);
	s->text = calloc(1, sizeof(*s->text));
	return s->text ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f,
		     const uint8_t *name, size_t name_len, const uint8_t *value,
		     size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *s =
		nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
	struct h2_text *t = s ? s->text : NULL;

	(void)flags;
	(void)arg;
	if (!t)
		return 0;
	t->size += name_len + value_len + 32;
	if (s->too_big || t->size > H2_HEAD_MAX || t->nr == H2_FIELDS_MAX) {
		s->too_big = true;
		return 0;
	}
	t->nr++;
	/* nghttp2 has refused NUL in both. */
	buf_add(&t->text, name, name_len);
	buf_putc(&t->text, '\0');
	buf_add(&t->text, value, value_len);
	buf_putc(&t->text, '\0');
	return buf_error(&t->text) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

static void take_pseudo(struct h2_head *head, const char *name,
			const char *value)
{
	uint64_t n;

	if (str_eq(name, ":method"))
		head->method = value;
	else if (str_eq(name, ":path"))
		head->path = value;
	else if (str_eq(name, ":authority"))
		head->authority = value;
	else if (str_eq(name, ":scheme"))
		head->scheme = value;
	else if (str_eq(name, ":status") && str_to_u64(value, &n) == 0)
		head->status = (int)n;
}

static void make_head(const struct h2_text *t, struct h1_field *fields,
		      struct h2_head *head)
{
	const char *p = t->text.data;

	*head = (struct h2_head){ .fields = fields };
	for (size_t i = 0; i < t->nr; i++) {
		const char *name = p, *value = p + strlen(p) + 1;

		p = value + strlen(value) + 1;
		if (*name == ':')
			take_pseudo(head, name, value);
		else
			fields[head->nr_fields++] =
				(struct h1_field){ name, value };
	}
}

/* CONNECT is for proxies, and "*" for nobody. */
static bool is_request(const struct h2_head *head)
{
	return head->method && head->path && head->path[0] == '/';
}

static void refuse(struct h2_stream *s, int status)
{
	static const char ask[] = "0";
	const struct h1_field none = { "content-length", ask };

	if (h2_respond(s, status, &none, 1, false) < 0)
		h2_reset(s, H2_INTERNAL_ERROR);
}

static void got_head(struct h2 *h, struct h2_stream *s, const nghttp2_frame *f)
{
	struct h2_text *t = s->text;
	struct h1_field fields[H2_FIELDS_MAX];
	struct h2_head head;

	s->text = NULL;
	if (!t)
		return;
	make_head(t, fields, &head);
	if (s->too_big ||
	    (f->headers.cat == NGHTTP2_HCAT_REQUEST && !is_request(&head))) {
		if (h->o.server)
			refuse(s, s->too_big ? 431 : 400);
		else
			h2_reset(s, H2_ENHANCE_YOUR_CALM);
		s->too_big = true; /* the rest of it is ignored */
	} else if (f->headers.cat == NGHTTP2_HCAT_REQUEST ||
		   (!h->o.server && head.status)) {
		if (h->o.server || head.status >= 200)
			h->o.ops->head(h->o.arg, s, &head);
	} else if (h->o.ops->trailers) {
		h->o.ops->trailers(h->o.arg, s, &head);
	}
	h2_text_free(t);
}

/* --- frames --------------------------------------------------------------- */

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = NULL;

	if (!keep_calm(h, price_of(f)))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (f->hd.type == NGHTTP2_SETTINGS)
		h->begun = true;
	if (f->hd.type == NGHTTP2_GOAWAY)
		h->going = true;
	if (f->hd.type == NGHTTP2_PING && f->hd.flags & NGHTTP2_FLAG_ACK)
		h->nr_pongs++;
	if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
		return 0;
	s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
	if (s && f->hd.type == NGHTTP2_HEADERS)
		got_head(h, s, f);
	if (s && f->hd.flags & NGHTTP2_FLAG_END_STREAM && !s->too_big)
		h->o.ops->end(h->o.arg, s);
	return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id,
		   const uint8_t *data, size_t len, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(ng, id);
	struct h2 *h = arg;

	h->calm += len >= 1024 && h->calm < CALM_BURST;
	/* A body in crumbs: a frame each costs us more than it holds. */
	if (len < 64 && !(flags & NGHTTP2_FLAG_END_STREAM) && !keep_calm(h, 1))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (s && !s->too_big)
		h->o.ops->data(h->o.arg, s, data, len);
	return 0;
}

/* Frames that nghttp2 drops as invalid are not free either. */
static int on_invalid(nghttp2_session *ng, const nghttp2_frame *f, int code,
		      void *arg)
{
	struct h2 *h = arg;

	(void)ng;
	(void)f;
	(void)code;
	return keep_calm(h, 20) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

void h2_in_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(
		cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
		cb, on_invalid);
}

int h2_in(struct h2 *h, const void *data, size_t len, struct err *e)
{
	ssize_t n = nghttp2_session_mem_recv(h->ng, data, len);

	if (h->flooded || n == NGHTTP2_ERR_FLOODED ||
	    n == NGHTTP2_ERR_TOO_MANY_SETTINGS ||
	    n == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
		(void)nghttp2_session_terminate_session(
			h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
		return err_set(e, -EDQUOT,
			       "HTTP/2: too many frames that carry nothing");
	}
	if (n == NGHTTP2_ERR_NOMEM)
		return err_set(e, -ENOMEM, "out of memory");
	if (n < 0) {
		(void)nghttp2_session_terminate_session(h->ng,
							NGHTTP2_PROTOCOL_ERROR);
		return err_set(e, -EBADMSG, "HTTP/2: %s",
			       nghttp2_strerror((int)n));
	}
	return 0;
}
