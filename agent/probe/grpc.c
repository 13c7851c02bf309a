// SPDX-License-Identifier: Apache-2.0
/* One gRPC probe: grpc.health.v1.Health/Check on a connection that is made,
 * told in the kubelet's words. Never blocks; its caller keeps the time. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/probe/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/grpc/frame.h"
#include "lib/grpc/grpc.h"
#include "lib/grpc/pb.h"
#include "lib/http/h2.h"
#include "lib/str.h"

#define METHOD      "/grpc.health.v1.Health/Check"
#define MESSAGE_MAX 4096 /* of an answer, which has two bytes */

struct grpc_check {
	struct h2 *h2;
	struct buf request; /* what is left of it */
	struct frames in;
	int http_status;
	int status;  /* of the call; -1: not told yet */
	int serving; /* HealthCheckResponse.status; -1: no answer */
	char message[200];
	bool over;
	bool broken; /* the answer is no gRPC, or too long */
};

void grpc_check_free(struct grpc_check *c)
{
	if (!c)
		return;
	h2_free(c->h2);
	buf_clear(&c->request);
	buf_clear(&c->in.b);
	free(c);
}

/* --- what comes ----------------------------------------------------------- */

static void take_fields(struct grpc_check *c, const struct h2_head *h)
{
	for (size_t i = 0; i < h->nr_fields; i++) {
		const char *name = h->fields[i].name;
		const char *value = h->fields[i].value;
		uint64_t n;

		if (str_eq(name, "grpc-status"))
			c->status = str_to_u64(value, &n) == 0 && n < 256
					    ? (int)n
					    : GRPC_UNKNOWN;
		else if (str_eq(name, "grpc-message"))
			grpc_message_decode(c->message, sizeof(c->message),
					    value, strlen(value));
	}
}

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	struct grpc_check *c = arg;

	(void)s;
	c->http_status = h->status;
	take_fields(c, h); /* also the last one, when there is no message */
}

static void on_trailers(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	(void)s;
	take_fields(arg, h);
}

static int on_message(void *arg, const void *data, size_t len)
{
	struct grpc_check *c = arg;
	struct pb_in in = { data, (const char *)data + len };
	struct pb_field f;
	int r;

	c->serving = 0; /* proto3 leaves zero out */
	while ((r = pb_next(&in, &f)) > 0)
		if (f.number == 1 && f.type == PB_VARINT)
			c->serving = f.value < 256 ? (int)f.value : 255;
	return r;
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	struct grpc_check *c = arg;

	(void)s;
	if (!c->broken &&
	    grpc_frames_feed(&c->in, data, len, on_message, c) < 0)
		c->broken = c->over = true;
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)s;
	((struct grpc_check *)arg)->over = true;
}

static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	struct grpc_check *c = arg;
	size_t n = c->request.len < size ? c->request.len : size;

	(void)s;
	if (n)
		memcpy(buf, c->request.data, n);
	buf_consume(&c->request, n);
	*ret_eof = c->request.len == 0;
	return (ssize_t)n;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	(void)s, (void)code;
	((struct grpc_check *)arg)->over = true;
}

