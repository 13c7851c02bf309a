// SPDX-License-Identifier: Apache-2.0
/*
 * What only one agent may work on at a time: a state folder, a run folder, and
 * the links of a network namespace. A second one would take all pods of the
 * first for leftovers of a crash, and remove them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define TRIES    60
#define PAUSE_MS 50

enum { CLAIM_STATE, CLAIM_RUN, CLAIM_NETNS };

/* A file is removed by who holds it: what was locked may be gone. */
static bool still_there(int fd, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat(path, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* -EBUSY: @ret_pid is who has it, 0 if that is not known. */
static int try_lock(const char *path, int *ret_fd, int *ret_pid, struct err *e)
{
	auto_close int fd =
		open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	char text[16] = "";

	*ret_pid = 0;
	if (fd < 0)
		return err_sys(e, "open '%s'", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, "lock '%s'", path);
		if (pread(fd, text, sizeof(text) - 1, 0) > 0)
			*ret_pid = atoi(text);
		return -EBUSY;
	}
	if (!still_there(fd, path))
		return -EBUSY;
	(void)ftruncate(fd, 0);
	(void)dprintf(fd, "%d\n", (int)getpid());
	*ret_fd = take_fd(&fd);
	return 0;
}

/* One that was just killed may take a moment to be gone. */
static int lock(const char *path, int *ret_fd, int *ret_pid, struct err *e)
{
	int r = try_lock(path, ret_fd, ret_pid, e);

	for (int i = 0; r == -EBUSY && i < TRIES; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		r = try_lock(path, ret_fd, ret_pid, e);
	}
	return r;
}

static int claim_folder(const char *dir, const char *file, const char *option,
			int *ret_fd, struct err *e)
{
	auto_free char *path = str_printf("%s/%s", dir, file);
	int r, pid;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	r = lock(path, ret_fd, &pid, e);
	if (r == -EBUSY)
		return err_set(e, r,
			       "another agent (pid %d) works on '%s'; stop it, "
			       "or use another %s",
			       pid, dir, option);
	return r;
}

static char *netns_path(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return NULL;
	return str_printf("/run/arktos-netns-%ju.lock", (uintmax_t)st.st_ino);
}

static int claim_netns(int *ret_fd, struct err *e)
{
	auto_free char *path = netns_path();
	int r, pid;

	if (!path)
		return err_sys(e, "look at '/proc/self/ns/net'");
	r = lock(path, ret_fd, &pid, e);
	if (r == -EBUSY)
		return err_set(e, r,
			       "another agent (pid %d) has its links in this "
			       "network namespace; stop it, or use another one, "
			       "as by 'unshare -n'",
			       pid);
	return r;
}

static int make_folder(const char *dir, mode_t mode, const char *option,
		       struct err *e)
{
	struct err why = { 0 };
	int r = fs_mkdirs(dir, mode, &why);

	return r < 0 ? err_set(e, r, "%s: name another folder with %s", why.msg,
			       option)
		     : 0;
}

int claim_take(struct agent *a, struct err *e)
{
	const struct agent_opts *o = &a->opts;
	int r;

	r = make_folder(o->state_dir, 0711, "--state-dir", e);
	if (r == 0)
		r = make_folder(o->run_dir, 0711, "--run-dir", e);
	if (r == 0)
		r = make_folder(o->log_dir, 0755, "--log-dir", e);
	if (r == 0)
		r = claim_folder(o->state_dir, "agent.lock", "--state-dir",
				 &a->claims[CLAIM_STATE], e);
	if (r == 0)
		r = claim_folder(o->run_dir, "run.lock", "--run-dir",
				 &a->claims[CLAIM_RUN], e);
	return r < 0 ? r : claim_netns(&a->claims[CLAIM_NETNS], e);
}

void claim_drop(struct agent *a)
{
	auto_free char *path = netns_path();

	if (path && a->claims[CLAIM_NETNS] >= 0)
		(void)unlink(path);
	for (size_t i = 0; i < ARRAY_LEN(a->claims); i++)
		if (a->claims[i] >= 0)
			close(a->claims[i]);
}
