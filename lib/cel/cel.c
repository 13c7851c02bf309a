// SPDX-License-Identifier: Apache-2.0
#include "lib/cel/internal.h"

DEFINE_AUTO_PTR(cel, cel_free)

/* The caller's array may be on its stack. */
static const struct cel_env *copy_env(struct cel *c, const struct cel_env *env)
{
	struct cel_env *copy = cel_pool_get(&c->pool, sizeof(*copy));
	struct cel_var *vars =
		cel_pool_get(&c->pool, env->nr_vars * sizeof(*vars) + 1);

	if (!copy || !vars)
		return NULL;
	if (env->nr_vars)
		memcpy(vars, env->vars, env->nr_vars * sizeof(*vars));
	*copy = *env;
	copy->vars = vars;
	return copy;
}

int cel_compile(const char *text, const struct cel_env *env, enum cel_kind want,
		struct cel **ret, struct err *e)
{
	auto_ptr(cel) c = calloc(1, sizeof(*c));
	size_t len = strlen(text);
	int r;

	if (len > CEL_LEN_MAX)
		return err_set(e, -E2BIG,
			       "the expression has %zu bytes: at most %d", len,
			       CEL_LEN_MAX);
	if (!c)
		return err_set(e, -ENOMEM, "no memory for the expression");
	c->pool.max = 4 * CEL_MEM_MAX;
	c->want = want;
	c->text = cel_pool_text(&c->pool, text, len);
	c->env = copy_env(c, env);
	if (!c->text || !c->env)
		return err_set(e, -ENOMEM, "no memory for the expression");
	r = cel_parse(c, e);
	if (r == 0)
		r = cel_check(c, e);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

void cel_free(struct cel *c)
{
	if (!c)
		return;
	for (struct node *n = c->all; n; n = n->next)
		free(n->re);
	cel_pool_clear(&c->pool);
	free(c);
}

size_t cel_size(const struct cel *c)
{
	size_t size = sizeof(*c) + c->pool.used;

	for (const struct node *n = c->all; n; n = n->next)
		size += n->re ? re_size(n->re) : 0;
	return size;
}

enum cel_kind cel_result(const struct cel *c)
{
	return c->root->kind;
}

bool cel_uses(const struct cel *c, const char *var)
{
	for (const struct node *n = c->all; n; n = n->next)
		if (n->type == N_VAR &&
		    strcmp(c->env->vars[n->slot].name, var) == 0)
			return true;
	return false;
}
