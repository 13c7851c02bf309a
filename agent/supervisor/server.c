// SPDX-License-Identifier: Apache-2.0
/*
 * The loop and its clients. One event is handled per epoll_wait(), so that
 * nothing an earlier event has freed can be in the same batch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <yyjson.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"

int watch_add(struct sup *sup, struct watch *w, int fd,
	      void (*ready)(struct watch *w))
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	w->fd = fd;
	w->ready = ready;
	if (epoll_ctl(sup->epoll, EPOLL_CTL_ADD, fd, &ev) == 0)
		return 0;
	w->fd = -1;
	return -errno;
}

int watch_set(struct sup *sup, struct watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	return epoll_ctl(sup->epoll, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno
								    : 0;
}

void watch_del(struct sup *sup, struct watch *w)
{
	if (w->fd >= 0)
		(void)epoll_ctl(sup->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
}

/* --- sending -------------------------------------------------------------- */

static ssize_t send_bytes(int sock, const void *data, size_t len, int fd)
{
	return sys_send_fd(sock, data, len, fd, MSG_DONTWAIT);
}

static int send_by_memfd(int sock, const char *text, size_t len)
{
	static const char body[] = "{\"body\":\"fd\"}";
	auto_close int fd = memfd_create("arktos-reply", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return -1;
	return send_bytes(sock, body, sizeof(body) - 1, fd) < 0 ? -1 : 0;
}

void client_send(struct client *c, struct yyjson_mut_doc *doc, int fd)
{
	auto_free char *text = NULL;
	size_t len = 0;
	int r = -1;

	if (doc)
		text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE,
					&len);
	yyjson_mut_doc_free(doc);
	if (c->gone)
		return;
	if (text && len <= PROTO_INLINE_MAX)
		r = send_bytes(c->watch.fd, text, len, fd) < 0 ? -1 : 0;
	else if (text && fd < 0)
		r = send_by_memfd(c->watch.fd, text, len);
	/* Whoever does not read, or cannot be told, starts anew and lists. */
	if (r < 0)
		client_drop(c);
}

/* --- receiving ------------------------------------------------------------ */

struct message {
	char *text;
	size_t len;
	int fds[PROTO_FDS_MAX + 1];
	size_t nr_fds;
};

static void message_clear(struct message *m)
{
	free(m->text);
	for (size_t i = 0; i < m->nr_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
}

static void take_fds(struct msghdr *mh, struct message *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(mh); h; h = CMSG_NXTHDR(mh, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		m->nr_fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(m->fds, CMSG_DATA(h), m->nr_fds * sizeof(int));
	}
}

/* The last descriptor of the message is the body. */
static int read_body(struct message *m)
{
	struct stat st;
	int fd;
	char *text;

	if (m->nr_fds == 0)
		return -EBADMSG;
	fd = m->fds[m->nr_fds - 1];
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    st.st_size > PROTO_BODY_MAX)
		return -E2BIG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	if (pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
		free(text);
		return -EBADMSG;
	}
	free(m->text);
	m->text = text;
	m->len = (size_t)st.st_size;
	close(fd);
	m->nr_fds--;
	return 0;
}

static int receive(int sock, struct message *m)
{
	static const char by_fd[] = "{\"body\":\"fd\"}";
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int) * (PROTO_FDS_MAX + 1))];
	} u;
	struct iovec iov;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.bytes,
		.msg_controllen = sizeof(u.bytes),
	};
	ssize_t n;

	n = recv(sock, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	if (n > PROTO_INLINE_MAX)
		return -E2BIG;
	m->text = malloc((size_t)n + 1);
	if (!m->text)
		return -ENOMEM;
	iov.iov_base = m->text;
	iov.iov_len = (size_t)n;
	n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	m->len = (size_t)n;
	take_fds(&mh, m);
	if (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return -E2BIG;
	if (m->len == sizeof(by_fd) - 1 && memcmp(m->text, by_fd, m->len) == 0)
		return read_body(m);
	return 0;
}

static void client_ready(struct watch *w)
{
	struct client *c = watch_owner(w, struct client, watch);
	struct message m = { .len = 0 };
	struct request *req = NULL;
	struct err e = { 0 };
	uint64_t id = 0;
	int r;

	r = receive(w->fd, &m);
	if (r == 0) {
		r = request_parse(m.text, m.len, m.nr_fds, &req, &id, &e);
		if (r < 0)
			client_send(c, reply_error(id, NULL, 0, &e), -1);
		else
			op_run(c, req, m.fds);
		request_free(req);
	} else if (r != -EAGAIN) {
		client_drop(c);
	}
	message_clear(&m);
}

/* --- clients -------------------------------------------------------------- */

void client_drop(struct client *c)
{
	int fd = c->watch.fd;

	if (c->gone)
		return;
	c->gone = true;
	watch_del(c->sup, &c->watch);
	close(fd);
	for (struct proc *p = c->sup->procs; p; p = p->next)
		if (p->waiter == c)
			p->waiter = NULL;
	if (c->sup->stop_waiter == c)
		c->sup->stop_waiter = NULL;
}

static void clients_sweep(struct sup *sup)
{
	struct client **at = &sup->clients;

	while (*at) {
		struct client *c = *at;

		if (!c->gone) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		sup->nr_clients--;
		free(c);
	}
}

static void listener_ready(struct watch *w)
{
	struct sup *sup = watch_owner(w, struct sup, listener);
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(peer);
	struct client *c;
	int fd;

	fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (sup->nr_clients >= PROTO_CLIENTS_MAX ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    peer.uid != 0) {
		close(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || watch_add(sup, &c->watch, fd, client_ready) < 0) {
		free(c);
		close(fd);
		return;
	}
	c->sup = sup;
	c->next = sup->clients;
	sup->clients = c;
	sup->nr_clients++;
}

static void signals_ready(struct watch *w)
{
	struct sup *sup = watch_owner(w, struct sup, signals);
	struct signalfd_siginfo si;

	while (read(w->fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			continue;
		/* The machine goes down, or somebody means us. */
		sup->stopping = true;
		proc_kill_all(sup);
	}
	procs_reap(sup);
}

static bool all_dead(const struct sup *sup)
{
	for (struct proc *p = sup->procs; p; p = p->next)
		if (p->pid || p->helper)
			return false;
	return true;
}

static int signals_open(struct sup *sup, struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return err_sys(e, "sigprocmask");
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || watch_add(sup, &sup->signals, fd, signals_ready) < 0)
		return err_sys(e, "signalfd");
	return 0;
}

int server_run(struct sup *sup, struct err *e)
{
	int listener = sup->listener.fd;
	struct epoll_event ev;
	int r;

	sup->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (sup->epoll < 0)
		return err_sys(e, "epoll_create");
	r = signals_open(sup, e);
	if (r < 0)
		return r;
	if (watch_add(sup, &sup->listener, listener, listener_ready) < 0)
		return err_sys(e, "epoll_ctl");
	while (!sup->stopping || !all_dead(sup)) {
		clients_sweep(sup);
		r = epoll_wait(sup->epoll, &ev, 1, -1);
		if (r < 0 && errno != EINTR)
			return err_sys(e, "epoll_wait");
		if (r > 0) {
			struct watch *w = ev.data.ptr;

			w->ready(w);
		}
	}
	if (sup->stop_waiter)
		client_send(sup->stop_waiter, reply_ok(sup->stop_request), -1);
	return 0;
}
