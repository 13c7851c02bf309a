/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Liveness, readiness and startup probes of all pods, on one thread of its own.
 *
 * The prober decides when to probe, does HTTP, TCP and gRPC itself
 * (non-blocking, any number at once), counts against the thresholds, and
 * reports. What it cannot know it asks through struct prober_ops: a socket in
 * the pod's network, and running a command in the container.
 *
 * As kubelet does:
 *  - the first probe is sent initialDelay after the container's start, the next
 *    ones every period, measured from start to start; a probe that takes longer
 *    than that is followed at once by the next; there is no jitter;
 *  - until the startup probe has succeeded the others are not run; then they
 *    run at once (if their own initialDelay is over), and it is not run again;
 *  - a state changes after successThreshold or failureThreshold equal outcomes
 *    in a row; before that liveness counts as good, readiness as bad;
 *  - once failed, liveness and startup are not probed again: the container is
 *    expected to be restarted, which is a new prober_add(). Readiness goes on,
 *    while the container ends, too;
 *  - HTTP succeeds for 200..399; redirects on the same host are followed, up to
 *    10, and one to another host is a success. No certificate is checked;
 *  - when a command cannot even be started, that says nothing about the
 *    container: it is tried again next period.
 * The answer's header alone decides; its body is not waited for. A host must be
 * an address or "localhost": names are not resolved.
 */
#ifndef AGENT_PROBE_PROBE_H
#define AGENT_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"
#include "lib/auto.h"

struct err;
struct prober;

#define PROBE_MESSAGE_MAX 1024 /* bytes, cut at a character */
#define PROBE_ANSWER_MAX  (16 * 1024)
#define PROBE_REDIRECTS   10

enum probe_type { PROBE_LIVENESS, PROBE_READINESS, PROBE_STARTUP };
#define PROBE_NR_TYPES 3

struct probe_result {
	uint64_t id; /* of prober_add() */
	const char *pod_key, *container;
	enum probe_type type;
	bool success;
	/* The thresholds are met and the state is another than before: act.
	 * Else a single failure, worth an event ("Unhealthy") and no more. */
	bool changed;
	/* "HTTP probe failed with statuscode: 500"; "" on success. */
	const char *message;
};

struct prober_ops {
	/* A non-blocking CLOEXEC stream socket of @family inside the pod's
	 * network; -errno if there is none (the probe fails then). Called on
	 * the prober's thread, which may be moved with setns(). */
	int (*connect_socket)(void *ctx, const char *pod_key, int family,
			      struct err *e);
	/* Run @command in the container; prober_exec_done() with @token is to
	 * be called when it has ended. -errno: it could not be started. */
	int (*exec_start)(void *ctx, const char *pod_key, const char *container,
			  const struct strv *command, uint64_t token,
			  struct err *e);
	/* Nobody waits for @token any more (timed out, deleted): kill it. */
	void (*exec_cancel)(void *ctx, const char *pod_key,
			    const char *container, uint64_t token);
	/* On the prober's thread; must not block for long. May add, delete. */
	void (*result)(void *ctx, const struct probe_result *result);
	void *ctx;
};

struct probe_target {
	const char *pod_key;   /* for the callbacks only */
	const char *container; /* or the VM's name */
	const char *pod_ip;    /* where probes without a host go; may be NULL */
	const struct probe_spec *liveness, *readiness, *startup; /* or NULL */
	uint64_t started_ms; /* CLOCK_MONOTONIC */
};

/* @ops is copied. Starts the thread. */
int prober_new(const struct prober_ops *ops, struct prober **ret,
	       struct err *e);
/* Ends the thread; not from a callback. */
void prober_free(struct prober *p);
DEFINE_AUTO_PTR(prober, prober_free)

/**
 * prober_add() - Probe one started container.
 * @t:      Everything in it is copied.
 * @ret_id: Set to what results carry. Never 0.
 *
 * From any thread. Return: 0, -ENOMEM, or -EINVAL for a target that cannot be
 * probed (a pod_ip that is no address, nothing to probe).
 */
int prober_add(struct prober *p, const struct probe_target *t, uint64_t *ret_id,
	       struct err *e);

/* Stop probing. From any thread; does not wait for it, so one last result may
 * be on its way: results carry the id. Unknown ids are ignored. */
void prober_del(struct prober *p, uint64_t id);

/* The command of @token has ended (from any thread): its exit code, and what
 * it wrote, for the message. Tokens nobody waits for are ignored. */
void prober_exec_done(struct prober *p, uint64_t token, int exit_code,
		      const char *output, size_t len);

const char *probe_type_name(enum probe_type type); /* "Liveness" */

#endif /* AGENT_PROBE_PROBE_H */
