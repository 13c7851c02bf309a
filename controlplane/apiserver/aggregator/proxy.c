// SPDX-License-Identifier: Apache-2.0
/*
 * Requests that are passed on. The server is told who asks, and nothing that
 * would let it ask as that user: tokens stay here.
 *
 * Names are of one tenant. To a server of another one (a tenant's user asks
 * the system's server, or the system looks into a tenant's) the user and its
 * groups are told as tenant:TENANT:NAME, so that a server that knows nothing
 * of tenants takes nobody for somebody else: "system:masters" of a tenant is
 * not the system's.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/aggregator/internal.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "lib/str.h"

#define TENANT_KEY  "arktos-tenant"
#define DEADLINE_MS 60000 /* of what is no watch, as in Kubernetes */

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return false;
	return true;
}

static int put_field(struct buf *b, const char *name, const char *prefix,
		     const char *value)
{
	if (!is_plain(value))
		return -EINVAL;
	return buf_printf(b, "%s: %s%s\r\n", name, prefix, value);
}

/* The key of an extra as a field's name: what may not stand there is
 * percent-encoded, as Kubernetes does. */
static int put_extra(struct buf *b, const char *key, const char *value)
{
	auto_buf struct buf name = BUF_INIT;

	buf_puts(&name, "X-Remote-Extra-");
	for (; *key; key++) {
		unsigned char c = (unsigned char)*key;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		    (c >= '0' && c <= '9') || strchr("!#$&'*+-.^_`|~", c))
			buf_putc(&name, *key);
		else
			buf_printf(&name, "%%%02X", c);
	}
	return put_field(b, buf_str(&name), "", value);
}

static bool is_everybodys(const char *group)
{
	return strcmp(group, "system:authenticated") == 0 ||
	       strcmp(group, "system:unauthenticated") == 0;
}

int identity_put(struct buf *b, const struct user *u, const char *owner)
{
	bool own = strcmp(u->tenant, owner) == 0;
	auto_free char *prefix =
		own ? strdup("") : str_printf("tenant:%s:", u->tenant);
	int r = prefix ? put_field(b, "X-Remote-User", prefix, u->name)
		       : -ENOMEM;

	if (r == 0 && u->uid)
		r = put_field(b, "X-Remote-Uid", "", u->uid);
	for (size_t i = 0; i < u->nr_groups && r == 0; i++)
		r = put_field(b, "X-Remote-Group",
			      is_everybodys(u->groups[i]) ? "" : prefix,
			      u->groups[i]);
	for (size_t i = 0; i < u->nr_extra && r == 0; i++)
		if (strcmp(u->extra[i].key, TENANT_KEY) != 0)
			r = put_extra(b, u->extra[i].key, u->extra[i].value);
	if (r == 0)
		r = put_extra(b, TENANT_KEY, u->tenant);
	return r;
}

static void unavailable(struct req *r, const char *reason)
{
	reply_error(r, 503, "ServiceUnavailable",
		    "the server that serves %s/%s is not available (%s): see "
		    "APIService %s",
		    r->extension->group, r->extension->version, reason,
		    r->extension->name);
}

/* It could not be passed on: that is looked into at once. */
static void on_failure(struct req *r)
{
	struct extension *x = r->extension;

	if (!atomic_exchange(&x->asked, true))
		follow_look(r->api->aggregator, x);
}

void aggregator_proxy(struct req *r)
{
	struct extension *x = r->extension;
	auto_buf struct buf fields = BUF_INIT, target = BUF_INIT;
	struct relay_to to = { .tls = x->tls,
			       .name = x->place.host,
			       .unavailable = true,
			       .failed = on_failure };
	const struct address *a;

	if (!x->available || !x->tls || !x->place.nr) {
		unavailable(r, *x->reason ? x->reason : "NotYetKnown");
		return;
	}
	if (identity_put(&fields, r->user, x->tenant) < 0) {
		reply_error(r, 500, "InternalError",
			    "who asks cannot be told to the server of %s/%s",
			    x->group, x->version);
		return;
	}
	buf_puts(&target, r->path);
	if (r->query && *r->query)
		buf_printf(&target, "?%s", r->query);
	a = &x->place.addrs[atomic_fetch_add(&x->turn, 1) % x->place.nr];
	memcpy(&to.addr, &a->sa, sizeof(to.addr));
	to.addr_len = a->len;
	to.target = buf_str(&target);
	to.fields = buf_str(&fields);
	to.deadline_ms = route_is_long_running(r) ? 0 : DEADLINE_MS;
	relay_start(r, &to);
}
