// SPDX-License-Identifier: Apache-2.0
/*
 * The embedded back end: LMDB, keyed by revision, so that every write appends.
 * Database "log" holds one record per version that is live or in the history;
 * "meta" holds the format, the compacted and the newest revision (the newest
 * record of all may have been compacted away).
 */
#include <fcntl.h>
#include <lmdb.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "controlplane/store/internal.h"
#include "lib/fs.h"
#include "lib/str.h"

#define FORMAT    1
#define MAP_BYTES (64ull << 30)

struct record {
	uint64_t sum; /* of everything behind it */
	uint64_t created;
	uint64_t stored_ms;
	uint32_t len, tags_len, rv_off;
	uint16_t key_len;
	uint8_t rv_len;
	uint8_t deleted;
	char bytes[]; /* data, tags, key */
};

struct lmdb {
	struct store_backend base;
	char *dir;
	uint64_t map_bytes;
	int lock_fd;
	MDB_env *env;
	MDB_dbi log, meta;
};

static uint64_t checksum(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0x9fb21c651e98df25;
		h ^= h >> 32;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3;
	return h;
}

/* LMDB's own codes are negative, errno's are positive. */
static int failed(struct err *e, int rc, const char *what)
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

static int meta_get(struct lmdb *l, MDB_txn *txn, const char *name,
		    uint64_t *ret)
{
	MDB_val key = { strlen(name), (void *)name }, val;
	int rc = mdb_get(txn, l->meta, &key, &val);

	if (rc)
		return rc;
	if (val.mv_size != sizeof(*ret))
		return MDB_CORRUPTED;
	memcpy(ret, val.mv_data, sizeof(*ret));
	return 0;
}

static int meta_put(struct lmdb *l, MDB_txn *txn, const char *name,
		    uint64_t value)
{
	MDB_val key = { strlen(name), (void *)name };
	MDB_val val = { sizeof(value), &value };

	return mdb_put(txn, l->meta, &key, &val, 0);
}

/* Databases exist, and the format is ours. */
static int prepare(struct lmdb *l, struct err *e)
{
	uint64_t format = 0;
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return failed(e, rc, "begin");
	rc = mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, &l->log);
	if (!rc)
		rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &l->meta);
	if (!rc) {
		rc = meta_get(l, txn, "format", &format);
		if (rc == MDB_NOTFOUND) {
			format = FORMAT;
			rc = meta_put(l, txn, "format", format);
		}
	}
	if (rc) {
		mdb_txn_abort(txn);
		return failed(e, rc, "open databases");
	}
	if (format != FORMAT) {
		mdb_txn_abort(txn);
		return err_set(e, -EBADMSG,
			       "store: %s has format %llu, this program reads "
			       "format %d",
			       l->dir, (unsigned long long)format, FORMAT);
	}
	rc = mdb_txn_commit(txn);
	return rc ? failed(e, rc, "commit") : 0;
}

static int open_env(struct lmdb *l, struct err *e)
{
	int rc = mdb_env_create(&l->env);

	if (rc)
		return failed(e, rc, "create");
	mdb_env_set_mapsize(l->env, l->map_bytes);
	mdb_env_set_maxdbs(l->env, 4);
	rc = mdb_env_open(l->env, l->dir, MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc) {
		mdb_env_close(l->env);
		l->env = NULL;
		return err_wrap(e, failed(e, rc, "open"), "%s", l->dir);
	}
	return prepare(l, e);
}

static int parse_record(struct lmdb *l, uint64_t revision, const MDB_val *val,
			struct object_bytes **ret, struct err *e)
{
	const struct record *rec = val->mv_data;
	struct store_op op = { 0 };
	struct object_bytes *o;
	auto_free char *key = NULL;
	auto_free char *copy = NULL;
	uint64_t size;

