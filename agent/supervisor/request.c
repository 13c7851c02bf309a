// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "agent/supervisor/request.h"
#include "lib/err.h"
#include "lib/str.h"

/*
 * Reads members one after the other; the first failure stays. That keeps the
 * parser a plain list of members.
 */
struct reader {
	yyjson_val *obj;
	size_t nr_fds;
	struct err *e;
	int r;
};

static void bad(struct reader *rd, const char *key, const char *want)
{
	if (rd->r == 0)
		rd->r = err_set(rd->e, -EINVAL, "request: %s: must be %s", key,
				want);
}

static yyjson_val *member(struct reader *rd, const char *key)
{
	yyjson_val *v = yyjson_obj_get(rd->obj, key);

	return rd->r || !v || yyjson_is_null(v) ? NULL : v;
}

static bool plain(yyjson_val *v)
{
	return yyjson_is_str(v) &&
	       strlen(yyjson_get_str(v)) == yyjson_get_len(v);
}

static const char *get_str(struct reader *rd, const char *key)
{
	yyjson_val *v = member(rd, key);

	if (v && !plain(v)) {
		bad(rd, key, "a string without NUL");
		return NULL;
	}
	return v ? yyjson_get_str(v) : NULL;
}

static const char *get_path(struct reader *rd, const char *key)
{
	const char *s = get_str(rd, key);

	if (s && s[0] != '/')
		bad(rd, key, "an absolute path");
	return s;
}

static bool get_bool(struct reader *rd, const char *key)
{
	yyjson_val *v = member(rd, key);

	if (v && !yyjson_is_bool(v))
		bad(rd, key, "true or false");
	return yyjson_get_bool(v);
}

static bool get_int(struct reader *rd, const char *key, int64_t min,
		    int64_t max, int64_t *ret)
{
	yyjson_val *v = member(rd, key);
	int64_t n;

	if (!v)
		return false;
	n = yyjson_get_sint(v);
	if (!yyjson_is_int(v) ||
	    (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX) || n < min ||
	    n > max) {
		bad(rd, key, "a number in its range");
		return false;
	}
	*ret = n;
	return true;
}

static int64_t get_num(struct reader *rd, const char *key, int64_t max,
		       int64_t missing)
{
	(void)get_int(rd, key, 0, max, &missing);
	return missing;
}

