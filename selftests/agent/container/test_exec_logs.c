// SPDX-License-Identifier: Apache-2.0
/*
 * Further processes in a container, terminals, and what becomes of output.
 *
 * LANE: both
 * SECONDS: 120
 */
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <termios.h>

#include "selftests/agent/container/fixture.h"

/* --- exec ----------------------------------------------------------------- */

static int exec_start(struct pod *p, const char *script, const char *more,
		      struct sandbox_exec_opts *o, struct sandbox_exec *x)
{
	struct sandbox_spec spec = { .nr_fds = 0 };
	int r;

	if (asprintf(&spec.json,
		     "{\"argv\":[\"/bin/sh\",\"-c\",\"%s\"],\"caps\":\"" CAPS
		     "\"%s}",
		     script, more) < 0)
		return -ENOMEM;
	spec.len = strlen(spec.json);
	o->container = "web";
	o->spec = &spec;
	r = sandbox_exec(p->sb, o, x, &p->why, &p->e);
	if (r < 0)
		printf("# exec '%s': %d: %s\n", script, r, p->e.msg);
	sandbox_spec_clear(&spec);
	return r;
}

static struct proto_exit exec_end(struct sandbox_exec *x)
{
	struct proto_exit end = { -1, -1 };
	struct pollfd fd = { .fd = x->exit_fd, .events = POLLIN };

	if (poll(&fd, 1, EVENT_MS) == 1 &&
	    read(x->exit_fd, &end, sizeof(end)) != sizeof(end))
		end.exit_code = -2;
	close(x->exit_fd);
	if (x->tty_fd >= 0)
		close(x->tty_fd);
	return end;
}

TEST(exec_runs_inside_and_tells_its_exit_code)
{
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	auto_pod struct pod p = POD_INIT;
	struct sandbox_exec x;
	char text[256] = "";
	int out[2];
	struct proto_exit end;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "echo mine > /tmp/f; sleep 1000; true",
			  ""),
		  0);
	ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
	o.stdio[1] = o.stdio[2] = out[1];
	ASSERT_EQ(exec_start(&p,
			     "while ! cat /tmp/f 2>/dev/null; do :; done; "
			     "hostname >/dev/null; cat /proc/1/comm; exit 5",
			     "", &o, &x),
		  0);
	close(out[1]);
	end = exec_end(&x);
	EXPECT_EQ(end.exit_code, 5);
	EXPECT_EQ(end.signal, 0);
	EXPECT_GE(read(out[0], text, sizeof(text) - 1), 1);
	EXPECT_STREQ(text, "mine\nsh\n");
	close(out[0]);
}

TEST(exec_is_as_confined_as_the_container)
{
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	static const char *const names[] = { "mnt", "pid",    "uts",
					     "ipc", "cgroup", "user" };
	struct sandbox_opts so = { .netns_fd = -1,
				   .userns_base = 3000000,
				   .userns_size = 65536 };
	struct sandbox_exec x;
	size_t nr = 0;

	ASSERT_EQ(pod_up(&p, &so), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	ASSERT_EQ(exec_start(&p, "sleep 1000",
			     ",\"user\":\"app\",\"noNewPrivs\":true", &o, &x),
		  0);
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 2);
	EXPECT_EQ(list[1].kind, PROC_EXEC);
	EXPECT_STREQ(list[1].container, "web");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_EQ(ns_inode(list[1].pid, names[i]),
			  ns_inode(list[0].pid, names[i]));
	EXPECT_STREQ(proc_status(list[1].pid, "Uid"),
		     "3001234\t3001234\t3001234\t3001234");
	EXPECT_STREQ(proc_status(list[1].pid, "CapEff"), "0000000000000000");
	EXPECT_STREQ(proc_status(list[1].pid, "NoNewPrivs"), "1");
	ASSERT_EQ(sandbox_kill(p.sb, x.name, SIGKILL, &p.e), 0);
	EXPECT_EQ(exec_end(&x).exit_code, 137);
}

