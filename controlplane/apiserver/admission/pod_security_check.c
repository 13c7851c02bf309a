// SPDX-License-Identifier: Apache-2.0
/*
 * Baseline's checks first, then restricted's, each by Kubernetes' order; those
 * of restricted that say more than one of baseline's take its place.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "controlplane/apiserver/admission/names.h"
#include "controlplane/apiserver/admission/pod_security.h"
#include "controlplane/schema/schema.h"
#include "lib/auto.h"
#include "lib/map.h"
#include "lib/str.h"

struct check {
	yyjson_mut_val *meta, *spec;
	struct pod_verdict *v;
};

static void violate(struct check *c, const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void violate(struct check *c, const char *reason, const char *fmt, ...)
{
	auto_free char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	buf_printf(&c->v->reasons, "%s%s", c->v->reasons.len ? ", " : "",
		   reason);
	buf_printf(&c->v->details, "%s%s (%s)", c->v->details.len ? ", " : "",
		   reason, text ? text : "");
}

/* --- walking --- */

struct walk {
	int list;
	size_t at;
};

static yyjson_mut_val *next_container(struct check *c, struct walk *w)
{
	static const char *const lists[] = { "initContainers", "containers",
					     "ephemeralContainers" };

	for (; w->list < 3; w->list++, w->at = 0) {
		yyjson_mut_val *list =
			yyjson_mut_obj_get(c->spec, lists[w->list]);

		if (w->at < yyjson_mut_arr_size(list))
			return yyjson_mut_arr_get(list, w->at++);
	}
	return NULL;
}

#define for_containers(c, it) \
	for (struct walk w_ = { 0 }; (it = next_container(c, &w_));)

static bool is_true(yyjson_mut_val *v)
{
	return yyjson_mut_is_true(v);
}

static bool is_any(const char *s, const char *const *list, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (str_eq(s, list[i]))
			return true;
	return false;
}

/* "pod", "containers "a", "b"" joined with "and". */
static void put_setters(bool pod, const struct names *bad, struct buf *b)
{
	if (pod)
		buf_puts(b, "pod");
	if (bad->nr)
		buf_printf(b, "%s%s %s", pod ? " and " : "",
			   names_word(bad->nr, "container", "containers"),
			   buf_str(&bad->text));
}

/* Containers in which @field of the security context has @bad. */
static void find(struct check *c, const char *field,
		 bool (*bad)(yyjson_mut_val *), struct names *ret)
{
	yyjson_mut_val *it;

	for_containers(c, it) if (bad(mut_get(it, field)))
		names_add(ret, true, mut_str(it, "name"));
}

/* --- baseline --- */

static bool is_bad_profile(const char *type)
{
	return type && strcmp(type, "RuntimeDefault") != 0 &&
	       strcmp(type, "Localhost") != 0;
}

/* A profile with a type, of the pod and its containers. */
static bool bad_profiles(struct check *c, const char *field, bool *ret_pod,
			 struct names *bad, struct map *values)
{
	auto_free char *path = str_printf("securityContext.%s.type", field);
	const char *type = mut_str(c->spec, path);
	yyjson_mut_val *it;

	*ret_pod = is_bad_profile(type);
	if (*ret_pod)
		nameset_add(values, type);
	for_containers(c, it)
	{
		type = mut_str(it, path);
		if (!is_bad_profile(type))
			continue;
		names_add(bad, true, mut_str(it, "name"));
		nameset_add(values, type);
	}
	return *ret_pod || bad->nr;
}

