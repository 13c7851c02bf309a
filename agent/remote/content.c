// SPDX-License-Identifier: Apache-2.0
/* What a pod's configMap, secret, downwardAPI and projected volumes hold, and
 * what its containers get as environment from ConfigMaps and Secrets. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/remote/internal.h"
#include "agent/volume/payload.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define MODE_DEFAULT  0644
#define TOKEN_SECONDS 3600
#define ENV_VOLUME    ".env" /* SPEC_ENV_VOLUME of agent/spec.h */

struct build {
	struct remote *r;
	const char *key;
	yyjson_val *pod;
	struct payload_set *set;
	struct payload_volume *volume;
	struct content_facts *facts;
	mode_t mode;
};

static const char *text(yyjson_val *v, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(v, key));
}

static mode_t mode_of(yyjson_val *v, const char *key, mode_t otherwise)
{
	yyjson_val *m = yyjson_obj_get(v, key);

	return m ? (mode_t)yyjson_get_uint(m) & 0777 : otherwise;
}

static int add(struct build *b, const char *path, const void *data, size_t len,
	       mode_t mode, struct err *e)
{
	int r = payload_volume_add(b->volume, path, data, len, mode);

	return r < 0 ? err_set(e, r, "volume '%s': too much", b->volume->name)
		     : 0;
}

/* --- ConfigMaps and Secrets --- */

/* A Secret's data, and a ConfigMap's binaryData, come in base64. */
static int decode(const char *b64, struct buf *out)
{
	size_t len = strlen(b64), pad = 0;
	unsigned char *to = buf_reserve(out, len + 4);
	int n = to ? EVP_DecodeBlock(to, (const unsigned char *)b64, (int)len)
		   : -1;

	while (pad < 2 && pad < len && b64[len - 1 - pad] == '=')
		pad++;
	if (n < (int)pad)
		return -EBADMSG;
	buf_commit(out, (size_t)n - pad);
	return 0;
}

/* The value of @key; 1, 0: it has none. */
static int value_of(yyjson_val *obj, bool secret, const char *key,
		    struct buf *out)
{
	const char *plain =
		secret ? NULL : text(yyjson_obj_get(obj, "data"), key);
	const char *b64 =
		text(yyjson_obj_get(obj, secret ? "data" : "binaryData"), key);
	int r;

	buf_reset(out);
	if (plain) {
		r = buf_puts(out, plain);
		return r < 0 ? r : 1;
	}
	if (!b64)
		return 0;
	r = decode(b64, out);
	return r < 0 ? r : 1;
}

/* 0; 1: it is optional and not there. */
static int get_object(struct build *b, bool secret, const char *name,
		      yyjson_val *ref, yyjson_doc **ret, struct err *e)
{
	bool optional = yyjson_get_bool(yyjson_obj_get(ref, "optional"));
	const char *kind = secret ? "secret" : "configmap";
	char path[PATH_SIZE];
	bool live = false;
	int r;

	if (!name || !str_is_dns_subdomain(name))
		return err_set(e, -EINVAL, "%s: no valid name", kind);
	path_of(b->key, secret ? "secrets" : "configmaps", name, "", path);
	r = object_get(b->r, path, ret, &live, e);
	b->facts->polled |= !live;
	if (r == -ENOENT && optional)
		return 1;
	if (r == -ENOENT)
		return err_set(e, r, "%s \"%s\" not found", kind, name);
	return r < 0 ? err_wrap(e, r, "%s \"%s\"", kind, name) : 0;
}

static int add_items(struct build *b, yyjson_val *obj, bool secret,
		     yyjson_val *src, const char *name, struct err *e)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(src, "items"));
	auto_buf struct buf value = BUF_INIT;
	yyjson_val *item;
	int r = 0;

	while (r == 0 && (item = yyjson_arr_iter_next(&it))) {
		const char *key = text(item, "key"), *path = text(item, "path");

		r = key && path ? value_of(obj, secret, key, &value) : -EINVAL;
		if (r == 1)
			r = add(b, path, buf_str(&value), value.len,
				mode_of(item, "mode", b->mode), e);
		else if (r == 0 &&
			 !yyjson_get_bool(yyjson_obj_get(src, "optional")))
			r = err_set(e, -ENOENT,
				    "references non-existent key '%s' of "
				    "\"%s\"",
				    key, name);
	}
	return r;
}

