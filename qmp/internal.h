/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One socket that carries one JSON text per line, shared by any number of
 * threads. Below both protocols, QMP and the guest agent's.
 *
 * There is no thread inside. Whoever waits (conn_wait()) reads for all: one of
 * them polls the socket, the others sleep on a condition until something was
 * handled. conn_pump() never blocks and may run beside a poller, which is then
 * woken through wake_fd, for its answer may be what was taken in.
 */
#ifndef QMP_INTERNAL_H
#define QMP_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "qmp/unix.h"

struct conn;
struct qga;
struct qmp;
struct qmp_args;
struct qmp_reply;

struct conn_ops {
	/* One line without its end; may contain NULs. Lock held. A failure ends
	 * the connection; tell it with conn_fail(). */
	int (*message)(struct conn *c, const char *line, size_t len);
	/* A line over message_max is being skipped. Same rules. */
	int (*oversize)(struct conn *c);
};

struct conn {
	const struct conn_ops *ops;
	const char *peer; /* for messages: "QEMU" */
	int fd;
	int event_fd; /* readable while there is something to be taken */
	int wake_fd;  /* makes the poller look again */
	int epoll_fd; /* readable when any of fd and event_fd is */
	pthread_mutex_t lock;
	pthread_cond_t progress;
	bool polling; /* somebody is in poll() */
	bool skipping;
	struct buf in, out;
	size_t scanned; /* bytes of @in known to hold no line end */
	size_t message_max;
	int error; /* why it is dead; 0 while it is not */
	struct err story;
};

int64_t conn_now_ns(void);
int64_t conn_deadline_ns(int timeout_ms);

/* On failure @fd is still the caller's. */
int conn_init(struct conn *c, int fd, const struct conn_ops *ops,
	      const char *peer, size_t message_max, struct err *e);
void conn_clear(struct conn *c);

/* All below: lock held. */
int conn_fail(struct conn *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int conn_error(const struct conn *c, struct err *e);

/* Queue bytes and send what goes without blocking. @pass_fd, unless negative,
 * goes with the first byte. */
int conn_send(struct conn *c, const void *data, size_t len, int pass_fd);

/* Send and take in what is possible without blocking. */
int conn_pump(struct conn *c);

/* Until @done(@arg). 0, -ETIMEDOUT, or why the connection is dead. */
int conn_wait(struct conn *c, bool (*done)(void *arg), void *arg,
	      int64_t deadline_ns);

void conn_set_readable(struct conn *c, bool readable);

/*
 * JSON
 */

/* Parse an object from @text, with QMP_DEPTH_MAX checked first. NULL if it is
 * none. */
yyjson_doc *msg_read_object(const char *text, size_t len);

/* {"execute": command, "arguments": args, "id": id} and a line end. @id 0: none
 * is sent. */
int msg_command(const char *command, const struct qmp_args *args, uint64_t id,
		struct buf *out, struct err *e);

/* Tell an "error" member: -EREMOTEIO, or -EOPNOTSUPP for an unknown command.
 * Foreign text is cut to what is printable. */
int msg_remote_error(yyjson_val *error, const char *command, struct err *e);

/* Members of an object. False when missing or of another type. */
bool msg_u64(yyjson_val *obj, const char *key, uint64_t *ret);
bool msg_i64(yyjson_val *obj, const char *key, int64_t *ret);
bool msg_bool(yyjson_val *obj, const char *key, bool *ret);
const char *msg_str(yyjson_val *obj, const char *key); /* NULL if not */

/* Copy a string member into a fixed field; "" when missing, cut when long. */
void msg_copy(yyjson_val *obj, const char *key, char *to, size_t size);

/* The list a reply is, as long as it has at most @max members: -EBADMSG when
 * it is none, -E2BIG beyond. */
int msg_list(const struct qmp_reply *reply, size_t max, const char *command,
	     size_t *ret_nr, struct err *e);

/**
 * msg_array() - A list of JSON objects as an array of structures.
 * @list:  As from msg_list(), or any list that is short enough.
 * @size:  Bytes of one structure.
 * @parse: Fills one, zeroed before; negative when the entry is odd.
 * @ret:   Owned; one element at least is allocated.
 *
 * Return: 0, -EBADMSG, -ENOMEM.
 */
int msg_array(yyjson_val *list, const char *command, size_t size,
	      int (*parse)(yyjson_val *v, void *to), void **ret, size_t *ret_nr,
	      struct err *e);

/* Ask @command, which has no arguments, for a list: msg_list(), msg_array(). */
int msg_query_array(struct qmp *q, const char *command, int timeout_ms,
		    size_t max, size_t size,
		    int (*parse)(yyjson_val *v, void *to), void **ret,
		    size_t *ret_nr, struct err *e);

static inline int conn_left_ms(int64_t deadline_ns)
{
	int64_t ms = (deadline_ns - conn_now_ns()) / 1000000;

	return ms > 0 ? (int)ms : 0;
}

/* Decode base64 into @out. -EBADMSG when it is not. */
int base64_decode(const char *text, size_t len, struct buf *out);
int base64_encode(const void *data, size_t len, struct buf *out);

/* Let @ms pass while messages are handled. 0, or why the connection is gone. */
int qga_pause(struct qga *g, int ms);

#endif /* QMP_INTERNAL_H */
