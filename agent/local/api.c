// SPDX-License-Identifier: Apache-2.0
/* Beginning and end, and tasks: requests that threads work on. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/local/internal.h"
#include "lib/auto.h"
#include "lib/json.h"

#define WORKERS     4
#define QUEUE_MAX   256
#define STACK_BYTES (1024 * 1024)

/* --- errors as Kubernetes tells them -------------------------------------- */

static const struct {
	int code, status;
	const char *reason;
} statuses[] = {
	{ -ENOENT, 404, "NotFound" },
	{ -EEXIST, 409, "AlreadyExists" },
	{ -EBUSY, 409, "Conflict" },
	{ -ESTALE, 409, "Conflict" },
	{ -EBADMSG, 400, "BadRequest" },
	{ -E2BIG, 413, "RequestEntityTooLarge" },
	{ -EINVAL, 422, "Invalid" },
	{ -ERANGE, 422, "Invalid" },
	{ -EACCES, 403, "Forbidden" },
	{ -EPERM, 403, "Forbidden" },
	{ -ETIMEDOUT, 504, "Timeout" },
	{ -EAGAIN, 503, "ServiceUnavailable" },
	{ -ESHUTDOWN, 503, "ServiceUnavailable" },
	{ -EOPNOTSUPP, 501, "NotImplemented" },
	{ 0, 500, "InternalError" },
};

static size_t find_status(int code)
{
	size_t i = 0;

	while (statuses[i].code && statuses[i].code != code)
		i++;
	return i;
}

int status_of(int code)
{
	return statuses[find_status(code)].status;
}

void put_status(struct buf *b, int code, const char *message)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "Status");
	json_put_str(&o, "apiVersion", "v1");
	json_put_object(&o, "metadata");
	json_put_end(&o);
	json_put_str(&o, "status", "Failure");
	json_put_str(&o, "message", message);
	json_put_str(&o, "reason", statuses[find_status(code)].reason);
	json_put_i64(&o, "code", status_of(code));
	json_put_end(&o);
}

static void reply_message(struct http_req *req, int code, const char *message)
{
	auto_buf struct buf b = BUF_INIT;

	put_status(&b, code, message);
	http_reply(req, status_of(code), "application/json", buf_str(&b),
		   b.len);
}

void reply_error(struct http_req *req, int code, const struct err *e)
{
	reply_message(req, code, e->msg[0] ? e->msg : strerror(-code));
}

/* --- messages ------------------------------------------------------------- */

void api_send(struct api *api, struct message *m)
{
	uint64_t one = 1;

	m->next = NULL;
	pthread_mutex_lock(&api->lock);
	*api->messages_tail = m;
	api->messages_tail = &m->next;
	/* Inside the lock: once it is taken out, the API may go. EAGAIN: the
	 * loop will wake anyway. */
	if (write(api->wakefd, &one, sizeof(one)) < 0)
		one = 0;
	pthread_mutex_unlock(&api->lock);
}

