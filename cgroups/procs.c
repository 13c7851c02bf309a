// SPDX-License-Identifier: Apache-2.0
/* The processes of a cgroup: move, list, signal, kill, freeze. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define KILL_PASSES   10
#define KILL_PAUSE_MS 5

static int attach(const struct cg *cg, pid_t id, bool thread, struct err *e)
{
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%d", (int)id);
	for (int i = 0; i < cg->nr; i++) {
		const char *file = "cgroup.procs";

		if (thread)
			file = i == cg->unified ? "cgroup.threads" : "tasks";
		r = cg_file_write(cg->dir[i], file, text, e);
		if (r == -EBUSY)
			return err_set(e, r,
				       "cgroup '%s': cannot take process %d: "
				       "it has children with controllers, so "
				       "processes go into a leaf",
				       cg->path, (int)id);
		if (r == -ESRCH)
			return err_set(e, r, "cgroup '%s': no %s %d", cg->path,
				       thread ? "thread" : "process", (int)id);
		if (r < 0)
			return err_wrap(e, r, "cgroup '%s'", cg->path);
	}
	return 0;
}

int cg_attach(const struct cg *cg, pid_t pid, struct err *e)
{
	return attach(cg, pid, false, e);
}

int cg_attach_thread(const struct cg *cg, pid_t tid, struct err *e)
{
	return attach(cg, tid, true, e);
}

int cg_tasks_fds(const struct cg *cg, int *fds, size_t *ret_nr, struct err *e)
{
	size_t nr = 0;

	for (int i = 0; i < cg->nr; i++) {
		int r;

		if (i == cg->unified)
			continue;
		fds[nr] = openat(cg->dir[i], "tasks",
				 O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fds[nr] >= 0) {
			nr++;
			continue;
		}
		r = err_sys(e, "cgroup '%s': open 'tasks'", cg->path);
		while (nr-- > 0)
			close(fds[nr]);
		return r;
	}
	*ret_nr = nr;
	return 0;
}

/* --- listing --- */

static int pids_push(struct cg_pids *pids, pid_t pid)
{
	if (pids->nr == CG_PROCS_MAX)
		return -E2BIG;
	if (pids->nr == pids->size) {
		size_t size = pids->size ? 2 * pids->size : 16;
		pid_t *v = realloc(pids->v, size * sizeof(*v));

		if (!v)
			return -ENOMEM;
		pids->v = v;
		pids->size = size;
	}
	pids->v[pids->nr++] = pid;
	return 0;
}

/* Numbers of one line each, in pieces of any size. 0 is somebody in a pid
 * namespace that we do not see. */
static int pids_feed(struct cg_pids *pids, const char *s, size_t len,
		     unsigned int *number)
{
	for (size_t i = 0; i < len; i++) {
		int r = 0;

		if (s[i] >= '0' && s[i] <= '9') {
			*number = *number * 10 + (unsigned int)(s[i] - '0');
			continue;
		}
		if (*number)
			r = pids_push(pids, (pid_t)*number);
		*number = 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int cg_pids_add_file(struct cg_pids *pids, int dir, const char *name,
		     struct err *e)
{
	auto_close int fd = -EBADF;
	unsigned int number = 0;
	char text[4096];
	ssize_t n;
	int r;

	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, "open '%s'", name);
	for (;;) {
		n = read(fd, text, sizeof(text));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read '%s'", name);
		if (n == 0)
			return 0;
		r = pids_feed(pids, text, (size_t)n, &number);
		if (r < 0)
			return err_set(e, r, "read '%s': %s", name,
				       r == -E2BIG ? "too many processes"
						   : "out of memory");
	}
}

static int add_procs(int dir, void *arg, struct err *e)
{
	int r = cg_pids_add_file(arg, dir, "cgroup.procs", e);

	/* Threaded cgroups list no processes, their domain does. */
	if (r == -EOPNOTSUPP || r == -ENODEV || r == -ENOENT)
		return 0;
	return r;
}

int cg_procs(const struct cg *cg, pid_t **ret, size_t *ret_nr, struct err *e)
{
	struct cg_pids pids = { 0 };
	int r;

	r = cg_walk(cg->dir[0], CG_DEPTH_MAX, add_procs, &pids, e);
	if (r < 0) {
		free(pids.v);
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	}
	*ret = pids.v;
	*ret_nr = pids.nr;
	return 0;
}

static void comm_of(pid_t pid, char *buf, size_t size)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (cg_file_read(AT_FDCWD, path, buf, size, NULL) < 0)
		snprintf(buf, size, "gone");
	buf[strcspn(buf, "\n")] = '\0';
}

