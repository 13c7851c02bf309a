// SPDX-License-Identifier: Apache-2.0
/*
 * From a program the agent has started to PID 1 of a pod.
 *
 *	stage 0	executes itself again from a read-only mount of its own file:
 *		whoever gets hold of /proc/<pid>/exe from inside a container
 *		cannot write through it. Once, before any pod: what comes next
 *		happens in copies (forker.c)
 *	stage 1	makes the socket, enters the cgroup and the network namespace,
 *		forks stage 2 into new namespaces, and ends: stage 2 is nobody's
 *		child, and outlives the agent
 *	stage 2	PID 1: mounts, host name, user namespace; then says "ready"
 *
 * "Ready" on the descriptor --ready-fd is a byte 0 with stage 2's pidfd; a
 * failure is a struct child_report.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"
#include "lib/fs.h"
#include "lib/str.h"

extern char **environ;

/* --- stage 0 -------------------------------------------------------------- */

/* Does nothing when it has been done. */
int boot_seal(char **argv, struct err *e)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	auto_close int exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	auto_close int fd = -EBADF;
	struct statvfs st;

	if (exe < 0 || fstatvfs(exe, &st) < 0)
		return err_sys(e, "open '/proc/self/exe'");
	if (st.f_flag & ST_RDONLY)
		return 0;
	fd = open_tree(exe, "",
		       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0)
		return err_sys(e, "make a read-only mount of this program");
	/* On success never comes back. */
	syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	return err_sys(e, "execute the read-only copy");
}

/* --- stage 1 -------------------------------------------------------------- */

