/* SPDX-License-Identifier: Apache-2.0 */
/* When a server that does not answer is asked again. */
#ifndef AGENT_REMOTE_RETRY_H
#define AGENT_REMOTE_RETRY_H

#include <stdint.h>

#define RETRY_CUT_MS  20   /* at most, after what worked was cut */
#define RETRY_NEAR_MS 250  /* at most, while nobody listens on this host */
#define RETRY_FAR_MS  5000 /* at most, else */

enum retry_why {
	RETRY_FAR,  /* no answer, or a bad one: it is spared, and so are its
		     * other clients */
	RETRY_NEAR, /* connecting was refused by this very host: that costs
		     * some microseconds, and nobody else anything */
};

/* How often in a row it did not answer; {0} at first, and after an answer. */
struct retry {
	unsigned failures;
};

/**
 * retry_ms() - How long to wait before the next attempt.
 * @t:    Counts this failure.
 * @why:  What the attempt failed of.
 * @dice: Any random number.
 *
 * The first one comes at once, but for what spreads those who all lose the same
 * server; then twice as long each time, up to the limits above. Never less than
 * half of that: a server that is down is asked 8 times a second at most.
 * Pure.
 */
unsigned retry_ms(struct retry *t, enum retry_why why, uint32_t dice);

#endif /* AGENT_REMOTE_RETRY_H */
