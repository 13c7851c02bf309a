/* SPDX-License-Identifier: Apache-2.0 */
/* POST pods/NAME/action: an Action that the pod's node carries out. */
#ifndef CONTROLPLANE_APISERVER_ACTION_H
#define CONTROLPLANE_APISERVER_ACTION_H

#include <stdbool.h>

struct object_bytes;
struct req;

#define ACTION_SNAPSHOTS_MAX 8 /* of one pod; the node's limit is the same */
#define ACTION_DELAY_MAX_S   600

/* Can a snapshot be called that? */
bool action_name_ok(const char *name);

/* Make an Action of the CustomAction that was posted. */
void action_create(struct req *r);
/* Answer with Arktos' reply: a Status of kind Action. */
void action_reply(struct req *r, const struct object_bytes *action);

#endif /* CONTROLPLANE_APISERVER_ACTION_H */
