// SPDX-License-Identifier: Apache-2.0
/*
 * Where an extension server is: the addresses behind a service, and which of
 * them we are willing to go to.
 *
 * A tenant must not make the control plane ask what the tenant itself cannot
 * reach. So its servers are pods of its own, at the addresses their nodes have
 * told, within the networks the operator has opened for that (none at first);
 * and never on this host, whatever is opened.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdio.h>

#include "controlplane/apiserver/aggregator/internal.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

#define OWN_MAX 64

/* --- addresses --- */

static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

/* As 16 bytes, IPv4 as it is mapped into IPv6. */
static bool bytes_of(const struct sockaddr *sa, unsigned char ip[16])
{
	if (sa->sa_family == AF_INET) {
		memcpy(ip, mapped, sizeof(mapped));
		memcpy(ip + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(ip, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	return true;
}

static bool text_bytes(const char *text, unsigned char ip[16])
{
	memcpy(ip, mapped, sizeof(mapped));
	return inet_pton(AF_INET, text, ip + 12) == 1 ||
	       inet_pton(AF_INET6, text, ip) == 1;
}

static bool is_within(const unsigned char ip[16], const struct cidr *c)
{
	int whole = c->bits / 8, rest = c->bits % 8;

	return memcmp(ip, c->ip, (size_t)whole) == 0 &&
	       (!rest || (ip[whole] ^ c->ip[whole]) >> (8 - rest) == 0);
}

static int cidr_parse(const char *text, struct cidr *c)
{
	auto_free char *ip = strndup(text, strcspn(text, "/"));
	const char *slash = strchr(text, '/');
	bool v4 = ip && !strchr(ip, ':');
	int bits = 0;

	if (!ip || !slash || !text_bytes(ip, c->ip) ||
	    str_to_int(slash + 1, &bits) < 0 || bits < 0 ||
	    bits > (v4 ? 32 : 128))
		return -EINVAL;
	c->bits = v4 ? 96 + bits : bits;
	return 0;
}

int cidrs_parse(const char *text, struct cidrs *ret, struct err *e)
{
	ret->nr = 0;
	while (text && *text) {
		size_t n = strcspn(text, ",");
		auto_free char *one = strndup(text, n);

		if (ret->nr == CIDRS_MAX || !one ||
		    cidr_parse(one, &ret->v[ret->nr]) < 0)
			return err_set(e, -EINVAL,
				       "networks of extension servers '%s': "
				       "want ADDRESS/BITS,...",
				       text);
		ret->nr++;
		text += n + (text[n] == ',');
	}
	return 0;
}

/* Of no single host, or only on this link: where a cloud tells a host its
 * secrets is there, too. */
static const char *const unusable[] = {
	"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/128",    "fe80::/10",      "ff00::/8",
};

/* This host by other names, forms of IPv6 that carry any IPv4 address, and
 * metadata services at addresses of the common kind. */
static const char *const unsafe[] = {
	"127.0.0.0/8",
	"::1/128",
	"64:ff9b::/96",
	"64:ff9b:1::/48",
	"2002::/16",
	"2001::/32",
	"::/96",
	"fd00:ec2::254/128",
	"100.100.100.200/32",
	"168.63.129.16/32",
};

static bool is_listed(const unsigned char ip[16], const char *const *list,
		      size_t nr)
{
	struct cidr c;

	for (size_t i = 0; i < nr; i++)
		if (cidr_parse(list[i], &c) < 0 || is_within(ip, &c))
			return true;
	return false;
}

bool address_is_usable(const struct sockaddr *sa)
{
	unsigned char ip[16];

	return bytes_of(sa, ip) &&
	       !is_listed(ip, unusable, ARRAY_LEN(unusable));
}

bool address_is_safe(const struct sockaddr *sa, const struct cidrs *allowed,
		     const struct address *own, size_t nr_own)
{
	unsigned char ip[16], mine[16];
	bool open = false;

	if (!address_is_usable(sa) || !bytes_of(sa, ip) ||
	    is_listed(ip, unsafe, ARRAY_LEN(unsafe)))
		return false;
	for (size_t i = 0; i < nr_own; i++)
		if (bytes_of((const void *)&own[i].sa, mine) &&
		    memcmp(ip, mine, sizeof(ip)) == 0)
			return false;
	for (size_t i = 0; i < allowed->nr && !open; i++)
		open = is_within(ip, &allowed->v[i]);
	return open;
}

/* This host's addresses. A host with more of them than we look at gets none
 * accepted: -E2BIG. */
static int own_addresses(struct address *own, size_t *ret_nr)
{
	struct ifaddrs *list = NULL;
	size_t nr = 0;
	int r = 0;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (struct ifaddrs *i = list; i && r == 0; i = i->ifa_next) {
		int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;

		if (family != AF_INET && family != AF_INET6)
			continue;
		if (nr == OWN_MAX) {
			r = -E2BIG;
			break;
		}
		own[nr].len = family == AF_INET ? sizeof(struct sockaddr_in)
						: sizeof(struct sockaddr_in6);
		memcpy(&own[nr].sa, i->ifa_addr, own[nr].len);
		nr++;
	}
	freeifaddrs(list);
	*ret_nr = nr;
	return r;
}

static bool set_address(struct address *a, const char *ip, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->sa;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		a->len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		a->len = sizeof(*in6);
		return true;
	}
	return false;
}

/* --- objects --- */

static yyjson_doc *read_object(struct api *api, const char *plural,
			       const char *tenant, const char *ns,
			       const char *name)
{
	auto_free char *key =
		str_printf("core/%s/%s/%s/%s", plural, tenant, ns, name);
	auto_ptr(object_bytes) o = key ? store_get(api->store, key) : NULL;

	return object_doc(o);
}

static const char *text_at(yyjson_val *v, const char *pointer)
{
	const char *s = yyjson_get_str(yyjson_ptr_get(v, pointer));

	return s ? s : "";
}

/* No addresses, because of that. */
static void refuse(struct place *p, const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void refuse(struct place *p, const char *reason, const char *fmt, ...)
{
	va_list ap;

	p->nr = 0;
	snprintf(p->reason, sizeof(p->reason), "%s", reason);
	va_start(ap, fmt);
	vsnprintf(p->message, sizeof(p->message), fmt, ap);
	va_end(ap);
}

/* --- finding --- */

struct finder {
	struct api *api;
	const struct cidrs *allowed;
	const char *tenant, *namespace, *name;
	bool system;
	int64_t port;
	const char *port_name; /* of the service's port */
	struct address own[OWN_MAX];
	size_t nr_own, unsafe;
	struct place *p;
};

/* A pod of the tenant's, at the address its node has told. */
static bool is_own_pod(struct finder *f, yyjson_val *address)
{
	const char *pod = text_at(address, "/targetRef/name");
	const char *ip = text_at(address, "/ip");
	yyjson_doc *doc;
	yyjson_val *root;
	bool ok;

	if (!*pod || strcmp(text_at(address, "/targetRef/kind"), "Pod") != 0)
		return false;
	doc = read_object(f->api, "pods", f->tenant, f->namespace, pod);
	root = yyjson_doc_get_root(doc);
	ok = root && *text_at(root, "/spec/nodeName") &&
	     strcmp(text_at(root, "/status/podIP"), ip) == 0;
	yyjson_doc_free(doc);
	return ok;
}

static void add(struct finder *f, yyjson_val *address, uint16_t port)
{
	struct place *p = f->p;
	struct address a;

	if (p->nr == ADDRS_MAX ||
	    !set_address(&a, text_at(address, "/ip"), port))
		return;
	if (f->system ? address_is_usable((void *)&a.sa)
		      : address_is_safe((void *)&a.sa, f->allowed, f->own,
					f->nr_own) &&
				is_own_pod(f, address))
		p->addrs[p->nr++] = a;
	else
		f->unsafe++;
}

/* The port of a set of endpoints that is the service's; 0: it has none. */
static uint16_t port_of(struct finder *f, yyjson_val *set)
{
	yyjson_val *p;
	size_t i, max;

	yyjson_arr_foreach(yyjson_obj_get(set, "ports"), i, max, p)
	{
		uint64_t port = yyjson_get_uint(yyjson_obj_get(p, "port"));

		if (strcmp(text_at(p, "/name"), f->port_name) == 0 && port &&
		    port <= UINT16_MAX)
			return (uint16_t)port;
	}
	return 0;
}

static void from_endpoints(struct finder *f)
{
	yyjson_doc *doc = read_object(f->api, "endpoints", f->tenant,
				      f->namespace, f->name);
	yyjson_val *sets = yyjson_ptr_get(yyjson_doc_get_root(doc), "/subsets");
	yyjson_val *set, *a;
	size_t i, max, k, kmax;

	if (!doc) {
		refuse(f->p, "EndpointsNotFound",
		       "cannot find endpoints for service/%s in \"%s\"",
		       f->name, f->namespace);
		return;
	}
	yyjson_arr_foreach(sets, i, max, set)
	{
		uint16_t port = port_of(f, set);

		yyjson_arr_foreach(yyjson_obj_get(set, "addresses"), k, kmax, a)
		{
			if (port)
				add(f, a, port);
		}
	}
	yyjson_doc_free(doc);
	if (f->p->nr)
		return;
	if (f->unsafe)
		refuse(f->p, "AddressNotAllowed",
		       "endpoints for service/%s in \"%s\" are not at "
		       "addresses where extension servers may be",
		       f->name, f->namespace);
	else
		refuse(f->p, "MissingEndpoints",
		       "endpoints for service/%s in \"%s\" have no addresses "
		       "with port name \"%s\"",
		       f->name, f->namespace, f->port_name);
}

/* A name somebody else resolves: only the system may have us ask for it. */
static void from_name(struct finder *f, const char *name)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	struct place *p = f->p;
	char port[24];
	int rc;

	if (!f->system) {
		refuse(p, "ExternalNameNotAllowed",
		       "service/%s in \"%s\" has an external name: extension "
		       "servers of tenants are pods of theirs",
		       f->name, f->namespace);
		return;
	}
	snprintf(port, sizeof(port), "%lld", (long long)f->port);
	rc = getaddrinfo(name, port, &hints, &list);
	for (struct addrinfo *i = list; rc == 0 && i && p->nr < ADDRS_MAX;
	     i = i->ai_next) {
		if (!address_is_usable(i->ai_addr))
			continue;
		memcpy(&p->addrs[p->nr].sa, i->ai_addr, i->ai_addrlen);
		p->addrs[p->nr++].len = i->ai_addrlen;
	}
	if (list)
		freeaddrinfo(list);
	if (!p->nr)
		refuse(p, "ServiceNotFound",
		       "external name \"%s\" of service/%s in \"%s\" has no "
		       "address%s%s",
		       name, f->name, f->namespace, rc ? ": " : "",
		       rc ? gai_strerror(rc) : "");
}

/* The service's port by its number; NULL: it has no such port. */
static const char *service_port(yyjson_val *service, int64_t port)
{
	yyjson_val *p;
	size_t i, max;

	yyjson_arr_foreach(yyjson_ptr_get(service, "/spec/ports"), i, max, p)
	{
		if (yyjson_get_sint(yyjson_obj_get(p, "port")) == port)
			return text_at(p, "/name");
	}
	return NULL;
}

static void from_service(struct finder *f, yyjson_val *service)
{
	if (strcmp(text_at(service, "/spec/type"), "ExternalName") == 0) {
		from_name(f, text_at(service, "/spec/externalName"));
		return;
	}
	f->port_name = service_port(service, f->port);
	if (f->port_name)
		from_endpoints(f);
	else
		refuse(f->p, "ServicePortError",
		       "service/%s in \"%s\" is not listening on port %lld",
		       f->name, f->namespace, (long long)f->port);
}

void place_find(struct api *api, const struct cidrs *allowed,
		const char *tenant, yyjson_val *spec, struct place *ret)
{
	yyjson_val *port = yyjson_ptr_get(spec, "/service/port");
	struct finder f = {
		.api = api,
		.allowed = allowed,
		.tenant = tenant,
		.namespace = text_at(spec, "/service/namespace"),
		.name = text_at(spec, "/service/name"),
		.system = strcmp(tenant, SYSTEM) == 0,
		.port = port ? yyjson_get_sint(port) : 443,
		.p = ret,
	};
	yyjson_doc *doc;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->host, sizeof(ret->host), "%s.%s.svc", f.name,
		 f.namespace);
	if (!f.system && own_addresses(f.own, &f.nr_own) < 0) {
		refuse(ret, "AddressNotAllowed",
		       "which addresses are this host's cannot be told");
		return;
	}
	doc = read_object(api, "services", tenant, f.namespace, f.name);
	if (doc)
		from_service(&f, yyjson_doc_get_root(doc));
	else
		refuse(ret, "ServiceNotFound",
		       "service/%s in \"%s\" is not present", f.name,
		       f.namespace);
	yyjson_doc_free(doc);
}
