// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include "controlplane/client/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define CONNS 16

struct ev *client_loop(const struct client *c)
{
	return c->loop;
}

/* A loop of the caller's is only used, and closed, by its own thread. */
bool client_on_loop(const struct client *c)
{
	return !c->own_loop || pthread_equal(pthread_self(), c->thread);
}

const char *client_server(const struct client *c)
{
	return c->to->server;
}

void client_call_clear(struct client_call *call)
{
	buf_clear(&call->answer);
}

/* --- on the loop --- */

void call_end(struct client *c, struct client_call *call, int status)
{
	call->status = status;
	call->conn = NULL;
	client_count(c, call);
	call->done(call);
}

static struct conn *idle_conn(struct client *c)
{
	for (struct conn *n = c->all; n; n = n->next)
		if (n->state == CONN_IDLE)
			return n;
	return NULL;
}

/* Give waiting calls a connection: a kept one, or a new one. */
void client_pump(struct client *c)
{
	struct client_call *call;

	while ((call = c->first)) {
		struct conn *n = call->stream ? NULL : idle_conn(c);
		int r = 0;

		if (!n && !call->stream && c->conns >= c->conns_max &&
		    !c->closing)
			return;
		c->first = call->next;
		if (!c->first)
			c->last = &c->first;
		call->next = NULL;
		call->answer.max = CLIENT_ANSWER_MAX;
		if (c->closing)
			r = err_set(&call->err, -ECANCELED,
				    "the client is closing");
		else if (n)
			client_conn_take(n, call);
		else
			r = client_conn_new(c, call, &call->err);
		if (r < 0)
			call_end(c, call, r);
	}
}

static void take_posted(void *arg)
{
	struct client *c = arg;
	struct client_call *list;

	pthread_mutex_lock(&c->lock);
	list = c->posted;
	c->posted = NULL;
	c->posted_last = &c->posted;
	c->post_pending = false;
	pthread_mutex_unlock(&c->lock);
	if (list) {
		*c->last = list;
		while (*c->last)
			c->last = &(*c->last)->next;
	}
	client_pump(c);
}

void client_start(struct client *c, struct client_call *call)
{
	bool post;
	int r = 0;

	call->next = NULL;
	call->conn = NULL;
	call->started_us = client_now_us();
	pthread_mutex_lock(&c->lock);
	*c->posted_last = call;
	c->posted_last = &call->next;
	post = !c->post_pending;
	c->post_pending = true;
	if (post)
		r = ev_post(c->loop, take_posted, c);
	if (r < 0)
		c->post_pending = false; /* taken along with the next one */
	pthread_mutex_unlock(&c->lock);
}

static bool unlist(struct client_call **first, struct client_call ***last,
		   struct client_call *call)
{
	for (struct client_call **at = first; *at; at = &(*at)->next)
		if (*at == call) {
			*at = call->next;
			if (!*at)
				*last = at;
			return true;
		}
	return false;
}

void client_cancel(struct client *c, struct client_call *call)
{
	struct conn *n = call->conn;

	if (n) {
		client_conn_close(n);
		client_pump(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	if (!unlist(&c->posted, &c->posted_last, call))
		unlist(&c->first, &c->last, call);
	pthread_mutex_unlock(&c->lock);
}

/* --- waiting --- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	size_t left;
};

static void waited(struct client_call *call)
{
	struct waiter *w = call->arg;

	pthread_mutex_lock(&w->lock);
	if (--w->left == 0)
		pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

void client_do_all(struct client *c, struct client_call *calls, size_t nr)
{
	struct waiter w = { .left = nr };

	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.cond, NULL);
	for (size_t i = 0; i < nr; i++) {
		calls[i].arg = &w;
		calls[i].done = waited;
		client_start(c, &calls[i]);
	}
	pthread_mutex_lock(&w.lock);
	while (w.left)
		pthread_cond_wait(&w.cond, &w.lock);
	pthread_mutex_unlock(&w.lock);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
}

int client_do(struct client *c, struct client_call *call)
{
	client_do_all(c, call, 1);
	return call->status;
}

int client_check(const struct client_call *call, struct err *e)
{
	int s = call->status, code;
	const char *msg, *reason;
	yyjson_doc *doc;

	if (s < 0)
		return err_set(e, s, "%s",
			       *call->err.msg ? call->err.msg : strerror(-s));
	if (s < 400)
		return 0;
	doc = yyjson_read(buf_str(&call->answer), call->answer.len, 0);
	msg = yyjson_get_str(
		yyjson_obj_get(yyjson_doc_get_root(doc), "message"));
	reason = yyjson_get_str(
		yyjson_obj_get(yyjson_doc_get_root(doc), "reason"));
	code = s == 404 || s == 410 ? -ENOENT
	       : s == 409 ? str_eq(reason, "AlreadyExists") ? -EEXIST : -ESTALE
	       : s == 401 || s == 403 ? -EACCES
	       : s == 400 || s == 422 ? -EINVAL
	       : s == 429             ? -EAGAIN
				      : -EIO;
	if (msg)
		err_set(e, code, "%s", msg);
	else
		err_set(e, code, "the server answered %d", s);
	yyjson_doc_free(doc);
	return code;
}

/* --- beginning and end --- */

static void *serve(void *arg)
{
	struct client *c = arg;

	pthread_setname_np(pthread_self(), "arktos-client");
	(void)ev_run(c->loop);
	return NULL;
}

static int start_loop(struct client *c, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r = ev_new(&c->loop, e);

	if (r < 0)
		return r;
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	r = pthread_create(&c->thread, &attr, serve, c);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		c->own_loop = true;
		return 0;
	}
	ev_free(c->loop);
	c->loop = NULL;
	errno = r;
	return err_sys(e, "thread");
}

int client_open(const struct client_opts *opts, struct client **ret,
		struct err *e)
{
	auto_ptr(client) c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->last = &c->first;
	c->posted_last = &c->posted;
	c->connect = opts->connect;
	c->connect_arg = opts->connect_arg;
	c->conns_max = opts->conns ? opts->conns : CONNS;
	pthread_mutex_init(&c->lock, NULL);
	c->agent = opts->agent ? strdup(opts->agent)
			       : strdup("arktos/" ARKTOS_VERSION);
	if (!c->agent)
		return err_set(e, -ENOMEM, "out of memory");
	r = opts->text ? target_parse(opts->text, strlen(opts->text),
				      "kubeconfig", &c->to, e)
		       : target_open(opts->kubeconfig, &c->to, e);
	if (r == 0 && opts->loop)
		c->loop = opts->loop;
	else if (r == 0)
		r = start_loop(c, e);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

/* On the loop: nothing of the client's is left there afterwards. */
static void shut(void *arg)
{
	struct client *c = arg;
	struct conn *n;

	c->closing = true;
	while ((n = c->all)) {
		struct client_call *call = n->call;

		client_conn_close(n);
		if (call) {
			err_set(&call->err, -ECANCELED,
				"the client is closing");
			call_end(c, call, -ECANCELED);
		}
	}
	take_posted(c);
	if (c->own_loop)
		ev_stop(c->loop);
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->own_loop) {
		while (ev_post(c->loop, shut, c) < 0)
			;
		pthread_join(c->thread, NULL);
		(void)ev_step(c->loop, 0); /* what was deferred at last */
		ev_free(c->loop);
	} else if (c->loop) {
		shut(c);
	}
	target_free(c->to);
	if (c->addr)
		freeaddrinfo(c->addr);
	pthread_mutex_destroy(&c->lock);
	free(c->agent);
	free(c);
}
