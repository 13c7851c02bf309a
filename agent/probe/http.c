// SPDX-License-Identifier: Apache-2.0
/* Requests, answers and addresses as text. Pure. What a pod answers is hostile
 * until proven otherwise. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/probe/internal.h"
#include "lib/str.h"

static bool is_plain(unsigned char c)
{
	return c > ' ' && c < 0x7f;
}

/* Append @s to a path of @u, what cannot stand in a request line as %XX. */
static int path_add(struct probe_url *u, size_t *len, const char *s, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (*len + 3 >= sizeof(u->path))
			return -E2BIG;
		if (is_plain(c)) {
			u->path[(*len)++] = (char)c;
		} else {
			u->path[(*len)++] = '%';
			u->path[(*len)++] = hex[c >> 4];
			u->path[(*len)++] = hex[c & 15];
		}
	}
	u->path[*len] = '\0';
	return 0;
}

int probe_url_init(struct probe_url *u, bool https, const char *host,
		   uint16_t port, const char *path)
{
	size_t len = 0;
	int r;

	u->https = https;
	u->port = port;
	if ((size_t)snprintf(u->host, sizeof(u->host), "%s", host) >=
	    sizeof(u->host))
		return -E2BIG;
	u->path[0] = '\0';
	r = path && path[0] == '/' ? 0 : path_add(u, &len, "/", 1);
	if (r == 0 && path)
		r = path_add(u, &len, path, strlen(path));
	return r;
}

/* "host", "host:1", "[::1]:1" up to @end. */
static int authority_parse(const char *s, const char *end, struct probe_url *u)
{
	const char *host = s, *host_end, *port = NULL;
	uint64_t number = u->https ? 443 : 80;
	char text[8];

	if (memchr(s, '@', (size_t)(end - s)))
		return -EBADMSG; /* nobody has credentials for us */
	if (s < end && *s == '[') {
		host++;
		host_end = memchr(s, ']', (size_t)(end - s));
		if (!host_end || (host_end + 1 < end && host_end[1] != ':'))
			return -EBADMSG;
		port = host_end + 1 < end ? host_end + 2 : NULL;
	} else {
		host_end = memchr(s, ':', (size_t)(end - s));
		port = host_end ? host_end + 1 : NULL;
		host_end = host_end ? host_end : end;
	}
	if (host == host_end || (size_t)(host_end - host) >= sizeof(u->host))
		return -EBADMSG;
	if (port && port < end) {
		if ((size_t)(end - port) >= sizeof(text))
			return -EBADMSG;
		memcpy(text, port, (size_t)(end - port));
		text[end - port] = '\0';
		if (str_to_u64(text, &number) < 0 || !number || number > 65535)
			return -EBADMSG;
	}
	memcpy(u->host, host, (size_t)(host_end - host));
	u->host[host_end - host] = '\0';
	u->port = (uint16_t)number;
	return 0;
}

static bool starts_nocase(const char *s, size_t len, const char *prefix)
{
	return len >= strlen(prefix) &&
	       strncasecmp(s, prefix, strlen(prefix)) == 0;
}

/* Path of a redirect: from the root, or beside the present one. */
static int path_follow(const struct probe_url *u, const char *s, size_t n,
		       struct probe_url *next)
{
	const char *slash;
	size_t len = 0;
	int r = 0;

	next->path[0] = '\0';
	if (n == 0)
		return path_add(next, &len, "/", 1);
	if (s[0] == '?') {
		r = path_add(next, &len, u->path, strcspn(u->path, "?"));
	} else if (s[0] != '/') {
		slash = memrchr(u->path, '/', strcspn(u->path, "?"));
		r = path_add(next, &len, u->path,
			     slash ? (size_t)(slash - u->path) + 1 : 0);
	}
	return r < 0 ? r : path_add(next, &len, s, n);
}

int probe_url_follow(const struct probe_url *u, const char *location,
		     size_t len, struct probe_url *ret)
{
	const char *s = location, *end = location + len, *stop;
	struct probe_url next = *u, base = *u;
	bool has_host = true;
	int r = 0;

	stop = memchr(s, '#', len);
	end = stop ? stop : end;
	for (const char *p = s; p < end; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '\\')
			return -EBADMSG;
	if (starts_nocase(s, (size_t)(end - s), "http://")) {
		next.https = false;
		s += 7;
	} else if (starts_nocase(s, (size_t)(end - s), "https://")) {
		next.https = true;
		s += 8;
	} else if (starts_nocase(s, (size_t)(end - s), "//")) {
		s += 2;
	} else {
		has_host = false;
	}
	if (has_host) {
		for (stop = s; stop < end && *stop != '/' && *stop != '?';)
			stop++;
		r = authority_parse(s, stop, &next);
		if (r < 0)
			return r;
		memcpy(base.path, "/", 2);
		r = path_follow(&base, stop, (size_t)(end - stop), &next);
	} else {
		for (stop = s; stop < end && isalnum((unsigned char)*stop);)
			stop++;
		if (stop < end && *stop == ':')
			return -EBADMSG; /* "mailto:" */
		r = path_follow(&base, s, (size_t)(end - s), &next);
	}
	if (r < 0)
		return -EBADMSG;
	*ret = next;
	return 0;
}

static bool is_ipv6(const char *host)
{
	return strchr(host, ':') != NULL;
}

