// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "controlplane/apiserver/authn/csr.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/subresource/connect.h"
#include "controlplane/apiserver/subresource/node.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "lib/http/tls.h"
#include "lib/json.h"
#include "lib/str.h"

#define CLIENT_NAME "arktos-apiserver"
#define CLIENT_DAYS 30
#define RENEW_S     (CLIENT_DAYS * 86400 / 2)

/* --- our side of the TLS -------------------------------------------------- */

static int make_tls(struct api *api, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT;
	struct cert_request req = { .common_name = CLIENT_NAME,
				    .organization = API_SERVERS,
				    .days = CLIENT_DAYS };
	struct tls_client_opts opts = { .server_ca_pem = ca_cert_pem(api->ca) };
	SSL_CTX *ctx = NULL;
	int r = ca_issue(api->ca, &req, &cert, &key, e);

	if (r < 0)
		return r;
	opts.cert_pem = buf_str(&cert);
	opts.key_pem = buf_str(&key);
	r = tls_client_new(&opts, &ctx, e);
	if (r < 0)
		return r;
	SSL_CTX_free(api->node_tls);
	api->node_tls = ctx;
	api->node_tls_s = time(NULL);
	return 0;
}

/* Made on first use, and anew long before it expires. */
SSL_CTX *node_tls(struct api *api, struct err *e)
{
	SSL_CTX *ctx = NULL;

	pthread_mutex_lock(&api->doc_lock);
	if ((api->node_tls && time(NULL) - api->node_tls_s < RENEW_S) ||
	    make_tls(api, e) == 0) {
		ctx = api->node_tls;
		SSL_CTX_up_ref(ctx);
	}
	pthread_mutex_unlock(&api->doc_lock);
	return ctx;
}

void node_tls_free(struct api *api)
{
	SSL_CTX_free(api->node_tls);
	api->node_tls = NULL;
}

/* --- where a node is ------------------------------------------------------ */

static yyjson_doc *read_object(struct req *r, const char *plural,
			       const char *tenant, const char *ns,
			       const char *name)
{
	const struct type *t = type_find(r->api->types, "", "v1", plural);
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	if (!t)
		return NULL;
	key_of(&key, t, tenant, ns, name);
	o = store_get(r->api->store, buf_str(&key));
	return object_doc(o);
}

static const char *text_at(yyjson_val *obj, const char *pointer)
{
	return yyjson_get_str(yyjson_ptr_get(obj, pointer));
}

static bool set_address(struct relay_to *to, const char *ip, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&to->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to->addr;

	memset(&to->addr, 0, sizeof(to->addr));
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		to->addr_len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		to->addr_len = sizeof(*in6);
		return true;
	}
	return false;
}

/* The node's address of @type that is a number. */
static const char *address_of(yyjson_val *node, const char *type,
			      struct relay_to *to, uint16_t port)
{
	yyjson_val *list = yyjson_ptr_get(node, "/status/addresses"), *a;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, a)
	{
		const char *text = text_at(a, "/address");

		if (str_eq(text_at(a, "/type"), type) && text &&
		    set_address(to, text, port))
			return text;
	}
	return NULL;
}

bool node_locate(yyjson_val *node, const char *name, struct node_at *ret)
{
	struct relay_to to = { .target = NULL };
	uint64_t port = yyjson_get_uint(
		yyjson_ptr_get(node,
			       "/status/daemonEndpoints/kubeletEndpoint/Port"));

	if (!port || port > UINT16_MAX)
		return false;
	to.name = address_of(node, "InternalIP", &to, (uint16_t)port);
	if (!to.name)
		to.name = address_of(node, "ExternalIP", &to, (uint16_t)port);
	if (!to.name)
		return false;
	ret->addr = to.addr;
	ret->addr_len = to.addr_len;
	snprintf(ret->host, sizeof(ret->host), "%s", to.name);
	/* An address anybody of our CA answers at is not yet this node. */
	snprintf(ret->subject, sizeof(ret->subject), "system:node:%s", name);
	return true;
}

/* Pass the request on to @target of node @name, or of a pod there, to which
 * @dial leads. Always replies. */
static void go(struct req *r, const char *name, const char *target,
	       const char *dial)
{
	yyjson_doc *doc = read_object(r, "nodes", "", "", name);
	const char *sub = r->route.subresource;
	struct relay_to to = { .target = target,
			       .dial = dial,
			       .text_is_status = !str_eq(sub, "proxy") };
	struct err e = { 0 };
	struct node_at at;

	if (!doc) {
		reply_error(r, 404, "NotFound", "nodes \"%s\" not found", name);
	} else if (!node_locate(yyjson_doc_get_root(doc), name, &at)) {
		reply_error(r, 503, "ServiceUnavailable",
			    "node \"%s\" has not told the address and port of "
			    "its server",
			    name);
	} else if (!(to.tls = node_tls(r->api, &e))) {
		reply_error(r, 500, "InternalError", "%s", e.msg);
	} else {
		to.addr = at.addr;
		to.addr_len = at.addr_len;
		to.name = at.host;
		to.subject = at.subject;
		relay_start(r, &to);
		SSL_CTX_free(to.tls);
	}
	yyjson_doc_free(doc);
}

