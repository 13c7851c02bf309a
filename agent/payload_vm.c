// SPDX-License-Identifier: Apache-2.0
/* The VM payload: QEMU in the pod's supervisor, driven over QMP. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/action.h"
#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/pod_files.h"
#include "agent/vm/command.h"
#include "agent/vm/vm.h"
#include "cgroups/cgroup.h"
#include "cgroups/cpu.h"
#include "cgroups/memory.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

/* The serial console goes to QEMU's standard output, a pipe to the supervisor:
 * it becomes the log of this attempt, and is rotated as any container's. */
#define CONSOLE_LOG "/proc/self/fd/1"

/* Everything a VM's configuration borrows. */
struct start {
	struct vm_config cfg;
	struct vm_spec spec; /* the pod's, with what was allocated */
	struct vm_command *cmd;
	char *run_dir, *state_dir, *unpacker;
	char ip[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN], mac[18];
	char name[POD_HOST_NAME_MAX + 1];
};

static void start_clear(struct start *s)
{
	vm_command_free(s->cmd);
	free(s->run_dir);
	free(s->state_dir);
	free(s->unpacker);
}

struct vm_size vm_wanted_size(const struct pod *pod)
{
	struct vm_spec spec = *pod->spec->vm;

	spec.resources = pod->ctrs[0].res.allocated;
	return vm_size_of_spec(&spec);
}

static enum vm_accel accel(const struct agent *a)
{
	return a->kvm ? VM_ACCEL_KVM : VM_ACCEL_TCG;
}

uint64_t vm_pod_overhead(const struct pod *pod)
{
	return vm_overhead_bytes(accel(pod->agent));
}

static void fill_net(struct start *s, const struct pod *pod)
{
	const struct endpoint *ep = &pod->endpoint;
	const struct strv *dns = &pod->spec->dns.nameservers;

	s->cfg.net = (struct vm_net){ .tap_fd = -1 };
	if (!pod->network_up)
		return;
	inet_ntop(AF_INET, &ep->ip, s->ip, sizeof(s->ip));
	inet_ntop(AF_INET, &ep->gateway, s->gateway, sizeof(s->gateway));
	snprintf(s->mac, sizeof(s->mac), "%02x:%02x:%02x:%02x:%02x:%02x",
		 ep->mac[0], ep->mac[1], ep->mac[2], ep->mac[3], ep->mac[4],
		 ep->mac[5]);
	s->cfg.net = (struct vm_net){
		.tap_fd = QEMU_TAP_FD,
		.mac = s->mac,
		.ip = s->ip,
		.prefix = ep->prefix,
		.gateway = s->gateway,
		.mtu = ep->mtu,
		.dns = dns->nr ? dns->v[0] : NULL,
	};
}

static void fill_image(struct start *s, const struct image *img)
{
	/* Gone since the VM was started: only the sockets' paths matter now. */
	if (!img) {
		s->cfg.image.kernel = "/";
		return;
	}
	s->cfg.image = (struct vm_image){
		.kernel = img->vm.kernel,
		.initrd = img->vm.initrd,
		.cmdline = img->vm.cmdline,
		.disk = img->vm.disk,
		.disk_format = img->vm.format,
		.elastic = img->kind == IMAGE_KERNEL,
	};
}

static int start_fill(struct start *s, const struct pod *pod, struct err *e)
{
	const struct agent *a = pod->agent;
	const struct ctr *c = &pod->ctrs[0];
	int r;

	s->run_dir = str_printf("%s/vm", pod->run_dir);
	s->state_dir = str_printf("%s/vm", pod->state_dir);
	s->unpacker = str_printf("%s/arktos-unpack", a->opts.libexec);
	if (!s->run_dir || !s->state_dir || !s->unpacker)
		return err_set(e, -ENOMEM, "out of memory");
	r = pod_host_name(pod, s->name, e);
	if (r < 0)
		return r;
	s->spec = *pod->spec->vm;
	s->spec.resources = c->res.allocated;
	s->cfg = (struct vm_config){
		.uid = pod->uid,
		.hostname = s->name,
		.spec = &s->spec,
		.size = vm_size_of_spec(&s->spec),
		.node = { a->node.cpu_milli, a->node.mem_bytes },
		.accel = accel(a),
		.qemu = a->opts.qemu,
		.unpacker = s->unpacker,
		.run_dir = s->run_dir,
		.state_dir = s->state_dir,
		.console_log = CONSOLE_LOG,
	};
	fill_image(s, c->image);
	fill_net(s, pod);
	return vm_command_build(&s->cfg, &s->cmd, e);
}

static int own_dir(const char *path, uid_t uid, struct err *e)
{
	int r = fs_mkdirs(path, 0755, e);

	if (r < 0)
		return r;
	if (chown(path, uid, uid) < 0 || chmod(path, 0700) < 0)
		return err_sys(e, "give '%s' to QEMU's user", path);
	return 0;
}

