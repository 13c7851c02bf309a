// SPDX-License-Identifier: Apache-2.0
// LANE: both
// SECONDS: 300
/* Layers, kind and hostile, through image_import(); effects seen from outside.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

#include "selftests/harness.h"
#include "selftests/agent/image/make_image.h"

#define ROOT_NEEDED()                                             \
	do {                                                      \
		if (geteuid() != 0)                               \
			SKIP("root, to make files of any owner"); \
	} while (0)

/* Import one layer; the layer's folder, or the message. */
static int import_one(struct image_store *s, int pack, const struct made *m,
		      size_t nr, struct image **ret, struct err *e)
{
	struct oci_maker o;

	make_oci(&o, "oci", pack, m, nr);
	return image_import(s, "oci:oci", NULL, ret, e);
}

static void refused(int *verdict_, const struct made *m, size_t nr, int code,
		    const char *words)
{
	struct image_store *s = open_store(NULL);
	struct err e = { 0 };
	int r;

	if (!s) {
		FAIL("no store");
		return;
	}
	r = import_one(s, PACK_GZIP, m, nr, NULL, &e);
	EXPECT_EQ(r, code);
	if (!strstr(e.msg, words))
		FAIL("'%s' should say '%s'", e.msg, words);
	/* Nothing half-done stays. */
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	EXPECT_EQ(count_dir("state/images/images"), 0);
	image_store_close(s);
}

#define REFUSED(code, words, ...)                                   \
	do {                                                        \
		const struct made m_[] = { __VA_ARGS__ };           \
		refused(verdict_, m_, ARRAY_SIZE(m_), code, words); \
	} while (0)

TEST(a_layer_comes_out_as_it_went_in)
{
	const struct made m[] = {
		{ "bin/", AE_IFDIR, 0755, .mtime = 1000 },
		{ "bin/tool", 0, 04755, 7, 8, "#!/bin/true\n", .mtime = 2000 },
		{ "bin/twin", .hard = "bin/tool" },
		{ "bin/link", AE_IFLNK, 0777, .link = "/bin/tool" },
		{ "implied/deep/file", 0, 0600, 1000, 2000, "x" },
		{ "\xc3\xbc\xff", 0, 0644, .data = "any bytes" },
		{ "pipe", AE_IFIFO, 0600 },
		{ "attr", 0, 0644, .data = "a", .xattr = "user.note",
		  .xvalue = "hi", .xlen = 2 },
		{ "./shut/", AE_IFDIR, 0500 },
		{ "./shut/in", 0, 0400, .data = "in" },
		{ "bin/", AE_IFDIR, 0755, .mtime = 1000 },
	};
	char value[16];
	struct image *img = NULL;
	struct err e = { 0 };
	struct image_store *s;
	struct stat st, twin;

	ROOT_NEEDED();
	s = open_store(NULL);
	for (int pack = PACK_NONE; pack <= PACK_ZSTD; pack++) {
		ASSERT_EQ(import_one(s, pack, m, ARRAY_SIZE(m), &img, &e), 0);
		ASSERT_EQ(img->layers.nr, 1);
		ASSERT_EQ(chdir(img->layers.v[0]), 0);
		ASSERT_EQ(lstat("bin/tool", &st), 0);
		EXPECT_EQ(st.st_mode, S_IFREG | 04755);
		EXPECT_EQ(st.st_uid, 7);
		EXPECT_EQ(st.st_gid, 8);
		EXPECT_EQ(st.st_size, 12);
		EXPECT_EQ(st.st_mtime, 2000);
		ASSERT_EQ(lstat("bin/twin", &twin), 0);
		EXPECT_EQ(twin.st_ino, st.st_ino);
		ASSERT_EQ(lstat("bin", &st), 0);
		EXPECT_EQ(st.st_mtime, 1000);
		ASSERT_EQ(lstat("bin/link", &st), 0);
		EXPECT_EQ(S_ISLNK(st.st_mode), 1);
		ASSERT_EQ(lstat("implied/deep/file", &st), 0);
		EXPECT_EQ(st.st_uid, 1000);
		ASSERT_EQ(lstat("implied", &st), 0);
		EXPECT_EQ(st.st_mode, S_IFDIR | 0755);
		ASSERT_EQ(lstat("\xc3\xbc\xff", &st), 0);
		ASSERT_EQ(lstat("pipe", &st), 0);
		EXPECT_EQ(S_ISFIFO(st.st_mode), 1);
		ASSERT_EQ(lstat("shut", &st), 0);
		EXPECT_EQ(st.st_mode, S_IFDIR | 0500);
		ASSERT_EQ(lstat("shut/in", &st), 0);
		if (getxattr("attr", "user.note", value, sizeof(value)) != 2 &&
		    errno != EOPNOTSUPP)
			FAIL("user.note is lost");
		ASSERT_EQ(chdir("../../../.."), 0);
		image_unref(img);
		ASSERT_EQ(image_remove(s, "oci", NULL, &e), 0);
		ASSERT_EQ(system("rm -r oci"), 0);
	}
	image_store_close(s);
}

