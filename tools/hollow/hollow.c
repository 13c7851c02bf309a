// SPDX-License-Identifier: Apache-2.0
#include "tools/hollow/hollow.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/client/client.h"
#include "controlplane/client/object.h"
#include "controlplane/client/shared.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lib/wq.h"

#define BATCH         256
#define STATUS_ROUNDS 6 /* renewals of leases to one of statuses */
#define EXIT_KILLED   137

struct hollow {
	struct hollow_opts opts;
	struct client *client;
	struct informer *pods;
	struct wq *queue;
	pthread_t leases;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stopping, renewing;
	unsigned address;
};

/* --- nodes --- */

static void put_condition(struct json_out *o, const char *type,
			  const char *status, const char *reason,
			  const char *now)
{
	json_put_object(o, NULL);
	json_put_str(o, "type", type);
	json_put_str(o, "status", status);
	json_put_str(o, "reason", reason);
	json_put_str(o, "message", "simulated by arktos-hollow");
	json_put_str(o, "lastHeartbeatTime", now);
	json_put_str(o, "lastTransitionTime", now);
	json_put_end(o);
}

static void put_resources(struct json_out *o, const char *name,
			  const struct hollow_opts *opts)
{
	json_put_object(o, name);
	json_put_str(o, "cpu", opts->cpu);
	json_put_str(o, "memory", opts->memory);
	json_put_str(o, "ephemeral-storage", "100Gi");
	json_put_fmt(o, "pods", "%u", opts->pods);
	json_put_end(o);
}

static void put_node_status(struct hollow *h, unsigned i, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];

	time_format(time_now(), now);
	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	put_resources(&o, "capacity", &h->opts);
	put_resources(&o, "allocatable", &h->opts);
	json_put_array(&o, "conditions");
	put_condition(&o, "MemoryPressure", "False",
		      "KubeletHasSufficientMemory", now);
	put_condition(&o, "DiskPressure", "False", "KubeletHasNoDiskPressure",
		      now);
	put_condition(&o, "PIDPressure", "False", "KubeletHasSufficientPID",
		      now);
	put_condition(&o, "ContainerRuntimeReady", "True", "Simulated", now);
	put_condition(&o, "VmRuntimeReady", "True", "Simulated", now);
	put_condition(&o, "Ready", "True", "KubeletReady", now);
	json_put_end(&o);
	json_put_array(&o, "addresses");
	json_put_object(&o, NULL);
	json_put_str(&o, "type", "InternalIP");
	json_put_fmt(&o, "address", "100.%u.%u.%u", 64 + (i >> 16),
		     i >> 8 & 255, i & 255);
	json_put_end(&o);
	json_put_end(&o);
	json_put_object(&o, "nodeInfo");
	json_put_str(&o, "machineID", "simulated");
	json_put_str(&o, "systemUUID", "simulated");
	json_put_str(&o, "bootID", "simulated");
	json_put_str(&o, "kubeProxyVersion", "simulated");
	json_put_str(&o, "kubeletVersion", "v1.32.0-hollow");
	json_put_str(&o, "osImage", "simulated");
	json_put_str(&o, "kernelVersion", "simulated");
	json_put_str(&o, "containerRuntimeVersion", "hollow://1");
	json_put_str(&o, "operatingSystem", "linux");
	json_put_str(&o, "architecture", "amd64");
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
}

static void put_node(struct hollow *h, unsigned i, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	int zones = 1;

	if (h->opts.zones && str_to_int(h->opts.zones, &zones) < 0)
		zones = 1;
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Node");
	json_put_object(&o, "metadata");
	json_put_fmt(&o, "name", "%s%u", h->opts.prefix, i);
	json_put_object(&o, "labels");
	json_put_str(&o, HOLLOW_LABEL, "true");
	json_put_fmt(&o, "kubernetes.io/hostname", "%s%u", h->opts.prefix, i);
	json_put_str(&o, "kubernetes.io/os", "linux");
	json_put_str(&o, "kubernetes.io/arch", "amd64");
	json_put_fmt(&o, "topology.kubernetes.io/zone", "zone%u",
		     i % (unsigned)(zones > 0 ? zones : 1));
	json_put_end(&o);
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_end(&o);
	json_put_end(&o);
}

static void put_lease(struct hollow *h, unsigned i, struct buf *b)
{
	char now[OBJ_TIME_SIZE];

	buf_printf(b,
		   "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":"
		   "\"Lease\",\"metadata\":{\"name\":\"%s%u\",\"namespace\":"
		   "\"kube-node-lease\"},\"spec\":{\"holderIdentity\":"
		   "\"%s%u\",\"leaseDurationSeconds\":40,\"renewTime\":"
		   "\"%s\"}}",
		   h->opts.prefix, i, h->opts.prefix, i,
		   time_format_us(time_now_us(), now));
}

