// SPDX-License-Identifier: Apache-2.0
/*
 * The embedded store: the suite of all back ends, and what only files do:
 * damage, full disks, sizes, plaintext.
 * LANE: both
 * SECONDS: 120
 */
#include <poll.h>
#include <pthread.h>

#include <poll.h>

#include "controlplane/store/keys.h"
#include "selftests/controlplane/store/suite.h"

void suite_opts(const char *name, struct store_opts *opts)
{
	opts->dir = name;
}

TEST(history_is_bounded_by_the_live_data)
{
	struct store_opts opts = { .dir = "db", .history_bytes = 256 << 10 };
	struct store *s = NULL;
	auto_free char *value = malloc(4097);
	struct store_stats st;

	memset(value, 'x', 4096);
	value[4096] = '\0';
	ASSERT_EQ(store_open(&opts, &s, NULL), 0);
	for (int i = 0; i < 1500; i++)
		put(s, "p/t/one", value);
	store_stats(s, &st);
	EXPECT_EQ(st.live_objects, 1);
	EXPECT_GE((256 << 10) + 8192, st.history_bytes);
	EXPECT_GE(2 << 20, st.file_bytes);
	store_close(s);
}

TEST(two_processes_cannot_share_a_store)
{
	auto_ptr(store) s = open_store("db");
	struct store_opts opts = { .dir = "db" };
	struct store *second = NULL;
	struct err e = { 0 };

	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_open(&opts, &second, &e), -EBUSY);
	EXPECT_STREQ(e.msg, "store db is in use by another process");
}

static void *close_later(void *arg)
{
	poll(NULL, 0, 200);
	store_close(arg);
	return NULL;
}

/* Whoever was killed holds it until all of its threads are gone. */
TEST(a_store_whose_owner_is_ending_is_waited_for)
{
	struct store_opts opts = { .dir = "db" };
	struct store *s = open_store("db"), *second = NULL;
	struct err e = { 0 };
	pthread_t t;

	ASSERT_EQ(s != NULL, 1);
	ASSERT_EQ(pthread_create(&t, NULL, close_later, s), 0);
	EXPECT_EQ(store_open(&opts, &second, &e), 0);
	EXPECT_STREQ(e.msg, "");
	pthread_join(t, NULL);
	store_close(second);
}

TEST(a_damaged_record_is_found)
{
	struct store *s = open_store("db");
	auto_free char *data = malloc(1 << 20);
	struct store_opts opts = { .dir = "db" };
	struct err e = { 0 };
	ssize_t len;
	char *at;
	int fd;

	put(s, "p/t/a", "a value that can be found on the disk");
	store_close(s);
	fd = open("db/data.mdb", O_RDWR);
	len = pread(fd, data, 1 << 20, 0);
	at = memmem(data, len, "can be found", 12);
	ASSERT_EQ(at != NULL, 1);
	ASSERT_EQ(pwrite(fd, "CAN", 3, at - data), 3);
	close(fd);
	EXPECT_EQ(store_open(&opts, &s, &e), -EBADMSG);
	EXPECT_EQ(strstr(e.msg, "is damaged; restore a backup") != NULL, 1);
}

TEST(a_full_disk_refuses_writes_and_recovers)
{
	auto_free char *value = malloc(100001);
	struct store *s;
	struct err e = { 0 };
	struct store_op op = { .key = "p/t/big",
			       .len = 100000,
			       .data = value,
			       .rv_off = STORE_NO_RV };
	int64_t r = 0;
	int acked = 0, fd;

	memset(value, 'x', 100000);
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("needs root for a mount namespace");
	mkdir("small", 0700);
	ASSERT_EQ(mount("tmpfs", "small", "tmpfs", 0, "size=4m"), 0);
	/* The filler that is taken away later. */
	fd = open("small/filler", O_CREAT | O_RDWR, 0600);
	ASSERT_EQ(posix_fallocate(fd, 0, 1 << 20), 0);
	s = open_store("small/db");
	ASSERT_EQ(s != NULL, 1);
	for (int i = 0; i < 100; i++) {
		char key[32];

		snprintf(key, sizeof(key), "p/t/%03d", i);
		op.key = key;
		r = change(s, op, &e);
		if (r < 0)
			break;
		acked++;
	}
	EXPECT_EQ(r, -ENOSPC);
	EXPECT_EQ(strstr(e.msg, "No space left on device") != NULL, 1);
	/* Reads go on, and no more than what was acknowledged is there. */
	EXPECT_EQ(store_count(s, "p/"), acked);
	EXPECT_EQ(unlink("small/filler"), 0);
	close(fd);
	r = put(s, "p/t/after", "y");
	EXPECT_GE(r, acked + 2);
	store_close(s);
	s = open_store("small/db");
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), acked + 1);
	store_close(s);
	umount("small");
}

