// SPDX-License-Identifier: Apache-2.0
#include <cap-ng.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <yyjson.h>

#include "agent/container/build.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define CONFIG_ERROR "CreateContainerConfigError"
#define CAPS_ALL     ((UINT64_C(1) << (CAP_LAST_CAP + 1)) - 1)

/* What a container has no business with in /proc and /sys. */
static const char *const masked[] = {
	"/proc/acpi",        "/proc/asound",  "/proc/interrupts",
	"/proc/kcore",       "/proc/keys",    "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi",    "/proc/timer_list",
	"/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
};
static const char *const read_only[] = {
	"/proc/bus",           "/proc/fs", "/proc/irq", "/proc/sys",
	"/proc/sysrq-trigger",
};

/* The document under construction; @j fails by itself when memory runs out. */
struct draft {
	yyjson_mut_doc *j;
	yyjson_mut_val *root;
	struct sandbox_spec *ret;
	int r;
};

static int draft_begin(struct draft *d, struct sandbox_spec *ret)
{
	memset(ret, 0, sizeof(*ret));
	*d = (struct draft){ .j = yyjson_mut_doc_new(NULL), .ret = ret };
	d->root = yyjson_mut_obj(d->j);
	yyjson_mut_doc_set_root(d->j, d->root);
	return d->root ? 0 : -ENOMEM;
}

/* Ends the draft in any case. */
static int draft_end(struct draft *d, int r, struct err *e)
{
	yyjson_write_err werr;

	if (r == 0 && d->r < 0)
		r = err_set(e, d->r, "more than %d descriptors", PROTO_FDS_MAX);
	if (r == 0) {
		d->ret->json = yyjson_mut_write_opts(d->j, 0, NULL,
						     &d->ret->len, &werr);
		if (!d->ret->json)
			r = err_set(e, -EINVAL, "process spec: %s", werr.msg);
	}
	yyjson_mut_doc_free(d->j);
	if (r == 0 && d->ret->len > PROTO_BODY_MAX / 2)
		r = err_set(e, -E2BIG, "command and environment: %zu bytes",
			    d->ret->len);
	if (r < 0)
		sandbox_spec_clear(d->ret);
	return r;
}

static int use_fd(struct draft *d, int fd)
{
	struct sandbox_spec *s = d->ret;

	if (s->nr_fds >= PROTO_FDS_MAX - 8) { /* sandbox_exec() adds some */
		d->r = -E2BIG;
		return 0;
	}
	s->fds[s->nr_fds] = fd;
	return (int)s->nr_fds++;
}

static void put_str(struct draft *d, const char *key, const char *s)
{
	if (s)
		yyjson_mut_obj_add_strcpy(d->j, d->root, key, s);
}

static void put_log(struct draft *d, const char *path,
		    const struct log_limits *limits)
{
	put_str(d, "log", path);
	if (limits->max_bytes)
		yyjson_mut_obj_add_uint(d->j, d->root, "logMax",
					limits->max_bytes);
	if (limits->files)
		yyjson_mut_obj_add_uint(d->j, d->root, "logKeep",
					limits->files - 1);
}

static void put_fd(struct draft *d, const char *key, int fd)
{
	if (fd >= 0)
		yyjson_mut_obj_add_int(d->j, d->root, key, use_fd(d, fd));
}

static void put_fds(struct draft *d, const char *key, const int *fds, size_t nr)
{
	yyjson_mut_val *arr = yyjson_mut_obj_add_arr(d->j, d->root, key);

	for (size_t i = 0; i < nr; i++)
		yyjson_mut_arr_add_int(d->j, arr, use_fd(d, fds[i]));
}

static void put_list(struct draft *d, const char *key, char *const *v,
		     size_t nr)
{
	yyjson_mut_val *arr = yyjson_mut_obj_add_arr(d->j, d->root, key);

	for (size_t i = 0; i < nr; i++)
		yyjson_mut_arr_add_strcpy(d->j, arr, v[i]);
}

static void put_mask(struct draft *d, const char *key, uint64_t mask)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIx64, mask);
	put_str(d, key, text);
}

