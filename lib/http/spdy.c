// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "lib/err.h"
#include "lib/http/spdy.h"
#include "lib/http/spdy_internal.h"

#define CONTROL_MAX 32768 /* bytes of one control frame */
#define PIECE       16384 /* bytes of one data frame of ours */
#define FIN         1

enum {
	SYN_STREAM = 1,
	SYN_REPLY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	HEADERS = 8,
	WINDOW_UPDATE = 9,
};
enum { PROTOCOL_ERROR = 1, INVALID_STREAM = 2, REFUSED = 3, CANCEL = 5 };

struct spdy {
	bool server;
	const struct spdy_ops *ops;
	void *arg;
	struct buf *out;
	struct spdy_stream *streams;
	size_t nr_streams;
	uint32_t next_id, last_id; /* ours; the peer's newest */
	z_stream in, deflater;
	bool failed;
	struct buf frame; /* a control frame coming in, with its head */
	uint32_t left;    /* of a data frame */
	uint32_t data_id;
	bool data_fin, in_data;
	struct buf dictionary;
};

/* --- numbers -------------------------------------------------------------- */

static uint32_t get32(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 |
	       (uint32_t)u[2] << 8 | u[3];
}

static void put32(struct buf *b, uint32_t v)
{
	const char raw[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8),
			      (char)v };

	buf_add(b, raw, sizeof(raw));
}

static void put_control(struct buf *b, int type, int flags, size_t len)
{
	put32(b, 0x80030000U | (uint32_t)type);
	put32(b, (uint32_t)flags << 24 | (uint32_t)len);
}

/* --- streams -------------------------------------------------------------- */

static struct spdy_stream *stream_find(struct spdy *p, uint32_t id)
{
	struct spdy_stream *s = p->streams;

	while (s && s->id != id)
		s = s->next;
	return s;
}

static struct spdy_stream *stream_add(struct spdy *p, uint32_t id)
{
	struct spdy_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = id;
	s->spdy = p;
	s->next = p->streams;
	s->link = &p->streams;
	if (s->next)
		s->next->link = &s->next;
	p->streams = s;
	p->nr_streams++;
	return s;
}

static void stream_close(struct spdy_stream *s)
{
	struct spdy *p = s->spdy;

	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	p->nr_streams--;
	p->ops->closed(p->arg, s);
	free(s);
}

size_t spdy_nr_streams(const struct spdy *p)
{
	return p->nr_streams;
}

/* --- out ------------------------------------------------------------------ */

/* A header block, deflated. */
static int put_block(struct spdy *p, const struct h1_field *f, size_t nr,
		     struct buf *b)
{
	auto_buf struct buf raw = BUF_INIT;
	z_stream *z = &p->deflater;

	put32(&raw, (uint32_t)nr);
	for (size_t i = 0; i < nr; i++) {
		put32(&raw, (uint32_t)strlen(f[i].name));
		for (const char *c = f[i].name; *c; c++)
			buf_putc(&raw, *c >= 'A' && *c <= 'Z' ? *c | 32 : *c);
		put32(&raw, (uint32_t)strlen(f[i].value));
		buf_puts(&raw, f[i].value);
	}
	if (buf_error(&raw))
		return -ENOMEM;
	z->next_in = (unsigned char *)raw.data;
	z->avail_in = (unsigned int)raw.len;
	do {
		unsigned char *to = buf_reserve(b, 512);

		if (!to)
			return -ENOMEM;
		z->next_out = to;
		z->avail_out = 512;
		if (deflate(z, Z_SYNC_FLUSH) == Z_STREAM_ERROR)
			return -ENOMEM;
		buf_commit(b, 512 - z->avail_out);
	} while (!z->avail_out);
	return 0;
}

int spdy_open(struct spdy *p, const struct h1_field *fields, size_t nr_fields,
	      struct spdy_stream **ret, struct err *e)
{
	auto_buf struct buf block = BUF_INIT;
	struct spdy_stream *s;

