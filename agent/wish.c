// SPDX-License-Identifier: Apache-2.0
/* From what somebody asks of a pod's resources to its new specification. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/internal.h"
#include "agent/wish.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

static yyjson_mut_val *get_or_add(yyjson_mut_doc *doc, yyjson_mut_val *obj,
				  const char *name)
{
	yyjson_mut_val *v = yyjson_mut_obj_get(obj, name);

	if (v && yyjson_mut_is_obj(v))
		return v;
	yyjson_mut_obj_remove_key(obj, name);
	v = yyjson_mut_obj(doc);
	return yyjson_mut_obj_add(obj, yyjson_mut_strcpy(doc, name), v) ? v
									: NULL;
}

static yyjson_mut_val *find_workload(yyjson_mut_val *root, const char *name)
{
	yyjson_mut_val *spec = yyjson_mut_obj_get(root, "spec");
	yyjson_mut_val *list = yyjson_mut_obj_get(spec, "containers");
	yyjson_mut_val *vm = yyjson_mut_obj_get(spec, "virtualMachine"), *item;
	size_t i, max;

	if (yyjson_mut_is_obj(vm))
		return vm;
	yyjson_mut_arr_foreach(list, i, max, item) if (
		str_eq(yyjson_mut_get_str(yyjson_mut_obj_get(item, "name")),
		       name)) return item;
	return NULL;
}

static void put_quantities(yyjson_mut_doc *doc, yyjson_mut_val *resources,
			   const char *which, const struct quantity_set *q)
{
	char text[QUANTITY_TEXT_SIZE];
	yyjson_mut_val *to;

	to = yyjson_mut_obj_get(resources, which);
	if (!to && !q->has_cpu && !q->has_mem)
		return;
	to = get_or_add(doc, resources, which);
	yyjson_mut_obj_remove_key(to, "cpu");
	yyjson_mut_obj_remove_key(to, "memory");
	if (q->has_cpu)
		yyjson_mut_obj_add_strcpy(doc, to, "cpu",
					  quantity_format_cpu(q->cpu_milli,
							      text));
	if (q->has_mem)
		yyjson_mut_obj_add_strcpy(doc, to, "memory",
					  quantity_format_mem(q->mem_bytes,
							      text));
}

static void merge_one(uint64_t *limit, bool *has_limit, uint64_t *request,
		      bool *has_request, bool new_limit, uint64_t limit_to,
		      bool new_request, uint64_t request_to)
{
	uint64_t was = *limit;
	bool had = *has_limit;
	bool tied = had && *has_request && was == *request;

	if (new_limit) {
		*has_limit = true;
		*limit = limit_to;
		if (tied || !*has_request || (!had && *request > limit_to))
			*request = limit_to;
		else if (*request > limit_to) /* keeps its share, and the QoS */
			*request = (uint64_t)((unsigned __int128)*request *
					      limit_to / was);
		*has_request = true;
	}
	if (new_request) {
		*has_request = true;
		*request = request_to;
	}
}

static struct resources merged(const struct resources *now,
			       const struct resources *want)
{
	struct resources r = *now;

	merge_one(&r.limits.cpu_milli, &r.limits.has_cpu, &r.requests.cpu_milli,
		  &r.requests.has_cpu, want->limits.has_cpu,
		  want->limits.cpu_milli, want->requests.has_cpu,
		  want->requests.cpu_milli);
	merge_one(&r.limits.mem_bytes, &r.limits.has_mem, &r.requests.mem_bytes,
		  &r.requests.has_mem, want->limits.has_mem,
		  want->limits.mem_bytes, want->requests.has_mem,
		  want->requests.mem_bytes);
	return r;
}

static const struct resources *
workload_resources(const struct pod_spec *s, const char **name, struct err *e)
{
	if (s->vm) {
		if (*name && !str_eq(*name, s->vm->name))
			goto none;
		*name = s->vm->name;
		return &s->vm->resources;
	}
	if (!*name && s->nr_containers > 1) {
		err_set(e, -EINVAL,
			"the pod has %zu containers; name one with -c",
			s->nr_containers);
		return NULL;
	}
	if (!*name)
		*name = s->containers[0].name;
	for (size_t i = 0; i < s->nr_containers; i++)
		if (str_eq(s->containers[i].name, *name))
			return &s->containers[i].resources;
none:
	err_set(e, -ENOENT, "the pod has no container '%s'", *name);
	return NULL;
}

