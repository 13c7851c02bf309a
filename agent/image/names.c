// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/image/entry.h"
#include "agent/image/names.h"
#include "lib/err.h"
#include "lib/str.h"

#define SCHEME       "docker://"
#define DEFAULT_HOST "docker.io"

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* Words of [a-z0-9] with one of ".", "_", "__" or dashes between them. */
static bool is_component(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t words = i, gap;

		while (i < len && is_lower_or_digit(s[i]))
			i++;
		if (i == words)
			return false;
		if (i == len)
			return true;
		gap = i;
		if (s[i] == '.')
			i++;
		else if (s[i] == '_')
			i += i + 1 < len && s[i + 1] == '_' ? 2 : 1;
		else
			while (i < len && s[i] == '-')
				i++;
		if (i == gap)
			return false;
	}
	return false;
}

static bool is_path(const char *s, size_t len)
{
	while (len) {
		const char *slash = memchr(s, '/', len);
		size_t part = slash ? (size_t)(slash - s) : len;

		if (!is_component(s, part))
			return false;
		if (!slash)
			return true;
		s += part + 1;
		len -= part + 1;
	}
	return false;
}

/* Labels of letters, digits and dashes inside, with single dots between. */
static bool is_host_char(const char *s, size_t len, size_t i)
{
	if (isalnum((unsigned char)s[i]) || s[i] == '-')
		return true;
	return s[i] == '.' && i && isalnum((unsigned char)s[i - 1]) &&
	       i + 1 < len && isalnum((unsigned char)s[i + 1]);
}

