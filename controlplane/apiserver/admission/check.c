// SPDX-License-Identifier: Apache-2.0
/* What every object that is to be stored goes through: its envelope against
 * the URL, its metadata, its schema, its type's rules. */
#include <stdio.h>

#include "controlplane/apiserver/away.h"
#include "controlplane/apiserver/managed.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

#define LABEL_NAME_RULE                                                        \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric "  \
	"characters or '-', and must start and end with an alphanumeric "      \
	"character (e.g. 'my-name',  or '123-abc', regex used for validation " \
	"is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"

static void check_labels(yyjson_mut_val *obj, struct field_errors *errs)
{
	yyjson_mut_val *key, *val;
	size_t i, max;

	yyjson_mut_obj_foreach(mut_get(obj, "metadata.labels"), i, max, key,
			       val)
	{
		const char *v = yyjson_mut_get_str(val);

		if (!name_is_qualified(yyjson_mut_get_str(key)))
			field_error_add(errs, FIELD_INVALID, "metadata.labels",
					key, "%s", name_key_rule);
		if (v && strlen(v) > 63)
			field_error_add(errs, FIELD_INVALID, "metadata.labels",
					val,
					"must be no more than 63 characters");
		else if (v && !name_is_label_value(v))
			field_error_add(errs, FIELD_INVALID, "metadata.labels",
					val, "%s", name_value_rule);
	}
	yyjson_mut_obj_foreach(
		mut_get(obj, "metadata.annotations"), i, max, key,
		val) if (!name_is_qualified(yyjson_mut_get_str(key)))
		field_error_add(errs, FIELD_INVALID, "metadata.annotations",
				key, "%s", name_key_rule);
}

static void check_name(const struct type *t, yyjson_mut_val *obj,
		       struct field_errors *errs)
{
	yyjson_mut_val *v = mut_get(obj, "metadata.name");
	const char *name = yyjson_mut_get_str(v);
	bool label = str_eq(t->name_rule, "label");
	size_t max = label ? 63 : 253;

	if (!name || !*name)
		field_error_add(errs, FIELD_REQUIRED, "metadata.name", NULL,
				"name or generateName is required");
	else if (strlen(name) > max)
		field_error_add(errs, FIELD_INVALID, "metadata.name", v,
				"must be no more than %zu characters", max);
	else if (strchr(name, '/') || strchr(name, '%'))
		field_error_add(errs, FIELD_INVALID, "metadata.name", v,
				"may not contain '/' or '%%'");
	else if (str_eq(t->name_rule, "path"))
		return;
	else if (label ? !str_is_dns_label(name) : !str_is_dns_subdomain(name))
		field_error_add(errs, FIELD_INVALID, "metadata.name", v, "%s",
				label ? LABEL_NAME_RULE : name_subdomain_rule);
}

/* --- the envelope --- */

static int same_or_reply(struct write *w, yyjson_mut_val *obj, const char *path,
			 const char *what, const char *want)
{
	const char *got = mut_str(obj, path);

	if (!got || !*got || str_eq(got, want))
		return 0;
	reply_error(w->req, 400, "BadRequest",
		    "the %s of the provided object does not match the %s sent "
		    "on the request",
		    what, what);
	return -EINVAL;
}

