// SPDX-License-Identifier: Apache-2.0
/*
 * The whole node, through its API, as a user meets it: an agent of our own in
 * namespaces of its own.
 *
 *	idle agent's memory; a pod from POST to Running on a watch; a resize
 *from PATCH to read back; many pods, and what agent and supervisors then need.
 *
 * PODS=n in the environment sets how many (300). Run from the tree's root, with
 * the image of 'tools/mkimage/mkimage.sh web'.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/http/client.h"
#include "lib/spawn.h"
#include "lib/str.h"

#define SINGLE   40
#define RESIZES  200
#define IDLE_S   5
#define MANY_S   20 /* with two of the agent's looks, every 10 s */
#define START_MS 20000

static char dir[] = "/tmp/arktos-bench.XXXXXX";
static struct http_client *api;
static pid_t agent;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *name, double *ms, size_t nr)
{
	if (!nr)
		return;
	qsort(ms, nr, sizeof(*ms), by_size);
	printf("%s_p50 %.2f ms\n%s_p99 %.2f ms\n", name, ms[nr / 2], name,
	       ms[nr * 99 / 100]);
}

static int call(const char *method, const char *target, const char *body,
		struct buf *out)
{
	struct http_call c = { .method = method,
			       .target = target,
			       .body = body,
			       .len = body ? strlen(body) : 0 };
	struct http_answer a = HTTP_ANSWER_INIT;
	struct err e = { 0 };
	int r = http_call(api, &c, &a, &e);

	if (r < 0)
		fprintf(stderr, "%s %s: %s\n", method, target, e.msg);
	else if (a.status >= 300)
		r = -EREMOTEIO;
	if (r == 0 && out)
		buf_add(out, a.body.data, a.body.len);
	buf_clear(&a.body);
	return r;
}

static int post_pod(const char *name)
{
	char body[1024];

	snprintf(body, sizeof(body),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		 "\"name\":\"%s\"},\"spec\":{\"terminationGracePeriodSeconds\":"
		 "0,\"containers\":[{\"name\":\"c\",\"image\":\"web\","
		 "\"imagePullPolicy\":\"Never\",\"command\":[\"/bin/busybox\","
		 "\"sleep\",\"100000\"],\"resources\":{\"requests\":{\"cpu\":"
		 "\"1m\",\"memory\":\"4Mi\"},\"limits\":{\"cpu\":\"500m\","
		 "\"memory\":\"64Mi\"}}}]}}",
		 name);
	return call("POST", "/api/v1/namespaces/default/pods", body, NULL);
}

static bool is_running(const char *name)
{
	auto_buf struct buf b = BUF_INIT;
	char target[128];

	snprintf(target, sizeof(target), "/api/v1/namespaces/default/pods/%s",
		 name);
	return call("GET", target, NULL, &b) == 0 &&
	       strstr(buf_str(&b), "\"phase\":\"Running\"");
}

static void delete_pod(const char *name)
{
	char target[128];

	snprintf(target, sizeof(target),
		 "/api/v1/namespaces/default/pods/%s?gracePeriodSeconds=0",
		 name);
	(void)call("DELETE", target, NULL, NULL); /* its end is polled for */
}

static bool wait_until(bool (*there)(const char *), const char *name, bool want)
{
	double end = now_ms() + START_MS;

	while (there(name) != want) {
		if (now_ms() > end)
			return false;
		(void)poll(NULL, 0, 1);
	}
	return true;
}

static bool exists(const char *name)
{
	char target[128];

	snprintf(target, sizeof(target), "/api/v1/namespaces/default/pods/%s",
		 name);
	return call("GET", target, NULL, NULL) == 0;
}

/* A line "Key: N kB" of a file of /proc. */
static long proc_kib(pid_t pid, const char *file, const char *key)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	if (fs_read(AT_FDCWD, path, 1 << 20, &b, NULL) < 0)
		return 0;
	at = strstr(buf_str(&b), key);
	return at ? strtol(at + strlen(key) + 1, NULL, 10) : 0;
}

static double cpu_ms(pid_t pid)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	unsigned long user = 0, sys = 0;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fs_read(AT_FDCWD, path, 4096, &b, NULL) < 0)
		return 0;
	at = strrchr(buf_str(&b), ')');
	if (!at ||
	    sscanf(at + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &sys) != 2)
		return 0;
	return (double)(user + sys) * 1000.0 / (double)sysconf(_SC_CLK_TCK);
}

static void idle(const char *what, int seconds)
{
	double cpu = cpu_ms(agent), begin = now_ms();

	(void)poll(NULL, 0, seconds * 1000);
	printf("%s_agent_rss %ld KiB\n", what,
	       proc_kib(agent, "status", "VmRSS:"));
	printf("%s_agent_private %ld KiB\n", what,
	       proc_kib(agent, "smaps_rollup", "Private_Dirty:"));
	printf("%s_agent_cpu %.2f %%\n", what,
	       (cpu_ms(agent) - cpu) * 100.0 / (now_ms() - begin));
}

static void bench_start(void)
{
	double ms[SINGLE];
	size_t nr = 0;

	for (int i = 0; i < SINGLE; i++) {
		double begin = now_ms();

		if (post_pod("one") < 0 || !wait_until(is_running, "one", true))
			break;
		ms[nr++] = now_ms() - begin;
		delete_pod("one");
		if (!wait_until(exists, "one", false))
			break;
	}
	report("pod_start", ms, nr);
}