TEST(no_user_reaches_set_id_programs_in_layers)
{
	const struct made m[] = { { "su", 0, 04755, .data = "x" } };
	struct err e = { 0 };
	struct image_store *s;
	struct stat st;

	ROOT_NEEDED();
	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, m, 1, NULL, &e), 0);
	ASSERT_EQ(stat("state/images", &st), 0);
	EXPECT_EQ(st.st_mode & 07777, 0700);
	image_store_close(s);
}

TEST(file_capabilities_survive)
{
	/* cap_net_raw+ep, version 2 */
	static const char caps[] =
		"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	const struct made m[] = { { "ping", 0, 0755, .data = "x",
				    .xattr = "security.capability",
				    .xvalue = caps, .xlen = 20 } };
	struct image *img = NULL;
	struct err e = { 0 };
	struct image_store *s;
	char got[64], path[PATH_MAX];

	ROOT_NEEDED();
	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, m, 1, &img, &e), 0);
	snprintf(path, sizeof(path), "%s/ping", img->layers.v[0]);
	ASSERT_EQ(getxattr(path, "security.capability", got, sizeof(got)), 20);
	EXPECT_EQ(memcmp(got, caps, 20), 0);
	image_unref(img);
	image_store_close(s);
}

TEST(attributes_that_steer_overlayfs_are_dropped)
{
	static const char *const names[] = { "trusted.overlay.redirect",
					     "user.overlay.opaque",
					     "user.overlay.redirect",
					     "security.selinux" };

	ROOT_NEEDED();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct made m[] = { { "f/", AE_IFDIR, 0755,
					    .xattr = names[i], .xvalue = "y",
					    .xlen = 1 } };
		struct image_store *s = open_store(NULL);
		struct image *img = NULL;
		char path[PATH_MAX], got[8];
		struct err e = { 0 };

		ASSERT_EQ(import_one(s, PACK_GZIP, m, 1, &img, &e), 0);
		snprintf(path, sizeof(path), "%s/f", img->layers.v[0]);
		EXPECT_EQ(getxattr(path, names[i], got, sizeof(got)), -1);
		image_unref(img);
		image_store_close(s);
		ASSERT_EQ(system("rm -rf oci state"), 0);
	}
}

TEST(devices_and_sockets_are_left_out)
{
	const struct made m[] = {
		{ "dev/null", AE_IFCHR, 0666 },
		{ "dev/sda", AE_IFBLK, 0666 },
		{ "dev/ok", 0, 0644, .data = "x" },
	};
	struct image *img = NULL;
	struct err e = { 0 };
	struct image_store *s;
	struct stat st;

	ROOT_NEEDED();
	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, m, 3, &img, &e), 0);
	ASSERT_EQ(chdir(img->layers.v[0]), 0);
	EXPECT_EQ(lstat("dev/null", &st), -1);
	EXPECT_EQ(lstat("dev/sda", &st), -1);
	EXPECT_EQ(lstat("dev/ok", &st), 0);
	image_unref(img);
	image_store_close(s);
}

