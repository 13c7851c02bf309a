// SPDX-License-Identifier: Apache-2.0
/* Sockets and loops. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/greet.h"
#include "controlplane/apiserver/hook.h"
#include "controlplane/apiserver/metrics.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "controlplane/apiserver/usage/usage.h"
#include "controlplane/apiserver/write.h"
#include "lib/slice.h"
#include "lib/str.h"

struct req *req_new(struct conn *c, struct loop *l)
{
	struct req *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->conn = c;
	r->loop = l;
	r->api = l->api;
	r->user = c->user;
	return r;
}

void req_free(struct req *r)
{
	if (!r)
		return;
	metrics_end(r);
	audit_end(r);
	watch_stop(r);
	ev_timer_del(&r->timer);
	ev_timer_del(&r->mark_timer);
	for (size_t i = r->out_at; i < r->out_nr; i++) {
		piece_clear(&r->out[i]);
	}
	free(r->out);
	write_free(r->write);
	selector_clear(&r->selector);
	type_set_unref(r->types);
	extension_unref(r->extension);
	buf_clear(&r->body);
	buf_clear(&r->lines);
	buf_clear(&r->fields);
	flow_leave(&r->seats);
	flow_watch_end(r);
	relay_free(r->relay);
	collect_free(r->collect);
	aside_orphan(r);
	free(r->own_type);
	free(r->upgrade);
	user_free(r->own_user);
	user_free(r->own_real);
	free(r->impersonator);
	free(r->method);
	free(r->path);
	free(r->own_path);
	free(r->query);
	free(r->accept);
	free(r->content_type);
	free(r->bearer);
	free(r->user_agent);
	free(r);
}

/* --- arrivals --- */

static void take_arrivals(struct conn *c)
{
	struct conn *next;

	for (; c; c = next) {
		next = c->next;
		peer_enter(c);
	}
}

struct loop *loop_of_fewest(struct api *api)
{
	struct loop *l = &api->loops[0];

	for (unsigned int i = 1; i < api->nr_loops; i++)
		if (atomic_load(&api->loops[i].load) < atomic_load(&l->load))
			l = &api->loops[i];
	return l;
}

void loop_give(struct loop *l, struct conn *c)
{
	c->loop = l;
	/* Counted from here on, or all that come at once go to one. */
	atomic_fetch_add(&l->load, 1);
	pthread_mutex_lock(&l->lock);
	c->next = l->arrivals;
	l->arrivals = c;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

static struct user *own_user(const char *tenant, const char *name,
			     const char *groups)
{
	auto_ptr(user) u = user_new(name, tenant);

	for (const char *g = groups; u && g && *g;) {
		size_t n = strcspn(g, ",");
		auto_free char *group = strndup(g, n);

		if (!group || user_add_group(u, group))
			return NULL;
		g += n + (g[n] == ',');
	}
	if (!u || user_add_group(u, "system:authenticated"))
		return NULL;
	return take_ptr(u);
}

int api_connect(struct api *api, const char *tenant, const char *user,
		const char *groups, struct err *e)
{
	struct loop *l = loop_of_fewest(api);
	struct user *u = own_user(tenant, user, groups);
	struct conn *c;
	int pair[2];

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       pair) < 0) {
		user_free(u);
		return err_sys(e, "a connection to the API in this process");
	}
	c = peer_new_own(l, pair[0], u);
	if (!c) {
		user_free(u);
		close(pair[0]);
		close(pair[1]);
		return err_set(e, -ENOMEM, "out of memory");
	}
	loop_give(l, c);
	return pair[1];
}

/* --- loops --- */

/* Watches and writes that other threads have finished with. */
static void loop_posted(void *arg)
{
	struct loop *l = arg;
	struct write *done, *next_write;
	struct req *ready, *next;
	struct aside *asides, *next_aside;
	struct conn *arrivals;

	pthread_mutex_lock(&l->lock);
	l->posted = false;
	arrivals = l->arrivals;
	l->arrivals = NULL;
	ready = l->ready;
	l->ready = NULL;
	done = l->done;
	l->done = NULL;
	asides = l->asides;
	l->asides = NULL;
	for (next = ready; next; next = next->ready_next)
		next->ready = false;
	pthread_mutex_unlock(&l->lock);
	take_arrivals(arrivals);
	for (; done; done = next_write) {
		next_write = done->next;
		if (done->req && done->req->away) {
			done->next = l->held_writes;
			l->held_writes = done;
		} else {
			write_done(done);
		}
	}
	for (; asides; asides = next_aside) {
		next_aside = asides->next;
		if (asides->kind != ASIDE_HEAVY && asides->req &&
		    asides->req->away) {
			asides->next = l->held_asides;
			l->held_asides = asides;
		} else {
			aside_done(asides);
		}
	}
	flow_granted(l);
	/* Serving one watch may end another: it takes itself off the list. */
	l->serving = ready;
	while ((ready = l->serving)) {
		l->serving = ready->ready_next;
		ready->ready_next = NULL;
		watch_ready(ready);
	}
}

void loop_wake(struct loop *l)
{
	bool post;

	pthread_mutex_lock(&l->lock);
	post = !l->posted;
	l->posted = true;
	pthread_mutex_unlock(&l->lock);
	if (post)
		(void)ev_post(l->ev, loop_posted, l);
}