static void app_armor(struct check *c)
{
	static const char prefix[] = "container.apparmor.security.beta."
				     "kubernetes.io/";
	auto_names struct names bad = NAMES_INIT, vals = NAMES_INIT;
	auto_names struct names notes = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;
	struct map values = MAP_INIT;
	yyjson_mut_val *k, *v;
	size_t i, max;
	bool pod;

	yyjson_mut_obj_foreach(mut_get(c->meta, "annotations"), i, max, k, v)
	{
		const char *key = yyjson_mut_get_str(k);
		const char *val = yyjson_mut_get_str(v);

		if (!str_starts(key, prefix) || !val || !*val ||
		    strcmp(val, "runtime/default") == 0 ||
		    str_starts(val, "localhost/"))
			continue;
		buf_printf(&notes.text, "%s%s=\"%s\"", notes.nr ? ", " : "",
			   key, val);
		notes.nr++;
	}
	if (bad_profiles(c, "appArmorProfile", &pod, &bad, &values))
		put_setters(pod, &bad, &setters);
	nameset_put(&values, true, &vals);
	map_clear(&values, NULL);
	if (setters.len || notes.nr)
		violate(c,
			names_word(vals.nr + notes.nr,
				   "forbidden AppArmor profile",
				   "forbidden AppArmor profiles"),
			"%s%s%s%s%s", buf_str(&setters),
			setters.len ? " must not set AppArmor profile type to "
				    : "",
			buf_str(&vals.text),
			setters.len && notes.nr ? "; " : "",
			buf_str(&notes.text));
}

static void added_capabilities(struct check *c, const char *const *allowed,
			       size_t nr, struct names *bad,
			       struct names *values)
{
	struct map set = MAP_INIT;
	yyjson_mut_val *it, *v;
	size_t i, max;

	for_containers(c, it)
	{
		bool found = false;

		yyjson_mut_arr_foreach(
			mut_get(it, "securityContext.capabilities.add"), i, max,
			v)
		{
			const char *s = yyjson_mut_get_str(v);

			if (!s || is_any(s, allowed, nr))
				continue;
			found = true;
			nameset_add(&set, s);
		}
		if (found)
			names_add(bad, true, mut_str(it, "name"));
	}
	nameset_put(&set, true, values);
	map_clear(&set, NULL);
}

static void capabilities_baseline(struct check *c)
{
	static const char *const allowed[] = {
		"AUDIT_WRITE", "CHOWN",  "DAC_OVERRIDE", "FOWNER",
		"FSETID",      "KILL",   "MKNOD",        "NET_BIND_SERVICE",
		"SETFCAP",     "SETGID", "SETPCAP",      "SETUID",
		"SYS_CHROOT"
	};
	auto_names struct names bad = NAMES_INIT, values = NAMES_INIT;

	added_capabilities(c, allowed, ARRAY_LEN(allowed), &bad, &values);
	if (bad.nr)
		violate(c, "non-default capabilities",
			"%s %s must not include %s in "
			"securityContext.capabilities.add",
			names_word(bad.nr, "container", "containers"),
			buf_str(&bad.text), buf_str(&values.text));
}

static void host_namespaces(struct check *c)
{
	static const char *const fields[] = { "hostNetwork", "hostPID",
					      "hostIPC" };
	auto_names struct names bad = NAMES_INIT;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (mut_bool(c->spec, fields[i])) {
			buf_printf(&bad.text, "%s%s=true", bad.nr ? ", " : "",
				   fields[i]);
			bad.nr++;
		}
	if (bad.nr)
		violate(c, "host namespaces", "%s", buf_str(&bad.text));
}

static void host_path(struct check *c)
{
	auto_names struct names bad = NAMES_INIT;
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(c->spec, "volumes"), i, max, v)
	{
		if (mut_get(v, "hostPath"))
			names_add(&bad, true, mut_str(v, "name"));
	}
	if (bad.nr)
		violate(c, "hostPath volumes", "%s %s",
			names_word(bad.nr, "volume", "volumes"),
			buf_str(&bad.text));
}

static void host_ports(struct check *c)
{
	auto_names struct names bad = NAMES_INIT, ports = NAMES_INIT;
	struct map set = MAP_INIT;
	yyjson_mut_val *it, *p;
	size_t i, max;

	for_containers(c, it)
	{
		bool found = false;

		yyjson_mut_arr_foreach(mut_get(it, "ports"), i, max, p)
		{
			int64_t n = mut_int(p, "hostPort", 0);
			char text[24];

			if (!n)
				continue;
			found = true;
			snprintf(text, sizeof(text), "%lld", (long long)n);
			nameset_add(&set, text);
		}
		if (found)
			names_add(&bad, true, mut_str(it, "name"));
	}
	nameset_put(&set, false, &ports);
	map_clear(&set, NULL);
	if (bad.nr)
		violate(c, names_word(ports.nr, "hostPort", "hostPorts"),
			"%s %s %s %s %s",
			names_word(bad.nr, "container", "containers"),
			buf_str(&bad.text), names_word(bad.nr, "uses", "use"),
			names_word(ports.nr, "hostPort", "hostPorts"),
			buf_str(&ports.text));
}