TEST(names_that_lead_out_are_refused)
{
	ROOT_NEEDED();
	REFUSED(-EPERM, "entry '../evil' leads out of the archive",
		{ "../evil", .data = "x" });
	REFUSED(-EPERM, "entry 'a/../../evil' leads out",
		{ "a/../../evil", .data = "x" });
	REFUSED(-EPERM, "leads out", { "a/..", AE_IFDIR, 0755 });
	EXPECT_EQ(access("evil", F_OK), -1);
	EXPECT_EQ(access("state/images/evil", F_OK), -1);
	EXPECT_EQ(access("state/images/staging/evil", F_OK), -1);
}

TEST(an_absolute_name_is_the_layers)
{
	const struct made m[] = { { "/abs/file", .data = "x" } };
	char path[PATH_MAX];
	struct image *img = NULL;
	struct err e = { 0 };
	struct image_store *s;

	ROOT_NEEDED();
	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, m, 1, &img, &e), 0);
	snprintf(path, sizeof(path), "%s/abs/file", img->layers.v[0]);
	EXPECT_EQ(access(path, F_OK), 0);
	EXPECT_EQ(access("/abs", F_OK), -1);
	image_unref(img);
	image_store_close(s);
}

TEST(writing_through_symlinks_stays_inside)
{
	char cwd[PATH_MAX], target[PATH_MAX + 16];

	ROOT_NEEDED();
	ASSERT_EQ(mkdir("outside", 0777), 0);
	snprintf(target, sizeof(target), "%s/outside",
		 getcwd(cwd, sizeof(cwd)));
	REFUSED(-EPERM, "passes through a symlink that leads out",
		{ "door", AE_IFLNK, 0777, .link = target },
		{ "door/evil", .data = "x" });
	REFUSED(-EPERM, "passes through a symlink that leads out",
		{ "door", AE_IFLNK, 0777, .link = "/" },
		{ "door/tmp/evil", .data = "x" });
	REFUSED(-EPERM, "passes through a symlink that leads out",
		{ "a/door", AE_IFLNK, 0777, .link = "../../../.." },
		{ "a/door/evil", .data = "x" });
	/* Through a loop, nowhere. */
	REFUSED(-EPERM, "symlink", { "a", AE_IFLNK, 0777, .link = "b" },
		{ "b", AE_IFLNK, 0777, .link = "a" },
		{ "a/evil", .data = "x" });
	/* A whiteout is written through none, either. */
	REFUSED(-EPERM, "symlink", { "door", AE_IFLNK, 0777, .link = target },
		{ "door/.wh.precious", .data = "" });
	REFUSED(-EPERM, "symlink", { "door", AE_IFLNK, 0777, .link = target },
		{ "door/.wh..wh..opq", .data = "" });
	EXPECT_EQ(count_dir("outside"), 0);
}

TEST(a_symlink_is_replaced_and_not_followed)
{
	char cwd[PATH_MAX], target[PATH_MAX + 32], path[PATH_MAX];
	struct image *img = NULL;
	struct err e = { 0 };
	struct image_store *s;
	struct stat st;

	ROOT_NEEDED();
	put_text("precious", "gold");
	snprintf(target, sizeof(target), "%s/precious",
		 getcwd(cwd, sizeof(cwd)));
	const struct made m[] = {
		{ "f", AE_IFLNK, 0777, .link = target },
		{ "f", 0, 0666, .data = "lead" },
		{ "real/", AE_IFDIR, 0755 },
		{ "in", AE_IFLNK, 0777, .link = "real" },
		{ "in/through", .data = "fine" },
	};

	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, m, ARRAY_SIZE(m), &img, &e), 0);
	ASSERT_EQ(stat("precious", &st), 0);
	EXPECT_EQ(st.st_size, 4);
	EXPECT_EQ(st.st_mode & 0777, 0644);
	snprintf(path, sizeof(path), "%s/f", img->layers.v[0]);
	ASSERT_EQ(lstat(path, &st), 0);
	EXPECT_EQ(S_ISREG(st.st_mode), 1);
	/* One that stays inside is followed, as others do. */
	snprintf(path, sizeof(path), "%s/real/through", img->layers.v[0]);
	EXPECT_EQ(lstat(path, &st), 0);
	image_unref(img);
	image_store_close(s);
}

