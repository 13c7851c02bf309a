// SPDX-License-Identifier: Apache-2.0
/* Cells of services, events, jobs and the small kinds; see columns.c. */
#include <stdio.h>

#include "controlplane/schema/columns.h"
#include "lib/json.h"
#include "lib/str.h"

/* --- services and endpoints --- */

void col_service_ip(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, str_at(o, ".spec.clusterIP"));
	(void)now;
}

void col_service_external_ip(yyjson_val *o, int64_t now, struct buf *b)
{
	const char *type = str_at(o, ".spec.type");
	auto_buf struct buf text = BUF_INIT;

	(void)now;
	col_join(&text, at(o, ".status.loadBalancer.ingress"), ".ip");
	col_join(&text, at(o, ".spec.externalIPs"), "");
	if (str_eq(type, "ExternalName"))
		put(b, str_at(o, ".spec.externalName"));
	else if (!text.len && str_eq(type, "LoadBalancer"))
		put(b, "<pending>");
	else
		put_buf(b, &text);
}

void col_service_ports(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".spec.ports"));
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *v;

	while ((v = yyjson_arr_iter_next(&it))) {
		long long node = int_at(v, ".nodePort");

		buf_printf(&text, "%s%lld", text.len ? "," : "",
			   int_at(v, ".port"));
		if (node)
			buf_printf(&text, ":%lld", node);
		buf_printf(&text, "/%s", str_at(v, ".protocol"));
	}
	put_buf(b, &text);
	(void)now;
}

void col_endpoints(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *subset = at(o, ".subsets[0]"), *a;
	yyjson_arr_iter it =
		yyjson_arr_iter_with(yyjson_obj_get(subset, "addresses"));
	auto_buf struct buf text = BUF_INIT;
	size_t nr = 0;

	while ((a = yyjson_arr_iter_next(&it))) {
		if (++nr <= 3)
			buf_printf(&text, "%s%s:%lld", text.len ? "," : "",
				   str_at(a, ".ip"),
				   int_at(subset, ".ports[0].port"));
	}
	if (nr > 3)
		buf_printf(&text, " + %zu more...", nr - 3);
	put_buf(b, &text);
	(void)now;
}

/* --- events --- */

void col_event_last_seen(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const paths[] = { ".series.lastObservedTime",
					     ".lastTimestamp",
					     ".deprecatedLastTimestamp",
					     ".eventTime",
					     ".metadata.creationTimestamp" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (str_at(o, paths[i])) {
			col_age_of(at(o, paths[i]), now, b);
			return;
		}
	put(b, "<unknown>");
}

void col_event_first_seen(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *first = at(o, ".firstTimestamp");

	if (!first)
		first = at(o, ".deprecatedFirstTimestamp");
	col_age_of(yyjson_is_str(first) ? first : at(o, ".eventTime"), now, b);
}

void col_event_object(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *about = at(o, ".involvedObject");
	const char *kind;
	char lower[128];
	size_t i;

	if (!about)
		about = at(o, ".regarding");
	kind = str_at(about, ".kind");
	for (i = 0; kind && kind[i] && i < sizeof(lower) - 1; i++)
		lower[i] = kind[i] >= 'A' && kind[i] <= 'Z' ? kind[i] | 0x20
							    : kind[i];
	lower[i] = '\0';
	col_put_pair(b, lower, str_at(about, ".name"));
	(void)now;
}

/* --- batch --- */

void col_job_status(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const types[][2] = {
		{ "Complete", "Complete" },
		{ "Failed", "Failed" },
		{ "Suspended", "Suspended" },
	};
	const char *status = "Running";

	for (size_t i = ARRAY_LEN(types); i-- > 0;) {
		char path[96];

		snprintf(path, sizeof(path),
			 ".status.conditions[?(@.type==\"%s\")].status",
			 types[i][0]);
		if (str_eq(str_at(o, path), "True"))
			status = types[i][1];
	}
	put(b, at(o, ".metadata.deletionTimestamp") ? "Terminating" : status);
	(void)now;
}

void col_job_completions(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *want = at(o, ".spec.completions");
	long long at_once = int_at(o, ".spec.parallelism");
	char text[64];

	if (want)
		snprintf(text, sizeof(text), "%lld/%lld",
			 int_at(o, ".status.succeeded"),
			 (long long)yyjson_get_sint(want));
	else if (at_once > 1)
		snprintf(text, sizeof(text), "%lld/1 of %lld",
			 int_at(o, ".status.succeeded"), at_once);
	else
		snprintf(text, sizeof(text), "%lld/1",
			 int_at(o, ".status.succeeded"));
	put(b, text);
	(void)now;
}

void col_job_duration(yyjson_val *o, int64_t now, struct buf *b)
{
	int64_t start = col_parse_time(str_at(o, ".status.startTime"));
	int64_t end = col_parse_time(str_at(o, ".status.completionTime"));

	if (start < 0)
		put(b, "");
	else
		col_put_duration(b, (end < 0 ? now : end) - start);
}

void col_cron_last(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *last = at(o, ".status.lastScheduleTime");

	if (last)
		col_age_of(last, now, b);
	else
		put(b, NULL);
}

void col_cron_zone(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, str_at(o, ".spec.timeZone"));
	(void)now;
}

