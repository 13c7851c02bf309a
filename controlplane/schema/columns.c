// SPDX-License-Identifier: Apache-2.0
/* Cells that need more than a path: what kubectl's users expect to read. */
#include <stdio.h>
#include <time.h>

#include "controlplane/schema/columns.h"
#include "lib/json.h"
#include "lib/str.h"

int64_t col_parse_time(const char *text)
{
	struct tm tm = { 0 };

	if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return -1;
	return timegm(&tm);
}

/* As kubectl writes a duration: "5s", "3m12s", "2d3h". */
void col_put_duration(struct buf *b, int64_t s)
{
	char t[64];

	if (s < 0)
		s = 0;
	if (s < 120)
		snprintf(t, sizeof(t), "%llds", (long long)s);
	else if (s < 600)
		snprintf(t, sizeof(t), s % 60 ? "%lldm%llds" : "%lldm",
			 (long long)s / 60, (long long)s % 60);
	else if (s < 3 * 3600)
		snprintf(t, sizeof(t), "%lldm", (long long)s / 60);
	else if (s < 8 * 3600)
		snprintf(t, sizeof(t), s / 60 % 60 ? "%lldh%lldm" : "%lldh",
			 (long long)s / 3600, (long long)s / 60 % 60);
	else if (s < 48 * 3600)
		snprintf(t, sizeof(t), "%lldh", (long long)s / 3600);
	else if (s < 8 * 86400)
		snprintf(t, sizeof(t), s / 3600 % 24 ? "%lldd%lldh" : "%lldd",
			 (long long)s / 86400, (long long)s / 3600 % 24);
	else if (s < 2 * 365 * 86400)
		snprintf(t, sizeof(t), "%lldd", (long long)s / 86400);
	else
		snprintf(t, sizeof(t), "%lldy%lldd",
			 (long long)s / (365 * 86400),
			 (long long)s / 86400 % 365);
	put(b, t);
}

void col_age_of(yyjson_val *v, int64_t now, struct buf *b)
{
	int64_t then = col_parse_time(yyjson_get_str(v));

	if (then < 0)
		put(b, "<unknown>");
	else
		col_put_duration(b, now - then);
}

static void age(yyjson_val *o, int64_t now, struct buf *b)
{
	col_age_of(at(o, ".metadata.creationTimestamp"), now, b);
}

/* --- nodes --- */

static void node_status(yyjson_val *o, int64_t now, struct buf *b)
{
	const char *ready =
		str_at(o, ".status.conditions[?(@.type==\"Ready\")].status");
	char text[64];

	snprintf(text, sizeof(text), "%s%s",
		 !ready                  ? "Unknown"
		 : str_eq(ready, "True") ? "Ready"
					 : "NotReady",
		 yyjson_is_true(at(o, ".spec.unschedulable"))
			 ? ",SchedulingDisabled"
			 : "");
	put(b, text);
	(void)now;
}

static void node_roles(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (at(o, ".metadata.labels"), i, max, key, val) {
		const char *name = yyjson_get_str(key);
		const char *role = NULL;

		if (str_starts(name, "node-role.kubernetes.io/"))
			role = name + strlen("node-role.kubernetes.io/");
		else if (str_eq(name, "kubernetes.io/role"))
			role = yyjson_get_str(val);
		if (role && *role)
			buf_printf(&text, "%s%s", text.len ? "," : "", role);
	}
	put_buf(b, &text);
	(void)now;
}

static void node_internal_ip(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, str_at(o, ".status.addresses[?(@.type==\"InternalIP\")]"
			 ".address"));
	(void)now;
}

static void node_external_ip(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, str_at(o, ".status.addresses[?(@.type==\"ExternalIP\")]"
			 ".address"));
	(void)now;
}

/* --- counts --- */

static void data_count(yyjson_val *o, int64_t now, struct buf *b)
{
	buf_printf(b, "%zu",
		   yyjson_obj_size(yyjson_obj_get(o, "data")) +
			   yyjson_obj_size(yyjson_obj_get(o, "binaryData")));
	(void)now;
}