TEST(hard_links_stay_inside)
{
	char cwd[PATH_MAX], target[PATH_MAX + 16];
	struct stat st;

	ROOT_NEEDED();
	ASSERT_EQ(mkdir("outside", 0777), 0);
	put_text("outside/precious", "gold");
	snprintf(target, sizeof(target), "%s/outside",
		 getcwd(cwd, sizeof(cwd)));
	REFUSED(-EPERM, "hard link: entry '../../outside/precious' leads out",
		{ "evil", .hard = "../../outside/precious" });
	REFUSED(-EPERM, "passes through a symlink that leads out",
		{ "door", AE_IFLNK, 0777, .link = target },
		{ "evil", .hard = "door/precious" });
	REFUSED(-ENOENT, "a hard link names 'nothing', which this archive",
		{ "evil", .hard = "nothing" });
	REFUSED(-ENOENT, "a hard link names 'etc/shadow'",
		{ "evil", .hard = "/etc/shadow" });
	REFUSED(-EPERM, "which is no file", { "d/", AE_IFDIR, 0755 },
		{ "evil", .hard = "d" });
	ASSERT_EQ(stat("outside/precious", &st), 0);
	EXPECT_EQ(st.st_nlink, 1);
}

TEST(whiteouts_of_nothing_are_refused)
{
	ROOT_NEEDED();
	REFUSED(-EINVAL, "is a whiteout of nothing", { ".wh.", .data = "" });
	REFUSED(-EINVAL, "is a whiteout of nothing", { "a/.wh..", .data = "" });
	REFUSED(-EINVAL, "is a whiteout of nothing",
		{ "a/.wh...", .data = "" });
	REFUSED(-EINVAL, "is a whiteout of nothing", { ".wh.a/b", .data = "" });
}

TEST(depth_and_length_have_limits)
{
	char deep[2 * 300 + 1] = "", wide[300];

	ROOT_NEEDED();
	for (int i = 0; i < 300; i++)
		memcpy(deep + strlen(deep), "d/", 3);
	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = '\0';
	REFUSED(-ENAMETOOLONG, "is too long", { deep, AE_IFDIR, 0755 });
	REFUSED(-ENAMETOOLONG, "is too long", { wide, .data = "x" });
}

