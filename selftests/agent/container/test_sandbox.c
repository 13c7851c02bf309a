// SPDX-License-Identifier: Apache-2.0
/*
 * Supervisor and client together: life and death of a pod's processes.
 *
 * LANE: both
 * SECONDS: 180
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/pidfd.h>

#include "selftests/agent/container/fixture.h"

TEST(container_runs_and_its_exit_is_told)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "echo hello; exit 7", ""), 0);
	EXPECT_STREQ(p.e.msg, "");
	EXPECT_EQ(p.proc.state, PROC_RUNNING);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.state, PROC_EXITED);
	EXPECT_EQ(p.proc.exit_code, 7);
	EXPECT_EQ(p.proc.signal, 0);
	EXPECT_STREQ(p.proc.reason, "Error");
	EXPECT_EQ(strlen(p.proc.started_at), 30);
	EXPECT_EQ(strlen(p.proc.finished_at), 30);
}

TEST(nothing_is_left_after_shutdown)
{
	struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "a", "sleep $T & sleep $T", ""), 0);
	ASSERT_EQ(pod_run(&p, "b", "trap '' TERM; sleep $T", ""), 0);
	EXPECT_GE(count_procs(p.run), 1);
	pod_down(&p);
	EXPECT_STREQ(p.e.msg, "");
	EXPECT_EQ(count_procs(p.run), 0);
	EXPECT_EQ(count_sleepers(), 0);
}

TEST(exit_is_kept_until_acked)
{
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 0;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "init", "exit 3", ""), 0);
	ASSERT_EQ(pod_wait(&p, "init"), 0);
	EXPECT_EQ(pod_run(&p, "init", "exit 4", ""), -EEXIST);
	EXPECT_STREQ(p.e.msg, "'init' is there already: running, or its exit "
			      "not yet acked");
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(list[0].exit_code, 3);
	EXPECT_EQ(sandbox_kill(p.sb, "init", SIGKILL, &p.e), -ESRCH);
	EXPECT_STREQ(p.e.msg, "'init' has exited");
	EXPECT_EQ(sandbox_ack(p.sb, "init", &p.e), 0);
	EXPECT_EQ(sandbox_ack(p.sb, "init", &p.e), -ENOENT);
	EXPECT_STREQ(p.e.msg, "no process 'init'");
	EXPECT_EQ(pod_run(&p, "init", "exit 4", ""), 0);
	EXPECT_EQ(sandbox_ack(p.sb, "init", &p.e) == 0 || p.e.code == -EBUSY,
		  1);
}

TEST(signals_and_their_exit_codes)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	/* PID 1 without a handler is deaf to TERM, as everywhere. */
	ASSERT_EQ(pod_run(&p, "polite",
			  "trap 'exit 42' TERM; echo up; while :; do sleep 1 & "
			  "wait $!; done",
			  ""),
		  0);
	for (char *out = NULL; !out || !strstr(out, " F up\n");) {
		char path[PATH_MAX];

		free(out);
		snprintf(path, sizeof(path), "%s/polite.log", p.log);
		out = read_text(path);
		if (strstr(out, " F up\n")) {
			free(out);
			break;
		}
		sched_yield();
	}
	ASSERT_EQ(sandbox_kill(p.sb, "polite", SIGTERM, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "polite"), 0);
	EXPECT_EQ(p.proc.exit_code, 42);
	EXPECT_EQ(p.proc.signal, 0);

	ASSERT_EQ(pod_run(&p, "deaf", "sleep $T", ""), 0);
	ASSERT_EQ(sandbox_kill(p.sb, "deaf", SIGKILL, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "deaf"), 0);
	EXPECT_EQ(p.proc.exit_code, 137);
	EXPECT_EQ(p.proc.signal, SIGKILL);
	EXPECT_STREQ(p.proc.reason, "Error");
	EXPECT_EQ(p.proc.oom_killed, 0);
}

