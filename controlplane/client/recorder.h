/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events about objects, as kubectl describe shows them. The same one again is
 * counted, not repeated. Never waits and never fails: an event that cannot be
 * written, or is one of too many, is dropped.
 */
#ifndef CONTROLPLANE_CLIENT_RECORDER_H
#define CONTROLPLANE_CLIENT_RECORDER_H

#include "controlplane/client/shared.h"

struct recorder;

#define RECORDER_KEPT    4096 /* different events remembered */
#define RECORDER_PENDING 512  /* on their way; more are dropped */

int recorder_new(struct client *c, const char *component, struct recorder **ret,
		 struct err *e);
/* After the client's loop has no calls of ours: waits for them. */
void recorder_free(struct recorder *r);
DEFINE_AUTO_PTR(recorder, recorder_free)

void recorder_event(struct recorder *r, enum kind k,
		    const struct informer_object *about, bool warning,
		    const char *reason, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));

#endif /* CONTROLPLANE_CLIENT_RECORDER_H */
