// SPDX-License-Identifier: Apache-2.0
/* What goes out: replies, events, and the file of exits. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include "agent/supervisor/sup.h"

#define EXITS_TMP PROTO_EXITS ".tmp"

static yyjson_mut_doc *object(yyjson_mut_val **ret)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);

	if (!root) {
		yyjson_mut_doc_free(doc);
		return NULL;
	}
	yyjson_mut_doc_set_root(doc, root);
	*ret = root;
	return doc;
}

struct yyjson_mut_doc *reply_ok(uint64_t id)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = object(&root);

	if (!doc)
		return NULL;
	yyjson_mut_obj_add_uint(doc, root, "id", id);
	yyjson_mut_obj_add_bool(doc, root, "ok", true);
	return doc;
}

struct yyjson_mut_doc *reply_error(uint64_t id, const char *reason,
				   int exit_code, const struct err *e)
{
	yyjson_mut_val *root, *err;
	yyjson_mut_doc *doc = object(&root);

	if (!doc)
		return NULL;
	yyjson_mut_obj_add_uint(doc, root, "id", id);
	yyjson_mut_obj_add_bool(doc, root, "ok", false);
	err = yyjson_mut_obj_add_obj(doc, root, "error");
	if (reason)
		yyjson_mut_obj_add_strcpy(doc, err, "reason", reason);
	yyjson_mut_obj_add_strcpy(doc, err, "message", e->msg);
	yyjson_mut_obj_add_int(doc, err, "exitCode", exit_code);
	yyjson_mut_obj_add_int(doc, err, "errno", -e->code);
	return doc;
}

void reply_refuse(struct client *c, uint64_t id, int code, const char *fmt, ...)
{
	struct err e = { .code = code };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	client_send(c, reply_error(id, NULL, 0, &e), -1);
}

static const char *reason_of(const struct proc *p)
{
	if (p->failed)
		return p->report.reason;
	if (p->oom_killed && p->exit_code)
		return "OOMKilled";
	return p->exit_code ? "Error" : "Completed";
}

void reply_add_proc(struct yyjson_mut_doc *doc, struct yyjson_mut_val *to,
		    const char *key, const struct proc *p)
{
	static const char *const kinds[] = { "container", "exec", "host" };
	static const char *const states[] = { "starting", "running", "exited" };
	yyjson_mut_val *o = yyjson_mut_obj(doc);

	if (key)
		yyjson_mut_obj_add_val(doc, to, key, o);
	else
		yyjson_mut_arr_append(to, o);
	yyjson_mut_obj_add_strcpy(doc, o, "name", p->name);
	yyjson_mut_obj_add_str(doc, o, "kind", kinds[p->kind]);
	yyjson_mut_obj_add_str(doc, o, "state", states[p->state]);
	if (p->container[0])
		yyjson_mut_obj_add_strcpy(doc, o, "container", p->container);
	yyjson_mut_obj_add_uint(doc, o, "attempt", p->attempt);
	yyjson_mut_obj_add_int(doc, o, "pid", p->host_pid);
	yyjson_mut_obj_add_int(doc, o, "podPid", p->pid);
	if (p->started[0])
		yyjson_mut_obj_add_strcpy(doc, o, "startedAt", p->started);
	yyjson_mut_obj_add_uint(doc, o, "logDropped", p->log.dropped);
	if (p->state != STATE_EXITED)
		return;
	yyjson_mut_obj_add_strcpy(doc, o, "finishedAt", p->finished);
	yyjson_mut_obj_add_int(doc, o, "exitCode", p->exit_code);
	yyjson_mut_obj_add_int(doc, o, "signal", p->signal);
	yyjson_mut_obj_add_bool(doc, o, "oomKilled", p->oom_killed);
	yyjson_mut_obj_add_strcpy(doc, o, "reason", reason_of(p));
	if (p->failed)
		yyjson_mut_obj_add_strcpy(doc, o, "message", p->report.message);
}

void event_exit(struct sup *sup, const struct proc *p)
{
	for (struct client *c = sup->clients; c; c = c->next) {
		yyjson_mut_val *root;
		yyjson_mut_doc *doc;

		if (!c->subscribed || c->gone)
			continue;
		doc = object(&root);
		if (doc) {
			yyjson_mut_obj_add_str(doc, root, "event", "exit");
			reply_add_proc(doc, root, "process", p);
		}
		client_send(c, doc, -1);
	}
}

static int write_file(int dirfd, const char *text, size_t len, struct err *e)
{
	auto_close int fd =
		openat(dirfd, EXITS_TMP,
		       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		       0600);
	ssize_t n;

	if (fd < 0)
		return err_sys(e, "create '" EXITS_TMP "'");
	n = write(fd, text, len);
	if (n < 0)
		return err_sys(e, "write '" EXITS_TMP "'");
	if ((size_t)n != len)
		return err_set(e, -ENOSPC, "write '" EXITS_TMP "': disk full");
	/* Not flushed: this guards against the end of this process. The end of
	 * the machine ends the pod, and its containers run again. */
	if (renameat(dirfd, EXITS_TMP, dirfd, PROTO_EXITS) < 0)
		return err_sys(e, "rename to '" PROTO_EXITS "'");
	return 0;
}

int exits_write(struct sup *sup, struct err *e)
{
	yyjson_mut_val *root, *list;
	yyjson_mut_doc *doc = object(&root);
	auto_free char *text = NULL;
	size_t len = 0;

	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_mut_obj_add_uint(doc, root, "version", PROTO_VERSION);
	list = yyjson_mut_obj_add_arr(doc, root, "processes");
	for (struct proc *p = sup->procs; p; p = p->next)
		if (p->state == STATE_EXITED)
			reply_add_proc(doc, list, NULL, p);
	text = yyjson_mut_write(doc, 0, &len);
	yyjson_mut_doc_free(doc);
	if (!text)
		return err_set(e, -ENOMEM, "out of memory");
	return write_file(sup->state_fd, text, len, e);
}
