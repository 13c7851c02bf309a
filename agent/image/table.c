// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/image/internal.h"
#include "agent/image/names.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"

#define ID_PREFIX_MIN 12

struct stored *stored_of(struct image *img)
{
	return (struct stored *)((char *)img - offsetof(struct stored, img));
}

struct stored *stored_new(void)
{
	struct stored *img = calloc(1, sizeof(*img));

	if (img)
		atomic_init(&img->refs, 1);
	return img;
}

struct image *image_ref(struct image *img)
{
	atomic_fetch_add(&stored_of(img)->refs, 1);
	return img;
}

void image_unref(struct image *img)
{
	struct stored *st;

	if (!img || atomic_fetch_sub(&stored_of(img)->refs, 1) != 1)
		return;
	st = stored_of(img);
	image_config_clear(&img->config);
	strlist_clear(&img->layers);
	free(img->id);
	free(img->manifest_digest);
	free(img->vm.disk);
	free(img->vm.format);
	free(img->vm.kernel);
	free(img->vm.initrd);
	free(img->vm.cmdline);
	strlist_clear(&st->names);
	strlist_clear(&st->digests);
	free(st->layers);
	free(st);
}

struct image *stored_use(struct image_store *s, struct stored *img)
{
	img->used = ++s->tick;
	return image_ref(&img->img);
}

struct stored *table_by_id(struct image_store *s, const char *id)
{
	for (struct stored *i = s->images; i; i = i->next)
		if (str_eq(i->img.id, id))
			return i;
	return NULL;
}

struct stored *table_by_name(struct image_store *s, const char *name)
{
	for (struct stored *i = s->images; i; i = i->next)
		if (strlist_has(&i->names, name))
			return i;
	for (struct stored *i = s->images; i; i = i->next)
		if (image_name_meant(&i->names, name))
			return i;
	return NULL;
}

/* Content is what its digest says, wherever it came from. */
struct stored *table_by_digest(struct image_store *s, const char *digest)
{
	for (struct stored *i = s->images; i; i = i->next)
		if (strlist_has(&i->digests, digest))
			return i;
	return NULL;
}

static bool is_hex(const char *s)
{
	return strspn(s, "0123456789abcdef") == strlen(s);
}

static int find_prefix(struct image_store *s, const char *hex,
		       struct stored **ret, struct err *e)
{
	struct stored *found = NULL;

	for (struct stored *i = s->images; i; i = i->next) {
		if (!str_starts(digest_hex(i->img.id), hex))
			continue;
		if (found)
			return err_set(e, -ENOTUNIQ,
				       "several images begin with '%s'", hex);
		found = i;
	}
	if (!found)
		return -ENOENT;
	*ret = found;
	return 0;
}

int table_find(struct image_store *s, const char *ref, struct stored **ret,
	       struct err *e)
{
	const char *hex =
		str_starts(ref, DIGEST_PREFIX) ? digest_hex(ref) : ref;
	struct stored *found = table_by_name(s, ref);
	struct image_name name;
	bool is_name;
	int r = -ENOENT;

	is_name = image_name_parse(ref, &name, e) == 0;
	if (!found && is_name && name.digest[0])
		found = table_by_digest(s, name.digest);
	if (found) {
		*ret = found;
		return 0;
	}
	if (is_hex(hex) && strlen(hex) >= ID_PREFIX_MIN)
		r = find_prefix(s, hex, ret, e);
	if (r != -ENOENT)
		return r;
	if (!is_name && !image_name_is_fine(ref))
		return -EINVAL; /* image_name_parse() has told why */
	return err_set(e, -ENOENT,
		       "image '%s' is not here: "
		       "'arktos-node image ls' lists those that are",
		       ref);
}

void table_add(struct image_store *s, struct stored *img)
{
	img->next = s->images;
	img->used = ++s->tick;
	s->images = img;
}

void table_del(struct image_store *s, struct stored *img)
{
	struct stored **at = &s->images;

	while (*at && *at != img)
		at = &(*at)->next;
	if (*at)
		*at = img->next;
	img->next = NULL;
}

struct layer *table_layer(struct image_store *s, const char *digest)
{
	for (struct layer *l = s->layers; l; l = l->next)
		if (str_eq(l->digest, digest))
			return l;
	return NULL;
}

struct layer *table_layer_add(struct image_store *s,
			      const struct layer_record *rec)
{
	struct layer *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	memcpy(l->digest, rec->digest, sizeof(l->digest));
	memcpy(l->diff_id, rec->diff_id, sizeof(l->diff_id));
	l->bytes = rec->bytes;
	l->next = s->layers;
	s->layers = l;
	return l;
}

static bool is_flying(const struct image_store *s, const char *key)
{
	for (const struct flight *f = s->flights; f; f = f->next)
		if (str_eq(f->key, key))
			return true;
	return false;
}

int flight_begin(struct transfer *t, struct flight *f, const char *key,
		 bool *ret_waited, struct err *e)
{
	struct image_store *s = t->s;

	*ret_waited = false;
	while (is_flying(s, key)) {
		struct timespec until;
		int r = transfer_check(t, e);

		if (r < 0)
			return r;
		*ret_waited = true;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1; /* then see whether we are still wanted */
		(void)pthread_cond_timedwait(&s->landed, &s->lock, &until);
	}
	f->key = key;
	f->next = s->flights;
	s->flights = f;
	return 0;
}

void flight_end(struct image_store *s, struct flight *f)
{
	struct flight **at = &s->flights;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	pthread_cond_broadcast(&s->landed);
}