void cg_pids_name(const struct cg_pids *pids, size_t max, char *buf,
		  size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < pids->nr; i++) {
		char comm[20];
		int n;

		comm_of(pids->v[i], comm, sizeof(comm));
		if (i == max)
			n = snprintf(buf + len, size - len, " and %zu more",
				     pids->nr - max);
		else
			n = snprintf(buf + len, size - len, "%s%d (%s)",
				     i ? ", " : "", (int)pids->v[i], comm);
		if (i == max || (size_t)n >= size - len)
			return;
		len += (size_t)n;
	}
}

static int has_procs(int dir, void *arg, struct err *e)
{
	struct cg_pids pids = { 0 };
	int r = add_procs(dir, &pids, e);

	*(bool *)arg |= pids.nr > 0;
	free(pids.v);
	return r;
}

/* The figure after @key in cgroup.events. */
static int state_key(const struct cg *cg, const char *key, struct err *e)
{
	const char *s, *name;
	char text[256];
	uint64_t value;
	size_t len;
	int r;

	r = cg_file_read(cg->dir[cg->unified], "cgroup.events", text,
			 sizeof(text), e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	s = text;
	while ((r = cg_line_next(&s, &name, &len, &value)) > 0)
		if (strlen(key) == len && memcmp(key, name, len) == 0)
			return value != 0;
	return err_set(e, r < 0 ? r : -EOPNOTSUPP,
		       "cgroup '%s': cgroup.events has no '%s'", cg->path, key);
}

int cg_populated(const struct cg *cg, struct err *e)
{
	bool some = false;
	int r;

	if (cg->unified >= 0)
		return state_key(cg, "populated", e);
	r = cg_walk(cg->dir[0], CG_DEPTH_MAX, has_procs, &some, e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	return some;
}

/* --- signals --- */

int cg_signal(const struct cg *cg, int sig, struct err *e)
{
	auto_free pid_t *pids = NULL;
	size_t nr = 0;
	int r;

	r = cg_procs(cg, &pids, &nr, e);
	for (size_t i = 0; r == 0 && i < nr; i++)
		if (kill(pids[i], sig) < 0 && errno != ESRCH)
			r = err_sys(e, "cgroup '%s': signal process %d",
				    cg->path, (int)pids[i]);
	return r;
}

static int kill_by_signal(const struct cg *cg, struct err *e)
{
	bool frozen = false;
	int r;

	for (int pass = 0; pass < KILL_PASSES; pass++) {
		auto_free pid_t *pids = NULL;
		size_t nr = 0;

		/* Frozen, nobody can fork out of reach between list and kill.
		 * Not every host can; then the passes alone have to do. */
		frozen = cg_freeze(cg, NULL) == 0;
		if (frozen && cg_frozen(cg, NULL) == 0)
			poll(NULL, 0, KILL_PAUSE_MS);
		r = cg_signal(cg, SIGKILL, e);
		if (frozen)
			(void)cg_thaw(cg, NULL); /* lets them die */
		if (r == 0)
			r = cg_procs(cg, &pids, &nr, e);
		if (r < 0 || nr == 0)
			return r;
		poll(NULL, 0, KILL_PAUSE_MS);
	}
	return err_set(e, -EAGAIN, "cgroup '%s': processes keep appearing",
		       cg->path);
}

int cg_kill(const struct cg *cg, struct err *e)
{
	int r;

	if (cg->unified >= 0) {
		r = cg_file_write(cg->dir[cg->unified], "cgroup.kill", "1", e);
		if (r != -ENOENT) /* before Linux 5.14 */
			return r < 0 ? err_wrap(e, r, "cgroup '%s'", cg->path)
				     : 0;
	}
	return kill_by_signal(cg, e);
}

static int set_frozen(const struct cg *cg, bool on, struct err *e)
{
	if (cg_is_v2(cg, CG_FREEZER))
		return cg_write(cg, CG_FREEZER, "cgroup.freeze", on ? "1" : "0",
				e);
	return cg_write(cg, CG_FREEZER, "freezer.state",
			on ? "FROZEN" : "THAWED", e);
}

int cg_freeze(const struct cg *cg, struct err *e)
{
	return set_frozen(cg, true, e);
}

int cg_thaw(const struct cg *cg, struct err *e)
{
	return set_frozen(cg, false, e);
}

int cg_frozen(const struct cg *cg, struct err *e)
{
	char text[32];
	int r;

	if (cg_is_v2(cg, CG_FREEZER))
		return state_key(cg, "frozen", e);
	r = cg_read(cg, CG_FREEZER, "freezer.state", text, sizeof(text), e);
	return r < 0 ? r : str_starts(text, "FROZEN");
}
