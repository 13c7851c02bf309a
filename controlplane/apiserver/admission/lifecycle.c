// SPDX-License-Identifier: Apache-2.0
/*
 * Tenants and namespaces, from birth to end. What comes with one is committed
 * in the same transaction, so nobody ever sees half a tenant. What is marked
 * as terminating is emptied by a thread of its own, and then removed.
 */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/authz/policy.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define BORN_MAX (POLICY_OBJECTS_MAX + 16) /* objects that come at once */

static const char *const default_spaces[] = { "default", "kube-system",
					      "kube-public",
					      "kube-node-lease" };

/* --- birth --- */

static int born_room(struct born *b)
{
	if (b->ops)
		return 0;
	b->ops = calloc(BORN_MAX, sizeof(*b->ops));
	b->bufs = calloc(BORN_MAX * 3, sizeof(*b->bufs));
	return b->ops && b->bufs ? 0 : -ENOMEM;
}

int born_add(struct api *api, struct born *b, const struct type *t,
	     const char *tenant, const char *ns, const char *json)
{
	yyjson_doc *in = yyjson_read(json, strlen(json), 0);
	yyjson_mut_doc *doc = in ? yyjson_doc_mut_copy(in, NULL) : NULL;
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	struct store_op *op;
	struct buf *bufs;
	char uid[37], now[32];
	int r = -ENOMEM;

	assert(b->nr < BORN_MAX);
	if (born_room(b) < 0) {
		yyjson_mut_doc_free(doc);
		yyjson_doc_free(in);
		return -ENOMEM;
	}
	op = &b->ops[b->nr];
	bufs = &b->bufs[b->nr * 3];
	new_uid(uid);
	now_text(now);
	if (obj) {
		mut_set_str(doc, obj, "metadata.uid", uid);
		mut_set_str(doc, obj, "metadata.creationTimestamp", now);
		if (t->scope != SCOPE_CLUSTER)
			mut_set_str(doc, obj, "metadata.tenant", tenant);
		if (t->scope == SCOPE_NAMESPACED)
			mut_set_str(doc, obj, "metadata.namespace", ns);
		r = schema_default(t->schema, doc, obj);
		if (t->hooks->complete)
			t->hooks->complete(doc, obj);
		if (t->hooks->prepare)
			t->hooks->prepare(doc, obj, NULL, "");
	}
	if (r == 0)
		r = object_pack(api, t, doc, obj, &bufs[0], &op->rv_off,
				&bufs[1]);
	if (r == 0) {
		key_of(&bufs[2], t, tenant, ns, mut_str(obj, "metadata.name"));
		op->key = buf_str(&bufs[2]);
		op->expect = STORE_ABSENT;
		op->data = bufs[0].data;
		op->len = bufs[0].len;
		op->tags = bufs[1].data;
		op->tags_len = bufs[1].len;
		b->nr++;
	}
	yyjson_mut_doc_free(doc);
	yyjson_doc_free(in);
	return r;
}

void born_clear(struct born *b)
{
	for (size_t i = 0; b->bufs && i < BORN_MAX * 3; i++)
		buf_clear(&b->bufs[i]);
	free(b->bufs);
	free(b->ops);
	memset(b, 0, sizeof(*b));
}

static const struct type *core(struct api *api, const char *plural)
{
	return type_find(api->types, "", "v1", plural);
}

static const struct type *rbac(struct api *api, const char *plural)
{
	return type_find(api->types, "rbac.authorization.k8s.io", "v1", plural);
}

int born_with_namespace(struct api *api, const char *tenant, const char *ns,
			struct born *b)
{
	auto_buf struct buf ca = BUF_INIT;
	int r = born_room(b);

