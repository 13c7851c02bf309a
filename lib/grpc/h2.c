// SPDX-License-Identifier: Apache-2.0
/* HTTP/2 as gRPC uses it, on nghttp2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/grpc/internal.h"

#define STREAM_WINDOW (4 << 20)
#define CONN_WINDOW   (16 << 20)
#define HEADERS_MAX   (16 << 10)

#define NV(n, v, vlen)                                             \
	(nghttp2_nv)                                               \
	{                                                          \
		(uint8_t *)(n), (uint8_t *)(v), strlen(n), (vlen), \
			NGHTTP2_NV_FLAG_NO_COPY_NAME               \
	}

static struct call *gcall_of(nghttp2_session *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2, id);
}

static ssize_t read_body(nghttp2_session *h2, int32_t id, uint8_t *out,
			 size_t room, uint32_t *flags,
			 nghttp2_data_source *source, void *user)
{
	struct call *c = gcall_of(h2, id);
	size_t n;

	(void)source, (void)user;
	if (!c)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = c->out.len < room ? c->out.len : room;
	if (n)
		memcpy(out, c->out.data, n);
	buf_consume(&c->out, n);
	if (c->out.len)
		return (ssize_t)n;
	if (c->half_closed) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (!n) {
		c->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_len, const uint8_t *value,
		     size_t len, uint8_t flags, void *user)
{
	struct call *c = gcall_of(h2, frame->hd.stream_id);
	char text[16];

	(void)flags, (void)user;
	if (!c)
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)(len < 15 ? len : 15),
		 (const char *)value);
	if (name_len == 7 && memcmp(name, ":status", 7) == 0)
		c->http_status = (int)strtol(text, NULL, 10);
	else if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0)
		c->status = (int)strtol(text, NULL, 10) & 0xff;
	else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0)
		grpc_message_decode(c->message, sizeof(c->message),
				    (const char *)value, len);
	return 0;
}

static int one_message(void *arg, const void *data, size_t len)
{
	struct call *c = arg;

	if (!c->over)
		c->message_fn(c, data, len);
	return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id,
		   const uint8_t *data, size_t len, void *user)
{
	struct call *c = gcall_of(h2, id);

	(void)flags, (void)user;
	if (!c || c->over)
		return 0;
	if (grpc_frames_feed(&c->in, data, len, one_message, c) < 0)
		gcall_end(c, -EBADMSG,
			  "the answer is compressed or over the limit");
	return 0;
}

static int on_close(nghttp2_session *h2, int32_t id, uint32_t code, void *user)
{
	struct call *c = gcall_of(h2, id);

	(void)user;
	if (!c || c->over)
		return 0;
	if (code == NGHTTP2_REFUSED_STREAM) {
		c->sent = false; /* it was not even looked at */
		c->g->draining = true;
		gcall_end(c, -EHOSTUNREACH, "the peer refused it");
		return 0;
	}
	if (c->status >= 0)
		gcall_end(c, 0, NULL);
	else if (c->http_status && c->http_status != 200)
		gcall_end(c, -EBADMSG, "the peer does not speak gRPC");
	else
		gcall_end(c, -EHOSTUNREACH, "the stream was reset");
	return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
	struct grpc *g = user;

	(void)h2;
	/* What it has taken is finished, nothing new goes there. */
	if (frame->hd.type == NGHTTP2_GOAWAY)
		g->draining = true;
	return 0;
}

int gh2_start(struct grpc *g)
{
	nghttp2_settings_entry set[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_MAX },
	};
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;
	int r = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb))
		return -ENOMEM;
	if (nghttp2_option_new(&opt)) {
		nghttp2_session_callbacks_del(cb);
		return -ENOMEM;
	}
	nghttp2_option_set_max_outbound_ack(opt, 100);
	nghttp2_option_set_max_settings(opt, 32);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	if (nghttp2_session_client_new2(&g->h2, cb, g, opt) == 0 &&
	    nghttp2_submit_settings(g->h2, 0, set, 3) == 0 &&
	    nghttp2_session_set_local_window_size(g->h2, 0, 0, CONN_WINDOW) ==
		    0)
		r = 0;
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return r;
}

int gh2_submit(struct grpc *g, struct call *c)
{
	const struct endpoint *ep = &g->endpoints[g->endpoint];
	nghttp2_data_provider body = { .read_callback = read_body };
	char authority[300], timeout[24];
	nghttp2_nv nv[9];
	size_t n = 0;
	int32_t id;

	snprintf(authority, sizeof(authority), "%s:%s", ep->host, ep->port);
	snprintf(timeout, sizeof(timeout), "%um", c->timeout_ms);
	nv[n++] = NV(":method", "POST", 4);
	nv[n++] =
		ep->tls ? NV(":scheme", "https", 5) : NV(":scheme", "http", 4);
	nv[n++] = NV(":path", c->path, strlen(c->path));
	nv[n++] = NV(":authority", authority, strlen(authority));
	nv[n++] = NV("te", "trailers", 8);
	nv[n++] = NV("content-type", "application/grpc", 16);
	nv[n++] = NV("user-agent", "arktos", 6);
	/* A member that has lost its leader says so at once. */
	nv[n++] = NV("hasleader", "true", 4);
	if (c->timeout_ms)
		nv[n++] = NV("grpc-timeout", timeout, strlen(timeout));
	id = nghttp2_submit_request(g->h2, NULL, nv, n, &body, c);
	if (id < 0)
		return -ENOMEM;
	c->id = id;
	c->sent = true;
	return 0;
}
