// SPDX-License-Identifier: Apache-2.0
/*
 * First process of the guest test lane.
 *
 * The host's root arrives read-only over virtiofs and gets a tmpfs on top, so
 * tests find every tool and library at its usual path and can harm nothing.
 * cgroup v2 alone is mounted, as on a current distribution. Then the command
 * in the kernel's arguments after "--" runs with the port "arktos.tap" as its
 * output; its exit status is the last line there. Ends with a power-off.
 *
 * Started later on as '/proc/1/exe hold CGROUP' it is hold.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hold.h"

#define PORT_WAIT_TRIES 500

static void die(const char *what)
{
	fprintf(stderr, "lane: %s: %m\n", what);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void must_mount(const char *from, const char *to, const char *type,
		       unsigned long flags, const char *data)
{
	if (mkdir(to, 0755) && errno != EEXIST)
		die(to);
	if (mount(from, to, type, flags, data))
		die(to);
}

static void insmod_all(void)
{
	char path[256];
	FILE *f = fopen("/modules.list", "re");

	while (f && fgets(path, sizeof(path), f)) {
		int fd;

		path[strcspn(path, "\n")] = '\0';
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			die(path);
		close(fd);
	}
	if (f)
		fclose(f);
}

/* What udev would make; bash's <(...) needs them. */
static void link_std(void)
{
	if (symlink("/proc/self/fd", "/root/dev/fd") ||
	    symlink("/proc/self/fd/0", "/root/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/root/dev/stdout") ||
	    symlink("/proc/self/fd/2", "/root/dev/stderr"))
		die("/root/dev/fd");
}

static void mount_root(void)
{
	must_mount("host", "/host", "virtiofs", MS_RDONLY, NULL);
	must_mount("tmpfs", "/top", "tmpfs", 0, "mode=755");
	mkdir("/top/upper", 0755), mkdir("/top/work", 0755);
	must_mount("overlay", "/root", "overlay", 0,
		   "lowerdir=/host,upperdir=/top/upper,workdir=/top/work");
	must_mount("proc", "/root/proc", "proc", 0, NULL);
	must_mount("sysfs", "/root/sys", "sysfs", 0, NULL);
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL))
		die("/root/dev");
	link_std();
	/* What tests write is on file systems of its own: an overlay cannot be
	 * the upper layer of another one. */
	must_mount("tmpfs", "/root/tmp", "tmpfs", 0, "mode=1777");
	must_mount("tmpfs", "/root/run", "tmpfs", 0, "mode=755");
	must_mount("tmpfs", "/root/var/tmp", "tmpfs", 0, "mode=1777");
	must_mount("tmpfs", "/root/var/lib/arktos", "tmpfs", 0, "mode=755");
	must_mount("tmpfs", "/root/var/lib/containerd", "tmpfs", 0, "mode=755");
	must_mount("devpts", "/root/dev/pts", "devpts", 0,
		   "gid=5,mode=620,ptmxmode=666");
	must_mount("tmpfs", "/root/dev/shm", "tmpfs", 0, "mode=1777");
	must_mount("cgroup2", "/root/sys/fs/cgroup", "cgroup2", 0, NULL);
	must_mount("bpf", "/root/sys/fs/bpf", "bpf", 0, NULL);
	must_mount("tracefs", "/root/sys/kernel/tracing", "tracefs", 0, NULL);
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("the new root");
}

/* The name of a virtio port is only in sysfs: there is no udev here. */
static int open_tap(void)
{
	char path[64], name[64];
	int fd;

	for (int i = 0; i < PORT_WAIT_TRIES; i++) {
		for (int p = 0; p < 4; p++) {
			ssize_t n = 0;

			snprintf(path, sizeof(path),
				 "/sys/class/virtio-ports/vport%dp1/name", p);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd >= 0) {
				n = read(fd, name, sizeof(name) - 1);
				close(fd);
			}
			if (n < 10 || strncmp(name, "arktos.tap", 10))
				continue;
			snprintf(path, sizeof(path), "/dev/vport%dp1", p);
			return open(path, O_WRONLY | O_CLOEXEC);
		}
		usleep(10000);
	}
	errno = ENODEV;
	return -1;
}

static int run(char **argv, int tap)
{
	struct rlimit files = { 65536, 65536 };
	int status = 0;
	pid_t child, pid;

	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		setrlimit(RLIMIT_NOFILE, &files);
		dup2(null, 0);
		dup2(tap, 1);
		dup2(tap, 2);
		execv(argv[0], argv);
		fprintf(stderr, "lane: %s: %m\n", argv[0]);
		_exit(127);
	}
	while ((pid = wait(&status)) != child)
		if (pid < 0 && errno == ECHILD)
			die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	int console, tap;

	if (getpid() != 1)
		return argc == 3 ? hold(argv[2]) : 2;
	must_mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	for (int i = 0; console >= 0 && i < 3; i++)
		dup2(console, i);
	if (argc < 2) {
		errno = EINVAL;
		die("no command after -- in the kernel's arguments");
	}
	insmod_all();
	mount_root();
	setenv("PATH",
	       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	       1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "dumb", 1);
	tap = open_tap();
	if (tap < 0)
		die("the port arktos.tap");
	dprintf(tap, "# lane-status %d\n", run(argv + 1, tap));
	close(tap);
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
