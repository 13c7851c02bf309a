/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs between clone and exec, in the supervisor's own image.
 *
 * The child is not dumpable, so nobody in the container can look into it or
 * trace it, and has closed every descriptor that is not its own before it
 * enters a namespace of the container. It reports over a SOCK_SEQPACKET socket
 * that exec closes: "exec next", then silence, is success.
 */
#ifndef AGENT_SUPERVISOR_CHILD_H
#define AGENT_SUPERVISOR_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "agent/supervisor/rootfs.h"
#include "lib/err.h"

struct spec;

enum child_msg {
	CHILD_HELLO = 'H', /* first word; SCM_CREDENTIALS tell who */
	CHILD_PTY = 'P',   /* with the pty's master */
	CHILD_EXEC = 'X',  /* exec is next */
	CHILD_FAILED = 'E',
};

struct child_report {
	char type; /* enum child_msg */
	int code;  /* negative errno */
	int exit_code;
	char reason[32];
	char message[ERR_MSG_SIZE];
};

/* Everything borrowed from the supervisor, which the child is a copy of. */
struct child {
	const struct rootfs_env *env;
	const struct spec *spec;
	const int *fds;     /* that came with the request */
	const int *cgroups; /* tasks files to enter */
	size_t nr_cgroups;
	int status;           /* end of the report socket */
	int out[2];           /* stdout and stderr; -1: /dev/null */
	int in;               /* stdin; -1: /dev/null */
	struct rlimit nofile; /* what a child should start with */
	/* exec: the container it joins */
	int init_pidfd;
	bool own_pidns;
};

/* In a child with mount (and, unless shared, pid) namespaces of its own. */
_Noreturn void child_container(const struct child *c);
/* In a plain child; makes the real one with CLONE_PARENT. */
_Noreturn void child_exec(const struct child *c);

/* --- parts ---------------------------------------------------------------- */

_Noreturn void child_fail(const struct child *c, const char *reason,
			  int exit_code, const struct err *e);
void child_say(const struct child *c, enum child_msg type, int fd);

struct ids {
	uid_t uid;
	gid_t gid;
	gid_t groups[128];
	size_t nr_groups;
	char home[256]; /* for HOME, when nobody set it */
};

/* Who @spec's user is, by the passwd and group files below "/". */
int user_resolve(const struct spec *spec, struct ids *ret, struct err *e);
/* Parse one file each; exposed for the fuzzer. @name or @uid selects. 0 or
 * -ENOENT. */
int user_find(const char *passwd, const char *name, uid_t uid, struct ids *ret,
	      char *ret_name, size_t size);
int group_find(const char *group, const char *name, gid_t *ret);
void group_members(const char *group, const char *user, struct ids *ids);

/* Become @ids with the capabilities of @spec, and load its filter. */
int cred_drop(const struct child *c, const struct ids *ids, int userns_fd,
	      const void *filter, size_t filter_len, struct err *e);

#endif /* AGENT_SUPERVISOR_CHILD_H */
