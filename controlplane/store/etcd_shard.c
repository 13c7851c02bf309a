// SPDX-License-Identifier: Apache-2.0
/*
 * A shard's thread: it keeps a connection, knows whether there is an answer,
 * and does the jobs that others leave.
 */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "controlplane/store/etcd_shard.h"
#include "lib/str.h"

#define IDLE_MS    2000 /* between two of a cluster that answers */
#define AGAIN_MS   300  /* and of one that does not */
#define REST       3    /* times as long as a slow write took */
#define FIRST_MS   4000 /* how long its first word is waited for */
#define COMPACT_MS 60000

/* --- state --- */

void shard_state_set(struct shard *sh, enum shard_state state, int code,
		     const char *fmt, ...)
{
	struct store_backend *b = &sh->owner->base;
	bool changed;
	va_list ap;

	va_start(ap, fmt);
	pthread_mutex_lock(&sh->c.lock);
	changed = sh->state != state;
	sh->state = state;
	sh->code = code;
	vsnprintf(sh->why, sizeof(sh->why), fmt, ap);
	pthread_mutex_unlock(&sh->c.lock);
	va_end(ap);
	if (changed && b->wake)
		b->wake(b->wake_arg);
}

enum shard_state shard_state(struct shard *sh)
{
	enum shard_state state;

	pthread_mutex_lock(&sh->c.lock);
	state = sh->state;
	pthread_mutex_unlock(&sh->c.lock);
	return state;
}

/* --- jobs --- */

struct shard_job *shard_job_new(enum shard_task task)
{
	struct shard_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	atomic_init(&job->refs, 1);
	job->task = task;
	return job;
}

void shard_job_unref(struct shard_job *job)
{
	if (!job || atomic_fetch_sub(&job->refs, 1) != 1)
		return;
	for (size_t i = 0; i < job->nr; i++)
		object_unref(job->v[i]);
	free(job->v);
	for (size_t i = 0; i < job->nr_segs; i++)
		free(job->segs[i].has);
	free(job->segs);
	free(job->seg.dead);
	free(job->parts);
	free(job->keys);
	buf_clear(&job->data);
	buf_clear(&job->orphans);
	free(job);
}

static void finish(struct shard *sh, struct shard_job *job, int result,
		   const struct err *e)
{
	struct shards *all = sh->owner->shards;

	pthread_mutex_lock(&all->done_lock);
	job->result = result;
	job->err = *e;
	job->done = true;
	pthread_cond_broadcast(&all->done);
	pthread_mutex_unlock(&all->done_lock);
	if (job->task == SHARD_LOAD && sh->owner->base.wake)
		sh->owner->base.wake(sh->owner->base.wake_arg);
	shard_job_unref(job);
}

static void refuse(struct shard *sh, struct shard_job *job)
{
	struct err e = { 0 };

	err_set(&e, -EHOSTUNREACH, "its StorageCluster is gone");
	finish(sh, job, -EHOSTUNREACH, &e);
}

void shard_post(struct shard *sh, struct shard_job *job)
{
	bool over;

	atomic_fetch_add(&job->refs, 1);
	job->next = NULL;
	pthread_mutex_lock(&sh->c.lock);
	over = sh->over;
	if (!over) {
		*sh->jobs_tail = job;
		sh->jobs_tail = &job->next;
		pthread_cond_broadcast(&sh->c.cond);
	}
	pthread_mutex_unlock(&sh->c.lock);
	if (over)
		refuse(sh, job);
}

bool shard_job_done(struct etcd *owner, struct shard_job *job)
{
	bool done;

	pthread_mutex_lock(&owner->shards->done_lock);
	done = job->done;
	pthread_mutex_unlock(&owner->shards->done_lock);
	return done;
}

int shard_wait(struct etcd *owner, struct shard_job **jobs, size_t nr,
	       uint32_t ms)
{
	struct shards *all = owner->shards;
	struct timespec until = mono_in_ms(ms);
	size_t i = 0;
	int rc = 0;

	pthread_mutex_lock(&all->done_lock);
	while (i < nr && !rc) {
		if (jobs[i]->done)
			i++;
		else
			rc = pthread_cond_timedwait(&all->done, &all->done_lock,
						    &until);
	}
	while (i < nr && jobs[i]->done)
		i++;
	pthread_mutex_unlock(&all->done_lock);
	return i == nr ? 0 : -ETIMEDOUT;
}

