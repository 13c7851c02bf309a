/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wait that the first move of a process costs, had beside other work.
 *
 * The kernel guards moves between cgroups with a per-CPU lock whose first
 * writer after a pause waits for an RCU grace period: 10 to 18 ms measured on
 * an idle host of 2 cores, where moves right after it take 0.05 ms. On v2
 * nothing need be moved (CLONE_INTO_CGROUP); on v1 everything must. Who is
 * about to start a process there says so early with cg_warm_kick().
 */
#ifndef CGROUPS_WARM_H
#define CGROUPS_WARM_H

#include "lib/auto.h"

struct cg;
struct cg_warm;
struct err;

/**
 * cg_warm_new() - Start the thread that does the waiting.
 * @cg:  Tells what kind of host this is. Borrowed for the call.
 * @ret: Owned; NULL on a host with v2 only, where there is nothing to wait for.
 *
 * What it does is to move this process into the cgroup that it is in already.
 */
int cg_warm_new(const struct cg *cg, struct cg_warm **ret, struct err *e);
void cg_warm_free(struct cg_warm *w);
DEFINE_AUTO_PTR(cg_warm, cg_warm_free)

/* Processes will be moved in the next milliseconds. Any thread; costs a wake-up
 * at most. @w may be NULL. */
void cg_warm_kick(struct cg_warm *w);

#endif /* CGROUPS_WARM_H */