static void privileged(struct check *c)
{
	auto_names struct names bad = NAMES_INIT;

	find(c, "securityContext.privileged", is_true, &bad);
	if (bad.nr)
		violate(c, "privileged",
			"%s %s must not set securityContext.privileged=true",
			names_word(bad.nr, "container", "containers"),
			buf_str(&bad.text));
}

static void proc_mount(struct check *c)
{
	auto_names struct names bad = NAMES_INIT, values = NAMES_INIT;
	struct map set = MAP_INIT;
	yyjson_mut_val *it;

	for_containers(c, it)
	{
		const char *s = mut_str(it, "securityContext.procMount");

		if (!s || !*s || strcmp(s, "Default") == 0)
			continue;
		names_add(&bad, true, mut_str(it, "name"));
		nameset_add(&set, s);
	}
	nameset_put(&set, true, &values);
	map_clear(&set, NULL);
	if (bad.nr)
		violate(c, "procMount",
			"%s %s must not set securityContext.procMount to %s",
			names_word(bad.nr, "container", "containers"),
			buf_str(&bad.text), buf_str(&values.text));
}

struct selinux {
	struct map types;
	bool user, role;
};

static bool bad_selinux(yyjson_mut_val *o, struct selinux *s)
{
	static const char *const allowed[] = { "", "container_t",
					       "container_init_t",
					       "container_kvm_t",
					       "container_engine_t" };
	const char *type = mut_str(o, "type"), *user = mut_str(o, "user");
	const char *role = mut_str(o, "role");
	bool bad = false;

	if (type && !is_any(type, allowed, ARRAY_LEN(allowed)))
		nameset_add(&s->types, type), bad = true;
	if (user && *user)
		s->user = bad = true;
	if (role && *role)
		s->role = bad = true;
	return bad;
}

static void selinux_options(struct check *c)
{
	static const char field[] = "securityContext.seLinuxOptions";
	auto_names struct names bad = NAMES_INIT, types = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;
	struct selinux s = { .types = MAP_INIT };
	bool pod = bad_selinux(mut_get(c->spec, field), &s);
	yyjson_mut_val *it;

	for_containers(c, it) if (bad_selinux(mut_get(it, field), &s))
		names_add(&bad, true, mut_str(it, "name"));
	nameset_put(&s.types, true, &types);
	map_clear(&s.types, NULL);
	if (!pod && !bad.nr)
		return;
	put_setters(pod, &bad, &setters);
	violate(c, "seLinuxOptions",
		"%s set forbidden securityContext.seLinuxOptions: %s%s%s%s%s%s%s",
		buf_str(&setters),
		types.nr ? names_word(types.nr, "type ", "types ") : "",
		buf_str(&types.text), types.nr && s.user ? "; " : "",
		s.user ? "user may not be set" : "",
		s.role && (types.nr || s.user) ? "; " : "",
		s.role ? "role may not be set" : "", "");
}

/* Explicitly wrong; true: there was one. */
static bool seccomp_explicit(struct check *c)
{
	auto_names struct names bad = NAMES_INIT, vals = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;
	struct map values = MAP_INIT;
	bool pod;

	if (bad_profiles(c, "seccompProfile", &pod, &bad, &values)) {
		put_setters(pod, &bad, &setters);
		nameset_put(&values, true, &vals);
		violate(c, "seccompProfile",
			"%s must not set securityContext.seccompProfile.type "
			"to %s",
			buf_str(&setters), buf_str(&vals.text));
	}
	map_clear(&values, NULL);
	return setters.len;
}

static void seccomp_baseline(struct check *c)
{
	(void)seccomp_explicit(c);
}

static void sysctls(struct check *c)
{
	static const char *const allowed[] = {
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem",
	};
	auto_names struct names bad = NAMES_INIT;
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(mut_get(c->spec, "securityContext.sysctls"), i,
			       max, v)
	{
		const char *name = mut_str(v, "name");

		if (!is_any(name, allowed, ARRAY_LEN(allowed)))
			names_add(&bad, false, name);
	}
	if (bad.nr)
		violate(c, "forbidden sysctls", "%s", buf_str(&bad.text));
}