/* The pod's manifest with other resources for one workload. */
static int with_resources(const char *json, size_t len, const char *name,
			  const struct resources *to, struct buf *out,
			  struct err *e)
{
	yyjson_doc *doc = yyjson_read(json, len, 0);
	yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);
	yyjson_mut_val *w = NULL, *res = NULL;
	int r = -ENOMEM;

	if (mut)
		w = find_workload(yyjson_mut_doc_get_root(mut), name);
	if (w)
		res = get_or_add(mut, w, "resources");
	if (res) {
		put_quantities(mut, res, "requests", &to->requests);
		put_quantities(mut, res, "limits", &to->limits);
		r = json_write_mut(yyjson_mut_doc_get_root(mut), false, out);
	}
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
	return r < 0 ? err_wrap(e, r, "change the manifest") : 0;
}

/* Was the newest wish looked at, and not granted? Under the pod's lock. */
static bool not_granted(const struct pod *pod)
{
	const struct resize_public *p = &pod->resize_public;

	return p->seq == pod->resize_seq && p->done_seq != p->seq &&
	       (p->condition == RESIZE_DEFERRED ||
		p->condition == RESIZE_INFEASIBLE);
}

/* The manifest with what each workload was given, instead of what was wished
 * for it in vain. Under the pod's lock. */
static int take_back(const struct pod *pod, struct buf *json, char *note,
		     struct err *e)
{
	bool infeasible = pod->resize_public.condition == RESIZE_INFEASIBLE;
	int r;

	for (size_t i = pod->nr_init; i < pod->nr_ctrs; i++) {
		auto_buf struct buf next = BUF_INIT;

		r = with_resources(buf_str(json), json->len, pod->ctrs[i].name,
				   &pod->ctrs[i].shown_allocated, &next, e);
		if (r < 0)
			return r;
		buf_reset(json);
		buf_add(json, next.data, next.len);
	}
	snprintf(note, POD_MESSAGE_MAX,
		 "the wish before, which was %s (%.150s), is taken back",
		 infeasible ? "infeasible" : "deferred",
		 pod->resize_public.message);
	return buf_error(json);
}

/* The pod's manifest with @want on top of it. Under the pod's lock. */
static int wish_with(const struct pod *pod, const char *container,
		     const struct resources *want, struct buf *ret, char *note,
		     struct err *e)
{
	auto_buf struct buf base = BUF_INIT;
	struct pod_spec *spec = NULL;
	const struct resources *now;
	struct resources to;
	int r;

	r = buf_add(&base, pod->wish, pod->wish_len);
	if (r == 0 && not_granted(pod))
		r = take_back(pod, &base, note, e);
	if (r == 0)
		r = pod_spec_parse(buf_str(&base), base.len, &spec, e);
	if (r < 0)
		return r;
	now = workload_resources(spec, &container, e);
	if (now) {
		to = merged(now, want);
		r = with_resources(buf_str(&base), base.len, container, &to,
				   ret, e);
	} else {
		r = e && e->code ? e->code : -EINVAL;
	}
	pod_spec_free(spec);
	return r;
}

static int check_want(const struct resources *want, struct err *e)
{
	if (!want->limits.has_cpu && !want->limits.has_mem &&
	    !want->requests.has_cpu && !want->requests.has_mem)
		return err_set(e, -EINVAL,
			       "nothing to change: give --cpu or --memory");
	if ((want->limits.has_cpu && !want->limits.cpu_milli) ||
	    (want->limits.has_mem && !want->limits.mem_bytes))
		return err_set(e, -EINVAL,
			       "a limit of 0 would be no limit at all: give at "
			       "least 1m of CPU, 4Ki of memory");
	return 0;
}

static int wished_spec(struct pod *pod, const char *container,
		       const struct resources *want, struct pod_spec **ret,
		       char *note, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	int r = check_want(want, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&pod->lock);
	r = wish_with(pod, container, want, &b, note, e);
	pthread_mutex_unlock(&pod->lock);
	return r < 0 ? r : pod_spec_parse(buf_str(&b), b.len, ret, e);
}

