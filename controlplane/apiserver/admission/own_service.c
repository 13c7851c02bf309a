// SPDX-License-Identifier: Apache-2.0
/*
 * The Service "kubernetes" in namespace default of the tenant system, and the
 * Endpoints and EndpointSlice that say where it leads: as Kubernetes' API
 * server keeps them for those who look it up. What is deleted is made again;
 * what leads elsewhere is replaced at the start only, so that two servers of
 * one store do not replace it in turns.
 *
 * Nothing routes its address here. A server that is advertised by a loopback
 * address or a name has no endpoint: from elsewhere it would lead elsewhere.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/lifecycle.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/object.h"
#include "lib/json.h"
#include "lib/str.h"

#define NAME    "kubernetes"
#define ADDRESS "10.96.0.1" /* the first of the range, as in Kubernetes */
#define PORT    443

/* The address others reach us at; false: there is none. */
static bool endpoint_of(const struct api *api, char ip[64])
{
	const char *colon = strrchr(api->advertise, ':');
	struct in_addr a;

	snprintf(ip, 64, "%.*s", (int)(colon - api->advertise), api->advertise);
	return inet_pton(AF_INET, ip, &a) == 1 && ntohl(a.s_addr) >> 24 != 127;
}

static void begin(struct json_out *o, const char *version, const char *kind,
		  const char *label, const char *value)
{
	json_put_object(o, NULL);
	json_put_str(o, "apiVersion", version);
	json_put_str(o, "kind", kind);
	json_put_object(o, "metadata");
	json_put_str(o, "name", NAME);
	json_put_object(o, "labels");
	json_put_str(o, label, value);
	json_put_end(o);
	json_put_end(o);
}

static void put_port(struct json_out *o, int port, int target)
{
	json_put_array(o, "ports");
	json_put_object(o, NULL);
	json_put_str(o, "name", "https");
	json_put_str(o, "protocol", "TCP");
	json_put_i64(o, "port", port);
	if (target)
		json_put_i64(o, "targetPort", target);
	json_put_end(o);
	json_put_end(o);
}

static void put_service(const struct api *api, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	begin(&o, "v1", "Service", "provider", "kubernetes");
	json_put_object(&o, "spec");
	json_put_str(&o, "type", "ClusterIP");
	json_put_str(&o, "clusterIP", ADDRESS);
	json_put_array(&o, "clusterIPs");
	json_put_str(&o, NULL, ADDRESS);
	json_put_end(&o);
	json_put_array(&o, "ipFamilies");
	json_put_str(&o, NULL, "IPv4");
	json_put_end(&o);
	json_put_str(&o, "ipFamilyPolicy", "SingleStack");
	json_put_str(&o, "sessionAffinity", "None");
	put_port(&o, PORT, api->port);
	json_put_end(&o);
	json_put_end(&o);
}

static void put_endpoints(const struct api *api, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	char ip[64];

	begin(&o, "v1", "Endpoints", "endpointslice.kubernetes.io/skip-mirror",
	      "true");
	if (endpoint_of(api, ip)) {
		json_put_array(&o, "subsets");
		json_put_object(&o, NULL);
		json_put_array(&o, "addresses");
		json_put_object(&o, NULL);
		json_put_str(&o, "ip", ip);
		json_put_end(&o);
		json_put_end(&o);
		put_port(&o, api->port, 0);
		json_put_end(&o);
		json_put_end(&o);
	}
	json_put_end(&o);
}

static void put_slice(const struct api *api, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	char ip[64];

	begin(&o, "discovery.k8s.io/v1", "EndpointSlice",
	      "kubernetes.io/service-name", NAME);
	json_put_str(&o, "addressType", "IPv4");
	json_put_array(&o, "endpoints");
	if (endpoint_of(api, ip)) {
		json_put_object(&o, NULL);
		json_put_array(&o, "addresses");
		json_put_str(&o, NULL, ip);
		json_put_end(&o);
		json_put_object(&o, "conditions");
		json_put_bool(&o, "ready", true);
		json_put_end(&o);
		json_put_end(&o);
	}
	json_put_end(&o);
	put_port(&o, api->port, 0);
	json_put_end(&o);
}

static bool same_at(yyjson_val *a, yyjson_val *b, const char *pointer)
{
	yyjson_val *x = yyjson_ptr_get(a, pointer);
	yyjson_val *y = yyjson_ptr_get(b, pointer);

	return (!x && !y) || (x && y && yyjson_equals(x, y));
}

/* Does what is stored lead where @op does? */
static bool is_same(const struct object_bytes *o, const struct store_op *op)
{
	static const char *const at[] = {
		"/spec/clusterIP",           "/spec/ports/0/targetPort",
		"/subsets/0/addresses/0/ip", "/subsets/0/ports/0/port",
		"/endpoints/0/addresses/0",  "/ports/0/port",
	};
	yyjson_doc *have = object_doc(o);
	yyjson_doc *want = yyjson_read(op->data, op->len, 0);
	bool same = have && want;

	for (size_t i = 0; i < ARRAY_LEN(at) && same; i++)
		same = same_at(yyjson_doc_get_root(have),
			       yyjson_doc_get_root(want), at[i]);
	yyjson_doc_free(have);
	yyjson_doc_free(want);
	return same;
}

static int remove_object(struct api *api, const struct object_bytes *o,
			 struct err *e)
{
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision,
			       .remove = true,
			       .rv_off = STORE_NO_RV };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	int r = store_commit(api->store, &txn, e);

	object_unref(op.ret);
	return r;
}

static int repair_one(struct api *api, struct store_op *op, bool replace,
		      struct err *e)
{
	auto_ptr(object_bytes) o = store_get(api->store, op->key);
	struct store_txn txn = { .ops = op, .nr_ops = 1 };
	int r = 0;

	if (o && (!replace || is_same(o, op)))
		return 0;
	if (o)
		r = remove_object(api, o, e);
	if (r == 0)
		r = store_commit(api->store, &txn, e);
	object_unref(op->ret);
	return r;
}

int own_service_repair(struct api *api, bool replace, struct err *e)
{
	static const struct {
		const char *group, *plural;
		void (*put)(const struct api *api, struct buf *b);
	} parts[] = {
		{ "", "services", put_service },
		{ "", "endpoints", put_endpoints },
		{ "discovery.k8s.io", "endpointslices", put_slice },
	};
	struct born b = { .nr = 0 };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++) {
		const struct type *t = type_find(api->types, parts[i].group,
						 "v1", parts[i].plural);
		auto_buf struct buf text = BUF_INIT;

		parts[i].put(api, &text);
		r = born_add(api, &b, t, SYSTEM, "default", buf_str(&text));
	}
	for (size_t i = 0; i < b.nr && r == 0; i++)
		r = repair_one(api, &b.ops[i], replace, e);
	born_clear(&b);
	return r == -ESTALE || r == -EEXIST ? 0 : r; /* somebody was faster */
}
