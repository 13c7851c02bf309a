// SPDX-License-Identifier: Apache-2.0
/*
 * The whole product, as a client of the API meets it: a control plane and an
 * agent joined to it, in namespaces of their own. All times are from a request
 * to the event on a watch that tells of its effect.
 *
 *	a pod from POST to Running, by way of the scheduler; many at once; a
 *	resize from PATCH to the size in its status; memory of both programs
 *
 * PODS=n in the environment sets how many at once (200), ROUNDS=n how often
 *(1): what is held after the last is what it is after the first. USAGE=file
 *names the cpuacct.usage of a cgroup that this is started in, for the time that
 *all of it takes, supervisors, pods and this client included. Run from the
 *tree's root, with the image of 'tools/mkimage/mkimage.sh web'.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#include "controlplane/client/rest.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "lib/str.h"

#define SINGLE   40
#define RESIZES  200
#define MANY_MAX 1000
#define WAIT_MS  60000
#define QUIET_MS 12000 /* until what is not used any more is given back */
#define PODS     "/api/v1/namespaces/default/pods"

static char dir[] = "/tmp/arktos-bench.XXXXXX";
static struct rest *api;
static pid_t control, agent;

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

/* --- what the watch has told --------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool began;
	int running, gone;
	double bound_ms; /* of the last pod that was bound */
	double event_ms; /* of the last event below */
	char limit[32];  /* CPU, in the last status */
	struct rest *rest;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER,
	   .changed = PTHREAD_COND_INITIALIZER };

/* Pods are told apart by what they were last known as. */
static bool names_running[MANY_MAX];

