// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench/load.h"

#define THREADS_MAX 16

double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void line(const char *name, double value, const char *unit)
{
	printf("%s %.6g %s\n", name, value, unit);
	fflush(stdout);
}

void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

SSL *load_dial(SSL_CTX *ctx, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	SSL *ssl = SSL_new(ctx);

	if (!ssl || fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
		die("handshake");
	return ssl;
}

long load_next(struct load_thread *t)
{
	long i = __atomic_fetch_add(t->next, 1, __ATOMIC_RELAXED);

	return i < t->l->nr ? i : -1;
}

struct slot {
	void *conn;
	SSL *ssl;
};

static void open_conns(struct load_thread *t, const struct load_ops *ops,
		       struct slot *v)
{
	for (int i = 0; i < t->conns; i++) {
		struct epoll_event ee = { .events = EPOLLIN, .data.u32 = i };
		int fd;

		v[i].ssl = load_dial(t->l->ctx, t->l->port);
		fd = SSL_get_fd(v[i].ssl);
		if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
		    epoll_ctl(t->epfd, EPOLL_CTL_ADD, fd, &ee) < 0)
			die("epoll");
		v[i].conn = ops->open(t, v[i].ssl);
	}
}

static pthread_barrier_t ready;

static void *thread_run(void *arg)
{
	struct load_thread *t = arg;
	const struct load_ops *ops = t->l->streams ? &load_h2 : &load_h1;
	struct slot *v = calloc((size_t)t->conns, sizeof(*v));
	struct epoll_event ev[64];
	int left = t->conns;

	t->epfd = epoll_create1(EPOLL_CLOEXEC);
	open_conns(t, ops, v);
	pthread_barrier_wait(&ready);
	for (int i = 0; i < t->conns; i++)
		left -= !ops->turn(v[i].conn);
	while (left > 0) {
		int n = epoll_wait(t->epfd, ev, 64, 30000);

		if (n <= 0 && errno != EINTR)
			die("no answer within 30 s");
		for (int i = 0; i < n; i++)
			left -= !ops->turn(v[ev[i].data.u32].conn);
	}
	for (int i = 0; i < t->conns; i++) {
		ops->close(v[i].conn);
		close(SSL_get_fd(v[i].ssl));
		SSL_free(v[i].ssl);
	}
	close(t->epfd);
	free(v);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

void load_run(const struct load *l, struct load_result *ret)
{
	int nr = l->threads ? l->threads : 1;
	float *took = calloc((size_t)l->nr, sizeof(*took));
	struct load_thread t[THREADS_MAX] = { 0 };
	pthread_t id[THREADS_MAX];
	long next = 0;
	double begun;

	if (!took || nr > THREADS_MAX || nr > l->conns)
		die("threads");
	memset(ret, 0, sizeof(*ret));
	pthread_barrier_init(&ready, NULL, (unsigned int)nr + 1);
	for (int i = 0; i < nr; i++) {
		t[i] = (struct load_thread){ .l = l,
					     .next = &next,
					     .took_ms = took };
		t[i].conns = l->conns / nr + (i < l->conns % nr);
		if (pthread_create(&id[i], NULL, thread_run, &t[i]))
			die("thread");
	}
	pthread_barrier_wait(&ready);
	begun = now_s();
	for (int i = 0; i < nr; i++) {
		pthread_join(id[i], NULL);
		ret->bytes += t[i].bytes;
	}
	ret->seconds = now_s() - begun;
	ret->rate = (double)l->nr / ret->seconds;
	qsort(took, (size_t)l->nr, sizeof(*took), by_value);
	ret->p50_ms = took[l->nr / 2];
	ret->p99_ms = took[l->nr * 99 / 100];
	pthread_barrier_destroy(&ready);
	free(took);
}
