// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/internal.h"
#include "agent/image/names.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"

static bool is_used(const struct stored *img, const struct strv *used)
{
	return strlist_has(used, img->img.id);
}

/* Out of table and index, and its folder out of the way. Under the lock, and
 * in this order: the names are gone before the image is. */
static int take_out(struct image_store *s, struct stored *img,
		    char stage[STAGE_NAME_MAX], struct err *e)
{
	struct strv names = img->names;
	int r;

	img->names = (struct strv){ .v = NULL };
	r = index_save(s, e);
	if (r == 0)
		r = stage_retire(s, "images", digest_hex(img->img.id), stage,
				 e);
	if (r < 0) {
		img->names = names;
		return r;
	}
	strlist_clear(&names);
	table_del(s, img);
	return 0;
}

/* The slow part, without the lock. */
static uint64_t clean_up(struct image_store *s, struct stored *img,
			 const char *stage)
{
	uint64_t freed = img->own_bytes;

	stage_drop(s, stage);
	for (size_t i = 0; i < img->nr_layers; i++) {
		const struct layer *l;

		pthread_mutex_lock(&s->lock);
		l = table_layer(s, img->layers[i].digest);
		freed += l && l->refs == 1 ? l->bytes : 0;
		pthread_mutex_unlock(&s->lock);
		layer_release(s, img->layers[i].digest);
	}
	image_unref(&img->img);
	return freed;
}

int image_remove(struct image_store *s, const char *ref,
		 const struct strv *used, struct err *e)
{
	char stage[STAGE_NAME_MAX] = "";
	struct stored *img, *gone = NULL;
	const char *name;
	int r;

	pthread_mutex_lock(&s->lock);
	r = table_find(s, ref, &img, e);
	name = r == 0 ? image_name_meant(&img->names, ref) : NULL;
	if (r == 0 && name && img->names.nr > 1) {
		r = index_unname(s, img, name, e);
	} else if (r == 0 && is_used(img, used)) {
		r = err_set(e, -EBUSY, "image '%s' is used by a pod", ref);
	} else if (r == 0) {
		r = take_out(s, img, stage, e);
		gone = r == 0 ? img : NULL;
	}
	pthread_mutex_unlock(&s->lock);
	if (gone)
		(void)clean_up(s, gone, stage);
	return r;
}

static uint64_t total_bytes(const struct image_store *s)
{
	uint64_t sum = 0;

	for (const struct layer *l = s->layers; l; l = l->next)
		sum += l->bytes;
	for (const struct stored *i = s->images; i; i = i->next)
		sum += i->own_bytes;
	return sum;
}

/* Nameless ones first, then whatever was used the longest time ago. */
static struct stored *pick(struct image_store *s, const struct strv *used,
			   uint64_t keep_bytes)
{
	struct stored *oldest = NULL;

	for (struct stored *i = s->images; i; i = i->next) {
		/* Somebody has it in hand, and may be about to use it. */
		if (is_used(i, used) || atomic_load(&i->refs) > 1)
			continue;
		if (!i->names.nr)
			return i;
		if (!oldest || i->used < oldest->used)
			oldest = i;
	}
	return total_bytes(s) > keep_bytes ? oldest : NULL;
}

int image_gc(struct image_store *s, const struct strv *used,
	     uint64_t keep_bytes, uint64_t *ret_freed, struct err *e)
{
	uint64_t freed = 0;
	int r = 0;

	while (r == 0) {
		char stage[STAGE_NAME_MAX] = "";
		struct stored *img;

		pthread_mutex_lock(&s->lock);
		img = pick(s, used, keep_bytes);
		if (img)
			r = take_out(s, img, stage, e);
		pthread_mutex_unlock(&s->lock);
		if (!img)
			break;
		if (r == 0)
			freed += clean_up(s, img, stage);
	}
	if (ret_freed)
		*ret_freed = freed;
	return r;
}
