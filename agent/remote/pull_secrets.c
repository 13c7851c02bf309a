// SPDX-License-Identifier: Apache-2.0
/* imagePullSecrets: registries' credentials, from the API straight into the
 * memory of whoever pulls. */
#include <errno.h>
#include <string.h>

#include "agent/image/keyring.h"
#include "agent/remote/internal.h"
#include "agent/volume/payload.h"
#include "lib/auto.h"
#include "lib/base64.h"
#include "lib/err.h"
#include "lib/str.h"

#define SECRETS_MAX 64

static const char *text(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static int data_of(yyjson_val *secret, struct buf *out, struct err *e)
{
	static const char *const types[][2] = {
		{ "kubernetes.io/dockerconfigjson", ".dockerconfigjson" },
		{ "kubernetes.io/dockercfg", ".dockercfg" },
	};
	const char *type = text(secret, "type");
	auto_ptr(keyring) check = calloc(1, sizeof(*check));

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const char *b64 =
			text(yyjson_obj_get(secret, "data"), types[i][1]);

		if (!str_eq(type, types[i][0]))
			continue;
		if (!b64 || base64_get(b64, strlen(b64), out) < 0)
			return err_set(e, -EBADMSG, "it has no %s",
				       types[i][1]);
		return check ? keyring_add(check, out->data, out->len, e)
			     : err_set(e, -ENOMEM, "out of memory");
	}
	return err_set(e, -EINVAL,
		       "its type is %.60s, not kubernetes.io/dockerconfigjson",
		       type ? type : "Opaque");
}

static int add_one(struct remote *r, const char *key, const char *name,
		   struct payload_volume *to, bool *ret_live, struct err *e)
{
	auto_buf struct buf data = BUF_INIT;
	yyjson_doc *doc = NULL;
	char path[PATH_SIZE];
	int ret;

	if (!name || !str_is_dns_subdomain(name))
		return err_set(e, -EINVAL, "not a valid name");
	path_of(key, "secrets", name, "", path);
	ret = object_get(r, path, &doc, ret_live, e);
	if (ret == -ENOENT)
		return err_set(e, ret, "not found");
	if (ret < 0)
		return ret;
	ret = data_of(yyjson_doc_get_root(doc), &data, e);
	yyjson_doc_free(doc);
	if (ret == 0)
		ret = payload_volume_add(to, name, data.data, data.len, 0600);
	buf_wipe(&data);
	return ret;
}

int content_pull_secrets(struct remote *r, const char *key, yyjson_val *pod,
			 struct payload_set *set, struct content_facts *facts)
{
	yyjson_val *list =
		yyjson_obj_get(yyjson_obj_get(pod, "spec"), "imagePullSecrets");
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	struct payload_volume *v;
	yyjson_val *ref;

	if (!yyjson_arr_size(list))
		return 0;
	v = payload_set_add(set, PULL_VOLUME);
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < SECRETS_MAX && (ref = yyjson_arr_iter_next(&it));
	     i++) {
		const char *name = text(ref, "name");
		struct err e = { 0 };
		bool live = true;
		int ret = add_one(r, key, name, v, &live, &e);

		facts->polled |= !live;

		if (ret == -ENOMEM)
			return ret;
		/* What cannot be had may not be needed: the pull will tell. */
		if (ret < 0)
			buf_printf(&facts->note,
				   "%simagePullSecret \"%.80s\": %s; the pull "
				   "goes on without it",
				   facts->note.len ? "; " : "",
				   name ? name : "", e.msg);
	}
	return 0;
}
