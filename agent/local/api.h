/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's local API: HTTP/1.1 over a unix socket that only root may use
 * (mode 0600, and SO_PEERCRED), in the shape of the Kubernetes API. It knows
 * nothing of pods: the agent gives it a table of functions, struct api_backend.
 *
 *	GET    /api/v1/pods                              ?watch=1
 *	GET    /api/v1/namespaces/{ns}/pods              ?watch=1
 *	POST   /api/v1/namespaces/{ns}/pods              (create or configure)
 *	GET    /api/v1/namespaces/{ns}/pods/{name}
 *	PUT    /api/v1/namespaces/{ns}/pods/{name}       (create or configure)
 *	DELETE /api/v1/namespaces/{ns}/pods/{name}       ?gracePeriodSeconds=
 *	PATCH  .../pods/{name}/resize                    ?timeoutSeconds=
 *	GET    .../pods/{name}/log                       ?container=&follow=...
 *	POST   .../pods/{name}/exec     ?command=&...    (upgrade)
 *	POST   .../pods/{name}/attach   ?container=      (upgrade)
 *	POST   .../pods/{name}/action   {"operation":"reboot"} ?timeoutSeconds=
 *	GET    /api/v1/events                            ?pod=
 *	GET    /images    POST /images {"pull"|"import":...}   DELETE
 * /images?ref= GET    /node   /stats/summary   /network   /healthz   /version
 * /metrics
 *
 * with /api/v1/tenants/{tenant}/... for other tenants than "system".
 * Documentation/node-cli.md has them all with examples.
 *
 * Threads: every backend function is called on one of the API's own worker
 * threads, several at a time, never on the event loop. It may block; those that
 * may for long get a @cancel flag, set when the client has gone.
 * Failures: -errno and the message become a Kubernetes Status: ENOENT 404,
 *EEXIST EBUSY ESTALE 409, EBADMSG 400, E2BIG 413, EINVAL ERANGE 422, EACCES
 *403, ETIMEDOUT 504, EAGAIN 503, EOPNOTSUPP 501, else 500. Functions that are
 *NULL answer 501.
 */
#ifndef AGENT_LOCAL_API_H
#define AGENT_LOCAL_API_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"

struct api;
struct api_action; /* agent/local/action.h */
struct api_action_result;
struct buf;
struct err;
struct ev;

#define API_BODY_MAX    (4 * 1024 * 1024) /* of a request */
#define API_SESSIONS    64 /* exec, attach and log -f at a time */
#define API_WATCHERS    64
#define API_BACKLOG_MAX (4 * 1024 * 1024) /* unread bytes of one watcher */

/* Never NULL, valid names. */
struct api_pod_id {
	const char *tenant; /* "system" when the path has none */
	const char *namespace;
	const char *name;
};

/* What a list or watch covers; NULL: all. */
struct api_scope {
	const char *tenant, *namespace, *name;
};

enum api_outcome { API_CREATED, API_CONFIGURED, API_UNCHANGED };

/* A missing limit stays as it is. A missing request follows its limit where the
 * two were equal, else stays, but never above the limit. */
struct api_resize {
	struct api_pod_id pod;
	const char *container; /* NULL: the pod's only workload */
	struct resources want;
	uint32_t timeout_ms; /* wait so long for its end; 0: do not wait */
	const atomic_bool *cancel;
};

enum api_resize_state {
	API_RESIZE_DONE,
	API_RESIZE_IN_PROGRESS, /* the timeout is over; it goes on */
	API_RESIZE_DEFERRED,   /* accepted, no room now: @why has the numbers */
	API_RESIZE_INFEASIBLE, /* never on this node: @why */
	API_RESIZE_FAILED,
	API_RESIZE_SUPERSEDED, /* another wish came: @why says which */
	API_RESIZE_ACCEPTED,   /* nothing of it runs now: @why says when */
};

