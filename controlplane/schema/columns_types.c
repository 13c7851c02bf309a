// SPDX-License-Identifier: Apache-2.0
/* Cells of the smaller API groups. */
#include <stdio.h>

#include "controlplane/schema/columns.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

static void put_count(struct buf *b, yyjson_val *list)
{
	buf_printf(b, "%zu", yyjson_arr_size(list));
}

static void csr_duration(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *v = at(o, ".spec.expirationSeconds");

	if (v)
		col_put_duration(b, yyjson_get_sint(v));
	else
		put(b, NULL);
	(void)now;
}

static void csr_condition(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const types[] = { "Approved", "Denied", "Failed" };
	auto_buf struct buf text = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		char path[96];

		snprintf(path, sizeof(path),
			 ".status.conditions[?(@.type==\"%s\")]", types[i]);
		if (at(o, path))
			buf_printf(&text, "%s%s", text.len ? "," : "",
				   types[i]);
	}
	if (yyjson_get_len(at(o, ".status.certificate")))
		buf_printf(&text, "%sIssued", text.len ? "," : "");
	put(b, text.len ? buf_str(&text) : "Pending");
	(void)now;
}

static void webhooks_count(yyjson_val *o, int64_t now, struct buf *b)
{
	put_count(b, at(o, ".webhooks"));
	(void)now;
}

static void validations_count(yyjson_val *o, int64_t now, struct buf *b)
{
	put_count(b, at(o, ".spec.validations"));
	(void)now;
}

static void param_kind(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *kind = at(o, ".spec.paramKind");
	auto_buf struct buf text = BUF_INIT;

	if (str_at(kind, ".apiVersion") && str_at(kind, ".kind"))
		buf_printf(&text, "%s/%s", str_at(kind, ".apiVersion"),
			   str_at(kind, ".kind"));
	put(b, text.len ? buf_str(&text) : "<unset>");
	(void)now;
}

/* Whether it is of a namespace cannot be told from here. */
static void param_ref(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *ref = at(o, ".spec.paramRef");
	const char *name = str_at(ref, ".name");
	const char *ns = str_at(ref, ".namespace");
	auto_buf struct buf text = BUF_INIT;

	if (name && *name)
		buf_printf(&text, "%s/%s", ns && *ns ? ns : "*", name);
	else if (at(ref, ".selector"))
		json_write(at(ref, ".selector"), false, &text);
	put(b, text.len ? buf_str(&text) : "<unset>");
	(void)now;
}

static void drivers_count(yyjson_val *o, int64_t now, struct buf *b)
{
	put_count(b, at(o, ".spec.drivers"));
	(void)now;
}

static void apiservice_service(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *s = at(o, ".spec.service");

	if (s)
		col_put_pair(b, str_at(s, ".namespace"), str_at(s, ".name"));
	else
		put(b, "Local");
	(void)now;
}

static void apiservice_available(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_val *c = at(o, ".status.conditions[?(@.type==\"Available\")]");
	const char *status = str_at(c, ".status");
	char text[256];

	if (!status)
		status = "Unknown";
	if (strcmp(status, "True") == 0 || !str_at(c, ".reason"))
		snprintf(text, sizeof(text), "%s", status);
	else
		snprintf(text, sizeof(text), "%s (%s)", status,
			 str_at(c, ".reason"));
	put(b, text);
	(void)now;
}

/* One value or average, as text; NULL: none. */
static const char *metric_value(yyjson_val *v, char *buf, size_t size)
{
	yyjson_val *use = at(v, ".averageUtilization");

	if (use) {
		snprintf(buf, size, "%lld%%", (long long)yyjson_get_sint(use));
		return buf;
	}
	return str_at(v, ".averageValue") ? str_at(v, ".averageValue")
					  : str_at(v, ".value");
}

static void hpa_targets(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const kinds[] = { "resource", "containerResource",
					     "pods", "object", "external" };
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *m;
	size_t i, max;

	yyjson_arr_foreach(at(o, ".spec.metrics"), i, max, m)
	{
		char want[32], have[32];
		yyjson_val *is =
			yyjson_arr_get(at(o, ".status.currentMetrics"), i);

		for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
			yyjson_val *source = yyjson_obj_get(m, kinds[k]);
			yyjson_val *cur = yyjson_obj_get(is, kinds[k]);
			const char *w = metric_value(at(source, ".target"),
						     want, sizeof(want));
			const char *h = metric_value(at(cur, ".current"), have,
						     sizeof(have));

			if (!source)
				continue;
			buf_printf(&text, "%s%s%s%s/%s", text.len ? ", " : "",
				   k < 2 ? str_at(source, ".name") : "",
				   k < 2 ? ": " : "", h ? h : "<unknown>",
				   w ? w : "<auto>");
		}
	}
	put_buf(b, &text);
	(void)now;
}

