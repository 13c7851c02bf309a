// SPDX-License-Identifier: Apache-2.0
/* managedFields and server-side apply; see managed.h. */
#include <stdio.h>

#include "controlplane/apiserver/managed.h"
#include "controlplane/schema/fields.h"
#include "lib/json.h"
#include "lib/str.h"

#define APPLY  "Apply"
#define UPDATE "Update"

struct manager {
	const char *name, *operation, *version, *time, *subresource;
	struct fields *set;
	bool changed;
};

struct managers {
	struct manager v[MANAGERS_MAX + 2];
	size_t nr;
	char now[32], version[256], name[512];
};

static void managers_free(struct managers *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nr; i++)
		fields_free(m->v[i].set);
	free(m);
}

static const char *text_of(yyjson_mut_val *v, const char *key)
{
	const char *s = yyjson_mut_get_str(yyjson_mut_obj_get(v, key));

	return s ? s : "";
}

/* False: not what we have written; it does not count. */
static bool parse(struct managers *m, yyjson_mut_val *list)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(list, i, max, v)
	{
		struct manager *e = &m->v[m->nr];

		if (m->nr == MANAGERS_MAX)
			return false;
		e->changed = false;
		e->name = text_of(v, "manager");
		e->operation = text_of(v, "operation");
		e->version = text_of(v, "apiVersion");
		e->time = text_of(v, "time");
		e->subresource = text_of(v, "subresource");
		if ((strcmp(e->operation, APPLY) &&
		     strcmp(e->operation, UPDATE)) ||
		    fields_from_json(yyjson_mut_obj_get(v, "fieldsV1"),
				     &e->set))
			return false;
		m->nr++;
	}
	return true;
}

static void forget(struct managers *m)
{
	for (size_t i = 0; i < m->nr; i++)
		fields_free(m->v[i].set);
	m->nr = 0;
}

/* Of what was sent if it says anything, else of what is stored. An entry
 * without content ("[{}]") asks to forget them all. */
static struct managers *load(struct write *w, yyjson_mut_val *sent,
			     yyjson_mut_val *stored)
{
	struct managers *m = malloc(sizeof(*m)); /* 14 KiB, mostly not used */
	yyjson_mut_val *list = mut_get(sent, "metadata.managedFields");

	if (!m)
		return NULL;
	m->nr = 0;
	now_text(m->now);
	type_api_version(w->req->route.type, m->version, sizeof(m->version));
	if (yyjson_mut_arr_size(list) == 1 &&
	    !yyjson_mut_obj_size(yyjson_mut_arr_get_first(list)))
		return m;
	if (yyjson_mut_arr_size(list) && parse(m, list))
		return m;
	forget(m);
	if (!parse(m, mut_get(stored, "metadata.managedFields")))
		forget(m);
	return m;
}

static struct manager *find(struct managers *m, const char *name,
			    const char *operation, const char *subresource)
{
	bool apply = strcmp(operation, APPLY) == 0;
	struct manager *e;

	for (size_t i = 0; i < m->nr; i++) {
		e = &m->v[i];
		if (strcmp(e->name, name) == 0 &&
		    strcmp(e->operation, operation) == 0 &&
		    strcmp(e->subresource, subresource) == 0 &&
		    (apply || strcmp(e->version, m->version) == 0))
			return e;
	}
	if (m->nr == ARRAY_LEN(m->v))
		return NULL;
	e = &m->v[m->nr];
	*e = (struct manager){ .name = name,
			       .operation = operation,
			       .version = m->version,
			       .time = "",
			       .subresource = subresource };
	e->set = fields_new();
	if (!e->set)
		return NULL;
	m->nr++;
	return e;
}

/* --- what nobody manages --- */

const char *const managed_not_meta[] = { "f:name",
					 "f:namespace",
					 "f:tenant",
					 "f:hashKey",
					 "f:selfLink",
					 "f:creationTimestamp",
					 "f:uid",
					 "f:deletionTimestamp",
					 "f:generation",
					 "f:deletionGracePeriodSeconds",
					 "f:managedFields",
					 "f:resourceVersion",
					 NULL };

