/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store as one tenant has it. The tenant is fixed when the view is made, and
 * every key is built here, from parts that cannot hold a '/': no argument of
 * these functions can reach another tenant's objects.
 *
 *	struct tenant_view v;
 *
 *	tenant_view_init(&v, store, "acme", e);
 *	o = tenant_get(&v, "core/pods", "default", "web");
 *	tenant_list(&v, "core/pods", NULL, NULL, &list, e);
 */
#ifndef CONTROLPLANE_STORE_TENANT_H
#define CONTROLPLANE_STORE_TENANT_H

#include "controlplane/store/store.h"

#define TENANT_NAME_MAX 253

struct tenant_view {
	struct store *s; /* borrowed */
	char tenant[TENANT_NAME_MAX + 1];
};

/* -EINVAL: @tenant is empty, too long, or no name. */
int tenant_view_init(struct tenant_view *v, struct store *s, const char *tenant,
		     struct err *e);

/*
 * The key of an object, or with @name NULL the prefix of a namespace, or with
 * @space NULL too that of the tenant's part of @resource ("group/plural"). ""
 * is the namespace of what has none. -EINVAL: a part is no name.
 */
int tenant_key(const struct tenant_view *v, const char *resource,
	       const char *space, const char *name, char out[STORE_KEY_MAX],
	       struct err *e);

/* As store_get(); NULL also when a part is no name. */
struct object_bytes *tenant_get(const struct tenant_view *v,
				const char *resource, const char *space,
				const char *name);

/* As store_list(), with the prefix made here; @r may be NULL. @r->after is the
 * key of an object of this view, or -EINVAL. */
int tenant_list(const struct tenant_view *v, const char *resource,
		const char *space, const struct store_range *r,
		struct store_list *ret, struct err *e);

/* As store_watch_open(). */
int tenant_watch_open(const struct tenant_view *v, const char *resource,
		      const char *space, uint64_t revision,
		      void (*notify)(void *arg), void *arg,
		      struct store_watch **ret, struct err *e);

/**
 * tenant_drop() - Delete everything the tenant has, of every resource.
 * @v:      View.
 * @ret_nr: How many objects that were.
 * @e:      Filled on error.
 *
 * Costs what the tenant has, and a look at each resource; not what others have.
 * Return: 0, or an error of store_commit(); then some may be left.
 */
int tenant_drop(const struct tenant_view *v, size_t *ret_nr, struct err *e);

#endif /* CONTROLPLANE_STORE_TENANT_H */
