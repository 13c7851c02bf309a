// SPDX-License-Identifier: Apache-2.0
/*
 * The thread that follows APIServices. Everything is derived anew from what is
 * stored and what the servers answer; events only say when to look.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/aggregator/follow.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define PREFIX APISERVICE_GROUP "/" APISERVICE_PLURAL "/"

static void plan_look(struct followed *w, uint64_t ms);

/* --- verdicts --- */

static bool is_builtin(struct api *api, const char *group)
{
	for (size_t i = 0; i < api->types->nr; i++)
		if (strcmp(api->types->types[i].group, group) == 0)
			return true;
	return false;
}

static int commit(struct api *api, const struct object_bytes *o,
		  yyjson_mut_doc *doc, struct err *e)
{
	const struct type *t = type_find(api->types, APISERVICE_GROUP, "v1",
					 APISERVICE_PLURAL);
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision };

	return object_commit(api, t, &op, doc, yyjson_mut_doc_get_root(doc), e);
}

/* Have the object say what we think. */
static void settle(struct followed *w)
{
	struct api *api = w->follower->a->api;
	auto_ptr(object_bytes) o = store_get(api->store, w->key);
	yyjson_mut_doc *doc = o ? object_tree(o) : NULL;
	struct err e = { 0 };
	int r = 0;

	if (doc && *w->reason &&
	    object_condition(doc, yyjson_mut_doc_get_root(doc), "Available",
			     w->available, w->reason, w->message))
		r = commit(api, o, doc, &e);
	yyjson_mut_doc_free(doc);
	if (r == 0 || r == -ESTALE || r == -ENOENT)
		return; /* changed meanwhile: its event comes */
	log_warn("APIService %s of tenant %s: status: %s, retrying", w->name,
		 w->tenant, e.msg);
	plan_look(w, RETRY_MIN_MS);
}

static void publish(struct followed *w)
{
	struct api *api = w->follower->a->api;
	struct extension *x =
		extension_new(w->tenant, w->name, w->group, w->version);

	if (!x) {
		plan_look(w, RETRY_MIN_MS);
		return;
	}
	x->group_priority = w->group_priority;
	x->version_priority = w->version_priority;
	x->available = w->available;
	snprintf(x->reason, sizeof(x->reason), "%s", w->reason);
	x->place = w->place;
	x->tls = w->tls;
	if (x->tls)
		SSL_CTX_up_ref(x->tls);
	x->docs = ext_docs_ref(w->docs);
	table_set(api, w->tenant, w->name, x);
}

static void verdict(struct followed *w, bool available, const char *reason,
		    const char *message)
{
	bool changed = w->available != available || !*w->reason;

	w->available = available;
	snprintf(w->reason, sizeof(w->reason), "%s", reason);
	snprintf(w->message, sizeof(w->message), "%s", message);
	w->failures = available ? 0 : w->failures + 1;
	if (w->proxied)
		publish(w);
	settle(w);
	if (!w->proxied)
		return;
	if (changed && available)
		log_info("APIService %s of tenant %s is available", w->name,
			 w->tenant);
	else if (changed)
		log_warn("APIService %s of tenant %s is not available: %s, "
			 "retrying",
			 w->name, w->tenant, message);
}

/* --- looking at the server --- */

