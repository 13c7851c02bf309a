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

enum kvm_lack {
	KVM_LACKS_DEVICE,  /* there is none */
	KVM_LACKS_ACCESS,  /* not for us */
	KVM_LACKS_API,     /* it is something else */
	KVM_LACKS_MACHINE, /* it makes no VM */
	KVM_LACKS_LIFE,    /* VMs are made, and run nothing */
};

struct kvm_verdict {
	bool usable;
	enum kvm_lack lack;          /* when it is not */
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

/* What of the host decides on what is to be done. */
struct kvm_host {
	bool cpu_can; /* vmx or svm among the CPU's flags */
	bool module;  /* kvm_intel, kvm_amd or another one is loaded */
	bool virtual; /* a hypervisor is below it */
};

void kvm_host_look(struct kvm_host *ret);

/* What to do about an unusable one: pure, never empty. */
const char *kvm_remedy(const struct kvm_verdict *v, const struct kvm_host *h);

#endif /* AGENT_VM_KVM_PROBE_H */