static void fill(struct store *s, int from, int to, size_t len)
{
	auto_free char *value = calloc(1, len + 1);
	static char keys[500][32];
	static struct store_op ops[500];

	memset(value, 'x', len);
	while (from < to) {
		struct store_txn txn = { .ops = ops };

		for (; from < to && txn.nr_ops < 500; from++, txn.nr_ops++) {
			snprintf(keys[txn.nr_ops], 32, "p/t/%06d", from);
			ops[txn.nr_ops] =
				(struct store_op){ .key = keys[txn.nr_ops],
						   .data = value,
						   .len = len,
						   .rv_off = STORE_NO_RV,
						   .remove = !len };
		}
		if (store_commit(s, &txn, NULL))
			printf("# fill failed: %s\n", txn.err.msg);
		for (size_t i = 0; i < txn.nr_ops; i++)
			object_unref(ops[i].ret);
	}
}

static void wait_for_file(struct store *s, uint64_t most)
{
	struct store_stats st;

	/* The writer looks at the file every few seconds, with work to do. */
	for (int i = 0; i < 1500; i++) {
		store_stats(s, &st);
		if (st.tidied && st.file_bytes <= most)
			return;
		put(s, "p/t/tick", "t");
		poll(NULL, 0, 10);
	}
}

TEST(the_file_shrinks_to_twice_of_what_is_in_it)
{
	struct store_opts opts = { .dir = "db", .history_bytes = 1 << 20 };
	struct store *s = NULL;
	struct store_stats st;
	uint64_t before;

	ASSERT_EQ(store_open(&opts, &s, NULL), 0);
	fill(s, 0, 1500, 20000);
	fill(s, 0, 1450, 0); /* removes */
	store_compact(s, store_revision(s), NULL);
	store_stats(s, &st);
	before = st.file_bytes;
	EXPECT_GE(before, 25 << 20);
	wait_for_file(s, 8 << 20);
	store_stats(s, &st);
	printf("# %llu KiB became %llu, %llu KiB live\n",
	       (unsigned long long)before / 1024,
	       (unsigned long long)st.file_bytes / 1024,
	       (unsigned long long)st.live_bytes / 1024);
	EXPECT_GE(st.live_bytes * 2 + (6 << 20), st.file_bytes);
	fill(s, 2000, 2010, 100);
	EXPECT_EQ(store_count(s, "p/"), 61);
	store_close(s);
	ASSERT_EQ(store_open(&opts, &s, NULL), 0);
	EXPECT_EQ(store_count(s, "p/"), 61);
	store_close(s);
}

/* KiB of the store's file that are mapped and in memory. */
static long mapped_kib(void)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[4352];
	bool ours = false;
	long sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = strstr(line, "/data.mdb") != NULL;
		else if (ours && strncmp(line, "Rss:", 4) == 0)
			sum += strtol(line + 4, NULL, 10);
	}
	if (f)
		fclose(f);
	return sum;
}

TEST(the_file_does_not_stay_mapped)
{
	struct store_opts opts = { .dir = "db" };
	struct store *s = NULL;
	long loaded;

	ASSERT_EQ(store_open(&opts, &s, NULL), 0);
	fill(s, 0, 1000, 20000);
	store_close(s);
	ASSERT_EQ(store_open(&opts, &s, NULL), 0);
	loaded = mapped_kib(); /* all was read */
	EXPECT_GE(loaded, 10 << 10);
	for (int i = 0; i < 1500 && mapped_kib() > 1 << 10; i++) {
		put(s, "p/t/tick", "t");
		poll(NULL, 0, 10);
	}
	printf("# %ld KiB mapped became %ld\n", loaded, mapped_kib());
	EXPECT_EQ(mapped_kib() <= 1 << 10, true);
	EXPECT_EQ(store_count(s, "p/"), 1001);
	store_close(s);
}

TEST(deleting_is_possible_on_a_full_disk)
{
	struct store *s;
	int acked = 0;
	char key[32];
	int64_t r;

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("needs root for a mount namespace");
	mkdir("small", 0700);
	ASSERT_EQ(mount("tmpfs", "small", "tmpfs", 0, "size=80m"), 0);
	s = open_store("small/db");
	ASSERT_EQ(s != NULL, 1);
	for (; acked < 2000; acked++) {
		auto_free char *value = calloc(1, 100001);

		memset(value, 'x', 100000);
		snprintf(key, sizeof(key), "p/t/%04d", acked);
		r = put(s, key, value);
		if (r < 0)
			break;
	}
	EXPECT_EQ(r, -ENOSPC);
	EXPECT_EQ(store_count(s, "p/"), acked);
	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "p/t/%04d", i);
		EXPECT_GE(del(s, key), 1);
	}
	store_compact(s, store_revision(s), NULL);
	EXPECT_GE(put(s, "p/t/again", "small"), 1);
	store_close(s);
	umount("small");
}

