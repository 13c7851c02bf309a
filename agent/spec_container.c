// SPDX-License-Identifier: Apache-2.0
/* One container, and what containers share with virtual machines. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/err.h"
#include "lib/str.h"

#define ENV_MAX    4096
#define MOUNTS_MAX 256
#define PORTS_MAX  1024
#define GROUPS_MAX 1024

int spec_pull_policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "IfNotPresent", "Always",
					     "Never" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(enum pull_policy *)out = (enum pull_policy)i;
	return r;
}

/* Both words of Kubernetes (restartPolicy) and of Arktos (policy). */
static int restart_word(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "NotRequired", "PreferNoRestart",
					     "NoRestart", "RestartContainer" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = i == 3;
	return r;
}

struct resize_entry {
	char *resource;
	bool restart;
};

static int resize_entry(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct resize_entry, "resourceName", spec_str,
			   resource),
		SPEC_FIELD(struct resize_entry, "restartPolicy", restart_word,
			   restart),
		SPEC_FIELD(struct resize_entry, "policy", restart_word,
			   restart),
	};

	struct resize_entry *entry = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), entry);

	if (yyjson_is_obj(v) && !spec_faulty(c, "resourceName") &&
	    !str_eq(entry->resource, "cpu") &&
	    !str_eq(entry->resource, "memory"))
		spec_fault(c, &r, "resourceName", "must be cpu or memory");
	return r;
}

int spec_resize_policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct resize_policy *policy = out;
	struct resize_entry *list = NULL;
	size_t nr = 0;
	int r = spec_read_array(c, v, sizeof(*list), 2, resize_entry, &list,
				&nr);

	for (size_t i = 0; i < nr; i++) {
		if (str_eq(list[i].resource, "cpu"))
			policy->cpu_restart = list[i].restart;
		else
			policy->mem_restart = list[i].restart;
		free(list[i].resource);
	}
	free(list);
	return r;
}

static int field_ref(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct env_var, "fieldPath", spec_str, field_path),
		SPEC_IGNORED("apiVersion"),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int resource_ref(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct env_var, "resource", spec_str, resource),
		SPEC_IGNORED("containerName"),
		SPEC_IGNORED("divisor"), /* read below */
	};
	struct env_var *var = out;
	yyjson_val *by = yyjson_obj_get(v, "divisor");
	int first = spec_read_object(c, v, fields, ARRAY_LEN(fields), var), r;
	size_t mark;

	if (!by || yyjson_is_null(by))
		return first;
	mark = spec_push(c, "divisor");
	r = var->resource && str_ends(var->resource, ".cpu")
		    ? spec_quantity_cpu(c, by, &var->divisor)
		    : spec_quantity_mem(c, by, &var->divisor);
	spec_note(c, mark, r, &first);
	return first;
}

/* agent/remote looks it up. */
static int key_ref(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_get_str(yyjson_obj_get(v, "key")))
		return spec_fail_at(c, "key", "is required");
	((struct env_var *)out)->from_api = true;
	return 0;
}

static int value_from(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		{ "fieldRef", field_ref, 0 },
		{ "resourceFieldRef", resource_ref, 0 },
		{ "configMapKeyRef", key_ref, 0 },
		{ "secretKeyRef", key_ref, 0 },
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int env_var(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct env_var, "name", spec_str, name),
		SPEC_FIELD(struct env_var, "value", spec_str, value),
		{ "valueFrom", value_from, 0 },
	};
	struct env_var *var = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), var);

	if (!yyjson_is_obj(v))
		return r;
	if ((!var->name || !var->name[0]) && !spec_faulty(c, "name"))
		spec_fault(c, &r, "name", "is required");
	if (var->name && strchr(var->name, '='))
		spec_fault(c, &r, "name", "must not contain '='");
	if (var->value && var->value[0] &&
	    (var->field_path || var->resource || var->from_api))
		spec_fault(c, &r, NULL,
			   "has both value and valueFrom; keep one");
	return r;
}

