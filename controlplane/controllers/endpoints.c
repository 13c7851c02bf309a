// SPDX-License-Identifier: Apache-2.0
/*
 * Endpoints and EndpointSlices: the addresses behind a service's selector. Only
 * pods of the service's own network count: another one's addresses mean
 * something else.
 */
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define SLICE_MAX 100 /* endpoints of one slice, as in Kubernetes */
#define NETWORK   "arktos.futurewei.com/network"
#define MANAGER   "endpointslice-controller.arktos"

/* A pod behind the service. */
struct end {
	struct informer_object *pod;
	yyjson_doc *doc;
	yyjson_val *root;
	const char *ip;
	bool ready, going;
};

struct svc {
	struct informer_object *obj;
	yyjson_val *root;
	struct end *ends;
	size_t nr;
	bool publish; /* also those that are not ready */
};

static const char *network_of(yyjson_val *obj)
{
	const char *name = obj_label(obj, NETWORK);

	return name && *name ? name : "default";
}

static int by_ip(const void *pa, const void *pb)
{
	const struct end *a = pa, *b = pb;
	int r = strcmp(a->ip, b->ip);

	return r ? r : strcmp(a->pod->name, b->pod->name);
}

static int read_ends(struct ctl *c, struct svc *s, struct err *e)
{
	auto_free char *space =
		str_printf("%s/%s", s->obj->tenant, s->obj->namespace);
	yyjson_val *selector = obj_at(s->root, "spec.selector");
	auto_list struct informer_list pods = { 0 };

	if (!space || informer_list(ctl_informer(c, KIND_POD),
				    INFORMER_BY_NAMESPACE, space, &pods) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	s->ends = calloc(pods.nr + 1, sizeof(*s->ends));
	if (!s->ends)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < pods.nr; i++) {
		const struct pod_facts *f = pod_facts(pods.v[i]);
		struct end *x = &s->ends[s->nr];

		if (f->phase == POD_SUCCEEDED || f->phase == POD_FAILED ||
		    !f->address)
			continue;
		x->doc = informer_doc(pods.v[i]);
		x->root = yyjson_doc_get_root(x->doc);
		x->ip = obj_str(x->root, "status.podIP");
		if (!*x->ip ||
		    !labels_include(obj_at(x->root, "metadata.labels"),
				    selector) ||
		    strcmp(network_of(x->root), network_of(s->root)) != 0) {
			yyjson_doc_free(x->doc);
			continue;
		}
		x->pod = informer_ref(pods.v[i]);
		x->ready = f->ready && !f->deleting;
		x->going = f->deleting;
		s->nr++;
	}
	qsort(s->ends, s->nr, sizeof(*s->ends), by_ip);
	return 0;
}

/* The number behind a port of the service at one pod; 0: it has none. */
static int64_t port_at(yyjson_val *port, yyjson_val *pod)
{
	yyjson_val *target = yyjson_obj_get(port, "targetPort"), *c, *p;
	const char *name = yyjson_get_str(target);
	size_t i, max, j, n;

	if (yyjson_is_int(target) && yyjson_get_sint(target) > 0)
		return yyjson_get_sint(target);
	if (!name)
		return obj_int(port, "port", 0);
	yyjson_arr_foreach(obj_at(pod, "spec.containers"), i, max, c)
		yyjson_arr_foreach(yyjson_obj_get(c, "ports"), j, n, p) if (
			str_eq(obj_str(p, "name"),
			       name)) return obj_int(p, "containerPort", 0);
	return 0;
}