static void put_renewal(struct hollow *h, unsigned i, struct buf *b)
{
	char now[OBJ_TIME_SIZE];

	(void)h, (void)i;
	buf_printf(b, "{\"spec\":{\"renewTime\":\"%s\"}}",
		   time_format_us(time_now_us(), now));
}

struct round {
	const char *method;
	enum kind kind;
	const char *namespace, *sub;
	bool named;
	void (*put)(struct hollow *h, unsigned i, struct buf *b);
};

/* The same request for each node; what exists already is fine. */
static int for_nodes(struct hollow *h, const struct round *r, struct err *e)
{
	struct client_call calls[BATCH];
	struct buf *bufs = calloc(BATCH * 2, sizeof(*bufs));
	int res = bufs ? 0 : err_set(e, -ENOMEM, "out of memory");

	for (unsigned at = 0; at < h->opts.nodes && res == 0; at += BATCH) {
		unsigned n = h->opts.nodes - at;

		n = n < BATCH ? n : BATCH;
		memset(calls, 0, sizeof(calls));
		for (unsigned i = 0; i < n; i++) {
			struct buf *path = &bufs[i * 2], *body = path + 1;
			char name[128];

			buf_reset(path);
			buf_reset(body);
			snprintf(name, sizeof(name), "%s%u", h->opts.prefix,
				 at + i);
			kind_path(r->kind, "system", r->namespace,
				  r->named ? name : NULL, r->sub, path);
			r->put(h, at + i, body);
			calls[i].method = r->method;
			calls[i].path = buf_str(path);
			calls[i].body = buf_str(body);
			if (r->named)
				calls[i].type = "application/merge-patch+json";
		}
		client_do_all(h->client, calls, n);
		for (unsigned i = 0; i < n; i++) {
			struct err one = { 0 };
			int c = client_check(&calls[i], &one);

			if (c < 0 && c != -EEXIST && res == 0)
				res = err_set(e, c, "%s: %s", calls[i].path,
					      one.msg);
			client_call_clear(&calls[i]);
		}
	}
	for (unsigned i = 0; bufs && i < BATCH * 2; i++)
		buf_clear(&bufs[i]);
	free(bufs);
	return res;
}

static int make_nodes(struct hollow *h, struct err *e)
{
	static const struct round nodes = { "POST", KIND_NODE, NULL,
					    NULL,   false,     put_node };
	static const struct round status = { "PATCH", KIND_NODE,
					     NULL,    "status",
					     true,    put_node_status };
	static const struct round leases = {
		"POST", KIND_LEASE, "kube-node-lease", NULL, false, put_lease
	};
	int r = for_nodes(h, &nodes, e);

	if (r == 0)
		r = for_nodes(h, &leases, e);
	return r < 0 ? r : for_nodes(h, &status, e);
}

