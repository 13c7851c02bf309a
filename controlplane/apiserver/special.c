// SPDX-License-Identifier: Apache-2.0
/* What is not a stored object: discovery, probes, reviews. */
#include <stdio.h>
#include <sys/utsname.h>

#include "controlplane/store/admin.h"
#include "controlplane/apiserver/conversion.h"
#include "controlplane/apiserver/action.h"
#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/authn/service_account.h"
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/metrics.h"
#include "lib/json.h"
#include "lib/str.h"

/* --- paths that are no resources --- */

static void reply_version(struct req *r)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "{\"major\":\"1\",\"minor\":\"32\",\"gitVersion\":"
		     "\"" VERSION_TEXT "+arktos-" ARKTOS_VERSION "\","
		     "\"gitCommit\":\"\",\"gitTreeState\":\"clean\","
		     "\"buildDate\":\"1970-01-01T00:00:00Z\",\"goVersion\":"
		     "\"none\",\"compiler\":\"gcc\",\"platform\":\"linux/"
#ifdef __x86_64__
		     "amd64"
#else
		     "arm64"
#endif
		     "\"}\n");
	reply_json(r, 200, &b);
}

/* With ?verbose what was looked at is told; while we answer, all of it holds.
 */
static bool wants_verbose(const struct req *r)
{
	const char *p = r->query ? strstr(r->query, "verbose") : NULL;

	return p && (p == r->query || p[-1] == '&') &&
	       (!p[7] || p[7] == '=' || p[7] == '&');
}

/* Returns whether one is away. Why, is not for everybody. */
static bool put_clusters(struct req *r, struct buf *b)
{
	bool told = r->user && strcmp(r->user->tenant, SYSTEM) == 0;
	struct store_cluster c;
	bool away = false;

	for (int id = 1; id < STORE_CLUSTERS_MAX; id++) {
		if (store_cluster(r->api->store, id, &c) < 0)
			continue;
		away |= !c.ready;
		buf_printf(b, "[%c]storage-cluster-%d %s%s\n",
			   c.ready ? '+' : '-', id, c.ready ? "ok" : "failed: ",
			   c.ready ? ""
			   : told  ? c.why
				   : "reason withheld");
	}
	return away;
}

/* One by its number, as /readyz/storage-cluster-1. */
static bool reply_cluster(struct req *r)
{
	static const char prefix[] = "/readyz/storage-cluster-";
	struct buf b = BUF_INIT;
	struct store_cluster c;
	int id;

	if (!str_starts(r->path, prefix) ||
	    str_to_int(r->path + strlen(prefix), &id) ||
	    store_cluster(r->api->store, id, &c) < 0)
		return false;
	buf_printf(&b, "%s", c.ready ? "ok" : "[-]not ready\n");
	reply_begin(r, c.ready ? 200 : 500, "text/plain; charset=utf-8");
	reply_add(r, &b);
	reply_end(r);
	return true;
}

/* A cluster that is away is told by name, and is not a failure: tenants that
 * are elsewhere are to be served. */
static void reply_ok(struct req *r)
{
	const char *name = r->path + strspn(r->path, "/");
	auto_buf struct buf clusters = BUF_INIT;
	bool away = put_clusters(r, &clusters);
	struct buf b = BUF_INIT;

	if (reply_cluster(r))
		return;
	if (wants_verbose(r) || (away && str_starts(name, "readyz"))) {
		buf_printf(&b,
			   "[+]ping ok\n[+]store ok\n[+]bootstrap ok\n%s"
			   "%.*s check passed\n",
			   buf_str(&clusters), (int)strcspn(name, "/"), name);
		reply_begin(r, 200, "text/plain; charset=utf-8");
		reply_add(r, &b);
		reply_end(r);
		return;
	}
	reply_begin(r, 200, "text/plain; charset=utf-8");
	reply_static(r, "ok", 2);
	reply_end(r);
}

/* --- /metrics --- */

