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
#include "netns/netns.h"

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

/* Where a port of a pod is looked for, as Kubernetes does: on the loopback of
 * its own network namespace. What is bound to its address alone, and all of a
 * VM, is reached from the gateway. */
struct way {
	enum { WAY_LOOPBACK4, WAY_LOOPBACK6, WAY_ADDRESS } to;
	char *netns; /* the pod's; NULL: this host's */
	char *uid;   /* WAY_ADDRESS: whose network it is */
	struct in_addr ip;
};

static void way_clear(struct way *w)
{
	free(w->netns);
	free(w->uid);
}

static int way_find(struct pod *pod, unsigned int nr, struct way *ret,
		    struct err *e)
{
	bool host, vm;
	int r = 0;

	pthread_mutex_lock(&pod->lock);
	host = pod->spec->host_network;
	vm = !host && !pod->endpoint.netns_path;
	if (!host && !pod->network_up)
		r = err_set(e, -ESTALE, "the pod has no address yet");
	else if (nr != REMOTE_BY_ADDRESS && nr >= (vm ? 1U : host ? 2U : 3U))
		r = -ERANGE;
	else if (!(ret->uid = strdup(pod->uid)) ||
		 (!host && !vm &&
		  !(ret->netns = strdup(pod->endpoint.netns_path))))
		r = err_set(e, -ENOMEM, "out of memory");
	ret->ip = pod->endpoint.ip;
	if (nr == REMOTE_BY_ADDRESS)
		nr = host ? WAY_LOOPBACK4 : WAY_ADDRESS;
	ret->to = vm ? WAY_ADDRESS : nr;
	pthread_mutex_unlock(&pod->lock);
	return r;
}

static int way_socket(struct agent *a, const struct way *w, int *ret,
		      struct err *e)
{
	int family = w->to == WAY_LOOPBACK6 ? AF_INET6 : AF_INET;
	int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, r;
	auto_close int ns = -EBADF;

	if (w->to == WAY_ADDRESS)
		return network_pod_socket(a->network, w->uid, family, type, ret,
					  e);
	if (w->netns) {
		r = ns_open(w->netns, &ns, e);
		return r < 0 ? r : ns_socket(ns, family, type, 0, ret, e);
	}
	*ret = socket(family, type, 0);
	return *ret < 0 ? err_sys(e, "socket") : 0;
}

static int way_connect(const struct way *w, uint16_t port, int fd,
		       struct err *e)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool six = w->to == WAY_LOOPBACK6;

	if (w->to == WAY_ADDRESS)
		v4.sin_addr = w->ip;
	if (connect(fd, six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
		    six ? sizeof(v6) : sizeof(v4)) < 0 &&
	    errno != EINPROGRESS)
		return err_sys(e, "connect to port %u", (unsigned)port);
	return 0;
}

static int connect_pod(void *arg, const char *key, uint16_t port,
		       unsigned int nr, int *ret_fd, struct err *e)
{
	struct pod *pod = pods_find(arg, key);
	struct way w = { .netns = NULL };
	auto_close int fd = -EBADF;
	int r;

	if (!pod)
		return err_set(e, -ENOENT, "the pod is gone");
	r = way_find(pod, nr, &w, e);
	pod_unref(pod);
	if (r == 0)
		r = way_socket(arg, &w, &fd, e);
	if (r == 0)
		r = way_connect(&w, port, fd, e);
	way_clear(&w);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
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
