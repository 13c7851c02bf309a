/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_CLIENT_INTERNAL_H
#define CONTROLPLANE_CLIENT_INTERNAL_H

#include <netdb.h>
#include <pthread.h>

#include "controlplane/client/client.h"
#include "controlplane/client/target.h"
#include "lib/ev.h"
#include "lib/http/h1.h"
#include "lib/prom.h"

enum conn_state { CONN_DIALING, CONN_HANDSHAKE, CONN_IDLE, CONN_BUSY };

/* One connection; on the loop's thread only. */
struct conn {
	struct client *client;
	enum conn_state state;
	int fd;
	SSL *ssl; /* NULL: HTTP in the clear */
	struct ev_io io;
	struct ev_timer timer;
	struct ev_defer defer;
	struct client_call *call;
	struct h1 h1;
	struct buf out; /* the request, while it is not sent */
	size_t sent;
	bool used;   /* had an answer before */
	bool got;    /* part of the present answer */
	bool stream; /* not counted, not kept */
	bool dead;
	struct conn *next;
};

#define CLIENT_RESULTS_MAX 64

/* How often calls of a method came to an end, and what it was. */
struct client_result {
	char method[8];
	int status; /* HTTP's; 0: there was no answer */
	prom_counter nr;
};

struct client {
	struct target *to;
	int (*connect)(void *arg, struct err *e); /* client.h */
	void *connect_arg;
	struct ev *loop;
	bool own_loop;
	pthread_t thread;
	char *agent;
	unsigned conns_max, conns;
	struct conn *all;
	struct client_call *first, **last; /* waiting for a connection */
	struct addrinfo *addr;
	/* Calls from other threads. */
	pthread_mutex_t lock;
	struct client_call *posted, **posted_last;
	bool post_pending;
	bool closing;
	/* Written by the loop's thread. */
	struct client_result results[CLIENT_RESULTS_MAX];
	atomic_uint nr_results;
	struct prom_histogram seconds;
};

/* conn.c */
/* A new connection, dialing for @call; on failure the call is not touched. */
int client_conn_new(struct client *c, struct client_call *call, struct err *e);
void client_conn_take(struct conn *n, struct client_call *call); /* when idle */
void client_conn_close(struct conn *n); /* its call, if any, is not told */
/* client.c: @call ends with this status; @conn is idle or closed. */
void call_end(struct client *c, struct client_call *call, int status);
void client_pump(struct client *c);
/* metrics.c: @call, which has ended, on the loop's thread. */
void client_count(struct client *c, const struct client_call *call);
uint64_t client_now_us(void);

#endif /* CONTROLPLANE_CLIENT_INTERNAL_H */
