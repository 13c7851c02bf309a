// SPDX-License-Identifier: Apache-2.0
/*
 * When to probe what, and what to make of it. All targets belong to the
 * prober's thread; other threads only post to it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/probe/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define BUCKETS 1024

/* A token is the target's id, the type, and the number of the run. */
#define TOKEN_RUN_BITS  20
#define TOKEN_TYPE_BITS 2

struct worker {
	struct target *target;
	enum probe_type type;
	struct probe_spec spec; /* a deep copy; kind PROBE_NONE: none */
	struct probe_count count;
	struct ev_timer tick, deadline;
	uint64_t due_ms; /* of the tick that is set */
	bool busy;       /* one is under way */
	bool missed;     /* a tick came meanwhile */
	bool on_hold;    /* for ever */
	uint64_t token;  /* of the command running; 0: none */
	uint32_t runs;
	struct attempt *attempt; /* while one is under way: it is large */
};

struct target {
	struct prober *prober;
	struct target *next;
	uint64_t id;
	char *pod_key, *container, *pod_ip;
	uint64_t started_ms;
	struct worker worker[PROBE_NR_TYPES];
	struct ev_defer free_later;
	bool dying;
};

struct prober {
	struct prober_ops ops;
	struct ev *loop;
	pthread_t thread;
	SSL_CTX *tls;
	atomic_ullong last_id;
	struct target *by_id[BUCKETS];
	pthread_mutex_t lock;
	struct target *waiting; /* added, not yet admitted */
};

/* --- making and freeing --- */

static void spec_clear(struct probe_spec *s)
{
	for (size_t i = 0; i < s->exec.nr; i++)
		free(s->exec.v[i]);
	free(s->exec.v);
	for (size_t i = 0; i < s->headers.nr; i++) {
		free(s->headers.v[i].key);
		free(s->headers.v[i].value);
	}
	free(s->headers.v);
	free(s->host);
	free(s->path);
	free(s->service);
	*s = (struct probe_spec){ 0 };
}

static int exec_copy(struct strv *to, const struct strv *from)
{
	to->v = calloc(from->nr + 1, sizeof(*to->v));
	if (!to->v)
		return -ENOMEM;
	for (; to->nr < from->nr; to->nr++)
		if (str_set(&to->v[to->nr], from->v[to->nr]) < 0)
			return -ENOMEM;
	return 0;
}

static int headers_copy(struct key_values *to, const struct key_values *from)
{
	int r = 0;

	to->v = calloc(from->nr + 1, sizeof(*to->v));
	if (!to->v)
		return -ENOMEM;
	for (; r == 0 && to->nr < from->nr; to->nr++) {
		r = str_set(&to->v[to->nr].key, from->v[to->nr].key);
		if (r == 0)
			r = str_set(&to->v[to->nr].value,
				    from->v[to->nr].value);
	}
	return r;
}

/* On failure @to is fit for spec_clear(). */
static int spec_copy(struct probe_spec *to, const struct probe_spec *from)
{
	int r;

	*to = *from;
	to->exec = (struct strv){ 0 };
	to->headers = (struct key_values){ 0 };
	to->host = to->path = to->service = NULL;
	r = exec_copy(&to->exec, &from->exec);
	if (r == 0)
		r = headers_copy(&to->headers, &from->headers);
	if (r == 0)
		r = str_set(&to->host, from->host);
	if (r == 0)
		r = str_set(&to->service, from->service);
	return r < 0 ? r : str_set(&to->path, from->path);
}

static void target_free(struct target *t)
{
	for (int i = 0; i < PROBE_NR_TYPES; i++)
		spec_clear(&t->worker[i].spec);
	free(t->pod_key);
	free(t->container);
	free(t->pod_ip);
	free(t);
}
DEFINE_AUTO_PTR(target, target_free)

static int spec_check(const struct probe_spec *s, struct err *e)
{
	if (s->kind == PROBE_HTTP && probe_headers_check(&s->headers) < 0)
		return err_set(e, -EINVAL,
			       "probe: a header's name or value has characters "
			       "HTTP does not allow");
	if (s->kind == PROBE_EXEC && s->exec.nr == 0)
		return err_set(e, -EINVAL, "probe: no command");
	if (s->kind != PROBE_EXEC && s->port == 0)
		return err_set(e, -EINVAL, "probe: no port");
	return 0;
}

static int worker_init(struct worker *w, const struct probe_spec *spec,
		       struct err *e)
{
	int r;