	buf_puts(&ca, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\","
		      "\"metadata\":{\"name\":\"kube-root-ca.crt\"},\"data\":{"
		      "\"ca.crt\":");
	json_escape(&ca, ca_cert_pem(api->ca), strlen(ca_cert_pem(api->ca)));
	buf_puts(&ca, "}}");
	if (r == 0)
		r = born_add(api, b, core(api, "serviceaccounts"), tenant, ns,
			     "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount"
			     "\",\"metadata\":{\"name\":\"default\"}}");
	if (r == 0)
		r = born_add(api, b, core(api, "configmaps"), tenant, ns,
			     buf_str(&ca));
	return r;
}

static int born_roles(struct api *api, const char *tenant, struct born *b)
{
	bool system = strcmp(tenant, SYSTEM) == 0;
	auto_buf struct buf text = BUF_INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && policy_role(i, system, &text); i++) {
		r = born_add(api, b, rbac(api, "clusterroles"), tenant, "",
			     buf_str(&text));
		buf_reset(&text);
	}
	for (size_t i = 0; r == 0 && policy_binding(i, system, &text); i++) {
		r = born_add(api, b, rbac(api, "clusterrolebindings"), tenant,
			     "", buf_str(&text));
		buf_reset(&text);
	}
	return r;
}

int born_with_tenant(struct api *api, const char *tenant, struct born *b)
{
	bool system = strcmp(tenant, SYSTEM) == 0;
	int r = born_room(b);

	for (size_t i = 0; i < ARRAY_LEN(default_spaces) && r == 0; i++) {
		const char *ns = default_spaces[i];
		auto_buf struct buf text = BUF_INIT;

		/* Leases of nodes are the system's alone. */
		if (!system && strcmp(ns, "kube-node-lease") == 0)
			continue;
		buf_printf(&text,
			   "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
			   "\"metadata\":{\"name\":\"%s\"}}",
			   ns);
		r = born_add(api, b, core(api, "namespaces"), tenant, "",
			     buf_str(&text));
		if (r == 0)
			r = born_with_namespace(api, tenant, ns, b);
	}
	if (r == 0)
		r = born_roles(api, tenant, b);
	if (r == 0)
		r = born_add(api, b,
			     type_find(api->types, "arktos.futurewei.com", "v1",
				       "networks"),
			     tenant, "",
			     "{\"apiVersion\":\"arktos.futurewei.com/v1\","
			     "\"kind\":\"Network\",\"metadata\":{\"name\":"
			     "\"default\"},\"spec\":{\"type\":\"flat\"}}");
	return r;
}

/* What of @b is missing, in one commit. */
static int repair(struct api *api, struct born *b, struct err *e)
{
	struct store_txn txn = { .ops = b->ops };
	int r = 0;

	for (size_t i = 0; i < b->nr; i++) {
		auto_ptr(object_bytes) o = store_get(api->store, b->ops[i].key);

		if (!o)
			b->ops[txn.nr_ops++] = b->ops[i];
	}
	if (txn.nr_ops)
		r = store_commit(api->store, &txn, e);
	for (size_t i = 0; i < txn.nr_ops; i++)
		object_unref(b->ops[i].ret);
	return r;
}

static const char *last_part(const char *key)
{
	return strrchr(key, '/') + 1;
}

int lifecycle_bootstrap(struct api *api, struct err *e)
{
	struct store_range range = { .prefix = "core/tenants/" };
	struct born b = { .nr = 0 };
	struct err why = { 0 };
	struct store_list list;
	int r = born_room(&b);

	if (r == 0)
		r = born_add(api, &b, core(api, "tenants"), "", "",
			     "{\"apiVersion\":\"v1\",\"kind\":\"Tenant\","
			     "\"metadata\":{\"name\":\"system\"}}");
	if (r == 0)
		r = repair(api, &b, e);
	born_clear(&b);
	if (r == 0)
		r = store_list(api->store, &range, &list, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		if (str_eq(object_tag(list.v[i], "f:status.phase"),
			   "Terminating"))
			continue;
		r = born_with_tenant(api, last_part(list.v[i]->key), &b);
		if (r == 0)
			r = repair(api, &b, &why);
		born_clear(&b);
		/* Others are not to wait for a cluster that is away. */
		if (r == -EHOSTUNREACH) {
			log_warn("tenant %s: %s", last_part(list.v[i]->key),
				 why.msg);
			r = 0;
		}
	}
	if (r < 0 && e)
		*e = why;
	store_list_clear(&list);
	return r;
}

