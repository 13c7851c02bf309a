// SPDX-License-Identifier: Apache-2.0
/*
 * The n-th allocation fails, once: LD_PRELOAD=malloc_nth.so SHIM_NTH=n. Counts
 * from the moment the program asks for it by setting SHIM_NTH in its own
 * environment, or from its start.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void shim_arm(long nth); /* found by dlsym(3) in a test; 0: never */
int shim_fired(void);

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nr, size_t size);
void *__libc_realloc(void *p, size_t size);

static atomic_long left;
static atomic_int fired;

void shim_arm(long nth)
{
	atomic_store(&fired, 0);
	atomic_store(&left, nth);
}

int shim_fired(void)
{
	return atomic_load(&fired);
}

static int fails(void)
{
	if (atomic_load(&left) <= 0 || atomic_fetch_sub(&left, 1) != 1)
		return 0;
	atomic_store(&fired, 1);
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t nr, size_t size)
{
	return fails() ? NULL : __libc_calloc(nr, size);
}

void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}
