// SPDX-License-Identifier: Apache-2.0
/* What the kernel has to be able to do for containers. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/local/doctor.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/fs.h"
#include "lib/str.h"

#define KERNEL_MAJOR 6
#define KERNEL_MINOR 1

#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif

#define NEW_KERNEL "run a kernel 6.1 or later with "

static void check_root(struct doctor *d)
{
	if (geteuid() == 0)
		checks_note(&d->found, "root", VERDICT_OK, "", "yes");
	else
		checks_note(&d->found, "root", VERDICT_FAILED,
			    "run it as root: 'sudo arktos-node ...'",
			    "not root: what follows could not all be tried");
}

static void check_version(struct doctor *d)
{
	int major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
		return;
	if (major > KERNEL_MAJOR ||
	    (major == KERNEL_MAJOR && minor >= KERNEL_MINOR))
		checks_note(&d->found, "kernel", VERDICT_OK, "", "Linux %s",
			    u.release);
	else
		checks_note(&d->found, "kernel", VERDICT_FAILED,
			    "install a kernel 6.1 or later",
			    "Linux %s is older than %d.%d", u.release,
			    KERNEL_MAJOR, KERNEL_MINOR);
}

static bool is_cgroup2(const char *path)
{
	struct statfs st;

	return statfs(path, &st) == 0 &&
	       (unsigned long)st.f_type == CGROUP2_SUPER_MAGIC;
}

static const char *cgroup2_root(void)
{
	return is_cgroup2("/sys/fs/cgroup")           ? "/sys/fs/cgroup"
	       : is_cgroup2("/sys/fs/cgroup/unified") ? "/sys/fs/cgroup/unified"
						      : NULL;
}

static void check_cgroups(struct doctor *d)
{
	auto_buf struct buf b = BUF_INIT;
	const char *root = cgroup2_root();
	char path[64];

	if (!root) {
		checks_note(&d->found, "cgroups", VERDICT_FAILED,
			    "boot with systemd.unified_cgroup_hierarchy=1, or"
			    " mount -t cgroup2 none /sys/fs/cgroup",
			    "no cgroup v2 hierarchy is mounted");
		return;
	}
	snprintf(path, sizeof(path), "%s/cgroup.controllers", root);
	(void)fs_read(AT_FDCWD, path, 4096, &b, NULL); /* empty: none */
	if (b.len && b.data[b.len - 1] == '\n')
		b.data[b.len - 1] = '\0';
	if (strstr(buf_str(&b), "memory") && strstr(buf_str(&b), "cpu"))
		checks_note(&d->found, "cgroups", VERDICT_OK, "", "v2: %s",
			    buf_str(&b));
	else
		checks_note(&d->found, "cgroups", VERDICT_WARNING,
			    "boot with systemd.unified_cgroup_hierarchy=1",
			    "hybrid: cpu and memory come from v1: no memory.high"
			    " and reclaim before a shrink, no pressure per pod"
			    " from those, no io limits for buffered writes");
}

/* A child in the caller's image that ends at once; 0 or -errno. */
static int try_clone(struct clone_args *args)
{
	long pid;
	int status;

	args->exit_signal = SIGCHLD;
	pid = syscall(SYS_clone3, args, sizeof(*args));
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(0);
	while (waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR)
		;
	return 0;
}