static void put_mount(struct draft *d, yyjson_mut_val *arr,
		      const struct container_mount *m, const char *idmap)
{
	yyjson_mut_val *o = yyjson_mut_arr_add_obj(d->j, arr);

	yyjson_mut_obj_add_strcpy(d->j, o, "dest", m->dest);
	if (m->fd >= 0)
		yyjson_mut_obj_add_int(d->j, o, "fd", use_fd(d, m->fd));
	else
		yyjson_mut_obj_add_strcpy(d->j, o, "path", m->path);
	yyjson_mut_obj_add_bool(d->j, o, "ro", m->read_only);
	yyjson_mut_obj_add_bool(d->j, o, "noexec", m->no_exec);
	yyjson_mut_obj_add_strcpy(d->j, o, "idmap", idmap);
}

/* --- capabilities --------------------------------------------------------- */

static int cap_bit(const char *name, uint64_t *ret, struct err *e)
{
	const char *bare = strncasecmp(name, "CAP_", 4) == 0 ? name + 4 : name;
	int cap = capng_name_to_capability(bare);

	if (cap < 0 || cap > CAP_LAST_CAP)
		return err_set(e, -EINVAL, "unknown capability '%.64s'", name);
	*ret = UINT64_C(1) << cap;
	return 0;
}

static bool has_all(const struct strv *list)
{
	for (size_t i = 0; i < list->nr; i++)
		if (strcasecmp(list->v[i], "ALL") == 0)
			return true;
	return false;
}

int container_caps(const struct strv *add, const struct strv *drop,
		   uint64_t *ret_mask, struct err *e)
{
	uint64_t mask = CONTAINER_CAPS_DEFAULT, bit = 0;
	int r;

	if (has_all(add))
		mask = CAPS_ALL;
	if (has_all(drop))
		mask = 0;
	for (size_t i = 0; i < add->nr; i++) {
		if (strcasecmp(add->v[i], "ALL") == 0)
			continue;
		r = cap_bit(add->v[i], &bit, e);
		if (r < 0)
			return r;
		mask |= bit;
	}
	for (size_t i = 0; i < drop->nr; i++) {
		if (strcasecmp(drop->v[i], "ALL") == 0)
			continue;
		r = cap_bit(drop->v[i], &bit, e);
		if (r < 0)
			return r;
		mask &= ~bit;
	}
	*ret_mask = mask;
	return 0;
}

/* --- who it is ------------------------------------------------------------ */

static int check_non_root(const struct container_input *in, struct err *e)
{
	const struct security_spec *sec = &in->ctr->security;
	const char *user = in->image->user ? in->image->user : "";
	size_t len = strcspn(user, ":");

	if (!sec->run_as_non_root)
		return 0;
	if (sec->has_user)
		return sec->user ? 0
				 : err_set(e, -EINVAL,
					   "runAsUser is 0, but runAsNonRoot "
					   "is set");
	if (len == 0 || strspn(user, "0") >= len)
		return err_set(e, -EINVAL,
			       "runAsNonRoot is set, but the image runs as "
			       "root: set runAsUser");
	if (strspn(user, "0123456789") < len)
		return err_set(e, -EINVAL,
			       "runAsNonRoot is set, and the image's user "
			       "'%.64s' is no number, so it cannot be "
			       "verified: set runAsUser",
			       user);
	return 0;
}

static int put_identity(struct draft *d, const struct container_input *in,
			struct err *e)
{
	const struct security_spec *sec = &in->ctr->security;
	yyjson_mut_val *groups;
	uint64_t caps = CAPS_ALL;
	int r = check_non_root(in, e);

