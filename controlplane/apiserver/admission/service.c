// SPDX-License-Identifier: Apache-2.0
/*
 * Addresses and node ports of services. An address is unique in its tenant,
 * whose networks may overlap with any other's; a node port is unique in the
 * cluster. The range is that of the service's Network (spec.service.cidrs) or
 * the server's. What is taken is what stored services have; what has just been
 * given out, and may not be stored yet, is remembered for a while.
 */
#include <arpa/inet.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/write.h"
#include "lib/str.h"

#define RANGE       "10.96.0.0/16"
#define LOW_BAND    16 /* left to those who name an address */
#define PORT_FIRST  30000
#define PORT_LAST   32767
#define TRIES       64
#define RESERVE_S   120
#define RESERVE_MAX 100000
#define NETWORK     "arktos.futurewei.com/network"

struct range {
	char text[64];
	uint32_t first, size;
	bool external; /* somebody else gives addresses out */
};

static int parse_cidr(const char *text, struct range *r)
{
	const char *slash = strchr(text, '/');
	struct in_addr a;
	char host[32];
	int bits;

	if (!slash || (size_t)(slash - text) >= sizeof(host) ||
	    strlen(text) >= sizeof(r->text))
		return -EINVAL;
	memcpy(host, text, slash - text);
	host[slash - text] = '\0';
	if (inet_pton(AF_INET, host, &a) != 1 || str_to_int(slash + 1, &bits) ||
	    bits < 8 || bits > 30)
		return -EINVAL;
	snprintf(r->text, sizeof(r->text), "%s", text);
	r->size = 1u << (32 - bits);
	r->first = ntohl(a.s_addr) & ~(r->size - 1);
	return 0;
}

/* The range of the service's network. */
static void find_range(struct admission *a, struct range *r)
{
	yyjson_mut_val *labels = mut_get(a->obj, "metadata.labels");
	const char *name =
		yyjson_mut_get_str(yyjson_mut_obj_get(labels, NETWORK));
	auto_free char *key = str_printf("arktos.futurewei.com/networks/%s//%s",
					 a->tenant, name ? name : "default");
	auto_ptr(object_bytes) o = key ? store_get(a->api->store, key) : NULL;
	yyjson_mut_doc *doc = o ? object_tree(o) : NULL;
	yyjson_mut_val *net = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	const char *cidr = yyjson_mut_get_str(
		yyjson_mut_arr_get_first(mut_get(net, "spec.service.cidrs")));

	*r = (struct range){ .external =
				     str_eq(mut_str(net, "spec.service.ipam"),
					    "External") };
	if (!cidr || parse_cidr(cidr, r))
		(void)parse_cidr(RANGE, r);
	yyjson_mut_doc_free(doc);
}

/* --- what is taken --- */

static bool reserve(struct api *api, const char *what)
{
	uintptr_t now = time(NULL), until;
	struct map_iter it = MAP_ITER_INIT;
	bool ok;

	pthread_mutex_lock(&api->reserve_lock);
	until = (uintptr_t)map_get(&api->reserved, what);
	ok = until < now;
	if (ok && map_len(&api->reserved) > RESERVE_MAX / 2)
		while (map_next(&api->reserved, &it))
			if ((uintptr_t)it.value < now)
				map_del(&api->reserved, it.key);
	if (ok && map_len(&api->reserved) < RESERVE_MAX)
		map_set(&api->reserved, what, (void *)(now + RESERVE_S), NULL);
	pthread_mutex_unlock(&api->reserve_lock);
	return ok;
}

static void release(struct api *api, const char *what)
{
	pthread_mutex_lock(&api->reserve_lock);
	map_del(&api->reserved, what);
	pthread_mutex_unlock(&api->reserve_lock);
}

struct wanted {
	const char *ip, *own_key;
	int port;
};

static bool has_ip(const struct object_bytes *o, void *arg)
{
	const struct wanted *w = arg;

	return str_eq(object_tag(o, "f:spec.clusterIP"), w->ip) &&
	       !str_eq(o->key, w->own_key);
}

static bool has_port(const struct object_bytes *o, void *arg)
{
	const struct wanted *w = arg;
	const char *type = object_tag(o, "f:spec.type");
	yyjson_doc *doc;
	yyjson_val *p;
	size_t i, max;
	bool found = false;

	if (str_eq(o->key, w->own_key) ||
	    (!str_eq(type, "NodePort") && !str_eq(type, "LoadBalancer")))
		return false;
	doc = object_doc(o);
	p = yyjson_obj_get(yyjson_doc_get_root(doc), "spec");
	yyjson_arr_foreach(yyjson_obj_get(p, "ports"), i, max, p) found |=
		yyjson_get_sint(yyjson_obj_get(p, "nodePort")) == w->port;
	yyjson_doc_free(doc);
	return found;
}

static bool is_stored(struct api *api, const char *prefix, struct wanted *w,
		      bool (*match)(const struct object_bytes *o, void *arg))
{
	struct store_range range = {
		.prefix = prefix, .match = match, .arg = w, .limit = 1
	};
	struct store_list list;
	bool found;

	if (store_list(api->store, &range, &list, NULL) < 0)
		return true;
	found = list.nr != 0;
	store_list_clear(&list);
	return found;
}

