// SPDX-License-Identifier: Apache-2.0
/* A connection's TLS and bytes, whatever is spoken over it. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "controlplane/apiserver/authn/serving.h"
#include "controlplane/apiserver/away.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/listing.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/greet.h"
#include "controlplane/apiserver/origin.h"
#include "controlplane/apiserver/subresource/relay.h"
#include "lib/http/h2.h"

#define CONN_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static void unlist(struct conn *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->loop->nr_conns--;
}

static void gone(struct loop *l, struct origin *o, bool known)
{
	if (o)
		origin_leave(l->api, o, known);
	atomic_fetch_sub(&l->load, 1);
	atomic_fetch_sub(&l->api->nr_conns, 1);
}

void peer_close(struct conn *c)
{
	struct loop *l = c->loop;

	c->busy = true; /* nothing that is told of the end may come back */
	relay_free(c->tunnel);
	h2_stop(c);
	if (c->req && c->req->write)
		write_orphan(c->req);
	else
		req_free(c->req);
	turn_del(c);
	if (c->home)
		(void)flow_conn(c, NULL);
	ev_io_del(&c->io);
	ev_timer_del(&c->timer);
	seal_end(c);
	SSL_free(c->ssl);
	close(c->fd);
	unlist(c);
	gone(l, c->origin, c->known);
	user_free(c->user);
	buf_clear(&c->in);
	free(c);
	if (l->draining && !l->nr_conns)
		ev_stop(l->ev);
}

/* --- out --- */

static bool is_out(const struct req *r, const struct piece *at)
{
	return at->list ? listing_is_out(at->list) : r->out_off == at->len;
}

size_t put_pieces(struct req *r, char *p, size_t size)
{
	size_t n = 0, counted = 0;

	while (r->out_at < r->out_nr && n < size) {
		struct piece *at = &r->out[r->out_at];
		size_t m;

		if (at->list) {
			n += listing_put(r, at->list, p + n, size - n);
		} else {
			m = at->len - r->out_off;
			m = m < size - n ? m : size - n;
			memcpy(p + n, at->data + r->out_off, m);
			n += m;
			counted += m;
			r->out_off += m;
		}
		if (!is_out(r, at))
			break;
		piece_clear(at);
		r->out_at++;
		r->out_off = 0;
	}
	r->out_bytes -= counted;
	r->sent += n;
	audit_sent(r, p, n);
	return n;
}

/* Who sends on while being answered waits. */
static bool may_read(const struct conn *c)
{
	return !c->eof && c->in.len <= HEAD_MAX &&
	       !(c->tunnel && !relay_wants(c->tunnel));
}

char *peer_room(void)
{
	static __thread char room[OUT_CHUNK];

	return room;
}

int peer_write(struct conn *c, bool (*fill)(struct conn *c))
{
	size_t sum = 0;
	int r = seal_flush(c);
	bool over = false;

	while (r == 0 && !over && fill(c)) {
		sum += c->w_len;
		r = seal_put(c, c->w, c->w_len);
		over = sum >= WRITE_MAX || turn_is_over(c->loop);
	}
	if (r == 0)
		r = seal_flush(c);
	if (r == 0 && over) {
		c->more = true; /* others have their turn first */
		r = 1;
	}
	if (r < 0)
		c->dead = true;
	/* What was not read when there was no room for it. */
	else if ((c->unread || c->readable) && may_read(c))
		turn_add(c, 0);
	return c->dead ? -EPIPE : r;
}

/* --- in --- */

static void owned_by(struct conn *c, const struct user *u)
{
	if (!c->known)
		origin_known(c->loop->api, c->origin);
	c->known = true;
	turn_set(c, u);
	c->refused = !flow_conn(c, u);
}

static void too_many(struct req *r)
{
	struct conn *c = r->conn;

	r->keep_alive = false;
	if (c->h2) {
		c->leaving = true;
		h2_goaway(c->h2, true);
	}
	reply_field(r, "Retry-After", "1");
	reply_error(r, 429, "TooManyRequests",
		    "tenant \"%s\" has too many connections open, please close "
		    "some and try again later",
		    c->turn ? turn_tenant(c) : "");
}

void peer_handle(struct req *r)
{
	struct conn *c = r->conn;
	void (*go)(struct req * r) = r->go;

	r->handled = true;
	if (c->refused && !go) {
		too_many(r);
		return;
	}
	r->go = NULL;
	if (go)
		go(r);
	else
		handle(r);
	if (r->user && r->user != c->user)
		owned_by(c, r->user);
}

void peer_again(struct req *r, void (*go)(struct req *r))
{
	r->go = go;
	if (r->stream)
		h2_todo(r);
	turn_add(r->conn, 0);
}

/* Read what is there, within what we are willing to keep. */
static void conn_read(struct conn *c)
{
	static __thread char data[OUT_CHUNK];
	size_t sum = 0;

	c->more = false;
	while (may_read(c) && !c->dead) {
		ssize_t n;

		/* What comes later is reported. */
		if (!c->unread && !c->readable)
			return;
		/* Nor is its end seen before what it has asked for. */
		if (sum >= READ_MAX || (sum && c->last && !c->unread) ||
		    (sum && turn_is_over(c->loop))) {
			c->more = true;
			return;
		}
		c->unread = false;
		n = seal_get(c, data, sizeof(data));
		if (n <= 0) {
			c->dead = c->dead || n < 0;
			return;
		}
		sum += (size_t)n;
		if (c->h2)
			h2_fed(c, data, (size_t)n);
		else if (c->tunnel)
			relay_fed(c->tunnel, data, (size_t)n);
		else if (buf_add(&c->in, data, (size_t)n) < 0)
			c->dead = true;
		else
			h1_take(c);
	}
}