static int add_all(struct build *b, yyjson_val *obj, bool secret,
		   const char *field, struct err *e)
{
	auto_buf struct buf value = BUF_INIT;
	yyjson_val *key, *val;
	size_t i, max;
	int r = 0;

	json_obj_foreach (yyjson_obj_get(obj, field), i, max, key, val) {
		if (r < 0)
			break;
		r = value_of(obj, secret, yyjson_get_str(key), &value);
		if (r == 1)
			r = add(b, yyjson_get_str(key), buf_str(&value),
				value.len, b->mode, e);
	}
	return r;
}

static int add_object(struct build *b, bool secret, const char *name,
		      yyjson_val *src, struct err *e)
{
	yyjson_doc *doc = NULL;
	yyjson_val *obj;
	int r = get_object(b, secret, name, src, &doc, e);

	if (r != 0)
		return r < 0 ? r : 0;
	obj = yyjson_doc_get_root(doc);
	if (yyjson_obj_get(src, "items"))
		r = add_items(b, obj, secret, src, name, e);
	else
		r = add_all(b, obj, secret, "data", e);
	if (r == 0 && !secret && !yyjson_obj_get(src, "items"))
		r = add_all(b, obj, secret, "binaryData", e);
	yyjson_doc_free(doc);
	return r;
}

/* --- the downward API --- */

/* All labels or annotations: key="value", one a line. */
static void put_map(yyjson_val *map, struct buf *out)
{
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (map, i, max, key, val) {
		if (!yyjson_is_str(val))
			continue;
		buf_printf(out, "%s%s=", i ? "\n" : "", yyjson_get_str(key));
		json_escape(out, yyjson_get_str(val), yyjson_get_len(val));
	}
}

/* "metadata.labels['key']". */
static const char *map_entry(yyjson_val *meta, const char *path)
{
	char map[32], key[400];
	int used = 0;

	if (sscanf(path, "metadata.%31[a-z]['%399[^']']%n", map, key, &used) !=
		    2 ||
	    path[used] ||
	    (!str_eq(map, "labels") && !str_eq(map, "annotations")))
		return NULL;
	return text(yyjson_obj_get(meta, map), key) ?: "";
}

static int field_value(struct build *b, const char *path, struct buf *out,
		       struct err *e)
{
	static const char *const plain[] = { "name", "namespace", "uid",
					     "tenant" };
	yyjson_val *meta = yyjson_obj_get(b->pod, "metadata");
	const char *v;

	buf_puts(out, "");
	for (size_t i = 0; path && i < ARRAY_LEN(plain); i++)
		if (str_starts(path, "metadata.") &&
		    str_eq(path + 9, plain[i])) {
			v = text(meta, plain[i]);
			return buf_puts(out, v ? v : "");
		}
	if (str_eq(path, "metadata.labels") ||
	    str_eq(path, "metadata.annotations")) {
		put_map(yyjson_obj_get(meta, path + 9), out);
		return buf_error(out);
	}
	v = path ? map_entry(meta, path) : NULL;
	if (!v)
		return err_set(e, -EINVAL, "fieldRef '%.100s': not supported",
			       path ? path : "");
	return buf_puts(out, v);
}

static yyjson_val *container(yyjson_val *pod, const char *name)
{
	static const char *const lists[] = { "containers", "initContainers" };
	yyjson_val *spec = yyjson_obj_get(pod, "spec"), *c;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		yyjson_arr_iter it =
			yyjson_arr_iter_with(yyjson_obj_get(spec, lists[i]));

		while ((c = yyjson_arr_iter_next(&it)))
			if (str_eq(text(c, "name"), name))
				return c;
	}
	return NULL;
}

