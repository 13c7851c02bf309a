// SPDX-License-Identifier: Apache-2.0
/*
 * How an extension server knows us: a client certificate of a CA that signs
 * nothing else, so that nobody whom the server's other CA vouches for can
 * claim to be somebody. Servers find it where Kubernetes puts it, in ConfigMap
 * kube-system/extension-apiserver-authentication.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/aggregator/internal.h"
#include "controlplane/apiserver/internal.h"
#include "lib/fs.h"
#include "lib/http/tls.h"
#include "lib/json.h"
#include "lib/str.h"

#define CLIENT_NAME "front-proxy-client"
#define CLIENT_DAYS 30
#define CONFIG_NAME "extension-apiserver-authentication"
#define READER_NAME "extension-apiserver-authentication-reader"
#define BUNDLE_MAX  (64 * 1024)

/* On the follower's thread, but for opening. */
struct front_proxy {
	struct ca *ca;
	struct buf cert, key;
	int64_t made_s;
};

int front_proxy_open(struct api *api, struct err *e)
{
	auto_free char *dir = str_printf("%s/front-proxy", api->data_dir);
	struct front_proxy *f = calloc(1, sizeof(*f));
	int r;

	if (!f || !dir) {
		free(f);
		return err_set(e, -ENOMEM, "out of memory");
	}
	api->aggregator->front_proxy = f;
	r = fs_mkdirs(dir, 0700, e);
	return r < 0 ? r
		     : ca_open_named(dir, "arktos-front-proxy-ca", &f->ca, e);
}

void front_proxy_close(struct aggregator *a)
{
	struct front_proxy *f = a->front_proxy;

	if (!f)
		return;
	ca_free(f->ca);
	buf_clear(&f->cert);
	buf_clear(&f->key);
	free(f);
	a->front_proxy = NULL;
}

/* A certificate with half of its time left, at least. */
static int refresh(struct front_proxy *f, struct err *e)
{
	struct cert_request req = { .common_name = CLIENT_NAME,
				    .days = CLIENT_DAYS };
	int64_t now = time(NULL);
	int r;

	if (f->cert.len && now - f->made_s < KEEP_CLIENT_S && now >= f->made_s)
		return 0;
	buf_reset(&f->cert);
	buf_reset(&f->key);
	r = ca_issue(f->ca, &req, &f->cert, &f->key, e);
	if (r == 0)
		f->made_s = now;
	else
		buf_reset(&f->cert);
	return r;
}

int front_proxy_tls(struct aggregator *a, const char *ca, bool insecure,
		    SSL_CTX **ret, struct err *e)
{
	struct front_proxy *f = a->front_proxy;
	struct tls_client_opts opts = { .server_ca_pem = ca,
					.system_ca = !ca,
					.insecure = insecure };
	int r = refresh(f, e);

	if (r < 0)
		return r;
	opts.cert_pem = buf_str(&f->cert);
	opts.key_pem = buf_str(&f->key);
	return tls_client_new(&opts, ret, e);
}

/* --- telling it --- */

/* Store what @json says as object @name in kube-system. @merge may keep parts
 * of what is there, and says whether anything is to be changed. */
static int put(struct api *api, const struct type *t, const char *tenant,
	       const char *name, const char *json,
	       bool (*merge)(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			     yyjson_mut_val *old),
	       struct err *e)
{
	auto_buf struct buf key = BUF_INIT;
	yyjson_doc *in = yyjson_read(json, strlen(json), 0);
	yyjson_mut_doc *doc = in ? yyjson_doc_mut_copy(in, NULL) : NULL;
	yyjson_mut_doc *was = NULL;
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	struct store_op op = { .expect = STORE_ABSENT };
	auto_ptr(object_bytes) old = NULL;
	char text[40];
	int r = -ENOMEM;

	key_of(&key, t, tenant, "kube-system", name);
	op.key = buf_str(&key);
	old = store_get(api->store, op.key);
	if (!obj)
		goto out;
	if (old) {
		op.expect = STORE_MATCH;
		op.revision = old->revision;
		was = object_tree(old);
		r = was ? 0 : -ENOMEM;
		if (r < 0 || !merge(doc, obj, yyjson_mut_doc_get_root(was)))
			goto out;
	} else {
		new_uid(text);
		mut_set_str(doc, obj, "metadata.uid", text);
		now_text(text);
		mut_set_str(doc, obj, "metadata.creationTimestamp", text);
		mut_set_str(doc, obj, "metadata.tenant", tenant);
		mut_set_str(doc, obj, "metadata.namespace", "kube-system");
	}
	r = object_commit(api, t, &op, doc, obj, e);
out:
	yyjson_mut_doc_free(was);
	yyjson_mut_doc_free(doc);
	yyjson_doc_free(in);
	return r == -ENOMEM ? err_set(e, r, "out of memory") : r;
}

