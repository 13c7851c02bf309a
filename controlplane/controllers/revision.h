/* SPDX-License-Identifier: Apache-2.0 */
/* ControllerRevisions: each template a set has had, for kubectl rollout history
 * and undo. */
#ifndef CONTROLPLANE_CONTROLLERS_REVISION_H
#define CONTROLPLANE_CONTROLLERS_REVISION_H

#include "controlplane/controllers/framework.h"

#define REVISION_LABEL "controller-revision-hash"

/**
 * revision_sync() - Have a revision of the present template, as the newest.
 * @c:     Controller.
 * @k:     Kind of @owner.
 * @owner: The set. Borrowed.
 * @root:  It as a tree.
 * @hash:  Set to what its pods carry in REVISION_LABEL.
 * @ret_name: Set to the revision's name.
 * @e:     Filled on error.
 *
 * Old ones beyond spec.revisionHistoryLimit go, but for those in @used (hashes
 * that pods carry). Return: 0 or a negative errno.
 */
int revision_sync(struct ctl *c, enum kind k,
		  const struct informer_object *owner, yyjson_val *root,
		  char hash[16], char ret_name[256], struct err *e);
int revision_clean(struct ctl *c, const struct informer_object *owner,
		   yyjson_val *root, const char *hash,
		   const struct informer_list *pods, struct err *e);

/* What a pod carries; "" for none. Borrowed from @doc. */
const char *revision_of(yyjson_val *pod);

#endif /* CONTROLPLANE_CONTROLLERS_REVISION_H */
