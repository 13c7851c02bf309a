// SPDX-License-Identifier: Apache-2.0
/* The container payload: an image's root, and processes in namespaces. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/container/container.h"
#include "agent/container/sandbox.h"
#include "agent/internal.h"
#include "agent/payload.h"
#include "agent/pod_files.h"
#include "agent/spec_fields.h"
#include "agent/volume/volume.h"
#include "cgroups/cgroup.h"
#include "cgroups/cpu.h"
#include "cgroups/memory.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

#define ENV_FILE_MAX (4 * 1024 * 1024)

/* Everything a container's spec borrows while it is built and started. */
struct start {
	struct container_image image;
	struct container_input in;
	struct container_mount mounts[PROTO_MOUNTS_MAX];
	size_t nr_mounts;
	char **layers; /* topmost first */
	int tasks[CG_HIERARCHIES_MAX];
	size_t nr_tasks;
	char ip[INET_ADDRSTRLEN];
	char host_name[POD_HOST_NAME_MAX + 1];
	char *rw_dir, *log_path;
	struct key_values env_from, env_values; /* of the API server */
};

static void start_clear(struct start *s)
{
	for (size_t i = 0; i < s->nr_mounts; i++)
		if (s->mounts[i].fd >= 0)
			close(s->mounts[i].fd);
	for (size_t i = 0; i < s->nr_tasks; i++)
		close(s->tasks[i]);
	free(s->layers);
	free(s->rw_dir);
	free(s->log_path);
	spec_key_values_clear(&s->env_from);
	spec_key_values_clear(&s->env_values);
}

/* Whether a container runs under our filter, and the capabilities that one is
 * for. */
static bool has_filter(const struct container_spec *spec, uint64_t *ret_caps)
{
	const struct security_spec *s = &spec->security;

	*ret_caps = CONTAINER_CAPS_DEFAULT;
	if (s->seccomp != SECCOMP_RUNTIME_DEFAULT || s->privileged)
		return false;
	/* An unknown capability is told by container_build(). */
	(void)container_caps(&s->cap_add, &s->cap_drop, ret_caps, NULL);
	return true;
}

static int seccomp_fd(struct agent *a, uint64_t caps, int *ret, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->nr_seccomp; i++)
		if (a->seccomp[i].caps == caps) {
			*ret = a->seccomp[i].fd;
			goto out;
		}
	r = seccomp_default_fd(caps, ret, e);
	if (r < 0)
		goto out;
	/* Few sets of capabilities are in use; the eldest makes room. */
	if (a->nr_seccomp == SECCOMP_CACHE) {
		close(a->seccomp[0].fd);
		memmove(a->seccomp, a->seccomp + 1,
			sizeof(a->seccomp) - sizeof(a->seccomp[0]));
		a->nr_seccomp--;
	}
	a->seccomp[a->nr_seccomp].caps = caps;
	a->seccomp[a->nr_seccomp++].fd = *ret;
out:
	if (r == 0) {
		*ret = fcntl(*ret, F_DUPFD_CLOEXEC, 3);
		r = *ret < 0 ? err_sys(e, "duplicate the profile") : 0;
	}
	pthread_mutex_unlock(&a->lock);
	return r;
}

static int add_mount(struct start *s, const char *dest, int fd, bool read_only,
		     bool idmap, struct err *e)
{
	if (s->nr_mounts == PROTO_MOUNTS_MAX) {
		close(fd);
		return err_set(e, -E2BIG, "more than %d mounts",
			       PROTO_MOUNTS_MAX);
	}
	s->mounts[s->nr_mounts++] = (struct container_mount){
		.dest = dest,
		.fd = fd,
		.read_only = read_only,
		.idmap = idmap,
	};
	return 0;
}

static bool has_mount(const struct container_spec *c, const char *dest)
{
	for (size_t i = 0; i < c->nr_mounts; i++)
		if (str_eq(c->mounts[i].mount_path, dest))
			return true;
	return false;
}

