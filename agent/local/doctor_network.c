// SPDX-License-Identifier: Apache-2.0
/* What the kernel has to be able to do for networks: in a namespace of its own,
 * so that nothing of it is ever to be seen on the host. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/local/doctor.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"
#include "netns/netns.h"

#define KERNEL "run a kernel with "

/* "return 1": the smallest program that means something everywhere. */
static int load(enum bpf_prog_type type, enum bpf_attach_type attach)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach);

	return bpf_prog_load(type, "ark_doctor", "GPL", insns, ARRAY_LEN(insns),
			     &opts);
}

static void check_bpf(struct doctor *d)
{
	static const struct {
		const char *name, *what;
		enum bpf_prog_type type;
		enum bpf_attach_type attach;
		enum verdict without;
	} types[] = {
		{ "bpf tc", "the pod network's data path",
		  BPF_PROG_TYPE_SCHED_CLS, 0, VERDICT_FAILED },
		{ "bpf connect",
		  "for services, translated at connect time"
		  " (nothing serves service addresses yet)",
		  BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT,
		  VERDICT_WARNING },
		{ "bpf device", "device access of containers",
		  BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE,
		  VERDICT_WARNING },
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		auto_close int fd = load(types[i].type, types[i].attach);

		checks_note(&d->found, types[i].name,
			    fd >= 0 ? VERDICT_OK : types[i].without,
			    KERNEL "CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and"
				   " CONFIG_NET_CLS_BPF; as root",
			    "%s: %s", types[i].what,
			    fd >= 0 ? "yes" : strerror(-fd));
	}
}

static void check_bpffs(struct doctor *d)
{
	auto_close int fs = (int)syscall(SYS_fsopen, "bpf", 1 /* CLOEXEC */);

	checks_note(&d->found, "bpffs", fs >= 0 ? VERDICT_OK : VERDICT_FAILED,
		    KERNEL "CONFIG_BPF_SYSCALL", "%s",
		    fs >= 0 ? "yes" : strerror(errno));
}

/* Inside the namespace. */
static int try_clsact(void *arg, struct err *e)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts);
	auto_close int fd = load(BPF_PROG_TYPE_SCHED_CLS, 0);
	int r;

	(void)arg;
	if (fd < 0)
		return err_set(e, fd, "load: %s", strerror(-fd));
	hook.ifindex = (int)if_nametoindex("arkdoc0");
	opts.prog_fd = fd;
	r = bpf_tc_hook_create(&hook);
	if (r < 0)
		return err_set(e, r, "clsact: %s", strerror(-r));
	r = bpf_tc_attach(&hook, &opts);
	return r < 0 ? err_set(e, r, "attach: %s", strerror(-r)) : 0;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level, (void)fmt, (void)ap;
	return 0;
}

static void check_clsact(struct doctor *d, int nsfd)
{
	libbpf_print_fn_t before = libbpf_set_print(quiet);
	struct err e = { 0 };
	int r = ns_call(nsfd, try_clsact, NULL, &e);

	libbpf_set_print(before);
	checks_note(&d->found, "tc clsact",
		    r == 0 ? VERDICT_OK : VERDICT_FAILED,
		    KERNEL "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF:"
			   " modprobe sch_ingress cls_bpf",
		    "%s", r == 0 ? "a program was attached" : e.msg);
}

static void check_links(struct doctor *d, int nsfd)
{
	struct rt_veth_end a = { .name = "arkdoc0", .nsfd = NS_OWN };
	struct rt_veth_end b = { .name = "arkdoc1", .nsfd = NS_OWN };
	auto_close int tap = -EBADF;
	struct rt *rt = NULL;
	struct err e = { 0 };
	int r;

	r = rt_open(nsfd, &rt, &e);
	if (r == 0)
		r = rt_veth_add(rt, &a, &b, &e);
	checks_note(&d->found, "veth", r == 0 ? VERDICT_OK : VERDICT_FAILED,
		    KERNEL "CONFIG_VETH: modprobe veth", "%s",
		    r == 0 ? "yes" : e.msg);
	if (r == 0)
		check_clsact(d, nsfd);
	rt_close(rt);
	e = (struct err){ 0 };
	r = ns_tap_open(nsfd, "arkdoc2", &tap, &e);
	checks_note(&d->found, "tun", r == 0 ? VERDICT_OK : VERDICT_WARNING,
		    KERNEL "CONFIG_TUN: modprobe tun, and /dev/net/tun", "%s%s",
		    r == 0 ? "yes" : e.msg,
		    r == 0 ? "" : ": VM pods have no network");
}

void doctor_network(struct doctor *d)
{
	auto_close int nsfd = -EBADF;
	struct err e = { 0 };

	check_bpf(d);
	check_bpffs(d);
	if (ns_create(NULL, &nsfd, &e) < 0)
		checks_note(&d->found, "veth", VERDICT_FAILED, "run it as root",
			    "network namespace: %s", e.msg);
	else
		check_links(d, nsfd);
}
