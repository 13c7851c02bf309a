/* SPDX-License-Identifier: Apache-2.0 */
/* The agent behind its local API (agent/local/api.h). */
#ifndef AGENT_BACKEND_H
#define AGENT_BACKEND_H

#include <stddef.h>

#include "agent/local/api.h"
#include "agent/pod.h"

struct agent;
struct err;

extern const struct api_backend agent_backend;

/* The pod, with a reference; NULL and -ENOENT told in @e. */
struct pod *backend_pod(struct agent *a, const struct api_pod_id *id,
			struct err *e);

/* backend_remote.c: join the API server, if there is a kubeconfig */
int backend_join(struct agent *a, struct err *e);
/* What the host's CLI wants of a pod of the API server is done there, as the
 * admin whose kubeconfig is on this host. */
int backend_remote_delete(struct pod *pod, int64_t grace_s, struct err *e);
/* The pod is about to be forgotten: the API is told how it ended. */
void backend_remote_ended(struct pod *pod);
/* 1: taken, and another wish has replaced it already. */
int backend_remote_resize(struct pod *pod, const struct api_resize *rs,
			  uint64_t *ret_seq, char note[POD_MESSAGE_MAX],
			  struct err *e);

/* backend_exec.c: commands in containers and VMs, consoles, logs */
int backend_exec(void *arg, const struct api_exec *x, struct api_session *ret,
		 struct err *e);
int backend_attach(void *arg, const struct api_exec *x, struct api_session *ret,
		   struct err *e);
int backend_session_result(void *arg, void *cookie, int *ret_code,
			   struct err *e);
void backend_session_close(void *arg, void *cookie);
int backend_logs(void *arg, const struct api_logs *l, int out_fd,
		 struct err *e);

/* backend_action.c: reboot, snapshot, restore */
struct remote_action;
struct remote_action_result;
int backend_action(void *arg, const struct api_action *action,
		   struct api_action_result *ret, struct err *e);
/* As struct remote_ops has them. */
int backend_remote_act(void *arg, const char *key,
		       const struct remote_action *want,
		       struct remote_action_result *ret, struct err *e);
void backend_remote_told(void *arg, const char *key, const char *id);

/* backend_node.c: images, the node, networks */
int backend_image_list(void *arg, struct buf *out, struct err *e);
int backend_image_pull(void *arg, const struct api_image_job *job,
		       struct buf *out, struct err *e);
int backend_image_import(void *arg, const struct api_image_job *job,
			 struct buf *out, struct err *e);
int backend_image_remove(void *arg, const char *ref, struct err *e);
int backend_node(void *arg, struct buf *out, struct err *e);
int backend_network(void *arg, struct buf *out, struct err *e);

#endif /* AGENT_BACKEND_H */
