// SPDX-License-Identifier: Apache-2.0
// FUZZ: qmp/conn.c qmp/qmp.c qmp/event.c qmp/msg.c qmp/qga.c
// FUZZ: qmp/qga_command.c qmp/qga_exec.c qmp/qga_net.c
// FUZZ: lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/*
 * What a hostile guest sends in the agent's name: once synchronised, any
 * bytes. The first one chooses the command that is asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buf.h"
#include "qmp/qga.h"

#define MS 20

static void call(struct qga *g, unsigned int which)
{
	const char *const argv[] = { "x", NULL };
	struct qga_exec_result res = { 0 };
	struct qga_iface *ifs = NULL;
	struct buf b = BUF_INIT;
	struct qga_info info;
	void *list = NULL;
	uint64_t bytes;
	size_t nr = 0;
	bool frozen;

	switch (which % 8) {
	case 0:
		(void)qga_get_vcpus(g, MS, (struct qga_vcpu **)&list, &nr,
				    NULL);
		break;
	case 1:
		(void)qga_get_memory_blocks(g, MS,
					    (struct qga_memory_block **)&list,
					    &nr, &bytes, NULL);
		break;
	case 2:
		if (qga_exec(g, argv, NULL, NULL, 0, MS, &res, NULL) == 0)
			qga_exec_result_clear(&res);
		break;
	case 3:
		(void)qga_file_read(g, "/f", 4096, MS, &b, NULL);
		break;
	case 4:
		if (qga_get_interfaces(g, MS, &ifs, &nr, NULL) == 0)
			qga_ifaces_free(ifs, nr);
		break;
	case 5:
		(void)qga_info(g, MS, &info, NULL);
		break;
	case 6:
		(void)qga_fs_is_frozen(g, MS, &frozen, NULL);
		break;
	case 7:
		if (qga_exec_status(g, 1, MS, &res, NULL) == 0)
			qga_exec_result_clear(&res);
		break;
	}
	buf_clear(&b);
	free(list);
}

/* Answer the sync and the ping that are under way. */
static bool synchronise(struct qga *g, int fd)
{
	static const char pong[] = "{\"return\": {}}\n";
	struct qga_request *rq = NULL;
	char text[512] = "", answer[64];
	const char *id;
	ssize_t n;
	int r = -1;

	if (qga_submit(g, "guest-ping", NULL, 1000, &rq, NULL) < 0)
		return false;
	n = recv(fd, text, sizeof(text) - 1, 0);
	id = n > 0 ? strstr(text, "\"id\":") : NULL;
	if (id) {
		snprintf(answer, sizeof(answer), "\xff{\"return\": %llu}\n",
			 strtoull(id + 5, NULL, 10));
		(void)!write(fd, answer, strlen(answer));
		(void)qga_poll(rq, 0, NULL, NULL);
		(void)!write(fd, pong, sizeof(pong) - 1);
		r = qga_poll(rq, 100, NULL, NULL);
	}
	qga_request_free(rq);
	return r == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qga *g = NULL;
	int sv[2];

	if (size < 1 || size > 65536 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	if (qga_open_fd(sv[1], &g, NULL) < 0) {
		close(sv[1]);
	} else {
		if (!synchronise(g, sv[0]))
			__builtin_trap();
		(void)!write(sv[0], data + 1, size - 1);
		shutdown(sv[0], SHUT_WR);
		call(g, data[0]);
		qga_free(g);
	}
	close(sv[0]);
	return 0;
}
