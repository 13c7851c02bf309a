/* SPDX-License-Identifier: Apache-2.0 */
/* Typed QMP calls on disks, whole-machine snapshots and migration. */
#ifndef QMP_BLOCK_H
#define QMP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/machine.h"

#define QMP_BLOCKS_MAX    256
#define QMP_SNAPSHOTS_MAX 1024
#define QMP_PATH_MAX      4096

struct qmp_block {
	char device[QMP_NAME_MAX]; /* "" for one made with -blockdev */
	char node[QMP_NAME_MAX];   /* node name; "" without a medium */
	char qdev[QMP_QOM_MAX];    /* the guest device it belongs to */
	char file[QMP_PATH_MAX];
	char driver[QMP_NAME_MAX]; /* "qcow2" */
	bool read_only;
	uint64_t virtual_bytes;
	uint64_t actual_bytes;
	bool io_error;
};

int qmp_query_block(struct qmp *q, int timeout_ms, struct qmp_block **ret,
		    size_t *ret_nr, struct err *e);

/* Add a file-backed node @node of @driver ("qcow2", "raw"). */
int qmp_blockdev_add(struct qmp *q, const char *node, const char *driver,
		     const char *path, bool read_only, int timeout_ms,
		     struct err *e);
int qmp_blockdev_del(struct qmp *q, const char *node, int timeout_ms,
		     struct err *e);

/* Put an overlay (new qcow2 file at @path, node @overlay) onto @node: what is
 * written from now on goes there. */
int qmp_blockdev_snapshot(struct qmp *q, const char *node, const char *path,
			  const char *overlay, int timeout_ms, struct err *e);

/**
 * qmp_snapshot_save() - Save the machine, memory and disks, inside its disks.
 * @q:        Connection.
 * @tag:      Name of the snapshot.
 * @vmstate:  Node that takes the memory: qcow2, writable.
 * @nodes:    [@nr_nodes] nodes to snapshot; must contain @vmstate.
 * @nr_nodes: At least 1.
 * @wait_ms:  For the job to end.
 * @e:        Filled on error.
 *
 * Return: 0, -EREMOTEIO with the job's words, -ETIMEDOUT (the job goes on), or
 * as qmp_call().
 */
int qmp_snapshot_save(struct qmp *q, const char *tag, const char *vmstate,
		      const char *const *nodes, size_t nr_nodes, int wait_ms,
		      struct err *e);

/* After a failed load the machine may be in %QMP_RUN_RESTORE_VM. */
int qmp_snapshot_load(struct qmp *q, const char *tag, const char *vmstate,
		      const char *const *nodes, size_t nr_nodes, int wait_ms,
		      struct err *e);
int qmp_snapshot_delete(struct qmp *q, const char *tag,
			const char *const *nodes, size_t nr_nodes, int wait_ms,
			struct err *e);

enum qmp_snapshot_op {
	QMP_SNAPSHOT_SAVE,
	QMP_SNAPSHOT_LOAD,
	QMP_SNAPSHOT_DELETE,
};

/**
 * qmp_snapshot_start() - Begin one of the above as a job of a given name.
 * @q:          Connection.
 * @op:         What to do.
 * @job:        Its id, unique in this QEMU. It stays after the end of this
 *              process, and until qmp_job_dismiss(): who comes later can tell
 *              what became of it.
 * @tag:        Name of the snapshot.
 * @node:       The one node that holds the snapshot, memory included.
 * @timeout_ms: For QEMU to say that it has begun. QEMU 7.2 answers nobody
 *              while it saves and loads.
 * @e:          Filled on error.
 *
 * Return: 0 begun, -ETIMEDOUT (begun, as far as can be told), or as
 * qmp_call().
 */
int qmp_snapshot_start(struct qmp *q, enum qmp_snapshot_op op, const char *job,
		       const char *tag, const char *node, int timeout_ms,
		       struct err *e);

/* What has become of a job: 0 it has ended well, -EINPROGRESS, -EREMOTEIO with
 * its words in @e, -ENOENT there is none of that id, -ETIMEDOUT no answer. */
int qmp_job_result(struct qmp *q, const char *job, int timeout_ms,
		   struct err *e);
int qmp_job_dismiss(struct qmp *q, const char *job, int timeout_ms,
		    struct err *e);

struct qmp_snapshot {
	char id[QMP_NAME_MAX];
	char tag[256];
	uint64_t vmstate_bytes;
	int64_t time_s; /* when it was taken, since the epoch */
};

/* Snapshots held in @node's image. */
int qmp_query_snapshots(struct qmp *q, const char *node, int timeout_ms,
			struct qmp_snapshot **ret, size_t *ret_nr,
			struct err *e);

enum qmp_migration_state {
	QMP_MIGRATION_NONE,
	QMP_MIGRATION_ACTIVE, /* setup, active, device, cancelling, ... */
	QMP_MIGRATION_COMPLETED,
	QMP_MIGRATION_FAILED,
	QMP_MIGRATION_CANCELLED,
};

struct qmp_migration {
	enum qmp_migration_state state;
	char status[32];
	char error[256]; /* QEMU's words after a failure */
	uint64_t transferred_bytes, remaining_bytes, total_bytes;
	uint64_t total_ms, downtime_ms;
};

/* Start writing the machine's state into @fd (a file or a socket; borrowed).
 * No helper process is involved. Follow it with qmp_query_migrate(). */
int qmp_migrate_fd(struct qmp *q, int fd, int timeout_ms, struct err *e);
int qmp_migrate_incoming_fd(struct qmp *q, int fd, int timeout_ms,
			    struct err *e);
int qmp_migrate_cancel(struct qmp *q, int timeout_ms, struct err *e);
int qmp_query_migrate(struct qmp *q, int timeout_ms, struct qmp_migration *ret,
		      struct err *e);

#endif /* QMP_BLOCK_H */
