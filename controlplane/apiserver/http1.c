// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 requests, strictly: what two parsers could read in two ways is
 * refused (bare LF, folded lines, Content-Length beside Transfer-Encoding or
 * twice, blanks before the colon).
 */
#include <strings.h>

#include "controlplane/apiserver/conn.h"
#include "lib/http/h1.h"
#include "lib/str.h"

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int take(char **slot, const char *s, size_t len)
{
	free(*slot);
	*slot = strndup(s, len);
	return *slot ? 0 : -ENOMEM;
}

int req_target(struct req *r, const char *method, const char *target)
{
	const char *mark = strchr(target, '?');

	if (strlen(target) > TARGET_MAX)
		return -ENAMETOOLONG;
	if (*target != '/')
		return -EBADMSG;
	for (const char *c = target; *c; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c == 0x7f)
			return -EBADMSG;
	if (take(&r->method, method, strlen(method)) ||
	    take(&r->path, target,
		 mark ? (size_t)(mark - target) : strlen(target)) ||
	    take(&r->query, mark ? mark + 1 : "", mark ? strlen(mark + 1) : 0))
		return -ENOMEM;
	return 0;
}

/* "GET /path?query HTTP/1.1" */
static int request_line(const char *p, size_t len, struct req *r, struct err *e)
{
	const char *end = p + len, *sp, *version;
	auto_free char *method = NULL, *target = NULL;
	int res;

	for (sp = p; sp < end && is_token(*sp); sp++)
		;
	if (sp == p || sp == end || *sp != ' ' || sp - p > 32)
		return err_set(e, -EBADMSG, "malformed request line");
	version = memchr(sp + 1, ' ', (size_t)(end - sp - 1));
	if (!version || memchr(sp, '\0', (size_t)(version - sp)))
		return err_set(e, -EBADMSG, "malformed request target");
	if (end - version != 9 || memcmp(version, " HTTP/1.", 8) ||
	    (version[8] != '1' && version[8] != '0'))
		return err_set(e, -EBADMSG, "unsupported protocol version");
	r->keep_alive = version[8] == '1';
	method = strndup(p, (size_t)(sp - p));
	target = strndup(sp + 1, (size_t)(version - sp - 1));
	res = method && target ? req_target(r, method, target) : -ENOMEM;
	if (res == -ENAMETOOLONG)
		return err_set(e, res, TARGET_TOO_LONG);
	return res < 0 ? err_set(e, res, "malformed request target") : 0;
}

static int take_length(const char *val, size_t len, struct framing *f)
{
	if (f->has_length || !len || len > 15)
		return -EBADMSG;
	f->has_length = true;
	for (size_t i = 0; i < len; i++) {
		if (val[i] < '0' || val[i] > '9')
			return -EBADMSG;
		f->length = f->length * 10 + (val[i] - '0');
	}
	return 0;
}

static bool is_field(const char *name, size_t n, const char *want)
{
	return n == strlen(want) && strncasecmp(name, want, n) == 0;
}

/* Fields of one connection, and those that decide where a message ends. */
static int hop_field(const char *name, size_t n, const char *val, size_t len,
		     struct req *r, struct framing *f, struct err *e)
{
	auto_free char *text = NULL;

	if (is_field(name, n, "content-length") && take_length(val, len, f))
		return err_set(e, -EBADMSG, "bad Content-Length");
	if (is_field(name, n, "transfer-encoding")) {
		if (f->chunked || !is_field(val, len, "chunked"))
			return err_set(e, -EBADMSG,
				       "unsupported Transfer-Encoding");
		f->chunked = true;
	}
	if (is_field(name, n, "expect"))
		r->expect_continue = is_field(val, len, "100-continue");
	if (is_field(name, n, "upgrade"))
		return take(&r->upgrade, val, len);
	if (!is_field(name, n, "connection"))
		return 0;
	text = strndup(val, len);
	if (!text)
		return -ENOMEM;
	if (h1_has_token(text, "close"))
		r->keep_alive = false;
	if (h1_has_token(text, "upgrade"))
		r->wants_upgrade = true;
	return 0;
}