void probe_url_format(const struct probe_url *u, char *buf, size_t size)
{
	snprintf(buf, size,
		 is_ipv6(u->host) ? "%s://[%s]:%u%s" : "%s://%s:%u%s",
		 u->https ? "https" : "http", u->host, u->port, u->path);
}

void probe_address_format(const struct probe_url *u,
			  char ret[PROBE_ADDRESS_TEXT])
{
	snprintf(ret, PROBE_ADDRESS_TEXT,
		 is_ipv6(u->host) ? "[%s]:%u" : "%s:%u", u->host, u->port);
}

static bool is_token(const char *s)
{
	if (!s || !*s)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) &&
		    !strchr("!#$%&'*+-.^_`|~", *s))
			return false;
	return true;
}

int probe_headers_check(const struct key_values *headers)
{
	for (size_t i = 0; i < headers->nr; i++) {
		const char *v = headers->v[i].value;

		if (!is_token(headers->v[i].key))
			return -EINVAL;
		for (; v && *v; v++)
			if (((unsigned char)*v < ' ' && *v != '\t') ||
			    *v == 0x7f)
				return -EINVAL;
	}
	return 0;
}

static bool has_header(const struct key_values *headers, const char *name)
{
	for (size_t i = 0; i < headers->nr; i++)
		if (strcasecmp(headers->v[i].key, name) == 0)
			return true;
	return false;
}

int probe_request(const struct probe_url *u, const struct key_values *headers,
		  struct buf *b)
{
	buf_reset(b);
	buf_printf(b, "GET %s HTTP/1.1\r\n", u->path);
	if (!has_header(headers, "Host"))
		buf_printf(b,
			   is_ipv6(u->host) ? "Host: [%s]:%u\r\n"
					    : "Host: %s:%u\r\n",
			   u->host, u->port);
	if (!has_header(headers, "User-Agent"))
		buf_puts(b, "User-Agent: kube-probe/arktos-" ARKTOS_VERSION
			    "\r\n");
	if (!has_header(headers, "Accept"))
		buf_puts(b, "Accept: */*\r\n");
	for (size_t i = 0; i < headers->nr; i++)
		if (strcasecmp(headers->v[i].key, "Connection") != 0)
			buf_printf(b, "%s: %s\r\n", headers->v[i].key,
				   headers->v[i].value ? headers->v[i].value
						       : "");
	buf_puts(b, "Connection: close\r\n\r\n");
	return buf_error(b);
}

/* "HTTP/1.1 204 ..." */
static int status_parse(const char *s, size_t len, int *ret)
{
	if (len < 12 || memcmp(s, "HTTP/1.", 7) != 0 ||
	    !isdigit((unsigned char)s[7]) || s[8] != ' ')
		return -EBADMSG;
	for (int i = 9; i < 12; i++)
		if (!isdigit((unsigned char)s[i]))
			return -EBADMSG;
	if (len > 12 && s[12] != ' ' && s[12] != '\r')
		return -EBADMSG;
	*ret = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
	return *ret >= 100 ? 0 : -EBADMSG;
}

static int header_line(const char *s, size_t len, struct probe_answer *a)
{
	const char *colon = memchr(s, ':', len);
	const char *end = s + len;

	if (!colon || colon == s)
		return -EBADMSG;
	if (colon - s != 8 || strncasecmp(s, "Location", 8) != 0 || a->location)
		return 0;
	for (s = colon + 1; s < end && (*s == ' ' || *s == '\t');)
		s++;
	while (end > s && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	a->location = s;
	a->location_len = (size_t)(end - s);
	return 0;
}

/* One whole header. Returns its length, 0 when incomplete, or -EBADMSG. */
static long head_parse(const char *data, size_t len, struct probe_answer *a)
{
	const char *s = data, *end = data + len;
	bool first = true;

	*a = (struct probe_answer){ 0 };
	for (;;) {
		const char *eol = memchr(s, '\n', (size_t)(end - s));
		size_t n;
		int r;

		/* Do not wait for more of what is no HTTP at all. */
		if (first && (s == end ||
			      memcmp(s, "HTTP/1.",
				     end - s < 7 ? (size_t)(end - s) : 7) != 0))
			return s == end ? 0 : -EBADMSG;
		if (!eol)
			return 0;
		n = (size_t)(eol - s);
		if (n && eol[-1] == '\r')
			n--;
		if (n == 0)
			return first ? -EBADMSG : eol + 1 - data;
		r = first ? status_parse(s, n, &a->status)
			  : header_line(s, n, a);
		if (r < 0)
			return r;
		first = false;
		s = eol + 1;
	}
}

int probe_answer_parse(const char *data, size_t len, struct probe_answer *ret)
{
	struct probe_answer a;

	for (;;) {
		long n = head_parse(data, len, &a);

		if (n <= 0)
			return (int)n;
		/* 100 Continue, 103 Early Hints: the answer comes after it. */
		if (a.status >= 200 || a.status == 101)
			break;
		data += n;
		len -= (size_t)n;
	}
	*ret = a;
	return 1;
}

size_t probe_message_cut(const char *s, size_t len)
{
	size_t n = PROBE_MESSAGE_MAX;

	if (len <= n)
		return len;
	while (n > PROBE_MESSAGE_MAX - 4 &&
	       ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	return n;
}
