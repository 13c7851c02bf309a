// SPDX-License-Identifier: Apache-2.0
/*
 * index.json: which image a name means. Each image's record holds a copy of its
 * own names, which counts only when the index is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/image/internal.h"
#include "agent/image/names.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"

#define INDEX_VERSION 1
#define INDEX_LEN_MAX (16 * 1024 * 1024)

int index_save(struct image_store *s, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	json_put_object(&o, NULL);
	json_put_u64(&o, "version", INDEX_VERSION);
	json_put_object(&o, "names");
	for (const struct stored *i = s->images; i; i = i->next)
		for (size_t n = 0; n < i->names.nr; n++)
			json_put_str(&o, i->names.v[n], i->img.id);
	json_put_end(&o);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, buf_error(&b), "out of memory");
	return fs_write_atomic(s->fd, INDEX_FILE, b.data, b.len, 0600, e);
}

/* The copy in the record. Losing this costs a name only if the index is lost,
 * too, so its failure is not the caller's. */
static void save_names(struct image_store *s, const struct stored *img)
{
	auto_close int fd = -EBADF;
	char path[DIGEST_TEXT_MAX + 16];

	(void)snprintf(path, sizeof(path), "images/%s",
		       digest_hex(img->img.id));
	fd = openat(s->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)record_write(fd, img, NULL);
}

int index_name(struct image_store *s, struct stored *img, const char *name,
	       struct err *e)
{
	struct stored *before = table_by_name(s, name);
	auto_free char *was = NULL; /* as it was spelled there */
	int r;

	if (before == img)
		return 0;
	if (before) {
		was = strdup(image_name_meant(&before->names, name));
		if (!was)
			return err_set(e, -ENOMEM, "out of memory");
	}
	if (strlist_add(&img->names, name) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (before)
		strlist_del(&before->names, was);
	r = index_save(s, e);
	if (r < 0) {
		strlist_del(&img->names, name);
		if (before)
			(void)strlist_add(&before->names, was);
		return r;
	}
	if (before)
		save_names(s, before);
	save_names(s, img);
	return 0;
}

int index_unname(struct image_store *s, struct stored *img, const char *name,
		 struct err *e)
{
	auto_free char *copy = strdup(name);
	int r;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	strlist_del(&img->names, copy);
	r = index_save(s, e);
	if (r < 0)
		(void)strlist_add(&img->names, copy);
	else
		save_names(s, img);
	return r;
}

static int take_names(struct image_store *s, const struct json_ref *names,
		      struct err *e)
{
	int r = json_want_object(names, e);

	if (r < 0)
		return r;
	json_for_each (it, names) {
		struct stored *img;
		const char *id;

		r = json_str(&it.item, &id, e);
		if (r < 0)
			return r;
		img = table_by_id(s, id);
		if (img && strlist_add(&img->names, it.item.key) < 0)
			return err_set(e, -ENOMEM, "out of memory");
	}
	return 0;
}

static int parse(struct image_store *s, const struct buf *b, struct err *e)
{
	struct json_limits limits = { .len = INDEX_LEN_MAX };
	struct json_ref root, names;
	yyjson_doc *doc;
	int r = json_parse_within(buf_str(b), b->len, &limits, &doc, e);

	if (r < 0)
		return r;
	root = json_root(doc);
	names = json_get(&root, "names");
	r = json_has(&names) ? take_names(s, &names, e) : -EBADMSG;
	yyjson_doc_free(doc);
	return r;
}

/* The records' copies, put aside while the index is tried. */
struct copies {
	struct stored *img;
	struct strv names;
};

/* A name two images claim belongs to the one that came last. */
static void settle(struct image_store *s)
{
	for (struct stored *i = s->images; i; i = i->next)
		for (struct stored *k = i->next; k; k = k->next)
			for (size_t n = k->names.nr; n-- > 0;) {
				if (!strlist_has(&i->names, k->names.v[n]))
					continue;
				if (i->img.stored_s > k->img.stored_s)
					strlist_del(&k->names, k->names.v[n]);
				else
					strlist_del(&i->names, k->names.v[n]);
			}
}

/* Names from the records into @c and out of the table, or back. */
static size_t put_aside(struct image_store *s, struct copies *c)
{
	size_t nr = 0;

	for (struct stored *i = s->images; i; i = i->next) {
		c[nr] = (struct copies){ .img = i, .names = i->names };
		i->names = (struct strv){ .v = NULL };
		nr++;
	}
	return nr;
}

static int rebuild(struct image_store *s, struct err *e)
{
	/* Kept for whoever wants to know what happened; -ENOENT: never was. */
	(void)renameat(s->fd, INDEX_FILE, s->fd, INDEX_FILE ".damaged");
	settle(s);
	return index_save(s, e);
}

int index_load(struct image_store *s, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct copies *copies;
	size_t nr = 1;
	int r;

	for (struct stored *i = s->images; i; i = i->next)
		nr++;
	copies = calloc(nr, sizeof(*copies));
	if (!copies)
		return err_set(e, -ENOMEM, "out of memory");
	nr = put_aside(s, copies);
	r = fs_read(s->fd, INDEX_FILE, INDEX_LEN_MAX, &b, e);
	if (r == 0)
		r = parse(s, &b, e);
	for (size_t i = 0; i < nr; i++) {
		if (r < 0) {
			strlist_clear(&copies[i].img->names);
			copies[i].img->names = copies[i].names;
		} else {
			strlist_clear(&copies[i].names);
		}
	}
	free(copies);
	/* The disk failing is no reason to throw the names away. */
	if (r < 0 && r != -EIO && r != -ENOMEM)
		r = rebuild(s, e);
	return r;
}
