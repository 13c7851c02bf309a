// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/err.h"
#include "lib/http/h1.h"

enum state {
	IN_HEAD,
	HEAD_DONE, /* told; what the body is like is known */
	IN_LENGTH, /* Content-Length */
	IN_CHUNK_SIZE,
	IN_CHUNK,
	IN_CHUNK_END, /* the CR LF behind it */
	IN_TRAILER,
	IN_REST, /* of a response, until the peer closes */
	AT_END,
	BROKEN,
};

/* --- characters ----------------------------------------------------------- */

static bool is_token_char(unsigned char c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_token_char((unsigned char)s[i]))
			return false;
	return len > 0;
}

static bool is_text(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

static int fail(struct h1 *p, int status, int code, const char *what,
		struct err *e)
{
	p->state = BROKEN;
	p->status = status;
	return err_set(e, code, "HTTP: %s", what);
}

static int bad(struct h1 *p, const char *what, struct err *e)
{
	return fail(p, 400, -EBADMSG, what, e);
}

/* --- beginning and end ---------------------------------------------------- */

void h1_init(struct h1 *p, enum h1_kind kind, const struct h1_limits *limits)
{
	*p = (struct h1){ .kind = kind };
	if (limits)
		p->limits = *limits;
}

void h1_clear(struct h1 *p)
{
	buf_clear(&p->text);
	buf_clear(&p->head_text);
}

void h1_reset(struct h1 *p)
{
	struct buf text = p->text, head_text = p->head_text;
	struct h1_limits limits = p->limits;

	buf_reset(&text);
	buf_reset(&head_text);
	h1_init(p, p->kind, &limits);
	p->text = text;
	p->head_text = head_text;
}

void h1_no_body(struct h1 *p)
{
	p->no_body = true;
}

/* --- lines ---------------------------------------------------------------- */

/* Move bytes up to the end of a line into p->text. 1 when the line is complete
 * (its CR LF replaced by NUL), 0 when more is needed. */
static int take_line(struct h1 *p, const char *data, size_t len, size_t max,
		     size_t *ret_used, struct err *e)
{
	const char *lf = memchr(data, '\n', len);
	size_t n = lf ? (size_t)(lf - data) + 1 : len;
	size_t begin = p->text.len;
	char *line, *at;

	*ret_used = n;
	if (p->text.len - p->line + n > max + 2 ||
	    p->text.len + n > H1_HEAD_MAX)
		return fail(p, 431, -E2BIG, "a line or the head is too long",
			    e);
	if (buf_add(&p->text, data, n) < 0)
		return fail(p, 503, -ENOMEM, "out of memory", e);
	line = p->text.data + p->line;
	/* Any CR but the one before LF, whichever read brought it. */
	at = begin > p->line ? p->text.data + begin - 1 : line;
	at = memchr(at, '\r', (size_t)(p->text.data + p->text.len - at));
	if (!lf) {
		if (at && at != p->text.data + p->text.len - 1)
			return bad(p, "CR without LF", e);
		return 0;
	}
	if (at != p->text.data + p->text.len - 2 || p->text.len - p->line < 2)
		return bad(p, "LF without CR, or CR without LF", e);
	*at = '\0';
	if (strlen(line) != (size_t)(at - line))
		return bad(p, "NUL in a line", e);
	return 1;
}

static char *present_line(struct h1 *p)
{
	return p->text.data + p->line;
}

static void next_line(struct h1 *p)
{
	p->line = p->text.len;
}

/* --- the first line ------------------------------------------------------- */

static int parse_version(struct h1 *p, const char *s, struct err *e)
{
	if (strncmp(s, "HTTP/", 5) != 0)
		return bad(p, "no HTTP version", e);
	if (strcmp(s, "HTTP/1.1") != 0 && strcmp(s, "HTTP/1.0") != 0)
		return fail(p, 505, -EPROTONOSUPPORT,
			    "only HTTP/1.1 and 1.0 are understood", e);
	p->head.minor = s[7] - '0';
	return 0;
}

static int parse_request_line(struct h1 *p, char *line, struct err *e)
{
	char *target = strchr(line, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;

	if (!version)
		return bad(p, "not a request line", e);
	*target++ = '\0';
	*version++ = '\0';
	if (!is_token(line, strlen(line)) || strlen(line) > 32)
		return bad(p, "not a method", e);
	if (target[0] != '/')
		return bad(p, "the target must begin with '/'", e);
	for (const char *s = target; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f ||
		    *s == '#')
			return bad(p, "a bad character in the target", e);
	p->head.method = line;
	p->head.target = target;
	return parse_version(p, version, e);
}

static int parse_status_line(struct h1 *p, char *line, struct err *e)
{
	char *status = strchr(line, ' ');
	int r;

	if (!status)
		return bad(p, "not a status line", e);
	*status++ = '\0';
	r = parse_version(p, line, e);
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		if (!isdigit((unsigned char)status[i]))
			return bad(p, "not a status", e);
	if ((status[3] && status[3] != ' ') || status[0] < '1' ||
	    status[0] > '5')
		return bad(p, "not a status", e);
	p->head.status = (status[0] - '0') * 100 + (status[1] - '0') * 10 +
			 (status[2] - '0');
	p->head.reason = status[3] ? status + 4 : status + 3;
	if (!is_text(p->head.reason))
		return bad(p, "a control character in the status line", e);
	return 0;
}

/* --- header fields -------------------------------------------------------- */

static int parse_field(struct h1 *p, char *line, struct h1_field *ret,
		       struct err *e)
{
	size_t len = strcspn(line, ":");
	char *value, *end;

	if (line[0] == ' ' || line[0] == '\t')
		return bad(p, "a folded header line", e);
	if (!line[len])
		return bad(p, "a header line without a colon", e);
	if (!is_token(line, len))
		return bad(p, "not the name of a header field", e);
	line[len] = '\0';
	value = line + len + 1;
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (!is_text(value))
		return bad(p, "a control character in a header field", e);
	*ret = (struct h1_field){ line, value };
	return 0;
}

static int parse_length(struct h1 *p, const char *value, struct err *e)
{
	uint64_t v = 0;

	if (p->head.has_length)
		return bad(p, "Content-Length twice", e);
	if (!*value)
		return bad(p, "not a Content-Length", e);
	for (; *value; value++) {
		if (!isdigit((unsigned char)*value))
			return bad(p, "not a Content-Length", e);
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*value - '0'), &v))
			return fail(p, 413, -E2BIG, "the body is too large", e);
	}
	p->head.has_length = true;
	p->head.length = v;
	return 0;
}

