/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that are read in several steps. While one is pinned, compaction
 * leaves it alone; so pins are for seconds, and whoever takes longer reads the
 * rest at once.
 *
 *	struct store_pin pin;
 *
 *	store_pin(s, &pin);		the newest snapshot
 *	range.revision = pin.revision;
 *	store_list(...); store_list(...);
 *	store_unpin(&pin);
 */
#ifndef CONTROLPLANE_STORE_PIN_H
#define CONTROLPLANE_STORE_PIN_H

#include <stdint.h>

struct store;

struct store_pin {
	struct store *s; /* NULL: not pinned */
	struct store_pin *next, **link;
	uint64_t revision;
};

/* From any thread. The pin stays where it is until it is given up. */
void store_pin(struct store *s, struct store_pin *p);
/* Also of one that is zeroed, or given up already. */
void store_unpin(struct store_pin *p);

#endif /* CONTROLPLANE_STORE_PIN_H */
