// SPDX-License-Identifier: Apache-2.0
/*
 * Image pulls in threads of their own: a worker asks, goes on, and is called
 * again when the image is here or will not come.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "agent/puller.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

#define PULLS_MAX    3 /* at once */
#define PULL_BASE_MS 10000
#define PULL_MAX_MS  300000

struct pull {
	struct puller *p;
	char *ref;
	enum pull_policy policy;
	bool vm;
	enum { PULL_QUEUED, PULL_RUNNING, PULL_DONE, PULL_FAILED } state;
	char **waiters; /* keys */
	size_t nr_waiters;
	struct image *image;
	struct err why;
	const char *reason;
	uint64_t retry_ms; /* not before */
	uint32_t backoff_ms;
	struct pull *next; /* in the queue */
};

struct puller {
	struct agent *agent;
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct map pulls; /* by ref */
	struct pull *head, **tail;
	unsigned int threads;
	atomic_bool stop;
};

int puller_new(struct agent *a, struct puller **ret, struct err *e)
{
	struct puller *p = calloc(1, sizeof(*p));

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->agent = a;
	p->tail = &p->head;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->idle, NULL);
	*ret = p;
	return 0;
}

static void pull_free(void *arg)
{
	struct pull *pull = arg;

	for (size_t i = 0; i < pull->nr_waiters; i++)
		free(pull->waiters[i]);
	free(pull->waiters);
	image_unref(pull->image);
	free(pull->ref);
	free(pull);
}

void puller_free(struct puller *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->work);
	while (p->threads)
		pthread_cond_wait(&p->idle, &p->lock);
	pthread_mutex_unlock(&p->lock);
	map_clear(&p->pulls, pull_free);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->idle);
	free(p);
}

static void finish(struct pull *pull, int r, struct image *image,
		   const struct err *why)
{
	struct puller *p = pull->p;

	pthread_mutex_lock(&p->lock);
	pull->state = r < 0 ? PULL_FAILED : PULL_DONE;
	pull->image = image;
	pull->why = *why;
	if (r < 0) {
		pull->reason = image_reason(pull->policy, r);
		pull->backoff_ms =
			pull->backoff_ms ? pull->backoff_ms * 2 : PULL_BASE_MS;
		if (pull->backoff_ms > PULL_MAX_MS)
			pull->backoff_ms = PULL_MAX_MS;
		pull->retry_ms = ev_clock_ms() + pull->backoff_ms;
		log_warn("image '%s': %s, trying again in %us", pull->ref,
			 why->msg, pull->backoff_ms / 1000);
	}
	for (size_t i = 0; i < pull->nr_waiters; i++) {
		(void)wq_add(p->agent->queue, pull->waiters[i]);
		free(pull->waiters[i]);
	}
	pull->nr_waiters = 0;
	pthread_mutex_unlock(&p->lock);
}

static void do_pull(struct pull *pull)
{
	struct image_pull_opts opts = {
		.policy = pull->policy,
		.kind = pull->vm ? IMAGE_DISK : IMAGE_CONTAINER,
		.cancel = &pull->p->stop,
	};
	struct image *image = NULL;
	struct err why = { 0 };
	int r;

	r = image_pull(pull->p->agent->images, pull->ref, &opts, &image, &why);
	finish(pull, r, image, &why);
}

static void *puller_thread(void *arg)
{
	struct puller *p = arg;

	pthread_setname_np(pthread_self(), "arktos-pull");
	pthread_mutex_lock(&p->lock);
	/* A thread lives as long as there is work: an idle node has none. */
	while (p->head && !atomic_load(&p->stop)) {
		struct pull *pull = p->head;

		p->head = pull->next;
		if (!p->head)
			p->tail = &p->head;
		pull->state = PULL_RUNNING;
		pthread_mutex_unlock(&p->lock);
		do_pull(pull);
		pthread_mutex_lock(&p->lock);
	}
	p->threads--;
	pthread_cond_broadcast(&p->idle);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int enqueue(struct puller *p, struct pull *pull)
{
	pthread_attr_t attr;
	pthread_t t;
	int r = 0;

	pull->state = PULL_QUEUED;
	pull->next = NULL;
	*p->tail = pull;
	p->tail = &pull->next;
	if (p->threads >= PULLS_MAX)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&t, &attr, puller_thread, p);
	pthread_attr_destroy(&attr);
	if (r == 0)
		p->threads++;
	/* With another thread running it only takes longer. */
	return p->threads ? 0 : -r;
}

