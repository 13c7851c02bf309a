// SPDX-License-Identifier: Apache-2.0
/* LANE: both
 *
 * What a container costs: time until it runs, and memory of its supervisor,
 * beside runc and crun on the same root in the same run. (crun wants cgroup v2
 * alone: only in the guest lane. All of the lane runs under emulation, so there
 * only ratios say anything.)
 *
 * container_start: request -> the program executes, in a pod that is there
 * pod_start: nothing -> supervisor up and a container executes
 * pod_run, runc_run, crun_run: nothing -> /bin/true has run and all is gone, an
 * overlay each
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define MASKS                                                                \
	",\"masked\":[\"/proc/kcore\",\"/proc/keys\",\"/proc/acpi\","        \
	"\"/sys/firmware\"],\"readOnlyPaths\":[\"/proc/sys\",\"/proc/irq\"," \
	"\"/proc/sysrq-trigger\"]"

#define ROUNDS 100
#define RUNS   40
#define PODS   10

/* --- a pod of busybox ----------------------------------------------------- */

struct pod {
	char dir[PATH_MAX / 4];
	char run[PATH_MAX / 2], state[PATH_MAX / 2], layer[PATH_MAX / 2];
	struct sandbox *sb;
	struct err e;
	int seccomp;
};

static int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static int copy_busybox(const char *to)
{
	auto_close int in = open("/bin/busybox", O_RDONLY | O_CLOEXEC);
	auto_close int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return -1;
	return sendfile(out, in, NULL, (size_t)st.st_size) == st.st_size ? 0
									 : -1;
}

static int make_layer(const char *dir)
{
	static const char *const applets[] = { "sh", "true", "sleep", "yes",
					       "head" };
	char path[PATH_MAX];

	if (mkdir(dir, 0755) < 0)
		return errno == EEXIST ? 0 : -1;
	snprintf(path, sizeof(path), "%s/bin", dir);
	if (mkdir(path, 0755) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/bin/busybox", dir);
	if (copy_busybox(path) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(applets); i++) {
		snprintf(path, sizeof(path), "%s/bin/%s", dir, applets[i]);
		if (symlink("busybox", path) < 0)
			return -1;
	}
	return 0;
}

static void pod_dirs(struct pod *p)
{
	if (!getcwd(p->dir, sizeof(p->dir)))
		p->dir[0] = '\0';
	snprintf(p->run, sizeof(p->run), "%s/run", p->dir);
	snprintf(p->state, sizeof(p->state), "%s/state", p->dir);
	snprintf(p->layer, sizeof(p->layer), "%s/layer", p->dir);
}

/* build/tools/bench/x -> build/bin/arktos-pod */
static const char *pod_binary(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);
	char *s;

	path[n > 0 ? n : 0] = '\0';
	s = strstr(path, "/tools/bench/");
	if (s)
		memcpy(s, "/bin/arktos-pod", sizeof("/bin/arktos-pod"));
	return path;
}

static int pod_up(struct pod *p)
{
	struct sandbox_opts o = { .netns_fd = -1, .uid = "arktos-bench" };

	pod_dirs(p);
	o.binary = pod_binary();
	o.run_dir = p->run;
	o.state_dir = p->state;
	if (make_layer(p->layer) < 0)
		return -1;
	return sandbox_spawn(&o, &p->sb, &p->e);
}

static void pod_down(struct pod *p)
{
	if (p->sb)
		(void)sandbox_shutdown(p->sb, &p->e);
	sandbox_close(p->sb);
	p->sb = NULL;
}

static int pod_run(struct pod *p, const char *name, const char *script)
{
	struct sandbox_spec spec = { .fds = { p->seccomp }, .nr_fds = 1 };
	int r;

	spec.json = str_printf(
		"{\"name\":\"%s\",\"argv\":[\"/bin/sh\",\"-c\",\"%s\"],"
		"\"layers\":[\"%s\"],\"rw\":\"%s/rw-%s\",\"log\":"
		"\"%s/%s.log\",\"caps\":\"a80425fb\",\"seccomp\":0,"
		"\"noNewPrivs\":true" MASKS "}",
		name, script, p->layer, p->state, name, p->state, name);
	if (!spec.json)
		return -ENOMEM;
	spec.len = strlen(spec.json);
	r = sandbox_start(p->sb, &spec, NULL, NULL, &p->e);
	sandbox_spec_clear(&spec);
	return r;
}

