// SPDX-License-Identifier: Apache-2.0
/* From a manifest's JSON to a struct pod_spec, with Kubernetes' defaults. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define ALIASES_MAX 256
#define NICS_MAX    1
#define JSON_DEPTH  48

#define NETWORK_LABEL "arktos.futurewei.com/network"
#define KERNEL_ARGS   "arktos.futurewei.com/kernel-args"

DEFINE_AUTO_PTR(pod_spec, pod_spec_free)

static int restart_policy(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "Always", "OnFailure", "Never" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(enum restart_policy *)out = (enum restart_policy)i;
	return r;
}

static int alias(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_value *kv = out;
	yyjson_val *ip = yyjson_obj_get(v, "ip");
	yyjson_val *names = yyjson_obj_get(v, "hostnames"), *name;
	size_t i, max, len = 0;
	unsigned char addr[16];
	int r;

	if (!yyjson_is_obj(v) || !yyjson_is_str(ip) || !yyjson_is_arr(names) ||
	    yyjson_obj_size(v) != 2)
		return spec_fail(c, -EINVAL, "must have ip and hostnames");
	r = spec_str(c, ip, &kv->key);
	if (r < 0)
		return r;
	if (inet_pton(AF_INET, kv->key, addr) != 1 &&
	    inet_pton(AF_INET6, kv->key, addr) != 1)
		return spec_fail_at(c, "ip", "'%.64s' is not an address",
				    kv->key);
	kv->value = calloc(1, SPEC_TEXT_MAX);
	if (!kv->value)
		return spec_fail(c, -ENOMEM, "out of memory");
	yyjson_arr_foreach(names, i, max, name)
	{
		const char *s = yyjson_get_str(name);
		size_t n = yyjson_get_len(name);

		if (!s || !str_is_dns_subdomain(s))
			return spec_fail_at(c, "hostnames",
					    "must be a list of host names");
		if (len + n + 2 > SPEC_TEXT_MAX)
			return spec_fail_at(c, "hostnames", "are too many");
		if (len)
			kv->value[len++] = ' ';
		memcpy(kv->value + len, s, n);
		len += n;
	}
	return 0;
}

static int host_name(struct spec_ctx *c, yyjson_val *v, void *out)
{
	int r = spec_str(c, v, out);

	if (r == 0 && **(char **)out && !str_is_dns_label(*(char **)out))
		r = spec_fail(c, -EINVAL, "'%.80s' is not a DNS label",
			      *(char **)out);
	return r;
}

static int host_aliases(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_values *kv = out;

	return spec_read_array(c, v, sizeof(*kv->v), ALIASES_MAX, alias, &kv->v,
			       &kv->nr);
}

static int nic_name(struct spec_ctx *c, yyjson_val *v, void *out)
{
	(void)out;
	if (!str_eq(yyjson_get_str(v), "eth0"))
		return spec_fail(c, -EINVAL, "the first nic must be eth0");
	return 0;
}

static int ip_address(struct spec_ctx *c, yyjson_val *v, void *out)
{
	unsigned char addr[4];
	int r = spec_str(c, v, out);

	if (r == 0 && inet_pton(AF_INET, *(char **)out, addr) != 1)
		return spec_fail(c, -EINVAL, "is not an IPv4 address");
	return r;
}

static int nic(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		{ "name", nic_name, 0 },        { "ipAddress", ip_address, 0 },
		SPEC_UNSUPPORTED("subnetName"), SPEC_UNSUPPORTED("portId"),
		SPEC_UNSUPPORTED("tag"),        SPEC_UNSUPPORTED("ipv6Enabled"),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int nics(struct spec_ctx *c, yyjson_val *v, void *out)
{
	char **list = NULL;
	size_t nr = 0;
	int r = spec_read_array(c, v, sizeof(*list), NICS_MAX, nic, &list, &nr);

	if (nr == 1 && r == 0)
		*(char **)out = take_ptr(list[0]);
	else if (nr == 1)
		free(list[0]);
	free(list);
	return r;
}

/* The pod's securityContext: the part its containers inherit. */
struct pod_context {
	struct security_spec inherited;
	bool has_fs_group;
	uint32_t fs_group;
	struct key_values sysctls;
};

static int fs_group(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct pod_context *ctx = out;

	ctx->has_fs_group = true;
	return spec_u32(c, v, &ctx->fs_group);
}

static int group(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return spec_u32(c, v, out);
}