static int wait_for(struct pull *pull, const char *key)
{
	char **more;

	for (size_t i = 0; i < pull->nr_waiters; i++)
		if (strcmp(pull->waiters[i], key) == 0)
			return 0;
	more = realloc(pull->waiters, (pull->nr_waiters + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	pull->waiters = more;
	more[pull->nr_waiters] = strdup(key);
	if (!more[pull->nr_waiters])
		return -ENOMEM;
	pull->nr_waiters++;
	return 0;
}

static int find_or_add(struct puller *p, const char *ref,
		       enum pull_policy policy, bool vm, struct pull **ret)
{
	struct pull *pull = map_get(&p->pulls, ref);
	int r;

	if (pull) {
		*ret = pull;
		return 0;
	}
	pull = calloc(1, sizeof(*pull));
	if (!pull)
		return -ENOMEM;
	pull->p = p;
	pull->ref = strdup(ref);
	pull->policy = policy;
	pull->vm = vm;
	pull->state = PULL_FAILED; /* not asked for yet */
	r = pull->ref ? map_set(&p->pulls, ref, pull, NULL) : -ENOMEM;
	if (r < 0) {
		pull_free(pull);
		return r;
	}
	*ret = pull;
	return 0;
}

/* Under the lock. */
static int want_locked(struct puller *p, struct pull *pull, const char *key,
		       struct image **ret, const char **ret_reason,
		       uint64_t *ret_retry_ms, struct err *e)
{
	uint64_t now = ev_clock_ms();
	int r;

	switch (pull->state) {
	case PULL_DONE:
		/* Handed out once: the next start asks anew, as its policy
		 * wants it to. */
		*ret = pull->image;
		pull->image = NULL;
		map_del(&p->pulls, pull->ref);
		pull_free(pull);
		return 1;
	case PULL_FAILED:
		if (pull->retry_ms > now) {
			*ret_retry_ms = pull->retry_ms - now;
			*ret_reason = str_eq(pull->reason, IMAGE_REASON_PULL)
					      ? IMAGE_REASON_BACKOFF
					      : pull->reason;
			return err_set(e,
				       pull->why.code ? pull->why.code : -EIO,
				       "%s", pull->why.msg);
		}
		r = enqueue(p, pull);
		if (r < 0)
			return err_wrap(e, r, "start a pull");
		break;
	default:
		break;
	}
	r = wait_for(pull, key);
	return r < 0 ? err_wrap(e, r, "wait for the image") : 0;
}

int puller_want(struct puller *p, const char *ref, enum pull_policy policy,
		bool vm, const char *key, struct image **ret,
		const char **ret_reason, uint64_t *ret_retry_ms, struct err *e)
{
	struct pull *pull;
	int r;

	*ret_reason = IMAGE_REASON_PULL;
	*ret_retry_ms = PULL_BASE_MS;
	if (policy != PULL_ALWAYS) {
		r = image_find(p->agent->images, ref, ret, e);
		if (r == 0)
			return 1;
		if (r != -ENOENT || policy == PULL_NEVER) {
			*ret_reason = image_reason(policy, r);
			if (r == -ENOENT)
				err_set(e, r,
					"image '%s' is not on this node, and "
					"its pull policy is Never; import it "
					"with 'arktos-node image import'",
					ref);
			return r;
		}
		if (e)
			e->code = 0;
	}
	pthread_mutex_lock(&p->lock);
	r = find_or_add(p, ref, policy, vm, &pull);
	r = r < 0 ? err_wrap(e, r, "pull")
		  : want_locked(p, pull, key, ret, ret_reason, ret_retry_ms, e);
	pthread_mutex_unlock(&p->lock);
	return r;
}