static int parse_coding(struct h1 *p, const char *value, struct err *e)
{
	if (p->head.chunked)
		return bad(p, "Transfer-Encoding twice", e);
	if (p->head.minor == 0)
		return bad(p, "Transfer-Encoding in HTTP/1.0", e);
	if (strcasecmp(value, "chunked") != 0)
		return fail(p, 501, -EPROTONOSUPPORT,
			    "a transfer coding other than chunked", e);
	p->head.chunked = true;
	return 0;
}

bool h1_has_token(const char *value, const char *token)
{
	size_t want = strlen(token);

	while (*value) {
		size_t len;

		value += strspn(value, " \t,");
		len = strcspn(value, ",");
		while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
			len--;
		if (len == want && strncasecmp(value, token, len) == 0)
			return true;
		value += strcspn(value, ",");
	}
	return false;
}

static int understand_fields(struct h1 *p, struct err *e)
{
	struct h1_head *h = &p->head;
	bool close = false, keep = false, upgrade = false;
	int hosts = 0, r = 0;

	for (size_t i = 0; i < h->nr_fields && r == 0; i++) {
		const char *name = h->fields[i].name;
		const char *value = h->fields[i].value;

		if (strcasecmp(name, "content-length") == 0) {
			r = parse_length(p, value, e);
		} else if (strcasecmp(name, "transfer-encoding") == 0) {
			r = parse_coding(p, value, e);
		} else if (strcasecmp(name, "host") == 0) {
			hosts++;
		} else if (strcasecmp(name, "connection") == 0) {
			close |= h1_has_token(value, "close");
			keep |= h1_has_token(value, "keep-alive");
			upgrade |= h1_has_token(value, "upgrade");
		} else if (strcasecmp(name, "upgrade") == 0) {
			h->upgrade = value;
		} else if (strcasecmp(name, "expect") == 0) {
			h->expect_continue =
				strcasecmp(value, "100-continue") == 0;
		}
	}
	if (r < 0)
		return r;
	if (h->chunked && h->has_length)
		return bad(p, "Content-Length with Transfer-Encoding", e);
	if (p->kind == H1_REQUEST && (hosts > 1 || (h->minor && !hosts)))
		return bad(p, "exactly one Host is needed", e);
	h->keep_alive = h->minor ? !close : keep && !close;
	if (!upgrade || !h->minor)
		h->upgrade = NULL;
	return 0;
}