static int make_log_dir(const struct pod *pod, const struct ctr *c,
			struct err *e)
{
	auto_free char *path = str_printf("%s/%s", pod->log_dir, c->name);

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	return fs_mkdirs(path, 0755, e);
}

/* --- host operations the VM driver asks for
 * ------------------------------------ */

static int set_cpu(void *ctx, uint64_t milli, struct err *e)
{
	struct pod *pod = ctx;
	struct cg_cpu_max max = cg_cpu_max_from_milli(milli);

	return cg_cpu_max_write(pod->ctrs[0].vcpu_cg, &max, e);
}

static int set_memory(void *ctx, uint64_t bytes, struct err *e)
{
	struct pod *pod = ctx;

	return cg_mem_write(pod->ctrs[0].cg, CG_MEM_MAX,
			    bytes + vm_pod_overhead(pod), e);
}

/* QEMU tells its threads as they are numbered in its own pid namespace. */
static pid_t host_tid(int pid, const char *task, pid_t tid)
{
	auto_buf struct buf b = BUF_INIT;
	char path[64];
	const char *ns, *end;
	int last = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, task);
	if (fs_read(AT_FDCWD, path, 16384, &b, NULL) < 0)
		return 0; /* it has just ended */
	ns = strstr(buf_str(&b), "\nNSpid:");
	end = ns ? strchr(ns + 1, '\n') : NULL;
	while (end && end > ns && end[-1] != '\t' && end[-1] != ' ')
		end--;
	if (!end || sscanf(end, "%d", &last) != 1 || last != tid)
		return 0;
	return (pid_t)strtol(task, NULL, 10);
}

static int find_host_tid(int pid, pid_t tid, pid_t *ret, struct err *e)
{
	char path[64];
	struct dirent *ent;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	*ret = 0;
	d = pid > 0 ? opendir(path) : NULL;
	while (d && !*ret && (ent = readdir(d)))
		if (ent->d_name[0] != '.')
			*ret = host_tid(pid, ent->d_name, tid);
	if (d)
		closedir(d);
	if (*ret)
		return 0;
	return err_set(e, -ESRCH, "no thread %d in QEMU (pid %d)", (int)tid,
		       pid);
}

static int add_vcpu(void *ctx, pid_t tid, struct err *e)
{
	struct pod *pod = ctx;
	int r = find_host_tid(pod->ctrs[0].pid, tid, &tid, e);

	return r < 0 ? r : cg_attach_thread(pod->ctrs[0].vcpu_cg, tid, e);
}

static int connect_vm(struct pod *pod, const struct start *s, struct err *e)
{
	auto_free char *memory_path =
		str_printf("%s/memory.qcow2", s->state_dir);
	const struct agent *a = pod->agent;
	struct vm_opts o = {
		.qmp_path = s->cmd->qmp_path,
		.qga_path = s->cmd->qga_path,
		.console_path = s->cmd->console_path,
		.memory_path = memory_path,
		.uid = pod_first_uid(pod),
		.tcg = !a->kvm,
		.limit = { a->node.cpu_milli, a->node.mem_bytes },
		.host = { set_cpu, set_memory, add_vcpu, pod },
	};
	struct vm *vm = NULL;
	int r;

	watch_stop_vm(pod);
	r = vm_open(&o, &vm, e);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&pod->handles);
	pod->vm = vm;
	pthread_rwlock_unlock(&pod->handles);
	pod->vm_settled = false;
	return watch_vm(pod, e);
}

static int tap(struct pod *pod, struct err *e)
{
	struct endpoint ep = ENDPOINT_INIT;
	int r;

	if (!pod->network_up || pod->endpoint.tap_fd >= 0)
		return 0;
	/* A QEMU had it before: it is opened anew for the next. */
	r = network_attach(pod->agent->network, pod->spec->tenant,
			   pod->spec->network, pod->uid, NETWORK_VM,
			   pod->spec->requested_ip, &ep, e);
	if (r < 0)
		return r;
	endpoint_clear(&pod->endpoint);
	pod->endpoint = ep;
	if (ep.tap_fd < 0)
		return err_set(e, -EBUSY,
			       "the tap '%s' is still held by another process",
			       ep.ifname);
	return 0;
}

