/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of the API server. After its handshake each belongs to one loop
 * for life; its work is done in turns that tenants share (turns.c).
 *
 *   server.c   sockets and loops        conn_h1.c  requests of HTTP/1.1
 *   greet.c    handshakes               conn_h2.c  requests of HTTP/2
 *   conn.c     bytes in and out         seal.c     TLS to and from the socket
 */
#ifndef CONTROLPLANE_APISERVER_CONN_H
#define CONTROLPLANE_APISERVER_CONN_H

#include "controlplane/apiserver/internal.h"

#define CHECKS     4    /* looks at HTTP/2's streams, in a stall's time */
#define DRAIN_MS   3000 /* for answers under way when the server stops */
#define READ_MAX   ((size_t)256 * 1024) /* bytes taken in one turn */
#define WRITE_MAX  ((size_t)1024 * 1024)
/* Bodies of one connection that are not whole yet. */
#define BODIES_MAX ((size_t)4 * BODY_MAX)

/* What decides where a request's body ends. */
struct framing {
	bool chunked, has_length;
	int64_t length;
};

enum { CHUNK_SIZE, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_CR, CHUNK_LF };

struct chunks {
	int state, digits;
	uint64_t left;
	bool last;
};

struct h2;

struct conn {
	struct loop *loop;
	struct conn *next, **link;
	struct ev_io io;
	struct ev_timer timer;
	int fd;
	struct origin *origin;
	SSL *ssl;          /* NULL: it comes from this process */
	struct user *user; /* NULL: showed no certificate */
	bool handshaken, dead, busy, eof;
	bool known;   /* to origin.h */
	bool refused; /* its tenant has too many: see flow.h */
	struct flow_tenant *home;
	bool more; /* to do, though nothing comes from the socket */
	/* epoll tells once (EPOLLET): the socket may have bytes; the client has
	 * said its last ones. */
	bool readable, last;
	bool moved; /* something was written since the timer was set */

	/* turns.c */
	struct turn *turn;
	struct conn *turn_next;
	bool queued;
	uint32_t events;

	/* away.c: a thread of its own is at one of its requests. */
	bool away, left; /* what it held meanwhile is told again */

	/* HTTP/1.1 */
	struct buf in;
	struct req *req;   /* the one in progress */
	int64_t body_left; /* of it; -1: chunked */
	struct chunks chunks;
	int phase;            /* what the timer is for */
	struct relay *tunnel; /* what it has become */

	/* HTTP/2 */
	struct h2 *h2;
	struct req *reqs; /* one a stream */
	struct req *todo, **todo_tail;
	size_t nr_reqs, bodies;
	uint64_t idle_ms; /* since when there is no stream */
	bool leaving;     /* goodbye has been said */
	bool ready;       /* a watch has something */
	unsigned int stalls;
	const char *lent; /* a frame for the next record */
	size_t lent_len;

	/* What is said next: in the thread's room, or lent by HTTP/2. */
	const char *w;
	size_t w_len;

	/* seal.c */
	struct buf sealed; /* records that the socket did not take yet */
	size_t sealed_off;
	bool unread; /* bytes that TLS has read, and nobody has taken */
};

/* --- conn.c --- */

/* On the greeter @g. Takes @fd, and the origin's count. */
void peer_new(struct loop *g, int fd, struct origin *o);
/* One from within this process, whose user needs no proof; from any thread.
 * Takes both, and is to be given to @l. NULL: out of memory. */
struct conn *peer_new_own(struct loop *l, int fd, struct user *u);
/* Away from its loop, on that one's thread: it is nobody's until it is given to
 * one by loop_give(), and comes there by peer_enter(). */
void peer_leave(struct conn *c);
void peer_enter(struct conn *c);
void peer_close(struct conn *c);
/* A turn: @events have come for it. */
void peer_serve(struct conn *c, uint32_t events);
/* Go on with what there is, after it was away. */
void peer_resume(struct conn *c);
/* No new requests; close once those under way are answered. */
void peer_drain(struct conn *c);