TEST(a_killed_exec_takes_what_it_started_with_it)
{
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	auto_pod struct pod p = POD_INIT;
	struct sandbox_exec x;
	char word[16] = "";
	int out[2];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
	o.stdio[1] = out[1];
	ASSERT_EQ(exec_start(&p, "sleep 1000 & echo begun; wait", "", &o, &x),
		  0);
	close(out[1]);
	ASSERT_EQ(read(out[0], word, sizeof(word)), 6);
	ASSERT_EQ(sandbox_kill(p.sb, x.name, SIGKILL, &p.e), 0);
	EXPECT_EQ(exec_end(&x).exit_code, 137);
	EXPECT_EQ(read(out[0], word, sizeof(word)), 0); /* none has it open */
	close(out[0]);
}

TEST(exec_failures_are_told)
{
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	char json[] = "{\"argv\":[\"nope\"]}";
	struct sandbox_spec spec = { .json = json, .len = strlen(json) };
	auto_pod struct pod p = POD_INIT;
	struct sandbox_exec x;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	EXPECT_EQ(exec_start(&p, "true", "", &o, &x), -ENOENT);
	EXPECT_STREQ(p.e.msg, "container 'web' is not running");
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	o.spec = &spec;
	EXPECT_EQ(sandbox_exec(p.sb, &o, &x, &p.why, &p.e), -EREMOTEIO);
	EXPECT_STREQ(p.why.reason, "StartError");
	EXPECT_EQ(p.why.exit_code, 127);
}

TEST(execs_end_with_their_container)
{
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	auto_pod struct pod p = POD_INIT;
	struct sandbox_exec x[8];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	for (size_t i = 0; i < ARRAY_SIZE(x); i++)
		ASSERT_EQ(exec_start(&p, "sleep 1000", "", &o, &x[i]), 0);
	ASSERT_EQ(sandbox_kill(p.sb, "web", SIGKILL, &p.e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(x); i++)
		EXPECT_EQ(exec_end(&x[i]).signal, SIGKILL);
	EXPECT_EQ(pod_wait(&p, "web"), 0);
}

TEST(two_hundred_short_execs)
{
	int64_t end = clock_us() + 12000000;
	struct sandbox_exec_opts o = { .stdio = { -1, -1, -1 } };
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	size_t nr = 0;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	/* An emulated machine gets as far as it can. */
	for (int i = 0; i < 200 && clock_us() < end; i++) {
		struct sandbox_exec x;

		ASSERT_EQ(exec_start(&p, "exit 3", "", &o, &x), 0);
		ASSERT_EQ(exec_end(&x).exit_code, 3);
	}
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	EXPECT_EQ(nr, 1);
}

/* Read the terminal until @want was seen. */
static bool tty_says(int fd, const char *want)
{
	static char text[8192];
	size_t len = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (len < sizeof(text) - 1 && poll(&p, 1, EVENT_MS) == 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
		text[len] = '\0';
		if (strstr(text, want))
			return true;
	}
	printf("# the terminal said '%s'\n", text);
	return false;
}

TEST(exec_with_a_terminal)
{
	struct sandbox_exec_opts o = { .tty = true, .rows = 33, .cols = 44 };
	auto_pod struct pod p = POD_INIT;
	struct sandbox_exec x;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	ASSERT_EQ(
		exec_start(
			&p,
			"tty; stty size; read line; stty size; echo got $line; exit 4",
			"", &o, &x),
		0);
	EXPECT_EQ(tty_says(x.tty_fd, "/dev/pts/0\r\n33 44\r\n"), true);
	ASSERT_EQ(sandbox_resize_tty(p.sb, x.name, 55, 66, &p.e), 0);
	EXPECT_EQ(write(x.tty_fd, "hello\n", 6), 6);
	EXPECT_EQ(tty_says(x.tty_fd, "55 66\r\ngot hello"), true);
	EXPECT_EQ(exec_end(&x).exit_code, 4);
	EXPECT_EQ(sandbox_resize_tty(p.sb, "web", 1, 1, &p.e), -ENOTTY);
	EXPECT_STREQ(p.e.msg, "'web' has no terminal");
}

static const struct sandbox_attach keep = { .out = { -1, -1 }, .in = true };

TEST(container_with_a_terminal_is_logged_and_typed_into)
{
	auto_pod struct pod p = POD_INIT;
	auto_free char *out = NULL;
	char path[PATH_MAX];
	int fd = -1;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "read line; echo got $line; tty",
			  ",\"tty\":true,\"stdin\":true"),
		  0);
	ASSERT_EQ(sandbox_attach(p.sb, "web", &keep, &fd, &p.e), 0);
	EXPECT_EQ(write(fd, "abc\n", 4), 4);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.exit_code, 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/web.log", p.log);
	out = read_text(path);
	EXPECT_EQ(strstr(out, " stdout F got abc") != NULL, 1);
	EXPECT_EQ(strstr(out, " stdout F /dev/pts/0") != NULL, 1);
}