static int launch(struct pod *pod, struct start *s, struct err *e)
{
	struct ctr *c = &pod->ctrs[0];
	static char *read_only[] = { (char *)"/usr",
				     (char *)"/etc/ld.so.cache" };
	static char *kvm[] = { (char *)"/dev/kvm" };
	const struct vm_image *img = &s->cfg.image;
	const struct container_mount mounts[] = {
		{ .dest = s->run_dir, .fd = -1, .path = s->run_dir },
		{ .dest = s->state_dir, .fd = -1, .path = s->state_dir },
		{ img->kernel, -1, img->kernel, true, true, false },
		{ img->initrd, -1, img->initrd, true, true, false },
		{ img->disk, -1, img->disk, true, true, false },
	};
	struct container_mount used[ARRAY_LEN(mounts)];
	int tasks[CG_HIERARCHIES_MAX];
	struct sandbox_failure fail = { .exit_code = 128 };
	struct sandbox_spec spec = { 0 };
	struct sandbox_proc proc = { 0 };
	auto_free char *log_path = payload_log_path(pod, c);
	struct host_input in = {
		.name = c->name,
		.argv = { s->cmd->argv, s->cmd->nr },
		.cwd = "/",
		.uid = pod_first_uid(pod),
		.gid = pod_first_uid(pod),
		.read_only = { read_only, ARRAY_LEN(read_only) },
		.mounts = used,
		.devices = { kvm, pod->agent->kvm ? 1 : 0 },
		.fds = &pod->endpoint.tap_fd,
		.nr_fds = pod->network_up ? 1 : 0,
		.cgroup_tasks = tasks,
		.cgroup_dir = cg_unified_fd(c->cg),
		.oom_fd = -1,
		.log_path = log_path,
		.log = payload_log_limits(pod),
		.attempt = c->attempt,
	};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(mounts); i++)
		if (mounts[i].path)
			used[in.nr_mounts++] = mounts[i];
	if (in.cgroup_dir < 0)
		in.cgroup_dir = -1;
	r = cg_tasks_fds(c->cg, tasks, &in.nr_cgroup_tasks, e);
	if (r < 0)
		return r;
	r = host_build(&in, &spec, e);
	if (r == 0)
		r = sandbox_start(pod->sandbox, &spec, &proc, &fail, e);
	for (size_t i = 0; i < in.nr_cgroup_tasks; i++)
		close(tasks[i]);
	sandbox_spec_clear(&spec);
	if (r == -EREMOTEIO)
		payload_start_failed(c, fail.reason, fail.exit_code,
				     fail.message);
	if (r == -EEXIST)
		r = 0; /* of before a crash of ours: the list tells */
	if (r < 0)
		return r;
	c->pid = proc.pid;
	/* QEMU has it now; kept here it would outlive QEMU. */
	if (pod->endpoint.tap_fd >= 0)
		close(take_fd(&pod->endpoint.tap_fd));
	return 0;
}

static int prepare(struct pod *pod, struct start *s, struct err *e)
{
	uid_t uid = pod_first_uid(pod);
	struct ctr *c = &pod->ctrs[0];
	int r;

	r = start_fill(s, pod, e);
	if (r == -EINVAL || r == -ERANGE) {
		payload_start_failed(c, "CreateContainerConfigError", 128,
				     e ? e->msg : "");
		return -EREMOTEIO;
	}
	if (r == 0)
		r = own_dir(s->run_dir, uid, e);
	if (r == 0)
		r = own_dir(s->state_dir, uid, e);
	if (r == 0)
		r = make_log_dir(pod, c, e);
	if (r == 0)
		r = vm_prepare(&s->cfg, s->cmd, uid, uid, e);
	if (r == 0)
		r = tap(pod, e);
	if (r == 0)
		r = ctr_cgroup_open(pod, c, e);
	if (r == 0)
		r = set_memory(pod, s->cfg.size.mem_bytes, e);
	if (r == 0)
		r = set_cpu(pod, s->cfg.size.cpu_milli, e);
	return r;
}

static int vm_start(struct pod *pod, size_t i, struct err *e)
{
	struct start *s = calloc(1, sizeof(*s));
	int r;

	(void)i;
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	r = prepare(pod, s, e);
	if (r == 0)
		r = launch(pod, s, e);
	if (r == 0)
		r = connect_vm(pod, s, e);
	start_clear(s);
	free(s);
	return r;
}

static int vm_adopt(struct pod *pod, size_t i, struct err *e)
{
	struct start *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	r = payload_cgroups_up(pod, e);
	if (r >= 0)
		r = ctr_cgroup_open(pod, &pod->ctrs[i], e);
	if (r >= 0)
		r = start_fill(s, pod, e);
	/* Only the paths are wanted: without its image it has no disk. */
	if (r >= 0)
		r = connect_vm(pod, s, e);
	start_clear(s);
	free(s);
	if (r >= 0)
		probes_start(pod, i);
	return r;
}

static int vm_stop(struct pod *pod, size_t i, struct err *e)
{
	(void)i;
	return pod->vm ? vm_powerdown(pod->vm, e) : 0;
}

static int vm_kill(struct pod *pod, size_t i, struct err *e)
{
	if (!pod->sandbox)
		return 0;
	return sandbox_kill(pod->sandbox, pod->ctrs[i].name, 9, e);
}

