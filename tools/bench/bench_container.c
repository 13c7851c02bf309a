// SPDX-License-Identifier: Apache-2.0
/*
 * What a container costs: time until it runs, and memory of its supervisor,
 * beside runc on the same root in the same run.
 *
 *	container_start		request -> the program executes, in a pod
 *	pod_start		nothing -> supervisor up and a container
 *executes pod_run, runc_run	nothing -> /bin/true has run and all is gone; an
 *			overlay each
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "selftests/agent/container/fixture.h"

#define ROUNDS      100
#define RUNC_ROUNDS 20
#define PODS        10

/* The fixture is written for test programs. */
static MAYBE const void *const of_tests[] = { (void *)test_main, &test_tail };

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

static const char extras[] = MASKS ",\"seccomp\":0,\"noNewPrivs\":true";

static int bench_containers(struct pod *p, struct series *start)
{
	for (int i = 0; i < ROUNDS; i++) {
		char name[16];
		int64_t begin;

		/* A directory of its own each time, as for every attempt. */
		snprintf(name, sizeof(name), "web%d", i);
		begin = clock_us();
		if (pod_run(p, name, "exec true", extras) < 0)
			return -1;
		since(start, begin);
		if (pod_wait(p, name) < 0 || sandbox_ack(p->sb, name, NULL))
			return -1;
	}
	return 0;
}

static int bench_pods(struct series *start, struct series *run, int seccomp)
{
	for (int i = 0; i < ROUNDS / 2; i++) {
		struct pod p = { .fds = { seccomp }, .nr_fds = 1 };
		char name[16];
		int64_t begin;

		snprintf(name, sizeof(name), "pod%d", i);
		pod_dirs(&p);
		begin = clock_us();
		if (pod_up(&p, NULL) < 0 ||
		    pod_run(&p, name, "exec true", extras) < 0)
			return -1;
		since(start, begin);
		if (pod_wait(&p, name) < 0)
			return -1;
		pod_down(&p);
		since(run, begin);
	}
	return 0;
}

/* Pages that only this process has, in KiB. */
static long private_kib(pid_t pid)
{
	auto_free char *text = NULL;
	char path[64];
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	text = read_text(path);
	for (char *s = text; (s = strstr(s, "\nPrivate_")); s++)
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
		p->fds[0] = seccomp;
		p->nr_fds = 1;
		r = pod_up(p, NULL);
		if (r == 0)
			r = pod_run(p, "web", "yes | head -c 1000000; sleep 99",
				    extras);
		if (r == 0)
			r = pod_run(p, "init", "true", extras);
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

/* --- runc ----------------------------------------------------------------- */

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

static int runc_bundle(const char *layer, const char *dir)
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
	write_text("bundle/config.json", text, 0644);
	snprintf(path, sizeof(path), "%s/proc", layer);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/dev", layer);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/sys", layer);
	mkdir(path, 0755);
	return 0;
}

/* runc wants a root that is mounted already, as containerd does it. */
static int runc_once(char *const *argv, const char *layer, int i)
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

static int bench_runc(struct series *s, const char *layer, const char *dir)
{
	char id[64];
	char *argv[] = { (char *)"runc",
			 (char *)"--root",
			 (char *)"runc",
			 (char *)"run",
			 (char *)"--bundle",
			 (char *)"bundle",
			 id,
			 NULL };

	/* Mounts of a bench are nobody else's business. */
	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir("merged", 0755) < 0 || runc_bundle(layer, dir) < 0)
		return -1;
	for (int i = 0; i < RUNC_ROUNDS; i++) {
		int64_t begin;

		snprintf(id, sizeof(id), "arktos-bench-%d-%d", (int)getpid(),
			 i);
		begin = clock_us();
		if (runc_once(argv, layer, i) != 0)
			return -1;
		since(s, begin);
	}
	return 0;
}

int main(void)
{
	struct series start = { .nr = 0 }, pod = { .nr = 0 }, run = { .nr = 0 };
	struct series runc = { .nr = 0 };
	char scratch[] = "/tmp/arktos-bench.XXXXXX";
	struct pod p = { .nr_fds = 1 };
	double ours, theirs;
	int r;

	if (!mkdtemp(scratch) || chdir(scratch) < 0 ||
	    seccomp_default_fd(CONTAINER_CAPS_DEFAULT, &p.fds[0], &p.e) < 0)
		return 1;
	r = pod_up(&p, NULL);
	if (r == 0)
		r = bench_containers(&p, &start);
	if (r < 0)
		fprintf(stderr, "bench: %s\n", p.e.msg);
	pod_down(&p);
	if (r == 0)
		r = bench_pods(&pod, &run, p.fds[0]);
	if (r == 0)
		r = bench_memory(p.fds[0]);
	report("container_start", &start);
	report("pod_start", &pod);
	ours = report("pod_run", &run);
	if (r == 0 && bench_runc(&runc, p.layer, p.dir) == 0) {
		theirs = report("runc_run", &runc);
		printf("runc_to_pod_run %.1f ratio\n", theirs / ours);
	} else {
		printf("# runc does not run here\n");
	}
	nftw(scratch, test_rm, 16, FTW_DEPTH | FTW_PHYS);
	return r != 0;
}