/* --- the rest --- */

static void put_bool(struct buf *b, yyjson_val *v)
{
	buf_puts(b, yyjson_is_true(v) ? "true" : "false");
}

void col_expansion(yyjson_val *o, int64_t now, struct buf *b)
{
	put_bool(b, at(o, ".allowVolumeExpansion"));
	(void)now;
}

void col_global_default(yyjson_val *o, int64_t now, struct buf *b)
{
	put_bool(b, at(o, ".globalDefault"));
	(void)now;
}

static void put_any(struct buf *b, yyjson_val *v, const char *missing)
{
	auto_buf struct buf text = BUF_INIT;

	if (yyjson_is_str(v))
		put(b, yyjson_get_str(v));
	else if (v) {
		json_write(v, false, &text);
		put(b, buf_str(&text));
	} else {
		put(b, missing);
	}
}

void col_pdb_min(yyjson_val *o, int64_t now, struct buf *b)
{
	put_any(b, at(o, ".spec.minAvailable"), "N/A");
	(void)now;
}

void col_pdb_max(yyjson_val *o, int64_t now, struct buf *b)
{
	put_any(b, at(o, ".spec.maxUnavailable"), "N/A");
	(void)now;
}

static void quota(yyjson_val *o, bool limits, struct buf *b)
{
	yyjson_val *hard = at(o, ".status.hard"), *key, *val;
	auto_buf struct buf text = BUF_INIT;
	size_t i, max;

	if (!hard)
		hard = at(o, ".spec.hard");
	json_obj_foreach (hard, i, max, key, val) {
		const char *name = yyjson_get_str(key);
		const char *used = yyjson_get_str(
			yyjson_obj_get(at(o, ".status.used"), name));

		if (str_starts(name, "limits") == limits)
			buf_printf(&text, "%s%s: %s/%s", text.len ? ", " : "",
				   name, used ? used : "0",
				   yyjson_get_str(val));
	}
	put(b, buf_str(&text));
}

void col_quota_request(yyjson_val *o, int64_t now, struct buf *b)
{
	quota(o, false, b);
	(void)now;
}

void col_quota_limit(yyjson_val *o, int64_t now, struct buf *b)
{
	quota(o, true, b);
	(void)now;
}

void col_ingress_class(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, str_at(o, ".spec.ingressClassName"));
	(void)now;
}

void col_ingress_hosts(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;

	col_join(&text, at(o, ".spec.rules"), ".host");
	put(b, text.len ? buf_str(&text) : "*");
	(void)now;
}

void col_ingress_address(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;

	col_join(&text, at(o, ".status.loadBalancer.ingress"), ".ip");
	put(b, buf_str(&text));
	(void)now;
}

void col_ingress_ports(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, yyjson_arr_size(at(o, ".spec.tls")) ? "80, 443" : "80");
	(void)now;
}

void col_none(yyjson_val *o, int64_t now, struct buf *b)
{
	put(b, NULL);
	(void)o, (void)now;
}
