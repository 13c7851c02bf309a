// SPDX-License-Identifier: Apache-2.0
/* Programs in the guest: started, waited for, ended. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/qga.h"

#define QGA_EXEC_TICK_MS 5
#define QGA_EXEC_SLOW_MS 100
#define QGA_KILL_MS      3000

void qga_exec_result_clear(struct qga_exec_result *res)
{
	free(res->out);
	free(res->err_out);
	*res = (struct qga_exec_result){ 0 };
}

static yyjson_mut_val *strings(yyjson_mut_doc *doc, const char *const *v)
{
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (; list && *v; v++)
		if (!yyjson_mut_arr_add_str(doc, list, *v))
			return NULL;
	return list;
}

int qga_exec_start(struct qga *g, const char *const *argv,
		   const char *const *env, const void *input, size_t input_len,
		   int timeout_ms, int64_t *ret_pid, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	yyjson_mut_doc *doc = qmp_args_doc(&args);
	auto_buf struct buf b64 = BUF_INIT;
	int r;

	if (!argv[0])
		return err_set(e, -EINVAL, "guest-exec: no program");
	qmp_arg_str(&args, "path", argv[0]);
	qmp_arg_val(&args, "arg", strings(doc, argv + 1));
	if (env)
		qmp_arg_val(&args, "env", strings(doc, env));
	if (input && base64_encode(input, input_len, &b64) == 0)
		qmp_arg_str(&args, "input-data", buf_str(&b64));
	if (buf_error(&b64))
		return err_set(e, -ENOMEM, "out of memory");
	qmp_arg_bool(&args, "capture-output", true);
	r = qga_call(g, "guest-exec", &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!msg_i64(reply.value, "pid", ret_pid))
		return err_set(e, -EBADMSG, "guest-exec: no pid");
	return 0;
}

/* A base64 member as bytes of our own. */
static int decode_member(yyjson_val *obj, const char *key, char **ret,
			 size_t *ret_len)
{
	yyjson_val *v = yyjson_obj_get(obj, key);
	auto_buf struct buf b = BUF_INIT;
	int r = 0;

	if (v && !yyjson_is_str(v))
		return -EBADMSG;
	buf_puts(&b, "");
	if (v)
		r = base64_decode(yyjson_get_str(v), yyjson_get_len(v), &b);
	if (r < 0 || buf_error(&b))
		return r < 0 ? r : buf_error(&b);
	*ret_len = b.len;
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

static int parse_exec(yyjson_val *v, struct qga_exec_result *res)
{
	bool out_cut = false, err_cut = false;
	int64_t n;
	int r;

	res->exited = msg_i64(v, "exitcode", &n);
	if (res->exited)
		res->code = (int)n;
	else if (msg_i64(v, "signal", &n))
		res->signal = (int)n;
	(void)msg_bool(v, "out-truncated", &out_cut);
	(void)msg_bool(v, "err-truncated", &err_cut);
	res->truncated = out_cut || err_cut;
	r = decode_member(v, "out-data", &res->out, &res->out_len);
	if (r == 0)
		r = decode_member(v, "err-data", &res->err_out, &res->err_len);
	return r;
}

int qga_exec_status(struct qga *g, int64_t pid, int timeout_ms,
		    struct qga_exec_result *ret, struct err *e)
{
	static const char command[] = "guest-exec-status";
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	struct qga_exec_result res = { 0 };
	bool exited = false;
	int r;

	qmp_arg_val(&args, "pid", yyjson_mut_sint(qmp_args_doc(&args), pid));
	r = qga_call(g, command, &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!msg_bool(reply.value, "exited", &exited))
		return err_set(e, -EBADMSG, "%s: odd answer", command);
	if (!exited)
		return -EAGAIN;
	r = parse_exec(reply.value, &res);
	if (r < 0) {
		qga_exec_result_clear(&res);
		return err_set(e, r, "%s: output is not base64", command);
	}
	*ret = res;
	return 0;
}

/* A program and all it has started: the agent gives it no process group of its
 * own. Without a shell that can do this, at least the program itself. */
static const char kill_tree[] =
	"tree() { echo $1; for s in /proc/[0-9]*/stat; do\n"
	"read -r l 2>/dev/null <$s || continue\n"
	"f=${l##*) }; f=${f#* }; c=${s#/proc/}\n"
	"[ ${f%% *} = $1 ] && (tree ${c%/stat}); done; }\n"
	"kill -9 $(tree $0) 2>/dev/null; :";

void qga_exec_kill(struct qga *g, int64_t pid)
{
	char number[24];
	const char *const tree[] = { "/bin/sh", "-c", kill_tree, number, NULL };
	const char *const one[] = { "kill", "-9", number, NULL };
	int64_t killer;

	snprintf(number, sizeof(number), "%" PRId64, pid);
	if (qga_exec_start(g, tree, NULL, NULL, 0, QGA_KILL_MS, &killer, NULL))
		(void)qga_exec_start(g, one, NULL, NULL, 0, QGA_KILL_MS,
				     &killer, NULL);
}

/* The agent has no way to tell of an end: look, ever more seldom. */
static int exec_wait(struct qga *g, int64_t pid, int64_t deadline_ns,
		     const atomic_bool *cancel, struct qga_exec_result *ret,
		     struct err *e)
{
	int tick_ms = QGA_EXEC_TICK_MS;
	int r;

	for (;;) {
		r = qga_exec_status(g, pid, conn_left_ms(deadline_ns), ret, e);
		if (r != -EAGAIN)
			return r;
		if (cancel && atomic_load(cancel))
			return err_set(e, -ECANCELED,
				       "guest-exec: nobody "
				       "waits for it");
		if (conn_left_ms(deadline_ns) <= tick_ms)
			return -ETIME;
		r = qga_pause(g, tick_ms);
		if (r < 0)
			return err_set(e, r, "guest-exec: QEMU has gone");
		if (tick_ms < QGA_EXEC_SLOW_MS)
			tick_ms *= 2;
	}
}

int qga_exec_until(struct qga *g, const char *const *argv,
		   const char *const *env, const void *input, size_t input_len,
		   int timeout_ms, const atomic_bool *cancel,
		   struct qga_exec_result *ret, struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	int64_t pid = 0;
	int r;

	if (cancel && atomic_load(cancel))
		return err_set(e, -ECANCELED,
			       "guest-exec: nobody waits for "
			       "it");
	r = qga_exec_start(g, argv, env, input, input_len, timeout_ms, &pid, e);
	if (r < 0)
		return r;
	r = exec_wait(g, pid, deadline_ns, cancel, ret, e);
	if (r == -ETIME || r == -ECANCELED)
		qga_exec_kill(g, pid);
	if (r == -ETIME)
		return err_set(e, -ETIMEDOUT,
			       "guest-exec: '%s' ran for %d ms and was killed",
			       argv[0], timeout_ms);
	return r;
}

int qga_exec(struct qga *g, const char *const *argv, const char *const *env,
	     const void *input, size_t input_len, int timeout_ms,
	     struct qga_exec_result *ret, struct err *e)
{
	return qga_exec_until(g, argv, env, input, input_len, timeout_ms, NULL,
			      ret, e);
}
