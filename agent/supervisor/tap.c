// SPDX-License-Identifier: Apache-2.0
/*
 * Whoever is attached to a process sees its output as it comes, beside the log.
 * One who reads slowly slows the process down; one who is gone is forgotten;
 * what was written before the process ended is still handed on.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/supervisor/sup.h"
#include "agent/supervisor/sys.h"

#define LEFT_MAX (1024 * 1024) /* bytes of a process that has ended */

struct tap {
	struct tap *next;
	struct sup *sup;
	struct out *out;    /* NULL: it writes no more */
	struct watch watch; /* owns the descriptor */
	char *left;         /* not taken yet */
	size_t len;
};

static void tap_drop(struct tap *t)
{
	struct tap **at = &t->sup->taps;
	int fd = t->watch.fd;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	watch_del(t->sup, &t->watch);
	close(fd);
	free(t->left);
	free(t);
}

static bool out_is_behind(const struct out *o)
{
	for (const struct tap *t = o->proc->sup->taps; t; t = t->next)
		if (t->out == o && t->len)
			return true;
	return false;
}

/* Bytes taken; -1: nobody reads any more. */
static ssize_t give(struct tap *t, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(t->watch.fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void tap_ready(struct watch *w)
{
	struct tap *t = watch_owner(w, struct tap, watch);
	struct out *o = t->out;
	ssize_t n = t->len ? give(t, t->left, t->len) : -1;

	if (n > 0) {
		t->len -= (size_t)n;
		memmove(t->left, t->left + n, t->len);
	}
	if (n < 0 || (!t->len && !o))
		tap_drop(t);
	else if (!t->len)
		(void)watch_set(t->sup, w, 0);
	if (o && !out_is_behind(o))
		out_resume(o);
}

/* 0, or what it could not keep is lost for it. */
static void keep(struct tap *t, const char *data, size_t len)
{
	char *more = t->len + len <= LEFT_MAX ? realloc(t->left, t->len + len)
					      : NULL;

	if (!more || !len)
		return;
	memcpy(more + t->len, data, len);
	t->left = more;
	t->len += len;
	(void)watch_set(t->sup, &t->watch, EPOLLOUT);
}

bool taps_write(struct out *o, const char *data, size_t len)
{
	struct tap *t, *next;

	for (t = o->proc->sup->taps; t; t = next) {
		ssize_t n;

		next = t->next;
		if (t->out != o)
			continue;
		n = t->len ? 0 : give(t, data, len);
		if (n < 0)
			tap_drop(t);
		else if ((size_t)n < len)
			keep(t, data + n, len - (size_t)n);
	}
	return out_is_behind(o);
}

void taps_end(struct out *o)
{
	struct tap *t, *next;

	for (t = o->proc ? o->proc->sup->taps : NULL; t; t = next) {
		next = t->next;
		if (t->out != o)
			continue;
		t->out = NULL;
		if (!t->len)
			tap_drop(t);
	}
}

int tap_add(struct out *o, int fd, struct err *e)
{
	struct sup *sup = o->proc->sup;
	struct tap *t;
	int copy, nr = 0;

	for (t = sup->taps; t; t = t->next)
		nr += t->out == o;
	if (nr >= PROTO_TAPS_MAX)
		return err_set(e, -EAGAIN, "%d are attached to '%s' already",
			       nr, o->proc->name);
	t = calloc(1, sizeof(*t));
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!t || copy < 0) {
		free(t);
		return err_set(e, t ? -EMFILE : -ENOMEM, "attach");
	}
	(void)fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
	if (watch_add(sup, &t->watch, copy, tap_ready) < 0 ||
	    watch_set(sup, &t->watch, 0) < 0) {
		close(copy);
		free(t);
		return err_set(e, -EINVAL, "attach: not a pipe");
	}
	t->sup = sup;
	t->out = o;
	t->next = sup->taps;
	sup->taps = t;
	return 0;
}
