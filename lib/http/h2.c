// SPDX-License-Identifier: Apache-2.0
/* Sessions of nghttp2 as lib/http wants them. What comes in is in h2_in.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/ev.h"
#include "lib/http/h2_internal.h"

/* A frame and its header fill one TLS record. */
#define FRAME_MAX (16384 - 9)

/* --- streams -------------------------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
	struct h2_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = id;
	s->h2 = h;
	s->next = h->streams;
	s->link = &h->streams;
	if (s->next)
		s->next->link = &s->next;
	h->streams = s;
	h->nr_streams++;
	return s;
}

void h2_stream_free(struct h2_stream *s, uint32_t code)
{
	struct h2 *h = s->h2;

	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	h->nr_streams--;
	s->closed = true;
	h->o.ops->closed(h->o.arg, s, code);
	h2_text_free(s->text);
	free(s);
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(ng, id);

	(void)arg;
	if (s)
		h2_stream_free(s, code);
	return 0;
}

/* --- sessions ------------------------------------------------------------- */

static int make_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int r = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&opt))
		goto out;
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	h2_in_callbacks(cb);
	/* Their own defences, besides ours. */
	nghttp2_option_set_max_outbound_ack(opt, 128);
	nghttp2_option_set_max_settings(opt, 32);
	nghttp2_option_set_max_continuations(opt, 16);
	nghttp2_option_set_stream_reset_rate_limit(opt, RESETS_BURST,
						   RESETS_PER_S);
	nghttp2_option_set_max_send_header_block_length(opt, H2_HEAD_MAX * 2);
	nghttp2_option_set_no_closed_streams(opt, 1);
	r = h->o.server ? nghttp2_session_server_new2(&h->ng, cb, h, opt)
			: nghttp2_session_client_new2(&h->ng, cb, h, opt);
	r = r ? -ENOMEM : 0;
out:
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	return r;
}

static int greet(struct h2 *h)
{
	uint32_t streams = h->o.streams_max;
	nghttp2_settings_entry v[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		  h->o.server ? streams : 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEAD_MAX },
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
	};
	/* A server may not send the last one. */
	size_t nr = sizeof(v) / sizeof(*v) - (h->o.server ? 1 : 0);

	if (nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, v, nr) ||
	    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
						  H2_CONN_WINDOW))
		return -ENOMEM;
	return 0;
}

int h2_new(const struct h2_opts *opts, struct h2 **ret, struct err *e)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	h->o = *opts;
	if (!h->o.streams_max)
		h->o.streams_max = H2_STREAMS_MAX;
	h->calm = CALM_BURST;
	h->calm_ms = ev_clock_ms();
	if (make_session(h) < 0 || greet(h) < 0) {
		h2_free(h);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = h;
	return 0;
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	while (h->streams)
		h2_stream_free(h->streams, H2_CANCEL);
	nghttp2_session_del(h->ng);
	free(h);
}

ssize_t h2_out(struct h2 *h, const uint8_t **ret)
{
	ssize_t n = nghttp2_session_mem_send(h->ng, ret);

	return n < 0 ? -ENOMEM : n;
}

bool h2_wants_out(const struct h2 *h)
{
	return nghttp2_session_want_write(h->ng);
}

bool h2_is_done(const struct h2 *h)
{
	return !nghttp2_session_want_read(h->ng) &&
	       !nghttp2_session_want_write(h->ng);
}

bool h2_has_begun(const struct h2 *h)
{
	return h->begun;
}

size_t h2_nr_streams(const struct h2 *h)
{
	return h->nr_streams;
}

/* --- heads out ------------------------------------------------------------ */

static void put_nv(nghttp2_nv *nv, const char *name, const char *value)
{
	nv->name = (uint8_t *)name;
	nv->namelen = strlen(name);
	nv->value = (uint8_t *)value;
	nv->valuelen = strlen(value);
	nv->flags = NGHTTP2_NV_FLAG_NONE;
}

static ssize_t on_pull(nghttp2_session *ng, int32_t id, uint8_t *buf,
		       size_t len, uint32_t *flags, nghttp2_data_source *src,
		       void *arg)
{
	struct h2_stream *s = src->ptr;
	struct h2 *h = arg;
	bool eof = false;
	ssize_t n;

	(void)ng;
	(void)id;
	n = h->o.ops->pull(h->o.arg, s, buf, len > FRAME_MAX ? FRAME_MAX : len,
			   &eof);
	if (n < 0)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (eof) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->has_trailers)
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		return n;
	}
	if (n == 0) {
		s->waiting = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return n;
}

