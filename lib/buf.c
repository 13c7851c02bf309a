// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/buf.h"

#define BUF_FIRST 64

void buf_clear(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ .max = b->max };
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	buf_clear(b);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

static int buf_fail(struct buf *b, int code)
{
	if (!b->error)
		b->error = code;
	return b->error;
}

static int buf_grow(struct buf *b, size_t more)
{
	size_t need, size = b->size ? b->size : BUF_FIRST;
	char *data;

	if (b->error)
		return b->error;
	if (__builtin_add_overflow(b->len, more, &need) ||
	    __builtin_add_overflow(need, (size_t)1, &need))
		return buf_fail(b, -ENOMEM);
	if (b->max && need - 1 > b->max)
		return buf_fail(b, -EMSGSIZE);
	if (need <= b->size)
		return 0;
	while (size < need)
		if (__builtin_mul_overflow(size, (size_t)2, &size))
			return buf_fail(b, -ENOMEM);
	data = realloc(b->data, size);
	if (!data)
		return buf_fail(b, -ENOMEM);
	b->data = data;
	b->size = size;
	/* A reservation that nothing is committed to leaves a string, too. */
	b->data[b->len] = '\0';
	return 0;
}

void *buf_reserve(struct buf *b, size_t len)
{
	if (buf_grow(b, len) < 0)
		return NULL;
	return b->data + b->len;
}

void buf_commit(struct buf *b, size_t len)
{
	assert(b->len + len < b->size);
	b->len += len;
	b->data[b->len] = '\0';
}

int buf_add(struct buf *b, const void *data, size_t len)
{
	void *to = buf_reserve(b, len);

	if (!to)
		return b->error;
	if (len)
		memcpy(to, data, len);
	buf_commit(b, len);
	return 0;
}

int buf_puts(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_putc(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *to;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return buf_fail(b, -EINVAL);
	to = buf_reserve(b, (size_t)len);
	if (!to)
		return b->error;
	va_start(ap, fmt);
	vsnprintf(to, (size_t)len + 1, fmt, ap);
	va_end(ap);
	buf_commit(b, (size_t)len);
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (!len)
		return;
	memmove(b->data, b->data + len, b->len - len + 1);
	b->len -= len;
}

char *buf_take(struct buf *b)
{
	char *data;

	if (!b->data)
		buf_add(b, "", 0);
	if (b->error) {
		buf_clear(b);
		return NULL;
	}
	data = take_ptr(b->data);
	*b = (struct buf){ .max = b->max };
	return data;
}

int buf_read_fd(struct buf *b, int fd, size_t max)
{
	size_t start = b->len;
	ssize_t n;
	char *to;

	for (;;) {
		to = buf_reserve(b, 4096);
		if (!to)
			return b->error;
		n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		buf_commit(b, (size_t)n);
		if (b->len - start > max)
			return -EFBIG;
	}
}