static int pod_wait(struct pod *p, const char *name)
{
	struct pollfd fd = { .fd = sandbox_fd(p->sb), .events = POLLIN };
	struct sandbox_event ev;
	int r;

	for (;;) {
		while ((r = sandbox_next_event(p->sb, &ev, &p->e)) > 0)
			if (ev.kind == SANDBOX_EXIT &&
			    str_eq(ev.proc.name, name))
				return 0;
		if (r < 0)
			return r;
		if (poll(&fd, 1, 20000) <= 0)
			return -ETIMEDOUT;
	}
}

/* --- measuring ------------------------------------------------------------ */

struct series {
	double us[ROUNDS];
	size_t nr;
};

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double report(const char *name, struct series *s)
{
	if (!s->nr)
		return 0;
	qsort(s->us, s->nr, sizeof(s->us[0]), by_size);
	printf("%s_p50 %.2f ms\n", name, s->us[s->nr / 2] / 1e3);
	printf("%s_p99 %.2f ms\n", name, s->us[s->nr * 99 / 100] / 1e3);
	return s->us[s->nr / 2];
}

static void since(struct series *s, int64_t begin)
{
	s->us[s->nr++] = (double)(clock_us() - begin);
}

static int bench_containers(struct pod *p, struct series *start)
{
	for (int i = 0; i < ROUNDS; i++) {
		char name[16];
		int64_t begin;

		/* A directory of its own each time, as for every attempt. */
		snprintf(name, sizeof(name), "web%d", i);
		begin = clock_us();
		if (pod_run(p, name, "exec true") < 0)
			return -1;
		since(start, begin);
		if (pod_wait(p, name) < 0 || sandbox_ack(p->sb, name, NULL))
			return -1;
	}
	return 0;
}

static int pod_once(struct series *start, struct series *run, int seccomp,
		    int i)
{
	struct pod p = { .seccomp = seccomp };
	char name[16];
	int64_t begin;

	snprintf(name, sizeof(name), "pod%d", i);
	begin = clock_us();
	if (pod_up(&p) < 0 || pod_run(&p, name, "exec true") < 0)
		return -1;
	since(start, begin);
	if (pod_wait(&p, name) < 0)
		return -1;
	pod_down(&p);
	since(run, begin);
	return 0;
}

/* Pages that only this process has, in KiB. */
static long private_kib(pid_t pid)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	buf_puts(&b, "");
	(void)fs_read(AT_FDCWD, path, 65536, &b, NULL);
	for (char *s = b.data; (s = strstr(s, "\nPrivate_")); s++)
		if (strncmp(s, "\nPrivate_Hugetlb", 16) != 0)
			sum += strtol(strchr(s, ':') + 1, NULL, 10);
	return sum;
}

/* Several pods at a time: what they share is nobody's own. */
static int bench_memory(int seccomp)
{
	static struct pod pods[PODS];
	long idle = 0, busy = 0;
	char dir[64];
	int r = 0;

	for (int i = 0; i < PODS && r == 0; i++) {
		struct pod *p = &pods[i];

		snprintf(dir, sizeof(dir), "mem%d", i);
		if (mkdir(dir, 0755) < 0 || chdir(dir) < 0)
			return -1;
		p->seccomp = seccomp;
		r = pod_up(p);
		if (r == 0)
			r = pod_run(p, "web",
				    "yes | head -c 1000000; sleep 99");
		if (r == 0)
			r = pod_run(p, "init", "true");
		if (r == 0)
			r = pod_wait(p, "init");
		if (chdir("..") < 0)
			r = -1;
	}
	for (int i = 0; i < PODS && r == 0; i++) {
		long kib = private_kib(sandbox_pid(pods[i].sb));

		busy += kib;
		idle = idle > kib ? idle : kib;
	}
	if (r == 0) {
		printf("supervisor_private %ld KiB\n", busy / PODS);
		printf("supervisor_private_max %ld KiB\n", idle);
	}
	for (int i = 0; i < PODS; i++)
		pod_down(&pods[i]);
	return r;
}

/* --- runc, crun
 * ----------------------------------------------------------------- */

static int run_quietly(char *const *argv)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 0);
		dup2(null, 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return status;
}

