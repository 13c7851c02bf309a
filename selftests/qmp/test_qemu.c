// SPDX-License-Identifier: Apache-2.0
/*
 * The typed calls against a real QEMU, which needs no guest for most of them.
 *
 * LANE: native
 * SECONDS: 180
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "selftests/harness.h"
#include "selftests/qmp/peer.h"
#include "lib/err.h"
#include "qmp/block.h"
#include "qmp/machine.h"
#include "qmp/memory.h"
#include "qmp/qga.h"
#include "qmp/qmp.h"

#define MS 10000

struct machine {
	pid_t pid;
	struct qmp *q;
};

static pid_t run(const char *const *argv)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

static int run_wait(const char *const *argv)
{
	int status = -1;

	waitpid(run(argv), &status, 0);
	return status;
}

static void end(struct machine *m)
{
	qmp_free(m->q);
	if (m->pid > 0) {
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
	}
}

/* Until the socket is there: QEMU makes it a little after its start. */
static int connect_soon(struct machine *m, struct err *e)
{
	long long until = peer_now_ms() + MS;
	struct timespec tick = { .tv_nsec = 5000000 };
	int r;

	do {
		r = qmp_open("qmp.sock", MS, &m->q, e);
		if (r < 0)
			nanosleep(&tick, NULL);
	} while (r < 0 && peer_now_ms() < until);
	if (r == 0)
		*e = (struct err){ 0 };
	return r;
}

#define QEMU(...)                                                             \
	((const char *[]){ "qemu-system-x86_64", "-name", "arktos-selftest",  \
			   "-nodefaults", "-no-user-config", "-display",      \
			   "none", "-accel", "tcg", "-qmp",                   \
			   "unix:qmp.sock,server=on,wait=off", ##__VA_ARGS__, \
			   NULL })

static int start(struct machine *m, const char *const *argv, struct err *e)
{
	*m = (struct machine){ .pid = run(argv) };
	return connect_soon(m, e);
}

#define Q35 "-S", "-machine", "q35", "-m", "128M,slots=4,maxmem=2G"

