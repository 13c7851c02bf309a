/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a VM's spec to the QEMU process: its command line, its disk overlay and
 * its cloud-init seed.
 *
 * The machine is q35 with nothing it does not need: virtio devices, a serial
 * console, QMP. vCPUs can be plugged up to cpus_max, memory up to mem_max.
 */
#ifndef AGENT_VM_COMMAND_H
#define AGENT_VM_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/vm/vm.h"

struct vm_spec;

enum vm_accel { VM_ACCEL_TCG, VM_ACCEL_KVM };

struct vm_image {
	/* kernel and initrd boot; cmdline may be NULL */
	const char *kernel, *initrd, *cmdline;
	/* disk boot, or the disk of a kernel boot; format "qcow2" or "raw" */
	const char *disk, *disk_format;
	/* The guest drives virtio-mem from early on: start it with a small base
	 * and give the rest by virtio-mem, so that it can shrink below the size
	 * it was created with. Say so for our own bundles only. */
	bool elastic;
};

struct vm_net {
	int tap_fd;      /* number in the QEMU process; -1: no network */
	const char *mac; /* "02:..." */
	const char *ip;  /* "10.1.2.3"; NULL: none */
	unsigned int prefix;
	const char *gateway, *dns; /* NULL: none */
	unsigned int mtu;          /* 0: 1500 */
};

/* Everything is borrowed. */
struct vm_config {
	const char *uid, *hostname;
	const struct vm_spec *spec;
	struct vm_size size; /* vm_size_of_spec(), or what was allocated last */
	struct vm_size node; /* what the node has: head-room for resizes */
	struct vm_image image;
	struct vm_net net;
	enum vm_accel accel;
	const char *qemu;        /* NULL: qemu-system-x86_64 */
	const char *unpacker;    /* path of arktos-unpack; NULL: in PATH */
	const char *run_dir;     /* sockets; QEMU's user may write there */
	const char *state_dir;   /* overlay and seed */
	const char *console_log; /* raw serial output, appended */
};

/* CPU and memory a VM starts with: limits, else requests, else 1 CPU, 512Mi. */
struct vm_size vm_size_of_spec(const struct vm_spec *spec);

/* Host memory QEMU needs on top of the guest's. */
uint64_t vm_overhead_bytes(enum vm_accel accel);

struct vm_command {
	char **argv; /* NULL at the end */
	size_t nr;
	/* where things are; also after a restart of the agent */
	char *qmp_path, *qga_path, *console_path;
	char *overlay_path, *seed_path; /* NULL: the VM needs none */
	unsigned int cpus_boot, cpus_max;
	uint64_t mem_base, mem_max; /* bytes */
};

/**
 * vm_command_build() - QEMU's command line for a VM.
 * @cfg: What is wished for. Borrowed.
 * @ret: Set to the command, owned by the caller.
 * @e:   Filled on error.
 *
 * Pure: looks at no file. The result depends on @cfg alone.
 *
 * Return: 0, -EINVAL (the image has neither disk nor kernel, or a value QEMU
 * cannot be told), -ERANGE (smaller than a VM can be, or larger than the node),
 * -ENAMETOOLONG (a socket path), -ENOMEM.
 */
int vm_command_build(const struct vm_config *cfg, struct vm_command **ret,
		     struct err *e);
void vm_command_free(struct vm_command *cmd);

/**
 * vm_prepare() - Make the files the command refers to.
 * @cfg: Same as for vm_command_build().
 * @cmd: Its result.
 * @uid: User QEMU will run as; owns the files.
 * @gid: Its group.
 * @e:   Filled on error.
 *
 * Existing overlays are kept: that is the VM's disk. The seed is written anew.
 * Runs qemu-img, so it may take a few hundred ms.
 */
int vm_prepare(const struct vm_config *cfg, const struct vm_command *cmd,
	       uid_t uid, gid_t gid, struct err *e);

/* The NoCloud seed (an ISO 9660 image) as bytes. Runs arktos-unpack. */
int vm_seed_build(const struct vm_config *cfg, struct buf *ret, struct err *e);

#endif /* AGENT_VM_COMMAND_H */
