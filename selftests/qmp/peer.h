/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted other end of a socket, in a thread of its own. */
#ifndef SELFTESTS_QMP_PEER_H
#define SELFTESTS_QMP_PEER_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct peer {
	int fd; /* the script's end */
	int ours;
	pthread_t thread;
	void (*script)(struct peer *p);
	char line[1 << 16];
	size_t have; /* bytes of @next */
	char next[1 << 16];
};

static inline void peer_send(struct peer *p, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(p->fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		len -= (size_t)n;
	}
}

static inline void peer_say(struct peer *p, const char *text)
{
	peer_send(p, text, strlen(text));
}

/* The next line the client sends, in p->line; "" when it has gone. */
static inline const char *peer_hear(struct peer *p)
{
	for (;;) {
		char *end = memchr(p->next, '\n', p->have);
		ssize_t n;

		if (end) {
			size_t len = (size_t)(end - p->next);

			memcpy(p->line, p->next, len);
			p->line[len] = '\0';
			p->have -= len + 1;
			memmove(p->next, end + 1, p->have);
			return p->line;
		}
		n = recv(p->fd, p->next + p->have, sizeof(p->next) - p->have,
			 0);
		if (n <= 0) {
			p->line[0] = '\0';
			return p->line;
		}
		p->have += (size_t)n;
	}
}

/* The number after the last "id": in the line last heard. */
static inline unsigned long long peer_id(const struct peer *p)
{
	const char *last = NULL;

	for (const char *at = p->line; (at = strstr(at, "\"id\":")); at++)
		last = at;
	return last ? strtoull(last + 5, NULL, 10) : 0;
}

static inline void peer_reply(struct peer *p, unsigned long long id,
			      const char *value)
{
	char text[4096];

	snprintf(text, sizeof(text), "{\"return\": %s, \"id\": %llu}\r\n",
		 value, id);
	peer_say(p, text);
}

#define PEER_GREETING                                                       \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, " \
	"\"major\": 7}, \"package\": \"fake\"}, \"capabilities\": []}}\r\n"

static inline void peer_greet(struct peer *p)
{
	peer_say(p, PEER_GREETING);
	peer_hear(p);
	peer_reply(p, peer_id(p), "{}");
}

static inline void *peer_main(void *arg)
{
	struct peer *p = arg;

	p->script(p);
	shutdown(p->fd, SHUT_WR);
	while (peer_hear(p)[0])
		;
	return NULL;
}

/* p->ours is the client's end, to be closed by whoever takes it. */
static inline struct peer *peer_start(void (*script)(struct peer *p))
{
	struct peer *p = calloc(1, sizeof(*p));
	int sv[2];

	if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		exit(1);
	p->fd = sv[0];
	p->ours = sv[1];
	p->script = script;
	if (pthread_create(&p->thread, NULL, peer_main, p))
		exit(1);
	return p;
}

/* After the client has closed its end. */
static inline void peer_join(struct peer *p)
{
	pthread_join(p->thread, NULL);
	close(p->fd);
	free(p);
}

static inline long long peer_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

#endif /* SELFTESTS_QMP_PEER_H */