TEST(failures_to_start_are_told_apart)
{
	static const struct {
		const char *argv, *more, *reason, *message;
		int exit_code;
	} cases[] = {
		{ "\"httpd\"", "", "StartError",
		  "exec 'httpd': not found in PATH "
		  "(/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/"
		  "bin): check the command and the image",
		  127 },
		{ "\"/opt/x\"", "", "StartError",
		  "exec '/opt/x': no such file in the image: check the "
		  "command and the image",
		  127 },
		{ "\"/etc/passwd\"", "", "StartError",
		  "exec '/etc/passwd': not executable for this user", 126 },
		{ "\"/bin/sh\"", ",\"user\":\"nobody\"", "CreateContainerError",
		  "no user 'nobody' in the image's /etc/passwd: use a number, "
		  "or an image that has it",
		  128 },
		{ "\"/bin/sh\"", ",\"user\":\"app:wheel\"",
		  "CreateContainerError",
		  "no group 'wheel' in the image's /etc/group: use a number, "
		  "or an image that has it",
		  128 },
		{ "\"/bin/sh\"",
		  ",\"mounts\":[{\"dest\":\"/data\",\"path\":\"/no/such\"}]",
		  "CreateContainerError",
		  "mount '/no/such' on '/data': open '/no/such': No such file "
		  "or directory",
		  128 },
		{ "\"/bin/sh\"",
		  ",\"mounts\":[{\"dest\":\"/proc/x\",\"path\":\"/tmp\"}]",
		  "CreateContainerError",
		  "mount '/tmp' on '/proc/x': mounting there is refused", 128 },
	};
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 1;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(pod_start(&p,
				    "{\"name\":\"x\",\"argv\":[%s],"
				    "\"layers\":[\"%s\"]%s}",
				    cases[i].argv, p.layer, cases[i].more),
			  -EREMOTEIO);
		EXPECT_STREQ(p.why.reason, cases[i].reason);
		EXPECT_STREQ(p.why.message, cases[i].message);
		EXPECT_EQ(p.why.exit_code, cases[i].exit_code);
	}
	EXPECT_EQ(pod_start(&p, "{\"name\":\"x\",\"argv\":[\"sh\"],"
				"\"layers\":[\"/no/layer\"]}"),
		  -EREMOTEIO);
	EXPECT_STREQ(p.why.message,
		     "layer '/no/layer': open: No such file or directory");
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	EXPECT_EQ(nr, 0);
}

TEST(bad_requests_are_refused_with_the_member)
{
	static const struct {
		const char *spec, *message;
	} cases[] = {
		{ "{}", "request: name: must be a name (lower case letters, "
			"digits, '-')" },
		{ "{\"name\":\"../x\",\"argv\":[\"a\"]}",
		  "request: name: must be a name (lower case letters, "
		  "digits, '-')" },
		{ "{\"name\":\"x\"}",
		  "request: argv: must be given, and not empty" },
		{ "{\"name\":\"x\",\"argv\":[\"a\"],\"seccomp\":0}",
		  "request: seccomp: must be the index of a descriptor sent "
		  "along" },
		{ "{\"name\":\"x\",\"argv\":[\"a\"],\"layers\":[\"x\"]}",
		  "request: layers: must be a list of absolute paths" },
		{ "{\"name\":\"x\",\"argv\":[\"a\"],\"uid\":-1}",
		  "request: uid: must be a number in its range" },
	};
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(pod_start(&p, "%s", cases[i].spec), -EINVAL);
		EXPECT_STREQ(p.e.msg, cases[i].message);
	}
}

