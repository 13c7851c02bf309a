// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "cgroups/warm.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"

#define PROC_MAX    16384
#define STACK_BYTES 65536

struct cg_warm {
	pthread_t thread;
	atomic_bool stop;
	int wake; /* eventfd */
	int procs;
	struct buf places; /* /proc/self/cgroup, as it was when @procs was */
};

/* Whoever moved this process elsewhere had a reason. */
static bool still_there(const struct cg_warm *w)
{
	auto_buf struct buf now = BUF_INIT;

	return fs_read(AT_FDCWD, "/proc/self/cgroup", PROC_MAX, &now, NULL) ==
		       0 &&
	       now.len == w->places.len &&
	       memcmp(now.data, w->places.data, now.len) == 0;
}

static void *run(void *arg)
{
	struct cg_warm *w = arg;
	uint64_t kicks;

	while (read(w->wake, &kicks, sizeof(kicks)) == sizeof(kicks) &&
	       !atomic_load(&w->stop))
		if (still_there(w))
			(void)!write(w->procs, "0", 1);
	return NULL;
}

/* The cgroup.procs of this process' own cgroup in some v1 hierarchy. */
static int open_own(struct cg_warm *w, struct err *e)
{
	struct cg_host host = { 0 };
	int r;

	r = fs_read(AT_FDCWD, "/proc/self/cgroup", PROC_MAX, &w->places, e);
	if (r == 0)
		r = cg_host_discover(NULL, NULL, &host, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < host.nr && w->procs < 0; i++) {
		auto_close int dir = -EBADF;

		if (host.h[i].v2)
			continue;
		dir = open(host.h[i].dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0)
			w->procs = openat(dir, "cgroup.procs",
					  O_WRONLY | O_CLOEXEC);
	}
	cg_host_clear(&host);
	if (w->procs < 0)
		return err_sys(e, "open this process' own 'cgroup.procs'");
	return 0;
}

static int start_thread(struct cg_warm *w, struct err *e)
{
	sigset_t all, before;
	pthread_attr_t at;
	int r;

	sigfillset(&all);
	pthread_attr_init(&at);
	(void)pthread_attr_setstacksize(&at, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&w->thread, &at, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&at);
	if (r)
		return err_set(e, -r, "start a thread: %s", strerror(r));
	(void)pthread_setname_np(w->thread, "arktos-cgroup");
	return 0;
}

static void release(struct cg_warm *w)
{
	if (w->wake >= 0)
		close(w->wake);
	if (w->procs >= 0)
		close(w->procs);
	buf_clear(&w->places);
	free(w);
}

int cg_warm_new(const struct cg *cg, struct cg_warm **ret, struct err *e)
{
	struct cg_warm *w;
	int r;

	*ret = NULL;
	if (cg_mode(cg) == CG_UNIFIED)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(e, -ENOMEM, "out of memory");
	w->procs = -EBADF;
	w->wake = eventfd(0, EFD_CLOEXEC);
	r = w->wake < 0 ? err_sys(e, "eventfd") : open_own(w, e);
	if (r == 0)
		r = start_thread(w, e);
	if (r < 0) {
		release(w);
		return r;
	}
	*ret = w;
	return 0;
}

void cg_warm_kick(struct cg_warm *w)
{
	uint64_t one = 1;

	if (w)
		(void)!write(w->wake, &one, sizeof(one));
}

void cg_warm_free(struct cg_warm *w)
{
	if (!w)
		return;
	atomic_store(&w->stop, true);
	cg_warm_kick(w);
	pthread_join(w->thread, NULL);
	release(w);
}
