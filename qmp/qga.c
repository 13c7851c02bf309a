// SPDX-License-Identifier: Apache-2.0
/*
 * The stream to the guest agent: requests in a row, and synchronisation.
 *
 *	UNSYNCED --sync sent--> SYNCING --0xff, our id--> READY <--> WAITING
 *
 * Any surprise leads back to UNSYNCED. A sync is sent again after a while, for
 * QEMU discards what is sent while no agent has the port open. A line with a
 * 0xff in it can only be the answer to a sync: such bytes are in no JSON text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "qmp/internal.h"
#include "qmp/qga.h"

#define QGA_SYNC_AGAIN_MS 500
#define QGA_FLAG          '\xff'

enum qga_state { QGA_UNSYNCED, QGA_SYNCING, QGA_READY, QGA_WAITING };

struct qga_request {
	struct qga_request *next;
	struct qga *g;
	char command[64];
	struct buf text;
	int64_t deadline_ns;
	bool queued; /* still in the list of @g */
	bool done;
	int code;
	struct err story;
	struct qmp_reply reply;
};

struct qga {
	struct conn conn; /* first: ops get a struct conn */
	enum qga_state state;
	struct qga_request *requests; /* the first one is being served */
	size_t nr_requests;
	uint64_t sync_first, sync_last; /* ids of this round */
	int64_t sync_again_ns;
	bool has_info;
	struct qga_info info;
};

static void qga_unlink(struct qga_request *rq)
{
	struct qga_request **p = &rq->g->requests;

	if (!rq->queued)
		return;
	while (*p != rq)
		p = &(*p)->next;
	*p = rq->next;
	rq->queued = false;
	rq->g->nr_requests--;
}

/* End a request; its text is in its story already if @code is not 0. */
static void qga_finish(struct qga_request *rq, int code)
{
	qga_unlink(rq);
	rq->done = true;
	rq->code = code;
	pthread_cond_broadcast(&rq->g->conn.progress);
}

static void qga_time_out(struct qga_request *rq)
{
	struct qga *g = rq->g;
	bool first = g->requests == rq;

	err_set(&rq->story, -ETIMEDOUT,
		first && g->state == QGA_WAITING
			? "%s: the guest agent has not answered in time"
			: "%s: no guest agent answers",
		rq->command);
	if (first && g->state == QGA_WAITING)
		g->state = QGA_UNSYNCED;
	qga_finish(rq, -ETIMEDOUT);
}

static void qga_send_sync(struct qga *g, int64_t now_ns)
{
	auto_buf struct buf text = BUF_INIT;

	buf_putc(&text, QGA_FLAG);
	buf_printf(
		&text,
		"{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%llu}}\n",
		(unsigned long long)++g->sync_last);
	/* Whatever goes wrong here: it is tried again, or the request's time
	 * runs out. */
	if (!buf_error(&text))
		(void)conn_send(&g->conn, text.data, text.len, -1);
	g->sync_again_ns = now_ns + QGA_SYNC_AGAIN_MS * 1000000LL;
}

/* Do what can be done now for the first request. Lock held. */
static void qga_kick(struct qga *g)
{
	int64_t now_ns = conn_now_ns();
	struct qga_request *rq;

	while (g->requests && now_ns >= g->requests->deadline_ns)
		qga_time_out(g->requests);
	rq = g->requests;
	if (!rq)
		return;
	if (g->state == QGA_UNSYNCED) {
		g->sync_first = g->sync_last + 1;
		g->state = QGA_SYNCING;
		qga_send_sync(g, now_ns);
	} else if (g->state == QGA_SYNCING && now_ns >= g->sync_again_ns &&
		   !g->conn.out.len) {
		qga_send_sync(g, now_ns);
	} else if (g->state == QGA_READY) {
		g->state = QGA_WAITING;
		(void)conn_send(&g->conn, rq->text.data, rq->text.len, -1);
	}
}

static void qga_take_sync(struct qga *g, const char *line, size_t len)
{
	const char *flag = memrchr(line, QGA_FLAG, len);
	yyjson_doc *doc;
	uint64_t id = 0;

	if (!flag || g->state != QGA_SYNCING)
		return;
	len -= (size_t)(flag + 1 - line);
	doc = msg_read_object(flag + 1, len);
	if (msg_u64(yyjson_doc_get_root(doc), "return", &id) &&
	    id >= g->sync_first && id <= g->sync_last) {
		g->state = QGA_READY;
		qga_kick(g);
	}
	yyjson_doc_free(doc);
}

/* The agent complains about the 0xff of every sync. Of a sync that was sent
 * again the complaint may come when the first has been answered already; what
 * we send else is JSON without stray bytes. */
static bool qga_is_echo_of_sync(yyjson_val *error)
{
	const char *desc = yyjson_get_str(yyjson_obj_get(error, "desc"));

	return desc && strncmp(desc, "JSON parse error, stray", 23) == 0;
}

