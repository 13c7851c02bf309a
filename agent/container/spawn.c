// SPDX-License-Identifier: Apache-2.0
/* Starting a supervisor, and the mounts and probes that go with pods. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/container/forker.h"
#include "agent/container/sandbox.h"
#include "agent/spec.h"
#include "agent/supervisor/child.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define READY_MS 10000

/* The order for a supervisor: its words, and the descriptors they name. */
struct launch {
	struct buf words;
	size_t nr_words;
	int fds[PROTO_FORK_FDS]; /* borrowed */
	size_t nr_fds;
	int r;
};

static void arg(struct launch *l, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void arg(struct launch *l, const char *fmt, ...)
{
	char text[8192];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof(text) ||
	    ++l->nr_words > PROTO_FORK_ARGS ||
	    l->words.len + (size_t)n >= PROTO_FORK_MAX)
		l->r = -E2BIG;
	else
		buf_add(&l->words, text, (size_t)n + 1);
}

/* "--key=<number it will have>" */
static void arg_fd(struct launch *l, const char *key, int fd)
{
	if (l->nr_fds == PROTO_FORK_FDS) {
		l->r = -E2BIG;
		return;
	}
	arg(l, "%s=%zu", key, 3 + l->nr_fds);
	l->fds[l->nr_fds++] = fd;
}

static void launch_fill(struct launch *l, const struct sandbox_opts *o,
			int ready)
{
	arg(l, "arktos-pod");
	arg(l, "--uid=%s", o->uid);
	arg(l, "--run=%s", o->run_dir);
	arg(l, "--state=%s", o->state_dir);
	if (o->hostname)
		arg(l, "--hostname=%s", o->hostname);
	arg_fd(l, "--ready-fd", ready);
	if (o->netns_fd >= 0)
		arg_fd(l, "--netns-fd", o->netns_fd);
	for (size_t i = 0; i < o->nr_cgroup_tasks; i++)
		arg_fd(l, "--cgroup-fd", o->cgroup_tasks[i]);
	if (o->cgroup_dir > 0)
		arg_fd(l, "--cgroup-dir", o->cgroup_dir);
	if (o->userns_size)
		arg(l, "--userns=%u:%u", o->userns_base, o->userns_size);
	if (o->shm_bytes)
		arg(l, "--shm-bytes=%llu", (unsigned long long)o->shm_bytes);
	if (o->oom_score_adj)
		arg(l, "--oom-score-adj=%d", o->oom_score_adj);
	if (o->host_pid)
		arg(l, "--host-pid");
	if (o->host_ipc)
		arg(l, "--host-ipc");
	for (size_t i = 0; o->sysctls && i < o->sysctls->nr; i++)
		arg(l, "--sysctl=%s=%s", o->sysctls->v[i].key,
		    o->sysctls->v[i].value);
}

