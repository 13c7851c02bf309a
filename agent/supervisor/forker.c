// SPDX-License-Identifier: Apache-2.0
/*
 * Supervisors without an exec each. The agent starts this program once, as
 *
 *	arktos-pod --forker=3 <folder of run directories> <room>
 *
 * and asks it on that socket for supervisors: a message is the command line of
 * one, with the descriptors it names, which are 3 and up for it as if they had
 * been inherited. Each is a copy of this process, which is small, has no
 * threads and is sealed, so what starting a program and copying the agent's
 * descriptors costs is paid once a node and not once a pod.
 *
 * It has a mount namespace of its own, the host's but for what is mounted below
 * the folder of the pods' run directories (pins of network namespaces, volumes
 * in memory). Each supervisor starts with a copy of that one, so a pod costs
 *the same whether it is the first or the thousandth, and what is mounted for
 *one pod is not held by those that were started after it. Mounts that the host
 * makes later still arrive, as far as it shares them.
 *
 * The room at the end of its command line is for what ps is to show.
 *
 * It owns nothing: killed, the next supervisor costs another start of it. It
 * ends when the agent's end of the socket closes, however the agent has ended.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"
#include "lib/err.h"
#include "lib/str.h"

/* Where the socket waits, above what a supervisor is given. */
#define SOCKET_AT 100

static char message[PROTO_FORK_MAX + 1];
static char *words[PROTO_FORK_ARGS + 1];

struct order {
	int argc;
	int fds[PROTO_FORK_FDS];
	size_t nr_fds;
};

/* Of our own command line. */
struct room {
	char *at;
	size_t len;
};

/* 1: there is one, 0: the agent has gone. What is no order is dropped. */
static int next_order(int sock, struct order *o)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(o->fds))];
	} u;
	struct iovec iov = { message, PROTO_FORK_MAX };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = u.bytes,
			    .msg_controllen = sizeof(u.bytes) };
	ssize_t n;

	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	o->argc = 0;
	o->nr_fds = 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		o->nr_fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(o->fds, CMSG_DATA(h), o->nr_fds * sizeof(int));
	}
	message[n] = '\0';
	for (char *s = message; s < message + n && o->argc < PROTO_FORK_ARGS;
	     s += strlen(s) + 1)
		words[o->argc++] = s;
	words[o->argc] = NULL;
	return 1;
}

/*
 * What ps shows. The kernel takes our command line from where it put it; when
 * its very last byte is not NUL it takes one string from there instead. To let
 * it look elsewhere would need a capability that a host may lack.
 */
static void show_words(struct room *room, char **argv)
{
	size_t at = 0, max = room->len - 2;

	memset(room->at, 0, room->len);
	for (; *argv && at < max; argv++) {
		size_t n = strnlen(*argv, max - at);

		if (at)
			room->at[at++] = ' ';
		n = n < max - at ? n : max - at;
		memcpy(room->at + at, *argv, n);
		at += n;
	}
	room->at[room->len - 1] = ' ';
}

/* As if this program had been started with these words and descriptors. */
static int become(struct room *room, const struct order *o, struct err *e)
{
	if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || setsid() < 0)
		return err_sys(e, "begin a session");
	/* They came in the order of their numbers, into the lowest free. */
	for (size_t i = 0; i < o->nr_fds; i++)
		if (o->fds[i] != 3 + (int)i)
			return err_set(e, -EBADF, "descriptors out of order");
	show_words(room, words);
	return 0;
}

/* Spaces and backslashes are octal numbers there. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] &&
		    s[3]) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 +
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 / /run/arktos/pods/x/netns rw ...": the fifth. */
static char *mount_point(char *line)
{
	char *at = NULL, *save = NULL;

	for (int i = 0; i < 5; i++)
		if (!(at = strtok_r(i ? NULL : line, " ", &save)))
			return NULL;
	unescape(at);
	return at;
}

/* What is mounted below is left behind, and what will be does not arrive. */
static int leave_mounts(const char *below, struct err *e)
{
	size_t len = strlen(below), size = 0, longest = 1;
	auto_free char *line = NULL, *holds = NULL;
	FILE *f;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_sys(e, "make a mount namespace");
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return err_sys(e, "open '/proc/self/mountinfo'");
	while (getline(&line, &size, f) > 0) {
		char *at = mount_point(line);
		size_t n = at ? strlen(at) : 0;

		if (!at)
			continue;
		if (strncmp(at, below, len) == 0 && at[len] == '/') {
			(void)umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW);
		} else if (n >= longest && strncmp(at, below, n) == 0 &&
			   (!below[n] || below[n] == '/')) {
			free(holds);
			holds = strdup(at);
			longest = n;
		}
	}
	fclose(f);
	/* Of the root itself too much else would not arrive. */
	if (holds && longest > 1)
		(void)mount(NULL, holds, NULL, MS_PRIVATE, NULL);
	return 0;
}

static void refuse(const struct order *o, const struct err *e)
{
	struct child_report rep = { .type = CHILD_FAILED, .code = e->code };

	snprintf(rep.message, sizeof(rep.message), "%s", e->msg);
	if (o->nr_fds)
		(void)send(o->fds[0], &rep, sizeof(rep), MSG_NOSIGNAL);
}

int forker_run(int fd, const char *pods, char ***argv, struct err *e)
{
	char *mine[] = { (char *)"arktos-pod", (char *)"--forker", NULL };
	struct room room = { .at = (*argv)[0] };
	int sock = fcntl(fd, F_DUPFD_CLOEXEC, SOCKET_AT), r;

	r = leave_mounts(pods, e);
	if (r < 0)
		return r;
	if (sock < 0)
		return err_sys(e, "keep the agent's socket");
	close(fd);
	for (char **a = *argv; *a; a++)
		room.len = (size_t)(*a + strlen(*a) + 1 - room.at);
	show_words(&room, mine);
	(void)prctl(PR_SET_NAME, "arktos-forker");
	/* Stages 1 are nobody's to wait for. */
	if (signal(SIGCHLD, SIG_IGN) == SIG_ERR ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "begin to fork");
	for (;;) {
		struct order o;
		pid_t pid;

		if (!next_order(sock, &o))
			return 0;
		pid = o.argc ? sys_clone(0, NULL, -1) : 1;
		if (pid < 0) {
			err_sys(e, "fork: limits of processes or memory?");
			refuse(&o, e);
		} else if (pid == 0) {
			close(sock);
			if (become(&room, &o, e) < 0) {
				refuse(&o, e);
				_exit(EXIT_FAILURE);
			}
			*argv = words;
			return o.argc;
		}
		for (size_t i = 0; i < o.nr_fds; i++)
			close(o.fds[i]);
	}
}