const char *h1_field(const struct h1_head *head, const char *name)
{
	for (size_t i = 0; i < head->nr_fields; i++)
		if (strcasecmp(head->fields[i].name, name) == 0)
			return head->fields[i].value;
	return NULL;
}

/* The text has grown in place while it came in: only now it stays where it is,
 * so only now are pointers into it made. */
static int parse_head(struct h1 *p, struct err *e)
{
	char *line = p->text.data;
	int r;

	r = p->kind == H1_REQUEST ? parse_request_line(p, line, e)
				  : parse_status_line(p, line, e);
	/* Every line ended in CR LF, of which CR is NUL by now. Splitting made
	 * more NULs, so look for the LF. */
	line = memchr(p->text.data, '\n', p->text.len);
	while (r == 0) {
		char *next;

		line++;
		if (!*line)
			break;
		if (p->head.nr_fields == H1_HEADERS_MAX)
			return fail(p, 431, -E2BIG, "too many header fields",
				    e);
		next = strchr(line, '\0') + 1;
		r = parse_field(p, line, &p->head.fields[p->head.nr_fields], e);
		p->head.nr_fields++;
		line = next;
	}
	return r < 0 ? r : understand_fields(p, e);
}

/* --- bodies --------------------------------------------------------------- */

static int begin_body(struct h1 *p, struct err *e)
{
	const struct h1_head *h = &p->head;
	int status = h->status;
	struct buf text;

	if (h->has_length && p->limits.body && h->length > p->limits.body)
		return fail(p, 413, -E2BIG, "the body is too large", e);
	if (p->no_body || status / 100 == 1 || status == 204 || status == 304)
		p->state = AT_END;
	else if (h->chunked)
		p->state = IN_CHUNK_SIZE;
	else if (h->has_length)
		p->state = h->length ? IN_LENGTH : AT_END;
	else
		p->state = p->kind == H1_RESPONSE ? IN_REST : AT_END;
	p->left = h->length;
	/* The head points into its text, which must not move any more. */
	text = p->head_text;
	p->head_text = p->text;
	p->text = text;
	p->line = 0;
	return 0;
}

static int body_piece(struct h1 *p, const char *data, size_t len,
		      size_t *ret_used, struct h1_piece *ret, struct err *e)
{
	if (p->state != IN_REST && len > p->left)
		len = (size_t)p->left;
	p->body += len;
	if (p->limits.body && p->body > p->limits.body)
		return fail(p, 413, -E2BIG, "the body is too large", e);
	*ret_used = len;
	*ret = (struct h1_piece){ data, len };
	if (p->state == IN_REST)
		return H1_BODY;
	p->left -= len;
	if (!p->left)
		p->state = p->state == IN_CHUNK ? IN_CHUNK_END : AT_END;
	return H1_BODY;
}

static void drop_line(struct h1 *p)
{
	p->text.len = p->line;
	p->text.data[p->text.len] = '\0';
}