static int wait_ready(int fd, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct child_report rep = { .type = 0 };
	ssize_t n;
	int r;

	do
		r = poll(&p, 1, READY_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return err_set(e, -ETIMEDOUT,
			       "the pod's supervisor is not up after %d s",
			       READY_MS / 1000);
	/* The pidfd that comes along is not taken: the peer of the socket is
	 * as certain. */
	n = recv(fd, &rep, sizeof(rep), MSG_CMSG_CLOEXEC);
	if (n == 1)
		return 0;
	rep.message[sizeof(rep.message) - 1] = '\0';
	if (n != sizeof(rep) || rep.type != CHILD_FAILED)
		return err_set(e, -ECHILD,
			       "the pod's supervisor died while starting");
	return err_set(e, rep.code < 0 ? rep.code : -EIO, "supervisor: %s",
		       rep.message);
}

static int launch(const struct sandbox_opts *o, struct err *e)
{
	auto_free char *pods = strdup(o->run_dir);
	struct launch l = { .words = BUF_INIT };
	auto_close int near = -EBADF;
	auto_close int far = -EBADF;
	int pair[2], r;

	if (!pods)
		return err_set(e, -ENOMEM, "out of memory");
	*strrchr(pods, '/') = '\0';
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	near = pair[0];
	far = pair[1];
	launch_fill(&l, o, far);
	r = l.r < 0 ? l.r : buf_error(&l.words);
	r = r < 0 ? err_set(e, r, "too much for a command line")
		  : forker_order(o->binary, pods, l.words.data, l.words.len,
				 l.fds, l.nr_fds, e);
	buf_clear(&l.words);
	close(take_fd(&far));
	/* A supervisor that nobody waits for any more ends by itself. */
	return r < 0 ? r : wait_ready(near, e);
}

int sandbox_spawn(const struct sandbox_opts *opts, struct sandbox **ret,
		  struct err *e)
{
	auto_ptr(sandbox) old = NULL;
	int r;

	r = sandbox_open(opts->run_dir, &old, NULL);
	if (r == 0)
		return err_set(e, -EEXIST,
			       "a supervisor runs in '%s' already (pid %d)",
			       opts->run_dir, (int)sandbox_pid(old));
	r = launch(opts, e);
	return r < 0 ? r : sandbox_open(opts->run_dir, ret, e);
}

/* --- mounts --------------------------------------------------------------- */

int sandbox_mount_open(int root_fd, const char *path, bool recursive,
		       int *ret_fd, struct err *e)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_NO_MAGICLINKS,
	};
	auto_close int at = -EBADF;
	int fd;

	if (root_fd != AT_FDCWD)
		how.resolve |= RESOLVE_IN_ROOT;
	at = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	if (at < 0)
		return err_sys(e, "open '%s'", path);
	fd = open_tree(at, "",
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
			       (recursive ? AT_RECURSIVE : 0));
	if (fd < 0)
		return err_sys(e, "clone mount of '%s'", path);
	*ret_fd = fd;
	return 0;
}

/* --- are there user namespaces? ------------------------------------------- */

/* A copy of us in a user namespace of its own, that only waits until its
 * descriptor of the pipe tells the end. System calls only: we have threads. */
static pid_t hold_userns(int go)
{
	struct clone_args a = {
		.flags = CLONE_NEWUSER,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));
	char c;

	if (pid == 0) {
		syscall(SYS_read, go, &c, 1);
		syscall(SYS_exit_group, 0);
	}
	return pid;
}

/* Let a mount map ids as the user namespace of @pid does. */
static int probe_map(int tree, pid_t pid, struct err *e)
{
	struct mount_attr a = { .attr_set = MOUNT_ATTR_IDMAP };
	auto_close int ns = -EBADF;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	r = fs_write_control(AT_FDCWD, path, "0 100000 65536\n", e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
	r = fs_write_control(AT_FDCWD, path, "0 100000 65536\n", e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return err_sys(e, "open '%s'", path);
	a.userns_fd = (uint64_t)ns;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0)
		return err_sys(e, "map user ids");
	return 0;
}

static int probe_tree(int tree, struct err *e)
{
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = hold_userns(fds[0]);
	r = pid < 0 ? err_sys(e, "user namespaces: see "
				 "/proc/sys/user/max_user_namespaces")
		    : probe_map(tree, pid, e);
	(void)!write(fds[1], "x", 1);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	close(fds[0]);
	close(fds[1]);
	return r;
}

int sandbox_userns_probe(const char *dir, struct err *e)
{
	auto_close int tree = -EBADF;
	int r = sandbox_mount_open(AT_FDCWD, dir, false, &tree, e);

	if (r < 0)
		return r;
	r = probe_tree(tree, e);
	if (r == -EINVAL)
		return err_set(e, r,
			       "the file system of '%s' cannot map user ids: "
			       "place it on ext4, xfs or btrfs (kernel 5.19)",
			       dir);
	return r;
}

bool sandbox_memory_maps(void)
{
	auto_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	auto_close int tree = -EBADF;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return false;
	tree = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return tree >= 0 && probe_tree(tree, NULL) == 0;
}