static int groups(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct security_spec *s = out;

	return spec_read_array(c, v, sizeof(uint32_t), 1024, group,
			       &s->supplemental_groups,
			       &s->nr_supplemental_groups);
}

static int sysctl(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct key_value, "name", spec_str, key),
		SPEC_FIELD(struct key_value, "value", spec_str, value),
	};
	static const char *const ours[] = { "net.", "kernel.shm", "kernel.msg",
					    "kernel.sem", "fs.mqueue." };
	struct key_value *kv = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), kv);

	if (r < 0)
		return r;
	if (!kv->key || !kv->value)
		return spec_fail(c, -EINVAL, "needs name and value");
	/* Only what the pod's own namespaces keep to themselves. */
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (str_starts(kv->key, ours[i]) && !strchr(kv->key, '/') &&
		    !strstr(kv->key, ".."))
			return 0;
	return spec_fail_at(c, "name",
			    "'%.64s' is not a namespaced sysctl; only net.*, "
			    "kernel.shm*, kernel.msg*, kernel.sem and "
			    "fs.mqueue.* can be set for one pod",
			    kv->key);
}

static int sysctls(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_values *kv = out;

	return spec_read_array(c, v, sizeof(*kv->v), 64, sysctl, &kv->v,
			       &kv->nr);
}

static int pod_context(struct spec_ctx *c, yyjson_val *v,
		       struct pod_context *ctx)
{
	static const char *const own[] = { "fsGroup", "supplementalGroups",
					   "sysctls", "fsGroupChangePolicy",
					   "supplementalGroupsPolicy" };
	static spec_read_fn *const read[] = { fs_group, groups, sysctls, NULL,
					      NULL };
	void *const to[] = { ctx, &ctx->inherited, &ctx->sysctls, NULL, NULL };
	yyjson_mut_doc *rest = NULL;
	yyjson_doc *rest_doc = NULL;
	int r, first = 0;

	if (!yyjson_is_obj(v))
		return spec_fail(c, -EINVAL, "must be an object");
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		yyjson_val *f = yyjson_obj_get(v, own[i]);
		size_t mark = spec_push(c, own[i]);

		r = f && !yyjson_is_null(f) && read[i] ? read[i](c, f, to[i])
						       : 0;
		spec_note(c, mark, r, &first);
	}
	/* What is left has the same names as in a container. */
	rest = yyjson_mut_doc_new(NULL);
	if (rest) {
		yyjson_mut_val *copy = yyjson_val_mut_copy(rest, v);

		yyjson_mut_doc_set_root(rest, copy);
		for (size_t i = 0; copy && i < ARRAY_LEN(own); i++)
			yyjson_mut_obj_remove_key(copy, own[i]);
		rest_doc = yyjson_mut_doc_imut_copy(rest, NULL);
	}
	r = rest_doc ? spec_security(c, yyjson_doc_get_root(rest_doc),
				     &ctx->inherited)
		     : spec_fail(c, -ENOMEM, "out of memory");
	spec_note(c, c->len, r, &first);
	yyjson_doc_free(rest_doc);
	yyjson_mut_doc_free(rest);
	return first;
}

