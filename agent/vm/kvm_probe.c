// SPDX-License-Identifier: Apache-2.0
/*
 * A thread of its own runs the scratch VM, so that a KVM_RUN that never comes
 * back costs that thread and not the agent. It is interrupted by a signal that
 * is blocked everywhere in the thread but inside KVM_RUN (KVM_SET_SIGNAL_MASK):
 * no handler is installed, nobody else's signals are touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "agent/vm/kvm_probe.h"

#define PROBE_SIGNAL    SIGURG /* ignored where it is not asked for */
#define PROBE_MEM_BYTES (2UL << 20)
#define PROBE_CODE_AT   0x1000
#define PROBE_TSS_AT    0xfffbd000UL
#define PROBE_GRACE_MS  1000 /* to react to the signal, on a busy host */
#define PROBE_TRIES     3
#define KERNEL_SIGSET   8 /* bytes */

/* mov $1000000, %ecx; 1: dec %ecx; jnz 1b; hlt; in 16-bit real mode */
static const unsigned char code[] = { 0x66, 0xb9, 0x40, 0x42, 0x0f, 0x00,
				      0x66, 0x49, 0x75, 0xfc, 0xf4 };

struct probe {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	pthread_t thread;
	bool done, given_up; /* the last one out frees this */
	char device[256];
	struct kvm_verdict verdict;
};

struct machine {
	int kvm, vm, vcpu;
	void *mem;
	struct kvm_run *run;
	size_t run_bytes;
};

static long long now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static void lacks(struct kvm_verdict *v, enum kvm_lack lack, const char *fmt,
		  ...) __attribute__((format(printf, 3, 4)));

static void lacks(struct kvm_verdict *v, enum kvm_lack lack, const char *fmt,
		  ...)
{
	va_list ap;

	v->lack = lack;
	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
}

