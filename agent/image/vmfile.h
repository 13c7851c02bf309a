/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of VM disks, and arktos-vm.json. Pure. */
#ifndef AGENT_IMAGE_VMFILE_H
#define AGENT_IMAGE_VMFILE_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define DISK_HEAD_MAX    65536 /* what disk_probe() wants to see, if there */
#define DISK_VIRTUAL_MAX (UINT64_C(1) << 46)
#define BUNDLE_FILE      "arktos-vm.json"
#define BUNDLE_MAX       65536
#define CMDLINE_MAX      2047 /* Linux on x86 takes no more */

struct disk_info {
	const char *format; /* "qcow2" or "raw"; a constant */
	uint64_t virtual_bytes;
};

/**
 * disk_probe() - Look at a disk's first bytes.
 * @head:       Its first min(@file_bytes, DISK_HEAD_MAX) bytes.
 * @format:     What it is said to be; NULL: look.
 * @ret:        What it is.
 *
 * A qcow2 file may name other files (a backing file, a data file) that QEMU
 * would open in its name: such a disk is refused, as is one that is encrypted,
 * damaged, or of any other format. Whatever has no known signature is raw; a
 * file with one is raw only when @format says so.
 *
 * Return: 0, -EPERM (names other files), or -EBADMSG.
 */
int disk_probe(const uint8_t *head, size_t len, uint64_t file_bytes,
	       const char *format, struct disk_info *ret, struct err *e);

/* Names are relative to the bundle; NULL when not given. */
struct vm_bundle {
	char *kernel, *initrd, *disk;
	char *cmdline; /* "" when not given */
};

int vm_bundle_parse(const char *text, size_t len, struct vm_bundle *ret,
		    struct err *e);
void vm_bundle_clear(struct vm_bundle *b);

#endif /* AGENT_IMAGE_VMFILE_H */
