// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/spawn.h"

#define OUT_MAX    (1024 * 1024)
#define TIMEOUT_MS 60000
#define PATH_TRIES 64

extern char **environ;

/* All that the child needs, made before vfork: between vfork and execve it
 * shares our memory, so it calls nothing but system calls, and writes only
 * here. */
struct child_plan {
	const struct spawn_opts *o;
	char *paths[PATH_TRIES + 1]; /* to try in turn; owned */
	char *const *env;
	int nullfd;
	int parked[SPAWN_FDS_MAX]; /* copies out of the way of the targets */
	int highest;               /* target */
	volatile int error;        /* what failed, or 0 */
	const char *volatile step; /* ... while doing this */
};

#define FAIL(p, what)               \
	do {                        \
		(p)->error = errno; \
		(p)->step = (what); \
		_exit(127);         \
	} while (0)

static void child_signals(void)
{
	/* As the kernel has it: handler, flags, restorer, mask; all default.
	 * The C library would refuse the signals it keeps for itself, and they,
	 * too, may have been inherited as ignored. */
	static const unsigned long dfl[4];
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		syscall(SYS_rt_sigaction, s, dfl, NULL, NSIG / 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_fds(struct child_plan *p)
{
	const struct spawn_opts *o = p->o;

	for (size_t i = 0; i < o->nr_fds; i++) {
		p->parked[i] =
			fcntl(o->fds[i].from, F_DUPFD_CLOEXEC, p->highest + 1);
		if (p->parked[i] < 0)
			FAIL(p, "duplicate descriptor");
	}
	for (int fd = 0; fd <= 2 && !o->inherit_stdio; fd++)
		if (dup2(p->nullfd, fd) < 0)
			FAIL(p, "open /dev/null");
	for (size_t i = 0; i < o->nr_fds; i++)
		if (dup2(p->parked[i], o->fds[i].to) < 0)
			FAIL(p, "map descriptor");
	/* Descriptors that some library forgot to make close-on-exec, between
	 * the targets as well as above them. */
	for (int fd = 3; fd <= p->highest; fd++) {
		bool wanted = false;

		for (size_t i = 0; i < o->nr_fds; i++)
			wanted |= o->fds[i].to == fd;
		if (!wanted)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	syscall(SYS_close_range, p->highest + 1, ~0u, 4 /* CLOEXEC */);
}

__attribute__((noreturn)) static void child(struct child_plan *p)
{
	const struct spawn_opts *o = p->o;
	int why = ENOENT;

	if (o->new_session && setsid() < 0)
		FAIL(p, "setsid");
	for (size_t i = 0; i < o->nr_cgroup_procs_fds; i++)
		if (write(o->cgroup_procs_fds[i], "0", 1) != 1)
			FAIL(p, "enter cgroup");
	if (o->cwd && chdir(o->cwd) < 0)
		FAIL(p, "change directory");
	child_fds(p);
	child_signals();
	for (char *const *path = p->paths; *path; path++) {
		execve(*path, o->argv, p->env);
		if (errno != ENOENT && errno != ENOTDIR)
			why = errno;
		if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			break;
	}
	errno = why;
	FAIL(p, "run");
}

static void free_paths(struct child_plan *p)
{
	for (char **path = p->paths; *path; path++)
		free(*path);
}

/* The files execvp(3) would try. */
static int find_paths(struct child_plan *p)
{
	const char *name = p->o->path ? p->o->path : p->o->argv[0];
	const char *dirs = getenv("PATH");
	size_t nr = 0;

	if (p->o->path || strchr(name, '/')) {
		p->paths[0] = strdup(name);
		return p->paths[0] ? 0 : -ENOMEM;
	}
	if (!dirs)
		dirs = "/usr/sbin:/usr/bin:/sbin:/bin";
	while (nr < PATH_TRIES) {
		size_t len = strcspn(dirs, ":");

		if (asprintf(&p->paths[nr], "%.*s/%s", (int)len,
			     len ? dirs : ".", name) < 0) {
			p->paths[nr] = NULL;
			return -ENOMEM;
		}
		nr++;
		dirs += len;
		if (!*dirs++)
			break;
	}
	return 0;
}

static pid_t vfork_child(struct child_plan *p)
{
	sigset_t all, before;
	pid_t pid;

	/* No handler of ours may run in the child, on our memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = vfork();
	if (pid == 0)
		child(p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int start(struct child_plan *p, struct spawn_child *ret, struct err *e)
{
	const char *name = p->o->argv[0];
	auto_close int pidfd = -EBADF;
	auto_close int devnull = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_close int nullfd = -EBADF;
	pid_t pid;

	/* Above 2, in case we were started with those closed. */
	if (devnull >= 0)
		nullfd = fcntl(devnull, F_DUPFD_CLOEXEC, 3);
	if (nullfd < 0)
		return err_sys(e, "open '/dev/null'");
	p->nullfd = nullfd;
	pid = vfork_child(p);
	if (pid < 0)
		return err_sys(e, "run '%s'", name);
	if (p->error) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		errno = p->error;
		if (strcmp(p->step, "run") == 0)
			return err_sys(e, "run '%s'", name);
		return err_sys(e, "run '%s': %s", name, p->step);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		int r = err_sys(e, "run '%s': pidfd_open", name);

		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return r;
	}
	ret->pid = pid;
	ret->pidfd = take_fd(&pidfd);
	return 0;
}

int spawn_start(const struct spawn_opts *o, struct spawn_child *ret,
		struct err *e)
{
	struct child_plan p = { .o = o, .highest = 2 };
	int r;

	if (o->nr_fds > SPAWN_FDS_MAX)
		return err_set(e, -E2BIG, "run '%s': too many descriptors",
			       o->argv[0]);
	for (size_t i = 0; i < o->nr_fds; i++)
		if (o->fds[i].to > p.highest)
			p.highest = o->fds[i].to;
	p.env = o->env ? o->env : environ;
	r = find_paths(&p);
	if (r < 0)
		r = err_set(e, r, "out of memory");
	else
		r = start(&p, ret, e);
	free_paths(&p);
	return r;
}

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Milliseconds left until @deadline (0: none) for poll(2). */
static int left_ms(uint64_t deadline)
{
	uint64_t now = clock_ms();

	if (!deadline)
		return -1;
	return deadline > now ? (int)(deadline - now) : 0;
}

static uint64_t deadline_in(int timeout_ms)
{
	return timeout_ms < 0 ? 0 : clock_ms() + (uint64_t)timeout_ms;
}

static void reap(struct spawn_child *c, int *ret_status)
{
	int status = 0;

	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(take_fd(&c->pidfd));
	c->pid = 0;
	if (ret_status)
		*ret_status = status;
}

int spawn_wait(struct spawn_child *c, int timeout_ms, int *ret_status,
	       struct err *e)
{
	struct pollfd pfd = { .fd = c->pidfd, .events = POLLIN };
	uint64_t deadline = deadline_in(timeout_ms);
	int n;

	do {
		n = poll(&pfd, 1, left_ms(deadline));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, "wait for process %d", (int)c->pid);
	if (n == 0)
		return err_set(e, -ETIMEDOUT,
			       "process %d still runs after %d ms", (int)c->pid,
			       timeout_ms);
	reap(c, ret_status);
	return 0;
}

void spawn_kill(struct spawn_child *c)
{
	if (c->pid <= 0)
		return;
	kill(c->pid, SIGKILL); /* not reaped yet, so the pid is its own */
	reap(c, NULL);
}

void spawn_result_clear(struct spawn_result *res)
{
	buf_clear(&res->out);
	buf_clear(&res->err);
}

/* --- run and keep the output ---------------------------------------------- */

struct pump {
	const char *in;
	size_t in_len;
	int infd, outfd, errfd;
	size_t max;
	struct spawn_result *res;
};

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(take_fd(fd));
}

static void pump_in(struct pump *p)
{
	ssize_t n = write(p->infd, p->in, p->in_len);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0) {
		p->in += n;
		p->in_len -= (size_t)n;
	}
	if (n < 0 || !p->in_len) /* EPIPE: it does not want more */
		close_end(&p->infd);
}