static int peer_bundle(const char *layer, const char *dir)
{
	static const char config[] =
		"{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,"
		"\"gid\":0},\"args\":[\"/bin/true\"],\"cwd\":\"/\"},"
		"\"root\":{\"path\":\"%s/merged\",\"readonly\":true},"
		"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\","
		"\"source\":\"proc\"},{\"destination\":\"/dev\",\"type\":"
		"\"tmpfs\",\"source\":\"tmpfs\"},{\"destination\":\"/dev/pts\","
		"\"type\":\"devpts\",\"source\":\"devpts\",\"options\":["
		"\"newinstance\",\"ptmxmode=0666\"]},{\"destination\":"
		"\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":["
		"\"ro\"]}],\"linux\":{\"cgroupsPath\":\"arktos-bench-%d\","
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		"{\"type\":\"uts\"},{\"type\":\"mount\"}]}}";
	char text[PATH_MAX + 2048], path[PATH_MAX];

	mkdir("bundle", 0755);
	snprintf(text, sizeof(text), config, dir, (int)getpid());
	(void)fs_write_atomic(AT_FDCWD, "bundle/config.json", text,
			      strlen(text), 0644, NULL);
	snprintf(path, sizeof(path), "%s/proc", layer);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/dev", layer);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/sys", layer);
	mkdir(path, 0755);
	return 0;
}

/* They want a root that is mounted already, as containerd does it. */
static int peer_once(char *const *argv, const char *layer, int i)
{
	char upper[64], work[64], options[PATH_MAX + 128];
	int r;

	snprintf(upper, sizeof(upper), "upper%d", i);
	snprintf(work, sizeof(work), "work%d", i);
	snprintf(options, sizeof(options),
		 "lowerdir=%s,upperdir=%s,workdir=%s,index=off,volatile", layer,
		 upper, work);
	if (mkdir(upper, 0755) < 0 || mkdir(work, 0700) < 0 ||
	    mount("overlay", "merged", "overlay", 0, options) < 0)
		return -1;
	r = run_quietly(argv);
	return umount2("merged", MNT_DETACH) < 0 ? -1 : r;
}

struct peer {
	const char *name;
	bool runs;
	struct series run;
};

static void peer_run(struct peer *peer, const struct pod *p, int i)
{
	char id[64];
	char *argv[] = { (char *)peer->name,
			 (char *)"--root",
			 (char *)"peer",
			 (char *)"run",
			 (char *)"--bundle",
			 (char *)"bundle",
			 id,
			 NULL };
	int64_t begin = clock_us();

	snprintf(id, sizeof(id), "arktos-bench-%d-%d", (int)getpid(), i);
	peer->runs = peer->runs && peer_once(argv, p->layer, i) == 0;
	if (peer->runs)
		since(&peer->run, begin);
}

/* In turns, since other work on the machine comes and goes. */
static int bench_runs(struct series *start, struct series *run,
		      struct peer *peers, size_t nr, const struct pod *p)
{
	bool bundle;

	/* Mounts of a bench are nobody else's business. */
	bundle = unshare(CLONE_NEWNS) == 0 &&
		 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		 mkdir("merged", 0755) == 0 &&
		 peer_bundle(p->layer, p->dir) == 0;
	for (size_t k = 0; k < nr; k++)
		peers[k].runs = bundle;
	for (int i = 0; i < RUNS; i++) {
		if (pod_once(start, run, p->seccomp, i) < 0)
			return -1;
		for (size_t k = 0; k < nr; k++)
			peer_run(&peers[k], p, (int)k * RUNS + i);
	}
	return 0;
}

static void compare(const struct peer *peer, double ours, double theirs)
{
	if (ours > 0 && theirs > 0)
		printf("%s_to_pod_run %.1f ratio\n", peer->name, theirs / ours);
	else
		printf("# %s does not run here\n", peer->name);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

int main(void)
{
	struct series start = { .nr = 0 }, pod = { .nr = 0 }, run = { .nr = 0 };
	static struct peer peers[] = { { .name = "runc" }, { .name = "crun" } };
	char scratch[] = "/tmp/arktos-bench.XXXXXX";
	struct pod p = { .sb = NULL };
	double ours, theirs;
	char name[32];
	int r;

	if (!mkdtemp(scratch) || chdir(scratch) < 0 ||
	    seccomp_default_fd(CONTAINER_CAPS_DEFAULT, &p.seccomp, &p.e) < 0)
		return 1;
	r = pod_up(&p);
	if (r == 0)
		r = bench_containers(&p, &start);
	if (r < 0)
		fprintf(stderr, "bench: %s\n", p.e.msg);
	pod_down(&p);
	if (r == 0)
		r = bench_memory(p.seccomp);
	if (r == 0)
		r = bench_runs(&pod, &run, peers, ARRAY_LEN(peers), &p);
	report("container_start", &start);
	report("pod_start", &pod);
	ours = report("pod_run", &run);
	for (size_t k = 0; k < ARRAY_LEN(peers); k++) {
		snprintf(name, sizeof(name), "%s_run", peers[k].name);
		theirs = report(name, &peers[k].run);
		compare(&peers[k], ours, theirs);
	}
	nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return r != 0;
}
