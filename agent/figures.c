// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/figures.h"
#include "agent/internal.h"
#include "agent/stats.h"
#include "cgroups/cgroup.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/memory.h"
#include "lib/str.h"

#define LOOK_MS 10000

typedef int (*read_fn)(const struct cg *cg, struct stats *ret, struct err *e);

struct figures {
	struct stats_entry *v;
	size_t nr;
	struct pod **pods;
	size_t nr_pods;
	char (*names)[3][256]; /* tenant, namespace, pod */
	char **paths;          /* [nr] of the cgroups, which may go meanwhile */
	struct stats_entry host;
};

/* --- marks --- */

static void mark(struct stats_mark marks[2], const struct cg *cg)
{
	if (cg)
		stats_mark_cg(marks, cg);
}

/* The worker closes cgroups only under the pod's lock: it is held while they
 * are read, here and below. */
void figures_look(struct agent *a)
{
	struct stats host = { .has_cpu = false };
	struct pod **pods;
	size_t nr;

	if (stats_read_host_cpu(&host, NULL) == 0) {
		pthread_mutex_lock(&a->node.lock);
		stats_mark(a->node.cpu_marks, &host);
		pthread_mutex_unlock(&a->node.lock);
	}
	if (pods_all(a, &pods, &nr) == 0) {
		for (size_t i = 0; i < nr; i++) {
			struct pod *pod = pods[i];

			pthread_mutex_lock(&pod->lock);
			mark(pod->cpu_marks, pod->cg);
			for (size_t k = 0; k < pod->nr_ctrs; k++)
				if (pod->ctrs[k].phase == CTR_RUNNING)
					mark(pod->ctrs[k].cpu_marks,
					     pod->ctrs[k].cg);
			pthread_mutex_unlock(&pod->lock);
		}
		pod_list_free(pods, nr);
	}
	(void)memory_give_back(&a->memory);
	(void)wq_add_after(a->queue, FIGURES_KEY, LOOK_MS);
}

/* --- taking them --- */

static void split_key(const char *key, char name[3][256])
{
	const char *ns = strchr(key, '/') + 1;
	const char *pod = strchr(ns, '/') + 1;

	snprintf(name[0], 256, "%.*s", (int)(ns - 1 - key), key);
	snprintf(name[1], 256, "%.*s", (int)(pod - 1 - ns), ns);
	snprintf(name[2], 256, "%s", pod);
}

static void add_figure(struct figures *f, size_t p, const struct ctr *c,
		       read_fn read)
{
	const struct pod *pod = f->pods[p];
	const struct cg *cg = c ? c->cg : pod->cg;
	struct stats_entry *en = &f->v[f->nr];

	if (!cg || read(cg, &en->stats, NULL) < 0)
		return; /* not started, or gone meanwhile */
	en->tenant = f->names[p][0];
	en->namespace = f->names[p][1];
	en->pod = f->names[p][2];
	en->uid = pod->uid;
	en->container = c ? c->name : NULL;
	en->cgroup_path = f->paths[f->nr] = strdup(cg_path(cg));
	if (!en->cgroup_path)
		return;
	en->started_ms = (uint64_t)(c ? c->started_us : pod->created_us) / 1000;
	en->rate = stats_rate(c ? c->cpu_marks : pod->cpu_marks, en->started_ms,
			      &en->stats);
	f->nr++;
}

static int take_host(struct agent *a, struct figures *f)
{
	struct stats_entry *h = &f->host;
	int r = stats_read_host(&h->stats, NULL);

	h->pod = a->opts.node_name;
	h->started_ms = (uint64_t)a->started_us / 1000;
	pthread_mutex_lock(&a->node.lock);
	h->rate = stats_rate(a->node.cpu_marks, 0, &h->stats);
	pthread_mutex_unlock(&a->node.lock);
	return r;
}

static int figures_take(struct agent *a, read_fn read, struct figures *f)
{
	size_t total = 0;

	if (pods_all(a, &f->pods, &f->nr_pods) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < f->nr_pods; i++)
		total += 1 + f->pods[i]->nr_ctrs;
	f->v = calloc(total ? total : 1, sizeof(*f->v));
	f->names = calloc(f->nr_pods ? f->nr_pods : 1, sizeof(*f->names));
	f->paths = calloc(total ? total : 1, sizeof(*f->paths));
	if (!f->v || !f->names || !f->paths)
		return -ENOMEM;
	for (size_t i = 0; i < f->nr_pods; i++) {
		struct pod *pod = f->pods[i];

		split_key(pod->key, f->names[i]);
		pthread_mutex_lock(&pod->lock);
		add_figure(f, i, NULL, read);
		for (size_t k = 0; k < pod->nr_ctrs; k++)
			if (pod->ctrs[k].phase == CTR_RUNNING)
				add_figure(f, i, &pod->ctrs[k], read);
		pthread_mutex_unlock(&pod->lock);
	}
	return take_host(a, f);
}

static void figures_free(struct figures *f)
{
	pod_list_free(f->pods, f->nr_pods);
	for (size_t i = 0; i < f->nr; i++)
		free(f->paths[i]);
	free(f->paths);
	free(f->names);
	free(f->v);
}

/* --- telling them --- */

static int summary(struct agent *a, read_fn read, struct buf *out,
		   struct err *e)
{
	struct figures f = { 0 };
	int r = figures_take(a, read, &f);

	if (r == 0)
		r = stats_summary(&f.host, f.v, f.nr, out);
	figures_free(&f);
	return r < 0 ? err_wrap(e, r, "read figures") : 0;
}

int backend_stats(void *arg, struct buf *out, struct err *e)
{
	return summary(arg, stats_read, out, e);
}

int backend_usage(void *arg, struct buf *out, struct err *e)
{
	return summary(arg, stats_read_usage, out, e);
}

int backend_resource(void *arg, struct buf *out, struct err *e)
{
	struct figures f = { 0 };
	int r = figures_take(arg, stats_read_usage, &f);

	if (r == 0)
		r = stats_resource(&f.host, f.v, f.nr, out);
	figures_free(&f);
	return r < 0 ? err_wrap(e, r, "read figures") : 0;
}

static int cadvisor(struct agent *a, struct buf *out, size_t *ret_nr_pods,
		    struct err *e)
{
	struct figures f = { 0 };
	int r = figures_take(a, stats_read, &f);

	if (r == 0)
		r = stats_prometheus(f.v, f.nr, out);
	*ret_nr_pods = f.nr_pods;
	figures_free(&f);
	return r < 0 ? err_wrap(e, r, "read figures") : 0;
}

int backend_cadvisor(void *arg, struct buf *out, struct err *e)
{
	size_t nr;

	return cadvisor(arg, out, &nr, e);
}

int backend_metrics(void *arg, struct buf *out, struct err *e)
{
	struct agent *a = arg;
	struct wq_stats q;
	size_t nr = 0;
	int r = cadvisor(a, out, &nr, e);

	if (r < 0)
		return r;
	wq_stats(a->queue, &q);
	buf_printf(out,
		   "# TYPE arktos_node_pods gauge\narktos_node_pods %zu\n"
		   "# TYPE arktos_node_reconciles_total counter\n"
		   "arktos_node_reconciles_total %llu\n"
		   "# TYPE arktos_node_queue_depth gauge\n"
		   "arktos_node_queue_depth %zu\n",
		   nr, (unsigned long long)q.works, q.ready);
	return buf_error(out);
}