static int check_envelope(struct write *w, yyjson_mut_doc *doc,
			  yyjson_mut_val *obj)
{
	struct req *r = w->req;
	const struct type *t = r->route.type;
	const char *version = mut_str(obj, "apiVersion");
	const char *kind = mut_str(obj, "kind");
	const char *name = mut_str(obj, "metadata.name");
	char want[256];

	type_api_version(t, want, sizeof(want));
	if ((version && strcmp(version, want)) ||
	    (kind && strcmp(kind, t->kind))) {
		reply_error(r, 400, "BadRequest",
			    "%s in version \"%s\" cannot be handled as a %s: "
			    "the object is of another kind or version",
			    kind ? kind : "object", version ? version : "",
			    t->kind);
		return -EINVAL;
	}
	if (!yyjson_mut_is_obj(mut_get(obj, "metadata")))
		mut_set(doc, obj, "metadata", yyjson_mut_obj(doc));
	if (r->route.name && name && strcmp(name, r->route.name)) {
		reply_error(r, 400, "BadRequest",
			    "the name of the object (%s) does not match the "
			    "name on the URL (%s)",
			    name, r->route.name);
		return -EINVAL;
	}
	if (same_or_reply(w, obj, "metadata.tenant", "tenant", r->tenant) ||
	    same_or_reply(w, obj, "metadata.namespace", "namespace",
			  r->route.namespace ? r->route.namespace : ""))
		return -EINVAL;
	mut_set_str(doc, obj, "apiVersion", want);
	mut_set_str(doc, obj, "kind", t->kind);
	if (r->route.name)
		mut_set_str(doc, obj, "metadata.name", r->route.name);
	if (t->scope == SCOPE_NAMESPACED)
		mut_set_str(doc, obj, "metadata.namespace", r->route.namespace);
	else
		mut_remove(obj, "metadata.namespace");
	if (t->scope != SCOPE_CLUSTER)
		mut_set_str(doc, obj, "metadata.tenant", r->tenant);
	else
		mut_remove(obj, "metadata.tenant");
	return 0;
}

/* --- metadata that is the system's --- */

static const char *const system_fields[] = {
	"metadata.uid",
	"metadata.creationTimestamp",
	"metadata.deletionTimestamp",
	"metadata.deletionGracePeriodSeconds",
	"metadata.generation",
	"metadata.hashKey",
};

static uint64_t hash_of(const char *uid)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *uid; uid++)
		h = (h ^ (unsigned char)*uid) * 0x100000001b3;
	return h & INT64_MAX;
}

static void set_metadata(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			 yyjson_mut_val *old)
{
	char uid[37], now[32];

	mut_remove(obj, "metadata.selfLink");
	for (size_t i = 0; i < ARRAY_LEN(system_fields); i++) {
		yyjson_mut_val *v = mut_get(old, system_fields[i]);

		mut_remove(obj, system_fields[i]);
		if (v)
			mut_set(doc, obj, system_fields[i],
				yyjson_mut_val_mut_copy(doc, v));
	}
	if (old)
		return;
	new_uid(uid);
	now_text(now);
	mut_set_str(doc, obj, "metadata.uid", uid);
	mut_set_int(doc, obj, "metadata.hashKey", hash_of(uid));
	mut_set_str(doc, obj, "metadata.creationTimestamp", now);
}

/* Which part a subresource may change: the rest stays as it was. */
static void limit_to_part(struct write *w, yyjson_mut_doc *doc,
			  yyjson_mut_val *obj, yyjson_mut_val *old)
{
	const char *sub = w->req->route.subresource;
	bool status = sub && (strcmp(sub, "status") == 0 ||
			      strcmp(sub, "approval") == 0);
	yyjson_mut_val *v;

	if (str_eq(sub, "resize"))
		pod_limit_to_resize(doc, obj, old);
	if (status) {
		yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(obj);
		yyjson_mut_val *key;

		while ((key = yyjson_mut_obj_iter_next(&it))) {
			const char *name = yyjson_mut_get_str(key);

			if (strcmp(name, "status") && strcmp(name, "metadata"))
				yyjson_mut_obj_iter_remove(&it);
		}
		it = yyjson_mut_obj_iter_with(old);
		while ((key = yyjson_mut_obj_iter_next(&it))) {
			const char *name = yyjson_mut_get_str(key);

			if (strcmp(name, "status") && strcmp(name, "metadata"))
				mut_put(doc, obj, name,
					yyjson_mut_val_mut_copy(
						doc,
						yyjson_mut_obj_iter_get_val(
							key)));
		}
	} else if (type_has_subresource(w->req->route.type, "status")) {
		v = mut_get(old, "status");
		yyjson_mut_obj_remove_key(obj, "status");
		if (v)
			mut_put(doc, obj, "status",
				yyjson_mut_val_mut_copy(doc, v));
	}
}

