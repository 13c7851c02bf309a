// SPDX-License-Identifier: Apache-2.0
/* From method and path to what is asked for, of whom, by whom. */
#include <stdio.h>

#include "controlplane/store/admin.h"
#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/away.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/metrics.h"
#include "controlplane/apiserver/subresource/node.h"
#include "controlplane/apiserver/usage/usage.h"
#include "lib/str.h"

#define SEGMENTS_MAX 32

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; -EBADMSG for a bad escape or one of NUL. */
static int decode(char *s, bool plus)
{
	char *to = s;

	for (; *s; s++, to++) {
		if (*s == '%') {
			int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);

			if (lo < 0 || (!hi && !lo))
				return -EBADMSG;
			*to = (char)(hi << 4 | lo);
			s += 2;
		} else {
			*to = plus && *s == '+' ? ' ' : *s;
		}
	}
	*to = '\0';
	return 0;
}

const char *query_get(const struct req *r, const char *name, char *buf,
		      size_t size)
{
	size_t len = strlen(name);

	for (const char *p = r->query; p && *p;) {
		size_t n = strcspn(p, "&");

		if (n > len && strncmp(p, name, len) == 0 && p[len] == '=') {
			size_t m = n - len - 1;

			if (m >= size)
				return NULL;
			memcpy(buf, p + len + 1, m);
			buf[m] = '\0';
			return decode(buf, true) ? NULL : buf;
		}
		p += n + (p[n] == '&');
	}
	return NULL;
}

/* The next pair of a query, decoded; what does not fit is left out. */
bool query_next(const char **at, char name[64], char *value, size_t size)
{
	for (const char *p = *at; p && *p; p = *at) {
		size_t n = strcspn(p, "&"), len = strcspn(p, "=&");
		size_t m = len < n ? n - len - 1 : 0;

		*at = p + n + (p[n] == '&');
		if (!len || len >= 64 || m >= size)
			continue;
		memcpy(name, p, len);
		name[len] = '\0';
		memcpy(value, p + n - m, m);
		value[m] = '\0';
		if (decode(name, true) == 0 && decode(value, true) == 0)
			return true;
	}
	return false;
}

bool query_true(const struct req *r, const char *name)
{
	char v[16];

	/* As Kubernetes reads it: "True", "t" and "" are true as well. */
	return query_get(r, name, v, sizeof(v)) && strcasecmp(v, "false") &&
	       strcmp(v, "0");
}

static int split(char *path, const char **seg, size_t *nr, struct err *e)
{
	size_t n = 0;

	for (char *p = path; *p;) {
		char *end;

		if (*p == '/') {
			*p++ = '\0';
			continue;
		}
		if (n == SEGMENTS_MAX)
			return err_set(e, -EBADMSG, "path is too deep");
		end = p + strcspn(p, "/");
		seg[n++] = p;
		p = end;
	}
	for (size_t i = 0; i < n; i++)
		if (decode((char *)seg[i], false) || strchr(seg[i], '/') ||
		    !strcmp(seg[i], ".") || !strcmp(seg[i], ".."))
			return err_set(e, -EBADMSG, "malformed path");
	*nr = n;
	return 0;
}

static bool is_space_sub(const char *s)
{
	return strcmp(s, "status") == 0 || strcmp(s, "finalize") == 0;
}

/* Behind the first @nr segments. */
static const char *skip_segments(const char *path, size_t nr)
{
	while (nr--) {
		path += strspn(path, "/");
		path += strcspn(path, "/");
	}
	return path;
}

/* What follows the version: [watch] [tenants/T] [namespaces/N] resource... */
static size_t parse_rest(struct route *rt, const char **seg, size_t nr)
{
	size_t i = 0;

	if (nr && strcmp(seg[0], "watch") == 0) {
		rt->watch_path = true;
		i++;
	}
	if (nr - i > 2 && strcmp(seg[i], "tenants") == 0 &&
	    !is_space_sub(seg[i + 2])) {
		rt->tenant = seg[i + 1];
		i += 2;
	}
	if (nr - i > 2 && strcmp(seg[i], "namespaces") == 0 &&
	    !is_space_sub(seg[i + 2])) {
		rt->namespace = seg[i + 1];
		i += 2;
	}
	if (i < nr)
		rt->plural = seg[i++];
	if (i < nr)
		rt->name = seg[i++];
	if (i < nr)
		rt->subresource = seg[i++];
	rt->resource = rt->plural && i == nr;
	if (i < nr && node_is_proxy(rt->plural, rt->subresource))
		rt->resource = true;
	return i;
}

