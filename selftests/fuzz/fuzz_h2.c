// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/http/h2.c lib/http/h2_in.c lib/buf.c lib/err.c lib/str.c lib/ev.c
/* Whatever a client sends, a server's streams come and go in order, within
 * their limits, and what it says in the end can be sent. The first byte chooses
 * whether the client's preface is put in front, and how the rest is cut. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
	size_t open, body;
	bool ended;
};

static void on_head(void *arg, struct h2_stream *s, const struct h2_head *h)
{
	const struct h1_field f = { "content-type", "a" };
	size_t *nr = arg, sum = 0;
	struct seen *seen = calloc(1, sizeof(*seen));

	assert(seen && !s->data && h->method && h->path[0] == '/');
	assert(h->nr_fields <= H2_FIELDS_MAX);
	for (size_t i = 0; i < h->nr_fields; i++) {
		assert(h->fields[i].name[0] && h->fields[i].name[0] != ':');
		sum += strlen(h->fields[i].name) + strlen(h->fields[i].value);
	}
	assert(sum <= H2_HEAD_MAX);
	s->data = seen;
	++*nr;
	if (strlen(h->path) & 1)
		assert(h2_respond(s, 200, &f, 1, true) == 0);
	else if (strlen(h->path) == 4)
		h2_reset(s, H2_CANCEL);
}

static void on_data(void *arg, struct h2_stream *s, const void *data,
		    size_t len)
{
	struct seen *seen = s->data;

	(void)arg;
	(void)data;
	assert(seen && !seen->ended);
	seen->body += len;
}

static void on_end(void *arg, struct h2_stream *s)
{
	struct seen *seen = s->data;

	(void)arg;
	assert(seen && !seen->ended);
	seen->ended = true;
	(void)h2_respond(s, 204, NULL, 0, false);
}

static ssize_t on_pull(void *arg, struct h2_stream *s, void *buf, size_t size,
		       bool *ret_eof)
{
	(void)arg;
	assert(s->data);
	memset(buf, 'x', size < 100 ? size : 100);
	*ret_eof = size & 1;
	return (ssize_t)(size < 100 ? size : 100);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
	size_t *nr = arg;

	(void)code;
	if (s->data)
		--*nr;
	free(s->data);
}

static const struct h2_ops ops = {
	.head = on_head,
	.data = on_data,
	.end = on_end,
	.pull = on_pull,
	.closed = on_closed,
};

static void drain(struct h2 *h)
{
	const uint8_t *out;

	for (int i = 0; i < 1000 && h2_out(h, &out) > 0; i++)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char preface[] =
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	size_t nr = 0, step;
	struct h2_opts o = { .server = true, .ops = &ops, .arg = &nr };
	struct h2 *h;
	int r = 0;

	if (!len || h2_new(&o, &h, NULL) < 0)
		return 0;
	step = data[0] >> 1 ? data[0] >> 1 : len;
	if (data[0] & 1)
		r = h2_in(h, preface, sizeof(preface) - 1, NULL);
	for (size_t at = 1; r == 0 && at < len; at += step) {
		r = h2_in(h, data + at, len - at < step ? len - at : step,
			  NULL);
		assert(h2_nr_streams(h) <= H2_STREAMS_MAX + 1);
		drain(h);
	}
	drain(h);
	h2_free(h);
	assert(nr == 0);
	return 0;
}
