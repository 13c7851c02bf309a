// SPDX-License-Identifier: Apache-2.0
/* From a manifest or a resize request to a pod's new specification. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/podfields.h"
#include "lib/quantity.h"
#include "lib/str.h"

static bool given(yyjson_val *v)
{
	return v && !yyjson_is_null(v);
}

struct diff {
	char path[256];
};

static bool differs(yyjson_val *a, yyjson_val *b, struct diff *d, size_t len);

static bool obj_differs(yyjson_val *a, yyjson_val *b, bool both, struct diff *d,
			size_t len)
{
	size_t i, max;
	yyjson_val *key, *val;

	json_obj_foreach (a, i, max, key, val) {
		const char *name = yyjson_get_str(key);
		yyjson_val *other = yyjson_obj_get(b, name);
		int n;

		if (!name || (!both && given(other)))
			continue;
		n = snprintf(d->path + len, sizeof(d->path) - len, ".%.40s",
			     name);
		if (given(val) != given(other))
			return true;
		if (given(val) && differs(val, other, d, len + (size_t)n))
			return true;
	}
	return false;
}

/* With the path of the first difference in @d. */
static bool differs(yyjson_val *a, yyjson_val *b, struct diff *d, size_t len)
{
	size_t nr;

	if (len > sizeof(d->path) - 64)
		return !yyjson_equals(a, b);
	if (yyjson_is_obj(a) && yyjson_is_obj(b)) {
		if (obj_differs(a, b, true, d, len) ||
		    obj_differs(b, a, false, d, len))
			return true;
		d->path[len] = '\0';
		return false;
	}
	if (!yyjson_is_arr(a) || !yyjson_is_arr(b))
		return !yyjson_equals(a, b);
	nr = yyjson_arr_size(a);
	if (nr != yyjson_arr_size(b))
		return true;
	for (size_t i = 0; i < nr; i++) {
		int n = snprintf(d->path + len, sizeof(d->path) - len, "[%zu]",
				 i);

		if (differs(yyjson_arr_get(a, i), yyjson_arr_get(b, i), d,
			    len + (size_t)n))
			return true;
	}
	d->path[len] = '\0';
	return false;
}

/* What of a manifest's spec cannot change. */
static yyjson_doc *fixed_of(yyjson_doc *manifest)
{
	yyjson_mut_doc *doc = yyjson_doc_mut_copy(manifest, NULL);
	yyjson_mut_val *spec =
		yyjson_mut_obj_get(yyjson_mut_doc_get_root(doc), "spec");
	yyjson_doc *ret;

	podfields_strip(spec);
	ret = yyjson_mut_val_imut_copy(spec, NULL);
	yyjson_mut_doc_free(doc);
	return ret;
}

static int check_update(const struct pod *pod, const char *was, size_t was_len,
			const struct pod_spec *spec, bool *ret_equal,
			struct err *e)
{
	yyjson_doc *a = yyjson_read(was, was_len, 0);
	yyjson_doc *b = yyjson_read(spec->json, spec->json_len, 0);
	yyjson_val *ra = yyjson_doc_get_root(a), *rb = yyjson_doc_get_root(b);
	yyjson_doc *fa = fixed_of(a), *fb = fixed_of(b);
	struct diff d = { "spec" };
	int r = 0;

	if (!fa || !fb)
		r = err_set(e, -ENOMEM, "out of memory");
	else if (differs(yyjson_doc_get_root(fa), yyjson_doc_get_root(fb), &d,
			 4))
		r = err_set(e, -EINVAL,
			    "pod %s: %s cannot be changed while the pod lives; "
			    "delete the pod and apply again",
			    pod->key, d.path);
	else if (pod_spec_qos(spec) != pod->qos)
		r = err_set(e, -EINVAL,
			    "pod %s: Pod QoS is immutable: %s would become %s: "
			    "choose requests and limits that keep it, or "
			    "delete the pod and apply again",
			    pod->key, qos_name(pod->qos),
			    qos_name(pod_spec_qos(spec)));
	else
		*ret_equal = yyjson_equals(yyjson_obj_get(ra, "spec"),
					   yyjson_obj_get(rb, "spec")) &&
			     yyjson_equals(yyjson_obj_get(ra, "metadata"),
					   yyjson_obj_get(rb, "metadata"));
	yyjson_doc_free(fa);
	yyjson_doc_free(fb);
	yyjson_doc_free(a);
	yyjson_doc_free(b);
	return r;
}