static void find_verb(struct req *r)
{
	struct route *rt = &r->route;
	bool watch = rt->watch_path || query_true(r, "watch");

	if (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0)
		rt->verb = !rt->name        ? (watch ? "watch" : "list")
			   : rt->watch_path ? "watch"
					    : "get";
	else if (strcmp(r->method, "POST") == 0)
		rt->verb = "create";
	else if (strcmp(r->method, "PUT") == 0)
		rt->verb = "update";
	else if (strcmp(r->method, "PATCH") == 0)
		rt->verb = "patch";
	else if (strcmp(r->method, "DELETE") == 0)
		rt->verb = rt->name ? "delete" : "deletecollection";
	else
		rt->verb = NULL;
}

int route_parse(struct req *r, struct err *e)
{
	const char *seg[SEGMENTS_MAX];
	struct route *rt = &r->route;
	char *copy = strdup(r->path);
	size_t nr = 0, at;
	int res;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	memset(rt, 0, sizeof(*rt));
	/* Kept for as long as the request: the route's strings live in it. */
	free(r->own_path);
	r->own_path = copy;
	res = split(copy, seg, &nr, e);
	if (res < 0)
		return res;
	rt->group = "";
	rt->subresource = NULL;
	if (nr > 2 && strcmp(seg[0], "api") == 0) {
		rt->version = seg[1];
		at = 2;
	} else if (nr > 3 && strcmp(seg[0], "apis") == 0) {
		rt->group = seg[1];
		rt->version = seg[2];
		at = 3;
	} else {
		/* The root of a version, and what is said of it, is the
		 * business of who serves it. */
		if (nr == 3 && strcmp(seg[0], "apis") == 0) {
			rt->group = seg[1];
			rt->version = seg[2];
		} else if (nr == 5 && strcmp(seg[0], "openapi") == 0 &&
			   strcmp(seg[1], "v3") == 0 &&
			   strcmp(seg[2], "apis") == 0) {
			rt->group = seg[3];
			rt->version = seg[4];
		}
		find_verb(r);
		return 0;
	}
	at += parse_rest(rt, seg + at, nr - at);
	rt->rest = skip_segments(r->path, at);
	if (rt->resource)
		rt->type = type_find(r->api->types, rt->group, rt->version,
				     rt->plural);
	find_verb(r);
	return 0;
}

static void put_part(struct buf *b, const char *part)
{
	buf_puts(b, part);
	buf_putc(b, '/');
}

void key_of(struct buf *b, const struct type *t, const char *tenant,
	    const char *ns, const char *name)
{
	const char *group = type_stored(t)->group;

	put_part(b, *group ? group : "core");
	put_part(b, t->plural);
	put_part(b, t->scope == SCOPE_CLUSTER ? "" : tenant);
	put_part(b, t->scope == SCOPE_NAMESPACED ? ns : "");
	buf_puts(b, name);
}

void route_key(const struct req *r, const char *name, struct buf *b)
{
	const struct route *rt = &r->route;
	const struct type *t = rt->type;
	const char *group;

	if (name) {
		const char *tenant = r->tenant;

		if (crd_is(t) && crds_is_forced(r->api, name))
			tenant = SYSTEM;
		key_of(b, t, tenant, rt->namespace ? rt->namespace : "", name);
		return;
	}
	group = type_stored(t)->group;
	buf_printf(b, "%s/%s/", *group ? group : "core", t->plural);
	if (t->scope == SCOPE_CLUSTER) {
		buf_puts(b, "//");
		return;
	}
	if (strcmp(r->tenant, "all") == 0)
		return;
	buf_printf(b, "%s/", r->tenant);
	if (t->scope == SCOPE_TENANT)
		buf_puts(b, "/");
	else if (rt->namespace)
		buf_printf(b, "%s/", rt->namespace);
}

bool route_is_long_running(const struct req *r)
{
	static const char *const subs[] = { "attach", "exec", "proxy", "log",
					    "portforward" };

	if (str_eq(r->route.verb, "watch") || (r->upgrade && r->wants_upgrade))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(subs); i++)
		if (str_eq(r->route.subresource, subs[i]))
			return true;
	return false;
}

/* --- the gate every request passes --- */

static void find_view(struct req *r)
{
	const char *a = r->accept;

	r->view = VIEW_OBJECT;
	if (a && strstr(a, "as=Table"))
		r->view = VIEW_TABLE;
	else if (a && strstr(a, "as=PartialObjectMetadata"))
		r->view = VIEW_METADATA;
}

