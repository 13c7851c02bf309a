/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client for the QEMU guest agent.
 *
 * The other end is inside the guest: it may be absent, hang, lie, or flood.
 * Nothing here waits longer than told, everything it sends is bounded, and
 * after any timeout or nonsense the stream is synchronised again
 * (guest-sync-delimited) before the next request, so that stale bytes are
 * never taken for an answer.
 *
 * Requests are answered one after the other, in the order submitted. A request
 * may be waited for (qga_call()) or looked at now and then (qga_submit(),
 * qga_poll()): bringing a CPU online can take a guest a second.
 *
 * Threads: as in qmp.h. Errors:
 *   -EREMOTEIO  the agent refused; e->msg holds its words
 *   -ETIMEDOUT  no answer in time: no agent runs, or it hangs
 *   -EBADMSG    the answer is not what the protocol says
 *   -EMSGSIZE   the answer was over %QGA_MESSAGE_MAX
 *   -EPIPE      QEMU closed the channel
 *   -EOPNOTSUPP the agent does not know, or does not allow, this command
 */
#ifndef QMP_QGA_H
#define QMP_QGA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qmp/qmp.h"

struct buf;
struct qga;
struct qga_request;

#define QGA_MESSAGE_MAX  (8U << 20) /* bytes of one answer */
#define QGA_REQUESTS_MAX 64         /* waiting at one time */
#define QGA_CPUS_MAX     4096
#define QGA_BLOCKS_MAX   65536 /* memory blocks */
#define QGA_IFACES_MAX   64
#define QGA_ADDRS_MAX    32 /* per interface */

/* Connect to the chardev's unix socket. Does not talk to the agent yet: it may
 * come up much later. */
int qga_open(const char *path, struct qga **ret, struct err *e);
int qga_open_fd(int fd, struct qga **ret, struct err *e); /* takes it over */
void qga_free(struct qga *g);

/* For an epoll loop: readable when qga_dispatch() should be called. */
int qga_fd(const struct qga *g);
int qga_dispatch(struct qga *g, struct err *e);

/**
 * qga_submit() - Queue one command.
 * @g:          Agent.
 * @command:    Its name. Borrowed.
 * @args:       Arguments, or NULL. Borrowed.
 * @timeout_ms: From now until the answer.
 * @ret:        Set to the request; qga_request_free() it in any case.
 * @e:          Filled on error.
 *
 * Return: 0, -EBUSY beyond %QGA_REQUESTS_MAX, -ENOMEM, -EPIPE.
 */
int qga_submit(struct qga *g, const char *command, const struct qmp_args *args,
	       int timeout_ms, struct qga_request **ret, struct err *e);

/* Wait up to @wait_ms. 0 and the answer, -EAGAIN if it is still open, or the
 * error it ended with. */
int qga_poll(struct qga_request *rq, int wait_ms, struct qmp_reply *ret,
	     struct err *e);
void qga_request_free(struct qga_request *rq);

/* qga_submit() and qga_poll() to the end. */
int qga_call(struct qga *g, const char *command, const struct qmp_args *args,
	     int timeout_ms, struct qmp_reply *ret, struct err *e);

/* Is anybody there? guest-sync-delimited and guest-ping. */
int qga_ping(struct qga *g, int timeout_ms, struct err *e);

/* What the agent offers (guest-info). Asked once and kept until qga_forget(),
 * which is due when the guest has rebooted. */
struct qga_info {
	char version[32];
	bool get_vcpus, set_vcpus, get_memory_blocks, set_memory_blocks, exec,
		file_read, interfaces, shutdown, fsfreeze;
};

int qga_info(struct qga *g, int timeout_ms, struct qga_info *ret,
	     struct err *e);
void qga_forget(struct qga *g);

struct qga_vcpu {
	uint64_t id;
	bool online;
	bool can_offline;
};

int qga_get_vcpus(struct qga *g, int timeout_ms, struct qga_vcpu **ret,
		  size_t *ret_nr, struct err *e);
int qga_parse_vcpus(const struct qmp_reply *reply, struct qga_vcpu **ret,
		    size_t *ret_nr, struct err *e);

/* Bring CPUs to @vcpus[].online. Returns how many of them were brought there,
 * from the first on, or an error with the guest's words if not even one. */
int qga_set_vcpus(struct qga *g, const struct qga_vcpu *vcpus, size_t nr,
		  int timeout_ms, struct err *e);
