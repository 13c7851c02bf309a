// SPDX-License-Identifier: Apache-2.0
/* Memory that is taken piece by piece and given back at once. */
#include <stdalign.h>

#include "lib/cel/internal.h"

#define BLOCK_SIZE 4000

struct pool_block {
	struct pool_block *next;
	size_t used, size;
	alignas(16) char data[];
};

void *cel_pool_get(struct pool *p, size_t size)
{
	struct pool_block *b = p->blocks;
	void *got;

	if (size > CEL_MEM_MAX)
		return NULL;
	size = (size + 15) & ~(size_t)15;
	if (!b || b->size - b->used < size) {
		size_t want = size > BLOCK_SIZE ? size : BLOCK_SIZE;

		if (p->used + want > p->max)
			return NULL;
		b = calloc(1, sizeof(*b) + want);
		if (!b)
			return NULL;
		b->size = want;
		b->next = p->blocks;
		p->blocks = b;
		p->used += want;
	}
	got = b->data + b->used;
	b->used += size;
	return got;
}

char *cel_pool_text(struct pool *p, const char *s, size_t len)
{
	char *got = cel_pool_get(p, len + 1);

	if (got && len)
		memcpy(got, s, len);
	return got;
}

struct pool_mark cel_pool_mark(const struct pool *p)
{
	return (struct pool_mark){ p->blocks, p->blocks ? p->blocks->used : 0 };
}

void cel_pool_release(struct pool *p, struct pool_mark m)
{
	while (p->blocks != m.block) {
		struct pool_block *b = p->blocks;

		p->blocks = b->next;
		p->used -= b->size;
		free(b);
	}
	if (m.block) {
		memset(m.block->data + m.used, 0, m.block->used - m.used);
		m.block->used = m.used;
	}
}

void cel_pool_clear(struct pool *p)
{
	cel_pool_release(p, (struct pool_mark){ 0 });
}