static void secrets_count(yyjson_val *o, int64_t now, struct buf *b)
{
	buf_printf(b, "%zu", yyjson_arr_size(yyjson_obj_get(o, "secrets")));
	(void)now;
}

static void put_int(struct buf *b, yyjson_val *o, const char *path)
{
	buf_printf(b, "%lld", int_at(o, path));
}

static void cron_active(yyjson_val *o, int64_t now, struct buf *b)
{
	buf_printf(b, "%zu", yyjson_arr_size(at(o, ".status.active")));
	(void)now;
}

static void replicas(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".spec.replicas");
	(void)now;
}

static void replicas_current(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".status.replicas");
	(void)now;
}

static void replicas_ready(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".status.readyReplicas");
	(void)now;
}

static void deployment_updated(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".status.updatedReplicas");
	(void)now;
}

static void deployment_available(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".status.availableReplicas");
	(void)now;
}

static void hpa_replicas(yyjson_val *o, int64_t now, struct buf *b)
{
	put_int(b, o, ".status.currentReplicas");
	(void)now;
}

static void deployment_ready(yyjson_val *o, int64_t now, struct buf *b)
{
	char text[64];

	snprintf(text, sizeof(text), "%lld/%lld",
		 int_at(o, ".status.readyReplicas"),
		 int_at(o, ".spec.replicas"));
	put(b, text);
	(void)now;
}

/* --- lists of names --- */

/* Append one string of each item. */
void col_join(struct buf *text, yyjson_val *list, const char *path)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = *path ? str_at(v, path) : yyjson_get_str(v);

		if (s)
			buf_printf(text, "%s%s", text->len ? "," : "", s);
	}
}

static void put_joined(struct buf *b, yyjson_val *list, const char *path)
{
	auto_buf struct buf text = BUF_INIT;

	col_join(&text, list, path);
	put_buf(b, &text);
}

static void template_containers(yyjson_val *o, int64_t now, struct buf *b)
{
	put_joined(b, at(o, ".spec.template.spec.containers"), ".name");
	(void)now;
}

static void template_images(yyjson_val *o, int64_t now, struct buf *b)
{
	put_joined(b, at(o, ".spec.template.spec.containers"), ".image");
	(void)now;
}

static void put_labels(struct buf *b, yyjson_val *labels)
{
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (labels, i, max, key, val)
		buf_printf(&text, "%s%s=%s", text.len ? "," : "",
			   yyjson_get_str(key), yyjson_get_str(val));
	put_buf(b, &text);
}

static void label_selector(yyjson_val *o, int64_t now, struct buf *b)
{
	put_labels(b, at(o, ".spec.selector.matchLabels"));
	(void)now;
}

static void pod_selector(yyjson_val *o, int64_t now, struct buf *b)
{
	put_labels(b, at(o, ".spec.podSelector.matchLabels"));
	(void)now;
}

static void service_selector(yyjson_val *o, int64_t now, struct buf *b)
{
	put_labels(b, at(o, ".spec.selector"));
	(void)now;
}

static void template_nodes(yyjson_val *o, int64_t now, struct buf *b)
{
	put_labels(b, at(o, ".spec.template.spec.nodeSelector"));
	(void)now;
}

static void access_modes(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const names[][2] = {
		{ "ReadWriteOnce", "RWO" },
		{ "ReadOnlyMany", "ROX" },
		{ "ReadWriteMany", "RWX" },
		{ "ReadWriteOncePod", "RWOP" },
	};
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".spec.accessModes"));
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it)))
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (str_eq(yyjson_get_str(v), names[i][0]))
				buf_printf(&text, "%s%s", text.len ? "," : "",
					   names[i][1]);
	put(b, buf_str(&text));
	(void)now;
}

static void subjects(yyjson_val *o, const char *kind, struct buf *b)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".subjects"));
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *ns = str_at(v, ".namespace");

		if (str_eq(str_at(v, ".kind"), kind))
			buf_printf(&text, "%s%s%s%s", text.len ? ", " : "",
				   ns ? ns : "", ns ? "/" : "",
				   str_at(v, ".name"));
	}
	put(b, buf_str(&text));
}

