/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large requests are handled away from the loop, on a thread of their own:
 * parsing and checking megabytes takes longer than others should wait. The
 * connection rests meanwhile: its loop does not touch it, keeps what others
 * tell it (events, finished writes), and tells it when it is back. So only who
 * asks waits for it.
 */
#ifndef CONTROLPLANE_APISERVER_AWAY_H
#define CONTROLPLANE_APISERVER_AWAY_H

#include "controlplane/apiserver/conn.h"

#define AWAY_BYTES 65536 /* of a body, or of the object that is changed */

/* Between two steps of a request's work: others have the CPU, if this is away
 * from the loop. */
void away_give(void);
bool away_is_for(const struct req *r);
void away_run(struct req *r);
/* Try @w, which changes @bytes, away from the loop. False: do it here. */
bool away_attempt(struct write *w, size_t bytes, void (*fn)(struct write *w));

#endif /* CONTROLPLANE_APISERVER_AWAY_H */