static void bench_resize(void)
{
	double ms[RESIZES];
	size_t nr = 0;

	if (post_pod("sized") < 0 || !wait_until(is_running, "sized", true))
		return;
	for (int i = 0; i < RESIZES; i++) {
		char body[256];
		double begin = now_ms();

		snprintf(body, sizeof(body),
			 "{\"spec\":{\"containers\":[{\"name\":\"c\","
			 "\"resources\":{\"limits\":{\"cpu\":\"%dm\",\"memory\":"
			 "\"%dMi\"}}}]}}",
			 200 + i % 2 * 300, 64 + i % 2 * 32);
		if (call("PATCH",
			 "/api/v1/namespaces/default/pods/sized/resize"
			 "?timeoutSeconds=5",
			 body, NULL) < 0)
			break;
		ms[nr++] = now_ms() - begin;
	}
	report("resize", ms, nr);
	delete_pod("sized");
}

static long supervisors_kib(int *nr)
{
	auto_buf struct buf b = BUF_INIT;
	long sum = 0;
	char path[64];

	*nr = 0;
	for (pid_t pid = agent; pid < 4194304 && pid < agent + 60000; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
		buf_reset(&b);
		if (fs_read(AT_FDCWD, path, 65536, &b, NULL) < 0 ||
		    strcmp(buf_str(&b), "arktos-pod") != 0 ||
		    !memmem(b.data, b.len, dir, strlen(dir)))
			continue;
		sum += proc_kib(pid, "smaps_rollup", "Private_Dirty:") +
		       proc_kib(pid, "smaps_rollup", "Private_Clean:");
		(*nr)++;
	}
	return sum;
}

static void bench_many(int pods)
{
	double begin = now_ms();
	char name[32];
	int running = 0, nr;
	long kib;

	for (int i = 0; i < pods; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		if (post_pod(name) < 0)
			break;
	}
	for (int i = 0; i < pods; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		running += wait_until(is_running, name, true);
	}
	printf("many_running %d pods\nmany_rate %.1f pods/s\n", running,
	       running * 1000.0 / (now_ms() - begin));
	idle("many", MANY_S);
	kib = supervisors_kib(&nr);
	if (nr)
		printf("supervisor_private %.1f KiB\n", (double)kib / nr);
}

static int lo_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	ifr.ifr_flags = IFF_UP;
	r = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &ifr);
	if (fd >= 0)
		close(fd);
	return r;
}

static int start_agent(const char *node, struct err *e)
{
	char state[64], run[64], log[64], cg[64], address[80];
	const char *argv[] = { node,        "run",         "--state-dir",
			       state,       "--run-dir",   run,
			       "--log-dir", log,           "--cgroup-name",
			       cg,          "--log-level", "error",
			       NULL };
	struct spawn_opts o = { .argv = (char *const *)(uintptr_t)argv,
				.path = node,
				.inherit_stdio = true };
	struct spawn_child child;
	double end = now_ms() + START_MS;
	int r;

	snprintf(state, sizeof(state), "%s/state", dir);
	snprintf(run, sizeof(run), "%s/run", dir);
	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(cg, sizeof(cg), "%s", dir + 5);
	snprintf(address, sizeof(address), "unix:%s/run/node.sock", dir);
	r = spawn_start(&o, &child, e);
	if (r < 0)
		return r;
	agent = child.pid;
	while ((r = http_client_open(address, START_MS, &api, e)) < 0 &&
	       now_ms() < end)
		(void)poll(NULL, 0, 20);
	return r;
}

static int down(const char *node)
{
	char cmd[512];
	const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
	struct spawn_opts o = { .argv = (char *const *)(uintptr_t)argv };
	struct spawn_io io = { .timeout_ms = 120000 };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r;

	snprintf(cmd, sizeof(cmd),
		 "%s down --state-dir %s/state --run-dir %s/run --log-dir "
		 "%s/log --cgroup-name %s --purge && rm -rf --one-file-system "
		 "%s",
		 node, dir, dir, dir, dir + 5, dir);
	r = spawn_run(&o, &io, &res, NULL);
	r = r < 0 ? r : res.exit_code;
	spawn_result_clear(&res);
	return r;
}

int main(void)
{
	const char *o = getenv("O"), *pods = getenv("PODS");
	char node[256], import[512];
	struct err e = { 0 };
	int nr = 300, code = 0;

	if (pods && str_to_int(pods, &nr) < 0)
		return 2;
	snprintf(node, sizeof(node), "%s/bin/arktos-node", o ? o : "build");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    lo_up() < 0 || !mkdtemp(dir)) {
		perror("bench_node: set up");
		return 1;
	}
	if (start_agent(node, &e) < 0) {
		fprintf(stderr, "bench_node: %s\n", e.msg);
		return 1;
	}
	snprintf(import, sizeof(import),
		 "{\"import\":\"oci:%s\",\"name\":\"web\"}",
		 "build/images/web:latest");
	idle("idle", IDLE_S);
	if (call("POST", "/images", import, NULL) < 0) {
		fprintf(stderr, "bench_node: no image: run "
				"tools/mkimage/mkimage.sh web\n");
		code = 1;
	} else {
		bench_start();
		bench_resize();
		bench_many(nr);
	}
	http_client_close(api);
	kill(agent, SIGTERM);
	(void)poll(NULL, 0, 1000);
	return down(node) ? 1 : code;
}
