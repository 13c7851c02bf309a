/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can /dev/kvm be used? A device that opens, and even creates VMs, may still
 * never run a guest instruction. So a scratch VM runs a short loop, and is
 * given 200 ms for it.
 */
#ifndef AGENT_VM_KVM_PROBE_H
#define AGENT_VM_KVM_PROBE_H

#include <stdbool.h>

struct err;

#define KVM_PROBE_LIMIT_MS 200
#define KVM_PROBE_WHY_MAX  256

struct kvm_verdict {
	bool usable;
	char why[KVM_PROBE_WHY_MAX]; /* "ran 1000000 loops in 23 ms" */
	unsigned int took_ms;
};

/**
 * kvm_probe() - Try KVM out.
 * @device: "/dev/kvm".
 * @ret:    The verdict, in any case.
 *
 * Runs in a thread of its own, which is given up (and left to end by itself)
 * should the kernel not come back: takes 600 ms on a KVM
 * that runs nothing (three tries, in case the machine was busy), and never
 * longer than 2 s.
 */
void kvm_probe(const char *device, struct kvm_verdict *ret);

#endif /* AGENT_VM_KVM_PROBE_H */
