// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/image/internal.h"
#include "agent/image/strlist.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"

#define UNPACKER   "arktos-unpack"
#define LOCK_TRIES 50

static char *find_unpacker(const char *libexec)
{
	char self[PATH_MAX];
	ssize_t n;
	char *slash;

	if (libexec)
		return str_printf("%s/" UNPACKER, libexec);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return NULL;
	self[n] = '\0';
	slash = strrchr(self, '/');
	return str_printf("%.*s/" UNPACKER, (int)(slash - self), self);
}

static int take_opts(struct image_store *s, const struct image_store_opts *o,
		     struct err *e)
{
	if (o)
		s->opts = *o;
	if (!s->opts.layer_max_bytes)
		s->opts.layer_max_bytes = UINT64_C(16) << 30;
	if (!s->opts.layer_max_entries)
		s->opts.layer_max_entries = 1000000;
	if (!s->opts.layer_max_ratio)
		s->opts.layer_max_ratio = 200;
	if (!s->opts.disk_max_bytes)
		s->opts.disk_max_bytes = UINT64_C(256) << 30;
	if (!s->opts.unpack_timeout_s)
		s->opts.unpack_timeout_s = 900;
	s->unpacker = find_unpacker(s->opts.libexec);
	if (!s->unpacker || str_set(&s->policy, s->opts.policy) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	s->opts.libexec = NULL; /* the caller's, and not ours to keep */
	s->opts.policy = NULL;
	return 0;
}

static int make_folder(struct image_store *s, const char *name, struct err *e)
{
	if (mkdirat(s->fd, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "mkdir '%s/%s'", s->dir, name);
	return 0;
}

/* A killed agent's child keeps the lock until it has become its program, so
 * the next agent may have to wait a moment. */
static int take_lock(struct image_store *s)
{
	struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return -1;
}

static int open_dir(struct image_store *s, struct err *e)
{
	int r = fs_mkdirs(s->dir, 0700, e);

	if (r < 0)
		return r;
	s->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return err_sys(e, "open '%s'", s->dir);
	/* Set-id programs in layers must be out of every user's reach. */
	if (fchmod(s->fd, 0700) < 0)
		return err_sys(e, "chmod '%s'", s->dir);
	s->lock_fd = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_sys(e, "open '%s/lock'", s->dir);
	if (take_lock(s) < 0)
		return errno == EWOULDBLOCK
			       ? err_set(e, -EBUSY,
					 "'%s' is in use by another process: "
					 "is an agent running on this state "
					 "directory?",
					 s->dir)
			       : err_sys(e, "lock '%s'", s->dir);
	/* A child of a crashed agent may still be writing there: what cannot
	 * be removed now goes the next time. */
	(void)fs_remove_tree(s->fd, "staging", NULL);
	r = make_folder(s, "staging", e);
	if (r == 0)
		r = make_folder(s, "images", e);
	if (r == 0)
		r = make_folder(s, "layers", e);
	return r;
}

/* Call @each for what is in the folder, which may remove it. */
static int walk(struct image_store *s, const char *folder,
		int (*each)(struct image_store *s, const char *name,
			    struct err *e),
		struct err *e)
{
	int fd = openat(s->fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;
	int r = 0;

	if (!d) {
		r = err_sys(e, "open '%s/%s'", s->dir, folder);
		auto_close_(&fd);
		return r;
	}
	while (r == 0 && (ent = readdir(d)))
		if (ent->d_name[0] != '.')
			r = each(s, ent->d_name, e);
	closedir(d);
	return r;
}

static int take_layers(struct image_store *s, const struct stored *img,
		       struct err *e)
{
	for (size_t i = 0; i < img->nr_layers; i++) {
		struct layer *l = table_layer(s, img->layers[i].digest);

		if (!l)
			l = table_layer_add(s, &img->layers[i]);
		if (!l)
			return err_set(e, -ENOMEM, "out of memory");
		l->refs++;
	}
	return 0;
}

static int load_image(struct image_store *s, const char *name, struct err *e)
{
	struct stored *img;
	int r = record_read(s, name, &img, e);

	if (r == -ENOMEM || r == -EIO || r == -EMFILE)
		return r;
	if (r < 0) /* half of an image is none */
		return stage_discard(s, "images", name, e);
	table_add(s, img);
	return take_layers(s, img, e);
}

static int check_layer(struct image_store *s, const char *name, struct err *e)
{
	char digest[DIGEST_TEXT_MAX];
	int n = snprintf(digest, sizeof(digest), DIGEST_PREFIX "%s", name);

	if (n < (int)sizeof(digest) && table_layer(s, digest))
		return 0;
	/* No image counts on it, so it may not even be flushed. */
	return stage_discard(s, "layers", name, e);
}

int image_store_open(const char *state_dir, const struct image_store_opts *opts,
		     struct image_store **ret, struct err *e)
{
	struct image_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->fd = s->lock_fd = -EBADF;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->landed, NULL);
	s->dir = str_printf("%s/images", state_dir);
	r = s->dir ? take_opts(s, opts, e)
		   : err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = open_dir(s, e);
	if (r == 0)
		r = walk(s, "images", load_image, e);
	if (r == 0)
		r = walk(s, "layers", check_layer, e);
	if (r == 0)
		r = index_load(s, e);
	if (r < 0) {
		image_store_close(s);
		return err_wrap(e, r, "image store");
	}
	*ret = s;
	return 0;
}

void image_store_close(struct image_store *s)
{
	struct stored *img;
	struct layer *l;

	if (!s)
		return;
	while ((img = s->images)) {
		s->images = img->next;
		image_unref(&img->img);
	}
	while ((l = s->layers)) {
		s->layers = l->next;
		free(l);
	}
	auto_close_(&s->fd);
	auto_close_(&s->lock_fd);
	pthread_cond_destroy(&s->landed);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s->unpacker);
	free(s->policy);
	free(s);
}

int image_find(struct image_store *s, const char *ref, struct image **ret,
	       struct err *e)
{
	struct stored *img;
	int r;

	pthread_mutex_lock(&s->lock);
	r = table_find(s, ref, &img, e);
	if (r == 0)
		*ret = stored_use(s, img);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int by_name(const void *a, const void *b)
{
	const struct image_item *x = a, *y = b;

	if (!x->names.nr || !y->names.nr)
		return (x->names.nr == 0) - (y->names.nr == 0);
	return strcmp(x->names.v[0], y->names.v[0]);
}

int image_list(struct image_store *s, struct image_item **ret, size_t *ret_nr)
{
	struct image_item *items;
	size_t nr = 1;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (struct stored *i = s->images; i; i = i->next)
		nr++;
	items = calloc(nr, sizeof(*items));
	nr = 0;
	for (struct stored *i = s->images; items && i; i = i->next) {
		if (strlist_dup(&i->names, &items[nr].names) < 0)
			r = -ENOMEM;
		items[nr++].image = image_ref(&i->img);
	}
	pthread_mutex_unlock(&s->lock);
	if (!items || r < 0) {
		image_list_free(items, nr);
		return -ENOMEM;
	}
	qsort(items, nr, sizeof(*items), by_name);
	*ret = items;
	*ret_nr = nr;
	return 0;
}

void image_list_free(struct image_item *items, size_t nr)
{
	for (size_t i = 0; items && i < nr; i++) {
		image_unref(items[i].image);
		strlist_clear(&items[i].names);
	}
	free(items);
}
