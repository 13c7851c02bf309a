/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the demo VM image's init share: guest_init.c (PID 1) and
 * guest_config.c (network, name, NoCloud seed, devices).
 *
 * Kernel arguments it reads:
 *	arktos.ip=ADDRESS/PREFIX   arktos.gw=ADDRESS   arktos.mtu=BYTES
 *	arktos.hostname=NAME       arktos.dns=ADDRESS[,ADDRESS...]
 *	root=UUID=...              go on from that ext4 file system
 */
#ifndef TOOLS_MKIMAGE_GUEST_INIT_H
#define TOOLS_MKIMAGE_GUEST_INIT_H

#include <stdbool.h>
#include <stddef.h>

#define GUEST_GA_PORT      "/dev/virtio-ports/org.qemu.guest_agent.0"
#define GUEST_SECOND_STAGE "--from-disk"

/* Kernel argument NAME=value; false when it was not given. */
bool guest_arg(const char *name, char *value, size_t size);

/* "/dev/vda2", once that disk is there. */
bool guest_disk_by_uuid(const char *uuid, char *ret_dev, size_t size);

/* Load the modules listed in a file. */
void guest_load_modules(const char *list);

/* Host name, network, resolver, ssh key and first-boot script: from the
 * kernel's arguments, and from a NoCloud seed where they are silent. */
void guest_configure(void);

void guest_cpu_online(const char *digits); /* its number, maybe with a tail */
void guest_cpus_online(void);              /* all that are plugged in */
void guest_ports_link(void); /* /dev/virtio-ports/NAME, as udev does */

#endif /* TOOLS_MKIMAGE_GUEST_INIT_H */
