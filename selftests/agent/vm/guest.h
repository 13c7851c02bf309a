/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real VM for tests: the demo image's guest, started with the command line
 * that the agent would use, and spoken to through its serial console, which
 * knows nothing of the guest agent.
 */
#ifndef SELFTESTS_AGENT_VM_GUEST_H
#define SELFTESTS_AGENT_VM_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/spec.h"
#include "agent/vm/command.h"
#include "agent/vm/vm.h"
#include "lib/err.h"
#include "selftests/agent/vm/unpacker.h"
#include "selftests/harness.h"

#define MIB (1ULL << 20)

static char guest_tree[4096]; /* where the sources are; tests chdir away */
static char guest_kernel[4200], guest_initrd[4200];

struct guest {
	struct vm_spec spec;
	struct vm_config cfg;
	struct vm_command *cmd;
	struct vm *vm;
	pid_t pid;
	int console;
	bool prompted; /* the shell takes what is typed, from now on */
	char heard[1 << 16];
	char dir[4096];
};

static inline long long guest_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Before main: find the image, or build it. NULL tells what is missing. */
static inline const char *guest_missing(void)
{
	if (access(guest_kernel, R_OK) == 0)
		return NULL;
	return "no VM image: tools/mkimage/mkimage.sh vm failed";
}

__attribute__((constructor)) static inline void guest_find_image(void)
{
	if (!getcwd(guest_tree, sizeof(guest_tree)))
		return;
	snprintf(guest_kernel, sizeof(guest_kernel),
		 "%s/build/images/vm/vmlinux", guest_tree);
	snprintf(guest_initrd, sizeof(guest_initrd),
		 "%s/build/images/vm/initrd.img", guest_tree);
	if (access(guest_kernel, R_OK) < 0 &&
	    system("BUILD=build tools/mkimage/mkimage.sh vm >&2") != 0)
		fprintf(stderr, "# mkimage failed\n");
}

#define GUEST_CMDLINE                                                             \
	"console=ttyS0 quiet panic=1 reboot=t cryptomgr.notests "                 \
	"random.trust_cpu=on swiotlb=noforce memhp_default_state=online_movable " \
	"initcall_blacklist=jent_mod_init,load_system_certificate_list,"          \
	"trace_eval_init"

static inline void guest_init(struct guest *g, uint64_t cpu_milli,
			      uint64_t mem_mib)
{
	test_alarm(200); /* boots under emulation, on a busy machine */
	memset(g, 0, sizeof(*g));
	g->console = -1;
	if (!getcwd(g->dir, sizeof(g->dir)))
		exit(1);
	g->cfg = (struct vm_config){
		.uid = "selftest",
		.hostname = "guest",
		.spec = &g->spec,
		.unpacker = unpacker_path(),
		.size = { cpu_milli, mem_mib * MIB },
		.node = { 4000, 4096 * MIB },
		.image = { .kernel = guest_kernel,
			   .initrd = guest_initrd,
			   .cmdline = GUEST_CMDLINE,
			   .elastic = true },
		.net.tap_fd = -1,
		.run_dir = g->dir,
		.state_dir = g->dir,
		.console_log = "console.log",
	};
}

