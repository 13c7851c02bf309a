/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection, server's or client's side, on nghttp2: bytes in, bytes
 * out, events by callbacks. No descriptors here, so it serves TLS, plain
 * sockets and tests alike.
 *
 *	h2_new(&opts, &h, e);
 *	...bytes have come:	r = h2_in(h, data, len, e);
 *	...there is room:	while ((n = h2_out(h, &data)) > 0) send it
 *	...h2_is_done(h):	close
 *
 * Streams are independent: each pulls its body when the peer lets it, so a
 * stream nobody reads holds up no other. What the peer sends is credited back
 * as soon as .data has returned: whoever keeps it, bounds it.
 *
 * A peer is cut off with ENHANCE_YOUR_CALM when it resets streams, or sends
 * pings, settings, priorities, empty or tiny frames faster than anyone in good
 * faith does; a head that is too large is answered with 431.
 */
#ifndef LIB_HTTP_H2_H
#define LIB_HTTP_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/auto.h"
#include "lib/http/h1.h"

struct err;
struct h2;

#define H2_STREAMS_MAX 250             /* at once, of a connection */
#define H2_HEAD_MAX    ((size_t)65536) /* names and values of one head */
#define H2_FIELDS_MAX  128             /* of one head or trailer */
#define H2_WINDOW      (256 * 1024)    /* bytes a peer may be ahead: a stream */
#define H2_CONN_WINDOW (1024 * 1024)   /* and a connection */

/* Codes of RFC 9113 that users of this need. */
enum h2_code {
	H2_NO_ERROR = 0,
	H2_INTERNAL_ERROR = 2,
	H2_REFUSED_STREAM = 7,
	H2_CANCEL = 8,
	H2_ENHANCE_YOUR_CALM = 11,
};

/* Strings are borrowed for the callback. Names are in lower case. */
struct h2_head {
	const char *method, *path, *authority, *scheme; /* of a request */
	int status;                                     /* of a response */
	const struct h1_field *fields;                  /* without the above */
	size_t nr_fields;
};

struct h2_stream {
	void *data; /* the user's own */
	int32_t id;

	/* h2.c's own */
	struct h2 *h2;
	struct h2_stream *next, **link;
	struct h2_text *text; /* a head coming in */
	bool too_big, responded, waiting, has_trailers, closed;
};

/*
 * The events of a stream come in this order: head, data..., trailers (rarely),
 * end; and closed, once, at any time, whereupon the stream is gone. Callbacks
 * may call any function of this page but h2_in(), h2_out() and h2_free().
 */
struct h2_ops {
	/* A request, or a response to ours (1xx are left out). */
	void (*head)(void *arg, struct h2_stream *s, const struct h2_head *h);
	void (*data)(void *arg, struct h2_stream *s, const void *data,
		     size_t len);
	void (*trailers)(void *arg, struct h2_stream *s,
			 const struct h2_head *h); /* may be NULL */
	void (*end)(void *arg, struct h2_stream *s);
	/* More of our body: at most @size bytes into @buf. 0 without *@ret_eof:
	 * nothing now, h2_resume() follows. Negative: reset the stream. */
	ssize_t (*pull)(void *arg, struct h2_stream *s, void *buf, size_t size,
			bool *ret_eof);
	void (*closed)(void *arg, struct h2_stream *s, uint32_t code);
};

struct h2_opts {
	bool server;
	const struct h2_ops *ops; /* borrowed for the connection's life */
	void *arg;
	bool trusted;         /* the peer may be as chatty as it likes */
	uint32_t streams_max; /* of the peer's; 0: H2_STREAMS_MAX */
};

int h2_new(const struct h2_opts *opts, struct h2 **ret, struct err *e);
/* .closed comes for each stream that is left. */
void h2_free(struct h2 *h);
DEFINE_AUTO_PTR(h2, h2_free)

/**
 * h2_in() - Take what has come from the peer.
 * @h:    Connection.
 * @data: Borrowed.
 * @len:  Its length.
 * @e:    Filled on error.
 *
 * After an error, send what h2_out() still has (it says goodbye), then close.
 *
 * Return: 0, or
 *   -EBADMSG  not HTTP/2, or broken
 *   -EDQUOT   the peer does too much of what is too cheap for it
 *   -ENOMEM
 */
int h2_in(struct h2 *h, const void *data, size_t len, struct err *e);

/* The next bytes for the peer, borrowed until the next call of it. 0: none now;
 * negative: out of memory, close. */
ssize_t h2_out(struct h2 *h, const uint8_t **ret);
/* Would h2_out() have something? */
bool h2_wants_out(const struct h2 *h);
/* Nothing will come any more, in either direction. */
bool h2_is_done(const struct h2 *h);
/* The peer has sent what every connection begins with. */
bool h2_has_begun(const struct h2 *h);
size_t h2_nr_streams(const struct h2 *h);

/* --- a server's streams --------------------------------------------------- */

/* Answer with a head; @body: .pull is asked for one, else that is all. */
int h2_respond(struct h2_stream *s, int status, const struct h1_field *fields,
	       size_t nr_fields, bool body);

/* --- a client's ----------------------------------------------------------- */

/* A request; the head's path, authority, scheme and method are all needed.
 * -EAGAIN: no stream is free, or the peer is going away; see h2_can_open(). */
int h2_request(struct h2 *h, const struct h2_head *head, bool body, void *data,
	       struct h2_stream **ret, struct err *e);
/* May another request be made on this connection, now? */
bool h2_can_open(const struct h2 *h);
/* The peer takes no further requests: open another connection. */
bool h2_is_going(const struct h2 *h);

/* --- both ----------------------------------------------------------------- */

/* There is more to pull. */
void h2_resume(struct h2_stream *s);
/* To follow the body: call it from .pull, before it returns the end. */
int h2_trailers(struct h2_stream *s, const struct h1_field *fields,
		size_t nr_fields);
/* Give up a stream; .closed comes later. */
void h2_reset(struct h2_stream *s, enum h2_code code);
/* Is the peer there? */
int h2_ping(struct h2 *h);
uint64_t h2_nr_pongs(const struct h2 *h); /* answers to it so far */

/* Say that no further requests are taken; those that are here may end. The
 * first call lets requests on their way still in, the second one does not. */
void h2_goaway(struct h2 *h, bool final);

#endif /* LIB_HTTP_H2_H */
