// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/image/unpack/monitor.h"
#include "agent/image/unpack/sandbox.h"
#include "agent/image/unpack/verbs.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define MEMORY_BYTES     (512ull << 20)
#define RATIO_FREE_BYTES (64ull << 20)
#define EXEC_CPU_S       30

struct job {
	struct layer_opts layer;
	struct sandbox_limits limits;
	const char *dir;
	const char *digest; /* NULL: any */
	int back;
};

static int parse(char **args, struct job *j, struct err *e)
{
	if (str_to_u64(args[3], &j->layer.max_bytes) < 0 ||
	    str_to_u64(args[4], &j->layer.max_entries) < 0 ||
	    str_to_u64(args[5], &j->layer.max_ratio) < 0 ||
	    str_to_u64(args[6], &j->limits.cpu_s) < 0 ||
	    j->layer.max_ratio == 0)
		return err_set(e, -EINVAL, "a limit is no number");
	j->layer.whiteouts = str_eq(args[0], "oci");
	j->layer.ratio_free_bytes = RATIO_FREE_BYTES;
	j->limits.file_bytes = j->layer.max_bytes;
	j->limits.memory_bytes = MEMORY_BYTES;
	j->dir = args[1];
	j->digest = str_eq(args[2], "-") ? NULL : args[2];
	return 0;
}

static void tell_progress(void *arg, uint64_t bytes)
{
	struct job *j = arg;

	/* Lost progress is no loss. */
	(void)frame_send(j->back, FRAME_PROGRESS, &bytes, sizeof(bytes));
}

static int tell_opaque(void *arg, const char *path, struct err *e)
{
	struct job *j = arg;
	int r = frame_send(j->back, FRAME_OPAQUE, path, strlen(path) + 1);

	return r < 0 ? err_wrap(e, r, "tell of an opaque folder") : 0;
}

/* In the sandbox. Never returns. */
static void unpack(struct job *j, int feed)
{
	struct layer_result result;
	struct err e = { .code = 0 };
	struct tree t;
	int root, r;

	memset(&result, 0, sizeof(result));
	r = layer_prepare(&e);
	if (r == 0)
		r = sandbox_enter(j->dir, &j->limits, &e);
	root = r == 0 ? open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (r == 0 && root < 0)
		r = err_sys(&e, "open the root");
	if (r == 0) {
		j->layer.progress = tell_progress;
		j->layer.arg = j;
		tree_init(&t, root);
		t.arg = j;
		t.opaque = j->layer.whiteouts ? tell_opaque : NULL;
		r = layer_unpack(feed, &t, &j->layer, &result, &e);
		tree_clear(&t);
	}
	if (r == 0)
		(void)frame_send(j->back, FRAME_RESULT, &result,
				 sizeof(result));
	else
		(void)frame_send(j->back, FRAME_ERROR, &e, sizeof(e));
	_exit(r < 0);
}

/* Two pipes and standard error are all it inherits: a descriptor of any folder
 * would be a way out of its root. */
static void run_sandbox(struct job *j, int feed, int back)
{
	if (dup2(feed, STDIN_FILENO) < 0 || dup2(back, STDOUT_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
		_exit(1);
	j->back = STDOUT_FILENO;
	unpack(j, STDIN_FILENO);
}

static int start(struct job *j, struct monitor *m, struct err *e)
{
	int feed[2], back[2];
	int r;

	if (pipe2(feed, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	r = sandbox_fork(&m->child, e);
	if (r < 0)
		return r;
	if (m->child == 0)
		run_sandbox(j, feed[0], back[1]);
	close(feed[0]);
	close(back[1]);
	m->feed = feed[1];
	m->back = back[0];
	if (fcntl(m->feed, F_SETFL, O_NONBLOCK) < 0)
		return err_sys(e, "fcntl");
	return 0;
}

static int run_layer(char **args, struct layer_result *ret,
		     char digest[DIGEST_TEXT_MAX], struct err *e)
{
	struct monitor m = { .archive = STDIN_FILENO, .report = STDOUT_FILENO };
	auto_close int root = -EBADF;
	struct job j = { .back = -EBADF };
	int r = parse(args, &j, e);

	if (r < 0)
		return r;
	root = open(j.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (root < 0)
		return err_sys(e, "open '%s'", j.dir);
	m.root = root;
	r = start(&j, &m, e);
	if (r == 0)
		r = monitor_run(&m, ret, digest, e);
	if (r < 0)
		return r;
	if (j.digest && !str_eq(j.digest, digest))
		return err_set(e, -EBADMSG, "damaged: its digest is %s, not %s",
			       digest, j.digest);
	return 0;
}

/* Go when the agent goes, and write modes as they are meant. */
static void settle(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(0);
}

int verb_layer(char **args)
{
	char digest[DIGEST_TEXT_MAX];
	struct err e = { .code = 0 };
	struct layer_result res;
	int r;

	settle();
	r = run_layer(args, &res, digest, &e);
	if (r < 0)
		dprintf(STDOUT_FILENO, "error %d %s\n", -r, e.msg);
	else
		dprintf(STDOUT_FILENO,
			"ok %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n",
			res.diff_id, res.bytes, res.entries, res.skipped,
			digest);
	return r < 0;
}

int verb_exec(char **args)
{
	struct sandbox_limits l = { .file_bytes = 0,
				    .memory_bytes = MEMORY_BYTES * 2,
				    .cpu_s = EXEC_CPU_S };
	struct err e = { .code = 0 };
	int status = 0, r;
	pid_t pid = -1;

	settle();
	r = sandbox_fork(&pid, &e);
	if (r == 0 && pid == 0) {
		(void)signal(SIGPIPE, SIG_DFL);
		(void)sandbox_exec(args, &l, &e);
		dprintf(STDERR_FILENO, "%s\n", e.msg);
		_exit(127);
	}
	if (r < 0) {
		dprintf(STDERR_FILENO, "%s\n", e.msg);
		return 127;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

int verb_tether(char **args)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	execvp(args[0], args);
	dprintf(STDERR_FILENO, "execute '%s': %s\n", args[0], strerror(errno));
	return 127;
}
