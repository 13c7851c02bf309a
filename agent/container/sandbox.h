/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's end of one pod's supervisor (arktos-pod).
 *
 *	sandbox_spawn(&opts, &sb, e);		new pod, or
 *	sandbox_open(run_dir, &sb, e);		adopt one that runs already
 *	sandbox_start(sb, &spec, &proc, &why, e);
 *	... EPOLLIN on sandbox_fd(sb): sandbox_next_event(sb, &ev, e) ...
 *	sandbox_kill(sb, "web", SIGTERM, e);
 *	sandbox_ack(sb, "web", e);		its exit status may be forgotten
 *	sandbox_shutdown(sb, e);		kill everything, supervisor too
 *	sandbox_close(sb);			only the agent's end: the pod
 *stays
 *
 * Threads: events and requests use two connections. sandbox_fd() and
 * sandbox_next_event() belong to one thread (the loop); every other function
 * may be called by any thread at any time, one request is under way at a time
 * (a mutex inside). sandbox_close() needs both sides quiet.
 *
 * Delivery: an exit is kept by the supervisor, and shown by sandbox_list(),
 * until it is acked. Events are hints: after sandbox_open(), and after
 * -ENOBUFS from sandbox_next_event(), list.
 *
 * Time: calls wait for the supervisor's answer, which takes well below 1 ms;
 * sandbox_spawn() and sandbox_start() about 3-10 ms. They give up after 10 s
 * (-ETIMEDOUT), sandbox_shutdown() too.
 */
#ifndef AGENT_CONTAINER_SANDBOX_H
#define AGENT_CONTAINER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/supervisor/proto.h"
#include "lib/auto.h"

struct err;
struct key_values;
struct sandbox;

struct sandbox_opts {
	const char *binary;      /* build/bin/arktos-pod */
	const char *uid;         /* of the pod */
	const char *run_dir;     /* <run>/pods/<uid>; made when missing */
	const char *state_dir;   /* <state>/pods/<uid>; made when missing */
	const char *hostname;    /* NULL: the host's */
	int netns_fd;            /* to live in; -1: the host's network */
	const int *cgroup_tasks; /* of its cgroup: cg_tasks_fds() */
	size_t nr_cgroup_tasks;
	int cgroup_dir; /* > 0: cg_unified_fd(), to be born in */
	bool host_pid, host_ipc;
	uint32_t userns_base;             /* first host id of the pod's range */
	uint32_t userns_size;             /* 0: no user namespace */
	const struct key_values *sysctls; /* namespaced ones; NULL: none */
	uint64_t shm_bytes;               /* of /dev/shm; 0: 64 MiB */
	int oom_score_adj;                /* of the supervisor; 0: as is */
};

/* Numbers and states of one process, as the supervisor knows them. */
struct sandbox_proc {
	char name[PROTO_NAME_MAX + 1];
	char container[PROTO_NAME_MAX + 1]; /* of an exec; else empty */
	enum { PROC_CONTAINER, PROC_EXEC, PROC_HOST } kind;
	enum { PROC_STARTING, PROC_RUNNING, PROC_EXITED } state;
	uint32_t attempt;
	pid_t pid;       /* host's number; 0 once exited or unknown */
	pid_t pod_pid;   /* inside the pod */
	int exit_code;   /* 128 + signal when it was killed */
	int signal;      /* 0, or what killed it */
	bool oom_killed; /* its cgroup ran out of memory meanwhile */
	char reason[32]; /* Completed, Error, OOMKilled, StartError .. */
	char message[320];
	char started_at[40]; /* RFC 3339, UTC; empty while unknown */
	char finished_at[40];
	uint64_t log_dropped; /* bytes of output lost to a full disk */
};

struct sandbox_event {
	enum { SANDBOX_EXIT, SANDBOX_OTHER } kind;
	struct sandbox_proc proc;
};

/* Why a process could not be started, in Kubernetes' words. */
struct sandbox_failure {
	char reason[32]; /* CreateContainerError, RunContainerError, .. */
	int exit_code;   /* 126, 127, 128 */
	char message[320];
};

/* A process spec (agent/supervisor/proto.h) and the descriptors it names. */
struct sandbox_spec {
	char *json;
	size_t len;
	int fds[PROTO_FDS_MAX]; /* borrowed */
	size_t nr_fds;
};

void sandbox_spec_clear(struct sandbox_spec *spec);

/**
 * sandbox_spawn() - Start the supervisor of a new pod.
 * @opts: Borrowed for the call.
 * @ret:  Set on success: owned by the caller, sandbox_close().
 * @e:    Filled on error with what the supervisor could not do and why.
 *
 * The supervisor is no child of the caller: it outlives an agent that ends,
 * crashes or is upgraded, and sandbox_open() finds it again. Killing it kills
 * all of the pod (it is PID 1 there), unless host_pid was asked for.
 *
 * Return: 0, or
 *   -EEXIST  a supervisor of this run_dir is alive: sandbox_open() it
 *   -errno   of the step that failed; nothing is left behind
 */
int sandbox_spawn(const struct sandbox_opts *opts, struct sandbox **ret,
		  struct err *e);

/**
 * sandbox_open() - Adopt the supervisor that serves @run_dir.
 *
 * Return: 0, -ENOENT when there is none (never was, or it is dead; see
 * sandbox_read_exits()), or -errno.
 */
