/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIB_SLICE_H
#define LIB_SLICE_H

#include <stdint.h>

/**
 * slice_set() - How long the calling thread wants the CPU at once.
 * @ns: 100 us to 100 ms.
 *
 * A wish (Linux 6.12 and newer; else, and of a thread with a policy of its own,
 * nothing changes): who wakes with a shorter slice is let in before one with a
 * longer, and sched_yield() gives up no more than the rest of a slice. No right
 * is needed for it.
 */
void slice_set(uint64_t ns);

/**
 * slice_give() - Let others have the CPU, who wait for it.
 * @ns: What the calling thread may have had of it since it last did.
 *
 * Called at every step of long work, with no lock held that others want: the
 * kernel lets in who is runnable only at its tick, of 4 ms and more.
 */
void slice_give(uint64_t ns);

#endif /* LIB_SLICE_H */
