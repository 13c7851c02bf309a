// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/quantity.c lib/err.c
/* The canonical text of whatever is accepted means the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "lib/err.h"
#include "lib/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char text[128] = "", out[QUANTITY_TEXT_SIZE];
	uint64_t milli, bytes, back;
	struct err e = { 0 };
	int r;

	memcpy(text, data, len < sizeof(text) - 1 ? len : sizeof(text) - 1);
	r = quantity_parse_mem(text, &bytes, &e);
	assert(r == 0 || e.msg[0]);
	if (r == 0) {
		r = quantity_parse_mem(quantity_format_mem(bytes, out), &back,
				       NULL);
		assert(r == 0 && back == bytes);
		quantity_format_human(bytes, out);
	}
	r = quantity_parse_cpu(text, &milli, &e);
	if (r == 0) {
		/* ceil(x) <= ceil(1000 x) / 1000, rounded up */
		assert(bytes == (milli + 999) / 1000);
		r = quantity_parse_cpu(quantity_format_cpu(milli, out), &back,
				       NULL);
		assert(r == 0 && back == milli);
	}
	return 0;
}
