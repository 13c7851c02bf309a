// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "agent/disk.h"
#include "agent/image/image.h"
#include "agent/internal.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define LOOK_MS     10000
#define LOW_LOOK_MS 500 /* while there is pressure */
#define ENOUGH      (1ULL << 30)
#define USERS_TOLD  3 /* of an image, by name */

static uint64_t missing(uint64_t have, uint64_t enough, bool recover)
{
	if (recover)
		enough += enough / 4;
	return have < enough ? enough - have : 0;
}

uint64_t disk_missing(const struct disk_room *room, bool recover)
{
	uint64_t enough = room->all_bytes / 10;

	return missing(room->free_bytes, enough < ENOUGH ? enough : ENOUGH,
		       recover);
}

uint64_t disk_missing_inodes(const struct disk_room *room, bool recover)
{
	return missing(room->free_inodes, room->all_inodes / 20, recover);
}

static int measure(const char *path, struct disk_room *ret)
{
	struct statvfs st;

	if (statvfs(path, &st) < 0)
		return -errno;
	*ret = (struct disk_room){
		.free_bytes = (uint64_t)st.f_bavail * st.f_frsize,
		.all_bytes = (uint64_t)st.f_blocks * st.f_frsize,
		.free_inodes = st.f_favail,
		.all_inodes = st.f_files,
	};
	return 0;
}

void disk_amounts(const char *path, uint64_t *ret_all, uint64_t *ret_usable)
{
	struct disk_room room = { 0 };

	*ret_all = *ret_usable = INT64_MAX;
	if (measure(path, &room) < 0 || !room.all_bytes)
		return;
	*ret_all = room.all_bytes;
	room.free_bytes = 0;
	*ret_usable = room.all_bytes - disk_missing(&room, false);
}

/* --- images ----------------------------------------------------------------
 */

static void add_id(struct strv *to, const char *id)
{
	char *copy = strdup(id);

	if (copy)
		to->v[to->nr++] = copy;
}

/* What it runs, and what its manifest names: it may not run yet. */
static void add_images(struct agent *a, struct pod *pod, struct strv *to)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++) {
		const struct ctr *c = &pod->ctrs[i];
		const char *ref =
			c->spec ? c->spec->image : pod->spec->vm->image;
		struct image *named = NULL;

		if (c->image)
			add_id(to, c->image->id);
		if ((!c->image || ctr_image_changed(c)) &&
		    image_find(a->images, ref, &named, NULL) == 0)
			add_id(to, named->id);
		image_unref(named);
	}
}