	/* LMDB aligns values to two bytes only. */
	copy = malloc(val->mv_size + 1);
	if (!copy)
		return err_set(e, -ENOMEM, "store: out of memory");
	memcpy(copy, val->mv_data, val->mv_size);
	rec = (const struct record *)copy;
	if (val->mv_size < sizeof(*rec))
		goto bad;
	size = (uint64_t)sizeof(*rec) + rec->len + rec->tags_len + rec->key_len;
	if (size != val->mv_size ||
	    rec->sum != checksum(copy + sizeof(rec->sum),
				 val->mv_size - sizeof(rec->sum)))
		goto bad;
	key = strndup(rec->bytes + rec->len + rec->tags_len, rec->key_len);
	if (!key)
		return err_set(e, -ENOMEM, "store: out of memory");
	op.key = key;
	op.data = rec->bytes;
	op.len = rec->len;
	op.rv_off = STORE_NO_RV;
	op.tags = rec->bytes + rec->len;
	op.tags_len = rec->tags_len;
	o = object_new(&op, revision);
	if (!o)
		return err_set(e, -ENOMEM, "store: out of memory");
	o->rv_off = rec->rv_off;
	o->rv_len = rec->rv_len;
	o->created = rec->created;
	o->stored_ms = rec->stored_ms;
	o->deleted = rec->deleted;
	*ret = o;
	return 0;
bad:
	return err_set(e, -EBADMSG,
		       "store: %s: the record of revision %llu is damaged; "
		       "restore a backup",
		       l->dir, (unsigned long long)revision);
}

static int scan(struct lmdb *l, MDB_txn *txn, backend_record fn, void *arg,
		uint64_t *newest, struct err *e)
{
	MDB_cursor *cur;
	MDB_val key, val;
	int rc, r = 0;

	rc = mdb_cursor_open(txn, l->log, &cur);
	if (rc)
		return failed(e, rc, "read");
	while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT)) && !r) {
		struct object_bytes *o = NULL;
		uint64_t revision;

		memcpy(&revision, key.mv_data, sizeof(revision));
		r = parse_record(l, revision, &val, &o, e);
		if (!r)
			r = fn(arg, o);
		*newest = revision;
	}
	mdb_cursor_close(cur);
	if (!r && rc != MDB_NOTFOUND)
		r = failed(e, rc, "read");
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
		return failed(e, rc, "begin");
	rc = meta_get(l, txn, "compacted", &compacted);
	if (!rc || rc == MDB_NOTFOUND)
		rc = meta_get(l, txn, "revision", &meta_newest);
	if (rc && rc != MDB_NOTFOUND) {
		mdb_txn_abort(txn);
		return failed(e, rc, "read meta");
	}
	*ret_compacted = compacted;
	r = scan(l, txn, fn, arg, &newest, e);
	mdb_txn_abort(txn);
	if (r < 0)
		return r;
	*ret_revision = newest > meta_newest ? newest : meta_newest;
	return 0;
}

static int put_record(struct lmdb *l, MDB_txn *txn,
		      const struct object_bytes *o)
{
	uint64_t revision = o->revision;
	MDB_val key = { sizeof(revision), &revision };
	MDB_val val = { .mv_size = sizeof(struct record) + o->len +
				   o->tags_len + o->key_len };
	auto_free struct record *rec = calloc(1, val.mv_size);

	if (!rec)
		return ENOMEM;
	rec->created = o->created;
	rec->stored_ms = o->stored_ms;
	rec->len = o->len;
	rec->tags_len = o->tags_len;
	rec->rv_off = o->rv_off;
	rec->rv_len = o->rv_len;
	rec->key_len = o->key_len;
	rec->deleted = o->deleted;
	memcpy(rec->bytes, o->data, o->len);
	memcpy(rec->bytes + o->len, o->tags, o->tags_len);
	memcpy(rec->bytes + o->len + o->tags_len, o->key, o->key_len);
	rec->sum = checksum((char *)rec + sizeof(rec->sum),
			    val.mv_size - sizeof(rec->sum));
	val.mv_data = rec;
	return mdb_put(txn, l->log, &key, &val, MDB_APPEND);
}