TEST(supervisor_outlives_the_agent_and_is_adopted)
{
	auto_pod struct pod p = POD_INIT;
	struct sandbox *again = NULL;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 0;
	pid_t agent, pod;
	int status;

	pod_dirs(&p);
	fflush(stdout);
	agent = fork();
	if (agent == 0) {
		if (pod_up(&p, NULL) < 0 ||
		    pod_run(&p, "web", "sleep $T", "") < 0)
			_exit(1);
		raise(SIGKILL);
	}
	ASSERT_EQ(waitpid(agent, &status, 0), agent);
	EXPECT_EQ(WTERMSIG(status), SIGKILL);
	ASSERT_EQ(sandbox_open(p.run, &p.sb, &p.e), 0);
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(list[0].state, PROC_RUNNING);
	pod = list[0].pid;
	EXPECT_EQ(kill(pod, 0), 0);
	/* A second agent, at the same time, disturbs nobody. */
	ASSERT_EQ(sandbox_open(p.run, &again, &p.e), 0);
	EXPECT_EQ(sandbox_pid(again), sandbox_pid(p.sb));
	ASSERT_EQ(sandbox_kill(again, "web", SIGKILL, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.exit_code, 137);
	sandbox_close(again);
}

TEST(second_supervisor_is_refused)
{
	auto_pod struct pod p = POD_INIT;
	struct sandbox *other = NULL;
	struct sandbox_opts o = { .netns_fd = -1 };
	struct err e = { 0 };

	ASSERT_EQ(pod_up(&p, NULL), 0);
	o.binary = pod_binary();
	o.uid = "x";
	o.run_dir = p.run;
	o.state_dir = p.state;
	EXPECT_EQ(sandbox_spawn(&o, &other, &e), -EEXIST);
	EXPECT_EQ(strstr(e.msg, "a supervisor runs in '") == e.msg, 1);
	o.run_dir = "/dev/null/x";
	EXPECT_EQ(sandbox_spawn(&o, &other, &e) < 0, 1);
	o.binary = "/no/arktos-pod";
	EXPECT_EQ(sandbox_spawn(&o, &other, &e), -ENOENT);
	EXPECT_STREQ(e.msg, "execute '/no/arktos-pod': is arktos-pod "
			    "installed?: No such file or directory");
}

/* The process that supervisors are copies of; @parent's. 0: there is none. */
static pid_t forker_of(pid_t parent)
{
	DIR *d = opendir("/proc");
	struct dirent *ent;
	char path[300], comm[32];
	int pid, ppid, found = 0;

	while (d && !found && (ent = readdir(d))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/stat", ent->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%d (%30[^)]) %*c %d", &pid, comm, &ppid) == 3 &&
		    ppid == parent && strcmp(comm, "arktos-forker") == 0)
			found = pid;
		fclose(f);
	}
	closedir(d);
	return found;
}

TEST(who_makes_supervisors_may_die)
{
	auto_pod struct pod p = POD_INIT;
	pid_t first, second, other;
	auto_close int died = -EBADF;
	int pair[2];
	char c;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	first = forker_of(getpid());
	ASSERT_EQ(first > 0, 1);
	ASSERT_EQ(kill(first, SIGKILL), 0);
	/* The pod it has made lives on, and the next one is made. */
	ASSERT_EQ(pod_run(&p, "web", "echo hello", ""), 0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	pod_down(&p);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	second = forker_of(getpid());
	ASSERT_EQ(second > 0, 1);
	EXPECT_EQ(second != first, 1);
	pod_down(&p);
	/* A copy of us makes one of its own, which ends as we do: by a kill. */
	ASSERT_EQ(pipe2(pair, O_CLOEXEC), 0);
	other = fork();
	if (other == 0) {
		auto_pod struct pod r = POD_INIT;

		c = pod_up(&r, NULL) == 0 && forker_of(getpid()) > 0;
		pod_down(&r);
		(void)!write(pair[1], &c, 1);
		pause();
	}
	close(pair[1]);
	ASSERT_EQ(read(pair[0], &c, 1), 1);
	EXPECT_EQ(c, 1);
	died = pidfd_open(forker_of(other), 0);
	ASSERT_GE(died, 0);
	ASSERT_EQ(kill(other, SIGKILL), 0);
	EXPECT_EQ(waitpid(other, NULL, 0), other);
	EXPECT_EQ(poll(&(struct pollfd){ .fd = died, .events = POLLIN }, 1,
		       10000),
		  1);
	EXPECT_EQ(forker_of(getpid()), second);
	close(pair[0]);
}

/* How many of @pid's mounts are at or below @path. */
static int count_mounts(pid_t pid, const char *path)
{
	char line[4096], name[64], at[PATH_MAX];
	int n = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/mountinfo", (int)pid);
	f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 &&
		     strncmp(at, path, strlen(path)) == 0;
	if (f)
		fclose(f);
	return n;
}

TEST(mounts_of_other_pods_are_not_held)
{
	auto_pod struct pod p = POD_INIT;
	char other[PATH_MAX + 16], plain[PATH_MAX + 16];

	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	pod_dirs(&p);
	/* As /run is on a host of systemd's. */
	ASSERT_EQ(mount(p.dir, p.dir, NULL, MS_BIND, NULL), 0);
	ASSERT_EQ(mount(NULL, p.dir, NULL, MS_SHARED, NULL), 0);
	snprintf(other, sizeof(other), "%s/pods/o ther", p.dir);
	ASSERT_EQ(mkdir(other, 0755), 0);
	ASSERT_EQ(mount("none", other, "tmpfs", 0, NULL), 0);
	snprintf(plain, sizeof(plain), "%s/pods/o", p.dir);
	EXPECT_EQ(count_mounts(getpid(), plain), 1);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_EQ(count_mounts(sandbox_pid(p.sb), plain), 0);
	EXPECT_EQ(count_mounts(sandbox_pid(p.sb), p.run) > 0, 1);
	EXPECT_EQ(count_mounts(sandbox_pid(p.sb), "/proc") > 0, 1);
	/* Nor is it given what comes later. */
	ASSERT_EQ(umount(other), 0);
	ASSERT_EQ(mount("none", other, "tmpfs", 0, NULL), 0);
	EXPECT_EQ(count_mounts(getpid(), plain), 1);
	EXPECT_EQ(count_mounts(sandbox_pid(p.sb), plain), 0);
	ASSERT_EQ(umount(other), 0);
	pod_down(&p);
	ASSERT_EQ(umount2(p.dir, MNT_DETACH), 0);
}

TEST(killing_the_supervisor_kills_the_pod)
{
	auto_pod struct pod p = POD_INIT;
	struct pollfd died = { .events = POLLIN };
	struct sandbox_event ev;
	pid_t a, b;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "a", "sleep $T & sleep $T", ""), 0);
	a = p.proc.pid;
	ASSERT_EQ(pod_run(&p, "b", "sleep $T", ",\"sharePid\":true"), 0);
	b = p.proc.pid;
	died.fd = pidfd_open(b, 0);
	ASSERT_EQ(pidfd_send_signal(sandbox_pidfd(p.sb), SIGKILL, NULL, 0), 0);
	EXPECT_EQ(poll(&died, 1, EVENT_MS), 1);
	died.fd = sandbox_pidfd(p.sb);
	EXPECT_EQ(poll(&died, 1, EVENT_MS), 1);
	EXPECT_EQ(kill(a, 0), -1);
	EXPECT_EQ(count_procs(p.run), 0);
	EXPECT_EQ(pod_run(&p, "c", "true", ""), -EPIPE);
	EXPECT_STREQ(p.e.msg, "the pod's supervisor has ended");
	while (sandbox_next_event(p.sb, &ev, &p.e) > 0)
		;
	EXPECT_EQ(p.e.code, -EPIPE);
	EXPECT_EQ(sandbox_open(p.run, &(struct sandbox *){ NULL }, &p.e),
		  -ENOENT);
}