static int pump_out(struct pump *p, int *fd, struct buf *b)
{
	char *to = buf_reserve(b, 16384);
	ssize_t n;

	if (!to)
		return -ENOMEM;
	n = read(*fd, to, 16384);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		close_end(fd);
		return 0;
	}
	buf_commit(b, (size_t)n);
	return b->len > p->max ? -EFBIG : 0;
}

/* Until both outputs are at their end, or the child has ended and said all. */
static int pump(struct pump *p, int pidfd, uint64_t deadline)
{
	while (p->outfd >= 0 || p->errfd >= 0) {
		struct pollfd pfds[] = {
			{ .fd = p->infd, .events = POLLOUT },
			{ .fd = p->outfd, .events = POLLIN },
			{ .fd = p->errfd, .events = POLLIN },
			{ .fd = pidfd, .events = POLLIN },
		};
		int n = poll(pfds, 4, left_ms(deadline));
		int r = 0;

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0)
			continue;
		if (pfds[0].revents)
			pump_in(p);
		if (pfds[1].revents)
			r = pump_out(p, &p->outfd, &p->res->out);
		if (r == 0 && pfds[2].revents)
			r = pump_out(p, &p->errfd, &p->res->err);
		if (r < 0)
			return r;
		/* It has ended, and a grandchild may hold the pipes open. */
		if (pfds[3].revents && !pfds[1].revents && !pfds[2].revents)
			return 0;
	}
	return 0;
}

