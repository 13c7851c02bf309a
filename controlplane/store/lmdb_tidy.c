// SPDX-License-Identifier: Apache-2.0
/*
 * LMDB reuses pages and never gives them back. When more than half of the file
 * is unused, a thread copies what is in use to a new file; the writer then adds
 * what has changed meanwhile, and puts the new file in the old one's place by
 * rename. A crash at any moment leaves the old file or the new one, whole.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "controlplane/store/lmdb.h"
#include "lib/fs.h"
#include "lib/str.h"

#define SLACK_BYTES   (4u << 20) /* not worth it below */
#define LOOK_MS       2000       /* between two looks at the file */
#define RETRY_MS      60000      /* after a failure: the disk may be full */
#define CATCH_UP_MAX  20000      /* records copied while commits wait */
#define COPY_STEP     2000       /* records a transaction */
#define BALLAST_BYTES (1u << 20)
#define BALLAST_ROOM  (64ull << 20) /* free on the disk when it is made */

static char *path_of(const struct lmdb *l, const char *name)
{
	return str_printf("%s/%s", l->dir, name);
}

/* --- ballast --- */

void lmdb_ballast_make(struct lmdb *l)
{
	auto_free char *path = path_of(l, "ballast");
	auto_close int fd = -EBADF;
	struct statvfs v;

	if (!path || fs_exists(AT_FDCWD, path) || statvfs(l->dir, &v) ||
	    (uint64_t)v.f_bavail * v.f_frsize < BALLAST_ROOM)
		return;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && posix_fallocate(fd, 0, BALLAST_BYTES))
		(void)unlink(path); /* without it as before */
}

bool lmdb_ballast_drop(struct lmdb *l)
{
	auto_free char *path = path_of(l, "ballast");

	return path && unlink(path) == 0;
}

/* --- copying --- */

static int copy_meta(MDB_txn *from, MDB_dbi from_meta, MDB_txn *to,
		     MDB_dbi to_meta)
{
	static const char *const names[] = { "compacted", "revision", "sure",
					     "batch" };
	int rc = 0;

	for (size_t i = 0; !rc && i < 4; i++) {
		uint64_t value;

		rc = lmdb_meta_get(from, from_meta, names[i], &value);
		if (rc == MDB_NOTFOUND) {
			rc = 0;
			continue;
		}
		if (!rc)
			rc = lmdb_meta_put(to, to_meta, names[i], value);
	}
	return rc;
}

/* Copy up to @max records newer than what has been copied. Returns an error of
 * LMDB, MDB_NOTFOUND at the end. */
static int copy_step(struct lmdb *l, MDB_cursor *cur, size_t max)
{
	struct tidy *t = &l->tidy;
	uint64_t at = t->copied + 1;
	MDB_val key = { sizeof(at), &at }, val;
	MDB_txn *to;
	int rc, end;

	rc = mdb_txn_begin(t->env, NULL, 0, &to);
	if (rc)
		return rc;
	end = mdb_cursor_get(cur, &key, &val, MDB_SET_RANGE);
	for (size_t n = 0; !end && !rc && n < max; n++) {
		memcpy(&t->copied, key.mv_data, sizeof(t->copied));
		rc = mdb_put(to, t->log, &key, &val, MDB_APPEND);
		if (!rc)
			end = mdb_cursor_get(cur, &key, &val, MDB_NEXT);
	}
	if (rc) {
		mdb_txn_abort(to);
		return rc;
	}
	rc = mdb_txn_commit(to);
	return rc ? rc : end;
}

static int copy_all(struct lmdb *l)
{
	MDB_cursor *cur;
	MDB_txn *from;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &from);

	if (rc)
		return rc;
	rc = mdb_cursor_open(from, l->log, &cur);
	if (!rc) {
		while (!(rc = copy_step(l, cur, COPY_STEP)))
			;
		mdb_cursor_close(cur);
	}
	mdb_txn_abort(from);
	if (rc == MDB_NOTFOUND)
		rc = mdb_env_sync(l->tidy.env, 1);
	return rc;
}

