// SPDX-License-Identifier: Apache-2.0
/* The operations, one function each. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <yyjson.h>

#include "agent/supervisor/sup.h"

static void op_hello(struct client *c, const struct request *req)
{
	const struct opts *o = c->sup->opts;
	yyjson_mut_doc *doc = reply_ok(req->id);
	yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);

	yyjson_mut_obj_add_int(doc, root, "version", PROTO_VERSION);
	yyjson_mut_obj_add_strcpy(doc, root, "uid", o->uid);
	yyjson_mut_obj_add_uint(doc, root, "usernsBase", o->userns_base);
	yyjson_mut_obj_add_uint(doc, root, "usernsSize", o->userns_size);
	client_send(c, doc, -1);
}

static void op_list(struct client *c, const struct request *req)
{
	yyjson_mut_doc *doc = reply_ok(req->id);
	yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "processes");

	for (struct proc *p = c->sup->procs; p; p = p->next)
		reply_add_proc(doc, list, NULL, p);
	client_send(c, doc, -1);
}

static void op_start(struct client *c, const struct request *req,
		     const int *fds)
{
	struct err e = { 0 };
	int r;

	if (c->sup->stopping) {
		reply_refuse(c, req->id, -ESHUTDOWN, "the pod is being ended");
		return;
	}
	r = proc_start(c->sup, c, req, fds, &e);
	if (r == -EEXIST || r == -ENOENT || r == -EAGAIN)
		client_send(c, reply_error(req->id, NULL, 0, &e), -1);
	else if (r < 0)
		client_send(c,
			    reply_error(req->id, PROTO_RUN_ERROR,
					PROTO_EXIT_NO_START, &e),
			    -1);
	/* else the reply follows when the child has executed, or failed */
}

static int resize(const struct proc *p, const struct request *req)
{
	struct winsize size = { .ws_row = req->rows, .ws_col = req->cols };

	if (p->tty_fd < 0)
		return -ENOTTY;
	return ioctl(p->tty_fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static void op_ack(struct client *c, const struct request *req, struct proc *p)
{
	struct sup *sup = c->sup;

	if (p->state != STATE_EXITED) {
		reply_refuse(c, req->id, -EBUSY, "'%s' has not exited",
			     req->name);
		return;
	}
	proc_forget(p);
	/* A stale entry would only be read twice, so a full disk is no reason
	 * to refuse. */
	(void)exits_write(sup, NULL);
	client_send(c, reply_ok(req->id), -1);
}

static void op_attach(struct client *c, const struct request *req,
		      struct proc *p, const int *fds)
{
	int fd = p->stdin_fd >= 0 ? p->stdin_fd : p->tty_fd;
	struct err e = { 0 };
	int r = 0;

	if (p->state != STATE_RUNNING || p->kind == KIND_EXEC) {
		reply_refuse(c, req->id, -ESRCH, "'%s' is not running",
			     req->name);
		return;
	}
	for (int i = 0; i < 2 && r == 0; i++)
		if (req->out[i] != FD_NONE && p->out[i].stream.fd >= 0)
			r = tap_add(&p->out[i], fds[req->out[i]], &e);
	if (r < 0) {
		client_send(c, reply_error(req->id, NULL, 0, &e), -1);
		return;
	}
	client_send(c, reply_ok(req->id), req->in ? fd : -1);
	if (req->in && req->once && p->stdin_fd >= 0) {
		close(p->stdin_fd);
		p->stdin_fd = -1;
	}
}

static void op_named(struct client *c, const struct request *req,
		     const int *fds)
{
	struct proc *p = proc_find(c->sup, req->name);
	struct err e = { 0 };
	int r = 0;

	if (!p) {
		reply_refuse(c, req->id, -ENOENT, "no process '%s'", req->name);
		return;
	}
	switch (req->op) {
	case OP_ACK:
		op_ack(c, req, p);
		return;
	case OP_ATTACH:
		op_attach(c, req, p, fds);
		return;
	case OP_KILL:
		if (p->state == STATE_EXITED)
			r = err_set(&e, -ESRCH, "'%s' has exited", req->name);
		else
			proc_signal(p, req->signal);
		break;
	case OP_RESIZE:
		r = resize(p, req);
		if (r < 0)
			err_set(&e, r, "'%s' has no terminal", req->name);
		break;
	case OP_REOPEN:
		r = logfile_reopen(&p->log, &e);
		break;
	default:
		break;
	}
	client_send(c,
		    r < 0 ? reply_error(req->id, NULL, 0, &e)
			  : reply_ok(req->id),
		    -1);
}

void op_run(struct client *c, const struct request *req, const int *fds)
{
	switch (req->op) {
	case OP_HELLO:
		op_hello(c, req);
		break;
	case OP_SUBSCRIBE:
		c->subscribed = true;
		client_send(c, reply_ok(req->id), -1);
		break;
	case OP_LIST:
		op_list(c, req);
		break;
	case OP_START:
	case OP_EXEC:
		op_start(c, req, fds);
		break;
	case OP_SHUTDOWN:
		c->sup->stopping = true;
		c->sup->stop_waiter = c;
		c->sup->stop_request = req->id;
		proc_kill_all(c->sup);
		break;
	default:
		op_named(c, req, fds);
		break;
	}
}
