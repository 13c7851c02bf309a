// SPDX-License-Identifier: Apache-2.0
/*
 * The embedded back end: LMDB, keyed by revision, so that every write appends.
 * Database "log" holds one record per version that is live or in the history;
 * "meta" holds the format, the compacted and the newest revision (the newest
 * record of all may have been compacted away).
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "controlplane/store/lmdb.h"
#include "controlplane/store/record.h"
#include "lib/fs.h"
#include "lib/slice.h"
#include "lib/str.h"

#define TRIES     60 /* for the lock of another process */
#define PAUSE_MS  50
#define MAP_BYTES (64ull << 30)

/* LMDB's own codes are negative, errno's are positive. */
int lmdb_failed(struct err *e, int rc, const char *what)
{
	int code = -EIO;

	if (rc == MDB_MAP_FULL)
		code = -ENOSPC;
	else if (rc == MDB_PANIC || rc == EIO)
		code = -EUNATCH;
	else if (rc == MDB_INVALID || rc == MDB_CORRUPTED ||
		 rc == MDB_VERSION_MISMATCH || rc == MDB_PAGE_NOTFOUND)
		code = -EBADMSG;
	else if (rc > 0)
		code = -rc;
	return err_set(e, code, "store: %s: %s", what, mdb_strerror(rc));
}

/* A short write of data pages comes back as EIO; a full disk is its usual
 * cause, and then no page that is in use was touched. */
static bool disk_is_full(const char *dir, size_t wanted)
{
	struct statvfs v;

	if (statvfs(dir, &v))
		return false;
	return (uint64_t)v.f_bavail * v.f_frsize < wanted;
}

static struct lmdb *lmdb_of(struct store_backend *b)
{
	return (struct lmdb *)b;
}

int lmdb_meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t *ret)
{
	MDB_val key = { strlen(name), (void *)name }, val;
	int rc = mdb_get(txn, meta, &key, &val);

	if (rc)
		return rc;
	if (val.mv_size != sizeof(*ret))
		return MDB_CORRUPTED;
	memcpy(ret, val.mv_data, sizeof(*ret));
	return 0;
}

int lmdb_meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, uint64_t value)
{
	MDB_val key = { strlen(name), (void *)name };
	MDB_val val = { sizeof(value), &value };

	return mdb_put(txn, meta, &key, &val, 0);
}

/* Databases exist, and the format is one of ours. */
static int prepare(MDB_env *env, const char *path, MDB_dbi *log, MDB_dbi *meta,
		   struct err *e)
{
	uint64_t format = 0;
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, log);
	if (!rc)
		rc = mdb_dbi_open(txn, "meta", MDB_CREATE, meta);
	if (!rc)
		rc = lmdb_meta_get(txn, *meta, "format", &format);
	if (rc == MDB_NOTFOUND || (!rc && format && format < RECORD_FORMAT)) {
		/* Older records are read as they are; newer programs only from
		 * now on. */
		format = RECORD_FORMAT;
		rc = lmdb_meta_put(txn, *meta, "format", format);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return lmdb_failed(e, rc, "open databases");
	}
	if (format != RECORD_FORMAT) {
		mdb_txn_abort(txn);
		return err_set(e, -EBADMSG,
			       "store: %s has format %llu, this program reads "
			       "formats up to %d",
			       path, (unsigned long long)format, RECORD_FORMAT);
	}
	rc = mdb_txn_commit(txn);
	return rc ? lmdb_failed(e, rc, "commit") : 0;
}

int lmdb_env_open(const char *path, unsigned int flags, uint64_t map_bytes,
		  MDB_env **ret, MDB_dbi *ret_log, MDB_dbi *ret_meta,
		  struct err *e)
{
	MDB_env *env = NULL;
	int rc = mdb_env_create(&env), r;

	if (rc)
		return lmdb_failed(e, rc, "create");
	mdb_env_set_mapsize(env, map_bytes ? map_bytes : MAP_BYTES);
	mdb_env_set_maxdbs(env, 4);
	rc = mdb_env_open(env, path, flags | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc)
		r = err_wrap(e, lmdb_failed(e, rc, "open"), "%s", path);
	else
		r = prepare(env, path, ret_log, ret_meta, e);
	if (r < 0) {
		mdb_env_close(env);
		return r;
	}
	*ret = env;
	return 0;
}