static uint64_t retry_ms(const struct followed *w)
{
	uint64_t ms = RETRY_MIN_MS;

	for (unsigned int i = 1; i < w->failures && ms < RETRY_MAX_MS; i++)
		ms *= 2;
	return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

void follow_done(struct followed *w, int result)
{
	struct follower *f = w->follower;
	char text[900];

	f->nr_probes--;
	if (result == 0) {
		verdict(w, true, "Passed", "all checks passed");
		plan_look(w, HEALTHY_MS);
	} else if (w->at + 1 < w->place.nr) {
		w->at++;
		w->due = true; /* perhaps the next address answers */
	} else {
		snprintf(text, sizeof(text),
			 "failing or missing response from https://%s/apis/"
			 "%s/%s: %s",
			 w->place.host, w->group, w->version, w->probe_err.msg);
		verdict(w, false, "FailedDiscoveryCheck", text);
		plan_look(w, retry_ms(w));
	}
	if (w->again && !w->due)
		plan_look(w, 0);
	w->again = false;
	follow_start_some(f);
}

static size_t probes_of(struct follower *f, const char *tenant)
{
	struct map_iter it = MAP_ITER_INIT;
	size_t nr = 0;

	while (map_next(&f->all, &it)) {
		struct followed *w = it.value;

		nr += w->fetch.busy && strcmp(w->tenant, tenant) == 0;
	}
	return nr;
}

/* Those that are due, as many as may be asked at once; what is over is called
 * when one is done. */
void follow_start_some(struct follower *f)
{
	struct map_iter it = MAP_ITER_INIT;

	while (f->nr_probes < PROBES_MAX && map_next(&f->all, &it)) {
		struct followed *w = it.value;

		if (!w->due || w->fetch.busy ||
		    probes_of(f, w->tenant) >= PROBES_TENANT)
			continue;
		w->due = false;
		f->nr_probes++;
		probe_start(w);
	}
}

static void stop_probe(struct followed *w)
{
	if (w->fetch.busy)
		w->follower->nr_probes--;
	fetch_cancel(&w->fetch);
	w->due = false;
}

/* --- what it depends on --- */

static int make_tls(struct followed *w, yyjson_val *spec, struct err *e)
{
	const char *b64 = yyjson_get_str(yyjson_obj_get(spec, "caBundle"));
	bool insecure =
		yyjson_get_bool(yyjson_obj_get(spec, "insecureSkipTLSVerify"));
	auto_buf struct buf pem = BUF_INIT;

	if (w->tls && time(NULL) - w->tls_s < KEEP_CLIENT_S)
		return 0;
	SSL_CTX_free(w->tls);
	w->tls = NULL;
	if (b64 && *b64 && base64_get(b64, strlen(b64), &pem) < 0)
		return err_set(e, -EINVAL, "caBundle is not base64");
	w->tls_s = time(NULL);
	return front_proxy_tls(w->follower->a, pem.len ? buf_str(&pem) : NULL,
			       insecure, &w->tls, e);
}

static void look(void *arg)
{
	struct followed *w = arg;
	struct aggregator *a = w->follower->a;
	yyjson_val *spec = yyjson_doc_get_root(w->spec);
	struct err e = { 0 };

	if (!w->proxied) {
		settle(w);
		return;
	}
	if (w->fetch.busy) {
		w->again = true;
		return;
	}
	if (front_proxy_publish(a, w->tenant, &e) < 0)
		log_debug("tenant %s: %s", w->tenant, e.msg);
	place_find(a->api, &a->cidrs, w->tenant, spec, &w->place);
	if (!w->place.nr) {
		verdict(w, false, w->place.reason, w->place.message);
		plan_look(w, HEALTHY_MS);
		return;
	}
	if (make_tls(w, spec, &e) < 0) {
		verdict(w, false, "FailedDiscoveryCheck", e.msg);
		plan_look(w, HEALTHY_MS);
		return;
	}
	w->at = 0;
	w->due = true;
	follow_start_some(w->follower);
}

static void plan_look(struct followed *w, uint64_t ms)
{
	(void)ev_timer_set(w->follower->loop, &w->timer, ms, look, w);
}

static void notify(void *arg);

static void watch_one(struct followed *w, const char *plural,
		      struct store_watch **ret)
{
	yyjson_val *spec = yyjson_doc_get_root(w->spec);
	const char *ns =
		yyjson_get_str(yyjson_ptr_get(spec, "/service/namespace"));
	const char *name =
		yyjson_get_str(yyjson_ptr_get(spec, "/service/name"));
	auto_free char *key = str_printf("core/%s/%s/%s/%s", plural, w->tenant,
					 ns ? ns : "", name ? name : "");
	struct err e = { 0 };

	store_watch_close(*ret);
	*ret = NULL;
	if (key && store_watch_open(w->follower->a->api->store, key, 0, notify,
				    w->follower, ret, &e) < 0)
		log_warn("APIService %s: %s", w->name, e.msg);
}

/* --- what there is --- */

static size_t nr_of(struct follower *f, const char *tenant)
{
	struct map_iter it = MAP_ITER_INIT;
	size_t nr = 0;

	while (map_next(&f->all, &it))
		nr += strcmp(((struct followed *)it.value)->tenant, tenant) ==
		      0;
	return nr;
}

static void followed_free(void *p)
{
	struct followed *w = p;

	if (!w)
		return;
	stop_probe(w);
	ev_timer_del(&w->timer);
	fetch_clear(&w->fetch);
	store_watch_close(w->service);
	store_watch_close(w->endpoints);
	SSL_CTX_free(w->tls);
	ext_docs_unref(w->docs);
	ext_docs_unref(w->fresh);
	yyjson_doc_free(w->spec);
	free(w->tenant);
	free(w->name);
	free(w->key);
	free(w->group);
	free(w->version);
	free(w);
}

static struct followed *followed_new(struct follower *f, const char *key)
{
	const char *rest = key + strlen(PREFIX);
	struct followed *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->follower = f;
	w->fetch.up.fd = -EBADF;
	w->key = strdup(key);
	w->tenant = strndup(rest, strcspn(rest, "/"));
	w->name = strdup(strrchr(key, '/') + 1);
	w->extra = w->tenant && strcmp(w->tenant, SYSTEM) != 0 &&
		   nr_of(f, w->tenant) >= SERVICES_MAX;
	if (w->key && w->tenant && w->name &&
	    map_set(&f->all, key, w, NULL) == 0)
		return w;
	followed_free(w);
	return NULL;
}

/* A new spec: all that was known is of another server. */
static void take_spec(struct followed *w, yyjson_val *spec)
{
	struct api *api = w->follower->a->api;
	const char *group = yyjson_get_str(yyjson_obj_get(spec, "group"));
	bool local = !yyjson_is_obj(yyjson_obj_get(spec, "service"));

	stop_probe(w);
	ext_docs_unref(w->docs);
	ext_docs_unref(w->fresh);
	w->docs = w->fresh = NULL;
	SSL_CTX_free(w->tls);
	w->tls = NULL;
	w->failures = w->looks = 0;
	w->again = w->available = false;
	*w->reason = '\0';
	(void)str_set(&w->group, group ? group : "");
	(void)str_set(&w->version,
		      yyjson_get_str(yyjson_obj_get(spec, "version")));
	w->group_priority =
		yyjson_get_int(yyjson_obj_get(spec, "groupPriorityMinimum"));
	w->version_priority =
		yyjson_get_int(yyjson_obj_get(spec, "versionPriority"));
	w->proxied = !local && !w->extra && w->group && *w->group &&
		     w->version && !is_builtin(api, w->group);
	if (w->proxied) {
		watch_one(w, "services", &w->service);
		watch_one(w, "endpoints", &w->endpoints);
		plan_look(w, 0);
		return;
	}
	table_set(api, w->tenant, w->name, NULL);
	if (local)
		verdict(w, true, "Local",
			"Local APIServices are always available");
	else if (w->extra)
		verdict(w, false, "TooManyAPIServices",
			"this tenant has as many extension servers as it may "
			"have");
	else
		verdict(w, false, "BuiltinGroup",
			"this server serves the group itself");
}

static yyjson_doc *copy_of(yyjson_val *v)
{
	yyjson_mut_doc *doc = v ? yyjson_mut_doc_new(NULL) : NULL;
	yyjson_doc *out;

	if (!doc)
		return NULL;
	yyjson_mut_doc_set_root(doc, yyjson_val_mut_copy(doc, v));
	out = yyjson_mut_doc_imut_copy(doc, NULL);
	yyjson_mut_doc_free(doc);
	return out;
}

/* Bring one forward, to what is stored under @key. */
static void follow(struct follower *f, const char *key)
{
	struct followed *w = map_get(&f->all, key);
	auto_ptr(object_bytes) o = store_get(f->a->api->store, key);
	yyjson_doc *doc = object_doc(o);
	yyjson_val *spec = yyjson_ptr_get(yyjson_doc_get_root(doc), "/spec");

	if (!o) {
		if (w) {
			table_set(f->a->api, w->tenant, w->name, NULL);
			map_del(&f->all, key);
			followed_free(w);
		}
		return;
	}
	if (!w)
		w = followed_new(f, key);
	if (w && spec && w->spec &&
	    yyjson_equals(spec, yyjson_doc_get_root(w->spec))) {
		settle(w); /* somebody may have written its status */
	} else if (w && spec) {
		yyjson_doc_free(w->spec);
		w->spec = copy_of(spec);
		take_spec(w, yyjson_doc_get_root(w->spec));
	}
	yyjson_doc_free(doc);
}

/* Whether there was an event. */
static bool drain(struct store_watch *w)
{
	struct store_event ev[16];
	bool any = false;
	int n = 0;

	while (w && (n = store_watch_read(w, ev, 16)) > 0)
		for (int i = 0; i < n; i++) {
			any = true;
			store_event_clear(&ev[i]);
		}
	return (w && missed_events(w, n)) || any;
}

static void follow_all(struct follower *f)
{
	struct store_range range = { .prefix = PREFIX };
	struct store_list list;

	if (store_list(f->a->api->store, &range, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < list.nr; i++)
		follow(f, list.v[i]->key);
	store_list_clear(&list);
}

struct wish {
	struct wish *next;
	char key[STORE_KEY_MAX];
};

static void take_wishes(struct follower *f)
{
	struct wish *h, *next;

	pthread_mutex_lock(&f->lock);
	h = f->wishes;
	f->wishes = NULL;
	pthread_mutex_unlock(&f->lock);
	for (; h; h = next) {
		struct followed *w = map_get(&f->all, h->key);

		if (w)
			plan_look(w, 0);
		next = h->next;
		free(h);
	}
}

static void on_events(void *arg)
{
	struct follower *f = arg;
	struct map_iter it = MAP_ITER_INIT;
	struct store_event ev[32];
	int n = 0;

	atomic_store(&f->posted, false);
	while (f->watch && (n = store_watch_read(f->watch, ev, 32)) > 0)
		for (int i = 0; i < n; i++) {
			follow(f, ev[i].obj->key);
			store_event_clear(&ev[i]);
		}
	if (f->watch && missed_events(f->watch, n))
		follow_all(f);
	while (map_next(&f->all, &it)) {
		struct followed *w = it.value;
		bool changed = drain(w->service);

		if (drain(w->endpoints) || changed)
			plan_look(w, 0);
	}
	take_wishes(f);
	if (drain(f->config))
		(void)front_proxy_publish(f->a, SYSTEM, NULL);
}

static void notify(void *arg)
{
	struct follower *f = arg;

	if (!atomic_exchange(&f->posted, true) &&
	    ev_post(f->loop, on_events, f) < 0)
		atomic_store(&f->posted, false);
}

/* --- asked for --- */

void follow_look(struct aggregator *a, const struct extension *x)
{
	struct follower *f = a->follower;
	struct wish *h = calloc(1, sizeof(*h));

	if (!h)
		return; /* the next look comes by itself */
	snprintf(h->key, sizeof(h->key), PREFIX "%s//%s", x->tenant, x->name);
	pthread_mutex_lock(&f->lock);
	h->next = f->wishes;
	f->wishes = h;
	pthread_mutex_unlock(&f->lock);
	notify(f);
}

/* --- the thread --- */

static void *run(void *arg)
{
	struct follower *f = arg;
	struct err e = { 0 };

	if (store_watch_open(f->a->api->store, PREFIX, 0, notify, f, &f->watch,
			     &e) < 0)
		log_error("APIServices: %s", e.msg);
	if (store_watch_open(f->a->api->store,
			     "core/configmaps/" SYSTEM "/kube-system/"
			     "extension-apiserver-authentication",
			     0, notify, f, &f->config, &e) < 0)
		log_error("extension servers: %s", e.msg);
	if (front_proxy_publish(f->a, SYSTEM, &e) < 0)
		log_warn("extension servers are not told our CA: %s", e.msg);
	follow_all(f);
	on_events(f);
	(void)ev_run(f->loop); /* ends by ev_stop() only */
	store_watch_close(f->watch);
	store_watch_close(f->config);
	take_wishes(f);
	map_clear(&f->all, followed_free);
	return NULL;
}

int aggregator_start(struct api *api, struct err *e)
{
	struct follower *f = calloc(1, sizeof(*f));
	int r, rc;

	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->a = api->aggregator;
	pthread_mutex_init(&f->lock, NULL);
	api->aggregator->follower = f;
	r = ev_new(&f->loop, e);
	if (r < 0)
		return r;
	rc = pthread_create(&f->thread, NULL, run, f);
	if (rc)
		return err_set(e, -rc, "cannot start a thread");
	f->running = true;
	return 0;
}

void aggregator_stop(struct api *api)
{
	struct follower *f = api->aggregator ? api->aggregator->follower : NULL;

	if (!f)
		return;
	if (f->running) {
		ev_stop(f->loop);
		pthread_join(f->thread, NULL);
	}
	if (f->loop)
		ev_free(f->loop);
	pthread_mutex_destroy(&f->lock);
	free(f);
	api->aggregator->follower = NULL;
}
