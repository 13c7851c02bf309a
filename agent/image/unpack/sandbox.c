// SPDX-License-Identifier: Apache-2.0
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/image/unpack/sandbox.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define NAMESPACES                                                  \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | \
	 CLONE_NEWUTS)
#define MAP_MAX 65536
#define NOBODY  65534

/* What libarchive, zlib, zstd, libcrypto and our own writing need. */
static const int allowed[] = {
	SCMP_SYS(read),           SCMP_SYS(write),
	SCMP_SYS(pwrite64),       SCMP_SYS(close),
	SCMP_SYS(openat),         SCMP_SYS(openat2),
	SCMP_SYS(mkdirat),        SCMP_SYS(mknodat),
	SCMP_SYS(symlinkat),      SCMP_SYS(linkat),
	SCMP_SYS(unlinkat),       SCMP_SYS(fchown),
	SCMP_SYS(fchownat),       SCMP_SYS(fchmod),
	SCMP_SYS(utimensat),      SCMP_SYS(ftruncate),
	SCMP_SYS(fsetxattr),      SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),     SCMP_SYS(statx),
	SCMP_SYS(lseek),          SCMP_SYS(getdents64),
	SCMP_SYS(fcntl),          SCMP_SYS(fstatfs),
	SCMP_SYS(mmap),           SCMP_SYS(munmap),
	SCMP_SYS(mremap),         SCMP_SYS(mprotect),
	SCMP_SYS(madvise),        SCMP_SYS(brk),
	SCMP_SYS(futex),          SCMP_SYS(getrandom),
	SCMP_SYS(sched_yield),    SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),   SCMP_SYS(getpid),
	SCMP_SYS(gettid),         SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),    SCMP_SYS(exit),
	SCMP_SYS(exit_group),     SCMP_SYS(restart_syscall),
};

/* The child's map of ids: each one that exists here, as itself. */
static int write_map(pid_t pid, const char *which, struct err *e)
{
	auto_buf struct buf ours = BUF_INIT, map = BUF_INIT;
	unsigned long inside, outside, count;
	char path[64];
	int at = 0, n, r;

	(void)snprintf(path, sizeof(path), "/proc/self/%s", which);
	r = fs_read(AT_FDCWD, path, MAP_MAX, &ours, e);
	if (r < 0)
		return r;
	while (sscanf(buf_str(&ours) + at, "%lu %lu %lu%n", &inside, &outside,
		      &count, &n) == 3) {
		buf_printf(&map, "%lu %lu %lu\n", inside, inside, count);
		at += n;
	}
	if (buf_error(&map))
		return err_set(e, buf_error(&map), "out of memory");
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
	return fs_write_control(AT_FDCWD, path, buf_str(&map), e);
}

static pid_t clone_into(int flags)
{
	return (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

int sandbox_fork(pid_t *ret_pid, struct err *e)
{
	int go[2];
	bool user = true;
	char byte = 0;
	pid_t pid;
	int r = 0;

	if (pipe2(go, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = clone_into(NAMESPACES | CLONE_NEWUSER);
	if (pid < 0) {
		user = false;
		pid = clone_into(NAMESPACES);
	}
	if (pid == 0) {
		close(go[1]);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &byte, 1) != 1)
			_exit(1);
		close(go[0]);
		*ret_pid = 0;
		return 0;
	}
	if (pid < 0)
		r = err_sys(e, "clone into new namespaces");
	if (r == 0 && user)
		r = write_map(pid, "uid_map", e);
	if (r == 0 && user)
		r = write_map(pid, "gid_map", e);
	if (r == 0 && write(go[1], &byte, 1) != 1)
		r = err_sys(e, "start the sandbox");
	close(go[0]);
	close(go[1]); /* without its byte the child ends by itself */
	*ret_pid = pid;
	return r;
}

/* On an initramfs pivot_root() is refused; moving the mount does the same. */
static int switch_root(void)
{
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH);
	if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return -1;
	return chroot(".");
}

static int confine(const char *dir, struct err *e)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			    MOUNT_ATTR_NOEXEC,
	};

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "make mounts private");
	if (mount(dir, dir, NULL, MS_BIND, NULL) < 0)
		return err_sys(e, "bind '%s'", dir);
	if (chdir(dir) < 0)
		return err_sys(e, "chdir '%s'", dir);
	if (syscall(SYS_mount_setattr, AT_FDCWD, ".", 0, &attr, sizeof(attr)) <
	    0)
		return err_sys(e, "mount attributes");
	if (switch_root() < 0 || chdir("/") < 0)
		return err_sys(e, "change root to '%s'", dir);
	return 0;
}

static int limit(int what, uint64_t value)
{
	struct rlimit rl = { .rlim_cur = value, .rlim_max = value };
	struct rlimit now;

	if (getrlimit(what, &now) == 0 && now.rlim_max < value)
		rl.rlim_cur = rl.rlim_max = now.rlim_max;
	return setrlimit(what, &rl);
}

static int set_limits(const struct sandbox_limits *l, struct err *e)
{
	if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, 512) < 0 ||
	    limit(RLIMIT_CPU, l->cpu_s) < 0 ||
	    limit(RLIMIT_FSIZE, l->file_bytes) < 0)
		return err_sys(e, "set limits");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* The sanitizers reserve terabytes of shadow. */
	if (limit(RLIMIT_AS, l->memory_bytes) < 0)
		return err_sys(e, "set limits");
#endif
	return 0;
}

static int keep_file_caps(struct err *e)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
			  CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
			  CAP_SETFCAP, -1) < 0 ||
	    capng_apply(CAPNG_SELECT_CAPS) < 0)
		return err_set(e, -EPERM, "drop capabilities");
	return 0;
}

static int filter_calls(struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = ctx ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(allowed); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r < 0 ? err_wrap(e, r, "seccomp") : 0;
}

int sandbox_enter(const char *dir, const struct sandbox_limits *l,
		  struct err *e)
{
	int r = confine(dir, e);

	if (r == 0)
		r = set_limits(l, e);
	if (r == 0)
		r = keep_file_caps(e);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = err_sys(e, "no_new_privs");
	if (r == 0)
		r = filter_calls(e);
	return r;
}

int sandbox_exec(char *const argv[], const struct sandbox_limits *l,
		 struct err *e)
{
	char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char locale[] = "LC_ALL=C";
	char *const env[] = { path, locale, NULL };
	int r = set_limits(l, e);

	if (r < 0)
		return r;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return err_sys(e, "become nobody");
	/* The change of user has cleared the first. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	execvpe(argv[0], argv, env);
	return err_sys(e, "execute '%s'", argv[0]);
}