/* Ours is put in, what others (another server's CA) have put there stays. */
static bool merge_config(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			 yyjson_mut_val *old)
{
	static const char field[] = "requestheader-client-ca-file";
	yyjson_mut_val *data = mut_get(obj, "data"), *have, *key, *val;
	yyjson_mut_val *mine = yyjson_mut_obj_get(data, field);
	const char *pem = yyjson_mut_get_str(mine), *theirs;
	auto_buf struct buf both = BUF_INIT;
	bool changed = false;
	size_t i, max;

	have = mut_get(old, "data");
	theirs = yyjson_mut_get_str(yyjson_mut_obj_get(have, field));
	if (theirs && !strstr(theirs, pem) && strlen(theirs) < BUNDLE_MAX) {
		buf_printf(&both, "%s%s%s", theirs,
			   str_ends(theirs, "\n") ? "" : "\n", pem);
		mut_put(doc, data, field,
			yyjson_mut_strcpy(doc, buf_str(&both)));
	} else if (theirs && strstr(theirs, pem)) {
		mut_put(doc, data, field, yyjson_mut_strcpy(doc, theirs));
	}
	yyjson_mut_obj_foreach(data, i, max, key, val)
	{
		changed |=
			!str_eq(yyjson_mut_get_str(
					yyjson_mut_obj_get(have,
							   yyjson_mut_get_str(
								   key))),
				yyjson_mut_get_str(val));
	}
	mut_put(doc, obj, "metadata",
		yyjson_mut_val_mut_copy(doc, mut_get(old, "metadata")));
	return changed;
}

/* The role is the admin's to change once it is there. */
static bool merge_role(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		       yyjson_mut_val *old)
{
	(void)doc, (void)obj, (void)old;
	return false;
}

static void put_list(struct json_out *o, const char *key, const char *item)
{
	json_put_fmt(o, key, "[\"%s\"]", item);
}

static int publish_config(struct aggregator *a, const char *tenant,
			  struct err *e)
{
	struct api *api = a->api;
	auto_buf struct buf text = BUF_INIT;
	struct json_out o = JSON_OUT(&text);

	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "ConfigMap");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", CONFIG_NAME);
	json_put_end(&o);
	json_put_object(&o, "data");
	/* All tenants' certificates are of one CA, and a server that only looks
	 * at names would take another tenant's user for one of its own. */
	if (strcmp(tenant, SYSTEM) == 0)
		json_put_str(&o, "client-ca-file", ca_cert_pem(api->ca));
	json_put_str(&o, "requestheader-client-ca-file",
		     ca_cert_pem(a->front_proxy->ca));
	put_list(&o, "requestheader-allowed-names", CLIENT_NAME);
	put_list(&o, "requestheader-username-headers", "X-Remote-User");
	put_list(&o, "requestheader-uid-headers", "X-Remote-Uid");
	put_list(&o, "requestheader-group-headers", "X-Remote-Group");
	put_list(&o, "requestheader-extra-headers-prefix", "X-Remote-Extra-");
	json_put_end(&o);
	json_put_end(&o);
	return put(api, type_find(api->types, "", "v1", "configmaps"), tenant,
		   CONFIG_NAME, buf_str(&text), merge_config, e);
}

int front_proxy_publish(struct aggregator *a, const char *tenant, struct err *e)
{
	static const char role[] =
		"{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":"
		"\"Role\",\"metadata\":{\"name\":\"" READER_NAME "\","
		"\"labels\":{\"kubernetes.io/bootstrapping\":"
		"\"rbac-defaults\"}},\"rules\":[{\"verbs\":[\"get\",\"list\","
		"\"watch\"],\"apiGroups\":[\"\"],\"resources\":["
		"\"configmaps\"],\"resourceNames\":[\"" CONFIG_NAME "\"]}]}";
	auto_free char *space =
		str_printf("core/namespaces/%s//kube-system", tenant);
	auto_ptr(object_bytes) o =
		space ? store_get(a->api->store, space) : NULL;
	int r;

	if (!o)
		return 0; /* the tenant is going, or not there yet */
	r = publish_config(a, tenant, e);
	return r < 0 ? r
		     : put(a->api,
			   type_find(a->api->types, "rbac.authorization.k8s.io",
				     "v1", "roles"),
			   tenant, READER_NAME, role, merge_role, e);
}
