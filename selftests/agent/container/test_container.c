// SPDX-License-Identifier: Apache-2.0
/*
 * From a pod's specification to a process spec, and whether the supervisor
 * makes of it what was meant.
 *
 * LANE: both
 * SECONDS: 60
 */
#include <yyjson.h>

#include "selftests/agent/container/fixture.h"

#define POD                                                               \
	"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":" \
	"\"web-0\",\"namespace\":\"shop\",\"uid\":\"u-1\",\"labels\":{"   \
	"\"app\":\"web\"},\"annotations\":{\"a.b/c\":\"d\"}},\"spec\":{"  \
	"\"containers\":[{\"name\":\"main\",\"image\":\"img\"%s}]}}"

struct wish {
	struct pod_spec *pod;
	struct container_input in;
	struct container_image image;
	struct sandbox_spec spec;
	struct sandbox_failure why;
	struct err e;
	yyjson_doc *doc;
};

static char *const entrypoint[] = { (char *)"/entry", (char *)"-e", NULL };
static char *const cmd[] = { (char *)"cmd", NULL };
static char *const env[] = { (char *)"PATH=/bin", (char *)"IMG=1", NULL };
static char *layers[] = { (char *)"/top", (char *)"/base", NULL };

/* @more: further members of the container. */
static int wish_build(struct wish *w, const char *more)
{
	auto_free char *text = NULL;
	int r;

	if (asprintf(&text, POD, more) < 0)
		return -ENOMEM;
	r = pod_spec_parse(text, strlen(text), &w->pod, &w->e);
	if (r < 0) {
		printf("# %s\n", w->e.msg);
		return r;
	}
	if (!w->image.entrypoint.v) {
		w->image.entrypoint = (struct strv){ (char **)entrypoint, 2 };
		w->image.cmd = (struct strv){ (char **)cmd, 1 };
		w->image.env = (struct strv){ (char **)env, 2 };
		w->image.layers = (struct strv){ layers, 2 };
	}
	w->in.pod = w->pod;
	w->in.ctr = &w->pod->containers[0];
	w->in.image = &w->image;
	w->in.cgroup_dir = w->in.oom_fd = w->in.seccomp_fd = -1;
	r = container_build(&w->in, &w->spec, &w->why, &w->e);
	if (r == 0)
		w->doc = yyjson_read(w->spec.json, w->spec.len, 0);
	return r;
}

static void wish_clear(struct wish *w)
{
	yyjson_doc_free(w->doc);
	sandbox_spec_clear(&w->spec);
	pod_spec_free(w->pod);
	memset(w, 0, sizeof(*w));
}

/* A list's items, '|' between them. Static memory. */
static const char *list_of(const struct wish *w, const char *key)
{
	static char text[4096];
	yyjson_val *v;
	yyjson_arr_iter it;
	size_t n = 0;

	it = yyjson_arr_iter_with(
		yyjson_obj_get(yyjson_doc_get_root(w->doc), key));
	text[0] = '\0';
	while ((v = yyjson_arr_iter_next(&it)))
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
				      n ? "|" : "", yyjson_get_str(v));
	return text;
}

static const char *str_of(const struct wish *w, const char *key)
{
	const char *s = yyjson_get_str(
		yyjson_obj_get(yyjson_doc_get_root(w->doc), key));

	return s ? s : "(none)";
}

static long long num_of(const struct wish *w, const char *key)
{
	return yyjson_get_sint(
		yyjson_obj_get(yyjson_doc_get_root(w->doc), key));
}

