// SPDX-License-Identifier: Apache-2.0
/*
 * PodSecurity: what a namespace's labels ask of its pods. Enforced on pods;
 * told (by a warning, and in the audit log) of pods and of what makes them.
 *
 * A tenant's namespaces are its own, so what keeps its pods off the host is not
 * for it to say: the Tenant's label does, which the system alone may set, and
 * "baseline" where there is none. Namespaces may ask for more, not for less.
 */
#include <stdio.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/admission/pod_security.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define LABEL    "pod-security.kubernetes.io/"
#define PODS_MAX 3000 /* of a namespace that are looked at when it changes */
#define TOLD_MAX 16   /* kinds of violation that are told then */

static const char *const modes[] = { "enforce", "audit", "warn" };
static const char *const levels[] = { "privileged", "baseline", "restricted" };

enum mode { ENFORCE, AUDIT, WARN };

struct demand {
	enum pod_level level;
	char version[24];
	const char *tenant; /* who asks, if it is not the namespace; borrowed */
};

static int parse_level(const char *text, enum pod_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(levels); i++)
		if (str_eq(text, levels[i])) {
			*ret = (enum pod_level)i;
			return 0;
		}
	return -EINVAL;
}

static bool is_version(const char *s)
{
	uint64_t minor;

	return strcmp(s, "latest") == 0 ||
	       (str_starts(s, "v1.") && strlen(s) < 8 &&
		str_to_u64(s + 3, &minor) == 0);
}

/* A label that cannot be read asks for the most, as in Kubernetes. */
static struct demand demand_of(yyjson_mut_val *labels, enum mode mode)
{
	struct demand d = { .level = POD_PRIVILEGED, .version = "latest" };
	char key[64];
	const char *s;

	snprintf(key, sizeof(key), LABEL "%s", modes[mode]);
	s = yyjson_mut_get_str(yyjson_mut_obj_get(labels, key));
	if (s && parse_level(s, &d.level) < 0)
		d.level = POD_RESTRICTED;
	snprintf(key, sizeof(key), LABEL "%s-version", modes[mode]);
	s = yyjson_mut_get_str(yyjson_mut_obj_get(labels, key));
	if (s && is_version(s))
		snprintf(d.version, sizeof(d.version), "%s", s);
	return d;
}

/* Once, however often the change is tried. */
static void warn(struct admission *a, const char *text)
{
	auto_buf struct buf quoted = BUF_INIT;

	json_escape(&quoted, text, strlen(text));
	if (a->req && !strstr(buf_str(&a->req->lines), buf_str(&quoted)))
		reply_warning(a->req, text);
}

/* --- pods and what makes them --- */

static yyjson_mut_val *pod_of(const struct admission *a, yyjson_mut_val *obj)
{
	static const char *const makers[][2] = {
		{ "apps", "deployments" },  { "apps", "daemonsets" },
		{ "apps", "statefulsets" }, { "apps", "replicasets" },
		{ "batch", "jobs" },        { "", "replicationcontrollers" },
	};

	if (admission_is(a, "", "pods"))
		return obj;
	if (admission_is(a, "batch", "cronjobs"))
		return mut_get(obj, "spec.jobTemplate.spec.template");
	if (admission_is(a, "", "podtemplates"))
		return mut_get(obj, "template");
	for (size_t i = 0; i < ARRAY_LEN(makers); i++)
		if (admission_is(a, makers[i][0], makers[i][1]))
			return mut_get(obj, "spec.template");
	return NULL;
}

/* A pod that is there already only changes its images, and gets debuggers. */
static bool is_significant(const struct admission *a)
{
	if (a->op == ADMIT_CREATE || !admission_is(a, "", "pods"))
		return true;
	return !mut_equal(mut_get(a->obj, "spec.containers"),
			  mut_get(a->old, "spec.containers")) ||
	       !mut_equal(mut_get(a->obj, "spec.initContainers"),
			  mut_get(a->old, "spec.initContainers")) ||
	       !mut_equal(mut_get(a->obj, "spec.ephemeralContainers"),
			  mut_get(a->old, "spec.ephemeralContainers"));
}

/* What the tenant's pods have to keep to, whatever their namespaces say. */
static struct demand demand_of_tenant(struct admission *a)
{
	struct demand d = { .level = POD_PRIVILEGED, .version = "latest" };
	auto_ptr(object_bytes) o = NULL;
	yyjson_mut_val *labels = NULL;
	yyjson_mut_doc *doc = NULL;
	char key[128];

	if (!*a->tenant || strcmp(a->tenant, SYSTEM) == 0)
		return d;
	snprintf(key, sizeof(key), "core/tenants///%s", a->tenant);
	o = store_get(a->api->store, key);
	if (o && object_has(o, LABEL))
		doc = object_tree(o);
	if (doc)
		labels = mut_get(yyjson_mut_doc_get_root(doc),
				 "metadata.labels");
	if (yyjson_mut_obj_get(labels, LABEL "enforce"))
		d = demand_of(labels, ENFORCE);
	else
		d.level = POD_BASELINE;
	d.tenant = a->tenant;
	yyjson_mut_doc_free(doc);
	return d;
}

static int judge(struct admission *a, yyjson_mut_val *pod,
		 const struct demand *asked, enum mode mode)
{
	struct demand d = *asked;
	struct pod_verdict v = { .reasons = BUF_INIT };
	auto_free char *text = NULL;
	int r = 0;

	if (d.level == POD_PRIVILEGED)
		return 0;
	pod_security_check(pod, d.level, &v);
	text = str_printf("%s PodSecurity \"%s:%s\"%s%s%s: %s",
			  mode == ENFORCE ? "violates" : "would violate",
			  levels[d.level], d.version,
			  d.tenant ? " of tenant \"" : "",
			  d.tenant ? d.tenant : "", d.tenant ? "\"" : "",
			  buf_str(&v.details));
	if (!v.reasons.len || !text)
		goto out;
	if (mode == ENFORCE)
		r = admission_forbid(a, "%s", text);
	else if (mode == WARN)
		warn(a, text);
	else if (a->req)
		audit_annotate(a->req, LABEL "audit-violations", text);
out:
	pod_verdict_clear(&v);
	return r;
}