/* --- pods ----------------------------------------------------------------- */

static void put_segment(struct buf *b, const char *s)
{
	buf_putc(b, '/');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		    (c >= '0' && c <= '9') || strchr("-._~", c))
			buf_putc(b, *s);
		else
			buf_printf(b, "%%%02X", c);
	}
}

/* As Kubernetes reads a flag: nothing else is false, "True" is not. */
static bool is_false(const char *value, size_t len)
{
	return (len == 5 && strncasecmp(value, "false", 5) == 0) ||
	       (len == 1 && *value == '0');
}

/* The query, with kubelet's names for what is asked for. */
static void put_query(struct req *r, bool rename, struct buf *b)
{
	static const char *const names[][2] = { { "stdin=", "input=" },
						{ "stdout=", "output=" },
						{ "stderr=", "error=" },
						{ "tty=", "tty=" } };
	char mark = '?';

	for (const char *p = r->query; p && *p;) {
		size_t n = strcspn(p, "&");
		bool done = str_starts(p, "container=") || !n;

		if (!done)
			buf_putc(b, mark);
		for (size_t i = 0; rename && !done && i < ARRAY_LEN(names);
		     i++) {
			size_t len = strlen(names[i][0]);

			if (!str_starts(p, names[i][0]))
				continue;
			buf_printf(b, "%s%s", names[i][1],
				   is_false(p + len, n - len) ? "0" : "1");
			done = true;
			mark = '&';
		}
		if (!done) {
			buf_add(b, p, n);
			mark = '&';
		}
		p += n + (p[n] == '&');
	}
}

static bool has_container(yyjson_val *pod, const char *list, const char *name,
			  struct buf *names, size_t *nr)
{
	yyjson_val *v = yyjson_ptr_get(pod, list), *c;
	bool found = false;
	size_t i, max;

	yyjson_arr_foreach(v, i, max, c)
	{
		const char *text = text_at(c, "/name");

		if (!text)
			continue;
		found = found || str_eq(text, name);
		buf_printf(names, "%s%s", names->len ? " " : "", text);
		++*nr;
	}
	return found;
}

/* The container that is meant; false when it has replied. */
static bool find_container(struct req *r, yyjson_val *pod, char *ret,
			   size_t size)
{
	auto_buf struct buf names = BUF_INIT, others = BUF_INIT;
	const char *vm = text_at(pod, "/spec/virtualMachine/name");
	size_t nr = 0, nr_others = 0;
	bool found;

	if (!query_get(r, "container", ret, size))
		*ret = '\0';
	found = has_container(pod, "/spec/containers", ret, &names, &nr);
	if (vm) {
		found = found || str_eq(vm, ret);
		buf_printf(&names, "%s%s", names.len ? " " : "", vm);
		nr++;
	}
	found = found ||
		has_container(pod, "/spec/initContainers", ret, &others,
			      &nr_others) ||
		has_container(pod, "/spec/ephemeralContainers", ret, &others,
			      &nr_others);
	if (*ret && found)
		return true;
	if (*ret) {
		reply_error(r, 400, "BadRequest",
			    "container %s is not valid for pod %s", ret,
			    r->route.name);
		return false;
	}
	if (nr == 1) {
		snprintf(ret, size, "%s", buf_str(&names));
		return true;
	}
	reply_error(r, 400, "BadRequest",
		    "a container name must be specified for pod %s, choose "
		    "one of: [%s]",
		    r->route.name, buf_str(&names));
	return false;
}