int req_field(struct req *r, const char *name, size_t n, const char *val,
	      size_t len, struct framing *f, struct err *e)
{
	if (r->fields.len + n + len + 4 > HEAD_MAX)
		return err_set(e, -E2BIG, "request head is too large");
	buf_add(&r->fields, name, n);
	buf_add(&r->fields, ": ", 2);
	buf_add(&r->fields, val, len);
	buf_add(&r->fields, "\r\n", 2);
	if (buf_error(&r->fields))
		return -ENOMEM;
	if (is_field(name, n, "accept"))
		return take(&r->accept, val, len);
	if (is_field(name, n, "content-type"))
		return take(&r->content_type, val, len);
	if (is_field(name, n, "user-agent"))
		return take(&r->user_agent, val, len);
	if (is_field(name, n, "authorization")) {
		if (len <= 7 || strncasecmp(val, "bearer ", 7))
			return 0;
		return take(&r->bearer, val + 7, len - 7);
	}
	return hop_field(name, n, val, len, r, f, e);
}

static int header_line(const char *p, size_t len, struct req *r,
		       struct framing *f, struct err *e)
{
	const char *val;
	size_t n = 0;

	while (n < len && is_token(p[n]))
		n++;
	if (!n || n == len || p[n] != ':')
		return err_set(e, -EBADMSG, "malformed header line");
	for (size_t i = n + 1; i < len; i++)
		if ((unsigned char)p[i] < ' ' && p[i] != '\t')
			return err_set(e, -EBADMSG, "malformed header value");
	val = p + n + 1;
	len -= n + 1;
	while (len && (*val == ' ' || *val == '\t'))
		val++, len--;
	while (len && (val[len - 1] == ' ' || val[len - 1] == '\t'))
		len--;
	return req_field(r, p, n, val, len, f, e);
}

ssize_t http1_head(const char *data, size_t len, struct req *r,
		   int64_t *ret_body, struct err *e)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4), *p = data;
	struct framing f = { .length = 0 };
	bool first = true;
	int res;

	if (!end && len > HEAD_MAX)
		return memmem(data, TARGET_MAX, "\r\n", 2)
			       ? err_set(e, -E2BIG,
					 "request head of more than %d bytes",
					 HEAD_MAX)
			       : err_set(e, -ENAMETOOLONG, TARGET_TOO_LONG);
	if (!end)
		return 0;
	while (p <= end) {
		const char *nl = memmem(p, end + 2 - p, "\r\n", 2);
		size_t n = nl - p;

		if (memchr(p, '\n', n) || memchr(p, '\r', n))
			return err_set(e, -EBADMSG, "malformed line end");
		res = first ? request_line(p, n, r, e)
			    : header_line(p, n, r, &f, e);
		if (res < 0)
			return res;
		first = false;
		p = nl + 2;
	}
	if (f.chunked && f.has_length)
		return err_set(e, -EBADMSG,
			       "Content-Length beside Transfer-Encoding");
	*ret_body = f.chunked ? -1 : f.length;
	return end + 4 - data;
}

static int chunk_digit(struct chunks *ch, char c)
{
	int d = c >= '0' && c <= '9'                     ? c - '0'
		: (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
							 : -1;

	if (d < 0 || ++ch->digits > 8)
		return -EBADMSG;
	ch->left = ch->left << 4 | (unsigned int)d;
	return 0;
}

/* One byte of what is around the data. */
static int chunk_step(struct chunks *ch, char c, bool *ret_end)
{
	switch (ch->state) {
	case CHUNK_SIZE:
		if (c != '\r')
			return chunk_digit(ch, c);
		ch->state = CHUNK_SIZE_LF;
		return ch->digits ? 0 : -EBADMSG;
	case CHUNK_SIZE_LF:
		ch->digits = 0;
		ch->last = ch->left == 0;
		ch->state = ch->last ? CHUNK_CR : CHUNK_DATA;
		return c == '\n' ? 0 : -EBADMSG;
	case CHUNK_CR:
		/* Trailers are refused: nobody of ours reads them. */
		ch->state = CHUNK_LF;
		return c == '\r' ? 0 : -EBADMSG;
	default:
		ch->state = CHUNK_SIZE;
		*ret_end = ch->last;
		return c == '\n' ? 0 : -EBADMSG;
	}
}

ssize_t http1_chunks(const char *data, size_t len, struct chunks *ch,
		     struct buf *body, bool *ret_end)
{
	size_t at = 0;

	while (at < len && !*ret_end) {
		size_t n = len - at;
		int r;

		if (ch->state != CHUNK_DATA) {
			r = chunk_step(ch, data[at++], ret_end);
			if (r < 0)
				return r;
			if (body->len + ch->left > BODY_MAX)
				return -E2BIG;
			continue;
		}
		if (n > ch->left)
			n = ch->left;
		if (buf_add(body, data + at, n) < 0)
			return -ENOMEM;
		at += n;
		ch->left -= n;
		if (!ch->left)
			ch->state = CHUNK_CR;
	}
	return (ssize_t)at;
}