TEST(stdin_of_a_container)
{
	auto_pod struct pod p = POD_INIT;
	auto_free char *out = NULL;
	char path[PATH_MAX];
	int fd = -1;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "cat; echo end", ""), 0);
	ASSERT_EQ(pod_wait(&p, "web"), 0); /* /dev/null: at once */
	ASSERT_EQ(pod_run(&p, "in", "read a; echo $a", ",\"stdin\":true"), 0);
	ASSERT_EQ(sandbox_attach(p.sb, "in", &keep, &fd, &p.e), 0);
	EXPECT_EQ(write(fd, "x\n", 2), 2);
	close(fd);
	ASSERT_EQ(pod_wait(&p, "in"), 0);
	snprintf(path, sizeof(path), "%s/in.log", p.log);
	out = read_text(path);
	EXPECT_EQ(str_ends(out, " stdout F x\n"), 1);
}

static char *read_all(int fd)
{
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 &&
	       (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fd);
	return text;
}

TEST(who_is_attached_sees_all_as_it_comes)
{
	auto_pod struct pod p = POD_INIT;
	int out[2], err[2], other[2], in = -1, none = 7;
	struct sandbox_attach at = { .in = true, .once = true }, late;
	char prompt[16] = "";

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "in",
			  "read a; printf '> '; read b; echo $a $b; echo no >&2"
			  "; cat; echo end",
			  ",\"stdin\":true"),
		  0);
	ASSERT_EQ(pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC) |
			  pipe2(other, O_CLOEXEC),
		  0);
	at.out[0] = out[1];
	at.out[1] = err[1];
	ASSERT_EQ(sandbox_attach(p.sb, "in", &at, &in, &p.e), 0);
	ASSERT_EQ(in >= 0, 1);
	/* Its input was handed over; its output is for everybody. */
	late = (struct sandbox_attach){ { other[1], -1 }, true, true };
	ASSERT_EQ(sandbox_attach(p.sb, "in", &late, &none, &p.e), 0);
	EXPECT_EQ(none, -1);
	close(out[1]);
	close(err[1]);
	close(other[1]);
	EXPECT_EQ(write(in, "a\n", 2), 2);
	/* Not a line yet, and seen all the same. */
	EXPECT_EQ(read(out[0], prompt, sizeof(prompt) - 1), 2);
	EXPECT_STREQ(prompt, "> ");
	EXPECT_EQ(write(in, "b\nc\n", 4), 4);
	close(in);
	ASSERT_EQ(pod_wait(&p, "in"), 0);
	EXPECT_STREQ(read_all(out[0]), "a b\nc\nend\n");
	EXPECT_STREQ(read_all(err[0]), "no\n");
	EXPECT_STREQ(read_all(other[0]), "> a b\nc\nend\n");
	EXPECT_EQ(sandbox_attach(p.sb, "in", &keep, &in, &p.e), -ESRCH);
}

TEST(who_reads_slowly_loses_nothing)
{
	auto_pod struct pod p = POD_INIT;
	char chunk[4096];
	int out[2], in = -1;
	struct sandbox_attach at = { .in = true, .once = true };
	size_t got = 0;
	ssize_t n;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "in",
			  "read a; i=0; while [ $i -lt 60000 ]; do echo "
			  "0123456789; i=$((i + 1)); done",
			  ",\"stdin\":true"),
		  0);
	ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
	at.out[0] = out[1];
	at.out[1] = -1;
	ASSERT_EQ(sandbox_attach(p.sb, "in", &at, &in, &p.e), 0);
	close(out[1]);
	EXPECT_EQ(write(in, "a\n", 2), 2);
	close(in);
	while ((n = read(out[0], chunk, sizeof(chunk))) > 0)
		got += (size_t)n;
	EXPECT_EQ(got, 60000 * 11);
	close(out[0]);
	ASSERT_EQ(pod_wait(&p, "in"), 0);
}

