// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/match.h"
#include "controlplane/apiserver/admission/scene.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/admission/webhook_call.h"
#include "controlplane/apiserver/write.h"
#include "lib/json.h"
#include "lib/str.h"

#define GROUP   "admissionregistration.k8s.io"
#define THREADS 8
#define JOBS    1024 /* that wait for a thread */

/* What is known of one write's webhooks. */
struct hook_memo {
	uint64_t revision;
	bool mutated, validated, changed;
	char *object; /* as the mutating ones left it */
	struct hook_verdict verdict;
};

struct hook_job {
	struct hook_job *next;
	struct write *write;
	struct hook_memo *memo;
	bool mutating;
	struct hook_question question;
};

struct webhooks {
	struct api *api;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct hook_job *jobs, **tail;
	size_t nr_jobs, nr_threads, idle;
	pthread_t threads[THREADS];
	struct hook_caller *callers[THREADS];
	bool stop;
};

void hook_memo_free(struct hook_memo *m)
{
	if (!m)
		return;
	free(m->object);
	buf_clear(&m->verdict.warnings);
	free(m);
}

/* --- the threads --- */

static void job_done(struct hook_job *j)
{
	struct write *w = j->write;
	struct loop *l = w->loop;

	hook_question_clear(&j->question);
	free(j);
	pthread_mutex_lock(&l->lock);
	w->next = l->done;
	l->done = w;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

static void run_job(struct hook_job *j, struct hook_caller *c)
{
	struct hook_memo *m = j->memo;
	char *object = NULL;

	m->verdict.code = 0;
	buf_reset(&m->verdict.warnings);
	hook_ask_all(c, &j->question, j->mutating, &object, &m->verdict);
	if (j->mutating) {
		m->mutated = true;
		m->changed = object;
		if (object) {
			free(m->object);
			m->object = object;
		}
	} else {
		m->validated = true;
		free(object);
	}
}

static void *hooks_run(void *arg)
{
	struct webhooks *h = arg;
	struct hook_caller *c;
	size_t me;

	pthread_mutex_lock(&h->lock);
	me = h->nr_threads - 1;
	while (h->callers[me])
		me--;
	c = h->callers[me] = hook_caller_new(h->api);
	for (;;) {
		struct hook_job *j;

		h->idle++;
		while (!h->stop && !h->jobs)
			pthread_cond_wait(&h->cond, &h->lock);
		h->idle--;
		j = h->jobs;
		if (!j)
			break;
		h->jobs = j->next;
		if (!h->jobs)
			h->tail = &h->jobs;
		h->nr_jobs--;
		pthread_mutex_unlock(&h->lock);
		run_job(j, c);
		job_done(j);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* A thread more, when all are busy. With the lock held. */
static void want_thread(struct webhooks *h)
{
	if (h->idle || h->nr_threads == THREADS)
		return;
	h->nr_threads++;
	if (pthread_create(&h->threads[h->nr_threads - 1], NULL, hooks_run, h))
		h->nr_threads--;
}

int webhooks_start(struct api *api, struct err *e)
{
	struct webhooks *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, -ENOMEM, "out of memory");
	h->api = api;
	h->tail = &h->jobs;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->cond, NULL);
	api->webhooks = h;
	return 0;
}

/* What is being asked is given up; what waits is answered as refused. */
void webhooks_stop(struct api *api)
{
	struct webhooks *h = api->webhooks;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_broadcast(&h->cond);
	for (size_t i = 0; i < h->nr_threads; i++)
		hook_caller_cancel(h->callers[i]);
	pthread_mutex_unlock(&h->lock);
	for (size_t i = 0; i < h->nr_threads; i++)
		pthread_join(h->threads[i], NULL);
	for (size_t i = 0; i < h->nr_threads; i++)
		hook_caller_free(h->callers[i]);
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->cond);
	free(h);
	api->webhooks = NULL;
}

/* --- on the loop --- */

/* Its conditions are the last to be looked at. One that cannot be told is a
 * failure of the webhook: its policy says what becomes of the request. */
static int add_hook(struct admission *a, yyjson_val *hook, struct scene *scene,
		    struct hook_question *q)
{
	const char *policy =
		yyjson_get_str(yyjson_obj_get(hook, "failurePolicy"));
	const char *name = yyjson_get_str(yyjson_obj_get(hook, "name"));
	struct err e = { 0 };
	int r = scene_conditions(scene, yyjson_obj_get(hook, "matchConditions"),
				 &e);

	if (r < 0 && !str_eq(policy, "Ignore"))
		return admission_forbid(a, "webhook \"%s\": %s",
					name ? name : "", e.msg);
	return r == 1 ? hook_question_add(q, hook) : 0;
}

static int add_matching(struct admission *a, const char *plural,
			struct scene *scene, struct hook_question *q)
{
	auto_free char *prefix = str_printf(GROUP "/%s///", plural);
	struct store_range range = { .prefix = prefix };
	struct store_list list;
	struct err e = { 0 };
	int r = 0;

