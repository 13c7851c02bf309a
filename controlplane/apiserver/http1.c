// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP/1.1 requests, strictly: what two parsers could read in two ways is
 * refused (bare LF, folded lines, Content-Length beside Transfer-Encoding or
 * twice, blanks before the colon).
 */
#include <strings.h>

#include "controlplane/apiserver/internal.h"
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

/* "GET /path?query HTTP/1.1" */
static int request_line(const char *p, size_t len, struct req *r, struct err *e)
{
	const char *end = p + len, *sp, *target, *version, *mark;

	for (sp = p; sp < end && is_token(*sp); sp++)
		;
	if (sp == p || sp == end || *sp != ' ')
		return err_set(e, -EBADMSG, "malformed request line");
	target = sp + 1;
	version = memchr(target, ' ', end - target);
	if (!version || *target != '/')
		return err_set(e, -EBADMSG, "malformed request target");
	for (const char *c = target; c < version; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c == 0x7f)
			return err_set(e, -EBADMSG, "malformed request target");
	if (end - version != 9 || memcmp(version, " HTTP/1.", 8) ||
	    (version[8] != '1' && version[8] != '0'))
		return err_set(e, -EBADMSG, "unsupported protocol version");
	r->keep_alive = version[8] == '1';
	mark = memchr(target, '?', version - target);
	if (take(&r->method, p, sp - p) ||
	    take(&r->path, target, (mark ? mark : version) - target) ||
	    take(&r->query, mark ? mark + 1 : "",
		 mark ? version - mark - 1 : 0))
		return -ENOMEM;
	return 0;
}

struct framing {
	bool chunked, has_length;
	int64_t length;
};

static int header(const char *name, size_t n, const char *val, size_t len,
		  struct req *r, struct framing *f, struct err *e)
{
	if (n == 6 && !strncasecmp(name, "accept", n))
		return take(&r->accept, val, len);
	if (n == 12 && !strncasecmp(name, "content-type", n))
		return take(&r->content_type, val, len);
	if (n == 10 && !strncasecmp(name, "user-agent", n))
		return take(&r->user_agent, val, len);
	if (n == 13 && !strncasecmp(name, "authorization", n) && len > 7 &&
	    !strncasecmp(val, "bearer ", 7))
		return take(&r->bearer, val + 7, len - 7);
	if (n == 10 && !strncasecmp(name, "connection", n) && len == 5 &&
	    !strncasecmp(val, "close", 5))
		r->keep_alive = false;
	if (n == 14 && !strncasecmp(name, "content-length", n)) {
		if (f->has_length || !len || len > 15)
			return err_set(e, -EBADMSG, "bad Content-Length");
		f->has_length = true;
		for (size_t i = 0; i < len; i++) {
			if (val[i] < '0' || val[i] > '9')
				return err_set(e, -EBADMSG,
					       "bad Content-Length");
			f->length = f->length * 10 + (val[i] - '0');
		}
	}
	if (n == 17 && !strncasecmp(name, "transfer-encoding", n)) {
		if (f->chunked || len != 7 || strncasecmp(val, "chunked", 7))
			return err_set(e, -EBADMSG,
				       "unsupported Transfer-Encoding");
		f->chunked = true;
	}
	return 0;
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
	return header(p, n, val, len, r, f, e);
}

ssize_t http1_head(const char *data, size_t len, struct req *r,
		   int64_t *ret_body, struct err *e)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4), *p = data;
	struct framing f = { .length = 0 };
	bool first = true;
	int res;

	if (!end)
		return len > HEAD_MAX ? err_set(e, -E2BIG,
						"request head of more than %d "
						"bytes",
						HEAD_MAX)
				      : 0;
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

ssize_t http1_chunk(const char *data, size_t len, struct buf *body,
		    bool *ret_end)
{
	const char *nl = memmem(data, len < 20 ? len : 20, "\r\n", 2);
	uint64_t size = 0;
	size_t head;

	if (!nl)
		return len >= 20 ? -EBADMSG : 0;
	head = nl - data;
	if (!head || head > 8)
		return -EBADMSG;
	for (size_t i = 0; i < head; i++) {
		char c = data[i] | 0x20;
		int d = data[i] >= '0' && data[i] <= '9' ? data[i] - '0'
			: c >= 'a' && c <= 'f'           ? c - 'a' + 10
							 : -1;
		if (d < 0)
			return -EBADMSG;
		size = size << 4 | d;
	}
	if (size > BODY_MAX || body->len + size > BODY_MAX)
		return -E2BIG;
	if (len < head + 2 + size + 2)
		return 0;
	/* Trailers are refused: nobody of ours reads them. */
	if (memcmp(nl + 2 + size, "\r\n", 2))
		return -EBADMSG;
	if (size && buf_add(body, nl + 2, size))
		return -ENOMEM;
	*ret_end = size == 0;
	return head + 2 + size + 2;
}
