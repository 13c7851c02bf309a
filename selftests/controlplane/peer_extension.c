// SPDX-License-Identifier: Apache-2.0
/*
 * An extension API server for tests: group fruit.arktos.test/v1 with flavors,
 * kept in memory. It believes what X-Remote-* say only from who shows the
 * front-proxy's certificate, as Kubernetes' generic API server does.
 *
 *	peer_extension DIR CERT-NAME FRONT-PROXY-CA ADDRESS PORT
 *
 * DIR gets its CA (ca.crt), kept for the next start. Prints "ready PORT".
 * Flavors by name: "elsewhere" redirects, "broken" lies about its length,
 * PUT of "echo" with an upgrade echoes.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/apiserver/authn/pki.h"
#include "lib/err.h"
#include "lib/ev.h"
#include "lib/fs.h"
#include "lib/http/server.h"
#include "lib/http/tls.h"
#include "lib/http/wire.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/str.h"

#define GROUP "fruit.arktos.test"
#define ROOT  "/apis/" GROUP "/v1"
#define MAX   16

static struct map objects; /* "NAMESPACE/NAME" -> JSON */
static int revision;
static struct http_req *watchers[MAX];

static void text(struct http_req *q, int status, const char *json)
{
	http_reply(q, status, "application/json", json, strlen(json));
}

static void fail(struct http_req *q, int code, const char *reason)
{
	auto_free char *s = str_printf(
		"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":"
		"\"Failure\",\"message\":\"extension: %s\",\"reason\":\"%s\","
		"\"code\":%d}",
		reason, reason, code);

	text(q, code, s);
}

static bool is_front_proxy(struct http_req *q)
{
	X509 *cert = http_req_cert(q);
	char cn[64] = "";

	if (cert)
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
					  NID_commonName, cn, sizeof(cn));
	X509_free(cert);
	return strcmp(cn, "front-proxy-client") == 0;
}

/* What we are told of who asks, and of what must not arrive here. */
static void whoami(struct http_req *q)
{
	struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	json_put_object(&o, NULL);
	for (size_t i = 0; i < q->head->nr_fields; i++)
		if (!strncasecmp(q->head->fields[i].name, "x-remote-", 9) ||
		    !strcasecmp(q->head->fields[i].name, "authorization"))
			json_put_fmt(&o, q->head->fields[i].name, "%s",
				     q->head->fields[i].value);
	json_put_end(&o);
	text(q, 200, buf_str(&b));
	buf_clear(&b);
}

static void tell(const char *type, const char *object)
{
	auto_free char *line =
		str_printf("{\"type\":\"%s\",\"object\":%s}\n", type, object);

	for (size_t i = 0; i < MAX; i++)
		if (watchers[i])
			http_stream_write(watchers[i], line, strlen(line));
}

static void watch_over(void *arg)
{
	struct http_req **slot = arg;

	http_req_unref(*slot);
	*slot = NULL;
}

static void watch(struct http_req *q)
{
	for (size_t i = 0; i < MAX; i++)
		if (!watchers[i]) {
			watchers[i] = http_req_ref(q);
			http_on_end(q, watch_over, &watchers[i]);
			http_stream(q, 200, "application/json");
			return;
		}
	fail(q, 429, "TooManyRequests");
}

static void list(struct http_req *q, const char *ns)
{
	struct map_iter it = MAP_ITER_INIT;
	struct buf b = BUF_INIT;
	int nr = 0;

	buf_printf(&b,
		   "{\"kind\":\"FlavorList\",\"apiVersion\":\"" GROUP
		   "/v1\",\"metadata\":{\"resourceVersion\":\"%d\"},"
		   "\"items\":[",
		   revision);
	while (map_next(&objects, &it))
		if (!*ns ||
		    (str_starts(it.key, ns) && it.key[strlen(ns)] == '/'))
			buf_printf(&b, "%s%s", nr++ ? "," : "",
				   (char *)it.value);
	buf_puts(&b, "]}");
	text(q, 200, buf_str(&b));
	buf_clear(&b);
}

