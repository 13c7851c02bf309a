// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/memory.h"
#include "qmp/qmp.h"

static int parse_memory_device(yyjson_val *v, void *to)
{
	struct qmp_memory_device *dev = to;
	const char *type = msg_str(v, "type");
	yyjson_val *data = yyjson_obj_get(v, "data");
	bool ok = true;

	if (!type || !yyjson_is_obj(data))
		return -EBADMSG;
	msg_copy(data, "id", dev->id, sizeof(dev->id));
	msg_copy(data, "memdev", dev->memdev, sizeof(dev->memdev));
	dev->slot = dev->node = -1;
	(void)msg_i64(data, "node", &dev->node);
	(void)msg_i64(data, "slot", &dev->slot);
	if (str_eq(type, "virtio-mem")) {
		dev->kind = QMP_MEMORY_VIRTIO_MEM;
		ok = msg_u64(data, "requested-size", &dev->requested_bytes) &&
		     msg_u64(data, "max-size", &dev->max_bytes) &&
		     msg_u64(data, "block-size", &dev->block_bytes) &&
		     dev->block_bytes > 0 &&
		     msg_u64(data, "memaddr", &dev->address);
	} else if (str_eq(type, "dimm")) {
		dev->kind = QMP_MEMORY_DIMM;
		ok = msg_u64(data, "addr", &dev->address);
	}
	ok = ok && (dev->kind == QMP_MEMORY_OTHER ||
		    msg_u64(data, "size", &dev->size_bytes));
	return ok ? 0 : -EBADMSG;
}

int qmp_query_memory_devices(struct qmp *q, int timeout_ms,
			     struct qmp_memory_device **ret, size_t *ret_nr,
			     struct err *e)
{
	return msg_query_array(q, "query-memory-devices", timeout_ms,
			       QMP_MEMORY_DEVICES_MAX, sizeof(**ret),
			       parse_memory_device, (void **)ret, ret_nr, e);
}

int qmp_query_memory_size(struct qmp *q, int timeout_ms, uint64_t *ret_base,
			  uint64_t *ret_plugged, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	uint64_t base, plugged = 0;
	int r;

	r = qmp_call(q, "query-memory-size-summary", NULL, timeout_ms, &reply,
		     e);
	if (r < 0)
		return r;
	if (!msg_u64(reply.value, "base-memory", &base))
		return err_set(e, -EBADMSG,
			       "query-memory-size-summary: no base-memory");
	/* Absent: the machine takes no memory devices. */
	(void)msg_u64(reply.value, "plugged-memory", &plugged);
	if (ret_base)
		*ret_base = base;
	if (ret_plugged)
		*ret_plugged = plugged;
	return 0;
}

static int peripheral_path(const char *id, char *path, size_t size,
			   struct err *e)
{
	int n = snprintf(path, size, "/machine/peripheral/%s", id);

	if (n < 0 || (size_t)n >= size)
		return err_set(e, -ENAMETOOLONG, "device id '%s'", id);
	return 0;
}

int qmp_virtio_mem_request(struct qmp *q, const char *id, uint64_t bytes,
			   int timeout_ms, struct err *e)
{
	char path[QMP_QOM_MAX];
	int r;

	r = peripheral_path(id, path, sizeof(path), e);
	if (r < 0)
		return r;
	return qmp_qom_set_u64(q, path, "requested-size", bytes, timeout_ms, e);
}

int qmp_virtio_mem_actual(struct qmp *q, const char *id, int timeout_ms,
			  uint64_t *ret_bytes, struct err *e)
{
	char path[QMP_QOM_MAX];
	int r;

	r = peripheral_path(id, path, sizeof(path), e);
	if (r < 0)
		return r;
	return qmp_qom_get_u64(q, path, "size", timeout_ms, ret_bytes, e);
}

int qmp_memory_backend_add(struct qmp *q, const char *id, uint64_t bytes,
			   int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "qom-type", "memory-backend-ram");
	qmp_arg_str(&args, "id", id);
	qmp_arg_u64(&args, "size", bytes);
	return qmp_call(q, "object-add", &args, timeout_ms, NULL, e);
}

int qmp_object_del(struct qmp *q, const char *id, int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "id", id);
	return qmp_call(q, "object-del", &args, timeout_ms, NULL, e);
}

static int backend_name(const char *id, char *name, size_t size, struct err *e)
{
	int n = snprintf(name, size, "%s-ram", id);

	if (n < 0 || (size_t)n >= size)
		return err_set(e, -ENAMETOOLONG, "device id '%s'", id);
	return 0;
}

int qmp_dimm_add(struct qmp *q, const char *id, uint64_t bytes, int timeout_ms,
		 struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(timeout_ms);
	auto_qmp_args struct qmp_args args = { 0 };
	char backend[QMP_NAME_MAX];
	int64_t left_ms;
	int r;

	r = backend_name(id, backend, sizeof(backend), e);
	if (r == 0)
		r = qmp_memory_backend_add(q, backend, bytes, timeout_ms, e);
	if (r < 0)
		return r;
	qmp_arg_str(&args, "driver", "pc-dimm");
	qmp_arg_str(&args, "id", id);
	qmp_arg_str(&args, "memdev", backend);
	left_ms = (deadline_ns - conn_now_ns()) / 1000000;
	r = qmp_call(q, "device_add", &args, left_ms > 1 ? (int)left_ms : 1,
		     NULL, e);
	/* After a time-out the dimm may be there, and then this is refused. */
	if (r < 0)
		(void)qmp_object_del(q, backend, timeout_ms, NULL);
	return r;
}

int qmp_dimm_del(struct qmp *q, const char *id, int timeout_ms, int wait_ms,
		 struct err *e)
{
	char backend[QMP_NAME_MAX];
	int r;

	r = backend_name(id, backend, sizeof(backend), e);
	if (r == 0)
		r = qmp_device_del(q, id, timeout_ms, wait_ms, e);
	if (r < 0 || wait_ms <= 0)
		return r;
	return qmp_object_del(q, backend, timeout_ms, e);
}

int qmp_query_balloon(struct qmp *q, int timeout_ms, uint64_t *ret_bytes,
		      struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	int r;

	r = qmp_call(q, "query-balloon", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!msg_u64(reply.value, "actual", ret_bytes))
		return err_set(e, -EBADMSG, "query-balloon: no actual size");
	return 0;
}
