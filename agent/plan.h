/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decide what a pod needs next. Pure: no clock, no kernel, no allocation.
 *
 * The plan holds only steps that can be done now, in order; apply.c does them
 * and asks again. What has to be waited for is not a step: it comes back as an
 * event, or at plan.wake_ms.
 */
#ifndef AGENT_PLAN_H
#define AGENT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/pod.h"
#include "agent/total.h"

#define PLAN_STEPS_MAX (4 * SPEC_CONTAINERS_MAX + 16)

enum step_kind {
	STEP_SAVE,         /* checkpoint */
	STEP_ADMIT,        /* claim the node's resources */
	STEP_CGROUP,       /* create the pod's cgroups */
	STEP_IMAGE,        /* of container .ctr */
	STEP_NETWORK,      /* attach */
	STEP_VOLUMES,      /* set up */
	STEP_SANDBOX,      /* start the supervisor */
	STEP_START,        /* container .ctr */
	STEP_STOP,         /* ask container .ctr to end, .why */
	STEP_TERM,         /* its preStop hook is over: ask it now */
	STEP_KILL,         /* force it */
	STEP_RESIZE,       /* bring actual to allocated to desired */
	STEP_SYNC_VM,      /* look at the VM */
	STEP_FAIL,         /* the pod has failed for good: .why */
	STEP_SANDBOX_DOWN, /* end the supervisor */
	STEP_NETWORK_DOWN,
	STEP_VOLUMES_DOWN,
	STEP_CGROUP_DOWN,
	STEP_RELEASE, /* give the claimed resources back */
	STEP_FORGET,  /* remove the pod's last trace */
};

enum ctr_role ctr_role(const struct ctr *ctr);
/* An init container that stays beside the others. */
bool ctr_is_sidecar(const struct ctr *ctr);
/* Has it come up, so that what stands after it may start? */
bool sidecar_is_up(const struct pod *pod, const struct ctr *ctr);

struct step {
	enum step_kind kind;
	size_t ctr;        /* index into the pod's containers */
	enum stop_why why; /* STEP_STOP */
};

struct plan {
	struct step steps[PLAN_STEPS_MAX];
	size_t nr;
	uint64_t wake_ms; /* look again then at the latest; 0: no need */
};

/* The image of a container, as far as it is. */
enum image_state { IMAGE_NEEDED, IMAGE_PULLING, IMAGE_READY, IMAGE_FAILED };

/* What of the world the plan depends on, besides the pod itself. */
struct plan_now {
	uint64_t now_ms;
	int64_t now_us;
};

/**
 * pod_plan() - The next steps for a pod.
 * @pod: As the worker sees it. Not modified.
 * @now: The time.
 * @ret: Filled.
 *
 * Kubernetes' rules: init containers one after another, each must succeed;
 * then all containers; restartPolicy with back-off; a deleted pod is asked to
 * stop, then forced when its grace period is over, and dismantled in the
 * reverse order of its making.
 */
void pod_plan(const struct pod *pod, const struct plan_now *now,
	      struct plan *ret);

/* Has the pod ended for good: Succeeded, Failed? */
bool pod_is_over(const struct pod *pod);

/* Should this container, which has ended, be started again? */
bool ctr_should_restart(const struct pod *pod, const struct ctr *ctr);

/* Does the spec name another image than the one it was started with, or is
 * ready to be? What runs is restarted for it; an init container is not, it
 * takes the new one when it is started again. */
bool ctr_image_changed(const struct ctr *ctr);

/* Was it stopped to be started again, whatever the restart policy? */
bool stop_is_restart(enum stop_why why);

/* The pause before the next attempt of a container that ended now: 0 for the
 * first, then 10 s doubling up to 300 s; reset after 10 minutes of life. */
uint32_t ctr_backoff_next(const struct ctr *ctr, uint64_t now_ms,
			  uint32_t base_ms, uint32_t max_ms);

const char *step_name(enum step_kind kind);

#endif /* AGENT_PLAN_H */