	if (r == 0 && !sec->privileged)
		r = container_caps(&sec->cap_add, &sec->cap_drop, &caps, e);
	if (r < 0)
		return r;
	put_str(d, "user", in->image->user);
	if (sec->has_user)
		yyjson_mut_obj_add_uint(d->j, d->root, "uid", sec->user);
	if (sec->has_group)
		yyjson_mut_obj_add_uint(d->j, d->root, "gid", sec->group);
	groups = yyjson_mut_obj_add_arr(d->j, d->root, "groups");
	for (size_t i = 0; i < sec->nr_supplemental_groups; i++)
		yyjson_mut_arr_add_uint(d->j, groups,
					sec->supplemental_groups[i]);
	if (in->pod->has_fs_group) /* what its volumes are writable for */
		yyjson_mut_arr_add_uint(d->j, groups, in->pod->fs_group);
	put_mask(d, "caps", caps);
	yyjson_mut_obj_add_bool(d->j, d->root, "noNewPrivs", sec->no_new_privs);
	if (!sec->privileged && sec->seccomp == SECCOMP_RUNTIME_DEFAULT)
		put_fd(d, "seccomp", in->seccomp_fd);
	return 0;
}

int container_oom_score_adj(enum qos qos, const struct resources *r,
			    uint64_t node_mem_bytes)
{
	uint64_t request = r->requests.has_mem ? r->requests.mem_bytes : 0;
	uint64_t share;

	if (qos == QOS_GUARANTEED)
		return -997;
	if (qos == QOS_BEST_EFFORT || !node_mem_bytes)
		return 1000;
	/* Without the overflow of 1000 * request. */
	share = request >= node_mem_bytes
			? 1000
			: (uint64_t)((unsigned __int128)request * 1000 /
				     node_mem_bytes);
	return share > 998 ? 2 : share < 1 ? 999 : (int)(1000 - share);
}

/* --- what it runs --------------------------------------------------------- */

static void add_copies(struct strings *to, const struct strv *from,
		       const struct strings *expand)
{
	for (size_t i = 0; i < from->nr; i++)
		strings_add(to, expand ? env_expand(from->v[i], expand)
				       : strdup(from->v[i]));
}

static int put_command(struct draft *d, const struct container_input *in,
		       const struct strv *exec_argv, struct err *e)
{
	const struct container_spec *ctr = in->ctr;
	struct strings env = { .v = NULL }, own = { .v = NULL };
	struct strings argv = { .v = NULL };
	int r = env_build(in, &env, &own, e);

	if (exec_argv) {
		add_copies(&argv, exec_argv, NULL);
	} else {
		if (ctr->command.nr)
			add_copies(&argv, &ctr->command, &own);
		else
			add_copies(&argv, &in->image->entrypoint, NULL);
		if (ctr->args.nr)
			add_copies(&argv, &ctr->args, &own);
		else if (!ctr->command.nr)
			add_copies(&argv, &in->image->cmd, NULL);
	}
	if (r == 0 && argv.error)
		r = err_set(e, argv.error, "command and args are too long");
	if (r == 0 && !argv.nr)
		r = err_set(e, -EINVAL,
			    "no command: neither the pod nor the image '%s' "
			    "names one",
			    ctr->image ? ctr->image : "");
	if (r == 0) {
		put_list(d, "argv", argv.v, argv.nr);
		put_list(d, "env", env.v, env.nr);
	}
	strings_clear(&argv);
	strings_clear(&own);
	strings_clear(&env);
	return r;
}

static int put_cwd(struct draft *d, const struct container_input *in,
		   struct err *e)
{
	const char *cwd = in->ctr->working_dir;
	auto_free char *absolute = NULL;

	if (!cwd || !*cwd)
		cwd = in->image->working_dir;
	if (!cwd || !*cwd)
		cwd = "/";
	absolute = *cwd == '/' ? strdup(cwd) : str_printf("/%s", cwd);
	if (!absolute)
		return err_set(e, -ENOMEM, "out of memory");
	put_str(d, "cwd", absolute);
	return 0;
}

static void put_oom(struct draft *d, const struct container_input *in)
{
	const struct resources *r =
		in->resources ? in->resources : &in->ctr->resources;

	yyjson_mut_obj_add_int(d->j, d->root, "oomScoreAdj",
			       container_oom_score_adj(pod_spec_qos(in->pod), r,
						       in->node_mem_bytes));
}

