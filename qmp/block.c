// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/block.h"
#include "qmp/internal.h"
#include "qmp/qmp.h"

static int parse_block(yyjson_val *v, void *to)
{
	struct qmp_block *b = to;
	yyjson_val *inserted = yyjson_obj_get(v, "inserted");
	yyjson_val *image = yyjson_obj_get(inserted, "image");
	const char *io = msg_str(v, "io-status");

	msg_copy(v, "device", b->device, sizeof(b->device));
	msg_copy(v, "qdev", b->qdev, sizeof(b->qdev));
	msg_copy(inserted, "node-name", b->node, sizeof(b->node));
	msg_copy(inserted, "file", b->file, sizeof(b->file));
	msg_copy(inserted, "drv", b->driver, sizeof(b->driver));
	(void)msg_bool(inserted, "ro", &b->read_only);
	(void)msg_u64(image, "virtual-size", &b->virtual_bytes);
	(void)msg_u64(image, "actual-size", &b->actual_bytes);
	b->io_error = io && !str_eq(io, "ok");
	return 0;
}

int qmp_query_block(struct qmp *q, int timeout_ms, struct qmp_block **ret,
		    size_t *ret_nr, struct err *e)
{
	return msg_query_array(q, "query-block", timeout_ms, QMP_BLOCKS_MAX,
			       sizeof(**ret), parse_block, (void **)ret, ret_nr,
			       e);
}

int qmp_blockdev_add(struct qmp *q, const char *node, const char *driver,
		     const char *path, bool read_only, int timeout_ms,
		     struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };
	yyjson_mut_doc *doc = qmp_args_doc(&args);
	yyjson_mut_val *file = yyjson_mut_obj(doc);

	if (!file || !yyjson_mut_obj_add_str(doc, file, "driver", "file") ||
	    !yyjson_mut_obj_add_str(doc, file, "filename", path))
		return err_set(e, -ENOMEM, "out of memory");
	qmp_arg_str(&args, "driver", driver);
	qmp_arg_str(&args, "node-name", node);
	qmp_arg_bool(&args, "read-only", read_only);
	qmp_arg_val(&args, "file", file);
	return qmp_call(q, "blockdev-add", &args, timeout_ms, NULL, e);
}

int qmp_blockdev_del(struct qmp *q, const char *node, int timeout_ms,
		     struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "node-name", node);
	return qmp_call(q, "blockdev-del", &args, timeout_ms, NULL, e);
}

int qmp_blockdev_snapshot(struct qmp *q, const char *node, const char *path,
			  const char *overlay, int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "node-name", node);
	qmp_arg_str(&args, "snapshot-file", path);
	qmp_arg_str(&args, "snapshot-node-name", overlay);
	qmp_arg_str(&args, "format", "qcow2");
	return qmp_call(q, "blockdev-snapshot-sync", &args, timeout_ms, NULL,
			e);
}

static int parse_snapshot(yyjson_val *v, void *to)
{
	struct qmp_snapshot *s = to;

	msg_copy(v, "id", s->id, sizeof(s->id));
	msg_copy(v, "name", s->tag, sizeof(s->tag));
	(void)msg_u64(v, "vm-state-size", &s->vmstate_bytes);
	(void)msg_i64(v, "date-sec", &s->time_s);
	return 0;
}

static yyjson_val *find_node(yyjson_val *list, const char *node)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(list, i, max, v)
	{
		if (str_eq(msg_str(v, "node-name"), node))
			return v;
	}
	return NULL;
}

int qmp_query_snapshots(struct qmp *q, const char *node, int timeout_ms,
			struct qmp_snapshot **ret, size_t *ret_nr,
			struct err *e)
{
	static const char command[] = "query-named-block-nodes";
	auto_qmp_reply struct qmp_reply reply = { 0 };
	yyjson_val *found, *list;
	size_t nr = 0;
	int r;

	r = qmp_call(q, command, NULL, timeout_ms, &reply, e);
	if (r == 0)
		r = msg_list(&reply, QMP_BLOCKS_MAX, command, &nr, e);
	if (r < 0)
		return r;
	found = find_node(reply.value, node);
	if (!found)
		return err_set(e, -ENOENT, "there is no block node '%s'", node);
	list = yyjson_obj_get(yyjson_obj_get(found, "image"), "snapshots");
	nr = yyjson_arr_size(list);
	if (nr > QMP_SNAPSHOTS_MAX)
		return err_set(e, -E2BIG, "node '%s': %zu snapshots", node, nr);
	return msg_array(list, command, sizeof(**ret), parse_snapshot,
			 (void **)ret, ret_nr, e);
}