/* Pods whose resources differ from what was wished before are to be resized. */
static bool resources_differ(const struct pod_spec *a, const struct pod_spec *b)
{
	if (a->vm)
		return memcmp(&a->vm->resources, &b->vm->resources,
			      sizeof(a->vm->resources)) != 0;
	for (size_t i = 0; i < a->nr_containers; i++)
		if (memcmp(&a->containers[i].resources,
			   &b->containers[i].resources,
			   sizeof(struct resources)) != 0)
			return true;
	return false;
}

/* Leave the new spec in the inbox; @spec is taken. Under the pod's lock. */
static void note_locked(struct pod *pod, struct pod_spec *spec, bool resized)
{
	struct pod_inbox *in = &pod->inbox;

	pod_spec_free(in->spec);
	in->spec = spec;
	in->wish_seq = pod->wish_seq;
	if (resized) {
		in->resized = true;
		in->resize_seq = ++pod->resize_seq;
		in->resize_began_ms = ev_clock_ms();
	}
}

/* What is wished for now: the newest note, or else the spec as the worker last
 * published it. Under the pod's lock. */
static int remember_locked(struct pod *pod, const struct pod_spec *spec)
{
	char *copy = malloc(spec->json_len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, spec->json, spec->json_len + 1);
	free(pod->wish);
	pod->wish = copy;
	pod->wish_len = spec->json_len;
	pod->wish_seq++;
	return 0;
}

int pod_remember_wish(struct pod *pod)
{
	int r = remember_locked(pod, pod->spec);

	pod->taken_seq = pod->wish_seq;
	return r;
}

static int update_existing(struct pod *pod, struct pod_spec *spec,
			   const char **ret_what, uint64_t *ret_seq,
			   struct err *e)
{
	struct pod_spec *old = NULL;
	bool equal = false;
	int r;

	pthread_mutex_lock(&pod->lock);
	if (pod->inbox.remove ||
	    __atomic_load_n(&pod->deleting, __ATOMIC_ACQUIRE)) {
		r = err_set(e, -EBUSY,
			    "pod %s is being deleted; wait until it is gone",
			    pod->key);
		goto out;
	}
	r = check_update(pod, pod->wish, pod->wish_len, spec, &equal, e);
	if (r < 0)
		goto out;
	*ret_seq = pod->resize_seq;
	if (equal) {
		*ret_what = "unchanged";
		pod_spec_free(spec);
		goto out;
	}
	r = pod_spec_parse(pod->wish, pod->wish_len, &old, e);
	if (r == 0)
		r = remember_locked(pod, spec);
	if (r < 0)
		goto out;
	note_locked(pod, spec, resources_differ(old, spec));
	*ret_seq = pod->resize_seq;
	*ret_what = "configured";
out:
	pthread_mutex_unlock(&pod->lock);
	pod_spec_free(old);
	return r;
}

/* Takes @spec in any case. */
static int create(struct agent *a, struct pod_spec *spec, bool remote,
		  struct err *e)
{
	struct pod *pod;
	int r;

	r = atomic_load(&a->stopping)
		    ? err_set(e, -EAGAIN, "the agent is stopping")
		    : pod_new(a, spec, &pod, e);
	if (r < 0) {
		pod_spec_free(spec);
		return r;
	}
	/* The spec is the pod's from here on. */
	pod->adopt_tried = true; /* nothing of it can be there */
	pod->remote = remote;
	r = pod_remember_wish(pod) < 0 ? err_set(e, -ENOMEM, "no memory")
				       : pods_add(a, pod, e);
	if (r == 0) {
		pod_publish(pod);
		pod_poke(pod);
	}
	pod_unref(pod);
	return r < 0 ? (r == -EEXIST ? -EAGAIN : r) : 1;
}

/* A pod changes through where it came from. */
static int check_origin(const struct pod *pod, const struct pod_spec *spec,
			bool remote, struct err *e)
{
	if (remote && (!pod->remote || !str_eq(spec->uid, pod->uid)))
		return err_set(e, -EAGAIN, "pod %s: another one has its name",
			       pod->key);
	if (!remote && pod->remote)
		return err_set(e, -EBUSY,
			       "pod %s belongs to the API server; change it "
			       "there, with kubectl",
			       pod->key);
	return 0;
}

