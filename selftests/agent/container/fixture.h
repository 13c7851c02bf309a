/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod for tests: a supervisor in scratch directories, and an image of one
 * layer with a static busybox.
 *
 *	auto_pod struct pod p = POD_INIT;
 *	ASSERT_EQ(pod_up(&p, NULL), 0);
 *	ASSERT_EQ(pod_run(&p, "web", "sleep 100", ""), 0);
 *	... pod_down() comes by itself, and kills all of it
 */
#ifndef SELFTESTS_AGENT_CONTAINER_FIXTURE_H
#define SELFTESTS_AGENT_CONTAINER_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "selftests/harness.h"

#define MAYBE    __attribute__((unused))
#define BUSYBOX  "/bin/busybox"
#define EVENT_MS ((int)(10000 * test_times()))
#define CAPS     "a80425fb"
#define MASKS                                                                \
	",\"masked\":[\"/proc/kcore\",\"/proc/keys\",\"/proc/acpi\","        \
	"\"/sys/firmware\"],\"readOnlyPaths\":[\"/proc/sys\",\"/proc/irq\"," \
	"\"/proc/sysrq-trigger\"]"

struct pod {
	char dir[PATH_MAX / 4]; /* the test's scratch directory */
	char run[PATH_MAX / 2], state[PATH_MAX / 2], log[PATH_MAX / 2];
	char layer[PATH_MAX / 2];
	struct sandbox *sb;
	struct sandbox_proc proc; /* of the last start or event */
	struct sandbox_failure why;
	struct err e;
	int fds[16]; /* sent along with the next start; borrowed */
	size_t nr_fds;
};

#define POD_INIT                        \
	{                               \
		.sb = NULL, .nr_fds = 0 \
	}
#define auto_pod __attribute__((cleanup(pod_down)))

static MAYBE void pod_down(struct pod *p)
{
	if (p->sb && sandbox_shutdown(p->sb, &p->e) < 0)
		printf("# shutdown: %s\n", p->e.msg);
	sandbox_close(p->sb);
	p->sb = NULL;
}

/* build/selftests/agent/container/test_x -> build/bin/arktos-pod */
static MAYBE const char *pod_binary(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	char *s;

	path[n > 0 ? n : 0] = '\0';
	s = strstr(path, "/selftests/");
	if (!s)
		s = strstr(path, "/tools/bench/");
	if (s)
		memcpy(s, "/bin/arktos-pod", sizeof("/bin/arktos-pod"));
	return path;
}

static MAYBE void write_text(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("# write %s: %m\n", path);
	if (fd >= 0)
		close(fd);
}

static MAYBE char *read_text(const char *path)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "");
	(void)fs_read(AT_FDCWD, path, 256 << 20, &b, NULL);
	return buf_take(&b);
}

static MAYBE bool copy_file(const char *from, const char *to)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
	auto_close int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return false;
	while (st.st_size > 0) {
		ssize_t n = sendfile(out, in, NULL, (size_t)st.st_size);

		if (n <= 0)
			return false;
		st.st_size -= n;
	}
	return true;
}

static MAYBE int make_layer(const char *dir)
{
	static const char *const applets[] = {
		"sh",    "sleep",    "cat",   "echo", "ls",     "id",
		"mknod", "dd",       "mount", "stat", "head",   "yes",
		"true",  "false",    "touch", "tty",  "printf", "chmod",
		"ln",    "mkdir",    "kill",  "nc",   "wc",     "umount",
		"stty",  "hostname",
	};
	static const char *const dirs[] = { "bin", "etc", "tmp", "root" };
	char path[PATH_MAX], link[PATH_MAX];

	if (mkdir(dir, 0755) < 0 || chmod(dir, 0755) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		if (mkdir(path, 0755) < 0 || chmod(path, 0755) < 0)
			return -errno;
	}
	chmod(path, 0700);
	snprintf(path, sizeof(path), "%s/tmp", dir);
	chmod(path, 01777);
	snprintf(path, sizeof(path), "%s/bin/busybox", dir);
	if (!copy_file(BUSYBOX, path))
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		snprintf(link, sizeof(link), "%s/bin/%s", dir, applets[i]);
		if (symlink("busybox", link) < 0)
			return -errno;
	}
	snprintf(path, sizeof(path), "%s/etc/passwd", dir);
	write_text(path,
		   "root:x:0:0:root:/root:/bin/sh\n"
		   "app:x:1234:1235:app:/home/app:/bin/sh\n",
		   0644);
	snprintf(path, sizeof(path), "%s/etc/group", dir);
	write_text(path,
		   "root:x:0:\nstaff:x:50:app,other\naudio:x:29:other,app\n"
		   "app:x:1235:\n",
		   0644);
	return 0;
}