int qga_submit_set_vcpus(struct qga *g, const struct qga_vcpu *vcpus, size_t nr,
			 int timeout_ms, struct qga_request **ret,
			 struct err *e);

struct qga_memory_block {
	uint64_t index;
	bool online;
	bool can_offline;
};

int qga_get_memory_blocks(struct qga *g, int timeout_ms,
			  struct qga_memory_block **ret, size_t *ret_nr,
			  uint64_t *ret_block_bytes, struct err *e);
/* Returns how many were brought to the wished state. */
int qga_set_memory_blocks(struct qga *g, const struct qga_memory_block *blocks,
			  size_t nr, int timeout_ms, struct err *e);

struct qga_exec_result {
	bool exited; /* false: ended by @signal */
	int code;
	int signal;
	char *out, *err_out; /* NUL-terminated; owned, free() both */
	size_t out_len, err_len;
	bool truncated; /* the agent cut the output (16 MiB) */
};

void qga_exec_result_clear(struct qga_exec_result *res);

/**
 * qga_exec() - Run a program in the guest and collect what it says.
 * @g:          Agent.
 * @argv:       Program (looked up in the agent's PATH) and arguments, NULL at
 *              the end. Borrowed.
 * @env:        "NAME=value" strings with NULL at the end, or NULL. Borrowed.
 * @input:      Bytes for its standard input, or NULL.
 * @input_len:  How many.
 * @timeout_ms: For all of it. The program, and what it has started, is killed
 *              when time is up.
 * @ret:        Set to what happened.
 * @e:          Filled on error.
 */
int qga_exec(struct qga *g, const char *const *argv, const char *const *env,
	     const void *input, size_t input_len, int timeout_ms,
	     struct qga_exec_result *ret, struct err *e);

/* The same, and killed when @cancel becomes true: -ECANCELED. */
int qga_exec_until(struct qga *g, const char *const *argv,
		   const char *const *env, const void *input, size_t input_len,
		   int timeout_ms, const atomic_bool *cancel,
		   struct qga_exec_result *ret, struct err *e);

/* Kill a program, and what it has started. Does not wait for its end. */
void qga_exec_kill(struct qga *g, int64_t pid);

/* The two halves of it. -EAGAIN from the second: still running. */
int qga_exec_start(struct qga *g, const char *const *argv,
		   const char *const *env, const void *input, size_t input_len,
		   int timeout_ms, int64_t *ret_pid, struct err *e);
int qga_exec_status(struct qga *g, int64_t pid, int timeout_ms,
		    struct qga_exec_result *ret, struct err *e);

/* Append a guest file to @b; -EFBIG when it has more than @max bytes. Works on
 * /proc and /sys, too. */
int qga_file_read(struct qga *g, const char *path, size_t max, int timeout_ms,
		  struct buf *b, struct err *e);

/* The bytes in an answer to guest-file-read, appended to @b. */
int qga_parse_file(const struct qmp_reply *reply, struct buf *b, struct err *e);

struct qga_iface {
	char name[32];
	char mac[18];      /* "" if it has none */
	char (*addrs)[64]; /* [@nr_addrs] "10.1.2.3/24" */
	size_t nr_addrs;
};

int qga_get_interfaces(struct qga *g, int timeout_ms, struct qga_iface **ret,
		       size_t *ret_nr, struct err *e);
void qga_ifaces_free(struct qga_iface *ifaces, size_t nr);

/* Ask for "powerdown", "halt" or "reboot". Success has no answer: 0 when the
 * request is out and no refusal came within @timeout_ms. */
int qga_shutdown(struct qga *g, const char *mode, int timeout_ms,
		 struct err *e);

/* Filesystems frozen or thawed; the state is asked with qga_fs_is_frozen(). */
int qga_fs_freeze(struct qga *g, int timeout_ms, struct err *e);
int qga_fs_thaw(struct qga *g, int timeout_ms, struct err *e);
int qga_fs_is_frozen(struct qga *g, int timeout_ms, bool *ret, struct err *e);

static inline void qga_free_(struct qga **g)
{
	qga_free(*g);
}

static inline void qga_request_free_(struct qga_request **rq)
{
	qga_request_free(*rq);
}

#define auto_qga         __attribute__((cleanup(qga_free_)))
#define auto_qga_request __attribute__((cleanup(qga_request_free_)))

#endif /* QMP_QGA_H */
