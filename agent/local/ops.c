// SPDX-License-Identifier: Apache-2.0
/* Requests that one call of the backend answers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/local/internal.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

static int missing(struct task *t)
{
	return err_set(&t->err, -EOPNOTSUPP, "this agent cannot do that");
}

#define CALL(t, fn, ...)                                                 \
	((t)->api->o.backend->fn                                         \
		 ? (t)->api->o.backend->fn((t)->api->o.arg, __VA_ARGS__) \
		 : missing(t))

/* --- short ones ------------------------------------------------------------
 */

static int list(struct task *t)
{
	struct api_scope scope = { .tenant = t->route.tenant,
				   .namespace = t->route.namespace };

	return CALL(t, pod_list, &scope, &t->out, &t->err);
}

static int delete (struct task *t)
{
	struct api_pod_id id = route_pod(&t->route);
	int64_t grace = -1;
	int r = route_number(&t->route, "gracePeriodSeconds", 0, 86400 * 365,
			     &grace, &t->err);

	if (r == 0)
		r = CALL(t, pod_delete, &id, grace, &t->err);
	if (r == 0)
		buf_puts(&t->out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\","
				  "\"metadata\":{},\"status\":\"Success\"}");
	return r;
}

static int events(struct task *t)
{
	struct route *route = &t->route;
	struct api_pod_id id;

	route->name = url_param(&route->url, "pod");
	if (!t->api->o.backend->events) {
		buf_puts(&t->out, "{\"kind\":\"EventList\",\"apiVersion\":"
				  "\"v1\",\"items\":[]}");
		return 0;
	}
	if (route->name && !str_is_dns_subdomain(route->name))
		return err_set(&t->err, -EBADMSG, "pod: not a pod's name");
	id = route_pod(route);
	return CALL(t, events, route->name ? &id : NULL, &t->out, &t->err);
}

static int image_remove(struct task *t)
{
	const char *ref = url_param(&t->route.url, "ref");
	int r;

	if (!ref || !*ref)
		return err_set(&t->err, -EBADMSG, "ref: is required");
	r = CALL(t, image_remove, ref, &t->err);
	if (r == 0)
		buf_puts(&t->out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\","
				  "\"metadata\":{},\"status\":\"Success\"}");
	return r;
}

static int metrics(struct task *t)
{
	t->type = "text/plain; version=0.0.4";
	buf_printf(&t->out,
		   "# HELP arktos_api_requests_total Requests to the local"
		   " API.\n"
		   "# TYPE arktos_api_requests_total counter\n"
		   "arktos_api_requests_total %lu\n"
		   "# HELP arktos_api_errors_total Requests that failed.\n"
		   "# TYPE arktos_api_errors_total counter\n"
		   "arktos_api_errors_total %lu\n",
		   atomic_load(&t->api->requests),
		   atomic_load(&t->api->errors));
	if (!t->api->o.backend->metrics)
		return 0;
	return CALL(t, metrics, &t->out, &t->err);
}

static void run_short(struct task *t)
{
	struct api_pod_id id = route_pod(&t->route);

	switch (t->route.op) {
	case ROUTE_POD_LIST:
		t->r = list(t);
		break;
	case ROUTE_POD_GET:
		t->r = CALL(t, pod_get, &id, &t->out, &t->err);
		break;
	case ROUTE_POD_DELETE:
		t->r = delete (t);
		break;
	case ROUTE_EVENTS:
		t->r = events(t);
		break;
	case ROUTE_IMAGE_LIST:
		t->r = CALL(t, image_list, &t->out, &t->err);
		break;
	case ROUTE_IMAGE_REMOVE:
		t->r = image_remove(t);
		break;
	case ROUTE_NODE:
		t->r = CALL(t, node, &t->out, &t->err);
		break;
	case ROUTE_STATS:
		t->r = CALL(t, stats, &t->out, &t->err);
		break;
	case ROUTE_NETWORK:
		t->r = CALL(t, network, &t->out, &t->err);
		break;
	case ROUTE_METRICS:
		t->r = metrics(t);
		break;
	default:
		t->r = missing(t);
	}
}

void handle_short(struct api *api, struct http_req *req, struct route *r)
{
	struct task *t = task_new(api, req, r, sizeof(*t));

	if (!t)
		return;
	t->run = run_short;
	task_start(t);
}

/* --- apply -----------------------------------------------------------------
 */

/* What the path says goes into the object; what contradicts it is refused. */
static int agree(yyjson_mut_doc *doc, yyjson_mut_val *meta, const char *key,
		 const char *want, struct err *e)
{
	yyjson_mut_val *have;

	if (!want)
		return 0;
	have = yyjson_mut_obj_get(meta, key);
	if (!have || yyjson_mut_is_null(have)) {
		if (have)
			yyjson_mut_obj_remove_key(meta, key);
		if (!yyjson_mut_obj_add_strcpy(doc, meta, key, want))
			return err_set(e, -ENOMEM, "out of memory");
		return 0;
	}
	if (str_eq(yyjson_mut_get_str(have), want))
		return 0;
	return err_set(e, -EBADMSG,
		       "the %s of the provided object does not match the %s "
		       "sent on the request",
		       key, key);
}

