// SPDX-License-Identifier: Apache-2.0
/* The filters and preferences that look at a node's shape: labels, taints,
 * conditions. Worked out for a class and a node whenever the node changes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/client/nodematch.h"
#include "controlplane/client/object.h"
#include "controlplane/scheduler/class.h"
#include "lib/buf.h"
#include "lib/str.h"

/* The first taint that keeps the pod away; @soft: counts PreferNoSchedule. */
static yyjson_val *bad_taint(const struct sclass *k, yyjson_val *node,
			     unsigned *soft)
{
	yyjson_val *t, *found = NULL;
	size_t i, max;

	yyjson_arr_foreach(obj_at(node, "spec.taints"), i, max, t)
	{
		const char *effect = obj_str(t, "effect");

		if (taint_tolerated(k->tolerations, obj_str(t, "key"),
				    obj_str(t, "value"), effect))
			continue;
		if (str_eq(effect, "PreferNoSchedule"))
			(*soft)++;
		else if (!found)
			found = t;
	}
	return found;
}

/* As daemons have it: {operator: Exists, effect: NoSchedule}. */
static bool is_blind(yyjson_val *tolerations)
{
	yyjson_val *t;
	size_t i, max;

	yyjson_arr_foreach(tolerations, i, max,
			   t) if (!*obj_str(t, "key") &&
				  str_eq(obj_str(t, "operator"), "Exists") &&
				  str_eq(obj_str(t, "effect"),
					 "NoSchedule")) return true;
	return false;
}

struct sclass *class_new(const char *signature, size_t len,
			 const struct ask *ask)
{
	struct sclass *k = calloc(1, sizeof(*k));
	yyjson_val *root;

	if (!k)
		return NULL;
	k->ask = *ask;
	k->key = strndup(signature, len);
	k->doc = yyjson_read(signature, len, 0);
	if (!k->key || !k->doc) {
		class_free(k);
		return NULL;
	}
	root = yyjson_doc_get_root(k->doc);
	k->selector = yyjson_obj_get(root, "nodeSelector");
	k->affinity = yyjson_obj_get(root, "affinity");
	k->tolerations = yyjson_obj_get(root, "tolerations");
	k->is_vm = obj_bool(root, "vm", false);
	k->blind = is_blind(k->tolerations);
	return k;
}

static bool runtime_ready(const struct sclass *k, yyjson_val *node)
{
	const char *vm = obj_condition(node, "VmRuntimeReady");
	const char *ct = obj_condition(node, "ContainerRuntimeReady");

	/* Only VMs need a node to say so: other agents know no such thing. */
	return k->blind ||
	       (k->is_vm ? str_eq(vm, "True") : !*ct || str_eq(ct, "True"));
}

static enum reason judge(const struct sclass *k, yyjson_val *node,
			 unsigned *soft)
{
	if (obj_bool(node, "spec.unschedulable", false) &&
	    !taint_tolerated(k->tolerations, "node.kubernetes.io/unschedulable",
			     "", "NoSchedule"))
		return REASON_UNSCHEDULABLE;
	if (bad_taint(k, node, soft))
		return REASON_TAINT;
	if (!node_selected(k->selector, k->affinity, node))
		return REASON_AFFINITY;
	if (!runtime_ready(k, node))
		return REASON_RUNTIME;
	return REASON_NONE;
}

static float preference(const struct sclass *k, yyjson_val *node)
{
	yyjson_val *list = obj_at(
		k->affinity,
		"nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
	int64_t sum = 0, all = 0;
	yyjson_val *p;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, p)
	{
		int64_t weight = obj_int(p, "weight", 0);

		all += weight;
		if (node_term_matches(yyjson_obj_get(p, "preference"), node))
			sum += weight;
	}
	return all ? 200.0f * (float)sum / (float)all : 0;
}

static int grow_rows(struct sclass *k, size_t room)
{
	uint8_t *v = realloc(k->verdict, room * sizeof(*v));
	float *b = v ? realloc(k->bonus, room * sizeof(*b)) : NULL;
	float *s = b ? realloc(k->same, room * sizeof(*s)) : NULL;
	float *x;

	if (v)
		k->verdict = v;
	if (b)
		k->bonus = b;
	if (s)
		k->same = s;
	x = s ? realloc(k->scores, room * sizeof(*x)) : NULL;
	if (x)
		k->scores = x;
	return x ? 0 : -ENOMEM;
}

int class_fit_rows(struct sclass *k, const struct columns *c)
{
	size_t from = k->room;
	int r = 0;

	if (k->room >= c->nr)
		return 0;
	if (grow_rows(k, c->room) < 0)
		return -ENOMEM;
	k->room = c->nr;
	for (size_t i = from; i < c->nr && r == 0; i++) {
		k->same[i] = 0;
		r = class_look(k, c, (uint32_t)i);
	}
	return r;
}

