// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/hook.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/aggregator/place.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/client/rest.h"
#include "lib/str.h"

struct hook_caller {
	struct api *api;
	struct hook_caller *next; /* of all */
	pthread_mutex_t lock;
	struct rest *rest; /* in use now */
	bool cancelled;
};

struct hook_callers {
	pthread_mutex_t lock;
	struct hook_caller *all;
	bool stopped;
};

int hook_callers_start(struct api *api, struct err *e)
{
	struct hook_callers *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&h->lock, NULL);
	api->hook_callers = h;
	return 0;
}

void hook_callers_stop(struct api *api)
{
	struct hook_callers *h = api->hook_callers;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopped = true;
	for (struct hook_caller *c = h->all; c; c = c->next)
		hook_caller_cancel(c);
	pthread_mutex_unlock(&h->lock);
}

void hook_callers_free(struct api *api)
{
	if (!api->hook_callers)
		return;
	pthread_mutex_destroy(&api->hook_callers->lock);
	free(api->hook_callers);
	api->hook_callers = NULL;
}

struct hook_caller *hook_caller_new(struct api *api)
{
	struct hook_caller *c = calloc(1, sizeof(*c));
	struct hook_callers *h = api->hook_callers;

	if (!c)
		return NULL;
	c->api = api;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_lock(&h->lock);
	c->cancelled = h->stopped;
	c->next = h->all;
	h->all = c;
	pthread_mutex_unlock(&h->lock);
	return c;
}

void hook_caller_cancel(struct hook_caller *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->cancelled = true;
	if (c->rest)
		rest_cancel(c->rest);
	pthread_mutex_unlock(&c->lock);
}

