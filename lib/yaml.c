// SPDX-License-Identifier: Apache-2.0
/* From libyaml's events to a yyjson document: composing, anchors, limits.
 * What a plain scalar means is in yaml_scalar.c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include <yyjson.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/internal.h"
#include "lib/map.h"
#include "lib/yaml.h"

struct composer {
	yaml_parser_t parser;
	yaml_event_t event; /* the present one */
	bool have_event;
	yyjson_mut_doc *doc;
	struct map anchors; /* name -> yyjson_mut_val in doc */
	size_t nodes, aliases;
	struct err *e;
};

static int fail_at(struct composer *c, const yaml_mark_t *at, int code,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int fail_at(struct composer *c, const yaml_mark_t *at, int code,
		   const char *fmt, ...)
{
	char what[ERR_MSG_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(c->e, code, "%zu:%zu: %s", at->line + 1, at->column + 1,
		       what);
}

static int no_memory(struct composer *c)
{
	return err_set(c->e, -ENOMEM, "out of memory");
}

static int next_event(struct composer *c)
{
	const yaml_parser_t *p = &c->parser;

	if (c->have_event)
		yaml_event_delete(&c->event);
	c->have_event = false;
	if (yaml_parser_parse(&c->parser, &c->event)) {
		c->have_event = true;
		return 0;
	}
	if (p->error == YAML_MEMORY_ERROR)
		return no_memory(c);
	if (p->error == YAML_READER_ERROR)
		return err_set(c->e, -EBADMSG, "byte %zu: %s",
			       p->problem_offset,
			       p->problem ? p->problem : "not YAML");
	return fail_at(c, &p->problem_mark, -EBADMSG, "%s",
		       p->problem ? p->problem : "not YAML");
}

static int count_node(struct composer *c, size_t nr, const yaml_mark_t *at)
{
	c->nodes += nr;
	if (c->nodes > YAML_NODES_MAX)
		return fail_at(c, at, -E2BIG,
			       "too many values: the limit is %d",
			       YAML_NODES_MAX);
	return 0;
}

/* --- anchors and aliases -------------------------------------------------- */

static size_t tree_size(yyjson_mut_val *val)
{
	yyjson_mut_val *key, *item;
	size_t i, max, n = 1;

	if (yyjson_mut_is_arr(val)) {
		yyjson_mut_arr_foreach(val, i, max, item)
		{
			n += tree_size(item);
		}
	} else if (yyjson_mut_is_obj(val)) {
		yyjson_mut_obj_foreach(val, i, max, key, item)
		{
			n += tree_size(item);
		}
	}
	return n;
}

static size_t tree_depth(yyjson_mut_val *val)
{
	yyjson_mut_val *key, *item;
	size_t i, max, d = 0, deepest = 0;

	if (yyjson_mut_is_arr(val)) {
		yyjson_mut_arr_foreach(val, i, max, item)
		{
			d = tree_depth(item);
			deepest = d > deepest ? d : deepest;
		}
	} else if (yyjson_mut_is_obj(val)) {
		yyjson_mut_obj_foreach(val, i, max, key, item)
		{
			d = tree_depth(item);
			deepest = d > deepest ? d : deepest;
		}
	} else {
		return 0;
	}
	return deepest + 1;
}

static int set_anchor(struct composer *c, const char *name, yyjson_mut_val *val)
{
	if (!name)
		return 0;
	return map_set(&c->anchors, name, val, NULL) < 0 ? no_memory(c) : 0;
}

/* A copy of what the alias stands for, counted like what is written out. */
static int compose_alias(struct composer *c, size_t depth, yyjson_mut_val **ret)
{
	const char *name = (const char *)c->event.data.alias.anchor;
	const yaml_mark_t *at = &c->event.start_mark;
	yyjson_mut_val *val = map_get(&c->anchors, name);
	int r;

	if (!val)
		return fail_at(c, at, -EBADMSG, "unknown alias '*%.100s'",
			       name);
	if (++c->aliases > YAML_ALIASES_MAX)
		return fail_at(c, at, -E2BIG,
			       "too many aliases: the limit is %d",
			       YAML_ALIASES_MAX);
	r = count_node(c, tree_size(val), at);
	if (r < 0)
		return r;
	if (depth + tree_depth(val) > YAML_DEPTH_MAX)
		return fail_at(c, at, -E2BIG,
			       "nested too deeply: the limit is %d",
			       YAML_DEPTH_MAX);
	*ret = yyjson_mut_val_mut_copy(c->doc, val);
	return *ret ? 0 : no_memory(c);
}

/* --- values --------------------------------------------------------------- */

static int compose_scalar(struct composer *c, yyjson_mut_val **ret)
{
	struct yaml_scalar s = {
		.text = (const char *)c->event.data.scalar.value,
		.len = c->event.data.scalar.length,
		.tag = (const char *)c->event.data.scalar.tag,
		.plain = c->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE,
	};
	const char *why = NULL;
	int r;

	if (memchr(s.text, '\0', s.len))
		return fail_at(c, &c->event.start_mark, -EBADMSG,
			       "a string must not contain NUL");
	r = yaml_scalar_resolve(c->doc, &s, ret, &why);
	if (r == -ENOMEM)
		return no_memory(c);
	if (r < 0)
		return fail_at(c, &c->event.start_mark, r, "'%.100s' %s",
			       s.text, why);
	return set_anchor(c, (const char *)c->event.data.scalar.anchor, *ret);
}

static int compose(struct composer *c, size_t depth, yyjson_mut_val **ret);

static int check_tag(struct composer *c, const yaml_char_t *tag,
		     const char *want)
{
	if (!tag || strcmp((const char *)tag, "!") == 0 ||
	    strcmp((const char *)tag, want) == 0)
		return 0;
	return fail_at(c, &c->event.start_mark, -EBADMSG,
		       "unknown tag '%.100s'", (const char *)tag);
}

/* The event goes before the collection it begins is complete. */
static int keep_anchor(struct composer *c, const yaml_char_t *anchor,
		       char **ret)
{
	if (!anchor)
		return 0;
	*ret = strdup((const char *)anchor);
	return *ret ? 0 : no_memory(c);
}

static int compose_sequence(struct composer *c, size_t depth,
			    yyjson_mut_val **ret)
{
	yyjson_mut_val *arr = yyjson_mut_arr(c->doc), *item;
	auto_free char *anchor = NULL;
	int r;

	if (!arr)
		return no_memory(c);
	r = keep_anchor(c, c->event.data.sequence_start.anchor, &anchor);
	if (r == 0)
		r = check_tag(c, c->event.data.sequence_start.tag,
			      YAML_SEQ_TAG);
	while (r == 0) {
		r = next_event(c);
		if (r < 0 || c->event.type == YAML_SEQUENCE_END_EVENT)
			break;
		r = compose(c, depth + 1, &item);
		if (r == 0 && !yyjson_mut_arr_append(arr, item))
			r = no_memory(c);
	}
	if (r < 0)
		return r;
	*ret = arr;
	return set_anchor(c, anchor, arr);
}

/* JSON has only strings for keys. */
static int key_to_string(struct composer *c, const yaml_mark_t *at,
			 yyjson_mut_val **key)
{
	auto_free char *text = NULL;
	size_t len;

	if (yyjson_mut_is_str(*key))
		return 0;
	if (!yyjson_mut_is_num(*key) && !yyjson_mut_is_bool(*key))
		return fail_at(c, at, -EBADMSG,
			       "a key must be a string, number or boolean");
	text = yyjson_mut_val_write(*key, 0, &len);
	if (!text)
		return no_memory(c);
	*key = yyjson_mut_strncpy(c->doc, text, len);
	return *key ? 0 : no_memory(c);
}

/* The fields of a mapping under construction. What comes by a merge key gives
 * way to what is written out, wherever in the mapping either stands. */
struct fields {
	yyjson_mut_val *obj;
	struct map own;    /* key -> itself: written out */
	struct map merged; /* key -> itself: by "<<" */
};

static bool add_field(struct fields *f, yyjson_mut_val *key,
		      yyjson_mut_val *val)
{
	return yyjson_mut_obj_add(f->obj, key, val);
}

static int merge_one(struct composer *c, struct fields *f, yyjson_mut_val *from,
		     const yaml_mark_t *at)
{
	yyjson_mut_val *key, *val, *k, *v;
	size_t i, max;

	if (!yyjson_mut_is_obj(from))
		return fail_at(c, at, -EBADMSG,
			       "'<<' needs a mapping or a list of mappings");
	yyjson_mut_obj_foreach(from, i, max, key, val)
	{
		const char *name = yyjson_mut_get_str(key);

		if (map_get(&f->own, name) || map_get(&f->merged, name))
			continue;
		k = yyjson_mut_val_mut_copy(c->doc, key);
		v = yyjson_mut_val_mut_copy(c->doc, val);
		if (!k || !v || !add_field(f, k, v) ||
		    map_set(&f->merged, name, k, NULL) < 0)
			return no_memory(c);
	}
	return 0;
}

static int merge(struct composer *c, struct fields *f, yyjson_mut_val *from,
		 const yaml_mark_t *at)
{
	yyjson_mut_val *item;
	size_t i, max;
	int r = 0;

	if (!yyjson_mut_is_arr(from))
		return merge_one(c, f, from, at);
	yyjson_mut_arr_foreach(from, i, max, item)
	{
		r = merge_one(c, f, item, at);
		if (r < 0)
			break;
	}
	return r;
}

static int put_field(struct composer *c, struct fields *f, yyjson_mut_val *key,
		     yyjson_mut_val *val, const yaml_mark_t *at)
{
	const char *name = yyjson_mut_get_str(key);

	if (map_get(&f->own, name))
		return fail_at(c, at, -EBADMSG,
			       "the key '%.100s' is there twice", name);
	if (map_del(&f->merged, name))
		yyjson_mut_obj_remove_key(f->obj, name);
	if (map_set(&f->own, name, key, NULL) < 0 || !add_field(f, key, val))
		return no_memory(c);
	return 0;
}

/* The present event is a key's. */
static int compose_field(struct composer *c, struct fields *f, size_t depth)
{
	yaml_mark_t at = c->event.start_mark;
	bool is_merge =
		c->event.type == YAML_SCALAR_EVENT &&
		c->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		!c->event.data.scalar.tag &&
		strcmp((const char *)c->event.data.scalar.value, "<<") == 0;
	yyjson_mut_val *key, *val;
	int r;

	r = compose(c, depth + 1, &key);
	if (r == 0)
		r = key_to_string(c, &at, &key);
	if (r == 0)
		r = next_event(c);
	if (r == 0)
		r = compose(c, depth + 1, &val);
	if (r < 0)
		return r;
	if (is_merge)
		return merge(c, f, val, &at);
	return put_field(c, f, key, val, &at);
}

static int compose_mapping(struct composer *c, size_t depth,
			   yyjson_mut_val **ret)
{
	struct fields f = { .obj = yyjson_mut_obj(c->doc) };
	auto_free char *anchor = NULL;
	int r;

	if (!f.obj)
		return no_memory(c);
	r = keep_anchor(c, c->event.data.mapping_start.anchor, &anchor);
	if (r == 0)
		r = check_tag(c, c->event.data.mapping_start.tag, YAML_MAP_TAG);
	while (r == 0) {
		r = next_event(c);
		if (r < 0 || c->event.type == YAML_MAPPING_END_EVENT)
			break;
		r = compose_field(c, &f, depth);
	}
	map_clear(&f.own, NULL);
	map_clear(&f.merged, NULL);
	if (r < 0)
		return r;
	*ret = f.obj;
	return set_anchor(c, anchor, f.obj);
}

/* The value that begins with the present event. Recursion is bounded. */
static int compose(struct composer *c, size_t depth, yyjson_mut_val **ret)
{
	int r = count_node(c, 1, &c->event.start_mark);

	if (r < 0)
		return r;
	if (depth > YAML_DEPTH_MAX)
		return fail_at(c, &c->event.start_mark, -E2BIG,
			       "nested too deeply: the limit is %d",
			       YAML_DEPTH_MAX);
	switch (c->event.type) {
	case YAML_ALIAS_EVENT:
		return compose_alias(c, depth, ret);
	case YAML_SCALAR_EVENT:
		return compose_scalar(c, ret);
	case YAML_SEQUENCE_START_EVENT:
		return compose_sequence(c, depth, ret);
	case YAML_MAPPING_START_EVENT:
		return compose_mapping(c, depth, ret);
	default:
		return fail_at(c, &c->event.start_mark, -EBADMSG,
			       "a value is missing");
	}
}

/* --- documents ------------------------------------------------------------ */

static int add_doc(struct composer *c, struct yaml_docs *docs, size_t line)
{
	struct yaml_doc *v;
	size_t len;
	char *json;

	if (docs->nr == YAML_DOCS_MAX)
		return err_set(c->e, -E2BIG,
			       "%zu:1: too many documents: the limit is %d",
			       line, YAML_DOCS_MAX);
	json = yyjson_mut_write(c->doc, 0, &len);
	v = json ? reallocarray(docs->v, docs->nr + 1, sizeof(*v)) : NULL;
	if (!v) {
		free(json);
		return no_memory(c);
	}
	docs->v = v;
	docs->v[docs->nr++] =
		(struct yaml_doc){ .json = json, .len = len, .line = line };
	return 0;
}

static int compose_document(struct composer *c, struct yaml_docs *docs)
{
	yyjson_mut_val *root;
	size_t line;
	int r;

	c->doc = yyjson_mut_doc_new(NULL);
	if (!c->doc)
		return no_memory(c);
	r = next_event(c);
	line = c->have_event ? c->event.start_mark.line + 1 : 0;
	if (r == 0)
		r = compose(c, 1, &root);
	if (r == 0 && !yyjson_mut_is_null(root)) {
		yyjson_mut_doc_set_root(c->doc, root);
		r = add_doc(c, docs, line);
	}
	map_clear(&c->anchors, NULL);
	yyjson_mut_doc_free(take_ptr(c->doc));
	return r < 0 ? r : next_event(c); /* the document's end */
}

static int compose_stream(struct composer *c, struct yaml_docs *docs)
{
	int r;

	do {
		r = next_event(c);
		if (r == 0 && c->event.type == YAML_DOCUMENT_START_EVENT)
			r = compose_document(c, docs);
	} while (r == 0 && c->event.type != YAML_STREAM_END_EVENT);
	return r;
}

int yaml_to_json(const char *text, size_t len, struct yaml_docs *ret,
		 struct err *e)
{
	struct composer c = { .e = e };
	struct yaml_docs docs = { .v = NULL };
	int r;

	if (len > YAML_LEN_MAX)
		return err_set(e, -E2BIG, "%zu bytes of YAML: the limit is %d",
			       len, YAML_LEN_MAX);
	if (!yaml_parser_initialize(&c.parser))
		return no_memory(&c);
	yaml_parser_set_input_string(&c.parser, (const unsigned char *)text,
				     len);
	r = compose_stream(&c, &docs);
	if (c.have_event)
		yaml_event_delete(&c.event);
	yaml_parser_delete(&c.parser);
	if (r < 0) {
		yaml_docs_clear(&docs);
		return r;
	}
	*ret = docs;
	return 0;
}

void yaml_docs_clear(struct yaml_docs *docs)
{
	for (size_t i = 0; i < docs->nr; i++)
		free(docs->v[i].json);
	free(docs->v);
	*docs = (struct yaml_docs){ .v = NULL };
}