static void qga_take_answer(struct qga *g, const char *line, size_t len)
{
	struct qga_request *rq = g->requests;
	yyjson_doc *doc = msg_read_object(line, len);
	yyjson_val *root = yyjson_doc_get_root(doc);
	yyjson_val *error = yyjson_obj_get(root, "error");
	int code = 0;

	if (error && qga_is_echo_of_sync(error)) {
		yyjson_doc_free(doc);
		return;
	}
	rq->reply.value = yyjson_obj_get(root, "return");
	g->state = QGA_READY;
	if (rq->reply.value) {
		rq->reply.doc = doc;
		doc = NULL;
	} else if (error) {
		code = msg_remote_error(error, rq->command, &rq->story);
	} else {
		code = err_set(&rq->story, -EBADMSG,
			       "%s: the guest agent's answer makes no sense",
			       rq->command);
		g->state = QGA_UNSYNCED;
	}
	yyjson_doc_free(doc);
	qga_finish(rq, code);
	qga_kick(g);
}

static int qga_message(struct conn *conn, const char *line, size_t len)
{
	struct qga *g = (struct qga *)conn;

	if (len == 0 || (len == 1 && line[0] == '\r'))
		return 0;
	if (g->state == QGA_SYNCING || memchr(line, QGA_FLAG, len))
		qga_take_sync(g, line, len);
	else if (g->state == QGA_WAITING)
		qga_take_answer(g, line, len);
	else
		g->state = QGA_UNSYNCED;
	return 0;
}

static int qga_oversize(struct conn *conn)
{
	struct qga *g = (struct qga *)conn;
	struct qga_request *rq = g->requests;

	if (g->state == QGA_WAITING) {
		int code =
			err_set(&rq->story, -EMSGSIZE,
				"%s: the guest agent's answer is over %u bytes",
				rq->command, QGA_MESSAGE_MAX);

		qga_finish(rq, code);
	}
	g->state = QGA_UNSYNCED;
	return 0;
}

static const struct conn_ops qga_ops = { .message = qga_message,
					 .oversize = qga_oversize };

int qga_open_fd(int fd, struct qga **ret, struct err *e)
{
	struct qga *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return err_set(e, -ENOMEM, "out of memory");
	r = conn_init(&g->conn, fd, &qga_ops, "QEMU", QGA_MESSAGE_MAX, e);
	if (r < 0) {
		free(g);
		return r;
	}
	/* Not the numbers an earlier client may still get answers for. */
	g->sync_last = (uint64_t)conn_now_ns() >> 10 & 0x3fffffffffff;
	*ret = g;
	return 0;
}

int qga_open(const char *path, struct qga **ret, struct err *e)
{
	auto_close int fd = qmp_unix_connect(path, e);
	int r;

	if (fd < 0)
		return fd;
	r = qga_open_fd(fd, ret, e);
	if (r == 0)
		take_fd(&fd);
	return r;
}

void qga_free(struct qga *g)
{
	if (!g)
		return;
	conn_clear(&g->conn);
	free(g);
}

int qga_fd(const struct qga *g)
{
	return g->conn.epoll_fd;
}

int qga_dispatch(struct qga *g, struct err *e)
{
	int r;

	pthread_mutex_lock(&g->conn.lock);
	r = conn_pump(&g->conn);
	qga_kick(g);
	if (r < 0)
		conn_error(&g->conn, e);
	pthread_mutex_unlock(&g->conn.lock);
	return r;
}

static void qga_append(struct qga *g, struct qga_request *rq)
{
	struct qga_request **p = &g->requests;

	while (*p)
		p = &(*p)->next;
	*p = rq;
	rq->queued = true;
	g->nr_requests++;
	qga_kick(g);
}

int qga_submit(struct qga *g, const char *command, const struct qmp_args *args,
	       int timeout_ms, struct qga_request **ret, struct err *e)
{
	auto_qga_request struct qga_request *rq = calloc(1, sizeof(*rq));
	int r;

	if (!rq)
		return err_set(e, -ENOMEM, "out of memory");
	rq->g = g;
	rq->deadline_ns = conn_deadline_ns(timeout_ms);
	strncpy(rq->command, command, sizeof(rq->command) - 1);
	r = msg_command(command, args, 0, &rq->text, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&g->conn.lock);
	if (g->conn.error)
		r = conn_error(&g->conn, e);
	else if (g->nr_requests >= QGA_REQUESTS_MAX)
		r = err_set(e, -EBUSY, "%s: %u requests wait already", command,
			    QGA_REQUESTS_MAX);
	else
		qga_append(g, rq);
	pthread_mutex_unlock(&g->conn.lock);
	if (r < 0)
		return r;
	*ret = take_ptr(rq);
	return 0;
}

static bool request_is_done(void *arg)
{
	return ((struct qga_request *)arg)->done;
}

