/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pod on this node: what it should be, what it is, and what was heard.
 *
 * A pod is owned by the work queue: one worker at a time reconciles it, and
 * everything below "the worker's own" is only touched by that worker. All
 * others (API, probes, events, pulls) leave a note in the inbox, under the
 * lock, and add the pod's key to the queue. Readers get the status as rendered
 * bytes.
 */
#ifndef AGENT_POD_H
#define AGENT_POD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/network/network.h"
#include "agent/spec.h"
#include "agent/stats.h"
#include "lib/auto.h"

struct action_set;
struct agent;
struct buf;
struct cg;
struct image;
struct payload_ops;
struct payload_set;
struct pod_watch;
struct sandbox;
struct vm;
struct volume_set;

#define POD_MESSAGE_MAX 256
#define POD_KEY_MAX     512
#define HOOK_OPEN       UINT64_MAX

enum ctr_phase {
	CTR_WAITING, /* not started yet, or between two attempts */
	CTR_RUNNING,
	CTR_EXITED,
};

/* How an attempt ended. */
struct ctr_exit {
	bool valid;
	int code;   /* exit code; 128 + signal when killed by one */
	int signal; /* 0: none */
	bool oom;
	char reason[32]; /* Completed, Error, OOMKilled, StartError, ... */
	char message[POD_MESSAGE_MAX];
	int64_t started_us, finished_us; /* Unix time */
};

/* desired is in the spec; what was admitted, and what the kernel or the guest
 * is known to have. */
struct ctr_resources {
	struct resources allocated;
	struct resources actual;
	bool actual_known;
	struct resources before; /* actual, when the last resize began */
};

enum stop_why {
	STOP_NONE,
	STOP_DELETE,
	STOP_LIVENESS,
	STOP_RESIZE,
	STOP_IMAGE, /* the spec names another one */
	STOP_POD,
};

/* One container, init container, or the VM, at run time. */
struct ctr {
	const char *name;                  /* borrowed from the spec */
	const struct container_spec *spec; /* NULL: the VM */
	bool init;
	enum ctr_phase phase; /* the worker's; set under the lock */
	uint32_t attempt;     /* restart count */
	bool started_once;
	int64_t started_us; /* of the running attempt; set under the lock */
	uint64_t started_ms;
	char reason[32]; /* while waiting */
	char message[POD_MESSAGE_MAX];
	struct ctr_exit exit;   /* of the present attempt, when CTR_EXITED */
	struct ctr_exit last;   /* of the one before */
	uint64_t not_before_ms; /* back-off: do not start earlier */
	uint32_t backoff_ms;
	enum stop_why stop_why;
	uint64_t stop_sent_ms, kill_due_ms; /* 0: no stop under way */
	bool kill_sent;
	struct image *image; /* shared; set under the lock, as is its name: */
	char *image_ref;     /* of the spec when it was got; owned */
	struct cg *cg;       /* the worker's; set under the lock */
	struct cg *vcpu_cg;  /* VM: its vCPU threads */
	struct ctr_resources res;
	bool probe_started, probe_ready;
	struct probe_found { /* guarded by the pod's lock */
		uint64_t id; /* of the prober; 0: not probed */
		bool started, ready, dead;
	} found;
	uint32_t attempt_reboots;         /* VM: resets, counted as restarts */
	uint64_t oom_base;                /* oom_kill count at its start */
	struct quantity_set shown_limits; /* actual, under the lock */
	struct resources shown_allocated; /* under the lock */
	int pid;                          /* on the host; 0: unknown */
	enum { HOOK_NONE, HOOK_STARTING, HOOK_STOPPING } hook;
	uint64_t hook_due_ms; /* it is over then; HOOK_OPEN: when it says so */
	struct {              /* guarded by the pod's lock */
		uint64_t id;  /* of the prober; 0: none runs */
		bool done, ok;
		char why[POD_MESSAGE_MAX];
	} hook_found;
	struct stats_mark cpu_marks[2]; /* under the lock */
};

enum resize_condition {
	RESIZE_NONE,
	RESIZE_DEFERRED,    /* would fit this node, not now */
	RESIZE_INFEASIBLE,  /* never fits this node or this workload */
	RESIZE_IN_PROGRESS, /* admitted, not confirmed yet */
	RESIZE_ERROR,       /* admitted, and failing; retried */
};

struct resize_status {
	enum resize_condition condition;
	char message[POD_MESSAGE_MAX];
	int64_t since_us;
	uint64_t began_ms;   /* when the wish arrived */
	uint32_t took_ms;    /* of the last one that was finished */
	uint64_t generation; /* counts wishes */
	uint64_t done_generation;
	uint64_t refused_generation; /* found impossible for this guest */
};

/* Notes for the worker, guarded by the pod's lock. */
struct pod_inbox {
	struct pod_spec *spec; /* a newer manifest; owned */
	uint64_t wish_seq;     /* which one */
	bool resized;          /* it differs in resources */
	uint64_t resize_seq;   /* the wish's number */
	uint64_t resize_began_ms;
	struct payload_set *content; /* of its volumes; owned */
	bool remove;
	uint32_t grace_s;
	bool network_event;
	char evict[POD_MESSAGE_MAX]; /* beyond a limit on the disk */
};

