// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/client/client.h"
#include "controlplane/client/object.h"
#include "controlplane/client/shared.h"
#include "controlplane/controllers/framework.h"
#include "controlplane/heartbeat.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define MERGE    "application/merge-patch+json"
#define FIRST_MS 10000
#define LOOK_MS  50

struct heartbeat {
	struct heartbeat_opts o;
	char holder[96];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stopping, complained;
};

static void put_health(const struct heartbeat *h, bool controllers,
		       struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	if (controllers)
		manager_put_health(h->o.manager, &o);
	else
		json_put_bool(&o, "synced", shared_synced(h->o.shared));
	json_put_end(&o);
}

static void put_lease(const struct heartbeat *h, const char *name,
		      const char *health, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	char now[OBJ_TIME_SIZE];

	time_format_us(time_now_us(), now);
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "coordination.k8s.io/v1");
	json_put_str(&o, "kind", "Lease");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", name);
	json_put_object(&o, "annotations");
	json_put_str(&o, HEARTBEAT_ANNOTATION, health);
	json_put_end(&o);
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_str(&o, "holderIdentity", h->holder);
	json_put_i64(&o, "leaseDurationSeconds", HEARTBEAT_LEASE_S);
	json_put_str(&o, "renewTime", now);
	json_put_end(&o);
	json_put_end(&o);
}

static int send_lease(struct heartbeat *h, const char *method, const char *name,
		      const struct buf *body, struct err *e)
{
	auto_buf struct buf path = BUF_INIT;
	struct client_call call = { .method = method,
				    .body = buf_str(body),
				    .type = name ? MERGE : NULL };
	int r;

	kind_path(KIND_LEASE, "system", "kube-system", name, NULL, &path);
	if (buf_error(&path) || buf_error(body))
		return err_set(e, -ENOMEM, "out of memory");
	call.path = buf_str(&path);
	(void)client_do(h->o.client, &call);
	r = client_check(&call, e);
	client_call_clear(&call);
	return r;
}

static int renew(struct heartbeat *h, bool controllers, struct err *e)
{
	auto_buf struct buf health = BUF_INIT, body = BUF_INIT;
	char name[64] = "arktos-scheduler";
	int r;

	if (controllers && h->o.shards > 1)
		snprintf(name, sizeof(name), "arktos-controllers-%u-of-%u",
			 h->o.shard, h->o.shards);
	else if (controllers)
		snprintf(name, sizeof(name), "arktos-controllers");
	put_health(h, controllers, &health);
	put_lease(h, name, buf_str(&health), &body);
	r = send_lease(h, "PATCH", name, &body, e);
	return r == -ENOENT ? send_lease(h, "POST", NULL, &body, e) : r;
}

static void beat(struct heartbeat *h)
{
	struct err e = { 0 };
	int r = 0;

	if (h->o.manager)
		r = renew(h, true, &e);
	if (r == 0 && h->o.scheduler)
		r = renew(h, false, &e);
	if (r < 0 && !h->complained)
		log_warn("lease of the controllers: %s, retrying", e.msg);
	h->complained = r < 0;
}

/* False when it is to end. Under the lock. */
static bool pause_ms(struct heartbeat *h, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!h->stopping &&
	       pthread_cond_timedwait(&h->wake, &h->lock, &until) == 0)
		;
	return !h->stopping;
}

static void *run(void *arg)
{
	struct heartbeat *h = arg;
	bool go_on = true;

	pthread_mutex_lock(&h->lock);
	/* The first word is a good one, if all is well. */
	for (int i = 0; i < FIRST_MS / LOOK_MS && go_on; i++) {
		if (shared_synced(h->o.shared))
			break;
		go_on = pause_ms(h, LOOK_MS);
	}
	while (go_on) {
		pthread_mutex_unlock(&h->lock);
		beat(h);
		pthread_mutex_lock(&h->lock);
		go_on = pause_ms(h, HEARTBEAT_S * 1000);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

int heartbeat_start(const struct heartbeat_opts *o, struct heartbeat **ret,
		    struct err *e)
{
	struct heartbeat *h = calloc(1, sizeof(*h));
	pthread_condattr_t attr;
	char host[65] = "";
	int r;

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	h->o = *o;
	(void)gethostname(host, sizeof(host) - 1);
	snprintf(h->holder, sizeof(h->holder), "%s_%d", host, (int)getpid());
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&h->thread, NULL, run, h);
	if (r) {
		free(h);
		return err_set(e, -r, "cannot start a thread");
	}
	*ret = h;
	return 0;
}

void heartbeat_stop(struct heartbeat *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stopping = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