static int listen_on(struct api *api, struct err *e)
{
	const char *colon = strrchr(api->address, ':');
	auto_free char *host = NULL;
	struct addrinfo hints = { .ai_flags = AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai = NULL;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char service[16];
	int one = 1, fd, rc;

	if (!colon)
		return err_set(e, -EINVAL, "listen '%s': want ADDRESS:PORT",
			       api->address);
	host = strndup(api->address, colon - api->address);
	rc = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &ai);
	if (rc)
		return err_set(e, -EINVAL, "listen '%s': %s", api->address,
			       gai_strerror(rc));
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) ||
	    listen(fd, 4096) || getsockname(fd, (void *)&sa, &len)) {
		rc = err_sys(e, "listen on %s", api->address);
		freeaddrinfo(ai);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	freeaddrinfo(ai);
	getnameinfo((void *)&sa, len, NULL, 0, service, sizeof(service),
		    NI_NUMERICSERV);
	api->port = strtoul(service, NULL, 10);
	api->listen_fd = fd;
	return 0;
}

int server_listen(struct api *api, struct err *e)
{
	return listen_on(api, e);
}

/* Whose thread is latency itself: it is let in soon when it wakes, beside
 * others that compute. */
#define LOOP_SLICE_NS 100000

static void *loop_run(void *arg)
{
	struct loop *l = arg;

	if (l->greets) {
		greeter_settle();
	} else {
		(void)pthread_setname_np(pthread_self(), "arktos-api");
		slice_set(LOOP_SLICE_NS);
	}
	(void)ev_run(l->ev); /* ends by ev_stop() only */
	return NULL;
}

static int loop_init(struct api *api, struct loop *l, struct err *e)
{
	l->api = api;
	pthread_mutex_init(&l->lock, NULL);
	l->metrics = metrics_new();
	if (!l->metrics)
		return err_set(e, -ENOMEM, "server: out of memory");
	return ev_new(&l->ev, e);
}

static int loop_start(struct loop *l, struct err *e)
{
	int rc = pthread_create(&l->thread, NULL, loop_run, l);

	if (rc)
		return err_set(e, -rc, "server: cannot start a thread");
	l->running = true;
	return 0;
}

static int make_loops(struct api *api, unsigned int nr, struct err *e)
{
	int r = 0;

	api->loops = calloc(nr, sizeof(*api->loops));
	api->greeters = calloc(nr, sizeof(*api->greeters));
	if (!api->loops || !api->greeters)
		return err_set(e, -ENOMEM, "server: out of memory");
	while (api->nr_loops < nr && r == 0)
		r = loop_init(api, &api->loops[api->nr_loops++], e);
	while (api->nr_greeters < nr && r == 0) {
		struct loop *g = &api->greeters[api->nr_greeters++];

		g->greets = true;
		r = loop_init(api, g, e);
		if (r == 0)
			r = greeter_listen(g, e);
	}
	return r;
}

int server_start(struct api *api, unsigned int threads, struct err *e)
{
	/* All are there before one runs: they hand connections to each other.
	 */
	int r = make_loops(api, threads, e);

	for (unsigned int i = 0; i < threads && r == 0; i++)
		r = loop_start(&api->loops[i], e);
	for (unsigned int i = 0; i < threads && r == 0; i++)
		r = loop_start(&api->greeters[i], e);
	return r;
}

static void drain_over(void *arg)
{
	struct loop *l = arg;

	ev_stop(l->ev);
}

/* Say goodbye: what is under way may end, watches do end. */
static void drain(void *arg)
{
	struct loop *l = arg;
	struct conn *c, *next;

	l->draining = true;
	ev_io_del(&l->listener);
	ev_timer_set(l->ev, &l->drain_timer, DRAIN_MS, drain_over, l);
	for (c = l->conns; c; c = next) {
		next = c->next;
		peer_drain(c);
	}
	if (!l->nr_conns)
		ev_stop(l->ev);
}

static void stop(struct loop *v, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (v[i].running && ev_post(v[i].ev, drain, &v[i]) < 0)
			ev_stop(v[i].ev);
	for (unsigned int i = 0; i < nr; i++) {
		if (!v[i].running)
			continue;
		pthread_join(v[i].thread, NULL);
		ev_timer_del(&v[i].drain_timer);
	}
}

static void close_rest(struct loop *v, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		loop_posted(&v[i]);
		while (v[i].conns)
			peer_close(v[i].conns);
	}
}

void server_stop(struct api *api)
{
	/* These first: they hand on what has come. */
	stop(api->greeters, api->nr_greeters);
	stop(api->loops, api->nr_loops);
	hook_callers_stop(api);
	/* Until nobody is at a connection; and they are all back. */
	aside_wait(api);
	close_rest(api->greeters, api->nr_greeters);
	close_rest(api->loops, api->nr_loops);
	/* What that began is without a request now. */
	aside_wait(api);
}

static void free_loops(struct loop *v, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct loop *l = &v[i];

		loop_posted(l);
		ev_io_del(&l->listener);
		ev_free(l->ev);
		turns_free(l);
		metrics_free(l->metrics);
		pthread_mutex_destroy(&l->lock);
	}
	free(v);
}

void server_free(struct api *api)
{
	free_loops(api->greeters, api->nr_greeters);
	free_loops(api->loops, api->nr_loops);
}
