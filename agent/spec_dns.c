// SPDX-License-Identifier: Apache-2.0
/* dnsPolicy and dnsConfig. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/err.h"
#include "lib/str.h"

/* Kubernetes' limits. */
#define NAMESERVERS_MAX 3
#define SEARCHES_MAX    32
#define OPTIONS_MAX     64

static int policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "ClusterFirst", "Default",
					     "ClusterFirstWithHostNet",
					     "None" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = i == 3;
	return r;
}

int spec_dns_policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return policy(c, v, &((struct dns_spec *)out)->none);
}

static int nameservers(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct strv *s = out;
	unsigned char addr[16];
	int r = spec_strv(c, v, s);

	if (r == 0 && s->nr > NAMESERVERS_MAX)
		return spec_fail(c, -E2BIG, "%zu entries, at most %d", s->nr,
				 NAMESERVERS_MAX);
	for (size_t i = 0; i < s->nr; i++)
		if (s->v[i] && inet_pton(AF_INET, s->v[i], addr) != 1 &&
		    inet_pton(AF_INET6, s->v[i], addr) != 1)
			spec_fault(c, &r, NULL, "'%.64s' is not an address",
				   s->v[i]);
	return r;
}

static int searches(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct strv *s = out;
	int r = spec_strv(c, v, s);

	if (r == 0 && s->nr > SEARCHES_MAX)
		return spec_fail(c, -E2BIG, "%zu entries, at most %d", s->nr,
				 SEARCHES_MAX);
	for (size_t i = 0; i < s->nr; i++) {
		char name[256] = "";
		size_t len = s->v[i] ? strlen(s->v[i]) : 0;

		if (!s->v[i])
			continue;

		/* "." alone, and a dot at the end, are fine. */
		if (len && len < sizeof(name)) {
			memcpy(name, s->v[i], len + 1);
			if (name[len - 1] == '.')
				name[len - 1] = '\0';
		}
		if (!str_eq(s->v[i], ".") && !str_is_dns_subdomain(name))
			spec_fault(c, &r, NULL, "'%.80s' is not a DNS name",
				   s->v[i]);
	}
	return r;
}

static int option(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_value *kv = out;
	int r = spec_name_value(c, v, kv);

	if (r < 0)
		return r;
	if (!kv->key || !*kv->key)
		return spec_fail_at(c, "name", "is required");
	/* It is to stay one line of resolv.conf, and one word of it. */
	if (strpbrk(kv->key, " \t\r\n") ||
	    (kv->value && strpbrk(kv->value, " \t\r\n")))
		return spec_fail(c, -EINVAL, "must not hold blanks");
	if (!kv->value && str_set(&kv->value, "") < 0)
		return spec_fail(c, -ENOMEM, "out of memory");
	return 0;
}

static int options(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_values *kv = out;

	return spec_read_array(c, v, sizeof(*kv->v), OPTIONS_MAX, option,
			       &kv->v, &kv->nr);
}

int spec_dns_config(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct dns_spec, "nameservers", nameservers,
			   nameservers),
		SPEC_FIELD(struct dns_spec, "searches", searches, searches),
		SPEC_FIELD(struct dns_spec, "options", options, options),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}