static MAYBE void pod_dirs(struct pod *p)
{
	if (!getcwd(p->dir, sizeof(p->dir)))
		p->dir[0] = '\0';
	chmod(p->dir, 0755);
	/* As an agent's: what is mounted below the folder of all pods is no
	 * supervisor's, and a test's own mounts are not below it. */
	snprintf(p->run, sizeof(p->run), "%s/pods", p->dir);
	(void)mkdir(p->run, 0755);
	snprintf(p->run, sizeof(p->run), "%s/pods/run", p->dir);
	snprintf(p->state, sizeof(p->state), "%s/state", p->dir);
	snprintf(p->log, sizeof(p->log), "%s/log", p->dir);
	snprintf(p->layer, sizeof(p->layer), "%s/layer", p->dir);
}

/* @opts: NULL for a plain pod; its directories are filled in. */
static MAYBE int pod_up(struct pod *p, const struct sandbox_opts *opts)
{
	struct sandbox_opts o = { .netns_fd = -1 };
	int r;

	pod_dirs(p);
	if (opts)
		o = *opts;
	if (!o.binary)
		o.binary = pod_binary();
	o.uid = "9f1c0b4a-1111-4222-8333-444455556666";
	o.run_dir = p->run;
	o.state_dir = p->state;
	if (access(p->layer, F_OK) < 0 && make_layer(p->layer) < 0)
		return -ENOENT;
	if (mkdir(p->log, 0755) < 0 && errno != EEXIST)
		return -errno;
	r = sandbox_spawn(&o, &p->sb, &p->e);
	if (r < 0)
		printf("# spawn: %s\n", p->e.msg);
	return r;
}

/* Start the spec @fmt makes, a JSON object. */
static MAYBE int pod_start(struct pod *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static MAYBE int pod_start(struct pod *p, const char *fmt, ...)
{
	struct sandbox_spec spec = { .nr_fds = p->nr_fds };
	va_list ap;
	int r;

	va_start(ap, fmt);
	if (vasprintf(&spec.json, fmt, ap) < 0)
		spec.json = NULL;
	va_end(ap);
	spec.len = strlen(spec.json);
	memcpy(spec.fds, p->fds, sizeof(p->fds));
	memset(&p->why, 0, sizeof(p->why));
	r = sandbox_start(p->sb, &spec, &p->proc, &p->why, &p->e);
	sandbox_spec_clear(&spec);
	return r;
}

/* A time to sleep that only this test's processes sleep, $T in scripts: tests
 * of other runs on the machine must not be counted. */
static MAYBE int sleep_time(void)
{
	return 1000000 + (int)getpid();
}

/* @script for sh -c, without double quotes; @more: members, with a comma
 * before each. */
static MAYBE int pod_run(struct pod *p, const char *name, const char *script,
			 const char *more)
{
	/* The first of two members of a name counts. */
	return pod_start(
		p,
		"{\"name\":\"%s\",\"argv\":[\"/bin/sh\",\"-c\",\"%s\"]"
		"%s,\"env\":[\"T=%d\"],\"layers\":[\"%s\"],\"rw\":\"%s/rw-%s\","
		"\"caps\":\"" CAPS "\",\"log\":\"%s/%s.log\"}",
		name, script, more, sleep_time(), p->layer, p->state, name,
		p->log, name);
}

/* Wait until @name has exited; p->proc tells how. */
static MAYBE int pod_wait(struct pod *p, const char *name)
{
	struct pollfd fd = { .fd = sandbox_fd(p->sb), .events = POLLIN };
	struct sandbox_event ev;
	int r;

	for (;;) {
		while ((r = sandbox_next_event(p->sb, &ev, &p->e)) > 0) {
			if (ev.kind != SANDBOX_EXIT ||
			    !str_eq(ev.proc.name, name))
				continue;
			p->proc = ev.proc;
			return 0;
		}
		if (r < 0)
			return r;
		if (poll(&fd, 1, EVENT_MS) <= 0)
			return -ETIMEDOUT;
	}
}

/* Run @script to its end in a container of its own, forget it, and give its
 * output, without the heads of the lines. Owned. */
static MAYBE char *pod_output(struct pod *p, const char *script,
			      const char *more)
{
	struct buf b = BUF_INIT;
	char path[PATH_MAX], both[PATH_MAX];
	char *text, *line, *save = NULL;

	/* Two pipes have no order between them. */
	snprintf(both, sizeof(both), "exec 2>&1; %s", script);
	buf_puts(&b, "");
	if (pod_run(p, "out", both, more) < 0) {
		buf_printf(&b, "not started: %s", p->e.msg);
		return buf_take(&b);
	}
	if (pod_wait(p, "out") < 0 || sandbox_ack(p->sb, "out", &p->e) < 0)
		printf("# output: %s\n", p->e.msg);
	snprintf(path, sizeof(path), "%s/out.log", p->log);
	text = read_text(path);
	unlink(path);
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *s = strstr(line, " F ");

		if (!s)
			s = strstr(line, " P ");
		buf_printf(&b, "%s%s", b.len ? "\n" : "", s ? s + 3 : line);
	}
	free(text);
	return buf_take(&b);
}