/* --- what the VM has
 * ------------------------------------------------------------- */

static void take_actual(struct ctr *c, const struct vm_size *size)
{
	c->res.actual = c->res.allocated;
	c->res.actual.limits = (struct quantity_set){
		.has_cpu = size->cpu_milli != 0,
		.has_mem = size->mem_bytes != 0,
		.cpu_milli = size->cpu_milli,
		.mem_bytes = size->mem_bytes,
	};
	c->res.actual_known = size->cpu_milli && size->mem_bytes;
}

static void wake_in(uint64_t *wake_ms, uint32_t ms)
{
	uint64_t at = ev_clock_ms() + ms;

	if (ms && (!*wake_ms || at < *wake_ms))
		*wake_ms = at;
}

/* One more step towards what was allocated. */
static int settle(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	struct vm_size want = vm_wanted_size(pod);
	struct vm_resize rs = { 0 };
	struct ctr *c = &pod->ctrs[0];
	int r;

	if (actions_busy(pod))
		return err_set(e, -EINPROGRESS, "waiting for an action's end");
	if (!pod->vm || pod->vm_state != VM_RUNNING) {
		wake_in(wake_ms, 200);
		return err_set(e, -EINPROGRESS, "waiting for the VM to run");
	}
	r = vm_resize_sync(pod->vm, &want, &rs, e);
	if (r == -EAGAIN) {
		wake_in(wake_ms, 200);
		return err_set(e, -EINPROGRESS, "waiting for QEMU");
	}
	if (r < 0)
		return r;
	take_actual(c, &rs.actual);
	wake_in(wake_ms, rs.retry_ms);
	pod->vm_settled = rs.state == VM_RESIZE_DONE;
	switch (rs.state) {
	case VM_RESIZE_DONE:
		return 0;
	case VM_RESIZE_IN_PROGRESS:
		return err_set(e, -EINPROGRESS, "%s", rs.why);
	case VM_RESIZE_INFEASIBLE:
		return err_set(e, -EOPNOTSUPP, "%s", rs.why);
	default:
		return err_set(e, -EIO, "%s", rs.why);
	}
}

static int vm_resize(struct pod *pod, size_t i, struct err *e)
{
	if (pod->ctrs[i].phase != CTR_RUNNING)
		return 0; /* it boots with what it has */
	return settle(pod, &pod->vm_wake_ms, e);
}

static int power(struct pod *pod, struct err *e)
{
	enum power_spec want = pod->spec->vm->power;

	if (want == POWER_PAUSED && pod->vm_state == VM_RUNNING)
		return vm_pause(pod->vm, e);
	if (want == POWER_RUNNING && pod->vm_state == VM_PAUSED)
		return vm_resume(pod->vm, e);
	return 0;
}

static int vm_observe(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	struct ctr *c = &pod->ctrs[0];
	struct vm_status st = { 0 };
	struct err why = { 0 };
	int r;

	if (!pod->vm || c->phase != CTR_RUNNING)
		return 0;
	/* While it saves or loads QEMU says nothing: it is as it was. */
	if (actions_busy(pod)) {
		r = actions_step(pod, wake_ms, e);
		if (r < 0 || actions_busy(pod)) {
			watch_rearm_vm(pod);
			return r;
		}
	}
	r = vm_sync(pod->vm, &st, e);
	watch_rearm_vm(pod);
	if (r < 0)
		return r;
	pod->vm_state = st.state;
	pod->vm_agent = st.agent;
	snprintf(pod->vm_why, sizeof(pod->vm_why), "%s", st.why);
	wake_in(wake_ms, st.retry_ms);
	if (st.resets != pod->vm_resets) {
		pod->vm_resets = st.resets;
		pod->vm_settled =
			false; /* hot-plugged CPUs are offline again */
	}
	/* The guest has switched itself off: so does its QEMU. */
	if (st.state == VM_SHUTDOWN)
		return vm_quit(pod->vm, e);
	r = power(pod, e);
	if (r < 0)
		return r;
	/* A fresh VM is brought to its size too, and told when it has it; what
	 * a resize does is told by the resize. */
	if (!pod->vm_settled && pod->resize.condition == RESIZE_NONE)
		(void)settle(pod, wake_ms, &why); /* tried again, told there */
	else if (pod->vm_wake_ms && (!*wake_ms || pod->vm_wake_ms < *wake_ms))
		*wake_ms = pod->vm_wake_ms;
	pod->vm_wake_ms = 0;
	return 0;
}

const struct payload_ops payload_vm = {
	.kind = "vm",
	.start = vm_start,
	.stop = vm_stop,
	.kill = vm_kill,
	.resize = vm_resize,
	.adopt = vm_adopt,
	.observe = vm_observe,
};
