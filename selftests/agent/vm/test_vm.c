// SPDX-License-Identifier: Apache-2.0
/*
 * VMs with a real guest: resized, watched, killed. What the guest has is read
 * through its serial console, not by the agent that the code under test uses.
 *
 * LANE: native
 * SECONDS: 600
 */
#include "selftests/harness.h"
#include "selftests/agent/vm/guest.h"
#include "qmp/qga.h"

#define BOOT_MS   60000
#define RESIZE_MS 90000

#define NEED_IMAGE()                                \
	do {                                        \
		const char *why_ = guest_missing(); \
		if (why_)                           \
			SKIP(why_);                 \
	} while (0)

TEST(grows_and_shrinks_as_the_guest_sees_it)
{
	struct guest g;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	unsigned long long small;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(guest_cpus(&g), 1);
	small = guest_mem_kib(&g);
	EXPECT_GE(small, 140 << 10);

	EXPECT_EQ(guest_resize(&g, 3000, 768, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 3000);
	EXPECT_EQ(res.actual.mem_bytes, 768 * MIB);
	EXPECT_EQ(res.cpus_online, 3);
	EXPECT_EQ(guest_cpus(&g), 3);
	EXPECT_EQ(guest_mem_gain_mib(&g, small), 512);

	EXPECT_EQ(guest_resize(&g, 1500, 512, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 1500);
	EXPECT_EQ(guest_cpus(&g), 2);
	EXPECT_EQ(guest_mem_gain_mib(&g, small), 256);

	EXPECT_EQ(guest_resize(&g, 5000, 512, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_INFEASIBLE);
	EXPECT_STREQ(res.why, "5 CPUs wanted, the node has 4");
	EXPECT_EQ(res.actual.cpu_milli, 1500);
	EXPECT_EQ(guest_cpus(&g), 2);

	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(guest_cpus(&g), 1);
	EXPECT_EQ(guest_mem_gain_mib(&g, small), 0);
	guest_end(&g);
}

/* What the agent would do to the cgroups, in the order in which it is asked. */
struct host {
	char log[4096];
	pid_t tids[8];
	int nr_tids;
};

static int note_cpu(void *ctx, uint64_t milli, struct err *e)
{
	struct host *h = ctx;
	size_t len = strlen(h->log);

	(void)e;
	snprintf(h->log + len, sizeof(h->log) - len, "cpu %d ", (int)milli);
	return 0;
}

static int note_memory(void *ctx, uint64_t bytes, struct err *e)
{
	struct host *h = ctx;
	size_t len = strlen(h->log);

	(void)e;
	snprintf(h->log + len, sizeof(h->log) - len, "mem %d ",
		 (int)(bytes / MIB));
	return 0;
}

static int note_vcpu(void *ctx, pid_t tid, struct err *e)
{
	struct host *h = ctx;

	(void)e;
	if (h->nr_tids < 8)
		h->tids[h->nr_tids++] = tid;
	return 0;
}

TEST(host_limits_go_first_up_and_last_down)
{
	struct host host = { 0 };
	struct guest g;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	struct vm_opts opts;
	char task[64];

	NEED_IMAGE();
	guest_init(&g, 500, 256);
	ASSERT_EQ(guest_start(&g, &e), 0);
	close(g.console);
	g.console = -1;
	vm_free(g.vm); /* the agent restarts, and finds the VM running */
	opts = (struct vm_opts){ .qmp_path = g.cmd->qmp_path,
				 .qga_path = g.cmd->qga_path,
				 .console_path = g.cmd->console_path,
				 .tcg = true,
				 .host = { note_cpu, note_memory, note_vcpu,
					   &host } };
	ASSERT_EQ(vm_open(&opts, &g.vm, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(host.nr_tids, 1);
	EXPECT_EQ(guest_resize(&g, 500, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 500);
	EXPECT_STREQ(host.log, "mem 256 cpu 500 ");
	host.log[0] = '\0';
	EXPECT_EQ(guest_resize(&g, 1250, 512, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(res.actual.cpu_milli, 1250);
	EXPECT_STREQ(host.log, "mem 512 cpu 1250 ");
	EXPECT_EQ(host.nr_tids, 2);
	snprintf(task, sizeof(task), "/proc/%d/task/%d", g.pid, host.tids[1]);
	EXPECT_EQ(access(task, F_OK), 0);
	host.log[0] = '\0';
	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(strncmp(host.log, "mem 512", 7) != 0, 1);
	EXPECT_EQ(strstr(host.log, "cpu 1000 ") != NULL, 1);
	EXPECT_EQ(strstr(host.log, "mem 256 ") != NULL, 1);
	guest_end(&g);
}

TEST(shrink_below_use_is_refused_with_figures)
{
	struct guest g;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };

	NEED_IMAGE();
	guest_init(&g, 1000, 768);
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(guest_resize(&g, 1000, 768, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	/* 300 MiB that cannot go: a tmpfs, and no swap */
	EXPECT_EQ(
		guest_shell(
			&g,
			"mount -t tmpfs -o size=400m x /tmp; dd if=/dev/zero of=/tmp/x bs=1M count=300",
			RESIZE_MS),
		0);
	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_INFEASIBLE);
	EXPECT_EQ(strncmp(res.why, "the guest uses ", 15), 0);
	EXPECT_EQ(strstr(res.why,
			 "Mi of its 768Mi: it cannot shrink to 256Mi") != NULL,
		  1);
	EXPECT_EQ(res.actual.mem_bytes, 768 * MIB);
	/* once it is free, the same wish is granted */
	EXPECT_EQ(guest_shell(&g, "rm /tmp/x", RESIZE_MS), 0);
	EXPECT_EQ(guest_resize(&g, 1000, 256, RESIZE_MS, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	guest_end(&g);
}

TEST(guest_without_virtio_mem_gets_memory_modules)
{
	struct guest g;
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	unsigned long long before;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	g.spec.kernel_args = (char *)"module_blacklist=virtio_mem";
	g.cfg.image.elastic = false;
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	before = guest_mem_kib(&g);
	EXPECT_EQ(guest_resize(&g, 1000, 384, 40000, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(guest_mem_gain_mib(&g, before), 128);
	EXPECT_EQ(guest_resize(&g, 1000, 256, 40000, &res, &e), 0);
	EXPECT_STREQ(res.why, "");
	EXPECT_EQ(res.state, VM_RESIZE_DONE);
	EXPECT_EQ(guest_mem_gain_mib(&g, before), 0);
	guest_end(&g);
}

TEST(guest_without_an_agent_is_told_apart)
{
	struct guest g;
	struct vm_size want = { 2000, 256 * MIB };
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	struct vm_facts facts;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	g.spec.kernel_args = (char *)"rdinit=/bin/sh";
	ASSERT_EQ(guest_start(&g, &e), 0);
	EXPECT_EQ(guest_hear(&g, "# ", BOOT_MS), 0);
	EXPECT_EQ(guest_wait(&g, VM_RUNNING, false, 1000, &st), 0);
	EXPECT_EQ(st.agent, false);
	EXPECT_EQ(vm_resize_sync(g.vm, &want, &res, &e), 0);
	EXPECT_EQ(res.state, VM_RESIZE_IN_PROGRESS);
	EXPECT_STREQ(
		res.why,
		"2 vCPUs are plugged in, but no guest agent answers to confirm that the guest uses them");
	EXPECT_EQ(res.cpus_plugged, 2);
	EXPECT_EQ(res.actual.cpu_milli, 1000);
	EXPECT_EQ(vm_facts(g.vm, 100, &facts, &e), -EHOSTUNREACH);
	EXPECT_STREQ(
		e.msg,
		"no guest agent answers in this VM: if it is not still booting, install qemu-guest-agent in its image");
	guest_end(&g);
}

TEST(runs_programs_and_tells_facts)
{
	const char *const argv[] = { "/bin/sh", "-c",
				     "cat; echo bad >&2; exit $CODE", NULL };
	const char *const env[] = { "CODE=7", NULL };
	struct qga_exec_result out = { 0 };
	struct vm_facts facts;
	struct vm_status st;
	struct err e = { 0 };
	struct guest g;

	NEED_IMAGE();
	guest_init(&g, 2000, 256);
	g.spec.public_key = (char *)"ssh-ed25519 AAAATEST selftest";
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(vm_exec(g.vm, argv, env, "in\n", 3, 10000, NULL, &out, &e),
		  0);
	EXPECT_STREQ(e.msg, "");
	EXPECT_EQ(out.code, 7);
	EXPECT_STREQ(out.out ? out.out : "", "in\n");
	EXPECT_STREQ(out.err_out ? out.err_out : "", "bad\n");
	qga_exec_result_clear(&out);
	EXPECT_EQ(vm_facts(g.vm, 5000, &facts, &e), 0);
	EXPECT_EQ(facts.cpus_online, 2);
	EXPECT_EQ(facts.mem_total_bytes / 1024, guest_mem_kib(&g));
	/* the seed has arrived */
	EXPECT_EQ(guest_shell(&g, "cat /root/.ssh/authorized_keys; hostname",
			      10000),
		  0);
	EXPECT_EQ(strstr(g.heard, "\nssh-ed25519 AAAATEST selftest") != NULL,
		  1);
	EXPECT_EQ(strstr(g.heard, "\nguest\r") != NULL, 1);
	guest_end(&g);
}

TEST(pauses_resets_and_powers_down)
{
	struct vm_status st;
	struct err e = { 0 };
	struct guest g;
	int status = -1;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	ASSERT_EQ(guest_start(&g, &e), 0);
	ASSERT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_EQ(vm_pause(g.vm, &e), 0);
	EXPECT_EQ(guest_wait(&g, VM_PAUSED, false, 5000, &st), 0);
	EXPECT_EQ(vm_resume(g.vm, &e), 0);
	EXPECT_EQ(guest_wait(&g, VM_RUNNING, false, 5000, &st), 0);
	EXPECT_EQ(st.resets, 0);
	EXPECT_EQ(vm_reset(g.vm, &e), 0);
	g.heard[0] = '\0';
	EXPECT_EQ(guest_hear(&g, "# ", BOOT_MS), 0);
	EXPECT_EQ(guest_wait(&g, VM_RUNNING, true, BOOT_MS, &st), 0);
	EXPECT_GE(st.resets, 1); /* SeaBIOS may reset once more */
	EXPECT_EQ(vm_powerdown(g.vm, &e), 0);
	EXPECT_EQ(guest_wait(&g, VM_GONE, false, BOOT_MS, &st), 0);
	EXPECT_STREQ(st.why, "QEMU has closed the connection");
	EXPECT_EQ(waitpid(g.pid, &status, 0), g.pid);
	EXPECT_EQ(status, 0);
	g.pid = 0;
	EXPECT_EQ(access("console.log", R_OK), 0);
	guest_end(&g);
}

TEST(killed_qemu_is_noticed_in_a_resize)
{
	struct vm_size want = { 2000, 512 * MIB };
	struct vm_resize res = { 0 };
	struct vm_status st;
	struct err e = { 0 };
	struct guest g;
	int r = 0;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	ASSERT_EQ(guest_start(&g, &e), 0);
	EXPECT_EQ(vm_resize_sync(g.vm, &want, &res, &e), 0);
	kill(g.pid, SIGKILL);
	for (int i = 0; i < 100 && r == 0; i++)
		r = vm_resize_sync(g.vm, &want, &res, &e);
	EXPECT_EQ(r, -EPIPE);
	EXPECT_STREQ(e.msg, "QEMU has closed the connection");
	EXPECT_EQ(guest_wait(&g, VM_GONE, false, 5000, &st), 0);
	EXPECT_EQ(vm_quit(g.vm, &e), 0);
	guest_end(&g);
}

TEST(unbootable_disk_says_so_on_the_console)
{
	struct vm_status st;
	struct err e = { 0 };
	struct guest g;
	FILE *f;

	NEED_IMAGE();
	guest_init(&g, 1000, 256);
	f = fopen("zero.raw", "w");
	ASSERT_EQ(f && ftruncate(fileno(f), 16 << 20) == 0, 1);
	fclose(f);
	g.cfg.image =
		(struct vm_image){ .disk = "zero.raw", .disk_format = "raw" };
	ASSERT_EQ(guest_start(&g, &e), 0);
	EXPECT_EQ(guest_hear(&g, "No bootable device", BOOT_MS), 0);
	EXPECT_EQ(guest_wait(&g, VM_RUNNING, false, 5000, &st), 0);
	EXPECT_EQ(st.agent, false);
	guest_end(&g);
}

TEST(no_qemu_yet_is_starting)
{
	struct vm_opts opts = { .qmp_path = "./none",
				.qga_path = "./none",
				.console_path = "./none" };
	struct vm_size want = { 1000, 256 * MIB };
	struct vm_resize res;
	struct vm_status st;
	struct err e = { 0 };
	struct vm *vm = NULL;
	int fd = -1;

	ASSERT_EQ(vm_open(&opts, &vm, &e), 0);
	EXPECT_EQ(vm_sync(vm, &st, &e), 0);
	EXPECT_STREQ(vm_state_name(st.state), "starting");
	EXPECT_STREQ(st.why, "connect to './none': No such file or directory");
	EXPECT_GE(st.retry_ms, 1);
	EXPECT_EQ(vm_resize_sync(vm, &want, &res, &e), -EAGAIN);
	EXPECT_STREQ(e.msg, "QEMU is not there yet");
	EXPECT_EQ(vm_pause(vm, &e), -EAGAIN);
	EXPECT_EQ(vm_quit(vm, &e), 0);
	EXPECT_EQ(vm_console_open(vm, &fd, &e), -ENOENT);
	vm_free(vm);
}

TEST_MAIN()