int used_images(struct agent *a, struct strv *ret)
{
	struct pod **pods;
	size_t nr, total = 0;

	if (pods_all(a, &pods, &nr) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		total += 2 * pods[i]->nr_ctrs;
	*ret = (struct strv){ .v = calloc(total + 1, sizeof(*ret->v)) };
	for (size_t i = 0; ret->v && i < nr; i++) {
		pthread_mutex_lock(&pods[i]->lock);
		add_images(a, pods[i], ret);
		pthread_mutex_unlock(&pods[i]->lock);
	}
	pod_list_free(pods, nr);
	return ret->v ? 0 : -ENOMEM;
}

void used_images_free(struct strv *used)
{
	for (size_t i = 0; i < used->nr; i++)
		free(used->v[i]);
	free(used->v);
	*used = (struct strv){ 0 };
}

int image_users(struct agent *a, const char *id, struct buf *names)
{
	struct pod **pods;
	size_t nr, users = 0;
	int r = pods_all(a, &pods, &nr);

	for (size_t i = 0; r == 0 && i < nr; i++) {
		struct strv used = { .v = calloc(pods[i]->nr_ctrs + 1,
						 sizeof(*used.v)) };
		bool uses = false;

		pthread_mutex_lock(&pods[i]->lock);
		if (used.v)
			add_images(a, pods[i], &used);
		pthread_mutex_unlock(&pods[i]->lock);
		for (size_t k = 0; k < used.nr; k++)
			uses |= str_eq(used.v[k], id);
		used_images_free(&used);
		if (uses && users++ < USERS_TOLD)
			buf_printf(names, "%s'%s'", users > 1 ? ", " : "",
				   pods[i]->key);
	}
	if (r == 0)
		pod_list_free(pods, nr);
	if (users > USERS_TOLD)
		buf_printf(names, " and %zu more", users - USERS_TOLD);
	return r < 0 ? r : buf_error(names);
}

static uint64_t stored_bytes(struct agent *a)
{
	struct image_item *items = NULL;
	uint64_t sum = 0;
	size_t nr = 0;

	if (image_list(a->images, &items, &nr) < 0)
		return 0;
	for (size_t i = 0; i < nr; i++)
		sum += items[i].image->bytes;
	image_list_free(items, nr);
	return sum;
}

/* Layers that images share are counted twice here, so that too little may go:
 * the next look asks for more. */
static void free_images(struct agent *a, uint64_t want_bytes)
{
	uint64_t stored = stored_bytes(a), freed = 0;
	struct strv used = { 0 };
	struct err e = { 0 };
	int r = used_images(a, &used);

	if (r == 0)
		r = image_gc(a->images, &used,
			     stored > want_bytes ? stored - want_bytes : 0,
			     &freed, &e);
	used_images_free(&used);
	if (r < 0)
		log_warn("make room: remove images: %s", e.msg);
	if (freed)
		log_info("made room: %" PRIu64 " bytes of images no pod uses",
			 freed);
}

/* --- pressure --------------------------------------------------------------
 */

static void set_why(struct agent *a, const char *path,
		    const struct disk_room *room, bool inodes)
{
	char have[QUANTITY_TEXT_SIZE], all[QUANTITY_TEXT_SIZE];

	quantity_format_human(room->free_bytes, have);
	quantity_format_human(room->all_bytes, all);
	pthread_mutex_lock(&a->disk.lock);
	if (inodes)
		snprintf(a->disk.why, sizeof(a->disk.why),
			 "%.120s: %" PRIu64 " of %" PRIu64 " inodes are free",
			 path, room->free_inodes, room->all_inodes);
	else
		snprintf(a->disk.why, sizeof(a->disk.why),
			 "%.120s: %s of %s are free", path, have, all);
	pthread_mutex_unlock(&a->disk.lock);
}

/* The first that has too little. */
static bool look_at(struct agent *a, bool recover, uint64_t *ret_missing)
{
	const char *const paths[] = { a->opts.state_dir, a->opts.log_dir };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct disk_room room = { 0 };
		bool inodes;

		if (measure(paths[i], &room) < 0)
			continue; /* not there yet */
		*ret_missing = disk_missing(&room, recover);
		inodes = !*ret_missing && disk_missing_inodes(&room, recover);
		if (!*ret_missing && !inodes)
			continue;
		if (inodes)
			*ret_missing = 1; /* any image helps */
		set_why(a, paths[i], &room, inodes);
		return true;
	}
	return false;
}

static void poke_all(struct agent *a)
{
	struct pod **pods;
	size_t nr;

	if (pods_all(a, &pods, &nr) < 0)
		return; /* their back-off brings them back */
	for (size_t i = 0; i < nr; i++)
		pod_poke(pods[i]);
	pod_list_free(pods, nr);
}

void disk_look(struct agent *a)
{
	bool was = atomic_load(&a->disk.low), low;
	uint64_t bytes = 0;

	low = look_at(a, was, &bytes);
	if (low) {
		free_images(a, bytes);
		low = look_at(a, true, &bytes);
	}
	atomic_store(&a->disk.low, low);
	if (low && !was)
		log_warn("disk pressure, new pods wait: %s", a->disk.why);
	if (was && !low) {
		log_info("no disk pressure any more");
		poke_all(a);
	}
	(void)wq_add_after(a->queue, DISK_KEY, low ? LOW_LOOK_MS : LOOK_MS);
}

void disk_hint(struct agent *a)
{
	(void)wq_add(a->queue, DISK_KEY);
}

bool disk_low(struct agent *a, char *ret, size_t size)
{
	bool low = atomic_load(&a->disk.low);

	if (!low || !ret)
		return low;
	pthread_mutex_lock(&a->disk.lock);
	snprintf(ret, size, "%s", a->disk.why);
	pthread_mutex_unlock(&a->disk.lock);
	return true;
}
