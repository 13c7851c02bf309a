/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of exec and console: between our terminal and a stream. */
#ifndef AGENT_LOCAL_TERMINAL_H
#define AGENT_LOCAL_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct err;

struct terminal_opts {
	bool raw;    /* our terminal is raw, and its size is passed on */
	bool in;     /* standard input is passed on */
	bool detach; /* Ctrl-] ends it */
	const char *greeting; /* said once it is connected; NULL: nothing */
};

/**
 * terminal_run() - Pump until the other side says that it is over.
 * @fd:       The upgraded connection. Borrowed.
 * @early:    What had come with the upgrade; consumed.
 * @ret_code: Set to the command's exit code; 0 after a detach.
 *
 * Return: 0, -ECONNRESET (the agent went away), or -EREMOTEIO (the command
 * could not be run to its end; @e says why).
 */
int terminal_run(int fd, struct buf *early, const struct terminal_opts *o,
		 int *ret_code, struct err *e);

/* Rows and columns of our terminal; 0 and 0 when there is none. */
void terminal_size(uint16_t *ret_rows, uint16_t *ret_cols);

#endif /* AGENT_LOCAL_TERMINAL_H */
