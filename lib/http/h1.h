/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 messages, strictly: bytes in, events out. No descriptors here, so it
 * serves plain sockets, TLS and tests alike.
 *
 *	struct h1 p;
 *
 *	h1_init(&p, H1_REQUEST, NULL);
 *	do {
 *		r = h1_next(&p, data, len, &used, &piece, e);
 *		data += used, len -= used;
 *		if (r == H1_HEAD)
 *			...look at p.head
 *		else if (r == H1_BODY)
 *			...take the piece
 *		else if (r == H1_END)
 *			...answer; h1_reset(&p)
 *	} while (r > H1_MORE);
 *	if (r < 0)
 *		...answer with p.status, and close
 *
 * Refused, because two readers may differ on it: Content-Length together with
 * Transfer-Encoding, either of them twice, any coding but chunked, bare CR or
 * LF, folded lines, blanks around a field's name, a missing or second Host,
 * control characters, absolute targets, anything beyond the limits.
 */
#ifndef LIB_HTTP_H1_H
#define LIB_HTTP_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

struct err;

#define H1_LINE_MAX      8192  /* request line and each header line */
#define H1_HEAD_MAX      32768 /* the whole head, and the whole trailer */
#define H1_HEADERS_MAX   64
#define H1_CHUNK_EXT_MAX 128 /* of one chunk; the content is ignored */

enum h1_kind { H1_REQUEST, H1_RESPONSE };

/* Negative is an error. */
enum h1_event {
	H1_MORE, /* all data is used, and more is needed */
	H1_HEAD, /* the head is complete: h1.head */
	H1_BODY, /* a piece of the body */
	H1_END,  /* of the message: h1_reset() for the next one */
};

struct h1_field {
	const char *name;
	const char *value;
};

/* Strings are borrowed from the parser, until h1_reset(). */
struct h1_head {
	const char *method; /* of a request: upper case */
	const char *target; /* "/path?query" as it was sent */
	int status;         /* of a response */
	const char *reason;
	int minor; /* HTTP/1.minor */
	struct h1_field fields[H1_HEADERS_MAX];
	size_t nr_fields;
	bool keep_alive;
	bool chunked;
	bool has_length;
	uint64_t length;
	bool expect_continue;
	const char *upgrade; /* NULL: none asked for, or granted */
};

struct h1_limits {
	uint64_t body; /* bytes of a body; 0: no limit */
};

struct h1_piece {
	const char *data; /* borrowed from what was fed */
	size_t len;
};

struct h1 {
	struct h1_head head;
	int status; /* after an error in a request: what to answer */

	enum h1_kind kind;
	struct h1_limits limits;
	int state;
	bool no_body;         /* see h1_no_body() */
	struct buf head_text; /* what head points into */
	struct buf text;      /* lines still coming in */
	size_t line;          /* where the present one begins in it */
	uint64_t left;        /* of the body or chunk */
	uint64_t body;        /* bytes so far */
};

/* @limits: borrowed for the call; NULL: none on the body. */
void h1_init(struct h1 *p, enum h1_kind kind, const struct h1_limits *limits);
void h1_clear(struct h1 *p);
void h1_reset(struct h1 *p); /* ready for the next message */

/* The response to come answers a HEAD (or CONNECT): it has no body. */
void h1_no_body(struct h1 *p);

/**
 * h1_next() - Go on to the next event.
 * @p:         The parser.
 * @data:      What has arrived. Borrowed.
 * @len:       Its length; may be 0.
 * @ret_used:  Set to how much of it is dealt with, also on error.
 * @ret_piece: Set for H1_BODY. It points into @data.
 * @e:         Filled on error.
 *
 * Return: enum h1_event, or
 *   -EBADMSG          not HTTP/1.1 as described above
 *   -E2BIG            beyond a limit
 *   -EPROTONOSUPPORT  another version, or another transfer coding
 *   -ENOMEM
 */
int h1_next(struct h1 *p, const char *data, size_t len, size_t *ret_used,
	    struct h1_piece *ret_piece, struct err *e);

/* The peer has closed. H1_END when that ends the message, as it does for a
 * response without a length, else -ECONNRESET; 0 (H1_MORE) between messages. */
int h1_eof(struct h1 *p, struct err *e);

/* The value of a header field, in any case of letters; NULL: not there. */
const char *h1_field(const struct h1_head *head, const char *name);

/* Is @token in the comma-separated list @value? */
bool h1_has_token(const char *value, const char *token);

/* --- writing -------------------------------------------------------------- */

/* Begin a head; then h1_put_field(); then h1_put_end(). The caller's names and
 * values are its own responsibility: no CR, LF or NUL. */
void h1_put_request(struct buf *b, const char *method, const char *target,
		    const char *host);
void h1_put_status(struct buf *b, int status);
void h1_put_field(struct buf *b, const char *name, const char *value);
void h1_put_length(struct buf *b, uint64_t len);
void h1_put_end(struct buf *b);
void h1_put_chunk(struct buf *b, const void *data, size_t len); /* len > 0 */
void h1_put_last_chunk(struct buf *b);

const char *h1_reason(int status); /* "Not Found" */

#endif /* LIB_HTTP_H1_H */
