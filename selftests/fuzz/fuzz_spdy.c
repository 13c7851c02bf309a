// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/http/spdy.c lib/http/spdy_dict.c lib/buf.c lib/err.c
/* Streams come and go in order whatever is sent, and however it is cut. With
 * the first byte odd, the rest says what a client of ours does, and a server of
 * ours understands it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http/spdy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct end {
	struct spdy *p;
	struct buf out;
	size_t opened, closed, data;
};

static void on_opened(void *arg, struct spdy_stream *s,
		      const struct h1_field *fields, size_t nr)
{
	assert(nr <= SPDY_FIELDS_MAX && !s->data);
	for (size_t i = 0; i < nr; i++)
		assert(fields[i].name[0] && strlen(fields[i].value) + 1);
	((struct end *)arg)->opened++;
	s->data = arg;
	if (s->id % 5 == 0)
		spdy_end(s);
}

static void on_data(void *arg, struct spdy_stream *s, const void *data,
		    size_t len)
{
	(void)data;
	assert(s->data == arg && len);
	((struct end *)arg)->data += len;
	if (len == 7)
		spdy_reset(s);
	else
		spdy_write(s, "answer", 6);
}

static void on_ended(void *arg, struct spdy_stream *s)
{
	assert(s->data == arg);
	if (s->id % 3 == 0)
		spdy_end(s);
}

static void on_closed(void *arg, struct spdy_stream *s)
{
	(void)s;
	((struct end *)arg)->closed++;
}

static const struct spdy_ops ops = {
	.opened = on_opened,
	.data = on_data,
	.ended = on_ended,
	.closed = on_closed,
};

static int feed(struct end *e, const char *data, size_t len, size_t step)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += step)
		r = spdy_in(e->p, data + at, len - at < step ? len - at : step,
			    NULL);
	assert(spdy_nr_streams(e->p) <= SPDY_STREAMS_MAX);
	assert(e->opened - e->closed == spdy_nr_streams(e->p));
	return r;
}

/* Our own client says something, and is understood. */
static void converse(struct end *server, const uint8_t *data, size_t len)
{
	struct end client = { 0 };
	struct h1_field f[] = { { "streamType", "data" }, { "port", "80" } };
	struct spdy_stream *s;
	size_t sent = 0;

	assert(spdy_new(false, &ops, &client, &client.out, &client.p, NULL) ==
	       0);
	for (size_t i = 0; i < len && i < 64; i++) {
		assert(spdy_open(client.p, f, data[i] % 3, &s, NULL) == 0);
		client.opened++;
		s->data = &client;
		if (data[i] % 64 != 7)
			sent += data[i] % 64;
		spdy_write(s, data, 0);
		if (data[i] % 64 != 7 && data[i] % 64 <= len)
			spdy_write(s, data, data[i] % 64);
		else if (data[i] % 64 != 7)
			sent -= data[i] % 64;
	}
	assert(feed(server, buf_str(&client.out), client.out.len, 11) == 0);
	assert(server->data == sent || len > 0);
	assert(server->opened == client.opened);
	assert(feed(&client, buf_str(&server->out), server->out.len, 13) == 0);
	spdy_free(client.p);
	buf_clear(&client.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct end e = { 0 };

	if (!len || spdy_new(true, &ops, &e, &e.out, &e.p, NULL) < 0)
		return 0;
	if (data[0] & 1)
		converse(&e, data + 1, len - 1);
	else
		(void)feed(&e, (const char *)data + 1, len - 1,
			   data[0] >> 1 ? data[0] >> 1 : len);
	spdy_free(e.p);
	assert(e.opened == e.closed);
	buf_clear(&e.out);
	return 0;
}
