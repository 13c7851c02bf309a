// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "agent/spec.h"
#include "agent/vm/command.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define MIB              (UINT64_C(1) << 20)
#define MEM_ALIGN        (4 * MIB) /* what guests give and take */
#define MEM_REGION_ALIGN (128 * MIB)
#define MEM_REGION_MAX \
	(UINT64_C(512) << 30) /* what 40 address bits can carry */
#define ELASTIC_BASE_MIN  (256 * MIB)
#define ELASTIC_BASE_PART 4 /* of the size at boot */
#define DIMM_SLOTS        16
#define TCG_CACHE_MIB     64
#define OVERHEAD_KVM      (128 * MIB)
#define OVERHEAD_TCG      (256 * MIB)
#define CMDLINE_MAX       2047
#define DEFAULT_CPU_MILLI 1000
#define DEFAULT_MEM       (512 * MIB)
#define DEFAULT_CMDLINE   "console=ttyS0 panic=1"

DEFINE_AUTO_PTR(vm_command, vm_command_free)

struct vm_size vm_size_of_spec(const struct vm_spec *spec)
{
	const struct quantity_set *limits = &spec->resources.limits;
	const struct quantity_set *requests = &spec->resources.requests;
	struct vm_size size = { DEFAULT_CPU_MILLI, DEFAULT_MEM };

	if (limits->has_cpu)
		size.cpu_milli = limits->cpu_milli;
	else if (requests->has_cpu)
		size.cpu_milli = requests->cpu_milli;
	if (limits->has_mem)
		size.mem_bytes = limits->mem_bytes;
	else if (requests->has_mem)
		size.mem_bytes = requests->mem_bytes;
	return size;
}

uint64_t vm_overhead_bytes(enum vm_accel accel)
{
	return accel == VM_ACCEL_KVM ? OVERHEAD_KVM : OVERHEAD_TCG;
}

void vm_command_free(struct vm_command *cmd)
{
	if (!cmd)
		return;
	for (size_t i = 0; i < cmd->nr; i++)
		free(cmd->argv[i]);
	free(cmd->argv);
	free(cmd->qmp_path);
	free(cmd->qga_path);
	free(cmd->console_path);
	free(cmd->overlay_path);
	free(cmd->seed_path);
	free(cmd);
}

/*
 * Arguments: the first failure sticks in @error.
 */

struct args {
	struct vm_command *cmd;
	size_t size;
	int error;
};

static void args_take(struct args *a, char *s)
{
	struct vm_command *cmd = a->cmd;

	if (cmd->nr + 2 > a->size) {
		size_t size = a->size ? a->size * 2 : 64;
		char **v = reallocarray(cmd->argv, size, sizeof(*v));

		if (v) {
			cmd->argv = v;
			a->size = size;
		}
	}
	if (!s || cmd->nr + 2 > a->size) {
		free(s);
		a->error = -ENOMEM;
		return;
	}
	cmd->argv[cmd->nr++] = s;
	cmd->argv[cmd->nr] = NULL;
}

static void arg(struct args *a, const char *option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void arg(struct args *a, const char *option, const char *fmt, ...)
{
	va_list ap;
	char *s;

	args_take(a, strdup(option));
	if (!fmt)
		return;
	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	args_take(a, s);
}

/* QEMU's options end at a comma, unless it is doubled. */
static char *escaped(const char *s)
{
	auto_buf struct buf b = BUF_INIT;

	buf_puts(&b, "");
	for (; *s; s++) {
		if (*s == ',')
			buf_putc(&b, ',');
		buf_putc(&b, *s);
	}
	return buf_take(&b);
}

/*
 * Checks and sizes
 */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return n + (to - n % to) % to;
}

static int check_text(const char *what, const char *s, bool one_word,
		      struct err *e)
{
	for (const char *c = s ? s : ""; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f ||
		    (one_word && (*c == ' ' || *c == '"')))
			return err_set(
				e, -EINVAL,
				"%s '%s' has a character QEMU cannot be told",
				what, s);
	return 0;
}

