// SPDX-License-Identifier: Apache-2.0
/*
 * ServiceAccount: a pod has one that exists, gets its pull secrets, and, unless
 * it or the account says no, a volume with a token bound to the pod, the CA and
 * the namespace, where client libraries look for them.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/internal.h"
#include "lib/random.h"
#include "lib/str.h"

#define MOUNT   "/var/run/secrets/kubernetes.io/serviceaccount"
#define TOKEN_S "3607" /* Kubernetes' own number: an hour, and told apart */

static yyjson_doc *find_account(struct admission *a, const char *name)
{
	auto_buf struct buf key = BUF_INIT;
	auto_ptr(object_bytes) o = NULL;

	buf_printf(&key, "core/serviceaccounts/%s/%s/%s", a->tenant,
		   a->namespace, name);
	o = store_get(a->api->store, buf_str(&key));
	return object_doc(o);
}

static bool wants_token(struct admission *a, yyjson_val *account)
{
	yyjson_mut_val *own =
		mut_get(a->obj, "spec.automountServiceAccountToken");
	yyjson_val *v = yyjson_obj_get(account, "automountServiceAccountToken");

	if (yyjson_mut_is_bool(own))
		return yyjson_mut_get_bool(own);
	return !yyjson_is_bool(v) || yyjson_get_bool(v);
}

static bool has_mount(yyjson_mut_val *container)
{
	yyjson_mut_val *m;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(container, "volumeMounts"), i, max, m)
	{
		if (str_eq(mut_str(m, "mountPath"), MOUNT))
			return true;
	}
	return false;
}

static yyjson_mut_val *list_at(struct admission *a, yyjson_mut_val *obj,
			       const char *path)
{
	yyjson_mut_val *list = mut_get(obj, path);

	if (!list) {
		list = yyjson_mut_arr(a->doc);
		mut_set(a->doc, obj, path, list);
	}
	return list;
}

/* Mount @volume where nothing is mounted yet; how often. */
static size_t mount_all(struct admission *a, const char *volume)
{
	static const char *const lists[] = { "spec.containers",
					     "spec.initContainers" };
	yyjson_mut_val *c, *m;
	size_t nr = 0, i, max;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		yyjson_mut_arr_foreach(mut_get(a->obj, lists[l]), i, max, c)
		{
			if (!yyjson_mut_is_obj(c) || has_mount(c))
				continue;
			m = yyjson_mut_obj(a->doc);
			mut_set_str(a->doc, m, "name", volume);
			mut_put(a->doc, m, "readOnly", yyjson_mut_true(a->doc));
			mut_set_str(a->doc, m, "mountPath", MOUNT);
			yyjson_mut_arr_append(list_at(a, c, "volumeMounts"), m);
			nr++;
		}
	}
	return nr;
}

static int add_volume(struct admission *a)
{
	static const char digits[] = "bcdfghjklmnpqrstvwxz2456789";
	static const char volume[] =
		"{\"projected\":{\"defaultMode\":420,\"sources\":[{"
		"\"serviceAccountToken\":{\"expirationSeconds\":" TOKEN_S
		",\"path\":\"token\"}},{\"configMap\":{\"name\":"
		"\"kube-root-ca.crt\",\"items\":[{\"key\":\"ca.crt\",\"path\":"
		"\"ca.crt\"}]}},{\"downwardAPI\":{\"items\":[{\"path\":"
		"\"namespace\",\"fieldRef\":{\"apiVersion\":\"v1\","
		"\"fieldPath\":\"metadata.namespace\"}}]}}]}}";
	unsigned char random[5];
	char name[] = "kube-api-access-xxxxx";
	yyjson_mut_val *v;
	yyjson_doc *doc;

	if (random_bytes(random, sizeof(random)))
		return admission_refuse(a, 500, "InternalError",
					"no random numbers");
	for (size_t i = 0; i < sizeof(random); i++)
		name[sizeof(name) - 6 + i] =
			digits[random[i] % (sizeof(digits) - 1)];
	if (!mount_all(a, name))
		return 0;
	doc = yyjson_read(volume, sizeof(volume) - 1, 0);
	v = yyjson_val_mut_copy(a->doc, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	mut_set_str(a->doc, v, "name", name);
	yyjson_mut_arr_append(list_at(a, a->obj, "spec.volumes"), v);
	return 0;
}

static int mutate(struct admission *a)
{
	const char *name;
	yyjson_val *pulls;
	yyjson_doc *account;
	int r = 0;

	if (!admission_is(a, "", "pods") || *a->subresource ||
	    !yyjson_mut_is_obj(mut_get(a->obj, "spec")))
		return 0;
	name = mut_str(a->obj, "spec.serviceAccountName");
	if (!name || !*name)
		name = mut_str(a->obj, "spec.serviceAccount");
	if (yyjson_mut_obj_get(mut_get(a->obj, "metadata.annotations"),
			       "kubernetes.io/config.mirror")) {
		if (name && *name)
			return admission_forbid(a,
						"a mirror pod may not "
						"reference service accounts");
		return 0;
	}
	if (!name || !*name)
		name = "default";
	mut_set_str(a->doc, a->obj, "spec.serviceAccountName", name);
	mut_set_str(a->doc, a->obj, "spec.serviceAccount", name);
	account = find_account(a, name);
	if (!account)
		return admission_forbid(a,
					"error looking up service account "
					"%s/%s: serviceaccount \"%s\" not "
					"found",
					a->namespace, name, name);
	pulls = yyjson_obj_get(yyjson_doc_get_root(account),
			       "imagePullSecrets");
	if (yyjson_arr_size(pulls) &&
	    !yyjson_mut_arr_size(mut_get(a->obj, "spec.imagePullSecrets")))
		mut_set(a->doc, a->obj, "spec.imagePullSecrets",
			yyjson_val_mut_copy(a->doc, pulls));
	if (wants_token(a, yyjson_doc_get_root(account)))
		r = add_volume(a);
	yyjson_doc_free(account);
	return r;
}

const struct admission_plugin admission_service_account = {
	.name = "ServiceAccount",
	.ops = ADMIT_CREATE,
	.mutate = mutate,
};
