// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/qga.h"

#define QGA_FILE_CHUNK (48U << 10)

int qga_ping(struct qga *g, int timeout_ms, struct err *e)
{
	return qga_call(g, "guest-ping", NULL, timeout_ms, NULL, e);
}

/*
 * CPUs
 */

static int parse_vcpu(yyjson_val *v, void *to)
{
	struct qga_vcpu *cpu = to;

	if (!msg_u64(v, "logical-id", &cpu->id) ||
	    !msg_bool(v, "online", &cpu->online))
		return -EBADMSG;
	(void)msg_bool(v, "can-offline", &cpu->can_offline);
	return 0;
}

int qga_parse_vcpus(const struct qmp_reply *reply, struct qga_vcpu **ret,
		    size_t *ret_nr, struct err *e)
{
	static const char command[] = "guest-get-vcpus";
	size_t nr;
	int r = msg_list(reply, QGA_CPUS_MAX, command, &nr, e);

	if (r < 0)
		return r;
	return msg_array(reply->value, command, sizeof(**ret), parse_vcpu,
			 (void **)ret, ret_nr, e);
}

int qga_get_vcpus(struct qga *g, int timeout_ms, struct qga_vcpu **ret,
		  size_t *ret_nr, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	int r;

	r = qga_call(g, "guest-get-vcpus", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	return qga_parse_vcpus(&reply, ret, ret_nr, e);
}

static void add_vcpus(struct qmp_args *args, const struct qga_vcpu *vcpus,
		      size_t nr)
{
	yyjson_mut_doc *doc = qmp_args_doc(args);
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (size_t i = 0; i < nr && list; i++) {
		yyjson_mut_val *cpu = yyjson_mut_arr_add_obj(doc, list);

		if (!yyjson_mut_obj_add_uint(doc, cpu, "logical-id",
					     vcpus[i].id) ||
		    !yyjson_mut_obj_add_bool(doc, cpu, "online",
					     vcpus[i].online))
			list = NULL;
	}
	qmp_arg_val(args, "vcpus", list);
}

int qga_submit_set_vcpus(struct qga *g, const struct qga_vcpu *vcpus, size_t nr,
			 int timeout_ms, struct qga_request **ret,
			 struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	add_vcpus(&args, vcpus, nr);
	return qga_submit(g, "guest-set-vcpus", &args, timeout_ms, ret, e);
}

int qga_set_vcpus(struct qga *g, const struct qga_vcpu *vcpus, size_t nr,
		  int timeout_ms, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	add_vcpus(&args, vcpus, nr);
	r = qga_call(g, "guest-set-vcpus", &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_uint(reply.value) || yyjson_get_uint(reply.value) > nr)
		return err_set(e, -EBADMSG, "guest-set-vcpus: odd count");
	return (int)yyjson_get_uint(reply.value);
}

/*
 * Memory blocks
 */

static int memory_block_size(struct qga *g, int timeout_ms, uint64_t *ret,
			     struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	int r;

	r = qga_call(g, "guest-get-memory-block-info", NULL, timeout_ms, &reply,
		     e);
	if (r < 0)
		return r;
	if (!msg_u64(reply.value, "size", ret))
		return err_set(e, -EBADMSG,
			       "guest-get-memory-block-info: no size");
	return 0;
}

int qga_get_memory_blocks(struct qga *g, int timeout_ms,
			  struct qga_memory_block **ret, size_t *ret_nr,
			  uint64_t *ret_block_bytes, struct err *e)
{
	static const char command[] = "guest-get-memory-blocks";
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	auto_free struct qga_memory_block *blocks = NULL;
	auto_qmp_reply struct qmp_reply reply = { 0 };
	size_t i, max, nr = 0;
	uint64_t bytes = 0;
	yyjson_val *v;
	int r;

	r = qga_call(g, command, NULL, timeout_ms, &reply, e);
	if (r == 0)
		r = msg_list(&reply, QGA_BLOCKS_MAX, command, &nr, e);
	if (r == 0)
		r = memory_block_size(g, conn_left_ms(deadline_ns), &bytes, e);
	if (r < 0)
		return r;
	blocks = calloc(nr + 1, sizeof(*blocks));
	if (!blocks)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_arr_foreach(reply.value, i, max, v)
	{
		if (!msg_u64(v, "phys-index", &blocks[i].index) ||
		    !msg_bool(v, "online", &blocks[i].online))
			return err_set(e, -EBADMSG, "%s: entry %zu is odd",
				       command, i);
		(void)msg_bool(v, "can-offline", &blocks[i].can_offline);
	}
	*ret_block_bytes = bytes;
	*ret_nr = nr;
	*ret = take_ptr(blocks);
	return 0;
}

int qga_set_memory_blocks(struct qga *g, const struct qga_memory_block *blocks,
			  size_t nr, int timeout_ms, struct err *e)
{
	static const char command[] = "guest-set-memory-blocks";
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	yyjson_mut_doc *doc = qmp_args_doc(&args);
	yyjson_mut_val *list = yyjson_mut_arr(doc);
	size_t i, max;
	yyjson_val *v;
	int r, nr_ok = 0;

	for (i = 0; i < nr && list; i++) {
		yyjson_mut_val *b = yyjson_mut_arr_add_obj(doc, list);

		if (!yyjson_mut_obj_add_uint(doc, b, "phys-index",
					     blocks[i].index) ||
		    !yyjson_mut_obj_add_bool(doc, b, "online",
					     blocks[i].online))
			list = NULL;
	}
	qmp_arg_val(&args, "mem-blks", list);
	r = qga_call(g, command, &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_arr(reply.value))
		return err_set(e, -EBADMSG, "%s: not a list", command);
	yyjson_arr_foreach(reply.value, i, max, v) nr_ok +=
		str_eq(msg_str(v, "response"), "success");
	return nr_ok;
}

/*
 * Files
 */

static int file_open(struct qga *g, const char *path, int timeout_ms,
		     int64_t *ret, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	qmp_arg_str(&args, "path", path);
	qmp_arg_str(&args, "mode", "r");
	r = qga_call(g, "guest-file-open", &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_int(reply.value))
		return err_set(e, -EBADMSG, "guest-file-open: no handle");
	*ret = yyjson_get_sint(reply.value);
	return 0;
}

int qga_parse_file(const struct qmp_reply *reply, struct buf *b, struct err *e)
{
	yyjson_val *data = yyjson_obj_get(reply->value, "buf-b64");
	int r;

	if (!yyjson_is_str(data) || yyjson_get_len(data) > QGA_FILE_CHUNK * 2)
		return err_set(e, -EBADMSG, "guest-file-read: odd answer");
	r = base64_decode(yyjson_get_str(data), yyjson_get_len(data), b);
	if (r < 0)
		return err_set(e, r, "guest-file-read: data is not base64");
	return 0;
}

/* Returns 1 at the end of the file. */
static int file_read_chunk(struct qga *g, int64_t handle, int timeout_ms,
			   struct buf *b, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	bool eof = false;
	size_t before = b->len;
	int r;

	qmp_arg_val(&args, "handle",
		    yyjson_mut_sint(qmp_args_doc(&args), handle));
	qmp_arg_u64(&args, "count", QGA_FILE_CHUNK);
	r = qga_call(g, "guest-file-read", &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!msg_bool(reply.value, "eof", &eof))
		return err_set(e, -EBADMSG, "guest-file-read: odd answer");
	r = qga_parse_file(&reply, b, e);
	if (r < 0)
		return r;
	return eof || b->len == before;
}

static void file_close(struct qga *g, int64_t handle, int timeout_ms)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_val(&args, "handle",
		    yyjson_mut_sint(qmp_args_doc(&args), handle));
	/* Nothing to be done about it. */
	(void)qga_call(g, "guest-file-close", &args, timeout_ms, NULL, NULL);
}