	if (p->nr_streams >= SPDY_STREAMS_MAX)
		return err_set(e, -E2BIG, "SPDY: more than %d streams",
			       SPDY_STREAMS_MAX);
	s = stream_add(p, p->next_id);
	if (!s || put_block(p, fields, nr_fields, &block) < 0) {
		p->failed = p->failed || s;
		return err_set(e, -ENOMEM, "out of memory");
	}
	p->next_id += 2;
	put_control(p->out, SYN_STREAM, 0, block.len + 10);
	put32(p->out, s->id);
	put32(p->out, 0);
	buf_add(p->out, "\0\0", 2);
	buf_add(p->out, block.data, block.len);
	*ret = s;
	return 0;
}

void spdy_write(struct spdy_stream *s, const void *data, size_t len)
{
	struct buf *b = s->spdy->out;
	const char *p = data;

	while (len && !s->out_done) {
		size_t n = len < PIECE ? len : PIECE;

		put32(b, s->id);
		put32(b, (uint32_t)n);
		buf_add(b, p, n);
		p += n;
		len -= n;
	}
}

void spdy_end(struct spdy_stream *s)
{
	if (s->out_done)
		return;
	s->out_done = true;
	put32(s->spdy->out, s->id);
	put32(s->spdy->out, (uint32_t)FIN << 24);
	if (s->in_done)
		stream_close(s);
}

static void put_reset(struct spdy *p, uint32_t id, uint32_t why)
{
	put_control(p->out, RST_STREAM, 0, 8);
	put32(p->out, id);
	put32(p->out, why);
}

void spdy_reset(struct spdy_stream *s)
{
	put_reset(s->spdy, s->id, CANCEL);
	stream_close(s);
}

void spdy_goaway(struct spdy *p)
{
	put_control(p->out, GOAWAY, 0, 8);
	put32(p->out, p->last_id);
	put32(p->out, 0);
}

/* --- header blocks in ----------------------------------------------------- */

static int inflate_block(struct spdy *p, const char *data, size_t len,
			 struct buf *raw, struct err *e)
{
	z_stream *z = &p->in;

	z->next_in = (unsigned char *)data;
	z->avail_in = (unsigned int)len;
	do {
		unsigned char *to = buf_reserve(raw, 4096);
		int r;

		if (!to)
			return err_set(e, -ENOMEM, "out of memory");
		z->next_out = to;
		z->avail_out = 4096;
		r = inflate(z, Z_SYNC_FLUSH);
		if (r == Z_NEED_DICT) {
			r = inflateSetDictionary(z,
						 (unsigned char *)
							 p->dictionary.data,
						 (unsigned int)
							 p->dictionary.len);
			if (r == Z_OK)
				continue;
		}
		if (r != Z_OK && r != Z_BUF_ERROR)
			return err_set(e, -EBADMSG,
				       "SPDY: headers do not inflate");
		buf_commit(raw, 4096 - z->avail_out);
		if (raw->len > SPDY_HEAD_MAX)
			return err_set(e, -E2BIG,
				       "SPDY: headers of more than %zu bytes",
				       SPDY_HEAD_MAX);
	} while (z->avail_in || !z->avail_out);
	return 0;
}

/* One string of the block: NUL-terminated in place, over the length behind it,
 * which the caller has read. NULL: there is none. */
static char *take_string(char *at, const char *end, size_t *ret_len)
{
	size_t len;

	if (end - at < 4)
		return NULL;
	len = get32(at);
	if (len > (size_t)(end - at - 4))
		return NULL;
	/* NUL divides values of one name: the first one will do. */
	memmove(at, at + 4, len);
	at[len] = '\0';
	*ret_len = len;
	return at;
}

static int take_block(struct spdy *p, const char *data, size_t len,
		      struct buf *raw, struct h1_field *f, size_t *ret_nr,
		      struct err *e)
{
	int r = inflate_block(p, data, len, raw, e);
	char *at = raw->data, *end;
	uint32_t nr;