static void strip(struct write *w, struct fields *s)
{
	const char *sub = w->req->route.subresource;
	struct fields *meta;

	if (!s)
		return;
	fields_drop(s, "f:apiVersion");
	fields_drop(s, "f:kind");
	meta = fields_below(s, "f:metadata");
	if (meta) {
		for (size_t i = 0; managed_not_meta[i]; i++)
			fields_drop(meta, managed_not_meta[i]);
		meta->member = false;
		if (fields_empty(meta))
			fields_drop(s, "f:metadata");
	}
	if (str_eq(sub, "status")) {
		/* All but the status, and what describes the object. */
		struct fields *kid;
		size_t i;

		fields_for_each (s, i, kid) {
			if (strcmp(kid->key, "f:status") &&
			    strcmp(kid->key, "f:metadata"))
				fields_cut(s, kid);
		}
	} else if (type_has_subresource(w->req->route.type, "status")) {
		fields_drop(s, "f:status");
	}
}

/* --- writing them down --- */

static int by_age(const void *a, const void *b)
{
	const struct manager *x = a, *y = b;
	int r = strcmp(x->operation, y->operation); /* Apply comes first */

	if (r == 0)
		r = strcmp(x->time, y->time);
	return r ? r : strcmp(x->name, y->name);
}

/* Too many of those who only update: the oldest become one. */
static int join_old(struct managers *m)
{
	size_t first = 0, nr;

	while (first < m->nr && strcmp(m->v[first].operation, APPLY) == 0)
		first++;
	nr = m->nr - first;
	while (nr > MANAGER_UPDATES) {
		struct manager *a = &m->v[first], *b = &m->v[first + 1];

		if (fields_add(b->set, a->set))
			return -ENOMEM;
		b->name = "ancient-changes";
		b->subresource = "";
		fields_free(a->set);
		memmove(a, b, (m->nr - first - 1) * sizeof(*a));
		m->nr--;
		nr--;
	}
	return 0;
}

static int put_entry(yyjson_mut_doc *doc, yyjson_mut_val *list,
		     const struct manager *e)
{
	yyjson_mut_val *v = yyjson_mut_obj(doc);

	if (!v || mut_set_str(doc, v, "manager", e->name) ||
	    mut_set_str(doc, v, "operation", e->operation) ||
	    mut_set_str(doc, v, "apiVersion", e->version) ||
	    (*e->time && mut_set_str(doc, v, "time", e->time)) ||
	    mut_set_str(doc, v, "fieldsType", "FieldsV1") ||
	    mut_set(doc, v, "fieldsV1", fields_to_json(e->set, doc)) ||
	    (*e->subresource &&
	     mut_set_str(doc, v, "subresource", e->subresource)) ||
	    !yyjson_mut_arr_append(list, v))
		return -ENOMEM;
	return 0;
}

static int list_of(struct managers *m, yyjson_mut_doc *doc,
		   yyjson_mut_val **ret)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	size_t nr = 0;

	for (size_t i = 0; i < m->nr; i++) {
		struct manager *e = &m->v[i];

		if (fields_empty(e->set)) {
			fields_free(e->set);
			continue;
		}
		if (e->changed || !*e->time)
			e->time = m->now;
		m->v[nr++] = *e;
	}
	m->nr = nr;
	qsort(m->v, m->nr, sizeof(*m->v), by_age);
	if (!list || join_old(m))
		return -ENOMEM;
	for (size_t i = 0; i < m->nr; i++)
		if (put_entry(doc, list, &m->v[i]))
			return -ENOMEM;
	*ret = m->nr ? list : NULL;
	return 0;
}

int managed_put(yyjson_mut_doc *doc, yyjson_mut_val *obj, yyjson_mut_val *list)
{
	mut_remove(obj, "metadata.managedFields");
	return list ? mut_set(doc, obj, "metadata.managedFields", list) : 0;
}

static int store(struct managers *m, yyjson_mut_doc *doc, yyjson_mut_val *obj)
{
	yyjson_mut_val *list;

	return list_of(m, doc, &list) ? -ENOMEM : managed_put(doc, obj, list);
}

/* --- who asks --- */