/*
 * LMDB does not sync the first pages of a new file before it uses it, so a
 * power cut then would leave what is neither a store nor nothing. A new file
 * gets its name when it is whole.
 */
static int create(struct lmdb *l, struct err *e)
{
	auto_free char *from = str_printf("%s/compact.tmp", l->dir);
	auto_free char *to = str_printf("%s/data.mdb", l->dir);
	auto_close int dir = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MDB_env *env = NULL;
	MDB_dbi log, meta;
	int r, rc;

	if (!from || !to || dir < 0)
		return err_sys(e, "open '%s'", l->dir);
	if (fs_exists(AT_FDCWD, to))
		return 0;
	(void)unlink(from); /* of a run that was cut off */
	r = lmdb_env_open(from, MDB_NOSUBDIR | MDB_NOLOCK, l->map_bytes, &env,
			  &log, &meta, e);
	if (r < 0)
		return r;
	rc = mdb_env_sync(env, 1);
	mdb_env_close(env);
	if (rc)
		return lmdb_failed(e, rc, "create");
	if (rename(from, to) || fsync(dir))
		return err_sys(e, "create '%s'", to);
	return 0;
}

int lmdb_open(struct lmdb *l, struct err *e)
{
	return lmdb_env_open(l->dir, 0, l->map_bytes, &l->env, &l->log,
			     &l->meta, e);
}

static int scan(struct lmdb *l, MDB_txn *txn, backend_record fn, void *arg,
		uint64_t *newest, struct err *e)
{
	MDB_cursor *cur;
	MDB_val key, val;
	int rc, r = 0;

	rc = mdb_cursor_open(txn, l->log, &cur);
	if (rc)
		return lmdb_failed(e, rc, "read");
	while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)) && !r) {
		struct object_bytes *o = NULL;
		uint64_t revision;

		memcpy(&revision, key.mv_data, sizeof(revision));
		r = record_decode(val.mv_data, val.mv_size, revision,
				  l->base.keys, l->dir, &o, e);
		if (!r)
			r = fn(arg, o);
		*newest = revision;
	}
	mdb_cursor_close(cur);
	if (!r && rc != MDB_NOTFOUND)
		r = lmdb_failed(e, rc, "read");
	return r;
}

static int lmdb_load(struct store_backend *b, backend_record fn, void *arg,
		     uint64_t *ret_revision, uint64_t *ret_compacted,
		     struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	uint64_t newest = 0, meta_newest = 0, compacted = 0;
	MDB_txn *txn;
	int rc, r;

	rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = lmdb_meta_get(txn, l->meta, "compacted", &compacted);
	if (!rc || rc == MDB_NOTFOUND)
		rc = lmdb_meta_get(txn, l->meta, "revision", &meta_newest);
	if (rc && rc != MDB_NOTFOUND) {
		mdb_txn_abort(txn);
		return lmdb_failed(e, rc, "read meta");
	}
	*ret_compacted = compacted;
	r = scan(l, txn, fn, arg, &newest, e);
	mdb_txn_abort(txn);
	if (r < 0)
		return r;
	*ret_revision = newest > meta_newest ? newest : meta_newest;
	return 0;
}

static int lmdb_settle(struct store_backend *b, bool *ret_happened,
		       struct err *e);

static int put_record(MDB_txn *txn, MDB_dbi log, struct store_keys *keys,
		      const struct object_bytes *o)
{
	uint64_t revision = o->revision;
	MDB_val key = { sizeof(revision), &revision };
	MDB_val val = { .mv_size = record_size(o, keys) };
	auto_free void *rec = malloc(val.mv_size);

	if (!rec)
		return ENOMEM;
	if (record_encode(o, keys, rec))
		return EKEYREJECTED;
	val.mv_data = rec;
	return mdb_put(txn, log, &key, &val, MDB_APPEND);
}

