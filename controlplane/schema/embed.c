// SPDX-License-Identifier: Apache-2.0
/* The declared types, carried by the program, and loaded on first use. */
#include <pthread.h>

#include "controlplane/schema/types.h"

__asm__(".section .rodata\n"
	".global arktos_types_begin, arktos_types_end\n"
	"arktos_types_begin:\n"
	".incbin \"controlplane/schema/types.all\"\n"
	"arktos_types_end:\n"
	".byte 0\n"
	".previous\n");

extern const char arktos_types_begin[], arktos_types_end[];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct type_set builtin;
static struct err builtin_err;
static int builtin_result;

static void load_builtin(void)
{
	builtin_result =
		type_set_load_lines(&builtin, arktos_types_begin,
				    arktos_types_end - arktos_types_begin,
				    &builtin_err);
}

int type_set_builtin(struct type_set **ret, struct err *e)
{
	pthread_once(&once, load_builtin);
	if (builtin_result < 0) {
		if (e)
			*e = builtin_err;
		return builtin_result;
	}
	*ret = &builtin;
	return 0;
}