static int protocol(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "TCP", "UDP", "SCTP" };

	return spec_choice(c, v, words, ARRAY_LEN(words), out);
}

static int host_ip(struct spec_ctx *c, yyjson_val *v, void *out)
{
	const char *text = yyjson_get_str(v);

	if (!text)
		return spec_fail(c, -EINVAL, "must be a string");
	if (text[0] && inet_pton(AF_INET, text, out) != 1)
		return spec_fail(c, -EINVAL,
				 "'%.60s' is not an IPv4 address of the host",
				 text);
	return 0;
}

static int port(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct port_spec, "name", spec_str, name),
		SPEC_FIELD(struct port_spec, "containerPort", spec_port,
			   container_port),
		SPEC_FIELD(struct port_spec, "hostPort", spec_port_or_none,
			   host_port),
		SPEC_FIELD(struct port_spec, "hostIP", host_ip, host_ip),
		SPEC_FIELD(struct port_spec, "protocol", protocol, protocol),
	};
	struct port_spec *p = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), p);

	if (!yyjson_is_obj(v))
		return r;
	if (!p->container_port && !spec_faulty(c, "containerPort"))
		spec_fault(c, &r, "containerPort", "is required");
	if (p->host_port && p->protocol == PORT_SCTP)
		spec_fault(c, &r, "hostPort",
			   "is for TCP and UDP here, not for SCTP");
	return r;
}

int spec_ports(struct spec_ctx *c, yyjson_val *v, struct port_spec **ret,
	       size_t *ret_nr)
{
	return spec_read_array(c, v, sizeof(**ret), PORTS_MAX, port, ret,
			       ret_nr);
}

void spec_ports_free(struct port_spec *ports, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		free(ports[i].name);
	free(ports);
}

/* Mounts of a pod are its own. */
static int no_propagation(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return str_eq(yyjson_get_str(v), "None") ? 0
						 : spec_unsupported(c, v, out);
}

static int mount(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct mount_spec, "name", spec_str, volume),
		SPEC_FIELD(struct mount_spec, "mountPath", spec_str,
			   mount_path),
		SPEC_FIELD(struct mount_spec, "subPath", spec_str, sub_path),
		SPEC_FIELD(struct mount_spec, "readOnly", spec_bool, read_only),
		SPEC_IGNORED("recursiveReadOnly"),
		SPEC_UNSUPPORTED("subPathExpr"),
		{ "mountPropagation", no_propagation, 0 },
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

struct mount_list {
	struct mount_spec *mounts;
	size_t nr;
};

int spec_mounts(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct mount_list *list = out;

	return spec_read_array(c, v, sizeof(*list->mounts), MOUNTS_MAX, mount,
			       &list->mounts, &list->nr);
}

static bool has_dotdot(const char *path)
{
	for (const char *s = path; (s = strstr(s, "..")); s += 2)
		if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
			return true;
	return false;
}

static bool has_volume(const struct pod_spec *pod, const char *name)
{
	for (size_t i = 0; i < pod->nr_volumes; i++)
		if (name && str_eq(pod->volumes[i].name, name))
			return true;
	return false;
}

/* Of a volume whose name is not known, as it is wrong. */
static bool may_be_meant(const struct pod_spec *pod)
{
	for (size_t i = 0; i < pod->nr_volumes; i++)
		if (!pod->volumes[i].name)
			return true;
	return false;
}

static int check_mount(struct spec_ctx *c, const struct pod_spec *pod,
		       const struct mount_spec *m)
{
	bool path = !spec_faulty(c, "mountPath");
	int r = 0;

	if (!has_volume(pod, m->volume) && !spec_faulty(c, "name") &&
	    !may_be_meant(pod))
		spec_fault(c, &r, "name", "no volume '%.80s' in the pod",
			   m->volume ? m->volume : "");
	if (path && (!m->mount_path || m->mount_path[0] != '/'))
		spec_fault(c, &r, "mountPath", "must be an absolute path");
	else if (path && strchr(m->mount_path, ':'))
		spec_fault(c, &r, "mountPath", "must not contain ':'");
	if (m->sub_path && (m->sub_path[0] == '/' || has_dotdot(m->sub_path)))
		spec_fault(c, &r, "subPath",
			   "must be relative and without '..'");
	return r;
}

