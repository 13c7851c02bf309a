// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/greet.h"
#include "controlplane/apiserver/metrics.h"
#include "controlplane/apiserver/origin.h"
#include "lib/log.h"
#include "lib/slice.h"

#define ACCEPTS 16 /* at once, then handshakes go on */

/* Of a CPU that a loop wants as well, a greeter gets a quarter. */
#define NICE 5
#define SLICE_NS                                                     \
	200000 /* longer than a loop's: that is let in when it wakes \
		*/
#define GIVE_NS 50000

void greeter_settle(void)
{
	(void)pthread_setname_np(pthread_self(), "arktos-greet");
	slice_set(SLICE_NS);
	(void)!nice(NICE); /* of this thread only; without it, it works, too */
}

/* --- arrivals --- */

static void on_accept(void *arg, uint32_t events)
{
	struct loop *g = arg;
	struct api *api = g->api;

	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		struct origin *o = NULL;
		int fd = accept4(api->listen_fd, (void *)&from, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (atomic_load(&api->nr_conns) < api->conns_max &&
		    g->nr_conns < GREETING_MAX)
			o = origin_enter(api, &from);
		if (o)
			peer_new(g, fd, o);
		else
			close(fd);
		slice_give(GIVE_NS);
	}
}

int greeter_listen(struct loop *g, struct err *e)
{
	return ev_io_add(g->ev, &g->listener, g->api->listen_fd,
			 EPOLLIN | EPOLLEXCLUSIVE, on_accept, g, e);
}

/* --- handshakes --- */

/* Between two messages of a handshake, and two certificates of a chain: in
 * between is reading a key, or one computation with it, of 0.1 to 0.2 ms. */
static void on_message(const SSL *ssl, int where, int value)
{
	(void)ssl, (void)where, (void)value;
	slice_give(GIVE_NS);
}

static int on_certificate(int ok, X509_STORE_CTX *store)
{
	(void)store;
	slice_give(GIVE_NS);
	return ok;
}

/* To the loop with the fewest: whoever comes first would else have most of
 * them, and a watch's event would be long on its way to those. */
static void pass_on(struct conn *c)
{
	struct api *api = c->loop->api;
	int one = 1;

	/* Else who sends its first request apart from the end of its handshake,
	 * and lets Nagle hold it back, waits for our delayed acknowledgement:
	 * 40 ms. */
	setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
	peer_leave(c);
	loop_give(loop_of_fewest(api), c);
}

static int know(struct conn *c)
{
	X509 *cert = SSL_get1_peer_certificate(c->ssl);
	struct err e = { 0 };
	int r = cert ? user_from_cert(cert, &c->user, &e) : 0;

	X509_free(cert);
	if (r < 0)
		log_warn("connection refused: %s", e.msg);
	return r;
}

static int step(struct conn *c)
{
	int n;

	ERR_clear_error();
	SSL_set_info_callback(c->ssl, on_message);
	SSL_set_verify(c->ssl, SSL_VERIFY_PEER, on_certificate);
	n = SSL_accept(c->ssl);
	SSL_set_info_callback(c->ssl, NULL);
	if (seal_flush(c) < 0)
		return -EPIPE;
	if (n > 0) {
		c->handshaken = true;
		return know(c);
	}
	if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
		return 0;
	metrics_handshake_failed(c->loop->metrics);
	return -EPIPE;
}

void greet(struct conn *c)
{
	atomic_uint *works = &c->loop->api->long_works;
	int r;

	atomic_fetch_add(works, 1);
	r = step(c);
	atomic_fetch_sub(works, 1);
	if (r < 0)
		peer_close(c);
	else if (c->handshaken)
		pass_on(c);
}
