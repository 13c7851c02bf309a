// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/re.c lib/re_match.c lib/err.c lib/str.c
/* Any pattern on any text: within memory, and within its budget. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/re.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *cut = memchr(data, '\n', len);
	size_t n = cut ? (size_t)(cut - data) : len;
	uint64_t budget = 200000;
	struct re *re = NULL;
	struct err e = { 0 };
	char *pattern = malloc(n + 1), *text;
	int r;

	memcpy(pattern, data, n);
	pattern[n] = '\0';
	r = re_compile(pattern, &re, &e);
	assert(r == 0 || r == -EINVAL || r == -E2BIG);
	if (r == 0) {
		size_t rest = cut ? len - n - 1 : 0;
		int first;

		assert(re_size(re) <= 4 * 1024 * 1024);
		/* Of exactly its size, so that nothing behind is read. */
		text = malloc(rest + !rest);
		if (rest)
			memcpy(text, cut + 1, rest);
		first = re_match(re, text, rest, &budget);
		assert(first >= 0 || first == -E2BIG);
		budget = 200000;
		assert(re_match(re, text, rest, &budget) == first);
		free(text);
	}
	free(re);
	free(pattern);
	return 0;
}
