// SPDX-License-Identifier: Apache-2.0
/* Jobs that save, load and delete snapshots of the whole machine. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/block.h"
#include "qmp/internal.h"
#include "qmp/qmp.h"

#define JOB_CALL_MS 5000

struct snapshot_job {
	const char *command, *tag, *vmstate;
	const char *const *nodes;
	size_t nr_nodes;
};

/* Job ids must be unique among all clients of this QEMU, also across a restart
 * of this process. */
static void make_job_id(char *id, size_t size)
{
	static atomic_uint counter;

	snprintf(id, size, "snap-%llx-%x", (unsigned long long)conn_now_ns(),
		 atomic_fetch_add(&counter, 1));
}

static void add_nodes(struct qmp_args *args, const struct snapshot_job *job)
{
	yyjson_mut_doc *doc = qmp_args_doc(args);
	yyjson_mut_val *list = yyjson_mut_arr(doc);

	for (size_t i = 0; i < job->nr_nodes; i++)
		if (!yyjson_mut_arr_add_str(doc, list, job->nodes[i]))
			list = NULL;
	qmp_arg_val(args, "devices", list);
}

static int job_start(struct qmp *q, const struct snapshot_job *job,
		     const char *id, int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "job-id", id);
	qmp_arg_str(&args, "tag", job->tag);
	if (job->vmstate)
		qmp_arg_str(&args, "vmstate", job->vmstate);
	add_nodes(&args, job);
	return qmp_call(q, job->command, &args, timeout_ms, NULL, e);
}

int qmp_job_result(struct qmp *q, const char *job, int timeout_ms,
		   struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	yyjson_val *v;
	size_t i, max;
	int r;

	r = qmp_call(q, "query-jobs", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	yyjson_arr_foreach(reply.value, i, max, v)
	{
		const char *error = msg_str(v, "error");

		if (!str_eq(msg_str(v, "id"), job))
			continue;
		if (!str_eq(msg_str(v, "status"), "concluded"))
			return -EINPROGRESS;
		if (error)
			return err_set(e, -EREMOTEIO, "%s", error);
		return 0;
	}
	return err_set(e, -ENOENT, "QEMU has no job '%s'", job);
}

/* The job's error, if it has one. It is concluded: dismiss it afterwards. */
static int job_result(struct qmp *q, const char *command, const char *id,
		      struct err *e)
{
	int r = qmp_job_result(q, id, JOB_CALL_MS, e);

	if (r == -ENOENT)
		return err_set(e, -EBADMSG, "%s: job '%s' has vanished",
			       command, id);
	return r < 0 ? err_wrap(e, r, "%s", command) : 0;
}

int qmp_job_dismiss(struct qmp *q, const char *job, int timeout_ms,
		    struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "id", job);
	return qmp_call(q, "job-dismiss", &args, timeout_ms, NULL, e);
}

static int job_wait(struct qmp_watch *watch, const char *command, int wait_ms,
		    struct err *e)
{
	int64_t deadline_ns = conn_deadline_ns(wait_ms);

	for (;;) {
		auto_qmp_event struct qmp_event event = { 0 };
		int64_t left_ms = (deadline_ns - conn_now_ns()) / 1000000;
		const char *status;
		int r;

		r = qmp_watch_wait(watch, left_ms > 0 ? (int)left_ms : 0,
				   &event, e);
		if (r == -ETIMEDOUT)
			return err_set(e, r, "%s: not done after %d ms",
				       command, wait_ms);
		if (r < 0)
			return r;
		status = msg_str(event.data, "status");
		if (str_eq(status, "concluded"))
			return 0;
	}
}

static int job_run(struct qmp *q, const struct snapshot_job *job, int wait_ms,
		   struct err *e)
{
	auto_qmp_watch struct qmp_watch *watch = NULL;
	char id[QMP_NAME_MAX];
	int r;

	make_job_id(id, sizeof(id));
	r = qmp_watch_add(q, "JOB_STATUS_CHANGE", "id", id, &watch);
	if (r < 0)
		return err_wrap(e, r, "%s: watch for events", job->command);
	r = job_start(q, job, id, JOB_CALL_MS, e);
	if (r == 0)
		r = job_wait(watch, job->command, wait_ms, e);
	if (r < 0)
		return r;
	r = job_result(q, job->command, id, e);
	/* Left over, it would only take up its id. */
	(void)qmp_job_dismiss(q, id, JOB_CALL_MS, NULL);
	return r;
}

int qmp_snapshot_save(struct qmp *q, const char *tag, const char *vmstate,
		      const char *const *nodes, size_t nr_nodes, int wait_ms,
		      struct err *e)
{
	struct snapshot_job job = { "snapshot-save", tag, vmstate, nodes,
				    nr_nodes };

	return job_run(q, &job, wait_ms, e);
}

int qmp_snapshot_load(struct qmp *q, const char *tag, const char *vmstate,
		      const char *const *nodes, size_t nr_nodes, int wait_ms,
		      struct err *e)
{
	struct snapshot_job job = { "snapshot-load", tag, vmstate, nodes,
				    nr_nodes };

	return job_run(q, &job, wait_ms, e);
}

int qmp_snapshot_delete(struct qmp *q, const char *tag,
			const char *const *nodes, size_t nr_nodes, int wait_ms,
			struct err *e)
{
	struct snapshot_job job = { "snapshot-delete", tag, NULL, nodes,
				    nr_nodes };

	return job_run(q, &job, wait_ms, e);
}

int qmp_snapshot_start(struct qmp *q, enum qmp_snapshot_op op, const char *job,
		       const char *tag, const char *node, int timeout_ms,
		       struct err *e)
{
	static const char *const commands[] = {
		[QMP_SNAPSHOT_SAVE] = "snapshot-save",
		[QMP_SNAPSHOT_LOAD] = "snapshot-load",
		[QMP_SNAPSHOT_DELETE] = "snapshot-delete",
	};
	const char *const nodes[] = { node };
	struct snapshot_job s = { commands[op], tag,
				  op == QMP_SNAPSHOT_DELETE ? NULL : node,
				  nodes, 1 };

	return job_start(q, &s, job, timeout_ms, e);
}