/* Lock held. */
static int request_wait(struct qga_request *rq, int64_t until_ns)
{
	struct qga *g = rq->g;
	int r;

	for (;;) {
		int64_t again_ns = conn_deadline_ns(QGA_SYNC_AGAIN_MS);

		if (again_ns > until_ns)
			again_ns = until_ns;
		if (again_ns > rq->deadline_ns)
			again_ns = rq->deadline_ns;
		r = conn_wait(&g->conn, request_is_done, rq, again_ns);
		if (r != -ETIMEDOUT)
			return r;
		if (conn_now_ns() >= rq->deadline_ns)
			qga_time_out(rq);
		qga_kick(g);
		if (rq->done)
			return 0;
		if (conn_now_ns() >= until_ns)
			return -EAGAIN;
	}
}

int qga_poll(struct qga_request *rq, int wait_ms, struct qmp_reply *ret,
	     struct err *e)
{
	struct conn *conn = &rq->g->conn;
	int r;

	pthread_mutex_lock(&conn->lock);
	r = request_wait(rq, conn_deadline_ns(wait_ms));
	if (r < 0 && r != -EAGAIN)
		conn_error(conn, e);
	pthread_mutex_unlock(&conn->lock);
	if (r < 0)
		return r;
	if (rq->code < 0) {
		if (e)
			*e = rq->story;
		return rq->code;
	}
	if (ret) {
		*ret = rq->reply;
		rq->reply = (struct qmp_reply){ 0 };
	}
	return 0;
}

void qga_request_free(struct qga_request *rq)
{
	if (!rq)
		return;
	pthread_mutex_lock(&rq->g->conn.lock);
	if (rq->queued && rq->g->requests == rq && rq->g->state == QGA_WAITING)
		rq->g->state = QGA_UNSYNCED;
	qga_unlink(rq);
	qga_kick(rq->g);
	pthread_mutex_unlock(&rq->g->conn.lock);
	qmp_reply_clear(&rq->reply);
	buf_clear(&rq->text);
	free(rq);
}

int qga_call(struct qga *g, const char *command, const struct qmp_args *args,
	     int timeout_ms, struct qmp_reply *ret, struct err *e)
{
	auto_qga_request struct qga_request *rq = NULL;
	int r;

	r = qga_submit(g, command, args, timeout_ms, &rq, e);
	if (r < 0)
		return r;
	do
		r = qga_poll(rq, timeout_ms, ret, e);
	while (r == -EAGAIN);
	return r;
}

void qga_forget(struct qga *g)
{
	struct qga_request *rq;

	pthread_mutex_lock(&g->conn.lock);
	g->has_info = false;
	rq = g->requests;
	if (rq && g->state == QGA_WAITING)
		qga_finish(rq, err_set(&rq->story, -ETIMEDOUT,
				       "%s: the guest agent went away",
				       rq->command));
	g->state = QGA_UNSYNCED;
	qga_kick(g);
	pthread_mutex_unlock(&g->conn.lock);
}

static void parse_info(yyjson_val *info, struct qga_info *ret)
{
	const struct {
		const char *command;
		bool *flag;
	} known[] = {
		{ "guest-get-vcpus", &ret->get_vcpus },
		{ "guest-set-vcpus", &ret->set_vcpus },
		{ "guest-get-memory-blocks", &ret->get_memory_blocks },
		{ "guest-set-memory-blocks", &ret->set_memory_blocks },
		{ "guest-exec", &ret->exec },
		{ "guest-file-read", &ret->file_read },
		{ "guest-network-get-interfaces", &ret->interfaces },
		{ "guest-shutdown", &ret->shutdown },
		{ "guest-fsfreeze-freeze", &ret->fsfreeze },
	};
	yyjson_val *list = yyjson_obj_get(info, "supported_commands");
	yyjson_val *v;
	size_t i, max;

	msg_copy(info, "version", ret->version, sizeof(ret->version));
	yyjson_arr_foreach(list, i, max, v)
	{
		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			if (yyjson_equals_str(yyjson_obj_get(v, "name"),
					      known[k].command))
				(void)msg_bool(v, "enabled", known[k].flag);
	}
}

int qga_info(struct qga *g, int timeout_ms, struct qga_info *ret, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	struct qga_info info = { 0 };
	bool known;
	int r;

	pthread_mutex_lock(&g->conn.lock);
	known = g->has_info;
	if (known)
		*ret = g->info;
	pthread_mutex_unlock(&g->conn.lock);
	if (known)
		return 0;
	r = qga_call(g, "guest-info", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_obj(reply.value))
		return err_set(e, -EBADMSG, "guest-info: not an object");
	parse_info(reply.value, &info);
	pthread_mutex_lock(&g->conn.lock);
	g->info = info;
	g->has_info = true;
	pthread_mutex_unlock(&g->conn.lock);
	*ret = info;
	return 0;
}

int qga_pause(struct qga *g, int ms)
{
	struct qga_request never = { .g = g };
	int r;

	pthread_mutex_lock(&g->conn.lock);
	r = conn_wait(&g->conn, request_is_done, &never, conn_deadline_ns(ms));
	pthread_mutex_unlock(&g->conn.lock);
	return r == -ETIMEDOUT ? 0 : r;
}
