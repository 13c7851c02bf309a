// SPDX-License-Identifier: Apache-2.0
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <termios.h>

#include "agent/supervisor/child.h"
#include "agent/supervisor/proto.h"
#include "agent/supervisor/request.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/str.h"

#define DEVPTS_MAGIC 0x1cd1
#define FD_FLOOR     200 /* above what is handed to the program */
#define FILTER_MAX   (4096 * 8)
#define KEEP_FDS_MAX (PROTO_FDS_MAX + 32)
#define PATH_DEFAULT \
	"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void report(const struct child *c, const struct child_report *rep,
		   size_t len, int fd)
{
	/* Nobody to tell if this fails; our end tells as much. */
	(void)!sys_send_fd(c->status, rep, len, fd, 0);
}

void child_say(const struct child *c, enum child_msg type, int fd)
{
	struct child_report rep = { .type = (char)type };

	report(c, &rep, 1, fd);
}

_Noreturn void child_fail(const struct child *c, const char *reason,
			  int exit_code, const struct err *e)
{
	struct child_report rep = {
		.type = CHILD_FAILED,
		.code = e->code,
		.exit_code = exit_code,
	};

	snprintf(rep.reason, sizeof(rep.reason), "%s", reason);
	snprintf(rep.message, sizeof(rep.message), "%s", e->msg);
	report(c, &rep, sizeof(rep), -1);
	_exit(exit_code);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Close everything but what this child works with: above all the sockets,
 * pidfds and directories of the supervisor. */
static int keep_only(const struct child *c, struct err *e)
{
	int keep[KEEP_FDS_MAX], last = 2;
	size_t n = 0;
	const struct spec *s = c->spec;

	keep[n++] = c->status;
	keep[n++] = c->out[0];
	keep[n++] = c->out[1];
	keep[n++] = c->in;
	keep[n++] = c->init_pidfd;
	keep[n++] = c->env->userns_fd;
	for (size_t i = 0; i < c->nr_cgroups; i++)
		keep[n++] = c->cgroups[i];
	for (size_t i = 0; i < s->fds.nr; i++)
		keep[n++] = c->fds[s->fds.v[i]];
	for (size_t i = 0; i < s->nr_mounts && n < KEEP_FDS_MAX - 4; i++)
		if (s->mounts[i].fd != FD_NONE)
			keep[n++] = c->fds[s->mounts[i].fd];
	if (s->seccomp != FD_NONE)
		keep[n++] = c->fds[s->seccomp];
	qsort(keep, n, sizeof(keep[0]), by_value);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] <= last)
			continue;
		if (keep[i] > last + 1 &&
		    close_range((unsigned int)last + 1,
				(unsigned int)keep[i] - 1, 0) < 0)
			return err_sys(e, "close_range");
		last = keep[i];
	}
	if (close_range((unsigned int)last + 1, ~0U, 0) < 0)
		return err_sys(e, "close_range");
	return 0;
}

static int enter_cgroups(const struct child *c, struct err *e)
{
	for (size_t i = 0; i < c->nr_cgroups; i++) {
		if (write(c->cgroups[i], "0", 1) != 1)
			return err_sys(e, "enter the container's cgroup");
		close(c->cgroups[i]);
	}
	return 0;
}

static int begin(const struct child *c, struct err *e)
{
	sigset_t none;
	int r;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL); /* KILL and STOP refuse */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	r = keep_only(c, e);
	return r < 0 ? r : enter_cgroups(c, e);
}

/* --- the common end ------------------------------------------------------- */

/* Other containers, too, are given this very file right now: its offset is
 * nobody's, so it is neither set nor used. */
static int read_filter(const struct child *c, void **ret, size_t *ret_len,
		       struct err *e)
{
	auto_free char *filter = NULL;
	ssize_t n;
	int fd;

	if (c->spec->seccomp == FD_NONE)
		return 0;
	fd = c->fds[c->spec->seccomp];
	filter = malloc(FILTER_MAX + 1);
	if (!filter)
		return err_set(e, -ENOMEM, "out of memory");
	/* A memfd: what is there is read at once. */
	n = pread(fd, filter, FILTER_MAX + 1, 0);
	if (n < 0)
		return err_sys(e, "seccomp filter");
	if (n == 0 || n > FILTER_MAX || n % (ssize_t)sizeof(struct sock_filter))
		return err_set(e, -EINVAL, "seccomp filter: not a program");
	*ret_len = (size_t)n;
	*ret = take_ptr(filter);
	close(fd);
	return 0;
}