int spec_check_mounts(struct spec_ctx *c, const struct pod_spec *pod,
		      const struct mount_spec *mounts, size_t nr)
{
	int first = 0;

	for (size_t i = 0; i < nr; i++) {
		size_t mark = spec_push(c, "volumeMounts");
		int r;

		(void)spec_push_index(c, i);
		r = check_mount(c, pod, &mounts[i]);
		for (size_t j = 0; j < i && mounts[i].mount_path; j++)
			if (str_eq(mounts[i].mount_path,
				   mounts[j].mount_path)) {
				spec_fault(c, &r, "mountPath",
					   "must be unique");
				break;
			}
		spec_note(c, mark, r, &first);
	}
	return first;
}

static int env_list(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct container_spec *ctr = out;
	int r = spec_read_array(c, v, sizeof(*ctr->env), ENV_MAX, env_var,
				&ctr->env, &ctr->nr_env);

	for (size_t i = 0; i < ctr->nr_env; i++)
		ctr->env_from_api |= ctr->env[i].from_api;
	return r;
}

static int env_from(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_is_arr(v) || yyjson_arr_size(v) > ENV_MAX)
		return spec_fail(c, -EINVAL, "must be a list");
	((struct container_spec *)out)->env_from_api |= yyjson_arr_size(v) > 0;
	return 0;
}

static int port_list(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct container_spec *ctr = out;

	return spec_ports(c, v, &ctr->ports, &ctr->nr_ports);
}

static int termination_policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "File", "FallbackToLogsOnError" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = i == 1;
	return r;
}

int spec_security_copy(struct security_spec *to,
		       const struct security_spec *from)
{
	size_t bytes = from->nr_supplemental_groups * sizeof(uint32_t);

	*to = *from;
	to->cap_add = to->cap_drop = (struct strv){ 0 };
	to->supplemental_groups = NULL;
	if (bytes) {
		to->supplemental_groups = malloc(bytes);
		if (!to->supplemental_groups)
			return -ENOMEM;
		memcpy(to->supplemental_groups, from->supplemental_groups,
		       bytes);
	}
	return 0;
}

/* "fitting" tag of an image name: latest, or none, means Always. */
static enum pull_policy default_pull_policy(const char *image)
{
	const char *slash = strrchr(image, '/');
	const char *name = slash ? slash : image;
	const char *tag = strrchr(name, ':');

	/* Local sources carry a scheme; nothing is there to pull again. */
	if (strchr(image, '@') || str_starts(image, "oci:") ||
	    str_starts(image, "dir:") || str_starts(image, "docker-archive:"))
		return PULL_IF_NOT_PRESENT;
	return tag && strcmp(tag, ":latest") != 0 ? PULL_IF_NOT_PRESENT
						  : PULL_ALWAYS;
}

static int check_container(struct spec_ctx *c, struct container_spec *ctr)
{
	int r = 0;

	if (!ctr->name && !spec_faulty(c, "name"))
		spec_fault(c, &r, "name", "is required");
	if (ctr->name && !str_is_dns_label(ctr->name))
		spec_fault(c, &r, "name",
			   "'%.80s' is not a DNS label (a-z, 0-9, '-', at "
			   "most 63 characters)",
			   ctr->name);
	if ((!ctr->image || !ctr->image[0]) && !spec_faulty(c, "image"))
		spec_fault(c, &r, "image", "is required");
	if (ctr->working_dir && ctr->working_dir[0] != '/')
		spec_fault(c, &r, "workingDir", "must be an absolute path");
	return r;
}

static int always(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "Always" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = true;
	return r;
}

static int lifecycle(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct container_spec, "postStart", spec_hook,
			   post_start),
		SPEC_FIELD(struct container_spec, "preStop", spec_hook,
			   pre_stop),
		SPEC_UNSUPPORTED("stopSignal"),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