/* --- the end --- */

static bool is_terminating(const struct object_bytes *o, void *arg)
{
	(void)arg;
	return str_eq(object_tag(o, "f:status.phase"), "Terminating");
}

/* Remove the namespace or tenant itself, now that it is empty. */
static int remove_space(struct api *api, const struct object_bytes *o,
			struct err *e)
{
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision,
			       .remove = true,
			       .rv_off = STORE_NO_RV };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	bool held = yyjson_mut_arr_size(mut_get(obj, "metadata.finalizers")) ||
		    yyjson_mut_arr_size(mut_get(obj, "spec.finalizers")) > 1;
	int r = 0;

	yyjson_mut_doc_free(doc);
	if (obj && !held)
		r = store_commit(api->store, &txn, e);
	object_unref(op.ret);
	return r;
}

static int empty_type(struct api *api, const struct type *t, const char *path,
		      size_t *left, struct err *e)
{
	auto_buf struct buf prefix = BUF_INIT;
	size_t n = 0;
	int r;

	buf_printf(&prefix, "%s/%s/%s", *t->group ? t->group : "core",
		   t->plural, path);
	r = delete_range(api, t, buf_str(&prefix), NULL, NULL, &n, e);
	*left += n;
	return r;
}

/* Empty one prefix of every type of @scope but @skip: the built-in ones, and
 * those @tenant has by itself. */
static int empty(struct api *api, enum type_scope scope, const char *tenant,
		 const char *path, const struct type *skip, size_t *left,
		 struct err *e)
{
	struct type_set **sets = NULL;
	size_t nr = 0;
	int r = 0;

	for (size_t i = 0; i < api->types->nr && r == 0; i++) {
		const struct type *t = &api->types->types[i];

		if (t->scope == scope && t != skip && !t->virtual && !t->stored)
			r = empty_type(api, t, path, left, e);
	}
	if (r == 0)
		r = crds_list(api, tenant, &sets, &nr);
	for (size_t i = 0; i < nr && r == 0; i++) {
		const struct type *t = type_stored(&sets[i]->types[0]);

		if (t->scope == scope)
			r = empty_type(api, t, path, left, e);
	}
	crds_list_free(sets, nr);
	return r;
}

static int end_namespace(struct api *api, const struct object_bytes *o,
			 struct err *e)
{
	const char *tenant = strchr(strchr(o->key, '/') + 1, '/') + 1;
	auto_free char *name = strndup(tenant, strcspn(tenant, "/"));
	auto_free char *path = str_printf("%.*s/%s/", (int)strcspn(tenant, "/"),
					  tenant, last_part(o->key));
	size_t left = 0;
	int r = path && name ? 0 : -ENOMEM;

	if (r == 0)
		r = empty(api, SCOPE_NAMESPACED, name, path, NULL, &left, e);
	if (r == 0 && !left)
		r = remove_space(api, o, e);
	return r;
}

static int end_tenant(struct api *api, const struct object_bytes *o,
		      struct err *e)
{
	auto_free char *path = str_printf("%s/", last_part(o->key));
	auto_free char *spaces =
		str_printf("core/namespaces/%s/", last_part(o->key));
	size_t left = 0;
	int r;

	if (!path || !spaces)
		return -ENOMEM;
	/* Namespaces empty themselves once they are marked. */
	r = delete_range(api, core(api, "namespaces"), spaces, NULL, NULL,
			 &left, e);
	if (r < 0 || left)
		return r;
	r = empty(api, SCOPE_TENANT, last_part(o->key), path,
		  core(api, "namespaces"), &left, e);
	if (r == 0 && !left)
		r = remove_space(api, o, e);
	return r;
}