TEST(status_stop_cont_reset_quit)
{
	struct machine m;
	enum qmp_run_state state;
	struct qmp_event ev = { 0 };
	struct qmp_watch *w = NULL;
	struct err e = { 0 };
	bool running = true;
	int status = 0;

	ASSERT_EQ(start(&m, QEMU(Q35, "-no-shutdown"), &e), 0);
	EXPECT_GE(qmp_version(m.q)->major, 7);
	EXPECT_EQ(qmp_query_status(m.q, MS, &state, &running, &e), 0);
	EXPECT_STREQ(qmp_run_state_name(state), "prelaunch");
	EXPECT_EQ(running, false);
	ASSERT_EQ(qmp_watch_add(m.q, "RESUME,STOP,RESET", NULL, NULL, &w), 0);
	EXPECT_EQ(qmp_cont(m.q, MS, &e), 0);
	EXPECT_EQ(qmp_watch_wait(w, MS, &ev, &e), 0);
	EXPECT_STREQ(ev.name, "RESUME");
	qmp_event_clear(&ev);
	EXPECT_EQ(qmp_query_status(m.q, MS, &state, &running, &e), 0);
	EXPECT_EQ(state, QMP_RUN_RUNNING);
	EXPECT_EQ(qmp_stop(m.q, MS, &e), 0);
	EXPECT_EQ(qmp_watch_wait(w, MS, &ev, &e), 0);
	EXPECT_STREQ(ev.name, "STOP");
	qmp_event_clear(&ev);
	EXPECT_EQ(qmp_query_status(m.q, MS, &state, &running, &e), 0);
	EXPECT_EQ(state, QMP_RUN_PAUSED);
	EXPECT_EQ(qmp_system_reset(m.q, MS, &e), 0);
	EXPECT_EQ(qmp_cont(m.q, MS, &e), 0);
	do {
		qmp_event_clear(&ev);
		ASSERT_EQ(qmp_watch_wait(w, MS, &ev, &e), 0);
	} while (strcmp(ev.name, "RESET") != 0);
	qmp_event_clear(&ev);
	EXPECT_EQ(qmp_system_powerdown(m.q, MS, &e), 0);
	qmp_watch_free(w);
	EXPECT_EQ(qmp_quit(m.q, MS, &e), 0);
	EXPECT_EQ(waitpid(m.pid, &status, 0), m.pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(qmp_query_status(m.q, MS, &state, &running, &e), -EPIPE);
	m.pid = 0;
	end(&m);
}

TEST(plugs_a_cpu)
{
	struct machine m;
	struct qmp_cpu_slot *slots = NULL;
	struct qmp_cpu *cpus = NULL;
	struct err e = { 0 };
	char task[64];
	size_t nr = 0;

	ASSERT_EQ(start(&m, QEMU(Q35, "-smp", "1,maxcpus=3"), &e), 0);
	ASSERT_EQ(qmp_query_cpu_slots(m.q, MS, &slots, &nr, &e), 0);
	ASSERT_EQ(nr, 3);
	EXPECT_EQ(slots[2].plugged, true);
	EXPECT_EQ(slots[1].plugged, false);
	EXPECT_EQ(slots[0].vcpus, 1);
	EXPECT_EQ(qmp_cpu_add(m.q, &slots[1], "cpu1", MS, &e), 0);
	EXPECT_EQ(qmp_cpu_add(m.q, &slots[1], "again", MS, &e), -EREMOTEIO);
	ASSERT_EQ(qmp_query_cpus(m.q, MS, &cpus, &nr, &e), 0);
	ASSERT_EQ(nr, 2);
	snprintf(task, sizeof(task), "/proc/%d/task/%d", m.pid, cpus[1].tid);
	EXPECT_EQ(access(task, F_OK), 0);
	free(cpus);
	free(slots);
	end(&m);
}

TEST(plugs_a_dimm_that_no_guest_gives_back)
{
	struct qmp_memory_device *devs = NULL;
	uint64_t base = 0, plugged = 0;
	struct err e = { 0 };
	struct machine m;
	size_t nr = 0;

	ASSERT_EQ(start(&m, QEMU(Q35), &e), 0);
	EXPECT_EQ(qmp_dimm_add(m.q, "d0", 128 << 20, MS, &e), 0);
	EXPECT_EQ(qmp_dimm_add(m.q, "d0", 128 << 20, MS, &e), -EREMOTEIO);
	/* More than maxmem: the backend must not stay behind. */
	EXPECT_EQ(qmp_dimm_add(m.q, "big", 3ULL << 30, MS, &e), -EREMOTEIO);
	EXPECT_EQ(qmp_object_del(m.q, "big-ram", MS, &e), -EREMOTEIO);
	ASSERT_EQ(qmp_query_memory_devices(m.q, MS, &devs, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(devs[0].kind, QMP_MEMORY_DIMM);
	EXPECT_STREQ(devs[0].id, "d0");
	EXPECT_EQ(devs[0].size_bytes, 128 << 20);
	EXPECT_EQ(qmp_query_memory_size(m.q, MS, &base, &plugged, &e), 0);
	EXPECT_EQ(base, 128 << 20);
	EXPECT_EQ(plugged, 128 << 20);
	EXPECT_EQ(qmp_dimm_del(m.q, "d0", MS, 50, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "device_del: the guest has not let go of 'd0'");
	EXPECT_EQ(qmp_dimm_del(m.q, "none", MS, 50, &e), -EREMOTEIO);
	EXPECT_STREQ(e.msg, "device_del: Device 'none' not found");
	free(devs);
	end(&m);
}

TEST(unplugs_what_needs_no_guest)
{
	struct err e = { 0 };
	struct machine m;

	/* A machine without ACPI or a guest: USB devices just go. */
	ASSERT_EQ(start(&m,
			QEMU(Q35, "-device", "qemu-xhci", "-device",
			     "usb-tablet,id=tablet"),
			&e),
		  0);
	EXPECT_EQ(qmp_device_del(m.q, "tablet", MS, MS, &e), 0);
	EXPECT_EQ(qmp_device_del(m.q, "tablet", MS, MS, &e), -EREMOTEIO);
	end(&m);
}

TEST(asks_virtio_mem_and_the_balloon)
{
	struct qmp_memory_device *devs = NULL;
	uint64_t bytes = 1;
	struct err e = { 0 };
	struct machine m;
	size_t nr = 0;

	ASSERT_EQ(start(&m,
			QEMU(Q35, "-object",
			     "memory-backend-ram,id=vm0-ram,size=512M",
			     "-device", "virtio-mem-pci,id=vm0,memdev=vm0-ram",
			     "-device", "virtio-balloon-pci"),
			&e),
		  0);
	EXPECT_EQ(qmp_virtio_mem_request(m.q, "vm0", 256 << 20, MS, &e), 0);
	EXPECT_EQ(qmp_virtio_mem_request(m.q, "vm0", 1000, MS, &e), -EREMOTEIO);
	EXPECT_EQ(qmp_virtio_mem_actual(m.q, "vm0", MS, &bytes, &e), 0);
	EXPECT_EQ(bytes, 0); /* nobody has taken it */
	ASSERT_EQ(qmp_query_memory_devices(m.q, MS, &devs, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_EQ(devs[0].kind, QMP_MEMORY_VIRTIO_MEM);
	EXPECT_EQ(devs[0].requested_bytes, 256 << 20);
	EXPECT_EQ(devs[0].max_bytes, 512 << 20);
	EXPECT_GE(devs[0].block_bytes, 4096);
	EXPECT_EQ(qmp_query_balloon(m.q, MS, &bytes, &e), 0);
	EXPECT_EQ(bytes, 128 << 20);
	free(devs);
	end(&m);
}

static int make_disk(void)
{
	const char *argv[] = { "qemu-img", "create",     "-q",  "-f",
			       "qcow2",    "disk.qcow2", "16M", NULL };

	return run_wait(argv);
}

#define DISK                                                         \
	"-blockdev", "driver=file,node-name=f0,filename=disk.qcow2", \
		"-blockdev", "driver=qcow2,node-name=disk0,file=f0", \
		"-device", "virtio-blk-pci,drive=disk0,id=vd0"

TEST(snapshots_are_saved_loaded_and_deleted)
{
	const char *const nodes[] = { "disk0" };
	struct qmp_snapshot *snaps = NULL;
	struct err e = { 0 };
	struct machine m;
	size_t nr = 9;

	ASSERT_EQ(make_disk(), 0);
	ASSERT_EQ(start(&m, QEMU(Q35, DISK), &e), 0);
	EXPECT_EQ(qmp_snapshot_save(m.q, "one", "disk0", nodes, 1, MS, &e), 0);
	EXPECT_STREQ(e.msg, "");
	EXPECT_EQ(qmp_snapshot_save(m.q, "one", "disk0", nodes, 1, MS, &e),
		  -EREMOTEIO);
	EXPECT_EQ(strncmp(e.msg, "snapshot-save: ", 15), 0);
	ASSERT_EQ(qmp_query_snapshots(m.q, "disk0", MS, &snaps, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_STREQ(snaps[0].tag, "one");
	EXPECT_GE(snaps[0].vmstate_bytes, 1);
	free(snaps);
	EXPECT_EQ(qmp_snapshot_load(m.q, "one", "disk0", nodes, 1, MS, &e), 0);
	EXPECT_EQ(qmp_snapshot_load(m.q, "two", "disk0", nodes, 1, MS, &e),
		  -EREMOTEIO);
	EXPECT_EQ(qmp_snapshot_delete(m.q, "one", nodes, 1, MS, &e), 0);
	ASSERT_EQ(qmp_query_snapshots(m.q, "disk0", MS, &snaps, &nr, &e), 0);
	EXPECT_EQ(nr, 0);
	free(snaps);
	EXPECT_EQ(qmp_query_snapshots(m.q, "nix", MS, &snaps, &nr, &e),
		  -ENOENT);
	EXPECT_STREQ(e.msg, "there is no block node 'nix'");
	end(&m);
}

TEST(disks_are_queried_and_overlaid)
{
	struct qmp_block *b = NULL;
	struct err e = { 0 };
	struct machine m;
	char path[512];
	size_t nr = 0;

	ASSERT_EQ(make_disk(), 0);
	ASSERT_EQ(start(&m, QEMU(Q35, DISK), &e), 0);
	ASSERT_EQ(qmp_query_block(m.q, MS, &b, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_STREQ(b[0].node, "disk0");
	EXPECT_STREQ(b[0].driver, "qcow2");
	EXPECT_EQ(b[0].virtual_bytes, 16 << 20);
	EXPECT_EQ(b[0].io_error, false);
	free(b);
	ASSERT_EQ(getcwd(path, sizeof(path) - 16) != NULL, 1);
	strcat(path, "/over.qcow2");
	EXPECT_EQ(qmp_blockdev_snapshot(m.q, "disk0", path, "disk1", MS, &e),
		  0);
	EXPECT_EQ(access("over.qcow2", F_OK), 0);
	ASSERT_EQ(qmp_query_block(m.q, MS, &b, &nr, &e), 0);
	ASSERT_EQ(nr, 1);
	EXPECT_STREQ(b[0].node, "disk1");
	free(b);
	EXPECT_EQ(qmp_blockdev_add(m.q, "again", "qcow2", "/none", true, MS,
				   &e),
		  -EREMOTEIO);
	EXPECT_STREQ(e.msg, "blockdev-add: Could not open '/none': No such "
			    "file or directory");
	EXPECT_EQ(qmp_blockdev_del(m.q, "again", MS, &e), -EREMOTEIO);
	end(&m);
}

static int wait_migrated(struct machine *m, struct qmp_migration *mig)
{
	struct timespec tick = { .tv_nsec = 5000000 };
	long long until = peer_now_ms() + MS;
	int r;

	do {
		nanosleep(&tick, NULL);
		r = qmp_query_migrate(m->q, MS, mig, NULL);
	} while (r == 0 && peer_now_ms() < until &&
		 mig->state < QMP_MIGRATION_COMPLETED);
	return r;
}

TEST(state_goes_to_a_file_and_back)
{
	struct qmp_migration mig = { 0 };
	enum qmp_run_state state;
	struct err e = { 0 };
	struct machine m;
	int fd;

	ASSERT_EQ(start(&m, QEMU(Q35), &e), 0);
	EXPECT_EQ(qmp_query_migrate(m.q, MS, &mig, &e), 0);
	EXPECT_EQ(mig.state, QMP_MIGRATION_NONE);
	fd = open("state", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	EXPECT_EQ(qmp_migrate_fd(m.q, fd, MS, &e), 0);
	EXPECT_STREQ(e.msg, "");
	EXPECT_EQ(wait_migrated(&m, &mig), 0);
	EXPECT_EQ(mig.state, QMP_MIGRATION_COMPLETED);
	EXPECT_GE(mig.transferred_bytes, 1000);
	end(&m);
	close(fd);
	fd = open("state", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(start(&m, QEMU(Q35, "-incoming", "defer"), &e), 0);
	EXPECT_EQ(qmp_migrate_incoming_fd(m.q, fd, MS, &e), 0);
	EXPECT_STREQ(e.msg, "");
	EXPECT_EQ(wait_migrated(&m, &mig), 0);
	EXPECT_EQ(mig.state, QMP_MIGRATION_COMPLETED);
	EXPECT_EQ(qmp_query_status(m.q, MS, &state, NULL, &e), 0);
	EXPECT_STREQ(qmp_run_state_name(state), "prelaunch");
	close(fd);
	end(&m);
}

TEST(microvm_and_chardevs)
{
	struct qmp_chardev *devs = NULL;
	struct err e = { 0 };
	bool open = true;
	struct machine m;
	size_t nr = 0;

	ASSERT_EQ(
		start(&m,
		      QEMU("-S", "-machine", "microvm", "-m", "128M", "-device",
			   "virtio-serial-device", "-chardev",
			   "socket,id=qga0,path=qga.sock,server=on,wait=off",
			   "-device",
			   "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"),
		      &e),
		0);
	ASSERT_EQ(qmp_query_chardevs(m.q, MS, &devs, &nr, &e), 0);
	for (size_t i = 0; i < nr; i++)
		if (strcmp(devs[i].label, "qga0") == 0)
			open = devs[i].frontend_open;
	EXPECT_EQ(open, false);
	free(devs);
	end(&m);
}

TEST(agent_that_never_starts)
{
	struct qga *g = NULL;
	struct err e = { 0 };
	struct machine m;

	ASSERT_EQ(
		start(&m,
		      QEMU(Q35, "-device", "virtio-serial-pci", "-chardev",
			   "socket,id=qga0,path=qga.sock,server=on,wait=off",
			   "-device",
			   "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"),
		      &e),
		0);
	ASSERT_EQ(qga_open("qga.sock", &g, &e), 0);
	EXPECT_EQ(qga_ping(g, 100, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "guest-ping: no guest agent answers");
	qga_free(g);
	end(&m);
}

TEST(killed_qemu_is_noticed)
{
	struct err e = { 0 };
	struct machine m;
	struct pollfd pfd;

	ASSERT_EQ(start(&m, QEMU(Q35), &e), 0);
	kill(m.pid, SIGKILL);
	pfd = (struct pollfd){ .fd = qmp_fd(m.q), .events = POLLIN };
	EXPECT_EQ(poll(&pfd, 1, MS), 1);
	EXPECT_EQ(qmp_dispatch(m.q, &e), -EPIPE);
	EXPECT_EQ(qmp_cont(m.q, MS, &e), -EPIPE);
	EXPECT_STREQ(e.msg, "QEMU has closed the connection");
	end(&m);
}

TEST(second_client_is_told_why_it_waits)
{
	struct qmp *second = NULL;
	struct err e = { 0 };
	struct machine m;

	ASSERT_EQ(start(&m, QEMU(Q35), &e), 0);
	EXPECT_EQ(qmp_open("qmp.sock", 100, &second, &e), -ETIMEDOUT);
	EXPECT_STREQ(e.msg, "'qmp.sock': no greeting from QEMU in time: is "
			    "another client connected?");
	EXPECT_EQ(qmp_query_status(m.q, MS, NULL, NULL, &e), 0);
	end(&m);
}

TEST(long_socket_paths_work)
{
	char dir[200];
	struct err e = { 0 };
	struct machine m;
	struct qmp *q = NULL;
	char path[256];

	memset(dir, 'd', sizeof(dir) - 1);
	dir[sizeof(dir) - 1] = '\0';
	ASSERT_EQ(mkdir(dir, 0700), 0);
	ASSERT_EQ(start(&m, QEMU(Q35), &e), 0);
	qmp_free(m.q);
	m.q = NULL;
	snprintf(path, sizeof(path), "%s/../qmp.sock", dir);
	EXPECT_EQ(qmp_open(path, MS, &q, &e), 0);
	EXPECT_STREQ(e.msg, "");
	qmp_free(q);
	end(&m);
}

TEST_MAIN()