int spec_container(struct spec_ctx *c, yyjson_val *v,
		   const struct security_spec *pod, struct container_spec *ret)
{
#define F(json, fn, member) SPEC_FIELD(struct container_spec, json, fn, member)
	static const struct spec_field fields[] = {
		F("name", spec_str, name),
		F("image", spec_str, image),
		F("imagePullPolicy", spec_pull_policy, pull_policy),
		F("command", spec_strv, command),
		F("args", spec_strv, args),
		F("workingDir", spec_str, working_dir),
		F("env", env_list, name) /* the whole struct */,
		F("ports", port_list, name),
		F("resources", spec_resources, resources),
		F("resizePolicy", spec_resize_policy, resize),
		F("volumeMounts", spec_mounts, mounts),
		F("livenessProbe", spec_probe, liveness),
		F("readinessProbe", spec_probe, readiness),
		F("startupProbe", spec_probe, startup),
		F("tty", spec_bool, tty),
		F("stdin", spec_bool, stdin_open),
		F("stdinOnce", spec_bool, stdin_once),
		F("terminationMessagePath", spec_str, termination_log),
		F("terminationMessagePolicy", termination_policy,
		  termination_fallback_to_logs),
		SPEC_IGNORED("securityContext"), /* read below */
		SPEC_IGNORED("resourcesAllocated"),
		F("envFrom", env_from, name) /* the whole struct */,
		F("lifecycle", lifecycle, name) /* the whole struct */,
		SPEC_UNSUPPORTED("volumeDevices"),
		F("restartPolicy", always, sidecar),
	};
#undef F
	yyjson_val *security = yyjson_obj_get(v, "securityContext");
	yyjson_val *policy = yyjson_obj_get(v, "imagePullPolicy");
	int first, r;
	size_t mark;

	_Static_assert(offsetof(struct container_spec, name) == 0,
		       "lists are read into the whole container");
	_Static_assert(offsetof(struct container_spec, nr_mounts) ==
			       offsetof(struct container_spec, mounts) +
				       offsetof(struct mount_list, nr),
		       "spec_mounts() writes both");
	if (spec_security_copy(&ret->security, pod) < 0)
		return spec_fail(c, -ENOMEM, "out of memory");
	c->ports = yyjson_obj_get(v, "ports");
	first = spec_read_object(c, v, fields, ARRAY_LEN(fields), ret);
	c->ports = NULL;
	if (!yyjson_is_obj(v))
		return first;
	r = check_container(c, ret);
	spec_note(c, c->len, r, &first);
	if ((!policy || yyjson_is_null(policy)) && ret->image)
		ret->pull_policy = default_pull_policy(ret->image);
	if (security && !yyjson_is_null(security)) {
		mark = spec_push(c, "securityContext");
		r = spec_security(c, security, &ret->security);
		spec_note(c, mark, r, &first);
	}
	return first;
}

void spec_container_clear(struct container_spec *c)
{
	free(c->name);
	free(c->image);
	spec_strv_clear(&c->command);
	spec_strv_clear(&c->args);
	free(c->working_dir);
	for (size_t i = 0; i < c->nr_env; i++) {
		free(c->env[i].name);
		free(c->env[i].value);
		free(c->env[i].field_path);
		free(c->env[i].resource);
	}
	free(c->env);
	for (size_t i = 0; i < c->nr_mounts; i++) {
		free(c->mounts[i].volume);
		free(c->mounts[i].mount_path);
		free(c->mounts[i].sub_path);
	}
	free(c->mounts);
	spec_ports_free(c->ports, c->nr_ports);
	spec_probe_clear(&c->liveness);
	spec_probe_clear(&c->readiness);
	spec_probe_clear(&c->startup);
	spec_probe_clear(&c->post_start.run);
	spec_probe_clear(&c->pre_stop.run);
	spec_security_clear(&c->security);
	free(c->termination_log);
}
