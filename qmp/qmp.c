// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/qmp.h"
#include "qmp/event.h"

/* Somebody who waits for an answer; lives on his stack. */
struct call {
	struct call *next;
	const char *command;
	uint64_t id;
	bool done;
	int code;
	struct err story;
	struct qmp_reply reply;
};

struct qmp {
	struct conn conn; /* first: ops get a struct conn */
	bool greeted;
	struct qmp_version version;
	uint64_t last_id;
	struct call *calls;
	size_t nr_calls;
	struct event_queue events;
	struct qmp_watch *watches;
	size_t nr_watches;
};

struct qmp_watch {
	struct qmp_watch *next;
	struct qmp *q;
	const char *names, *key, *value;
	struct event_queue events;
};

DEFINE_AUTO_PTR(qmp, qmp_free)

/*
 * What the peer sends
 */

static int take_greeting(struct qmp *q, yyjson_val *root)
{
	yyjson_val *version =
		yyjson_obj_get(yyjson_obj_get(root, "QMP"), "version");
	yyjson_val *qemu = yyjson_obj_get(version, "qemu");
	uint64_t major = 0, minor = 0, micro = 0;

	if (!msg_u64(qemu, "major", &major) ||
	    !msg_u64(qemu, "minor", &minor) ||
	    !msg_u64(qemu, "micro", &micro) || major > UINT16_MAX ||
	    minor > UINT16_MAX || micro > UINT16_MAX)
		return conn_fail(&q->conn, -EBADMSG,
				 "the first line is not a QMP greeting");
	q->version.major = (unsigned int)major;
	q->version.minor = (unsigned int)minor;
	q->version.micro = (unsigned int)micro;
	msg_copy(version, "package", q->version.package,
		 sizeof(q->version.package));
	q->greeted = true;
	return 0;
}

/* Takes @doc over in any case. */
static void take_event(struct qmp *q, yyjson_doc *doc, const char *line,
		       size_t len)
{
	const char *name = msg_str(yyjson_doc_get_root(doc), "event");
	yyjson_val *data = yyjson_obj_get(yyjson_doc_get_root(doc), "data");

	for (struct qmp_watch *w = q->watches; w; w = w->next)
		if (event_matches(name, data, w->names, w->key, w->value))
			event_queue_push(&w->events,
					 msg_read_object(line, len));
	event_queue_push(&q->events, doc);
	conn_set_readable(&q->conn, true);
}

/* Takes @doc over in any case. An answer nobody waits for (any more) goes. */
static void take_answer(struct qmp *q, yyjson_doc *doc)
{
	yyjson_val *root = yyjson_doc_get_root(doc);
	struct call *c = q->calls;
	uint64_t id = 0;

	if (msg_u64(root, "id", &id))
		while (c && (c->id != id || c->done))
			c = c->next;
	if (!id || !c) {
		yyjson_doc_free(doc);
		return;
	}
	c->done = true;
	c->reply.value = yyjson_obj_get(root, "return");
	if (c->reply.value) {
		c->reply.doc = doc;
		return;
	}
	c->code = msg_remote_error(yyjson_obj_get(root, "error"), c->command,
				   &c->story);
	yyjson_doc_free(doc);
}

static int qmp_message(struct conn *conn, const char *line, size_t len)
{
	struct qmp *q = (struct qmp *)conn;
	yyjson_doc *doc;
	yyjson_val *root;
	int r = 0;

	if (len == 0 || (len == 1 && line[0] == '\r'))
		return 0;
	doc = msg_read_object(line, len);
	if (!doc)
		return conn_fail(
			conn, -EBADMSG,
			"QEMU sent a line that is no JSON object, or is nested too deep");
	root = yyjson_doc_get_root(doc);
	if (!q->greeted) {
		r = take_greeting(q, root);
		yyjson_doc_free(doc);
	} else if (msg_str(root, "event")) {
		take_event(q, doc, line, len);
	} else if (yyjson_obj_get(root, "return") ||
		   yyjson_obj_get(root, "error")) {
		take_answer(q, doc);
	} else {
		yyjson_doc_free(doc);
		r = conn_fail(conn, -EBADMSG,
			      "QEMU sent what is no answer and no event");
	}
	return r;
}

static int qmp_oversize(struct conn *conn)
{
	return conn_fail(conn, -EMSGSIZE, "QEMU sent a line of over %u bytes",
			 QMP_MESSAGE_MAX);
}

static const struct conn_ops qmp_ops = { .message = qmp_message,
					 .oversize = qmp_oversize };

/*
 * Arguments and results
 */

