// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cgroups/events.h"
#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/err.h"

#define BUCKETS 256
#define INOTIFY_DATA                                            \
	0 /* epoll data of the inotify instance; ids start at 1 \
	   */

enum { STATE, MEMORY, NR_WDS };

struct wd {
	int wd; /* inotify's; -1: none */
	struct watch *watch;
	struct wd *next; /* in its bucket */
};

/* Found by its id, and by each of its inotify watches. */
struct watch {
	uint64_t id;
	void *data;
	struct wd wd[NR_WDS];
	int oom_fd; /* v1 eventfd; -EBADF: none */
	struct watch *next;
};

struct cg_events {
	pthread_mutex_t lock; /* of all below */
	int epoll_fd, inotify_fd;
	uint64_t last_id;
	struct watch *by_id[BUCKETS];
	struct wd *by_wd[BUCKETS];
	size_t len, pos; /* of what was read from inotify */
	char text[4096] __attribute__((aligned(8)));
};

static struct watch **find_id(struct cg_events *ev, uint64_t id)
{
	struct watch **p = &ev->by_id[id % BUCKETS];

	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

static struct wd **find_wd(struct cg_events *ev, int wd)
{
	struct wd **p = &ev->by_wd[(unsigned int)wd % BUCKETS];

	while (*p && (*p)->wd != wd)
		p = &(*p)->next;
	return p;
}

static void watch_free(struct watch *w)
{
	if (w->oom_fd >= 0)
		close(w->oom_fd); /* leaves the epoll set, too */
	free(w);
}
DEFINE_AUTO_PTR(watch, watch_free)

int cg_events_new(struct cg_events **ret, struct err *e)
{
	auto_ptr(cg_events) ev = calloc(1, sizeof(*ev));
	struct epoll_event io = { .events = EPOLLIN, .data.u64 = INOTIFY_DATA };

	if (!ev)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&ev->lock, NULL);
	ev->inotify_fd = -EBADF;
	ev->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (ev->epoll_fd < 0)
		return err_sys(e, "epoll");
	ev->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (ev->inotify_fd < 0)
		return err_sys(e, "inotify (see sysctl "
				  "fs.inotify.max_user_instances)");
	if (epoll_ctl(ev->epoll_fd, EPOLL_CTL_ADD, ev->inotify_fd, &io) < 0)
		return err_sys(e, "epoll");
	*ret = take_ptr(ev);
	return 0;
}

void cg_events_free(struct cg_events *ev)
{
	if (!ev)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (ev->by_id[i]) {
			struct watch *w = ev->by_id[i];

			ev->by_id[i] = w->next;
			watch_free(w);
		}
	}
	if (ev->inotify_fd >= 0)
		close(ev->inotify_fd);
	if (ev->epoll_fd >= 0)
		close(ev->epoll_fd);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
}

int cg_events_fd(const struct cg_events *ev)
{
	return ev->epoll_fd;
}

/* --- adding --- */

static int add_file(struct cg_events *ev, struct watch *w, int which, int dir,
		    const char *name, struct err *e)
{
	char path[64];
	struct wd *wd = &w->wd[which];

	/* inotify knows paths only, and this is the path of a descriptor. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	wd->wd = inotify_add_watch(ev->inotify_fd, path, IN_MODIFY);
	if (wd->wd < 0 && errno == ENOENT && which == MEMORY)
		return 0; /* no memory controller here: nothing to tell */
	if (wd->wd < 0)
		return err_sys(e, "watch '%s'", name);
	if (*find_wd(ev, wd->wd)) {
		/* The kernel merges watches of one file. */
		wd->wd = -1;
		return err_set(e, -EEXIST, "it is watched already");
	}
	wd->watch = w;
	wd->next = ev->by_wd[(unsigned int)wd->wd % BUCKETS];
	ev->by_wd[(unsigned int)wd->wd % BUCKETS] = wd;
	return 0;
}

/* v1: an eventfd, registered by numbers in a text. */
static int add_oom(struct cg_events *ev, struct watch *w, int dir,
		   struct err *e)
{
	struct epoll_event io = { .events = EPOLLIN, .data.u64 = w->id };
	auto_close int control = -EBADF;
	char text[32];
	int r;

	control = openat(dir, "memory.oom_control", O_RDONLY | O_CLOEXEC);
	if (control < 0)
		return err_sys(e, "open 'memory.oom_control'");
	w->oom_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->oom_fd < 0)
		return err_sys(e, "eventfd");
	snprintf(text, sizeof(text), "%d %d", w->oom_fd, control);
	r = cg_file_write(dir, "cgroup.event_control", text, e);
	if (r < 0)
		return r;
	if (epoll_ctl(ev->epoll_fd, EPOLL_CTL_ADD, w->oom_fd, &io) < 0)
		return err_sys(e, "epoll");
	return 0;
}

