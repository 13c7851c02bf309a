// SPDX-License-Identifier: Apache-2.0
/* The agent behind agent/remote: pods of the API server. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/backend.h"
#include "agent/internal.h"
#include "agent/remote/remote.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

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

const struct remote_ops backend_remote_ops = {
	.apply = apply,
	.remove = remove_pod,
	.get = get,
	.each = each,
	.node = backend_node,
};

int backend_join(struct agent *a, struct err *e)
{
	struct remote_opts o = {
		.node_name = a->opts.node_name,
		.kubeconfig = a->opts.kubeconfig,
		.state_dir = a->opts.state_dir,
		.address = a->opts.node_ip,
		.ops = &backend_remote_ops,
		.arg = a,
	};
	int r;

	if (!o.kubeconfig)
		return 0;
	r = remote_start(&o, &a->remote, e);
	return r < 0 ? err_wrap(e, r, "join") : 0;
}