static int add_file(struct start *s, const struct pod *pod,
		    const struct container_spec *c, const char *dest,
		    const char *path, struct err *e)
{
	int fd, r;

	if (has_mount(c, dest))
		return 0;
	r = sandbox_mount_open(AT_FDCWD, path, false, &fd, e);
	if (r < 0)
		return r;
	return add_mount(s, dest, fd, false, pod_has_userns(pod), e);
}

/* The host's own files keep their owners; what is ours belongs to the pod,
 * unless it does so already (volume_dirs.memory_ids). */
static bool is_mapped(const struct pod *pod, const struct mount_spec *m)
{
	const struct pod_spec *spec = pod->spec;

	for (size_t i = 0; i < spec->nr_volumes; i++) {
		const struct volume_spec *v = &spec->volumes[i];

		if (!str_eq(v->name, m->volume))
			continue;
		if (v->kind == VOLUME_PAYLOAD ||
		    (v->kind == VOLUME_EMPTY_DIR && v->memory))
			return !pod_memory_ids(pod);
		return v->kind == VOLUME_EMPTY_DIR;
	}
	return false;
}

static int add_mounts(struct start *s, const struct pod *pod,
		      const struct ctr *c, struct err *e)
{
	static const struct {
		const char *dest, *name;
	} files[] = {
		{ "/etc/hosts", "hosts" },
		{ "/etc/hostname", "hostname" },
		{ "/etc/resolv.conf", "resolv.conf" },
	};
	char path[PATH_MAX];
	int fd, r;

	for (size_t i = 0; i < c->spec->nr_mounts; i++) {
		const struct mount_spec *m = &c->spec->mounts[i];

		r = volume_open(pod->volumes, m, &fd, e);
		if (r == 0)
			r = add_mount(s, m->mount_path, fd, m->read_only,
				      pod_has_userns(pod) && is_mapped(pod, m),
				      e);
		if (r < 0)
			return err_wrap(e, r, "volume '%s'", m->volume);
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(path, sizeof(path), "%s/etc/%s", pod->state_dir,
			 files[i].name);
		r = add_file(s, pod, c->spec, files[i].dest, path, e);
		if (r < 0)
			return r;
	}
	r = pod_files_termination_log(pod, c, path, sizeof(path), e);
	if (r < 0)
		return r;
	return add_file(s, pod, c->spec,
			c->spec->termination_log ? c->spec->termination_log
						 : "/dev/termination-log",
			path, e);
}

static int fill_image(struct start *s, const struct image *img, struct err *e)
{
	size_t nr = img->layers.nr;

	/* The store lists the lowest first, overlayfs wants the topmost. */
	s->layers = calloc(nr + 1, sizeof(*s->layers));
	if (!s->layers)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < nr; i++)
		s->layers[i] = img->layers.v[nr - 1 - i];
	s->image = (struct container_image){
		.entrypoint = img->config.entrypoint,
		.cmd = img->config.cmd,
		.env = img->config.env,
		.user = img->config.user ? img->config.user : "",
		.working_dir = img->config.working_dir,
		.layers = { s->layers, nr },
	};
	return 0;
}

static int copy_pair(struct key_values *to, const char *key, const char *value)
{
	struct key_value *v = realloc(to->v, (to->nr + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	to->v = v;
	v[to->nr] = (struct key_value){ strdup(key), strdup(value) };
	to->nr++; /* half of one is released as well */
	return v[to->nr - 1].key && v[to->nr - 1].value ? 0 : -ENOMEM;
}

/* {"from":[["NAME","value"],...],"env":{"NAME":"value"}}, as agent/remote has
 * written it. */
static int take_env(struct start *s, yyjson_val *root)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(root, "from"));
	yyjson_val *pair, *key, *val;
	size_t i, max;
	int r = 0;

	while (r == 0 && (pair = yyjson_arr_iter_next(&it)))
		r = copy_pair(&s->env_from,
			      yyjson_get_str(yyjson_arr_get(pair, 0)),
			      yyjson_get_str(yyjson_arr_get(pair, 1)));
	json_obj_foreach (yyjson_obj_get(root, "env"), i, max, key, val) {
		if (r == 0)
			r = copy_pair(&s->env_values, yyjson_get_str(key),
				      yyjson_get_str(val));
	}
	return r;
}