static void host_process(struct check *c)
{
	static const char field[] =
		"securityContext.windowsOptions.hostProcess";
	auto_names struct names bad = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;
	bool pod = mut_bool(c->spec, field);

	find(c, field, is_true, &bad);
	put_setters(pod, &bad, &setters);
	if (setters.len)
		violate(c, "hostProcess",
			"%s must not set "
			"securityContext.windowsOptions.hostProcess=true",
			buf_str(&setters));
}

/* --- restricted --- */

static bool is_not_false(yyjson_mut_val *v)
{
	return !yyjson_mut_is_false(v);
}

static bool is_windows(const struct check *c)
{
	return str_eq(mut_str(c->spec, "os.name"), "windows");
}

static void privilege_escalation(struct check *c)
{
	auto_names struct names bad = NAMES_INIT;

	if (is_windows(c))
		return;
	find(c, "securityContext.allowPrivilegeEscalation", is_not_false, &bad);
	if (bad.nr)
		violate(c, "allowPrivilegeEscalation != false",
			"%s %s must set "
			"securityContext.allowPrivilegeEscalation=false",
			names_word(bad.nr, "container", "containers"),
			buf_str(&bad.text));
}

static bool lacks_drop_all(yyjson_mut_val *drop)
{
	yyjson_mut_val *v;
	size_t i, max;

	yyjson_mut_arr_foreach(drop, i, max, v)
	{
		if (str_eq(yyjson_mut_get_str(v), "ALL"))
			return false;
	}
	return true;
}

static void capabilities_restricted(struct check *c)
{
	static const char *const allowed[] = { "NET_BIND_SERVICE" };
	auto_names struct names lacks = NAMES_INIT, adds = NAMES_INIT;
	auto_names struct names values = NAMES_INIT;
	auto_buf struct buf text = BUF_INIT;

	if (is_windows(c))
		return;
	find(c, "securityContext.capabilities.drop", lacks_drop_all, &lacks);
	added_capabilities(c, allowed, ARRAY_LEN(allowed), &adds, &values);
	if (lacks.nr)
		buf_printf(&text,
			   "%s %s must set "
			   "securityContext.capabilities.drop=[\"ALL\"]",
			   names_word(lacks.nr, "container", "containers"),
			   buf_str(&lacks.text));
	if (adds.nr)
		buf_printf(&text,
			   "%s%s %s must not include %s in "
			   "securityContext.capabilities.add",
			   text.len ? "; " : "",
			   names_word(adds.nr, "container", "containers"),
			   buf_str(&adds.text), buf_str(&values.text));
	if (text.len)
		violate(c, "unrestricted capabilities", "%s", buf_str(&text));
}

static void restricted_volumes(struct check *c)
{
	static const char *const allowed[] = {
		"configMap", "csi",       "downwardAPI",
		"emptyDir",  "ephemeral", "persistentVolumeClaim",
		"projected", "secret",
	};
	auto_names struct names bad = NAMES_INIT, types = NAMES_INIT;
	struct map set = MAP_INIT;
	yyjson_mut_val *v, *k, *val;
	size_t i, max, j, jmax;

	yyjson_mut_arr_foreach(mut_get(c->spec, "volumes"), i, max, v)
	{
		yyjson_mut_obj_foreach(v, j, jmax, k, val)
		{
			const char *type = yyjson_mut_get_str(k);

			if (strcmp(type, "name") == 0 ||
			    yyjson_mut_is_null(val) ||
			    is_any(type, allowed, ARRAY_LEN(allowed)))
				continue;
			names_add(&bad, true, mut_str(v, "name"));
			nameset_add(&set, type);
		}
	}
	nameset_put(&set, true, &types);
	map_clear(&set, NULL);
	if (bad.nr)
		violate(c, "restricted volume types",
			"%s %s %s restricted volume %s %s",
			names_word(bad.nr, "volume", "volumes"),
			buf_str(&bad.text), names_word(bad.nr, "uses", "use"),
			names_word(types.nr, "type", "types"),
			buf_str(&types.text));
}