static inline pid_t guest_spawn(char *const *argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static inline int guest_attach(struct guest *g, struct err *e)
{
	struct vm_opts opts = { .qmp_path = g->cmd->qmp_path,
				.qga_path = g->cmd->qga_path,
				.console_path = g->cmd->console_path,
				.tcg = g->cfg.accel == VM_ACCEL_TCG,
				.limit = g->cfg.node };

	return vm_open(&opts, &g->vm, e);
}

/* Until @state, or @agent if that is wished for. */
static inline int guest_wait(struct guest *g, enum vm_state state, bool agent,
			     int timeout_ms, struct vm_status *st)
{
	long long until = guest_now_ms() + timeout_ms;

	while (guest_now_ms() < until) {
		struct pollfd pfd = { .fd = vm_fd(g->vm), .events = POLLIN };
		int r = vm_sync(g->vm, st, NULL);

		if (r < 0)
			return r;
		if (st->state == state && (!agent || st->agent))
			return 0;
		poll(&pfd, 1, st->retry_ms ? (int)st->retry_ms : 100);
	}
	return -ETIMEDOUT;
}

static inline int guest_start(struct guest *g, struct err *e)
{
	struct vm_status st;
	int r = vm_command_build(&g->cfg, &g->cmd, e);

	if (r == 0)
		r = vm_prepare(&g->cfg, g->cmd, getuid(), getgid(), e);
	if (r == 0) {
		g->pid = guest_spawn(g->cmd->argv);
		r = guest_attach(g, e);
	}
	if (r == 0)
		r = guest_wait(g, VM_RUNNING, false, 10000, &st);
	if (r == 0)
		r = vm_console_open(g->vm, &g->console, e);
	return r;
}

static inline void guest_end(struct guest *g)
{
	vm_free(g->vm);
	vm_command_free(g->cmd);
	if (g->console >= 0)
		close(g->console);
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
}

/* Read the console until @text turns up. What came is in g->heard. */
static inline int guest_hear(struct guest *g, const char *text, int timeout_ms)
{
	long long until = guest_now_ms() + timeout_ms;
	size_t len = strlen(g->heard);

	while (!strstr(g->heard, text)) {
		struct pollfd pfd = { .fd = g->console, .events = POLLIN };
		long long left = until - guest_now_ms();
		ssize_t n;

		if (left <= 0 || len >= sizeof(g->heard) - 1)
			return -ETIMEDOUT;
		poll(&pfd, 1, (int)left);
		n = read(g->console, g->heard + len,
			 sizeof(g->heard) - 1 - len);
		if (n == 0)
			return -EPIPE;
		if (n > 0)
			len += (size_t)n;
		g->heard[len] = '\0';
	}
	return 0;
}

/* Run @command in the guest's console shell; its output is in g->heard. */
static inline int guest_shell(struct guest *g, const char *command,
			      int timeout_ms)
{
	static int nr;
	char line[512], mark[32];

	/* What is typed before the shell is there gets lost. */
	if (!g->prompted && guest_hear(g, "# ", 60000) < 0)
		return -ETIMEDOUT;
	g->prompted = true;
	/* The echo of the line has the quotes, the output has not. */
	snprintf(mark, sizeof(mark), "end-%d.", ++nr);
	snprintf(line, sizeof(line), "%s; echo 'end'-%d.\n", command, nr);
	g->heard[0] = '\0';
	if (write(g->console, line, strlen(line)) < 0)
		return -errno;
	return guest_hear(g, mark, timeout_ms);
}

static inline unsigned long long
guest_number(struct guest *g, const char *command, const char *key)
{
	const char *at;

	if (guest_shell(g, command, 30000) < 0)
		return 0;
	at = strrchr(g->heard, '\n');
	while (at && at > g->heard && strncmp(at + 1, key, strlen(key)) != 0) {
		at--;
		while (at > g->heard && *at != '\n')
			at--;
	}
	return at ? strtoull(at + 1 + strlen(key), NULL, 10) : 0;
}

static inline unsigned long long guest_cpus(struct guest *g)
{
	return guest_number(g, "echo n=$(nproc)", "n=");
}

static inline unsigned long long guest_mem_kib(struct guest *g)
{
	return guest_number(
		g, "echo m=$(awk '/MemTotal/{print $2}' /proc/meminfo)", "m=");
}

/* How many MiB there are more than @was_kib, to the nearest: a kernel that has
 * just come up still gives some pages of its own back. */
static inline long long guest_mem_gain_mib(struct guest *g,
					   unsigned long long was_kib)
{
	long long gain_kib = (long long)guest_mem_kib(g) - (long long)was_kib;

	return (gain_kib + (gain_kib < 0 ? -512 : 512)) / 1024;
}

/* Reconcile until it is no longer in progress. */
static inline int guest_resize(struct guest *g, uint64_t cpu_milli,
			       uint64_t mem_mib, int timeout_ms,
			       struct vm_resize *res, struct err *e)
{
	struct vm_size want = { cpu_milli, mem_mib * MIB };
	long long until = guest_now_ms() + timeout_ms;

	for (;;) {
		struct pollfd pfd = { .fd = vm_fd(g->vm), .events = POLLIN };
		int r = vm_resize_sync(g->vm, &want, res, e);

		if (r < 0)
			return r;
		if (res->state != VM_RESIZE_IN_PROGRESS)
			return 0;
		if (guest_now_ms() >= until)
			return -ETIMEDOUT;
		poll(&pfd, 1, (int)res->retry_ms);
	}
}

#endif /* SELFTESTS_AGENT_VM_GUEST_H */