/* A type of the tenant's own. Of another tenant's, only the system's users
 * learn anything, that it exists included. */
static void find_custom(struct req *r)
{
	struct route *rt = &r->route;
	const char *tenant = rt->tenant ? rt->tenant : r->user->tenant;

	if (!rt->resource || rt->type || !*rt->group)
		return;
	if (strcmp(tenant, r->user->tenant) != 0 &&
	    strcmp(r->user->tenant, SYSTEM) != 0)
		return;
	type_set_unref(take_ptr(r->types));
	rt->type = crds_find(r->api, tenant, rt->group, rt->version, rt->plural,
			     &r->types);
	if (rt->type && rt->type->deprecated)
		reply_warning(r, rt->type->deprecated);
}

/* The tenant the request works in. Never taken from anywhere but the URL and
 * the authenticated user. */
static bool find_tenant(struct req *r)
{
	struct route *rt = &r->route;

	r->tenant = rt->tenant ? rt->tenant : r->user->tenant;
	if (rt->type && rt->type->scope == SCOPE_CLUSTER) {
		if (rt->tenant) {
			reply_not_found(r);
			return false;
		}
		r->tenant = "";
	}
	if (strcmp(r->tenant, "all") == 0 &&
	    (rt->namespace || rt->name || !rt->verb ||
	     (strcmp(rt->verb, "list") && strcmp(rt->verb, "watch")))) {
		reply_error(r, 400, "BadRequest",
			    "tenant \"all\" can only be listed and watched, "
			    "over all namespaces");
		return false;
	}
	return true;
}

static void deny(struct req *r, const struct access *a)
{
	struct route *rt = &r->route;
	char what[256], where[256];

	if (!rt->resource) {
		reply_error(r, 403, "Forbidden",
			    "forbidden: User \"%s\" cannot %s path \"%s\"",
			    r->user->name, a->verb, r->path);
		return;
	}
	if (a->namespace)
		snprintf(where, sizeof(where), "in the namespace \"%s\"",
			 a->namespace);
	else if (*r->tenant && !a->cluster)
		snprintf(where, sizeof(where), "in the tenant \"%s\"",
			 r->tenant);
	else
		snprintf(where, sizeof(where), "at the cluster scope");
	group_resource(rt, what, sizeof(what));
	reply_error(r, 403, "Forbidden",
		    "%s%s%s%s is forbidden: User \"%s\" cannot %s resource "
		    "\"%s%s%s\" in API group \"%s\" %s",
		    what, rt->name ? " \"" : "", rt->name ? rt->name : "",
		    rt->name ? "\"" : "", r->user->name, a->verb, rt->plural,
		    rt->subresource ? "/" : "",
		    rt->subresource ? rt->subresource : "", rt->group, where);
}

/* A list of one object, metadata.name=NAME, is about that object. */
static const char *selected_name(const char *fields, char *buf, size_t size)
{
	static const char term[] = "metadata.name=";
	const char *v = fields + sizeof(term) - 1;

	if (!str_starts(fields, term) || strchr(fields, ','))
		return NULL;
	if (*v == '=')
		v++;
	if (!*v || strlen(v) >= size || strchr(v, '\\'))
		return NULL;
	memcpy(buf, v, strlen(v) + 1);
	return buf;
}

static bool authorized(struct req *r)
{
	const struct route *rt = &r->route;
	struct access a = {
		.verb = rt->verb,
		.group = rt->group,
		.resource = rt->plural,
		.subresource = rt->subresource,
		.name = rt->name,
		.tenant = r->tenant,
		.namespace = rt->namespace,
		.path = rt->resource ? NULL : r->path,
		.cluster = rt->type && rt->type->scope == SCOPE_CLUSTER,
	};
	char method[16], fields[1024], name[256];
	auto_buf struct buf reason = BUF_INIT;
	bool allowed;

	if (rt->resource &&
	    query_get(r, "fieldSelector", fields, sizeof(fields))) {
		a.fields = fields;
		if (!a.name &&
		    (str_eq(rt->verb, "list") || str_eq(rt->verb, "watch") ||
		     str_eq(rt->verb, "deletecollection")))
			a.name = selected_name(fields, name, sizeof(name));
	}
	if (!rt->resource) {
		size_t i;

		for (i = 0; r->method[i] && i < sizeof(method) - 1; i++)
			method[i] = r->method[i] | 0x20;
		method[i] = '\0';
		a.verb = method;
	}
	if (audit_wants_reason(r))
		a.reason = &reason;
	allowed = access_allowed(r->api, r->user, &a);
	audit_decided(r, allowed, buf_str(&reason));
	if (!allowed)
		deny(r, &a);
	return allowed;
}

