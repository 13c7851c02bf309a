/* SPDX-License-Identifier: Apache-2.0 */
/* One JSON text and descriptors over the supervisor's socket. */
#ifndef AGENT_CONTAINER_MESSAGE_H
#define AGENT_CONTAINER_MESSAGE_H

#include <stddef.h>

struct buf;

struct message {
	char *text; /* owned */
	size_t len;
	int fd; /* that came with it; owned; -1 */
};

void message_clear(struct message *m);

/* One message without waiting; message_clear() it in any case. -EAGAIN: there
 * is none; -EPIPE: closed. */
int message_receive(int sock, struct message *m);

/* @fds are borrowed. Texts too long for a message go as a memfd. */
int message_send(int sock, const struct buf *text, const int *fds,
		 size_t nr_fds);

#endif /* AGENT_CONTAINER_MESSAGE_H */