static int listen_at(const struct opts *o, int *ret_fd, struct err *e)
{
	auto_close int dir = -EBADF;
	auto_close int fd = -EBADF;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int r;

	r = fs_mkdirs(o->run_dir, 0700, e);
	if (r == 0)
		r = fs_mkdirs(o->state_dir, 0700, e);
	if (r < 0)
		return r;
	dir = open(o->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_sys(e, "open '%s'", o->run_dir);
	if (mkdirat(dir, PROTO_SCRATCH, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make '%s/" PROTO_SCRATCH "'", o->run_dir);
	if (unlinkat(dir, PROTO_SOCKET, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove old '%s/" PROTO_SOCKET "'",
			       o->run_dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	/* A way that is short whatever the directory is called. */
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir,
		 PROTO_SOCKET);
	umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	umask(0);
	if (r < 0)
		return err_sys(e, "bind '%s/" PROTO_SOCKET "'", o->run_dir);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int enter_places(const struct opts *o, struct err *e)
{
	for (size_t i = 0; i < o->nr_cgroup_fds; i++) {
		if (write(o->cgroup_fds[i], "0", 1) != 1)
			return err_sys(e, "enter the supervisor's cgroup");
		close(o->cgroup_fds[i]);
	}
	if (o->netns_fd >= 0) {
		if (setns(o->netns_fd, CLONE_NEWNET) < 0)
			return err_sys(e, "enter the network namespace");
		close(o->netns_fd);
	}
	return 0;
}

/* The agent gets the pidfd from stage 1, which knows it, once stage 2 is up;
 * what stage 2 reports goes through unchanged. */
static _Noreturn void stage1_end(const struct opts *o, int pidfd, pid_t pid,
				 int from_child)
{
	struct child_report rep = { .type = 0 };
	ssize_t n = read(from_child, &rep, sizeof(rep));
	size_t len = 1;

	if (n != 1) {
		if (n != sizeof(rep)) {
			rep.code = -ECHILD;
			snprintf(rep.message, sizeof(rep.message),
				 "the supervisor was killed while starting");
		}
		rep.type = CHILD_FAILED;
		len = sizeof(rep);
		pidfd = -1;
		(void)waitpid(pid, NULL, 0);
	}
	/* Who asked has gone, or has given up: nobody knows of this pod. */
	if (sys_send_fd(o->ready_fd, &rep, len, pidfd, 0) < 0 && pidfd >= 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	_exit(rep.type == CHILD_FAILED);
}

/* --- stage 2 -------------------------------------------------------------- */

/* Names that exist once per pod; all else would change the host. */
static bool sysctl_is_ours(const struct opts *o, const char *key)
{
	static const char *const ipc[] = { "kernel.shm", "kernel.msg",
					   "kernel.sem", "fs.mqueue." };

	if (strchr(key, '/') || strstr(key, ".."))
		return false;
	if (str_starts(key, "net."))
		return o->netns_fd >= 0;
	for (size_t i = 0; i < ARRAY_LEN(ipc); i++)
		if (str_starts(key, ipc[i]))
			return !o->host_ipc;
	return false;
}

static int set_sysctl(const struct opts *o, const char *setting, struct err *e)
{
	auto_free char *path = str_printf("/proc/sys/%s", setting);
	char *eq = path ? strchr(path, '=') : NULL;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	if (eq)
		*eq = '\0';
	if (!eq || !sysctl_is_ours(o, path + strlen("/proc/sys/")))
		return err_set(e, -EPERM,
			       "sysctl '%s': not one a pod has for itself",
			       setting);
	for (char *s = path + strlen("/proc/sys/"); *s; s++)
		if (*s == '.')
			*s = '/';
	return fs_write_control(AT_FDCWD, path, eq + 1, e);
}

/* The network namespace belongs to the host's user namespace, so no capability
 * of a pod with its own counts in it: what a container may do as root anyway
 * is opened by sysctl. */
static int open_low_ports(const struct opts *o, struct err *e)
{
	int r;

	if (!o->userns_size || o->netns_fd < 0)
		return 0;
	r = set_sysctl(o, "net.ipv4.ip_unprivileged_port_start=0", e);
	return r < 0 ? r
		     : set_sysctl(o, "net.ipv4.ping_group_range=0 2147483647",
				  e);
}

static int set_own_oom(const struct opts *o)
{
	char text[16];
	int r;

	if (!o->has_oom_score_adj)
		return 0;
	snprintf(text, sizeof(text), "%d", o->oom_score_adj);
	r = fs_write_control(AT_FDCWD, "/proc/self/oom_score_adj", text, NULL);
	return r == -EACCES ? 0 : r; /* no CAP_SYS_RESOURCE: stay as we are */
}

static void raise_files(struct sup *sup)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &sup->nofile) < 0)
		return;
	l = sup->nofile;
	l.rlim_cur = l.rlim_max < 4096 ? l.rlim_max : 4096;
	if (l.rlim_cur > sup->nofile.rlim_cur)
		(void)setrlimit(RLIMIT_NOFILE, &l);
}

static int stage2(struct sup *sup, const struct opts *o, struct err *e)
{
	int r;

	if (setsid() < 0)
		return err_sys(e, "setsid");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_sys(e, "make mounts private");
	if (o->hostname && sethostname(o->hostname, strlen(o->hostname)) < 0)
		return err_sys(e, "set host name '%s'", o->hostname);
	if (o->host_pid && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "become a subreaper");
	r = set_own_oom(o);
	if (r < 0)
		return err_set(e, r, "set oom_score_adj");
	if (o->userns_size) {
		r = userns_make(o->userns_base, o->userns_size,
				&sup->env.userns_fd, e);
		if (r < 0)
			return r;
	}
	r = open_low_ports(o, e);
	for (size_t i = 0; r == 0 && i < o->nr_sysctls; i++)
		r = set_sysctl(o, o->sysctls[i], e);
	if (r == 0)
		r = rootfs_scratch(&sup->env, e);
	if (r < 0)
		return r;
	sup->state_fd = open(o->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sup->state_fd < 0)
		return err_sys(e, "open '%s'", o->state_dir);
	/* Of an earlier supervisor: whoever starts a new one has read it. */
	(void)unlinkat(sup->state_fd, PROTO_EXITS, 0);
	raise_files(sup);
	/* Here, not in stage 1: it makes us the peer whose pid clients see. */
	if (listen(sup->listener.fd, 64) < 0)
		return err_sys(e, "listen");
	return 0;
}

static int silence(struct err *e)
{
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		if (null < 0 || dup2(null, i) < 0)
			return err_sys(e, "open '/dev/null'");
	return 0;
}

static void report_to(int fd, const struct err *e, int r)
{
	struct child_report rep = { .type = CHILD_FAILED, .code = r };

	snprintf(rep.message, sizeof(rep.message), "%s", e->msg);
	/* Whoever wanted this pod has gone: so do we. */
	if (send(fd, &rep, r < 0 ? sizeof(rep) : 1, MSG_NOSIGNAL) < 0 || r < 0)
		_exit(1);
}

static int fork_stage2(struct sup *sup, const struct opts *o, struct err *e)
{
	uint64_t flags = CLONE_NEWNS | CLONE_NEWUTS;
	int pair[2], pidfd = -1, r;
	pid_t pid;

	if (!o->host_pid)
		flags |= CLONE_NEWPID;
	if (!o->host_ipc)
		flags |= CLONE_NEWIPC;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	pid = sys_clone(flags, &pidfd, o->cgroup_dir);
	if (pid < 0)
		return err_sys(e, "clone into new namespaces");
	if (pid > 0) {
		close(pair[1]);
		stage1_end(o, pidfd, pid, pair[0]);
	}
	close(pair[0]);
	if (o->cgroup_dir >= 0)
		close(o->cgroup_dir);
	close(o->ready_fd);
	r = stage2(sup, o, e);
	if (r == 0)
		r = silence(e);
	report_to(pair[1], e, r);
	close(pair[1]);
	return 0;
}

int boot(struct sup *sup, const struct opts *o, struct err *e)
{
	auto_free char *scratch = NULL;
	int r;

	(void)prctl(PR_SET_NAME, "arktos-pod");
	/* Inherited by every child until it executes: nobody inside can trace
	 * us or look through our /proc entries. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "become undumpable");
	umask(0);
	scratch = str_printf("%s/" PROTO_SCRATCH, o->run_dir);
	if (!scratch)
		return err_set(e, -ENOMEM, "out of memory");
	sup->opts = o;
	sup->env = (struct rootfs_env){
		.scratch = take_ptr(scratch),
		.userns_base = o->userns_base,
		.userns_size = o->userns_size,
		.userns_fd = -1,
		.shm_bytes = o->shm_bytes,
	};
	r = listen_at(o, &sup->listener.fd, e);
	if (r == 0)
		r = enter_places(o, e);
	if (r == 0)
		r = fork_stage2(sup, o, e);
	return r;
}
