// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the demo VM image: the smallest user space that is a good guest.
 *
 * It loads the modules listed by the image, brings the network up from the
 * kernel's arguments or from a NoCloud seed, brings hot-plugged CPUs online,
 * keeps the services of guest_init.h running, and powers off when asked to (by
 * the ACPI button, the guest agent, or busybox poweroff).
 *
 * Static and single-threaded; it waits in one poll(). It is linked with nothing
 * of the tree: it runs in a guest that has only what the image carries. Started
 * with root= among the kernel's arguments it is only the first stage, which
 * mounts that disk and starts itself from there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/mkimage/guest_init.h"

#define BUTTONS_MAX 4

static struct service {
	const char *const *argv;
	const char *needs; /* started once this exists */
	bool on_tty;
	pid_t pid;
	time_t started;
} services[] = {
	{ .argv = (const char *const[]){ "/usr/sbin/qemu-ga", "-m",
					 "virtio-serial", "-p", GUEST_GA_PORT,
					 "-t", "/run", NULL },
	  .needs = GUEST_GA_PORT },
	{ .argv = (const char *const[]){ "/bin/busybox", "httpd", "-f", "-p",
					 "80", "-h", "/srv/www", NULL },
	  .needs = "/srv/www" },
	{ .argv = (const char *const[]){ "/bin/sh", "-l", NULL },
	  .needs = "/dev/ttyS0",
	  .on_tty = true },
};

static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Modules are named one a line, in the order in which they must be loaded. */
void guest_load_modules(const char *list)
{
	char path[256];
	FILE *f = fopen(list, "re");

	while (f && fgets(path, sizeof(path), f)) {
		int fd;

		path[strcspn(path, "\n")] = '\0';
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 ||
		    (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			fprintf(stderr, "init: %s: %m\n", path);
		if (fd >= 0)
			close(fd);
	}
	if (f)
		fclose(f);
}

/* All of these but devpts move along when the root does. */
static void mount_all(void)
{
	mkdir("/dev", 0755), mkdir("/proc", 0555), mkdir("/sys", 0555);
	mkdir("/run", 0755), mkdir("/tmp", 01777);
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
}

static void mount_devpts(void)
{
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
	      "gid=5,mode=620,ptmxmode=666");
}

static void console_open(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

/* The disk named by root=, once it is there; NULL when there is no root=. */
static const char *wait_for_root(void)
{
	struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	static char dev[64];
	char root[64];

	if (!guest_arg("root", root, sizeof(root)) ||
	    strncmp(root, "UUID=", 5) != 0)
		return NULL;
	for (int i = 0; i < 500; i++) {
		if (guest_disk_by_uuid(root + 5, dev, sizeof(dev)))
			break;
		nanosleep(&tick, NULL);
	}
	return dev;
}

/* Go on from the disk, where this program is /sbin/init too. */
static void switch_root(const char *dev)
{
	mkdir("/newroot", 0755);
	if (mount(dev, "/newroot", "ext4", MS_NOATIME, NULL)) {
		fprintf(stderr, "init: mount '%s': %m; going on without it\n",
			dev);
		return;
	}
	mount("/dev", "/newroot/dev", NULL, MS_MOVE, NULL);
	mount("/proc", "/newroot/proc", NULL, MS_MOVE, NULL);
	mount("/sys", "/newroot/sys", NULL, MS_MOVE, NULL);
	mount("/run", "/newroot/run", NULL, MS_MOVE, NULL);
	if (chdir("/newroot") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		return;
	execl("/sbin/init", "init", GUEST_SECOND_STAGE, NULL);
	fprintf(stderr, "init: /sbin/init on '%s': %m\n", dev);
}

static void service_exec(const struct service *s)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (s->on_tty) {
		int fd = open("/dev/ttyS0", O_RDWR); /* becomes our terminal */

		for (int i = 0; fd >= 0 && i < 3; i++)
			dup2(fd, i);
		if (fd > 2)
			close(fd);
	}
	execv(s->argv[0], (char *const *)s->argv);
	_exit(127);
}

/* Start what is not running; what dies at once is tried once a second. True
 * when nothing is left to start. */
static bool services_start(void)
{
	bool done = true;

	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		struct service *s = &services[i];

		if (s->pid > 0 || access(s->needs, F_OK))
			continue;
		if (s->started && s->started == now_s()) {
			done = false;
			continue;
		}
		s->started = now_s();
		s->pid = fork();
		if (s->pid == 0)
			service_exec(s);
	}
	return done;
}

