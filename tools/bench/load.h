/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of the API server for benchmarks: many connections over TLS, each
 * with the next request as soon as the last is answered.
 *
 *	struct load l = { .ctx = ctx, .port = port, .conns = 64, .nr = 100000,
 *			  .request = put_get, .want = 200 };
 *	load_run(&l, &result);
 *
 * HTTP/1.1 has one request at a time on a connection; with @streams it is
 * HTTP/2, with so many of them. A wrong answer ends the program: a figure of
 * errors is none.
 */
#ifndef TOOLS_BENCH_LOAD_H
#define TOOLS_BENCH_LOAD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request: where to, and what. */
struct load_ask {
	const char *method;
	const char *type; /* NULL: application/json */
	char path[256];
	char body[4096];
};

struct load {
	SSL_CTX *ctx;
	uint16_t port;
	int conns, threads; /* threads 0: one */
	int streams;        /* of a connection; 0: HTTP/1.1 */
	long nr;            /* requests in all */
	int want;           /* status of every answer */
	void (*request)(long i, struct load_ask *ask);
};

struct load_result {
	double seconds, rate; /* of the whole run, requests a second */
	double p50_ms, p99_ms;
	uint64_t bytes; /* of the answers' bodies */
};

double now_s(void);
void line(const char *name, double value, const char *unit);
void die(const char *what) __attribute__((noreturn));

/* A connection after its handshake, blocking. */
SSL *load_dial(SSL_CTX *ctx, uint16_t port);

void load_run(const struct load *l, struct load_result *ret);

/* --- load_h1.c, load_h2.c: one connection's work --- */

struct load_thread {
	const struct load *l;
	long *next; /* shared by all threads */
	float *took_ms;
	uint64_t bytes;
	int epfd, conns;
};

/* The number of the next request; -1 when there is none left. */
long load_next(struct load_thread *t);

struct load_ops {
	void *(*open)(struct load_thread *t, SSL *ssl);
	/* Read what there is, and ask on. False: this one has done its work. */
	int (*turn)(void *conn);
	void (*close)(void *conn);
};

extern const struct load_ops load_h1, load_h2;

/* --- load_watch.c: those who only listen --- */

struct watchers;

/* @nr connections that watch @path, each past its first @mark. */
struct watchers *watchers_open(SSL_CTX *ctx, uint16_t port, const char *path,
			       const char *mark, int nr);

/* When something came to the last one (now_s()): by the kernel's stamps on the
 * packets, and when it had been read here. */
struct watchers_times {
	double came_s, read_s;
};

/* Until something has come to all. They only take bytes, one recvmsg(2) each,
 * at SCHED_IDLE, so that it is not the clients that are measured. */
void watchers_wait(struct watchers *w, struct watchers_times *ret);
/* Open what has come, and on until @mark has come to all. */
void watchers_until(struct watchers *w, const char *mark);
void watchers_close(struct watchers *w);

/* @nr connections, each after one answered GET of @path, to be left alone. */
struct idlers;
struct idlers *idlers_open(SSL_CTX *ctx, uint16_t port, const char *path,
			   int nr);
void idlers_close(struct idlers *i);

#endif /* TOOLS_BENCH_LOAD_H */