static size_t put_fields(nghttp2_nv *nv, const struct h1_field *fields,
			 size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		put_nv(&nv[i], fields[i].name, fields[i].value);
	return nr;
}

int h2_respond(struct h2_stream *s, int status, const struct h1_field *fields,
	       size_t nr_fields, bool body)
{
	nghttp2_data_provider src = { .source.ptr = s,
				      .read_callback = on_pull };
	nghttp2_nv nv[H2_FIELDS_MAX + 1];
	char code[16];
	size_t nr = 1;

	if (s->responded || nr_fields > H2_FIELDS_MAX)
		return -EINVAL;
	snprintf(code, sizeof(code), "%03d", status);
	put_nv(&nv[0], ":status", code);
	nr += put_fields(nv + 1, fields, nr_fields);
	s->responded = true;
	if (nghttp2_submit_response(s->h2->ng, s->id, nv, nr,
				    body ? &src : NULL))
		return -ENOMEM;
	return 0;
}

int h2_trailers(struct h2_stream *s, const struct h1_field *fields,
		size_t nr_fields)
{
	nghttp2_nv nv[H2_FIELDS_MAX];

	if (nr_fields > H2_FIELDS_MAX)
		return -EINVAL;
	put_fields(nv, fields, nr_fields);
	if (nghttp2_submit_trailer(s->h2->ng, s->id, nv, nr_fields))
		return -ENOMEM;
	s->has_trailers = true;
	return 0;
}

/* --- a client's requests -------------------------------------------------- */

bool h2_is_going(const struct h2 *h)
{
	return h->going || !nghttp2_session_check_request_allowed(h->ng);
}

bool h2_can_open(const struct h2 *h)
{
	return !h2_is_going(h) &&
	       h->nr_streams <
		       nghttp2_session_get_remote_settings(
			       h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

int h2_request(struct h2 *h, const struct h2_head *head, bool body, void *data,
	       struct h2_stream **ret, struct err *e)
{
	nghttp2_data_provider src = { .read_callback = on_pull };
	nghttp2_nv nv[H2_FIELDS_MAX + 4];
	struct h2_stream *s;
	int32_t id;

	if (head->nr_fields > H2_FIELDS_MAX)
		return err_set(e, -EINVAL, "more than %d header fields",
			       H2_FIELDS_MAX);
	if (!h2_can_open(h))
		return err_set(e, -EAGAIN,
			       "the server takes no further request on this "
			       "connection");
	s = h2_stream_new(h, -1);
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->data = data;
	src.source.ptr = s;
	put_nv(&nv[0], ":method", head->method);
	put_nv(&nv[1], ":scheme", head->scheme);
	put_nv(&nv[2], ":authority", head->authority);
	put_nv(&nv[3], ":path", head->path);
	put_fields(nv + 4, head->fields, head->nr_fields);
	id = nghttp2_submit_request(h->ng, NULL, nv, head->nr_fields + 4,
				    body ? &src : NULL, s);
	if (id < 0) {
		/* It never was: .closed would tell of nothing. */
		*s->link = s->next;
		if (s->next)
			s->next->link = s->link;
		h->nr_streams--;
		free(s);
		return err_set(e, -EAGAIN, "no stream: %s",
			       nghttp2_strerror(id));
	}
	s->id = id;
	*ret = s;
	return 0;
}

/* --- both ----------------------------------------------------------------- */

void h2_resume(struct h2_stream *s)
{
	if (!s->waiting || s->closed)
		return;
	s->waiting = false;
	(void)nghttp2_session_resume_data(s->h2->ng, s->id); /* or it is gone */
}

void h2_reset(struct h2_stream *s, enum h2_code code)
{
	if (!s->closed)
		(void)nghttp2_submit_rst_stream(s->h2->ng, NGHTTP2_FLAG_NONE,
						s->id, code);
}

int h2_ping(struct h2 *h)
{
	return nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, NULL) ? -ENOMEM
								   : 0;
}

uint64_t h2_nr_pongs(const struct h2 *h)
{
	return h->nr_pongs;
}

void h2_goaway(struct h2 *h, bool final)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(h->ng);

	if (!final && h->o.server)
		(void)nghttp2_submit_shutdown_notice(h->ng);
	else
		(void)nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE, last,
					    NGHTTP2_NO_ERROR, NULL, 0);
}
