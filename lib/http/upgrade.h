/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection after its upgrade, below stream.h: SPDY as it is, WebSocket
 * messages, or SPDY within WebSocket messages (kubectl's port-forward since
 * 1.31).
 */
#ifndef LIB_HTTP_UPGRADE_H
#define LIB_HTTP_UPGRADE_H

#include "lib/buf.h"
#include "lib/ev.h"
#include "lib/http/server.h"
#include "lib/http/websocket.h"
#include "lib/http/wire.h"

enum upgrade_kind { UPGRADE_SPDY, UPGRADE_WS, UPGRADE_TUNNEL };

struct upgrade_ops {
	/* Negative: give up. */
	int (*bytes)(void *arg, const char *data, size_t len);
	int (*piece)(void *arg, const struct ws_piece *piece);
	void (*drain)(void *arg);
	/* After the batch in which it ended: the owner frees. */
	void (*gone)(void *arg);
};

struct upgrade {
	enum upgrade_kind kind;
	const char *protocol; /* agreed on; static */
	const struct upgrade_ops *ops;
	void *arg;
	struct ev *loop;
	struct wire w;
	struct ws ws;
	struct buf raw;  /* for the wire */
	struct buf spdy; /* to be wrapped into messages first */
	struct ev_timer timer;
	struct ev_defer defer;
	bool paused, ending, over, high;
};

/* What a server is willing to speak; each ends with NULL. */
struct upgrade_offer {
	const char *const *spdy;   /* X-Stream-Protocol-Version */
	const char *const *ws;     /* Sec-WebSocket-Protocol, messages */
	const char *const *tunnel; /* the same, SPDY within; or NULL */
};

/* Agree, and take the connection over. On failure the request is answered. */
int upgrade_accept(struct upgrade *u, struct http_req *req,
		   const struct upgrade_offer *offer, struct err *e);
/* Begin to serve, once the owner is ready for events. */
void upgrade_start(struct upgrade *u, const struct upgrade_ops *ops, void *arg);
/* Where SPDY writes to; then upgrade_flush(). */
struct buf *upgrade_out(struct upgrade *u);
void upgrade_flush(struct upgrade *u);
size_t upgrade_backlog(const struct upgrade *u);
void upgrade_pause(struct upgrade *u, bool pause);
/* Say goodbye once all is sent, and wait a little for the peer's. */
void upgrade_end(struct upgrade *u);
void upgrade_over(struct upgrade *u); /* at once; .gone follows */
void upgrade_clear(struct upgrade *u);

#endif /* LIB_HTTP_UPGRADE_H */