static int add_all(struct cg_events *ev, struct watch *w, const struct cg *cg,
		   struct err *e)
{
	int memory = cg->at[CG_MEMORY];
	int r = 0;

	if (cg->unified >= 0)
		r = add_file(ev, w, STATE, cg->dir[cg->unified],
			     "cgroup.events", e);
	if (r < 0 || memory < 0)
		return r;
	if (memory == cg->unified)
		return add_file(ev, w, MEMORY, cg->dir[memory], "memory.events",
				e);
	return add_oom(ev, w, cg->dir[memory], e);
}

static void forget_wds(struct cg_events *ev, struct watch *w)
{
	for (int i = 0; i < NR_WDS; i++) {
		struct wd **p;

		if (w->wd[i].wd < 0)
			continue;
		(void)inotify_rm_watch(ev->inotify_fd, w->wd[i].wd);
		p = find_wd(ev, w->wd[i].wd);
		if (*p)
			*p = (*p)->next;
	}
}

int cg_events_add(struct cg_events *ev, const struct cg *cg, void *data,
		  uint64_t *ret_id, struct err *e)
{
	auto_ptr(watch) w = calloc(1, sizeof(*w));
	struct watch **p;
	int r;

	if (!w)
		return err_set(e, -ENOMEM, "out of memory");
	w->data = data;
	w->oom_fd = -EBADF;
	for (int i = 0; i < NR_WDS; i++)
		w->wd[i].wd = -1;
	pthread_mutex_lock(&ev->lock);
	w->id = ++ev->last_id;
	r = add_all(ev, w, cg, e);
	if (r < 0) {
		forget_wds(ev, w);
		pthread_mutex_unlock(&ev->lock);
		return err_wrap(e, r, "cgroup '%s'", cg->path);
	}
	p = find_id(ev, w->id);
	*ret_id = w->id;
	*p = take_ptr(w);
	pthread_mutex_unlock(&ev->lock);
	return 0;
}

void cg_events_del(struct cg_events *ev, uint64_t id)
{
	struct watch **p, *w;

	pthread_mutex_lock(&ev->lock);
	p = find_id(ev, id);
	w = *p;
	if (w) {
		*p = w->next;
		forget_wds(ev, w);
		watch_free(w);
	}
	pthread_mutex_unlock(&ev->lock);
}

/* --- reading --- */

/* The next of the inotify events read before. */
static bool pop(struct cg_events *ev, struct cg_event *ret)
{
	while (ev->pos < ev->len) {
		const struct inotify_event *in =
			(const void *)(ev->text + ev->pos);
		struct wd *wd = NULL;

		ev->pos += sizeof(*in) + in->len;
		*ret = (struct cg_event){ 0 };
		if (in->mask & IN_Q_OVERFLOW) {
			ret->bits = CG_EVENT_LOST;
			return true;
		}
		wd = *find_wd(ev, in->wd);
		if (!wd)
			continue; /* deleted since */
		ret->id = wd->watch->id;
		ret->data = wd->watch->data;
		if (in->mask & IN_IGNORED)
			ret->bits = CG_EVENT_GONE;
		else if (wd == &wd->watch->wd[STATE])
			ret->bits = CG_EVENT_STATE;
		else
			ret->bits = CG_EVENT_MEMORY;
		return true;
	}
	return false;
}

static int fill(struct cg_events *ev)
{
	ssize_t n = read(ev->inotify_fd, ev->text, sizeof(ev->text));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	ev->pos = 0;
	ev->len = (size_t)n;
	return 0;
}

static bool take_oom(struct cg_events *ev, uint64_t id, struct cg_event *ret)
{
	struct watch *w = *find_id(ev, id);
	uint64_t count;

	if (!w || read(w->oom_fd, &count, sizeof(count)) < 0)
		return false;
	*ret = (struct cg_event){
		.id = id,
		.data = w->data,
		.bits = CG_EVENT_MEMORY,
	};
	return true;
}

static int next_locked(struct cg_events *ev, struct cg_event *ret)
{
	struct epoll_event io;
	int n, r;

	for (;;) {
		if (pop(ev, ret))
			return 1;
		n = epoll_wait(ev->epoll_fd, &io, 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (io.data.u64 != INOTIFY_DATA) {
			if (take_oom(ev, io.data.u64, ret))
				return 1;
			continue;
		}
		r = fill(ev);
		if (r < 0)
			return r;
	}
}

int cg_events_next(struct cg_events *ev, struct cg_event *ret)
{
	struct cg_event out;
	int r;

	pthread_mutex_lock(&ev->lock);
	r = next_locked(ev, &out);
	pthread_mutex_unlock(&ev->lock);
	if (r > 0)
		*ret = out;
	return r;
}
