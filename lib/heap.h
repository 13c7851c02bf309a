/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap of pointers by a number: what has the smallest is at place 0. Not
 * locked.
 *
 *	struct heap due = { .moved = remember };
 *
 *	r = heap_reserve(&due, 1);
 *	heap_push(&due, now + 5, job);		cannot fail then
 *	while (due.nr && due.v[0].at <= now)
 *		run(heap_take(&due, 0));
 *	heap_clear(&due);
 *
 * @moved is told where each is, so that it can be moved and taken out: a place
 * from 0 on, or HEAP_NOWHERE. What cannot is put in without.
 */
#ifndef LIB_HEAP_H
#define LIB_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define HEAP_NOWHERE SIZE_MAX

struct heap_item {
	uint64_t at;
	void *p; /* borrowed */
};

struct heap {
	struct heap_item *v; /* those behind place i are at 2i+1 and 2i+2 */
	size_t nr, size;
	void (*moved)(void *p, size_t place);
};

/* Room for @more: 0 or -ENOMEM, then the heap is as it was. */
int heap_reserve(struct heap *h, size_t more);
/* Room must have been made. */
void heap_push(struct heap *h, uint64_t at, void *p);
/* Give what is at @place another number. */
void heap_set(struct heap *h, size_t place, uint64_t at);
void *heap_take(struct heap *h, size_t place);
/* Nobody is told. */
void heap_clear(struct heap *h);

#endif /* LIB_HEAP_H */
