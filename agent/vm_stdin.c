// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/vm/vm.h"
#include "agent/vm_stdin.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define PIECE     (1024 * 1024) /* of one call of the guest's agent */
#define REMOVE_MS 10000

struct run {
	struct pod *pod;
	int timeout_ms;
	const atomic_bool *cancel;
};

/* Each call for itself: the worker must get at the VM in between. */
static int call(const struct run *r, const char *const *argv,
		const struct buf *input, struct qga_exec_result *ret,
		struct err *e)
{
	int code;

	pthread_rwlock_rdlock(&r->pod->handles);
	code = r->pod->vm ? vm_exec(r->pod->vm, argv, NULL,
				    input ? input->data : NULL,
				    input ? input->len : 0, r->timeout_ms,
				    r->cancel, ret, e)
			  : err_set(e, -ESTALE, "the VM is not running");
	pthread_rwlock_unlock(&r->pod->handles);
	return code;
}

/* A step on the way: it has to succeed. */
static int step(const struct run *r, const char *const *argv,
		const struct buf *input, char **ret_line, struct err *e)
{
	struct qga_exec_result res = { 0 };
	int code = call(r, argv, input, &res, e);

	if (code < 0)
		return err_wrap(e, code,
				"standard input of more than 1 MiB goes "
				"through a file of the guest");
	if (!res.exited || res.code) {
		const char *why = res.err_out ? res.err_out : "";

		code = err_set(e, -EIO,
			       "standard input of more than 1 MiB goes through "
			       "a file of the guest, which failed there: %.*s",
			       (int)strcspn(why, "\n"), why);
	} else if (ret_line) {
		*ret_line = strndup(res.out, strcspn(res.out, "\n"));
		if (!*ret_line)
			code = err_set(e, -ENOMEM, "out of memory");
	}
	qga_exec_result_clear(&res);
	return code;
}

/* The next piece; empty at the end. */
static int read_piece(int fd, struct buf *b, struct err *e)
{
	ssize_t n;
	char *to;

	buf_reset(b);
	while (b->len < PIECE) {
		to = buf_reserve(b, PIECE - b->len);
		if (!to)
			return err_set(e, -ENOMEM, "out of memory");
		n = read(fd, to, PIECE - b->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read the standard input");
		if (n == 0)
			break;
		buf_commit(b, (size_t)n);
	}
	return 0;
}

/* @b is full: all of it, and what follows, into "in" of the folder @dir. */
static int store(const struct run *r, int in_fd, const char *dir, struct buf *b,
		 struct err *e)
{
	const char *const append[] = { "/bin/sh", "-c", "cat >>\"$0/in\"", dir,
				       NULL };
	int code = 0;

	while (code == 0 && b->len) {
		code = step(r, append, b, NULL, e);
		if (code == 0)
			code = read_piece(in_fd, b, e);
	}
	return code;
}

static int run_stored(const struct run *r, const char *dir,
		      const char *const *argv, struct qga_exec_result *ret,
		      struct err *e)
{
	auto_free const char **with = NULL;
	size_t nr = 0;

	while (argv[nr])
		nr++;
	with = calloc(nr + 5, sizeof(*with));
	if (!with)
		return err_set(e, -ENOMEM, "out of memory");
	with[0] = "/bin/sh";
	with[1] = "-c";
	with[2] = "exec 3<\"$0/in\" && rm -rf \"$0\" && exec \"$@\" <&3 3<&-";
	with[3] = dir;
	memcpy(with + 4, argv, nr * sizeof(*with));
	return call(r, with, NULL, ret, e);
}

static int run_large(const struct run *r, int in_fd, const char *const *argv,
		     struct buf *b, struct qga_exec_result *ret, struct err *e)
{
	static const char *const make[] = { "mktemp", "-d",
					    "/tmp/arktos-stdin.XXXXXX", NULL };
	const struct run last = { r->pod, REMOVE_MS, NULL };
	auto_free char *dir = NULL;
	int code = step(r, make, NULL, &dir, e);

	if (code < 0)
		return code;
	code = store(r, in_fd, dir, b, e);
	if (code == 0)
		code = run_stored(r, dir, argv, ret, e);
	if (code < 0) { /* else the command's shell has removed it */
		const char *const rm[] = { "rm", "-rf", dir, NULL };
		struct qga_exec_result res = { 0 };

		if (call(&last, rm, NULL, &res, NULL) == 0)
			qga_exec_result_clear(&res);
	}
	return code;
}

int vm_run(struct pod *pod, int in_fd, const char *const *argv, int timeout_ms,
	   const atomic_bool *cancel, struct qga_exec_result *ret,
	   struct err *e)
{
	const struct run r = { pod, timeout_ms, cancel };
	auto_buf struct buf b = BUF_INIT;
	int code = in_fd >= 0 ? read_piece(in_fd, &b, e) : 0;

	if (code < 0)
		return code;
	return b.len < PIECE ? call(&r, argv, &b, ret, e)
			     : run_large(&r, in_fd, argv, &b, ret, e);
}
