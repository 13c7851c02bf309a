// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/missed.h"
#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/authn/csr.h"
#include "controlplane/apiserver/authn/jwt.h"
#include "controlplane/apiserver/authn/keeper.h"
#include "controlplane/apiserver/authn/serving.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/authz/aggregate.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/log.h"
#include "lib/str.h"

#define CSRS         "certificates.k8s.io/certificatesigningrequests/"
#define ROLES        "rbac.authorization.k8s.io/clusterroles/"
#define TOKENS       "core/secrets/" SYSTEM "/kube-system/"
#define CERT_S       (365 * 86400)
#define DECIDED_S    3600  /* a decided request stays this long */
#define UNDECIDED_S  86400 /* one that nobody decided */
#define KEY_S        (90 * 86400)
#define LOOK_S       10 /* between looks at files */
#define LOOK_WAITS_S 2  /* the same while a request waits for a node */

struct keeper {
	struct api *api;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool running, wake;
	atomic_bool stop;
};

/* --- plan --- */

static bool has_condition(yyjson_mut_val *obj, const char *type)
{
	yyjson_mut_val *c;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(obj, "status.conditions"), i, max, c)
	{
		if (str_eq(mut_str(c, "type"), type))
			return true;
	}
	return false;
}

static bool is_ours(const char *signer)
{
	return str_eq(signer, SIGNER_CLIENT) ||
	       str_eq(signer, SIGNER_KUBELET) || str_eq(signer, SIGNER_SERVING);
}

enum csr_step csr_plan(yyjson_mut_val *obj, int64_t now_s)
{
	const char *signer = mut_str(obj, "spec.signerName");
	bool decided = has_condition(obj, "Denied") ||
		       has_condition(obj, "Failed") ||
		       mut_str(obj, "status.certificate");
	int64_t made;

	if (!utc_parse(mut_str(obj, "metadata.creationTimestamp"), &made))
		made = now_s;
	if (now_s - made > UNDECIDED_S || (decided && now_s - made > DECIDED_S))
		return CSR_REMOVE;
	if (decided || !is_ours(signer))
		return CSR_NOTHING;
	if (has_condition(obj, "Approved"))
		return CSR_SIGN;
	return str_eq(signer, SIGNER_CLIENT) ? CSR_NOTHING : CSR_ASK_APPROVAL;
}

/* --- approval --- */

static struct user *requestor(yyjson_mut_val *obj)
{
	const char *name = mut_str(obj, "spec.username");
	const char *tenant = mut_str(obj, "spec.tenant");
	auto_ptr(user) u = name && tenant ? user_new(name, tenant) : NULL;
	yyjson_mut_val *v;
	size_t i, max;

	if (!u)
		return NULL;
	yyjson_mut_arr_foreach(mut_get(obj, "spec.groups"), i, max, v)
	{
		if (!yyjson_mut_is_str(v) ||
		    user_add_group(u, yyjson_mut_get_str(v)))
			return NULL;
	}
	return take_ptr(u);
}

/* An address or name the node has told of itself, with an admin's blessing:
 * its Node object says so. */
static bool node_has(struct api *api, const char *node, const char *alt)
{
	auto_free char *key = str_printf("core/nodes///%s", node);
	auto_ptr(object_bytes) o = key ? store_get(api->store, key) : NULL;
	yyjson_doc *doc = object_doc(o);
	yyjson_val *list = yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
					  "/status/addresses");
	const char *want = strchr(alt, ':') + 1;
	bool found = false;
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		found |= str_eq(yyjson_get_str(yyjson_obj_get(v, "address")),
				want);
	}
	yyjson_doc_free(doc);
	return found || (str_starts(alt, "DNS:") && strcmp(want, node) == 0);
}

static bool may_have_it(struct api *api, const struct user *u,
			const char *subresource)
{
	struct access a = { .verb = "create",
			    .group = "certificates.k8s.io",
			    .resource = "certificatesigningrequests",
			    .subresource = subresource,
			    .tenant = SYSTEM };

	return access_allowed(api, u, &a);
}

