/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the agent, parsed. Pure; the format is in proto.h. */
#ifndef AGENT_SUPERVISOR_REQUEST_H
#define AGENT_SUPERVISOR_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/supervisor/proto.h"
#include "lib/auto.h"

struct err;
struct yyjson_doc;

enum op {
	OP_HELLO,
	OP_SUBSCRIBE,
	OP_LIST,
	OP_START,
	OP_EXEC,
	OP_KILL,
	OP_RESIZE,
	OP_ATTACH,
	OP_ACK,
	OP_REOPEN,
	OP_SHUTDOWN,
};

enum idmap { IDMAP_NO, IDMAP_TRY, IDMAP_MUST };
enum proc_kind { KIND_CONTAINER, KIND_EXEC, KIND_HOST };

#define FD_NONE (-1) /* an index that names no descriptor */

struct spec_mount {
	const char *dest;
	const char *path; /* or */
	int fd;           /* index; or neither: a tmpfs of size bytes */
	uint64_t size;
	bool ro, noexec;
	enum idmap idmap;
};

struct spec_symlink {
	const char *path, *target;
};

struct spec_rlimit {
	int type;
	uint64_t soft, hard;
};

struct spec_list {
	const char **v; /* NULL-terminated */
	size_t nr;
};

struct spec_fds {
	int v[PROTO_FDS_MAX];
	size_t nr;
};

/* One process to start. Strings point into the request's document; members
 * that name descriptors hold indices. */
struct spec {
	enum proc_kind kind;
	const char *name;
	uint32_t attempt;
	struct spec_list argv, env;
	const char *cwd, *user;
	bool has_uid, has_gid;
	uid_t uid;
	gid_t gid;
	gid_t groups[PROTO_GROUPS_MAX];
	size_t nr_groups;
	mode_t umask;
	uint64_t caps, ambient;
	bool no_new_privs;
	int seccomp;
	struct spec_rlimit rlimits[16];
	size_t nr_rlimits;
	bool has_oom_score_adj;
	int oom_score_adj;
	bool tty, with_stdin;
	uint16_t rows, cols;
	struct spec_fds cgroups;
	int cgroup_dir, oom;
	struct spec_list layers;
	const char *rw;
	bool read_only_root, privileged, share_pid, userxattr;
	struct spec_mount *mounts;
	size_t nr_mounts;
	struct spec_list devices, masked, read_only_paths;
	struct spec_symlink *symlinks;
	size_t nr_symlinks;
	const char *log;
	uint64_t log_max;
	uint32_t log_keep;
	struct spec_fds fds;
	int stdio[3];
	int exit_fd;
};

struct request {
	uint64_t id; /* 0 while not even that could be read */
	enum op op;
	const char *name, *container;
	int signal;
	bool group;
	uint16_t rows, cols;
	int out[2]; /* OP_ATTACH: indices; FD_NONE: not wanted */
	bool in, once;
	struct spec *spec; /* OP_START, OP_EXEC */
	struct yyjson_doc *doc;
};

/**
 * request_parse() - Read one request.
 * @text:   JSON. Borrowed for the call.
 * @len:    At most %PROTO_BODY_MAX.
 * @nr_fds: Descriptors that came with it: every index is below.
 * @ret:    Set on success, owned by the caller.
 * @ret_id: Set to the request's id as soon as it is known, so that a refusal
 *          finds its way; else 0.
 * @e:      Filled on error, naming the member.
 *
 * Return: 0, -EBADMSG (no JSON, no request), -EINVAL (a member is wrong),
 * -E2BIG, -ENOMEM.
 */
int request_parse(const char *text, size_t len, size_t nr_fds,
		  struct request **ret, uint64_t *ret_id, struct err *e);
void request_free(struct request *req);
DEFINE_AUTO_PTR(request, request_free)

#endif /* AGENT_SUPERVISOR_REQUEST_H */