	if (!spec || spec->kind == PROBE_NONE)
		return 0;
	r = spec_check(spec, e);
	if (r < 0)
		return r;
	if (spec_copy(&w->spec, spec) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (!w->spec.period_s)
		w->spec.period_s = 10;
	if (!w->spec.timeout_s)
		w->spec.timeout_s = 1;
	probe_count_init(&w->count, w->type, spec);
	return 0;
}

static bool is_address(const char *s)
{
	struct in6_addr to;

	return inet_pton(AF_INET, s, &to) == 1 ||
	       inet_pton(AF_INET6, s, &to) == 1;
}

static int target_new(struct prober *p, const struct probe_target *from,
		      struct target **ret, struct err *e)
{
	const struct probe_spec *const specs[] = {
		[PROBE_LIVENESS] = from->liveness,
		[PROBE_READINESS] = from->readiness,
		[PROBE_STARTUP] = from->startup,
	};
	auto_ptr(target) t = calloc(1, sizeof(*t));
	bool some = false;
	int r;

	if (!t || str_set(&t->pod_key, from->pod_key) < 0 ||
	    str_set(&t->container, from->container) < 0 ||
	    str_set(&t->pod_ip, from->pod_ip) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (t->pod_ip && !is_address(t->pod_ip))
		return err_set(e, -EINVAL, "probe: '%s' is no address",
			       t->pod_ip);
	t->prober = p;
	t->started_ms = from->started_ms;
	for (int i = 0; i < PROBE_NR_TYPES; i++) {
		t->worker[i].target = t;
		t->worker[i].type = (enum probe_type)i;
		r = worker_init(&t->worker[i], specs[i], e);
		if (r < 0)
			return r;
		some |= t->worker[i].spec.kind != PROBE_NONE;
	}
	if (!some)
		return err_set(e, -EINVAL, "probe: nothing to probe");
	*ret = take_ptr(t);
	return 0;
}

static struct target **find(struct prober *p, uint64_t id)
{
	struct target **t = &p->by_id[id % BUCKETS];