static int metadata(struct spec_ctx *c, yyjson_val *v, void *out)
{
#define F(json, fn, member) SPEC_FIELD(struct pod_spec, json, fn, member)
	static const struct spec_field fields[] = {
		F("name", spec_str, name),
		F("namespace", spec_str, namespace),
		F("tenant", spec_str, tenant),
		F("uid", spec_str, uid),
		F("labels", spec_key_values, labels),
		F("annotations", spec_key_values, annotations),
		SPEC_IGNORED("creationTimestamp"),
		SPEC_IGNORED("deletionTimestamp"),
		SPEC_IGNORED("deletionGracePeriodSeconds"),
		SPEC_IGNORED("resourceVersion"),
		SPEC_IGNORED("generation"),
		SPEC_IGNORED("generateName"),
		SPEC_IGNORED("managedFields"),
		SPEC_IGNORED("selfLink"),
		SPEC_IGNORED("hashKey"),
		SPEC_IGNORED("ownerReferences"),
		SPEC_IGNORED("finalizers"),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int host_users(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct pod_spec *pod = out;

	pod->has_host_users = true;
	return spec_bool(c, v, &pod->host_users);
}

static int pull_secrets(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_is_arr(v))
		return spec_fail(c, -EINVAL, "must be a list");
	((struct pod_spec *)out)->pull_secrets = yyjson_arr_size(v) > 0;
	return 0;
}

static int spec_part(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		F("restartPolicy", restart_policy, restart),
		F("terminationGracePeriodSeconds", spec_u32, grace_s),
		F("activeDeadlineSeconds", spec_u64, active_deadline_s),
		F("hostname", host_name, hostname),
		F("subdomain", host_name, subdomain),
		F("setHostnameAsFQDN", spec_bool, fqdn),
		F("dnsPolicy", spec_dns_policy, dns),
		F("dnsConfig", spec_dns_config, dns),
		F("hostNetwork", spec_bool, host_network),
		F("hostPID", spec_bool, host_pid),
		F("hostIPC", spec_bool, host_ipc),
		{ "hostUsers", host_users, 0 },
		F("shareProcessNamespace", spec_bool, share_process_namespace),
		F("hostAliases", host_aliases, host_aliases),
		F("nics", nics, requested_ip),
		{ "volumes", spec_volumes, 0 },
		/* Read below: they need what stands above. */
		SPEC_IGNORED("securityContext"),
		SPEC_IGNORED("initContainers"),
		SPEC_IGNORED("containers"),
		SPEC_IGNORED("virtualMachine"),
		/* The control plane's business. */
		SPEC_IGNORED("workloadInfo"),
		SPEC_IGNORED("vpc"),
		SPEC_IGNORED("nodeName"),
		SPEC_IGNORED("nodeSelector"),
		SPEC_IGNORED("affinity"),
		SPEC_IGNORED("tolerations"),
		SPEC_IGNORED("topologySpreadConstraints"),
		SPEC_IGNORED("schedulerName"),
		SPEC_IGNORED("schedulingGates"),
		SPEC_IGNORED("priority"),
		SPEC_IGNORED("priorityClassName"),
		SPEC_IGNORED("preemptionPolicy"),
		SPEC_IGNORED("overhead"),
		SPEC_IGNORED("serviceAccountName"),
		SPEC_IGNORED("serviceAccount"),
		SPEC_IGNORED("automountServiceAccountToken"),
		SPEC_IGNORED("enableServiceLinks"),
		{ "imagePullSecrets", pull_secrets, 0 },
		SPEC_IGNORED("os"),
		SPEC_UNSUPPORTED("readinessGates"),
		SPEC_UNSUPPORTED("ephemeralContainers"),
		SPEC_UNSUPPORTED("runtimeClassName"),
		SPEC_UNSUPPORTED("resources"),
		SPEC_UNSUPPORTED("resourceClaims"),
	};
#undef F

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

/* A volume of our own for the environment that comes from the API server. */
static int add_env_volume(struct spec_ctx *c, struct pod_spec *pod)
{
	struct volume_spec *v;
	bool wanted = false;

	for (size_t i = 0; i < pod->nr_volumes; i++)
		pod->needs_api |= pod->volumes[i].kind == VOLUME_PAYLOAD;
	for (size_t i = 0; i < pod->nr_init; i++)
		wanted |= pod->init[i].env_from_api;
	for (size_t i = 0; i < pod->nr_containers; i++)
		wanted |= pod->containers[i].env_from_api;
	if (!wanted)
		return 0;
	pod->needs_api = true;
	v = realloc(pod->volumes, (pod->nr_volumes + 1) * sizeof(*v));
	if (!v)
		return spec_fail(c, -ENOMEM, "out of memory");
	pod->volumes = v;
	v += pod->nr_volumes;
	*v = (struct volume_spec){ .kind = VOLUME_PAYLOAD,
				   .name = strdup(SPEC_ENV_VOLUME) };
	if (!v->name)
		return spec_fail(c, -ENOMEM, "out of memory");
	pod->nr_volumes++;
	return 0;
}

static void check_label(struct spec_ctx *c, int *first, const char *field,
			const char *is)
{
	if (is && !str_is_dns_label(is))
		spec_fault(c, first, field,
			   "'%.80s' is not a DNS label (a-z, 0-9 and '-', at "
			   "most 63 characters)",
			   is);
}

static int check_names(struct spec_ctx *c, const struct pod_spec *pod)
{
	size_t mark = spec_push(c, "metadata");
	int r = 0;

	if ((!pod->name || !pod->name[0]) && !spec_faulty(c, "name"))
		spec_fault(c, &r, "name", "is required");
	else if (pod->name && !str_is_dns_subdomain(pod->name))
		spec_fault(c, &r, "name",
			   "'%.80s' is not a DNS name (a-z, 0-9, '-' and '.', "
			   "at most 253 characters)",
			   pod->name);
	check_label(c, &r, "namespace", pod->namespace);
	check_label(c, &r, "tenant", pod->tenant);
	if (str_eq(pod->tenant, "all"))
		spec_fault(c, &r, "tenant",
			   "'all' is not an acceptable tenant name");
	check_label(c, &r, "uid", pod->uid);
	spec_pop(c, mark);
	return r;
}

/* Of at most 63 characters, and where it is cut it may not end with these. */
static void cut_hostname(char *name)
{
	size_t n = 63;

	while (n && (name[n - 1] == '-' || name[n - 1] == '.'))
		n--;
	name[n] = '\0';
}

static int defaults(struct spec_ctx *c, struct pod_spec *pod)
{
	const char *network = "default";
	int r = 0;

	if (!pod->namespace)
		r |= str_set(&pod->namespace, "default");
	if (!pod->tenant)
		r |= str_set(&pod->tenant, "system");
	/* A tenant's pods get a user namespace unless they ask not to, and so
	 * do pods that may mount: the host's /proc/sys is not theirs there. */
	if (!pod->has_host_users && r == 0)
		pod->host_users = str_eq(pod->tenant, "system") &&
				  (pod->host_network || pod->host_pid ||
				   pod->host_ipc || !pod_spec_may_mount(pod));
	if ((!pod->hostname || !*pod->hostname) && pod->name) {
		r |= str_set(&pod->hostname, pod->name);
		if (r == 0 && strlen(pod->hostname) > 63)
			cut_hostname(pod->hostname);
	}
	for (size_t i = 0; i < pod->labels.nr; i++)
		if (str_eq(pod->labels.v[i].key, NETWORK_LABEL))
			network = pod->labels.v[i].value;
	r |= str_set(&pod->network, network);
	for (size_t i = 0; pod->vm && i < pod->annotations.nr; i++)
		if (str_eq(pod->annotations.v[i].key, KERNEL_ARGS))
			r |= str_set(&pod->vm->kernel_args,
				     pod->annotations.v[i].value);
	return r ? spec_fail(c, -ENOMEM, "out of memory") : 0;
}

static int containers(struct spec_ctx *c, yyjson_val *v,
		      const struct security_spec *inherited,
		      struct container_spec **ret, size_t *ret_nr)
{
	size_t i, nr;
	yyjson_val *item;
	int first = 0;

	if (!v || yyjson_is_null(v))
		return 0;
	if (!yyjson_is_arr(v))
		return spec_fail(c, -EINVAL, "must be a list");
	nr = yyjson_arr_size(v);
	if (nr > SPEC_CONTAINERS_MAX)
		return spec_fail(c, -E2BIG, "%zu containers, at most %d", nr,
				 SPEC_CONTAINERS_MAX);
	if (!nr)
		return 0;
	*ret = calloc(nr, sizeof(**ret));
	if (!*ret)
		return spec_fail(c, -ENOMEM, "out of memory");
	*ret_nr = nr;
	yyjson_arr_foreach(v, i, nr, item)
	{
		size_t mark = spec_push_index(c, i);
		int r = spec_container(c, item, inherited, &(*ret)[i]);

		spec_note(c, mark, r, &first);
	}
	return first;
}

static int read_workload(struct spec_ctx *c, yyjson_val *spec,
			 struct pod_spec *pod)
{
	struct pod_context ctx = { 0 };
	yyjson_val *v = yyjson_obj_get(spec, "securityContext");
	size_t mark;
	int r = 0, first = 0;

	mark = spec_push(c, "securityContext");
	if (v && !yyjson_is_null(v))
		r = pod_context(c, v, &ctx);
	pod->sysctls = ctx.sysctls;
	pod->has_fs_group = ctx.has_fs_group;
	pod->fs_group = ctx.fs_group;
	spec_note(c, mark, r, &first);

	(void)spec_push(c, "initContainers");
	r = containers(c, yyjson_obj_get(spec, "initContainers"),
		       &ctx.inherited, &pod->init, &pod->nr_init);
	spec_note(c, mark, r, &first);
	(void)spec_push(c, "containers");
	r = containers(c, yyjson_obj_get(spec, "containers"), &ctx.inherited,
		       &pod->containers, &pod->nr_containers);
	spec_note(c, mark, r, &first);

	v = yyjson_obj_get(spec, "virtualMachine");
	if (v && !yyjson_is_null(v)) {
		(void)spec_push(c, "virtualMachine");
		pod->vm = calloc(1, sizeof(*pod->vm));
		r = pod->vm ? spec_virtual_machine(c, v, pod->vm)
			    : spec_fail(c, -ENOMEM, "out of memory");
		spec_note(c, mark, r, &first);
	}
	spec_security_clear(&ctx.inherited);
	return first;
}

static bool too_deep(yyjson_val *v, int depth)
{
	size_t i, max;
	yyjson_val *key, *val;

	if (!yyjson_is_ctn(v))
		return false;
	if (depth == 0)
		return true;
	if (yyjson_is_arr(v)) {
		yyjson_arr_foreach(v, i, max,
				   val) if (too_deep(val,
						     depth - 1)) return true;
	} else {
		json_obj_foreach (v, i, max, key, val)
			if (too_deep(val, depth - 1))
				return true;
	}
	return false;
}

static int read_pod(struct spec_ctx *c, yyjson_val *root, struct pod_spec *pod)
{
	static const struct spec_field fields[] = {
		SPEC_IGNORED("apiVersion"), SPEC_IGNORED("kind"),
		SPEC_IGNORED("status"),     { "metadata", metadata, 0 },
		{ "spec", spec_part, 0 },
	};
	const char *kind = yyjson_get_str(yyjson_obj_get(root, "kind"));
	const char *api = yyjson_get_str(yyjson_obj_get(root, "apiVersion"));
	yyjson_val *spec = yyjson_obj_get(root, "spec");
	int first = 0, r;
	size_t mark;

	if (!str_eq(kind, "Pod") || !str_eq(api, "v1"))
		return spec_fail(c, -EBADMSG,
				 "kind '%.64s' of apiVersion '%.64s' is not a "
				 "Pod of v1",
				 kind ? kind : "", api ? api : "");
	r = spec_read_object(c, root, fields, ARRAY_LEN(fields), pod);
	spec_note(c, 0, r, &first);
	if (yyjson_is_obj(yyjson_obj_get(root, "metadata")))
		r = check_names(c, pod);
	else if (!yyjson_obj_get(root, "metadata"))
		r = spec_fail(c, -EINVAL, "metadata.name: is required");
	spec_note(c, 0, r, &first);
	if (!spec)
		spec_fault(c, &first, "spec", "is required");
	if (yyjson_is_obj(spec)) {
		mark = spec_push(c, "spec");
		r = read_workload(c, spec, pod);
		spec_note(c, c->len, r, &first);
		r = spec_check_workload(c, pod);
		spec_note(c, mark, r, &first);
	}
	if (first < 0)
		return first;
	r = defaults(c, pod);
	/* After the check: no mount can name it. */
	return r < 0 ? r : add_env_volume(c, pod);
}

int pod_spec_parse(const char *json, size_t len, struct pod_spec **ret,
		   struct err *e)
{
	auto_buf struct buf told = BUF_INIT;

	return pod_spec_read(json, len, false, ret, &told, e);
}

int pod_spec_read(const char *json, size_t len, bool standalone,
		  struct pod_spec **ret, struct buf *told, struct err *e)
{
	struct err why = { 0 };
	struct spec_ctx c = { .e = &why,
			      .told = told,
			      .standalone = standalone };
	auto_ptr(pod_spec) pod = calloc(1, sizeof(*pod));
	yyjson_read_err bad;
	yyjson_doc *doc;
	int r;

	if (!pod)
		return err_set(e, -ENOMEM, "out of memory");
	if (len > SPEC_MANIFEST_MAX)
		return err_set(e, -E2BIG,
			       "the manifest has %zu bytes, at most %d", len,
			       SPEC_MANIFEST_MAX);
	pod->grace_s = 30;
	doc = yyjson_read_opts((char *)(uintptr_t)json, len, 0, NULL, &bad);
	if (!doc)
		return err_set(e, -EBADMSG, "not JSON: %s at byte %zu", bad.msg,
			       bad.pos);
	if (too_deep(yyjson_doc_get_root(doc), JSON_DEPTH))
		r = spec_fail(&c, -E2BIG, "nested more than %d deep",
			      JSON_DEPTH);
	else
		r = read_pod(&c, yyjson_doc_get_root(doc), pod);
	yyjson_doc_free(doc);
	if (r < 0) {
		r = spec_tell(&c, r);
		return err_set(e, r, "%s", why.msg);
	}
	pod->json = malloc(len + 1);
	if (!pod->json)
		return err_set(e, -ENOMEM, "out of memory");
	memcpy(pod->json, json, len);
	pod->json[len] = '\0';
	pod->json_len = len;
	*ret = take_ptr(pod);
	return 0;
}