/* Is @text anywhere in the files of @dir? */
static bool on_disk(const char *dir, const char *text)
{
	auto_free char *path = str_printf("%s/data.mdb", dir);
	int fd = open(path, O_RDONLY);
	struct stat st;
	auto_free char *data = NULL;
	bool found;

	fstat(fd, &st);
	data = malloc(st.st_size);
	found = read(fd, data, st.st_size) == st.st_size &&
		memmem(data, st.st_size, text, strlen(text));
	close(fd);
	return found;
}

static struct store *open_sealed(const char *dir, const char *keys,
				 struct err *e)
{
	struct store_opts opts = { .dir = dir,
				   .key_file = keys,
				   .create_key_file = true };
	struct store *s = NULL;

	(void)store_open(&opts, &s, e);
	return s;
}

TEST(nothing_is_on_the_disk_in_plaintext)
{
	static const char secret[] = "correct horse battery staple";
	struct store_op op = { .key = "core/secrets/t/n/s",
			       .data = secret,
			       .len = sizeof(secret) - 1,
			       .rv_off = STORE_NO_RV,
			       .tags = "l:owner\0topsecretlabel",
			       .tags_len = 23 };
	struct err e = { 0 };
	struct store *s = open_store("db");
	auto_ptr(object_bytes) o = NULL;
	uint64_t nr = 0, objects, revision;
	struct stat st;

	/* Begins unencrypted, as a store of before. */
	change(s, op, NULL);
	store_close(s);
	EXPECT_EQ(on_disk("db", secret), 1);
	s = open_sealed("db", "keys", &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(stat("keys", &st), 0);
	EXPECT_EQ(st.st_mode & 0777, 0600);
	ASSERT_EQ(store_reencrypt(s, &nr, &e), 0);
	EXPECT_EQ(nr, 1);
	ASSERT_EQ(store_reencrypt(s, &nr, &e), 0);
	EXPECT_EQ(nr, 0);
	o = store_get(s, op.key);
	EXPECT_STREQ(text_of(o), secret);
	ASSERT_EQ(store_backup(s, "copy", &e), 0);
	EXPECT_EQ(on_disk("copy", secret), 0);
	store_close(s);

	s = open_sealed("sealed", "keys", &e);
	change(s, op, NULL);
	put(s, op.key, "replaced");
	del(s, op.key);
	store_close(s);
	EXPECT_EQ(on_disk("sealed", secret), 0);
	EXPECT_EQ(on_disk("sealed", "topsecretlabel"), 0);
	EXPECT_EQ(store_verify("copy", "keys", &objects, &revision, &e), 0);
	EXPECT_EQ(store_verify("copy", NULL, &objects, &revision, &e), -ENOKEY);
	EXPECT_EQ(strstr(e.msg, "key that is not in the key file") != NULL, 1);
}

TEST(keys_rotate_while_the_store_runs)
{
	struct err e = { 0 };
	struct store *s = open_sealed("db", "keys", &e);
	struct store_keys *k = NULL;
	auto_ptr(object_bytes) o = NULL;
	char first[64], both[128] = "";
	uint64_t nr;
	int fd;

	fill(s, 0, 50, 100);
	ASSERT_EQ(store_keys_open("keys", false, &k, &e), 0);
	ASSERT_EQ(store_keys_rotate(k, &e), 0);
	store_keys_free(k);
	ASSERT_EQ(store_reencrypt(s, &nr, &e), 0);
	EXPECT_EQ(nr, 50);
	fill(s, 50, 60, 100);
	store_close(s);
	/* The old key out: all of it opens with the new one alone. */
	fd = open("keys", O_RDWR);
	EXPECT_EQ(read(fd, both, sizeof(both) - 1), 90);
	snprintf(first, sizeof(first), "%.45s", both);
	EXPECT_EQ(pwrite(fd, first, 45, 0), 45);
	EXPECT_EQ(ftruncate(fd, 45), 0);
	s = open_sealed("db", "keys", &e);
	ASSERT_EQ(s != NULL, 1);
	EXPECT_EQ(store_count(s, "p/"), 60);
	o = store_get(s, "p/t/000049");
	EXPECT_EQ(o->len, 100);
	store_close(s);
	/* The other one alone: refused, and said why. */
	EXPECT_EQ(pwrite(fd, both + 45, 45, 0), 45);
	close(fd);
	EXPECT_EQ(open_sealed("db", "keys", &e) == NULL, 1);
	EXPECT_EQ(e.code, -ENOKEY);
	chmod("keys", 0644);
	EXPECT_EQ(open_sealed("db", "keys", &e) == NULL, 1);
	EXPECT_EQ(strstr(e.msg, "may be read by others: chmod 0600") != NULL,
		  1);
}

TEST_MAIN()