static void run_messages(struct api *api)
{
	struct message *m;
	uint64_t n;

	if (read(api->wakefd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&api->lock);
	m = api->messages;
	api->messages = NULL;
	api->messages_tail = &api->messages;
	pthread_mutex_unlock(&api->lock);
	while (m) {
		struct message *next = m->next;

		m->fn(m);
		m = next;
	}
}

static void wake_ready(void *arg, uint32_t events)
{
	(void)events;
	run_messages(arg);
}

/* --- tasks ---------------------------------------------------------------- */

static void client_gone(void *arg)
{
	struct task *t = arg;

	atomic_store(&t->cancel, true);
	if (t->ended)
		t->ended(t);
}

struct task *task_new(struct api *api, struct http_req *req,
		      struct route *route, size_t size)
{
	struct task *t = calloc(1, size);
	struct err e;

	if (!t) {
		route_clear(route);
		reply_error(req, err_set(&e, -ENOMEM, "out of memory"), &e);
		return NULL;
	}
	t->api = api;
	t->req = http_req_ref(req);
	t->route = *route;
	t->status = 200;
	t->type = "application/json";
	t->finish = task_finish;
	http_on_end(req, client_gone, t);
	return t;
}

void task_free(struct task *t)
{
	if (t->release)
		t->release(t);
	http_on_end(t->req, NULL, NULL);
	http_req_unref(t->req);
	route_clear(&t->route);
	buf_clear(&t->out);
	free(t);
}

void task_reply(struct task *t)
{
	if (t->r == 0 && buf_error(&t->out))
		t->r = err_set(&t->err, -ENOMEM, "out of memory");
	/* The answer ends the request; nobody is to be told. */
	http_on_end(t->req, NULL, NULL);
	if (t->r < 0) {
		atomic_fetch_add(&t->api->errors, 1);
		if (t->tells && t->out.len)
			reply_message(t->req, t->r, buf_str(&t->out));
		else
			reply_error(t->req, t->r, &t->err);
	} else {
		http_reply(t->req, t->status, t->type, buf_str(&t->out),
			   t->out.len);
	}
}

void task_finish(struct task *t)
{
	task_reply(t);
	task_free(t);
}

static void task_done(struct message *m)
{
	struct task *t = (struct task *)m;

	if (t->is_long) {
		pthread_join(t->thread, NULL);
		t->api->nr_long--;
	}
	t->finish(t);
}

static void reply_and_free(struct task *t, int code, const char *why)
{
	t->r = err_set(&t->err, code, "%s", why);
	task_finish(t);
}

void task_start(struct task *t)
{
	struct api *api = t->api;
	bool full;

	t->done.fn = task_done;
	pthread_mutex_lock(&api->lock);
	full = api->nr_queued >= QUEUE_MAX;
	if (!full) {
		t->next = NULL;
		*api->queue_tail = t;
		api->queue_tail = &t->next;
		api->nr_queued++;
		pthread_cond_signal(&api->work);
	}
	pthread_mutex_unlock(&api->lock);
	if (full)
		reply_and_free(t, -EAGAIN, "too many requests at a time");
}

static void *worker(void *arg)
{
	struct api *api = arg;
	struct task *t;

	pthread_mutex_lock(&api->lock);
	for (;;) {
		t = api->queue;
		if (!t && api->stopping)
			break;
		if (!t) {
			pthread_cond_wait(&api->work, &api->lock);
			continue;
		}
		api->queue = t->next;
		if (!api->queue)
			api->queue_tail = &api->queue;
		api->nr_queued--;
		pthread_mutex_unlock(&api->lock);
		if (atomic_load(&t->cancel))
			t->r = -EPIPE;
		else
			t->run(t);
		api_send(api, &t->done);
		pthread_mutex_lock(&api->lock);
	}
	pthread_mutex_unlock(&api->lock);
	return NULL;
}

static void *long_thread(void *arg)
{
	struct task *t = arg;

	t->run(t);
	api_send(t->api, &t->done);
	return NULL;
}

/* Signals are the loop's: our threads block them all, SIGPIPE included. */
static int start_thread(pthread_t *ret, const char *name, void *(*fn)(void *),
			void *arg)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		pthread_setname_np(*ret, name);
	return -r;
}

void task_start_long(struct task *t)
{
	t->done.fn = task_done;
	t->is_long = true;
	if (t->api->nr_long >= API_SESSIONS)
		reply_and_free(t, -EAGAIN,
			       "too many sessions at a time: end some, then"
			       " try again");
	else if (start_thread(&t->thread, "arktos-session", long_thread, t) < 0)
		reply_and_free(t, -EAGAIN, "no thread can be started");
	else
		t->api->nr_long++;
}

/* --- requests --------------------------------------------------------------
 */

static void reply_text(struct http_req *req, const char *type, const char *text)
{
	http_reply(req, 200, type, text, strlen(text));
}

static void dispatch(struct api *api, struct http_req *req, struct route *r)
{
	switch (r->op) {
	case ROUTE_HEALTHZ:
		reply_text(req, "text/plain", "ok");
		break;
	case ROUTE_VERSION:
		reply_text(req, "application/json",
			   "{\"arktosVersion\":\"" ARKTOS_VERSION "\"}");
		break;
	case ROUTE_APPLY:
		handle_apply(api, req, r);
		return;
	case ROUTE_POD_RESIZE:
		handle_resize(api, req, r);
		return;
	case ROUTE_POD_ACTION:
		handle_action(api, req, r);
		return;
	case ROUTE_POD_LOG:
		handle_logs(api, req, r);
		return;
	case ROUTE_POD_EXEC:
	case ROUTE_POD_ATTACH:
		handle_session(api, req, r);
		return;
	case ROUTE_POD_WATCH:
		handle_watch(api, req, r);
		return;
	case ROUTE_IMAGE_ADD:
		handle_images(api, req, r);
		return;
	default:
		handle_short(api, req, r);
		return;
	}
	route_clear(r);
}