	if (!prefix)
		return -ENOMEM;
	if (!store_count(a->api->store, prefix))
		return 0;
	r = store_list(a->api->store, &range, &list, &e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.nr && r == 0; i++) {
		yyjson_doc *doc = object_doc(list.v[i]);
		yyjson_val *config = yyjson_doc_get_root(doc), *hook;
		size_t j, max;

		yyjson_arr_foreach(yyjson_obj_get(config, "webhooks"), j, max,
				   hook)
		{
			if (r == 0 && match_webhook(a, config, hook))
				r = add_hook(a, hook, scene, q);
		}
		yyjson_doc_free(doc);
	}
	store_list_clear(&list);
	return r;
}

static int set_aside(struct admission *a, struct hook_question *q,
		     bool mutating)
{
	struct webhooks *h = a->api->webhooks;
	struct hook_job *j = calloc(1, sizeof(*j));
	struct write *w = a->write;
	bool full;

	if (!j || hook_question_fill(q, a) < 0) {
		free(j);
		return -ENOMEM;
	}
	j->write = w;
	j->memo = w->hooks;
	j->mutating = mutating;
	j->question = *q;
	pthread_mutex_lock(&h->lock);
	full = h->nr_jobs == JOBS || h->stop;
	if (!full) {
		w->in_flight = true;
		w->set_aside = true;
		*h->tail = j;
		h->tail = &j->next;
		h->nr_jobs++;
		want_thread(h);
		pthread_cond_signal(&h->cond);
	}
	pthread_mutex_unlock(&h->lock);
	if (!full)
		return -EINPROGRESS;
	free(j);
	return -EBUSY;
}

/* The object becomes what the webhooks have made of it. */
static int take_object(struct admission *a, const char *text)
{
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	yyjson_val *k, *v;
	size_t i, max;

	if (!doc)
		return -ENOMEM;
	yyjson_mut_obj_clear(a->obj);
	json_obj_foreach (yyjson_doc_get_root(doc), i, max, k, v)
		mut_put(a->doc, a->obj, yyjson_get_str(k),
			yyjson_val_mut_copy(a->doc, v));
	yyjson_doc_free(doc);
	return 1;
}

static int cannot_ask(struct admission *a, int r)
{
	if (r == -EACCES) /* said already */
		return r;
	return admission_refuse(a, r == -EBUSY ? 429 : 500,
				r == -EBUSY ? "TooManyRequests"
					    : "InternalError",
				"webhooks cannot be asked now: %s",
				strerror(-r));
}

/* Who is to be asked: those that change, those that only look, or both. */
static int collect(struct admission *a, bool mutating, bool validating,
		   struct hook_question *q)
{
	struct scene scene;
	int r = 0;

	scene_open(&scene, a, a->type);
	if (mutating)
		r = add_matching(a, "mutatingwebhookconfigurations", &scene, q);
	if (r == 0 && validating)
		r = add_matching(a, "validatingwebhookconfigurations", &scene,
				 q);
	scene_close(&scene);
	return r;
}

static int ask(struct admission *a, bool mutating)
{
	struct hook_question q = { .nr = 0 };
	/* A delete has nothing to change: all are asked at once. */
	int r = collect(a, mutating || !a->obj, !mutating, &q);

	if (r == 0 && q.nr)
		r = set_aside(a, &q, mutating);
	if (r == -EINPROGRESS || (r == 0 && !q.nr))
		return r;
	hook_question_clear(&q);
	return cannot_ask(a, r);
}

int webhooks_question(struct admission *a, struct hook_question *q)
{
	int r = 0;

	if (!a->type->virtual && strcmp(a->type->group, GROUP) != 0 &&
	    store_count(a->api->store, GROUP "/"))
		r = collect(a, true, true, q);
	if (r == 0 && q->nr)
		r = hook_question_fill(q, a);
	return r < 0 ? cannot_ask(a, r) : 0;
}

/* The configurations themselves, and what is only answered, are not asked
 * about: a webhook could not be taken away any more. */
static bool is_exempt(const struct admission *a)
{
	return !a->write || !a->req || a->type->virtual ||
	       strcmp(a->type->group, GROUP) == 0;
}

int webhooks_admit(struct admission *a, bool mutating, uint64_t revision)
{
	struct write *w = a->write;
	struct hook_memo *m;
	bool known;

	if (is_exempt(a) || (mutating && !a->obj))
		return 0;
	if (!store_count(a->api->store, GROUP "/"))
		return 0;
	if (w->hooks && w->hooks->revision != revision) {
		hook_memo_free(w->hooks);
		w->hooks = NULL;
	}
	if (!w->hooks) {
		w->hooks = calloc(1, sizeof(*w->hooks));
		if (!w->hooks)
			return admission_refuse(a, 500, "InternalError",
						"out of memory");
		w->hooks->revision = revision;
	}
	m = w->hooks;
	known = mutating ? m->mutated : m->validated;
	if (!known) {
		int r = ask(a, mutating);

		if (r < 0)
			return r;
		if (mutating)
			m->mutated = true;
		else
			m->validated = true;
		return 0;
	}
	for (char *p = m->verdict.warnings.data; p && *p; p += strlen(p) + 1)
		reply_warning(a->req, p);
	buf_reset(&m->verdict.warnings);
	if (m->verdict.code)
		return admission_refuse(a, m->verdict.code, m->verdict.reason,
					"%s", m->verdict.msg);
	if (mutating && m->object)
		return take_object(a, m->object);
	return 0;
}