static bool has_ended(const char *phase)
{
	return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

/* Its node has not taken it, and said why: there is nothing to ask it for. True
 * when it has replied. */
static bool is_not_taken(struct req *r, yyjson_val *pod, const char *container)
{
	const char *why = text_at(pod, "/status/reason");

	if (!why || !*why ||
	    !str_eq(text_at(pod, "/status/phase"), "Pending") ||
	    yyjson_ptr_get(pod, "/status/containerStatuses/0") ||
	    yyjson_ptr_get(pod, "/status/virtualMachineStatus"))
		return false;
	if (strcmp(r->route.subresource, "log") == 0)
		reply_error(r, 400, "BadRequest",
			    "container \"%s\" in pod \"%s\" is waiting to "
			    "start: %s",
			    container, r->route.name, why);
	else
		reply_error(r, 400, "BadRequest",
			    "unable to upgrade connection: container not found "
			    "(\"%s\"): pod \"%s\" is waiting to start: %s",
			    container, r->route.name, why);
	return true;
}

/* Something of a running pod. @path: kubelet's word for it. */
static void of_pod(struct req *r, yyjson_val *pod, const char *path)
{
	const char *sub = r->route.subresource;
	const char *node = text_at(pod, "/spec/nodeName");
	const char *phase = text_at(pod, "/status/phase");
	bool exec = strcmp(sub, "exec") == 0 || strcmp(sub, "attach") == 0;
	auto_buf struct buf target = BUF_INIT;
	char container[256];

	if (!node || !*node) {
		reply_error(r, 400, "BadRequest",
			    "pod %s does not have a host assigned",
			    r->route.name);
		return;
	}
	if (exec && has_ended(phase)) {
		reply_error(r, 400, "BadRequest",
			    "cannot exec into a container in a completed pod; "
			    "current phase is %s",
			    phase);
		return;
	}
	put_segment(&target, path);
	put_segment(&target, r->tenant);
	put_segment(&target, r->route.namespace);
	put_segment(&target, r->route.name);
	if (strcmp(sub, "portforward") != 0) {
		if (!find_container(r, pod, container, sizeof(container)) ||
		    is_not_taken(r, pod, container))
			return;
		put_segment(&target, container);
	}
	put_query(r, exec, &target);
	go(r, node, buf_str(&target), NULL);
}

/* --- proxies -------------------------------------------------------------- */

/* "[SCHEME:]NAME[:PORT]", cut up in place. */
static void cut_name(char *text, char **scheme, char **name, char **port)
{
	char *first = strchr(text, ':'), *second;

	*scheme = *port = (char *)"";
	*name = text;
	if (!first)
		return;
	second = strchr(first + 1, ':');
	*first = '\0';
	if (second) {
		*second = '\0';
		*scheme = text;
		*name = first + 1;
		*port = second + 1;
	} else {
		*port = first + 1;
	}
}

static uint64_t port_of(yyjson_val *pod, const char *text)
{
	yyjson_val *list = yyjson_ptr_get(pod, "/spec/containers"), *c, *p;
	uint64_t n = 0;
	size_t i, max, k, kmax;

	if (*text && str_to_u64(text, &n) == 0)
		return n <= UINT16_MAX ? n : 0;
	yyjson_arr_foreach(list, i, max, c)
	{
		yyjson_val *ports = yyjson_obj_get(c, "ports");

		yyjson_arr_foreach(ports, k, kmax, p)
		{
			if (!*text || str_eq(text_at(p, "/name"), text))
				return yyjson_get_uint(
					yyjson_obj_get(p, "containerPort"));
		}
	}
	return *text ? 0 : 80;
}

/* A pod's own server, over a connection that its node makes:
 * /dial/TENANT/NAMESPACE/POD/PORT. */
static void to_pod(struct req *r, const char *name, const char *scheme,
		   const char *port_text)
{
	yyjson_doc *doc =
		read_object(r, "pods", r->tenant, r->route.namespace, name);
	yyjson_val *pod = yyjson_doc_get_root(doc);
	const char *node = text_at(pod, "/spec/nodeName");
	auto_buf struct buf target = BUF_INIT, dial = BUF_INIT;
	uint64_t port = doc ? port_of(pod, port_text) : 0;

	if (!doc) {
		reply_error(r, 404, "NotFound", "pods \"%s\" not found", name);
	} else if (str_eq(scheme, "https")) {
		reply_error(r, 501, "NotImplemented",
			    "the proxy speaks plain HTTP to pods: use 'kubectl "
			    "port-forward' for https");
	} else if (!node || !*node) {
		reply_error(r, 503, "ServiceUnavailable",
			    "pod %s does not have a host assigned", name);
	} else if (!port) {
		reply_error(r, 400, "BadRequest", "pod %s has no port \"%s\"",
			    name, port_text);
	} else {
		buf_puts(&dial, "/dial");
		put_segment(&dial, r->tenant);
		put_segment(&dial, r->route.namespace);
		put_segment(&dial, name);
		buf_printf(&dial, "/%llu", (unsigned long long)port);
		buf_puts(&target, *r->route.rest ? r->route.rest : "/");
		if (*r->query)
			buf_printf(&target, "?%s", r->query);
		go(r, node, buf_str(&target), buf_str(&dial));
	}
	yyjson_doc_free(doc);
}

static bool is_wanted_port(yyjson_val *p, const char *text)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu",
		 (unsigned long long)yyjson_get_uint(
			 yyjson_obj_get(p, "port")));
	return !*text || strcmp(number, text) == 0 ||
	       str_eq(text_at(p, "/name"), text);
}