void dispatch(struct req *r)
{
	static const struct {
		const char *verb;
		unsigned int bit;
		void (*fn)(struct req *r);
	} verbs[] = {
		{ "get", VERB_GET, read_get },
		{ "list", VERB_LIST, read_list },
		{ "watch", VERB_WATCH, watch_start },
		{ "create", VERB_CREATE, write_create },
		{ "update", VERB_UPDATE, write_update },
		{ "patch", VERB_PATCH, write_patch },
		{ "delete", VERB_DELETE, write_delete },
		{ "deletecollection", VERB_DELETECOLLECTION,
		  write_delete_collection },
	};
	struct route *rt = &r->route;

	if (rt->subresource && node_subresource(r))
		return;
	if (rt->subresource && special_subresource(r))
		return;
	if (strcmp(rt->type->group, USAGE_GROUP) == 0) {
		usage_serve(r);
		return;
	}
	if (rt->type->virtual) {
		special_review(r);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!rt->verb || strcmp(rt->verb, verbs[i].verb))
			continue;
		if (!(rt->type->verbs & verbs[i].bit) ||
		    (verbs[i].bit == VERB_CREATE && rt->name))
			break;
		verbs[i].fn(r);
		return;
	}
	reply_error(r, 405, "MethodNotAllowed",
		    "the server does not allow this method on the requested "
		    "resource");
}

/* It has what it needs. */
static void go_on(struct req *r)
{
	if (away_is_for(r))
		away_run(r);
	else
		dispatch(r);
}

static bool is_known(struct req *r, const struct buf *key)
{
	struct err e = { 0 };

	if (buf_error(key) || store_whole(r->api->store, buf_str(key), &e) == 0)
		return true;
	reply_error(r, 503, "ServiceUnavailable", "%s", e.msg);
	return false;
}

/* Who may do what is said in the user's tenant, which may be in a cluster that
 * is away: then nobody is told that he may not. */
static bool roles_are_known(struct req *r)
{
	auto_buf struct buf key = BUF_INIT;

	if (!store_is_shared(r->api->store))
		return true;
	buf_printf(&key, "core/namespaces/%s/", r->user->tenant);
	return is_known(r, &key);
}

/* Of what is asked for, nothing may be left out without a word. */
static bool all_is_known(struct req *r)
{
	auto_buf struct buf key = BUF_INIT;

	if (!store_is_shared(r->api->store) || r->route.type->virtual)
		return true;
	route_key(r, r->route.name, &key);
	return is_known(r, &key);
}

void handle(struct req *r)
{
	struct route *rt = &r->route;
	struct err e = { 0 };

	if (!r->fresh)
		clock_gettime(CLOCK_MONOTONIC, &r->begun);
	if (fresh_wait(r))
		return;
	audit_identify(r);
	if (route_parse(r, &e) < 0) {
		reply_error(r, 400, "BadRequest", "%s", e.msg);
		return;
	}
	find_view(r);
	if (!authn_request(r)) {
		audit_begin(r);
		return;
	}
	if (r->user)
		find_custom(r);
	aggregator_route(r);
	audit_begin(r);
	if (!rt->resource) {
		/* Probes and the version need no more than a connection. */
		metrics_begin(r);
		special_path(r);
		return;
	}
	if (!r->user) {
		reply_error(r, 401, "Unauthorized", "Unauthorized");
		return;
	}
	if (!find_tenant(r))
		return;
	if (!rt->verb) {
		reply_error(r, 405, "MethodNotAllowed",
			    "the server does not allow this method on the "
			    "requested resource");
		return;
	}
	if (!roles_are_known(r) || !authorized(r))
		return;
	if (r->extension) {
		aggregator_proxy(r);
		return;
	}
	if (!rt->type) {
		reply_not_found(r);
		return;
	}
	if (rt->namespace && rt->type->scope != SCOPE_NAMESPACED) {
		reply_not_found(r);
		return;
	}
	if (!rt->namespace && rt->type->scope == SCOPE_NAMESPACED &&
	    (rt->name || strcmp(rt->verb, "create") == 0)) {
		reply_not_found(r);
		return;
	}
	if (rt->subresource &&
	    !type_has_subresource(rt->type, rt->subresource)) {
		rt->type = NULL;
		reply_not_found(r);
		return;
	}
	metrics_begin(r);
	if (!all_is_known(r))
		return;
	if (flow_enter(r, go_on))
		go_on(r);
}