yyjson_mut_doc *qmp_args_doc(struct qmp_args *a)
{
	yyjson_mut_val *root;

	if (a->doc || a->error)
		return a->doc;
	a->doc = yyjson_mut_doc_new(NULL);
	root = yyjson_mut_obj(a->doc);
	if (!root)
		a->error = -ENOMEM;
	else
		yyjson_mut_doc_set_root(a->doc, root);
	return root ? a->doc : NULL;
}

void qmp_arg_val(struct qmp_args *a, const char *name, yyjson_mut_val *value)
{
	yyjson_mut_doc *doc = qmp_args_doc(a);

	if (!doc || !value ||
	    !yyjson_mut_obj_add_val(doc, yyjson_mut_doc_get_root(doc), name,
				    value))
		a->error = -ENOMEM;
}

void qmp_arg_str(struct qmp_args *a, const char *name, const char *value)
{
	qmp_arg_val(a, name, yyjson_mut_strcpy(qmp_args_doc(a), value));
}

void qmp_arg_u64(struct qmp_args *a, const char *name, uint64_t value)
{
	qmp_arg_val(a, name, yyjson_mut_uint(qmp_args_doc(a), value));
}

void qmp_arg_bool(struct qmp_args *a, const char *name, bool value)
{
	qmp_arg_val(a, name, yyjson_mut_bool(qmp_args_doc(a), value));
}

void qmp_args_clear(struct qmp_args *a)
{
	yyjson_mut_doc_free(a->doc);
	*a = (struct qmp_args){ 0 };
}

void qmp_reply_clear(struct qmp_reply *reply)
{
	yyjson_doc_free(reply->doc);
	*reply = (struct qmp_reply){ 0 };
}

void qmp_event_clear(struct qmp_event *event)
{
	yyjson_doc_free(event->doc);
	*event = (struct qmp_event){ 0 };
}

/*
 * Calls
 */

static bool call_is_done(void *arg)
{
	return ((struct call *)arg)->done;
}

static void call_unlink(struct qmp *q, const struct call *c)
{
	struct call **p = &q->calls;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	q->nr_calls--;
}

/* Lock held. */
static int call_run(struct qmp *q, struct call *c, const struct buf *text,
		    int pass_fd, int64_t deadline_ns)
{
	int r;

	if (q->nr_calls >= QMP_CALLS_MAX)
		return err_set(&c->story, -EBUSY, "%s: %u calls under way",
			       c->command, QMP_CALLS_MAX);
	r = conn_send(&q->conn, text->data, text->len, pass_fd);
	if (r < 0 && q->conn.error)
		return conn_error(&q->conn, &c->story);
	if (r < 0)
		return err_set(&c->story, -EBUSY,
			       "%s: QEMU does not read its commands",
			       c->command);
	c->next = q->calls;
	q->calls = c;
	q->nr_calls++;
	r = conn_wait(&q->conn, call_is_done, c, deadline_ns);
	call_unlink(q, c);
	if (r == -ETIMEDOUT)
		return err_set(&c->story, r, "%s: no answer from QEMU in time",
			       c->command);
	if (r < 0)
		return conn_error(&q->conn, &c->story);
	return c->code;
}

static int call_with_fd(struct qmp *q, const char *command,
			const struct qmp_args *args, int pass_fd,
			int timeout_ms, struct qmp_reply *ret, struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	struct call c = { .command = command };
	auto_buf struct buf text = BUF_INIT;
	int r;

	pthread_mutex_lock(&q->conn.lock);
	c.id = ++q->last_id;
	pthread_mutex_unlock(&q->conn.lock);

	r = msg_command(command, args, c.id, &text, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&q->conn.lock);
	r = call_run(q, &c, &text, pass_fd, deadline_ns);
	pthread_mutex_unlock(&q->conn.lock);
	if (r == 0 && ret) {
		*ret = c.reply;
		return 0;
	}
	qmp_reply_clear(&c.reply);
	if (r < 0 && e)
		*e = c.story;
	return r;
}

int qmp_call(struct qmp *q, const char *command, const struct qmp_args *args,
	     int timeout_ms, struct qmp_reply *ret, struct err *e)
{
	return call_with_fd(q, command, args, -1, timeout_ms, ret, e);
}

int qmp_getfd(struct qmp *q, int fd, const char *name, int timeout_ms,
	      struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "fdname", name);
	return call_with_fd(q, "getfd", &args, fd, timeout_ms, NULL, e);
}

/*
 * Opening and closing
 */

static bool is_greeted(void *arg)
{
	return ((struct qmp *)arg)->greeted;
}

