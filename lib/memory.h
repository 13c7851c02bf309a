/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What malloc(3) keeps of memory that nobody uses any more.
 *
 * A program with many threads has as many heaps, each of which keeps what its
 * busiest moment took: a burst of work is paid for ever after. So there are few
 * heaps, and what they hold is given back when the burst is over.
 */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

struct memory_mark {
	bool known;
	size_t bytes; /* held beyond what is in use, at the least */
};

/* Before there are threads: two heaps a CPU, not eight. */
void memory_few_heaps(void);

/**
 * memory_give_back() - Give the kernel what is free, if that may be much.
 * @mark: How it was last time; {0} at first. Borrowed.
 *
 * Now and then, from one thread: costs a look at the free lists, and a walk
 * over the heaps when a MiB more of what is held is free than after the last
 * time.
 *
 * Return: whether it was done.
 */
bool memory_give_back(struct memory_mark *mark);

#endif /* LIB_MEMORY_H */
