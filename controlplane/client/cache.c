// SPDX-License-Identifier: Apache-2.0
#include "controlplane/client/cache.h"

#include <stdio.h>

#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

/* Objects of one value of an index; an object knows its place in it. */
struct cache_set {
	struct informer_object **v;
	size_t nr, room;
};

/* --- objects --- */

struct informer_object *informer_ref(struct informer_object *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void informer_unref(struct informer_object *o)
{
	if (o &&
	    atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
		free(o);
}

yyjson_doc *informer_doc(const struct informer_object *o)
{
	return yyjson_read(o->data, o->len, 0);
}

static const char *text(yyjson_val *v, const char *key)
{
	const char *s = yyjson_get_str(yyjson_obj_get(v, key));

	return s ? s : "";
}

static yyjson_val *controller_of(yyjson_val *meta)
{
	yyjson_val *refs = yyjson_obj_get(meta, "ownerReferences"), *ref;
	size_t i, max;

	yyjson_arr_foreach(refs, i, max, ref) if (
		yyjson_get_bool(yyjson_obj_get(ref, "controller"))) return ref;
	return NULL;
}

static char *put_text(char **at, const char *s)
{
	size_t len = strlen(s) + 1;
	char *to = *at;

	memcpy(to, s, len);
	*at += len;
	return to;
}

static struct informer_object *
object_new(const struct cache *c, yyjson_val *obj, const char *data, size_t len)
{
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	const char *tenant = text(meta, "tenant");
	const char *ns = text(meta, "namespace"), *name = text(meta, "name");
	const char *uid = text(meta, "uid");
	yyjson_val *ref = controller_of(meta);
	const char *owner = text(ref, "uid"), *owner_kind = text(ref, "kind");
	const char *owner_name = text(ref, "name");
	const char *node = text(yyjson_obj_get(obj, "spec"), "nodeName");
	const char *label = c->opts.label ? text(yyjson_obj_get(meta, "labels"),
						 c->opts.label)
					  : "";
	size_t head = sizeof(struct informer_object) +
		      ((c->opts.facts_size + 7) & ~(size_t)7);
	size_t names = strlen(tenant) + strlen(ns) + strlen(name) + 3;
	size_t strings = names * 2 + strlen(uid) + strlen(owner) +
			 strlen(node) + strlen(label) + strlen(owner_kind) +
			 strlen(owner_name) + 6;
	size_t keep = c->opts.drop_data ? 0 : len;
	struct informer_object *o = calloc(1, head + strings + keep + 1);
	char *at = (char *)o + head;

	if (!o)
		return NULL;
	atomic_init(&o->refs, 1);
	o->key = at;
	at += snprintf(at, names, "%s/%s/%s", tenant, ns, name) + 1;
	o->tenant = put_text(&at, tenant);
	o->namespace = put_text(&at, ns);
	o->name = put_text(&at, name);
	o->uid = put_text(&at, uid);
	o->owner = put_text(&at, owner);
	o->owner_kind = put_text(&at, owner_kind);
	o->owner_name = put_text(&at, owner_name);
	o->node = put_text(&at, node);
	o->label = put_text(&at, label);
	o->data = at;
	memcpy(at, data, keep);
	o->len = (uint32_t)keep;
	(void)str_to_u64(text(meta, "resourceVersion"), &o->revision);
	if (c->opts.facts_size) {
		o->facts = o + 1;
		c->opts.facts(obj, o->facts);
	}
	return o;
}

/* --- indexes --- */

/* The value @o has in an index; NULL: it is not in it. */
static const char *index_value(const struct informer_object *o, int by,
			       char *room, size_t size)
{
	const char *v = "";

	if (by == INFORMER_BY_NAMESPACE) {
		snprintf(room, size, "%s/%s", o->tenant, o->namespace);
		return room;
	}
	if (by == INFORMER_BY_OWNER)
		v = o->owner;
	else if (by == INFORMER_BY_NODE)
		v = o->node;
	else if (by == INFORMER_BY_LABEL)
		v = o->label;
	return *v ? v : NULL;
}

#define VALUE_MAX 640 /* a tenant and a namespace */

static int set_add(struct map *m, const char *value, struct informer_object *o,
		   int by)
{
	struct cache_set *s = map_get(m, value);
	struct informer_object **v;

	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || map_set(m, value, s, NULL) < 0) {
			free(s);
			return -ENOMEM;
		}
	}
	if (s->nr == s->room) {
		size_t room = s->room ? s->room * 2 : 2;

		v = realloc(s->v, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		s->v = v;
		s->room = room;
	}
	o->place[by] = (uint32_t)s->nr;
	s->v[s->nr++] = o;
	return 0;
}

static void set_del(struct map *m, const char *value, struct informer_object *o,
		    int by)
{
	struct cache_set *s = map_get(m, value);
	uint32_t at = o->place[by];

	if (!s || at >= s->nr || s->v[at] != o)
		return;
	s->v[at] = s->v[--s->nr];
	s->v[at]->place[by] = at;
	if (!s->nr) {
		map_del(m, value);
		free(s->v);
		free(s);
	}
}

static void unindex(struct cache *c, struct informer_object *o)
{
	char room[VALUE_MAX];

	for (int by = 1; by < INFORMER_NR_INDEXES; by++) {
		const char *v = index_value(o, by, room, sizeof(room));

		if (v)
			set_del(&c->index[by], v, o, by);
	}
}

static int reindex(struct cache *c, struct informer_object *o)
{
	char room[VALUE_MAX];

	for (int by = 1; by < INFORMER_NR_INDEXES; by++) {
		const char *v = index_value(o, by, room, sizeof(room));

		if (v && set_add(&c->index[by], v, o, by) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- changes --- */

void cache_init(struct cache *c, const struct informer_opts *opts)
{
	memset(c, 0, sizeof(*c));
	pthread_rwlock_init(&c->lock, NULL);
	c->opts = *opts;
	c->round = 1;
	c->initial = true;
}

void cache_clear(struct cache *c)
{
	for (int by = 1; by < INFORMER_NR_INDEXES; by++) {
		struct map_iter it = MAP_ITER_INIT;

		while (map_next(&c->index[by], &it)) {
			struct cache_set *s = it.value;

			free(s->v);
			free(s);
		}
		map_clear(&c->index[by], NULL);
	}
	map_clear(&c->objects, (void (*)(void *))informer_unref);
	pthread_rwlock_destroy(&c->lock);
}

static void tell(struct cache *c, struct informer_object *old,
		 struct informer_object *now, yyjson_val *obj)
{
	struct informer_event ev = {
		.old = old, .now = now, .obj = obj, .initial = c->initial
	};

	if (c->changed)
		c->changed(c->arg, &ev);
}

/* Take out what has this key; owned by the caller. Locked. */
static struct informer_object *take_out(struct cache *c, const char *key)
{
	struct informer_object *old = map_get(&c->objects, key);

	if (!old)
		return NULL;
	unindex(c, old);
	c->bytes -= old->len;
	map_del(&c->objects, key);
	return old;
}

int cache_put(struct cache *c, yyjson_val *obj, const char *data, size_t len,
	      struct err *e)
{
	auto_free char *written = NULL;
	struct informer_object *o, *old;
	int r = 0;

	if (!data && !c->opts.drop_data) {
		written = yyjson_val_write(obj, 0, &len);
		data = written;
		if (!written)
			return err_set(e, -ENOMEM, "out of memory");
	}
	o = object_new(c, obj, data ? data : "", data ? len : 0);
	if (!o)
		return err_set(e, -ENOMEM, "out of memory");
	o->round = c->round;
	old = map_get(&c->objects, o->key);
	/* A list after a cut often brings what is known. */
	if (old && old->revision == o->revision && !strcmp(old->uid, o->uid)) {
		old->round = c->round;
		informer_unref(o);
		return 0;
	}
	pthread_rwlock_wrlock(&c->lock);
	old = take_out(c, o->key);
	r = map_set(&c->objects, o->key, o, NULL);
	if (r == 0)
		r = reindex(c, o);
	if (r == 0)
		c->bytes += o->len;
	else
		map_del(&c->objects, o->key);
	pthread_rwlock_unlock(&c->lock);
	/* Another object of the same name: the first one went, unseen. */
	if (r == 0 && old && strcmp(old->uid, o->uid) != 0) {
		tell(c, old, NULL, NULL);
		tell(c, NULL, o, obj);
	} else if (r == 0) {
		tell(c, old, o, obj);
	}
	informer_unref(old);
	if (r < 0)
		informer_unref(o);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static void drop(struct cache *c, const char *key)
{
	struct informer_object *old;

	pthread_rwlock_wrlock(&c->lock);
	old = take_out(c, key);
	pthread_rwlock_unlock(&c->lock);
	if (old)
		tell(c, old, NULL, NULL);
	informer_unref(old);
}

int cache_remove(struct cache *c, yyjson_val *obj, struct err *e)
{
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	auto_free char *key =
		str_printf("%s/%s/%s", text(meta, "tenant"),
			   text(meta, "namespace"), text(meta, "name"));

	if (!key)
		return err_set(e, -ENOMEM, "out of memory");
	drop(c, key);
	return 0;
}

void cache_begin(struct cache *c)
{
	c->round++;
}

int cache_end(struct cache *c)
{
	struct map_iter it = MAP_ITER_INIT;

	/* Deleting while iterating is allowed. Only we write. */
	while (map_next(&c->objects, &it)) {
		struct informer_object *o = it.value;

		if (o->round != c->round) {
			auto_free char *key = strdup(o->key);

			if (!key)
				return -ENOMEM;
			drop(c, key);
		}
	}
	c->initial = false;
	return 0;
}

size_t cache_count(struct cache *c, enum informer_index by, const char *value)
{
	struct cache_set *s;

	if (by == INFORMER_ALL)
		return map_len(&c->objects);
	s = map_get(&c->index[by], value);
	return s ? s->nr : 0;
}

int cache_list(struct cache *c, enum informer_index by, const char *value,
	       struct informer_list *ret)
{
	size_t nr = cache_count(c, by, value);
	struct map_iter it = MAP_ITER_INIT;
	struct cache_set *s;

	*ret = (struct informer_list){ 0 };
	if (!nr)
		return 0;
	ret->v = malloc(nr * sizeof(*ret->v));
	if (!ret->v)
		return -ENOMEM;
	if (by == INFORMER_ALL) {
		while (map_next(&c->objects, &it))
			ret->v[ret->nr++] = informer_ref(it.value);
		return 0;
	}
	s = map_get(&c->index[by], value);
	for (size_t i = 0; i < s->nr; i++)
		ret->v[ret->nr++] = informer_ref(s->v[i]);
	return 0;
}

/* --- what the server sends --- */

/* The bytes of the object in {"type":"X","object":{...}}, as sent. */
static const char *object_text(const char *line, size_t len, size_t *ret_len)
{
	static const char mid[] = "\",\"object\":";
	const char *p;

	if (len < 24 || memcmp(line, "{\"type\":\"", 9) != 0)
		return NULL;
	p = memmem(line, 48 < len ? 48 : len, mid, sizeof(mid) - 1);
	if (!p || line[len - 1] != '}')
		return NULL;
	p += sizeof(mid) - 1;
	*ret_len = (size_t)(line + len - 1 - p);
	return p;
}

static int error_line(yyjson_val *obj, struct err *e)
{
	int64_t code = yyjson_get_sint(yyjson_obj_get(obj, "code"));

	err_set(e, -EIO, "%s", text(obj, "message"));
	return code == 410 || code == 504 ? CACHE_EXPIRED : CACHE_FAILED;
}

static int apply_line(struct cache *c, yyjson_val *root, const char *line,
		      size_t len, uint64_t *ret_revision, struct err *e)
{
	yyjson_val *obj = yyjson_obj_get(root, "object");
	yyjson_val *meta = yyjson_obj_get(obj, "metadata");
	const char *type = text(root, "type"), *data;
	uint64_t revision;
	size_t data_len = 0;
	int r = 0;

	if (str_eq(type, "ERROR"))
		return error_line(obj, e);
	if (!yyjson_is_obj(meta) ||
	    str_to_u64(text(meta, "resourceVersion"), &revision) < 0)
		return err_set(e, -EBADMSG, "an event without its revision");
	data = object_text(line, len, &data_len);
	if (str_eq(type, "DELETED"))
		r = cache_remove(c, obj, e);
	else if (str_eq(type, "ADDED") || str_eq(type, "MODIFIED"))
		r = *text(meta, "name")
			    ? cache_put(c, obj, data, data_len, e)
			    : err_set(e, -EBADMSG, "an object without a name");
	else if (!str_eq(type, "BOOKMARK"))
		r = err_set(e, -EBADMSG, "an event of unknown type");
	if (r == 0)
		*ret_revision = revision;
	return r;
}

int cache_line(struct cache *c, const char *line, size_t len,
	       uint64_t *ret_revision, struct err *e)
{
	yyjson_doc *doc = yyjson_read(line, len, 0);
	int r;

	if (!doc)
		return err_set(e, -EBADMSG, "an event is not JSON");
	r = apply_line(c, yyjson_doc_get_root(doc), line, len, ret_revision, e);
	yyjson_doc_free(doc);
	return r;
}

int cache_page(struct cache *c, const char *data, size_t len,
	       struct cache_page *ret, struct err *e)
{
	yyjson_doc *doc = yyjson_read(data, len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc), *item;
	yyjson_val *meta = yyjson_obj_get(root, "metadata");
	const char *more = text(meta, "continue");
	size_t i, max;
	int r = 0;

	if (!doc || !yyjson_is_arr(yyjson_obj_get(root, "items")) ||
	    str_to_u64(text(meta, "resourceVersion"), &ret->revision) < 0)
		r = err_set(e, -EBADMSG, "the answer is not a list");
	if (r == 0)
		yyjson_arr_foreach(yyjson_obj_get(root, "items"), i, max, item)
		{
			yyjson_val *m = yyjson_obj_get(item, "metadata");

			if (!*text(m, "name"))
				r = err_set(e, -EBADMSG,
					    "an object without a name");
			else
				r = cache_put(c, item, NULL, 0, e);
			if (r < 0)
				break;
		}
	ret->more = r == 0 && *more ? strdup(more) : NULL;
	yyjson_doc_free(doc);
	return r;
}
