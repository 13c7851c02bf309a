// SPDX-License-Identifier: Apache-2.0
/*
 * QEMU's command line, and the files it names.
 *
 * LANE: native
 * SECONDS: 60
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "selftests/harness.h"
#include "agent/spec.h"
#include "agent/vm/command.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/agent/vm/unpacker.h"

#define MIB (1ULL << 20)

static struct vm_spec spec;

static struct vm_config config(void)
{
	spec = (struct vm_spec){ .name = (char *)"vm" };
	return (struct vm_config){
		.uid = "1b9d",
		.hostname = "web-0",
		.spec = &spec,
		.size = { 1500, 512 * MIB },
		.node = { 4000, 8192 * MIB },
		.image = { .kernel = "/k", .initrd = "/i", .cmdline = "quiet" },
		.net = { .tap_fd = 9,
			 .mac = "02:00:00:00:00:01",
			 .ip = "10.1.2.3",
			 .prefix = 24,
			 .gateway = "10.1.2.1",
			 .dns = "10.1.2.2",
			 .mtu = 1450 },
		.accel = VM_ACCEL_TCG,
		.unpacker = unpacker_path(),
		.run_dir = "/run/p",
		.state_dir = "/var/p",
		.console_log = "/var/log/p/console.log",
	};
}

/* The value of an option whose value starts with @start. */
static const char *value(const struct vm_command *cmd, const char *option,
			 const char *start)
{
	for (size_t i = 0; i + 1 < cmd->nr; i++)
		if (strcmp(cmd->argv[i], option) == 0 &&
		    strncmp(cmd->argv[i + 1], start, strlen(start)) == 0)
			return cmd->argv[i + 1];
	return "(none)";
}

static bool has(const struct vm_command *cmd, const char *option)
{
	for (size_t i = 0; i < cmd->nr; i++)
		if (strcmp(cmd->argv[i], option) == 0)
			return true;
	return false;
}

