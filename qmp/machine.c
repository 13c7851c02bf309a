// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/internal.h"
#include "qmp/machine.h"
#include "qmp/qmp.h"

static const char *const run_states[] = {
	[QMP_RUN_OTHER] = "other",
	[QMP_RUN_RUNNING] = "running",
	[QMP_RUN_PAUSED] = "paused",
	[QMP_RUN_PRELAUNCH] = "prelaunch",
	[QMP_RUN_SHUTDOWN] = "shutdown",
	[QMP_RUN_SUSPENDED] = "suspended",
	[QMP_RUN_GUEST_PANICKED] = "guest-panicked",
	[QMP_RUN_INTERNAL_ERROR] = "internal-error",
	[QMP_RUN_IO_ERROR] = "io-error",
	[QMP_RUN_INMIGRATE] = "inmigrate",
	[QMP_RUN_POSTMIGRATE] = "postmigrate",
	[QMP_RUN_FINISH_MIGRATE] = "finish-migrate",
	[QMP_RUN_RESTORE_VM] = "restore-vm",
	[QMP_RUN_SAVE_VM] = "save-vm",
	[QMP_RUN_WATCHDOG] = "watchdog",
};

const char *qmp_run_state_name(enum qmp_run_state state)
{
	return run_states[(size_t)state < ARRAY_LEN(run_states)
				  ? state
				  : QMP_RUN_OTHER];
}

int qmp_query_status(struct qmp *q, int timeout_ms,
		     enum qmp_run_state *ret_state, bool *ret_running,
		     struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	enum qmp_run_state state = QMP_RUN_OTHER;
	const char *status;
	bool running;
	int r;

	r = qmp_call(q, "query-status", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	status = msg_str(reply.value, "status");
	if (!status || !msg_bool(reply.value, "running", &running))
		return err_set(e, -EBADMSG, "query-status: no status in it");
	for (size_t i = 0; i < ARRAY_LEN(run_states); i++)
		if (str_eq(status, run_states[i]))
			state = (enum qmp_run_state)i;
	if (ret_state)
		*ret_state = state;
	if (ret_running)
		*ret_running = running;
	return 0;
}

int qmp_stop(struct qmp *q, int timeout_ms, struct err *e)
{
	return qmp_call(q, "stop", NULL, timeout_ms, NULL, e);
}

int qmp_cont(struct qmp *q, int timeout_ms, struct err *e)
{
	return qmp_call(q, "cont", NULL, timeout_ms, NULL, e);
}

int qmp_system_reset(struct qmp *q, int timeout_ms, struct err *e)
{
	return qmp_call(q, "system_reset", NULL, timeout_ms, NULL, e);
}

int qmp_system_powerdown(struct qmp *q, int timeout_ms, struct err *e)
{
	return qmp_call(q, "system_powerdown", NULL, timeout_ms, NULL, e);
}

int qmp_quit(struct qmp *q, int timeout_ms, struct err *e)
{
	int r = qmp_call(q, "quit", NULL, timeout_ms, NULL, e);

	return r == -EPIPE ? 0 : r;
}

static int parse_cpu_slot(yyjson_val *v, void *to)
{
	struct qmp_cpu_slot *slot = to;
	static const char *const names[] = { "socket-id", "die-id", "core-id",
					     "thread-id", "node-id" };
	int64_t *ids[] = { &slot->socket, &slot->die, &slot->core,
			   &slot->thread, &slot->node };
	yyjson_val *props = yyjson_obj_get(v, "props");
	uint64_t vcpus;

	msg_copy(v, "type", slot->type, sizeof(slot->type));
	msg_copy(v, "qom-path", slot->qom_path, sizeof(slot->qom_path));
	if (!slot->type[0] || !yyjson_is_obj(props) ||
	    !msg_u64(v, "vcpus-count", &vcpus) || vcpus > QMP_CPUS_MAX)
		return -EBADMSG;
	slot->vcpus = (unsigned int)vcpus;
	slot->plugged = slot->qom_path[0] != '\0';
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		if (!msg_i64(props, names[i], ids[i]))
			*ids[i] = -1;
	return 0;
}

int qmp_query_cpu_slots(struct qmp *q, int timeout_ms,
			struct qmp_cpu_slot **ret, size_t *ret_nr,
			struct err *e)
{
	return msg_query_array(q, "query-hotpluggable-cpus", timeout_ms,
			       QMP_CPUS_MAX, sizeof(**ret), parse_cpu_slot,
			       (void **)ret, ret_nr, e);
}

int qmp_cpu_add(struct qmp *q, const struct qmp_cpu_slot *slot, const char *id,
		int timeout_ms, struct err *e)
{
	const struct {
		const char *name;
		int64_t value;
	} props[] = { { "socket-id", slot->socket },
		      { "die-id", slot->die },
		      { "core-id", slot->core },
		      { "thread-id", slot->thread },
		      { "node-id", slot->node } };
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "driver", slot->type);
	qmp_arg_str(&args, "id", id);
	for (size_t i = 0; i < ARRAY_LEN(props); i++)
		if (props[i].value >= 0)
			qmp_arg_u64(&args, props[i].name,
				    (uint64_t)props[i].value);
	return qmp_call(q, "device_add", &args, timeout_ms, NULL, e);
}