struct api_resize_result {
	enum api_resize_state state;
	char container[64];                /* which one it was */
	struct quantity_set before, after; /* actual, limits */
	bool by_guest; /* confirmed by the guest; else read from the kernel */
	uint32_t took_ms;
	char why[256]; /* "" when done */
};

struct api_logs {
	struct api_pod_id pod;
	const char *container; /* NULL: the only one */
	bool follow;
	bool previous;   /* the attempt before */
	bool timestamps; /* each line begins with its RFC 3339 time */
	int64_t tail;    /* last lines; -1: all */
	int64_t since_s; /* not older than this; -1: any age */
	int64_t limit;   /* bytes; -1: none */
	const atomic_bool *cancel;
};

struct api_exec {
	struct api_pod_id pod;
	const char *container; /* NULL: the only one */
	struct strv argv;      /* at least one */
	bool tty, in;          /* wanted: a terminal, standard input */
	bool console;          /* attach: only to what has a terminal */
	uint16_t rows, cols;   /* of the tty; 0: not known */
};

/*
 * A running exec, or an attached console, as descriptors. The API pumps bytes
 * between them and the client, and owns and closes them. A tty (pty master,
 * VM's console socket) is one descriptor in both @in_fd and @out_fd.
 */
struct api_session {
	int in_fd;   /* the API writes here; -1: none */
	int out_fd;  /* and reads from here; -1: none */
	int err_fd;  /* and here; -1: none */
	int done_fd; /* readable when it has ended; -1: out_fd's end says so */
	bool tty;    /* out_fd is a pty master: TIOCSWINSZ resizes it */
	void *cookie;
};

/* Progress of something long: one JSON object, passed on to the client as a
 * line. Any thread, must not be called after the function has returned. */
struct api_progress {
	void (*tell)(void *arg, const char *json, size_t len);
	void *arg;
};

struct api_image_job {
	const char *ref;      /* pull: docker://..., or a file or directory */
	const char *name;     /* import: its name here; NULL: from the source */
	const char *kind;     /* "container", "vm", or NULL: look */
	const char *format;   /* import of a disk: "qcow2", "raw"; NULL: look */
	const char *username; /* pull; NULL: none */
	const char *password;
	bool always;   /* pull even when it is here */
	bool insecure; /* pull by plain HTTP, or with any certificate */
	struct api_progress progress;
	const atomic_bool *cancel;
};

/*
 * All JSON is appended to @out. Pods are v1 Pods; of status the CLI shows
 *   phase, podIP, hostIP, startTime, qosClass, reason, message, conditions[]
 *   containerStatuses[], initContainerStatuses[]: name, ready, restartCount,
 *     state, lastState, image, imageID, containerID,
 *     allocatedResources{cpu,memory}, resources{requests,limits} (actual)
 *   virtualMachineStatus: name, state, powerState, ready, restartCount, image,
 *     accelerator, allocatedResources, resources (guest-confirmed)
 *   resize ("", Proposed, InProgress, Deferred, Infeasible)
 */
struct api_backend {
	/* {"kind":"PodList","apiVersion":"v1","items":[...]} */
	int (*pod_list)(void *arg, const struct api_scope *scope,
			struct buf *out, struct err *e);
	int (*pod_get)(void *arg, const struct api_pod_id *id, struct buf *out,
		       struct err *e);
	/* @json: one Pod, unchecked, NUL-terminated. @out: the pod as taken, or
	 * all that is wrong with it, one a line: @e has only so much room. */
	int (*pod_apply)(void *arg, const char *json, size_t len,
			 enum api_outcome *ret, struct buf *out, struct err *e);
	/* @grace_s: -1 the pod's own, 0 kill. Returns once it is accepted; the
	 * pod is gone when pod_get() says -ENOENT. */
	int (*pod_delete)(void *arg, const struct api_pod_id *id,
			  int64_t grace_s, struct err *e);
	/* 0 for every state: the result tells. -errno: not even tried. */
	int (*pod_resize)(void *arg, const struct api_resize *rs,
			  struct api_resize_result *ret, struct err *e);
	int (*pod_action)(void *arg, const struct api_action *action,
			  struct api_action_result *ret, struct err *e);
	/* Write to @out_fd (a pipe, blocking) until the end. -EPIPE: the client
	 * has gone, which is no failure. Look at @cancel while waiting. */
	int (*pod_logs)(void *arg, const struct api_logs *l, int out_fd,
			struct err *e);
	int (*pod_exec)(void *arg, const struct api_exec *x,
			struct api_session *ret, struct err *e);
	/* A VM's console, or a container's main process; no argv. */
	int (*pod_attach)(void *arg, const struct api_exec *x,
			  struct api_session *ret, struct err *e);
	/* Exit code of an exec that has ended (128 + signal, if killed). */
	int (*session_result)(void *arg, void *cookie, int *ret_code,
			      struct err *e);
	/* Always called last. If the command still runs, the client has gone:
	 * hang it up. */
	void (*session_close)(void *arg, void *cookie);