static void limited(int *verdict_, struct image_store_opts *opts, int pack,
		    const struct made *m, size_t nr, const char *words)
{
	struct image_store *s = open_store(opts);
	struct err e = { 0 };

	EXPECT_EQ(import_one(s, pack, m, nr, NULL, &e), -EFBIG);
	if (!strstr(e.msg, words))
		FAIL("'%s' should say '%s'", e.msg, words);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

TEST(bombs_are_stopped)
{
	struct image_store_opts small = { .layer_max_bytes = 1 << 20 };
	struct image_store_opts few = { .layer_max_entries = 10 };
	static char big[2 << 20];
	const struct made fat[] = { { "fat", 0, 0644, .data = big } };
	struct made many[20];
	char names[20][8];

	ROOT_NEEDED();
	for (int i = 0; i < 20; i++) {
		snprintf(names[i], sizeof(names[i]), "f%d", i);
		many[i] = (struct made){ names[i], .data = "x" };
	}
	limited(verdict_, &few, PACK_GZIP, many, 20,
		"more than the limit of 10 entries");
	memset(big, 'z', sizeof(big) - 1);
	limited(verdict_, &small, PACK_GZIP, fat, 1,
		"more than the limit of 1048576 bytes");
	limited(verdict_, &small, PACK_ZSTD, fat, 1,
		"more than the limit of 1048576 bytes");
}

TEST(what_grows_too_much_is_a_bomb)
{
	struct image_store_opts flat = { .layer_max_ratio = 10 };
	struct made zeros[] = { { "zeros", 0, 0644 } };
	size_t size = 66 << 20; /* the first 64 MiB are free */
	char *big;

	ROOT_NEEDED();
	test_alarm(120); /* under emulation, on a busy machine */
	big = malloc(size + 1);
	memset(big, 'z', size);
	big[size] = '\0';
	zeros[0].data = big;
	limited(verdict_, &flat, PACK_ZSTD, zeros, 1,
		"more than 10 times its size: a bomb");
	free(big);
}

TEST(sparse_giants_are_stopped_and_others_stay_sparse)
{
	struct image_store_opts small = { .layer_max_bytes = 64 << 20 };
	const struct made giant[] = { { "giant", 0, 0644, .hole = 65 << 20,
					.data = "x" } };
	const struct made fine[] = { { "fine", 0, 0644, .hole = 16 << 20,
				       .data = "x" } };
	char path[PATH_MAX];
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	struct stat st;

	ROOT_NEEDED();
	limited(verdict_, &small, PACK_GZIP, giant, 1, "limit");
	ASSERT_EQ(system("rm -rf oci"), 0);
	s = open_store(NULL);
	ASSERT_EQ(import_one(s, PACK_GZIP, fine, 1, &img, &e), 0);
	snprintf(path, sizeof(path), "%s/fine", img->layers.v[0]);
	ASSERT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_size, (16 << 20) + 1);
	EXPECT_GE(1 << 20, st.st_blocks * 512);
	image_unref(img);
	image_store_close(s);
}

/* --- the sandbox, from outside
 * -------------------------------------------------- */

/* The field of /proc/PID/status, or "". */
static void proc_status(pid_t pid, const char *key, char value[64])
{
	char path[64], line[256];
	FILE *f;

	value[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (str_starts(line, key) && line[strlen(key)] == ':')
			sscanf(line + strlen(key) + 1, "%63s", value);
	if (f)
		fclose(f);
}

static pid_t only_child(pid_t of)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)of,
		 (int)of);
	f = fopen(path, "re");
	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

static bool shares(pid_t pid, const char *ns)
{
	char path[64], theirs[64] = "", ours[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, ns);
	if (readlink(path, theirs, sizeof(theirs) - 1) < 0)
		return true;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", ns);
	return readlink(path, ours, sizeof(ours) - 1) < 0 ||
	       strcmp(theirs, ours) == 0;
}

TEST(the_sandbox_has_no_way_out)
{
	static const char *const spaces[] = { "user", "mnt", "pid",
					      "net",  "ipc", "uts" };
	char exe[PATH_MAX], target[PATH_MAX], path[64], value[64] = "";
	struct timespec pause = { .tv_nsec = 1000000 };
	pid_t monitor, child = 0;
	int in[2], fd, tries;

	ROOT_NEEDED();
	ASSERT_EQ(pipe(in), 0);
	ASSERT_EQ(mkdir("target", 0755), 0);
	put_text("target/mark", "x");
	snprintf(exe, sizeof(exe), "%.4000s/arktos-unpack", bin_dir());
	ASSERT_EQ(realpath("target", target) != NULL, 1);
	monitor = fork();
	if (monitor == 0) {
		dup2(in[0], 0);
		close(in[0]);
		close(in[1]);
		execl(exe, exe, "layer", "oci", target, "-", "1000000", "100",
		      "100", "10", NULL);
		_exit(127);
	}
	close(in[0]);
	/* It is closed once the filter is in place. */
	for (tries = 0; tries < 5000 && strcmp(value, "2") != 0; tries++) {
		child = only_child(monitor);
		if (child)
			proc_status(child, "Seccomp", value);
		nanosleep(&pause, NULL);
	}
	EXPECT_STREQ(value, "2");
	proc_status(child, "NoNewPrivs", value);
	EXPECT_STREQ(value, "1");
	/* CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP: of its own namespace */
	proc_status(child, "CapEff", value);
	EXPECT_STREQ(value, "000000008000001b");
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++)
		if (shares(child, spaces[i]))
			FAIL("the sandbox shares our %s namespace", spaces[i]);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)child);
	EXPECT_EQ(count_dir(path), 1);
	snprintf(path, sizeof(path), "/proc/%d/root/mark", (int)child);
	EXPECT_EQ(access(path, F_OK), 0);
	/* A pipe to read, one to write, standard error, its root; a folder of
	 * the host's would be a way out. */
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)child);
	EXPECT_EQ(count_dir(path), 4);

	/* It ends with its monitor. */
	fd = (int)syscall(SYS_pidfd_open, child, 0);
	ASSERT_GE(fd, 0);
	kill(monitor, SIGKILL);
	waitpid(monitor, NULL, 0);
	EXPECT_EQ(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1,
		       10000),
		  1);
	close(fd);
	close(in[1]);
}