static int qmp_greet(struct qmp *q, int64_t deadline_ns, struct err *e)
{
	int64_t left_ms;
	int r;

	pthread_mutex_lock(&q->conn.lock);
	r = conn_wait(&q->conn, is_greeted, q, deadline_ns);
	if (r == -ETIMEDOUT)
		err_set(e, r,
			"no greeting from QEMU in time: is another client connected?");
	else if (r < 0)
		conn_error(&q->conn, e);
	pthread_mutex_unlock(&q->conn.lock);
	if (r < 0)
		return r;
	left_ms = (deadline_ns - conn_now_ns()) / 1000000;
	return qmp_call(q, "qmp_capabilities", NULL,
			left_ms > 0 ? (int)left_ms : 0, NULL, e);
}

int qmp_open_fd(int fd, int timeout_ms, struct qmp **ret, struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	auto_ptr(qmp) q = NULL;
	struct qmp *fresh = calloc(1, sizeof(*fresh));
	int r;

	if (!fresh)
		return err_set(e, -ENOMEM, "out of memory");
	r = conn_init(&fresh->conn, fd, &qmp_ops, "QEMU", QMP_MESSAGE_MAX, e);
	if (r < 0) {
		free(fresh);
		return r;
	}
	q = fresh;
	r = qmp_greet(q, deadline_ns, e);
	if (r < 0) {
		q->conn.fd = -EBADF; /* remains the caller's */
		return r;
	}
	*ret = take_ptr(q);
	return 0;
}

int qmp_open(const char *path, int timeout_ms, struct qmp **ret, struct err *e)
{
	auto_close int fd = qmp_unix_connect(path, e);
	int r;

	if (fd < 0)
		return fd;
	r = qmp_open_fd(fd, timeout_ms, ret, e);
	if (r < 0)
		return err_wrap(e, r, "'%s'", path);
	take_fd(&fd);
	return 0;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	event_queue_clear(&q->events);
	conn_clear(&q->conn);
	free(q);
}

const struct qmp_version *qmp_version(const struct qmp *q)
{
	return &q->version;
}

int qmp_error(struct qmp *q, struct err *e)
{
	int r;

	pthread_mutex_lock(&q->conn.lock);
	r = conn_error(&q->conn, e);
	pthread_mutex_unlock(&q->conn.lock);
	return r;
}

/*
 * Events
 */

int qmp_fd(const struct qmp *q)
{
	return q->conn.epoll_fd;
}

int qmp_dispatch(struct qmp *q, struct err *e)
{
	int r;

	pthread_mutex_lock(&q->conn.lock);
	r = conn_pump(&q->conn);
	if (r < 0)
		conn_error(&q->conn, e);
	pthread_mutex_unlock(&q->conn.lock);
	return r;
}

int qmp_event_next(struct qmp *q, struct qmp_event *ret)
{
	int r;

	pthread_mutex_lock(&q->conn.lock);
	r = event_queue_pop(&q->events, ret);
	if (!q->events.nr)
		conn_set_readable(&q->conn, false);
	pthread_mutex_unlock(&q->conn.lock);
	return r;
}

int qmp_watch_add(struct qmp *q, const char *names, const char *key,
		  const char *value, struct qmp_watch **ret)
{
	struct qmp_watch *w = calloc(1, sizeof(*w));
	bool full;

	if (!w)
		return -ENOMEM;
	w->q = q;
	w->names = names;
	w->key = key;
	w->value = value;
	pthread_mutex_lock(&q->conn.lock);
	full = q->nr_watches >= QMP_WATCHES_MAX;
	if (!full) {
		w->next = q->watches;
		q->watches = w;
		q->nr_watches++;
	}
	pthread_mutex_unlock(&q->conn.lock);
	if (full) {
		free(w);
		return -EBUSY;
	}
	*ret = w;
	return 0;
}

void qmp_watch_free(struct qmp_watch *w)
{
	struct qmp_watch **p;

	if (!w)
		return;
	pthread_mutex_lock(&w->q->conn.lock);
	p = &w->q->watches;
	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	w->q->nr_watches--;
	pthread_mutex_unlock(&w->q->conn.lock);
	event_queue_clear(&w->events);
	free(w);
}

static bool watch_has_event(void *arg)
{
	return ((struct qmp_watch *)arg)->events.nr > 0;
}

int qmp_watch_wait(struct qmp_watch *w, int timeout_ms, struct qmp_event *ret,
		   struct err *e)
{
	struct conn *conn = &w->q->conn;
	int r;

	pthread_mutex_lock(&conn->lock);
	r = conn_wait(conn, watch_has_event, w, conn_deadline_ns(timeout_ms));
	if (r == 0)
		r = event_queue_pop(&w->events, ret);
	else if (r == -ETIMEDOUT)
		err_set(e, r, "no %s from QEMU in time", w->names);
	else
		conn_error(conn, e);
	pthread_mutex_unlock(&conn->lock);
	return r;
}