static void *renew(void *arg)
{
	static const struct round round = {
		"PATCH", KIND_LEASE, "kube-node-lease", NULL, true, put_renewal
	};
	static const struct round status = { "PATCH", KIND_NODE,
					     NULL,    "status",
					     true,    put_node_status };
	struct hollow *h = arg;
	unsigned rounds = 0;

	pthread_mutex_lock(&h->lock);
	while (!h->stopping) {
		struct timespec until;
		struct err e = { 0 };

		pthread_mutex_unlock(&h->lock);
		/* Whoever took us for lost learns that we are not. */
		if (++rounds % STATUS_ROUNDS == 0 &&
		    for_nodes(h, &status, &e) < 0)
			log_warn("nodes: %s, retrying", e.msg);
		if (for_nodes(h, &round, &e) < 0)
			log_warn("leases: %s, retrying", e.msg);
		pthread_mutex_lock(&h->lock);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += h->opts.lease_s;
		while (!h->stopping &&
		       pthread_cond_timedwait(&h->cond, &h->lock, &until) == 0)
			;
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* --- pods --- */

static void put_containers(struct json_out *o, yyjson_val *pod, bool ready,
			   int64_t exit_code, const char *now)
{
	yyjson_val *list = obj_at(pod, "spec.containers"), *c;
	size_t i, max;

	json_put_array(o, "containerStatuses");
	yyjson_arr_foreach(list, i, max, c)
	{
		json_put_object(o, NULL);
		json_put_str(o, "name", obj_str(c, "name"));
		json_put_str(o, "image", obj_str(c, "image"));
		json_put_str(o, "imageID", "simulated");
		json_put_str(o, "containerID", "hollow://simulated");
		json_put_bool(o, "ready", ready && exit_code < 0);
		json_put_bool(o, "started", exit_code < 0);
		json_put_u64(o, "restartCount", 0);
		json_put_object(o, "state");
		if (exit_code < 0) {
			json_put_object(o, "running");
			json_put_str(o, "startedAt", now);
		} else {
			json_put_object(o, "terminated");
			json_put_i64(o, "exitCode", exit_code);
			json_put_str(o, "reason",
				     exit_code ? "Error" : "Completed");
			json_put_str(o, "startedAt", now);
			json_put_str(o, "finishedAt", now);
		}
		json_put_end(o);
		json_put_end(o);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_vm(struct json_out *o, yyjson_val *vm)
{
	json_put_object(o, "virtualMachineStatus");
	json_put_str(o, "name", obj_str(vm, "name"));
	json_put_str(o, "state", "active");
	json_put_str(o, "powerState", "running");
	json_put_bool(o, "ready", true);
	json_put_end(o);
}

/* @exit_code: negative while it runs. */
static void put_pod_status(struct hollow *h, yyjson_val *pod, int64_t exit_code,
			   struct buf *b)
{
	yyjson_val *vm = obj_at(pod, "spec.virtualMachine");
	bool ready = !obj_annotation(pod, HOLLOW_UNREADY);
	bool scheduled = obj_item(obj_at(pod, "status.conditions"), "type",
				  "PodScheduled") != NULL;
	struct json_out o = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];
	unsigned a = __atomic_add_fetch(&h->address, 1, __ATOMIC_RELAXED);

	time_format(time_now(), now);
	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	json_put_str(&o, "phase",
		     exit_code < 0 ? "Running"
		     : exit_code   ? "Failed"
				   : "Succeeded");
	json_put_array(&o, "conditions");
	if (scheduled)
		put_condition(&o, "PodScheduled", "True", "Scheduled", now);
	put_condition(&o, "Initialized", "True", "Simulated", now);
	put_condition(&o, "Ready", ready && exit_code < 0 ? "True" : "False",
		      "Simulated", now);
	put_condition(&o, "ContainersReady",
		      ready && exit_code < 0 ? "True" : "False", "Simulated",
		      now);
	json_put_end(&o);
	json_put_str(&o, "startTime", now);
	if (exit_code < 0) {
		json_put_fmt(&o, "podIP", "10.%u.%u.%u", a >> 16 & 255,
			     a >> 8 & 255, a & 255);
		json_put_array(&o, "podIPs");
		json_put_object(&o, NULL);
		json_put_fmt(&o, "ip", "10.%u.%u.%u", a >> 16 & 255,
			     a >> 8 & 255, a & 255);
		json_put_end(&o);
		json_put_end(&o);
	}
	if (vm)
		put_vm(&o, vm);
	else
		put_containers(&o, pod, ready, exit_code, now);
	json_put_end(&o);
	json_put_end(&o);
}

static int write_pod(struct hollow *h, const struct informer_object *o,
		     const char *method, const char *sub, const char *body,
		     struct err *e)
{
	auto_buf struct buf path = BUF_INIT;
	struct client_call call = { .method = method, .body = body };
	int r;

	if (strcmp(method, "PATCH") == 0)
		call.type = "application/merge-patch+json";
	kind_path(KIND_POD, o->tenant, o->namespace, o->name, sub, &path);
	call.path = buf_str(&path);
	(void)client_do(h->client, &call);
	r = client_check(&call, e);
	client_call_clear(&call);
	return r == -ENOENT ? 0 : r;
}

/* As the kubelet: a pod that somebody still accounts for (a finalizer, as of
 * jobs) says how it ended before it goes. */
static int tell_end(struct hollow *h, const struct informer_object *o,
		    yyjson_val *pod, struct err *e)
{
	enum pod_phase phase = pod_facts(o)->phase;
	auto_buf struct buf b = BUF_INIT;

	if (phase == POD_SUCCEEDED || phase == POD_FAILED ||
	    !yyjson_arr_size(obj_at(pod, "metadata.finalizers")))
		return 0;
	put_pod_status(h, pod, EXIT_KILLED, &b);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return write_pod(h, o, "PATCH", "status", buf_str(&b), e);
}

static int end_pod(struct hollow *h, const struct informer_object *o,
		   struct err *e)
{
	auto_free char *body = str_printf(
		"{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\","
		"\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"%s\"}}",
		o->uid);

	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	return write_pod(h, o, "DELETE", NULL, body, e);
}

/* How long a pod that is to end still runs; 0: now. */
static int64_t runs_on_ms(yyjson_val *pod)
{
	const char *ms = obj_annotation(pod, HOLLOW_RUN_MS);
	int64_t run = 0, since = obj_time(pod, "status.startTime"), left;

	if (!ms || str_to_i64(ms, &run) < 0 || !run)
		return 0;
	left = since * 1000 + run - time_now_us() / 1000;
	return left > 0 ? left : 0;
}

static int run_pod(struct hollow *h, const struct informer_object *o,
		   yyjson_val *pod, struct err *e)
{
	const char *code = obj_annotation(pod, HOLLOW_EXIT);
	enum pod_phase phase = pod_facts(o)->phase;
	auto_buf struct buf b = BUF_INIT;
	int64_t exit_code = -1;

	if (phase == POD_SUCCEEDED || phase == POD_FAILED)
		return 0;
	if (phase == POD_RUNNING && !code)
		return 0;
	if (phase == POD_RUNNING) {
		int64_t left = runs_on_ms(pod);

		if (left) {
			(void)wq_add_after(h->queue, o->key, (uint64_t)left);
			return 0;
		}
		if (str_to_i64(code, &exit_code) < 0)
			exit_code = 1;
	}
	put_pod_status(h, pod, exit_code, &b);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return write_pod(h, o, "PATCH", "status", buf_str(&b), e);
}

static void work(void *arg, const char *key)
{
	struct hollow *h = arg;
	auto_ptr(informer_object) o = informer_get(h->pods, key);
	struct err e = { 0 };
	yyjson_doc *doc;
	int r;

	if (!o || !str_starts(o->node, h->opts.prefix))
		return;
	doc = informer_doc(o);
	if (pod_facts(o)->deleting) {
		r = tell_end(h, o, yyjson_doc_get_root(doc), &e);
		if (r == 0)
			r = end_pod(h, o, &e);
	} else {
		r = run_pod(h, o, yyjson_doc_get_root(doc), &e);
	}
	yyjson_doc_free(doc);
	if (r == 0) {
		wq_forget(h->queue, key);
		return;
	}
	if (r != -ECANCELED)
		log_warn("pod %s: %s, retrying", key, e.msg);
	(void)wq_backoff(h->queue, key);
}

static void changed(void *arg, const struct informer_event *ev)
{
	struct hollow *h = arg;

	if (ev->now && *ev->now->node)
		(void)wq_add(h->queue, ev->now->key);
}

/* --- beginning and end --- */

int hollow_start(const struct hollow_opts *opts, struct hollow **ret,
		 struct err *e)
{
	struct client_opts co = { .kubeconfig = opts->kubeconfig,
				  .conns = opts->workers,
				  .agent = "arktos-hollow" };
	struct informer_opts io = { .path = "/api/v1/tenants/all/pods",
				    .query = "fieldSelector=spec.nodeName!%3D",
				    .facts_size = sizeof(struct pod_facts),
				    .facts = pod_read_facts };
	auto_ptr(hollow) h = calloc(1, sizeof(*h));
	struct wq_opts wo = { .work = work,
			      .workers = opts->workers,
			      .name = "arktos-hollow",
			      .base_ms = 100,
			      .max_ms = 5000 };
	int r;

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	h->opts = *opts;
	if (!h->opts.lease_s)
		h->opts.lease_s = 10;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->cond, NULL);
	wo.arg = h;
	r = client_open(&co, &h->client, e);
	if (r == 0)
		r = make_nodes(h, e);
	if (r == 0)
		r = wq_new(&wo, &h->queue, e);
	if (r == 0)
		r = informer_new(h->client, &io, &h->pods, e);
	if (r == 0)
		r = informer_subscribe(h->pods, changed, h);
	if (r < 0)
		return r;
	informer_start(h->pods);
	r = pthread_create(&h->leases, NULL, renew, h);
	if (r)
		return err_set(e, -r, "thread: %s", strerror(r));
	h->renewing = true;
	*ret = take_ptr(h);
	return 0;
}

void hollow_stop(struct hollow *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_broadcast(&h->cond);
	pthread_mutex_unlock(&h->lock);
	if (h->renewing)
		pthread_join(h->leases, NULL);
	if (h->queue)
		wq_stop(h->queue, false);
	informer_free(h->pods);
	if (h->queue)
		wq_free(h->queue);
	client_close(h->client);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->cond);
	free(h);
}
