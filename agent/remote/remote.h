/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node joined to the API server: its Node and its lease are kept, the pods
 * bound to it run here, what happens to them is seen there.
 *
 * It knows nothing of how pods run: the agent gives it a table of functions.
 * Everything is level-triggered: keys of pods go on a queue, a worker compares
 * what the API has with what is here and does the next steps. While the API is
 * away nothing happens to any pod; when it is back, both sides converge.
 */
#ifndef AGENT_REMOTE_REMOTE_H
#define AGENT_REMOTE_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct api_backend;
struct buf;
struct err;
struct payload_set;
struct remote;

/* A pod on this node, as it is at this moment. */
struct remote_pod {
	char uid[64];
	bool ours;      /* it came from the API */
	bool deleting;  /* on its way out */
	bool unknown;   /* taken over, and not looked at yet */
	bool unsettled; /* taken over, and its probes have not spoken yet */
	char *json;     /* with its status; owned: free() */
	size_t len;
};

/* What an Action of the API wants of a pod. */
struct remote_action {
	const char *id;      /* of the Action: what has one id is done once */
	const char *pod_uid; /* that very pod; NULL: whichever it is */
	const char *operation, *snapshot; /* NULL: none is given */
	int64_t asked_us;
	uint32_t delay_s;
};

struct remote_action_result {
	int64_t begun_us, ended_us;
	bool failed;
	char snapshot[64];
	char error[256];
};

/* All may be called from several threads, and may block for a moment. Keys are
 * TENANT/NAMESPACE/NAME. */
struct remote_ops {
	/* Run it, or take its changes. -EINVAL, -EBADMSG, -E2BIG: it cannot be
	 * run here, ever, and @e says why. -EBUSY, -EAGAIN: not now. */
	int (*apply)(void *arg, const char *json, size_t len, struct err *e);
	/* Have it end and be removed; only if it came from the API. */
	int (*remove)(void *arg, const char *key, uint32_t grace_s);
	/* -ENOENT: no such pod here. */
	int (*get)(void *arg, const char *key, struct remote_pod *ret);
	/* The content of its volumes, and of its environment; @set is taken. */
	void (*content)(void *arg, const char *key, const char *uid,
			struct payload_set *set);
	/* Call @fn with every key there is here. */
	int (*each)(void *arg, void (*fn)(void *to, const char *key, bool ours),
		    void *to);
	/* A socket that is being connected to a port of the pod, the @way-th
	 * way there is (0 first). -ERANGE: there are no more of them. */
#define REMOTE_BY_ADDRESS 1000 /* the way to its address, and no other */
	int (*connect)(void *arg, const char *key, uint16_t port,
		       unsigned int way, int *ret_fd, struct err *e);
	/* 0: it has ended, also if it was asked before; -EINPROGRESS: the pod
	 * will be told to have changed; -EAGAIN: ask again; else it is not
	 * done, @e says why. */
	int (*act)(void *arg, const char *key, const struct remote_action *want,
		   struct remote_action_result *ret, struct err *e);
	/* The API knows what came of it: it may be forgotten. */
	void (*told)(void *arg, const char *key, const char *id);
	/* A v1 Node with capacity, allocatable, conditions. */
	int (*node)(void *arg, struct buf *out, struct err *e);
};

struct remote_opts {
	const char *node_name;
	const char *kubeconfig; /* read again when it has changed */
	const char *state_dir;
	const char *address; /* of this node; NULL: found */
	uint32_t lease_s;    /* renewed at a quarter of it; 0: 40 */
	uint16_t port;       /* of the node's own server; taken: any other */
	const struct remote_ops *ops;
	void *arg;
	/* What the node's server passes on. NULL: it has none. */
	const struct api_backend *backend;
	void *backend_arg;
};

/**
 * remote_start() - Join, in the background.
 * @o:   Strings are borrowed until remote_stop().
 * @ret: Set to the connection, atomically, before any function is called.
 * @e:   Filled on error.
 *
 * The API need not be there. Return: 0, -ENOENT or -EBADMSG for a kubeconfig
 * that cannot be used, -errno.
 */
int remote_start(const struct remote_opts *o, struct remote **ret,
		 struct err *e);
/* End all threads and connections. Pods go on. */
void remote_stop(struct remote *r);

/* Was the agent given the pod as it was at @version, or later? @why: set if it
 * could not become what that says. */
bool remote_pod_given(struct remote *r, const char *key, uint64_t version,
		      struct err *why);

/* Have new certificates made soon, whether it is time or not. */
void remote_renew(struct remote *r);

/* The pod has changed here, or is gone. From any thread, cheap. */
void remote_pod_changed(struct remote *r, const char *key);

/* It is about to be gone from here: @json is the last that is known of it. Tell
 * that it has changed when it is. */
void remote_pod_ended(struct remote *r, const char *key, const char *uid,
		      const char *json);

/* Something happened to a pod: an Event of it. From any thread, cheap. */
struct remote_event {
	const char *key, *uid;
	bool own; /* of a pod of the node's own: it is told of its mirror */
	const char *reason, *message;
	bool warning;
	int64_t first_us, last_us;
	uint32_t count;
};
void remote_event(struct remote *r, const struct remote_event *ev);

/* The API server, "https://HOST:PORT", and whether it answered the last time.
 * Borrowed. */
const char *remote_server(const struct remote *r);
bool remote_answers(const struct remote *r);

/* Has every pod of the API been seen since the start, and is it connected? */
bool remote_synced(const struct remote *r);

/**
 * remote_request() - One request with the node's own certificate.
 * Return: the HTTP status, or -errno without an answer, as rest_call().
 */
int remote_request(struct remote *r, const char *method, const char *path,
		   const char *body, const char *type, struct buf *answer,
		   struct err *e);

#endif /* AGENT_REMOTE_REMOTE_H */
