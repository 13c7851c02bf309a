// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/auto.h"
#include "lib/str.h"
#include "qmp/block.h"
#include "qmp/internal.h"
#include "qmp/qmp.h"

#define MIGRATE_FD_NAME "migration"
#define MIGRATE_FD_URI  "fd:" MIGRATE_FD_NAME

static int migrate_with(struct qmp *q, const char *command, int fd,
			int timeout_ms, struct err *e)
{
	auto_qmp_args struct qmp_args args = { 0 };
	int r;

	r = qmp_getfd(q, fd, MIGRATE_FD_NAME, timeout_ms, e);
	if (r < 0)
		return r;
	qmp_arg_str(&args, "uri", MIGRATE_FD_URI);
	return qmp_call(q, command, &args, timeout_ms, NULL, e);
}

int qmp_migrate_fd(struct qmp *q, int fd, int timeout_ms, struct err *e)
{
	return migrate_with(q, "migrate", fd, timeout_ms, e);
}

int qmp_migrate_incoming_fd(struct qmp *q, int fd, int timeout_ms,
			    struct err *e)
{
	return migrate_with(q, "migrate-incoming", fd, timeout_ms, e);
}

int qmp_migrate_cancel(struct qmp *q, int timeout_ms, struct err *e)
{
	return qmp_call(q, "migrate_cancel", NULL, timeout_ms, NULL, e);
}

static enum qmp_migration_state migration_state(const char *status)
{
	if (!status[0] || str_eq(status, "none"))
		return QMP_MIGRATION_NONE;
	if (str_eq(status, "completed"))
		return QMP_MIGRATION_COMPLETED;
	if (str_eq(status, "failed"))
		return QMP_MIGRATION_FAILED;
	if (str_eq(status, "cancelled"))
		return QMP_MIGRATION_CANCELLED;
	return QMP_MIGRATION_ACTIVE;
}

int qmp_query_migrate(struct qmp *q, int timeout_ms, struct qmp_migration *ret,
		      struct err *e)
{
	auto_qmp_reply struct qmp_reply reply = { 0 };
	struct qmp_migration m = { 0 };
	yyjson_val *ram;
	int r;

	r = qmp_call(q, "query-migrate", NULL, timeout_ms, &reply, e);
	if (r < 0)
		return r;
	if (!yyjson_is_obj(reply.value))
		return err_set(e, -EBADMSG, "query-migrate: not an object");
	msg_copy(reply.value, "status", m.status, sizeof(m.status));
	msg_copy(reply.value, "error-desc", m.error, sizeof(m.error));
	m.state = migration_state(m.status);
	ram = yyjson_obj_get(reply.value, "ram");
	/* None of these is there in every state. */
	(void)msg_u64(ram, "transferred", &m.transferred_bytes);
	(void)msg_u64(ram, "remaining", &m.remaining_bytes);
	(void)msg_u64(ram, "total", &m.total_bytes);
	(void)msg_u64(reply.value, "total-time", &m.total_ms);
	(void)msg_u64(reply.value, "downtime", &m.downtime_ms);
	*ret = m;
	return 0;
}