int sandbox_open(const char *run_dir, struct sandbox **ret, struct err *e);
void sandbox_close(struct sandbox *sb);

int sandbox_fd(const struct sandbox *sb);    /* poll for EPOLLIN */
int sandbox_pidfd(const struct sandbox *sb); /* readable when it has died */
pid_t sandbox_pid(const struct sandbox *sb); /* on the host */

/* The next event without waiting. Return: 1 (@ret is set), 0 (none now),
 * -EPIPE (the supervisor has ended), -EBADMSG, or -ENOBUFS (we were too slow,
 * events were lost: list; the connection has been made anew, so has
 * sandbox_fd()). */
int sandbox_next_event(struct sandbox *sb, struct sandbox_event *ret,
		       struct err *e);

/**
 * sandbox_start() - Start a container or host process.
 * @spec:     What to start; from container_build() or host_build(). Borrowed.
 * @ret:      Filled on success; may be NULL.
 * @ret_fail: Filled on -EREMOTEIO; may be NULL.
 *
 * Returns when the program itself runs (execve() has succeeded), or not.
 *
 * Return: 0, or
 *   -EREMOTEIO it cannot run: @ret_fail and @e tell why; nothing is left, and
 *              there is nothing to ack
 *   -EEXIST    a process of that name is there: alive, or not yet acked
 *   -EPIPE     the supervisor has ended
 *   -ETIMEDOUT no answer within 10 s
 */
int sandbox_start(struct sandbox *sb, const struct sandbox_spec *spec,
		  struct sandbox_proc *ret, struct sandbox_failure *ret_fail,
		  struct err *e);

/* A further process in a running container. */
struct sandbox_exec_opts {
	const char *container; /* in which it joins cgroups and namespaces */
	const char *name;      /* NULL: "exec-<n>" is made up */
	const struct sandbox_spec *spec; /* from exec_build() */
	bool tty;
	uint16_t rows, cols;
	int stdio[3]; /* without tty: stdin, stdout, stderr; -1: /dev/null */
};

struct sandbox_exec {
	char name[PROTO_NAME_MAX + 1]; /* for kill and resize */
	int tty_fd;  /* pty master, owned by the caller; -1 without tty */
	int exit_fd; /* owned by the caller: one struct proto_exit, then EOF;
		      * EOF at once when the supervisor died */
};

/* As sandbox_start(); also -ENOENT: no such container is running. The exec is
 * forgotten by the supervisor at its end: there is no event and no ack. */
int sandbox_exec(struct sandbox *sb, const struct sandbox_exec_opts *opts,
		 struct sandbox_exec *ret, struct sandbox_failure *ret_fail,
		 struct err *e);
int sandbox_resize_tty(struct sandbox *sb, const char *name, uint16_t rows,
		       uint16_t cols, struct err *e);

/* Send @signo to the process @name (to its init: the container). -ENOENT: no
 * such process; -ESRCH: it has exited. */
int sandbox_kill(struct sandbox *sb, const char *name, int signo,
		 struct err *e);

/* All processes, in the order they were started. The list is the caller's
 * (free()). */
int sandbox_list(struct sandbox *sb, struct sandbox_proc **ret, size_t *ret_nr,
		 struct err *e);
int sandbox_ack(struct sandbox *sb, const char *name, struct err *e);
int sandbox_reopen_log(struct sandbox *sb, const char *name, struct err *e);

struct sandbox_attach {
	int out[2]; /* stdout and stderr are copied there, until the end; -1 */
	bool in;    /* its stdin or tty is wanted */
	bool once;  /* and no other will be: closing it is its end */
};
/* @ret_in: what to write to, owned by the caller; -1: it has none. */
int sandbox_attach(struct sandbox *sb, const char *name,
		   const struct sandbox_attach *at, int *ret_in, struct err *e);

/* SIGKILL everything, then the supervisor itself; returns when all of it is
 * gone. Also works (by pidfd) on a supervisor that no longer answers. */
int sandbox_shutdown(struct sandbox *sb, struct err *e);

/* Exits that were never acked, from the state directory: for a pod whose
 * supervisor died. 0 entries when there is no file. The list is the caller's
 * (free()). */
int sandbox_read_exits(const char *state_dir, struct sandbox_proc **ret,
		       size_t *ret_nr, struct err *e);

/* --- what the agent prepares for a spec ----------------------------------- */

/* A detached mount of @path beneath @root_fd (AT_FDCWD and "/x": the host's),
 * for a mount's "fd". Resolved so that no symlink and no ".." can lead out of
 * @root_fd, and not again later: nobody can swap it. */
int sandbox_mount_open(int root_fd, const char *path, bool recursive,
		       int *ret_fd, struct err *e);

/* Can pods have user namespaces here, with layers and volumes below @dir
 * idmapped? 0, or why not: the message goes into conditions and doctor. */
int sandbox_userns_probe(const char *dir, struct err *e);

/* Can mounts of a tmpfs map ids, too? Not before Linux 6.3. */
bool sandbox_memory_maps(void);

DEFINE_AUTO_PTR(sandbox, sandbox_close)

#endif /* AGENT_CONTAINER_SANDBOX_H */
