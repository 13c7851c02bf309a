// SPDX-License-Identifier: Apache-2.0
/*
 * Pods that nobody else would ever remove: of nodes that are gone, ending
 * without ever having had a node, and too many that are over.
 */
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/controllers.h"
#include "controlplane/controllers/pods.h"
#include "lib/err.h"
#include "lib/str.h"

#define EVERY_MS 20000
#define ALL_KEY  "//all"

/* A node may be back with the same name, and has as long for it as it may be
 * silent. */
static uint64_t quarantine_ms(const struct ctl *c)
{
	return c->node_grace_ms;
}

static int remove_pod(struct ctl *c, const struct informer_object *o,
		      struct err *e)
{
	auto_free char *body = str_printf(
		"{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
		"\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%s\"}}",
		o->uid);
	struct ctl_write w = { .method = "DELETE",
			       .kind = KIND_POD,
			       .tenant = o->tenant,
			       .namespace = o->namespace,
			       .name = o->name,
			       .body = body };
	int r = body ? ctl_write(c, &w, NULL, e)
		     : err_set(e, -ENOMEM, "out of memory");

	return r == -ENOENT || r == -ESTALE ? 0 : r;
}

/* The cache may be behind: the server has the last word. */
static bool node_is_gone(struct ctl *c, const char *name)
{
	struct ctl_write w = { .method = "GET",
			       .kind = KIND_NODE,
			       .name = name };

	return ctl_write(c, &w, NULL, NULL) == -ENOENT;
}

/* Key "//NODE": its pods, if it is really gone. */
static int sync_node(struct ctl *c, const char *name, struct err *e)
{
	auto_list struct informer_list pods = { 0 };
	int r = 0;

	if (informer_list(ctl_informer(c, KIND_POD), INFORMER_BY_NODE, name,
			  &pods) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (!pods.nr || !node_is_gone(c, name))
		return 0;
	for (size_t i = 0; i < pods.nr && r == 0; i++) {
		enum pod_phase phase = pod_facts(pods.v[i])->phase;

		if (phase != POD_SUCCEEDED && phase != POD_FAILED)
			r = pods_disrupted(c, pods.v[i], "DeletionByPodGC",
					   "PodGC: node no longer exists", true,
					   e);
		if (r == 0)
			r = remove_pod(c, pods.v[i], e);
	}
	return r;
}

static int by_age(const void *pa, const void *pb)
{
	const struct pod_facts *a =
		(*(struct informer_object *const *)pa)->facts;
	const struct pod_facts *b =
		(*(struct informer_object *const *)pb)->facts;

	return a->created_s < b->created_s ? -1 : a->created_s > b->created_s;
}

static int sync_all(struct ctl *c, struct err *e)
{
	auto_list struct informer_list pods = { 0 };
	size_t over = 0;
	int r = 0;

	ctl_add_after(c, ALL_KEY, EVERY_MS);
	if (informer_list(ctl_informer(c, KIND_POD), INFORMER_ALL, NULL,
			  &pods) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < pods.nr && r == 0; i++) {
		struct informer_object *o = pods.v[i];
		const struct pod_facts *f = pod_facts(o);
		auto_free char *key = NULL;

		if (f->deleting && !*o->node) {
			r = remove_pod(c, o, e);
			continue;
		}
		if (f->phase == POD_SUCCEEDED || f->phase == POD_FAILED) {
			pods.v[i] = pods.v[over];
			pods.v[over++] = o;
		}
		key = *o->node ? str_printf("//%s", o->node) : NULL;
		if (key) {
			auto_ptr(informer_object) node =
				ctl_get(c, KIND_NODE, key);

			if (!node)
				ctl_add_after(c, key, quarantine_ms(c));
		}
	}
	if (over > c->pods_over_max)
		qsort(pods.v, over, sizeof(*pods.v), by_age);
	for (size_t i = 0; i + c->pods_over_max < over && r == 0; i++)
		r = remove_pod(c, pods.v[i], e);
	return r;
}

static int sync_key(struct ctl *c, const char *key, struct err *e)
{
	return str_eq(key, ALL_KEY) ? sync_all(c, e) : sync_node(c, key + 2, e);
}

static void node_changed(struct ctl *c, const struct informer_event *ev)
{
	if (!ev->now)
		ctl_add_after(c, ev->old->key, quarantine_ms(c));
}

static int begin(struct ctl *c, struct err *e)
{
	int r = ctl_watch(c, KIND_NODE, node_changed, e);

	ctl_add_after(c, ALL_KEY, EVERY_MS);
	return r;
}

const struct controller podgc_controller = { "podgc", begin, sync_key, NULL };