static int check_config(const struct vm_config *cfg, struct err *e)
{
	const struct {
		const char *what, *text;
		bool one_word;
	} texts[] = {
		{ "uid", cfg->uid, true },
		{ "host name", cfg->hostname, true },
		{ "kernel", cfg->image.kernel, false },
		{ "initrd", cfg->image.initrd, false },
		{ "kernel command line", cfg->image.cmdline, false },
		{ "kernel arguments", cfg->spec->kernel_args, false },
		{ "disk", cfg->image.disk, false },
		{ "disk format", cfg->image.disk_format, true },
		{ "MAC address", cfg->net.mac, true },
		{ "address", cfg->net.ip, true },
		{ "gateway", cfg->net.gateway, true },
		{ "DNS server", cfg->net.dns, true },
		{ "run directory", cfg->run_dir, false },
		{ "state directory", cfg->state_dir, false },
		{ "console log", cfg->console_log, false },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(texts) && r == 0; i++)
		r = check_text(texts[i].what, texts[i].text, texts[i].one_word,
			       e);
	if (r < 0)
		return r;
	if (!cfg->image.kernel && !cfg->image.disk)
		return err_set(e, -EINVAL,
			       "the image has neither a kernel nor a disk");
	if (cfg->image.disk && !cfg->image.disk_format)
		return err_set(e, -EINVAL, "the disk's format is not given");
	return 0;
}

static int check_size(const struct vm_config *cfg, struct err *e)
{
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];

	if (cfg->size.cpu_milli == 0)
		return err_set(e, -ERANGE, "a VM with no CPU cannot run");
	if (cfg->size.cpu_milli > cfg->node.cpu_milli ||
	    cfg->size.cpu_milli > VM_CPUS_MAX * 1000ULL)
		return err_set(e, -ERANGE, "%s CPUs wanted, the node has %s",
			       quantity_format_cpu(cfg->size.cpu_milli, a),
			       quantity_format_cpu(cfg->node.cpu_milli, b));
	if (cfg->size.mem_bytes < VM_MEM_MIN_BYTES)
		return err_set(e, -ERANGE,
			       "%s of memory wanted, a VM needs at least %s",
			       quantity_format_mem(cfg->size.mem_bytes, a),
			       quantity_format_mem(VM_MEM_MIN_BYTES, b));
	if (cfg->size.mem_bytes > cfg->node.mem_bytes)
		return err_set(e, -ERANGE,
			       "%s of memory wanted, the node has %s",
			       quantity_format_mem(cfg->size.mem_bytes, a),
			       quantity_format_mem(cfg->node.mem_bytes, b));
	return 0;
}

struct layout {
	uint64_t size;   /* at boot, aligned */
	uint64_t base;   /* of it, there from the start */
	uint64_t region; /* virtio-mem's; 0: none */
};

/* A small base lets the VM shrink below its first size; but what is not in the
 * base is movable memory, which takes its page descriptors from the base. */
static struct layout lay_out(const struct vm_config *cfg)
{
	struct layout l = { .size = round_up(cfg->size.mem_bytes, MEM_ALIGN) };
	uint64_t top = round_up(cfg->node.mem_bytes, MEM_ALIGN);

	l.base = l.size;
	if (cfg->image.elastic) {
		l.base = round_up(l.size / ELASTIC_BASE_PART, MEM_REGION_ALIGN);
		if (l.base < ELASTIC_BASE_MIN)
			l.base = ELASTIC_BASE_MIN;
		if (l.base > l.size)
			l.base = l.size;
	}
	if (top > l.base)
		l.region = round_up(top - l.base, MEM_REGION_ALIGN);
	if (l.region > MEM_REGION_MAX)
		l.region = MEM_REGION_MAX;
	return l;
}

/*
 * Parts of the machine
 */