int managed_name(struct req *r, char *buf, size_t size)
{
	size_t n;

	if (query_get(r, "fieldManager", buf, size) && *buf) {
		if (strlen(buf) > MANAGER_NAME_MAX)
			return -E2BIG;
		for (const char *p = buf; *p; p++)
			if ((unsigned char)*p < ' ' || *p == 0x7f)
				return -EINVAL;
		return 0;
	}
	n = r->user_agent ? strcspn(r->user_agent, "/") : 0;
	if (n > MANAGER_NAME_MAX)
		n = MANAGER_NAME_MAX;
	snprintf(buf, size, "%.*s", (int)n, n ? r->user_agent : "");
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
			*p = '_';
	if (!*buf)
		snprintf(buf, size, "unknown");
	return 0;
}

/* --- changes --- */

/* Those who had what somebody else has changed or removed have it no more. */
static void take_away(struct managers *m, const struct manager *from,
		      const struct fields_change *c)
{
	for (size_t i = 0; i < m->nr; i++) {
		if (&m->v[i] == from)
			continue;
		fields_subtract(m->v[i].set, c->modified);
		fields_subtract(m->v[i].set, c->added);
		fields_subtract(m->v[i].set, c->removed);
	}
}

static int change(struct write *w, struct managers *m, struct fields_change *c)
{
	struct req *r = w->req;
	const char *sub = r->route.subresource ? r->route.subresource : "";
	struct manager *own;
	int res;

	if (managed_name(r, m->name, sizeof(m->name)))
		snprintf(m->name, sizeof(m->name), "unknown");
	own = find(m, m->name, UPDATE, sub);
	if (!own)
		return 0;
	own->changed = !fields_empty(c->added) || !fields_empty(c->modified) ||
		       !fields_empty(c->removed);
	take_away(m, own, c);
	/* All of it is new: no need to copy. */
	if (fields_empty(own->set)) {
		struct fields *none = own->set;

		own->set = c->added;
		c->added = none;
	}
	res = fields_add(own->set, c->modified);
	if (res == 0)
		res = fields_add(own->set, c->added);
	fields_subtract(own->set, c->removed);
	return res;
}

int managed_update(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		   yyjson_mut_val *old, yyjson_mut_val **ret)
{
	struct fields_change c = { NULL, NULL, NULL };
	struct managers *m = NULL;
	int res = old ? -EAGAIN : managed_born(w, doc, obj, ret);

	if (res != -EAGAIN)
		return res;
	res = fields_compare(w->req->route.type->schema, old, obj, &c);
	if (res == -E2BIG) {
		/* Too deep for a set (JSON itself is not): as it was. */
		old = mut_get(old, "metadata.managedFields");
		*ret = yyjson_mut_val_mut_copy(doc, old);
		return old && !*ret ? -ENOMEM : 0;
	}
	if (res == 0) {
		strip(w, c.added);
		strip(w, c.modified);
		strip(w, c.removed);
		res = old ? managed_again(w, doc, obj, old, &c, ret) : -EAGAIN;
	}
	if (res == -EAGAIN) {
		m = load(w, obj, old);
		res = m ? change(w, m, &c) : -ENOMEM;
		if (res == 0)
			res = list_of(m, doc, ret);
	}
	fields_change_clear(&c);
	managers_free(m);
	return res;
}

/* --- apply --- */

struct conflict {
	struct json_out *causes;
	struct buf *lines;
	const char *with;
	size_t nr;
	const char *only; /* NULL: none, or several */
	char first[SCHEMA_PATH_MAX];
};

static void add_conflict(void *arg, const char *path)
{
	struct conflict *c = arg;

	if (c->nr++ == 0)
		snprintf(c->first, sizeof(c->first), "%s", path);
	buf_printf(c->lines, "\n- %s", path);
	json_put_object(c->causes, NULL);
	json_put_str(c->causes, "reason", "FieldManagerConflict");
	json_put_fmt(c->causes, "message", "conflict with %s", c->with);
	json_put_str(c->causes, "field", path);
	json_put_end(c->causes);
}

static void describe(const struct manager *e, char *buf, size_t size)
{
	bool update = strcmp(e->operation, UPDATE) == 0;
	bool sub = *e->subresource;

	snprintf(buf, size, "\"%s\"%s%s%s%s%s%s%s", e->name,
		 sub ? " with subresource \"" : "", e->subresource,
		 sub ? "\"" : "", update ? " using " : "",
		 update ? e->version : "", update && *e->time ? " at " : "",
		 update ? e->time : "");
}