/* NULL: nobody of ours says yes, now. Else why. */
static const char *approval(struct api *api, const struct csr *c,
			    const char *signer, const struct user *u)
{
	bool self = user_node(u) && strcmp(c->name, u->name) == 0;

	if (strcmp(signer, SIGNER_KUBELET) == 0) {
		if (self && may_have_it(api, u, "selfnodeclient"))
			return "Auto approving self kubelet client certificate "
			       "after SubjectAccessReview.";
		if (may_have_it(api, u, "nodeclient"))
			return "Auto approving kubelet client certificate "
			       "after SubjectAccessReview.";
		return NULL;
	}
	if (!self)
		return NULL;
	for (size_t i = 0; i < c->nr_alt; i++)
		if (!node_has(api, user_node(u), c->alt[i]))
			return NULL;
	return "Auto approving kubelet serving certificate: all its names are "
	       "of the node.";
}

/* --- doing --- */

static int put_condition(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			 const char *type, const char *reason,
			 const char *message)
{
	yyjson_mut_val *list = mut_get(obj, "status.conditions");
	yyjson_mut_val *c = yyjson_mut_obj(doc);
	char now[32];

	now_text(now);
	if (!list) {
		list = yyjson_mut_arr(doc);
		mut_set(doc, obj, "status.conditions", list);
	}
	mut_set_str(doc, c, "type", type);
	mut_set_str(doc, c, "status", "True");
	mut_set_str(doc, c, "reason", reason);
	mut_set_str(doc, c, "message", message);
	mut_set_str(doc, c, "lastUpdateTime", now);
	mut_set_str(doc, c, "lastTransitionTime", now);
	return yyjson_mut_arr_append(list, c) ? 0 : -ENOMEM;
}

static int commit(struct api *api, const struct object_bytes *o,
		  yyjson_mut_doc *doc, struct err *e)
{
	const struct type *t = type_find(api->types, "certificates.k8s.io",
					 "v1", "certificatesigningrequests");
	struct store_op op = { .key = o->key,
			       .expect = STORE_MATCH,
			       .revision = o->revision,
			       .remove = !doc,
			       .rv_off = STORE_NO_RV };

	return object_commit(api, t, &op, doc,
			     doc ? yyjson_mut_doc_get_root(doc) : NULL, e);
}

static int sign(struct api *api, const struct csr *c, const char *tenant,
		yyjson_mut_doc *doc, yyjson_mut_val *obj, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, text = BUF_INIT, os = BUF_INIT;
	auto_buf struct buf alt = BUF_INIT, org = BUF_INIT;
	bool system = strcmp(tenant, SYSTEM) == 0;
	auto_free char *uid = NULL;
	uint64_t revision;
	struct cert_request req = { .common_name = c->name };
	int64_t want = mut_int(obj, "spec.expirationSeconds", CERT_S);
	int r;

	req.seconds = want > CERT_S ? CERT_S : want < 600 ? 600 : want;
	for (size_t i = 0; i < c->nr_organizations; i++)
		if (system || !str_starts(c->organizations[i], "tenant:"))
			buf_printf(&os, "%s%s", os.len ? "," : "",
				   c->organizations[i]);
	for (size_t i = 0; i < c->nr_alt; i++)
		buf_printf(&alt, "%s%s", i ? "," : "", c->alt[i]);
	if (c->nr_alt)
		req.alt_names = buf_str(&alt);
	if (system) {
		req.organizations = buf_str(&os);
	} else {
		/* Groups are the OUs where a tenant is named; those who only
		 * know Kubernetes have put them into O. */
		for (size_t i = 0; i < c->nr_units; i++)
			buf_printf(&os, "%s%s", os.len ? "," : "", c->units[i]);
		buf_printf(&org, "tenant:%s", tenant);
		req.organization = buf_str(&org);
		req.units = buf_str(&os);
		uid = authn_tenant_uid(api, tenant, 0, &revision);
		req.tenant_uid = uid;
		if (!uid)
			return err_set(e, -ENOENT, "the tenant is gone");
	}
	r = ca_sign(api->ca, c->pem, &req, &cert, e);
	if (r == 0)
		r = base64_put(&text, cert.data, cert.len);
	if (r == 0)
		r = mut_set_str(doc, obj, "status.certificate", buf_str(&text));
	return r;
}