static void take_event(const char *line, size_t len)
{
	yyjson_doc *doc = yyjson_read(line, len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *obj = yyjson_obj_get(root, "object");
	const char *type = yyjson_get_str(yyjson_obj_get(root, "type"));
	const char *name =
		yyjson_get_str(yyjson_ptr_get(obj, "/metadata/name"));
	const char *phase =
		yyjson_get_str(yyjson_ptr_get(obj, "/status/phase"));
	const char *limit = yyjson_get_str(
		yyjson_ptr_get(obj, "/status/containerStatuses/0/resources/"
				    "limits/cpu"));
	int i;

	if (name && sscanf(name, "p-%d", &i) == 1 && i >= 0 && i < MANY_MAX) {
		pthread_mutex_lock(&seen.lock);
		if (!seen.bound_ms && yyjson_ptr_get(obj, "/spec/nodeName"))
			seen.bound_ms = now_ms();
		if (str_eq(type, "DELETED")) {
			seen.gone++;
			names_running[i] = false;
		} else if (str_eq(phase, "Running") && !names_running[i]) {
			names_running[i] = true;
			seen.running++;
		}
		if (limit)
			snprintf(seen.limit, sizeof(seen.limit), "%s", limit);
		seen.event_ms = now_ms();
		pthread_cond_broadcast(&seen.changed);
		pthread_mutex_unlock(&seen.lock);
	}
	yyjson_doc_free(doc);
}

static void *watch(void *arg)
{
	auto_buf struct buf answer = BUF_INIT;
	struct err e = { 0 };
	const char *line;
	size_t len;
	int r = rest_stream(seen.rest, PODS "?watch=1", &answer, &e);

	if (r != 200)
		fprintf(stderr, "bench_joined: watch: %d %s\n", r, e.msg);
	pthread_mutex_lock(&seen.lock);
	seen.began = true;
	pthread_cond_broadcast(&seen.changed);
	pthread_mutex_unlock(&seen.lock);
	while (r == 200 && rest_stream_line(seen.rest, &line, &len, &e) > 0)
		take_event(line, len);
	return arg;
}

/* Until @is holds; false after a minute. */
static bool wait_seen(bool (*is)(const void *arg), const void *arg)
{
	struct timespec end;
	bool ok;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += WAIT_MS / 1000;
	pthread_mutex_lock(&seen.lock);
	while (!(ok = is(arg)) &&
	       pthread_cond_timedwait(&seen.changed, &seen.lock, &end) == 0)
		;
	pthread_mutex_unlock(&seen.lock);
	return ok;
}

static bool has_begun(const void *arg)
{
	(void)arg;
	return seen.began;
}

static bool so_many_run(const void *arg)
{
	return seen.running >= *(const int *)arg;
}

static bool so_many_gone(const void *arg)
{
	return seen.gone >= *(const int *)arg;
}

static bool has_limit(const void *arg)
{
	return strcmp(seen.limit, arg) == 0;
}

/* --- requests ------------------------------------------------------------- */

static int call(const char *method, const char *path, const char *body,
		const char *type)
{
	auto_buf struct buf answer = BUF_INIT;
	struct err e = { 0 };
	int r = rest_call(api, method, path, body, type, &answer, &e);

	r = r < 0 ? r : rest_check(r, &answer, &e);
	if (r < 0)
		fprintf(stderr, "%s %s: %s\n", method, path, e.msg);
	return r;
}

static int post_pod(int i)
{
	char body[1024];

	snprintf(body, sizeof(body),
		 "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{"
		 "\"name\":\"p-%d\"},\"spec\":{\"terminationGracePeriodSeconds"
		 "\":0,\"containers\":[{\"name\":\"c\",\"image\":\"web\","
		 "\"imagePullPolicy\":\"Never\",\"command\":[\"/bin/busybox\","
		 "\"sleep\",\"100000\"],\"resources\":{\"requests\":{\"cpu\":"
		 "\"1m\",\"memory\":\"4Mi\"},\"limits\":{\"cpu\":\"500m\","
		 "\"memory\":\"64Mi\"}}}]}}",
		 i);
	return call("POST", PODS, body, NULL);
}

static int delete_pod(int i)
{
	char path[128];

	snprintf(path, sizeof(path), PODS "/p-%d", i);
	return call("DELETE", path, NULL, NULL);
}

/* --- the benches -----------------------------------------------------------
 */

static void reset_seen(void)
{
	pthread_mutex_lock(&seen.lock);
	seen.running = seen.gone = 0;
	seen.bound_ms = 0;
	pthread_mutex_unlock(&seen.lock);
}

static void bench_start(void)
{
	double ms[SINGLE], posted[SINGLE], bound[SINGLE], gone[SINGLE];
	const int one = 1;
	size_t nr = 0;

	for (int i = 0; i < SINGLE; i++) {
		double begin;

		reset_seen();
		begin = now_ms();
		if (post_pod(i) < 0)
			break;
		posted[nr] = now_ms() - begin;
		if (!wait_seen(so_many_run, &one))
			break;
		ms[nr] = seen.event_ms - begin;
		bound[nr] = seen.bound_ms - begin;
		begin = now_ms();
		if (delete_pod(i) < 0 || !wait_seen(so_many_gone, &one))
			break;
		gone[nr++] = now_ms() - begin;
	}
	report("joined_posted", posted, nr);
	report("joined_bound", bound, nr);
	report("joined_start", ms, nr);
	report("joined_delete", gone, nr);
}

static void bench_resize(void)
{
	double ms[RESIZES];
	const int one = 1;
	size_t nr = 0;

	reset_seen();
	if (post_pod(0) < 0 || !wait_seen(so_many_run, &one))
		return;
	for (int i = 0; i < RESIZES; i++) {
		double begin = now_ms();
		char body[256], want[32];

		snprintf(want, sizeof(want), "%dm", 200 + i % 2 * 300 + 1);
		snprintf(body, sizeof(body),
			 "{\"spec\":{\"containers\":[{\"name\":\"c\","
			 "\"resources\":{\"limits\":{\"cpu\":\"%s\"}}}]}}",
			 want);
		if (call("PATCH", PODS "/p-0/resize", body,
			 "application/strategic-merge-patch+json") < 0 ||
		    !wait_seen(has_limit, want))
			break;
		ms[nr++] = seen.event_ms - begin;
	}
	report("joined_resize", ms, nr);
	(void)delete_pod(0);
	(void)wait_seen(so_many_gone, &one);
}

/* CPU time that a program and what it has waited for have used. */
static double cpu_ms(pid_t pid)
{
	auto_buf struct buf b = BUF_INIT;
	unsigned long user, sys;
	const char *at;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fs_read(AT_FDCWD, path, 4096, &b, NULL) < 0)
		return 0;
	at = strrchr(buf_str(&b), ')');
	if (!at ||
	    sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &sys) != 2)
		return 0;
	return (double)(user + sys) * 1000.0 / (double)sysconf(_SC_CLK_TCK);
}

