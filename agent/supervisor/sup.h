/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor itself: one loop, its clients, its processes.
 *
 *	main -> opts_parse -> boot (namespaces, PID 1) -> server_run
 */
#ifndef AGENT_SUPERVISOR_SUP_H
#define AGENT_SUPERVISOR_SUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "agent/supervisor/child.h"
#include "agent/supervisor/logs.h"
#include "agent/supervisor/proto.h"
#include "agent/supervisor/request.h"
#include "agent/supervisor/rootfs.h"

struct buf;
struct err;
struct yyjson_mut_doc;
struct yyjson_mut_val;

#define OPTS_FDS_MAX     16
#define OPTS_SYSCTLS_MAX 32

struct opts {
	const char *uid, *run_dir, *state_dir, *hostname;
	int netns_fd; /* -1: stay */
	int ready_fd; /* where boot() reports to */
	int cgroup_fds[OPTS_FDS_MAX];
	size_t nr_cgroup_fds;
	int cgroup_dir; /* v2: to be born in; -1: none */
	bool host_pid, host_ipc;
	uint32_t userns_base, userns_size;
	uint64_t shm_bytes;
	const char *sysctls[OPTS_SYSCTLS_MAX]; /* "net.core.somaxconn=1024" */
	size_t nr_sysctls;
	bool has_oom_score_adj;
	int oom_score_adj;
};

int opts_parse(struct opts *o, int argc, char **argv, struct err *e);

/* Something the loop waits for. */
struct watch {
	int fd; /* -1: not waited for */
	void (*ready)(struct watch *w);
};

#define watch_owner(w, type, member) \
	((type *)((char *)(w)-offsetof(type, member)))

struct sup;

struct client {
	struct client *next;
	struct sup *sup;
	struct watch watch; /* owns the socket */
	bool subscribed;
	bool gone; /* to be freed when the loop is back at its top */
};

struct out {
	struct proc *proc;
	struct watch watch;
	struct stream stream;
};

struct proc {
	struct proc *next;
	struct sup *sup;
	char name[PROTO_NAME_MAX + 1];
	char container[PROTO_NAME_MAX + 1];
	enum proc_kind kind;
	enum { STATE_STARTING, STATE_RUNNING, STATE_EXITED } state;
	uint32_t attempt;
	pid_t pid, host_pid; /* 0 when gone */
	pid_t helper;        /* makes the real child of an exec; 0 when gone */
	int pidfd;
	bool own_pidns;
	uint64_t mntns; /* inode; how its processes are told from others' */
	int cgroups[OPTS_FDS_MAX];
	size_t nr_cgroups;
	int cgroup_dir, oom_fd, tty_fd, stdin_fd, exit_fd;
	uint64_t oom_before;
	struct logfile log;
	struct out out[2];
	struct watch status;
	bool exec_next; /* the child has said so */
	bool failed;
	struct child_report report;
	struct client *waiter; /* of the start's reply; may be NULL */
	uint64_t request_id;
	bool oom_killed;
	int exit_code, signal;
	char started[TIME_TEXT], finished[TIME_TEXT];
};

struct tap;

struct sup {
	const struct opts *opts;
	struct tap *taps; /* whoever is attached to processes */
	struct rootfs_env env;
	struct rlimit nofile; /* as we were given it */
	int state_fd;
	int epoll;
	struct watch listener, signals;
	struct client *clients;
	struct proc *procs; /* in the order of their start */
	size_t nr_procs, nr_clients;
	bool stopping;
	struct client *stop_waiter;
	uint64_t stop_request;
};

/* boot.c: become PID 1 of a new pod. Returns only in there (0), or failed. */
/* Execute this program again from a mount that nobody can write through.
 * 0: that has been done. */
int boot_seal(char **argv, struct err *e);
/* forker.c: fork what is asked for on socket @fd, until its other end closes,
 * without the mounts below @pods.
 * @argv is this program's, and overwritten. In a copy: the number of words of
 * its command line, which @argv is then. In the forker: 0 at the end, or
 * -errno. */
int forker_run(int fd, const char *pods, char ***argv, struct err *e);
int boot(struct sup *sup, const struct opts *o, struct err *e);
/* userns.c */
int userns_make(uint32_t base, uint32_t size, int *ret_fd, struct err *e);
pid_t pidfd_host_pid(int pidfd);

/* server.c */
int server_run(struct sup *sup, struct err *e);
int watch_add(struct sup *sup, struct watch *w, int fd,
	      void (*ready)(struct watch *w));
/* Wait for these events instead of input; errors are always told. */
int watch_set(struct sup *sup, struct watch *w, uint32_t events);
void watch_del(struct sup *sup, struct watch *w);
void client_drop(struct client *c);
/* Takes @doc. @fd is sent along unless it is -1; borrowed. */
void client_send(struct client *c, struct yyjson_mut_doc *doc, int fd);

/* reply.c */
struct yyjson_mut_doc *reply_ok(uint64_t id);
struct yyjson_mut_doc *reply_error(uint64_t id, const char *reason,
				   int exit_code, const struct err *e);
void reply_add_proc(struct yyjson_mut_doc *doc, struct yyjson_mut_val *to,
		    const char *key, const struct proc *p);
void reply_refuse(struct client *c, uint64_t id, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void event_exit(struct sup *sup, const struct proc *p);
/* Rewrite exits.json from what is not acked. */
int exits_write(struct sup *sup, struct err *e);

/* ops.c: carry out one request; @fds stay the caller's. */
void op_run(struct client *c, const struct request *req, const int *fds);

/* tap.c */
int tap_add(struct out *o, int fd, struct err *e); /* @fd is borrowed */
/* To all that are attached; true: somebody is behind, read no more before
 * out_resume() is called. */
bool taps_write(struct out *o, const char *data, size_t len);
void taps_end(struct out *o);

/* proc.c */
void out_resume(struct out *o);
struct proc *proc_find(struct sup *sup, const char *name);
int proc_start(struct sup *sup, struct client *c, const struct request *req,
	       const int *fds, struct err *e);
void proc_signal(struct proc *p, int signo);
void proc_forget(struct proc *p);
/* After SIGCHLD: reap everything that has ended. */
void procs_reap(struct sup *sup);
void proc_kill_all(struct sup *sup);
uint64_t oom_count(int fd);

#endif /* AGENT_SUPERVISOR_SUP_H */