/* --- server.c --- */

struct loop *loop_of_fewest(struct api *api);
/* @c, which is nobody's, is @l's from now on. From any thread. */
void loop_give(struct loop *l, struct conn *c);

/* --- seal.c --- */

#define SEAL_FULL ((size_t)64 * 1024) /* then it is time to send */

/* TLS of the connection goes by its socket. 0 or -ENOMEM. */
int seal_start(struct conn *c);
/* Seal @data; it is sent by and by, the rest by seal_flush(). As that. */
int seal_put(struct conn *c, const char *data, size_t len);
/* Bytes that have come; 0: none for now, -EPIPE: that was all. */
ssize_t seal_get(struct conn *c, char *data, size_t size);
/* Send what is sealed. 0: all of it, 1: the socket is full, or it is broken:
 * a negative errno. */
int seal_flush(struct conn *c);
static inline bool seal_is_out(const struct conn *c)
{
	return !c->sealed.len;
}
void seal_end(struct conn *c);

/* --- http1.c --- */

/* Parse one request's head at the start of @data. Returns its length, 0 when
 * more is needed, -EBADMSG or -E2BIG. Fills @r and the length of the body:
 * -1 for chunked. -ENAMETOOLONG: of its first line. */
ssize_t http1_head(const char *data, size_t len, struct req *r,
		   int64_t *ret_body, struct err *e);
/* Take more of a chunked body. Returns bytes consumed; *ret_end on the last
 * chunk. -EBADMSG, -E2BIG. */
ssize_t http1_chunks(const char *data, size_t len, struct chunks *ch,
		     struct buf *body, bool *ret_end);
#define TARGET_MAX      32768 /* bytes of a URL */
#define TARGET_TOO_LONG "request URL is too long, the limit is 32 KiB"

/* Parts of a request, whatever it came by. -ENAMETOOLONG, -EBADMSG. */
int req_target(struct req *r, const char *method, const char *target);
int req_field(struct req *r, const char *name, size_t n, const char *val,
	      size_t len, struct framing *f, struct err *e);

/* --- conn_h1.c --- */

void h1_run(struct conn *c);
/* More of the body, out of c->in. */
void h1_take(struct conn *c);
void h1_timer(struct conn *c);

/* --- conn_h2.c --- */

int h2_start(struct conn *c);
void h2_run(struct conn *c);
void h2_stop(struct conn *c);
void h2_fed(struct conn *c, const char *data, size_t len);
void h2_timer(struct conn *c);
void h2_flush_req(struct req *r);
void h2_flush_all(struct conn *c);
void h2_abort_req(struct req *r);
void h2_todo(struct req *r); /* once more */

/* --- conn.c, for both --- */

/* Send what @fill offers in c->w, until there is no more (0), or no room or no
 * time (1), or the connection is gone (-EPIPE). */
int peer_write(struct conn *c, bool (*fill)(struct conn *c));
void peer_timer(struct conn *c, unsigned int ms);
/* OUT_CHUNK bytes of the thread, to fill c->w with. */
char *peer_room(void);
/* Copy a reply's pieces into @p. */
size_t put_pieces(struct req *r, char *p, size_t size);
/* More output for a reply that had run dry. */
void req_fill(struct req *r);
/* Go on with @r by @go, when its connection has its turn. */
void peer_again(struct req *r, void (*go)(struct req *r));
/* The whole request is here: answer it. */
void peer_handle(struct req *r);

/* --- turns.c --- */

void turn_add(struct conn *c, uint32_t events);
void turn_del(struct conn *c);
/* From now on the connection's work counts for @u; NULL: nobody's. */
void turn_set(struct conn *c, const struct user *u);
/* Others are to have their turn: what is left waits. */
bool turn_is_over(const struct loop *l);
uint64_t turn_now_ns(void);
/* Whose turns it takes. Borrowed. */
const char *turn_tenant(const struct conn *c);
void turns_free(struct loop *l);

#endif /* CONTROLPLANE_APISERVER_CONN_H */
