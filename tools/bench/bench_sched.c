// SPDX-License-Identifier: Apache-2.0
/*
 * LANE: native
 * The scheduler's core over 5,000 simulated nodes (decisions a second, a full
 * scan each), and the control plane as a user meets it: a Deployment from 0 to
 * 2,000 pods, durable, until the last one is on a watch.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/client/client.h"
#include "controlplane/client/informer.h"
#include "controlplane/roles.h"
#include "controlplane/scheduler/core.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define NODES  5000
#define PODS   50000
#define OWNERS 50

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The machine may be shared: time on the processor, too. */
static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the core --- */

static void add_nodes(struct core *c)
{
	for (int i = 0; i < NODES; i++) {
		auto_free char *name = str_printf("node-%d", i);
		auto_free char *text = str_printf(
			"{\"metadata\":{\"name\":\"%s\",\"labels\":{"
			"\"kubernetes.io/hostname\":\"%s\","
			"\"topology.kubernetes.io/zone\":\"z%d\"}},\"status\":{"
			"\"allocatable\":{\"cpu\":\"32\",\"memory\":\"128Gi\","
			"\"pods\":\"110\",\"ephemeral-storage\":\"100Gi\"},"
			"\"conditions\":[{\"type\":\"ContainerRuntimeReady\","
			"\"status\":\"True\"}]}}",
			name, name, i % 3);

		core_node(c, name, yyjson_read(text, strlen(text), 0));
	}
}

static void add_pod(struct core *c, int i)
{
	auto_free char *key = str_printf("t/n/pod-%d", i);
	auto_free char *text = str_printf(
		"{\"metadata\":{\"name\":\"pod-%d\",\"uid\":\"u%d\",\"tenant\":"
		"\"t\",\"namespace\":\"n\",\"ownerReferences\":[{\"controller\""
		":true,\"uid\":\"rs-%d\"}]},\"spec\":{\"schedulerName\":"
		"\"default-scheduler\",\"containers\":[{\"name\":\"c\","
		"\"resources\":{\"requests\":{\"cpu\":\"%dm\",\"memory\":"
		"\"256Mi\"}}}]}}",
		i, i, i % OWNERS, 100 + i % OWNERS);
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);

	core_pod(c, key, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

static void bench_core(void)
{
	struct core *c = core_new("default-scheduler");
	struct core_decision d;
	double t0 = now_s(), t1, t2, t3, cpu;
	int placed = 0;

	add_nodes(c);
	t1 = now_s();
	for (int i = 0; i < PODS; i++)
		add_pod(c, i);
	t2 = now_s();
	cpu = cpu_s();
	while (core_next(c, 0, &d))
		placed += d.node != NULL;
	t3 = now_s();
	cpu = cpu_s() - cpu;
	printf("sched_node_add %.1f us\n", (t1 - t0) * 1e6 / NODES);
	printf("sched_pod_add %.1f us\n", (t2 - t1) * 1e6 / PODS);
	printf("sched_decisions_5000_nodes %.0f 1/s\n", PODS / (t3 - t2));
	printf("sched_decisions_5000_nodes_per_cpu_second %.0f 1/s\n",
	       PODS / cpu);
	printf("sched_placed %d of_%d\n", placed, PODS);
	core_free(c);
}

/* --- a deployment --- */

struct count {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int want, have;
};

static void pod_seen(void *arg, const struct informer_event *ev)
{
	struct count *n = arg;

	if (ev->old || !ev->now)
		return;
	pthread_mutex_lock(&n->lock);
	if (++n->have >= n->want)
		pthread_cond_signal(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

static void wait_for(struct count *n)
{
	pthread_mutex_lock(&n->lock);
	while (n->have < n->want)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
}

static double deploy(struct client *c, struct count *n, int i, int replicas)
{
	auto_free char *body = str_printf(
		"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\","
		"\"metadata\":{\"name\":\"d%d\"},\"spec\":{\"replicas\":%d,"
		"\"selector\":{\"matchLabels\":{\"app\":\"d%d\"}},\"template\":"
		"{\"metadata\":{\"labels\":{\"app\":\"d%d\"}},\"spec\":{"
		"\"containers\":[{\"name\":\"c\",\"image\":\"nginx\"}]}}}}",
		i, replicas, i, i);
	struct client_call call = {
		.method = "POST",
		.path = "/apis/apps/v1/namespaces/default/deployments",
		.body = body
	};
	double t0 = now_s();

	pthread_mutex_lock(&n->lock);
	n->want = n->have + replicas;
	pthread_mutex_unlock(&n->lock);
	if (client_do(c, &call) != 201)
		printf("# %s\n", buf_str(&call.answer));
	client_call_clear(&call);
	wait_for(n);
	return now_s() - t0;
}

static int bench_deployment(const char *dir, struct err *e)
{
	struct api_opts ao = { .data_dir = dir, .listen = "127.0.0.1:0" };
	auto_free char *config = str_printf("%s/admin.kubeconfig", dir);
	struct client_opts co = { .kubeconfig = config };
	struct informer_opts io = { .path = "/api/v1/tenants/all/pods",
				    .drop_data = true };
	struct roles_opts ro = { .roles = ROLE_CONTROLLERS,
				 .kubeconfig = config };
	struct count n = { .lock = PTHREAD_MUTEX_INITIALIZER,
			   .cond = PTHREAD_COND_INITIALIZER };
	struct roles *roles = NULL;
	struct informer *pods = NULL;
	struct client *c = NULL;
	struct api *api = NULL;
	int r = api_start(&ao, &api, e);

	if (r == 0)
		r = roles_start(&ro, &roles, e);
	if (r == 0)
		r = client_open(&co, &c, e);
	if (r == 0)
		r = informer_new(c, &io, &pods, e);
	if (r < 0)
		return r;
	informer_subscribe(pods, pod_seen, &n);
	informer_start(pods);
	informer_wait(pods, 10000);
	deploy(c, &n, 0, 10); /* all caches are there */
	for (int i = 1; i <= 3; i++)
		printf("deployment_2000_pods_%d %.3f s\n", i,
		       deploy(c, &n, i, 2000));
	informer_free(pods);
	client_close(c);
	roles_stop(roles);
	api_stop(api);
	return 0;
}

int main(void)
{
	char dir[] = "/tmp/arktos-bench.XXXXXX";
	struct err e = { 0 };
	int r;

	bench_core();
	if (!mkdtemp(dir))
		return 1;
	r = bench_deployment(dir, &e);
	if (r < 0)
		printf("# %s\n", e.msg);
	(void)fs_remove_tree(AT_FDCWD, dir, NULL);
	return r < 0;
}
