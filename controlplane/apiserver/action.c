// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/apiserver/action.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/client/object.h"
#include "lib/json.h"
#include "lib/str.h"

#define NAME_LEN_MAX 63

/* An operation, the field of the request with its parameters, the field of the
 * Action they go to. */
static const struct operation {
	const char *name, *params, *field;
} operations[] = {
	{ "reboot", "rebootParams", "rebootAction" },
	{ "snapshot", "snapshotParams", "snapshotAction" },
	{ "restore", "restoreParams", "restoreAction" },
	{ "deleteSnapshot", "deleteSnapshotParams", "deleteSnapshotAction" },
};

bool action_name_ok(const char *name)
{
	size_t n = name ? strlen(name) : 0;

	if (!n || n > NAME_LEN_MAX || !isalnum((unsigned char)name[0]) ||
	    !isalnum((unsigned char)name[n - 1]))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; name && i < ARRAY_LEN(operations); i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

/* The names of Arktos begin with the operation and the time; two in one second
 * are told apart by what is generated. */
static void put_action(struct buf *b, const struct operation *op,
		       const char *pod, yyjson_val *params)
{
	struct json_out o = JSON_OUT(b);
	char prefix[40];
	size_t n = (size_t)snprintf(prefix, sizeof(prefix), "%s-%lld-",
				    op->name, (long long)time(NULL));

	for (size_t i = 0; i < n; i++)
		prefix[i] = (char)tolower((unsigned char)prefix[i]);
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "Action");
	json_put_str(&o, "apiVersion", "v1");
	json_put_object(&o, "metadata");
	json_put_str(&o, "generateName", prefix);
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_str(&o, "podName", pod);
	if (yyjson_is_obj(params)) {
		json_put_val(&o, op->field, params);
	} else {
		json_put_object(&o, op->field);
		json_put_end(&o);
	}
	json_put_end(&o);
	json_put_end(&o);
}

void action_create(struct req *r)
{
	auto_buf struct buf action = BUF_INIT;
	const struct operation *op;
	yyjson_doc *doc = NULL;
	yyjson_val *body;
	const char *name;

	if (body_parse(r, &doc) < 0)
		return;
	body = yyjson_doc_get_root(doc);
	name = yyjson_get_str(yyjson_obj_get(body, "operation"));
	op = find(name);
	if (!op) {
		reply_error(r, 400, "BadRequest",
			    "Unsupported operation '%s' for Pod '%s'; want "
			    "reboot, snapshot, restore or deleteSnapshot",
			    name ? name : "", r->route.name);
		yyjson_doc_free(doc);
		return;
	}
	put_action(&action, op, r->route.name,
		   yyjson_obj_get(body, op->params));
	yyjson_doc_free(doc);
	/* From here on it is the creation of an Action like any other. */
	buf_reset(&r->body);
	if (buf_error(&action) ||
	    buf_add(&r->body, buf_str(&action), action.len) < 0 ||
	    str_set(&r->content_type, "application/json") < 0) {
		reply_error(r, 500, "InternalError", "out of memory");
		return;
	}
	r->action = op->name;
	r->route.type = type_find(r->api->types, "", "v1", "actions");
	r->route.plural = "actions";
	r->route.subresource = NULL;
	r->route.name = NULL;
	write_create(r);
}

void action_reply(struct req *r, const struct object_bytes *action)
{
	yyjson_doc *doc = object_doc(action);
	yyjson_val *obj = yyjson_doc_get_root(doc);
	const char *name = obj_str(obj, "metadata.name");
	const char *snapshot = obj_str(obj, "spec.snapshotAction.snapshotName");
	struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	if (!*snapshot)
		snapshot = obj_str(obj, "spec.restoreAction.snapshotID");
	if (!*snapshot)
		snapshot = obj_str(obj, "spec.deleteSnapshotAction.snapshotID");
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "Action");
	json_put_str(&o, "apiVersion", "v1");
	json_put_object(&o, "metadata");
	json_put_fmt(&o, "selfLink", "/api/v1/tenants/%s/namespaces/%s/%s/%s",
		     r->tenant, r->route.namespace, "actions", name);
	json_put_fmt(&o, "resourceVersion", "%llu",
		     (unsigned long long)action->revision);
	json_put_end(&o);
	json_put_str(&o, "status", "Success");
	json_put_fmt(&o, "message", "Created action '%s' for Pod '%s'",
		     r->action, obj_str(obj, "spec.podName"));
	json_put_object(&o, "details");
	json_put_str(&o, "name", *snapshot ? snapshot : name);
	json_put_str(&o, "kind", "actions");
	json_put_str(&o, "uid", obj_str(obj, "metadata.uid"));
	json_put_end(&o);
	json_put_i64(&o, "code", 201);
	json_put_end(&o);
	yyjson_doc_free(doc);
	reply_json(r, 201, &b);
}