static void put_root(struct draft *d, const struct container_input *in)
{
	const struct security_spec *sec = &in->ctr->security;
	const struct strv *layers = &in->image->layers;
	yyjson_mut_val *arr;

	put_list(d, "layers", layers->v, layers->nr);
	put_str(d, "rw", in->rw_dir);
	yyjson_mut_obj_add_bool(d->j, d->root, "readOnlyRoot",
				sec->read_only_root);
	yyjson_mut_obj_add_bool(d->j, d->root, "privileged", sec->privileged);
	yyjson_mut_obj_add_bool(d->j, d->root, "sharePid",
				in->pod->share_process_namespace ||
					in->pod->host_pid);
	arr = yyjson_mut_obj_add_arr(d->j, d->root, "mounts");
	for (size_t i = 0; i < in->nr_mounts; i++)
		put_mount(d, arr, &in->mounts[i],
			  in->userns && in->mounts[i].idmap ? "must" : "no");
	if (sec->privileged)
		return;
	put_list(d, "masked", (char *const *)masked, ARRAY_LEN(masked));
	put_list(d, "readOnlyPaths", (char *const *)read_only,
		 ARRAY_LEN(read_only));
}

static int fail_config(int r, struct sandbox_failure *ret_fail,
		       const char *name, struct err *e)
{
	struct err none = { 0 };

	if (r == 0)
		return 0;
	if (!e)
		e = &none;
	if (ret_fail) {
		snprintf(ret_fail->reason, sizeof(ret_fail->reason), "%s",
			 CONFIG_ERROR);
		ret_fail->exit_code = PROTO_EXIT_NO_START;
		snprintf(ret_fail->message, sizeof(ret_fail->message), "%s",
			 e->msg);
	}
	return err_wrap(e, r, "container '%s'", name);
}

int container_build(const struct container_input *in, struct sandbox_spec *ret,
		    struct sandbox_failure *ret_fail, struct err *e)
{
	struct err local = { 0 };
	struct draft d;
	int r = draft_begin(&d, ret);

	if (!e)
		e = &local;
	if (r < 0)
		err_set(e, r, "out of memory");
	if (r == 0 && !in->image->layers.nr)
		r = err_set(e, -EINVAL, "the image has no layers");
	if (r == 0)
		r = put_command(&d, in, NULL, e);
	if (r == 0)
		r = put_identity(&d, in, e);
	if (r == 0)
		r = put_cwd(&d, in, e);
	if (r == 0) {
		put_str(&d, "name", in->ctr->name);
		yyjson_mut_obj_add_uint(d.j, d.root, "attempt", in->attempt);
		yyjson_mut_obj_add_bool(d.j, d.root, "tty", in->ctr->tty);
		yyjson_mut_obj_add_bool(d.j, d.root, "stdin",
					in->ctr->stdin_open);
		put_log(&d, in->log_path, &in->log);
		put_fds(&d, "cgroups", in->cgroup_tasks, in->nr_cgroup_tasks);
		put_fd(&d, "cgroupDir", in->cgroup_dir);
		put_fd(&d, "oom", in->oom_fd);
		put_oom(&d, in);
		put_root(&d, in);
	}
	return fail_config(draft_end(&d, r, e), ret_fail, in->ctr->name, e);
}

int exec_build(const struct container_input *in, const struct strv *argv,
	       struct sandbox_spec *ret, struct sandbox_failure *ret_fail,
	       struct err *e)
{
	struct err local = { 0 };
	struct draft d;
	int r = draft_begin(&d, ret);

	if (!e)
		e = &local;
	if (r < 0)
		err_set(e, r, "out of memory");
	if (r == 0)
		r = put_command(&d, in, argv, e);
	if (r == 0)
		r = put_identity(&d, in, e);
	if (r == 0)
		r = put_cwd(&d, in, e);
	if (r == 0)
		put_oom(&d, in);
	return fail_config(draft_end(&d, r, e), ret_fail, in->ctr->name, e);
}

/* --- host programs -------------------------------------------------------- */

