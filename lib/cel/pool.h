/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is taken piece by piece and goes away at once. */
#ifndef LIB_CEL_POOL_H
#define LIB_CEL_POOL_H

#include <stddef.h>

struct pool_block;
struct pool {
	struct pool_block *blocks;
	size_t used, max;
};

void *cel_pool_get(struct pool *p, size_t size); /* zeroed; NULL: no more */
char *cel_pool_text(struct pool *p, const char *s, size_t len); /* with a NUL */
void cel_pool_clear(struct pool *p);

/* What was taken since the mark goes away. */
struct pool_mark {
	struct pool_block *block;
	size_t used;
};
struct pool_mark cel_pool_mark(const struct pool *p);
void cel_pool_release(struct pool *p, struct pool_mark m);

#endif /* LIB_CEL_POOL_H */
