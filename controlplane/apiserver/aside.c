// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/aside.h"

static void leave(struct api *api)
{
	pthread_mutex_lock(&api->aside_lock);
	api->nr_asides--;
	pthread_cond_broadcast(&api->aside_cond);
	pthread_mutex_unlock(&api->aside_lock);
}

static bool enter(struct api *api)
{
	bool ok;

	pthread_mutex_lock(&api->aside_lock);
	ok = api->nr_asides < ASIDE_MAX;
	api->nr_asides += ok;
	pthread_mutex_unlock(&api->aside_lock);
	return ok;
}

static void release(struct aside *a)
{
	if (a->req)
		a->req->aside = NULL;
	a->free(a);
	free(a);
}

static void *run(void *arg)
{
	struct aside *a = arg;
	struct api *api = a->api;
	struct loop *l = a->loop;

	a->work(a);
	pthread_mutex_lock(&l->lock);
	a->next = l->asides;
	l->asides = a;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
	leave(api);
	return NULL;
}

void aside_run(struct aside *a)
{
	struct req *r = a->req;
	pthread_t thread;

	a->api = r->api;
	a->loop = r->loop;
	if (!enter(r->api)) {
		release(a);
		reply_field(r, "Retry-After", "1");
		reply_error(r, 429, "TooManyRequests",
			    "too many collections are being deleted, try again "
			    "later");
		return;
	}
	r->aside = a;
	if (pthread_create(&thread, NULL, run, a) == 0) {
		pthread_detach(thread);
		return;
	}
	leave(r->api);
	release(a);
	reply_error(r, 500, "InternalError", "cannot start a thread");
}

void aside_orphan(struct req *r)
{
	if (r->aside)
		r->aside->req = NULL;
	r->aside = NULL;
}

void aside_done(struct aside *a)
{
	struct req *r = a->req;

	if (r) {
		r->aside = NULL;
		a->done(a); /* replies: the request may be gone after */
		a->req = NULL;
	}
	release(a);
}

void aside_wait(struct api *api)
{
	pthread_mutex_lock(&api->aside_lock);
	while (api->nr_asides)
		pthread_cond_wait(&api->aside_cond, &api->aside_lock);
	pthread_mutex_unlock(&api->aside_lock);
}