static void *copy_thread(void *arg)
{
	struct lmdb *l = arg;
	int rc;

	pthread_mutex_lock(&l->job);
	rc = copy_all(l);
	pthread_mutex_unlock(&l->job);
	atomic_store(&l->tidy.state, rc ? TIDY_FAILED : TIDY_COPIED);
	return NULL;
}

/* --- the writer's part --- */

static void discard(struct lmdb *l)
{
	auto_free char *path = path_of(l, "compact.tmp");
	struct tidy *t = &l->tidy;

	if (t->env)
		mdb_env_close(t->env);
	t->env = NULL;
	t->nr_dead = 0;
	t->spoiled = false;
	atomic_store(&t->state, TIDY_IDLE);
	if (path)
		(void)unlink(path); /* a leftover is overwritten */
}

void lmdb_tidy_stop(struct lmdb *l)
{
	if (atomic_load(&l->tidy.state) == TIDY_IDLE)
		return;
	pthread_join(l->tidy.thread, NULL);
	discard(l);
}

void lmdb_tidy_dead(struct lmdb *l, struct object_bytes **dead, size_t nr)
{
	struct tidy *t = &l->tidy;

	if (atomic_load(&t->state) == TIDY_IDLE || t->spoiled)
		return;
	if (t->nr_dead + nr > t->dead_size) {
		size_t size = (t->nr_dead + nr) * 2;
		uint64_t *v = realloc(t->dead, size * sizeof(*v));

		if (!v) {
			t->spoiled = true;
			return;
		}
		t->dead = v;
		t->dead_size = size;
	}
	for (size_t i = 0; i < nr; i++)
		t->dead[t->nr_dead++] = dead[i]->revision;
}

/* How much of the file is in use. */
static int usage(struct lmdb *l, uint64_t *ret_file, uint64_t *ret_used)
{
	MDB_envinfo info;
	MDB_stat stat;
	MDB_cursor *cur;
	MDB_val key, val;
	MDB_txn *txn;
	uint64_t unused = 0;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn);

	if (rc)
		return rc;
	mdb_env_info(l->env, &info);
	mdb_env_stat(l->env, &stat);
	rc = mdb_cursor_open(txn, 0, &cur); /* LMDB's own list of free pages */
	if (!rc) {
		while (!(rc = mdb_cursor_get(cur, &key, &val, MDB_NEXT))) {
			size_t n;

			memcpy(&n, val.mv_data, sizeof(n));
			unused += n;
		}
		mdb_cursor_close(cur);
	}
	mdb_txn_abort(txn);
	if (rc != MDB_NOTFOUND)
		return rc;
	*ret_file = (info.me_last_pgno + 1) * stat.ms_psize;
	*ret_used = *ret_file - unused * stat.ms_psize;
	return 0;
}

static void begin(struct lmdb *l)
{
	auto_free char *path = path_of(l, "compact.tmp");
	struct tidy *t = &l->tidy;

	discard(l);
	if (!path ||
	    lmdb_env_open(path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOLOCK,
			  l->map_bytes, &t->env, &t->log, &t->meta, NULL))
		return;
	t->copied = 0;
	atomic_store(&t->state, TIDY_COPYING);
	if (pthread_create(&t->thread, NULL, copy_thread, l))
		discard(l);
}

/* Add what has happened since the copy. MDB_NOTFOUND: too much for now. */
static int catch_up(struct lmdb *l)
{
	struct tidy *t = &l->tidy;
	MDB_txn *from, *to = NULL;
	MDB_cursor *cur;
	int rc = mdb_txn_begin(l->env, NULL, MDB_RDONLY, &from);

	if (rc)
		return rc;
	rc = mdb_cursor_open(from, l->log, &cur);
	if (!rc) {
		rc = copy_step(l, cur, CATCH_UP_MAX);
		mdb_cursor_close(cur);
		/* Not at the end: once more in the background. */
		rc = rc == MDB_NOTFOUND ? 0 : rc ? rc : MDB_NOTFOUND;
	}
	if (!rc)
		rc = mdb_txn_begin(t->env, NULL, 0, &to);
	for (size_t i = 0; !rc && i < t->nr_dead; i++) {
		MDB_val key = { sizeof(t->dead[i]), &t->dead[i] };

		rc = mdb_del(to, t->log, &key, NULL);
		if (rc == MDB_NOTFOUND)
			rc = 0;
	}
	if (!rc)
		rc = copy_meta(from, l->meta, to, t->meta);
	if (to && rc)
		mdb_txn_abort(to);
	else if (to)
		rc = mdb_txn_commit(to);
	mdb_txn_abort(from);
	if (!rc)
		rc = mdb_env_sync(t->env, 1);
	return rc;
}

