// SPDX-License-Identifier: Apache-2.0
/*
 * Keeps in use what our tests use, for as long as the guest runs: part of the
 * lane's init, started as '/proc/1/exe hold CGROUP'. The kernel has code that
 * it patches when a thing is used for the first time, and again when it is used
 * no more (static keys); see Documentation/testing.md for why that must not
 * happen while a second CPU runs. Says "held" when all of it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hold.h"

static void complain(const char *what)
{
	fprintf(stderr, "lane: not held: %s: %m\n", what);
}

/* preempt_notifier_key while there is a VM; kvm's own while there is a virtual
 * CPU with a local APIC that is switched off, and one without any. */
static void hold_vm(int kvm, int with_apic)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || (with_apic && ioctl(vm, KVM_CREATE_IRQCHIP, 0)) ||
	    ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
		complain("a virtual machine");
}

/* cgroup_bpf_enabled_key[type] while such a program is attached anywhere: crun,
 * runc and systemd attach those of devices, systemd those of packets. */
static void hold_program(int cgroup, enum bpf_prog_type type,
			 enum bpf_attach_type where)
{
	/* return 1, which allows */
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = type,
		.expected_attach_type = where,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(*code),
		.license = (uintptr_t) "GPL",
	};
	union bpf_attr attach = {
		.target_fd = (uint32_t)cgroup,
		.attach_type = where,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	int prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));

	attach.attach_bpf_fd = (uint32_t)prog;
	if (prog < 0 ||
	    syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)))
		complain("a program of a cgroup");
}

static void hold_programs(const char *path)
{
	static const struct {
		enum bpf_prog_type type;
		enum bpf_attach_type where;
	} all[] = {
		{ BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE },
		{ BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS },
		{ BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS },
		{ BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE },
		{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT },
		{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT },
		{ BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL },
	};
	int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (cgroup < 0)
		complain(path);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		hold_program(cgroup, all[i].type, all[i].where);
}

/* netstamp_needed_key, which each ping switches on. */
static void hold_timestamps(void)
{
	int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)))
		complain("the time of packets");
}

int hold(const char *cgroup)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm >= 0) {
		hold_vm(kvm, 0);
		hold_vm(kvm, 1);
	} else if (errno != ENOENT) {
		complain("/dev/kvm");
	}
	hold_programs(cgroup);
	hold_timestamps();
	puts("held");
	fclose(stdout);
	for (;;)
		pause();
}