/* In a user namespace that allows no further ones, as some hosts do. */
static int import_without_userns(int go)
{
	const struct made m[] = { { "su", 0, 04755, 7, 8, .data = "x" },
				  { ".wh.gone", .data = "" } };
	struct image_store *s;
	struct err e = { 0 };
	char path[PATH_MAX];
	struct image *img;
	struct stat st;

	if (read(go, path, 1) != 1)
		return 1;
	put_text("/proc/sys/user/max_user_namespaces", "0");
	if (unshare(CLONE_NEWUSER) == 0) {
		printf("# the limit does not hold\n");
		return 1;
	}
	s = open_store(NULL);
	if (!s || import_one(s, PACK_GZIP, m, 2, &img, &e) < 0) {
		printf("# %s\n", e.msg);
		return 1;
	}
	snprintf(path, sizeof(path), "%s/su", img->layers.v[0]);
	return stat(path, &st) < 0 || st.st_uid != 7 || st.st_gid != 8 ||
	       st.st_mode != (S_IFREG | 04755);
}

TEST(without_user_namespaces_a_layer_is_unpacked_as_well)
{
	int ready[2], go[2], status = 0;
	char path[64], byte;
	pid_t pid;

	ROOT_NEEDED();
	ASSERT_EQ(pipe(ready), 0);
	ASSERT_EQ(pipe(go), 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int r = unshare(CLONE_NEWUSER);

		if (write(ready[1], &r, 1) != 1 || r < 0)
			_exit(1);
		r = import_without_userns(go[0]);
		fflush(stdout);
		_exit(r);
	}
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	put_text(path, "0 0 4294967295");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	put_text(path, "0 0 4294967295");
	ASSERT_EQ(write(go[1], "x", 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

/* Spoil the only layer's blob in @how, with a size that stays right. */
static int import_spoiled(struct oci_maker *o, void (*how)(const char *path),
			  struct err *e)
{
	const struct made m[] = { { "file", .data = "some content" },
				  { "more", .data = "and more of it" } };
	struct image_store *s = open_store(NULL);
	char path[PATH_MAX + 128];
	int r;

	make_oci(o, "oci", PACK_GZIP, m, 2);
	snprintf(path, sizeof(path), "oci/blobs/sha256/%.64s",
		 digest_hex(o->blob[0]));
	how(path);
	r = image_import(s, "oci:oci", NULL, NULL, e);
	image_store_close(s);
	return r;
}

static void flip_last(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	char c;

	/* The gzip trailer's last byte: its length. */
	if (fstat(fd, &st) == 0 && pread(fd, &c, 1, st.st_size - 1) == 1) {
		c ^= 0x40;
		if (pwrite(fd, &c, 1, st.st_size - 1) != 1)
			printf("# cannot spoil\n");
	}
	close(fd);
}

static void cut(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && truncate(path, st.st_size / 2) < 0)
		printf("# cannot cut\n");
}

static void leave(const char *path)
{
	(void)path;
}

TEST(a_damaged_blob_is_noticed)
{
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	EXPECT_EQ(import_spoiled(&o, flip_last, &e), -EBADMSG);
	if (!strstr(e.msg, "damaged: "))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
}

TEST(a_cut_blob_is_noticed)
{
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	EXPECT_EQ(import_spoiled(&o, cut, &e), -EBADMSG);
	if (!strstr(e.msg, "damaged: blob"))
		FAIL("%s", e.msg);
}

/* A gzip stream that ends early, under its right digest and size. */
TEST(a_truncated_gzip_stream_is_noticed)
{
	const struct made m[] = { { "file", .data = "some content" } };
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	s = open_store(NULL);
	oci_begin(&o, "oci");
	make_tar("plain.tar", PACK_NONE, m, 1);
	file_digest("plain.tar", o.diff[0]);
	make_tar("cut.tar", PACK_GZIP, m, 1);
	cut("cut.tar");
	o.size[0] = oci_blob_add(&o, "cut.tar", o.blob[0]);
	o.nr = 1;
	oci_end(&o, "{}");
	EXPECT_EQ(image_import(s, "oci:oci", NULL, NULL, &e), -EBADMSG);
	if (!strstr(e.msg, "truncated gzip input"))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/staging"), 0);
	image_store_close(s);
}

TEST(a_layer_that_is_another_is_noticed)
{
	const struct made m[] = { { "file", .data = "some content" } };
	const struct made other[] = { { "file", .data = "other content" } };
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	s = open_store(NULL);
	oci_begin(&o, "oci");
	oci_layer_add(&o, PACK_GZIP, m, 1);
	make_tar("other.tar", PACK_NONE, other, 1);
	file_digest("other.tar", o.diff[0]); /* the diff_id lies */
	oci_end(&o, "{}");
	EXPECT_EQ(image_import(s, "oci:oci", NULL, NULL, &e), -EBADMSG);
	if (!strstr(e.msg, "damaged: unpacked it is sha256:"))
		FAIL("%s", e.msg);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

TEST(noise_is_no_layer)
{
	char noise[8192];
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o;
	FILE *f;

	ROOT_NEEDED();
	s = open_store(NULL);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)(i * 2654435761u >> 13);
	f = fopen("noise", "we");
	fwrite(noise, 1, sizeof(noise), f);
	fclose(f);
	oci_begin(&o, "oci");
	file_digest("noise", o.diff[0]);
	o.size[0] = oci_blob_add(&o, "noise", o.blob[0]);
	o.nr = 1;
	oci_end(&o, "{}");
	EXPECT_EQ(image_import(s, "oci:oci", NULL, NULL, &e), -EBADMSG);
	image_store_close(s);
	EXPECT_EQ(import_spoiled(&o, leave, &e), 0); /* and a good one is */
}

/* --- whiteouts, through a real overlay
 * ---------------------------------------- */

static int mount_overlay(const struct image *img, const char *options)
{
	auto_free char *lower = strdup("");
	auto_free char *data = NULL;

	for (size_t i = img->layers.nr; i-- > 0;) {
		char *more = str_printf("%s%s%s", lower, *lower ? ":" : "",
					img->layers.v[i]);

		free(lower);
		lower = more;
	}
	data = str_printf("lowerdir=%s%s", lower, options);
	return mount("overlay", "merged", "overlay", MS_RDONLY, data);
}

static void see_whiteouts(int *verdict_, const struct image *img,
			  const char *options)
{
	struct stat st;

	ASSERT_EQ(mkdir("merged", 0755), 0);
	if (mount_overlay(img, options) < 0) {
		FAIL("overlay%s: %s", options, strerror(errno));
		return;
	}
	EXPECT_EQ(lstat("merged/stays", &st), 0);
	EXPECT_EQ(lstat("merged/gone", &st), -1);
	EXPECT_EQ(lstat("merged/dir/gone", &st), -1);
	EXPECT_EQ(lstat("merged/dir/stays", &st), 0);
	EXPECT_EQ(lstat("merged/opaque/old", &st), -1);
	EXPECT_EQ(lstat("merged/opaque/new", &st), 0);
	EXPECT_EQ(lstat("merged/swapped/old", &st), -1);
	EXPECT_EQ(lstat("merged/swapped/new", &st), 0);
	EXPECT_EQ(lstat("merged/reborn", &st), 0);
	EXPECT_EQ(st.st_size, 3);
	EXPECT_EQ(lstat("merged/implied/old", &st), -1);
	EXPECT_EQ(lstat("merged/implied/new", &st), 0);
	/* Bookkeeping is not content. */
	EXPECT_EQ(lstat("merged/.wh..wh.plnk", &st), -1);
	EXPECT_EQ(umount("merged"), 0);
	EXPECT_EQ(rmdir("merged"), 0);
}

TEST(whiteouts_hide_in_a_real_overlay)
{
	const struct made low[] = {
		{ "stays", .data = "1" },      { "gone", .data = "1" },
		{ "dir/gone", .data = "1" },   { "dir/stays", .data = "1" },
		{ "opaque/old", .data = "1" }, { "swapped/old", .data = "1" },
		{ "reborn", .data = "1" },     { "implied/old", .data = "1" },
	};
	const struct made high[] = {
		{ ".wh.gone", .data = "" },
		{ "dir/.wh.gone", .data = "" },
		{ "opaque/new", .data = "2" },
		{ "opaque/.wh..wh..opq", .data = "" },
		/* the folder goes, and comes anew */
		{ ".wh.swapped", .data = "" },
		{ "swapped/", AE_IFDIR, 0755 },
		{ "swapped/new", .data = "2" },
		{ "reborn", .data = "new" },
		{ ".wh.reborn", .data = "" },
		{ ".wh.implied", .data = "" },
		{ "implied/new", .data = "2" },
		{ ".wh..wh.plnk", AE_IFDIR, 0755 },
		{ ".wh..wh.plnk/1.2", .data = "" },
	};
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	s = open_store(NULL);
	oci_begin(&o, "oci");
	oci_layer_add(&o, PACK_GZIP, low, ARRAY_SIZE(low));
	oci_layer_add(&o, PACK_ZSTD, high, ARRAY_SIZE(high));
	oci_end(&o, "{}");
	ASSERT_EQ(image_import(s, "oci:oci", NULL, &img, &e), 0);
	see_whiteouts(verdict_, img, "");
	/* As a pod's user namespace would mount it. */
	see_whiteouts(verdict_, img, ",userxattr");
	image_unref(img);
	image_store_close(s);
}

TEST(a_layer_that_comes_twice_is_stacked_once)
{
	const struct made a[] = { { "a", .data = "1" } };
	const struct made b[] = { { "b", .data = "1" } };
	struct image *img = NULL;
	struct image_store *s;
	struct err e = { 0 };
	struct oci_maker o;

	ROOT_NEEDED();
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	s = open_store(NULL);
	oci_begin(&o, "oci");
	oci_layer_add(&o, PACK_GZIP, a, 1);
	oci_layer_add(&o, PACK_GZIP, b, 1);
	o.nr = 3;
	memcpy(o.diff[2], o.diff[0], DIGEST_TEXT_MAX);
	memcpy(o.blob[2], o.blob[0], DIGEST_TEXT_MAX);
	o.size[2] = o.size[0];
	oci_end(&o, "{}");
	ASSERT_EQ(image_import(s, "oci:oci", NULL, &img, &e), 0);
	EXPECT_EQ(img->layers.nr, 2);
	ASSERT_EQ(mkdir("merged", 0755), 0);
	ASSERT_EQ(mount_overlay(img, ""), 0);
	EXPECT_EQ(access("merged/a", F_OK), 0);
	EXPECT_EQ(access("merged/b", F_OK), 0);
	EXPECT_EQ(umount("merged"), 0);
	image_unref(img);
	ASSERT_EQ(image_remove(s, "oci", NULL, &e), 0);
	EXPECT_EQ(count_dir("state/images/layers"), 0);
	image_store_close(s);
}

TEST_MAIN()