/* What the API server has of its environment. *@ret is the caller's. */
static int read_env(const struct pod *pod, const struct ctr *c,
		    yyjson_doc **ret, struct err *e)
{
	auto_free char *path = NULL;
	auto_buf struct buf b = BUF_INIT;
	int r;

	path = str_printf("%s/volumes/" SPEC_ENV_VOLUME "/..data/%s",
			  pod->run_dir, c->name);
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = fs_read(AT_FDCWD, path, ENV_FILE_MAX, &b, e);
	if (r < 0)
		return r;
	*ret = yyjson_read(buf_str(&b), b.len, 0);
	return *ret ? 0 : err_set(e, -EBADMSG, "%s: cannot be read", path);
}

int payload_env_lacks(const struct pod *pod, const struct ctr *c, char *why,
		      size_t size, struct err *e)
{
	yyjson_doc *doc;
	const char *lacks;
	int r;

	if (!c->spec || !c->spec->env_from_api)
		return 0;
	r = read_env(pod, c, &doc, e);
	if (r < 0)
		return r;
	lacks = yyjson_get_str(
		yyjson_obj_get(yyjson_doc_get_root(doc), "lacks"));
	snprintf(why, size, "%s", lacks ? lacks : "");
	yyjson_doc_free(doc);
	return lacks ? 1 : 0;
}

static int fill_env(struct start *s, const struct pod *pod, const struct ctr *c,
		    struct err *e)
{
	yyjson_doc *doc;
	int r;

	if (!c->spec->env_from_api)
		return 0;
	r = read_env(pod, c, &doc, e);
	if (r < 0)
		return r;
	r = take_env(s, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
	if (r < 0)
		return err_set(e, r, "out of memory");
	s->in.env_from = &s->env_from;
	s->in.env_values = &s->env_values;
	return 0;
}

static void fill_input(struct start *s, const struct pod *pod,
		       const struct ctr *c)
{
	const char *ip = NULL;

	if (pod->network_up &&
	    inet_ntop(AF_INET, &pod->endpoint.ip, s->ip, sizeof(s->ip)))
		ip = s->ip;
	else if (pod->spec->host_network && pod->agent->host_ip[0])
		ip = pod->agent->host_ip;
	s->in = (struct container_input){
		.pod = pod->spec,
		.ctr = c->spec,
		.image = &s->image,
		.attempt = c->attempt,
		.node_name = pod->agent->opts.node_name,
		.host_ip = pod->agent->host_ip[0] ? pod->agent->host_ip : NULL,
		.host_name = pod_host_name(pod, s->host_name, NULL) == 0
				     ? s->host_name
				     : NULL,
		.pod_ip = ip,
		.node_cpu_milli = pod->agent->node.cpu_milli,
		.node_mem_bytes = pod->agent->node.mem_bytes,
		.node_disk_bytes = pod->agent->node.disk_bytes,
		.resources = &c->res.allocated,
		.rw_dir = s->rw_dir,
		.log_path = s->log_path,
		.log = payload_log_limits(pod),
		.mounts = s->mounts,
		.nr_mounts = s->nr_mounts,
		.cgroup_tasks = s->tasks,
		.nr_cgroup_tasks = s->nr_tasks,
		.cgroup_dir = c->cg ? cg_unified_fd(c->cg) : -1,
		.oom_fd = -1,
		.seccomp_fd = -1,
		.userns = pod_has_userns(pod),
	};
	if (s->in.cgroup_dir < 0)
		s->in.cgroup_dir = -1;
}

static int start_fill(struct start *s, struct pod *pod, struct ctr *c,
		      struct err *e)
{
	int r;

	s->rw_dir = str_printf("%s/containers/%s/%u", pod->state_dir, c->name,
			       c->attempt);
	s->log_path = payload_log_path(pod, c);
	if (!s->rw_dir || !s->log_path)
		return err_set(e, -ENOMEM, "out of memory");
	r = fill_image(s, c->image, e);
	if (r == 0)
		r = ctr_cgroup_open(pod, c, e);
	if (r == 0)
		r = cg_tasks_fds(c->cg, s->tasks, &s->nr_tasks, e);
	if (r == 0)
		r = add_mounts(s, pod, c, e);
	if (r < 0)
		return r;
	fill_input(s, pod, c);
	return fill_env(s, pod, c, e);
}

/* The writable layer of the attempt before is of no use any more. */
static int make_dirs(struct start *s, struct pod *pod, const struct ctr *c,
		     struct err *e)
{
	char path[PATH_MAX];
	int r;