	/* {"kind":"EventList","items":[...]}, newest last; @id NULL: all */
	int (*events)(void *arg, const struct api_pod_id *id, struct buf *out,
		      struct err *e);
	/* {"items":[{"ref","id","kind","size","created","usedBy"}]} */
	int (*image_list)(void *arg, struct buf *out, struct err *e);
	/* @out: the image, as in the list. */
	int (*image_pull)(void *arg, const struct api_image_job *job,
			  struct buf *out, struct err *e);
	int (*image_import)(void *arg, const struct api_image_job *job,
			    struct buf *out, struct err *e);
	int (*image_remove)(void *arg, const char *ref, struct err *e);

	/* A v1 Node: capacity, allocatable, conditions. */
	int (*node)(void *arg, struct buf *out, struct err *e);
	/* kubelet's /stats/summary, whole, and with CPU and memory alone */
	int (*stats)(void *arg, struct buf *out, struct err *e);
	int (*usage)(void *arg, struct buf *out, struct err *e);
	/* {"networks":[{"tenant","name","id","cidr"}],"endpoints":[{"pod",
	 * "network","ip","mac","link","rxPackets",...}],"drops":[{"reason",
	 * "count"}]} */
	int (*network)(void *arg, struct buf *out, struct err *e);
	/* Prometheus text; the API adds its own. The others as kubelet's. */
	int (*metrics)(void *arg, struct buf *out, struct err *e);
	int (*cadvisor)(void *arg, struct buf *out, struct err *e);
	int (*resource)(void *arg, struct buf *out, struct err *e);
};

struct api_opts {
	struct ev *loop;         /* connections are served here */
	const char *socket_path; /* "/run/arktos/node.sock" */
	const struct api_backend *backend;
	void *arg;        /* first argument of its functions */
	unsigned workers; /* threads for requests; 0: 4 */
	bool any_peer;    /* tests: not only root */
};

/**
 * api_start() - Listen, and serve on the loop.
 * @o:   Copied; what it points to is borrowed until api_stop().
 * @ret: Set to the API, atomically.
 * @e:   Filled on error.
 *
 * A socket left behind by a dead agent is replaced; one that is being served is
 * not.
 *
 * Return: 0, -EADDRINUSE (another agent serves that socket), -errno.
 */
int api_start(const struct api_opts *o, struct api **ret, struct err *e);

/* Close the socket and all connections, wait for workers and sessions (their
 * @cancel is set), free. On the loop's thread, with the loop not running. */
void api_stop(struct api *api);

enum api_change { API_ADDED, API_MODIFIED, API_DELETED };

/* Tell those who watch, from any thread. @json: the whole pod. A watcher that
 * does not read is cut off. Cheap when nobody watches: see api_watched(). */
void api_pod_changed(struct api *api, enum api_change change,
		     const struct api_pod_id *id, const char *json, size_t len);
bool api_watched(const struct api *api);

#endif /* AGENT_LOCAL_API_H */