/* --- unknown fields --- */

struct unknowns {
	struct buf text;
	size_t nr;
	struct req *req;
	int validation;
};

static void unknown_field(void *arg, const char *path)
{
	struct unknowns *u = arg;
	char text[SCHEMA_PATH_MAX + 32];

	snprintf(text, sizeof(text), "unknown field \"%s\"", path);
	if (u->nr++ < 16)
		buf_printf(&u->text, "%s%s", u->text.len ? ", " : "", text);
	if (u->validation == FIELDS_WARN && u->nr < 16)
		reply_warning(u->req, text);
}

static int prune(struct write *w, yyjson_mut_val *obj)
{
	struct unknowns u = { .req = w->req, .validation = w->validation };
	int r = schema_prune(w->req->route.type->schema, obj, unknown_field,
			     &u);

	if (r < 0)
		reply_error(w->req, 400, "BadRequest",
			    "the object is nested deeper than %d levels",
			    SCHEMA_DEPTH_MAX);
	else if (u.nr && w->validation == FIELDS_STRICT) {
		reply_error(w->req, 400, "BadRequest",
			    "%s in version \"%s\" cannot be handled as a %s: "
			    "strict decoding error: %s",
			    w->req->route.type->kind,
			    w->req->route.type->version,
			    w->req->route.type->kind, buf_str(&u.text));
		r = -EINVAL;
	}
	buf_clear(&u.text);
	return r;
}

/* Of a custom resource, any field may be what is wanted. */
static bool same_but_status(const struct type *t, yyjson_mut_val *a,
			    yyjson_mut_val *b)
{
	bool apart = type_has_subresource(t, "status");
	yyjson_mut_val *key, *val;
	size_t i, max;

	yyjson_mut_obj_foreach(a, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);

		if (strcmp(name, "metadata") &&
		    !(apart && strcmp(name, "status") == 0) &&
		    !mut_equal(val, yyjson_mut_obj_get(b, name)))
			return false;
	}
	yyjson_mut_obj_foreach(b, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);

		if (!yyjson_mut_obj_get(a, name) &&
		    !(apart && strcmp(name, "status") == 0))
			return false;
	}
	return true;
}

/* A change of anything but metadata and status is a new generation. */
static void set_generation(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			   yyjson_mut_val *old, const struct type *t)
{
	int64_t gen = mut_int(old, "metadata.generation", 0);

	if (!schema_field(t->schema, "spec") && !t->custom)
		return;
	if (!old)
		gen = 1;
	else if (t->custom)
		gen += !same_but_status(t, obj, old);
	else if (!mut_equal(mut_get(obj, "spec"), mut_get(old, "spec")))
		gen++;
	if (gen)
		mut_set_int(doc, obj, "metadata.generation", gen);
}

void write_admission(struct write *w, struct admission *a, yyjson_mut_doc *doc,
		     yyjson_mut_val *obj, yyjson_mut_val *old)
{
	struct req *r = w->req;
	const char *name = obj ? mut_str(obj, "metadata.name") : r->route.name;

	*a = (struct admission){
		.api = r->api,
		.req = r,
		.write = w,
		.user = r->user,
		.op = !obj   ? ADMIT_DELETE
		      : !old ? ADMIT_CREATE
			     : ADMIT_UPDATE,
		.type = r->route.type,
		.types = r->types,
		.subresource = r->route.subresource ? r->route.subresource : "",
		.tenant = r->tenant ? r->tenant : "",
		.namespace = r->route.namespace ? r->route.namespace : "",
		.name = name ? name : "",
		.dry_run = w->dry_run,
		.doc = doc,
		.obj = obj,
		.old = old,
	};
}

/* As it was sent, in the form the chain expects. */
/* What is empty is not there: as if it had been through Kubernetes' ObjectMeta.
 * (kubectl diff would show the difference.) */
