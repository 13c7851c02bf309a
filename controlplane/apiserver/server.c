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
#include "controlplane/apiserver/metrics.h"
#include "controlplane/apiserver/origin.h"
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

/* A connection on its way to the loop it will belong to. */
struct arrival {
	struct arrival *next;
	struct origin *origin;
	struct user *user; /* of one from this process; NULL: it is none */
	int fd;
};

static void arrive(struct loop *l, int fd, struct origin *o)
{
	if (l->nr_greeting < GREETING_MAX)
		peer_new(l, fd, o);
	else
		peer_refuse(l, fd, o);
}

static void take_arrivals(struct loop *l, struct arrival *a)
{
	struct arrival *next;

	for (; a; a = next) {
		next = a->next;
		if (a->user)
			peer_new_own(l, a->fd, a->user);
		else
			arrive(l, a->fd, a->origin);
		free(a);
	}
}

/* The one with the fewest: whoever comes first would else have most of them,
 * and a watch's event would be long on its way to those. */
static struct loop *least_loaded(struct loop *self)
{
	struct api *api = self->api;
	struct loop *l = self;

	for (unsigned int i = 0; i < api->nr_loops; i++)
		if (atomic_load(&api->loops[i].load) < atomic_load(&l->load))
			l = &api->loops[i];
	return l;
}

static void announce(struct loop *l, struct arrival *a)
{
	pthread_mutex_lock(&l->lock);
	a->next = l->arrivals;
	l->arrivals = a;
	pthread_mutex_unlock(&l->lock);
	loop_wake(l);
}

static void hand_over(struct loop *self, int fd, struct origin *o)
{
	struct loop *l = least_loaded(self);
	struct arrival *a = l == self ? NULL : calloc(1, sizeof(*a));

	if (!a)
		l = self;
	atomic_fetch_add(&l->load, 1);
	atomic_fetch_add(&l->api->nr_conns, 1);
	if (!a) {
		arrive(self, fd, o);
		return;
	}
	a->fd = fd;
	a->origin = o;
	announce(l, a);
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
	struct loop *l = least_loaded(&api->loops[0]);
	struct arrival *a = calloc(1, sizeof(*a));
	struct user *u = own_user(tenant, user, groups);
	int pair[2], r = 0;

	if (!a || !u)
		r = err_set(e, -ENOMEM, "out of memory");
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    0, pair) < 0)
		r = err_sys(e, "a connection to the API in this process");
	if (r < 0) {
		user_free(u);
		free(a);
		return r;
	}
	atomic_fetch_add(&l->load, 1);
	atomic_fetch_add(&api->nr_conns, 1);
	a->fd = pair[0];
	a->user = u;
	announce(l, a);
	return pair[1];
}

static void on_accept(void *arg, uint32_t events)
{
	struct loop *l = arg;

	(void)events;
	for (int i = 0; i < 16; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		struct origin *o = NULL;
		int fd = accept4(l->api->listen_fd, (void *)&from, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (atomic_load(&l->api->nr_conns) < l->api->conns_max)
			o = origin_enter(l->api, &from);
		if (o)
			hand_over(l, fd, o);
		else
			close(fd);
	}
}

/* --- loops --- */

/* Watches and writes that other threads have finished with. */
static void loop_posted(void *arg)
{
	struct loop *l = arg;
	struct write *done, *next_write;
	struct req *ready, *next;
	struct aside *asides, *next_aside;
	struct arrival *arrivals;

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
	take_arrivals(l, arrivals);
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

	(void)pthread_setname_np(pthread_self(), "arktos-api");
	slice_set(LOOP_SLICE_NS);
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
	int r = ev_io_add(l->ev, &l->listener, l->api->listen_fd,
			  EPOLLIN | EPOLLEXCLUSIVE, on_accept, l, e);
	int rc;

	if (r < 0)
		return r;
	rc = pthread_create(&l->thread, NULL, loop_run, l);
	if (rc)
		return err_set(e, -rc, "server: cannot start a thread");
	l->running = true;
	return 0;
}

int server_start(struct api *api, unsigned int threads, struct err *e)
{
	int r = 0;

	api->loops = calloc(threads, sizeof(*api->loops));
	if (!api->loops)
		return err_set(e, -ENOMEM, "server: out of memory");
	/* All are there before one runs: they hand connections to each other.
	 */
	while (api->nr_loops < threads && r == 0)
		r = loop_init(api, &api->loops[api->nr_loops++], e);
	for (unsigned int i = 0; i < threads && r == 0; i++)
		r = loop_start(&api->loops[i], e);
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

void server_stop(struct api *api)
{
	for (unsigned int i = 0; i < api->nr_loops; i++)
		if (api->loops[i].running &&
		    ev_post(api->loops[i].ev, drain, &api->loops[i]) < 0)
			ev_stop(api->loops[i].ev);
	for (unsigned int i = 0; i < api->nr_loops; i++) {
		struct loop *l = &api->loops[i];

		if (!l->running)
			continue;
		pthread_join(l->thread, NULL);
		ev_timer_del(&l->drain_timer);
	}
	/* Until nobody is at a connection; and they are all back. */
	aside_wait(api);
	for (unsigned int i = 0; i < api->nr_loops; i++) {
		loop_posted(&api->loops[i]);
		while (api->loops[i].conns)
			peer_close(api->loops[i].conns);
	}
	/* What that began is without a request now. */
	aside_wait(api);
}

void server_free(struct api *api)
{
	for (unsigned int i = 0; i < api->nr_loops; i++) {
		struct loop *l = &api->loops[i];

		loop_posted(l);
		ev_io_del(&l->listener);
		ev_free(l->ev);
		turns_free(l);
		metrics_free(l->metrics);
		pthread_mutex_destroy(&l->lock);
	}
	free(api->loops);
}
