/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC client: one connection to one of several endpoints, on a thread of
 * its own. When the connection breaks, or its peer falls silent, the next
 * endpoint is tried, and what has not been sent yet goes there.
 *
 *	struct grpc_opts opts = { .endpoints = "https://a:2379,https://b:2379"
 *};
 *
 *	grpc_open(&opts, &g, e);
 *	r = grpc_call(g, &call, e);		blocks for call.timeout_ms at
 *most grpc_stream_open(g, "/pkg.Service/Method", &ops, arg, &st, e);
 *	grpc_stream_send(st, data, len);
 *
 * Many servers close a connection that pings more often than every 5 s.
 *
 * What a peer sends is bounded: messages by max_message, header lists by
 * 16 KiB, and compressed messages are refused (none are asked for).
 */
#ifndef LIB_GRPC_GRPC_H
#define LIB_GRPC_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"

#define GRPC_ENDPOINTS_MAX 16

struct grpc;
struct grpc_stream;

struct grpc_opts {
	const char *endpoints; /* http:// or https://HOST:PORT, by commas */
	const char *ca_file; /* who may have signed the peer; NULL: system's */
	const char *cert_file, *key_file; /* ours; NULL: none */
	size_t max_message;               /* of the peer; 0: 4 MiB */
	uint32_t connect_ms;              /* 0: 2000 */
	uint32_t keepalive_ms;            /* ping after this silence; 0: 2000 */
	uint32_t silence_ms;              /* then give the peer up; 0: 3000 */
};

/* The status codes of gRPC that callers look at. */
enum grpc_status {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

/**
 * grpc_open() - Start a client. Connects in the background.
 * @opts: Borrowed.
 * @ret:  Owned by the caller.
 * @e:    Filled on error.
 *
 * Return: 0, -EINVAL (endpoints, certificates), -ENOMEM.
 */
int grpc_open(const struct grpc_opts *opts, struct grpc **ret, struct err *e);

/* Ends what is under way with -ESHUTDOWN. Streams must be closed before. */
void grpc_close(struct grpc *g);
DEFINE_AUTO_PTR(grpc, grpc_close)

struct grpc_call {
	const char *method; /* "/package.Service/Method"; borrowed */
	const void *data;   /* the request; borrowed */
	size_t len;
	uint32_t timeout_ms; /* waiting for a connection included */
	struct buf reply;    /* the caller's to clear */
	int status;          /* the peer's, an enum grpc_status */
	bool sent;           /* if it failed: it may have been done */
};

/**
 * grpc_call() - One request and its answer.
 * @g:    Client.
 * @call: What to ask; .reply is filled.
 * @e:    Filled on error, with the peer's message.
 *
 * Return: 0, or by status
 *   -ETIMEDOUT     no answer in time
 *   -EHOSTUNREACH  no peer, or it is unavailable
 *   -ENOSPC, -ESTALE (out of range), -ENOENT, -EACCES, -EINVAL
 *   -EBADMSG       the answer is not gRPC, or over a limit
 *   -EREMOTEIO     any other failure it reports
 */
int grpc_call(struct grpc *g, struct grpc_call *call, struct err *e);

struct grpc_stream_ops {
	/* Both on the client's thread; they may not block. */
	void (*message)(void *arg, const void *data, size_t len);
	/* Once: the stream is over and must be closed. @code as of
	 * grpc_call(); 0 when the peer ended it in order. */
	void (*end)(void *arg, int code, const struct err *e);
};

/* Open a stream in both directions. It waits for a connection by itself. */
int grpc_stream_open(struct grpc *g, const char *method,
		     const struct grpc_stream_ops *ops, void *arg,
		     struct grpc_stream **ret, struct err *e);
int grpc_stream_send(struct grpc_stream *st, const void *data, size_t len);
/* No callback is made any more once this has returned. Not from callbacks. */
void grpc_stream_close(struct grpc_stream *st);

/* What is under way, and whatever comes, ends with -ESHUTDOWN: for who waits
 * for a thread that may be in grpc_call(). */
void grpc_stop(struct grpc *g);

/* Give the present endpoint up: it answers, but is of no use. */
void grpc_rotate(struct grpc *g);

/* How often a connection was made; for tests and figures. */
unsigned int grpc_connections(struct grpc *g);

#endif /* LIB_GRPC_GRPC_H */
