/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket (RFC 6455), both sides, strictly: bytes in, pieces of messages out.
 * No descriptors here.
 *
 *	struct ws w;
 *
 *	ws_init(&w, WS_SERVER);
 *	do {
 *		r = ws_next(&w, data, len, &used, &piece, e);
 *		data += used, len -= used;
 *		if (r == WS_PIECE)
 *			...of a message: take piece.data
 *		else if (r == WS_PINGED)
 *			ws_put(out, WS_SERVER, WS_PONG, piece.data, piece.len);
 *		else if (r == WS_CLOSED)
 *			...answer with ws_put_close(), and close
 *	} while (r > WS_MORE);
 *
 * Messages may be of any length: nothing is put together here. Refused: the
 * wrong side masking, reserved bits, unknown opcodes, control frames that are
 * long or in fragments, lengths that are not the shortest form, pieces without
 * a beginning.
 */
#ifndef LIB_HTTP_WEBSOCKET_H
#define LIB_HTTP_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

#define WS_CONTROL_MAX 125
#define WS_KEY_TEXT    32 /* room for the text of an accepted key */

enum ws_side { WS_SERVER, WS_CLIENT }; /* which one is ours */

enum ws_op {
	WS_CONTINUED = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

enum ws_event {
	WS_MORE,   /* all data is used, and more is needed */
	WS_PIECE,  /* of a message */
	WS_PINGED, /* answer with the same payload */
	WS_PONGED,
	WS_CLOSED, /* the peer will send no more; piece: code and reason */
};

struct ws_piece {
	enum ws_op op;    /* of the message: text or binary */
	bool first, last; /* piece of its message */
	const char *data; /* borrowed: until the next call */
	size_t len;       /* may be 0 */
};

struct ws {
	enum ws_side side;
	int state;
	unsigned char head[14]; /* of the frame coming in */
	size_t head_len;
	uint64_t left; /* of its payload */
	unsigned char mask[4];
	size_t mask_at;
	bool fin;
	enum ws_op op;      /* of the frame */
	enum ws_op message; /* being sent in pieces; 0: none */
	bool begun;         /* a piece of the message has been given */
	char control[WS_CONTROL_MAX];
	size_t control_len;
};

void ws_init(struct ws *w, enum ws_side side);

/* @data is unmasked in place. Returns enum ws_event, or -EBADMSG. */
int ws_next(struct ws *w, char *data, size_t len, size_t *ret_used,
	    struct ws_piece *ret, struct err *e);

/* A whole message or control frame. */
void ws_put(struct buf *b, enum ws_side side, enum ws_op op, const void *data,
	    size_t len);
/* The same of two parts, the first of at most 8 bytes. */
void ws_put2(struct buf *b, enum ws_side side, enum ws_op op, const void *head,
	     size_t head_len, const void *data, size_t len);
void ws_put_close(struct buf *b, enum ws_side side, uint16_t code,
		  const char *reason);

/* What answers a client's Sec-WebSocket-Key. -EINVAL: it is none. */
int ws_accept(const char *key, char ret[WS_KEY_TEXT]);
/* A client's key. */
void ws_make_key(char ret[WS_KEY_TEXT]);

#endif /* LIB_HTTP_WEBSOCKET_H */
