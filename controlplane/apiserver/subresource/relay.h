/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passing a request on to somebody else's HTTPS server, and the answer back.
 * When that answers "101 Switching Protocols", the client's connection becomes
 * a tunnel: bytes go through both ways, and what they mean is agreed between
 * the two ends.
 */
#ifndef CONTROLPLANE_APISERVER_SUBRESOURCE_RELAY_H
#define CONTROLPLANE_APISERVER_SUBRESOURCE_RELAY_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

struct buf;
struct relay;
struct req;

struct relay_to {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	const char *name;    /* for Host, and of the certificate */
	SSL_CTX *tls;        /* NULL: plain HTTP. Borrowed for the call */
	const char *subject; /* CN of its certificate; NULL: any */
	const char *target;  /* path and query, as they are to be sent */
	/* Asked for first, as an upgrade to bytes: a node's way to a pod, over
	 * which the request then goes. NULL: it is for the server itself. */
	const char *dial;
	const char *fields; /* further lines of the head, each with CR LF */
	unsigned int deadline_ms; /* for the whole answer; 0: none */
	/* Not a node but a server anybody may have set up: when it cannot be
	 * reached that is a 503, and it may not send clients elsewhere. */
	bool unavailable;
	/* What it fails with in plain text becomes a Status: for answers that
	 * clients read as they read those of an API server. */
	bool text_is_status;
	void (*failed)(struct req *r); /* told before the client is */
};

/* Pass @r on, with its body; it is answered later. Replies itself when that
 * cannot be begun. All of @to is borrowed for the call. */
void relay_start(struct req *r, const struct relay_to *to);
void relay_free(struct relay *y); /* NULL is fine */
/* The client has taken what there was: go on. */
void relay_fill(struct relay *y);

/* --- as a tunnel; conn.c calls these --- */

bool relay_wants(const struct relay *y); /* more from the client? */
void relay_fed(struct relay *y, const char *data, size_t len);
/* Move bytes to the client; its connection dies when all is said. */
void relay_run(struct relay *y);

#endif /* CONTROLPLANE_APISERVER_SUBRESOURCE_RELAY_H */
