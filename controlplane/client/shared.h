/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The informers of one process, by kind: made on first demand, over all
 * tenants, and shared by the scheduler and all controllers.
 */
#ifndef CONTROLPLANE_CLIENT_SHARED_H
#define CONTROLPLANE_CLIENT_SHARED_H

#include "controlplane/client/informer.h"
#include "lib/buf.h"

struct client;
struct err;

enum kind {
	KIND_POD,
	KIND_NODE,
	KIND_NAMESPACE,
	KIND_TENANT,
	KIND_SERVICE,
	KIND_ENDPOINTS,
	KIND_SLICE,
	KIND_SECRET,
	KIND_SA,
	KIND_CONFIGMAP,
	KIND_QUOTA,
	KIND_PVC,
	KIND_RC,
	KIND_RS,
	KIND_DEPLOYMENT,
	KIND_SS,
	KIND_DS,
	KIND_REVISION,
	KIND_JOB,
	KIND_CRONJOB,
	KIND_PDB,
	KIND_LEASE,
	KIND_NETWORK,
	KIND_EVENT,
	KIND_NR,
};

enum kind_scope { KIND_CLUSTER, KIND_TENANTED, KIND_NAMESPACED };

struct kind_info {
	const char *api_version; /* "apps/v1" */
	const char *plural, *name;
	enum kind_scope scope;
};

extern const struct kind_info kinds[KIND_NR];

/* "/apis/apps/v1/tenants/T/namespaces/N/replicasets/NAME/SUB"; @name and @sub
 * may be NULL. */
void kind_path(enum kind k, const char *tenant, const char *ns,
	       const char *name, const char *sub, struct buf *b);

/* What most readers want of a pod, in informer_object.facts of KIND_POD. */
enum pod_phase {
	POD_PENDING,
	POD_RUNNING,
	POD_SUCCEEDED,
	POD_FAILED,
	POD_UNKNOWN,
	POD_NO_SCHEDULE,
};

struct pod_facts {
	enum pod_phase phase;
	bool ready, deleting, is_vm, scheduled;
	int32_t restarts;
	int32_t deletion_cost; /* controller.kubernetes.io/pod-deletion-cost */
	int64_t created_s, ready_s; /* since when it is ready */
	int64_t finished_s;         /* when its last container ended */
	bool job_tracked; /* finalizer batch.kubernetes.io/job-tracking */
	bool let_go;      /* deleted, and its node has nothing of it any more */
	int32_t index;    /* job-completion-index; -1: none */
	uint32_t address; /* hash of its IP; 0: none */
	uint64_t labels;  /* hash of all labels, in any order */
};

static inline const struct pod_facts *pod_facts(const struct informer_object *o)
{
	return o->facts;
}

/* For an informer of one's own. */
void pod_read_facts(yyjson_val *obj, void *facts);

/* Neither at its end nor on its way there. */
static inline bool pod_is_active(const struct informer_object *o)
{
	const struct pod_facts *f = o->facts;

	return f->phase != POD_SUCCEEDED && f->phase != POD_FAILED &&
	       !f->deleting;
}

/* Ready for so long that it counts. */
static inline bool pod_is_available(const struct informer_object *o,
				    int64_t min_ready_s, int64_t now_s)
{
	const struct pod_facts *f = o->facts;

	return f->ready && (!min_ready_s || f->ready_s + min_ready_s <= now_s);
}

struct shared;

int shared_new(struct client *c, struct shared **ret, struct err *e);
void shared_free(struct shared *s);
DEFINE_AUTO_PTR(shared, shared_free)

struct client *shared_client(const struct shared *s);

/* Before shared_start(), from one thread. NULL: out of memory. Borrowed. */
struct informer *shared_informer(struct shared *s, enum kind k);
void shared_start(struct shared *s);
/* All of them have their first list. */
bool shared_synced(const struct shared *s);

#endif /* CONTROLPLANE_CLIENT_SHARED_H */