TEST(finished_init_container_survives_the_supervisor)
{
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 0;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "init", "exit 5", ",\"attempt\":2"), 0);
	ASSERT_EQ(pod_wait(&p, "init"), 0);
	ASSERT_EQ(pidfd_send_signal(sandbox_pidfd(p.sb), SIGKILL, NULL, 0), 0);
	ASSERT_EQ(sandbox_read_exits(p.state, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_STREQ(list[0].name, "init");
	EXPECT_EQ(list[0].exit_code, 5);
	EXPECT_EQ(list[0].attempt, 2);
	free(take_ptr(list));
	EXPECT_EQ(sandbox_read_exits("/no/such", &list, &nr, &p.e), 0);
	EXPECT_EQ(nr, 0);
}

TEST(orphans_in_a_shared_pid_namespace_die_with_their_container)
{
	auto_pod struct pod p = POD_INIT;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "other", "sleep $T", ",\"sharePid\":true"), 0);
	ASSERT_EQ(pod_run(&p, "web",
			  "trap 'exit 1' TERM; (sleep $T &); while :; do "
			  "sleep 0.01; done",
			  ",\"sharePid\":true"),
		  0);
	while (count_sleepers() != 2)
		sched_yield(); /* the test's time limit ends it */
	ASSERT_EQ(sandbox_kill(p.sb, "web", SIGTERM, &p.e), 0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.exit_code, 1);
	EXPECT_EQ(count_sleepers(), 1); /* the other's */
	ASSERT_EQ(sandbox_kill(p.sb, "other", SIGKILL, &p.e), 0);
	EXPECT_EQ(pod_wait(&p, "other"), 0);
}

