// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/usage/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define WINDOW_MS 10000 /* of a node that does not say it */

struct usage_report *usage_report_new(void)
{
	struct usage_report *r = calloc(1, sizeof(*r));

	if (r)
		r->refs = 1;
	return r;
}

struct usage_report *usage_report_ref(struct usage_report *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void usage_report_unref(struct usage_report *r)
{
	if (!r ||
	    atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(r->pods);
	free(r->containers);
	buf_clear(&r->text);
	free(r);
}

/* --- reading --- */

/* Only what may be repeated to clients as it is. */
static bool take_time(yyjson_val *v, char ret[USAGE_TIME_LEN + 1])
{
	static const char form[] = "0000-00-00T00:00:00Z";
	const char *s = yyjson_get_str(v);

	if (!s || strlen(s) != USAGE_TIME_LEN)
		return false;
	for (size_t i = 0; i < USAGE_TIME_LEN; i++)
		if (form[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	memcpy(ret, s, USAGE_TIME_LEN + 1);
	return true;
}

/* "cpu" and "memory" of @of. */
static bool take_usage(yyjson_val *of, struct usage *ret)
{
	yyjson_val *cpu = yyjson_obj_get(of, "cpu");
	yyjson_val *nano = yyjson_obj_get(cpu, "usageNanoCores");
	yyjson_val *ms = yyjson_obj_get(cpu, "usageWindowMilliseconds");
	yyjson_val *mem =
		yyjson_obj_get(yyjson_obj_get(of, "memory"), "workingSetBytes");
	uint64_t window = ms ? yyjson_get_uint(ms) : WINDOW_MS;

	if (!yyjson_is_uint(nano) || !yyjson_is_uint(mem) || !window ||
	    window > UINT32_MAX ||
	    !take_time(yyjson_obj_get(cpu, "time"), ret->time))
		return false;
	ret->cpu_nano = yyjson_get_uint(nano);
	ret->mem_bytes = yyjson_get_uint(mem);
	ret->window_ms = (uint32_t)window;
	return true;
}

static uint32_t put_text(struct usage_report *r, const char *s)
{
	uint32_t at = (uint32_t)r->text.len;

	buf_add(&r->text, s, strlen(s) + 1);
	return at;
}

static void take_pod(struct usage_report *r, yyjson_val *pod)
{
	yyjson_val *list = yyjson_obj_get(pod, "containers"), *c;
	const char *uid = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(pod, "podRef"), "uid"));
	struct usage_pod *p = &r->pods[r->nr_pods];
	yyjson_arr_iter it = yyjson_arr_iter_with(list);

	if (!uid || !*uid)
		return;
	*p = (struct usage_pod){ .first = (uint32_t)r->nr_containers };
	while ((c = yyjson_arr_iter_next(&it))) {
		struct usage_container *to = &r->containers[r->nr_containers];
		const char *name = yyjson_get_str(yyjson_obj_get(c, "name"));

		if (!name || !*name || !take_usage(c, &to->usage))
			continue;
		to->name = put_text(r, name);
		r->nr_containers++;
		p->nr++;
	}
	if (!p->nr)
		return;
	p->uid = put_text(r, uid);
	r->nr_pods++;
}

static int by_uid(const void *a, const void *b, void *arg)
{
	const struct usage_report *r = arg;
	const struct usage_pod *x = a, *y = b;

	return strcmp(r->text.data + x->uid, r->text.data + y->uid);
}

static int take_all(struct usage_report *r, yyjson_val *root, struct err *e)
{
	yyjson_val *pods = yyjson_obj_get(root, "pods"), *pod;
	yyjson_arr_iter it = yyjson_arr_iter_with(pods);
	size_t nr = 0;

	if (!yyjson_is_obj(yyjson_obj_get(root, "node")) ||
	    !yyjson_is_arr(pods))
		return err_set(e, -EBADMSG, "it is no summary of a node");
	while ((pod = yyjson_arr_iter_next(&it)))
		nr += yyjson_arr_size(yyjson_obj_get(pod, "containers"));
	if (nr > USAGE_CONTAINERS_MAX)
		return err_set(e, -E2BIG, "it has more than %d containers",
			       USAGE_CONTAINERS_MAX);
	r->pods = calloc(yyjson_arr_size(pods) + 1, sizeof(*r->pods));
	r->containers = calloc(nr + 1, sizeof(*r->containers));
	if (!r->pods || !r->containers)
		return err_set(e, -ENOMEM, "out of memory");
	if (!take_usage(yyjson_obj_get(root, "node"), &r->node))
		r->node.time[0] = '\0';
	it = yyjson_arr_iter_with(pods);
	while ((pod = yyjson_arr_iter_next(&it)))
		take_pod(r, pod);
	if (buf_error(&r->text))
		return err_set(e, -ENOMEM, "out of memory");
	if (r->nr_pods)
		qsort_r(r->pods, r->nr_pods, sizeof(*r->pods), by_uid, r);
	return 0;
}

int usage_report_parse(const char *text, size_t len, struct usage_report **ret,
		       struct err *e)
{
	const struct json_limits limits = { .len = USAGE_REPORT_MAX };
	auto_ptr(usage_report) r = usage_report_new();
	yyjson_doc *doc = NULL;
	int res;

	if (!r)
		return err_set(e, -ENOMEM, "out of memory");
	res = json_parse_within(text, len, &limits, &doc, e);
	if (res < 0)
		return res;
	res = take_all(r, yyjson_doc_get_root(doc), e);
	yyjson_doc_free(doc);
	if (res == 0)
		*ret = take_ptr(r);
	return res;
}

const struct usage_pod *usage_report_pod(const struct usage_report *r,
					 const char *uid)
{
	size_t low = 0, high = r->nr_pods;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(uid, r->text.data + r->pods[mid].uid);

		if (c == 0)
			return &r->pods[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}