static void put_ports(struct json_out *o, const struct svc *s, yyjson_val *pod)
{
	yyjson_val *ports = obj_at(s->root, "spec.ports"), *p;
	size_t i, max;

	json_put_array(o, "ports");
	yyjson_arr_foreach(ports, i, max, p)
	{
		const char *app = obj_str(p, "appProtocol");
		int64_t number = port_at(p, pod);

		if (!number)
			continue;
		json_put_object(o, NULL);
		if (*obj_str(p, "name"))
			json_put_str(o, "name", obj_str(p, "name"));
		json_put_i64(o, "port", number);
		json_put_str(o, "protocol",
			     *obj_str(p, "protocol") ? obj_str(p, "protocol")
						     : "TCP");
		if (*app)
			json_put_str(o, "appProtocol", app);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_target(struct json_out *o, const struct end *x)
{
	json_put_object(o, "targetRef");
	json_put_str(o, "kind", "Pod");
	json_put_str(o, "name", x->pod->name);
	json_put_str(o, "namespace", x->pod->namespace);
	json_put_str(o, "uid", x->pod->uid);
	json_put_end(o);
}

/* A pod that says where it belongs has a name of its own there. */
static const char *hostname_of(const struct svc *s, const struct end *x)
{
	const char *host = obj_str(x->root, "spec.hostname");

	return str_eq(obj_str(x->root, "spec.subdomain"), s->obj->name) ? host
									: "";
}

static void put_addresses(struct json_out *o, const struct svc *s,
			  const char *name, bool ready)
{
	bool any = false;

	for (size_t i = 0; i < s->nr; i++) {
		const struct end *x = &s->ends[i];

		if (x->going || (x->ready || s->publish) != ready)
			continue;
		if (!any)
			json_put_array(o, name);
		any = true;
		json_put_object(o, NULL);
		json_put_str(o, "ip", x->ip);
		if (*hostname_of(s, x))
			json_put_str(o, "hostname", hostname_of(s, x));
		json_put_str(o, "nodeName", x->pod->node);
		put_target(o, x);
		json_put_end(o);
	}
	if (any)
		json_put_end(o);
}

/* Named ports may differ from pod to pod; the first one speaks for all. */
static void put_subsets(struct json_out *o, const struct svc *s)
{
	size_t staying = 0;

	for (size_t i = 0; i < s->nr; i++)
		staying += !s->ends[i].going;
	json_put_array(o, "subsets");
	if (staying) {
		json_put_object(o, NULL);
		put_addresses(o, s, "addresses", true);
		put_addresses(o, s, "notReadyAddresses", false);
		put_ports(o, s, s->ends[0].root);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_slice_part(struct json_out *o, const struct svc *s, size_t from)
{
	json_put_array(o, "endpoints");
	for (size_t i = from; i < s->nr && i < from + SLICE_MAX; i++) {
		const struct end *x = &s->ends[i];

		json_put_object(o, NULL);
		json_put_array(o, "addresses");
		json_put_str(o, NULL, x->ip);
		json_put_end(o);
		json_put_object(o, "conditions");
		json_put_bool(o, "ready",
			      x->ready || (s->publish && !x->going));
		json_put_bool(o, "serving",
			      pod_facts(x->pod)->ready || s->publish);
		json_put_bool(o, "terminating", x->going);
		json_put_end(o);
		if (*hostname_of(s, x))
			json_put_str(o, "hostname", hostname_of(s, x));
		json_put_str(o, "nodeName", x->pod->node);
		put_target(o, x);
		json_put_end(o);
	}
	json_put_end(o);
	put_ports(o, s, s->nr ? s->ends[0].root : NULL);
}

static void put_head(struct json_out *o, const struct svc *s,
		     const char *api_version, const char *kind,
		     const char *name, bool slice)
{
	auto_buf struct buf owner = BUF_INIT;

	json_put_str(o, "apiVersion", api_version);
	json_put_str(o, "kind", kind);
	json_put_object(o, "metadata");
	json_put_str(o, "name", name);
	json_put_object(o, "labels");
	json_put_str(o, NETWORK, network_of(s->root));
	if (slice) {
		json_put_str(o, "kubernetes.io/service-name", s->obj->name);
		json_put_str(o, "endpointslice.kubernetes.io/managed-by",
			     MANAGER);
	}
	json_put_end(o);
	ctl_put_owner(&owner, KIND_SERVICE, s->obj->name, s->obj->uid);
	json_put_array(o, "ownerReferences");
	json_put_raw(o, NULL, buf_str(&owner), owner.len);
	json_put_end(o);
	json_put_end(o);
}

/* Is what is there already what @body says, as far as it says anything? */
static bool includes(yyjson_val *have, yyjson_val *want)
{
	auto_buf struct buf a = BUF_INIT, b = BUF_INIT;
	static const char *const parts[] = { "subsets", "endpoints", "ports" };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		yyjson_val *x = yyjson_obj_get(have, parts[i]);
		yyjson_val *y = yyjson_obj_get(want, parts[i]);

		if (!yyjson_arr_size(x) && !yyjson_arr_size(y))
			continue;
		buf_reset(&a);
		buf_reset(&b);
		obj_canonical(x, &a);
		obj_canonical(y, &b);
		if (!str_eq(buf_str(&a), buf_str(&b)))
			return false;
	}
	return true;
}

static int apply(struct ctl *c, const struct svc *s, enum kind k,
		 const char *name, const char *body, struct err *e)
{
	auto_free char *key =
		str_printf("%s/%s/%s", s->obj->tenant, s->obj->namespace, name);
	auto_ptr(informer_object) have = key ? ctl_get(c, k, key) : NULL;
	struct ctl_write w = { .method = have ? "PATCH" : "POST",
			       .kind = k,
			       .tenant = s->obj->tenant,
			       .namespace = s->obj->namespace,
			       .name = have ? name : NULL,
			       .body = body,
			       .type = have ? CTL_MERGE : NULL };
	uint64_t revision = 0;
	int r;

	if (have) {
		yyjson_doc *x = informer_doc(have);
		yyjson_doc *y = yyjson_read(body, strlen(body), 0);
		bool same = includes(yyjson_doc_get_root(x),
				     yyjson_doc_get_root(y));

		yyjson_doc_free(x);
		yyjson_doc_free(y);
		if (same)
			return 0;
	}
	r = ctl_write(c, &w, &revision, e);
	ctl_expect(c, s->obj->key, k, revision);
	return r == -EEXIST || r == -ENOENT ? -ECANCELED : r;
}

static int put_endpoints(struct ctl *c, const struct svc *s, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	json_put_object(&o, NULL);
	put_head(&o, s, "v1", "Endpoints", s->obj->name, false);
	put_subsets(&o, s);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return apply(c, s, KIND_ENDPOINTS, s->obj->name, buf_str(&b), e);
}

static int put_slices(struct ctl *c, const struct svc *s, struct err *e)
{
	size_t slices = s->nr ? (s->nr + SLICE_MAX - 1) / SLICE_MAX : 1;
	int r = 0;

	for (size_t i = 0; i < slices && r == 0; i++) {
		auto_free char *name = str_printf("%s-%zu", s->obj->name, i);
		auto_buf struct buf b = BUF_INIT;
		struct json_out o = JSON_OUT(&b);

		if (!name)
			return err_set(e, -ENOMEM, "out of memory");
		json_put_object(&o, NULL);
		put_head(&o, s, "discovery.k8s.io/v1", "EndpointSlice", name,
			 true);
		json_put_str(&o, "addressType", "IPv4");
		put_slice_part(&o, s, i * SLICE_MAX);
		json_put_end(&o);
		if (buf_error(&b))
			return err_set(e, -ENOMEM, "out of memory");
		r = apply(c, s, KIND_SLICE, name, buf_str(&b), e);
	}
	/* There were more. */
	for (size_t i = slices; r == 0; i++) {
		auto_free char *key =
			str_printf("%s/%s/%s-%zu", s->obj->tenant,
				   s->obj->namespace, s->obj->name, i);
		auto_ptr(informer_object) old =
			key ? ctl_get(c, KIND_SLICE, key) : NULL;

		if (!old || strcmp(old->owner, s->obj->uid) != 0)
			break;
		r = ctl_delete(c, KIND_SLICE, old, NULL, e);
	}
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	auto_ptr(informer_object) o = ctl_get(c, KIND_SERVICE, key);
	struct svc s = { .obj = o };
	yyjson_doc *doc;
	int r = 0;

	if (!o || !ctl_owns(c, o->uid))
		return 0;
	doc = informer_doc(o);
	s.root = yyjson_doc_get_root(doc);
	s.publish = obj_bool(s.root, "spec.publishNotReadyAddresses", false);
	/* Without a selector, whoever made it fills it. */
	if (yyjson_obj_size(obj_at(s.root, "spec.selector")) &&
	    !obj_at(s.root, "metadata.deletionTimestamp")) {
		r = read_ends(c, &s, e);
		if (r == 0)
			r = put_endpoints(c, &s, e);
		if (r == 0)
			r = put_slices(c, &s, e);
	}
	for (size_t i = 0; i < s.nr; i++) {
		yyjson_doc_free(s.ends[i].doc);
		informer_unref(s.ends[i].pod);
	}
	free(s.ends);
	yyjson_doc_free(doc);
	return r;
}

/* --- who is to look --- */

static void add_services(struct ctl *c, const struct informer_object *o)
{
	auto_free char *space = str_printf("%s/%s", o->tenant, o->namespace);
	auto_list struct informer_list l = { 0 };
	yyjson_doc *doc = informer_doc(o);
	yyjson_val *labels =
		obj_at(yyjson_doc_get_root(doc), "metadata.labels");

	if (space)
		(void)informer_list(ctl_informer(c, KIND_SERVICE),
				    INFORMER_BY_NAMESPACE, space, &l);
	for (size_t i = 0; i < l.nr; i++) {
		yyjson_doc *d = informer_doc(l.v[i]);
		yyjson_val *selector =
			obj_at(yyjson_doc_get_root(d), "spec.selector");

		if (yyjson_obj_size(selector) &&
		    labels_include(labels, selector))
			ctl_add(c, l.v[i]->key);
		yyjson_doc_free(d);
	}
	yyjson_doc_free(doc);
}

static void pod_changed(struct ctl *c, const struct informer_event *ev)
{
	const struct pod_facts *a = ev->old ? pod_facts(ev->old) : NULL;
	const struct pod_facts *b = ev->now ? pod_facts(ev->now) : NULL;

	if (a && b && a->ready == b->ready && a->address == b->address &&
	    a->deleting == b->deleting && a->labels == b->labels &&
	    a->phase == b->phase)
		return;
	/* A pod without an address is behind nothing. */
	if (a && a->address && (!b || a->labels != b->labels))
		add_services(c, ev->old);
	if (b && (b->address || (a && a->address)))
		add_services(c, ev->now);
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_follow(c, KIND_SERVICE, NULL, e);

	if (r == 0)
		r = ctl_watch(c, KIND_POD, pod_changed, e);
	/* What somebody else changed or removed is put right. */
	if (r == 0)
		r = ctl_follow(c, KIND_ENDPOINTS, "Service", e);
	return r < 0 ? r : ctl_follow(c, KIND_SLICE, "Service", e);
}

const struct controller endpoints_controller = { "endpoints", begin, sync_key,
						 NULL };