/* "r.io", "r.io:5000", "localhost", "127.0.0.1:80", "[::1]:80". */
static bool is_host(const char *s, size_t len)
{
	size_t i = 0;

	if (s[0] == '[') {
		for (i = 1;
		     i < len && (isxdigit((unsigned char)s[i]) || s[i] == ':');)
			i++;
		if (i == len || s[i++] != ']')
			return false;
	} else {
		if (!isalnum((unsigned char)s[0]))
			return false;
		for (; i < len && s[i] != ':'; i++)
			if (!is_host_char(s, len, i))
				return false;
		if (!isalnum((unsigned char)s[i - 1]))
			return false;
	}
	if (i == len)
		return true;
	if (s[i++] != ':' || i == len || len - i > 5)
		return false;
	for (; i < len; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return true;
}

static bool is_tag(const char *s, size_t len)
{
	if (!len || len > IMAGE_TAG_MAX || !is_word(s[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_word(s[i]) && s[i] != '.' && s[i] != '-')
			return false;
	return true;
}

/* What comes before the first slash is a host only if it looks like one. */
static size_t host_len(const char *s, size_t len)
{
	const char *slash = memchr(s, '/', len);
	size_t host = slash ? (size_t)(slash - s) : 0;

	if (!host)
		return 0;
	if (host == 9 && memcmp(s, "localhost", 9) == 0)
		return host;
	for (size_t i = 0; i < host; i++)
		if (s[i] == '.' || s[i] == ':' || isupper((unsigned char)s[i]))
			return host;
	return 0;
}

static int set_repo(const char *s, size_t len, struct image_name *ret)
{
	size_t host = host_len(s, len);
	const char *domain = DEFAULT_HOST, *library = "";
	size_t domain_len = strlen(domain);
	int n;

	if (host) {
		if (!is_host(s, host))
			return -EINVAL;
		/* Docker's own host goes by two names. */
		if (host != 15 || memcmp(s, "index.docker.io", 15) != 0) {
			domain = s;
			domain_len = host;
		}
		s += host + 1;
		len -= host + 1;
	}
	if (!is_path(s, len))
		return -EINVAL;
	if (domain_len == strlen(DEFAULT_HOST) &&
	    memcmp(domain, DEFAULT_HOST, domain_len) == 0 &&
	    !memchr(s, '/', len))
		library = "library/";
	n = snprintf(ret->repo, sizeof(ret->repo), "%.*s/%s%.*s",
		     (int)domain_len, domain, library, (int)len, s);
	return n < (int)sizeof(ret->repo) ? 0 : -EINVAL;
}

static int parse(const char *ref, struct image_name *ret)
{
	const char *at = strchr(ref, '@');
	size_t len = at ? (size_t)(at - ref) : strlen(ref);
	const char *colon = memrchr(ref, ':', len);

	if (len > IMAGE_NAME_MAX + IMAGE_TAG_MAX + 1)
		return -EINVAL;
	if (at) {
		if (!digest_is_valid(at + 1))
			return -EINVAL;
		memcpy(ret->digest, at + 1, DIGEST_TEXT_MAX);
	}
	if (colon && !memchr(colon, '/', len - (size_t)(colon - ref))) {
		size_t tag = len - (size_t)(colon - ref) - 1;

		if (!is_tag(colon + 1, tag))
			return -EINVAL;
		/* The digest says it all; the tag beside it is a comment. */
		if (!at)
			memcpy(ret->tag, colon + 1, tag);
		len = (size_t)(colon - ref);
	} else if (!at) {
		memcpy(ret->tag, "latest", 7);
	}
	return set_repo(ref, len, ret);
}

int image_name_parse(const char *ref, struct image_name *ret, struct err *e)
{
	struct image_name name = { .repo = "" };
	char shown[ENTRY_TEXT_MAX];

	if (str_starts(ref, SCHEME))
		ref += strlen(SCHEME);
	if (str_starts(ref, "docker-archive:") || str_starts(ref, "oci:") ||
	    str_starts(ref, "oci-archive:") || str_starts(ref, "dir:"))
		return err_set(e, -EINVAL,
			       "'%.128s' is a file or folder, not an image in a "
			       "registry: 'arktos-node image import' takes it",
			       entry_text(ref, shown));
	if (parse(ref, &name) < 0)
		return err_set(e, -EINVAL,
			       "'%.128s' is not an image name: want "
			       "[host[:port]/]path[:tag][@sha256:digest] in "
			       "lower case",
			       entry_text(ref, shown));
	*ret = name;
	return 0;
}

void image_name_format(const struct image_name *name, char text[IMAGE_REF_SIZE])
{
	(void)snprintf(text, IMAGE_REF_SIZE, "%s%s%s", name->repo,
		       name->digest[0] ? "@" : ":",
		       name->digest[0] ? name->digest : name->tag);
}

const char *image_name_meant(const struct strv *names, const char *ref)
{
	char want[IMAGE_REF_SIZE], full[IMAGE_REF_SIZE];
	struct image_name name;

	for (size_t i = 0; i < names->nr; i++)
		if (str_eq(names->v[i], ref))
			return names->v[i];
	if (image_name_parse(ref, &name, NULL) < 0)
		return NULL;
	image_name_format(&name, want);
	for (size_t i = 0; i < names->nr; i++) {
		if (image_name_parse(names->v[i], &name, NULL) < 0)
			continue;
		image_name_format(&name, full);
		if (str_eq(full, want))
			return names->v[i];
	}
	return NULL;
}

bool image_name_is_fine(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > IMAGE_NAME_MAX || !isalnum((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) &&
		    !strchr("._-/:@", name[i]))
			return false;
	return !strstr(name, "..");
}

bool image_name_is_loopback(const struct image_name *name)
{
	char host[64] = "";
	struct in6_addr v6;
	struct in_addr v4;
	size_t len;

	if (name->repo[0] == '[')
		len = strcspn(name->repo, "]");
	else
		len = strcspn(name->repo, ":/");
	if (len >= sizeof(host))
		return false;
	memcpy(host, name->repo, len);
	if (host[0] == '[')
		return inet_pton(AF_INET6, host + 1, &v6) == 1 &&
		       IN6_IS_ADDR_LOOPBACK(&v6);
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return str_eq(host, "localhost");
}