/* "limits.cpu" of a container, or what the node has. */
static int amount(struct build *b, const char *ctr, const char *what,
		  uint64_t *ret, struct err *e)
{
	yyjson_val *res = yyjson_obj_get(container(b->pod, ctr), "resources");
	const char *dot = what ? strchr(what, '.') : NULL, *v;
	auto_free char *set = dot ? strndup(what, (size_t)(dot - what)) : NULL;
	auto_buf struct buf node = BUF_INIT;
	yyjson_doc *doc = NULL;
	int r = 0;

	if (!set || (!str_eq(dot, ".cpu") && !str_eq(dot, ".memory") &&
		     !str_eq(dot, ".ephemeral-storage")))
		return err_set(e, -EINVAL,
			       "resourceFieldRef '%.60s': not "
			       "supported",
			       what ? what : "");
	v = text(yyjson_obj_get(res, set), dot + 1);
	if (!v && str_eq(set, "requests"))
		v = "0";
	if (!v) {
		r = b->r->o.ops->node(b->r->o.arg, &node, e);
		doc = r == 0 ? yyjson_read(buf_str(&node), node.len, 0) : NULL;
		v = text(yyjson_ptr_get(yyjson_doc_get_root(doc),
					"/status/allocatable"),
			 dot + 1);
	}
	if (r == 0)
		r = !v                    ? -EINVAL
		    : str_eq(dot, ".cpu") ? quantity_parse_cpu(v, ret, e)
					  : quantity_parse_mem(v, ret, e);
	yyjson_doc_free(doc);
	return r;
}

static int resource_value(struct build *b, yyjson_val *ref, struct buf *out,
			  struct err *e)
{
	const char *what = text(ref, "resource"), *by = text(ref, "divisor");
	bool cpu = what && str_ends(what, ".cpu");
	uint64_t n = 0, unit = cpu ? 1000 : 1;
	int r = amount(b, text(ref, "containerName"), what, &n, e);

	if (r == 0 && by && !str_eq(by, "0"))
		r = cpu ? quantity_parse_cpu(by, &unit, e)
			: quantity_parse_mem(by, &unit, e);
	if (r == 0 && !unit)
		r = err_set(e, -EINVAL, "resourceFieldRef: divisor is 0");
	if (r < 0)
		return r;
	/* Rounded up. */
	return buf_printf(out, "%" PRIu64, n / unit + (n % unit != 0));
}

static int add_downward(struct build *b, yyjson_val *src, struct err *e)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(src, "items"));
	auto_buf struct buf value = BUF_INIT;
	yyjson_val *item;
	int r = 0;

	while (r == 0 && (item = yyjson_arr_iter_next(&it))) {
		yyjson_val *res = yyjson_obj_get(item, "resourceFieldRef");
		const char *path = text(item, "path");

		buf_reset(&value);
		r = res ? resource_value(b, res, &value, e)
			: field_value(b,
				      text(yyjson_obj_get(item, "fieldRef"),
					   "fieldPath"),
				      &value, e);
		if (r == 0)
			r = path ? add(b, path, buf_str(&value), value.len,
				       mode_of(item, "mode", b->mode), e)
				 : -EINVAL;
	}
	return r;
}

/* --- tokens, and all of it together --- */

static int add_token(struct build *b, yyjson_val *src, struct err *e)
{
	yyjson_val *s = yyjson_obj_get(src, "expirationSeconds");
	const char *account =
		text(yyjson_obj_get(b->pod, "spec"), "serviceAccountName");
	const char *uid = text(yyjson_obj_get(b->pod, "metadata"), "uid");
	const char *path = text(src, "path");
	auto_free char *token = NULL;
	int r;

	if (!path || !uid)
		return err_set(e, -EINVAL, "serviceAccountToken: has no path");
	r = object_token(b->r, b->key, uid, account ? account : "default",
			 text(src, "audience"),
			 s ? yyjson_get_sint(s) : TOKEN_SECONDS, &token, e);
	/* The pod is better off without it than not at all. */
	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return err_wrap(e, r, "token of service account '%s'",
				account ? account : "default");
	return add(b, path, token, strlen(token), b->mode, e);
}

static int add_source(struct build *b, yyjson_val *src, struct err *e)
{
	static const char *const known[] = { "configMap", "secret",
					     "downwardAPI",
					     "serviceAccountToken" };
	yyjson_val *v, *key;
	size_t i, max;

	json_obj_foreach (src, i, max, key, v) {
		const char *kind = yyjson_get_str(key);

		if (str_eq(kind, known[0]))
			return add_object(b, false, text(v, "name"), v, e);
		if (str_eq(kind, known[1]))
			return add_object(b, true,
					  text(v, "secretName")
						  ?: text(v, "name"),
					  v, e);
		if (str_eq(kind, known[2]))
			return add_downward(b, v, e);
		if (str_eq(kind, known[3]))
			return add_token(b, v, e);
		if (!str_eq(kind, "name"))
			return err_set(e, -EINVAL,
				       "'%s' is not supported by this agent",
				       kind);
	}
	return 0;
}

