/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed QMP calls on guest memory: virtio-mem, pc-dimm, balloon (read only).
 *
 * virtio-mem is one device with a size that can be asked for; what the guest
 * has given or taken so far is the actual size. A pc-dimm is there or not.
 */
#ifndef QMP_MEMORY_H
#define QMP_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "qmp/machine.h"

#define QMP_MEMORY_DEVICES_MAX 512

enum qmp_memory_kind {
	QMP_MEMORY_OTHER,
	QMP_MEMORY_DIMM,
	QMP_MEMORY_VIRTIO_MEM
};

struct qmp_memory_device {
	enum qmp_memory_kind kind;
	char id[QMP_NAME_MAX];    /* "" if it was given none */
	char memdev[QMP_QOM_MAX]; /* QOM path of the backend */
	uint64_t size_bytes;      /* dimm: its size; virtio-mem: actual */
	uint64_t requested_bytes; /* virtio-mem */
	uint64_t max_bytes;       /* virtio-mem */
	uint64_t block_bytes;     /* virtio-mem: granularity of a request */
	uint64_t address;
	int64_t node;
	int64_t slot; /* dimm */
};

int qmp_query_memory_devices(struct qmp *q, int timeout_ms,
			     struct qmp_memory_device **ret, size_t *ret_nr,
			     struct err *e);

/* Memory the machine was started with, and what is plugged on top of it. */
int qmp_query_memory_size(struct qmp *q, int timeout_ms, uint64_t *ret_base,
			  uint64_t *ret_plugged, struct err *e);

/* Ask virtio-mem device @id for @bytes, a multiple of its block size. Returns
 * when QEMU has taken the wish; MEMORY_DEVICE_SIZE_CHANGE tells of progress. */
int qmp_virtio_mem_request(struct qmp *q, const char *id, uint64_t bytes,
			   int timeout_ms, struct err *e);
int qmp_virtio_mem_actual(struct qmp *q, const char *id, int timeout_ms,
			  uint64_t *ret_bytes, struct err *e);

/* object-add of a memory-backend-ram named @id; object-del of any object. */
int qmp_memory_backend_add(struct qmp *q, const char *id, uint64_t bytes,
			   int timeout_ms, struct err *e);
int qmp_object_del(struct qmp *q, const char *id, int timeout_ms,
		   struct err *e);

/**
 * qmp_dimm_add() - Plug @bytes of new memory.
 * @q:          Connection.
 * @id:         Device id; its backend is named "<id>-ram".
 * @bytes:      Size; x86 guests want a multiple of 128 MiB.
 * @timeout_ms: For both commands together.
 * @e:          Filled on error: nothing is left behind.
 */
int qmp_dimm_add(struct qmp *q, const char *id, uint64_t bytes, int timeout_ms,
		 struct err *e);

/* Unplug a dimm and remove its backend. As qmp_device_del(); with @wait_ms 0
 * only asks, and the backend stays: qmp_object_del("<id>-ram") later. */
int qmp_dimm_del(struct qmp *q, const char *id, int timeout_ms, int wait_ms,
		 struct err *e);

/* What the balloon says the guest has. -EREMOTEIO without a balloon device. */
int qmp_query_balloon(struct qmp *q, int timeout_ms, uint64_t *ret_bytes,
		      struct err *e);

#endif /* QMP_MEMORY_H */