	if (r < 0)
		return r;
	if (raw->len < 4)
		return err_set(e, -EBADMSG, "SPDY: headers are cut short");
	end = at + raw->len;
	nr = get32(at);
	at += 4;
	if (nr > SPDY_FIELDS_MAX)
		return err_set(e, -E2BIG, "SPDY: more than %d header fields",
			       SPDY_FIELDS_MAX);
	for (uint32_t i = 0; i < nr; i++) {
		size_t n = 0;

		f[i].name = take_string(at, end, &n);
		at += f[i].name ? n + 4 : 0;
		f[i].value = f[i].name ? take_string(at, end, &n) : NULL;
		if (!f[i].value || !*f[i].name)
			return err_set(e, -EBADMSG,
				       "SPDY: headers are cut short");
		at += n + 4;
	}
	*ret_nr = nr;
	return 0;
}

/* --- frames in ------------------------------------------------------------ */

static void peer_ended(struct spdy_stream *s)
{
	struct spdy *p = s->spdy;
	uint32_t id = s->id;

	if (s->in_done)
		return;
	s->in_done = true;
	p->ops->ended(p->arg, s);
	/* The user may have closed it by now. */
	s = stream_find(p, id);
	if (s && s->out_done)
		stream_close(s);
}

static int syn_stream(struct spdy *p, const char *body, size_t len, bool fin,
		      struct err *e)
{
	struct h1_field f[SPDY_FIELDS_MAX];
	auto_buf struct buf raw = BUF_INIT, none = BUF_INIT;
	struct spdy_stream *s;
	uint32_t id;
	size_t nr;
	int r;

	if (len < 10)
		return err_set(e, -EBADMSG, "SPDY: SYN_STREAM is cut short");
	id = get32(body) & 0x7fffffff;
	r = take_block(p, body + 10, len - 10, &raw, f, &nr, e);
	if (r < 0)
		return r;
	/* A client's are odd, and they only grow. */
	if ((id & 1) != p->server || id <= p->last_id)
		return err_set(e, -EBADMSG, "SPDY: stream %u is out of order",
			       id);
	p->last_id = id;
	s = p->nr_streams < SPDY_STREAMS_MAX ? stream_add(p, id) : NULL;
	if (!s) {
		put_reset(p, id, REFUSED);
		return 0;
	}
	if (put_block(p, NULL, 0, &none) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	put_control(p->out, SYN_REPLY, 0, none.len + 4);
	put32(p->out, id);
	buf_add(p->out, none.data, none.len);
	p->ops->opened(p->arg, s, f, nr);
	s = stream_find(p, id);
	if (s && fin)
		peer_ended(s);
	return 0;
}

/* SYN_REPLY and HEADERS: the block has to be inflated, whatever it is for. */
static int late_block(struct spdy *p, int type, const char *body, size_t len,
		      bool fin, struct err *e)
{
	struct h1_field f[SPDY_FIELDS_MAX];
	auto_buf struct buf raw = BUF_INIT;
	struct spdy_stream *s;
	size_t nr;
	int r;

	if (len < 4)
		return err_set(e, -EBADMSG, "SPDY: a head is cut short");
	r = take_block(p, body + 4, len - 4, &raw, f, &nr, e);
	if (r < 0)
		return r;
	s = stream_find(p, get32(body) & 0x7fffffff);
	if (s && type == SYN_REPLY && p->ops->replied)
		p->ops->replied(p->arg, s);
	s = stream_find(p, get32(body) & 0x7fffffff);
	if (s && fin)
		peer_ended(s);
	return 0;
}

static int control(struct spdy *p, struct err *e)
{
	const char *head = p->frame.data, *body = head + 8;
	size_t len = p->frame.len - 8;
	int type = (int)(get32(head) & 0xffff);
	bool fin = head[4] & FIN;
	struct spdy_stream *s;

	switch (type) {
	case SYN_STREAM:
		return syn_stream(p, body, len, fin, e);
	case SYN_REPLY:
	case HEADERS:
		return late_block(p, type, body, len, fin, e);
	case RST_STREAM:
		s = len == 8 ? stream_find(p, get32(body) & 0x7fffffff) : NULL;
		if (s)
			stream_close(s);
		return 0;
	case PING:
		/* Ours would be of the other parity; we send none. */
		if (len == 4 && (get32(body) & 1) == p->server) {
			put_control(p->out, PING, 0, 4);
			buf_add(p->out, body, 4);
		}
		return 0;
	default:
		return 0; /* SETTINGS, GOAWAY, WINDOW_UPDATE, unknown ones */
	}
}

/* The head of a frame, eight bytes. */
static int begin_frame(struct spdy *p, struct err *e)
{
	uint32_t first = get32(p->frame.data),
		 second = get32(p->frame.data + 4);
	uint32_t len = second & 0xffffff;

	if (!(first & 0x80000000U)) {
		p->data_id = first;
		p->left = len;
		p->data_fin = second >> 24 & FIN;
		p->in_data = true;
		buf_reset(&p->frame);
		return 0;
	}
	if ((first >> 16 & 0x7fff) != 3)
		return err_set(e, -EBADMSG, "SPDY: version %u, want 3",
			       first >> 16 & 0x7fff);
	if (len > CONTROL_MAX)
		return err_set(e, -E2BIG, "SPDY: a control frame of %u bytes",
			       len);
	return 0;
}

static void take_data(struct spdy *p, const char *data, size_t n)
{
	struct spdy_stream *s = stream_find(p, p->data_id);

	p->left -= (uint32_t)n;
	p->in_data = p->left > 0;
	if (s && n && !s->in_done)
		p->ops->data(p->arg, s, data, n);
	if (p->in_data || !p->data_fin)
		return;
	s = stream_find(p, p->data_id);
	if (s)
		peer_ended(s);
}

/* Put together a control frame, or a frame's head. 1: one is whole. */
static int take_frame(struct spdy *p, const char **data, size_t *len,
		      struct err *e)
{
	size_t want = 8, n;
	int r;