static void reply_conflicts(struct write *w, const struct buf *causes,
			    const struct conflict *c, const char *only,
			    const struct buf *lines)
{
	struct req *r = w->req;
	auto_buf struct buf msg = BUF_INIT;
	struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	if (c->nr == 1)
		buf_printf(&msg,
			   "Apply failed with 1 conflict: conflict with %s: %s",
			   only, c->first);
	else
		buf_printf(&msg, "Apply failed with %zu conflicts: %s", c->nr,
			   buf_str(lines));
	status_begin(&o, "Failure", buf_str(&msg));
	json_put_str(&o, "reason", "Conflict");
	json_put_object(&o, "details");
	json_put_raw(&o, "causes", buf_str(causes), causes->len);
	json_put_end(&o);
	json_put_i64(&o, "code", 409);
	json_put_end(&o);
	reply_json(r, 409, &b);
}

/* What others have, and this changes. True: it has been refused. */
static bool conflicts(struct write *w, struct managers *m,
		      const struct manager *own, const struct fields_change *ch)
{
	auto_buf struct buf causes = BUF_INIT, lines = BUF_INIT;
	struct json_out o = JSON_OUT(&causes);
	struct conflict c = { .causes = &o };
	char only[700] = "";

	json_put_array(&o, NULL);
	for (size_t i = 0; i < m->nr; i++) {
		struct fields *a, *b;
		auto_buf struct buf mine = BUF_INIT;
		char with[700];
		size_t before = c.nr;

		if (&m->v[i] == own)
			continue;
		describe(&m->v[i], with, sizeof(with));
		c.with = with;
		c.lines = &mine;
		a = fields_common(m->v[i].set, ch->modified);
		b = fields_common(m->v[i].set, ch->added);
		fields_each(a, add_conflict, &c);
		fields_each(b, add_conflict, &c);
		fields_free(a);
		fields_free(b);
		if (c.nr == before)
			continue;
		snprintf(only, sizeof(only), "%s", with);
		buf_printf(&lines, "%sconflicts with %s:%s",
			   lines.len ? "\n" : "", with, buf_str(&mine));
	}
	json_put_end(&o);
	if (!c.nr)
		return false;
	reply_conflicts(w, &causes, &c, only, &lines);
	return true;
}

/* All that is managed by anybody, as it is now. */
static struct fields *all_of(const struct managers *m)
{
	struct fields *out = fields_new();

	for (size_t i = 0; out && i < m->nr; i++)
		if (fields_add(out, m->v[i].set)) {
			fields_free(out);
			return NULL;
		}
	return out;
}

/* --- those who used to apply on the client's side --- */

#define CLIENT_MANAGER "kubectl"
#define LAST_APPLIED   "kubectl.kubernetes.io/last-applied-configuration"
#define LAST_MAX       262144

/* What kubectl itself has applied before it left applying to the server: that
 * is no conflict with its former self. NULL: nothing. */
static struct fields *applied_by_client(const struct schema *s,
					yyjson_mut_doc *doc,
					yyjson_mut_val *live)
{
	yyjson_mut_val *notes = mut_get(live, "metadata.annotations"), *v;
	const char *text =
		yyjson_mut_get_str(yyjson_mut_obj_get(notes, LAST_APPLIED));
	struct fields *out = NULL;
	yyjson_doc *in = NULL;

	if (!text || json_parse(text, strlen(text), &in, NULL))
		return NULL;
	v = yyjson_val_mut_copy(doc, yyjson_doc_get_root(in));
	if (v)
		out = fields_of(s, v);
	yyjson_doc_free(in);
	return out;
}

/* Who looks there for what was applied last finds it, as long as the note is
 * kept at all. */
static int note_applied(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			yyjson_mut_val *config)
{
	yyjson_mut_val *notes = mut_get(obj, "metadata.annotations");
	auto_buf struct buf b = BUF_INIT;

	if (!yyjson_mut_obj_get(notes, LAST_APPLIED))
		return 0;
	if (json_write_mut(config, false, &b) || buf_putc(&b, '\n'))
		return -ENOMEM;
	if (b.len > LAST_MAX) {
		yyjson_mut_obj_remove_key(notes, LAST_APPLIED);
		return 0;
	}
	return mut_put(doc, notes, LAST_APPLIED,
		       yyjson_mut_strcpy(doc, buf_str(&b)));
}