static void create(struct http_req *q, const char *ns)
{
	yyjson_doc *in = yyjson_read(q->body, q->body_len, 0);
	yyjson_val *root = yyjson_doc_get_root(in);
	const char *name =
		yyjson_get_str(yyjson_ptr_get(root, "/metadata/name"));
	const char *taste = yyjson_get_str(yyjson_ptr_get(root, "/spec/taste"));
	const char *by = h1_field(q->head, "X-Remote-User");
	auto_free char *key = str_printf("%s/%s", ns, name ? name : "");
	void *old = NULL;
	char *json;

	if (!name || map_get(&objects, key)) {
		fail(q, name ? 409 : 400, name ? "AlreadyExists" : "Invalid");
	} else {
		json = str_printf(
			"{\"kind\":\"Flavor\",\"apiVersion\":\"" GROUP
			"/v1\",\"metadata\":{\"name\":\"%s\",\"namespace\":"
			"\"%s\",\"resourceVersion\":\"%d\",\"annotations\":{"
			"\"by\":\"%s\"}},\"spec\":{\"taste\":\"%s\"}}",
			name, ns, ++revision, by ? by : "", taste ? taste : "");
		map_set(&objects, key, json, &old);
		tell("ADDED", json);
		text(q, 201, json);
	}
	yyjson_doc_free(in);
}

static void get(struct http_req *q, const char *ns, const char *name)
{
	auto_free char *key = str_printf("%s/%s", ns, name);
	const char *json = map_get(&objects, key);

	if (json)
		text(q, 200, json);
	else
		fail(q, 404, "NotFound");
}

static void delete_one(struct http_req *q, const char *ns, const char *name)
{
	auto_free char *key = str_printf("%s/%s", ns, name);
	char *json = map_del(&objects, key);

	if (!json) {
		fail(q, 404, "NotFound");
		return;
	}
	tell("DELETED", json);
	text(q, 200, json);
	free(json);
}

/* --- an upgrade: all that comes goes back --- */

struct echo {
	struct wire w;
	struct buf out;
};

static void echo_ready(void *arg)
{
	struct echo *c = arg;
	char data[4096];
	ssize_t n;

	while ((n = wire_read(&c->w, data, sizeof(data))) > 0)
		buf_add(&c->out, data, (size_t)n);
	while (c->out.len && n == -EAGAIN) {
		ssize_t m = wire_write(&c->w, c->out.data, c->out.len);

		if (m <= 0)
			break;
		buf_consume(&c->out, (size_t)m);
	}
	if (n != -EAGAIN) {
		wire_close(&c->w);
		buf_clear(&c->out);
		free(c);
		return;
	}
	wire_want(&c->w, true, c->out.len > 0);
}

static void echo(struct http_req *q)
{
	static const struct h1_field fields[] = { { "Upgrade", "echo" } };
	struct echo *c = calloc(1, sizeof(*c));
	struct ev *loop = http_req_loop(q);
	struct buf early = BUF_INIT;
	SSL *ssl = NULL;
	int fd;

	if (http_take_tls(q, fields, 1, &fd, &ssl, &early, NULL) < 0 ||
	    wire_take(&c->w, loop, fd, ssl, &early, NULL) < 0) {
		free(c);
		return;
	}
	c->w.ready = echo_ready;
	c->w.arg = c;
	echo_ready(c);
}

/* --- what we are --- */

static const char resources[] =
	"{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":"
	"\"" GROUP "/v1\",\"resources\":[{\"name\":\"flavors\",\"singularName\""
	":\"flavor\",\"namespaced\":true,\"kind\":\"Flavor\",\"shortNames\":["
	"\"fl\"],\"categories\":[\"all\"],\"verbs\":[\"create\",\"delete\","
	"\"get\",\"list\",\"watch\"]},{\"name\":\"flavors/status\","
	"\"singularName\":\"\",\"namespaced\":true,\"kind\":\"Flavor\","
	"\"verbs\":[\"get\"]}]}";

#define NAME "test.arktos.fruit.v1.Flavor"
#define TYPE                                                                 \
	"{\"type\":\"object\",\"description\":\"What it tastes of.\","       \
	"\"properties\":{\"apiVersion\":{\"type\":\"string\"},\"kind\":{"    \
	"\"type\":\"string\"},\"metadata\":{\"type\":\"object\"},\"spec\":{" \
	"\"type\":\"object\",\"description\":\"How it is.\",\"properties\":" \
	"{\"taste\":{\"type\":\"string\",\"description\":\"Sweet or sour."   \
	"\"}}}},\"x-kubernetes-group-version-kind\":[{\"group\":\"" GROUP    \
	"\",\"kind\":\"Flavor\",\"version\":\"v1\"}]}"
#define PATH(ref)                                                           \
	"\"paths\":{\"" ROOT "/namespaces/{namespace}/flavors\":{\"get\":{" \
	"\"operationId\":\"listFlavor\",\"responses\":{\"200\":{"           \
	"\"description\":\"OK\"}},\"x-kubernetes-action\":\"list\","        \
	"\"x-kubernetes-group-version-kind\":{\"group\":\"" GROUP           \
	"\",\"kind\":\"Flavor\",\"version\":\"v1\"}}}}"