/* Our own cgroup of the v2 hierarchy. */
static int own_cgroup(void)
{
	auto_buf struct buf b = BUF_INIT;
	const char *root = cgroup2_root(), *at;
	char path[4200];

	if (!root || fs_read(AT_FDCWD, "/proc/self/cgroup", 65536, &b, NULL))
		return -ENOENT;
	at = str_starts(buf_str(&b), "0::") ? buf_str(&b)
					    : strstr(buf_str(&b), "\n0::");
	if (!at)
		return -ENOENT;
	at += *at == '\n';
	snprintf(path, sizeof(path), "%s%.*s", root, (int)strcspn(at + 3, "\n"),
		 at + 3);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void check_clone(struct doctor *d)
{
	auto_close int cgroup = own_cgroup();
	struct clone_args args = { .flags = CLONE_INTO_CGROUP,
				   .cgroup = (uint64_t)cgroup };
	int r = cgroup < 0 ? -ENOENT : try_clone(&args);

	if (r == 0)
		checks_note(&d->found, "clone3", VERDICT_OK, "",
			    "children start inside their cgroup");
	else
		checks_note(&d->found, "clone3", VERDICT_WARNING,
			    "run it in a delegated cgroup (Delegate=yes)",
			    "CLONE_INTO_CGROUP: %s", strerror(-r));
}

static void check_namespaces(struct doctor *d)
{
	struct clone_args all = { .flags = CLONE_NEWNS | CLONE_NEWPID |
					   CLONE_NEWIPC | CLONE_NEWUTS |
					   CLONE_NEWNET | CLONE_NEWCGROUP };
	struct clone_args user = { .flags = CLONE_NEWUSER };
	int r = try_clone(&all);

	checks_note(&d->found, "namespaces",
		    r == 0 ? VERDICT_OK : VERDICT_FAILED,
		    NEW_KERNEL "all CONFIG_*_NS, and with CAP_SYS_ADMIN",
		    "mnt, pid, ipc, uts, net, cgroup: %s",
		    r == 0 ? "yes" : strerror(-r));
	r = try_clone(&user);
	checks_note(&d->found, "user namespaces",
		    r == 0 ? VERDICT_OK : VERDICT_WARNING,
		    "sysctl user.max_user_namespaces=15000", "%s",
		    r == 0 ? "yes"
			   : "no: root in a pod is root on the host, but"
			     " for its capabilities");
}

/* A detached file system: nothing is mounted anywhere. */
static int try_fs(const char *type)
{
	auto_close int fs = (int)syscall(SYS_fsopen, type, 1 /* CLOEXEC */);

	return fs < 0 ? -errno : 0;
}

static void check_mounts(struct doctor *d)
{
	auto_close int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/",
					   O_CLOEXEC | 1 /* CLONE */);
	int open_errno = tree < 0 ? errno : 0;
	int r = try_fs("tmpfs");

	if (r == 0)
		r = -open_errno;
	checks_note(&d->found, "mount API",
		    r == 0 ? VERDICT_OK : VERDICT_FAILED,
		    NEW_KERNEL "CAP_SYS_ADMIN", "fsopen, open_tree: %s",
		    r == 0 ? "yes" : strerror(-r));
	r = try_fs("overlay");
	checks_note(&d->found, "overlayfs",
		    r == 0 ? VERDICT_OK : VERDICT_FAILED,
		    NEW_KERNEL "CONFIG_OVERLAY_FS: modprobe overlay", "%s",
		    r == 0 ? "yes" : strerror(-r));
}

static void check_pidfd(struct doctor *d)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	checks_note(&d->found, "pidfd", fd >= 0 ? VERDICT_OK : VERDICT_FAILED,
		    NEW_KERNEL "pidfd_open(2) not filtered away", "%s",
		    fd >= 0 ? "yes" : strerror(errno));
}

static void check_pressure(struct doctor *d)
{
	bool there = access("/proc/pressure/cpu", R_OK) == 0;

	checks_note(&d->found, "pressure", there ? VERDICT_OK : VERDICT_WARNING,
		    "boot with psi=1", "%s",
		    there ? "yes"
			  : "no pressure figures: top shows none, and a"
			    " shrinking pod is not watched for stalls");
}

void doctor_kernel(struct doctor *d)
{
	check_root(d);
	check_version(d);
	check_cgroups(d);
	check_clone(d);
	check_namespaces(d);
	check_mounts(d);
	check_pidfd(d);
	check_pressure(d);
}