/* One round over everything that is terminating; how much there still is. */
static size_t round_over(struct api *api, const char *prefix,
			 int (*end)(struct api *api,
				    const struct object_bytes *o,
				    struct err *e))
{
	struct store_range range = { .prefix = prefix,
				     .match = is_terminating };
	struct store_list list;
	struct err e = { 0 };
	size_t nr;

	if (store_list(api->store, &range, &list, &e) < 0)
		return 1;
	nr = list.nr;
	for (size_t i = 0; i < list.nr && !api->stopping; i++) {
		int r = end(api, list.v[i], &e);

		if (r < 0 && r != -ESTALE && r != -ENOENT)
			log_warn("emptying %s: %s, retrying", list.v[i]->key,
				 e.msg);
	}
	store_list_clear(&list);
	return nr;
}

static void wake(void *arg)
{
	struct api *api = arg;

	pthread_mutex_lock(&api->lifecycle_lock);
	api->lifecycle_wake = true;
	pthread_cond_signal(&api->lifecycle_cond);
	pthread_mutex_unlock(&api->lifecycle_lock);
}

static void drain(struct store_watch *w)
{
	struct store_event ev[32];
	int n;

	while ((n = store_watch_read(w, ev, 32)) > 0)
		for (int i = 0; i < n; i++)
			store_event_clear(&ev[i]);
	(void)missed_events(w, n); /* all is looked at anyway */
}

static void *lifecycle_run(void *arg)
{
	struct api *api = arg;
	static const char *const prefixes[] = {
		"core/namespaces/",
		"core/tenants/",
		"core/services/system/default/kubernetes",
		"core/endpoints/system/default/kubernetes",
		"discovery.k8s.io/endpointslices/system/default/kubernetes",
	};
	struct store_watch *watches[ARRAY_LEN(prefixes)] = { NULL };
	struct err e = { 0 };
	bool first = true;

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		if (store_watch_open(api->store, prefixes[i], 0, wake, api,
				     &watches[i], &e))
			log_error("tenants: %s", e.msg);
	pthread_mutex_lock(&api->lifecycle_lock);
	while (!api->stopping) {
		struct timespec until;
		size_t left;

		api->lifecycle_wake = false;
		pthread_mutex_unlock(&api->lifecycle_lock);
		for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
			if (watches[i])
				drain(watches[i]);
		if (own_service_repair(api, first, &e) < 0)
			log_warn("service kubernetes: %s", e.msg);
		first = false;
		left = round_over(api, "core/namespaces/", end_namespace);
		left += round_over(api, "core/tenants/", end_tenant);
		pthread_mutex_lock(&api->lifecycle_lock);
		clock_gettime(CLOCK_MONOTONIC, &until);
		/* What is left waits for finalizers or for pods to end. */
		until.tv_sec += left ? 1 : 300;
		while (!api->stopping && !api->lifecycle_wake)
			if (pthread_cond_timedwait(&api->lifecycle_cond,
						   &api->lifecycle_lock,
						   &until))
				break;
	}
	pthread_mutex_unlock(&api->lifecycle_lock);
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
		store_watch_close(watches[i]);
	return NULL;
}

int lifecycle_start(struct api *api, struct err *e)
{
	pthread_condattr_t attr;
	int rc;

	pthread_mutex_init(&api->lifecycle_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&api->lifecycle_cond, &attr);
	pthread_condattr_destroy(&attr);
	rc = pthread_create(&api->lifecycle, NULL, lifecycle_run, api);
	if (rc)
		return err_set(e, -rc, "cannot start a thread");
	api->lifecycle_run = true;
	return 0;
}

void lifecycle_stop(struct api *api)
{
	if (!api->lifecycle_run)
		return;
	pthread_mutex_lock(&api->lifecycle_lock);
	api->stopping = true;
	pthread_cond_signal(&api->lifecycle_cond);
	pthread_mutex_unlock(&api->lifecycle_lock);
	pthread_join(api->lifecycle, NULL);
	pthread_mutex_destroy(&api->lifecycle_lock);
	pthread_cond_destroy(&api->lifecycle_cond);
}
