/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer that remembers its first failure.
 *
 *	auto_buf struct buf b = BUF_INIT;
 *
 *	buf_add(&b, "a", 1);
 *	buf_printf(&b, "%d", 5);
 *	if (buf_error(&b)) ...			one check at the end is enough
 *
 * After a failure (-ENOMEM, or -EMSGSIZE past @max) every further add does
 * nothing. The content is always NUL-terminated, and the NUL is not counted.
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stddef.h>
#include <sys/types.h>

struct buf {
	char *data;  /* NUL-terminated; never NULL once anything was added */
	size_t len;  /* bytes used */
	size_t size; /* bytes allocated */
	size_t max;  /* refuse to grow beyond this; 0 is no limit */
	int error;   /* 0 or the first failure */
};

#define BUF_INIT             \
	{                    \
		.data = NULL \
	}
#define auto_buf __attribute__((cleanup(buf_clear)))

void buf_clear(struct buf *b); /* free the memory; usable again afterwards */
void buf_wipe(struct buf *b);  /* the same for a secret: overwritten first */
void buf_reset(struct buf *b); /* forget the content, keep the memory */
int buf_add(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Make room for @len further bytes and return where they go; NULL on failure.
 * Say with buf_commit() how many were written. */
void *buf_reserve(struct buf *b, size_t len);
void buf_commit(struct buf *b, size_t len);

/* Drop the first @len bytes (a consumed prefix). */
void buf_consume(struct buf *b, size_t len);

static inline int buf_error(const struct buf *b)
{
	return b->error;
}

/* The content as a string; "" while empty. Borrowed. */
static inline const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

/* Hand the content over, NUL-terminated. Returns NULL after a failure. */
char *buf_take(struct buf *b);

/* Read @fd until end of file, at most @max bytes (-EFBIG beyond). */
int buf_read_fd(struct buf *b, int fd, size_t max);

#endif /* LIB_BUF_H */