/* Of everything, if there is a cgroup that tells. */
static double usage_ms(void)
{
	auto_buf struct buf b = BUF_INIT;
	const char *path = getenv("USAGE");

	if (!path || fs_read(AT_FDCWD, path, 64, &b, NULL) < 0)
		return 0;
	return strtod(buf_str(&b), NULL) / 1e6;
}

static void bench_many(int pods)
{
	double begin = now_ms(), c = cpu_ms(control), a = cpu_ms(agent);
	double all = usage_ms();

	reset_seen();
	for (int i = 0; i < pods; i++)
		if (post_pod(i) < 0)
			return;
	printf("joined_many_posted %.1f pods/s\n",
	       pods * 1000.0 / (now_ms() - begin));
	if (!wait_seen(so_many_run, &pods))
		fprintf(stderr, "bench_joined: %d of %d run\n", seen.running,
			pods);
	printf("joined_many_running %d pods\njoined_many_rate %.1f pods/s\n",
	       seen.running, seen.running * 1000.0 / (seen.event_ms - begin));
	printf("joined_many_control_cpu %.2f ms/pod\n"
	       "joined_many_agent_cpu %.2f ms/pod\n",
	       (cpu_ms(control) - c) / pods, (cpu_ms(agent) - a) / pods);
	if (all > 0)
		printf("joined_many_all_cpu %.2f ms/pod\n",
		       (usage_ms() - all) / pods);
	begin = now_ms();
	for (int i = 0; i < pods; i++)
		(void)delete_pod(i);
	(void)wait_seen(so_many_gone, &pods);
	printf("joined_many_gone %.1f pods/s\n",
	       seen.gone * 1000.0 / (now_ms() - begin));
}

/* A line of /proc/PID/status, in KiB. */
static long status_kib(pid_t pid, const char *what)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fs_read(AT_FDCWD, path, 1 << 20, &b, NULL) < 0)
		return 0;
	at = strstr(buf_str(&b), what);
	return at ? strtol(at + strlen(what), NULL, 10) : 0;
}

/* Anonymous memory is what a program holds; the rest is its own code and the
 * mapped store, which the kernel takes back when it wants to. */
static void memory(const char *when)
{
	long c = status_kib(control, "VmRSS:"), a = status_kib(agent, "VmRSS:");

	printf("joined_%s_control_rss %ld KiB\njoined_%s_agent_rss %ld KiB\n"
	       "joined_%s_rss %.1f MiB\n",
	       when, c, when, a, when, (double)(c + a) / 1024);
	printf("joined_%s_control_anon %ld KiB\njoined_%s_agent_anon %ld KiB\n",
	       when, status_kib(control, "RssAnon:"), when,
	       status_kib(agent, "RssAnon:"));
}

/* --- setting up ------------------------------------------------------------
 */

static int lo_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	r = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &ifr);
	if (fd >= 0)
		close(fd);
	return r;
}

static int start(const char *const *argv, pid_t *ret, struct err *e)
{
	struct spawn_opts o = { .argv = (char *const *)(uintptr_t)argv,
				.path = argv[0],
				.inherit_stdio = true };
	struct spawn_child child;
	int r = spawn_start(&o, &child, e);

	if (r == 0)
		*ret = child.pid;
	return r;
}

static int shell(const char *cmd)
{
	const char *argv[] = { "/bin/sh", "-c", cmd, NULL };
	struct spawn_opts o = { .argv = (char *const *)(uintptr_t)argv };
	struct spawn_io io = { .timeout_ms = 120000 };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r = spawn_run(&o, &io, &res, NULL);

	r = r < 0 ? r : res.exit_code;
	spawn_result_clear(&res);
	return r;
}

static bool poll_until(int (*try)(void *arg), void *arg)
{
	double end = now_ms() + WAIT_MS;

	while (try(arg)) {
		if (now_ms() > end)
			return false;
		(void)poll(NULL, 0, 20);
	}
	return true;
}

static int try_open(void *arg)
{
	auto_buf struct buf answer = BUF_INIT;
	const char *path = arg;

	if (!api && rest_open(path, &api, NULL) < 0)
		return 1;
	return rest_call(api, "GET", "/readyz", NULL, NULL, &answer, NULL) !=
	       200;
}

