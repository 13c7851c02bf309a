// SPDX-License-Identifier: Apache-2.0
/* From a manifest or a resize request to a pod's new specification. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/events.h"
#include "agent/internal.h"
#include "agent/wish.h"
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

int pod_check_update(const struct pod *pod, const char *was, size_t was_len,
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
bool pod_resources_differ(const struct pod_spec *a, const struct pod_spec *b)
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

int pod_update(struct pod *pod, struct pod_spec *spec, const char **ret_what,
	       uint64_t *ret_seq, struct err *e)
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
	r = pod_check_update(pod, pod->wish, pod->wish_len, spec, &equal, e);
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
	note_locked(pod, spec, pod_resources_differ(old, spec));
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
		 const char **ret_what, char **ret_key, struct buf *told,
		 struct err *e)
{
	struct pod_spec *spec;
	struct pod *pod;
	uint64_t seq;
	char *key;
	int r;

	r = pod_spec_read(json, len, !remote, &spec, told, e);
	if (r < 0)
		return r;
	key = str_printf("%s/%s/%s", spec->tenant, spec->namespace, spec->name);
	if (!key) {
		pod_spec_free(spec);
		return err_set(e, -ENOMEM, "out of memory");
	}
	pod = pods_find(a, key);
	if (pod) {
		r = check_origin(pod, spec, remote, e);
		if (r == 0)
			r = pod_update(pod, spec, ret_what, &seq, e);
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
			 const char **ret_what, char **ret_key,
			 struct buf *told, struct err *e)
{
	return apply(a, json, len, false, ret_what, ret_key, told, e);
}

int agent_apply_remote(struct agent *a, const char *json, size_t len,
		       const char **ret_what, char **ret_key, struct err *e)
{
	auto_buf struct buf told = BUF_INIT;

	return apply(a, json, len, true, ret_what, ret_key, &told, e);
}