static uint64_t get_mask(struct reader *rd, const char *key)
{
	const char *s = get_str(rd, key);
	uint64_t mask = 0;

	if (!s)
		return 0;
	if (!*s || strlen(s) > 16 || s[strspn(s, "0123456789abcdef")]) {
		bad(rd, key, "up to 16 hexadecimal digits");
		return 0;
	}
	for (; *s; s++)
		mask = mask << 4 |
		       (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return mask;
}

static int fd_index(struct reader *rd, const char *key, yyjson_val *v)
{
	if (!yyjson_is_uint(v) || yyjson_get_uint(v) >= rd->nr_fds) {
		bad(rd, key, "the index of a descriptor sent along");
		return FD_NONE;
	}
	return (int)yyjson_get_uint(v);
}

static int get_fd(struct reader *rd, const char *key)
{
	yyjson_val *v = member(rd, key);

	return v ? fd_index(rd, key, v) : FD_NONE;
}

static yyjson_val *get_arr(struct reader *rd, const char *key, size_t max)
{
	yyjson_val *v = member(rd, key);

	if (v && (!yyjson_is_arr(v) || yyjson_arr_size(v) > max)) {
		bad(rd, key, "a list, and not that long");
		return NULL;
	}
	return v;
}

static void get_fds(struct reader *rd, const char *key, struct spec_fds *ret)
{
	yyjson_val *arr = get_arr(rd, key, PROTO_FDS_MAX), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	while ((v = yyjson_arr_iter_next(&it)))
		ret->v[ret->nr++] = fd_index(rd, key, v);
}

static void *alloc(struct reader *rd, size_t nr, size_t size)
{
	void *p = calloc(nr, size);

	if (!p && rd->r == 0)
		rd->r = err_set(rd->e, -ENOMEM, "out of memory");
	return p;
}

static void get_list(struct reader *rd, const char *key, size_t max,
		     bool absolute, struct spec_list *ret)
{
	yyjson_val *arr = get_arr(rd, key, max), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	if (rd->r)
		return;
	ret->v = alloc(rd, yyjson_arr_size(arr) + 1, sizeof(*ret->v));
	while (ret->v && (v = yyjson_arr_iter_next(&it))) {
		if (!plain(v) || (absolute && *yyjson_get_str(v) != '/')) {
			bad(rd, key,
			    absolute ? "a list of absolute paths"
				     : "a list of strings without NUL");
			return;
		}
		ret->v[ret->nr++] = yyjson_get_str(v);
	}
}

/* A name becomes part of file names and log lines: nothing else gets in. */
static const char *get_name(struct reader *rd, const char *key, bool required)
{
	const char *s = get_str(rd, key);

	if (s ? strlen(s) > PROTO_NAME_MAX || !str_is_dns_label(s) : required)
		bad(rd, key, "a name (lower case letters, digits, '-')");
	return s;
}

static void read_groups(struct reader *rd, struct spec *s)
{
	yyjson_val *arr = get_arr(rd, "groups", PROTO_GROUPS_MAX), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	while ((v = yyjson_arr_iter_next(&it))) {
		if (!yyjson_is_uint(v) || yyjson_get_uint(v) >= UINT32_MAX)
			bad(rd, "groups", "a list of group ids");
		s->groups[s->nr_groups++] = (gid_t)yyjson_get_uint(v);
	}
}

static void read_rlimits(struct reader *rd, struct spec *s)
{
	yyjson_val *arr = get_arr(rd, "rlimits", ARRAY_LEN(s->rlimits)), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	while ((v = yyjson_arr_iter_next(&it))) {
		struct spec_rlimit *l = &s->rlimits[s->nr_rlimits++];
		struct reader in = *rd;

		in.obj = v;
		l->type = (int)get_num(&in, "type", 15, 15);
		l->soft = (uint64_t)get_num(&in, "soft", INT64_MAX, INT64_MAX);
		l->hard = (uint64_t)get_num(&in, "hard", INT64_MAX, INT64_MAX);
		rd->r = in.r;
		if (l->soft > l->hard)
			bad(rd, "rlimits", "soft <= hard");
	}
}

static enum idmap get_idmap(struct reader *rd)
{
	const char *s = get_str(rd, "idmap");

	if (!s || str_eq(s, "no"))
		return IDMAP_NO;
	if (str_eq(s, "try"))
		return IDMAP_TRY;
	if (!str_eq(s, "must"))
		bad(rd, "idmap", "no, try or must");
	return IDMAP_MUST;
}

static void read_mount(struct reader *rd, struct spec_mount *m)
{
	const char *type = get_str(rd, "type");

	m->dest = get_path(rd, "dest");
	m->path = get_path(rd, "path");
	m->fd = get_fd(rd, "fd");
	m->ro = get_bool(rd, "ro");
	m->noexec = get_bool(rd, "noexec");
	m->idmap = get_idmap(rd);
	m->size = (uint64_t)get_num(rd, "size", INT64_MAX, 0);
	if (type && !str_eq(type, "tmpfs"))
		bad(rd, "mounts: type", "tmpfs");
	if (!m->dest)
		bad(rd, "mounts: dest", "given");
	if ((type != NULL) + (m->path != NULL) + (m->fd != FD_NONE) != 1)
		bad(rd, "mounts", "one of path, fd and type each");
}

static void read_mounts(struct reader *rd, struct spec *s)
{
	yyjson_val *arr = get_arr(rd, "mounts", PROTO_MOUNTS_MAX), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	if (!arr)
		return;
	s->mounts = alloc(rd, yyjson_arr_size(arr) + 1, sizeof(*s->mounts));
	while (s->mounts && (v = yyjson_arr_iter_next(&it))) {
		struct reader in = *rd;

		in.obj = v;
		read_mount(&in, &s->mounts[s->nr_mounts++]);
		rd->r = in.r;
	}
}

static void read_symlinks(struct reader *rd, struct spec *s)
{
	yyjson_val *arr = get_arr(rd, "symlinks", 64), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(arr);

	if (!arr)
		return;
	s->symlinks = alloc(rd, yyjson_arr_size(arr) + 1, sizeof(*s->symlinks));
	while (s->symlinks && (v = yyjson_arr_iter_next(&it))) {
		struct spec_symlink *l = &s->symlinks[s->nr_symlinks++];
		struct reader in = *rd;

		in.obj = v;
		l->path = get_path(&in, "path");
		l->target = get_str(&in, "target");
		rd->r = in.r;
		if (!l->path || !l->target)
			bad(rd, "symlinks", "pairs of path and target");
	}
}

static void read_ids(struct reader *rd, struct spec *s)
{
	int64_t n;

	s->user = get_str(rd, "user");
	s->has_uid = get_int(rd, "uid", 0, UINT32_MAX - 1, &n);
	s->uid = s->has_uid ? (uid_t)n : 0;
	s->has_gid = get_int(rd, "gid", 0, UINT32_MAX - 1, &n);
	s->gid = s->has_gid ? (gid_t)n : 0;
	read_groups(rd, s);
	s->umask = (mode_t)get_num(rd, "umask", 0777, 022);
	s->caps = get_mask(rd, "caps");
	s->ambient = get_mask(rd, "ambient");
	s->no_new_privs = get_bool(rd, "noNewPrivs");
	s->seccomp = get_fd(rd, "seccomp");
	read_rlimits(rd, s);
	s->has_oom_score_adj = get_int(rd, "oomScoreAdj", -1000, 1000, &n);
	s->oom_score_adj = s->has_oom_score_adj ? (int)n : 0;
}

static void read_root(struct reader *rd, struct spec *s)
{
	get_list(rd, "layers", PROTO_LAYERS_MAX, true, &s->layers);
	s->rw = get_path(rd, "rw");
	s->userxattr = get_bool(rd, "userxattr");
	s->read_only_root = get_bool(rd, "readOnlyRoot");
	s->privileged = get_bool(rd, "privileged");
	s->share_pid = get_bool(rd, "sharePid");
	read_mounts(rd, s);
	read_symlinks(rd, s);
	get_list(rd, "devices", 64, true, &s->devices);
	get_list(rd, "masked", 64, true, &s->masked);
	get_list(rd, "readOnlyPaths", 64, true, &s->read_only_paths);
	if (s->kind == KIND_CONTAINER && !s->layers.nr)
		bad(rd, "layers", "given");
	if (s->kind != KIND_CONTAINER && s->layers.nr)
		bad(rd, "layers", "absent");
}

static void read_stdio(struct reader *rd, struct spec *s)
{
	struct spec_fds three = { .nr = 0 };

	s->tty = get_bool(rd, "tty");
	s->with_stdin = get_bool(rd, "stdin");
	s->rows = (uint16_t)get_num(rd, "rows", 10000, 0);
	s->cols = (uint16_t)get_num(rd, "cols", 10000, 0);
	s->log = get_path(rd, "log");
	s->log_max = (uint64_t)get_num(rd, "logMax", INT64_MAX, PROTO_LOG_MAX);
	s->log_keep = (uint32_t)get_num(rd, "logKeep", 100, PROTO_LOG_KEEP);
	if (s->log_max < 4096)
		bad(rd, "logMax", "4096 at least");
	get_fds(rd, "fds", &s->fds);
	get_fds(rd, "stdio", &three);
	if (three.nr != 0 && three.nr != 3)
		bad(rd, "stdio", "three descriptors");
	for (size_t i = 0; i < 3; i++)
		s->stdio[i] = three.nr == 3 ? three.v[i] : FD_NONE;
	s->exit_fd = get_fd(rd, "exit");
}

static void read_spec(struct reader *rd, struct spec *s, bool exec)
{
	const char *kind = get_str(rd, "kind");

	if (exec)
		s->kind = KIND_EXEC;
	else if (!kind || str_eq(kind, "container"))
		s->kind = KIND_CONTAINER;
	else if (str_eq(kind, "host"))
		s->kind = KIND_HOST;
	else
		bad(rd, "kind", "container or host");
	s->name = get_name(rd, "name", true);
	s->attempt = (uint32_t)get_num(rd, "attempt", UINT32_MAX, 0);
	get_list(rd, "argv", PROTO_ARGS_MAX, false, &s->argv);
	get_list(rd, "env", PROTO_ARGS_MAX, false, &s->env);
	if (!s->argv.nr)
		bad(rd, "argv", "given, and not empty");
	s->cwd = get_path(rd, "cwd");
	read_ids(rd, s);
	get_fds(rd, "cgroups", &s->cgroups);
	if (s->cgroups.nr > 16)
		bad(rd, "cgroups", "16 hierarchies at most");
	s->cgroup_dir = get_fd(rd, "cgroupDir");
	s->oom = get_fd(rd, "oom");
	read_root(rd, s);
	read_stdio(rd, s);
}

static void read_attach(struct reader *rd, struct request *req)
{
	struct spec_fds two = { .nr = 0 };

	get_fds(rd, "out", &two);
	if (two.nr > 2)
		bad(rd, "out", "two descriptors at most");
	for (size_t i = 0; i < 2; i++)
		req->out[i] = i < two.nr ? two.v[i] : FD_NONE;
	req->in = get_bool(rd, "in");
	req->once = get_bool(rd, "once");
}

static void get_op(struct reader *rd, enum op *ret)
{
	static const char *const names[] = {
		[OP_HELLO] = "hello",       [OP_SUBSCRIBE] = "subscribe",
		[OP_LIST] = "list",         [OP_START] = "start",
		[OP_EXEC] = "exec",         [OP_KILL] = "kill",
		[OP_RESIZE] = "resize",     [OP_ATTACH] = "attach",
		[OP_ACK] = "ack",           [OP_REOPEN] = "reopen",
		[OP_SHUTDOWN] = "shutdown",
	};
	const char *s = get_str(rd, "op");

	for (size_t i = 0; s && i < ARRAY_LEN(names); i++) {
		if (str_eq(s, names[i])) {
			*ret = (enum op)i;
			return;
		}
	}
	bad(rd, "op", "one of the operations in proto.h");
}

static void read_request(struct reader *rd, struct request *req)
{
	struct reader in = *rd;
	bool by_name;

	get_op(rd, &req->op);
	by_name = req->op == OP_KILL || req->op == OP_RESIZE ||
		  req->op == OP_ATTACH || req->op == OP_ACK ||
		  req->op == OP_REOPEN;
	req->name = get_name(rd, "name", by_name);
	req->container = get_name(rd, "container", req->op == OP_EXEC);
	req->signal = (int)get_num(rd, "signal", 64, SIGTERM);
	req->rows = (uint16_t)get_num(rd, "rows", 10000, 0);
	req->cols = (uint16_t)get_num(rd, "cols", 10000, 0);
	read_attach(rd, req);
	if (rd->r || (req->op != OP_START && req->op != OP_EXEC))
		return;
	in.obj = member(rd, "spec");
	if (!yyjson_is_obj(in.obj)) {
		bad(rd, "spec", "an object");
		return;
	}
	req->spec = alloc(&in, 1, sizeof(*req->spec));
	if (req->spec)
		read_spec(&in, req->spec, req->op == OP_EXEC);
	rd->r = in.r;
}

/* yyjson itself stops at no depth; it does not recurse either, but we say no
 * before anybody after us might. */
static bool too_deep(const char *text, size_t len)
{
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			i += c == '\\';
			in_string = c != '"';
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > PROTO_DEPTH_MAX)
				return true;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return false;
}