void hook_caller_free(struct hook_caller *c)
{
	struct hook_callers *h;
	struct hook_caller **at;

	if (!c)
		return;
	h = c->api->hook_callers;
	pthread_mutex_lock(&h->lock);
	for (at = &h->all; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* --- where it is --- */

/* https://HOST[:PORT], the path, and where to connect to when the name does
 * not say: a service has no name here. */
struct spot {
	char *server, *path, *address;
};

static void spot_clear(struct spot *s)
{
	free(s->server);
	free(s->path);
	free(s->address);
	memset(s, 0, sizeof(*s));
}

static const char *service_text(yyjson_val *config, const char *key)
{
	yyjson_val *service = yyjson_obj_get(config, "service");
	const char *s = yyjson_get_str(yyjson_obj_get(service, key));

	return s ? s : "";
}

static int64_t service_port(yyjson_val *config)
{
	yyjson_val *port =
		yyjson_obj_get(yyjson_obj_get(config, "service"), "port");

	return port ? yyjson_get_sint(port) : 443;
}

static const char *service_path(yyjson_val *config)
{
	const char *path = service_text(config, "path");

	return *path ? path : "/";
}

void hook_url(yyjson_val *config, int seconds, struct buf *b)
{
	const char *url = yyjson_get_str(yyjson_obj_get(config, "url"));

	if (url)
		buf_printf(b, "%s", url);
	else
		buf_printf(b, "https://%s.%s.svc:%lld%s",
			   service_text(config, "name"),
			   service_text(config, "namespace"),
			   (long long)service_port(config),
			   service_path(config));
	buf_printf(b, "?timeout=%ds", seconds);
}

/* Behind its endpoints; a service without any may have an address that the
 * host knows a way to. */
static int by_cluster_ip(struct api *api, yyjson_val *config,
			 const struct place *place, struct spot *s,
			 struct err *e)
{
	auto_free char *key = str_printf("core/services/%s/%s/%s", SYSTEM,
					 service_text(config, "namespace"),
					 service_text(config, "name"));
	auto_ptr(object_bytes) o = key ? store_get(api->store, key) : NULL;
	yyjson_doc *doc = object_doc(o);
	const char *ip = yyjson_get_str(
		yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
			       "/spec/clusterIP"));

	if (ip && *ip && strcmp(ip, "None") != 0) {
		s->address = strdup(ip);
		s->server = str_printf("https://%s:%lld", place->host,
				       (long long)service_port(config));
	}
	yyjson_doc_free(doc);
	return s->address && s->server
		       ? 0
		       : err_set(e, -ENOENT, "%s", place->message);
}

static int spot_of(const struct place *place, size_t i, struct spot *s,
		   struct err *e)
{
	const struct sockaddr *sa = (const void *)&place->addrs[i].sa;
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	char ip[INET6_ADDRSTRLEN] = "";
	bool v4 = sa->sa_family == AF_INET;

	inet_ntop(sa->sa_family,
		  v4 ? (const void *)&in->sin_addr : &in6->sin6_addr, ip,
		  sizeof(ip));
	s->address = strdup(ip);
	s->server = str_printf("https://%s:%u", place->host,
			       ntohs(v4 ? in->sin_port : in6->sin6_port));
	return s->address && s->server ? 0
				       : err_set(e, -ENOMEM, "out of memory");
}

static int by_url(const char *tenant, const char *url, struct spot *s,
		  struct err *e)
{
	size_t host;

	if (strcmp(tenant, SYSTEM) != 0)
		return err_set(e, -EACCES,
			       "webhooks of tenants are services of theirs: a "
			       "URL is for the system only");
	if (!str_starts(url, "https://"))
		return err_set(e, -EINVAL, "the URL must begin with https://");
	host = 8 + strcspn(url + 8, "/");
	s->server = str_printf("%.*s%s", (int)host, url,
			       memchr(url + 8, ':', host - 8) ? "" : ":443");
	s->path = strdup(url[host] ? url + host : "/");
	return s->server && s->path ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* --- asking --- */

static int connect_to(struct hook_caller *c, yyjson_val *config, int seconds,
		      struct spot *s, struct err *e)
{
	const char *ca = yyjson_get_str(yyjson_obj_get(config, "caBundle"));
	auto_free char *text = NULL;
	struct rest *rest = NULL;
	int r;

	if (!ca || !*ca)
		return err_set(e, -EINVAL, "clientConfig has no caBundle");
	text = str_printf("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
			  "clusters:\n- name: c\n  cluster: {server: \"%s\", "
			  "certificate-authority-data: \"%s\"}\n"
			  "users:\n- name: u\n  user: {token: \"\"}\n"
			  "contexts:\n- name: c\n  context: {cluster: c, "
			  "user: u}\n",
			  s->server, ca);
	if (!text || strpbrk(s->server, "\"\\\n") || strpbrk(ca, "\"\\\n"))
		return err_set(e, -EINVAL, "bad clientConfig");
	r = rest_open_text(text, s->address, seconds, &rest, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	c->rest = rest;
	if (c->cancelled)
		rest_cancel(rest);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void disconnect(struct hook_caller *c)
{
	struct rest *rest;

	pthread_mutex_lock(&c->lock);
	rest = c->rest;
	c->rest = NULL;
	pthread_mutex_unlock(&c->lock);
	if (rest)
		rest_close(rest);
}

/* The status, or a negative errno. */
static int ask(struct hook_caller *c, yyjson_val *config, int seconds,
	       struct spot *s, const char *body, struct buf *answer,
	       struct err *e)
{
	int r = connect_to(c, config, seconds, s, e);

	if (r == 0)
		r = rest_call(c->rest, "POST", s->path, body, NULL, answer, e);
	disconnect(c);
	return r;
}

static int ask_service(struct hook_caller *c, const char *tenant,
		       yyjson_val *config, int seconds, const char *body,
		       struct buf *answer, struct err *e)
{
	struct place place;
	int r = -ENOENT;

	place_find(c->api, aggregator_cidrs(c->api), tenant, config, &place);
	if (!place.nr && strcmp(tenant, SYSTEM) != 0)
		return err_set(e, r, "%s", place.message);
	for (size_t i = 0; i < (place.nr ? place.nr : 1) && r < 0; i++) {
		struct spot s = { .path = strdup(service_path(config)) };

		if (!s.path)
			r = err_set(e, -ENOMEM, "out of memory");
		else if (place.nr)
			r = spot_of(&place, i, &s, e);
		else
			r = by_cluster_ip(c->api, config, &place, &s, e);
		if (r == 0)
			r = ask(c, config, seconds, &s, body, answer, e);
		spot_clear(&s);
	}
	return r;
}

int hook_post(struct hook_caller *c, const char *tenant, yyjson_val *config,
	      int seconds, const char *body, struct buf *answer, struct err *e)
{
	const char *url = yyjson_get_str(yyjson_obj_get(config, "url"));
	struct spot s = { .server = NULL };
	int r;

	if (url) {
		r = by_url(tenant, url, &s, e);
		if (r == 0)
			r = ask(c, config, seconds, &s, body, answer, e);
		spot_clear(&s);
	} else {
		r = ask_service(c, tenant, config, seconds, body, answer, e);
	}
	if (r >= 0 && r != 200)
		return err_set(e, -EREMOTEIO, "it answered with status %d", r);
	return r < 0 ? r : 0;
}