int pod_wish_now(const struct pod *pod, const char *container,
		 struct resources *ret)
{
	struct pod_spec *spec = NULL;
	const struct resources *now = NULL;
	int r = pod_spec_parse(pod->wish, pod->wish_len, &spec, NULL);

	if (r < 0)
		return r;
	now = workload_resources(spec, &container, NULL);
	if (now)
		*ret = *now;
	pod_spec_free(spec);
	return now ? 0 : -ENOENT;
}

static bool set_holds(const struct quantity_set *q,
		      const struct quantity_set *want)
{
	return (!want->has_cpu ||
		(q->has_cpu && q->cpu_milli == want->cpu_milli)) &&
	       (!want->has_mem ||
		(q->has_mem && q->mem_bytes == want->mem_bytes));
}

bool resources_hold(const struct resources *r, const struct resources *want)
{
	return set_holds(&r->requests, &want->requests) &&
	       set_holds(&r->limits, &want->limits);
}

bool pod_wish_holds(const struct pod *pod, const char *container,
		    const struct resources *want)
{
	struct resources now;

	return pod_wish_now(pod, container, &now) == 0 &&
	       resources_hold(&now, want);
}

int agent_resize(struct agent *a, const char *key, const char *container,
		 const struct resources *want, uint64_t *ret_seq,
		 char note[POD_MESSAGE_MAX], struct err *e)
{
	struct pod *pod = pods_find(a, key);
	struct pod_spec *spec = NULL;
	const char *what;
	int r;

	if (!pod)
		return err_set(e, -ENOENT, "pod %s not found", key);
	r = wished_spec(pod, container, want, &spec, note, e);
	if (r == 0)
		r = pod_update(pod, spec, &what, ret_seq, e);
	if (r < 0)
		pod_spec_free(spec);
	else
		pod_poke(pod);
	pod_unref(pod);
	return r;
}

/* --- the same, for the API server --- */

/* null takes a value away. */
static void put_set(struct json_out *o, const char *key,
		    const struct quantity_set *q)
{
	char text[QUANTITY_TEXT_SIZE];

	json_put_object(o, key);
	if (q->has_cpu)
		json_put_str(o, "cpu", quantity_format_cpu(q->cpu_milli, text));
	else
		json_put_raw(o, "cpu", "null", 4);
	if (q->has_mem)
		json_put_str(o, "memory",
			     quantity_format_mem(q->mem_bytes, text));
	else
		json_put_raw(o, "memory", "null", 4);
	json_put_end(o);
}

static void put_workload(struct json_out *o, const char *key, const char *name,
			 const struct resources *to)
{
	json_put_object(o, key);
	json_put_str(o, "name", name);
	json_put_object(o, "resources");
	put_set(o, "requests", &to->requests);
	put_set(o, "limits", &to->limits);
	json_put_end(o);
	json_put_end(o);
}

/* All of them, also what is not new: the API server may know of another wish,
 * which has not come here yet. */
static void put_patch(struct buf *out, const struct pod_spec *to)
{
	struct json_out o = JSON_OUT(out);

	json_put_object(&o, NULL);
	json_put_object(&o, "spec");
	if (to->vm)
		put_workload(&o, "virtualMachine", to->vm->name,
			     &to->vm->resources);
	else
		json_put_array(&o, "containers");
	for (size_t i = 0; !to->vm && i < to->nr_containers; i++)
		put_workload(&o, NULL, to->containers[i].name,
			     &to->containers[i].resources);
	for (int i = 0; i < (to->vm ? 2 : 3); i++)
		json_put_end(&o);
}

int pod_resize_patch(struct pod *pod, const char *container,
		     const struct resources *want, struct buf *out,
		     char note[POD_MESSAGE_MAX], struct err *e)
{
	struct pod_spec *to = NULL;
	bool equal;
	int r = wished_spec(pod, container, want, &to, note, e);

	if (r < 0)
		return r;
	/* The node has to take it when it comes back. */
	pthread_mutex_lock(&pod->lock);
	r = pod_check_update(pod, pod->wish, pod->wish_len, to, &equal, e);
	pthread_mutex_unlock(&pod->lock);
	if (r == 0) {
		put_patch(out, to);
		r = buf_error(out);
	}
	pod_spec_free(to);
	return r;
}