int request_parse(const char *text, size_t len, size_t nr_fds,
		  struct request **ret, uint64_t *ret_id, struct err *e)
{
	auto_ptr(request) req = calloc(1, sizeof(*req));
	struct reader rd = { .nr_fds = nr_fds, .e = e };

	*ret_id = 0;
	if (!req)
		return err_set(e, -ENOMEM, "out of memory");
	if (len > PROTO_BODY_MAX)
		return err_set(e, -E2BIG, "request: %zu bytes, %d are allowed",
			       len, PROTO_BODY_MAX);
	if (too_deep(text, len))
		return err_set(e, -E2BIG, "request: nested too deeply");
	req->doc = yyjson_read(text, len, YYJSON_READ_NOFLAG);
	rd.obj = yyjson_doc_get_root(req->doc);
	if (!yyjson_is_obj(rd.obj))
		return err_set(e, -EBADMSG, "request: not a JSON object");
	req->id = (uint64_t)get_num(&rd, "id", INT64_MAX, 0);
	*ret_id = req->id;
	read_request(&rd, req);
	if (rd.r < 0)
		return rd.r;
	*ret = take_ptr(req);
	return 0;
}

static void spec_free(struct spec *s)
{
	if (!s)
		return;
	free(s->argv.v);
	free(s->env.v);
	free(s->layers.v);
	free(s->devices.v);
	free(s->masked.v);
	free(s->read_only_paths.v);
	free(s->mounts);
	free(s->symlinks);
	free(s);
}

void request_free(struct request *req)
{
	if (!req)
		return;
	spec_free(req->spec);
	yyjson_doc_free(req->doc);
	free(req);
}
