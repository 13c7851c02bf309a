// SPDX-License-Identifier: Apache-2.0
#include "agent/remote/retry.h"

#define BASE_MS  100 /* the second pause */
#define DOUBLING 6   /* times, until any limit is reached */

unsigned retry_ms(struct retry *t, enum retry_why why, uint32_t dice)
{
	unsigned limit = why == RETRY_NEAR ? RETRY_NEAR_MS : RETRY_FAR_MS;
	unsigned n = t->failures, ms;

	if (t->failures <= DOUBLING)
		t->failures++;
	if (n == 0)
		return dice % (RETRY_CUT_MS + 1);
	ms = BASE_MS << (n - 1);
	if (ms > limit)
		ms = limit;
	return ms - dice % (ms / 2 + 1);
}
