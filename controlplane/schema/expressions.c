// SPDX-License-Identifier: Apache-2.0
#include "controlplane/schema/expressions.h"

#include <errno.h>
#include <string.h>

#include "lib/err.h"
#include "lib/auto.h"
#include "lib/str.h"

/* --- what is known of the variables: what Kubernetes declares --- */

struct shape;
struct shape_field {
	const char *name;
	const struct shape *shape; /* NULL: anything */
};

struct shape {
	enum cel_kind kind;
	const struct shape_field *fields; /* of an object; without name: end */
	const struct shape *item;         /* of a list or map */
};

static const struct shape text = { .kind = CEL_STRING };
static const struct shape flag = { .kind = CEL_BOOL };
static const struct shape number = { .kind = CEL_INT };
static const struct shape moment = { .kind = CEL_TIMESTAMP };
static const struct shape texts = { .kind = CEL_LIST, .item = &text };
static const struct shape text_map = { .kind = CEL_MAP, .item = &text };
static const struct shape texts_map = { .kind = CEL_MAP, .item = &texts };

static const struct shape_field kind_fields[] = {
	{ "group", &text },
	{ "version", &text },
	{ "kind", &text },
	{ 0 },
};
static const struct shape kind = { .kind = CEL_OBJECT, .fields = kind_fields };

static const struct shape_field resource_fields[] = {
	{ "group", &text },
	{ "version", &text },
	{ "resource", &text },
	{ 0 },
};
static const struct shape resource = { .kind = CEL_OBJECT,
				       .fields = resource_fields };

static const struct shape_field user_fields[] = {
	{ "username", &text },
	{ "uid", &text },
	{ "groups", &texts },
	{ "extra", &texts_map },
	{ "tenant", &text }, /* ours */
	{ 0 },
};
static const struct shape user = { .kind = CEL_OBJECT, .fields = user_fields };

static const struct shape_field request_fields[] = {
	{ "kind", &kind },
	{ "resource", &resource },
	{ "subResource", &text },
	{ "requestKind", &kind },
	{ "requestResource", &resource },
	{ "requestSubResource", &text },
	{ "name", &text },
	{ "namespace", &text },
	{ "operation", &text },
	{ "userInfo", &user },
	{ "dryRun", &flag },
	{ "options", NULL },
	{ "tenant", &text }, /* ours */
	{ 0 },
};
static const struct shape request = { .kind = CEL_OBJECT,
				      .fields = request_fields };

static const struct shape_field condition_fields[] = {
	{ "status", &text },
	{ "type", &text },
	{ "lastTransitionTime", &moment },
	{ "message", &text },
	{ "reason", &text },
	{ 0 },
};
static const struct shape condition = { .kind = CEL_OBJECT,
					.fields = condition_fields };
static const struct shape conditions = { .kind = CEL_LIST, .item = &condition };

static const struct shape_field space_spec_fields[] = {
	{ "finalizers", &texts },
	{ 0 },
};
static const struct shape space_spec = { .kind = CEL_OBJECT,
					 .fields = space_spec_fields };

static const struct shape_field space_status_fields[] = {
	{ "conditions", &conditions },
	{ "phase", &text },
	{ 0 },
};
static const struct shape space_status = { .kind = CEL_OBJECT,
					   .fields = space_status_fields };

static const struct shape_field space_meta_fields[] = {
	{ "name", &text },
	{ "generateName", &text },
	{ "namespace", &text },
	{ "labels", &text_map },
	{ "annotations", &text_map },
	{ "uid", &text },
	{ "creationTimestamp", &moment },
	{ "deletionGracePeriodSeconds", &number },
	{ "deletionTimestamp", &moment },
	{ "generation", &number },
	{ "resourceVersion", &text },
	{ "finalizers", &texts },
	{ 0 },
};
static const struct shape space_meta = { .kind = CEL_OBJECT,
					 .fields = space_meta_fields };

static const struct shape_field space_fields[] = {
	{ "metadata", &space_meta },
	{ "spec", &space_spec },
	{ "status", &space_status },
	{ 0 },
};
static const struct shape space = { .kind = CEL_OBJECT,
				    .fields = space_fields };

static enum cel_kind shape_kind(const void *shape)
{
	return ((const struct shape *)shape)->kind;
}

static bool shape_field(const void *shape, const char *name, const void **ret)
{
	const struct shape_field *f = ((const struct shape *)shape)->fields;

	while (f->name && strcmp(f->name, name) != 0)
		f++;
	*ret = f->shape;
	return f->name;
}

static const void *shape_item(const void *shape)
{
	return ((const struct shape *)shape)->item;
}

static bool shape_is_set(const void *shape, const char *const **ret_keys)
{
	(void)shape;
	*ret_keys = NULL;
	return false;
}

static const struct cel_shapes shapes = {
	.kind = shape_kind,
	.field = shape_field,
	.item = shape_item,
	.is_set = shape_is_set,
};

/* --- compiling --- */

static int check_result(const struct cel *c, enum expression_want want,
			struct err *e)
{
	enum cel_kind is = cel_result(c);

	if (!is || want == EXPR_ANY)
		return 0;
	if (want == EXPR_BOOL && is != CEL_BOOL)
		return err_set(e, -EINVAL, "must evaluate to bool");
	if (want == EXPR_TEXT && is != CEL_STRING)
		return err_set(e, -EINVAL, "must evaluate to string");
	if (want == EXPR_TEXT_OR_NULL && is != CEL_STRING && is != CEL_NULL)
		return err_set(e, -EINVAL,
			       "must evaluate to one of [string null_type]");
	return 0;
}

int expression_compile(const char *expression, const struct expression_env *x,
		       enum expression_want want, struct cel **ret,
		       struct err *e)
{
	struct cel_var vars[EXPR_NR_VARS] = {
		[EXPR_OBJECT] = { .name = "object" },
		[EXPR_OLD_OBJECT] = { .name = "oldObject" },
		[EXPR_REQUEST] = { .name = "request", .shape = &request },
		[EXPR_NAMESPACE] = { .name = "namespaceObject",
				     .shape = &space },
		[EXPR_PARAMS] = { .name = x->params ? "params" : "" },
		[EXPR_AUTHORIZER] = { .name = x->no_authorizer ? ""
							       : "authorizer",
				      .authorizer = true },
	};
	struct cel_env env = { .vars = vars,
			       .nr_vars = EXPR_NR_VARS,
			       .shapes = &shapes,
			       .named = x->named,
			       .nr_named = x->nr_named };
	struct err why = { 0 };
	struct cel *c = NULL;
	int r = cel_compile(expression, &env, CEL_DYN, &c, &why);

	if (r < 0)
		return err_set(e, r, "compilation failed: %s", why.msg);
	r = check_result(c, want, e);
	if (r < 0) {
		cel_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

bool expression_is_name(const char *name)
{
	static const char *const reserved[] = {
		"true",   "false",    "null",  "in",      "as",        "break",
		"const",  "continue", "else",  "for",     "function",  "if",
		"import", "let",      "loop",  "package", "namespace", "return",
		"var",    "void",     "while",
	};
	static const char letters[] = "_abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(name);

	if (!n || strspn(name, letters) != n || (*name >= '0' && *name <= '9'))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (strcmp(reserved[i], name) == 0)
			return false;
	return true;
}