int class_look(struct sclass *k, const struct columns *c, uint32_t row)
{
	yyjson_val *node = yyjson_doc_get_root(c->info[row].doc);
	unsigned soft = 0;

	if (row >= k->room)
		return class_fit_rows(k, c);
	k->verdict[row] = (uint8_t)judge(k, node, &soft);
	k->bonus[row] = preference(k, node) +
			(soft ? 300.0f / (float)(soft + 1) : 300.0f);
	if (k->verdict[row] || !c->live[row])
		k->bonus[row] = CLASS_NEVER;
	return 0;
}

/* --- telling --- */

static const char *const texts[REASON_NR] = {
	[REASON_UNSCHEDULABLE] = "node(s) were unschedulable",
	[REASON_AFFINITY] = "node(s) didn't match Pod's node affinity/selector",
	[REASON_RUNTIME] = "node(s) runtime is not ready",
	[REASON_PORTS] =
		"node(s) didn't have free ports for the requested pod ports",
	[REASON_PODS] = "Too many pods",
	[REASON_CPU] = "Insufficient cpu",
	[REASON_MEMORY] = "Insufficient memory",
	[REASON_EPHEMERAL] = "Insufficient ephemeral-storage",
};

#define TEXT_MAX 32 /* different reasons told */

struct tally {
	char text[TEXT_MAX][192];
	unsigned count[TEXT_MAX];
	unsigned nr, reasons;
};

static void tell(struct tally *t, enum reason why, const char *text)
{
	unsigned i = 0;

	t->reasons |= 1u << why;
	while (i < t->nr && strcmp(t->text[i], text) != 0)
		i++;
	if (i == TEXT_MAX)
		return;
	if (i == t->nr) {
		snprintf(t->text[i], sizeof(t->text[i]), "%s", text);
		t->nr++;
	}
	t->count[i]++;
}

static void tell_ext(struct tally *t, const struct sclass *k,
		     const struct columns *c, uint32_t row)
{
	yyjson_val *names = obj_at(yyjson_doc_get_root(k->doc), "ext"), *v;
	char text[192];
	size_t i, max;

	yyjson_arr_foreach(names, i, max, v)
	{
		const char *name = yyjson_get_str(v);

		for (unsigned e = 0; e < k->ask.nr_ext; e++)
			if (k->ask.ext[e].name == ask_ext_name(name) &&
			    columns_ext_free(c, row, k->ask.ext[e].name) <
				    k->ask.ext[e].amount) {
				snprintf(text, sizeof(text),
					 "Insufficient %.160s", name);
				tell(t, REASON_EXT, text);
			}
	}
}

static void tell_room(struct tally *t, const struct sclass *k,
		      const struct columns *c, uint32_t i)
{
	if (!columns_port_free(c, i, &k->ask)) {
		tell(t, REASON_PORTS, texts[REASON_PORTS]);
		return;
	}
	if (c->pods[i] < 1)
		tell(t, REASON_PODS, texts[REASON_PODS]);
	if (k->ask.cpu_milli && c->cpu[i] < milli_of(k->ask.cpu_milli))
		tell(t, REASON_CPU, texts[REASON_CPU]);
	if (k->ask.mem_bytes && c->mem[i] < units_up(k->ask.mem_bytes))
		tell(t, REASON_MEMORY, texts[REASON_MEMORY]);
	if (k->ask.eph_bytes && c->eph[i] < units_up(k->ask.eph_bytes))
		tell(t, REASON_EPHEMERAL, texts[REASON_EPHEMERAL]);
	tell_ext(t, k, c, i);
}

static void tell_taint(struct tally *t, const struct sclass *k,
		       yyjson_val *node)
{
	unsigned soft = 0;
	yyjson_val *taint = bad_taint(k, node, &soft);
	char text[192];

	snprintf(text, sizeof(text),
		 "node(s) had untolerated taint {%.80s: %.60s}",
		 obj_str(taint, "key"), obj_str(taint, "value"));
	tell(t, REASON_TAINT, text);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

void class_explain(const struct sclass *k, const struct columns *c,
		   struct buf *b, unsigned *ret_reasons)
{
	struct tally *t = calloc(1, sizeof(*t));
	char lines[TEXT_MAX][208];

	*ret_reasons = ~0u;
	if (!t || !c->nr_live) {
		buf_puts(b, "no nodes available to schedule pods");
		free(t);
		return;
	}
	for (uint32_t i = 0; i < c->nr && i < k->room; i++) {
		if (!c->live[i])
			continue;
		if (k->verdict[i] == REASON_TAINT)
			tell_taint(t, k, yyjson_doc_get_root(c->info[i].doc));
		else if (k->verdict[i])
			tell(t, k->verdict[i], texts[k->verdict[i]]);
		else
			tell_room(t, k, c, i);
	}
	for (unsigned i = 0; i < t->nr; i++)
		snprintf(lines[i], sizeof(lines[i]), "%u %s", t->count[i],
			 t->text[i]);
	qsort(lines, t->nr, sizeof(lines[0]), by_text);
	buf_printf(b, "0/%zu nodes are available: ", c->nr_live);
	for (unsigned i = 0; i < t->nr; i++)
		buf_printf(b, "%s%s", i ? ", " : "", lines[i]);
	buf_putc(b, '.');
	*ret_reasons = t->reasons;
	free(t);
}
