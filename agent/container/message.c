// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/container/message.h"
#include "agent/supervisor/proto.h"
#include "lib/auto.h"
#include "lib/buf.h"

void message_clear(struct message *m)
{
	free(m->text);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct message){ .fd = -1 };
}

static int body_from(struct message *m)
{
	auto_buf struct buf b = BUF_INIT;
	int r;

	if (m->fd < 0)
		return -EBADMSG;
	if (lseek(m->fd, 0, SEEK_SET) < 0)
		return -errno;
	r = buf_read_fd(&b, m->fd, PROTO_BODY_MAX);
	if (r < 0)
		return r;
	message_clear(m);
	m->len = b.len;
	m->text = buf_take(&b);
	return m->text ? 0 : -ENOMEM;
}

int message_receive(int sock, struct message *m)
{
	static const char by_fd[] = "{\"body\":\"fd\"}";
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int))];
	} u;
	struct iovec iov;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = u.bytes,
		.msg_controllen = sizeof(u.bytes),
	};
	struct cmsghdr *h;
	ssize_t n;

	*m = (struct message){ .fd = -1 };
	n = recv(sock, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	if (n > PROTO_INLINE_MAX + 1024)
		return -EBADMSG;
	m->text = malloc((size_t)n + 1);
	if (!m->text)
		return -ENOMEM;
	iov = (struct iovec){ .iov_base = m->text, .iov_len = (size_t)n };
	n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	m->len = (size_t)n;
	h = CMSG_FIRSTHDR(&mh);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(&m->fd, CMSG_DATA(h), sizeof(m->fd));
	if (m->len == sizeof(by_fd) - 1 && memcmp(m->text, by_fd, m->len) == 0)
		return body_from(m);
	return 0;
}

static int send_inline(int sock, const char *text, size_t len, const int *fds,
		       size_t nr_fds)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int) * (PROTO_FDS_MAX + 1))];
	} u;
	struct iovec iov = { .iov_base = (void *)text, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		memset(&u, 0, sizeof(u));
		m.msg_control = u.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		u.h.cmsg_level = SOL_SOCKET;
		u.h.cmsg_type = SCM_RIGHTS;
		u.h.cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(&u.h), fds, sizeof(int) * nr_fds);
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int message_send(int sock, const struct buf *text, const int *fds,
		 size_t nr_fds)
{
	static const char by_fd[] = "{\"body\":\"fd\"}";
	auto_close int body = -EBADF;
	int all[PROTO_FDS_MAX + 1];

	if (nr_fds > PROTO_FDS_MAX || text->len > PROTO_BODY_MAX)
		return -E2BIG;
	if (text->len <= PROTO_INLINE_MAX)
		return send_inline(sock, text->data, text->len, fds, nr_fds);
	body = memfd_create("arktos-request", MFD_CLOEXEC);
	if (body < 0)
		return -errno;
	if (write(body, text->data, text->len) != (ssize_t)text->len)
		return -EIO;
	if (nr_fds)
		memcpy(all, fds, nr_fds * sizeof(*fds));
	all[nr_fds] = body;
	return send_inline(sock, by_fd, sizeof(by_fd) - 1, all, nr_fds + 1);
}
