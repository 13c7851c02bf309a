/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client for QEMU's machine protocol (QMP).
 *
 *	auto_qmp struct qmp *q = NULL;
 *	auto_qmp_reply struct qmp_reply reply = { 0 };
 *
 *	r = qmp_open("/run/vm.qmp", 1000, &q, &e);
 *	...
 *	r = qmp_call(q, "query-status", NULL, 1000, &reply, &e);
 *	...
 *	status = yyjson_get_str(yyjson_obj_get(reply.value, "status"));
 *
 * Threads: every function may be called from any thread at any time on the
 * same connection, except qmp_free(). Callers wait for their own reply only;
 * whichever of them happens to read hands everybody else's messages on. There
 * is no thread inside: messages move while somebody is in qmp_call(),
 * qmp_watch_wait() or qmp_dispatch(). Typically worker threads call, and one
 * epoll loop holds qmp_fd() and takes the events.
 *
 * The peer is not trusted: messages, nesting and queues are bounded (below). A
 * peer that breaks the protocol ends the connection; every later call then
 * returns the same error.
 *
 * Errors besides those of the individual call:
 *   -EREMOTEIO  QEMU refused; e->msg holds its words
 *   -ETIMEDOUT  no reply in time. It is discarded should it come later; whether
 *               the command was carried out is unknown
 *   -EPIPE      QEMU has closed the connection (it quit, or was killed)
 *   -EBADMSG    what QEMU sent is not QMP
 *   -EMSGSIZE   a message was over %QMP_MESSAGE_MAX
 */
#ifndef QMP_QMP_H
#define QMP_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yyjson.h>

struct err;
struct qmp;
struct qmp_watch;

#define QMP_MESSAGE_MAX (4U << 20) /* bytes of one message, either way */
#define QMP_DEPTH_MAX   64         /* nesting in one message */
#define QMP_EVENTS_MAX  256        /* queued, and per watch; oldest go first */
#define QMP_WATCHES_MAX 256        /* at one time on one connection */
#define QMP_CALLS_MAX   256        /* at one time on one connection */

struct qmp_version {
	unsigned int major, minor, micro;
	char package[64]; /* "Debian 1:7.2+dfsg-7"; may be cut */
};

/* A successful answer. Clear it; {0} and clearing twice are fine. */
struct qmp_reply {
	yyjson_doc *doc;
	yyjson_val *value; /* the "return" member; lives in @doc */
};

/* Something QEMU reported. Owned by whoever received it. */
struct qmp_event {
	yyjson_doc *doc;
	const char *name;  /* "STOP"; lives in @doc */
	yyjson_val *data;  /* NULL if it has none; lives in @doc */
	uint64_t time_us;  /* as QEMU stamped it; 0 if it did not */
	unsigned int lost; /* events dropped here right before this one */
};

/* Arguments of a command under construction: the first failure sticks and is
 * reported by qmp_call(). Names are borrowed until then, values are copied. */
struct qmp_args {
	yyjson_mut_doc *doc;
	int error;
};

void qmp_arg_str(struct qmp_args *a, const char *name, const char *value);
void qmp_arg_u64(struct qmp_args *a, const char *name, uint64_t value);
void qmp_arg_bool(struct qmp_args *a, const char *name, bool value);

/* Add a value built with @a's own doc (qmp_args_doc()), e.g. a list. */
void qmp_arg_val(struct qmp_args *a, const char *name, yyjson_mut_val *value);
yyjson_mut_doc *qmp_args_doc(struct qmp_args *a); /* NULL: out of memory */
void qmp_args_clear(struct qmp_args *a);
void qmp_reply_clear(struct qmp_reply *reply);
void qmp_event_clear(struct qmp_event *event);

/**
 * qmp_open() - Connect to a QMP unix socket and greet.
 * @path:       Of the socket; may be longer than sun_path. Borrowed.
 * @timeout_ms: For connecting, greeting and capabilities together.
 * @ret:        Set to the connection.
 * @e:          Filled on error. May be NULL.
 *
 * QEMU serves one client per QMP socket. A second one is queued by the kernel
 * and gets no greeting: that is -ETIMEDOUT here.
 *
 * Return: 0, -errno of connect(2), or one of the errors above.
 */