static const char openapi_v2[] =
	"{\"swagger\":\"2.0\",\"info\":{\"title\":\"fruit\",\"version\":"
	"\"1\"}," PATH("#/definitions/") ",\"definitions\":{\"" NAME "\":" TYPE
					 "}}";
static const char openapi_v3[] =
	"{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"fruit\",\"version\":"
	"\"1\"}," PATH("#/components/schemas/") ",\"components\":{\"schemas\":"
						"{\"" NAME "\":" TYPE "}}}";

static bool describe(struct http_req *q, const char *path)
{
	if (strcmp(path, ROOT) == 0)
		text(q, 200, resources);
	else if (strcmp(path, "/openapi/v2") == 0)
		text(q, 200, openapi_v2);
	else if (strcmp(path, "/openapi/v3") == 0)
		text(q, 200,
		     "{\"paths\":{\"apis/" GROUP "/v1\":{\"serverRelativeURL\":"
		     "\"/openapi/v3/apis/" GROUP "/v1?hash=1\"}}}");
	else if (strcmp(path, "/openapi/v3" ROOT) == 0)
		text(q, 200, openapi_v3);
	else if (str_ends(path, "/whoami"))
		whoami(q);
	else
		return false;
	return true;
}

static void odd(struct http_req *q, const char *name)
{
	static const char lie[] = "short";

	if (strcmp(name, "elsewhere") == 0) {
		http_reply(q, 302, "text/plain", "", 0);
		return;
	}
	http_stream(q, 200, "text/plain");
	http_stream_write(q, lie, sizeof(lie) - 1);
	http_stream_abort(q);
}

static void handle(void *arg, struct http_req *q)
{
	char ns[64] = "", name[64] = "", path[512];
	const char *query = strchr(q->head->target, '?');
	const char *method = q->head->method;
	bool space, all;

	(void)arg;
	snprintf(path, sizeof(path), "%.*s", (int)strcspn(q->head->target, "?"),
		 q->head->target);
	if (!is_front_proxy(q)) {
		fail(q, 401, "Unauthorized");
		return;
	}
	if (describe(q, path))
		return;
	all = strcmp(path, ROOT "/flavors") == 0;
	space = sscanf(path, ROOT "/namespaces/%63[^/]/flavors/%63[^/]", ns,
		       name) >= 1 &&
		strstr(path, "/flavors");
	if (!all && !space)
		fail(q, 404, "NotFound");
	else if (strcmp(name, "elsewhere") == 0 || strcmp(name, "broken") == 0)
		odd(q, name);
	else if (strcmp(name, "echo") == 0 && q->head->upgrade)
		echo(q);
	else if (strcmp(method, "POST") == 0)
		create(q, ns);
	else if (strcmp(method, "DELETE") == 0)
		delete_one(q, ns, name);
	else if (*name)
		get(q, ns, name);
	else if (query && strstr(query, "watch=true"))
		watch(q);
	else
		list(q, ns);
}

int main(int argc, char **argv)
{
	struct cert_request req = { .common_name = "extension", .days = 1 };
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT, front = BUF_INIT;
	auto_buf struct buf alt = BUF_INIT;
	struct http_server_opts opts = { .handle = handle };
	struct tls_server_opts tls = { 0 };
	struct http_server *server;
	struct ca *ca = NULL;
	struct err e = { 0 };
	uint16_t port = 0;
	int want, r;

	if (argc != 6 || str_to_int(argv[5], &want) < 0) {
		fprintf(stderr, "usage: peer_extension DIR CERT-NAME "
				"FRONT-PROXY-CA ADDRESS PORT\n");
		return 2;
	}
	buf_printf(&alt, "DNS:%s", argv[2]);
	req.alt_names = buf_str(&alt);
	r = ca_open(argv[1], &ca, &e);
	if (r == 0)
		r = ca_issue(ca, &req, &cert, &key, &e);
	if (r == 0)
		r = fs_read(AT_FDCWD, argv[3], 1 << 20, &front, &e);
	tls.cert_pem = buf_str(&cert);
	tls.key_pem = buf_str(&key);
	tls.client_ca_pem = buf_str(&front);
	if (r == 0)
		r = tls_server_new(&tls, &opts.tls, &e);
	if (r == 0)
		r = ev_new(&opts.loop, &e);
	if (r == 0)
		r = http_server_new(&opts, &server, &e);
	if (r == 0)
		r = http_listen_tcp(server, argv[4], (uint16_t)want, &port, &e);
	if (r < 0) {
		fprintf(stderr, "peer_extension: %s\n", e.msg);
		return 1;
	}
	printf("ready %u\n", port);
	fflush(stdout);
	(void)ev_run(opts.loop);
	return 0;
}