void peer_serve(struct conn *c, uint32_t events)
{
	if (c->away) {
		c->events |= events;
		return;
	}
	/* Reset: nothing can be said any more. It is reported even while we do
	 * not ask, so ignoring it would spin. */
	if (events & (EPOLLHUP | EPOLLERR))
		c->dead = true;
	if (!c->handshaken && !c->dead) {
		greet(c);
		return;
	}
	c->busy = true;
	c->more = false;
	if (!c->dead)
		conn_read(c);
	c->busy = false;
	if (c->dead)
		peer_close(c);
	else if (c->h2)
		h2_run(c);
	else
		h1_run(c);
}

void peer_resume(struct conn *c)
{
	c->busy = false;
	if (c->dead)
		peer_close(c);
	else if (c->h2)
		h2_run(c);
	else
		h1_run(c);
}

static void conn_event(void *arg, uint32_t events)
{
	struct conn *c = arg;

	if (events & ~EPOLLOUT)
		c->readable = true;
	if (events & EPOLLRDHUP)
		c->last = true;
	/* There is room all the time; who waits for it has something sealed. */
	if ((events & ~EPOLLOUT) || !seal_is_out(c))
		turn_add(c, events);
}

static void conn_timeout(void *arg)
{
	struct conn *c = arg;

	if (c->away)
		peer_timer(c, c->loop->api->patience.stall_ms / CHECKS);
	else if (c->h2)
		h2_timer(c);
	else
		h1_timer(c);
}

void peer_timer(struct conn *c, unsigned int ms)
{
	if (ev_timer_set(c->loop->ev, &c->timer, ms, conn_timeout, c) < 0)
		c->dead = true;
}

static void set_socket(int fd)
{
	int one = 1, idle = 60, patience = 120000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* A peer that vanished is found out, though nothing is to be said. */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience,
		   sizeof(patience));
}

static struct conn *conn_new(struct loop *l, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = l;
	c->fd = fd;
	c->in.max = HEAD_MAX + BODY_MAX;
	c->todo_tail = &c->todo;
	return c;
}

static void enter(struct conn *c)
{
	struct loop *l = c->loop;

	c->next = l->conns;
	c->link = &l->conns;
	if (c->next)
		c->next->link = &c->next;
	l->conns = c;
	l->nr_conns++;
}

static void watch_socket(struct conn *c)
{
	struct err e;

	if (ev_io_add(c->loop->ev, &c->io, c->fd, CONN_EVENTS, conn_event, c,
		      &e) < 0)
		c->dead = true;
}

void peer_new(struct loop *l, int fd, struct origin *o)
{
	struct conn *c = conn_new(l, fd);

	atomic_fetch_add(&l->load, 1);
	atomic_fetch_add(&l->api->nr_conns, 1);
	if (c)
		c->ssl = serving_session(l->api);
	if (!c || !c->ssl || seal_start(c) < 0) {
		if (c)
			SSL_free(c->ssl);
		free(c);
		close(fd);
		gone(l, o, false);
		return;
	}
	set_socket(fd);
	SSL_set_accept_state(c->ssl);
	c->origin = o;
	enter(c);
	turn_set(c, NULL);
	peer_timer(c, l->api->patience.handshake_ms);
	if (!c->dead)
		watch_socket(c);
	if (c->dead)
		peer_close(c);
}

struct conn *peer_new_own(struct loop *l, int fd, struct user *u)
{
	struct conn *c = conn_new(l, fd);

	if (!c)
		return NULL;
	c->user = u;
	c->handshaken = c->known = true;
	atomic_fetch_add(&l->api->nr_conns, 1);
	return c;
}

void peer_leave(struct conn *c)
{
	turn_del(c);
	ev_io_del(&c->io);
	ev_timer_del(&c->timer);
	unlist(c);
	atomic_fetch_sub(&c->loop->load, 1);
	c->loop = NULL;
}

static void set_protocol(struct conn *c)
{
	const unsigned char *alpn;
	unsigned int len;

	SSL_get0_alpn_selected(c->ssl, &alpn, &len);
	if (len == 2 && memcmp(alpn, "h2", 2) == 0 && h2_start(c) < 0)
		c->dead = true;
	/* A request may have come with the end of the handshake. */
	c->unread = SSL_has_pending(c->ssl);
}

void peer_enter(struct conn *c)
{
	enter(c);
	if (c->user)
		owned_by(c, c->user);
	else
		turn_set(c, NULL);
	if (c->ssl)
		set_protocol(c);
	c->dead |= c->loop->draining;
	if (!c->dead)
		watch_socket(c);
	if (c->dead)
		peer_close(c);
	else
		turn_add(c, 0); /* from then on it has its time limits */
}

void req_fill(struct req *r)
{
	if (r->relay)
		relay_fill(r->relay);
	else
		watch_fill(r);
}

void req_abort(struct req *r)
{
	struct conn *c = r->conn;

	if (c->away) {
		c->dead = true;
		return;
	}
	if (c->h2) {
		h2_abort_req(r);
		return;
	}
	c->dead = true;
	if (!c->busy)
		peer_close(c);
}

void req_flush(struct req *r)
{
	struct conn *c = r->conn;

	if (!c)
		return;
	if (c->away)
		c->left = true;
	else if (c->h2)
		h2_flush_req(r);
	else if (!c->busy)
		turn_add(c, 0);
}