static int write_all(struct lmdb *l, MDB_txn *txn, struct object_bytes **v,
		     size_t nr, struct object_bytes **dead, size_t nr_dead,
		     uint64_t compacted, uint64_t revision)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < nr_dead; i++) {
		uint64_t at = dead[i]->revision;
		MDB_val key = { sizeof(at), &at };

		rc = mdb_del(txn, l->log, &key, NULL);
		if (rc == MDB_NOTFOUND)
			rc = 0;
	}
	if (!rc && nr_dead)
		rc = lmdb_meta_put(txn, l->meta, "compacted", compacted);
	if (!rc && nr_dead)
		rc = lmdb_meta_put(txn, l->meta, "revision", revision);
	for (size_t i = 0; !rc && i < nr; i++) {
		rc = put_record(txn, l->log, l->base.keys, v[i]);
		slice_give(GIVE_NS);
	}
	if (!rc)
		rc = lmdb_meta_put(txn, l->meta, "batch", l->batch);
	return rc;
}

/* A failure once the meta page was being written: only the file itself can
 * tell, and LMDB refuses this environment from now on. */
static bool is_broken(struct lmdb *l)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, 0, &txn);

	if (!rc)
		mdb_txn_abort(txn);
	return rc == MDB_PANIC;
}

static int commit_once(struct lmdb *l, struct object_bytes **v, size_t nr,
		       struct object_bytes **dead, size_t nr_dead,
		       uint64_t compacted, uint64_t revision, struct err *e)
{
	size_t wanted = 1 << 20; /* tree pages, and some slack */
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = write_all(l, txn, v, nr, dead, nr_dead, compacted, revision);
	if (rc) {
		mdb_txn_abort(txn);
		if (rc == EIO && disk_is_full(l->dir, wanted))
			rc = ENOSPC;
		return lmdb_failed(e, rc, "write");
	}
	for (size_t i = 0; i < nr; i++)
		wanted += v[i]->len + v[i]->tags_len + 8192;
	rc = mdb_txn_commit(txn);
	if (rc == EIO && disk_is_full(l->dir, wanted))
		rc = ENOSPC;
	return rc ? lmdb_failed(e, rc, "commit") : 0;
}

static bool only_removes(struct object_bytes **v, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (!v[i]->deleted)
			return false;
	return true;
}

static int lmdb_commit(struct store_backend *b, struct object_bytes **v,
		       size_t nr, struct object_bytes **dead, size_t nr_dead,
		       uint64_t compacted, uint64_t revision, struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	int r;

	l->batch++;
	if (!l->env)
		return err_set(e, -EUNATCH, "store: the disk failed before");
	r = commit_once(l, v, nr, dead, nr_dead, compacted, revision, e);
	/* Deleting is the way out of a full disk, so it must have room. */
	if (r == -ENOSPC && only_removes(v, nr) && lmdb_ballast_drop(l))
		r = commit_once(l, v, nr, dead, nr_dead, compacted, revision,
				e);
	if (r < 0 && r != -EUNATCH && is_broken(l)) {
		bool happened = false;

		if (lmdb_settle(b, &happened, NULL))
			r = -EUNATCH;
		else if (happened)
			r = 0;
	}
	if (r == 0)
		lmdb_tidy_dead(l, dead, nr_dead);
	return r;
}

static int last_batch(struct lmdb *l, uint64_t *ret, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = lmdb_meta_get(txn, l->meta, "batch", ret);
	mdb_txn_abort(txn);
	return rc && rc != MDB_NOTFOUND ? lmdb_failed(e, rc, "read meta") : 0;
}

/*
 * What the failed commit left may be in the page cache and not on the disk, so
 * nothing is believed before one more transaction is durable: it writes both
 * the meta page and, before it, everything else that is dirty.
 */
static int make_sure(struct lmdb *l, struct err *e)
{
	uint64_t sure = 0;
	MDB_txn *txn;
	int rc;

	rc = mdb_env_sync(l->env, 1);
	if (!rc)
		rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return lmdb_failed(e, rc, "sync");
	(void)lmdb_meta_get(txn, l->meta, "sure", &sure); /* or 0 */
	rc = lmdb_meta_put(txn, l->meta, "sure", sure + 1);
	if (rc)
		mdb_txn_abort(txn);
	else
		rc = mdb_txn_commit(txn);
	return rc ? lmdb_failed(e, rc, "sync") : 0;
}

