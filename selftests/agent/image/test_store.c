// SPDX-License-Identifier: Apache-2.0
// SECONDS: 240
/* The store as a whole: what is there after what happened. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <time.h>

#include "selftests/harness.h"
#include "selftests/agent/image/make_image.h"
#include "lib/buf.h"
#include "lib/fs.h"

#define ROOT_NEEDED()                                             \
	do {                                                      \
		if (geteuid() != 0)                               \
			SKIP("root, to make files of any owner"); \
	} while (0)

static const struct made base[] = { { "base", 0, 0644, .data = "base" } };
static const struct made extra[] = { { "extra", 0, 0644, .data = "extra" } };

/* Two images that share their lowest layer. */
static void make_pair(struct oci_maker *a, struct oci_maker *b)
{
	oci_begin(a, "a");
	oci_layer_add(a, PACK_GZIP, base, 1);
	oci_end(a, "{\"Cmd\":[\"/base\"]}");
	oci_begin(b, "b");
	oci_layer_add(b, PACK_GZIP, base, 1);
	oci_layer_add(b, PACK_GZIP, extra, 1);
	oci_end(b, "{\"Cmd\":[\"/extra\"]}");
}

static int import_as(struct image_store *s, const char *source,
		     const char *name, struct err *e)
{
	struct image_import_opts o = { .name = name };

	return image_import(s, source, &o, NULL, e);
}

