// SPDX-License-Identifier: Apache-2.0
/* Request bodies: JSON, YAML, or Kubernetes' protobuf. */
#include "controlplane/apiserver/away.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

static int from_yaml(struct req *r, yyjson_doc **ret, struct err *e)
{
	struct yaml_docs docs = { 0 };
	int res = yaml_to_json(r->body.data, r->body.len, &docs, e);

	if (res == 0 && docs.nr != 1)
		res = err_set(e, -EINVAL, "want one document");
	if (res == 0)
		res = json_parse(docs.v[0].json, docs.v[0].len, ret, e);
	yaml_docs_clear(&docs);
	return res;
}

static int from_protobuf(struct req *r, yyjson_doc **ret, struct err *e)
{
	const struct type *t = r->route.type;
	struct protobuf_envelope env;
	const struct schema *s;
	yyjson_mut_doc *doc;
	yyjson_mut_val *obj = NULL;
	int res = schema_protobuf_envelope(r->body.data, r->body.len, &env, e);

	if (res < 0)
		return res;
	s = strcmp(env.kind, t->kind) == 0
		    ? t->schema
		    : map_get(&r->api->types->short_names, env.kind);
	if (!s)
		return err_set(e, -EINVAL, "kind \"%s\" is not known",
			       env.kind);
	doc = yyjson_mut_doc_new(NULL);
	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	res = schema_from_protobuf(s, doc, env.raw ? env.raw : (void *)"",
				   env.raw_len, &obj, e);
	if (res == 0) {
		mut_set_str(doc, obj, "apiVersion", env.api_version);
		mut_set_str(doc, obj, "kind", env.kind);
		yyjson_mut_doc_set_root(doc, obj);
		*ret = yyjson_mut_doc_imut_copy(doc, NULL);
		res = *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	yyjson_mut_doc_free(doc);
	return res;
}

int body_parse(struct req *r, yyjson_doc **ret)
{
	const char *type = r->content_type ? r->content_type : "";
	struct err e = { 0 };
	int res;

	if (!r->body.len) {
		reply_error(r, 400, "BadRequest", "the request has no body");
		return -EINVAL;
	}
	if (strstr(type, "protobuf"))
		res = from_protobuf(r, ret, &e);
	else if (strstr(type, "yaml"))
		res = from_yaml(r, ret, &e);
	else
		res = json_parse(r->body.data, r->body.len, ret, &e);
	away_give();
	if (res == 0)
		audit_request(r, yyjson_doc_get_root(*ret));
	if (res < 0)
		reply_error(r, 400, "BadRequest",
			    "the object provided is unrecognized: %s", e.msg);
	return res;
}
