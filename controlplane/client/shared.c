// SPDX-License-Identifier: Apache-2.0
#include "controlplane/client/shared.h"

#include "controlplane/client/object.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

const struct kind_info kinds[KIND_NR] = {
	[KIND_POD] = { "v1", "pods", "Pod", KIND_NAMESPACED },
	[KIND_NODE] = { "v1", "nodes", "Node", KIND_CLUSTER },
	[KIND_NAMESPACE] = { "v1", "namespaces", "Namespace", KIND_TENANTED },
	[KIND_TENANT] = { "v1", "tenants", "Tenant", KIND_CLUSTER },
	[KIND_SERVICE] = { "v1", "services", "Service", KIND_NAMESPACED },
	[KIND_ENDPOINTS] = { "v1", "endpoints", "Endpoints", KIND_NAMESPACED },
	[KIND_SLICE] = { "discovery.k8s.io/v1", "endpointslices",
			 "EndpointSlice", KIND_NAMESPACED },
	[KIND_SECRET] = { "v1", "secrets", "Secret", KIND_NAMESPACED },
	[KIND_SA] = { "v1", "serviceaccounts", "ServiceAccount",
		      KIND_NAMESPACED },
	[KIND_CONFIGMAP] = { "v1", "configmaps", "ConfigMap", KIND_NAMESPACED },
	[KIND_QUOTA] = { "v1", "resourcequotas", "ResourceQuota",
			 KIND_NAMESPACED },
	[KIND_PVC] = { "v1", "persistentvolumeclaims", "PersistentVolumeClaim",
		       KIND_NAMESPACED },
	[KIND_RC] = { "v1", "replicationcontrollers", "ReplicationController",
		      KIND_NAMESPACED },
	[KIND_RS] = { "apps/v1", "replicasets", "ReplicaSet", KIND_NAMESPACED },
	[KIND_DEPLOYMENT] = { "apps/v1", "deployments", "Deployment",
			      KIND_NAMESPACED },
	[KIND_SS] = { "apps/v1", "statefulsets", "StatefulSet",
		      KIND_NAMESPACED },
	[KIND_DS] = { "apps/v1", "daemonsets", "DaemonSet", KIND_NAMESPACED },
	[KIND_REVISION] = { "apps/v1", "controllerrevisions",
			    "ControllerRevision", KIND_NAMESPACED },
	[KIND_JOB] = { "batch/v1", "jobs", "Job", KIND_NAMESPACED },
	[KIND_CRONJOB] = { "batch/v1", "cronjobs", "CronJob", KIND_NAMESPACED },
	[KIND_PDB] = { "policy/v1", "poddisruptionbudgets",
		       "PodDisruptionBudget", KIND_NAMESPACED },
	[KIND_LEASE] = { "coordination.k8s.io/v1", "leases", "Lease",
			 KIND_NAMESPACED },
	[KIND_NETWORK] = { "arktos.futurewei.com/v1", "networks", "Network",
			   KIND_TENANTED },
	[KIND_EVENT] = { "v1", "events", "Event", KIND_NAMESPACED },
};

struct shared {
	struct client *client;
	struct informer *informers[KIND_NR];
};

void kind_path(enum kind k, const char *tenant, const char *ns,
	       const char *name, const char *sub, struct buf *b)
{
	const struct kind_info *i = &kinds[k];

	buf_printf(b, "%s%s", strchr(i->api_version, '/') ? "/apis/" : "/api/",
		   i->api_version);
	if (i->scope != KIND_CLUSTER)
		buf_printf(b, "/tenants/%s", tenant);
	if (i->scope == KIND_NAMESPACED && ns && *ns)
		buf_printf(b, "/namespaces/%s", ns);
	buf_printf(b, "/%s", i->plural);
	if (name)
		buf_printf(b, "/%s", name);
	if (sub)
		buf_printf(b, "/%s", sub);
}

/* --- facts --- */

static enum pod_phase phase_of(const char *s)
{
	return strcmp(s, "Running") == 0      ? POD_RUNNING
	       : strcmp(s, "Succeeded") == 0  ? POD_SUCCEEDED
	       : strcmp(s, "Failed") == 0     ? POD_FAILED
	       : strcmp(s, "Unknown") == 0    ? POD_UNKNOWN
	       : strcmp(s, "NoSchedule") == 0 ? POD_NO_SCHEDULE
					      : POD_PENDING;
}