/* --- the thread --- */

/* host:port as it is, or with a scheme, or several by commas. */
static int connect_to(struct shard *sh, const char *address, struct err *e)
{
	const struct store_etcd *o = &sh->owner->shards->opts;
	const char *scheme = o->ca_file || o->cert_file ? "https" : "http";
	auto_buf struct buf list = BUF_INIT;

	for (const char *p = address; *p; p += *p == ',') {
		int n = (int)strcspn(p, ",");

		buf_printf(&list, "%s%s%s%.*s", list.len ? "," : "",
			   str_starts(p, "http://") || str_starts(p, "https://")
				   ? ""
				   : scheme,
			   str_starts(p, "http://") || str_starts(p, "https://")
				   ? ""
				   : "://",
			   n, p);
		p += n;
	}
	if (buf_error(&list))
		return err_set(e, -ENOMEM, "out of memory");
	return etcd_connect(&sh->c, o, buf_str(&list), e);
}

/* What follows from how a request to it ended. One that is slow rests, so that
 * those who share batches with it do not always wait for it. */
static void say_state(struct shard *sh, int r, const struct err *e)
{
	sh->full = r == -ENOSPC;
	if (r == 0 && mono_ms() < sh->rest_until)
		shard_state_set(sh, SHARD_SLOW, 0, "%s", "");
	else if (r == 0)
		shard_state_set(sh, SHARD_READY, 0, "%s", "");
	else if (r == -ENOSPC || r == -EFBIG)
		shard_state_set(sh, SHARD_AWAY, r, "%s", e->msg);
	else
		shard_state_set(sh, SHARD_AWAY, -EHOSTUNREACH, "%s", e->msg);
}

static void probe(struct shard *sh)
{
	struct err e = { 0 };
	int r = sh->c.g ? shard_identify(sh, &e) : -EHOSTUNREACH;
	bool damaged;

	if (r == 0 && sh->full)
		r = shard_try_room(sh, &e);
	pthread_mutex_lock(&sh->c.lock);
	damaged = sh->damaged;
	pthread_mutex_unlock(&sh->c.lock);
	if (!damaged && sh->c.g)
		say_state(sh, r, &e);
}

static void reconnect(struct shard *sh)
{
	auto_free char *address = NULL;
	struct err e = { 0 };

	pthread_mutex_lock(&sh->c.lock);
	address = sh->address ? strdup(sh->address) : NULL;
	pthread_mutex_unlock(&sh->c.lock);
	if (!address || connect_to(sh, address, &e) < 0)
		shard_state_set(sh, SHARD_AWAY, -EHOSTUNREACH, "%s",
				address ? e.msg : "out of memory");
}

/* What it says of itself while it is not to be had is more than what became
 * of this job. */
static void work(struct shard *sh, struct shard_job *job)
{
	enum shard_state state = shard_state(sh);
	uint64_t begin = mono_ms(), took;
	struct err e = { 0 };
	int r;

	if (state == SHARD_AWAY || state == SHARD_NEW)
		r = err_set(&e, -EHOSTUNREACH, "%s", sh->why);
	else
		r = shard_do(sh, job, &e);
	took = mono_ms() - begin;
	if (job->task == SHARD_PUT && r == 0) {
		atomic_store(&sh->took_ms, took);
		if (took > SHARD_PATIENCE_MS)
			sh->rest_until = mono_ms() + REST * took;
	}
	if (state == SHARD_READY || state == SHARD_SLOW)
		say_state(sh, r == -EAGAIN ? 0 : r, &e);
	finish(sh, job, r, &e);
}

/* With the lock; the next job, or NULL once @ms are over. */
static struct shard_job *next_job(struct shard *sh, uint64_t ms)
{
	struct timespec until = mono_in_ms(ms);
	struct shard_job *job;

	while (!sh->jobs && !sh->gone && !sh->moved)
		if (pthread_cond_timedwait(&sh->c.cond, &sh->c.lock, &until))
			break;
	job = sh->moved || sh->gone ? NULL : sh->jobs;
	if (!job)
		return NULL;
	sh->jobs = job->next;
	if (!sh->jobs)
		sh->jobs_tail = &sh->jobs;
	return job;
}

static void compact(struct shard *sh)
{
	uint64_t now = mono_ms();

	if (!atomic_load(&sh->owner->collects) || now < sh->compacted_at)
		return;
	etcd_compact(&sh->c, &sh->compact_to);
	sh->compacted_at = now + COMPACT_MS;
}