static void slice_ports(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *p;
	size_t i, max;

	yyjson_arr_foreach(at(o, ".ports"), i, max, p)
		buf_printf(&text, "%s%lld", text.len ? "," : "",
			   int_at(p, ".port"));
	put(b, text.len ? buf_str(&text) : "<unset>");
	(void)now;
}

static void slice_endpoints(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *e, *a;
	size_t i, j, max, max2, nr = 0;

	yyjson_arr_foreach(at(o, ".endpoints"), i, max, e)
	{
		yyjson_arr_foreach(at(e, ".addresses"), j, max2, a)
		{
			if (nr++ < 3)
				buf_printf(&text, "%s%s", text.len ? "," : "",
					   yyjson_get_str(a));
		}
	}
	if (nr > 3)
		buf_printf(&text, " + %zu more...", nr - 3);
	put(b, nr ? buf_str(&text) : "<unset>");
	(void)now;
}

static void podtemplate_containers(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;

	col_join(&text, at(o, ".template.spec.containers"), ".name");
	put_buf(b, &text);
	(void)now;
}

static void podtemplate_images(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;

	col_join(&text, at(o, ".template.spec.containers"), ".image");
	put_buf(b, &text);
	(void)now;
}

static void podtemplate_labels(yyjson_val *o, int64_t now, struct buf *b)
{
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *key, *val;
	size_t i, max;

	json_obj_foreach (at(o, ".template.metadata.labels"), i, max, key, val)
		buf_printf(&text, "%s%s=%s", text.len ? "," : "",
			   yyjson_get_str(key), yyjson_get_str(val));
	put_buf(b, &text);
	(void)now;
}

/* --- actions --- */

static void action_operation(yyjson_val *o, int64_t now, struct buf *b)
{
	static const char *const names[][2] = {
		{ "rebootAction", "reboot" },
		{ "snapshotAction", "snapshot" },
		{ "restoreAction", "restore" },
		{ "deleteSnapshotAction", "deleteSnapshot" },
	};
	yyjson_val *spec = at(o, ".spec");
	const char *found = NULL;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (yyjson_obj_get(spec, names[i][0]))
			found = names[i][1];
	put(b, found);
	(void)now;
}

static void action_result(yyjson_val *o, int64_t now, struct buf *b)
{
	const char *error = str_at(o, ".status.error");
	const char *id = str_at(o, ".status.snapshotStatus.snapshotID");
	auto_buf struct buf text = BUF_INIT;

	if (error && *error)
		buf_printf(&text, "Failed: %s", error);
	else if (!yyjson_is_true(at(o, ".status.complete")))
		buf_puts(&text,
			 at(o, ".status.startTime") ? "Running" : "Pending");
	else
		buf_printf(&text, "Done%s%s", id ? ": " : "", id ? id : "");
	put_buf(b, &text);
	(void)now;
}

/* The sum over a pod's containers, as metrics-server shows it. */
static void usage_cpu(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".containers"));
	uint64_t sum = 0, milli;
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it))) {
		const char *text = str_at(c, ".usage.cpu");

		if (text && quantity_parse_cpu(text, &milli, NULL) == 0)
			sum += milli;
	}
	buf_printf(b, "\"%llum\"", (unsigned long long)sum);
	(void)now;
}

static void usage_memory(yyjson_val *o, int64_t now, struct buf *b)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(at(o, ".containers"));
	uint64_t sum = 0, bytes;
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it))) {
		const char *text = str_at(c, ".usage.memory");

		if (text && quantity_parse_mem(text, &bytes, NULL) == 0)
			sum += bytes;
	}
	buf_printf(b, "\"%lluKi\"", (unsigned long long)sum >> 10);
	(void)now;
}

type_column_fn type_column_find_more(const char *name)
{
#define FN(f)         \
	{             \
#f, f \
	}
	static const struct {
		const char *name;
		type_column_fn fn;
	} all[] = {
		FN(action_operation),
		FN(action_result),
		FN(apiservice_available),
		FN(apiservice_service),
		FN(csr_condition),
		FN(csr_duration),
		FN(drivers_count),
		FN(hpa_targets),
		FN(podtemplate_containers),
		FN(podtemplate_images),
		FN(podtemplate_labels),
		FN(slice_endpoints),
		FN(slice_ports),
		FN(usage_cpu),
		FN(usage_memory),
		FN(webhooks_count),
		FN(validations_count),
		FN(param_kind),
		FN(param_ref),
	};
#undef FN

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].fn;
	return NULL;
}