#define SCRAPE_NS 1000000 /* others do not wait longer for it */

static void make_metrics(struct api *api, struct buf *b)
{
	uint64_t begun = turn_now_ns();

	metrics_text(api, b);
	atomic_store(&api->scrape_ns, turn_now_ns() - begun);
}

static void put_metrics(struct req *r, struct buf *b)
{
	reply_begin(r, 200, "text/plain; version=0.0.4; charset=utf-8");
	reply_add(r, b);
	reply_end(r);
}

static void scrape(struct aside *a)
{
	make_metrics(a->api, a->data);
}

static void scraped(struct aside *a)
{
	put_metrics(a->req, a->data);
}

static void scrape_free(struct aside *a)
{
	buf_clear(a->data);
	free(a->data);
}

/* Thousands of series take a while: beside the loop, then, as the first time,
 * when nobody knows. */
static void scrape_aside(struct req *r)
{
	struct aside *a = calloc(1, sizeof(*a));
	struct buf *b = calloc(1, sizeof(*b));

	if (!a || !b) {
		free(a);
		free(b);
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	*a = (struct aside){ .req = r,
			     .kind = ASIDE_READ,
			     .work = scrape,
			     .done = scraped,
			     .free = scrape_free,
			     .data = b };
	aside_run(a);
}

static void reply_metrics(struct req *r)
{
	struct access a = { .verb = "get", .path = "/metrics" };
	uint64_t last = atomic_load(&r->api->scrape_ns);
	struct buf b = BUF_INIT;

	if (strcmp(r->user->tenant, SYSTEM) ||
	    !access_allowed(r->api, r->user, &a)) {
		reply_error(r, 403, "Forbidden",
			    "forbidden: User \"%s\" cannot get path "
			    "\"/metrics\"",
			    r->user->name);
		return;
	}
	if (!last || last > SCRAPE_NS) {
		scrape_aside(r);
		return;
	}
	make_metrics(r->api, &b);
	put_metrics(r, &b);
}

/* What the user may know of: with the types of its own tenant, or, for the
 * system's users, of the tenant they name (?tenant=). */
struct view_of {
	struct discovery d;
	struct extensions extensions;
};

static int discovery_of(struct req *r, struct view_of *v)
{
	struct discovery *d = &v->d;

	bool system = strcmp(r->user->tenant, SYSTEM) == 0;
	struct type_set **more = NULL;
	char tenant[256];

	if (!system || !query_get(r, "tenant", tenant, sizeof(tenant)) ||
	    !*tenant)
		snprintf(tenant, sizeof(tenant), "%s", r->user->tenant);
	*d = (struct discovery){
		.set = r->api->types,
		.system = system,
		.address = r->api->advertise,
	};
	if (crds_list(r->api, tenant, &more, &d->nr_more) == 0) {
		d->more = more;
		if (aggregator_list(r->api, tenant, &v->extensions) == 0) {
			d->foreign = v->extensions.foreign;
			d->nr_foreign = v->extensions.nr;
			if (discovery_open(d) == 0)
				return 0;
			extensions_clear(&v->extensions);
		}
		crds_list_free(more, d->nr_more);
	}
	reply_error(r, 500, "InternalError", "out of memory");
	return -ENOMEM;
}

static void discovery_end(struct view_of *v)
{
	crds_list_free((struct type_set **)v->d.more, v->d.nr_more);
	extensions_clear(&v->extensions);
	discovery_close(&v->d);
}

static bool wants_aggregated(struct req *r, const char **version)
{
	const char *a = r->accept ? r->accept : "";
	const char *v2 = strstr(a, "v=v2;"), *at;

	at = strstr(a, "g=apidiscovery.k8s.io");
	if (!at)
		return false;
	*version = v2 || strstr(a, "v=v2,") ? "v2" : "v2beta1";
	return true;
}

static void reply_aggregated(struct req *r, bool core, const char *version,
			     const struct discovery *d)
{
	struct buf b = BUF_INIT;

	discovery_aggregated(d, core, version, &b);
	reply_begin(r, 200,
		    strcmp(version, "v2") == 0
			    ? "application/json;g=apidiscovery.k8s.io;v=v2;"
			      "as=APIGroupDiscoveryList"
			    : "application/json;g=apidiscovery.k8s.io;v=v2beta1;"
			      "as=APIGroupDiscoveryList");
	reply_add(r, &b);
	reply_end(r);
}

/* The OpenAPI v2 documents are large and, without custom types, always the
 * same: made once. */
static void fill_openapi_v2(struct req *r, bool pb, struct discovery *d,
			    struct buf *out)
{
	struct api *api = r->api;
	struct buf *doc;

	d->system = true;
	if (d->nr_more || d->nr_foreign) {
		auto_buf struct buf json = BUF_INIT;

		openapi_v2(d, pb ? &json : out);
		if (pb)
			(void)openapi_v2_protobuf(buf_str(&json), json.len,
						  out);
		return;
	}
	pthread_mutex_lock(&api->doc_lock);
	if (!api->doc_v2.len)
		openapi_v2(d, &api->doc_v2);
	if (pb && !api->doc_v2_pb.len)
		(void)openapi_v2_protobuf(buf_str(&api->doc_v2),
					  api->doc_v2.len, &api->doc_v2_pb);
	doc = pb ? &api->doc_v2_pb : &api->doc_v2;
	buf_add(out, buf_str(doc), doc->len);
	pthread_mutex_unlock(&api->doc_lock);
}

static void reply_openapi_v2(struct req *r)
{
	bool pb = r->accept && strstr(r->accept, "proto-openapi");
	struct buf out = BUF_INIT;
	struct view_of v;

	if (discovery_of(r, &v) < 0)
		return;
	fill_openapi_v2(r, pb, &v.d, &out);
	discovery_end(&v);
	reply_begin(r, 200,
		    pb ? "application/com.github.proto-openapi.spec.v2.v1.0+"
			 "protobuf"
		       : "application/json");
	reply_add(r, &out);
	reply_end(r);
}

static void reply_openapi_v3(struct req *r, const char *path)
{
	char group[256] = "", version[64] = "";
	struct buf b = BUF_INIT;
	struct view_of v;
	int res = 0;

	if (discovery_of(r, &v) < 0)
		return;
	if (!*path || strcmp(path, "/") == 0)
		openapi_v3_index(&v.d, &b);
	else if (sscanf(path, "/api/%63[^/]", version) != 1 &&
		 sscanf(path, "/apis/%255[^/]/%63[^/]", group, version) != 2)
		res = -ENOENT;
	else
		res = openapi_v3(&v.d, group, version, &b);
	discovery_end(&v);
	if (res == 0) {
		reply_json(r, 200, &b);
		return;
	}
	buf_clear(&b);
	reply_not_found(r);
}

static int fill_discovery(struct req *r, const struct discovery *d,
			  struct buf *b)
{
	char group[256] = "", version[64] = "", more[2] = "";
	const char *p = r->path;

	if (!strcmp(p, "/api") || !strcmp(p, "/api/"))
		discovery_api(d, b);
	else if (!strcmp(p, "/apis") || !strcmp(p, "/apis/"))
		discovery_apis(d, b);
	else if (sscanf(p, "/api/%63[^/]/%1s", version, more) == 1)
		return discovery_resources(d, "", version, b);
	else if (sscanf(p, "/apis/%255[^/]/%63[^/]/%1s", group, version,
			more) == 2)
		return discovery_resources(d, group, version, b);
	else if (sscanf(p, "/apis/%255[^/]/%1s", group, more) == 1)
		return discovery_group(d, group, b);
	else
		return -ENOENT;
	return 0;
}

static void reply_discovery(struct req *r)
{
	const char *p = r->path, *version;
	bool core = !strcmp(p, "/api") || !strcmp(p, "/api/");
	bool apis = !strcmp(p, "/apis") || !strcmp(p, "/apis/");
	struct buf b = BUF_INIT;
	struct view_of v;
	int res;

	if (discovery_of(r, &v) < 0)
		return;
	if ((core || apis) && wants_aggregated(r, &version)) {
		reply_aggregated(r, core, version, &v.d);
		discovery_end(&v);
		return;
	}
	res = fill_discovery(r, &v.d, &b);
	discovery_end(&v);
	if (res == 0) {
		reply_json(r, 200, &b);
		return;
	}
	buf_clear(&b);
	reply_not_found(r);
}

static void reply_root(struct req *r)
{
	static const char paths[] =
		"{\"paths\":[\"/api\",\"/api/v1\",\"/apis\",\"/healthz\","
		"\"/livez\",\"/metrics\",\"/openapi/v2\",\"/openapi/v3\","
		"\"/readyz\",\"/version\"]}\n";

	reply_begin(r, 200, "application/json");
	reply_static(r, paths, sizeof(paths) - 1);
	reply_end(r);
}

void special_path(struct req *r)
{
	const char *p = r->path;

	if (strcmp(r->method, "GET") && strcmp(r->method, "HEAD")) {
		reply_error(r, 405, "MethodNotAllowed",
			    "the server does not allow this method on the "
			    "requested resource");
	} else if (!strcmp(p, "/healthz") || str_starts(p, "/livez") ||
		   str_starts(p, "/readyz")) {
		reply_ok(r);
	} else if (!strcmp(p, "/version") || !strcmp(p, "/version/")) {
		reply_version(r);
	} else if (!r->user) {
		reply_error(r, 401, "Unauthorized", "Unauthorized");
	} else if (!strcmp(p, "/metrics")) {
		reply_metrics(r);
	} else if (!strcmp(p, "/")) {
		reply_root(r);
	} else if (!strcmp(p, "/openapi/v2")) {
		reply_openapi_v2(r);
	} else if (r->extension) {
		aggregator_proxy(r);
	} else if (str_starts(p, "/openapi/v3")) {
		reply_openapi_v3(r, p + strlen("/openapi/v3"));
	} else if (account_discovery(r)) {
		return;
	} else if (str_starts(p, "/api")) {
		reply_discovery(r);
	} else {
		reply_not_found(r);
	}
}

/* --- subresources
 * ---------------------------------------------------------------------------
 */

static void scale_found(struct req *r, struct object_bytes **slot)
{
	scale_reply(r, *slot);
}

bool special_subresource(struct req *r)
{
	const char *sub = r->route.subresource;
	bool post = str_eq(r->route.verb, "create");

	if (strcmp(sub, "scale") == 0 && str_eq(r->route.verb, "get")) {
		auto_buf struct buf key = BUF_INIT;
		auto_ptr(object_bytes) o = NULL;

		route_key(r, r->route.name, &key);
		o = store_get(r->api->store, buf_str(&key));
		if (o)
			conversion_get(r, o, scale_found);
		else
			reply_not_found(r);
		return true;
	}
	if (strcmp(sub, "token") == 0 && post) {
		account_token_request(r);
		return true;
	}
	if (strcmp(sub, "binding") == 0 || strcmp(sub, "eviction") == 0 ||
	    strcmp(sub, "action") == 0) {
		if (!post)
			reply_error(r, 405, "MethodNotAllowed",
				    "the server does not allow this method on "
				    "the requested resource");
		else if (*sub == 'b')
			write_binding(r);
		else if (*sub == 'a')
			action_create(r);
		else
			write_eviction(r);
		return true;
	}
	if (post || str_eq(r->route.verb, "delete")) {
		reply_error(r, 405, "MethodNotAllowed",
			    "the server does not allow this method on the "
			    "requested resource");
		return true;
	}
	return false;
}