static int node_ready(void *arg)
{
	auto_buf struct buf answer = BUF_INIT;

	(void)arg;
	return rest_call(api, "GET", "/api/v1/nodes/bench", NULL, NULL, &answer,
			 NULL) != 200 ||
	       !strstr(buf_str(&answer), "\"AgentReady\"");
}

static int set_up(const char *bin, struct err *e)
{
	auto_free char *data = str_printf("%s/control", dir);
	auto_free char *admin = str_printf("%s/admin.kubeconfig", data);
	auto_free char *node = str_printf("%s/bin/arktos-node", bin);
	auto_free char *ctl = str_printf("%s/bin/arktos-control", bin);
	auto_free char *cmd = NULL, *kubeconfig = NULL, *state = NULL;
	auto_free char *run = NULL, *log = NULL;
	const char *c[] = { ctl,        "run",         "--data-dir", data,
			    "--listen", "127.0.0.1:0", NULL };
	const char *a[] = { node,
			    "run",
			    "--state-dir",
			    state = str_printf("%s/state", dir),
			    "--run-dir",
			    run = str_printf("%s/run", dir),
			    "--log-dir",
			    log = str_printf("%s/log", dir),
			    "--cgroup-name",
			    dir + 5,
			    "--log-level",
			    "error",
			    "--node-name",
			    "bench",
			    "--kubeconfig",
			    kubeconfig = str_printf("%s/node.kubeconfig", dir),
			    NULL };

	if (start(c, &control, e) < 0)
		return -1;
	if (!poll_until(try_open, admin))
		return err_set(e, -EIO, "the control plane does not answer");
	cmd = str_printf(
		"export KUBECONFIG=%s; %s/bin/arktosctl tenant kubeconfig "
		"system --user system:node:bench --group system:nodes --out %s",
		admin, bin, kubeconfig);
	if (shell(cmd))
		return err_set(e, -EIO, "no credentials for the node");
	if (start(a, &agent, e) < 0)
		return -1;
	free(cmd);
	cmd = str_printf("ARKTOS_NODE_SOCKET=%s/run/node.sock; export "
			 "ARKTOS_NODE_SOCKET; for i in $(seq 400); do [ -S "
			 "$ARKTOS_NODE_SOCKET ] && break; sleep 0.05; done; "
			 "%s image import oci:build/images/web:latest --name "
			 "web",
			 dir, node);
	if (shell(cmd))
		return err_set(e, -EIO,
			       "no image: run tools/mkimage/mkimage.sh web");
	if (!poll_until(node_ready, NULL))
		return err_set(e, -EIO, "the node does not get ready");
	return rest_open(admin, &seen.rest, e);
}

static void tear_down(const char *bin)
{
	auto_free char *cmd = str_printf(
		"%s/bin/arktos-node down --state-dir %s/state --run-dir %s/run "
		"--log-dir %s/log --cgroup-name %s --purge; rm -rf "
		"--one-file-system %s",
		bin, dir, dir, dir, dir + 5, dir);

	if (agent) {
		kill(agent, SIGTERM);
		(void)waitpid(agent, NULL, 0);
	}
	(void)shell(cmd);
	if (control) {
		kill(control, SIGTERM);
		(void)waitpid(control, NULL, 0);
	}
}

int main(void)
{
	const char *o = getenv("O"), *pods = getenv("PODS");
	const char *bin = o ? o : "build";
	struct err e = { 0 };
	pthread_t thread;
	const char *often = getenv("ROUNDS");
	int nr = 200, rounds = 1, code = 0;

	if ((pods && (str_to_int(pods, &nr) < 0 || nr < 1 || nr > MANY_MAX)) ||
	    (often && (str_to_int(often, &rounds) < 0 || rounds < 1)))
		return 2;
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    lo_up() < 0 || !mkdtemp(dir)) {
		perror("bench_joined: set up");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (set_up(bin, &e) < 0) {
		fprintf(stderr, "bench_joined: %s\n", e.msg);
		code = 1;
	} else if (pthread_create(&thread, NULL, watch, NULL) == 0) {
		pthread_detach(thread);
		(void)wait_seen(has_begun, NULL);
		memory("idle");
		bench_start();
		bench_resize();
		for (int i = 0; i < rounds; i++) {
			bench_many(nr);
			memory("after");
			(void)poll(NULL, 0, QUIET_MS);
			memory("quiet");
		}
	}
	/* The watch ends with the control plane, its thread with us. */
	tear_down(bin);
	return code;
}