#define EXPECT_OUTPUT(p, script, more, want)                        \
	do {                                                        \
		auto_free char *out_ = pod_output(p, script, more); \
		EXPECT_STREQ(out_, want);                           \
	} while (0)

/* Processes whose /proc/<pid>/ns/pid or a parent's is not ours are hard to
 * find; those with our scratch directory in their command line are not. */
static MAYBE int count_procs_of(const char *needle, size_t needle_len)
{
	DIR *d = opendir("/proc");
	struct dirent *ent;
	int n = 0;

	while (d && (ent = readdir(d))) {
		char path[300], text[4096];
		int fd;
		ssize_t len;

		if (ent->d_name[0] < '0' || ent->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", ent->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = fd < 0 ? 0 : read(fd, text, sizeof(text));
		if (fd >= 0)
			close(fd);
		n += len > 0 &&
		     memmem(text, (size_t)len, needle, needle_len) != NULL;
	}
	if (d)
		closedir(d);
	return n;
}

#define count_procs(path) count_procs_of(path, strlen(path))
static MAYBE int count_sleepers(void)
{
	char needle[32] = "sleep";

	snprintf(needle + 6, sizeof(needle) - 6, "%d", sleep_time());
	return count_procs_of(needle, 6 + strlen(needle + 6) + 1);
}

/* A line "Key:\tvalue" of /proc/<pid>/status. Static memory. */
static MAYBE const char *proc_status(pid_t pid, const char *key)
{
	static char value[256];
	auto_free char *text = NULL;
	char path[64], needle[64];
	const char *s;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	snprintf(needle, sizeof(needle), "\n%s:\t", key);
	text = read_text(path);
	s = strstr(text, needle);
	if (!s)
		return "";
	s += strlen(needle);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(s, "\n"), s);
	return value;
}

static MAYBE uint64_t ns_inode(pid_t pid, const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

/* A network namespace nobody lives in. */
static MAYBE int netns_new(void)
{
	int up[2], down[2], fd;
	char path[64], c = 0;
	pid_t pid;

	if (pipe(up) < 0 || pipe(down) < 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		c = unshare(CLONE_NEWNET) == 0;
		(void)!write(up[1], &c, 1);
		(void)!read(down[0], &c, 1);
		_exit(0);
	}
	(void)!read(up[0], &c, 1);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = c ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	(void)!write(down[1], &c, 1);
	waitpid(pid, NULL, 0);
	close(up[0]);
	close(up[1]);
	close(down[0]);
	close(down[1]);
	return fd;
}

static MAYBE int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

#endif /* SELFTESTS_AGENT_CONTAINER_FIXTURE_H */
