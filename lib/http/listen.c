// SPDX-License-Identifier: Apache-2.0
/* Sockets that are listened at. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/http/internal.h"

#define CONNS_MAX 256
#define BACKLOG   128
#define PAUSE_MS  100

int http_server_new(const struct http_server_opts *opts,
		    struct http_server **ret, struct err *e)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->o = *opts;
	if (!s->o.conns_max)
		s->o.conns_max = CONNS_MAX;
	if (s->o.tls)
		SSL_CTX_up_ref(s->o.tls);
	*ret = s;
	return 0;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	s->stopping = true;
	conns_drop(s);
	ev_timer_del(&s->pause);
	for (size_t i = 0; i < s->nr_listeners; i++) {
		struct listener *l = &s->listeners[i];

		ev_io_del(&l->io);
		close(l->fd);
		if (l->path)
			unlink(l->path);
		free(l->path);
	}
	SSL_CTX_free(s->o.tls);
	free(s);
}

unsigned http_server_conns(const struct http_server *s)
{
	return s->nr_conns;
}

/* --- accepting ------------------------------------------------------------ */

static void set_listening(struct http_server *s, bool on)
{
	for (size_t i = 0; i < s->nr_listeners; i++)
		(void)ev_io_set(&s->listeners[i].io, on ? EPOLLIN : 0);
	s->paused = !on;
}

void listen_resume(struct http_server *s)
{
	if (s->paused && !s->stopping && s->nr_conns < s->o.conns_max &&
	    !s->pause.loop)
		set_listening(s, true);
}

static void pause_over(void *arg)
{
	listen_resume(arg);
}

static void serve(struct listener *l, int fd)
{
	struct http_server *s = l->server;
	struct ucred peer = { .pid = -1 };
	socklen_t len = sizeof(peer);
	int one = 1;

	if (l->tcp) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		conn_new(s, fd, NULL);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
	    (s->o.admit && !s->o.admit(s->o.arg, &peer))) {
		close(fd);
		return;
	}
	conn_new(s, fd, &peer);
}

static void accept_ready(void *arg, uint32_t events)
{
	struct listener *l = arg;
	struct http_server *s = l->server;
	int fd;

	(void)events;
	while (s->nr_conns < s->o.conns_max) {
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			serve(l, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) {
			/* Out of descriptors: those waiting would wake us
			 * again and again. */
			set_listening(s, false);
			(void)ev_timer_set(s->o.loop, &s->pause, PAUSE_MS,
					   pause_over, s);
		}
		return;
	}
	set_listening(s, false);
}

static int add_listener(struct http_server *s, int fd, const char *path,
			struct err *e)
{
	struct listener *l = &s->listeners[s->nr_listeners];
	int r;

	if (s->nr_listeners == LISTENERS_MAX)
		return err_set(e, -E2BIG, "too many listening sockets");
	*l = (struct listener){ .server = s, .fd = fd, .tcp = !path };
	if (path) {
		l->path = strdup(path);
		if (!l->path)
			return err_set(e, -ENOMEM, "out of memory");
	}
	r = ev_io_add(s->o.loop, &l->io, fd, EPOLLIN, accept_ready, l, e);
	if (r < 0) {
		free(l->path);
		return r;
	}
	s->nr_listeners++;
	return 0;
}

/* --- addresses ------------------------------------------------------------ */

/* Is somebody listening there? */
static bool is_served(const struct sockaddr_un *addr)
{
	auto_close int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return true; /* not known: do not take it away */
	return connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ||
	       errno == EAGAIN;
}

int http_listen_unix(struct http_server *s, const char *path, mode_t mode,
		     struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	auto_close int fd = -EBADF;
	struct stat st;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "'%s' is too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_sys(e, "socket");
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(e, -EEXIST,
				       "'%s' is there and is no socket", path);
		if (is_served(&addr))
			return err_set(e, -EADDRINUSE,
				       "'%s' is served by another process",
				       path);
		unlink(path);
	}
	/* bind(2) takes the mode from the socket file's own, so that there is
	 * no moment at which others may connect. */
	if (fchmod(fd, mode) < 0)
		return err_sys(e, "mode of '%s'", path);
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "bind '%s'", path);
	if (chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		r = err_sys(e, "listen at '%s'", path);
		unlink(path);
		return r;
	}
	r = add_listener(s, fd, path, e);
	if (r < 0)
		unlink(path);
	else
		take_fd(&fd);
	return r;
}

/* 4 or 6 by the form of @host. */
static socklen_t make_address(const char *host, uint16_t port,
			      struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	return 0;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	return ntohs(addr.ss_family == AF_INET
			     ? ((struct sockaddr_in *)&addr)->sin_port
			     : ((struct sockaddr_in6 *)&addr)->sin6_port);
}

int http_listen_tcp(struct http_server *s, const char *host, uint16_t port,
		    uint16_t *ret_port, struct err *e)
{
	struct sockaddr_storage addr;
	socklen_t len = make_address(host, port, &addr);
	auto_close int fd = -EBADF;
	int one = 1, r;

	if (!len)
		return err_set(e, -EINVAL, "'%s' is not a numeric address",
			       host);
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return err_sys(e, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen at %s port %u", host, port);
	r = add_listener(s, fd, NULL, e);
	if (r < 0)
		return r;
	if (ret_port)
		*ret_port = port_of(fd);
	take_fd(&fd);
	return 0;
}