static void drop_empty(yyjson_mut_val *obj)
{
	static const char *const names[] = { "labels", "annotations",
					     "finalizers", "ownerReferences" };
	yyjson_mut_val *meta = yyjson_mut_obj_get(obj, "metadata");

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(meta, names[i]);

		if (v && yyjson_mut_is_ctn(v) && !unsafe_yyjson_get_len(v))
			yyjson_mut_obj_remove_key(meta, names[i]);
	}
}

static int shape(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		 yyjson_mut_val *old)
{
	struct req *r = w->req;
	const struct type *t = r->route.type;

	if (check_envelope(w, doc, obj) || prune(w, obj))
		return -EINVAL;
	set_metadata(doc, obj, old);
	drop_empty(obj);
	if (old)
		limit_to_part(w, doc, obj, old);
	else if (type_has_subresource(t, "status"))
		yyjson_mut_obj_remove_key(obj, "status");
	if (schema_default(t->schema, doc, obj)) {
		reply_error(r, 500, "InternalError", "out of memory");
		return -ENOMEM;
	}
	return 0;
}

/* The schema and the type's own rules. */
static int validate(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		    yyjson_mut_val *old)
{
	struct req *r = w->req;
	const struct type *t = r->route.type;
	const char *sub = r->route.subresource ? r->route.subresource : "";
	struct field_errors errs = { .nr = 0 };
	struct path at = { .len = 0 };
	int res;

	/* These change the object itself: all of its rules hold. */
	if (strcmp(sub, "resize") == 0 || strcmp(sub, "scale") == 0)
		sub = "";
	schema_validate(t->schema, obj, &at, &errs);
	schema_validate_rules(t->schema, obj, old, &at, &errs);
	if (!errs.nr) {
		if (t->hooks->complete)
			t->hooks->complete(doc, obj);
		if (t->hooks->prepare)
			t->hooks->prepare(doc, obj, old, sub);
		check_name(t, obj, &errs);
		check_labels(obj, &errs);
		if (t->hooks->validate && !*sub)
			t->hooks->validate(obj, &errs);
		if (old && t->hooks->validate_update && !*sub)
			t->hooks->validate_update(obj, old, &errs);
	}
	res = errs.nr ? -EINVAL : 0;
	if (errs.nr)
		reply_invalid(r, t->kind, mut_str(obj, "metadata.name"), &errs);
	field_errors_clear(&errs);
	return res;
}

int write_check(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		yyjson_mut_val *old)
{
	const struct type *t = w->req->route.type;
	yyjson_mut_val *managers = NULL;
	struct admission a;
	int r;

	away_give();
	r = shape(w, doc, obj, old);
	if (r < 0)
		return r;
	away_give();
	if (!w->apply && managed_update(w, doc, obj, old, &managers)) {
		reply_error(w->req, 500, "InternalError", "out of memory");
		return -ENOMEM;
	}
	write_admission(w, &a, doc, obj, old);
	r = admission_mutate(&a);
	if (r < 0) {
		admission_reply(&a);
		return r;
	}
	r = webhooks_admit(&a, true, w->base);
	if (r > 0)
		r = shape(w, doc, obj, old);
	else if (r < 0 && r != -EINPROGRESS)
		admission_reply(&a);
	if (r < 0)
		return r;
	/* What plug-ins have added has defaults, too. */
	if (schema_default(t->schema, doc, obj)) {
		reply_error(w->req, 500, "InternalError", "out of memory");
		return -ENOMEM;
	}
	r = validate(w, doc, obj, old);
	if (r < 0)
		return r;
	set_generation(doc, obj, old, t);
	if (!w->apply && managed_put(doc, obj, managers)) {
		reply_error(w->req, 500, "InternalError", "out of memory");
		return -ENOMEM;
	}
	r = webhooks_admit(&a, false, w->base);
	if (r == 0)
		r = admission_validate(&a);
	if (r < 0 && r != -EINPROGRESS)
		admission_reply(&a);
	return r;
}