/*
 * Processes that copy hold this lock shared. LMDB's lock file outlives the swap
 * while one of them has it open, and would tell the new file's first writer
 * the old one's state.
 */
static int lock_copying(const char *dir, int how)
{
	auto_free char *path = str_printf("%s/copying", dir);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return -errno;
	if (flock(fd, how) == 0)
		return fd;
	close(fd);
	return -EBUSY;
}

int lmdb_copy_folder(const char *dir, const char *to, struct err *e)
{
	auto_close int lock = lock_copying(dir, LOCK_SH);
	MDB_env *env = NULL;
	int rc;

	if (lock < 0)
		return err_set(e, lock, "lock '%s/copying': %s", dir,
			       strerror(-lock));
	rc = mdb_env_create(&env);
	if (rc)
		return lmdb_failed(e, rc, "create");
	/* Without a size of its own it takes the file's. */
	rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS, 0600);
	if (!rc)
		rc = mdb_env_copy2(env, to, MDB_CP_COMPACT);
	mdb_env_close(env);
	return rc ? lmdb_failed(e, rc, "copy") : 0;
}

/* The new file takes the old one's place. */
static bool swap(struct lmdb *l)
{
	auto_close int lock = lock_copying(l->dir, LOCK_EX | LOCK_NB);
	auto_free char *from = path_of(l, "compact.tmp");
	auto_free char *to = path_of(l, "data.mdb");
	auto_close int dir = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool done;

	if (lock < 0 || !from || !to || dir < 0)
		return false;
	mdb_env_close(l->tidy.env);
	l->tidy.env = NULL;
	mdb_env_close(l->env);
	l->env = NULL;
	done = rename(from, to) == 0;
	if (done)
		(void)fsync(dir); /* either file is whole and the same */
	/* A failure leaves no environment, which settle() repairs. */
	(void)lmdb_open(l, NULL);
	return done;
}

static bool finish(struct lmdb *l)
{
	struct tidy *t = &l->tidy;
	bool done = false;
	int rc;

	pthread_join(t->thread, NULL);
	rc = t->spoiled ? EIO : catch_up(l);
	if (rc == MDB_NOTFOUND) {
		atomic_store(&t->state, TIDY_COPYING);
		if (!pthread_create(&t->thread, NULL, copy_thread, l))
			return false;
		atomic_store(&t->state, TIDY_IDLE);
	} else if (!rc) {
		done = swap(l);
	}
	t->look_again_ms = mono_ms() + (done ? LOOK_MS : RETRY_MS);
	discard(l);
	return done;
}

bool lmdb_tidy(struct store_backend *b, uint64_t live_bytes)
{
	struct lmdb *l = (struct lmdb *)b;
	struct tidy *t = &l->tidy;
	uint64_t file, used;
	bool done = false;

	(void)live_bytes; /* pages in use count the history as well */
	if (!l->env)
		return false;
	switch (atomic_load(&t->state)) {
	case TIDY_COPYING:
		return false;
	case TIDY_FAILED:
		pthread_join(t->thread, NULL);
		discard(l);
		t->look_again_ms = mono_ms() + RETRY_MS;
		return false;
	case TIDY_COPIED:
		/* Re-encryption goes first; there is no hurry. */
		if (pthread_mutex_trylock(&l->job))
			return false;
		done = finish(l);
		pthread_mutex_unlock(&l->job);
		return done;
	default:
		break;
	}
	if (mono_ms() < t->look_again_ms)
		return false;
	t->look_again_ms = mono_ms() + LOOK_MS;
	lmdb_ballast_make(l);
	if (usage(l, &file, &used) == 0 && file > 2 * used + SLACK_BYTES)
		begin(l);
	/* Also what loading has read: no batch is UINT64_MAX. */
	if (l->unmapped != l->batch)
		lmdb_map_drop(l);
	l->unmapped = l->batch;
	return false;
}