/* A pod behind the service, and its port: one after another, by time. */
static void to_service(struct req *r, const char *name, const char *scheme,
		       const char *port_text)
{
	yyjson_doc *svc =
		read_object(r, "services", r->tenant, r->route.namespace, name);
	yyjson_doc *eps = read_object(r, "endpoints", r->tenant,
				      r->route.namespace, name);
	yyjson_val *sets = yyjson_ptr_get(yyjson_doc_get_root(eps), "/subsets");
	yyjson_val *ports =
		yyjson_ptr_get(yyjson_doc_get_root(svc), "/spec/ports");
	yyjson_val *set, *p, *sp;
	const char *port_name = NULL;
	char number[24] = "";
	size_t i, max, k, kmax;

	yyjson_arr_foreach(ports, k, kmax, sp)
	{
		if (is_wanted_port(sp, port_text)) {
			port_name = text_at(sp, "/name");
			port_name = port_name ? port_name : "";
			break;
		}
	}
	yyjson_arr_foreach(sets, i, max, set)
	{
		yyjson_val *addrs = yyjson_obj_get(set, "addresses"), *a;
		size_t nr = yyjson_arr_size(addrs);
		const char *pod;

		if (!nr || !port_name)
			continue;
		a = yyjson_arr_get(addrs, (size_t)r->begun.tv_nsec / 1000 % nr);
		pod = text_at(a, "/targetRef/name");
		yyjson_arr_foreach(yyjson_obj_get(set, "ports"), k, kmax, p)
		{
			const char *n = text_at(p, "/name");

			if (strcmp(n ? n : "", port_name) != 0)
				continue;
			snprintf(number, sizeof(number), "%llu",
				 (unsigned long long)yyjson_get_uint(
					 yyjson_obj_get(p, "port")));
			break;
		}
		if (!pod || !*number)
			continue;
		to_pod(r, pod, scheme, number);
		yyjson_doc_free(svc);
		yyjson_doc_free(eps);
		return;
	}
	if (!svc)
		reply_error(r, 404, "NotFound", "services \"%s\" not found",
			    name);
	else
		reply_error(r, 503, "ServiceUnavailable",
			    "no endpoints available for service \"%s\"", name);
	yyjson_doc_free(svc);
	yyjson_doc_free(eps);
}

static void proxy(struct req *r)
{
	auto_free char *text = strdup(r->route.name);
	auto_buf struct buf target = BUF_INIT;
	char *scheme, *name, *port;

	if (!text) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	cut_name(text, &scheme, &name, &port);
	if (*scheme && strcmp(scheme, "http") != 0 &&
	    strcmp(scheme, "https") != 0) {
		reply_error(r, 400, "BadRequest", "invalid %s request \"%s\"",
			    r->route.plural, r->route.name);
		return;
	}
	if (strcmp(r->route.plural, "pods") == 0) {
		to_pod(r, name, scheme, port);
		return;
	}
	if (strcmp(r->route.plural, "services") == 0) {
		to_service(r, name, scheme, port);
		return;
	}
	buf_puts(&target, *r->route.rest ? r->route.rest : "/");
	if (*r->query)
		buf_printf(&target, "?%s", r->query);
	go(r, name, buf_str(&target), NULL);
}

/* --- the door ------------------------------------------------------------- */

bool node_is_proxy(const char *plural, const char *sub)
{
	return str_eq(sub, "proxy") &&
	       (str_eq(plural, "pods") || str_eq(plural, "services") ||
		str_eq(plural, "nodes"));
}

static const char *const of_pods[][2] = {
	{ "exec", "exec" },
	{ "attach", "attach" },
	{ "portforward", "portForward" },
	{ "log", "containerLogs" },
};

/* The word of kubelet for what is asked of a pod; NULL: something else is. */
static const char *word_of(const struct route *rt)
{
	for (size_t i = 0; i < ARRAY_LEN(of_pods); i++)
		if (strcmp(rt->plural, "pods") == 0 &&
		    strcmp(rt->subresource, of_pods[i][0]) == 0)
			return of_pods[i][1];
	return NULL;
}

static void serve(struct req *r)
{
	const struct route *rt = &r->route;
	yyjson_doc *doc;

	if (node_is_proxy(rt->plural, rt->subresource)) {
		proxy(r);
		return;
	}
	doc = read_object(r, "pods", r->tenant, rt->namespace, rt->name);
	if (doc)
		of_pod(r, yyjson_doc_get_root(doc), word_of(rt));
	else
		reply_not_found(r);
	yyjson_doc_free(doc);
}

bool node_subresource(struct req *r)
{
	const struct route *rt = &r->route;

	if (*rt->group ||
	    (!node_is_proxy(rt->plural, rt->subresource) && !word_of(rt)))
		return false;
	connect_admit(r, serve);
	return true;
}
