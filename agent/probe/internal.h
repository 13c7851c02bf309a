/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside agent/probe/ (and with its tests and fuzzers) only. */
#ifndef AGENT_PROBE_INTERNAL_H
#define AGENT_PROBE_INTERNAL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "agent/probe/probe.h"
#include "lib/buf.h"
#include "lib/ev.h"

/* --- count.c: outcomes against thresholds. Pure --- */

struct probe_count {
	uint32_t success_threshold, failure_threshold; /* 0 counts as 1 */
	enum { PROBE_UNKNOWN, PROBE_GOOD, PROBE_BAD } state;
	bool last;
	uint32_t run; /* equal outcomes in a row, the last one included */
};

void probe_count_init(struct probe_count *c, enum probe_type type,
		      const struct probe_spec *spec);
/* Returns true when the state changes with this outcome. */
bool probe_count_note(struct probe_count *c, bool success);

/* --- http.c: texts. Pure --- */

#define PROBE_URL_MAX 2048 /* of a redirect */

struct probe_url {
	bool https;
	char host[256]; /* without brackets */
	uint16_t port;
	char path[PROBE_URL_MAX]; /* with the query */
};

struct probe_answer {
	int status;
	const char *location; /* not terminated; NULL: none. Borrowed */
	size_t location_len;
};

/* @host is an address or a name, @path may be NULL. 0 or -E2BIG. */
int probe_url_init(struct probe_url *u, bool https, const char *host,
		   uint16_t port, const char *path);
/* Where @location leads from @u. 0, or -EBADMSG for what is no HTTP address. */
int probe_url_follow(const struct probe_url *u, const char *location,
		     size_t len, struct probe_url *ret);
/* "http://10.0.0.1:80/x" */
void probe_url_format(const struct probe_url *u, char *buf, size_t size);

/* "10.0.0.1:80", "[::1]:80" */
#define PROBE_ADDRESS_TEXT 272
void probe_address_format(const struct probe_url *u,
			  char ret[PROBE_ADDRESS_TEXT]);

/* 0, or -EINVAL: a header that would break the request apart. */
int probe_headers_check(const struct key_values *headers);
int probe_request(const struct probe_url *u, const struct key_values *headers,
		  struct buf *b);

/* 1: @ret is set, 0: the header is not complete yet, -EBADMSG: not HTTP/1. */
int probe_answer_parse(const char *data, size_t len, struct probe_answer *ret);

/* Copy at most %PROBE_MESSAGE_MAX bytes, not ending inside a character. */
size_t probe_message_cut(const char *s, size_t len);

/* --- attempt.c: one HTTP, TCP or gRPC probe on the loop --- */

struct grpc_check;

struct attempt {
	struct ev *loop;
	const struct prober_ops *ops;
	const char *pod_key;
	const struct probe_spec *spec;
	SSL_CTX **
		tls; /* made by the first https probe: idle agents stay small */
	void (*done)(void *arg, bool success, const char *message);
	void *arg;

	enum {
		ATTEMPT_CONNECT,
		ATTEMPT_TLS,
		ATTEMPT_SEND,
		ATTEMPT_RECV,
		ATTEMPT_GRPC
	} step;
	struct probe_url url;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	int fd;
	struct ev_io io;
	SSL *ssl;
	struct buf out, in;
	size_t sent;
	unsigned int redirects;
	struct grpc_check *grpc; /* of a gRPC probe, once connected; owned */
};

/* Set loop, ops, pod_key, spec, tls, done, arg, and fd = -EBADF before. @done
 * may be called from within, and may free @a. */
void attempt_start(struct attempt *a, const char *pod_ip);
void attempt_cancel(struct attempt *a); /* done is not called any more */
/* The message for running out of time now. */
void attempt_timeout_message(const struct attempt *a, char *buf, size_t size);

/* It is over; @a may be gone afterwards. */
void attempt_finish(struct attempt *a, bool success, const char *message);

/* --- grpc.c: from the connection on --- */

void grpc_check_start(struct attempt *a); /* may finish it, as may the next */
void grpc_check_step(struct attempt *a);  /* something has come, or may go */
void grpc_check_timeout_message(const struct attempt *a, char *buf,
				size_t size);
void grpc_check_free(struct grpc_check *c);

#endif /* AGENT_PROBE_INTERNAL_H */