int qmp_open(const char *path, int timeout_ms, struct qmp **ret, struct err *e);

/* The same on a connected stream socket. @fd is taken over on success only. */
int qmp_open_fd(int fd, int timeout_ms, struct qmp **ret, struct err *e);

/* Closes. No other call on @q may be under way. NULL is fine. */
void qmp_free(struct qmp *q);

/* What the greeting said. */
const struct qmp_version *qmp_version(const struct qmp *q);

/* Why the connection is gone: 0 while it is not, else the code (and text). */
int qmp_error(struct qmp *q, struct err *e);

/**
 * qmp_call() - Execute one command and wait for its answer.
 * @q:          Connection.
 * @command:    Its name. Borrowed.
 * @args:       Arguments, or NULL for none. Borrowed; cleared by the caller.
 * @timeout_ms: Give up after this time.
 * @ret:        Set to the answer; NULL if it does not matter.
 * @e:          Filled on error. May be NULL.
 *
 * Return: 0, or an error as listed at the head of this file, -EBUSY beyond
 * %QMP_CALLS_MAX, -ENOMEM.
 */
int qmp_call(struct qmp *q, const char *command, const struct qmp_args *args,
	     int timeout_ms, struct qmp_reply *ret, struct err *e);

/* Hand a descriptor to QEMU under @name, for "fd:<name>" in later commands.
 * @fd is borrowed: QEMU gets a duplicate. */
int qmp_getfd(struct qmp *q, int fd, const char *name, int timeout_ms,
	      struct err *e);

/*
 * Events for one consumer, without waiting
 */

/* Readable when qmp_dispatch() has something to do. Borrowed: add it to an
 * epoll instance, never read it. */
int qmp_fd(const struct qmp *q);

/* Take in what has arrived, without blocking. 0, or why the connection is gone
 * (queued events remain readable then; remove qmp_fd() from the loop). */
int qmp_dispatch(struct qmp *q, struct err *e);

/* The next event, oldest first, or -EAGAIN. Never blocks. */
int qmp_event_next(struct qmp *q, struct qmp_event *ret);

/*
 * Events for whoever waits for a particular one. A watch sees the event as
 * well as the queue above, from the moment it is added: add it before the
 * command that causes it.
 */

/**
 * qmp_watch_add() - Collect certain events.
 * @q:     Connection.
 * @names: Event names with commas between them ("DEVICE_DELETED,SHUTDOWN").
 *         Borrowed, must stay until the watch is freed.
 * @key:   Member of the event's data that must be the string @value, or NULL.
 *         Borrowed as well.
 * @value: Borrowed as well.
 * @ret:   Set to the watch.
 *
 * Return: 0, -ENOMEM, or -EBUSY beyond %QMP_WATCHES_MAX.
 */
int qmp_watch_add(struct qmp *q, const char *names, const char *key,
		  const char *value, struct qmp_watch **ret);
void qmp_watch_free(struct qmp_watch *w);

/* Wait for the next event of the watch. 0, -ETIMEDOUT, or why the connection
 * is gone. @timeout_ms 0 only looks. */
int qmp_watch_wait(struct qmp_watch *w, int timeout_ms, struct qmp_event *ret,
		   struct err *e);

static inline void qmp_free_(struct qmp **q)
{
	qmp_free(*q);
}

static inline void qmp_watch_free_(struct qmp_watch **w)
{
	qmp_watch_free(*w);
}

#define auto_qmp       __attribute__((cleanup(qmp_free_)))
#define auto_qmp_args  __attribute__((cleanup(qmp_args_clear)))
#define auto_qmp_reply __attribute__((cleanup(qmp_reply_clear)))
#define auto_qmp_event __attribute__((cleanup(qmp_event_clear)))
#define auto_qmp_watch __attribute__((cleanup(qmp_watch_free_)))

#endif /* QMP_QMP_H */
