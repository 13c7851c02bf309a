// SPDX-License-Identifier: Apache-2.0
/*
 * Bootstrap tokens: Secrets of type bootstrap.kubernetes.io/token in the
 * tenant system, kube-system, named bootstrap-token-ID. One who shows ID.SECRET
 * is system:bootstrap:ID of the group system:bootstrappers, who may ask for a
 * node's certificate and for nothing else.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/authn/authn.h"
#include "controlplane/apiserver/internal.h"
#include "lib/base64.h"
#include "lib/str.h"

#define ID_LEN     6
#define SECRET_LEN 16

bool bootstrap_is_token(const char *token)
{
	size_t n = strspn(token, "abcdefghijklmnopqrstuvwxyz0123456789");

	return n == ID_LEN && token[n] == '.' &&
	       strlen(token) == ID_LEN + 1 + SECRET_LEN &&
	       strspn(token + n + 1, "abcdefghijklmnopqrstuvwxyz0123456789") ==
		       SECRET_LEN;
}

bool utc_parse(const char *text, int64_t *ret_s)
{
	struct tm tm = { 0 };
	const char *end =
		text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	if (!end || strcmp(end, "Z") != 0)
		return false;
	*ret_s = timegm(&tm);
	return true;
}

/* A value of the secret, decoded; "" when it is not there. */
static const char *value(yyjson_val *data, const char *name, struct buf *b)
{
	const char *text = yyjson_get_str(yyjson_obj_get(data, name));

	buf_reset(b);
	if (!text || base64_get(text, strlen(text), b) ||
	    memchr(buf_str(b), 0, b->len))
		buf_reset(b);
	return b->len ? buf_str(b) : "";
}

static int check(yyjson_val *secret, const char *token, int64_t now_s,
		 struct user *u, struct err *e)
{
	yyjson_val *data = yyjson_obj_get(secret, "data");
	yyjson_val *meta = yyjson_obj_get(secret, "metadata");
	auto_buf struct buf b = BUF_INIT;
	int64_t until;

	if (!str_eq(yyjson_get_str(yyjson_obj_get(secret, "type")),
		    "bootstrap.kubernetes.io/token") ||
	    yyjson_obj_get(meta, "deletionTimestamp"))
		return err_set(e, -EACCES, "bootstrap token: no such token");
	value(data, "token-secret", &b);
	if (b.len != SECRET_LEN ||
	    CRYPTO_memcmp(buf_str(&b), token + ID_LEN + 1, SECRET_LEN) != 0)
		return err_set(e, -EACCES, "bootstrap token: wrong secret");
	value(data, "token-id", &b);
	if (b.len != ID_LEN || strncmp(buf_str(&b), token, ID_LEN) != 0)
		return err_set(e, -EACCES, "bootstrap token: wrong id");
	if (*value(data, "expiration", &b) &&
	    (!utc_parse(buf_str(&b), &until) || until <= now_s))
		return err_set(e, -EACCES, "bootstrap token: expired");
	if (strcmp(value(data, "usage-bootstrap-authentication", &b), "true"))
		return err_set(e, -EACCES,
			       "bootstrap token: not for authentication");
	value(data, "auth-extra-groups", &b);
	for (char *p = b.data; p && *p;) {
		size_t n = strcspn(p, ",");
		bool last = !p[n];

		p[n] = '\0';
		if (!str_starts(p, "system:bootstrappers:") ||
		    user_add_group(u, p))
			return err_set(e, -EACCES,
				       "bootstrap token: bad group '%s'", p);
		p += n + !last;
	}
	return 0;
}

int bootstrap_user(struct api *api, const char *token, int64_t now_s,
		   struct user **ret, struct err *e)
{
	auto_free char *name =
		str_printf("system:bootstrap:%.*s", ID_LEN, token);
	auto_free char *key =
		str_printf("core/secrets/%s/kube-system/bootstrap-token-%.*s",
			   SYSTEM, ID_LEN, token);
	auto_ptr(object_bytes) o = key ? store_get(api->store, key) : NULL;
	auto_ptr(user) u = name ? user_new(name, SYSTEM) : NULL;
	yyjson_doc *doc;
	int r;

	if (!u || user_add_group(u, "system:bootstrappers") ||
	    user_add_group(u, "system:authenticated"))
		return err_set(e, -ENOMEM, "out of memory");
	if (!o)
		return err_set(e, -EACCES, "bootstrap token: no such token");
	doc = object_doc(o);
	r = check(yyjson_doc_get_root(doc), token, now_s, u, e);
	yyjson_doc_free(doc);
	if (r == 0)
		*ret = take_ptr(u);
	return r;
}
