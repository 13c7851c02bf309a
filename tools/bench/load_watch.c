// SPDX-License-Identifier: Apache-2.0
/* Many watches, a connection each. Bytes reach TLS by memory. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench/load.h"

struct watcher {
	SSL *ssl;
	int fd;
	bool has; /* something, or the mark */
};

struct watchers {
	struct watcher *v;
	int nr, epfd;
};

static double real_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What has come, for TLS to look at later. Returns the stamp (CLOCK_REALTIME)
 * of the last packet; 0: nothing has come. */
static double take(struct watcher *w)
{
	static char data[1 << 16];
	char room[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = room,
			    .msg_controllen = sizeof(room) };
	ssize_t n = recvmsg(w->fd, &m, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	struct timespec ts;

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0 || BIO_write(SSL_get_rbio(w->ssl), data, (int)n) != n)
		die("a watch has ended");
	if (!c || c->cmsg_level != SOL_SOCKET ||
	    c->cmsg_type != SCM_TIMESTAMPNS)
		return real_s();
	memcpy(&ts, CMSG_DATA(c), sizeof(ts));
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Events are small: each comes in one piece. */
static bool saw(struct watcher *w, const char *mark)
{
	static char data[1 << 15];
	size_t n = 0;

	while (SSL_read_ex(w->ssl, data, sizeof(data), &n) == 1)
		if (memmem(data, n, mark, strlen(mark)))
			w->has = true;
	if (SSL_get_error(w->ssl, 0) != SSL_ERROR_WANT_READ)
		die("a watch has ended");
	return w->has;
}

static int wait_some(struct watchers *w, struct epoll_event *ev, int max)
{
	int n = epoll_wait(w->epfd, ev, max, 60000);

	if (n <= 0 && errno != EINTR)
		die("an event did not come");
	return n < 0 ? 0 : n;
}

/* Clients are other machines: what reading costs them is not to be taken from
 * the server while it sends. */
static void step_back(bool back)
{
	struct sched_param none = { 0 };

	if (sched_setscheduler(0, back ? SCHED_IDLE : SCHED_OTHER, &none) < 0)
		die("SCHED_IDLE");
}

void watchers_wait(struct watchers *w, struct watchers_times *ret)
{
	struct epoll_event ev[256];
	double came = 0;
	int left = w->nr;

	step_back(true);
	for (int i = 0; i < w->nr; i++)
		w->v[i].has = false;
	while (left) {
		int n = wait_some(w, ev, 256);

		for (int i = 0; i < n; i++) {
			struct watcher *at = ev[i].data.ptr;
			double s = take(at);

			left -= s > 0 && !at->has;
			at->has |= s > 0;
			came = s > came ? s : came;
		}
	}
	step_back(false);
	ret->read_s = now_s();
	ret->came_s = ret->read_s - (real_s() - came);
}

void watchers_until(struct watchers *w, const char *mark)
{
	struct epoll_event ev[256];
	int left = w->nr;

	for (int i = 0; i < w->nr; i++) {
		w->v[i].has = false;
		left -= saw(&w->v[i], mark);
	}
	while (left) {
		int n = wait_some(w, ev, 256);

		for (int i = 0; i < n; i++) {
			struct watcher *at = ev[i].data.ptr;
			bool had = at->has;

			(void)take(at);
			left -= saw(at, mark) && !had;
		}
	}
}

static void watcher_open(struct watchers *w, struct watcher *at, SSL_CTX *ctx,
			 uint16_t port, const char *path)
{
	struct epoll_event ee = { .events = EPOLLIN, .data.ptr = at };
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
	int on = 1;

	at->ssl = load_dial(ctx, port);
	/* SSL_set_bio() frees the socket's BIO, and not the socket. */
	at->fd = SSL_get_fd(at->ssl);
	if (SSL_write(at->ssl, text, n) != n ||
	    setsockopt(at->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) ||
	    epoll_ctl(w->epfd, EPOLL_CTL_ADD, at->fd, &ee) < 0)
		die("watch");
	SSL_set_bio(at->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(at->ssl), -1);
}

struct watchers *watchers_open(SSL_CTX *ctx, uint16_t port, const char *path,
			       const char *mark, int nr)
{
	struct watchers *w = calloc(1, sizeof(*w));

	if (!w)
		die("memory");
	w->v = calloc((size_t)nr, sizeof(*w->v));
	w->nr = nr;
	w->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (!w->v || w->epfd < 0)
		die("memory");
	for (int i = 0; i < nr; i++)
		watcher_open(w, &w->v[i], ctx, port, path);
	watchers_until(w, mark);
	return w;
}

void watchers_close(struct watchers *w)
{
	for (int i = 0; i < w->nr; i++) {
		close(w->v[i].fd);
		SSL_free(w->v[i].ssl);
	}
	close(w->epfd);
	free(w->v);
	free(w);
}

/* --- those who say nothing more --- */

struct idlers {
	SSL **v;
	int nr;
};

struct idlers *idlers_open(SSL_CTX *ctx, uint16_t port, const char *path,
			   int nr)
{
	struct idlers *l = calloc(1, sizeof(*l));
	char text[512], answer[1 << 14];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);

	if (l)
		l->v = calloc((size_t)nr, sizeof(SSL *));
	if (!l || !l->v)
		die("memory");
	for (; l->nr < nr; l->nr++) {
		l->v[l->nr] = load_dial(ctx, port);
		if (SSL_write(l->v[l->nr], text, n) != n ||
		    SSL_read(l->v[l->nr], answer, sizeof(answer)) <= 0)
			die("idle connection");
	}
	return l;
}

void idlers_close(struct idlers *l)
{
	for (int i = 0; i < l->nr; i++) {
		close(SSL_get_fd(l->v[i]));
		SSL_free(l->v[i]);
	}
	free(l->v);
	free(l);
}
