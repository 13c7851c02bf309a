// SPDX-License-Identifier: Apache-2.0
/* From method and path to an operation. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agent/local/internal.h"
#include "lib/str.h"

/* "/api/v1/tenants/{t}/namespaces/{ns}/pods/{name}/{sub}": what remains of the
 * path after what has been taken. */
struct path {
	const struct url *url;
	size_t at;
};

static const char *peek(const struct path *p)
{
	return p->at < p->url->nr_segments ? p->url->segment[p->at] : NULL;
}

static bool take(struct path *p, const char *word)
{
	if (!str_eq(peek(p), word))
		return false;
	p->at++;
	return true;
}

static bool at_end(const struct path *p)
{
	return p->at == p->url->nr_segments;
}

/* One method of a resource that exists. */
struct verb {
	const char *method;
	enum route_op op;
};

static int choose(const char *method, const struct verb *verbs, size_t nr,
		  struct route *r, struct err *e)
{
	for (size_t i = 0; i < nr; i++) {
		if (!str_eq(method, verbs[i].method))
			continue;
		r->op = verbs[i].op;
		return 0;
	}
	return err_set(e, -EOPNOTSUPP, "the method %s is not allowed here",
		       method);
}

#define CHOOSE(method, r, e, ...)                                      \
	({                                                             \
		static const struct verb verbs_[] = { __VA_ARGS__ };   \
		choose((method), verbs_, ARRAY_LEN(verbs_), (r), (e)); \
	})

static int no_such(struct err *e)
{
	return err_set(e, -ENOENT,
		       "the server could not find the requested resource");
}

static int one_pod(const char *method, struct path *p, struct route *r,
		   struct err *e)
{
	const char *sub = peek(p);

	if (!r->namespace)
		return no_such(e);
	if (!sub)
		return CHOOSE(method, r, e, { "GET", ROUTE_POD_GET },
			      { "PUT", ROUTE_APPLY },
			      { "DELETE", ROUTE_POD_DELETE });
	p->at++;
	if (!at_end(p))
		return no_such(e);
	if (str_eq(sub, "log"))
		return CHOOSE(method, r, e, { "GET", ROUTE_POD_LOG });
	if (str_eq(sub, "resize"))
		return CHOOSE(method, r, e, { "PATCH", ROUTE_POD_RESIZE },
			      { "PUT", ROUTE_POD_RESIZE });
	if (str_eq(sub, "exec"))
		return CHOOSE(method, r, e, { "POST", ROUTE_POD_EXEC },
			      { "GET", ROUTE_POD_EXEC });
	if (str_eq(sub, "attach"))
		return CHOOSE(method, r, e, { "POST", ROUTE_POD_ATTACH },
			      { "GET", ROUTE_POD_ATTACH });
	if (str_eq(sub, "action"))
		return CHOOSE(method, r, e, { "POST", ROUTE_POD_ACTION });
	return no_such(e);
}

static int pods(const char *method, struct path *p, struct route *r,
		struct err *e)
{
	int ret;

	if (at_end(p)) {
		ret = CHOOSE(method, r, e, { "GET", ROUTE_POD_LIST },
			     { "POST", ROUTE_APPLY });
		if (ret == 0 && r->op == ROUTE_POD_LIST &&
		    url_flag(&r->url, "watch"))
			r->op = ROUTE_POD_WATCH;
		return ret;
	}
	r->name = peek(p);
	p->at++;
	if (!str_is_dns_subdomain(r->name))
		return err_set(e, -EBADMSG, "'%.100s' is not a name", r->name);
	return one_pod(method, p, r, e);
}

static int below_v1(const char *method, struct path *p, struct route *r,
		    struct err *e)
{
	if (take(p, "tenants")) {
		r->tenant = peek(p);
		if (!r->tenant || !str_is_dns_label(r->tenant))
			return err_set(e, -EBADMSG, "not a tenant's name");
		p->at++;
	}
	if (take(p, "namespaces")) {
		r->namespace = peek(p);
		if (!r->namespace || !str_is_dns_label(r->namespace))
			return err_set(e, -EBADMSG, "not a namespace's name");
		p->at++;
	}
	if (take(p, "pods"))
		return pods(method, p, r, e);
	if (take(p, "events") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_EVENTS });
	if (take(p, "networks") && at_end(p))
		return CHOOSE(method, r, e, { "POST", ROUTE_APPLY });
	return no_such(e);
}

static int top(const char *method, struct path *p, struct route *r,
	       struct err *e)
{
	if (take(p, "images") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_IMAGE_LIST },
			      { "POST", ROUTE_IMAGE_ADD },
			      { "DELETE", ROUTE_IMAGE_REMOVE });
	if (take(p, "node") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_NODE });
	if (take(p, "network") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_NETWORK });
	if (take(p, "stats") && take(p, "summary") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_STATS });
	if (take(p, "healthz") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_HEALTHZ });
	if (take(p, "version") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_VERSION });
	if (take(p, "metrics") && at_end(p))
		return CHOOSE(method, r, e, { "GET", ROUTE_METRICS });
	return no_such(e);
}

int route_parse(const char *method, const char *target, struct route *ret,
		struct err *e)
{
	struct route r = { .op = ROUTE_NONE };
	struct path p = { .url = &r.url };
	int code;

	code = url_parse(target, &r.url, e);
	if (code < 0)
		return code;
	if (take(&p, "api"))
		code = take(&p, "v1") ? below_v1(method, &p, &r, e)
				      : no_such(e);
	else if (take(&p, "apis"))
		code = take(&p, "arktos.futurewei.com") && take(&p, "v1")
			       ? below_v1(method, &p, &r, e)
			       : no_such(e);
	else
		code = top(method, &p, &r, e);
	if (code < 0)
		route_clear(&r);
	else
		*ret = r;
	return code;
}

void route_clear(struct route *r)
{
	url_clear(&r->url);
}

int route_number(const struct route *r, const char *name, int64_t min,
		 int64_t max, int64_t *ret, struct err *e)
{
	const char *text = url_param(&r->url, name);
	int64_t v;

	if (!text)
		return 0;
	if (str_to_i64(text, &v) < 0 || v < min || v > max)
		return err_set(e, -EBADMSG,
			       "%s: must be a number from %" PRId64
			       " to %" PRId64,
			       name, min, max);
	*ret = v;
	return 0;
}

struct api_pod_id route_pod(const struct route *r)
{
	return (struct api_pod_id){
		.tenant = r->tenant ? r->tenant : "system",
		.namespace = r->namespace ? r->namespace : "default",
		.name = r->name ? r->name : "",
	};
}