TEST(who_has_gone_holds_nothing_up)
{
	auto_pod struct pod p = POD_INIT;
	int out[2], in = -1;
	struct sandbox_attach at = { .in = true, .once = true };

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "in",
			  "read a; i=0; while [ $i -lt 30000 ]; do echo "
			  "0123456789; i=$((i + 1)); done",
			  ",\"stdin\":true"),
		  0);
	ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
	at.out[0] = out[1];
	at.out[1] = -1;
	ASSERT_EQ(sandbox_attach(p.sb, "in", &at, &in, &p.e), 0);
	close(out[1]);
	EXPECT_EQ(write(in, "a\n", 2), 2);
	close(in);
	EXPECT_EQ(read(out[0], (char[8]){ 0 }, 8) > 0, 1);
	close(out[0]);
	ASSERT_EQ(pod_wait(&p, "in"), 0);
	EXPECT_EQ(p.proc.exit_code, 0);
}

/* --- logs ----------------------------------------------------------------- */

/* Every line: a time in UTC, stream, tag. Returns their number, or -1. */
static long check_cri(const char *path, size_t *ret_text)
{
	auto_free char *text = read_text(path);
	char *save = NULL;
	long n = 0;

	*ret_text = 0;
	for (char *l = strtok_r(text, "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save), n++) {
		if (strlen(l) < 40 || l[4] != '-' || l[10] != 'T' ||
		    l[29] != 'Z' || strncmp(l + 30, " stdout ", 8) != 0 ||
		    (l[38] != 'F' && l[38] != 'P') || l[39] != ' ') {
			printf("# line %ld: '%.60s'\n", n, l);
			return -1;
		}
		*ret_text += strlen(l + 40) + (l[38] == 'F');
	}
	return n;
}

TEST(fifty_megabytes_are_rotated_and_nothing_is_lost)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX];
	size_t text = 0, total = 0;
	struct stat st;
	FILE *f;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(path, sizeof(path), "%s/lines", p.layer);
	f = fopen(path, "w");
	ASSERT_EQ(f != NULL, 1);
	for (int i = 0; i < 10000; i++)
		fprintf(f, "%099d\n", i);
	fclose(f);
	/* 7 rotations, and all are kept */
	ASSERT_EQ(pod_run(&p, "web",
			  "i=0; while [ $i -lt 50 ]; do cat /lines; "
			  "i=$((i+1)); done; printf x",
			  ",\"logKeep\":20"),
		  0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.log_dropped, 0);
	for (int i = 0; i < 20; i++) {
		if (i)
			snprintf(path, sizeof(path), "%s/web.log.%d", p.log, i);
		else
			snprintf(path, sizeof(path), "%s/web.log", p.log);
		if (stat(path, &st) < 0)
			break;
		EXPECT_GE(11 << 20, st.st_size);
		EXPECT_GE(check_cri(path, &text), 1);
		total += text;
		unlink(path);
	}
	/* The last line has no end but that of the stream. */
	EXPECT_EQ(total, 50000000 + 2);
}

TEST(old_logs_are_removed)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX];

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "yes | head -c 300000",
			  ",\"logMax\":65536,\"logKeep\":2"),
		  0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	snprintf(path, sizeof(path), "%s/web.log.2", p.log);
	EXPECT_EQ(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/web.log.3", p.log);
	EXPECT_EQ(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "%s/web.log.new", p.log);
	EXPECT_EQ(access(path, F_OK), -1);
}