static int write_oom(const struct spec *s, struct err *e)
{
	char text[16];
	auto_close int fd = -EBADF;
	int n;

	if (!s->has_oom_score_adj)
		return 0;
	n = snprintf(text, sizeof(text), "%d", s->oom_score_adj);
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open oom_score_adj");
	/* Below its present value it takes CAP_SYS_RESOURCE, which a host may
	 * lack; to be a likelier victim than wished is no reason to stop. */
	if (write(fd, text, (size_t)n) != n && errno != EACCES)
		return err_sys(e, "set oom_score_adj to %s", text);
	return 0;
}

static int set_limits(const struct child *c, struct err *e)
{
	const struct spec *s = c->spec;

	(void)setrlimit(RLIMIT_NOFILE, &c->nofile); /* only ever lowers */
	for (size_t i = 0; i < s->nr_rlimits; i++) {
		struct rlimit l = {
			.rlim_cur = s->rlimits[i].soft == INT64_MAX
					    ? RLIM_INFINITY
					    : s->rlimits[i].soft,
			.rlim_max = s->rlimits[i].hard == INT64_MAX
					    ? RLIM_INFINITY
					    : s->rlimits[i].hard,
		};

		if (setrlimit((__rlimit_resource_t)s->rlimits[i].type, &l) < 0)
			return err_sys(e, "rlimit %d", s->rlimits[i].type);
	}
	return 0;
}

/* A pty of the container's own devpts. Its path is the container's to play
 * with, so what answers there must prove itself. */
static int pty_open(const struct child *c, int *ret_slave, struct err *e)
{
	const struct spec *s = c->spec;
	struct winsize size = { .ws_row = s->rows, .ws_col = s->cols };
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int master = -EBADF;
	struct statfs fs;
	int unlock = 0;

	master = sys_openat2(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, 0,
			     RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
	if (master < 0)
		return err_sys(e, "open '/dev/pts/ptmx' in the container");
	if (fstatfs(master, &fs) < 0 || fs.f_type != DEVPTS_MAGIC)
		return err_set(e, -EPERM,
			       "'/dev/pts/ptmx' in the container is fake");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "unlock pty");
	*ret_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*ret_slave < 0)
		return err_sys(e, "open pty");
	if (s->rows && s->cols)
		(void)ioctl(master, TIOCSWINSZ, &size);
	child_say(c, CHILD_PTY, master);
	return 0;
}

/* Descriptors on their way to the program: out of the way of their targets,
 * which must happen before its limits count. */
struct moved {
	int std[3];
	int given[PROTO_FDS_MAX];
};

static int move_up(int fd, int floor, struct err *e)
{
	int to = fcntl(fd, F_DUPFD_CLOEXEC, floor);

	return to < 0 ? err_sys(e, "dup") : to;
}

static int move_fds(struct child *c, const int std[3], struct moved *m,
		    struct err *e)
{
	const struct spec_fds *given = &c->spec->fds;
	int floor = FD_FLOOR + (int)given->nr;
	int status = move_up(c->status, floor, e);

	if (status < 0)
		return status;
	c->status = status;
	for (int i = 0; i < 3; i++)
		if ((m->std[i] = move_up(std[i], floor, e)) < 0)
			return m->std[i];
	for (size_t i = 0; i < given->nr; i++)
		if ((m->given[i] = move_up(c->fds[given->v[i]], floor, e)) < 0)
			return m->given[i];
	return 0;
}

/* 0, 1, 2 and the ones the program was promised; the rest closes at exec. */
static int place_fds(const struct child *c, const struct moved *m,
		     struct err *e)
{
	size_t nr = c->spec->fds.nr;

	for (int i = 0; i < 3; i++)
		if (dup2(m->std[i], i) < 0)
			return err_sys(e, "dup2");
	for (size_t i = 0; i < nr; i++)
		if (dup2(m->given[i], 3 + (int)i) < 0)
			return err_sys(e, "dup2");
	if (close_range(3 + (unsigned int)nr, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return err_sys(e, "close_range");
	return 0;
}

static int open_std(struct child *c, const struct ids *ids, int std[3],
		    struct err *e)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY);
	uint32_t base = c->env->userns_base;
	int slave = -1, r;