static int lmdb_commit(struct store_backend *b, struct object_bytes **v,
		       size_t nr, const uint64_t *dead, size_t nr_dead,
		       uint64_t compacted, uint64_t revision, struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	size_t wanted = 1 << 20; /* tree pages, and some slack */
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(l->env, NULL, 0, &txn);
	if (rc)
		return failed(e, rc, "begin");
	for (size_t i = 0; !rc && i < nr_dead; i++) {
		uint64_t at = dead[i];
		MDB_val key = { sizeof(at), &at };

		rc = mdb_del(txn, l->log, &key, NULL);
		if (rc == MDB_NOTFOUND)
			rc = 0;
	}
	if (!rc && nr_dead)
		rc = meta_put(l, txn, "compacted", compacted);
	if (!rc && nr_dead)
		rc = meta_put(l, txn, "revision", revision);
	for (size_t i = 0; !rc && i < nr; i++) {
		rc = put_record(l, txn, v[i]);
		wanted += v[i]->len + v[i]->tags_len + 8192;
	}
	if (rc) {
		mdb_txn_abort(txn);
		return failed(e, rc, "write");
	}
	rc = mdb_txn_commit(txn);
	if (rc == EIO && disk_is_full(l->dir, wanted))
		rc = ENOSPC;
	return rc ? failed(e, rc, "commit") : 0;
}

static int lmdb_recover(struct store_backend *b, uint64_t *ret_revision,
			struct err *e)
{
	struct lmdb *l = lmdb_of(b);
	uint64_t newest = 0, meta_newest = 0;
	MDB_cursor *cur;
	MDB_val key, val;
	MDB_txn *txn;
	int rc, r;

	if (l->env)
		mdb_env_close(l->env);
	l->env = NULL;
	r = open_env(l, e);
	if (r < 0)
		return r;
	rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return failed(e, rc, "begin");
	(void)meta_get(l, txn, "revision", &meta_newest); /* absent: zero */
	rc = mdb_cursor_open(txn, l->log, &cur);
	if (!rc) {
		rc = mdb_cursor_get(cur, &key, &val, MDB_LAST);
		if (!rc)
			memcpy(&newest, key.mv_data, sizeof(newest));
		mdb_cursor_close(cur);
	}
	mdb_txn_abort(txn);
	if (rc && rc != MDB_NOTFOUND)
		return failed(e, rc, "read");
	*ret_revision = newest > meta_newest ? newest : meta_newest;
	return 0;
}

static int lmdb_backup(struct store_backend *b, const char *dir, struct err *e)
{
	auto_free char *data = str_printf("%s/data.mdb", dir);
	int r, rc;

	if (!data)
		return err_set(e, -ENOMEM, "backup: out of memory");
	r = fs_mkdirs(dir, 0700, e);
	if (r < 0)
		return err_wrap(e, r, "backup");
	if (fs_exists(AT_FDCWD, data))
		return err_set(e, -EEXIST,
			       "backup: %s holds a store already; name a "
			       "folder that is empty or missing",
			       dir);
	rc = mdb_env_copy2(lmdb_of(b)->env, dir, MDB_CP_COMPACT);
	return rc ? failed(e, rc, "backup") : 0;
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

	if (l->env)
		mdb_env_close(l->env);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	free(l->dir);
	free(l);
}

static const struct store_backend_ops lmdb_ops = {
	.load = lmdb_load,
	.commit = lmdb_commit,
	.recover = lmdb_recover,
	.backup = lmdb_backup,
	.file_bytes = lmdb_file_bytes,
	.close = lmdb_close,
};

static int take_lock(struct lmdb *l, struct err *e)
{
	auto_free char *path = str_printf("%s/owner", l->dir);

	if (!path)
		return err_set(e, -ENOMEM, "store: out of memory");
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->lock_fd < 0)
		return err_sys(e, "open '%s'", path);
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
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
	l->map_bytes = opts->map_bytes ? opts->map_bytes : MAP_BYTES;
	l->dir = strdup(opts->dir);
	r = l->dir ? fs_mkdirs(l->dir, 0700, e) : -ENOMEM;
	if (r == 0)
		r = take_lock(l, e);
	if (r == 0)
		r = open_env(l, e);
	if (r < 0) {
		lmdb_close(&l->base);
		return r;
	}
	*ret = &l->base;
	return 0;
}
