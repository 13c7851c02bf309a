/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of agent/ itself share: the agent as a whole. */
#ifndef AGENT_INTERNAL_H
#define AGENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/agent.h"
#include "agent/image/image.h"
#include "agent/plan.h"
#include "agent/pod.h"
#include "lib/ev.h"
#include "lib/map.h"
#include "lib/memory.h"
#include "lib/wq.h"

struct api;
struct links;
struct manifests;
struct prober;
struct puller;
struct remote;

#define SECCOMP_CACHE 8
#define USERNS_RANGE  65536u
#define USERNS_FIRST  (1u << 20) /* below: the host's own users */
#define USERNS_SLOTS  16384u

/* What the node can give, and who has it. Guarded by its lock. */
struct node_resources {
	pthread_mutex_t lock;
	uint64_t cpu_milli, mem_bytes;          /* allocatable */
	uint64_t disk_bytes, disk_all_bytes;    /* of the state folder's fs */
	uint64_t used_cpu, used_mem, used_disk; /* claimed by pods */
	struct stats_mark cpu_marks[2];
	struct port_claim *ports; /* of the host */
	size_t nr_ports;
};

struct agent {
	struct agent_opts opts;
	struct ev *loop;
	pthread_t loop_thread;
	struct wq *queue;
	struct cg *root;
	struct cg *qos[3];
	struct network_mgr *network;
	struct image_store *images;
	struct puller *puller;
	struct prober *prober;
	struct api *api;
	struct manifests *manifests;
	struct remote *remote; /* NULL: alone */
	struct links *links;
	struct node_resources node;
	struct {                      /* disk.c */
		pthread_mutex_t lock; /* of @why */
		atomic_bool low;
		char why[256];
	} disk;
	int claims[3]; /* claim.c */

	pthread_mutex_t lock; /* of the table, the slots and the cache */
	struct map pods;      /* by key */
	uint8_t userns_used[USERNS_SLOTS / 8];
	struct {
		uint64_t caps;
		int fd;
	} seccomp[SECCOMP_CACHE];
	size_t nr_seccomp;

	_Atomic uint64_t version; /* of the last published change */
	bool kvm;
	char kvm_why[256];
	bool userns;
	char userns_why[256];
	bool memory_maps; /* mounts of a tmpfs can map ids: Linux 6.3 */
	char host_ip[64]; /* of the node; pods are told */
	char lacks[400];  /* what of the kernel containers need; "" */
	int64_t started_us;
	bool quiet; /* taking down: no word about the host */
	atomic_bool stopping, drained;
	int probe_threads;         /* atomic */
	struct memory_mark memory; /* figures.c */
};

/* NULL: this node is alone. */
static inline struct remote *agent_remote(struct agent *a)
{
	return __atomic_load_n(&a->remote, __ATOMIC_ACQUIRE);
}

/* --- table.c: which pods there are ---------------------------------------- */

int64_t time_us(void);
void rfc3339(int64_t us, char buf[40]);

void pod_bind_spec(struct pod *pod);
/* Why its containers wait when there is nothing else to say. */
static inline const char *ctr_waiting_reason(const struct pod *pod)
{
	return pod->nr_init ? "PodInitializing" : "ContainerCreating";
}
int pod_new(struct agent *a, struct pod_spec *spec, struct pod **ret,
	    struct err *e);
struct pod *pod_ref(struct pod *pod);
void pod_unref(struct pod *pod);

/* Add a new pod; -EEXIST when its key is taken. */
int pods_add(struct agent *a, struct pod *pod, struct err *e);
struct pod *pods_find(struct agent *a, const char *key); /* a reference */
void pods_del(struct agent *a, struct pod *pod);
/* All pods, each with a reference; the array is the caller's. */
int pods_all(struct agent *a, struct pod ***ret, size_t *ret_nr);
void pod_list_free(struct pod **pods, size_t nr);

/* Leave a note, and have the pod looked at. */
void pod_poke(struct pod *pod);
void pod_note_remove(struct pod *pod, uint32_t grace_s);

/* Worker: for others to see. @started_us: 0: as it was. */
void ctr_set_phase(struct pod *pod, struct ctr *c, enum ctr_phase phase,
		   int64_t started_us);

/* A pod has changed, or is gone: tell whoever watches (backend.c). */
void agent_notify(struct agent *a, struct pod *pod);

/* Render and publish, if anything has changed. */
void pod_publish(struct pod *pod);
/* The published bytes; the copy is the caller's. */
char *pod_published(struct pod *pod, size_t *ret_len);

int userns_slot_take(struct agent *a, uint32_t *ret);
void userns_slot_claim(struct agent *a, uint32_t slot);
void userns_slot_give(struct agent *a, uint32_t slot);

/* --- checkpoint.c --- */

/* Durable when it returns; for containers of the API's pods from
 * checkpoint_sync() on, which comes when it is due and else sets *@wake_ms. */