static int parse_cpu(yyjson_val *v, void *to)
{
	struct qmp_cpu *cpu = to;
	uint64_t index, tid = 0;

	if (!msg_u64(v, "cpu-index", &index) || index > QMP_CPUS_MAX)
		return -EBADMSG;
	if (msg_u64(v, "thread-id", &tid) && tid > INT_MAX)
		return -EBADMSG;
	cpu->index = (unsigned int)index;
	cpu->tid = (pid_t)tid;
	msg_copy(v, "qom-path", cpu->qom_path, sizeof(cpu->qom_path));
	return 0;
}

int qmp_query_cpus(struct qmp *q, int timeout_ms, struct qmp_cpu **ret,
		   size_t *ret_nr, struct err *e)
{
	return msg_query_array(q, "query-cpus-fast", timeout_ms, QMP_CPUS_MAX,
			       sizeof(**ret), parse_cpu, (void **)ret, ret_nr,
			       e);
}

/* A QOM path tells the event's "path", a plain id its "device". */
static int watch_unplug(struct qmp *q, const char *id, struct qmp_watch **ret)
{
	return qmp_watch_add(q, "DEVICE_DELETED,DEVICE_UNPLUG_GUEST_ERROR",
			     id[0] == '/' ? "path" : "device", id, ret);
}

int qmp_device_del(struct qmp *q, const char *id, int timeout_ms, int wait_ms,
		   struct err *e)
{
	auto_qmp_watch struct qmp_watch *watch = NULL;
	auto_qmp_event struct qmp_event event = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	r = wait_ms > 0 ? watch_unplug(q, id, &watch) : 0;
	if (r < 0)
		return err_wrap(e, r, "watch for events");
	qmp_arg_str(&args, "id", id);
	r = qmp_call(q, "device_del", &args, timeout_ms, NULL, e);
	if (r < 0 || !watch)
		return r;
	r = qmp_watch_wait(watch, wait_ms, &event, e);
	if (r == -ETIMEDOUT)
		return err_set(e, r,
			       "device_del: the guest has not let go of '%s'",
			       id);
	if (r < 0)
		return r;
	if (!str_eq(event.name, "DEVICE_DELETED"))
		return err_set(e, -EBUSY,
			       "device_del: the guest refused to give up '%s'",
			       id);
	return 0;
}

int qmp_qom_get_u64(struct qmp *q, const char *path, const char *property,
		    int timeout_ms, uint64_t *ret, struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	qmp_arg_str(&args, "path", path);
	qmp_arg_str(&args, "property", property);
	r = qmp_call(q, "qom-get", &args, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_uint(reply.value))
		return err_set(e, -EBADMSG,
			       "qom-get: '%s' of '%s' is no number", property,
			       path);
	*ret = yyjson_get_uint(reply.value);
	return 0;
}

int qmp_qom_set_u64(struct qmp *q, const char *path, const char *property,
		    uint64_t value, int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };

	qmp_arg_str(&args, "path", path);
	qmp_arg_str(&args, "property", property);
	qmp_arg_u64(&args, "value", value);
	return qmp_call(q, "qom-set", &args, timeout_ms, NULL, e);
}

static int parse_chardev(yyjson_val *v, void *to)
{
	struct qmp_chardev *dev = to;

	msg_copy(v, "label", dev->label, sizeof(dev->label));
	msg_copy(v, "filename", dev->filename, sizeof(dev->filename));
	/* Absent: a kind that has no front end. */
	(void)msg_bool(v, "frontend-open", &dev->frontend_open);
	return 0;
}

int qmp_query_chardevs(struct qmp *q, int timeout_ms, struct qmp_chardev **ret,
		       size_t *ret_nr, struct err *e)
{
	return msg_query_array(q, "query-chardev", timeout_ms, QMP_CPUS_MAX,
			       sizeof(**ret), parse_chardev, (void **)ret,
			       ret_nr, e);
}