	std[0] = c->in >= 0 ? c->in : null;
	std[1] = c->out[0] >= 0 ? c->out[0] : null;
	std[2] = c->out[1] >= 0 ? c->out[1] : null;
	if (c->spec->tty) {
		r = pty_open(c, &slave, e);
		if (r < 0)
			return r;
		std[0] = std[1] = std[2] = slave;
	}
	if (std[0] < 0 || std[1] < 0 || std[2] < 0)
		return err_sys(e, "open '/dev/null' in the container");
	/* So that the program can open /dev/stdout again, as its own user. */
	for (int i = 0; i < 3; i++)
		if (c->spec->tty || std[i] == c->in || std[i] == c->out[0] ||
		    std[i] == c->out[1])
			(void)fchown(std[i], base + ids->uid,
				     slave >= 0 ? base + 5 : base + ids->gid);
	return 0;
}

static int enter_cwd(const struct child *c, const struct ids *ids,
		     struct err *e)
{
	const char *cwd = c->spec->cwd ? c->spec->cwd : "/";
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = -EBADF;
	char back[4096];

	(void)ids;
	fd = rootfs_target(c->env, root, cwd, TARGET_DIR,
			   c->spec->kind == KIND_CONTAINER, false, e);
	if (fd < 0)
		return err_wrap(e, fd, "working directory");
	if (fchdir(fd) < 0)
		return err_sys(e, "working directory '%s'", cwd);
	/* "(unreachable)" would be a way out of the root. */
	if (syscall(SYS_getcwd, back, sizeof(back)) < 0 || back[0] != '/')
		return err_set(e, -EPERM,
			       "working directory '%s' is outside the root",
			       cwd);
	return 0;
}

static const char *env_get(const struct spec *s, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = s->env.nr; i-- > 0;)
		if (strncmp(s->env.v[i], name, len) == 0 &&
		    s->env.v[i][len] == '=')
			return s->env.v[i] + len + 1;
	return NULL;
}

/* PATH and HOME where nobody has set them. */
static char **make_env(const struct spec *s, const struct ids *ids)
{
	char **env = calloc(s->env.nr + 3, sizeof(*env));
	size_t n = 0;

	if (!env)
		return NULL;
	for (size_t i = 0; i < s->env.nr; i++)
		env[n++] = (char *)s->env.v[i];
	if (!env_get(s, "PATH"))
		env[n++] = (char *)"PATH=" PATH_DEFAULT;
	if (!env_get(s, "HOME")) {
		env[n] = str_printf("HOME=%s", ids->home[0] ? ids->home : "/");
		n += env[n] != NULL;
	}
	return env;
}

static _Noreturn void exec_failed(const struct child *c, int code)
{
	const char *name = c->spec->argv.v[0];
	const char *path = env_get(c->spec, "PATH");
	struct err e = { 0 };
	struct stat st;

	if (code == ENOENT && !strchr(name, '/'))
		err_set(&e, -ENOENT,
			"exec '%.100s': not found in PATH (%.100s): check the "
			"command and the image",
			name, path ? path : PATH_DEFAULT);
	else if (code == ENOENT && stat(name, &st) == 0)
		err_set(&e, -ENOENT,
			"exec '%.200s': the file is there, its interpreter is "
			"not",
			name);
	else if (code == ENOENT || code == ENOTDIR)
		err_set(&e, -code,
			"exec '%.200s': no such file in the image: check the "
			"command and the image",
			name);
	else if (code == EACCES)
		err_set(&e, -EACCES,
			"exec '%.200s': not executable for this user", name);
	else if (code == ENOEXEC)
		err_set(&e, -ENOEXEC,
			"exec '%.200s': not a program for this machine", name);
	else {
		errno = code;
		err_sys(&e, "exec '%.200s'", name);
	}
	child_fail(c, PROTO_START_ERROR,
		   code == ENOENT || code == ENOTDIR   ? PROTO_EXIT_NOT_FOUND
		   : code == EACCES || code == ENOEXEC ? PROTO_EXIT_NO_ACCESS
						       : PROTO_EXIT_NO_START,
		   &e);
}