static int lmdb_settle(struct store_backend *b, bool *ret_happened,
		       struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	uint64_t batch = 0;
	int r;

	lmdb_tidy_stop(l);
	pthread_mutex_lock(&l->job);
	if (l->env)
		mdb_env_close(l->env);
	l->env = NULL;
	r = lmdb_open(l, e);
	if (r == 0)
		r = make_sure(l, e);
	if (r == 0)
		r = last_batch(l, &batch, e);
	if (r < 0 && l->env) {
		mdb_env_close(l->env);
		l->env = NULL;
	}
	pthread_mutex_unlock(&l->job);
	if (r < 0)
		return r;
	*ret_happened = batch == l->batch;
	return 0;
}

/* What an unsettled commit turned out to have written. */
static int lmdb_tail(struct store_backend *b, uint64_t after, bool force,
		     backend_record fn, void *arg, uint64_t *ret_revision,
		     struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	uint64_t from = after + 1;
	MDB_val key = { sizeof(from), &from }, val;
	MDB_cursor *cur;
	MDB_txn *txn;
	int rc, r = 0;

	if (!force)
		return 0;
	rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = mdb_cursor_open(txn, l->log, &cur);
	if (rc) {
		mdb_txn_abort(txn);
		return lmdb_failed(e, rc, "read");
	}
	for (rc = mdb_cursor_get(cur, &key, &val, MDB_SET_RANGE); !rc && !r;
	     rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)) {
		struct object_bytes *o = NULL;

		memcpy(&from, key.mv_data, sizeof(from));
		r = record_decode(val.mv_data, val.mv_size, from, b->keys,
				  l->dir, &o, e);
		if (!r)
			r = fn(arg, o);
		*ret_revision = from;
	}
	mdb_cursor_close(cur);
	mdb_txn_abort(txn);
	return r || rc == MDB_NOTFOUND ? r : lmdb_failed(e, rc, "read");
}

int lmdb_write_folder(const char *dir, struct store_keys *keys,
		      struct object_bytes **v, size_t nr, uint64_t revision,
		      struct err *e)
{
	MDB_env *env = NULL;
	MDB_dbi log, meta;
	MDB_txn *txn = NULL;
	size_t i = 0;
	int rc = 0, r;

	r = lmdb_env_open(dir, MDB_NOSYNC, 0, &env, &log, &meta, e);
	if (r < 0)
		return r;
	do {
		rc = mdb_txn_begin(env, NULL, 0, &txn);
		if (rc)
			break;
		for (size_t n = 0; !rc && i < nr && n < 4096; n++)
			rc = put_record(txn, log, keys, v[i++]);
		if (!rc)
			rc = lmdb_meta_put(txn, meta, "compacted", revision);
		if (!rc)
			rc = lmdb_meta_put(txn, meta, "revision", revision);
		if (rc)
			mdb_txn_abort(txn);
		else
			rc = mdb_txn_commit(txn);
	} while (!rc && i < nr);
	if (!rc)
		rc = mdb_env_sync(env, 1);
	if (rc == EIO && disk_is_full(dir, 1 << 20))
		rc = ENOSPC;
	mdb_env_close(env);
	return rc ? lmdb_failed(e, rc, dir) : 0;
}

/* Some thousand records a transaction, so that commits get their turn. */
static int reencrypt_some(struct lmdb *l, uint64_t *at, uint64_t *ret_nr,
			  struct err *e)
{
	MDB_val key = { sizeof(*at), at }, val;
	MDB_cursor *cur = NULL;
	MDB_txn *txn;
	size_t looked = 0;
	uint64_t nr = 0;
	int rc, r = 0;

	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return lmdb_failed(e, rc, "begin");
	rc = mdb_cursor_open(txn, l->log, &cur);
	if (!rc)
		rc = mdb_cursor_get(cur, &key, &val, MDB_SET_RANGE);
	for (; !rc && !r && looked < 2000; looked++) {
		struct object_bytes *o = NULL;
		auto_free void *rec = NULL;

		memcpy(at, key.mv_data, sizeof(*at));
		if (!record_is_current(val.mv_data, val.mv_size,
				       l->base.keys)) {
			r = record_decode(val.mv_data, val.mv_size, *at,
					  l->base.keys, l->dir, &o, e);
			if (r < 0)
				break;
			val.mv_size = record_size(o, l->base.keys);
			rec = malloc(val.mv_size);
			if (!rec || record_encode(o, l->base.keys, rec))
				rc = ENOMEM;
			object_unref(o);
			key = (MDB_val){ sizeof(*at), at };
			val.mv_data = rec;
			if (!rc)
				rc = mdb_cursor_put(cur, &key, &val,
						    MDB_CURRENT);
			nr++;
		}
		++*at;
		if (!rc)
			rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT);
	}
	if (cur)
		mdb_cursor_close(cur);
	if (r < 0 || (rc && rc != MDB_NOTFOUND)) {
		mdb_txn_abort(txn);
		return r < 0 ? r : lmdb_failed(e, rc, "re-encrypt");
	}
	r = rc == MDB_NOTFOUND ? 0 : 1;
	rc = mdb_txn_commit(txn);
	if (rc)
		return lmdb_failed(e, rc, "re-encrypt");
	*ret_nr += nr;
	return r;
}