	while (*t && (*t)->id != id)
		t = &(*t)->next;
	return t;
}

/* --- one run --- */

static void run(struct worker *w);

static void report(struct worker *w, bool success, bool changed,
		   const char *message)
{
	struct target *t = w->target;
	struct probe_result result = {
		.id = t->id,
		.pod_key = t->pod_key,
		.container = t->container,
		.type = w->type,
		.success = success,
		.changed = changed,
		.message = message,
	};

	if (success && !changed)
		return;
	t->prober->ops.result(t->prober->ops.ctx, &result);
}

static void tick(void *arg);

static void schedule(struct worker *w, uint64_t due_ms)
{
	struct ev *loop = w->target->prober->loop;
	uint64_t now = ev_clock_ms();

	w->due_ms = due_ms;
	/* Out of memory: the timer's heap has room again when another ends, and
	 * until then nothing better than trying at the next occasion is left.
	 */
	(void)ev_timer_set(loop, &w->tick, due_ms > now ? due_ms - now : 0,
			   tick, w);
}

static void start_others(struct target *t)
{
	for (int i = 0; i < PROBE_NR_TYPES; i++) {
		struct worker *w = &t->worker[i];
		uint64_t first, now = ev_clock_ms();

		if (i == PROBE_STARTUP || w->spec.kind == PROBE_NONE)
			continue;
		first = t->started_ms + w->spec.initial_delay_s * 1000ull;
		schedule(w, first > now ? first : now);
	}
}

/* The run is over: count, tell, and see what is next. */
static void conclude(struct worker *w, bool success, const char *message)
{
	struct target *t = w->target;
	bool changed;

	ev_timer_del(&w->deadline);
	w->busy = false;
	w->token = 0;
	changed = probe_count_note(&w->count, success);
	if (changed && (w->type == PROBE_STARTUP ||
			(w->type == PROBE_LIVENESS && !success)))
		w->on_hold = true;
	if (w->on_hold)
		ev_timer_del(&w->tick);
	report(w, success, changed, message);
	if (t->dying)
		return;
	if (changed && w->type == PROBE_STARTUP && success)
		start_others(t);
	if (!w->on_hold && w->missed) {
		w->missed = false;
		run(w);
	}
}

static void attempt_done(void *arg, bool success, const char *message)
{
	struct worker *w = arg;

	free(take_ptr(w->attempt));
	conclude(w, success, message);
}

static void exec_timeout_message(const struct worker *w, char *buf, size_t size)
{
	size_t len = (size_t)snprintf(buf, size, "command timed out: \"");

	for (size_t i = 0; i < w->spec.exec.nr && len < 400; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%.200s",
					i ? " " : "", w->spec.exec.v[i]);
	snprintf(buf + len, size - len, "\" timed out after %us",
		 w->spec.timeout_s);
}

static void cancel_exec(struct worker *w)
{
	struct prober *p = w->target->prober;

	if (w->token && p->ops.exec_cancel)
		p->ops.exec_cancel(p->ops.ctx, w->target->pod_key,
				   w->target->container, w->token);
	w->token = 0;
}

static void too_late(void *arg)
{
	char message[PROBE_MESSAGE_MAX];
	struct worker *w = arg;

	if (w->spec.kind == PROBE_EXEC) {
		exec_timeout_message(w, message, sizeof(message));
		cancel_exec(w);
	} else {
		attempt_timeout_message(w->attempt, message, sizeof(message));
		attempt_cancel(w->attempt);
		free(take_ptr(w->attempt));
	}
	conclude(w, false, message);
}

/* It could not even begin, which says nothing about the container. */
static void forget_run(struct worker *w)
{
	ev_timer_del(&w->deadline);
	w->token = 0;
	w->busy = false;
}

static void run_exec(struct worker *w)
{
	struct target *t = w->target;
	struct prober *p = t->prober;
	uint64_t token;

	w->runs = (w->runs + 1) & ((1u << TOKEN_RUN_BITS) - 1);
	token = (t->id << TOKEN_TYPE_BITS | (uint64_t)w->type)
			<< TOKEN_RUN_BITS |
		w->runs;
	w->token = token;
	if (p->ops.exec_start(p->ops.ctx, t->pod_key, t->container,
			      &w->spec.exec, token, NULL) < 0)
		forget_run(w);
}

static void run_attempt(struct worker *w)
{
	struct prober *p = w->target->prober;

	w->attempt = malloc(sizeof(*w->attempt));
	if (!w->attempt) {
		forget_run(w);
		return;
	}
	*w->attempt = (struct attempt){
		.loop = p->loop,
		.ops = &p->ops,
		.pod_key = w->target->pod_key,
		.spec = &w->spec,
		.tls = &p->tls,
		.done = attempt_done,
		.arg = w,
		.fd = -EBADF,
	};
	attempt_start(w->attempt, w->target->pod_ip);
}

static void run(struct worker *w)
{
	struct prober *p = w->target->prober;

	w->busy = true;
	(void)ev_timer_set(p->loop, &w->deadline, w->spec.timeout_s * 1000ull,
			   too_late, w);
	if (w->spec.kind == PROBE_EXEC)
		run_exec(w);
	else
		run_attempt(w);
}

static void tick(void *arg)
{
	struct worker *w = arg;
	uint64_t period = w->spec.period_s * 1000ull, now = ev_clock_ms();
	uint64_t due = w->due_ms + period;

	if (due <= now) /* the machine was asleep, or far too busy */
		due += (now - due) / period * period + period;
	schedule(w, due);
	if (w->busy)
		w->missed = true;
	else
		run(w);
}

/* --- coming and going --- */

static void free_now(void *arg)
{
	target_free(arg);
}

/* Possibly from within one of its own callbacks, so it is freed later. */
static void target_drop(struct target *t)
{
	struct prober *p = t->prober;
	struct target **slot = find(p, t->id);

	if (t->dying)
		return;
	t->dying = true;
	if (*slot)
		*slot = t->next;
	for (int i = 0; i < PROBE_NR_TYPES; i++) {
		struct worker *w = &t->worker[i];

		ev_timer_del(&w->tick);
		ev_timer_del(&w->deadline);
		if (w->attempt)
			attempt_cancel(w->attempt);
		free(take_ptr(w->attempt));
		cancel_exec(w);
	}
	ev_defer(p->loop, &t->free_later, free_now, t);
}

/* Take what prober_add() has left. */
static void admit(void *arg)
{
	struct prober *p = arg;
	struct target *list;

	pthread_mutex_lock(&p->lock);
	list = p->waiting;
	p->waiting = NULL;
	pthread_mutex_unlock(&p->lock);
	while (list) {
		struct target *t = list;
		struct worker *startup = &t->worker[PROBE_STARTUP];

		list = t->next;
		t->next = p->by_id[t->id % BUCKETS];
		p->by_id[t->id % BUCKETS] = t;
		if (startup->spec.kind != PROBE_NONE)
			schedule(startup,
				 t->started_ms + startup->spec.initial_delay_s *
							 1000ull);
		else
			start_others(t);
	}
}

int prober_add(struct prober *p, const struct probe_target *from,
	       uint64_t *ret_id, struct err *e)
{
	struct target *t = NULL;
	struct target **slot;
	int r;

	r = target_new(p, from, &t, e);
	if (r < 0)
		return r;
	t->id = atomic_fetch_add(&p->last_id, 1) + 1;
	*ret_id = t->id;
	pthread_mutex_lock(&p->lock);
	/* At the end: in the order they were added. */
	for (slot = &p->waiting; *slot;)
		slot = &(*slot)->next;
	*slot = t;
	r = ev_post(p->loop, admit, p);
	if (r < 0)
		*slot = NULL;
	pthread_mutex_unlock(&p->lock);
	if (r < 0) {
		target_free(t);
		return err_set(e, r, "out of memory");
	}
	return 0;
}

struct message {
	struct prober *prober;
	uint64_t id; /* or the token */
	int exit_code;
	size_t len;
	char text[];
};

static void remove_posted(void *arg)
{
	auto_free struct message *m = arg;
	struct target *t = *find(m->prober, m->id);

	if (t)
		target_drop(t);
}

void prober_del(struct prober *p, uint64_t id)
{
	struct message *m = calloc(1, sizeof(*m) + 1);

	if (!m)
		return; /* it is probed on, for nobody: results carry the id */
	m->prober = p;
	m->id = id;
	if (ev_post(p->loop, remove_posted, m) < 0)
		free(m);
}

static void exec_done_posted(void *arg)
{
	auto_free struct message *m = arg;
	uint64_t type = m->id >> TOKEN_RUN_BITS & ((1 << TOKEN_TYPE_BITS) - 1);
	struct target *t =
		*find(m->prober, m->id >> (TOKEN_RUN_BITS + TOKEN_TYPE_BITS));
	char message[PROBE_MESSAGE_MAX + 1];
	struct worker *w;

	if (!t || type >= PROBE_NR_TYPES)
		return;
	w = &t->worker[type];
	if (!w->busy || w->token != m->id)
		return; /* it was too late */
	if (m->len)
		snprintf(message, sizeof(message), "%s", m->text);
	else
		snprintf(message, sizeof(message),
			 "command exited with code %d", m->exit_code);
	conclude(w, m->exit_code == 0, m->exit_code ? message : "");
}

void prober_exec_done(struct prober *p, uint64_t token, int exit_code,
		      const char *output, size_t len)
{
	struct message *m;

	len = probe_message_cut(output, len);
	m = calloc(1, sizeof(*m) + len + 1);
	if (!m)
		return; /* then the probe runs into its timeout */
	m->prober = p;
	m->id = token;
	m->exit_code = exit_code;
	m->len = len;
	if (len)
		memcpy(m->text, output, len);
	if (ev_post(p->loop, exec_done_posted, m) < 0)
		free(m);
}

static void *serve(void *arg)
{
	struct prober *p = arg;

	pthread_setname_np(pthread_self(), "arktos-probe");
	(void)ev_run(p->loop);
	return NULL;
}

static int start_thread(struct prober *p)
{
	sigset_t all, before;
	int r;

	/* Signals are the main loop's; SIGPIPE, OpenSSL's writes'. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&p->thread, NULL, serve, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

static void prober_release(struct prober *p)
{
	ev_free(p->loop);
	SSL_CTX_free(p->tls);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int prober_new(const struct prober_ops *ops, struct prober **ret, struct err *e)
{
	struct prober *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->ops = *ops;
	pthread_mutex_init(&p->lock, NULL);
	r = ev_new(&p->loop, e);
	if (r < 0)
		goto undo_alloc;
	r = start_thread(p);
	if (r < 0) {
		r = err_set(e, r, "cannot start the prober's thread");
		goto undo_alloc;
	}
	*ret = p;
	return 0;

undo_alloc:
	prober_release(p);
	return r;
}

static void stop(void *arg)
{
	struct prober *p = arg;

	admit(p);
	for (size_t i = 0; i < BUCKETS; i++)
		while (p->by_id[i])
			target_drop(p->by_id[i]);
	ev_stop(p->loop);
}

void prober_free(struct prober *p)
{
	if (!p)
		return;
	/* Without memory for the message, its thread is stopped without it. */
	if (ev_post(p->loop, stop, p) < 0)
		ev_stop(p->loop);
	pthread_join(p->thread, NULL);
	prober_release(p);
}
