/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed QMP calls on the machine as a whole and its vCPUs. Errors are those of
 * qmp_call(); -EBADMSG when an answer has not the documented shape.
 */
#ifndef QMP_MACHINE_H
#define QMP_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct qmp;

#define QMP_CPUS_MAX 4096
#define QMP_NAME_MAX 64 /* an id or a type name, with its NUL */
#define QMP_QOM_MAX  256

enum qmp_run_state {
	QMP_RUN_OTHER, /* one that is not listed here */
	QMP_RUN_RUNNING,
	QMP_RUN_PAUSED,
	QMP_RUN_PRELAUNCH, /* -S, before the first cont */
	QMP_RUN_SHUTDOWN,  /* guest is off, QEMU still there (-no-shutdown) */
	QMP_RUN_SUSPENDED,
	QMP_RUN_GUEST_PANICKED,
	QMP_RUN_INTERNAL_ERROR,
	QMP_RUN_IO_ERROR,
	QMP_RUN_INMIGRATE,
	QMP_RUN_POSTMIGRATE,
	QMP_RUN_FINISH_MIGRATE,
	QMP_RUN_RESTORE_VM, /* a failed snapshot-load stays here: continue */
	QMP_RUN_SAVE_VM,
	QMP_RUN_WATCHDOG,
};

const char *qmp_run_state_name(enum qmp_run_state state); /* "running" */

int qmp_query_status(struct qmp *q, int timeout_ms,
		     enum qmp_run_state *ret_state, bool *ret_running,
		     struct err *e);
int qmp_stop(struct qmp *q, int timeout_ms, struct err *e);
int qmp_cont(struct qmp *q, int timeout_ms, struct err *e);
int qmp_system_reset(struct qmp *q, int timeout_ms, struct err *e);
int qmp_system_powerdown(struct qmp *q, int timeout_ms, struct err *e);

/* 0 also when QEMU is gone before it answered. */
int qmp_quit(struct qmp *q, int timeout_ms, struct err *e);

/* One place for a vCPU (query-hotpluggable-cpus). */
struct qmp_cpu_slot {
	char type[QMP_NAME_MAX];    /* driver for device_add */
	char qom_path[QMP_QOM_MAX]; /* "" while empty */
	bool plugged;
	unsigned int vcpus; /* vCPUs one device of this slot has */
	int64_t socket, die, core, thread, node; /* -1: does not apply */
};

/* @ret: [*@ret_nr], owned by the caller, in QEMU's order (the last first). */
int qmp_query_cpu_slots(struct qmp *q, int timeout_ms,
			struct qmp_cpu_slot **ret, size_t *ret_nr,
			struct err *e);

/* Plug a vCPU into @slot as device @id. It exists when this returns; the guest
 * still has to bring it online. */
int qmp_cpu_add(struct qmp *q, const struct qmp_cpu_slot *slot, const char *id,
		int timeout_ms, struct err *e);

struct qmp_cpu {
	unsigned int index;
	pid_t tid; /* of the thread that runs it; 0 if QEMU does not say */
	char qom_path[QMP_QOM_MAX];
};

/* query-cpus-fast: does not interrupt the vCPUs. */
int qmp_query_cpus(struct qmp *q, int timeout_ms, struct qmp_cpu **ret,
		   size_t *ret_nr, struct err *e);

/**
 * qmp_device_del() - Unplug a device.
 * @q:          Connection.
 * @id:         Device id, or its QOM path.
 * @timeout_ms: For QEMU to take the request.
 * @wait_ms:    For the guest to let go of it; 0 does not wait.
 * @e:          Filled on error.
 *
 * The guest decides, and may never answer.
 *
 * Return: 0 gone (with @wait_ms 0: asked), -EBUSY the guest refused (and said
 * so), -ETIMEDOUT no word from it in @wait_ms, else as qmp_call().
 */
int qmp_device_del(struct qmp *q, const char *id, int timeout_ms, int wait_ms,
		   struct err *e);

/* A QOM property. @property of @path must hold an unsigned number. */
int qmp_qom_get_u64(struct qmp *q, const char *path, const char *property,
		    int timeout_ms, uint64_t *ret, struct err *e);
int qmp_qom_set_u64(struct qmp *q, const char *path, const char *property,
		    uint64_t value, int timeout_ms, struct err *e);

struct qmp_chardev {
	char label[QMP_NAME_MAX];
	char filename[QMP_QOM_MAX];
	bool frontend_open; /* the guest has the other end open */
};

int qmp_query_chardevs(struct qmp *q, int timeout_ms, struct qmp_chardev **ret,
		       size_t *ret_nr, struct err *e);

#endif /* QMP_MACHINE_H */
