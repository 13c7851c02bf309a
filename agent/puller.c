// SPDX-License-Identifier: Apache-2.0
/*
 * Image pulls in threads of their own: a worker asks, goes on, and is called
 * again when the image is here or will not come.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/keyring.h"
#include "agent/internal.h"
#include "agent/puller.h"
#include "agent/volume/payload.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

#define PULLS_MAX    3 /* at once */
#define PULL_BASE_MS 10000
#define PULL_MAX_MS  300000
#define PULL_KEEP_MS 30000 /* of a pod that is gone meanwhile */

struct pull {
	struct puller *p;
	char *ref;
	char *id; /* in the map: others' credentials are another pull */
	enum pull_policy policy;
	bool vm;
	struct keyring *keyring; /* NULL: none */
	uint64_t keyring_id;
	enum { PULL_QUEUED, PULL_RUNNING, PULL_DONE, PULL_FAILED } state;
	char **waiters; /* keys */
	size_t nr_waiters;
	struct image *image;
	struct err why;
	const char *reason;
	uint64_t retry_ms; /* not before */
	uint64_t done_ms;
	uint32_t backoff_ms;
	struct pull *next; /* in the queue */
};

struct puller {
	struct agent *agent;
	pthread_mutex_t lock;
	pthread_cond_t work, idle;
	struct map pulls; /* by id */
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
	keyring_free(pull->keyring);
	free(pull->ref);
	free(pull->id);
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
	pull->done_ms = ev_clock_ms();
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
		.keyring = pull->keyring,
		.keyring_id = pull->keyring_id,
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

static uint64_t secrets_id(const struct pull_ask *ask)
{
	uint64_t h = ask->with_secrets ? 1 : 0;

	for (size_t i = 0; ask->with_secrets && i < ask->secrets->nr; i++)
		h = h * 31 + map_hash(ask->secrets->files[i].data,
				      ask->secrets->files[i].len);
	return h;
}

/* One that cannot be read is told where it was read; the others will do. */
static struct keyring *read_secrets(const struct pull_ask *ask)
{
	struct keyring *k = calloc(1, sizeof(*k));

	for (size_t i = 0; k && i < ask->secrets->nr; i++)
		(void)keyring_add(k, ask->secrets->files[i].data,
				  ask->secrets->files[i].len, NULL);
	return k;
}

static int find_or_add(struct puller *p, const struct pull_ask *ask,
		       struct pull **ret)
{
	uint64_t keyring_id = secrets_id(ask);
	/* Who wants it to be asked for does not take what was here. */
	auto_free char *id = str_printf("%s %d %" PRIx64, ask->ref,
					ask->policy == PULL_ALWAYS, keyring_id);
	struct pull *pull;
	int r;

	if (!id)
		return -ENOMEM;
	pull = map_get(&p->pulls, id);
	if (pull) {
		*ret = pull;
		return 0;
	}
	pull = calloc(1, sizeof(*pull));
	if (!pull)
		return -ENOMEM;
	pull->p = p;
	pull->ref = strdup(ask->ref);
	pull->id = take_ptr(id);
	pull->policy = ask->policy;
	pull->vm = ask->vm;
	pull->keyring_id = keyring_id;
	pull->keyring = ask->with_secrets ? read_secrets(ask) : NULL;
	pull->state = PULL_FAILED; /* not asked for yet */
	r = pull->ref && (pull->keyring || !ask->with_secrets)
		    ? map_set(&p->pulls, pull->id, pull, NULL)
		    : -ENOMEM;
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

	if (pull->state == PULL_DONE && now - pull->done_ms > PULL_KEEP_MS) {
		image_unref(take_ptr(pull->image));
		pull->state = PULL_FAILED;
		pull->retry_ms = 0;
	}
	switch (pull->state) {
	case PULL_DONE:
		/* Handed out once: the next start asks anew, as its policy
		 * wants it to. */
		*ret = pull->image;
		pull->image = NULL;
		map_del(&p->pulls, pull->id);
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

int puller_want(struct puller *p, const struct pull_ask *ask,
		struct image **ret, const char **ret_reason,
		uint64_t *ret_retry_ms, struct err *e)
{
	struct pull *pull;
	int r;

	*ret_reason = IMAGE_REASON_PULL;
	*ret_retry_ms = PULL_BASE_MS;
	if (ask->policy != PULL_ALWAYS) {
		r = image_find(p->agent->images, ask->ref, ret, e);
		if (r == 0)
			return 1;
		if (r != -ENOENT || ask->policy == PULL_NEVER) {
			*ret_reason = image_reason(ask->policy, r);
			if (r == -ENOENT)
				err_set(e, r,
					"image '%s' is not on this node, and "
					"its pull policy is Never; import it "
					"with 'arktos-node image import'",
					ask->ref);
			return r;
		}
		if (e)
			e->code = 0;
	}
	if (ask->with_secrets && !ask->secrets)
		return 0; /* their coming is what the pod waits for */
	pthread_mutex_lock(&p->lock);
	r = find_or_add(p, ask, &pull);
	r = r < 0 ? err_wrap(e, r, "pull")
		  : want_locked(p, pull, ask->key, ret, ret_reason,
				ret_retry_ms, e);
	pthread_mutex_unlock(&p->lock);
	return r;
}