static void subject_users(yyjson_val *o, int64_t now, struct buf *b)
{
	subjects(o, "User", b);
	(void)now;
}

static void subject_groups(yyjson_val *o, int64_t now, struct buf *b)
{
	subjects(o, "Group", b);
	(void)now;
}

static void subject_accounts(yyjson_val *o, int64_t now, struct buf *b)
{
	subjects(o, "ServiceAccount", b);
	(void)now;
}

/* --- pairs --- */

void col_put_pair(struct buf *b, const char *kind, const char *name)
{
	auto_buf struct buf text = BUF_INIT;

	buf_printf(&text, "%s/%s", kind ? kind : "", name ? name : "");
	put(b, buf_str(&text));
}

static void role_ref(yyjson_val *o, int64_t now, struct buf *b)
{
	col_put_pair(b, str_at(o, ".roleRef.kind"), str_at(o, ".roleRef.name"));
	(void)now;
}

static void hpa_reference(yyjson_val *o, int64_t now, struct buf *b)
{
	col_put_pair(b, str_at(o, ".spec.scaleTargetRef.kind"),
		     str_at(o, ".spec.scaleTargetRef.name"));
	(void)now;
}

static void owner(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *ref = at(o, ".metadata.ownerReferences[0]");

	if (ref)
		col_put_pair(b, str_at(ref, ".kind"), str_at(ref, ".name"));
	else
		put(b, NULL);
	(void)now;
}

static void pv_claim(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *ref = at(o, ".spec.claimRef");

	if (ref)
		col_put_pair(b, str_at(ref, ".namespace"),
			     str_at(ref, ".name"));
	else
		put(b, "");
	(void)now;
}

#define FN(name)             \
	{                    \
#name, name, \
	}

type_column_fn type_column_find(const char *name)
{
	static const struct {
		const char *name;
		type_column_fn fn;
	} all[] = {
		FN(access_modes),
		FN(age),
		{ "age_of", col_age_of },
		FN(cron_active),
		{ "cron_last", col_cron_last },
		{ "cron_zone", col_cron_zone },
		FN(data_count),
		FN(deployment_available),
		FN(deployment_ready),
		FN(deployment_updated),
		{ "endpoints", col_endpoints },
		{ "event_first_seen", col_event_first_seen },
		{ "event_last_seen", col_event_last_seen },
		{ "event_object", col_event_object },
		{ "expansion", col_expansion },
		{ "global_default", col_global_default },
		FN(hpa_reference),
		FN(hpa_replicas),
		{ "ingress_address", col_ingress_address },
		{ "ingress_class", col_ingress_class },
		{ "ingress_hosts", col_ingress_hosts },
		{ "ingress_ports", col_ingress_ports },
		{ "job_completions", col_job_completions },
		{ "job_duration", col_job_duration },
		{ "job_status", col_job_status },
		FN(label_selector),
		FN(node_external_ip),
		FN(node_internal_ip),
		FN(node_roles),
		FN(node_status),
		{ "none", col_none },
		FN(owner),
		{ "pdb_max", col_pdb_max },
		{ "pdb_min", col_pdb_min },
		{ "pod_gates", col_pod_gates },
		{ "pod_ready", col_pod_ready },
		{ "pod_restarts", col_pod_restarts },
		FN(pod_selector),
		{ "pod_status", col_pod_status },
		FN(pv_claim),
		{ "quota_limit", col_quota_limit },
		{ "quota_request", col_quota_request },
		FN(replicas),
		FN(replicas_current),
		FN(replicas_ready),
		FN(role_ref),
		FN(secrets_count),
		{ "service_external_ip", col_service_external_ip },
		{ "service_ip", col_service_ip },
		{ "service_ports", col_service_ports },
		FN(service_selector),
		FN(subject_accounts),
		FN(subject_groups),
		FN(subject_users),
		FN(template_containers),
		FN(template_images),
		FN(template_nodes),
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].fn;
	return type_column_find_more(name);
}