TEST(command_and_args_replace_the_images)
{
	static const struct {
		const char *more, *argv;
	} cases[] = {
		{ "", "/entry|-e|cmd" },
		{ ",\"command\":[\"c\"]", "c" },
		{ ",\"args\":[\"a\",\"b\"]", "/entry|-e|a|b" },
		{ ",\"command\":[\"c\"],\"args\":[\"a\"]", "c|a" },
		{ ",\"env\":[{\"name\":\"A\",\"value\":\"1\"}],\"args\":["
		  "\"$(A)\",\"$$(A)\",\"$(B)\",\"$(A\",\"x$(A)y$\",\"$(IMG)\"]",
		  "/entry|-e|1|$(A)|$(B)|$(A|x1y$|$(IMG)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wish w = { .pod = NULL };

		EXPECT_EQ(wish_build(&w, cases[i].more), 0);
		EXPECT_STREQ(list_of(&w, "argv"), cases[i].argv);
		wish_clear(&w);
	}
}

TEST(environment_is_the_images_with_the_pods_over_it)
{
	struct wish w = { .pod = NULL };

	w.in.node_name = "node-1";
	w.in.pod_ip = "10.1.2.3";
	w.in.host_ip = "192.0.2.1";
	w.in.node_cpu_milli = 4000;
	w.in.node_mem_bytes = 1 << 30;
	ASSERT_EQ(wish_build(
			  &w,
			  ",\"resources\":{\"limits\":{\"cpu\":\"1500m\"}},"
			  "\"env\":[{\"name\":\"IMG\",\"value\":\"2\"},"
			  "{\"name\":\"B\",\"value\":\"$(IMG)$(LATER)\"},"
			  "{\"name\":\"LATER\",\"value\":\"x\"},"
			  "{\"name\":\"N\",\"valueFrom\":{\"fieldRef\":{"
			  "\"fieldPath\":\"metadata.name\"}}},"
			  "{\"name\":\"L\",\"valueFrom\":{\"fieldRef\":{"
			  "\"fieldPath\":\"metadata.labels['app']\"}}},"
			  "{\"name\":\"M\",\"valueFrom\":{\"fieldRef\":{"
			  "\"fieldPath\":\"metadata.annotations['a.b/c']\"}}},"
			  "{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{"
			  "\"fieldPath\":\"status.podIP\"}}},"
			  "{\"name\":\"NODE\",\"valueFrom\":{\"fieldRef\":{"
			  "\"fieldPath\":\"spec.nodeName\"}}},"
			  "{\"name\":\"CPU\",\"valueFrom\":{"
			  "\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}},"
			  "{\"name\":\"MEM\",\"valueFrom\":{"
			  "\"resourceFieldRef\":{\"resource\":"
			  "\"limits.memory\"}}},"
			  "{\"name\":\"MILLI\",\"valueFrom\":{"
			  "\"resourceFieldRef\":{\"divisor\":\"1m\","
			  "\"resource\":\"limits.cpu\"}}},"
			  "{\"name\":\"MIB\",\"valueFrom\":{"
			  "\"resourceFieldRef\":{\"resource\":"
			  "\"limits.memory\",\"divisor\":\"3Mi\"}}}]"),
		  0);
	EXPECT_STREQ(w.e.msg, "");
	EXPECT_STREQ(list_of(&w, "env"),
		     "PATH=/bin|IMG=2|HOSTNAME=web-0|B=2$(LATER)|LATER=x|"
		     "N=web-0|L=web|M=d|IP=10.1.2.3|NODE=node-1|CPU=2|"
		     "MEM=1073741824|MILLI=1500|MIB=342");
	wish_clear(&w);
}

TEST(contradictions_are_config_errors)
{
	static const struct {
		const char *more, *user, *message;
	} cases[] = {
		{ ",\"securityContext\":{\"runAsNonRoot\":true}", "",
		  "runAsNonRoot is set, but the image runs as root: set "
		  "runAsUser" },
		{ ",\"securityContext\":{\"runAsNonRoot\":true}", "0:5",
		  "runAsNonRoot is set, but the image runs as root: set "
		  "runAsUser" },
		{ ",\"securityContext\":{\"runAsNonRoot\":true}", "app",
		  "runAsNonRoot is set, and the image's user 'app' is no "
		  "number, so it cannot be verified: set runAsUser" },
		{ ",\"env\":[{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{"
		  "\"fieldPath\":\"status.podIP\"}}}]",
		  "", "env 'IP': fieldRef 'status.podIP': not known (yet)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wish w = { .pod = NULL };

		w.image.user = cases[i].user;
		EXPECT_EQ(wish_build(&w, cases[i].more), -EINVAL);
		EXPECT_STREQ(w.why.reason, "CreateContainerConfigError");
		EXPECT_STREQ(w.why.message, cases[i].message);
		wish_clear(&w);
	}
}

TEST(capabilities_are_added_and_dropped)
{
	static char *const all[] = { (char *)"ALL" };
	static char *const some[] = { (char *)"NET_ADMIN",
				      (char *)"CAP_SYS_TIME" };
	static char *const raw[] = { (char *)"net_raw" };
	static char *const bad[] = { (char *)"FLY" };
	const struct strv none = { NULL, 0 }, a = { (char **)all, 1 };
	const struct strv s = { (char **)some, 2 }, r = { (char **)raw, 1 };
	const struct strv b = { (char **)bad, 1 };
	struct err e = { 0 };
	uint64_t mask = 0;

	ASSERT_EQ(container_caps(&none, &none, &mask, &e), 0);
	EXPECT_EQ(mask, 0xa80425fb);
	ASSERT_EQ(container_caps(&s, &a, &mask, &e), 0);
	EXPECT_EQ(mask, 1 << 12 | 1 << 25);
	ASSERT_EQ(container_caps(&a, &r, &mask, &e), 0);
	EXPECT_EQ(mask, 0x1ffffffffff & ~(1 << 13));
	ASSERT_EQ(container_caps(&none, &r, &mask, &e), 0);
	EXPECT_EQ(mask, 0xa80405fb);
	EXPECT_EQ(container_caps(&b, &none, &mask, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "unknown capability 'FLY'");
}

TEST(oom_score_follows_qos)
{
	struct resources r = { .requests = { .has_mem = true,
					     .mem_bytes = 1 << 30 } };
	uint64_t node = UINT64_C(4) << 30;

	EXPECT_EQ(container_oom_score_adj(QOS_GUARANTEED, &r, node), -997);
	EXPECT_EQ(container_oom_score_adj(QOS_BEST_EFFORT, &r, node), 1000);
	EXPECT_EQ(container_oom_score_adj(QOS_BURSTABLE, &r, node), 750);
	r.requests.mem_bytes = node;
	EXPECT_EQ(container_oom_score_adj(QOS_BURSTABLE, &r, node), 2);
	r.requests.mem_bytes = UINT64_MAX;
	EXPECT_EQ(container_oom_score_adj(QOS_BURSTABLE, &r, node), 2);
	r.requests.mem_bytes = 1;
	EXPECT_EQ(container_oom_score_adj(QOS_BURSTABLE, &r, node), 999);
}

TEST(privileges_and_root)
{
	struct wish w = { .pod = NULL };

	ASSERT_EQ(wish_build(&w, ",\"workingDir\":\"/w\",\"securityContext\":{"
				 "\"readOnlyRootFilesystem\":true,"
				 "\"allowPrivilegeEscalation\":false,"
				 "\"capabilities\":{\"drop\":[\"ALL\"]},"
				 "\"runAsUser\":5,\"runAsGroup\":6}"),
		  0);
	EXPECT_STREQ(str_of(&w, "caps"), "0");
	EXPECT_STREQ(str_of(&w, "cwd"), "/w");
	EXPECT_EQ(num_of(&w, "uid"), 5);
	EXPECT_EQ(num_of(&w, "gid"), 6);
	EXPECT_STREQ(list_of(&w, "layers"), "/top|/base");
	EXPECT_EQ(strstr(list_of(&w, "masked"), "/proc/kcore") != NULL, 1);
	EXPECT_EQ(strstr(w.spec.json, "\"readOnlyRoot\":true") != NULL, 1);
	EXPECT_EQ(strstr(w.spec.json, "\"noNewPrivs\":true") != NULL, 1);
	wish_clear(&w);
	ASSERT_EQ(wish_build(&w, ",\"securityContext\":{\"privileged\":true}"),
		  0);
	EXPECT_STREQ(str_of(&w, "caps"), "1ffffffffff");
	EXPECT_STREQ(list_of(&w, "masked"), "");
	wish_clear(&w);
}

/* All the way: what is built runs, with every descriptor in its place. */
TEST(built_specs_run)
{
	auto_pod struct pod p = POD_INIT;
	struct wish w = { .pod = NULL };
	char *one[] = { p.layer, NULL };
	char rw[PATH_MAX], log[PATH_MAX];
	struct container_mount m = { .dest = "/v", .read_only = true };
	auto_free char *out = NULL;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	mkdir("vol", 0755);
	write_text("vol/f", "volume\n", 0644);
	ASSERT_EQ(sandbox_mount_open(AT_FDCWD, "vol", false, &m.fd, &p.e), 0);
	snprintf(rw, sizeof(rw), "%s/containers/main/0", p.state);
	snprintf(log, sizeof(log), "%s/main.log", p.log);
	w.image.entrypoint = (struct strv){ (char **)entrypoint, 0 };
	w.image.layers = (struct strv){ one, 1 };
	w.image.user = "app";
	w.in.rw_dir = rw;
	w.in.log_path = log;
	w.in.mounts = &m;
	w.in.nr_mounts = 1;
	ASSERT_EQ(wish_build(&w,
			     ",\"command\":[\"/bin/sh\",\"-c\",\"id -u; cat "
			     "/v/f; echo x > /v/g; exit 3\"]"),
		  0);
	ASSERT_EQ(sandbox_start(p.sb, &w.spec, &p.proc, &p.why, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "main"), 0);
	EXPECT_EQ(p.proc.exit_code, 3);
	out = read_text(log);
	EXPECT_EQ(strstr(out, " stdout F 1234\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " stdout F volume\n") != NULL, 1);
	EXPECT_EQ(strstr(out, "can't create /v/g: Read-only") != NULL, 1);
	close(m.fd);
	wish_clear(&w);
}

TEST(privileged_container_has_the_hosts_devices)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_OUTPUT(&p,
		      "test -c /dev/kmsg -o -c /dev/console && echo devices; "
		      "head -c 1 /dev/zero | wc -c; mknod /z c 1 5; "
		      "head -c 2 /z | wc -c; mount -t tmpfs x /tmp && echo "
		      "mounted",
		      ",\"privileged\":true,\"caps\":\"1ffffffffff\"",
		      "devices\n1\n2\nmounted");
}

/* --- programs of the host ------------------------------------------------- */

static int host_run(struct pod *p, char *const *argv, size_t nr,
		    struct host_input *in, char *log, size_t size)
{
	static char *const paths[] = { (char *)"/usr",
				       (char *)"/etc/ld.so.cache" };
	struct sandbox_spec spec = { .nr_fds = 0 };
	int r;

	snprintf(log, size, "%s/host.log", p->log);
	in->name = "vm";
	in->argv = (struct strv){ (char **)argv, nr };
	in->read_only = (struct strv){ (char **)paths, 2 };
	in->cgroup_dir = in->oom_fd = -1;
	in->log_path = log;
	r = host_build(in, &spec, &p->e);
	if (r == 0)
		r = sandbox_start(p->sb, &spec, &p->proc, &p->why, &p->e);
	if (r < 0)
		printf("# %s\n", p->e.msg);
	sandbox_spec_clear(&spec);
	return r;
}

TEST(host_program_sees_only_what_it_was_given)
{
	char *const argv[] = { (char *)"/bin/sh", (char *)"-c",
			       (char *)"id -u; id -g; ls /; ls /mine; cat <&3; "
				       "echo x > /mine/out; touch /x /usr/x; "
				       "test -e /etc/passwd || echo none" };
	struct host_input in = { .uid = 4321, .gid = 4322, .cwd = "/" };
	auto_pod struct pod p = POD_INIT;
	struct container_mount m = { .dest = "/mine", .fd = -1 };
	char path[PATH_MAX], log[PATH_MAX];
	auto_free char *out = NULL;
	int fds[2];
	/* Like the agent's VM pods: in a pod that has a range of ids. */
	struct sandbox_opts o = { .netns_fd = -1,
				  .userns_base = 100000,
				  .userns_size = 65536 };

	ASSERT_EQ(pod_up(&p, &o), 0);
	snprintf(path, sizeof(path), "%s/vm", p.dir);
	ASSERT_EQ(mkdir(path, 0755), 0);
	ASSERT_EQ(chown(path, 4321, 4322), 0);
	m.path = path;
	in.mounts = &m;
	in.nr_mounts = 1;
	ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
	EXPECT_EQ(write(fds[1], "passed\n", 7), 7);
	close(fds[1]);
	in.fds = fds;
	in.nr_fds = 1;
	ASSERT_EQ(host_run(&p, argv, 3, &in, log, sizeof(log)), 0);
	close(fds[0]);
	EXPECT_EQ(ns_inode(p.proc.pid, "user"), ns_inode(getpid(), "user"));
	ASSERT_EQ(pod_wait(&p, "vm"), 0);
	out = read_text(log);
	EXPECT_EQ(strstr(out, " F 4321\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " F 4322\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " F passed\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " F none\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " F root\n") == NULL, 1);
	EXPECT_EQ(strstr(out, "'/x': Read-only file system") != NULL, 1);
	snprintf(path, sizeof(path), "%s/vm/out", p.dir);
	EXPECT_EQ(access(path, F_OK), 0);
}

/* As QEMU has /dev/kvm, which is root's on the host. */
TEST(host_program_owns_the_devices_it_is_given)
{
	char *const argv[] = { (char *)"/bin/sh", (char *)"-c",
			       (char *)"stat -c '%a %u %g %t:%T' /dev/kmsg; "
				       ": >/dev/kmsg && echo opens" };
	static char *devices[] = { (char *)"/dev/kmsg" };
	struct host_input in = { .uid = 4321, .gid = 4322, .cwd = "/" };
	auto_pod struct pod p = POD_INIT;
	auto_free char *out = NULL;
	char log[PATH_MAX];

	in.devices = (struct strv){ devices, 1 };
	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(host_run(&p, argv, 3, &in, log, sizeof(log)), 0);
	ASSERT_EQ(pod_wait(&p, "vm"), 0);
	out = read_text(log);
	EXPECT_EQ(strstr(out, " F 600 4321 4322 1:b\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " F opens\n") != NULL, 1);
}

TEST(host_program_keeps_no_capability)
{
	char *const argv[] = { (char *)"/bin/sleep", (char *)"1000" };
	struct host_input in = { .uid = 4321, .gid = 4322, .nofile = 512 };
	auto_pod struct pod p = POD_INIT;
	char log[PATH_MAX];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(host_run(&p, argv, 2, &in, log, sizeof(log)), 0);
	EXPECT_STREQ(proc_status(p.proc.pid, "CapEff"), "0000000000000000");
	EXPECT_STREQ(proc_status(p.proc.pid, "CapBnd"), "0000000000000000");
	EXPECT_STREQ(proc_status(p.proc.pid, "NoNewPrivs"), "1");
	EXPECT_EQ(p.proc.kind, PROC_HOST);
	EXPECT_EQ(ns_inode(p.proc.pid, "pid") == ns_inode(getpid(), "pid"), 0);
}

TEST(host_pid_pods_live_in_the_hosts_pid_namespace)
{
	struct sandbox_opts o = { .netns_fd = -1, .host_pid = true };
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, &o), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep $T & sleep $T",
			  ",\"sharePid\":true"),
		  0);
	EXPECT_EQ(ns_inode(p.proc.pid, "pid"), ns_inode(getpid(), "pid"));
	ASSERT_EQ(sandbox_kill(p.sb, "web", SIGKILL, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(count_sleepers(), 0);
	ASSERT_EQ(sandbox_ack(p.sb, "web", &p.e), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep $T & sleep $T",
			  ",\"sharePid\":true"),
		  0);
	pod_down(&p);
	EXPECT_EQ(count_sleepers(), 0);
}

TEST_MAIN()