static int apply(struct agent *a, const char *json, size_t len, bool remote,
		 const char **ret_what, char **ret_key, struct err *e)
{
	struct pod_spec *spec;
	struct pod *pod;
	uint64_t seq;
	char *key;
	int r;

	r = pod_spec_parse(json, len, &spec, e);
	if (r < 0)
		return r;
	if (spec->needs_api && !remote) {
		pod_spec_free(spec);
		return err_set(e, -EINVAL,
			       "configMap, secret, downwardAPI and projected "
			       "volumes, and env from ConfigMaps and Secrets, "
			       "are for pods of the API server; create it "
			       "there, with kubectl");
	}
	key = str_printf("%s/%s/%s", spec->tenant, spec->namespace, spec->name);
	if (!key) {
		pod_spec_free(spec);
		return err_set(e, -ENOMEM, "out of memory");
	}
	pod = pods_find(a, key);
	if (pod) {
		r = check_origin(pod, spec, remote, e);
		if (r == 0)
			r = update_existing(pod, spec, ret_what, &seq, e);
		if (r < 0)
			pod_spec_free(spec);
		else
			pod_poke(pod);
		pod_unref(pod);
	} else {
		r = create(a, spec, remote, e);
		if (r == 1) {
			*ret_what = "created";
			r = 0;
		}
	}
	if (r < 0) {
		free(key);
		return r;
	}
	*ret_key = key;
	return 0;
}

int agent_apply_manifest(struct agent *a, const char *json, size_t len,
			 const char **ret_what, char **ret_key, struct err *e)
{
	return apply(a, json, len, false, ret_what, ret_key, e);
}

int agent_apply_remote(struct agent *a, const char *json, size_t len,
		       const char **ret_what, char **ret_key, struct err *e)
{
	return apply(a, json, len, true, ret_what, ret_key, e);
}

/* --- resize
 * ------------------------------------------------------------------------ */

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

static void put_set(struct json_out *o, const char *key,
		    const struct quantity_set *q)
{
	char text[QUANTITY_TEXT_SIZE];

	json_put_object(o, key);
	if (q->has_cpu)
		json_put_str(o, "cpu", quantity_format_cpu(q->cpu_milli, text));
	if (q->has_mem)
		json_put_str(o, "memory",
			     quantity_format_mem(q->mem_bytes, text));
	json_put_end(o);
}

int pod_resize_patch(struct pod *pod, const char *container,
		     const struct resources *want, struct buf *out,
		     bool *ret_same, struct err *e)
{
	struct json_out o = JSON_OUT(out);
	struct pod_spec *spec = NULL;
	const struct resources *now;
	struct resources to;
	int r;

	pthread_mutex_lock(&pod->lock);
	r = pod_spec_parse(pod->wish, pod->wish_len, &spec, e);
	pthread_mutex_unlock(&pod->lock);
	now = r == 0 ? workload_resources(spec, &container, e) : NULL;
	if (!now) {
		pod_spec_free(spec);
		return r < 0 ? r : e && e->code ? e->code : -EINVAL;
	}
	to = merged(now, want);
	*ret_same = memcmp(&to, now, sizeof(to)) == 0;
	json_put_object(&o, NULL);
	json_put_object(&o, "spec");
	if (!spec->vm)
		json_put_array(&o, "containers");
	json_put_object(&o, spec->vm ? "virtualMachine" : NULL);
	json_put_str(&o, "name", container);
	json_put_object(&o, "resources");
	put_set(&o, "requests", &to.requests);
	put_set(&o, "limits", &to.limits);
	for (int i = 0; i < (spec->vm ? 4 : 5); i++)
		json_put_end(&o);
	pod_spec_free(spec);
	return buf_error(out);
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

static int resize_pod(struct pod *pod, const char *container,
		      const struct resources *want, uint64_t *ret_seq,
		      char *note, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct pod_spec *spec = NULL;
	const char *what;
	int r;

	pthread_mutex_lock(&pod->lock);
	r = wish_with(pod, container, want, &b, note, e);
	pthread_mutex_unlock(&pod->lock);
	if (r == 0)
		r = pod_spec_parse(buf_str(&b), b.len, &spec, e);
	if (r < 0)
		return r;
	r = update_existing(pod, spec, &what, ret_seq, e);
	if (r < 0)
		pod_spec_free(spec);
	return r;
}

int agent_resize(struct agent *a, const char *key, const char *container,
		 const struct resources *want, uint64_t *ret_seq,
		 char note[POD_MESSAGE_MAX], struct err *e)
{
	struct pod *pod = pods_find(a, key);
	int r;

	if (!pod)
		return err_set(e, -ENOENT, "pod %s not found", key);
	if (!want->limits.has_cpu && !want->limits.has_mem &&
	    !want->requests.has_cpu && !want->requests.has_mem)
		r = err_set(e, -EINVAL,
			    "nothing to change: give --cpu or --memory");
	else if ((want->limits.has_cpu && !want->limits.cpu_milli) ||
		 (want->limits.has_mem && !want->limits.mem_bytes))
		r = err_set(e, -EINVAL,
			    "a limit of 0 would be no limit at all: give at "
			    "least 1m of CPU, 4Ki of memory");
	else
		r = resize_pod(pod, container, want, ret_seq, note, e);
	if (r == 0)
		pod_poke(pod);
	pod_unref(pod);
	return r;
}
