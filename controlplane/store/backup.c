// SPDX-License-Identifier: Apache-2.0
/* Copies of a store, their check and their way back; and re-encryption. */
#include <fcntl.h>
#include <sys/stat.h>

#include "controlplane/store/internal.h"
#include "lib/fs.h"
#include "lib/str.h"

/* How far revisions jump over a restore: more changes than any store makes
 * between a backup and the disaster. */
#define RESTORE_JUMP 1000000000ull

static int check_target(const char *dir, struct err *e)
{
	auto_free char *data = str_printf("%s/data.mdb", dir);
	int r;

	if (!data)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_mkdirs(dir, 0700, e);
	if (r < 0)
		return r;
	if (fs_exists(AT_FDCWD, data))
		return err_set(e, -EEXIST,
			       "%s holds a store already; name a folder that "
			       "is empty or missing",
			       dir);
	return 0;
}

static int by_revision(const void *a, const void *b)
{
	const struct object_bytes *x = *(struct object_bytes *const *)a;
	const struct object_bytes *y = *(struct object_bytes *const *)b;

	return (x->revision > y->revision) - (x->revision < y->revision);
}

static int count_record(void *arg, struct object_bytes *o)
{
	++*(size_t *)arg;
	object_unref(o);
	return 0;
}

/* A copy that cannot be read is none. */
static int read_back(struct store *s, const char *dir, size_t nr, struct err *e)
{
	struct store_opts opts = { .dir = dir };
	struct store_backend *copy = NULL;
	uint64_t revision, compacted;
	size_t found = 0;
	int r = lmdb_backend_open(&opts, &copy, e);

	if (r < 0)
		return r;
	copy->keys = s->keys;
	r = copy->ops->load(copy, count_record, &found, &revision, &compacted,
			    e);
	copy->ops->close(copy);
	if (r == 0 && found != nr)
		return err_set(e, -EBADMSG, "%zu objects of %zu are in %s",
			       found, nr, dir);
	return r;
}

/* What is in memory, as of one revision. */
static int backup_memory(struct store *s, const char *dir, struct err *e)
{
	/* A part that was not read yet must not be missing without a word. */
	struct store_range all = { .prefix = "", .whole = true };
	struct store_list l = { 0 };
	int r = store_list(s, &all, &l, e);

	if (r < 0)
		return r;
	qsort(l.v, l.nr, sizeof(struct object_bytes *), by_revision);
	r = lmdb_write_folder(dir, s->keys, l.v, l.nr, l.revision, e);
	if (r == 0)
		r = read_back(s, dir, l.nr, e);
	store_list_clear(&l);
	return r;
}

int store_backup(struct store *s, const char *dir, struct err *e)
{
	int r = check_target(dir, e);

	if (r == 0)
		r = store_sync(s, e);
	if (r == 0)
		r = backup_memory(s, dir, e);
	return r < 0 ? err_wrap(e, r, "backup") : 0;
}

static int open_existing(const char *dir, const char *key_file,
			 struct store **ret, struct err *e)
{
	auto_free char *data = str_printf("%s/data.mdb", dir);
	struct store_opts opts = { .dir = dir, .key_file = key_file };

	if (!data || !fs_exists(AT_FDCWD, data))
		return err_set(e, -ENOENT, "%s holds no store", dir);
	/* Its history is not to be touched by having grown old. */
	opts.history_s = UINT32_MAX;
	return store_open(&opts, ret, e);
}

int store_verify(const char *dir, const char *key_file, uint64_t *ret_objects,
		 uint64_t *ret_revision, struct err *e)
{
	auto_ptr(store) s = NULL;
	struct store_stats st;
	int r = open_existing(dir, key_file, &s, e);

	if (r < 0)
		return r;
	store_stats(s, &st);
	*ret_objects = st.live_objects;
	*ret_revision = st.revision;
	return 0;
}

int store_backup_folder(const char *dir, const char *to, const char *key_file,
			uint64_t *ret_objects, uint64_t *ret_revision,
			struct err *e)
{
	auto_free char *data = str_printf("%s/data.mdb", dir);
	int r;

	if (!data || !fs_exists(AT_FDCWD, data))
		return err_set(e, -ENOENT, "backup: %s holds no store", dir);
	r = check_target(to, e);
	if (r == 0)
		r = lmdb_copy_folder(dir, to, e);
	if (r == 0)
		r = store_verify(to, key_file, ret_objects, ret_revision, e);
	return r < 0 ? err_wrap(e, r, "backup") : 0;
}

int store_restore(const char *from, const char *dir, const char *key_file,
		  struct err *e)
{
	/* A part that was not read yet must not be missing without a word. */
	struct store_range all = { .prefix = "", .whole = true };
	struct store_list l = { 0 };
	auto_ptr(store) s = NULL;
	int r = check_target(dir, e);

	if (r == 0)
		r = open_existing(from, key_file, &s, e);
	if (r == 0)
		r = store_list(s, &all, &l, e);
	if (r < 0)
		return err_wrap(e, r, "restore");
	qsort(l.v, l.nr, sizeof(struct object_bytes *), by_revision);
	r = lmdb_write_folder(dir, s->keys, l.v, l.nr,
			      l.revision + RESTORE_JUMP, e);
	store_list_clear(&l);
	return r < 0 ? err_wrap(e, r, "restore") : 0;
}

int store_reencrypt(struct store *s, uint64_t *ret_rewritten, struct err *e)
{
	int r;

	if (!s->keys)
		return err_set(e, -EINVAL,
			       "the store was opened without encryption keys");
	r = store_keys_reload(s->keys, e);
	return r < 0 ? r
		     : s->backend->ops->reencrypt(s->backend, ret_rewritten, e);
}