enum sandbox_state { SANDBOX_NONE, SANDBOX_UP, SANDBOX_GONE };

struct pod {
	/* Fixed for the pod's life. */
	struct agent *agent;
	char *key; /* tenant/namespace/name */
	char *uid;
	char *run_dir, *state_dir, *log_dir;
	int64_t created_us;
	const struct payload_ops *payload;
	enum qos qos;        /* may not change */
	bool remote;         /* it came from the API server */
	bool waits_for_node; /* atomic: resources it wants are not free */
	bool limited;        /* atomic: usage.c looks at it */

	pthread_mutex_t lock;   /* of the inbox and the published status */
	pthread_cond_t changed; /* on every publish */
	/* Held for reading by whoever uses sandbox or vm and is not the worker,
	 * for writing by the worker when it replaces them. */
	pthread_rwlock_t handles;
	struct pod_inbox inbox;
	struct buf *published; /* the pod as JSON; replaced whole */
	uint64_t version;      /* of what is published */
	char *wish;            /* manifest wished for last */
	size_t wish_len;
	uint64_t wish_seq;    /* counts wishes */
	uint64_t saved_seq;   /* of the newest wish that is on disk */
	uint64_t unsaved_seq; /* of one that could not be saved, for @trouble */
	uint64_t resize_seq;  /* of the last wish for other resources */
	struct resize_public { /* of the worker's, for those who wait */
		enum resize_condition condition;
		uint64_t seq, done_seq;
		uint32_t took_ms;
		char message[POD_MESSAGE_MAX];
	} resize_public;
	unsigned int refs;
	/* Of a pod that was taken over: nothing is known of it yet; readiness
	 * is not known yet, but will be until then. */
	bool unknown, unsettled;
	uint64_t settle_due_ms;

	/* The worker's own. */
	struct pod_spec *spec;
	struct ctr *ctrs; /* [nr_ctrs] init containers, then the others */
	size_t nr_ctrs, nr_init;
	bool saved;           /* the checkpoint holds what matters */
	uint64_t sync_due_ms; /* it is to be made durable; 0: it is */
	uint64_t taken_seq;   /* number of the wish that @spec is */
	bool admitted;        /* resources are claimed */
	bool cgroup_up, network_up, volumes_up;
	bool network_lost; /* its link may have vanished */
	/* Begun by us, or by an agent before us: to be undone even if it was
	 * never done. */
	bool cgroup_maybe, network_maybe, volumes_maybe;
	bool deleting;
	bool gone; /* removed; only waits for its last reader */
	uint64_t delete_due_ms;
	int64_t deleted_us;
	uint32_t grace_s;
	int64_t start_us;
	char reason[32]; /* of the pod's failure: DeadlineExceeded, Evicted */
	char message[POD_MESSAGE_MAX];
	bool failed;
	char evict[POD_MESSAGE_MAX]; /* a look's verdict, not yet followed */
	struct cg *cg;
	struct stats_mark cpu_marks[2]; /* under the lock */
	struct cg *supervisor_cg;
	struct endpoint endpoint;
	struct volume_set *volumes;
	struct payload_set *content; /* newest; what is written may be older */
	enum sandbox_state sandbox_state;
	struct sandbox *sandbox;
	struct vm *vm;
	struct resize_status resize;
	unsigned int failures; /* of the present step, for its back-off */
	char unschedulable[POD_MESSAGE_MAX]; /* why it is not admitted */
	char trouble[POD_MESSAGE_MAX];       /* why the last step failed */
	struct pod_watch *watch;             /* watch.c */
	struct action_set *actions;          /* action.h; NULL: none yet */
	uint32_t userns_slot;        /* of user ids; none: USERNS_SLOTS */
	struct quantity_set claimed; /* guarded by the node's lock */
	bool version_shown;
	bool adopt_tried;
	bool vm_rebooted; /* an action did, and is not noted yet */
	bool vm_settled;  /* the guest has what was allocated */
	bool vm_agent;    /* the guest's agent answers */
	int vm_state;     /* enum vm_state */
	char vm_why[POD_MESSAGE_MAX];
	unsigned int vm_resets;
	uint64_t vm_wake_ms;
};

/* Write the pod's manifest with its status as one JSON object. */
int pod_render(const struct pod *pod, struct buf *out);

/* "Pending", "Running", "Succeeded", "Failed". */
const char *pod_phase(const struct pod *pod);
bool pod_is_ready(const struct pod *pod);

static inline struct ctr *pod_ctr(const struct pod *pod, const char *name)
{
	for (size_t i = 0; i < pod->nr_ctrs; i++)
		if (__builtin_strcmp(pod->ctrs[i].name, name) == 0)
			return &pod->ctrs[i];
	return NULL;
}

#endif /* AGENT_POD_H */
