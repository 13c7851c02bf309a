/* SPDX-License-Identifier: Apache-2.0 */
/* Between h2.c and h2_in.c. */
#ifndef LIB_HTTP_H2_INTERNAL_H
#define LIB_HTTP_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "lib/buf.h"
#include "lib/http/h2.h"

/* Streams a peer may reset: at once, and from then on. */
#define RESETS_BURST 1000
#define RESETS_PER_S 33
/* Frames that cost the peer nothing: the same. A point each; data earns them
 * back. */
#define CALM_BURST   2000
#define CALM_PER_S   200

/* A head on its way in: NUL-terminated names and values, one after another. */
struct h2_text {
	struct buf text;
	size_t nr;
	size_t size; /* as RFC 9113 counts it */
};

struct h2 {
	struct h2_opts o;
	nghttp2_session *ng;
	struct h2_stream *streams;
	size_t nr_streams;
	uint64_t nr_pongs;
	int64_t calm;     /* points left */
	uint64_t calm_ms; /* when they were counted */
	bool going;       /* the peer has said so */
	bool begun;       /* its first settings are here */
	bool flooded;
};

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
void h2_stream_free(struct h2_stream *s, uint32_t code);
void h2_text_free(struct h2_text *t);
void h2_in_callbacks(nghttp2_session_callbacks *cb);

#endif /* LIB_HTTP_H2_INTERNAL_H */
