// SPDX-License-Identifier: Apache-2.0
// FUZZ: qmp/conn.c qmp/qmp.c qmp/event.c qmp/msg.c qmp/machine.c qmp/memory.c
// FUZZ: qmp/block.c qmp/snapshot.c qmp/migrate.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/*
 * What a hostile QEMU sends: after the greeting, any bytes. The first byte
 * chooses the call that is made meanwhile; its id is 2.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/err.h"
#include "qmp/block.h"
#include "qmp/machine.h"
#include "qmp/memory.h"
#include "qmp/qmp.h"

static const char greeting[] =
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, "
	"\"major\": 7}, \"package\": \"\"}, \"capabilities\": []}}\r\n";

#define MS 20

static void call(struct qmp *q, unsigned int which)
{
	const char *const nodes[] = { "n" };
	struct qmp_migration migration;
	struct qmp_event ev = { 0 };
	void *list = NULL;
	struct err e = { 0 };
	uint64_t n;
	size_t nr;
	int r;

	switch (which % 13) {
	case 0:
		(void)qmp_query_status(q, MS, NULL, NULL, NULL);
		break;
	case 1:
		(void)qmp_query_cpu_slots(q, MS, (struct qmp_cpu_slot **)&list,
					  &nr, NULL);
		break;
	case 2:
		(void)qmp_query_cpus(q, MS, (struct qmp_cpu **)&list, &nr,
				     NULL);
		break;
	case 3:
		(void)qmp_query_memory_devices(q, MS,
					       (struct qmp_memory_device *
							*)&list,
					       &nr, NULL);
		break;
	case 4:
		(void)qmp_query_block(q, MS, (struct qmp_block **)&list, &nr,
				      NULL);
		break;
	case 5:
		(void)qmp_query_snapshots(q, "n", MS,
					  (struct qmp_snapshot **)&list, &nr,
					  NULL);
		break;
	case 6:
		(void)qmp_query_migrate(q, MS, &migration, NULL);
		break;
	case 7:
		(void)qmp_query_chardevs(q, MS, (struct qmp_chardev **)&list,
					 &nr, NULL);
		break;
	case 8:
		(void)qmp_device_del(q, "d", MS, MS, NULL);
		(void)qmp_qom_get_u64(q, "/", "p", MS, &n, NULL);
		break;
	case 9:
		(void)qmp_snapshot_save(q, "t", "n", nodes, 1, MS, NULL);
		break;
	case 10:
		r = qmp_job_result(q, "j", MS, &e);
		assert(r == 0 || (r < 0 && *e.msg));
		break;
	case 11:
		for (enum qmp_snapshot_op op = QMP_SNAPSHOT_SAVE;
		     op <= QMP_SNAPSHOT_DELETE; op++)
			(void)qmp_snapshot_start(q, op, "j", "t", "n", MS,
						 NULL);
		(void)qmp_job_dismiss(q, "j", MS, NULL);
		break;
	case 12:
		(void)qmp_blockdev_snapshot(q, "n", "/f", "o", MS, NULL);
		(void)qmp_migrate_cancel(q, MS, NULL);
		break;
	}
	free(list);
	while (qmp_event_next(q, &ev) == 0)
		qmp_event_clear(&ev);
}

struct peer {
	int fd;
	const uint8_t *data;
	size_t size;
};

/* Answers only what was asked: what comes unasked is thrown away. */
static void *play(void *arg)
{
	static const char ready[] = "{\"return\": {}, \"id\": 1}\r\n";
	struct peer *p = arg;
	char heard[4096];

	if (recv(p->fd, heard, sizeof(heard), 0) > 0)
		send(p->fd, ready, sizeof(ready) - 1, MSG_NOSIGNAL);
	if (recv(p->fd, heard, sizeof(heard), 0) > 0)
		send(p->fd, p->data, p->size, MSG_NOSIGNAL);
	shutdown(p->fd, SHUT_WR);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer p = { .data = data + 1, .size = size - 1 };
	struct qmp *q = NULL;
	pthread_t thread;
	int sv[2];

	if (size < 1 || size > 65536 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	p.fd = sv[0];
	(void)!write(sv[0], greeting, sizeof(greeting) - 1);
	if (pthread_create(&thread, NULL, play, &p))
		__builtin_trap();
	if (qmp_open_fd(sv[1], 10000, &q, NULL) < 0)
		__builtin_trap();
	call(q, data[0]);
	qmp_free(q);
	pthread_join(thread, NULL);
	close(sv[0]);
	return 0;
}