static int fill_in(yyjson_doc *in, const struct route *r, char **ret,
		   size_t *ret_len, struct err *e)
{
	yyjson_mut_doc *doc = yyjson_doc_mut_copy(in, NULL);
	yyjson_mut_val *root, *meta;
	int code;

	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	root = yyjson_mut_doc_get_root(doc);
	meta = yyjson_mut_obj_get(root, "metadata");
	if (!yyjson_mut_is_obj(meta)) {
		yyjson_mut_doc_free(doc);
		return err_set(e, -EBADMSG, "metadata: must be an object");
	}
	code = agree(doc, meta, "tenant", r->tenant, e);
	if (code == 0)
		code = agree(doc, meta, "namespace", r->namespace, e);
	if (code == 0)
		code = agree(doc, meta, "name", r->name, e);
	if (code == 0) {
		*ret = yyjson_mut_write(doc, 0, ret_len);
		if (!*ret)
			code = err_set(e, -ENOMEM, "out of memory");
	}
	yyjson_mut_doc_free(doc);
	return code;
}

static const char *outcome_name(enum api_outcome outcome)
{
	return outcome == API_CREATED      ? "created"
	       : outcome == API_CONFIGURED ? "configured"
					   : "unchanged";
}

static int apply(struct task *t)
{
	enum api_outcome outcome = API_UNCHANGED;
	auto_buf struct buf out = BUF_INIT;
	auto_free char *json = NULL;
	bool wrapped = url_flag(&t->route.url, "outcome");
	yyjson_doc *doc;
	size_t len = 0;
	int r;

	r = json_parse(t->req->body, t->req->body_len, &doc, &t->err);
	if (r < 0)
		return r;
	r = yyjson_is_obj(yyjson_doc_get_root(doc))
		    ? fill_in(doc, &t->route, &json, &len, &t->err)
		    : err_set(&t->err, -EBADMSG, "the body must be an object");
	yyjson_doc_free(doc);
	if (r < 0)
		return r;
	r = CALL(t, pod_apply, json, len, &outcome, &out, &t->err);
	if (r == 0 && wrapped)
		buf_printf(&t->out, "{\"object\":%s,\"outcome\":\"%s\"}",
			   buf_str(&out), outcome_name(outcome));
	else
		buf_add(&t->out, out.data, out.len);
	t->status = outcome == API_CREATED ? 201 : 200;
	return r;
}

static void run_apply(struct task *t)
{
	t->r = apply(t);
}

void handle_apply(struct api *api, struct http_req *req, struct route *r)
{
	struct task *t = task_new(api, req, r, sizeof(*t));

	if (!t)
		return;
	t->run = run_apply;
	t->tells = true;
	task_start(t);
}

/* --- resize ----------------------------------------------------------------
 */

static int read_cpu(const struct json_ref *at, struct quantity_set *to,
		    struct err *e)
{
	char text[64];
	int r = json_opt_quantity(at, text, sizeof(text), e);

	if (r < 0 || !json_has(at))
		return r;
	r = quantity_parse_cpu(text, &to->cpu_milli, e);
	to->has_cpu = true;
	return r < 0 ? err_wrap(e, r, "%s", at->key) : 0;
}

static int read_mem(const struct json_ref *at, struct quantity_set *to,
		    struct err *e)
{
	char text[64];
	int r = json_opt_quantity(at, text, sizeof(text), e);

	if (r < 0 || !json_has(at))
		return r;
	r = quantity_parse_mem(text, &to->mem_bytes, e);
	to->has_mem = true;
	return r < 0 ? err_wrap(e, r, "%s", at->key) : 0;
}

static int read_set(const struct json_ref *up, const char *key,
		    struct quantity_set *to, struct err *e)
{
	static const char *const known[] = { "cpu", "memory", NULL };
	struct json_ref set = json_get(up, key);
	struct json_ref cpu = json_get(&set, "cpu");
	struct json_ref mem = json_get(&set, "memory");
	int r = json_only(&set, known, e);

	if (r == 0)
		r = read_cpu(&cpu, to, e);
	if (r == 0)
		r = read_mem(&mem, to, e);
	return r;
}

/* {"name":"web","resources":{"limits":{...},"requests":{...}}} */
static int read_workload(const struct json_ref *of, struct api_resize *rs,
			 struct err *e)
{
	static const char *const known[] = { "name", "resources", NULL };
	static const char *const known_res[] = { "limits", "requests", NULL };
	struct json_ref name = json_get(of, "name");
	struct json_ref res = json_get(of, "resources");
	int r = json_only(of, known, e);

	if (r == 0)
		r = json_opt_str(&name, &rs->container, e);
	if (r == 0)
		r = json_only(&res, known_res, e);
	if (r == 0)
		r = read_set(&res, "limits", &rs->want.limits, e);
	if (r == 0)
		r = read_set(&res, "requests", &rs->want.requests, e);
	return r;
}

