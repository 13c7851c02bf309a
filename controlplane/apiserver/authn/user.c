// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>

#include "controlplane/apiserver/authn/user.h"
#include "lib/str.h"

struct user *user_new(const char *name, const char *tenant)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u || str_set(&u->name, name) || str_set(&u->tenant, tenant)) {
		user_free(u);
		return NULL;
	}
	return u;
}

void user_free(struct user *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->nr_groups; i++)
		free(u->groups[i]);
	for (size_t i = 0; i < u->nr_extra; i++) {
		free(u->extra[i].key);
		free(u->extra[i].value);
	}
	free(u->name);
	free(u->uid);
	free(u->tenant_uid);
	free(u->tenant);
	free(u);
}

struct user *user_dup(const struct user *u)
{
	auto_ptr(user) copy = user_new(u->name, u->tenant);

	if (!copy || (u->uid && !(copy->uid = strdup(u->uid))))
		return NULL;
	for (size_t i = 0; i < u->nr_groups; i++)
		if (user_add_group(copy, u->groups[i]))
			return NULL;
	for (size_t i = 0; i < u->nr_extra; i++)
		if (user_add_extra(copy, u->extra[i].key, u->extra[i].value))
			return NULL;
	return take_ptr(copy);
}

bool user_in_group(const struct user *u, const char *group)
{
	for (size_t i = 0; i < u->nr_groups; i++)
		if (strcmp(u->groups[i], group) == 0)
			return true;
	return false;
}

int user_add_group(struct user *u, const char *group)
{
	if (user_in_group(u, group))
		return 0;
	if (u->nr_groups == GROUPS_MAX)
		return -E2BIG;
	u->groups[u->nr_groups] = strdup(group);
	if (!u->groups[u->nr_groups])
		return -ENOMEM;
	u->nr_groups++;
	return 0;
}

int user_add_extra(struct user *u, const char *key, const char *value)
{
	struct user_extra *x = &u->extra[u->nr_extra];

	if (u->nr_extra == EXTRA_MAX)
		return -E2BIG;
	if (str_set(&x->key, key))
		return -ENOMEM;
	if (str_set(&x->value, value)) {
		str_set(&x->key, NULL);
		return -ENOMEM;
	}
	u->nr_extra++;
	return 0;
}

bool user_is_system(const struct user *u)
{
	return strcmp(u->tenant, "system") == 0;
}

const char *user_node(const struct user *u)
{
	if (!user_is_system(u) || !str_starts(u->name, NODE_USER) ||
	    !u->name[strlen(NODE_USER)] || !user_in_group(u, "system:nodes"))
		return NULL;
	return u->name + strlen(NODE_USER);
}
