/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPDY/3.1 as Kubernetes' streaming requests use it, both sides: bytes in,
 * bytes out, events by callbacks. No descriptors here.
 *
 * Streams a peer opens are answered with SYN_REPLY by themselves. Windows are
 * not kept, as by the peers there are (kubectl's library neither sends nor
 * heeds WINDOW_UPDATE): TCP holds back who is too fast.
 */
#ifndef LIB_HTTP_SPDY_H
#define LIB_HTTP_SPDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/http/h1.h"

struct err;
struct spdy;

#define SPDY_STREAMS_MAX 512             /* at once */
#define SPDY_HEAD_MAX    ((size_t)65536) /* of one header block, inflated */
#define SPDY_FIELDS_MAX  64

struct spdy_stream {
	void *data; /* the user's own */
	uint32_t id;

	/* spdy.c's own */
	struct spdy *spdy;
	struct spdy_stream *next, **link;
	bool in_done, out_done;
};

struct spdy_ops {
	/* The peer has opened a stream. Fields are borrowed. */
	void (*opened)(void *arg, struct spdy_stream *s,
		       const struct h1_field *fields, size_t nr_fields);
	/* It has accepted one of ours. May be NULL. */
	void (*replied)(void *arg, struct spdy_stream *s);
	void (*data)(void *arg, struct spdy_stream *s, const void *data,
		     size_t len);
	/* It will send no more on it. */
	void (*ended)(void *arg, struct spdy_stream *s);
	/* The stream is no more: both have ended, or it was reset. */
	void (*closed)(void *arg, struct spdy_stream *s);
};

/* Answers to @out, which is borrowed for the session's life. */
int spdy_new(bool server, const struct spdy_ops *ops, void *arg,
	     struct buf *out, struct spdy **ret, struct err *e);
void spdy_free(struct spdy *p); /* .closed comes for what is left */
DEFINE_AUTO_PTR(spdy, spdy_free)

/* 0, -EBADMSG, -E2BIG or -ENOMEM. After an error nothing more is taken. */
int spdy_in(struct spdy *p, const char *data, size_t len, struct err *e);

int spdy_open(struct spdy *p, const struct h1_field *fields, size_t nr_fields,
	      struct spdy_stream **ret, struct err *e);
void spdy_write(struct spdy_stream *s, const void *data, size_t len);
void spdy_end(struct spdy_stream *s);   /* we send no more; may close it */
void spdy_reset(struct spdy_stream *s); /* closes it */
void spdy_goaway(struct spdy *p);
size_t spdy_nr_streams(const struct spdy *p);

#endif /* LIB_HTTP_SPDY_H */
