/* SPDX-License-Identifier: Apache-2.0 */
/* Stands between a store and a member, and can keep the member's answers: what
 * was asked for is done then, and whoever asked does not hear of it. */
#ifndef SELFTESTS_CONTROLPLANE_STORE_ETCD_PROXY_H
#define SELFTESTS_CONTROLPLANE_STORE_ETCD_PROXY_H

#include <pthread.h>
#include <stdatomic.h>

#include "selftests/controlplane/store/etcd_server.h"

#define PROXY_PAIRS 16

struct etcd_proxy {
	int fd, to_port;
	char endpoint[64];
	pthread_t thread;
	atomic_bool mute, cut, over;
	atomic_int delay_ms;      /* of what the member says */
	int pair[PROXY_PAIRS][2]; /* the store's end, the member's; 0: none */
};

static inline int proxy_connect(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void proxy_drop(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
	pair[0] = pair[1] = 0;
}

static inline void proxy_accept(struct etcd_proxy *p)
{
	int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC), to;

	for (int i = 0; i < PROXY_PAIRS && fd > 0; i++) {
		if (p->pair[i][0])
			continue;
		to = proxy_connect(p->to_port);
		if (to < 0)
			break;
		p->pair[i][0] = fd;
		p->pair[i][1] = to;
		return;
	}
	close(fd);
}

/* One direction; false: this one is over. */
static inline bool proxy_move(struct etcd_proxy *p, int pair[2], int from)
{
	char data[65536];
	ssize_t n, done = 0, w;

	if (from == 1)
		poll(NULL, 0, atomic_load(&p->delay_ms));
	n = read(pair[from], data, sizeof(data));
	if (n <= 0)
		return false;
	if (from == 1 && atomic_load(&p->mute))
		return true;
	for (; done < n; done += w) {
		w = send(pair[!from], data + done, (size_t)(n - done),
			 MSG_NOSIGNAL);
		if (w <= 0)
			return false;
	}
	return true;
}

static inline void *proxy_run(void *arg)
{
	struct etcd_proxy *p = arg;

	while (!atomic_load(&p->over)) {
		struct pollfd v[1 + PROXY_PAIRS * 2];

		if (atomic_load(&p->cut)) {
			for (int i = 0; i < PROXY_PAIRS; i++)
				if (p->pair[i][0])
					proxy_drop(p->pair[i]);
			atomic_store(&p->mute, false);
			atomic_store(&p->cut, false);
		}
		v[0] = (struct pollfd){ p->fd, POLLIN, 0 };
		for (int i = 0; i < PROXY_PAIRS * 2; i++) {
			int fd = p->pair[i / 2][i % 2];

			v[1 + i] = (struct pollfd){ fd ? fd : -1, POLLIN, 0 };
		}
		if (poll(v, 1 + PROXY_PAIRS * 2, 10) <= 0)
			continue;
		for (int i = 0; i < PROXY_PAIRS * 2; i++)
			if (v[1 + i].revents && p->pair[i / 2][0] &&
			    !proxy_move(p, p->pair[i / 2], i % 2))
				proxy_drop(p->pair[i / 2]);
		if (v[0].revents)
			proxy_accept(p);
	}
	for (int i = 0; i < PROXY_PAIRS; i++)
		if (p->pair[i][0])
			proxy_drop(p->pair[i]);
	close(p->fd);
	return NULL;
}

static inline bool proxy_start(struct etcd_proxy *p, int to_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	p->to_port = to_port;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(p->fd, (struct sockaddr *)&a, len) || listen(p->fd, 16) ||
	    getsockname(p->fd, (struct sockaddr *)&a, &len))
		return false;
	snprintf(p->endpoint, sizeof(p->endpoint), "http://127.0.0.1:%d",
		 ntohs(a.sin_port));
	return !pthread_create(&p->thread, NULL, proxy_run, p);
}

/* All connections end, and on new ones answers come again. */
static inline void proxy_cut(struct etcd_proxy *p)
{
	atomic_store(&p->cut, true);
	while (atomic_load(&p->cut))
		poll(NULL, 0, 1);
}

static inline void proxy_stop(struct etcd_proxy *p)
{
	atomic_store(&p->over, true);
	pthread_join(p->thread, NULL);
}

#endif /* SELFTESTS_CONTROLPLANE_STORE_ETCD_PROXY_H */
