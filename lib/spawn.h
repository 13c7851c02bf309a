/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run another program. No shell, no fork that runs C: the child is made by
 * vfork, sets itself up with system calls only, and executes.
 *
 *	char *argv[] = { "qemu-img", "info", path, NULL };
 *	struct spawn_opts o = { .argv = argv };
 *	struct spawn_result res = SPAWN_RESULT_INIT;
 *
 *	r = spawn_run(&o, &(struct spawn_io){ .timeout_ms = 5000 }, &res, e);
 *	if (r == 0 && res.exit_code == 0) ... buf_str(&res.out)
 *	spawn_result_clear(&res);
 *
 * The child gets 0, 1, 2 and what is mapped, nothing else; default signal
 * handling; an empty signal mask.
 */
#ifndef LIB_SPAWN_H
#define LIB_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/buf.h"

struct err;

#define SPAWN_FDS_MAX 32

struct spawn_fd {
	int from; /* borrowed */
	int to;
};

struct spawn_opts {
	char *const *argv; /* NULL-terminated */
	const char *path;  /* NULL: argv[0], searched in PATH */
	char *const *env;  /* NULL: ours */
	const char *cwd;   /* NULL: ours */
	/* 0, 1 and 2 are /dev/null where not mapped here. */
	const struct spawn_fd *fds;
	size_t nr_fds;
	bool inherit_stdio;          /* ... or ours, when this is set */
	const int *cgroup_procs_fds; /* cgroup.procs files to enter */
	size_t nr_cgroup_procs_fds;
	bool new_session; /* setsid() */
};

struct spawn_child {
	pid_t pid;
	int pidfd; /* owned */
};

/**
 * spawn_start() - Start a program and return at once.
 * @o:   What to start. Borrowed.
 * @ret: The child. Wait with spawn_wait() or ev_child_add(), close the pidfd.
 * @e:   Filled on error: "run 'skopeo': No such file or directory".
 *
 * Failures in the child up to and including execve(2) are reported here.
 *
 * Return: 0 or -errno; then nothing is running.
 */
int spawn_start(const struct spawn_opts *o, struct spawn_child *ret,
		struct err *e);

/* Wait for the child and reap it. 0, or -ETIMEDOUT after @timeout_ms (-1: wait
 * for ever): it still runs then. @ret_status is as of waitpid(2). */
int spawn_wait(struct spawn_child *c, int timeout_ms, int *ret_status,
	       struct err *e);

/* SIGKILL, reap, close. Fine when nothing was started. */
void spawn_kill(struct spawn_child *c);

struct spawn_io {
	const void *in; /* its standard input; NULL: /dev/null */
	size_t in_len;
	size_t out_max; /* bytes of stdout and of stderr kept; 0: 1 MiB */
	int timeout_ms; /* 0: 60 s; -1: for ever */
};

struct spawn_result {
	int exit_code; /* -1 when it was killed */
	int signal;    /* that did it, or 0 */
	struct buf out;
	struct buf err;
};

#define SPAWN_RESULT_INIT   \
	{                   \
		.signal = 0 \
	}

void spawn_result_clear(struct spawn_result *res);

/**
 * spawn_run() - Run a program to its end and keep what it writes.
 *
 * Return: 0 (also when it failed: see @ret), -errno of the start, -ETIMEDOUT
 * (it was killed), or -EFBIG when it writes more than @io->out_max (killed).
 */
int spawn_run(const struct spawn_opts *o, const struct spawn_io *io,
	      struct spawn_result *ret, struct err *e);

/* Turn a result other than exit code 0 into -EREMOTEIO and a message with the
 * last line of stderr. */
int spawn_check(const struct spawn_result *res, const char *name,
		struct err *e);

#endif /* LIB_SPAWN_H */