/* With the lock; until it is looked at again. */
static uint64_t pause_of(const struct shard *sh)
{
	uint64_t now = mono_ms();

	if (sh->state == SHARD_SLOW)
		return sh->rest_until > now ? sh->rest_until - now : 1;
	return sh->state == SHARD_READY ? IDLE_MS : AGAIN_MS;
}

static void *run(void *arg)
{
	struct shard *sh = arg;
	struct shard_job *jobs, *next;
	uint64_t wait = 0;

	reconnect(sh);
	pthread_mutex_lock(&sh->c.lock);
	while (!sh->gone) {
		struct shard_job *job = next_job(sh, wait);
		bool moved = sh->moved;

		sh->moved = false;
		if (sh->gone)
			break;
		pthread_mutex_unlock(&sh->c.lock);
		if (moved)
			reconnect(sh);
		if (job)
			work(sh, job);
		else
			probe(sh);
		compact(sh);
		pthread_mutex_lock(&sh->c.lock);
		wait = pause_of(sh);
	}
	sh->over = true;
	jobs = sh->jobs;
	pthread_mutex_unlock(&sh->c.lock);
	for (; jobs; jobs = next) {
		next = jobs->next;
		refuse(sh, jobs);
	}
	if (sh->empty)
		shard_leave_nothing(sh);
	return NULL;
}

void shard_await_word(struct shard *sh)
{
	for (int i = 0; i < FIRST_MS / 10 && shard_state(sh) == SHARD_NEW; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

/* --- life --- */

struct shard *shard_new(struct etcd *owner, int id, const char *name,
			const char *address)
{
	auto_free char *prefix = str_printf("%scluster-%d/", owner->prefix, id);
	struct shard *sh = calloc(1, sizeof(*sh));

	if (!sh || !prefix) {
		free(sh);
		return NULL;
	}
	sh->owner = owner;
	sh->id = id;
	sh->jobs_tail = &sh->jobs;
	atomic_init(&sh->loaded, true); /* unless parts are named */
	if (etcd_init(&sh->c, &owner->shards->opts, prefix, NULL) < 0) {
		free(sh);
		return NULL;
	}
	if (sh->c.timeout_ms > SHARD_TIMEOUT_MS)
		sh->c.timeout_ms = SHARD_TIMEOUT_MS;
	sh->c.base.keys = owner->base.keys;
	sh->name = strdup(name);
	sh->address = strdup(address);
	sh->ident = str_printf("%sident", prefix);
	sh->since = str_printf("%ssince", prefix);
	if (!sh->name || !sh->address || !sh->ident || !sh->since) {
		shard_free(sh);
		return NULL;
	}
	return sh;
}

int shard_start(struct shard *sh)
{
	sh->c.base.keys = sh->owner->base.keys;
	sh->started =
		sh->started || !pthread_create(&sh->thread, NULL, run, sh);
	return sh->started ? 0 : -EAGAIN;
}

void shard_move(struct shard *sh, const char *address)
{
	char *copy;

	pthread_mutex_lock(&sh->c.lock);
	copy = strcmp(sh->address, address) != 0 ? strdup(address) : NULL;
	if (copy) {
		free(sh->address);
		sh->address = copy;
		sh->moved = true;
		sh->damaged = false;
		pthread_cond_broadcast(&sh->c.cond);
	}
	pthread_mutex_unlock(&sh->c.lock);
}

void shard_end(struct shard *sh, uint64_t at)
{
	pthread_mutex_lock(&sh->c.lock);
	sh->gone = true;
	sh->empty = at;
	pthread_cond_broadcast(&sh->c.cond);
	pthread_mutex_unlock(&sh->c.lock);
}

void shard_stop(struct shard *sh)
{
	shard_end(sh, 0);
	pthread_rwlock_rdlock(&sh->c.g_lock);
	if (sh->c.g)
		grpc_stop(sh->c.g);
	pthread_rwlock_unlock(&sh->c.g_lock);
}

void shard_free(struct shard *sh)
{
	if (sh->started)
		pthread_join(sh->thread, NULL);
	shard_job_unref(sh->gc);
	shard_job_unref(sh->load);
	free(sh->parts);
	buf_clear(&sh->orphans);
	free(sh->name);
	free(sh->address);
	free(sh->ident);
	free(sh->since);
	etcd_fini(&sh->c);
	free(sh);
}
