/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scope-bound release of memory and descriptors.
 *
 *	auto_free char *line = NULL;
 *	auto_close int fd = -EBADF;
 *	auto_ptr(pod) pod = pod_new(uid);
 *
 * Always initialise in the declaration. Hand ownership on with take_ptr() or
 * take_fd(), as the last thing that happens before success: once taken, no
 * later failure will clean up for you.
 */
#ifndef LIB_AUTO_H
#define LIB_AUTO_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define auto_free     __attribute__((cleanup(auto_free_)))
#define auto_close    __attribute__((cleanup(auto_close_)))
#define auto_ptr(tag) __attribute__((cleanup(tag##_auto_))) struct tag *

/* Give struct @tag an auto_ptr(). @destroy is never called with NULL. */
#define DEFINE_AUTO_PTR(tag, destroy)                  \
	static inline void tag##_auto_(struct tag **p) \
	{                                              \
		if (*p)                                \
			destroy(*p);                   \
	}

#define take_ptr(p)                         \
	({                                  \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

static inline void auto_free_(void *slot)
{
	void *p;

	/* Any pointer type may live in the slot: read its bytes, not a void *.
	 */
	memcpy(&p, slot, sizeof(p));
	free(p);
}

static inline void auto_close_(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

#endif /* LIB_AUTO_H */