static int check_pod(struct admission *a, yyjson_mut_val *pod,
		     yyjson_mut_val *labels)
{
	bool enforced = admission_is(a, "", "pods");
	struct demand d = demand_of(labels, ENFORCE), other;
	struct demand of_tenant = demand_of_tenant(a);
	char text[64];
	int r = 0;

	if (of_tenant.level > d.level)
		d = of_tenant;

	if (enforced && a->req) {
		snprintf(text, sizeof(text), "%s:%s", levels[d.level],
			 d.version);
		audit_annotate(a->req, LABEL "enforce-policy", text);
	}
	other = demand_of(labels, AUDIT);
	r = judge(a, pod, &other, AUDIT);
	if (r == 0 && enforced)
		r = judge(a, pod, &d, ENFORCE);
	/* Who is refused needs no warning, too; of what makes pods that would
	 * be, one of what the tenant has to keep to. */
	other = demand_of(labels, WARN);
	if (!enforced && of_tenant.level > other.level)
		other = of_tenant;
	return r < 0 ? r : judge(a, pod, &other, WARN);
}

/* --- namespaces --- */

struct told {
	struct buf reasons;
	char first[256];
	size_t nr;
};

/* Pods with the same reasons are told together. */
static void add_told(struct told *told, const char *reasons, const char *name)
{
	size_t i = 0;

	while (i < TOLD_MAX && told[i].nr &&
	       strcmp(buf_str(&told[i].reasons), reasons) != 0)
		i++;
	if (i == TOLD_MAX)
		return;
	if (!told[i].nr++) {
		buf_puts(&told[i].reasons, reasons);
		snprintf(told[i].first, sizeof(told[i].first), "%s", name);
	}
}

static void tell(struct admission *a, struct told *told, const struct demand *d)
{
	auto_free char *head =
		str_printf("existing pods in namespace \"%s\" violate the new "
			   "PodSecurity enforce level \"%s:%s\"",
			   a->name, levels[d->level], d->version);

	if (told[0].nr && head)
		warn(a, head);
	for (size_t i = 0; i < TOLD_MAX; i++) {
		auto_buf struct buf text = BUF_INIT;
		size_t more = told[i].nr - 1;

		if (!told[i].nr)
			break;
		buf_puts(&text, told[i].first);
		if (more)
			buf_printf(&text, " (and %zu other pod%s)", more,
				   more == 1 ? "" : "s");
		buf_printf(&text, ": %s", buf_str(&told[i].reasons));
		warn(a, buf_str(&text));
		buf_clear(&told[i].reasons);
	}
}

/* What there is already is let be, and told. */
static void look_at_pods(struct admission *a, const struct demand *d)
{
	auto_free char *prefix =
		str_printf("core/pods/%s/%s/", a->tenant, a->name);
	struct store_range range = { .prefix = prefix, .limit = PODS_MAX };
	struct told told[TOLD_MAX] = { { .nr = 0 } };
	struct store_list list;

	if (!prefix || store_list(a->api->store, &range, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < list.nr; i++) {
		yyjson_mut_doc *doc = object_tree(list.v[i]);
		struct pod_verdict v = { .reasons = BUF_INIT };

		if (doc)
			pod_security_check(yyjson_mut_doc_get_root(doc),
					   d->level, &v);
		if (v.reasons.len)
			add_told(told, buf_str(&v.reasons),
				 strrchr(list.v[i]->key, '/') + 1);
		pod_verdict_clear(&v);
		yyjson_mut_doc_free(doc);
	}
	store_list_clear(&list);
	tell(a, told, d);
}

static int check_namespace(struct admission *a)
{
	yyjson_mut_val *labels = mut_get(a->obj, "metadata.labels");
	struct demand now = demand_of(labels, ENFORCE), was;

	if (a->op == ADMIT_CREATE || now.level == POD_PRIVILEGED)
		return 0;
	was = demand_of(mut_get(a->old, "metadata.labels"), ENFORCE);
	if (now.level > was.level)
		look_at_pods(a, &now);
	return 0;
}

/* --- the plug-in --- */

static int validate(struct admission *a)
{
	auto_free char *key = NULL;
	auto_ptr(object_bytes) space = NULL;
	yyjson_mut_val *pod;
	yyjson_mut_doc *doc;
	int r;

	if (admission_is(a, "", "namespaces"))
		return *a->subresource ? 0 : check_namespace(a);
	pod = pod_of(a, a->obj);
	if (!pod ||
	    (*a->subresource &&
	     strcmp(a->subresource, "ephemeralcontainers") != 0) ||
	    !is_significant(a))
		return 0;
	key = str_printf("core/namespaces/%s//%s", a->tenant, a->namespace);
	space = key ? store_get(a->api->store, key) : NULL;
	if (!space)
		return 0;
	/* Most namespaces ask for nothing, and need not be parsed. */
	if (!object_has(space, LABEL))
		return check_pod(a, pod, NULL);
	doc = object_tree(space);
	if (!doc)
		return admission_refuse(a, 500, "InternalError",
					"out of memory");
	r = check_pod(a, pod,
		      mut_get(yyjson_mut_doc_get_root(doc), "metadata.labels"));
	yyjson_mut_doc_free(doc);
	return r;
}

const struct admission_plugin admission_pod_security = {
	.name = "PodSecurity",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.validate = validate,
};
