/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions about a request, as admission knows them: conditions of webhooks
 * and of policies, and what policies ask. */
#ifndef CONTROLPLANE_SCHEMA_EXPRESSIONS_H
#define CONTROLPLANE_SCHEMA_EXPRESSIONS_H

#include "lib/cel/cel.h"

/* Places of the variables' values. */
enum expression_var {
	EXPR_OBJECT,
	EXPR_OLD_OBJECT,
	EXPR_REQUEST,
	EXPR_NAMESPACE,
	EXPR_PARAMS,
	EXPR_AUTHORIZER, /* no value: struct cel_authorizer */
	EXPR_NR_VARS,
};

/* What an expression may say beside. */
struct expression_env {
	bool params, no_authorizer;
	const struct cel_named
		*named; /* borrowed for as long as what is made */
	size_t nr_named;
};

enum expression_want {
	EXPR_ANY,
	EXPR_BOOL,
	EXPR_TEXT,
	EXPR_TEXT_OR_NULL,
};

/* As cel_compile(); in @e is what Kubernetes says of it: "compilation failed:
 * ...", "must evaluate to bool". */
int expression_compile(const char *text, const struct expression_env *env,
		       enum expression_want want, struct cel **ret,
		       struct err *e);

/* Whether variables may be called so. */
bool expression_is_name(const char *name);

#endif /* CONTROLPLANE_SCHEMA_EXPRESSIONS_H */