TEST(an_image_is_found_by_all_its_names)
{
	struct oci_maker a, b;
	struct image *img = NULL, *again = NULL;
	struct image_store *s;
	struct err e = { 0 };
	char ref[256];

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "web", &e), 0);
	ASSERT_EQ(import_as(s, "oci:b:latest", "r.io/team/b:1", &e), 0);
	ASSERT_EQ(image_find(s, "web", &img, &e), 0);
	EXPECT_STREQ(img->id, a.config_digest);
	EXPECT_STREQ(img->manifest_digest, a.manifest_digest);
	EXPECT_EQ(img->kind, IMAGE_CONTAINER);
	EXPECT_EQ(img->bytes, 4);
	EXPECT_STREQ(img->config.cmd.v[0], "/base");
	EXPECT_EQ(img->created_s, 1714979289);
	ASSERT_EQ(image_find(s, "web:latest", &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	ASSERT_EQ(image_find(s, "docker.io/library/web", &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	EXPECT_EQ(image_find(s, "web:1", &again, &e), -ENOENT);
	ASSERT_EQ(image_find(s, a.config_digest, &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	snprintf(ref, sizeof(ref), "%.12s", digest_hex(a.config_digest));
	ASSERT_EQ(image_find(s, ref, &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	snprintf(ref, sizeof(ref), "anything@%s", a.manifest_digest);
	ASSERT_EQ(image_find(s, ref, &again, &e), 0);
	EXPECT_EQ(again == img, 1);
	image_unref(again);
	image_unref(img);
	ASSERT_EQ(image_find(s, "r.io/team/b:1", &img, &e), 0);
	EXPECT_EQ(img->layers.nr, 2);
	EXPECT_EQ(img->bytes, 9);
	image_unref(img);
	EXPECT_EQ(image_find(s, "nobody", &img, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "image 'nobody' is not here: 'arktos-node image "
			    "ls' lists those that are");
	EXPECT_EQ(image_find(s, "NO SUCH", &img, &e), -EINVAL);
	image_store_close(s);
}

TEST(a_name_is_one_however_it_is_spelled)
{
	struct image_pull_opts always = { .policy = PULL_ALWAYS };
	struct oci_maker a, b;
	struct image *img = NULL;
	struct image_item *items;
	struct image_store *s;
	struct err e = { 0 };
	size_t nr;

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "web", &e), 0);
	/* An import is not asked for in a registry. */
	ASSERT_EQ(image_pull(s, "web:latest", &always, &img, &e), 0);
	EXPECT_STREQ(img->id, a.config_digest);
	image_unref(img);
	/* It moves, and is shown as it was given last. */
	ASSERT_EQ(import_as(s, "oci:b", "web:latest", &e), 0);
	ASSERT_EQ(image_find(s, "web", &img, &e), 0);
	EXPECT_STREQ(img->id, b.config_digest);
	image_unref(img);
	ASSERT_EQ(image_list(s, &items, &nr), 0);
	EXPECT_EQ(nr, 2);
	EXPECT_STREQ(items[0].names.v[0], "web:latest");
	EXPECT_EQ(items[0].names.nr, 1);
	EXPECT_EQ(items[1].names.nr, 0);
	image_list_free(items, nr);
	ASSERT_EQ(image_remove(s, "docker.io/library/web", NULL, &e), 0);
	EXPECT_EQ(image_find(s, "web", &img, &e), -ENOENT);
	image_store_close(s);
}

TEST(layers_are_shared_and_go_with_their_last_image)
{
	struct strv used = { 0 };
	struct oci_maker a, b;
	struct image_store *s;
	char *ids[2] = { NULL };
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "a", &e), 0);
	ASSERT_EQ(import_as(s, "oci:b", "b", &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 2);
	ids[0] = b.config_digest;
	used = (struct strv){ .v = ids, .nr = 1 };
	EXPECT_EQ(image_remove(s, "b", &used, &e), -EBUSY);
	EXPECT_STREQ(e.msg, "image 'b' is used by a pod");
	ASSERT_EQ(image_remove(s, "a", &used, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 2);
	EXPECT_EQ(image_remove(s, "a", &used, &e), -ENOENT);
	ASSERT_EQ(image_remove(s, "b", NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	EXPECT_EQ(count_dir("state/images/images"), 0);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

TEST(a_name_is_removed_before_the_image)
{
	struct strv used = { 0 };
	struct oci_maker a, b;
	struct image *img;
	struct image_store *s;
	char *ids[2] = { NULL };
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "one", &e), 0);
	ASSERT_EQ(import_as(s, "oci:a", "two", &e), 0);
	ids[0] = a.config_digest;
	used = (struct strv){ .v = ids, .nr = 1 };
	ASSERT_EQ(image_remove(s, "one", &used, &e), 0);
	ASSERT_EQ(image_find(s, "two", &img, &e), 0);
	image_unref(img);
	EXPECT_EQ(image_find(s, "one", &img, &e), -ENOENT);
	/* The name moves with the newer import. */
	ASSERT_EQ(import_as(s, "oci:b", "two", &e), 0);
	ASSERT_EQ(image_find(s, "two", &img, &e), 0);
	EXPECT_STREQ(img->id, b.config_digest);
	image_unref(img);
	/* What has no name goes with the next collection, unless used. */
	ASSERT_EQ(image_gc(s, &used, UINT64_MAX, NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/images"), 2);
	ASSERT_EQ(image_gc(s, NULL, UINT64_MAX, NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/images"), 1);
	image_store_close(s);
}

TEST(collection_takes_the_longest_unused)
{
	struct image_store *s;
	struct err e = { 0 };
	struct image *img;
	uint64_t freed = 0;

	ROOT_NEEDED();
	for (int i = 0; i < 4; i++) {
		char dir[8], data[2] = { (char)('a' + i), 0 };
		const struct made m[] = { { "file", 0, 0644, .data = data } };
		struct oci_maker o;

		snprintf(dir, sizeof(dir), "i%d", i);
		make_oci(&o, dir, PACK_GZIP, m, 1);
	}
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "oci:i0", NULL, NULL, &e), 0);
	ASSERT_EQ(image_import(s, "oci:i1", NULL, NULL, &e), 0);
	ASSERT_EQ(image_import(s, "oci:i2", NULL, NULL, &e), 0);
	ASSERT_EQ(image_import(s, "oci:i3", NULL, NULL, &e), 0);
	ASSERT_EQ(image_find(s, "i0", &img, &e), 0);
	image_unref(img);
	ASSERT_EQ(image_find(s, "i1", &img, &e), 0); /* and keep it in hand */
	ASSERT_EQ(image_gc(s, NULL, 2, &freed, &e), 0);
	EXPECT_EQ(freed, 2);
	EXPECT_EQ(image_find(s, "i2", &img, NULL), -ENOENT);
	EXPECT_EQ(image_find(s, "i3", &img, NULL), -ENOENT);
	ASSERT_EQ(image_gc(s, NULL, 0, &freed, &e), 0);
	EXPECT_EQ(freed, 1);
	EXPECT_EQ(image_find(s, "i0", &img, NULL), -ENOENT);
	image_unref(img);
	ASSERT_EQ(image_gc(s, NULL, 0, &freed, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

TEST(all_is_there_after_reopening)
{
	struct image_item *items;
	struct oci_maker a, b;
	struct image_store *s;
	struct err e = { 0 };
	size_t nr;

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "x", &e), 0);
	ASSERT_EQ(import_as(s, "oci:a", "y", &e), 0);
	ASSERT_EQ(import_as(s, "oci:b", "b", &e), 0);
	image_store_close(s);
	s = open_store(NULL);
	ASSERT_EQ(image_list(s, &items, &nr), 0);
	ASSERT_EQ(nr, 2);
	EXPECT_STREQ(items[0].names.v[0], "b");
	EXPECT_EQ(items[0].image->layers.nr, 2);
	EXPECT_STREQ(items[0].image->config.cmd.v[0], "/extra");
	EXPECT_EQ(items[1].names.nr, 2);
	image_list_free(items, nr);
	ASSERT_EQ(image_remove(s, "b", NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 1);
	image_store_close(s);
}

TEST(a_second_agent_is_refused)
{
	struct image_store *s, *second = NULL;
	struct image_store_opts o = { .libexec = bin_dir() };
	char cwd[PATH_MAX], state[PATH_MAX + 16];
	struct err e = { 0 };

	s = open_store(NULL);
	snprintf(state, sizeof(state), "%s/state", getcwd(cwd, sizeof(cwd)));
	EXPECT_EQ(image_store_open(state, &o, &second, &e), -EBUSY);
	if (!strstr(e.msg, "is in use by another process: is an agent running"))
		FAIL("%s", e.msg);
	image_store_close(s);
}

/* What becomes of the index in each of these cases. */
static void lose_index(int *verdict_, const char *content)
{
	struct image *img = NULL;
	struct image_store *s;

	if (content)
		put_text("state/images/index.json", "%s", content);
	else
		unlink("state/images/index.json");
	s = open_store(NULL);
	if (!s) {
		FAIL("does not open with the index '%s'", content ?: "gone");
		return;
	}
	EXPECT_EQ(image_find(s, "x", &img, NULL), 0);
	image_unref(img);
	img = NULL;
	EXPECT_EQ(image_find(s, "y", &img, NULL), 0);
	image_unref(img);
	image_store_close(s);
	if (content)
		EXPECT_EQ(access("state/images/index.json.damaged", F_OK), 0);
}

TEST(a_damaged_index_is_made_anew)
{
	struct oci_maker a, b;
	struct image_store *s;
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "x", &e), 0);
	ASSERT_EQ(import_as(s, "oci:a", "y", &e), 0);
	image_store_close(s);
	lose_index(verdict_, "{\"version\":1,\"names\":{\"x\":");
	lose_index(verdict_, "");
	lose_index(verdict_, "[]");
	lose_index(verdict_, "{\"names\":{\"x\":7}}");
	lose_index(verdict_, NULL);
}

TEST(half_an_image_is_none)
{
	char path[PATH_MAX];
	struct image *img = NULL;
	struct oci_maker a, b;
	struct image_store *s;
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	ASSERT_EQ(import_as(s, "oci:a", "a", &e), 0);
	ASSERT_EQ(import_as(s, "oci:b", "b", &e), 0);
	image_store_close(s);
	snprintf(path, sizeof(path), "rm -r state/images/layers/%s",
		 digest_hex(b.blob[1]));
	ASSERT_EQ(system(path), 0);
	ASSERT_EQ(mkdir("state/images/staging/7", 0700), 0);
	put_text("state/images/staging/7/half", "done");
	ASSERT_EQ(mkdir("state/images/layers/"
			"00000000000000000000000000000000"
			"00000000000000000000000000000000",
			0700),
		  0);
	s = open_store(NULL);
	EXPECT_EQ(image_find(s, "b", &img, NULL), -ENOENT);
	ASSERT_EQ(image_find(s, "a", &img, &e), 0);
	image_unref(img);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 1);
	/* And it can come back. */
	ASSERT_EQ(import_as(s, "oci:b", "b", &e), 0);
	image_store_close(s);
}

TEST(a_full_disk_leaves_nothing)
{
	static char big[3 << 20];
	const struct made m[] = { { "big", 0, 0644, .data = big },
				  { "more", 0, 0644, .data = big } };
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o, small;

	ROOT_NEEDED();
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ASSERT_EQ(mkdir("state", 0755), 0);
	ASSERT_EQ(mount("arktos-test", "state", "tmpfs", 0, "size=4m"), 0);
	for (size_t i = 0; i < sizeof(big) - 1; i++)
		big[i] = (char)('a' + i % 23);
	make_oci(&o, "oci", PACK_GZIP, m, 2);
	make_oci(&small, "small", PACK_GZIP, base, 1);
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "oci:oci", NULL, NULL, &e), -ENOSPC);
	if (!strstr(e.msg, "No space left on device"))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	EXPECT_EQ(count_dir("state/images/images"), 0);
	/* There is room again, and the store still works. */
	ASSERT_EQ(image_import(s, "oci:small", NULL, NULL, &e), 0);
	/* As full as it gets: not even a record fits. */
	ASSERT_EQ(system("dd if=/dev/zero of=state/fill bs=64k 2>/dev/null; "
			 "dd if=/dev/zero of=state/fill2 bs=1 count=65536 "
			 "2>/dev/null; true"),
		  0);
	EXPECT_EQ(import_as(s, "oci:small", "other-name", &e), -ENOSPC);
	EXPECT_EQ(image_find(s, "other-name", &(struct image *){ NULL }, NULL),
		  -ENOENT);
	image_store_close(s);
	s = open_store(NULL);
	if (s) {
		struct image *img = NULL;

		EXPECT_EQ(image_find(s, "small", &img, NULL), 0);
		image_unref(img);
		image_store_close(s);
	} else {
		FAIL("a store on a full disk must open");
	}
}

/* --- several at once
 * ----------------------------------------------------------- */

static struct image_store *shared;
static atomic_int unpacked;

static void count_unpacking(const struct image_progress *p, void *arg)
{
	(void)arg;
	if (p->phase == IMAGE_DONE)
		atomic_fetch_add(&unpacked, 1);
}

static void *import_thread(void *arg)
{
	struct image_import_opts o = { .name = arg,
				       .progress = count_unpacking };
	struct err e = { 0 };
	int r = image_import(shared, "oci:b", &o, NULL, &e);

	if (r < 0)
		printf("# %s\n", e.msg);
	return (void *)(intptr_t)r;
}

TEST(threads_unpack_a_layer_once)
{
	static char names[][3] = { "n0", "n1", "n2", "n3", "n4", "n5" };
	pthread_t threads[ARRAY_SIZE(names)];
	struct oci_maker a, b;
	struct image *img = NULL;
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	shared = open_store(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, import_thread,
					 names[i]),
			  0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		void *r = NULL;

		pthread_join(threads[i], &r);
		EXPECT_EQ((intptr_t)r, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ASSERT_EQ(image_find(shared, names[i], &img, &e), 0);
		EXPECT_STREQ(img->id, b.config_digest);
		image_unref(img);
	}
	EXPECT_EQ(count_dir("state/images/layers"), 2);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	/* The references add up: the layers go with the image. */
	ASSERT_EQ(image_remove(shared, b.config_digest, NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(shared);
}

TEST(an_import_can_be_cancelled)
{
	atomic_bool cancel = true;
	struct image_import_opts o = { .name = "a", .cancel = &cancel };
	struct oci_maker a, b;
	struct image_store *s;
	struct err e = { 0 };

	ROOT_NEEDED();
	make_pair(&a, &b);
	s = open_store(NULL);
	EXPECT_EQ(image_import(s, "oci:a", &o, NULL, &e), -ECANCELED);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

/* --- killed
 * --------------------------------------------------------------------- */

/* What it starts is killed with it: at times while a sanitizer looks for leaks
 * at its end, which would be told as that one's failure. */
static void import_and_exit(void)
{
	const char *had = getenv("ASAN_OPTIONS");
	auto_free char *options =
		str_printf("%s:detect_leaks=0", had ? had : "");
	struct image_store *s = open_store(NULL);
	struct err e = { 0 };

	if (options)
		setenv("ASAN_OPTIONS", options, 1);
	if (!s || import_as(s, "oci:b", "b", &e) < 0 ||
	    image_remove(s, "b", NULL, &e) < 0 ||
	    import_as(s, "oci:b", "b", &e) < 0)
		printf("# %s\n", e.msg);
	_exit(0);
}

TEST(killed_at_any_time_the_store_is_whole)
{
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker a, b;
	int whole = 0;

	ROOT_NEEDED();
	make_pair(&a, &b);
	/* In memory: this is about our order of things, not the disk's, and a
	 * busy disk would make every kill come before the first step. */
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ASSERT_EQ(mkdir("state", 0755), 0);
	ASSERT_EQ(mount("arktos-test", "state", "tmpfs", 0, "size=64m"), 0);
	for (int i = 0; i < 60; i++) {
		struct timespec wait = { .tv_nsec = (long)i * 2500000 };
		struct image *img = NULL;
		pid_t pid = fork();

		if (pid == 0)
			import_and_exit();
		nanosleep(&wait, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		s = open_store(NULL);
		ASSERT_EQ(s != NULL, 1);
		/* There, and then all of it, or not. */
		if (image_find(s, "b", &img, NULL) == 0) {
			char path[PATH_MAX];

			whole++;
			snprintf(path, sizeof(path), "%s/extra",
				 img->layers.v[1]);
			EXPECT_EQ(access(path, F_OK), 0);
			EXPECT_EQ(count_dir("state/images/layers"), 2);
			image_unref(img);
		}
		ASSERT_EQ(import_as(s, "oci:b", "b", &e), 0);
		EXPECT_EQ(count_dir("state/images/layers"), 2);
		ASSERT_EQ(image_remove(s, "b", NULL, &e), 0);
		EXPECT_EQ(count_dir("state/images/layers"), 0);
		EXPECT_EQ(count_dir("state/images/images"), 0);
		image_store_close(s);
	}
	printf("# 60 kills, %d images whole\n", whole);
}

/* --- disks and kernels
 * ---------------------------------------------------------- */

TEST(a_qcow2_disk_is_imported)
{
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	struct stat st;

	ASSERT_EQ(system("qemu-img create -q -f qcow2 vm.qcow2 32M"), 0);
	umask(077);
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "vm.qcow2", NULL, &img, &e), 0);
	EXPECT_EQ(img->kind, IMAGE_DISK);
	EXPECT_STREQ(img->vm.format, "qcow2");
	EXPECT_EQ(img->vm.virtual_bytes, 32 << 20);
	EXPECT_EQ(stat(img->vm.disk, &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0644); /* QEMU is another user */
	image_unref(img);
	image_store_close(s);
	s = open_store(NULL);
	ASSERT_EQ(image_find(s, "vm", &img, &e), 0);
	EXPECT_STREQ(img->vm.format, "qcow2");
	EXPECT_EQ(img->vm.virtual_bytes, 32 << 20);
	EXPECT_EQ(img->vm.disk[0], '/');
	image_unref(img);
	ASSERT_EQ(image_remove(s, "vm", NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/images"), 0);
	image_store_close(s);
}

TEST(disks_that_reach_for_the_host_are_refused)
{
	struct image_store *s;
	struct err e = { 0 };

	put_text("secret", "shadow");
	ASSERT_EQ(system("qemu-img create -q -f qcow2 -F raw -b $PWD/secret "
			 "backed.qcow2 1M && qemu-img create -q -f qcow2 -o "
			 "data_file=$PWD/data.raw external.qcow2 1M"),
		  0);
	s = open_store(NULL);
	EXPECT_EQ(image_import(s, "backed.qcow2", NULL, NULL, &e), -EPERM);
	if (!strstr(e.msg, "names a backing file"))
		FAIL("%s", e.msg);
	EXPECT_EQ(image_import(s, "external.qcow2", NULL, NULL, &e), -EPERM);
	if (!strstr(e.msg, "names a data file"))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/images"), 0);
	image_store_close(s);
}

TEST(a_disk_qemu_dislikes_is_refused)
{
	struct image_store *s;
	struct err e = { 0 };

	/* All we look at is fine; its table of clusters is a mile long. */
	ASSERT_EQ(system("qemu-img create -q -f qcow2 vm.qcow2 1M && printf "
			 "'\\377\\377' | dd of=vm.qcow2 bs=1 seek=36 "
			 "conv=notrunc 2>/dev/null"),
		  0);
	s = open_store(NULL);
	EXPECT_EQ(image_import(s, "vm.qcow2", NULL, NULL, &e), -EBADMSG);
	if (!strstr(e.msg, "qemu-img does not like it: "))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

TEST(a_raw_disk_stays_raw_and_sparse)
{
	struct image_import_opts o = { .format = "raw" };
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	struct stat st;

	put_text("disk.img", "boot sector");
	ASSERT_EQ(truncate("disk.img", 64 << 20), 0);
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "disk.img", &o, &img, &e), 0);
	EXPECT_STREQ(img->vm.format, "raw");
	EXPECT_EQ(img->vm.virtual_bytes, 64 << 20);
	ASSERT_EQ(stat(img->vm.disk, &st), 0);
	EXPECT_EQ(st.st_size, 64 << 20);
	EXPECT_GE(2 << 20, st.st_blocks * 512);
	image_unref(img);
	image_store_close(s);
}

static void make_bundle(void)
{
	mkdir("bundle", 0755);
	put_text("bundle/vmlinux", "kernel");
	put_text("bundle/initrd.img", "initrd");
	put_text("bundle/arktos-vm.json",
		 "{\"kernel\":\"vmlinux\",\"initrd\":\"initrd.img\","
		 "\"cmdline\":\"quiet\",\"version\":\"1\"}");
}

TEST(a_kernel_bundle_is_imported_as_folder_and_as_tar)
{
	static const char *const sources[] = { "bundle", "bundle.tar",
					       "bundle.tar.gz",
					       "bundle.tar.zst" };
	auto_buf struct buf b = BUF_INIT;
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	char id[80] = "";

	ROOT_NEEDED();
	make_bundle();
	ASSERT_EQ(system("tar -C bundle -cf bundle.tar . && gzip -k bundle.tar "
			 "&& zstd -q bundle.tar"),
		  0);
	s = open_store(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		ASSERT_EQ(image_import(s, sources[i], NULL, &img, &e), 0);
		EXPECT_EQ(img->kind, IMAGE_KERNEL);
		EXPECT_STREQ(img->vm.cmdline, "quiet");
		if (i)
			EXPECT_STREQ(img->id, id);
		snprintf(id, sizeof(id), "%s", img->id);
		image_unref(img);
	}
	image_store_close(s);
	s = open_store(NULL);
	ASSERT_EQ(image_find(s, "bundle", &img, &e), 0);
	ASSERT_EQ(fs_read(AT_FDCWD, img->vm.initrd, 100, &b, &e), 0);
	EXPECT_STREQ(buf_str(&b), "initrd");
	EXPECT_STREQ(img->vm.cmdline, "quiet");
	image_unref(img);
	EXPECT_EQ(count_dir("state/images/images"), 1);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

TEST(a_bundle_does_not_reach_out)
{
	struct image_store *s;
	struct err e = { 0 };

	make_bundle();
	put_text("secret", "x");
	unlink("bundle/vmlinux");
	ASSERT_EQ(symlink("../secret", "bundle/vmlinux"), 0);
	s = open_store(NULL);
	EXPECT_EQ(image_import(s, "bundle", NULL, NULL, &e), -ELOOP);
	if (!strstr(e.msg, "open 'vmlinux' of the bundle"))
		FAIL("%s", e.msg);
	unlink("bundle/vmlinux");
	ASSERT_EQ(image_import(s, "bundle", NULL, NULL, &e), -ENOENT);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

TEST(a_container_disk_is_a_vm_image)
{
	struct image_import_opts want = { .kind = IMAGE_DISK };
	const struct made m[] = { { "disk/", AE_IFDIR, 0755 },
				  { "disk/vm.img", 0, 0644, 107, 107,
				    .data = "a raw disk" } };
	const struct made two[] = { { "disk/1", 0, 0644, .data = "1" },
				    { "disk/2", 0, 0644, .data = "2" } };
	struct image *img = NULL;
	struct image_store *s;
	struct oci_maker o, o2;
	struct err e = { 0 };

	ROOT_NEEDED();
	make_oci(&o, "oci", PACK_GZIP, m, 2);
	make_oci(&o2, "two", PACK_GZIP, two, 2);
	s = open_store(NULL);
	ASSERT_EQ(image_import(s, "oci:oci", NULL, &img, &e), 0);
	EXPECT_EQ(img->kind, IMAGE_DISK);
	EXPECT_STREQ(img->vm.format, "raw");
	EXPECT_STREQ(img->id, o.config_digest);
	EXPECT_EQ(img->layers.nr, 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_unref(img);
	EXPECT_EQ(image_import(s, "oci:two", &want, NULL, &e), -EBADMSG);
	if (!strstr(e.msg, "several files in /disk"))
		FAIL("%s", e.msg);
	oci_begin(&o, "plain");
	oci_layer_add(&o, PACK_GZIP, base, 1);
	oci_end(&o, "{\"Cmd\":[\"x\"]}");
	EXPECT_EQ(image_import(s, "oci:plain", &want, NULL, &e), -EBADMSG);
	if (!strstr(e.msg, "no file in its folder /disk"))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

TEST(what_is_no_image_is_named)
{
	struct image_store *s = open_store(NULL);
	struct image_import_opts odd = { .name = "a b" };
	struct err e = { 0 };

	EXPECT_EQ(image_import(s, "nowhere", NULL, NULL, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "import 'nowhere': open: No such file or "
			    "directory");
	mkdir("empty", 0755);
	EXPECT_EQ(image_import(s, "empty", NULL, NULL, &e), -EINVAL);
	if (!strstr(e.msg, "no image in there: neither arktos-vm.json nor"))
		FAIL("%s", e.msg);
	EXPECT_EQ(image_import(s, "empty", &odd, NULL, &e), -EINVAL);
	if (!strstr(e.msg, "'a b' cannot be an image's name"))
		FAIL("%s", e.msg);
	EXPECT_EQ(image_import(s, "/dev/null", NULL, NULL, &e), -EINVAL);
	image_store_close(s);
}

TEST_MAIN()
