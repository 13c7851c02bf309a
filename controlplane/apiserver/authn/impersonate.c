// SPDX-License-Identifier: Apache-2.0
/*
 * Impersonation: Impersonate-User, -Group, -Uid and -Extra-KEY, each allowed
 * by the verb "impersonate". It stays inside the tenant: a tenant's user only
 * becomes users of that tenant. The system may become a tenant's user when it
 * says so, by Impersonate-Tenant (or Impersonate-Extra-arktos-tenant, for
 * clients that can set no other header) and the permission to impersonate that
 * tenant.
 */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

#define PREFIX "impersonate-"
#define TENANT "arktos-tenant"

static int refuse(struct req *r, int code, const char *what, const char *name)
{
	if (code == 403)
		reply_error(r, 403, "Forbidden",
			    "%s \"%s\" is forbidden: User \"%s\" cannot "
			    "impersonate resource \"%s\" in API group \"\" at "
			    "the cluster scope",
			    what, name, r->user->name, what);
	else
		reply_error(r, code,
			    code == 400 ? "BadRequest" : "InternalError",
			    "%s%s", what, name);
	return -EACCES;
}

static bool may(struct req *r, const char *group, const char *resource,
		const char *sub, const char *ns, const char *name)
{
	struct access a = { .verb = "impersonate",
			    .group = group,
			    .resource = resource,
			    .subresource = sub,
			    .namespace = ns,
			    .name = name,
			    .tenant = r->user->tenant };

	return access_allowed(r->api, r->user, &a);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A key of extra: percent-encoded, and case does not count. */
static bool decode_key(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		if (*s == '%') {
			int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);

			if (lo < 0 || (!hi && !lo))
				return false;
			*to = (char)(hi << 4 | lo);
			s += 2;
		} else {
			*to = *s;
		}
		if (*to >= 'A' && *to <= 'Z')
			*to |= 0x20;
	}
	*to = '\0';
	return true;
}

/* What the headers ask for, allowed or not. */
struct wish {
	struct user *user; /* without a tenant yet */
	char *tenant;
	bool any;
};

static int take(struct req *r, struct wish *w, char *name, const char *value)
{
	struct user *u = w->user;
	int res = 0;

	w->any = true;
	if (strcasecmp(name, "user") == 0)
		res = u->name ? -EINVAL : str_set(&u->name, value);
	else if (strcasecmp(name, "uid") == 0)
		res = u->uid ? -EINVAL : str_set(&u->uid, value);
	else if (strcasecmp(name, "group") == 0)
		res = user_add_group(u, value);
	else if (strcasecmp(name, "tenant") == 0)
		res = w->tenant ? -EINVAL : str_set(&w->tenant, value);
	else if (strncasecmp(name, "extra-", 6) == 0) {
		if (!decode_key(name + 6) || !name[6])
			res = -EINVAL;
		else if (strcmp(name + 6, TENANT) == 0)
			res = w->tenant ? -EINVAL : str_set(&w->tenant, value);
		else
			res = user_add_extra(u, name + 6, value);
	}
	return res ? refuse(r, 400,
			    "malformed, repeated or too many "
			    "impersonation headers: ",
			    name)
		   : 0;
}

static int collect(struct req *r, struct wish *w)
{
	const char *p = buf_str(&r->fields);
	int res = 0;

	while (*p && res == 0) {
		const char *end = strstr(p, "\r\n"), *colon;
		auto_free char *name = NULL, *value = NULL;

		if (!end)
			break;
		colon = memchr(p, ':', end - p);
		if (colon && strncasecmp(p, PREFIX, strlen(PREFIX)) == 0) {
			name = strndup(p + strlen(PREFIX),
				       colon - p - strlen(PREFIX));
			value = strndup(colon + 2, end - colon - 2);
			res = name && value
				      ? take(r, w, name, value)
				      : refuse(r, 500, "out of memory", "");
		}
		p = end + 2;
	}
	return res;
}

static int allow(struct req *r, const struct wish *w)
{
	const struct user *u = w->user;
	const char *rest = u->name + strlen(SA_USER);

	if (strcmp(w->tenant, r->user->tenant) != 0 &&
	    (!user_is_system(r->user) || !str_is_dns_label(w->tenant) ||
	     !may(r, "", "tenants", NULL, NULL, w->tenant)))
		return refuse(r, 403, "tenants", w->tenant);
	if (str_starts(u->name, SA_USER) && strchr(rest, ':')) {
		auto_free char *ns = strndup(rest, strcspn(rest, ":"));

		if (!ns || !may(r, "", "serviceaccounts", NULL, ns,
				strchr(rest, ':') + 1))
			return refuse(r, 403, "serviceaccounts", rest);
	} else if (!may(r, "", "users", NULL, NULL, u->name)) {
		return refuse(r, 403, "users", u->name);
	}
	if (u->uid &&
	    !may(r, "authentication.k8s.io", "uids", NULL, NULL, u->uid))
		return refuse(r, 403, "uids", u->uid);
	for (size_t i = 0; i < u->nr_groups; i++)
		if (!may(r, "", "groups", NULL, NULL, u->groups[i]))
			return refuse(r, 403, "groups", u->groups[i]);
	for (size_t i = 0; i < u->nr_extra; i++)
		if (!may(r, "authentication.k8s.io", "userextras",
			 u->extra[i].key, NULL, u->extra[i].value))
			return refuse(r, 403, "userextras", u->extra[i].key);
	return 0;
}

/* The groups that come with being somebody. */
static int add_own_groups(struct user *u)
{
	const char *rest = u->name + strlen(SA_USER);
	auto_free char *group = NULL;

	if (str_starts(u->name, SA_USER) && strchr(rest, ':') &&
	    !u->nr_groups) {
		group = str_printf("system:serviceaccounts:%.*s",
				   (int)strcspn(rest, ":"), rest);
		if (!group || user_add_group(u, "system:serviceaccounts") ||
		    user_add_group(u, group))
			return -ENOMEM;
	}
	if (strcmp(u->name, "system:anonymous") == 0)
		return user_add_group(u, "system:unauthenticated");
	return user_add_group(u, "system:authenticated");
}

bool authn_impersonate(struct req *r)
{
	struct wish w = { .user = calloc(1, sizeof(*w.user)) };
	bool ok = false;

	if (!w.user) {
		refuse(r, 500, "out of memory", "");
		return false;
	}
	if (collect(r, &w) < 0)
		goto out;
	if (!w.any) {
		ok = true;
		goto out;
	}
	if (!w.user->name || !*w.user->name) {
		refuse(r, 400, "Impersonate-User is required", "");
		goto out;
	}
	if (!w.tenant && str_set(&w.tenant, r->user->tenant))
		goto out;
	if (allow(r, &w) < 0)
		goto out;
	if (add_own_groups(w.user) < 0) {
		refuse(r, 400, "too many groups", "");
		goto out;
	}
	w.user->tenant = w.tenant;
	w.tenant = NULL;
	/* Who it really is stays for the audit log. */
	str_set(&r->impersonator, r->user->name);
	r->real_user = r->user;
	r->own_real = r->own_user;
	r->own_user = w.user;
	r->user = w.user;
	w.user = NULL;
	ok = true;
out:
	user_free(w.user);
	free(w.tenant);
	return ok;
}
