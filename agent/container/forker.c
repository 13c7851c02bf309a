// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/container/forker.h"
#include "agent/supervisor/proto.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define SEND_S   10
#define ROOM     1000 /* for what ps shows of its copies */
#define FD_CLEAR 64   /* out of the way of the descriptors a child is given */

static struct {
	pthread_mutex_t lock;
	pid_t owner; /* whose child it is: a forked copy of us has none */
	pid_t pid;
	int sock;
	char *binary, *pods;
} forker = { .lock = PTHREAD_MUTEX_INITIALIZER, .sock = -1 };

/* It ends when its socket does. */
static void stop(void)
{
	if (forker.sock < 0)
		return;
	close(forker.sock);
	forker.sock = -1;
	if (forker.owner == getpid())
		while (waitpid(forker.pid, NULL, 0) < 0 && errno == EINTR)
			;
	free(forker.binary);
	free(forker.pods);
	forker.binary = forker.pods = NULL;
}

static int execute(const char *binary, const char *pods, int sock, pid_t *ret)
{
	static char *const env[] = { NULL };
	char room[ROOM + 1];
	char *argv[] = { (char *)"arktos-pod", (char *)"--forker=3",
			 (char *)(uintptr_t)pods, room, NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none, all;
	int r;

	memset(room, ' ', ROOM);
	room[ROOM] = '\0';
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK |
					      POSIX_SPAWN_SETSIGDEF |
					      POSIX_SPAWN_SETSID);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setsigdefault(&at, &all);
	posix_spawn_file_actions_init(&fa);
	r = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
	for (int i = 1; r == 0 && i < 3; i++)
		r = posix_spawn_file_actions_adddup2(&fa, 0, i);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&fa, sock, 3);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&fa, 4);
	if (r == 0)
		r = posix_spawn(ret, binary, &fa, &at, argv, env);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return r;
}

static int start(const char *binary, const char *pods, struct err *e)
{
	const struct timeval patience = { .tv_sec = SEND_S };
	auto_free char *copy = strdup(binary), *dir = strdup(pods);
	auto_close int near = -EBADF;
	auto_close int far = -EBADF;
	int pair[2], r;

	if (!copy || !dir)
		return err_set(e, -ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	near = pair[0];
	far = fcntl(pair[1], F_DUPFD_CLOEXEC, FD_CLEAR);
	close(pair[1]);
	if (far < 0)
		return err_sys(e, "socketpair");
	(void)setsockopt(near, SOL_SOCKET, SO_SNDTIMEO, &patience,
			 sizeof(patience));
	r = execute(binary, pods, far, &forker.pid);
	errno = r;
	if (r)
		return err_sys(e, "execute '%s': is arktos-pod installed?",
			       binary);
	forker.owner = getpid();
	forker.sock = take_fd(&near);
	forker.binary = take_ptr(copy);
	forker.pods = take_ptr(dir);
	return 0;
}

static int send_order(const char *words, size_t len, const int *fds,
		      size_t nr_fds)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(PROTO_FORK_FDS * sizeof(int))];
	} u = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)words, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nr_fds > PROTO_FORK_FDS || len > PROTO_FORK_MAX)
		return -E2BIG;
	if (nr_fds) {
		m.msg_control = u.bytes;
		m.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		u.h.cmsg_level = SOL_SOCKET;
		u.h.cmsg_type = SCM_RIGHTS;
		u.h.cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(&u.h), fds, nr_fds * sizeof(int));
	}
	do
		n = sendmsg(forker.sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int order(const char *binary, const char *pods, const char *words,
		 size_t len, const int *fds, size_t nr_fds, struct err *e)
{
	int r = -EPIPE;

	if (forker.sock >= 0 &&
	    (forker.owner != getpid() || !str_eq(forker.binary, binary)))
		stop();
	if (forker.sock >= 0)
		r = send_order(words, len, fds, nr_fds);
	if (r == -EPIPE || r == -ECONNRESET) {
		stop();
		r = start(binary, pods, e);
		if (r < 0)
			return r;
		r = send_order(words, len, fds, nr_fds);
	}
	errno = -r;
	return r < 0 ? err_sys(e, "ask for a supervisor") : 0;
}

int forker_order(const char *binary, const char *pods, const char *words,
		 size_t len, const int *fds, size_t nr_fds, struct err *e)
{
	int r;

	pthread_mutex_lock(&forker.lock);
	r = order(binary, pods, words, len, fds, nr_fds, e);
	pthread_mutex_unlock(&forker.lock);
	return r;
}