	if (p->frame.len >= 8)
		want += get32(p->frame.data + 4) & 0xffffff;
	n = want - p->frame.len;
	if (n > *len)
		n = *len;
	if (buf_add(&p->frame, *data, n) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*data += n;
	*len -= n;
	if (want == 8 && p->frame.len == 8) {
		r = begin_frame(p, e);
		if (r < 0 || p->in_data)
			return r;
		want += get32(p->frame.data + 4) & 0xffffff;
	}
	return p->frame.len == want && want > 7 && p->frame.len >= 8;
}

int spdy_in(struct spdy *p, const char *data, size_t len, struct err *e)
{
	int r = 0;

	if (p->failed)
		return err_set(e, -EBADMSG, "SPDY: broken before");
	while (r >= 0 && (len || (p->in_data && !p->left))) {
		if (p->in_data) {
			size_t n = len < p->left ? len : p->left;

			take_data(p, data, n);
			data += n;
			len -= n;
			continue;
		}
		r = take_frame(p, &data, &len, e);
		if (r == 1) {
			r = control(p, e);
			buf_reset(&p->frame);
		}
	}
	p->failed = r < 0;
	return r < 0 ? r : 0;
}

/* --- life ----------------------------------------------------------------- */

int spdy_new(bool server, const struct spdy_ops *ops, void *arg,
	     struct buf *out, struct spdy **ret, struct err *e)
{
	struct spdy *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->server = server;
	p->ops = ops;
	p->arg = arg;
	p->out = out;
	p->next_id = server ? 2 : 1;
	spdy_dictionary(&p->dictionary);
	/* Small windows: a session has but a few heads. */
	if (buf_error(&p->dictionary) || inflateInit(&p->in) != Z_OK ||
	    deflateInit2(&p->deflater, 6, Z_DEFLATED, 11, 1,
			 Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflateSetDictionary(&p->deflater,
				 (unsigned char *)p->dictionary.data,
				 (unsigned int)p->dictionary.len) != Z_OK) {
		spdy_free(p);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = p;
	return 0;
}

void spdy_free(struct spdy *p)
{
	if (!p)
		return;
	while (p->streams)
		stream_close(p->streams);
	inflateEnd(&p->in);
	deflateEnd(&p->deflater);
	buf_clear(&p->frame);
	buf_clear(&p->dictionary);
	free(p);
}