int qga_file_read(struct qga *g, const char *path, size_t max, int timeout_ms,
		  struct buf *b, struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	size_t begin = b->len;
	int64_t handle = 0;
	int r;

	r = file_open(g, path, timeout_ms, &handle, e);
	if (r < 0)
		return r;
	do {
		r = file_read_chunk(g, handle, conn_left_ms(deadline_ns), b, e);
		if (b->len - begin > max)
			r = err_set(e, -EFBIG,
				    "'%s' in the guest is over %zu bytes", path,
				    max);
	} while (r == 0);
	file_close(g, handle, conn_left_ms(deadline_ns) + 100);
	return r < 0 ? r : 0;
}

/*
 * Shutdown, filesystems
 */

int qga_shutdown(struct qga *g, const char *mode, int timeout_ms, struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	r = qga_ping(g, timeout_ms, e);
	if (r < 0)
		return r;
	qmp_arg_str(&args, "mode", mode);
	r = qga_call(g, "guest-shutdown", &args, conn_left_ms(deadline_ns),
		     NULL, e);
	/* Success is silence, or the end of QEMU. */
	return r == -ETIMEDOUT || r == -EPIPE ? 0 : r;
}

int qga_fs_freeze(struct qga *g, int timeout_ms, struct err *e)
{
	return qga_call(g, "guest-fsfreeze-freeze", NULL, timeout_ms, NULL, e);
}

int qga_fs_thaw(struct qga *g, int timeout_ms, struct err *e)
{
	return qga_call(g, "guest-fsfreeze-thaw", NULL, timeout_ms, NULL, e);
}

int qga_fs_is_frozen(struct qga *g, int timeout_ms, bool *ret, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	int r;

	r = qga_call(g, "guest-fsfreeze-status", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_str(reply.value))
		return err_set(e, -EBADMSG, "guest-fsfreeze-status: no string");
	*ret = yyjson_equals_str(reply.value, "frozen");
	return 0;
}