static int machine_memory(struct machine *m)
{
	struct kvm_userspace_memory_region region = { .memory_size =
							      PROBE_MEM_BYTES };

	m->mem = mmap(NULL, PROBE_MEM_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->mem == MAP_FAILED)
		return -errno;
	memcpy((char *)m->mem + PROBE_CODE_AT, code, sizeof(code));
	region.userspace_addr = (unsigned long)m->mem;
	if (ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	return 0;
}

static int machine_cpu(struct machine *m)
{
	struct kvm_regs regs = { .rip = PROBE_CODE_AT, .rflags = 2 };
	struct kvm_sregs sregs;
	int bytes;

	m->vcpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	bytes = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (m->vcpu < 0 || bytes < (int)sizeof(*m->run))
		return -errno;
	m->run_bytes = (size_t)bytes;
	m->run = mmap(NULL, m->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      m->vcpu, 0);
	if (m->run == MAP_FAILED)
		return -errno;
	if (ioctl(m->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(m->vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(m->vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int machine_signals(struct machine *m)
{
	char space[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET] = { 0 };
	struct kvm_signal_mask *mask = (struct kvm_signal_mask *)space;
	sigset_t all_but;

	sigfillset(&all_but);
	sigdelset(&all_but, PROBE_SIGNAL);
	mask->len = KERNEL_SIGSET;
	memcpy(mask->sigset, &all_but, KERNEL_SIGSET);
	return ioctl(m->vcpu, KVM_SET_SIGNAL_MASK, mask) < 0 ? -errno : 0;
}

static void machine_close(struct machine *m)
{
	if (m->run != MAP_FAILED)
		munmap(m->run, m->run_bytes);
	if (m->vcpu >= 0)
		close(m->vcpu);
	if (m->vm >= 0)
		close(m->vm);
	if (m->mem != MAP_FAILED)
		munmap(m->mem, PROBE_MEM_BYTES);
	if (m->kvm >= 0)
		close(m->kvm);
}

static int machine_open(struct machine *m, const char *device,
			struct kvm_verdict *v)
{
	const char *what = "KVM_CREATE_VM";
	int r;

	m->kvm = open(device, O_RDWR | O_CLOEXEC);
	if (m->kvm < 0) {
		r = -errno;
		lacks(v,
		      r == -EACCES || r == -EPERM ? KVM_LACKS_ACCESS
						  : KVM_LACKS_DEVICE,
		      "open '%s': %s", device, strerror(-r));
		return r;
	}
	if (ioctl(m->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		lacks(v, KVM_LACKS_API, "'%s' does not speak KVM's API",
		      device);
		return -ENOTTY;
	}
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	r = m->vm < 0 ? -errno : 0;
	if (r == 0) {
		/* Old Intel needs it to run real mode; nobody else does. */
		(void)ioctl(m->vm, KVM_SET_TSS_ADDR, PROBE_TSS_AT);
		what = "memory of the scratch VM";
		r = machine_memory(m);
	}
	if (r == 0) {
		what = "vCPU of the scratch VM";
		r = machine_cpu(m);
	}
	if (r == 0)
		r = machine_signals(m);
	if (r < 0)
		lacks(v, KVM_LACKS_MACHINE, "%s: %s", what, strerror(-r));
	return r;
}

static void machine_run(struct machine *m, struct kvm_verdict *v)
{
	long long begin = now_us();
	int r = ioctl(m->vcpu, KVM_RUN, 0) < 0 ? -errno : 0;

	v->took_ms = (unsigned int)((now_us() - begin) / 1000);
	if (r == -EINTR)
		lacks(v, KVM_LACKS_LIFE,
		      "a guest loop of a few ms was not done after %u ms: this KVM runs no guest code",
		      v->took_ms);
	else if (r < 0)
		lacks(v, KVM_LACKS_LIFE, "KVM_RUN: %s", strerror(-r));
	else if (m->run->exit_reason != KVM_EXIT_HLT)
		lacks(v, KVM_LACKS_LIFE,
		      "the scratch VM ended with exit %u, not hlt",
		      m->run->exit_reason);
	else
		v->usable = true;
	if (v->usable)
		snprintf(v->why, sizeof(v->why), "a guest loop ran in %u ms",
			 v->took_ms);
}

static void *probe_main(void *arg)
{
	struct machine m = { -1, -1, -1, MAP_FAILED, MAP_FAILED, 0 };
	struct kvm_verdict v = { 0 };
	struct probe *p = arg;
	bool given_up;

	if (machine_open(&m, p->device, &v) == 0)
		machine_run(&m, &v);
	machine_close(&m);
	pthread_mutex_lock(&p->lock);
	p->verdict = v;
	p->done = true;
	given_up = p->given_up;
	pthread_cond_signal(&p->ended);
	pthread_mutex_unlock(&p->lock);
	if (given_up)
		free(p);
	return NULL;
}

/* Lock held. */
static void wait_until(struct probe *p, long long until_us)
{
	struct timespec at = { .tv_sec = until_us / 1000000,
			       .tv_nsec = until_us % 1000000 * 1000 };

	while (!p->done &&
	       pthread_cond_timedwait(&p->ended, &p->lock, &at) == 0)
		;
}

static int probe_start(struct probe *p)
{
	sigset_t all, before;
	int r;

	/* The thread inherits this mask: signals are for the others. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&p->thread, NULL, probe_main, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		pthread_detach(p->thread);
	return r;
}

static struct probe *probe_new(const char *device)
{
	struct probe *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->ended, &attr);
	pthread_condattr_destroy(&attr);
	snprintf(p->device, sizeof(p->device), "%s", device);
	return p;
}

/* True when it ran out of time, and may be tried again. */
static bool probe_once(const char *device, struct kvm_verdict *ret)
{
	struct probe *p = probe_new(device);
	long long begin = now_us();
	bool done, kicked;

	*ret = (struct kvm_verdict){ 0 };
	if (!p || probe_start(p) != 0) {
		lacks(ret, KVM_LACKS_MACHINE, "no thread for the KVM probe");
		free(p);
		return false;
	}
	pthread_mutex_lock(&p->lock);
	wait_until(p, begin + KVM_PROBE_LIMIT_MS * 1000LL);
	kicked = !p->done;
	if (kicked)
		pthread_kill(p->thread, PROBE_SIGNAL);
	wait_until(p, begin + (KVM_PROBE_LIMIT_MS + PROBE_GRACE_MS) * 1000LL);
	done = p->done;
	p->given_up = !done;
	if (done)
		*ret = p->verdict;
	pthread_mutex_unlock(&p->lock);
	if (done) {
		free(p);
		return !ret->usable && kicked;
	}
	ret->took_ms = KVM_PROBE_LIMIT_MS + PROBE_GRACE_MS;
	lacks(ret, KVM_LACKS_LIFE,
	      "'%s' hangs: it did not even react to a signal", device);
	return false;
}

/* A busy machine may fail a good KVM once; a bad one fails every time. */
void kvm_probe(const char *device, struct kvm_verdict *ret)
{
	for (int i = 0; i < PROBE_TRIES; i++)
		if (!probe_once(device, ret))
			return;
}