static char *own_key(struct admission *a)
{
	return str_printf("core/services/%s/%s/%s", a->tenant, a->namespace,
			  a->name);
}

static bool take_ip(struct admission *a, const char *ip)
{
	auto_free char *prefix = str_printf("core/services/%s/", a->tenant);
	auto_free char *what = str_printf("%s/%s", a->tenant, ip);
	auto_free char *own = own_key(a);
	struct wanted w = { .ip = ip, .own_key = own };

	return prefix && what && own &&
	       !is_stored(a->api, prefix, &w, has_ip) &&
	       (a->dry_run || reserve(a->api, what));
}

static bool take_port(struct admission *a, int port)
{
	auto_free char *what = str_printf("port/%d", port);
	auto_free char *own = own_key(a);
	struct wanted w = { .port = port, .own_key = own };

	return what && own &&
	       !is_stored(a->api, "core/services/", &w, has_port) &&
	       (a->dry_run || reserve(a->api, what));
}

static uint32_t random_below(uint32_t n)
{
	uint32_t v = 0;

	if (RAND_bytes((unsigned char *)&v, sizeof(v)) != 1)
		v = (uint32_t)time(NULL) * 2654435761u;
	return n ? v % n : 0;
}

/* "FIELD: what is wrong with it" */
static int invalid(struct admission *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int invalid(struct admission *a, const char *fmt, ...)
{
	char text[512];
	size_t field;
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r = admission_refuse(a, 422, "Invalid", "Service \"%s\" is invalid: %s",
			     a->name, text);
	field = strcspn(text, ":");
	snprintf(a->field, sizeof(a->field), "%.*s", (int)field, text);
	a->cause = strstr(a->msg, text) + field + strlen(": ");
	return r;
}

/* --- addresses --- */

static void set_ip(struct admission *a, const char *ip)
{
	yyjson_mut_val *list = yyjson_mut_arr(a->doc);

	mut_set_str(a->doc, a->obj, "spec.clusterIP", ip);
	yyjson_mut_arr_add_strcpy(a->doc, list, ip);
	mut_set(a->doc, a->obj, "spec.clusterIPs", list);
	if (strcmp(ip, "None") == 0 && !mut_get(a->obj, "spec.selector"))
		return; /* of no family until it has endpoints */
	if (!mut_get(a->obj, "spec.ipFamilies")) {
		list = yyjson_mut_arr(a->doc);
		yyjson_mut_arr_add_str(a->doc, list, "IPv4");
		mut_set(a->doc, a->obj, "spec.ipFamilies", list);
	}
	if (!mut_get(a->obj, "spec.ipFamilyPolicy"))
		mut_set_str(a->doc, a->obj, "spec.ipFamilyPolicy",
			    "SingleStack");
}

static int use_ip(struct admission *a, const struct range *r, const char *ip)
{
	struct in_addr in;
	uint32_t n;

	if (inet_pton(AF_INET, ip, &in) != 1)
		return invalid(a,
			       "spec.clusterIPs[0]: Invalid value: \"%s\": "
			       "must be a valid IPv4 address",
			       ip);
	n = ntohl(in.s_addr) - r->first;
	if (n == 0 || n >= r->size - 1)
		return invalid(a,
			       "spec.clusterIPs[0]: Invalid value: \"%s\": "
			       "failed to allocate IP %s: the provided IP is "
			       "not in the valid range. The range of valid IPs "
			       "is %s",
			       ip, ip, r->text);
	if (!take_ip(a, ip))
		return invalid(a,
			       "spec.clusterIPs[0]: Invalid value: \"%s\": "
			       "failed to allocate IP %s: provided IP is "
			       "already allocated",
			       ip, ip);
	set_ip(a, ip);
	return 0;
}

static int pick_ip(struct admission *a, const struct range *r)
{
	uint32_t low = r->size > 4 * LOW_BAND ? LOW_BAND : 1;
	uint32_t room = r->size - 1 - low, at = random_below(room);

	/* Random first; when that finds nothing, all in their order. */
	for (uint32_t i = 0; i < room + TRIES; i++) {
		struct in_addr in;
		char ip[INET_ADDRSTRLEN];

		if (i < TRIES)
			at = random_below(room);
		else
			at = (at + 1) % room;
		in.s_addr = htonl(r->first + low + at);
		inet_ntop(AF_INET, &in, ip, sizeof(ip));
		if (!take_ip(a, ip))
			continue;
		set_ip(a, ip);
		return 0;
	}
	return admission_refuse(a, 500, "InternalError",
				"Internal error occurred: failed to allocate "
				"a serviceIP: range %s is full",
				r->text);
}

static int give_ip(struct admission *a)
{
	const char *ip = mut_str(a->obj, "spec.clusterIP");
	const char *had = mut_str(a->old, "spec.clusterIP");
	const char *first = yyjson_mut_get_str(
		yyjson_mut_arr_get_first(mut_get(a->obj, "spec.clusterIPs")));
	struct range r;

	if (!ip || !*ip)
		ip = first;
	if (ip && *ip && strcmp(ip, "None") == 0) {
		set_ip(a, ip);
		return 0;
	}
	/* Kept, or refused by the rules of an update. */
	if (had && *had) {
		if (!ip || !*ip)
			ip = had;
		set_ip(a, ip);
		return 0;
	}
	find_range(a, &r);
	if (ip && *ip)
		return use_ip(a, &r, ip);
	return r.external ? 0 : pick_ip(a, &r);
}

/* --- node ports --- */

static int64_t port_before(struct admission *a, yyjson_mut_val *port)
{
	yyjson_mut_val *p;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(a->old, "spec.ports"), i, max, p)
	{
		if (mut_int(p, "port", 0) == mut_int(port, "port", 0) &&
		    str_eq(mut_str(p, "protocol"), mut_str(port, "protocol")))
			return mut_int(p, "nodePort", 0);
	}
	return 0;
}

