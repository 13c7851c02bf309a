// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/http/client.h"
#include "lib/http/h1.h"
#include "lib/str.h"

#define TIMEOUT_MS 30000
#define READ_SIZE  16384
#define BACKLOG_MS 10 /* between two tries to connect */

struct http_client {
	int fd;
	char host[64]; /* for the Host field */
	int timeout_ms;
	struct h1 parser;
	struct buf in; /* received, not yet parsed */
	bool in_answer;
	bool ended; /* the connection cannot be used again */
};

/* --- connecting ----------------------------------------------------------- */

static int unix_address(const char *path, struct sockaddr_storage *ret,
			socklen_t *ret_len, struct err *e)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ret;

	if (strlen(path) >= sizeof(un->sun_path))
		return err_set(e, -ENAMETOOLONG, "'%s' is too long", path);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	*ret_len = sizeof(*un);
	return 0;
}

/* "127.0.0.1:80", "[::1]:80" */
static int tcp_address(const char *text, struct sockaddr_storage *ret,
		       socklen_t *ret_len, struct err *e)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2] = "";
	uint64_t port = 0;
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (!len || len >= sizeof(host) || str_to_u64(colon + 1, &port) < 0 ||
	    port > UINT16_MAX)
		return err_set(e, -EINVAL, "'%s' is not ADDRESS:PORT", text);
	memcpy(host, text, len);
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		*ret_len = sizeof(*in);
		return 0;
	}
	if (host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1) {
			in6->sin6_family = AF_INET6;
			in6->sin6_port = htons((uint16_t)port);
			*ret_len = sizeof(*in6);
			return 0;
		}
	}
	return err_set(e, -EINVAL, "'%s' is not ADDRESS:PORT", text);
}