static uint64_t labels_hash(yyjson_val *labels)
{
	yyjson_val *key, *val;
	uint64_t sum = 0;
	size_t i, max;

	json_obj_foreach (labels, i, max, key, val) {
		uint64_t k = fnv32(yyjson_get_str(key), yyjson_get_len(key));
		uint64_t v = fnv32(yyjson_get_str(val), yyjson_get_len(val));

		sum += (k << 32 | v) * 0x9e3779b97f4a7c15u;
	}
	return sum;
}

static void read_job(yyjson_val *obj, struct pod_facts *f)
{
	const char *index =
		obj_annotation(obj, "batch.kubernetes.io/job-completion-index");
	yyjson_val *v;
	size_t i, max;
	int n;

	f->index = index && str_to_int(index, &n) == 0 ? n : -1;
	yyjson_arr_foreach(obj_at(obj, "metadata.finalizers"), i, max, v)
		f->job_tracked |=
		str_eq(yyjson_get_str(v), "batch.kubernetes.io/job-tracking");
}

void pod_read_facts(yyjson_val *obj, void *facts)
{
	yyjson_val *status = yyjson_obj_get(obj, "status"), *c;
	yyjson_val *ready =
		obj_item(yyjson_obj_get(status, "conditions"), "type", "Ready");
	const char *cost =
		obj_annotation(obj,
			       "controller.kubernetes.io/pod-deletion-cost");
	const char *ip = obj_str(status, "podIP");
	struct pod_facts *f = facts;
	int n;
	size_t i, max;

	f->phase = phase_of(obj_str(status, "phase"));
	f->ready = strcmp(obj_str(ready, "status"), "True") == 0;
	f->ready_s = obj_time(ready, "lastTransitionTime");
	f->created_s = obj_time(obj, "metadata.creationTimestamp");
	f->deleting = obj_at(obj, "metadata.deletionTimestamp") != NULL;
	f->let_go = f->deleting &&
		    !obj_int(obj, "metadata.deletionGracePeriodSeconds", 0);
	f->is_vm = obj_at(obj, "spec.virtualMachine") != NULL;
	f->scheduled = *obj_str(obj, "spec.nodeName") != '\0';
	if (cost && str_to_int(cost, &n) == 0)
		f->deletion_cost = n;
	if (*ip)
		f->address = fnv32(ip, strlen(ip));
	f->labels = labels_hash(obj_at(obj, "metadata.labels"));
	read_job(obj, f);
	yyjson_arr_foreach(yyjson_obj_get(status, "containerStatuses"), i, max,
			   c)
	{
		int64_t at = obj_time(c, "state.terminated.finishedAt");

		f->restarts += (int32_t)obj_int(c, "restartCount", 0);
		if (at > f->finished_s)
			f->finished_s = at;
	}
}

/* --- informers --- */

int shared_new(struct client *c, struct shared **ret, struct err *e)
{
	struct shared *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->client = c;
	*ret = s;
	return 0;
}

void shared_free(struct shared *s)
{
	if (!s)
		return;
	for (int k = 0; k < KIND_NR; k++)
		informer_free(s->informers[k]);
	free(s);
}

struct client *shared_client(const struct shared *s)
{
	return s->client;
}

struct informer *shared_informer(struct shared *s, enum kind k)
{
	struct informer_opts opts = { 0 };
	auto_buf struct buf path = BUF_INIT;

	if (s->informers[k])
		return s->informers[k];
	kind_path(k, "all", NULL, NULL, NULL, &path);
	opts.path = buf_str(&path);
	if (k == KIND_POD) {
		opts.facts_size = sizeof(struct pod_facts);
		opts.facts = pod_read_facts;
	}
	/* Of a lease, that it has changed says all. */
	opts.drop_data = k == KIND_LEASE;
	if (buf_error(&path) ||
	    informer_new(s->client, &opts, &s->informers[k], NULL) < 0)
		return NULL;
	return s->informers[k];
}

void shared_start(struct shared *s)
{
	for (int k = 0; k < KIND_NR; k++)
		if (s->informers[k])
			informer_start(s->informers[k]);
}

bool shared_synced(const struct shared *s)
{
	for (int k = 0; k < KIND_NR; k++)
		if (s->informers[k] && !informer_synced(s->informers[k]))
			return false;
	return true;
}