static bool had_port(struct admission *a, int64_t n)
{
	yyjson_mut_val *p;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(a->old, "spec.ports"), i, max, p)
	{
		if (mut_int(p, "nodePort", 0) == n)
			return true;
	}
	return false;
}

static int pick_port(struct admission *a, yyjson_mut_val *port)
{
	uint32_t room = PORT_LAST - PORT_FIRST + 1, at = random_below(room);

	for (uint32_t i = 0; i < room; i++, at = (at + 1) % room) {
		if (!take_port(a, PORT_FIRST + at))
			continue;
		mut_set_int(a->doc, port, "nodePort", PORT_FIRST + at);
		return 0;
	}
	return admission_refuse(a, 500, "InternalError",
				"Internal error occurred: failed to allocate "
				"a nodePort: range is full");
}

static int give_ports(struct admission *a)
{
	yyjson_mut_val *p;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(a->obj, "spec.ports"), i, max, p)
	{
		int64_t n = mut_int(p, "nodePort", 0);
		int r = 0;

		if (!n)
			n = port_before(a, p);
		if (!n) {
			r = pick_port(a, p);
		} else if (n < PORT_FIRST || n > PORT_LAST) {
			r = invalid(a,
				    "spec.ports[%zu].nodePort: Invalid value: "
				    "%lld: provided port is not in the valid "
				    "range. The range of valid ports is "
				    "%d-%d",
				    i, (long long)n, PORT_FIRST, PORT_LAST);
		} else if (!had_port(a, n) && !take_port(a, (int)n)) {
			r = invalid(a,
				    "spec.ports[%zu].nodePort: Invalid value: "
				    "%lld: provided port is already allocated",
				    i, (long long)n);
		} else {
			mut_set_int(a->doc, p, "nodePort", n);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void drop(struct admission *a, const char *const *fields, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		mut_remove(a->obj, fields[i]);
}

static int service_mutate(struct admission *a)
{
	static const char *const addresses[] = { "spec.clusterIP",
						 "spec.clusterIPs",
						 "spec.ipFamilies",
						 "spec.ipFamilyPolicy" };
	const char *type = mut_str(a->obj, "spec.type");
	yyjson_mut_val *p;
	size_t i, max;
	int r;

	if (a->op == ADMIT_DELETE || !admission_is(a, "", "services") ||
	    *a->subresource || !yyjson_mut_is_obj(mut_get(a->obj, "spec")))
		return 0;
	if (str_eq(type, "ExternalName")) {
		if (a->old && !str_eq(mut_str(a->old, "spec.type"), type))
			drop(a, addresses, ARRAY_LEN(addresses));
		return 0;
	}
	r = give_ip(a);
	if (r < 0)
		return r;
	if (str_eq(type, "NodePort") ||
	    (str_eq(type, "LoadBalancer") &&
	     !yyjson_mut_is_false(
		     mut_get(a->obj, "spec.allocateLoadBalancerNodePorts"))))
		return give_ports(a);
	/* No longer exposed: ports that were kept by the client go. */
	yyjson_mut_arr_foreach(mut_get(a->obj, "spec.ports"), i, max, p)
	{
		if (a->old && !str_eq(mut_str(a->old, "spec.type"), type) &&
		    had_port(a, mut_int(p, "nodePort", 0)))
			mut_remove(p, "nodePort");
	}
	return 0;
}

/* What is deleted can be given out again at once. */
static int service_deleted(struct admission *a)
{
	auto_free char *what = NULL;
	const char *ip;

	if (a->op != ADMIT_DELETE || !admission_is(a, "", "services"))
		return 0;
	ip = mut_str(a->old, "spec.clusterIP");
	what = ip ? str_printf("%s/%s", a->tenant, ip) : NULL;
	if (what && !a->dry_run)
		release(a->api, what);
	return 0;
}

const struct admission_plugin admission_service = {
	.name = "ServiceAddresses",
	.ops = ADMIT_CREATE | ADMIT_UPDATE | ADMIT_DELETE,
	.mutate = service_mutate,
	.validate = service_deleted,
};
