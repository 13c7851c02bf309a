/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pods with limits have on the disk: emptyDir.sizeLimit, and the limits of
 * ephemeral-storage. One look at a time, by a worker; whoever is beyond its
 * limit is told so in its inbox, and evicted by its own worker.
 */
#ifndef AGENT_USAGE_H
#define AGENT_USAGE_H

#define USAGE_KEY     "@usage" /* in the queue, where pods' keys are */
#define USAGE_EVICTED "Evicted"

struct agent;
struct pod;

/* Look at all that want it. By a worker, for USAGE_KEY. */
void usage_look(struct agent *a);

/* The pod's worker: let it be looked at from now on, or not any more; and evict
 * it if a look has found it beyond a limit. */
void usage_step(struct pod *pod);

#endif /* AGENT_USAGE_H */