TEST(kernel_boot)
{
	struct vm_config cfg = config();
	struct vm_command *cmd = NULL;
	struct err e = { 0 };

	ASSERT_EQ(vm_command_build(&cfg, &cmd, &e), 0);
	EXPECT_STREQ(cmd->argv[0], "qemu-system-x86_64");
	EXPECT_STREQ(value(cmd, "-name", ""), "arktos-1b9d,debug-threads=on");
	EXPECT_EQ(has(cmd, "-nodefaults"), true);
	EXPECT_EQ(has(cmd, "-no-user-config"), true);
	EXPECT_STREQ(
		value(cmd, "-sandbox", ""),
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	EXPECT_STREQ(value(cmd, "-accel", ""), "tcg,thread=multi,tb-size=64");
	EXPECT_STREQ(value(cmd, "-cpu", ""), "max");
	/* 1500m are two vCPUs; the node has four */
	EXPECT_STREQ(value(cmd, "-smp", ""),
		     "cpus=2,maxcpus=4,sockets=1,cores=4,threads=1");
	EXPECT_EQ(cmd->cpus_boot, 2);
	EXPECT_EQ(cmd->cpus_max, 4);
	EXPECT_STREQ(value(cmd, "-m", ""), "size=512M,slots=16,maxmem=15872M");
	EXPECT_STREQ(
		value(cmd, "-device", "virtio-mem-pci"),
		"virtio-mem-pci,id=vmem0,memdev=vmem0-ram,block-size=2M,requested-size=0M");
	EXPECT_STREQ(value(cmd, "-object", "memory-backend-ram,id=vmem0"),
		     "memory-backend-ram,id=vmem0-ram,size=7680M,reserve=off");
	EXPECT_STREQ(value(cmd, "-netdev", ""), "tap,id=net0,fd=9,vhost=off");
	EXPECT_STREQ(
		value(cmd, "-device", "virtio-net"),
		"virtio-net-pci,id=eth0,netdev=net0,mac=02:00:00:00:00:01,romfile=,host_mtu=1450");
	EXPECT_STREQ(
		value(cmd, "-chardev", "socket,id=console0"),
		"socket,id=console0,path=/run/p/console.sock,server=on,wait=off,logfile=/var/log/p/console.log,logappend=on");
	EXPECT_STREQ(value(cmd, "-kernel", ""), "/k");
	EXPECT_STREQ(value(cmd, "-initrd", ""), "/i");
	EXPECT_STREQ(
		value(cmd, "-append", ""),
		"quiet memhp_default_state=online_movable no_timer_check arktos.hostname=web-0 arktos.ip=10.1.2.3/24 arktos.gw=10.1.2.1 arktos.mtu=1450 arktos.dns=10.1.2.2");
	EXPECT_STREQ(cmd->qmp_path, "/run/p/qmp.sock");
	EXPECT_EQ(cmd->overlay_path == NULL, 1);
	EXPECT_EQ(cmd->seed_path == NULL, 1);
	EXPECT_EQ(has(cmd, "-blockdev"), false);
	vm_command_free(cmd);
}

TEST(disk_boot_on_kvm)
{
	struct vm_config cfg = config();
	struct vm_command *cmd = NULL;
	struct err e = { 0 };

	cfg.image = (struct vm_image){ .disk = "/img/a.qcow2",
				       .disk_format = "qcow2" };
	cfg.accel = VM_ACCEL_KVM;
	cfg.net.tap_fd = -1;
	cfg.state_dir = "/var/a,b";
	ASSERT_EQ(vm_command_build(&cfg, &cmd, &e), 0);
	EXPECT_STREQ(value(cmd, "-accel", ""), "kvm");
	EXPECT_STREQ(value(cmd, "-cpu", ""), "host");
	EXPECT_STREQ(cmd->overlay_path, "/var/a,b/disk.qcow2");
	EXPECT_STREQ(cmd->seed_path, "/var/a,b/seed.iso");
	/* a comma in a path does not end the option */
	EXPECT_STREQ(
		value(cmd, "-blockdev", "driver=file,node-name=disk0"),
		"driver=file,node-name=disk0-file,filename=/var/a,,b/disk.qcow2,read-only=off,discard=unmap");
	EXPECT_STREQ(
		value(cmd, "-blockdev", "driver=raw"),
		"driver=raw,node-name=seed0,file=seed0-file,read-only=on,discard=unmap");
	EXPECT_STREQ(
		value(cmd, "-device", "virtio-blk-pci,id=vda"),
		"virtio-blk-pci,id=vda,drive=disk0,bootindex=1,serial=arktos-disk0");
	EXPECT_EQ(has(cmd, "-kernel"), false);
	EXPECT_EQ(has(cmd, "-netdev"), false);
	vm_command_free(cmd);
}

TEST(elastic_guests_start_small)
{
	static const struct {
		uint64_t mib, base, rest;
	} cases[] = {
		{ 128, 128, 0 },    { 256, 256, 0 },     { 512, 256, 256 },
		{ 1024, 256, 768 }, { 2048, 512, 1536 }, { 8192, 2048, 6144 },
		{ 301, 256, 48 }, /* rounded up to what a guest can take */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm_config cfg = config();
		struct vm_command *cmd = NULL;
		char want[200];

		cfg.image.elastic = true;
		cfg.size.mem_bytes = cases[i].mib * MIB;
		ASSERT_EQ(vm_command_build(&cfg, &cmd, NULL), 0);
		EXPECT_EQ(cmd->mem_base, cases[i].base * MIB);
		snprintf(
			want, sizeof(want),
			"virtio-mem-pci,id=vmem0,memdev=vmem0-ram,block-size=2M,requested-size=%lluM",
			(unsigned long long)cases[i].rest);
		EXPECT_STREQ(value(cmd, "-device", "virtio-mem-pci"), want);
		vm_command_free(cmd);
	}
}

TEST(no_head_room_no_region)
{
	struct vm_config cfg = config();
	struct vm_command *cmd = NULL;

	cfg.node = cfg.size;
	ASSERT_EQ(vm_command_build(&cfg, &cmd, NULL), 0);
	EXPECT_STREQ(value(cmd, "-m", ""), "size=512M");
	EXPECT_STREQ(value(cmd, "-device", "virtio-mem-pci"), "(none)");
	EXPECT_EQ(cmd->cpus_max, 2);
	vm_command_free(cmd);
}

#define REFUSED(change, code, text)                                \
	do {                                                       \
		struct vm_config cfg = config();                   \
		struct vm_command *cmd = NULL;                     \
		struct err e = { 0 };                              \
                                                                   \
		change;                                            \
		EXPECT_EQ(vm_command_build(&cfg, &cmd, &e), code); \
		EXPECT_STREQ(e.msg, text);                         \
		EXPECT_EQ(cmd == NULL, 1);                         \
		vm_command_free(cmd);                              \
	} while (0)

TEST(nonsense_is_refused)
{
	static char deep[150];

	memset(deep, 'd', sizeof(deep) - 1);
	REFUSED(cfg.size.cpu_milli = 0, -ERANGE, "a VM with no CPU cannot run");
	REFUSED(cfg.size.cpu_milli = 4001, -ERANGE,
		"4001m CPUs wanted, the node has 4");
	REFUSED(cfg.size.mem_bytes = 64 * MIB, -ERANGE,
		"64Mi of memory wanted, a VM needs at least 128Mi");
	REFUSED(cfg.size.mem_bytes = 9000 * MIB, -ERANGE,
		"9000Mi of memory wanted, the node has 8Gi");
	REFUSED(cfg.image = (struct vm_image){ 0 }, -EINVAL,
		"the image has neither a kernel nor a disk");
	REFUSED(cfg.image.disk = "/d", -EINVAL,
		"the disk's format is not given");
	REFUSED(cfg.net.mac = "02:0 ", -EINVAL,
		"MAC address '02:0 ' has a character QEMU cannot be told");
	REFUSED(spec.kernel_args = (char *)"a\nb", -EINVAL,
		"kernel arguments 'a\nb' has a character QEMU cannot be told");
	REFUSED(cfg.run_dir = deep, -ENAMETOOLONG,
		"'ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd/console.sock' is too long for a socket: use a shorter run directory");
}

TEST(size_comes_from_limits_then_requests)
{
	struct vm_spec s = { 0 };

	EXPECT_EQ(vm_size_of_spec(&s).cpu_milli, 1000);
	EXPECT_EQ(vm_size_of_spec(&s).mem_bytes, 512 * MIB);
	s.resources.requests = (struct quantity_set){ .has_cpu = true,
						      .has_mem = true,
						      .cpu_milli = 250,
						      .mem_bytes = 1 };
	EXPECT_EQ(vm_size_of_spec(&s).cpu_milli, 250);
	EXPECT_EQ(vm_size_of_spec(&s).mem_bytes, 1);
	s.resources.limits = (struct quantity_set){ .has_cpu = true,
						    .has_mem = true,
						    .cpu_milli = 2000,
						    .mem_bytes = 7 };
	EXPECT_EQ(vm_size_of_spec(&s).cpu_milli, 2000);
	EXPECT_EQ(vm_size_of_spec(&s).mem_bytes, 7);
}

/* One file out of the seed, read by its volume's own names. */
static char *seed_file(const struct buf *iso, const char *name)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	char *text = NULL;

	archive_read_support_format_iso9660(a);
	if (archive_read_open_memory(a, iso->data, iso->len) != ARCHIVE_OK)
		return NULL;
	while (!text && archive_read_next_header(a, &entry) == ARCHIVE_OK) {
		size_t len = (size_t)archive_entry_size(entry);

		if (strcmp(archive_entry_pathname(entry), name) != 0)
			continue;
		text = calloc(1, len + 1);
		if (archive_read_data(a, text, len) != (ssize_t)len)
			text[0] = '\0';
	}
	archive_read_free(a);
	return text ? text : strdup("(none)");
}