/* On most hosts /bin and /lib are links into /usr; programs name both. */
static void put_host_links(struct draft *d, yyjson_mut_val *mounts)
{
	static const char *const dirs[] = { "/bin",   "/sbin",  "/lib",
					    "/lib32", "/lib64", "/libx32" };
	yyjson_mut_val *links = yyjson_mut_obj_add_arr(d->j, d->root,
						       "symlinks"),
		       *o;
	char target[256];

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		struct container_mount m = { .dest = dirs[i],
					     .path = dirs[i],
					     .fd = -1,
					     .read_only = true };
		ssize_t n = readlink(dirs[i], target, sizeof(target) - 1);

		if (n > 0) {
			target[n] = '\0';
			o = yyjson_mut_arr_add_obj(d->j, links);
			yyjson_mut_obj_add_strcpy(d->j, o, "path", dirs[i]);
			yyjson_mut_obj_add_strcpy(d->j, o, "target", target);
		} else if (errno == EINVAL) { /* a directory */
			put_mount(d, mounts, &m, "no");
		}
	}
}

static int put_host_mounts(struct draft *d, const struct host_input *in,
			   struct err *e)
{
	yyjson_mut_val *arr = yyjson_mut_obj_add_arr(d->j, d->root, "mounts");

	put_host_links(d, arr);
	for (size_t i = 0; i < in->read_only.nr; i++) {
		auto_free char *real = realpath(in->read_only.v[i], NULL);
		struct container_mount m = { .dest = in->read_only.v[i],
					     .path = real,
					     .fd = -1,
					     .read_only = true };

		if (!real)
			return err_sys(e, "'%s' of the host",
				       in->read_only.v[i]);
		put_mount(d, arr, &m, "no");
	}
	for (size_t i = 0; i < in->nr_mounts; i++)
		put_mount(d, arr, &in->mounts[i], "no");
	return 0;
}

static void put_host_identity(struct draft *d, const struct host_input *in)
{
	yyjson_mut_val *arr, *o;

	yyjson_mut_obj_add_uint(d->j, d->root, "uid", in->uid);
	yyjson_mut_obj_add_uint(d->j, d->root, "gid", in->gid);
	arr = yyjson_mut_obj_add_arr(d->j, d->root, "groups");
	for (size_t i = 0; i < in->nr_groups; i++)
		yyjson_mut_arr_add_uint(d->j, arr, in->groups[i]);
	put_mask(d, "caps", in->caps);
	put_mask(d, "ambient", in->caps);
	yyjson_mut_obj_add_bool(d->j, d->root, "noNewPrivs", true);
	yyjson_mut_obj_add_int(d->j, d->root, "oomScoreAdj", in->oom_score_adj);
	if (!in->nofile)
		return;
	arr = yyjson_mut_obj_add_arr(d->j, d->root, "rlimits");
	o = yyjson_mut_arr_add_obj(d->j, arr);
	yyjson_mut_obj_add_int(d->j, o, "type", RLIMIT_NOFILE);
	yyjson_mut_obj_add_uint(d->j, o, "soft", in->nofile);
	yyjson_mut_obj_add_uint(d->j, o, "hard", in->nofile);
}

int host_build(const struct host_input *in, struct sandbox_spec *ret,
	       struct err *e)
{
	struct err local = { 0 };
	struct draft d;
	int r = draft_begin(&d, ret);

	if (!e)
		e = &local;
	if (r < 0)
		err_set(e, r, "out of memory");
	if (r == 0)
		r = put_host_mounts(&d, in, e);
	if (r == 0) {
		put_str(&d, "name", in->name);
		put_str(&d, "kind", "host");
		yyjson_mut_obj_add_uint(d.j, d.root, "attempt", in->attempt);
		put_list(&d, "argv", in->argv.v, in->argv.nr);
		put_list(&d, "env", in->env.v, in->env.nr);
		put_list(&d, "devices", in->devices.v, in->devices.nr);
		put_str(&d, "cwd", in->cwd);
		put_log(&d, in->log_path, &in->log);
		put_host_identity(&d, in);
		put_fds(&d, "fds", in->fds, in->nr_fds);
		put_fds(&d, "cgroups", in->cgroup_tasks, in->nr_cgroup_tasks);
		put_fd(&d, "cgroupDir", in->cgroup_dir);
		put_fd(&d, "oom", in->oom_fd);
	}
	r = draft_end(&d, r, e);
	return r < 0 ? err_wrap(e, r, "'%s'", in->name) : 0;
}