static int parse_chunk_size(struct h1 *p, struct err *e)
{
	const char *s = present_line(p);
	uint64_t v = 0;
	int digits = 0;

	for (; isxdigit((unsigned char)*s); s++, digits++) {
		int c = tolower((unsigned char)*s);

		v = v << 4 | (uint64_t)(isdigit(c) ? c - '0' : c - 'a' + 10);
	}
	if (!digits || digits > 15)
		return bad(p, "not the size of a chunk", e);
	if (*s && *s != ';')
		return bad(p, "not the size of a chunk", e);
	if (!is_text(s))
		return bad(p, "a control character in a chunk extension", e);
	if (strlen(s) > H1_CHUNK_EXT_MAX)
		return fail(p, 431, -E2BIG, "a chunk extension is too long", e);
	p->left = v;
	p->state = v ? IN_CHUNK : IN_TRAILER;
	return 0;
}

/* Lines between the pieces of a chunked body. 0: go on, 1: more is needed. */
static int framing_line(struct h1 *p, const char *data, size_t len,
			size_t *ret_used, struct err *e)
{
	size_t max = p->state == IN_TRAILER     ? H1_LINE_MAX
		     : p->state == IN_CHUNK_END ? 0
						: H1_CHUNK_EXT_MAX + 16;
	struct h1_field ignored;
	int r;

	r = take_line(p, data, len, max, ret_used, e);
	if (r <= 0)
		return r < 0 ? r : 1;
	if (p->state == IN_CHUNK_SIZE) {
		r = parse_chunk_size(p, e);
	} else if (p->state == IN_CHUNK_END) {
		r = *present_line(p) ? bad(p, "a chunk longer than its size", e)
				     : 0;
		if (r == 0)
			p->state = IN_CHUNK_SIZE;
	} else if (!*present_line(p)) {
		p->state = AT_END;
		r = 0;
	} else {
		/* Trailer fields are checked, counted as part of the head,
		 * and ignored. */
		r = parse_field(p, present_line(p), &ignored, e);
		if (r == 0)
			next_line(p);
		return r;
	}
	if (r == 0)
		drop_line(p);
	return r;
}

static int head_line(struct h1 *p, const char *data, size_t len,
		     size_t *ret_used, struct err *e)
{
	bool first = p->line == 0;
	int r;

	r = take_line(p, data, len, H1_LINE_MAX, ret_used, e);
	if (r == -E2BIG && first)
		p->status = 414;
	if (r <= 0)
		return r < 0 ? r : H1_MORE;
	if (*present_line(p)) {
		next_line(p);
		return H1_END; /* of the line: go on */
	}
	if (first)
		return bad(p, "an empty line before the first", e);
	r = parse_head(p, e);
	if (r < 0)
		return r;
	p->state = HEAD_DONE;
	r = begin_body(p, e);
	return r < 0 ? r : H1_HEAD;
}

int h1_next(struct h1 *p, const char *data, size_t len, size_t *ret_used,
	    struct h1_piece *ret_piece, struct err *e)
{
	size_t used = 0, n;
	int r;

	*ret_used = 0;
	assert(p->state != BROKEN);
	if (p->state == AT_END)
		return H1_END;
	while (used < len) {
		n = 0;
		switch (p->state) {
		case IN_HEAD:
			r = head_line(p, data + used, len - used, &n, e);
			*ret_used = used += n;
			if (r != H1_END)
				return r;
			continue;
		case IN_CHUNK_SIZE:
		case IN_CHUNK_END:
		case IN_TRAILER:
			r = framing_line(p, data + used, len - used, &n, e);
			*ret_used = used += n;
			if (r < 0)
				return r;
			if (p->state == AT_END)
				return H1_END;
			continue;
		default:
			r = body_piece(p, data + used, len - used, &n,
				       ret_piece, e);
			*ret_used = used + n;
			return r;
		}
	}
	return H1_MORE;
}

int h1_eof(struct h1 *p, struct err *e)
{
	if (p->state == IN_REST || p->state == AT_END) {
		p->state = AT_END;
		return H1_END;
	}
	if (p->state == IN_HEAD && !p->text.len)
		return H1_MORE;
	p->state = BROKEN;
	return err_set(e, -ECONNRESET,
		       "HTTP: the connection was closed within a message");
}
