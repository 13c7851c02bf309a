// SPDX-License-Identifier: Apache-2.0
/* The agent behind agent/remote: pods of the API server. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <yyjson.h>

#include "agent/backend.h"
#include "agent/internal.h"
#include "agent/wish.h"
#include "agent/remote/remote.h"
#include "agent/volume/payload.h"
#include "controlplane/client/rest.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define NODE_PORT    10250 /* a kubelet's */
#define WISH_WAIT_MS 2000  /* after that somebody else's wish came first */
#define WISH_LOOK_MS 5
#define ADMIN_WAIT_S 10

static int apply(void *arg, const char *json, size_t len, struct err *e)
{
	const char *what = "";
	char *key = NULL;
	int r = agent_apply_remote(arg, json, len, &what, &key, e);

	free(key);
	return r;
}

static int remove_pod(void *arg, const char *key, uint32_t grace_s)
{
	struct pod *pod = pods_find(arg, key);

	if (!pod)
		return -ENOENT;
	if (pod->remote)
		pod_note_remove(pod, grace_s);
	pod_unref(pod);
	return 0;
}

static int get(void *arg, const char *key, struct remote_pod *ret)
{
	struct pod *pod = pods_find(arg, key);
	int r = 0;

	if (!pod)
		return -ENOENT;
	pthread_mutex_lock(&pod->lock);
	snprintf(ret->uid, sizeof(ret->uid), "%s", pod->uid);
	ret->ours = pod->remote;
	ret->deleting = pod->inbox.remove ||
			__atomic_load_n(&pod->deleting, __ATOMIC_ACQUIRE);
	ret->unknown = pod->unknown;
	ret->unsettled = pod->unsettled && ev_clock_ms() < pod->settle_due_ms;
	pthread_mutex_unlock(&pod->lock);
	ret->json = pod_published(pod, &ret->len);
	if (!ret->json)
		r = -ENOMEM;
	pod_unref(pod);
	return r;
}

static void content(void *arg, const char *key, const char *uid,
		    struct payload_set *set)
{
	struct pod *pod = pods_find(arg, key);

	if (!pod || !str_eq(pod->uid, uid)) {
		payload_set_free(set);
		pod_unref(pod);
		return;
	}
	pthread_mutex_lock(&pod->lock);
	payload_set_free(pod->inbox.content);
	pod->inbox.content = set;
	pthread_mutex_unlock(&pod->lock);
	pod_poke(pod);
	pod_unref(pod);
}

static int each(void *arg, void (*fn)(void *to, const char *key, bool ours),
		void *to)
{
	struct pod **pods;
	size_t nr;

	if (pods_all(arg, &pods, &nr) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		fn(to, pods[i]->key, pods[i]->remote);
	pod_list_free(pods, nr);
	return 0;
}

static int connect_pod(void *arg, const char *key, uint16_t port, int *ret_fd,
		       struct err *e)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port) };
	struct pod *pod = pods_find(arg, key);
	struct agent *a = arg;
	auto_close int fd = -EBADF;
	bool host, up;
	int r = 0;

	if (!pod)
		return err_set(e, -ENOENT, "the pod is gone");
	pthread_mutex_lock(&pod->lock);
	host = pod->spec->host_network;
	up = pod->network_up;
	if (host)
		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		to.sin_addr = pod->endpoint.ip;
	pthread_mutex_unlock(&pod->lock);
	if (host) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    0);
		if (fd < 0)
			r = err_sys(e, "socket");
	} else if (!up) {
		r = err_set(e, -ESTALE, "the pod has no address yet");
	} else {
		r = network_pod_socket(a->network, pod->uid, AF_INET,
				       SOCK_STREAM | SOCK_NONBLOCK, &fd, e);
	}
	pod_unref(pod);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 &&
	    errno != EINPROGRESS)
		return err_sys(e, "connect to port %u", (unsigned)port);
	*ret_fd = take_fd(&fd);
	return 0;
}

const struct remote_ops backend_remote_ops = {
	.apply = apply,
	.remove = remove_pod,
	.get = get,
	.content = content,
	.each = each,
	.node = backend_node,
	.connect = connect_pod,
	.act = backend_remote_act,
	.told = backend_remote_told,
};

/* --- what the host's CLI wants of pods of the API server --- */

static int admin_request(struct pod *pod, const char *method, const char *sub,
			 const char *body, const char *type, struct buf *answer,
			 struct err *e)
{
	const char *admin = pod->agent->opts.admin;
	const char *ns = strchr(pod->key, '/') + 1;
	const char *name = strchr(ns, '/') + 1;
	auto_ptr(rest) c = NULL;
	auto_free char *path =
		str_printf("/api/v1/tenants/%.*s/namespaces/%.*s/pods/%s%s",
			   (int)(ns - 1 - pod->key), pod->key,
			   (int)(name - 1 - ns), ns, name, sub);
	int r;

