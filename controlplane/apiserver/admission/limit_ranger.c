// SPDX-License-Identifier: Apache-2.0
/*
 * LimitRanger: containers and VMs that do not say what they need get the
 * namespace's defaults; what is below the least or above the most is refused.
 */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

/* Call @fn for each item of the namespace's LimitRanges. */
static int for_items(struct admission *a,
		     int (*fn)(struct admission *a, yyjson_val *item))
{
	auto_buf struct buf prefix = BUF_INIT;
	struct store_range range = { 0 };
	struct store_list list;
	struct err e = { 0 };
	int r = 0;

	buf_printf(&prefix, "core/limitranges/%s/%s/", a->tenant, a->namespace);
	range.prefix = buf_str(&prefix);
	if (store_list(a->api->store, &range, &list, &e) < 0)
		return admission_refuse(a, 500, "InternalError", "%s", e.msg);
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		yyjson_doc *doc = object_doc(list.v[i]);
		yyjson_val *items = yyjson_ptr_get(yyjson_doc_get_root(doc),
						   "/spec/limits"),
			   *item;
		size_t j, max;

		yyjson_arr_foreach(items, j, max, item)
		{
			if (r == 0)
				r = fn(a, item);
		}
		yyjson_doc_free(doc);
	}
	store_list_clear(&list);
	return r;
}

static bool is_type(yyjson_val *item, const char *type)
{
	return yyjson_equals_str(yyjson_obj_get(item, "type"), type);
}

/* The item's amount of @name: the first of @lists that has one. */
static const char *amount(yyjson_val *item, const char *const *lists,
			  const char *name)
{
	for (; *lists; lists++) {
		const char *s = yyjson_get_str(
			yyjson_obj_get(yyjson_obj_get(item, *lists), name));

		if (s)
			return s;
	}
	return NULL;
}

/* Everything that has resources: containers, and the VM. */
static yyjson_mut_val *next_container(struct admission *a, size_t *at,
				      bool *ret_init)
{
	yyjson_mut_val *own = mut_get(a->obj, "spec.containers");
	yyjson_mut_val *init = mut_get(a->obj, "spec.initContainers");
	size_t nr = yyjson_mut_arr_size(own), i = (*at)++;
	size_t nr_init = yyjson_mut_arr_size(init);

	*ret_init = i >= nr && i < nr + nr_init;
	if (i < nr)
		return yyjson_mut_arr_get(own, i);
	if (i < nr + nr_init)
		return yyjson_mut_arr_get(init, i - nr);
	return i == nr + nr_init ? mut_get(a->obj, "spec.virtualMachine")
				 : NULL;
}

/* --- defaults --- */

static void default_one(struct admission *a, yyjson_mut_val *container,
			const char *list, const char *name, const char *value)
{
	auto_free char *path = str_printf("resources.%s", list);
	yyjson_mut_val *v = path ? mut_get(container, path) : NULL;

	if (!path || !value)
		return;
	if (!v) {
		v = yyjson_mut_obj(a->doc);
		mut_set(a->doc, container, path, v);
	}
	if (!yyjson_mut_obj_get(v, name))
		mut_put(a->doc, v, name, yyjson_mut_strcpy(a->doc, value));
}

static void default_container(struct admission *a, yyjson_mut_val *c,
			      yyjson_val *item)
{
	static const char *const limits[] = { "default", "max", NULL };
	static const char *const requests[] = { "defaultRequest", "default",
						"min", NULL };
	static const char *const all[] = { "default", "max", "defaultRequest",
					   "min" };

	for (size_t l = 0; l < ARRAY_LEN(all); l++) {
		yyjson_val *k, *v;
		size_t i, max;

		json_obj_foreach (yyjson_obj_get(item, all[l]), i, max, k, v) {
			const char *name = yyjson_get_str(k);
			yyjson_mut_val *own =
				yyjson_mut_obj_get(mut_get(c,
							   "resources.limits"),
						   name);

			/* Its own limit is its request, too. */
			if (own && yyjson_mut_is_str(own))
				default_one(a, c, "requests", name,
					    yyjson_mut_get_str(own));
			default_one(a, c, "limits", name,
				    amount(item, limits, name));
			default_one(a, c, "requests", name,
				    amount(item, requests, name));
		}
	}
}

static int default_item(struct admission *a, yyjson_val *item)
{
	yyjson_mut_val *c;
	bool init;
	size_t i = 0;

	if (!is_type(item, "Container"))
		return 0;
	while ((c = next_container(a, &i, &init)))
		if (yyjson_mut_is_obj(c))
			default_container(a, c, item);
	return 0;
}

static int mutate(struct admission *a)
{
	if (a->op != ADMIT_CREATE || !admission_is(a, "", "pods") ||
	    *a->subresource || !yyjson_mut_is_obj(mut_get(a->obj, "spec")))
		return 0;
	return for_items(a, default_item);
}

/* --- limits --- */

/* What is given of a resource; -1: nothing. */
static int64_t given(yyjson_mut_val *c, const char *list, const char *name)
{
	auto_free char *path = str_printf("resources.%s", list);
	const char *s =
		path ? yyjson_mut_get_str(
			       yyjson_mut_obj_get(mut_get(c, path), name))
		     : NULL;
	int64_t n;

	return s && quota_parse(name, s, &n) == 0 ? n : -1;
}