static void run_as_non_root(struct check *c)
{
	static const char field[] = "securityContext.runAsNonRoot";
	auto_names struct names says = NAMES_INIT, lacks = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;
	yyjson_mut_val *of_pod = mut_get(c->spec, field), *it;

	for_containers(c, it)
	{
		yyjson_mut_val *v = mut_get(it, field);

		if (yyjson_mut_is_false(v))
			names_add(&says, true, mut_str(it, "name"));
		else if (!yyjson_mut_is_true(v) && !yyjson_mut_is_true(of_pod))
			names_add(&lacks, true, mut_str(it, "name"));
	}
	put_setters(yyjson_mut_is_false(of_pod), &says, &setters);
	if (setters.len)
		violate(c, "runAsNonRoot != true",
			"%s must not set securityContext.runAsNonRoot=false",
			buf_str(&setters));
	else if (lacks.nr)
		violate(c, "runAsNonRoot != true",
			"pod or %s %s must set "
			"securityContext.runAsNonRoot=true",
			names_word(lacks.nr, "container", "containers"),
			buf_str(&lacks.text));
}

static bool is_zero(yyjson_mut_val *v)
{
	return yyjson_mut_is_int(v) && yyjson_mut_get_sint(v) == 0;
}

static void run_as_user(struct check *c)
{
	static const char field[] = "securityContext.runAsUser";
	auto_names struct names bad = NAMES_INIT;
	auto_buf struct buf setters = BUF_INIT;

	find(c, field, is_zero, &bad);
	put_setters(is_zero(mut_get(c->spec, field)), &bad, &setters);
	if (setters.len)
		violate(c, "runAsUser=0", "%s must not set runAsUser=0",
			buf_str(&setters));
}

static void seccomp_restricted(struct check *c)
{
	static const char field[] = "securityContext.seccompProfile.type";
	auto_names struct names lacks = NAMES_INIT;
	yyjson_mut_val *it;

	if (is_windows(c) || seccomp_explicit(c) || mut_str(c->spec, field))
		return;
	for_containers(c, it) if (!mut_str(it, field))
		names_add(&lacks, true, mut_str(it, "name"));
	if (lacks.nr)
		violate(c, "seccompProfile",
			"pod or %s %s must set "
			"securityContext.seccompProfile.type to "
			"\"RuntimeDefault\" or \"Localhost\"",
			names_word(lacks.nr, "container", "containers"),
			buf_str(&lacks.text));
}

/* --- all of them --- */

static const struct {
	void (*fn)(struct check *c);
	enum pod_level from;
	bool replaced; /* of baseline only: restricted's says more */
} checks[] = {
	{ app_armor, POD_BASELINE, false },
	{ capabilities_baseline, POD_BASELINE, true },
	{ host_namespaces, POD_BASELINE, false },
	{ host_path, POD_BASELINE, true },
	{ host_ports, POD_BASELINE, false },
	{ privileged, POD_BASELINE, false },
	{ proc_mount, POD_BASELINE, false },
	{ selinux_options, POD_BASELINE, false },
	{ seccomp_baseline, POD_BASELINE, true },
	{ sysctls, POD_BASELINE, false },
	{ host_process, POD_BASELINE, false },
	{ privilege_escalation, POD_RESTRICTED, false },
	{ capabilities_restricted, POD_RESTRICTED, false },
	{ restricted_volumes, POD_RESTRICTED, false },
	{ run_as_non_root, POD_RESTRICTED, false },
	{ run_as_user, POD_RESTRICTED, false },
	{ seccomp_restricted, POD_RESTRICTED, false },
};

void pod_security_check(yyjson_mut_val *pod, enum pod_level level,
			struct pod_verdict *ret)
{
	struct check c = { .meta = mut_get(pod, "metadata"),
			   .spec = mut_get(pod, "spec"),
			   .v = ret };

	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		if (level >= checks[i].from &&
		    !(level == POD_RESTRICTED && checks[i].replaced))
			checks[i].fn(&c);
}

void pod_verdict_clear(struct pod_verdict *v)
{
	buf_clear(&v->reasons);
	buf_clear(&v->details);
}
