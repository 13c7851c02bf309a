// SPDX-License-Identifier: Apache-2.0
/* Values and sets of fields: what a value has, how two differ, merging. */
#include <errno.h>
#include <stdlib.h>

#include "controlplane/schema/fields.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define INDEX_MIN 16 /* smaller objects are searched */

const struct schema *fields_kid_schema(const struct schema *s, const char *name,
				       bool *ret_declared)
{
	const struct schema_field *f = s ? schema_field(s, name) : NULL;

	*ret_declared = f != NULL;
	return f ? f->schema : s ? s->additional : NULL;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool fields_put_item(const struct schema *s, yyjson_mut_val *item,
		     struct buf *b)
{
	const char *keys[16];
	size_t nr = 0;

	buf_reset(b);
	if (s->list == LIST_SET) {
		buf_puts(b, "v:");
		return json_write_mut(item, false, b) == 0;
	}
	for (const char **k = s->keys; k && *k && nr < ARRAY_LEN(keys); k++)
		keys[nr++] = *k;
	if (nr > 1)
		qsort(keys, nr, sizeof(*keys), by_text);
	buf_puts(b, "k:{");
	for (size_t i = 0; i < nr; i++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(item, keys[i]);
		const struct schema_field *f =
			s->items ? schema_field(s->items, keys[i]) : NULL;

		if (!v && !(f && f->schema->def))
			continue; /* keys may be missing, but not all */
		if (b->len > 3)
			buf_putc(b, ',');
		json_escape(b, keys[i], strlen(keys[i]));
		buf_putc(b, ':');
		if (v)
			json_write_mut(v, false, b);
		else
			json_write(f->schema->def, false, b);
	}
	buf_putc(b, '}');
	return b->len > 4 && !buf_error(b);
}

/* Lists whose items can be told apart. */
static bool is_keyed(const struct schema *s, yyjson_mut_val *v)
{
	yyjson_mut_val *item;
	size_t i, max;

	if (!s || s->type != SCHEMA_ARRAY || s->list == LIST_ATOMIC ||
	    !yyjson_mut_is_arr(v) || (s->list == LIST_MAP && !s->keys))
		return false;
	yyjson_mut_arr_foreach(v, i, max, item)
	{
		if (s->list == LIST_MAP && !yyjson_mut_is_obj(item))
			return false;
	}
	return true;
}

bool fields_granular(const struct schema *s, yyjson_mut_val *v)
{
	if (yyjson_mut_is_obj(v))
		return !s || !s->map_atomic;
	return is_keyed(s, v);
}

static size_t size_of(yyjson_mut_val *v)
{
	return yyjson_mut_is_obj(v) ? yyjson_mut_obj_size(v)
				    : yyjson_mut_arr_size(v);
}

/* --- a place in up to three sets, whose nodes are made when needed --- */

enum { ADDED, MODIFIED, REMOVED, NR_SETS };

struct place {
	struct place *up;
	const char *key;  /* path element of an item, or */
	const char *name; /* of a field, which is "f:" and this */
	struct fields *set[NR_SETS];
	int *error;
};

static struct fields *make_field(struct fields *up, const char *name)
{
	auto_free char *text = NULL;
	size_t len = strlen(name);
	char few[128];

	if (len + 3 > sizeof(few)) {
		text = str_printf("f:%s", name);
		return text ? fields_make(up, text) : NULL;
	}
	memcpy(few, "f:", 2);
	memcpy(few + 2, name, len + 1);
	return fields_make(up, few);
}

static struct fields *set_at(struct place *p, int which)
{
	struct fields *up;

	if (p->set[which] || !p->up)
		return p->set[which];
	up = set_at(p->up, which);
	if (!up)
		return NULL;
	p->set[which] =
		p->name ? make_field(up, p->name) : fields_make(up, p->key);
	return p->set[which];
}

static void note(struct place *p, int which)
{
	struct fields *s = set_at(p, which);

	if (!s)
		*p->error = -ENOMEM;
	else if (p->up) /* the root is no field */
		s->member = true;
}

/* --- everything a value has --- */

static void collect(const struct schema *s, yyjson_mut_val *v, struct place *p,
		    int depth)
{
	auto_buf struct buf key = BUF_INIT;
	yyjson_mut_val *k, *val;
	size_t i, max;

	if (depth > SCHEMA_DEPTH_MAX) {
		*p->error = -E2BIG;
		return;
	}
	if (!fields_granular(s, v) || !size_of(v)) {
		note(p, ADDED);
		return;
	}
	if (yyjson_mut_is_obj(v)) {
		yyjson_mut_obj_foreach(v, i, max, k, val)
		{
			struct place kid = { .up = p, .error = p->error };
			bool declared;
			const struct schema *sub =
				fields_kid_schema(s, yyjson_mut_get_str(k),
						  &declared);

			kid.name = yyjson_mut_get_str(k);
			collect(sub, val, &kid, depth + 1);
			if (!declared)
				note(&kid, ADDED);
		}
		return;
	}
	yyjson_mut_arr_foreach(v, i, max, val)
	{
		struct place kid = { .up = p, .error = p->error };

		if (!fields_put_item(s, val, &key)) {
			note(p, ADDED);
			return;
		}
		kid.key = buf_str(&key);
		if (s->list == LIST_MAP)
			collect(s->items, val, &kid, depth + 1);
		note(&kid, ADDED);
	}
}

struct fields *fields_of(const struct schema *s, yyjson_mut_val *v)
{
	struct fields *out = fields_new();
	int error = 0;
	struct place root = { .set = { out }, .error = &error };

	if (out)
		collect(s, v, &root, 0);
	if (error) {
		fields_free(out);
		return NULL;
	}
	return out;
}

/* --- how two values differ --- */

/* Fields of @v by name, items by path element. */
static int index_of(const struct schema *s, yyjson_mut_val *v, struct map *m)
{
	auto_buf struct buf key = BUF_INIT;
	yyjson_mut_val *k, *val;
	size_t i, max;

	if (yyjson_mut_is_obj(v)) {
		if (yyjson_mut_obj_size(v) < INDEX_MIN)
			return 0;
		yyjson_mut_obj_foreach(v, i, max, k, val)
		{
			if (map_set(m, yyjson_mut_get_str(k), val, NULL))
				return -ENOMEM;
		}
		return 0;
	}
	yyjson_mut_arr_foreach(v, i, max, val)
	{
		if (fields_put_item(s, val, &key) &&
		    map_set(m, buf_str(&key), val, NULL))
			return -ENOMEM;
	}
	return 0;
}

static yyjson_mut_val *field_of(yyjson_mut_val *v, const struct map *m,
				const char *name)
{
	if (yyjson_mut_is_obj(v) && !map_len(m))
		return yyjson_mut_obj_get(v, name);
	return v ? map_get(m, name) : NULL;
}

static void compare(const struct schema *s, yyjson_mut_val *a,
		    yyjson_mut_val *b, struct place *p, int depth);

/* What is in @v, against the same in @other; @swap: @v is the old one. Those in
 * both are looked at only once. */
static void compare_members(const struct schema *s, yyjson_mut_val *v,
			    yyjson_mut_val *other, const struct map *others,
			    bool swap, struct place *p, int depth)
{
	auto_buf struct buf key = BUF_INIT;
	yyjson_mut_val *k, *val;
	size_t i, max;
	bool declared;

	if (yyjson_mut_is_obj(v)) {
		yyjson_mut_obj_foreach(v, i, max, k, val)
		{
			struct place kid = { .up = p, .error = p->error };
			const char *name = yyjson_mut_get_str(k);
			yyjson_mut_val *o;

			kid.name = name;
			o = field_of(other, others, name);
			if (swap && o)
				continue;
			compare(fields_kid_schema(s, name, &declared),
				swap ? val : o, swap ? NULL : val, &kid,
				depth + 1);
		}
		return;
	}
	yyjson_mut_arr_foreach(v, i, max, val)
	{
		struct place kid = { .up = p, .error = p->error };
		yyjson_mut_val *o;

		if (!fields_put_item(s, val, &key))
			continue;
		kid.key = buf_str(&key);
		o = other ? map_get(others, kid.key) : NULL;
		if (swap && o)
			continue;
		compare(s->items, swap ? val : o, swap ? NULL : val, &kid,
			depth + 1);
	}
}

static void compare(const struct schema *s, yyjson_mut_val *a,
		    yyjson_mut_val *b, struct place *p, int depth)
{
	struct map in_a = MAP_INIT, in_b = MAP_INIT;
	bool deep = (!a || fields_granular(s, a)) &&
		    (!b || fields_granular(s, b)) &&
		    (!a || !b || yyjson_mut_is_obj(a) == yyjson_mut_is_obj(b));

	if (depth > SCHEMA_DEPTH_MAX) {
		*p->error = -E2BIG;
		return;
	}
	if (a && b && mut_equal(a, b))
		return;
	if (!a)
		note(p, ADDED);
	else if (!b)
		note(p, REMOVED);
	else if (!deep)
		note(p, MODIFIED);
	if (!deep)
		return;
	if (a && b && (index_of(s, a, &in_a) || index_of(s, b, &in_b)))
		*p->error = -ENOMEM;
	if (b)
		compare_members(s, b, a, &in_a, false, p, depth);
	if (a)
		compare_members(s, a, b, &in_b, true, p, depth);
	map_clear(&in_a, NULL);
	map_clear(&in_b, NULL);
}

int fields_compare(const struct schema *s, yyjson_mut_val *old,
		   yyjson_mut_val *new, struct fields_change *ret)
{
	int error = 0;
	struct place root = { .error = &error };

	*ret = (struct fields_change){ fields_new(), fields_new(),
				       fields_new() };
	root.set[ADDED] = ret->added;
	root.set[MODIFIED] = ret->modified;
	root.set[REMOVED] = ret->removed;
	if (ret->added && ret->modified && ret->removed)
		compare(s, old, new, &root, 0);
	else
		error = -ENOMEM;
	if (error)
		fields_change_clear(ret);
	return error;
}

void fields_change_clear(struct fields_change *c)
{
	fields_free(c->added);
	fields_free(c->modified);
	fields_free(c->removed);
	*c = (struct fields_change){ NULL, NULL, NULL };
}

/* --- merging --- */

static yyjson_mut_val *merge_object(const struct schema *s, yyjson_mut_doc *doc,
				    yyjson_mut_val *live,
				    yyjson_mut_val *applied)
{
	yyjson_mut_val *k, *val;
	size_t i, max;
	bool declared;

	yyjson_mut_obj_foreach(applied, i, max, k, val)
	{
		const char *name = yyjson_mut_get_str(k);
		yyjson_mut_val *old = yyjson_mut_obj_get(live, name), *made;
		const struct schema *sub =
			fields_kid_schema(s, name, &declared);

		if (yyjson_mut_is_null(val) && !(sub && sub->nullable)) {
			yyjson_mut_obj_remove_key(live, name);
			continue;
		}
		made = fields_merge(sub, doc, old, val);
		if (!made || (made != old && mut_put(doc, live, name, made)))
			return NULL;
	}
	return live;
}

/* Items keep the places they have; new ones follow. */
static yyjson_mut_val *merge_list(const struct schema *s, yyjson_mut_doc *doc,
				  yyjson_mut_val *live, yyjson_mut_val *applied)
{
	auto_buf struct buf key = BUF_INIT;
	struct map places = MAP_INIT;
	yyjson_mut_val *item, *out = yyjson_mut_arr(doc);
	size_t i, max, nr = 0;
	yyjson_mut_val **v = calloc(yyjson_mut_arr_size(live) +
					    yyjson_mut_arr_size(applied) + 1,
				    sizeof(yyjson_mut_val *));
	bool ok = v && out;

	yyjson_mut_arr_foreach(live, i, max, item)
	{
		ok = ok && fields_put_item(s, item, &key);
		if (!ok)
			break;
		v[nr] = item;
		ok = map_set(&places, buf_str(&key), &v[nr++], NULL) == 0;
	}
	yyjson_mut_arr_foreach(applied, i, max, item)
	{
		yyjson_mut_val **at;

		ok = ok && fields_put_item(s, item, &key);
		if (!ok)
			break;
		at = map_get(&places, buf_str(&key));
		if (!at) {
			at = &v[nr++];
			ok = map_set(&places, buf_str(&key), at, NULL) == 0;
		}
		*at = fields_merge(s->items, doc, *at, item);
		ok = ok && *at;
	}
	for (i = 0; ok && i < nr; i++) {
		/* An item may be in a list already. */
		yyjson_mut_val *copy = yyjson_mut_val_mut_copy(doc, v[i]);

		ok = copy && yyjson_mut_arr_append(out, copy);
	}
	map_clear(&places, NULL);
	free(v);
	return ok ? out : NULL;
}

yyjson_mut_val *fields_merge(const struct schema *s, yyjson_mut_doc *doc,
			     yyjson_mut_val *live, yyjson_mut_val *applied)
{
	if (!fields_granular(s, applied))
		return yyjson_mut_val_mut_copy(doc, applied);
	if (yyjson_mut_is_obj(applied)) {
		if (!yyjson_mut_is_obj(live))
			live = yyjson_mut_obj(doc);
		return live ? merge_object(s, doc, live, applied) : NULL;
	}
	if (!is_keyed(s, live))
		live = yyjson_mut_arr(doc);
	return live ? merge_list(s, doc, live, applied) : NULL;
}

/* --- removing --- */

/* Whether the value below @key goes altogether. */
static bool goes(const struct fields *gone, const struct fields *kept)
{
	return gone->member && !kept;
}

static void remove_items(const struct schema *s, yyjson_mut_val *v,
			 const struct fields *gone, const struct fields *kept)
{
	auto_buf struct buf key = BUF_INIT;
	yyjson_mut_arr_iter it = yyjson_mut_arr_iter_with(v);
	yyjson_mut_val *item;

	while ((item = yyjson_mut_arr_iter_next(&it))) {
		const struct fields *g, *k;

		if (!fields_put_item(s, item, &key))
			continue;
		g = fields_below(gone, buf_str(&key));
		k = fields_below(kept, buf_str(&key));
		if (!g)
			continue;
		if (goes(g, k))
			yyjson_mut_arr_iter_remove(&it);
		else if (s->list == LIST_MAP)
			fields_remove(s->items, item, g, k);
	}
}

void fields_remove(const struct schema *s, yyjson_mut_val *v,
		   const struct fields *gone, const struct fields *kept)
{
	const struct fields *g;
	bool declared;
	size_t i;

	if (!fields_granular(s, v))
		return;
	if (yyjson_mut_is_arr(v)) {
		remove_items(s, v, gone, kept);
		return;
	}
	fields_for_each (gone, i, g) {
		const struct fields *k = fields_below(kept, g->key);
		const char *name = g->key + 2;
		yyjson_mut_val *val;
		size_t before;

		if (g->key[0] != 'f')
			continue;
		val = yyjson_mut_obj_get(v, name);
		if (!val)
			continue;
		before = size_of(val);
		if (goes(g, k)) {
			yyjson_mut_obj_remove_key(v, name);
			continue;
		}
		fields_remove(fields_kid_schema(s, name, &declared), val, g, k);
		/* What has become empty by this was there for its content. */
		if (before && !size_of(val) && !(k && k->member))
			yyjson_mut_obj_remove_key(v, name);
	}
}