	if (c->attempt) {
		snprintf(path, sizeof(path), "%s/containers/%s/%u",
			 pod->state_dir, c->name, c->attempt - 1);
		(void)fs_remove_tree(AT_FDCWD, path, NULL); /* gone later */
	}
	r = fs_mkdirs(s->rw_dir, 0700, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/%s", pod->log_dir, c->name);
	return fs_mkdirs(path, 0755, e);
}

static int do_start(struct pod *pod, struct ctr *c, struct start *s,
		    struct err *e)
{
	struct sandbox_spec spec = { 0 };
	struct sandbox_failure fail = { .exit_code = 128 };
	struct sandbox_proc proc = { 0 };
	struct cg_mem_events ev;
	uint64_t caps;
	int r;

	c->oom_base =
		cg_mem_events_read(c->cg, &ev, NULL) == 0 ? ev.oom_kill : 0;
	r = has_filter(c->spec, &caps)
		    ? seccomp_fd(pod->agent, caps, &s->in.seccomp_fd, e)
		    : 0;
	if (r < 0)
		return r;
	r = container_build(&s->in, &spec, &fail, e);
	if (r == 0)
		r = sandbox_start(pod->sandbox, &spec, &proc, &fail, e);
	else if (r == -EINVAL || r == -E2BIG)
		r = -EREMOTEIO;
	sandbox_spec_clear(&spec);
	if (s->in.seccomp_fd >= 0)
		close(s->in.seccomp_fd);
	if (r == -EREMOTEIO)
		payload_start_failed(c, fail.reason, fail.exit_code,
				     fail.message[0] ? fail.message
				     : e             ? e->msg
						     : "");
	if (r == -EEXIST) /* of before a crash of ours: the list tells */
		return 0;
	c->pid = proc.pid;
	return r;
}

static int container_start(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	struct start *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	r = pod_files_write(pod, e);
	if (r == 0)
		r = start_fill(s, pod, c, e);
	if (r == 0)
		r = make_dirs(s, pod, c, e);
	if (r == 0)
		r = payload_write_limits(pod, i, e);
	if (r == 0)
		r = do_start(pod, c, s, e);
	start_clear(s);
	free(s);
	if (r < 0)
		return r;
	return payload_read_back(pod, i, e);
}

static int stop_signal(const struct ctr *c)
{
	static const struct {
		const char *name;
		int signo;
	} names[] = { { "HUP", SIGHUP },   { "INT", SIGINT },
		      { "QUIT", SIGQUIT }, { "USR1", SIGUSR1 },
		      { "USR2", SIGUSR2 }, { "WINCH", SIGWINCH },
		      { "TERM", SIGTERM }, { "KILL", SIGKILL } };
	const char *s = c->image ? c->image->config.stop_signal : NULL;
	int n;

	if (!s || !s[0])
		return SIGTERM;
	if (str_to_int(s, &n) == 0)
		return n > 0 && n < NSIG ? n : SIGTERM;
	if (str_starts(s, "SIG"))
		s += 3;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(s, names[i].name) == 0)
			return names[i].signo;
	return SIGTERM;
}

static int container_stop(struct pod *pod, size_t i, struct err *e)
{
	if (!pod->sandbox)
		return 0;
	return sandbox_kill(pod->sandbox, pod->ctrs[i].name,
			    stop_signal(&pod->ctrs[i]), e);
}

static int container_kill(struct pod *pod, size_t i, struct err *e)
{
	if (!pod->sandbox)
		return 0;
	return sandbox_kill(pod->sandbox, pod->ctrs[i].name, SIGKILL, e);
}

static int container_adopt(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	struct cg_mem_events ev;
	int r;

	r = payload_cgroups_up(pod, e);
	if (r >= 0)
		r = ctr_cgroup_open(pod, c, e);
	if (r < 0)
		return r;
	c->oom_base =
		cg_mem_events_read(c->cg, &ev, NULL) == 0 ? ev.oom_kill : 0;
	probes_start(pod, i);
	r = payload_read_back(pod, i, e);
	if (r < 0)
		return r;
	/* A crash between allocating and giving is mended here. */
	return pod->payload->resize(pod, i, e);
}

/* Lower a memory limit without getting anybody killed. */
static int lower_memory(struct ctr *c, uint64_t bytes, struct err *e)
{
	char want[QUANTITY_TEXT_SIZE], used[QUANTITY_TEXT_SIZE];
	uint64_t current = 0;
	int r = cg_mem_max_lower(c->cg, bytes, &current, NULL);

	if (r == 0)
		return 0;
	if (r != -EBUSY && r != -EAGAIN)
		return err_wrap(e, r, "lower the memory limit");
	return err_set(e, -EBUSY,
		       "memory limit of %s is below what container '%s' uses: "
		       "%s, after reclaim was tried",
		       quantity_format_human(bytes, want), c->name,
		       quantity_format_human(current, used));
}

static int container_resize(struct pod *pod, size_t i, struct err *e)
{
	struct ctr *c = &pod->ctrs[i];
	const struct quantity_set *to = &c->res.allocated.limits;
	const struct quantity_set *is = &c->res.actual.limits;
	bool shrink =
		to->has_mem && (!is->has_mem || to->mem_bytes < is->mem_bytes);
	int r;

	if (!c->cg)
		return 0; /* not started yet: it starts with what it has */
	if (shrink) {
		r = lower_memory(c, to->mem_bytes, e);
		if (r < 0)
			return r;
	}
	r = payload_write_limits(pod, i, e);
	if (r < 0)
		return r;
	return payload_read_back(pod, i, e);
}

static int container_observe(struct pod *pod, uint64_t *wake_ms, struct err *e)
{
	(void)pod, (void)wake_ms, (void)e;
	return 0; /* the supervisor's list is all there is */
}

const struct payload_ops payload_container = {
	.kind = "container",
	.start = container_start,
	.stop = container_stop,
	.kill = container_kill,
	.resize = container_resize,
	.adopt = container_adopt,
	.observe = container_observe,
};

/* --- exec
 * ------------------------------------------------------------------------- */

int pod_exec_spec(struct pod *pod, const char *container,
		  const struct strv *argv, struct sandbox_spec *ret,
		  int *ret_filter, struct sandbox_failure *ret_fail,
		  struct err *e)
{
	struct start *s = calloc(1, sizeof(*s));
	auto_close int filter = -EBADF;
	int r = 0;
	struct ctr *c;
	uint64_t caps;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_lock(&pod->lock);
	c = pod_ctr(pod, container);
	/* What is run in a container later is no freer than what it began as.
	 * The filter is the agent's, under another lock. */
	if (c && c->spec && has_filter(c->spec, &caps)) {
		pthread_mutex_unlock(&pod->lock);
		r = seccomp_fd(pod->agent, caps, &filter, e);
		pthread_mutex_lock(&pod->lock);
		c = pod_ctr(pod, container);
	}
	if (r < 0)
		;
	else if (!c || !c->spec)
		r = err_set(e, -ENOENT, "no container '%s'", container);
	else if (c->phase != CTR_RUNNING)
		r = err_set(e, -ESRCH, "container '%s' is not running",
			    container);
	else if (!c->image)
		r = err_set(e, -ESRCH,
			    "image '%s' of container '%s' is not on this node "
			    "any more, and commands take their settings from "
			    "it: pull it again and restart the agent",
			    c->spec->image, container);
	else
		r = fill_image(s, c->image, e);
	if (r == 0) {
		fill_input(s, pod, c);
		s->in.seccomp_fd = filter;
		r = fill_env(s, pod, c, e);
	}
	if (r == 0) {
		r = exec_build(&s->in, argv, ret, ret_fail, e);
	}
	pthread_mutex_unlock(&pod->lock);
	start_clear(s);
	free(s);
	if (r == 0)
		*ret_filter = take_fd(&filter);
	return r;
}