static int add_volume(struct build *b, yyjson_val *v, struct err *e)
{
	static const char *const kinds[] = { "configMap", "secret",
					     "downwardAPI", "projected" };
	const char *name = text(v, "name");
	yyjson_val *src = NULL, *one;
	yyjson_arr_iter it;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && !src; i++)
		src = yyjson_obj_get(v, kinds[i]);
	if (!src)
		return 0;
	if (!name)
		return err_set(e, -EINVAL, "it has no name");
	b->volume = payload_set_add(b->set, name);
	if (!b->volume)
		return err_set(e, -ENOMEM, "out of memory");
	b->mode = mode_of(src, "defaultMode", MODE_DEFAULT);
	if (!yyjson_obj_get(v, "projected"))
		return add_source(b, v, e);
	it = yyjson_arr_iter_with(yyjson_obj_get(src, "sources"));
	while (r == 0 && (one = yyjson_arr_iter_next(&it)))
		r = add_source(b, one, e);
	return r;
}

/* --- environment --- */

static bool is_env_name(const char *s)
{
	if (!*s || isdigit((unsigned char)*s))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_-.", *s))
			return false;
	return true;
}

static void put_pairs(yyjson_val *obj, bool secret, const char *prefix,
		      struct json_out *o)
{
	auto_buf struct buf value = BUF_INIT, name = BUF_INIT;
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (yyjson_obj_get(obj, "data"), i, max, key, val) {
		buf_reset(&name);
		buf_printf(&name, "%s%s", prefix ? prefix : "",
			   yyjson_get_str(key));
		if (!is_env_name(buf_str(&name)) ||
		    value_of(obj, secret, yyjson_get_str(key), &value) != 1 ||
		    strlen(buf_str(&value)) != value.len)
			continue; /* no name, or no value, of a variable */
		json_put_array(o, NULL);
		json_put_str(o, NULL, buf_str(&name));
		json_put_str(o, NULL, buf_str(&value));
		json_put_end(o);
	}
}

static int put_env_from(struct build *b, yyjson_val *ctr, struct json_out *o,
			struct err *e)
{
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(ctr, "envFrom"));
	yyjson_val *src;
	int r = 0;

	json_put_array(o, "from");
	while (r >= 0 && (src = yyjson_arr_iter_next(&it))) {
		yyjson_val *s = yyjson_obj_get(src, "secretRef");
		yyjson_val *ref = s ? s : yyjson_obj_get(src, "configMapRef");
		yyjson_doc *doc = NULL;

		r = get_object(b, s != NULL, text(ref, "name"), ref, &doc, e);
		if (r == 0)
			put_pairs(yyjson_doc_get_root(doc), s != NULL,
				  text(src, "prefix"), o);
		yyjson_doc_free(doc);
	}
	json_put_end(o);
	return r < 0 ? r : 0;
}

static int put_key(struct build *b, const char *name, bool secret,
		   yyjson_val *ref, struct json_out *o, struct err *e)
{
	auto_buf struct buf value = BUF_INIT;
	const char *key = text(ref, "key");
	yyjson_doc *doc = NULL;
	int r;

	if (!name || !key)
		return err_set(e, -EINVAL, "env: has no %s",
			       name ? "key" : "name");
	r = get_object(b, secret, text(ref, "name"), ref, &doc, e);
	if (r != 0)
		return r < 0 ? r : 0;
	r = value_of(yyjson_doc_get_root(doc), secret, key, &value);
	yyjson_doc_free(doc);
	if (r == 1)
		json_put_str(o, name, buf_str(&value));
	else if (!yyjson_get_bool(yyjson_obj_get(ref, "optional")))
		return err_set(e, -ENOENT, "couldn't find key %s in %s %s/%s",
			       key, secret ? "Secret" : "ConfigMap",
			       text(yyjson_obj_get(b->pod, "metadata"),
				    "namespace")
				       ?: "default",
			       text(ref, "name"));
	return 0;
}