/* Whether the change is refused because of others. */
static bool is_refused(struct write *w, struct managers *m,
		       const struct manager *own, yyjson_mut_doc *doc,
		       yyjson_mut_val *live, const struct fields_change *ch)
{
	struct fields *mine = NULL;
	struct fields_change left = { fields_new(), fields_new(), NULL };
	bool refused = false;

	if (w->force)
		goto out;
	if (strcmp(own->name, CLIENT_MANAGER) == 0)
		mine = applied_by_client(w->req->route.type->schema, doc, live);
	if (!left.added || !left.modified ||
	    fields_add(left.added, ch->added) ||
	    fields_add(left.modified, ch->modified))
		goto out;
	fields_subtract(left.added, mine);
	fields_subtract(left.modified, mine);
	refused = conflicts(w, m, own, &left);
out:
	fields_free(mine);
	fields_change_clear(&left);
	return refused;
}

static yyjson_mut_val *apply(struct write *w, struct managers *m,
			     yyjson_mut_doc *doc, yyjson_mut_val *live,
			     yyjson_mut_val *config, const char *name)
{
	const struct schema *s = w->req->route.type->schema;
	const char *sub =
		w->req->route.subresource ? w->req->route.subresource : "";
	struct fields *set = fields_of(s, config), *last = NULL, *kept;
	struct fields_change ch = { NULL, NULL, NULL };
	struct manager *own = find(m, name, APPLY, sub);
	yyjson_mut_val *obj = NULL;

	if (!set || !own)
		goto out;
	strip(w, set);
	own->changed = !fields_equal(own->set, set) ||
		       strcmp(own->version, m->version) != 0;
	own->version = m->version;
	last = own->set;
	own->set = take_ptr(set);
	obj = live ? yyjson_mut_val_mut_copy(doc, live) : yyjson_mut_obj(doc);
	obj = obj ? fields_merge(s, doc, obj, config) : NULL;
	kept = all_of(m);
	if (!obj || !kept) {
		fields_free(kept);
		obj = NULL;
		goto out;
	}
	fields_subtract(last, kept);
	fields_remove(s, obj, last, kept);
	fields_free(kept);
	if (fields_compare(s, live, obj, &ch)) {
		obj = NULL;
		goto out;
	}
	strip(w, ch.added);
	strip(w, ch.modified);
	strip(w, ch.removed);
	if (is_refused(w, m, own, doc, live, &ch)) {
		w->replied = true;
		obj = NULL;
		goto out;
	}
	take_away(m, own, &ch);
	if ((strcmp(name, CLIENT_MANAGER) == 0 && !*sub &&
	     note_applied(doc, obj, config)) ||
	    store(m, doc, obj))
		obj = NULL;
out:
	fields_change_clear(&ch);
	fields_free(last);
	fields_free(set);
	return obj;
}

yyjson_mut_val *managed_apply(struct write *w, yyjson_mut_doc *doc,
			      yyjson_mut_val *live)
{
	struct req *r = w->req;
	yyjson_mut_val *config =
		yyjson_val_mut_copy(doc, yyjson_doc_get_root(w->body));
	struct managers *m;
	yyjson_mut_val *obj = NULL;
	struct manager *before;
	char name[512];

	w->replied = false;
	if (!yyjson_mut_is_obj(config) || !mut_str(config, "apiVersion") ||
	    !mut_str(config, "kind")) {
		reply_error(r, 400, "BadRequest",
			    "the applied configuration must have apiVersion "
			    "and kind");
		return NULL;
	}
	if (yyjson_mut_arr_size(mut_get(config, "metadata.managedFields"))) {
		reply_error(r, 400, "BadRequest",
			    "metadata.managedFields must be nil");
		return NULL;
	}
	m = load(w, NULL, live);
	managed_name(r, name, sizeof(name));
	/* Stored before anybody kept track: what was there is somebody's. */
	if (m && live && !m->nr) {
		before = find(m, "before-first-apply", UPDATE, "");
		if (before) {
			fields_free(before->set);
			before->set = fields_of(r->route.type->schema, live);
			strip(w, before->set);
		}
	}
	if (m)
		obj = apply(w, m, doc, live, config, name);
	managers_free(m);
	if (!obj && !w->replied)
		reply_error(r, 500, "InternalError",
			    "the configuration cannot be applied: out of "
			    "memory, or nested too deeply");
	return obj;
}