static void reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (size_t i = 0; i < sizeof(services) / sizeof(services[0]);
		     i++)
			if (services[i].pid == pid)
				services[i].pid = 0;
	}
}

static void shut_down(int how)
{
	struct timespec tick = { .tv_nsec = 10 * 1000 * 1000 };

	kill(-1, SIGTERM);
	kill(-1, SIGHUP); /* shells ignore SIGTERM */
	for (int i = 0; i < 200; i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			break;
		nanosleep(&tick, NULL);
	}
	kill(-1, SIGKILL);
	sync();
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	reboot(how);
}

/* As busybox's halt, poweroff and reboot ask for it. */
static void signal_seen(int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap();
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			shut_down(RB_AUTOBOOT);
		else if (si.ssi_signo == SIGUSR1)
			shut_down(RB_HALT_SYSTEM);
		else if (si.ssi_signo == SIGUSR2 || si.ssi_signo == SIGPWR)
			shut_down(RB_POWER_OFF);
	}
}

static void button_seen(int fd)
{
	struct input_event ev;

	while (read(fd, &ev, sizeof(ev)) == sizeof(ev))
		if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value == 1)
			shut_down(RB_POWER_OFF);
}

static int uevent_open(void)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		fprintf(stderr, "init: uevents: %m\n");
	return fd;
}

/* "add@/devices/system/cpu/cpu1": a CPU that was plugged in waits to be used.
 * One taken offline by the host's wish sends "offline", and is left alone. */
static void uevent_seen(int fd)
{
	static const char cpu[] = "add@/devices/system/cpu/cpu";
	char msg[4096];
	ssize_t n;

	while ((n = recv(fd, msg, sizeof(msg) - 1, 0)) > 0 ||
	       (n < 0 && errno == ENOBUFS)) {
		if (n < 0) {
			guest_cpus_online(); /* events were lost */
			continue;
		}
		msg[n] = '\0';
		if (strncmp(msg, cpu, sizeof(cpu) - 1) == 0)
			guest_cpu_online(msg + sizeof(cpu) - 1);
		else if (strstr(msg, "/virtio-ports/"))
			guest_ports_link();
	}
}

static void run(void)
{
	struct pollfd p[2 + BUTTONS_MAX];
	char name[32];
	sigset_t all;
	int nr = 2;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	p[0].fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	p[1].fd = uevent_open();
	for (int i = 0; i < BUTTONS_MAX; i++) {
		snprintf(name, sizeof(name), "/dev/input/event%d", i);
		p[nr].fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		nr += p[nr].fd >= 0;
	}
	for (int i = 0; i < nr; i++)
		p[i].events = POLLIN;

	guest_cpus_online();
	guest_ports_link();
	for (;;) {
		reap();
		poll(p, nr, services_start() ? -1 : 1000);
		signal_seen(p[0].fd);
		uevent_seen(p[1].fd);
		for (int i = 2; i < nr; i++)
			button_seen(p[i].fd);
	}
}

int main(int argc, char **argv)
{
	bool second = argc > 1 && strcmp(argv[1], GUEST_SECOND_STAGE) == 0;
	const char *root;

	setenv("PATH", "/usr/local/bin:/bin:/usr/bin:/sbin:/usr/sbin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "vt100", 1);
	reboot(RB_DISABLE_CAD);
	if (!second) {
		mount_all();
		console_open();
		guest_load_modules("/lib/modules/boot.list");
		root = wait_for_root();
		if (root)
			switch_root(root);
	}
	mount_devpts();
	mkdir("/etc", 0755), mkdir("/root", 0700);
	guest_configure();
	run();
	return 0;
}