static int check_amounts(struct admission *a, const char *type,
			 yyjson_val *item, const char *name, int64_t request,
			 int64_t limit)
{
	const char *min = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(item, "min"), name));
	const char *most = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(item, "max"), name));
	const char *ratio = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(item, "maxLimitRequestRatio"),
			       name));
	char text[32];
	int64_t n;

	if (min && quota_parse(name, min, &n) == 0) {
		if (request < 0)
			return admission_forbid(a,
						"minimum %s usage per %s is "
						"%s.  No request is specified",
						name, type, min);
		if (request < n)
			return admission_forbid(
				a,
				"minimum %s usage per %s is %s, but request is "
				"%s",
				name, type, min,
				quota_format(name, request, text));
	}
	if (most && quota_parse(name, most, &n) == 0) {
		if (limit < 0)
			return admission_forbid(a,
						"maximum %s usage per %s is "
						"%s.  No limit is specified",
						name, type, most);
		if (limit > n || request > n)
			return admission_forbid(
				a,
				"maximum %s usage per %s is %s, but %s is %s",
				name, type, most,
				limit > n ? "limit" : "request",
				quota_format(name, limit > n ? limit : request,
					     text));
	}
	/* Thousandths on both sides, so that 1.5 is a ratio. */
	if (ratio && quota_parse("cpu", ratio, &n) == 0 &&
	    (request <= 0 || limit < 0 ||
	     (double)limit * 1000 > (double)n * (double)request))
		return admission_forbid(
			a, "%s max limit to request ratio per %s is %s, but %s",
			name, type, ratio,
			request <= 0 || limit < 0
				? "no request or no limit is specified"
				: "the provided ratio is larger");
	return 0;
}

/* Call check_amounts() for each resource the item names. */
static int check_names(struct admission *a, const char *type, yyjson_val *item,
		       yyjson_mut_val *c)
{
	static const char *const lists[] = { "min", "max",
					     "maxLimitRequestRatio" };
	int r = 0;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		yyjson_val *k, *v;
		size_t i, max;

		json_obj_foreach (yyjson_obj_get(item, lists[l]), i, max, k,
				  v) {
			const char *name = yyjson_get_str(k);

			if (r == 0)
				r = check_amounts(a, type, item, name,
						  given(c, "requests", name),
						  given(c, "limits", name));
		}
	}
	return r;
}

/* All of a pod together, as one container. */
static int check_sums(struct admission *a, yyjson_val *item)
{
	static const char *const lists[] = { "min", "max",
					     "maxLimitRequestRatio" };
	yyjson_doc *doc = yyjson_mut_val_imut_copy(a->obj, NULL);
	const struct type *t = a->type;
	int r = 0;

	for (size_t l = 0; doc && l < ARRAY_LEN(lists); l++) {
		yyjson_val *k, *v;
		size_t i, max;

		json_obj_foreach (yyjson_obj_get(item, lists[l]), i, max, k,
				  v) {
			const char *name = yyjson_get_str(k);
			auto_free char *req = str_printf("requests.%s", name);
			auto_free char *lim = str_printf("limits.%s", name);
			yyjson_val *pod = yyjson_doc_get_root(doc);
			bool open = lim && quota_unspecified(lim, pod);

			if (r == 0 && req && lim)
				r = check_amounts(a, "Pod", item, name,
						  quota_measure(req, t, pod),
						  open ? -1
						       : quota_measure(lim, t,
								       pod));
		}
	}
	yyjson_doc_free(doc);
	return r;
}

static int check_claim(struct admission *a, yyjson_val *item)
{
	const char *s = mut_str(a->obj, "spec.resources.requests.storage");
	int64_t n;

	if (!s || quota_parse("storage", s, &n) < 0)
		return 0;
	return check_amounts(a, "PersistentVolumeClaim", item, "storage", n, n);
}

static int check_item(struct admission *a, yyjson_val *item)
{
	bool pods = admission_is(a, "", "pods"), init;
	yyjson_mut_val *c;
	size_t i = 0;
	int r = 0;

	if (!pods)
		return is_type(item, "PersistentVolumeClaim")
			       ? check_claim(a, item)
			       : 0;
	if (is_type(item, "Pod"))
		return check_sums(a, item);
	if (!is_type(item, "Container"))
		return 0;
	while (r == 0 && (c = next_container(a, &i, &init)))
		r = check_names(a, "Container", item, c);
	return r;
}

static int validate(struct admission *a)
{
	bool pod = admission_is(a, "", "pods"), resize;

	resize = strcmp(a->subresource, "resize") == 0;
	if (!pod && !admission_is(a, "", "persistentvolumeclaims"))
		return 0;
	if (*a->subresource && !(pod && resize))
		return 0;
	/* A pod that is there already only changes by resize. */
	if (pod && a->op == ADMIT_UPDATE && !resize &&
	    mut_equal(mut_get(a->obj, "spec"), mut_get(a->old, "spec")))
		return 0;
	return for_items(a, check_item);
}

const struct admission_plugin admission_limit_ranger = {
	.name = "LimitRanger",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.mutate = mutate,
	.validate = validate,
};