TEST(seed_is_a_cidata_volume)
{
	struct vm_config cfg = config();
	struct buf iso = BUF_INIT;
	struct err e = { 0 };
	char *text;

	spec.public_key = (char *)"ssh-ed25519 AAAA \"quoted\": me";
	spec.user_data = (char *)"#cloud-config\n\0x";
	spec.user_data_len = 16;
	ASSERT_EQ(vm_seed_build(&cfg, &iso, &e), 0);
	EXPECT_EQ(memcmp(iso.data + 32769, "CD001", 5), 0);
	EXPECT_EQ(strncasecmp(iso.data + 32808, "cidata ", 7), 0);
	text = seed_file(&iso, "meta-data");
	EXPECT_STREQ(text, "{\n"
			   "    \"instance-id\": \"1b9d\",\n"
			   "    \"local-hostname\": \"web-0\",\n"
			   "    \"public-keys\": [\n"
			   "        \"ssh-ed25519 AAAA \\\"quoted\\\": me\"\n"
			   "    ]\n"
			   "}");
	free(text);
	text = seed_file(&iso, "user-data");
	EXPECT_EQ(memcmp(text, "#cloud-config\n\0x", 16), 0);
	free(text);
	text = seed_file(&iso, "network-config");
	EXPECT_EQ(strstr(text, "\"10.1.2.3/24\"") != NULL, 1);
	EXPECT_EQ(strstr(text, "\"via\": \"10.1.2.1\"") != NULL, 1);
	EXPECT_EQ(strstr(text, "\"mtu\": 1450") != NULL, 1);
	free(text);
	buf_clear(&iso);
}

