// SPDX-License-Identifier: Apache-2.0
/* Many watches, a connection each. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/bench/load.h"

struct watcher {
	SSL *ssl;
	bool has; /* the mark */
};

struct watchers {
	struct watcher *v;
	int nr, epfd;
};

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

double watchers_until(struct watchers *w, const char *mark)
{
	struct epoll_event ev[256];
	int left = w->nr;

	for (int i = 0; i < w->nr; i++)
		w->v[i].has = false;
	while (left) {
		int n = epoll_wait(w->epfd, ev, 256, 60000);

		if (n <= 0 && errno != EINTR)
			die("an event did not come");
		for (int i = 0; i < n; i++) {
			struct watcher *at = ev[i].data.ptr;
			bool had = at->has;

			left -= saw(at, mark) && !had;
		}
	}
	return now_s();
}

static void watcher_open(struct watchers *w, struct watcher *at, SSL_CTX *ctx,
			 uint16_t port, const char *path)
{
	struct epoll_event ee = { .events = EPOLLIN, .data.ptr = at };
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
	int fd;

	at->ssl = load_dial(ctx, port);
	fd = SSL_get_fd(at->ssl);
	if (SSL_write(at->ssl, text, n) != n ||
	    fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ee) < 0)
		die("watch");
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
	(void)watchers_until(w, mark);
	return w;
}

void watchers_close(struct watchers *w)
{
	for (int i = 0; i < w->nr; i++) {
		close(SSL_get_fd(w->v[i].ssl));
		SSL_free(w->v[i].ssl);
	}
	close(w->epfd);
	free(w->v);
	free(w);
}