/* 1: it waits for a node to tell more of itself. */
static int settle(struct api *api, const struct object_bytes *o, int64_t now_s,
		  struct err *e)
{
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	const char *signer = mut_str(obj, "spec.signerName"), *why;
	const char *tenant = mut_str(obj, "metadata.tenant");
	enum csr_step step = csr_plan(obj, now_s);
	auto_ptr(csr) c = NULL;
	auto_ptr(user) u = NULL;
	int r = 0;

	if (step == CSR_REMOVE) {
		r = commit(api, o, NULL, e);
		goto out;
	}
	if (step == CSR_NOTHING || !tenant)
		goto out;
	u = requestor(obj);
	r = csr_parse(mut_str(obj, "spec.request"), &c, e);
	if (r == 0)
		r = csr_check(c, signer, mut_get(obj, "spec.usages"), tenant,
			      e);
	if (r == -EINVAL) {
		put_condition(doc, obj, "Failed", "SignerValidationFailure",
			      e->msg);
		r = commit(api, o, doc, e);
		goto out;
	}
	if (r < 0 || !u)
		goto out;
	if (step == CSR_ASK_APPROVAL) {
		why = approval(api, c, signer, u);
		if (!why) {
			r = user_node(u) ? 1 : 0;
			goto out;
		}
		put_condition(doc, obj, "Approved", "AutoApproved", why);
	}
	r = sign(api, c, tenant, doc, obj, e);
	if (r == 0)
		r = commit(api, o, doc, e);
	if (r == 0)
		log_info("certificate request %s of '%s': signed for '%s'",
			 mut_str(obj, "metadata.name"), u->name, c->name);
out:
	yyjson_mut_doc_free(doc);
	return r;
}

static bool settle_all(struct api *api)
{
	struct store_range range = { .prefix = CSRS };
	struct store_list list;
	bool waits = false;
	struct err e = { 0 };

	if (store_list(api->store, &range, &list, &e) < 0)
		return true;
	for (size_t i = 0; i < list.nr && !api->stopping; i++) {
		int r = settle(api, list.v[i], time(NULL), &e);

		if (r < 0 && r != -ESTALE && r != -ENOENT)
			log_warn("certificate request %s: %s, retrying",
				 list.v[i]->key, e.msg);
		waits |= r != 0;
	}
	store_list_clear(&list);
	return waits;
}

/* Bootstrap tokens that have expired are of no use but to thieves. */
static void clean_tokens(struct api *api, int64_t now_s)
{
	struct store_range range = { .prefix = TOKENS };
	struct store_list list;
	struct err e;

	if (store_list(api->store, &range, &list, &e) < 0)
		return;
	for (size_t i = 0; i < list.nr; i++) {
		const char *name = strrchr(list.v[i]->key, '/') + 1;
		auto_buf struct buf text = BUF_INIT;
		yyjson_doc *doc;
		const char *b64;
		int64_t until;

		if (!str_starts(name, "bootstrap-token-"))
			continue;
		doc = object_doc(list.v[i]);
		b64 = yyjson_get_str(
			yyjson_ptr_get(doc ? yyjson_doc_get_root(doc) : NULL,
				       "/data/expiration"));
		if (b64 && base64_get(b64, strlen(b64), &text) == 0 &&
		    utc_parse(buf_str(&text), &until) && until <= now_s &&
		    commit(api, list.v[i], NULL, &e) == 0)
			log_info("bootstrap token %s has expired: removed",
				 name);
		yyjson_doc_free(doc);
	}
	store_list_clear(&list);
}

/* Keys are new every quarter; the old ones go on being believed until somebody
 * removes their files. */