/* A patch of a pod, as Kubernetes' resize subresource takes it. */
static int read_patch(const struct json_ref *spec, struct api_resize *rs,
		      struct err *e)
{
	static const char *const known[] = { "containers", "virtualMachine",
					     NULL };
	struct json_ref list = json_get(spec, "containers");
	struct json_ref vm = json_get(spec, "virtualMachine");
	struct json_ref first = json_at(&list, 0);
	int r = json_only(spec, known, e);

	if (r == 0)
		r = json_want_array(&list, SPEC_CONTAINERS_MAX, e);
	if (r < 0)
		return r;
	if (json_has(&vm))
		return json_has(&list) ? json_err(spec, -EINVAL, e,
						  "has containers and a VM")
				       : read_workload(&vm, rs, e);
	if (json_len(&list) != 1)
		return json_err(&list, -EINVAL, e,
				"one container can be resized at a time");
	return read_workload(&first, rs, e);
}

/* The short form: {"container":"web","cpu":"2","memory":"512Mi"}. */
static int read_short(const struct json_ref *root, struct api_resize *rs,
		      struct err *e)
{
	struct json_ref container = json_get(root, "container");
	struct json_ref cpu = json_get(root, "cpu");
	struct json_ref mem = json_get(root, "memory");
	int r = json_opt_str(&container, &rs->container, e);

	if (r == 0)
		r = read_cpu(&cpu, &rs->want.limits, e);
	if (r == 0)
		r = read_mem(&mem, &rs->want.limits, e);
	return r;
}

static int read_resize(const struct json_ref *root, struct api_resize *rs,
		       struct err *e)
{
	static const char *const known[] = { "container", "cpu",  "memory",
					     "spec",      "kind", "apiVersion",
					     NULL };
	const struct quantity_set *l = &rs->want.limits;
	const struct quantity_set *q = &rs->want.requests;
	struct json_ref spec = json_get(root, "spec");
	int r = json_only(root, known, e);

	if (r == 0)
		r = json_has(&spec) ? read_patch(&spec, rs, e)
				    : read_short(root, rs, e);
	if (r < 0)
		return r;
	if (!l->has_cpu && !l->has_mem && !q->has_cpu && !q->has_mem)
		return err_set(e, -EINVAL,
			       "nothing to resize: give cpu or memory");
	return 0;
}

static void put_set(struct json_out *o, const char *key,
		    const struct quantity_set *s)
{
	char text[QUANTITY_TEXT_SIZE];

	json_put_object(o, key);
	if (s->has_cpu)
		json_put_str(o, "cpu", quantity_format_cpu(s->cpu_milli, text));
	if (s->has_mem)
		json_put_str(o, "memory",
			     quantity_format_mem(s->mem_bytes, text));
	json_put_end(o);
}

static void put_result(struct buf *b, const struct api_resize_result *res)
{
	static const char *const names[] = {
		[API_RESIZE_DONE] = "Done",
		[API_RESIZE_IN_PROGRESS] = "InProgress",
		[API_RESIZE_DEFERRED] = "Deferred",
		[API_RESIZE_INFEASIBLE] = "Infeasible",
		[API_RESIZE_FAILED] = "Failed",
		[API_RESIZE_SUPERSEDED] = "Superseded",
		[API_RESIZE_ACCEPTED] = "Accepted",
	};
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "ResizeResult");
	json_put_str(&o, "state", names[res->state]);
	json_put_str(&o, "container", res->container);
	put_set(&o, "before", &res->before);
	put_set(&o, "after", &res->after);
	if (res->state != API_RESIZE_ACCEPTED) { /* nobody has it yet */
		json_put_str(&o, "confirmedBy",
			     res->by_guest ? "guest" : "kernel");
		json_put_u64(&o, "milliseconds", res->took_ms);
	}
	json_put_str(&o, "message", res->why);
	json_put_end(&o);
}

static int resize(struct task *t)
{
	struct api_resize rs = { .pod = route_pod(&t->route),
				 .cancel = &t->cancel };
	struct api_resize_result res = { .state = API_RESIZE_FAILED };
	int64_t seconds = 30;
	struct json_ref root;
	yyjson_doc *doc;
	int r;

	r = route_number(&t->route, "timeoutSeconds", 0, 86400, &seconds,
			 &t->err);
	if (r == 0)
		r = json_parse(t->req->body, t->req->body_len, &doc, &t->err);
	if (r < 0)
		return r;
	rs.timeout_ms = (uint32_t)seconds * 1000;
	root = json_root(doc);
	r = read_resize(&root, &rs, &t->err);
	if (r == 0)
		r = CALL(t, pod_resize, &rs, &res, &t->err);
	yyjson_doc_free(doc);
	if (r == 0)
		put_result(&t->out, &res);
	return r;
}

static void run_resize(struct task *t)
{
	t->r = resize(t);
}

void handle_resize(struct api *api, struct http_req *req, struct route *r)
{
	struct task *t = task_new(api, req, r, sizeof(*t));

	if (!t)
		return;
	t->run = run_resize;
	task_start_long(t);
}
