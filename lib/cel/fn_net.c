// SPDX-License-Identifier: Apache-2.0
/* URLs, IP addresses and ranges of them. */
#include <arpa/inet.h>
#include <ctype.h>

#include "lib/cel/fn.h"
#include "lib/str.h"

/* --- URLs: absolute ones, or an absolute path --- */

struct url {
	struct cel_text scheme, host, hostname, port, path, query;
};

static struct cel_text text_of(const char *s, const char *end)
{
	return (struct cel_text){ s, end - s };
}

static const char *find(const char *s, const char *end, const char *any)
{
	while (s < end && !strchr(any, *s))
		s++;
	return s;
}

static bool split_host(struct url *u)
{
	const char *s = u->host.s, *end, *p;

	if (!u->host.len)
		return true;
	end = s + u->host.len;
	if (s < end && *s == '[') {
		p = memchr(s, ']', end - s);
		if (!p)
			return false;
		u->hostname = text_of(s + 1, p);
		p++;
	} else {
		p = find(s, end, ":");
		u->hostname = text_of(s, p);
	}
	if (p == end)
		return true;
	u->port = text_of(p + 1, end);
	for (p++; p < end; p++)
		if (!isdigit((unsigned char)*p))
			return false;
	return true;
}

static bool url_parse(const struct cel_text *t, struct url *u)
{
	const char *s = t->s, *end = s + t->len, *p;

	*u = (struct url){ 0 };
	for (p = s; p < end; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	end = find(s, end, "#");
	if (s == end)
		return false;
	if (*s != '/') {
		p = find(s, end, ":/?");
		if (p == end || *p != ':' || p == s ||
		    !isalpha((unsigned char)*s))
			return false;
		u->scheme = text_of(s, p);
		s = p + 1;
	}
	if (end - s >= 2 && s[0] == '/' && s[1] == '/') {
		s += 2;
		p = find(s, end, "/?");
		u->host = text_of(s, p);
		s = memrchr(s, '@', p - s);
		if (s)
			u->host = text_of(s + 1, p);
		s = p;
	}
	p = find(s, end, "?");
	u->path = text_of(s, p);
	if (p < end)
		u->query = text_of(p + 1, end);
	for (p = t->s; p < end; p++)
		if (*p == '%' &&
		    (end - p < 3 || !isxdigit((unsigned char)p[1]) ||
		     !isxdigit((unsigned char)p[2])))
			return false;
	return split_host(u);
}

FN(url)
{
	struct url u;

	*ret = a[0];
	ret->kind = CEL_URL;
	return url_parse(&a->text, &u)
		       ? 0
		       : run_fail(r,
				  "URL parse error during conversion from "
				  "string: '%.*s' is no URL",
				  (int)(a->text.len < 80 ? a->text.len : 80),
				  a->text.s);
}

FN(is_url)
{
	struct url u;

	*ret = value_bool(url_parse(&a->text, &u));
	return 0;
}

#define URL_PART(fn_name, part)                                            \
	FN(fn_name)                                                        \
	{                                                                  \
		struct url u;                                              \
                                                                           \
		url_parse(&a->text, &u);                                   \
		*ret = value_text(u.part.len ? u.part.s : "", u.part.len); \
		return 0;                                                  \
	}

URL_PART(url_scheme, scheme)
URL_PART(url_host, host)
URL_PART(url_hostname, hostname)
URL_PART(url_port, port)
URL_PART(url_path, path)

/* "%41+b" is "A b". */
static int unescape(struct run *r, const char *s, const char *end,
		    struct cel_value *ret)
{
	char *out = run_get(r, end - s + 1), *o = out;

	if (!out)
		return run_full(r);
	for (; s < end; s++) {
		char hex[3] = "";

		if (*s == '%' && end - s > 2) {
			memcpy(hex, s + 1, 2);
			*o++ = (char)strtoul(hex, NULL, 16);
			s += 2;
		} else {
			*o++ = *s == '+' ? ' ' : *s;
		}
	}
	*ret = value_text(out, o - out);
	return 0;
}

/* A map of lists: a name may be there more than once. */
FN(url_query)
{
	struct url u;
	const char *s, *end, *p, *eq;
	size_t parts = 1;
	int e;

	url_parse(&a->text, &u);
	s = u.query.len ? u.query.s : "";
	end = s + u.query.len;
	for (p = s; p < end; p++)
		parts += *p == '&';
	e = value_new_list(r, 2 * parts, ret);
	ret->kind = CEL_MAP;
	ret->seq.nr = 0;
	for (; e == 0 && s < end; s = p + 1) {
		struct cel_value key, list, had, one = { 0 };

		p = find(s, end, "&");
		eq = find(s, p, "=");
		if (eq == s)
			continue;
		e = unescape(r, s, eq, &key);
		if (e == 0)
			e = unescape(r, eq < p ? eq + 1 : p, p, &one);
		if (e == 0)
			e = value_find(r, ret, &key, &had);
		if (e < 0)
			return e;
		e = value_new_list(r, (e ? had.seq.nr : 0) + 1, &list);
		if (e < 0)
			return e;
		list.seq.v[list.seq.nr - 1] = one;
		if (list.seq.nr > 1)
			memcpy(list.seq.v, had.seq.v, had.seq.nr * sizeof(one));
		for (size_t i = 0; i <= ret->seq.nr; i += 2) {
			if (i < ret->seq.nr &&
			    value_equal(r, &ret->seq.v[i], &key) != 1)
				continue;
			ret->seq.v[i] = key;
			ret->seq.v[i + 1] = list;
			if (i == ret->seq.nr)
				ret->seq.nr += 2;
			break;
		}
	}
	return e;
}

/* --- addresses --- */

static bool ip_parse(const char *s, size_t len, struct cel_ip *ip)
{
	char text[INET6_ADDRSTRLEN];

	*ip = (struct cel_ip){ 0 };
	if (len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	ip->family = memchr(text, ':', len) ? AF_INET6 : AF_INET;
	ip->bits = ip->family == AF_INET ? 32 : 128;
	if (inet_pton(ip->family, text, ip->bytes) != 1)
		return false;
	/* An IPv4 address that is dressed up is neither. */
	return ip->family == AF_INET ||
	       memcmp(ip->bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) != 0;
}

static bool cidr_parse(const char *s, size_t len, struct cel_ip *ip)
{
	const char *slash = memchr(s, '/', len);
	size_t left = slash ? s + len - slash - 1 : 0;
	int bits = 0, max;

	if (!slash || !left || left > 3 || (left > 1 && slash[1] == '0') ||
	    !ip_parse(s, slash - s, ip))
		return false;
	for (size_t i = 1; i <= left; i++) {
		if (!isdigit((unsigned char)slash[i]))
			return false;
		bits = 10 * bits + slash[i] - '0';
	}
	max = ip->bits;
	ip->bits = bits;
	return bits <= max;
}

void cel_ip_format(const struct cel_ip *ip, bool prefix, struct buf *b)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(ip->family, ip->bytes, text, sizeof(text));
	buf_puts(b, text);
	if (prefix)
		buf_printf(b, "/%d", ip->bits);
}

static int give_ip(struct run *r, const struct cel_ip *ip, enum cel_kind kind,
		   struct cel_value *ret)
{
	struct cel_ip *copy = run_get(r, sizeof(*copy));

	if (!copy)
		return run_full(r);
	*copy = *ip;
	*ret = (struct cel_value){ .kind = kind, .ip = copy };
	return 0;
}

FN(ip)
{
	struct cel_ip ip;

	if (!ip_parse(a->text.s, a->text.len, &ip))
		return run_fail(r,
				"IP Address '%.*s' parse error during "
				"conversion from string",
				(int)(a->text.len < 60 ? a->text.len : 60),
				a->text.s);
	return give_ip(r, &ip, CEL_IP, ret);
}

FN(cidr)
{
	struct cel_ip ip;

	if (!cidr_parse(a->text.s, a->text.len, &ip))
		return run_fail(r,
				"network address parse error during "
				"conversion from string: '%.*s'",
				(int)(a->text.len < 60 ? a->text.len : 60),
				a->text.s);
	return give_ip(r, &ip, CEL_CIDR, ret);
}

FN(is_ip)
{
	struct cel_ip ip;

	*ret = value_bool(ip_parse(a->text.s, a->text.len, &ip));
	return 0;
}

FN(is_cidr)
{
	struct cel_ip ip;

	*ret = value_bool(cidr_parse(a->text.s, a->text.len, &ip));
	return 0;
}

FN(is_canonical)
{
	auto_buf struct buf b = BUF_INIT;
	struct cel_ip ip;

	if (!ip_parse(a->text.s, a->text.len, &ip))
		return run_fail(r, "IP Address parse error during conversion "
				   "from string");
	cel_ip_format(&ip, false, &b);
	*ret = value_bool(b.len == a->text.len &&
			  memcmp(b.data, a->text.s, b.len) == 0);
	return 0;
}

FN(family)
{
	*ret = value_int(a->ip->family == AF_INET ? 4 : 6);
	return 0;
}

static bool zero(const struct cel_ip *ip, size_t from, size_t to)
{
	while (from < to)
		if (ip->bytes[from++])
			return false;
	return true;
}

static bool loopback(const struct cel_ip *ip)
{
	return ip->family == AF_INET ? ip->bytes[0] == 127
				     : zero(ip, 0, 15) && ip->bytes[15] == 1;
}

static bool multicast(const struct cel_ip *ip)
{
	return ip->family == AF_INET ? ip->bytes[0] >> 4 == 14
				     : ip->bytes[0] == 0xff;
}

static bool link_local(const struct cel_ip *ip)
{
	return ip->family == AF_INET
		       ? ip->bytes[0] == 169 && ip->bytes[1] == 254
		       : ip->bytes[0] == 0xfe && ip->bytes[1] >> 6 == 2;
}

static bool link_local_multicast(const struct cel_ip *ip)
{
	return ip->family == AF_INET
		       ? ip->bytes[0] == 224 && !ip->bytes[1] && !ip->bytes[2]
		       : ip->bytes[0] == 0xff && (ip->bytes[1] & 15) == 2;
}

static bool unspecified(const struct cel_ip *ip)
{
	return zero(ip, 0, ip->family == AF_INET ? 4 : 16);
}

static bool global_unicast(const struct cel_ip *ip)
{
	return !unspecified(ip) && !loopback(ip) && !multicast(ip) &&
	       !link_local(ip) &&
	       !(ip->family == AF_INET &&
		 memcmp(ip->bytes, "\xff\xff\xff\xff", 4) == 0);
}

#define IP_IS(fn_name, question)                    \
	FN(fn_name)                                 \
	{                                           \
		*ret = value_bool(question(a->ip)); \
		return 0;                           \
	}

IP_IS(is_unspecified, unspecified)
IP_IS(is_loopback, loopback)
IP_IS(is_link_local_unicast, link_local)
IP_IS(is_link_local_multicast, link_local_multicast)
IP_IS(is_global_unicast, global_unicast)

/* --- ranges --- */

static void mask(struct cel_ip *ip, int bits)
{
	for (int i = 0; i < 16; i++) {
		int keep = bits - 8 * i;

		if (keep < 8)
			ip->bytes[i] &= keep <= 0 ? 0 : 0xff << (8 - keep);
	}
}

static bool holds(const struct cel_ip *range, const struct cel_ip *ip)
{
	struct cel_ip x = *range, y = *ip;

	if (x.family != y.family || y.bits < x.bits)
		return false;
	mask(&x, range->bits);
	mask(&y, range->bits);
	return memcmp(x.bytes, y.bytes, sizeof(x.bytes)) == 0;
}

FN(contains)
{
	struct cel_ip ip;

	if (a[1].kind != CEL_STRING)
		ip = *a[1].ip;
	else if (!ip_parse(a[1].text.s, a[1].text.len, &ip) &&
		 !cidr_parse(a[1].text.s, a[1].text.len, &ip))
		return run_fail(r, "'%.*s' is neither an IP address nor a CIDR",
				(int)(a[1].text.len < 60 ? a[1].text.len : 60),
				a[1].text.s);
	*ret = value_bool(holds(a[0].ip, &ip));
	return 0;
}

FN(cidr_ip)
{
	struct cel_ip ip = *a->ip;

	ip.bits = ip.family == AF_INET ? 32 : 128;
	return give_ip(r, &ip, CEL_IP, ret);
}

FN(masked)
{
	struct cel_ip ip = *a->ip;

	mask(&ip, ip.bits);
	return give_ip(r, &ip, CEL_CIDR, ret);
}

FN(prefix_length)
{
	*ret = value_int(a->ip->bits);
	return 0;
}

const struct cel_fn cel_fns_net[] = {
	{ "url", "s", 'U', url },
	{ "isURL", "s", 'b', is_url },
	{ "getScheme", "U.", 's', url_scheme },
	{ "getHost", "U.", 's', url_host },
	{ "getHostname", "U.", 's', url_hostname },
	{ "getPort", "U.", 's', url_port },
	{ "getEscapedPath", "U.", 's', url_path },
	{ "getQuery", "U.", 'm', url_query },
	{ "ip", "s", 'I', ip },
	{ "ip", "C.", 'I', cidr_ip },
	{ "isIP", "s", 'b', is_ip },
	{ "ip.isCanonical", "s", 'b', is_canonical },
	{ "family", "I.", 'i', family },
	{ "isUnspecified", "I.", 'b', is_unspecified },
	{ "isLoopback", "I.", 'b', is_loopback },
	{ "isLinkLocalUnicast", "I.", 'b', is_link_local_unicast },
	{ "isLinkLocalMulticast", "I.", 'b', is_link_local_multicast },
	{ "isGlobalUnicast", "I.", 'b', is_global_unicast },
	{ "cidr", "s", 'C', cidr },
	{ "isCIDR", "s", 'b', is_cidr },
	{ "containsIP", "C.s", 'b', contains },
	{ "containsIP", "C.I", 'b', contains },
	{ "containsCIDR", "C.s", 'b', contains },
	{ "containsCIDR", "C.C", 'b', contains },
	{ "masked", "C.", 'C', masked },
	{ "prefixLength", "C.", 'i', prefix_length },
	{ 0 },
};