/* --- what is made of it ----------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static void bad(struct attempt *a,
						      const char *fmt, ...)
{
	char message[PROBE_MESSAGE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	attempt_finish(a, false, message);
}

static void rpc_error(struct attempt *a, int status, const char *why)
{
	bad(a, "error: health rpc probe failed: rpc error: code = %s desc = %s",
	    grpc_status_name(status), why);
}

static const char *serving_name(int serving, char *buf, size_t size)
{
	static const char *const names[] = { "UNKNOWN", "SERVING",
					     "NOT_SERVING", "SERVICE_UNKNOWN" };

	if (serving < 4)
		return names[serving];
	snprintf(buf, size, "%d", serving);
	return buf;
}

static void judge(struct attempt *a)
{
	const struct grpc_check *c = a->grpc;
	char text[200];

	if (c->broken) {
		rpc_error(a, GRPC_INTERNAL,
			  "the answer is compressed, or no health response");
	} else if (c->http_status && c->http_status != 200) {
		snprintf(text, sizeof(text),
			 "unexpected HTTP status code received from server: %d",
			 c->http_status);
		rpc_error(a, GRPC_UNKNOWN, text);
	} else if (c->status < 0) {
		rpc_error(a, GRPC_UNAVAILABLE,
			  "the stream ended without a status");
	} else if (c->status == GRPC_UNIMPLEMENTED) {
		bad(a,
		    "error: this server does not implement the grpc health "
		    "protocol (grpc.health.v1.Health): %s",
		    c->message);
	} else if (c->status == GRPC_DEADLINE_EXCEEDED) {
		bad(a, "timeout: health rpc did not complete within %us",
		    a->spec->timeout_s);
	} else if (c->status != GRPC_OK) {
		snprintf(text, sizeof(text), "%s", c->message);
		rpc_error(a, c->status, text);
	} else if (c->serving < 0) {
		rpc_error(a, GRPC_INTERNAL, "the answer has no message");
	} else if (c->serving != 1) {
		bad(a, "service unhealthy (responded with \"%s\")",
		    serving_name(c->serving, text, sizeof(text)));
	} else {
		attempt_finish(a, true, "");
	}
}

/* False: @a is finished. */
static bool flush(struct attempt *a)
{
	const uint8_t *data;
	ssize_t n;

	for (;;) {
		if (!a->out.len) {
			n = h2_out(a->grpc->h2, &data);
			if (n == 0)
				break;
			if (n < 0 || buf_add(&a->out, data, (size_t)n) < 0) {
				bad(a, "out of memory");
				return false;
			}
		}
		n = send(a->fd, a->out.data, a->out.len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			rpc_error(a, GRPC_UNAVAILABLE, strerror(errno));
			return false;
		}
		buf_consume(&a->out, (size_t)n);
	}
	(void)ev_io_set(&a->io, a->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

static void no_grpc(struct attempt *a, const char *why)
{
	char address[PROBE_ADDRESS_TEXT];

	probe_address_format(&a->url, address);
	bad(a, "error: failed to connect service at \"%s\": %s", address, why);
}

static void taken(struct attempt *a, const char *data, size_t len)
{
	struct err e = { 0 };

	if (h2_in(a->grpc->h2, data, len, &e) < 0 && !a->grpc->over)
		no_grpc(a, e.msg);
	else if (flush(a) && a->grpc->over)
		judge(a);
}

void grpc_check_step(struct attempt *a)
{
	char data[4096];
	ssize_t n = recv(a->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		(void)flush(a);
	else if (n > 0)
		taken(a, data, (size_t)n);
	else if (!h2_has_begun(a->grpc->h2))
		no_grpc(a, n < 0 ? strerror(errno)
				 : "the peer does not speak HTTP/2");
	else
		rpc_error(a, GRPC_UNAVAILABLE,
			  n < 0 ? strerror(errno)
				: "error reading from server: EOF");
}

static int request(struct attempt *a, struct err *e)
{
	char address[PROBE_ADDRESS_TEXT], timeout[24];
	const char *service = a->spec->service ? a->spec->service : "";
	const struct h1_field fields[] = {
		{ "content-type", "application/grpc" },
		{ "te", "trailers" },
		{ "user-agent", "kube-probe/arktos-" ARKTOS_VERSION },
		{ "grpc-timeout", timeout },
	};
	const struct h2_head head = {
		.method = "POST",
		.path = METHOD,
		.authority = address,
		.scheme = "http",
		.fields = fields,
		.nr_fields = ARRAY_LEN(fields),
	};
	auto_buf struct buf message = BUF_INIT;
	struct h2_stream *stream;

	snprintf(timeout, sizeof(timeout), "%uS", a->spec->timeout_s);
	probe_address_format(&a->url, address);
	pb_put_bytes(&message, 1, service, strlen(service));
	grpc_frame_put(&a->grpc->request, buf_str(&message), message.len);
	if (buf_error(&message) || buf_error(&a->grpc->request))
		return err_set(e, -ENOMEM, "out of memory");
	return h2_request(a->grpc->h2, &head, true, NULL, &stream, e);
}

void grpc_check_start(struct attempt *a)
{
	static const struct h2_ops ops = {
		.head = on_head,
		.data = on_data,
		.trailers = on_trailers,
		.end = on_end,
		.pull = on_pull,
		.closed = on_closed,
	};
	struct grpc_check *c = calloc(1, sizeof(*c));
	struct h2_opts opts = { .ops = &ops, .arg = c };
	struct err e = { 0 };

	if (!c) {
		bad(a, "out of memory");
		return;
	}
	c->status = c->serving = -1;
	c->in.max = MESSAGE_MAX;
	a->grpc = c;
	a->step = ATTEMPT_GRPC;
	if (h2_new(&opts, &c->h2, &e) < 0 || request(a, &e) < 0)
		bad(a, "%s", e.msg);
	else
		(void)flush(a);
}

void grpc_check_timeout_message(const struct attempt *a, char *buf, size_t size)
{
	char address[PROBE_ADDRESS_TEXT];

	probe_address_format(&a->url, address);
	if (a->grpc && h2_has_begun(a->grpc->h2))
		snprintf(buf, size,
			 "timeout: health rpc did not complete within %us",
			 a->spec->timeout_s);
	else
		snprintf(buf, size,
			 "timeout: failed to connect service \"%s\" within "
			 "%us: context deadline exceeded",
			 address, a->spec->timeout_s);
}