static void rotate_keys(struct api *api, int64_t now_s)
{
	struct err e = { 0 };
	int r = keyring_refresh(api->keyring, &e);

	if (r > 0)
		log_info("service accounts: the keys have changed");
	if (r >= 0 && keyring_age_s(api->keyring, now_s) > KEY_S)
		r = keyring_rotate(api->keyring, &e);
	if (r < 0)
		log_error("service accounts: %s, going on with the keys that "
			  "were loaded",
			  e.msg);
}

/* --- the thread --- */

static void wake(void *arg)
{
	struct keeper *k = arg;

	pthread_mutex_lock(&k->lock);
	k->wake = true;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->lock);
}

/* Whether it was woken, not just time that passed. */
static bool wait_for_work(struct keeper *k, int seconds)
{
	struct timespec until;
	bool woken;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&k->lock);
	while (!k->stop && !k->wake)
		if (pthread_cond_timedwait(&k->cond, &k->lock, &until))
			break;
	woken = k->wake;
	k->wake = false;
	pthread_mutex_unlock(&k->lock);
	return woken;
}

static void drain(struct store_watch *w)
{
	struct store_event ev[32];
	int n = 0;

	while (w && (n = store_watch_read(w, ev, 32)) > 0)
		for (int i = 0; i < n; i++)
			store_event_clear(&ev[i]);
	if (w)
		(void)missed_events(w, n); /* all is looked at anyway */
}

/* Tenants in which a role has changed. */
static void follow_roles(struct api *api, struct store_watch *w)
{
	struct map tenants = MAP_INIT;
	struct map_iter it = MAP_ITER_INIT;
	struct store_event ev[32];
	struct err e = { 0 };
	int n = 0;

	while (w && (n = store_watch_read(w, ev, 32)) > 0)
		for (int i = 0; i < n; i++) {
			const char *t = ev[i].obj->key + strlen(ROLES);
			auto_free char *name = strndup(t, strcspn(t, "/"));

			if (name)
				map_set(&tenants, name, api, NULL);
			store_event_clear(&ev[i]);
		}
	if (w && missed_events(w, n))
		missed_tenants(api, &tenants);
	while (map_next(&tenants, &it))
		if (aggregate_roles(api, it.key, &e) < 0)
			log_debug("roles of tenant %s: %s", it.key, e.msg);
	map_clear(&tenants, NULL);
}

static void *keeper_run(void *arg)
{
	struct keeper *k = arg;
	struct api *api = k->api;
	struct store_watch *csrs = NULL, *roles = NULL;
	int64_t cleaned = 0;
	bool work = true, waits = false;
	struct err e = { 0 };

	if (store_watch_open(api->store, CSRS, 0, wake, k, &csrs, &e) < 0)
		log_error("certificates: %s", e.msg);
	if (store_watch_open(api->store, ROLES, 0, wake, k, &roles, &e) < 0)
		log_error("roles: %s", e.msg);
	while (!k->stop) {
		int64_t now = time(NULL);

		drain(csrs);
		follow_roles(api, roles);
		if (work || waits || now - cleaned >= 300)
			waits = settle_all(api);
		if (now - cleaned >= 60) {
			clean_tokens(api, now);
			cleaned = now;
		}
		rotate_keys(api, now);
		if (serving_refresh(api, now, &e) < 0)
			log_error("TLS: %s, going on with what was loaded",
				  e.msg);
		work = wait_for_work(k, waits ? LOOK_WAITS_S : LOOK_S);
	}
	store_watch_close(csrs);
	store_watch_close(roles);
	return NULL;
}

int keeper_start(struct api *api, struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));
	pthread_condattr_t attr;
	int rc;

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	k->api = api;
	api->keeper = k;
	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->cond, &attr);
	pthread_condattr_destroy(&attr);
	rc = pthread_create(&k->thread, NULL, keeper_run, k);
	if (rc)
		return err_set(e, -rc, "cannot start a thread");
	k->running = true;
	return 0;
}

void keeper_stop(struct api *api)
{
	struct keeper *k = api->keeper;

	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->lock);
	if (k->running)
		pthread_join(k->thread, NULL);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->cond);
	free(k);
	api->keeper = NULL;
}