TEST(script_stands_in_for_user_data)
{
	struct vm_config cfg = config();
	struct buf iso = BUF_INIT;
	char *text;

	spec.cloud_init_script = (char *)"echo hi\n";
	spec.user_data = (char *)"other";
	spec.user_data_len = 5;
	ASSERT_EQ(vm_seed_build(&cfg, &iso, NULL), 0);
	text = seed_file(&iso, "user-data");
	EXPECT_STREQ(text, "#!/bin/sh\necho hi\n");
	free(text);
	buf_clear(&iso);
}

static int run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(overlay_is_made_once_and_kept)
{
	struct vm_config cfg = config();
	struct vm_command *cmd = NULL;
	struct err e = { 0 };
	struct stat before, after;

	cfg.image =
		(struct vm_image){ .disk = "base.raw", .disk_format = "raw" };
	cfg.state_dir = ".";
	ASSERT_EQ(vm_command_build(&cfg, &cmd, &e), 0);
	/* The image is not there: nothing is left. */
	EXPECT_EQ(vm_prepare(&cfg, cmd, getuid(), getgid(), &e), -ENOENT);
	EXPECT_STREQ(e.msg, "disk image 'base.raw': No such file or directory");
	EXPECT_EQ(access("disk.qcow2", F_OK), -1);
	EXPECT_EQ(access("disk.qcow2.new", F_OK), -1);
	ASSERT_EQ(run("truncate -s 8M base.raw"), 0);
	ASSERT_EQ(vm_prepare(&cfg, cmd, 4711, 4712, &e), 0);
	EXPECT_EQ(
		run("qemu-img info disk.qcow2 | grep -q '^backing file: base.raw'"),
		0);
	ASSERT_EQ(stat("disk.qcow2", &before), 0);
	EXPECT_EQ(before.st_uid, 4711);
	EXPECT_EQ(before.st_gid, 4712);
	EXPECT_EQ(before.st_mode & 0777, 0600);
	ASSERT_EQ(vm_prepare(&cfg, cmd, 4711, 4712, &e), 0);
	ASSERT_EQ(stat("disk.qcow2", &after), 0);
	EXPECT_EQ(before.st_ino, after.st_ino);
	ASSERT_EQ(stat("seed.iso", &after), 0);
	EXPECT_EQ(after.st_uid, 4711);
	EXPECT_EQ(after.st_mode & 0777, 0400);
	vm_command_free(cmd);
}

TEST_MAIN()