static void handle(void *arg, struct http_req *req)
{
	struct api *api = arg;
	struct route route;
	struct err e = { 0 };
	int r;

	atomic_fetch_add(&api->requests, 1);
	r = route_parse(req->head->method, req->head->target, &route, &e);
	if (r == 0) {
		dispatch(api, req, &route);
		return;
	}
	atomic_fetch_add(&api->errors, 1);
	if (r == -EOPNOTSUPP) {
		auto_buf struct buf b = BUF_INIT;

		put_status(&b, r, e.msg);
		http_reply(req, 405, "application/json", buf_str(&b), b.len);
		return;
	}
	reply_error(req, r, &e);
}

static bool admit(void *arg, const struct ucred *peer)
{
	const struct api *api = arg;

	return api->o.any_peer || peer->uid == 0;
}

/* --- beginning and end -----------------------------------------------------
 */

static int start_workers(struct api *api, struct err *e)
{
	unsigned nr = api->o.workers ? api->o.workers : WORKERS;
	int r = 0;

	api->workers = calloc(nr, sizeof(*api->workers));
	if (!api->workers)
		return err_set(e, -ENOMEM, "out of memory");
	while (r == 0 && api->nr_workers < nr) {
		r = start_thread(&api->workers[api->nr_workers], "arktos-api",
				 worker, api);
		if (r == 0)
			api->nr_workers++;
	}
	return r < 0 ? err_wrap(e, r, "start a worker thread") : 0;
}

static int listen_at(struct api *api, struct err *e)
{
	struct http_server_opts ho = {
		.loop = api->o.loop,
		.handle = handle,
		.admit = admit,
		.arg = api,
		.body_max = API_BODY_MAX,
		.name = "arktos-node/" ARKTOS_VERSION,
	};
	int r;

	api->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	api->stopfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (api->wakefd < 0 || api->stopfd < 0)
		return err_sys(e, "eventfd");
	r = ev_io_add(api->o.loop, &api->wake, api->wakefd, EPOLLIN, wake_ready,
		      api, e);
	if (r == 0)
		r = http_server_new(&ho, &api->http, e);
	if (r == 0)
		r = http_listen_unix(api->http, api->o.socket_path, 0600, e);
	return r;
}

int api_start(const struct api_opts *o, struct api **ret, struct err *e)
{
	struct api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return err_set(e, -ENOMEM, "out of memory");
	api->o = *o;
	api->wakefd = api->stopfd = -EBADF;
	api->messages_tail = &api->messages;
	api->queue_tail = &api->queue;
	pthread_mutex_init(&api->lock, NULL);
	pthread_cond_init(&api->work, NULL);
	r = listen_at(api, e);
	if (r == 0)
		r = start_workers(api, e);
	if (r < 0) {
		api_stop(api);
		return err_wrap(e, r, "local API");
	}
	/* Pods may be worked on already, and are told of there. */
	__atomic_store_n(ret, api, __ATOMIC_RELEASE);
	return 0;
}

static void join_threads(struct api *api)
{
	pthread_mutex_lock(&api->lock);
	pthread_cond_broadcast(&api->work);
	pthread_mutex_unlock(&api->lock);
	for (unsigned i = 0; i < api->nr_workers; i++)
		pthread_join(api->workers[i], NULL);
	run_messages(api);
	/* Sessions end by their messages, and may wait for an answer to some.
	 */
	while (api->nr_long) {
		struct pollfd p = { .fd = api->wakefd, .events = POLLIN };

		if (poll(&p, 1, 1000) < 0 && errno != EINTR)
			break;
		run_messages(api);
	}
}

void api_stop(struct api *api)
{
	uint64_t one = 1;

	if (!api)
		return;
	atomic_store(&api->stopping, true);
	if (api->stopfd >= 0 && write(api->stopfd, &one, sizeof(one)) < 0)
		one = 0; /* it is readable already */
	watchers_drop(api);
	/* Every client is gone now, so every task is cancelled. */
	http_server_free(api->http);
	api->http = NULL;
	join_threads(api);
	ev_io_del(&api->wake);
	if (api->wakefd >= 0)
		close(api->wakefd);
	if (api->stopfd >= 0)
		close(api->stopfd);
	pthread_cond_destroy(&api->work);
	pthread_mutex_destroy(&api->lock);
	free(api->workers);
	free(api);
}