	if (!admin || access(admin, R_OK) < 0)
		return err_set(e, -EBUSY,
			       "pod %s belongs to the API server; change it "
			       "there with kubectl, or give the agent "
			       "--admin-kubeconfig",
			       pod->key);
	r = path ? rest_open(admin, &c, e) : -ENOMEM;
	if (r == 0) {
		rest_set_patience(c, ADMIN_WAIT_S);
		r = rest_call(c, method, path, body, type, answer, e);
	}
	if (r < 0)
		return err_wrap(e, r,
				"pod %s belongs to the API server, which is "
				"asked first",
				pod->key);
	return rest_check(r, answer, e);
}

int backend_remote_delete(struct pod *pod, int64_t grace_s, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;

	buf_puts(&body, "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",");
	if (grace_s >= 0)
		buf_printf(&body, "\"gracePeriodSeconds\":%lld,",
			   (long long)grace_s);
	buf_printf(&body, "\"preconditions\":{\"uid\":\"%s\"}}", pod->uid);
	return admin_request(pod, "DELETE", "", buf_str(&body), NULL, &answer,
			     e);
}

/* The wish comes back by the watch: wait until it is here. */
static int wait_given(struct pod *pod, uint64_t version,
		      const struct api_resize *rs, struct err *e)
{
	struct remote *remote = agent_remote(pod->agent);
	uint64_t end = ev_clock_ms() + WISH_WAIT_MS;
	struct err why = { 0 };

	while (remote && ev_clock_ms() < end) {
		if (remote_pod_given(remote, pod->key, version, &why))
			return why.code ? err_set(e, why.code, "%s", why.msg)
					: 0;
		if (rs->cancel && atomic_load(rs->cancel))
			break;
		(void)poll(NULL, 0, WISH_LOOK_MS);
	}
	return err_set(e, -ETIMEDOUT,
		       "the API server has taken it, and it has not come to "
		       "this node in %d ms: see what 'arktos-node describe' and "
		       "'kubectl describe pod' say of it",
		       WISH_WAIT_MS);
}

static uint64_t version_in(const struct buf *answer)
{
	yyjson_doc *doc = yyjson_read(buf_str(answer), answer->len, 0);
	yyjson_val *meta = yyjson_obj_get(yyjson_doc_get_root(doc), "metadata");
	const char *text =
		yyjson_get_str(yyjson_obj_get(meta, "resourceVersion"));
	uint64_t version = 0;

	if (text && str_to_u64(text, &version) < 0)
		version = 0;
	yyjson_doc_free(doc);
	return version;
}

int backend_remote_resize(struct pod *pod, const struct api_resize *rs,
			  uint64_t *ret_seq, char note[POD_MESSAGE_MAX],
			  struct err *e)
{
	auto_buf struct buf patch = BUF_INIT, answer = BUF_INIT;
	int r = pod_resize_patch(pod, rs->container, &rs->want, &patch, note,
				 e);

	if (r == 0)
		r = admin_request(pod, "PATCH", "/resize", buf_str(&patch),
				  "application/strategic-merge-patch+json",
				  &answer, e);
	if (r == 0)
		r = wait_given(pod, version_in(&answer), rs, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&pod->lock);
	r = pod_wish_holds(pod, rs->container, &rs->want) ? 0 : 1;
	*ret_seq = pod->resize_seq;
	pthread_mutex_unlock(&pod->lock);
	return r;
}

void backend_remote_ended(struct pod *pod)
{
	auto_buf struct buf last = BUF_INIT;

	if (pod->remote && agent_remote(pod->agent) &&
	    pod_render(pod, &last) == 0)
		remote_pod_ended(agent_remote(pod->agent), pod->key, pod->uid,
				 buf_str(&last));
}

int backend_join(struct agent *a, struct err *e)
{
	struct remote_opts o = {
		.node_name = a->opts.node_name,
		.kubeconfig = a->opts.kubeconfig,
		.state_dir = a->opts.state_dir,
		.address = a->opts.node_ip,
		.lease_s = a->opts.lease_s,
		.ops = &backend_remote_ops,
		.arg = a,
		.port = NODE_PORT,
		.backend = &agent_backend,
		.backend_arg = a,
	};
	int r;

	if (!o.kubeconfig)
		return 0;
	r = remote_start(&o, &a->remote, e);
	return r < 0 ? err_wrap(e, r, "join") : 0;
}