static int put_env(struct build *b, yyjson_val *ctr, struct json_out *o,
		   struct err *e)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(ctr, "env"));
	yyjson_val *var;
	int r = 0;

	json_put_object(o, "env");
	while (r == 0 && (var = yyjson_arr_iter_next(&it))) {
		yyjson_val *from = yyjson_obj_get(var, "valueFrom");
		yyjson_val *s = yyjson_obj_get(from, "secretKeyRef");
		yyjson_val *c = yyjson_obj_get(from, "configMapKeyRef");

		if (s || c)
			r = put_key(b, text(var, "name"), s != NULL, s ? s : c,
				    o, e);
	}
	json_put_end(o);
	return r;
}

static bool has_env(yyjson_val *ctr)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(ctr, "env"));
	yyjson_val *var;

	while ((var = yyjson_arr_iter_next(&it))) {
		yyjson_val *from = yyjson_obj_get(var, "valueFrom");

		if (yyjson_obj_get(from, "secretKeyRef") ||
		    yyjson_obj_get(from, "configMapKeyRef"))
			return true;
	}
	return yyjson_arr_size(yyjson_obj_get(ctr, "envFrom")) > 0;
}

/* What is not there keeps this container waiting, and no other: its file says
 * what it lacks. */
static int add_env(struct build *b, yyjson_val *ctr, struct err *e)
{
	auto_buf struct buf body = BUF_INIT;
	struct err why = { 0 };
	const char *name = text(ctr, "name");
	struct json_out o = JSON_OUT(&body);
	int r;

	if (!has_env(ctr))
		return 0;
	if (!name)
		return err_set(e, -EINVAL, "a container has no name");
	if (!b->volume || !str_eq(b->volume->name, ENV_VOLUME))
		b->volume = payload_set_add(b->set, ENV_VOLUME);
	if (!b->volume)
		return err_set(e, -ENOMEM, "out of memory");
	json_put_object(&o, NULL);
	r = put_env_from(b, ctr, &o, &why);
	if (r == 0)
		r = put_env(b, ctr, &o, &why);
	json_put_end(&o);
	if (r == -ENOENT) {
		buf_reset(&body);
		o = (struct json_out)JSON_OUT(&body);
		json_put_object(&o, NULL);
		json_put_str(&o, "lacks", why.msg);
		json_put_end(&o);
		b->facts->lacks = true;
	} else if (r < 0) {
		return err_set(e, r, "%s", why.msg);
	}
	return add(b, name, body.data, body.len, 0600, e);
}

/* --- all of it --- */

static int add_everything(struct build *b, struct err *e)
{
	static const char *const lists[] = { "initContainers", "containers" };
	yyjson_val *spec = yyjson_obj_get(b->pod, "spec"), *v;
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(spec, "volumes"));
	int r = 0;

	while (r == 0 && (v = yyjson_arr_iter_next(&it))) {
		r = add_volume(b, v, e);
		if (r < 0)
			return err_wrap(
				e, r,
				"MountVolume.SetUp failed for volume \"%s\" ",
				text(v, "name") ?: "");
	}
	b->volume = NULL;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		it = yyjson_arr_iter_with(yyjson_obj_get(spec, lists[i]));
		while (r == 0 && (v = yyjson_arr_iter_next(&it)))
			r = add_env(b, v, e);
	}
	return r;
}

int content_build(struct remote *r, const char *key, yyjson_val *pod,
		  struct payload_set **ret, struct content_facts *facts,
		  struct err *e)
{
	struct build b = { .r = r, .key = key, .pod = pod, .facts = facts };
	int code;

	b.set = calloc(1, sizeof(*b.set));
	if (!b.set)
		return err_set(e, -ENOMEM, "out of memory");
	code = add_everything(&b, e);
	if (code == 0)
		code = content_pull_secrets(r, key, pod, b.set, facts);
	if (code < 0 || !b.set->nr) {
		payload_set_free(b.set);
		b.set = NULL;
	}
	*ret = b.set;
	return code < 0 ? code : 0;
}

uint64_t content_hash(const struct payload_set *set)
{
	uint64_t h = 1;

	for (size_t i = 0; set && i < set->nr; i++) {
		const struct payload_volume *v = &set->v[i];

		h = h * 31 + map_hash(v->name, strlen(v->name));
		for (size_t k = 0; k < v->nr; k++) {
			const struct payload_file *f = &v->files[k];

			h = h * 31 + map_hash(f->path, strlen(f->path));
			h = h * 31 + map_hash(f->data, f->len) + f->mode;
		}
	}
	return h;
}
