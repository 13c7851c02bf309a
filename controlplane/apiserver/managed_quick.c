// SPDX-License-Identifier: Apache-2.0
/*
 * The two writes that are most common, without sets of fields: an object is
 * born, and somebody changes what only he manages already (a lease is renewed,
 * a status reported). All else is managed.c's.
 */
#include <stdio.h>

#include "controlplane/apiserver/managed.h"
#include "lib/json.h"
#include "lib/str.h"

#define UPDATE "Update"

static int put_str(yyjson_mut_doc *doc, yyjson_mut_val *v, const char *name,
		   const char *text)
{
	yyjson_mut_val *s = yyjson_mut_strcpy(doc, text);

	/* The names are literals. */
	return s && yyjson_mut_obj_add_val(doc, v, name, s) ? 0 : -ENOMEM;
}

/* One entry, with fieldsV1 as text: nobody looks into it again. */
static int put_born(struct write *w, yyjson_mut_doc *doc,
		    const struct buf *text, yyjson_mut_val **ret)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc), *v = yyjson_mut_obj(doc);
	yyjson_mut_val *raw = yyjson_mut_rawncpy(doc, text->data, text->len);
	char name[512], version[256], now[32];

	if (managed_name(w->req, name, sizeof(name)))
		snprintf(name, sizeof(name), "unknown");
	type_api_version(w->req->route.type, version, sizeof(version));
	now_text(now);
	if (!list || !v || !raw || put_str(doc, v, "manager", name) ||
	    put_str(doc, v, "operation", UPDATE) ||
	    put_str(doc, v, "apiVersion", version) ||
	    put_str(doc, v, "time", now) ||
	    put_str(doc, v, "fieldsType", "FieldsV1") ||
	    !yyjson_mut_obj_add_val(doc, v, "fieldsV1", raw) ||
	    !yyjson_mut_arr_append(list, v))
		return -ENOMEM;
	*ret = list;
	return 0;
}

int managed_born(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		 yyjson_mut_val **ret)
{
	static const char *const skip[] = { "f:apiVersion", "f:kind",
					    "f:status", NULL };
	static const char *const with_status[] = { "f:apiVersion", "f:kind",
						   NULL };
	const struct type *t = w->req->route.type;
	auto_buf struct buf text = BUF_INIT;
	int r;

	if (w->req->route.subresource ||
	    yyjson_mut_arr_size(mut_get(obj, "metadata.managedFields")))
		return -EAGAIN;
	r = fields_text(t->schema, obj,
			type_has_subresource(t, "status") ? skip : with_status,
			managed_not_meta, &text);
	if (r == -EEXIST || r == -E2BIG)
		return -EAGAIN;
	if (r < 0)
		return r;
	*ret = NULL;
	return text.len > 2 ? put_born(w, doc, &text, ret) : 0;
}

/* --- a change of what is one's own --- */

static bool has_any(yyjson_mut_val *v1, const struct fields_change *c)
{
	return fields_json_has_any(v1, c->added) ||
	       fields_json_has_any(v1, c->modified) ||
	       fields_json_has_any(v1, c->removed);
}

static bool is(yyjson_mut_val *entry, const char *name, const char *want)
{
	const char *s = yyjson_mut_get_str(yyjson_mut_obj_get(entry, name));

	return strcmp(s ? s : "", want) == 0;
}

/* Whether @last, the youngest entry, is @w's own, has all that was set, and
 * nobody else has any of it. */
static bool is_his_own(struct write *w, yyjson_mut_val *list,
		       yyjson_mut_val *last, const struct fields_change *c)
{
	const char *sub = w->req->route.subresource;
	yyjson_mut_val *e, *own = yyjson_mut_obj_get(last, "fieldsV1");
	char name[512], version[256];
	size_t i, max;

	if (managed_name(w->req, name, sizeof(name)))
		snprintf(name, sizeof(name), "unknown");
	type_api_version(w->req->route.type, version, sizeof(version));
	if (!is(last, "manager", name) || !is(last, "operation", UPDATE) ||
	    !is(last, "apiVersion", version) ||
	    !is(last, "subresource", sub ? sub : "") ||
	    !yyjson_mut_is_str(yyjson_mut_obj_get(last, "time")) ||
	    !fields_json_has_all(own, c->added) ||
	    !fields_json_has_all(own, c->modified) ||
	    fields_json_has_any(own, c->removed))
		return false;
	yyjson_mut_arr_foreach(list, i, max, e)
	{
		if (e != last && has_any(yyjson_mut_obj_get(e, "fieldsV1"), c))
			return false;
	}
	return true;
}

int managed_again(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		  yyjson_mut_val *old, const struct fields_change *c,
		  yyjson_mut_val **ret)
{
	yyjson_mut_val *sent = mut_get(obj, "metadata.managedFields");
	yyjson_mut_val *list = mut_get(old, "metadata.managedFields");
	yyjson_mut_val *last = yyjson_mut_arr_get_last(list);
	bool changed = !fields_empty(c->added) || !fields_empty(c->modified) ||
		       !fields_empty(c->removed);
	char now[32];

	/* A longer list is not one that we have written, or about to be cut. */
	if (!last || yyjson_mut_arr_size(list) > MANAGER_UPDATES ||
	    (yyjson_mut_arr_size(sent) && !mut_equal(sent, list)) ||
	    !is_his_own(w, list, last, c))
		return -EAGAIN;
	list = yyjson_mut_val_mut_copy(doc, list);
	last = yyjson_mut_arr_get_last(list);
	now_text(now);
	*ret = list;
	if (!list || (changed && mut_set_str(doc, last, "time", now)))
		return -ENOMEM;
	return 0;
}