TEST(long_and_unfinished_lines)
{
	auto_pod struct pod p = POD_INIT;
	auto_free char *out = NULL;
	char path[PATH_MAX];
	size_t text = 0;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web",
			  "head -c 40000 /dev/zero | busybox tr '\\\\000' x; "
			  "echo; echo; printf tail",
			  ""),
		  0);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	snprintf(path, sizeof(path), "%s/web.log", p.log);
	out = read_text(path);
	EXPECT_EQ(check_cri(path, &text), 5); /* 16K, 16K, rest, "", tail */
	EXPECT_EQ(text, 40000 + 1 + 1 + 5);
	EXPECT_EQ(str_ends(out, " stdout F tail\n"), 1);
	EXPECT_EQ(strstr(out, " stdout F \n") != NULL, 1);
}

TEST(reopen_follows_a_moved_log)
{
	auto_pod struct pod p = POD_INIT;
	char path[PATH_MAX], moved[PATH_MAX];
	struct stat st;

	ASSERT_EQ(pod_up(&p, NULL), 0);
	ASSERT_EQ(pod_run(&p, "web", "sleep 1000", ""), 0);
	snprintf(path, sizeof(path), "%s/web.log", p.log);
	snprintf(moved, sizeof(moved), "%s/moved", p.log);
	ASSERT_EQ(rename(path, moved), 0);
	ASSERT_EQ(sandbox_reopen_log(p.sb, "web", &p.e), 0);
	EXPECT_EQ(stat(path, &st), 0);
}

/* A disk of 256 KiB for logs and state: the container lives on, output is
 * counted as lost, and the log says so when there is room again. */
TEST(full_disk_costs_output_and_nothing_else)
{
	auto_pod struct pod p = POD_INIT;
	auto_free struct sandbox_proc *list = NULL;
	auto_free char *out = NULL;
	char path[PATH_MAX], fill[PATH_MAX], more[PATH_MAX];
	size_t nr = 0;
	int fifo;

	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	mkdir("small", 0755);
	ASSERT_EQ(mount("small", "small", "tmpfs", 0, "size=256k"), 0);
	ASSERT_EQ(pod_up(&p, NULL), 0);
	snprintf(p.log, sizeof(p.log), "%s/small", p.dir);
	snprintf(fill, sizeof(fill), "%s/small/fill", p.dir);
	write_text(fill, "", 0644);
	ASSERT_EQ(truncate(fill, 0), 0);
	mkdir("v", 0777);
	ASSERT_EQ(mkfifo("v/go", 0666), 0);
	snprintf(more, sizeof(more),
		 ",\"mounts\":[{\"dest\":\"/v\",\"path\":\"%s/v\"}]", p.dir);
	ASSERT_EQ(pod_run(&p, "web",
			  "echo first; yes | head -c 400000; cat /v/go; "
			  "echo last; sleep 0.1; exit 6",
			  more),
		  0);
	/* Blocks until the container has written all it had to. */
	fifo = open("v/go", O_WRONLY | O_CLOEXEC);
	ASSERT_GE(fifo, 0);
	ASSERT_EQ(sandbox_list(p.sb, &list, &nr, &p.e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(list[0].state, PROC_RUNNING);
	EXPECT_GE(list[0].log_dropped, 2000000);
	/* Starting another works as well. */
	EXPECT_EQ(pod_run(&p, "second", "exit 8", ""), 0);
	EXPECT_EQ(pod_wait(&p, "second"), 0);
	EXPECT_EQ(p.proc.exit_code, 8);
	ASSERT_EQ(mount(NULL, "small", NULL, MS_REMOUNT, "size=4m"), 0);
	close(fifo);
	ASSERT_EQ(pod_wait(&p, "web"), 0);
	EXPECT_EQ(p.proc.exit_code, 6);
	snprintf(path, sizeof(path), "%s/web.log", p.log);
	out = read_text(path);
	EXPECT_EQ(strstr(out, " stdout F first\n") != NULL, 1);
	EXPECT_EQ(strstr(out, " stderr F [arktos: ") != NULL, 1);
	EXPECT_EQ(strstr(out, "bytes of output lost here: No space left on "
			      "device]\n") != NULL,
		  1);
	EXPECT_EQ(str_ends(out, " stdout F last\n"), 1);
}

TEST_MAIN()