static void add_machine(struct args *a, const struct vm_config *cfg,
			const struct layout *l)
{
	bool kvm = cfg->accel == VM_ACCEL_KVM;

	arg(a, "-name", "arktos-%s,debug-threads=on", cfg->uid);
	arg(a, "-nodefaults", NULL);
	arg(a, "-no-user-config", NULL);
	arg(a, "-sandbox",
	    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	arg(a, "-msg", "timestamp=on");
	arg(a, "-display", "none");
	arg(a, "-vga", "none");
	arg(a, "-machine",
	    "q35,graphics=off,usb=off,vmport=off,smm=off,hpet=off,dump-guest-core=off,memory-backend=ram0");
	if (kvm)
		arg(a, "-accel", "kvm");
	else
		arg(a, "-accel", "tcg,thread=multi,tb-size=%d", TCG_CACHE_MIB);
	arg(a, "-cpu", "%s", kvm ? "host" : "max");
	arg(a, "-smp", "cpus=%u,maxcpus=%u,sockets=1,cores=%u,threads=1",
	    a->cmd->cpus_boot, a->cmd->cpus_max, a->cmd->cpus_max);
	/* Room for the region, and once more for dimms in its place. */
	if (l->region)
		arg(a, "-m", "size=%" PRIu64 "M,slots=%d,maxmem=%" PRIu64 "M",
		    l->base / MIB, DIMM_SLOTS,
		    round_up(l->base, MEM_REGION_ALIGN) / MIB +
			    2 * l->region / MIB);
	else
		arg(a, "-m", "size=%" PRIu64 "M", l->base / MIB);
	arg(a, "-object", "memory-backend-ram,id=ram0,size=%" PRIu64 "M",
	    l->base / MIB);
	arg(a, "-rtc", "base=utc");
	arg(a, "-boot", "strict=on");
	arg(a, "-action", "reboot=reset,shutdown=poweroff,panic=exit-failure");
	arg(a, "-device", "pvpanic-pci");
	arg(a, "-device", "virtio-rng-pci,id=rng0");
}

static void add_region(struct args *a, const struct layout *l)
{
	if (!l->region)
		return;
	/* reserve=off: the region is as large as the node, and mostly empty. */
	arg(a, "-object",
	    "memory-backend-ram,id=vmem0-ram,size=%" PRIu64 "M,reserve=off",
	    l->region / MIB);
	arg(a, "-device",
	    "virtio-mem-pci,id=vmem0,memdev=vmem0-ram,block-size=2M,requested-size=%" PRIu64
	    "M",
	    (l->size - l->base) / MIB);
}

static void add_sockets(struct args *a, const struct vm_config *cfg)
{
	auto_free char *qmp = escaped(a->cmd->qmp_path);
	auto_free char *qga = escaped(a->cmd->qga_path);
	auto_free char *console = escaped(a->cmd->console_path);
	auto_free char *log = escaped(cfg->console_log ? cfg->console_log : "");

	if (!qmp || !qga || !console || !log) {
		a->error = -ENOMEM;
		return;
	}
	arg(a, "-chardev", "socket,id=qmp0,path=%s,server=on,wait=off", qmp);
	arg(a, "-mon", "chardev=qmp0,mode=control");
	arg(a, "-chardev",
	    "socket,id=console0,path=%s,server=on,wait=off%s%s%s", console,
	    *log ? ",logfile=" : "", log, *log ? ",logappend=on" : "");
	arg(a, "-serial", "chardev:console0");
	arg(a, "-device", "virtio-serial-pci,id=serial0");
	arg(a, "-chardev", "socket,id=qga0,path=%s,server=on,wait=off", qga);
	arg(a, "-device",
	    "virtserialport,id=agent0,chardev=qga0,name=org.qemu.guest_agent.0");
}

static void add_disk(struct args *a, const char *id, const char *path,
		     const char *format, bool read_only)
{
	auto_free char *file = escaped(path);
	const char *ro = read_only ? "on" : "off";

	if (!file) {
		a->error = -ENOMEM;
		return;
	}
	arg(a, "-blockdev",
	    "driver=file,node-name=%s-file,filename=%s,read-only=%s,discard=unmap",
	    id, file, ro);
	arg(a, "-blockdev",
	    "driver=%s,node-name=%s,file=%s-file,read-only=%s,discard=unmap",
	    format, id, id, ro);
}

static void add_disks(struct args *a, const struct vm_config *cfg)
{
	if (cfg->image.disk) {
		add_disk(a, "disk0", a->cmd->overlay_path, "qcow2", false);
		arg(a, "-device",
		    "virtio-blk-pci,id=vda,drive=disk0%s,serial=arktos-disk0",
		    cfg->image.kernel ? "" : ",bootindex=1");
	}
	if (a->cmd->seed_path) {
		add_disk(a, "seed0", a->cmd->seed_path, "raw", true);
		arg(a, "-device",
		    "virtio-blk-pci,id=vdb,drive=seed0,serial=arktos-seed0");
	}
}

static void add_net(struct args *a, const struct vm_net *net)
{
	if (net->tap_fd < 0)
		return;
	arg(a, "-netdev", "tap,id=net0,fd=%d,vhost=off", net->tap_fd);
	if (net->mtu)
		arg(a, "-device",
		    "virtio-net-pci,id=eth0,netdev=net0,mac=%s,romfile=,host_mtu=%u",
		    net->mac, net->mtu);
	else
		arg(a, "-device",
		    "virtio-net-pci,id=eth0,netdev=net0,mac=%s,romfile=",
		    net->mac);
}

static int add_kernel(struct args *a, const struct vm_config *cfg,
		      struct err *e)
{
	const char *cmdline = cfg->image.cmdline;
	auto_buf struct buf b = BUF_INIT;

	if (!cfg->image.kernel)
		return 0;
	buf_puts(&b, cmdline ? cmdline : DEFAULT_CMDLINE);
	if (!strstr(buf_str(&b), "memhp_default_state="))
		buf_puts(&b, " memhp_default_state=online_movable");
	/* On a busy host the kernel's test of the emulated timer fails, and it
	 * panics. Under KVM it knows not to make it. */
	if (cfg->accel == VM_ACCEL_TCG)
		buf_puts(&b, " no_timer_check");
	if (cfg->hostname)
		buf_printf(&b, " arktos.hostname=%s", cfg->hostname);
	if (cfg->net.ip)
		buf_printf(&b, " arktos.ip=%s/%u", cfg->net.ip,
			   cfg->net.prefix);
	if (cfg->net.ip && cfg->net.gateway)
		buf_printf(&b, " arktos.gw=%s", cfg->net.gateway);
	if (cfg->net.ip && cfg->net.mtu)
		buf_printf(&b, " arktos.mtu=%u", cfg->net.mtu);
	if (cfg->net.dns)
		buf_printf(&b, " arktos.dns=%s", cfg->net.dns);
	if (cfg->spec->kernel_args && cfg->spec->kernel_args[0])
		buf_printf(&b, " %s", cfg->spec->kernel_args);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	if (b.len > CMDLINE_MAX)
		return err_set(e, -EINVAL,
			       "kernel command line of %zu bytes, at most %d",
			       b.len, CMDLINE_MAX);
	arg(a, "-kernel", "%s", cfg->image.kernel);
	if (cfg->image.initrd)
		arg(a, "-initrd", "%s", cfg->image.initrd);
	arg(a, "-append", "%s", buf_str(&b));
	return 0;
}

/* A kernel boot is told its network by the kernel's arguments. */
static bool needs_seed(const struct vm_config *cfg)
{
	return !cfg->image.kernel || cfg->spec->user_data_len ||
	       cfg->spec->cloud_init_script || cfg->spec->public_key;
}

static int set_paths(struct vm_command *cmd, const struct vm_config *cfg,
		     struct err *e)
{
	struct sockaddr_un sa;

	cmd->qmp_path = str_printf("%s/qmp.sock", cfg->run_dir);
	cmd->qga_path = str_printf("%s/qga.sock", cfg->run_dir);
	cmd->console_path = str_printf("%s/console.sock", cfg->run_dir);
	if (!cmd->qmp_path || !cmd->qga_path || !cmd->console_path)
		return err_set(e, -ENOMEM, "out of memory");
	if (strlen(cmd->console_path) >= sizeof(sa.sun_path))
		return err_set(
			e, -ENAMETOOLONG,
			"'%s' is too long for a socket: use a shorter run directory",
			cmd->console_path);
	if (cfg->image.disk)
		cmd->overlay_path = str_printf("%s/disk.qcow2", cfg->state_dir);
	if (needs_seed(cfg))
		cmd->seed_path = str_printf("%s/seed.iso", cfg->state_dir);
	if ((cfg->image.disk && !cmd->overlay_path) ||
	    (needs_seed(cfg) && !cmd->seed_path))
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static unsigned int whole_cpus(uint64_t milli)
{
	return (unsigned int)((milli + 999) / 1000);
}

static void set_sizes(struct vm_command *cmd, const struct vm_config *cfg,
		      const struct layout *l)
{
	uint64_t node = cfg->node.cpu_milli;

	if (node > VM_CPUS_MAX * 1000ULL)
		node = VM_CPUS_MAX * 1000ULL;
	cmd->cpus_boot = whole_cpus(cfg->size.cpu_milli);
	cmd->cpus_max = whole_cpus(node);
	cmd->mem_base = l->base;
	cmd->mem_max = l->base + l->region;
}

int vm_command_build(const struct vm_config *cfg, struct vm_command **ret,
		     struct err *e)
{
	auto_ptr(vm_command) cmd = calloc(1, sizeof(*cmd));
	struct args a = { .cmd = cmd };
	struct layout l;
	int r;

	if (!cmd)
		return err_set(e, -ENOMEM, "out of memory");
	r = check_config(cfg, e);
	if (r == 0)
		r = check_size(cfg, e);
	if (r == 0)
		r = set_paths(cmd, cfg, e);
	if (r < 0)
		return r;
	l = lay_out(cfg);
	set_sizes(cmd, cfg, &l);
	args_take(&a, strdup(cfg->qemu ? cfg->qemu : "qemu-system-x86_64"));
	add_machine(&a, cfg, &l);
	add_region(&a, &l);
	add_sockets(&a, cfg);
	add_disks(&a, cfg);
	add_net(&a, &cfg->net);
	r = add_kernel(&a, cfg, e);
	if (r < 0)
		return r;
	if (a.error)
		return err_set(e, a.error, "out of memory");
	*ret = take_ptr(cmd);
	return 0;
}