static int wait_for(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n;

	do {
		n = poll(&pfd, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int connect_within(int fd, const struct sockaddr_storage *addr,
			  socklen_t len, int timeout_ms)
{
	int error = 0, r;
	socklen_t size = sizeof(error);

	/* EAGAIN of a unix socket: its backlog is full, and nothing tells when
	 * there is room again. */
	while (connect(fd, (const struct sockaddr *)addr, len) < 0) {
		if (errno == EINPROGRESS)
			goto pending;
		if (errno != EAGAIN || timeout_ms <= 0)
			return -errno;
		(void)poll(NULL, 0, BACKLOG_MS);
		timeout_ms -= BACKLOG_MS;
	}
	return 0;
pending:
	r = wait_for(fd, POLLOUT, timeout_ms);
	if (r < 0)
		return r;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

int http_client_open(const char *address, int timeout_ms,
		     struct http_client **ret, struct err *e)
{
	struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
	auto_close int fd = -EBADF;
	struct http_client *c;
	socklen_t len = 0;
	int one = 1, r;

	if (str_starts(address, "unix:"))
		r = unix_address(address + 5, &addr, &len, e);
	else if (str_starts(address, "tcp:"))
		r = tcp_address(address + 4, &addr, &len, e);
	else
		r = err_set(e, -EINVAL,
			    "'%s' is neither unix: nor tcp:", address);
	if (r < 0)
		return r;
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    0);
	if (fd < 0)
		return err_sys(e, "socket");
	r = connect_within(fd, &addr, len,
			   timeout_ms ? timeout_ms : TIMEOUT_MS);
	if (r < 0)
		return err_wrap(e, r, "connect to '%s'", address);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->fd = take_fd(&fd);
	memcpy(c->host, "localhost", 10);
	if (addr.ss_family != AF_UNIX && strlen(address + 4) < sizeof(c->host))
		memcpy(c->host, address + 4, strlen(address + 4) + 1);
	h1_init(&c->parser, H1_RESPONSE, NULL);
	*ret = c;
	return 0;
}

void http_client_close(struct http_client *c)
{
	if (!c)
		return;
	h1_clear(&c->parser);
	buf_clear(&c->in);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

/* --- sending -------------------------------------------------------------- */

/* The server may answer, and close, before it has read all: keep its answer. */
static int send_all(struct http_client *c, const char *data, size_t len,
		    struct err *e)
{
	while (len) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
		int r;

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		if (errno != EAGAIN)
			return err_sys(e, "send");
		r = wait_for(c->fd, POLLOUT, c->timeout_ms);
		if (r < 0)
			return err_wrap(e, r, "send");
	}
	return 0;
}

static int send_call(struct http_client *c, const struct http_call *call,
		     const char *upgrade, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;

	h1_put_request(&b, call->method, call->target, c->host);
	if (upgrade) {
		h1_put_field(&b, "Connection", "Upgrade");
		h1_put_field(&b, "Upgrade", upgrade);
	}
	if (call->body) {
		h1_put_field(&b, "Content-Type",
			     call->type ? call->type : "application/json");
		h1_put_length(&b, call->len);
	} else if (strcmp(call->method, "GET") != 0) {
		h1_put_length(&b, 0);
	}
	h1_put_end(&b);
	if (call->body)
		buf_add(&b, call->body, call->len);
	if (buf_error(&b))
		return err_set(e, buf_error(&b), "out of memory");
	return send_all(c, b.data, b.len, e);
}

/* --- receiving ------------------------------------------------------------ */

/* More bytes into c->in; 0 at the end of the connection. */
static ssize_t receive(struct http_client *c, struct err *e)
{
	char *to = buf_reserve(&c->in, READ_SIZE);
	ssize_t n;
	int r;

	if (!to)
		return err_set(e, -ENOMEM, "out of memory");
	for (;;) {
		n = recv(c->fd, to, READ_SIZE, 0);
		if (n >= 0)
			break;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_sys(e, "receive");
		r = wait_for(c->fd, POLLIN, c->timeout_ms);
		if (r == -ETIMEDOUT)
			return err_set(e, r, "no answer within %d ms",
				       c->timeout_ms);
		if (r < 0)
			return err_wrap(e, r, "receive");
	}
	buf_commit(&c->in, (size_t)n);
	return n;
}

/* The next event of the answer, reading as needed. H1_BODY: *@ret_piece points
 * into c->in, of which *@ret_used bytes are to be consumed afterwards, and is
 * at most @max bytes long. */
static int next_event(struct http_client *c, size_t max,
		      struct h1_piece *ret_piece, size_t *ret_used,
		      struct err *e)
{
	for (;;) {
		size_t len = c->in.len < max ? c->in.len : max;
		int r = h1_next(&c->parser, buf_str(&c->in), len, ret_used,
				ret_piece, e);
		ssize_t n;

		if (r != H1_MORE)
			return r;
		buf_consume(&c->in, *ret_used);
		if (c->in.len)
			continue;
		n = receive(c, e);
		if (n < 0)
			return (int)n;
		if (n > 0)
			continue;
		r = h1_eof(&c->parser, e);
		*ret_used = 0;
		c->ended = true;
		if (r == H1_MORE)
			return err_set(e, -ECONNRESET,
				       "the server closed the connection");
		return r;
	}
}

static void answer_over(struct http_client *c)
{
	if (!c->parser.head.keep_alive)
		c->ended = true;
	c->in_answer = false;
	h1_reset(&c->parser);
}

static int begin(struct http_client *c, const struct http_call *call,
		 const char *upgrade, int *ret_status, struct err *e)
{
	struct h1_piece piece;
	size_t used = 0;
	int r;

	if (c->ended || c->in_answer)
		return err_set(e, -ENOTCONN,
			       "the connection is not free for a call");
	c->timeout_ms = call->head_ms          ? call->head_ms
			: call->timeout_ms > 0 ? call->timeout_ms
					       : TIMEOUT_MS;
	r = send_call(c, call, upgrade, e);
	if (r < 0)
		goto broken;
	do {
		h1_reset(&c->parser);
		if (strcmp(call->method, "HEAD") == 0)
			h1_no_body(&c->parser);
		r = next_event(c, SIZE_MAX, &piece, &used, e);
		if (r >= 0)
			buf_consume(&c->in, used);
	} while (r == H1_HEAD && c->parser.head.status == 100);
	if (r < 0)
		goto broken;
	c->timeout_ms = call->timeout_ms ? call->timeout_ms : TIMEOUT_MS;
	c->in_answer = true;
	*ret_status = c->parser.head.status;
	return 0;
broken:
	c->ended = true;
	return r;
}

int http_begin(struct http_client *c, const struct http_call *call,
	       int *ret_status, struct err *e)
{
	return begin(c, call, NULL, ret_status, e);
}

ssize_t http_read(struct http_client *c, void *buf, size_t size, struct err *e)
{
	struct h1_piece piece;
	size_t used = 0;
	int r;

	if (!c->in_answer)
		return 0;
	r = next_event(c, size, &piece, &used, e);
	if (r < 0) {
		c->ended = true;
		c->in_answer = false;
		return r;
	}
	if (r == H1_BODY) {
		memcpy(buf, piece.data, piece.len);
		buf_consume(&c->in, used);
		return (ssize_t)piece.len;
	}
	buf_consume(&c->in, used);
	answer_over(c);
	return 0;
}

int http_call(struct http_client *c, const struct http_call *call,
	      struct http_answer *ret, struct err *e)
{
	size_t used = 0;
	int status, r;

	r = begin(c, call, NULL, &status, e);
	while (r == 0) {
		struct h1_piece piece;
		int event = next_event(c, SIZE_MAX, &piece, &used, e);

		if (event == H1_BODY &&
		    (buf_add(&ret->body, piece.data, piece.len) < 0 ||
		     ret->body.len > HTTP_ANSWER_MAX))
			event = err_set(e, -E2BIG, "the answer is too large");
		if (event < 0) {
			c->ended = true;
			c->in_answer = false;
			return event;
		}
		buf_consume(&c->in, used);
		if (event != H1_END)
			continue;
		answer_over(c);
		ret->status = status;
		return 0;
	}
	return r;
}

int http_upgrade(struct http_client *c, const struct http_call *call,
		 const char *protocol, int *ret_status, int *ret_fd,
		 struct buf *early, struct err *e)
{
	int status, r;

	r = begin(c, call, protocol, &status, e);
	if (r < 0)
		return r;
	*ret_status = status;
	if (status != 101)
		return 0;
	if (buf_add(early, buf_str(&c->in), c->in.len) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*ret_fd = take_fd(&c->fd);
	c->ended = true;
	return 0;
}
