/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that speak gRPC, each to say one thing about its health. */
#ifndef SELFTESTS_AGENT_PROBE_GRPC_SERVER_H
#define SELFTESTS_AGENT_PROBE_GRPC_SERVER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/grpc/frame.h"
#include "lib/http/h2.h"

struct grpc_server {
	const char *status;  /* "0"; NULL: never answers */
	const char *message; /* grpc-message */
	int serving;         /* -1: no message */
	int http_status;     /* 0: 200 */
	bool reset;          /* the stream instead */
	bool huge;           /* a message without end */
	bool silent;         /* not even HTTP/2 */

	char asked[64], path[64], type[32]; /* what came last */
	int fd;
	bool sent;
};

static inline void gs_head(void *arg, struct h2_stream *s,
			   const struct h2_head *h)
{
	struct grpc_server *g = arg;

	(void)s;
	snprintf(g->path, sizeof(g->path), "%s", h->path);
	for (size_t i = 0; i < h->nr_fields; i++)
		if (strcmp(h->fields[i].name, "content-type") == 0)
			snprintf(g->type, sizeof(g->type), "%s",
				 h->fields[i].value);
}

/* flag, length, and of the message: 0x0a, length, name */
static inline void gs_data(void *arg, struct h2_stream *s, const void *data,
			   size_t len)
{
	struct grpc_server *g = arg;
	const char *name = data;

	(void)s;
	if (len > 7)
		snprintf(g->asked, sizeof(g->asked), "%.*s", (int)len - 7,
			 name + 7);
}

static inline void gs_end(void *arg, struct h2_stream *s)
{
	const struct h1_field type = { "content-type", "application/grpc" };
	struct grpc_server *g = arg;
	const struct h1_field only[] = {
		type,
		{ "grpc-status", g->status },
		{ "grpc-message", g->message ? g->message : "" },
	};

	if (g->reset)
		h2_reset(s, H2_INTERNAL_ERROR);
	else if (g->http_status)
		(void)h2_respond(s, g->http_status, &type, 1, false);
	else if (g->status && (g->serving >= 0 || g->huge))
		(void)h2_respond(s, 200, &type, 1, true);
	else if (g->status)
		(void)h2_respond(s, 200, only, 3, false);
}

static inline ssize_t gs_pull(void *arg, struct h2_stream *s, void *buf,
			      size_t size, bool *ret_eof)
{
	struct grpc_server *g = arg;
	const struct h1_field end = { "grpc-status", g->status };
	const unsigned char message[] = { 8, (unsigned char)g->serving };
	auto_buf struct buf b = BUF_INIT;

	if (g->huge) {
		memset(buf, 'x', size);
		memcpy(buf, "\0\0\1\0\0", 5);
		return (ssize_t)size;
	}
	/* Zero is left out, as protobuf has it. */
	grpc_frame_put(&b, message, g->serving ? 2 : 0);
	memcpy(buf, b.data, b.len);
	(void)h2_trailers(s, &end, 1);
	*ret_eof = true;
	return (ssize_t)b.len;
}

static inline void gs_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	(void)arg, (void)s, (void)code;
}

static inline void gs_serve(struct grpc_server *g, int fd)
{
	static const struct h2_ops ops = {
		.head = gs_head,
		.data = gs_data,
		.end = gs_end,
		.pull = gs_pull,
		.closed = gs_closed,
	};
	const struct h2_opts opts = { .server = true, .ops = &ops, .arg = g };
	auto_ptr(h2) h = NULL;
	const uint8_t *out;
	char data[4096];
	ssize_t n;

	if (h2_new(&opts, &h, NULL) < 0)
		return;
	while ((n = recv(fd, data, sizeof(data), 0)) > 0) {
		if (g->silent)
			continue;
		if (h2_in(h, data, (size_t)n, NULL) < 0)
			return;
		while ((n = h2_out(h, &out)) > 0)
			if (send(fd, out, (size_t)n, MSG_NOSIGNAL) != n)
				return;
	}
}

static inline void *gs_loop(void *arg)
{
	struct grpc_server *g = arg;
	int fd;

	while ((fd = accept(g->fd, NULL, NULL)) >= 0) {
		gs_serve(g, fd);
		close(fd);
	}
	return NULL;
}

/* Start it; returns its port. It ends with the process. */
static inline uint16_t grpc_server_start(struct grpc_server *g)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	pthread_t t;

	g->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)!bind(g->fd, (struct sockaddr *)&at, sizeof(at));
	listen(g->fd, 64);
	getsockname(g->fd, (struct sockaddr *)&at, &len);
	if (pthread_create(&t, NULL, gs_loop, g) == 0)
		pthread_detach(t);
	return ntohs(at.sin_port);
}

#endif /* SELFTESTS_AGENT_PROBE_GRPC_SERVER_H */