static int lmdb_reencrypt(struct store_backend *b, uint64_t *ret_nr,
			  struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	uint64_t at = 0;
	int r = 1;

	*ret_nr = 0;
	pthread_mutex_lock(&l->job);
	l->tidy.spoiled = true; /* a copy of what is rewritten now */
	while (r > 0)
		r = l->env ? reencrypt_some(l, &at, ret_nr, e)
			   : err_set(e, -EIO, "store: the disk failed");
	pthread_mutex_unlock(&l->job);
	return r;
}

static uint64_t lmdb_file_bytes(struct store_backend *b)
{
	auto_free char *path = str_printf("%s/data.mdb", lmdb_of(b)->dir);
	struct stat st;

	if (!path || stat(path, &st))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

static void lmdb_close(struct store_backend *b)
{
	struct lmdb *l = lmdb_of(b);

	lmdb_tidy_stop(l);
	if (l->env)
		mdb_env_close(l->env);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	pthread_mutex_destroy(&l->job);
	free(l->tidy.dead);
	free(l->dir);
	free(l);
}

static const struct store_backend_ops lmdb_ops = {
	.load = lmdb_load,
	.commit = lmdb_commit,
	.settle = lmdb_settle,
	.tail = lmdb_tail,
	.tidy = lmdb_tidy,
	.reencrypt = lmdb_reencrypt,
	.file_bytes = lmdb_file_bytes,
	.close = lmdb_close,
};

/* One that was just killed may take a moment to be gone: its memory is given
 * back first. */
static int wait_lock(int fd)
{
	int r = flock(fd, LOCK_EX | LOCK_NB);

	for (int i = 0; r < 0 && errno == EWOULDBLOCK && i < TRIES; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		r = flock(fd, LOCK_EX | LOCK_NB);
	}
	return r;
}

static int take_lock(struct lmdb *l, struct err *e)
{
	auto_free char *path = str_printf("%s/owner", l->dir);

	if (!path)
		return err_set(e, -ENOMEM, "store: out of memory");
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->lock_fd < 0)
		return err_sys(e, "open '%s'", path);
	if (wait_lock(l->lock_fd) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return err_sys(e, "lock '%s'", path);
	return err_set(e, -EBUSY, "store %s is in use by another process",
		       l->dir);
}

int lmdb_backend_open(const struct store_opts *opts, struct store_backend **ret,
		      struct err *e)
{
	struct lmdb *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "store: out of memory");
	l->base.ops = &lmdb_ops;
	l->lock_fd = -EBADF;
	pthread_mutex_init(&l->job, NULL);
	l->map_bytes = opts->map_bytes ? opts->map_bytes : MAP_BYTES;
	l->dir = strdup(opts->dir);
	r = l->dir ? fs_mkdirs(l->dir, 0700, e) : -ENOMEM;
	if (r == 0)
		r = take_lock(l, e);
	if (r == 0)
		r = create(l, e);
	if (r == 0)
		r = lmdb_open(l, e);
	if (r < 0) {
		lmdb_close(&l->base);
		return r;
	}
	/* A number for each commit, which none before had. */
	r = last_batch(l, &l->batch, e);
	l->unmapped = UINT64_MAX;
	if (r < 0) {
		lmdb_close(&l->base);
		return r;
	}
	*ret = &l->base;
	return 0;
}