static int exec_in_path(const struct spec *s, char **env)
{
	char *const *argv = (char *const *)s->argv.v;
	const char *path = env_get(s, "PATH"), *name = s->argv.v[0];
	char full[4096];
	int code = ENOENT;

	if (!*name)
		return ENOENT;
	if (strchr(name, '/')) {
		execve(name, argv, env);
		return errno;
	}
	for (const char *p = path ? path : PATH_DEFAULT; *p;) {
		size_t len = strcspn(p, ":");
		int n = snprintf(full, sizeof(full), "%.*s/%s",
				 len ? (int)len : 1, len ? p : ".", name);

		if (n > 0 && n < (int)sizeof(full)) {
			execve(full, argv, env);
			if (errno == EACCES)
				code = EACCES;
			else if (errno != ENOENT && errno != ENOTDIR)
				return errno;
		}
		p += len;
		p += *p == ':';
	}
	return code;
}

/* In the container's root, pid and cgroup namespace: become the program. */
static _Noreturn void finish(struct child *c)
{
	auto_free void *filter = NULL;
	size_t filter_len = 0;
	struct err e = { 0 };
	struct moved moved;
	struct ids ids;
	int std[3], r;
	char **env;

	if (setsid() < 0 && errno != EPERM) {
		err_sys(&e, "setsid");
		child_fail(c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	}
	r = read_filter(c, &filter, &filter_len, &e);
	if (r == 0)
		r = user_resolve(c->spec, &ids, &e);
	if (r == 0)
		r = enter_cwd(c, &ids, &e);
	if (r == 0)
		r = open_std(c, &ids, std, &e);
	if (r < 0)
		child_fail(c, PROTO_CREATE_ERROR, PROTO_EXIT_NO_START, &e);
	env = make_env(c->spec, &ids);
	if (!env) {
		err_set(&e, -ENOMEM, "out of memory");
		child_fail(c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	}
	r = write_oom(c->spec, &e);
	if (r == 0)
		r = move_fds(c, std, &moved, &e);
	if (r == 0)
		r = set_limits(c, &e);
	if (r == 0)
		r = cred_drop(c, &ids,
			      c->env->userns_size ? c->env->userns_fd : -1,
			      filter, filter_len, &e);
	if (r == 0)
		r = place_fds(c, &moved, &e);
	if (r == 0 && c->spec->tty && ioctl(0, TIOCSCTTY, 0) < 0)
		r = err_sys(&e, "take the terminal");
	if (r < 0)
		child_fail(c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	umask(c->spec->umask);
	child_say(c, CHILD_EXEC, -1);
	exec_failed(c, exec_in_path(c->spec, env));
}

_Noreturn void child_container(const struct child *given)
{
	struct rootfs_env host = *given->env;
	struct child c = *given;
	struct err e = { 0 };
	int r;

	/* A program of the host is none of the tenant's. */
	if (c.spec->kind == KIND_HOST) {
		host.userns_base = host.userns_size = 0;
		c.env = &host;
	}
	r = begin(&c, &e);
	if (r < 0)
		child_fail(&c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	r = rootfs_enter(c.env, c.spec, c.fds, &e);
	if (r < 0)
		child_fail(&c, PROTO_CREATE_ERROR, PROTO_EXIT_NO_START, &e);
	finish(&c);
}

_Noreturn void child_exec(const struct child *given)
{
	struct child c = *given;
	struct err e = { 0 };
	int flags = CLONE_NEWNS | CLONE_NEWCGROUP;
	pid_t pid;
	int r;

	r = begin(&c, &e);
	if (r < 0)
		child_fail(&c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	if (c.own_pidns)
		flags |= CLONE_NEWPID;
	if (setns(c.init_pidfd, flags) < 0) {
		err_sys(&e, "enter the container's namespaces");
		child_fail(&c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	}
	close(c.init_pidfd);
	c.init_pidfd = -1;
	/* A pid namespace only takes effect on children; this one becomes the
	 * supervisor's child, not ours. */
	pid = sys_clone(CLONE_PARENT, NULL, -1);
	if (pid < 0) {
		err_sys(&e, "fork in the container: it is about to end?");
		child_fail(&c, PROTO_RUN_ERROR, PROTO_EXIT_NO_START, &e);
	}
	if (pid > 0)
		_exit(0);
	child_say(&c, CHILD_HELLO, -1);
	finish(&c);
}