TEST(many_requests_at_once_from_two_clients)
{
	auto_pod struct pod p = POD_INIT;
	struct sandbox *other = NULL;
	pid_t pids[2];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] != 0)
			continue;
		sandbox_close(p.sb);
		p.sb = NULL;
		if (sandbox_open(p.run, &p.sb, &p.e) < 0)
			_exit(1);
		for (int k = 0; k < 20; k++) {
			char name[32];

			snprintf(name, sizeof(name), "c%d-%d", i, k);
			if (pod_run(&p, name, "exit 9", "") < 0 ||
			    pod_wait(&p, name) < 0 || p.proc.exit_code != 9 ||
			    sandbox_ack(p.sb, name, &p.e) < 0) {
				printf("# %s: %s\n", name, p.e.msg);
				fflush(stdout);
				_exit(1);
			}
		}
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		int status = -1;

		waitpid(pids[i], &status, 0);
		EXPECT_EQ(status, 0);
	}
	(void)other;
}

/* Pages nobody else has. A second supervisor, so that the program's own pages
 * are shared, as on every node with pods. */
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

TEST(supervisor_is_small)
{
	auto_pod struct pod p = POD_INIT;
	auto_pod struct pod other = POD_INIT;
	long kib;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(mkdir("other", 0755), 0);
	ASSERT_EQ(chdir("other"), 0);
	ASSERT_EQ(pod_up(&other, NULL), 0);
	ASSERT_EQ(pod_run(&p, "busy", "yes | head -c 400000", ""), 0);
	ASSERT_EQ(pod_wait(&p, "busy"), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep $T", ""), 0);
	kib = private_kib(sandbox_pid(p.sb));
	printf("# %ld KiB private\n", kib);
	EXPECT_GE(300, kib);
	EXPECT_GE(kib, 1);
}

/* Kill at random moments of a container's start: every time the answer is a
 * clean one, and in the end nobody is left. */
TEST(two_hundred_random_kills)
{
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	unsigned int seed = 20261121;
	int started = 0, refused = 0, r;
	size_t nr = 0;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	for (int i = 0; i < 200; i++) {
		long wait_us = rand_r(&seed) % 6000;
		pid_t killer;

		fflush(stdout);
		killer = fork();
		if (killer == 0) {
			struct timespec ts = { .tv_nsec = wait_us * 1000 };
			struct sandbox *sb;

			nanosleep(&ts, NULL);
			if (sandbox_open(p.run, &sb, NULL) < 0)
				_exit(1);
			(void)sandbox_kill(sb, "web", SIGKILL, NULL);
			_exit(0);
		}
		r = pod_run(&p, "web", "sleep $T", "");
		waitpid(killer, NULL, 0);
		if (r == -EREMOTEIO) {
			refused++;
			continue;
		}
		ASSERT_EQ(r, 0);
		started++;
		r = sandbox_kill(p.sb, "web", SIGKILL, &p.e);
		EXPECT_EQ(r == 0 || r == -ESRCH, 1);
		ASSERT_EQ(pod_wait(&p, "web"), 0);
		EXPECT_EQ(p.proc.signal, SIGKILL);
		ASSERT_EQ(sandbox_ack(p.sb, "web", &p.e), 0);
	}
	printf("# %d started, %d killed before\n", started, refused);
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	EXPECT_EQ(nr, 0);
}

TEST(supervisor_killed_at_random_leaves_nobody)
{
	struct pod p = POD_INIT;
	unsigned int seed = 7;

	pod_dirs(&p);
	for (int i = 0; i < 40; i++) {
		struct pollfd died = { .events = POLLIN };
		long wait_us = rand_r(&seed) % 5000;
		pid_t killer;

		ASSERT_EQ(pod_up(&p, NULL), 0);
		fflush(stdout);
		killer = fork();
		if (killer == 0) {
			struct timespec ts = { .tv_nsec = wait_us * 1000 };

			nanosleep(&ts, NULL);
			(void)pidfd_send_signal(sandbox_pidfd(p.sb), SIGKILL,
						NULL, 0);
			_exit(0);
		}
		for (int k = 0; k < 3; k++) {
			char name[16];
			int r;

			snprintf(name, sizeof(name), "c%d", k);
			r = pod_run(&p, name, "sleep $T & sleep $T", "");
			EXPECT_EQ(r == 0 || r == -EPIPE, 1);
		}
		waitpid(killer, NULL, 0);
		died.fd = sandbox_pidfd(p.sb);
		ASSERT_EQ(poll(&died, 1, EVENT_MS), 1);
		sandbox_close(p.sb);
		p.sb = NULL;
		EXPECT_EQ(count_sleepers(), 0);
	}
	EXPECT_EQ(count_procs(p.run), 0);
}

TEST_MAIN()