int checkpoint_write(struct pod *pod, struct err *e);
void checkpoint_sync(struct pod *pod, uint64_t *wake_ms);
int checkpoint_remove(const struct pod *pod, struct err *e);
/* Read all pods of the state directory into the table. */
int checkpoint_load_all(struct agent *a, struct err *e);

/* --- admit.c: the node's resources --- */

int node_init(struct agent *a, struct err *e);

/* What a pod counts for: the larger of what it was given and what it still has,
 * plus a VM's overhead. */
struct quantity_set pod_claim(const struct pod *pod);

/**
 * node_claim() - Change what a pod has claimed, if it fits.
 * Return: 0; -ENOSPC it would fit an emptier node (Deferred); -E2BIG it never
 * fits this node (Infeasible). @e tells the numbers.
 */
int node_claim(struct pod *pod, const struct quantity_set *want, struct err *e);
/* The same for a pod that is to begin, with the host's ports it asks for. */
int node_admit(struct pod *pod, const struct quantity_set *want, struct err *e);
/* For a pod that has it already, its ports, too. */
void node_claim_anyway(struct pod *pod, const struct quantity_set *want);
void node_release(struct pod *pod);
/* Something has become free: look again at what waits for it, in the order of
 * QoS and age. */
void node_freed(struct agent *a);

/* --- apply.c --- */

void pod_reconcile(struct agent *a, const char *key);

/* --- content.c: what comes from the API server, and is not there yet --- */

/* Its volumes wait: on a node that is alone nobody will bring it, say so. */
void content_awaited(struct pod *pod);
/* Who waited for it looks again. */
void content_arrived(struct pod *pod);
/* 1: the container waits for what its environment names, and is told so. */
int content_env_waits(struct pod *pod, struct ctr *c, struct err *e);

/* --- watch.c: descriptors of pods in the loop
 * --------------------------------- */

/* Run @fn on the loop's thread and wait for it. Not from the loop itself. */
int loop_call(struct agent *a, void (*fn)(void *arg), void *arg);
int watch_sandbox(struct pod *pod, struct err *e);
int watch_vm(struct pod *pod, struct err *e);
void watch_rearm_vm(struct pod *pod); /* look at its descriptor again */
void watch_stop_vm(struct pod *pod);  /* and close it */
void watch_stop(struct pod *pod);     /* all of them; then they may be closed */

/* --- probes.c: the pod's probes and what they found --- */

void probes_start(struct pod *pod, size_t i);
void probes_stop(struct pod *pod, size_t i);
/* Worker: take over what was found since. */
void probes_take(struct pod *pod, size_t i);
bool probes_ready(const struct pod *pod, const struct ctr *c);
bool probes_started(const struct pod *pod, const struct ctr *c);
int probes_open(struct agent *a, struct err *e);

/* The spec of a further process in a container, from any thread. It names
 * @ret_filter, which is the caller's to close; -1: none. */
struct sandbox_failure;
struct sandbox_spec;
int pod_exec_spec(struct pod *pod, const char *container,
		  const struct strv *argv, struct sandbox_spec *ret,
		  int *ret_filter, struct sandbox_failure *ret_fail,
		  struct err *e);

/* --- resize.c --- */

/* One more step of a resize. 1: something was done; 0: it waits; <0 error. */
int pod_resize_step(struct pod *pod, uint64_t *wake_ms, struct err *e);
/* Is all that is wished for allocated? */
bool pod_resize_allocated(const struct pod *pod);
/* A new wish has arrived with the spec. */
void pod_resize_begin(struct pod *pod);

/* --- update.c --- */

/* Take a manifest: a new pod, or the allowed changes of an existing one.
 * @ret_what: "created", "configured", "unchanged".
 * @told:     as in pod_spec_read() */
int agent_apply_manifest(struct agent *a, const char *json, size_t len,
			 const char **ret_what, char **ret_key,
			 struct buf *told, struct err *e);
/* The same for a pod of the API server. */
int agent_apply_remote(struct agent *a, const char *json, size_t len,
		       const char **ret_what, char **ret_key, struct err *e);
/* Before the pod is known to anybody: what is wished for is its spec. */
int pod_remember_wish(struct pod *pod);
/* A Network manifest: 0 taken; -ENOENT: it is none. */
int network_manifest(struct agent *a, const char *json, size_t len,
		     struct err *e);

/* host.c: fills kvm, userns and lacks. */
void host_probe(struct agent *a);

/* claim.c: -EBUSY when another agent works here. */
int claim_take(struct agent *a, struct err *e);
void claim_drop(struct agent *a);

/* --- down.c: what a crash left of pods that are not known any more --- */

/* End their processes, remove their cgroups, folders and logs. */
void strays_remove(struct agent *a, struct pod **pods, size_t nr);
/* Everything of ours on this host. */
int agent_down_all(struct agent *a, bool purge, struct err *e);

/* --- manifests.c, run.c --- */

int manifests_start(struct agent *a, const char *dir, struct manifests **ret,
		    struct err *e);
void manifests_stop(struct manifests *m);

#endif /* AGENT_INTERNAL_H */
