/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_CONN_H
#define CONTROLPLANE_APISERVER_CONN_H

#include "controlplane/apiserver/internal.h"

#define HANDSHAKE_MS 15000
#define REQUEST_MS   30000  /* from the first byte to the last of a request */
#define IDLE_MS      300000 /* between requests */

struct conn {
	struct loop *loop;
	struct conn *next, **link;
	struct ev_io io;
	struct ev_timer timer;
	int fd;
	SSL *ssl;
	struct user *user; /* NULL: showed no certificate */
	bool handshaken, dead, busy, eof;
	struct buf in;
	struct req *req;   /* HTTP/1.1: the one in progress */
	int64_t body_left; /* of it; -1: chunked */
	char *out;         /* OUT_CHUNK bytes under way */
	size_t out_len, out_off;
};

/* Fill c->out with what comes next of c->req. False: nothing now. */
bool http1_fill(struct conn *c);

#endif /* CONTROLPLANE_APISERVER_CONN_H */