static int open_pipes(int fds[6], struct err *e)
{
	for (int i = 0; i < 6; i += 2)
		if (pipe2(fds + i, O_CLOEXEC) < 0)
			return err_sys(e, "pipe");
	/* Ours never block: poll says when, but not how much. */
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	fcntl(fds[2], F_SETFL, O_NONBLOCK);
	fcntl(fds[4], F_SETFL, O_NONBLOCK);
	return 0;
}

static int start_piped(const struct spawn_opts *o, const int fds[6],
		       struct spawn_child *ret, struct err *e)
{
	struct spawn_fd map[SPAWN_FDS_MAX];
	struct spawn_opts opts = *o;

	if (o->nr_fds + 3 > SPAWN_FDS_MAX)
		return err_set(e, -E2BIG, "run '%s': too many descriptors",
			       o->argv[0]);
	map[0] = (struct spawn_fd){ fds[0], 0 };
	map[1] = (struct spawn_fd){ fds[3], 1 };
	map[2] = (struct spawn_fd){ fds[5], 2 };
	if (o->nr_fds)
		memcpy(map + 3, o->fds, o->nr_fds * sizeof(*map));
	opts.fds = map;
	opts.nr_fds = o->nr_fds + 3;
	return spawn_start(&opts, ret, e);
}

static int finish(struct spawn_child *c, int r, uint64_t deadline,
		  const struct spawn_opts *o, struct spawn_result *ret,
		  struct err *e)
{
	int status = 0;

	if (r == 0)
		r = spawn_wait(c, left_ms(deadline), &status, NULL);
	spawn_kill(c);
	if (r == -ETIMEDOUT)
		return err_set(e, r, "'%s' took too long and was killed",
			       o->argv[0]);
	if (r == -EFBIG)
		return err_set(e, r, "'%s' wrote too much and was killed",
			       o->argv[0]);
	if (r < 0)
		return err_wrap(e, r, "run '%s'", o->argv[0]);
	ret->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return 0;
}

int spawn_run(const struct spawn_opts *o, const struct spawn_io *io,
	      struct spawn_result *ret, struct err *e)
{
	int fds[6] = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
	uint64_t deadline =
		deadline_in(io->timeout_ms ? io->timeout_ms : TIMEOUT_MS);
	struct spawn_child c = { .pidfd = -EBADF };
	struct pump p = { .in = io->in,
			  .in_len = io->in_len,
			  .max = io->out_max ? io->out_max : OUT_MAX,
			  .res = ret };
	sigset_t pipe_set, before;
	int r;

	r = open_pipes(fds, e);
	if (r == 0)
		r = start_piped(o, fds, &c, e);
	for (int i = 0; i < 6; i++)
		if (r < 0 || i == 0 || i == 3 || i == 5)
			close_end(&fds[i]);
	if (r < 0)
		return r;
	p.infd = fds[1];
	p.outfd = fds[2];
	p.errfd = fds[4];
	if (!p.in_len)
		close_end(&p.infd);
	/* A child that does not read its input must not kill us. */
	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
	r = pump(&p, c.pidfd, deadline);
	close_end(&p.infd);
	close_end(&p.outfd);
	close_end(&p.errfd);
	if (!sigismember(&before, SIGPIPE)) {
		struct timespec zero = { 0 };

		while (sigtimedwait(&pipe_set, NULL, &zero) > 0)
			;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return finish(&c, r, deadline, o, ret, e);
}

int spawn_check(const struct spawn_result *res, const char *name, struct err *e)
{
	const char *text = buf_str(&res->err);
	size_t end = res->err.len, begin;

	if (res->exit_code == 0)
		return 0;
	while (end && (text[end - 1] == '\n' || text[end - 1] == ' '))
		end--;
	for (begin = end; begin && text[begin - 1] != '\n'; begin--)
		;
	if (res->signal)
		return err_set(e, -EREMOTEIO, "%s: killed by signal %d (%s)",
			       name, res->signal, strsignal(res->signal));
	if (end == begin)
		return err_set(e, -EREMOTEIO, "%s: failed with exit code %d",
			       name, res->exit_code);
	return err_set(e, -EREMOTEIO, "%s: %.*s", name, (int)(end - begin),
		       text + begin);
}
