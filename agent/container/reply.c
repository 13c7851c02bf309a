// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "agent/container/reply.h"
#include "lib/err.h"
#include "lib/str.h"

/* The supervisor is ours, but it lives beside tenants' processes: what does
 * not fit is cut or refused, never believed. */
static void copy_str(yyjson_val *o, const char *key, char *to, size_t size)
{
	const char *s = yyjson_get_str(yyjson_obj_get(o, key));

	snprintf(to, size, "%s", s ? s : "");
}

static int get_int(yyjson_val *o, const char *key)
{
	yyjson_val *v = yyjson_obj_get(o, key);
	int64_t n = yyjson_get_sint(v);

	return yyjson_is_int(v) && n >= INT32_MIN && n <= INT32_MAX ? (int)n
								    : 0;
}

static int pick(yyjson_val *o, const char *key, const char *const *names,
		int nr)
{
	const char *s = yyjson_get_str(yyjson_obj_get(o, key));

	for (int i = 0; s && i < nr; i++)
		if (str_eq(s, names[i]))
			return i;
	return -1;
}

static int read_proc(yyjson_val *o, struct sandbox_proc *p, struct err *e)
{
	static const char *const kinds[] = {
		[PROC_CONTAINER] = "container",
		[PROC_EXEC] = "exec",
		[PROC_HOST] = "host",
	};
	static const char *const states[] = {
		[PROC_STARTING] = "starting",
		[PROC_RUNNING] = "running",
		[PROC_EXITED] = "exited",
	};
	int kind = pick(o, "kind", kinds, ARRAY_LEN(kinds));
	int state = pick(o, "state", states, ARRAY_LEN(states));

	memset(p, 0, sizeof(*p));
	copy_str(o, "name", p->name, sizeof(p->name));
	if (kind < 0 || state < 0 || !p->name[0])
		return err_set(e, -EBADMSG, "supervisor: not a process");
	p->kind = (__typeof__(p->kind))kind;
	p->state = (__typeof__(p->state))state;
	copy_str(o, "container", p->container, sizeof(p->container));
	p->attempt = (uint32_t)get_int(o, "attempt");
	p->pid = get_int(o, "pid");
	p->pod_pid = get_int(o, "podPid");
	p->exit_code = get_int(o, "exitCode");
	p->signal = get_int(o, "signal");
	p->oom_killed = yyjson_get_bool(yyjson_obj_get(o, "oomKilled"));
	copy_str(o, "reason", p->reason, sizeof(p->reason));
	copy_str(o, "message", p->message, sizeof(p->message));
	copy_str(o, "startedAt", p->started_at, sizeof(p->started_at));
	copy_str(o, "finishedAt", p->finished_at, sizeof(p->finished_at));
	p->log_dropped = yyjson_get_uint(yyjson_obj_get(o, "logDropped"));
	return 0;
}

static int read_procs(yyjson_val *root, struct sandbox_reply *ret,
		      struct err *e)
{
	yyjson_val *one = yyjson_obj_get(root, "process");
	yyjson_val *arr = yyjson_obj_get(root, "processes"), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);
	size_t nr = one ? 1 : yyjson_arr_size(arr);
	int r;

	if (!nr)
		return 0;
	if (nr > 4 * PROTO_PROCS_MAX)
		return err_set(e, -EBADMSG, "supervisor: %zu processes", nr);
	ret->procs = calloc(nr, sizeof(*ret->procs));
	if (!ret->procs)
		return err_set(e, -ENOMEM, "out of memory");
	while ((v = one ? one : yyjson_arr_iter_next(&it))) {
		r = read_proc(v, &ret->procs[ret->nr_procs], e);
		if (r < 0)
			return r;
		ret->nr_procs++;
		if (one)
			break;
	}
	return 0;
}

static void read_error(yyjson_val *root, struct sandbox_reply *ret)
{
	yyjson_val *o = yyjson_obj_get(root, "error");
	int code = get_int(o, "errno");

	ret->code = code > 0 && code < 4096 ? -code : -EIO;
	ret->failure.exit_code = get_int(o, "exitCode");
	copy_str(o, "reason", ret->failure.reason, sizeof(ret->failure.reason));
	copy_str(o, "message", ret->failure.message,
		 sizeof(ret->failure.message));
	ret->has_failure = ret->failure.reason[0] != '\0';
}

int sandbox_reply_parse(const char *text, size_t len, struct sandbox_reply *ret,
			struct err *e)
{
	yyjson_doc *doc;
	yyjson_val *root;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (len > PROTO_BODY_MAX)
		return err_set(e, -EBADMSG, "supervisor: %zu bytes", len);
	doc = yyjson_read(text, len, YYJSON_READ_NOFLAG);
	root = yyjson_doc_get_root(doc);
	if (!yyjson_is_obj(root)) {
		yyjson_doc_free(doc);
		return err_set(e, -EBADMSG, "supervisor: not a JSON object");
	}
	ret->is_event = yyjson_obj_get(root, "event") != NULL;
	ret->id = yyjson_get_uint(yyjson_obj_get(root, "id"));
	ret->ok = yyjson_get_bool(yyjson_obj_get(root, "ok"));
	if (!ret->is_event && !ret->ok)
		read_error(root, ret);
	r = read_procs(root, ret, e);
	yyjson_doc_free(doc);
	if (r < 0)
		sandbox_reply_clear(ret);
	return r;
}

void sandbox_reply_clear(struct sandbox_reply *r)
{
	free(r->procs);
	memset(r, 0, sizeof(*r));
}
