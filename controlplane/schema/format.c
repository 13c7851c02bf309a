// SPDX-License-Identifier: Apache-2.0
/* "format:" of strings in custom resources. Formats that are not known are
 * not checked, as in Kubernetes. */
#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/str.h"

static bool is_date(const char *s)
{
	struct tm tm = { 0 };
	const char *end = strptime(s, "%Y-%m-%d", &tm);

	return end && !*end && strlen(s) == 10;
}

static bool is_time(const char *s)
{
	struct tm tm = { 0 };
	const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!p)
		return false;
	if (*p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0)
		return true;
	return (*p == '+' || *p == '-') && strlen(p) == 6 && p[3] == ':';
}

static bool is_ip(const char *s, int family)
{
	unsigned char out[16];

	return inet_pton(family, s, out) == 1;
}

static bool is_cidr(const char *s)
{
	const char *slash = strchr(s, '/');
	char host[64];
	int bits;

	if (!slash || (size_t)(slash - s) >= sizeof(host))
		return false;
	memcpy(host, s, slash - s);
	host[slash - s] = '\0';
	if (str_to_int(slash + 1, &bits) || bits < 0)
		return false;
	return (is_ip(host, AF_INET) && bits <= 32) ||
	       (is_ip(host, AF_INET6) && bits <= 128);
}

static bool is_mac(const char *s)
{
	size_t n = strlen(s);

	if (n != 17)
		return false;
	for (size_t i = 0; i < n; i++)
		if (i % 3 == 2 ? s[i] != ':' && s[i] != '-'
			       : !strchr("0123456789abcdefABCDEF", s[i]))
			return false;
	return true;
}

static bool is_uuid(const char *s)
{
	size_t digits = 0;

	for (size_t i = 0; s[i]; i++) {
		if (s[i] == '-')
			continue;
		if (!strchr("0123456789abcdefABCDEF", s[i]))
			return false;
		digits++;
	}
	return digits == 32;
}

static bool is_email(const char *s)
{
	const char *at = strrchr(s, '@');

	return at && at != s && at[1] && !strchr(s, ' ');
}

static bool is_byte(const char *s)
{
	size_t n = strlen(s);
	size_t body = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
				"uvwxyz0123456789+/");

	return n % 4 == 0 && n - body <= 2 && strspn(s + body, "=") == n - body;
}

/* A sum of amounts: "1h30m", "-1.5s", "100ms". */
static bool is_duration(const char *s)
{
	static const char *const units[] = { "ns", "us", "ms", "s",
					     "m",  "h",  "d",  "w" };
	bool any = false;

	s += *s == '-' || *s == '+';
	if (strcmp(s, "0") == 0)
		return true;
	while (*s) {
		size_t n = strspn(s, "0123456789."), i;

		if (!n)
			return false;
		s += n;
		for (i = 0; i < ARRAY_LEN(units); i++)
			if (str_starts(s, units[i]))
				break;
		if (i == ARRAY_LEN(units))
			return false;
		s += strlen(units[i]);
		any = true;
	}
	return any;
}

static bool is_uri(const char *s)
{
	const char *colon = strchr(s, ':');

	return colon && colon != s && !strpbrk(s, " \"<>\\^`{|}");
}

bool format_holds(const char *format, const char *text)
{
	static const struct {
		const char *name;
		bool (*is)(const char *s);
	} all[] = {
		{ "date", is_date },     { "date-time", is_time },
		{ "datetime", is_time }, { "cidr", is_cidr },
		{ "mac", is_mac },       { "uuid", is_uuid },
		{ "uuid3", is_uuid },    { "uuid4", is_uuid },
		{ "uuid5", is_uuid },    { "email", is_email },
		{ "byte", is_byte },     { "duration", is_duration },
		{ "uri", is_uri },
	};

	if (strcmp(format, "ipv4") == 0)
		return is_ip(text, AF_INET);
	if (strcmp(format, "ipv6") == 0)
		return is_ip(text, AF_INET6);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, format) == 0)
			return all[i].is(text);
	return true;
}

/* --- names --- */

const char name_subdomain_rule[] =
	"a lowercase RFC 1123 subdomain must consist of lower case "
	"alphanumeric characters, '-' or '.', and must start and end with an "
	"alphanumeric character (e.g. 'example.com', regex used for "
	"validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*"
	"[a-z0-9])?)*')";
const char name_value_rule[] =
	"a valid label must be an empty string or consist of alphanumeric "
	"characters, '-', '_' or '.', and must start and end with an "
	"alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345',"
	" regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?"
	"[A-Za-z0-9])?')";
const char name_key_rule[] =
	"name part must consist of alphanumeric characters, '-', '_' or '.', "
	"and must start and end with an alphanumeric character (e.g. 'MyName'"
	",  or 'my.name',  or '123-abc', regex used for validation is "
	"'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9');
}

static bool is_name_part(const char *s, size_t n)
{
	if (!n || n > 63 || !is_alnum(s[0]) || !is_alnum(s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && s[i] != '-' && s[i] != '_' &&
		    s[i] != '.')
			return false;
	return true;
}

bool name_is_qualified(const char *s)
{
	const char *slash = strchr(s, '/');

	if (slash) {
		auto_free char *prefix = strndup(s, slash - s);

		if (!prefix || !str_is_dns_subdomain(prefix))
			return false;
		s = slash + 1;
	}
	return is_name_part(s, strlen(s));
}

bool name_is_label_value(const char *s)
{
	return !*s || is_name_part(s, strlen(s));
}
