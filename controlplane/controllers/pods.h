/* SPDX-License-Identifier: Apache-2.0 */
/* The pods of an object that selects pods: those it owns, and those it takes in
 * or lets go because of their labels. */
#ifndef CONTROLPLANE_CONTROLLERS_PODS_H
#define CONTROLPLANE_CONTROLLERS_PODS_H

#include "controlplane/controllers/framework.h"

/**
 * pods_claim() - All pods of @owner, in any phase.
 * @c:        Controller.
 * @k:        Kind of @owner.
 * @owner:    The object. Borrowed.
 * @selector: Its LabelSelector. Borrowed.
 * @adopt:    Take in orphans that match, and let go what no longer does.
 * @ret:      Filled; informer_list_clear() it.
 * @e:        Filled on error.
 *
 * Return: 0, -ECANCELED when pods changed hands (the cache will tell, and the
 * key comes again), or a negative errno.
 */
int pods_claim(struct ctl *c, enum kind k, const struct informer_object *owner,
	       yyjson_val *selector, bool adopt, struct informer_list *ret,
	       struct err *e);

/* Controllers whose selector matches an orphan's labels are to look at it. */
void pods_add_matching(struct ctl *c, enum kind k,
		       const struct informer_object *pod);

/* Events of @owner: so many pods were @made, so many @removed; and that making
 * more failed when @r is negative (@e says how). */
void pods_tell(struct ctl *c, enum kind k, const struct informer_object *owner,
	       size_t made, size_t removed, int r, const struct err *e);

/* Tell in a pod's condition DisruptionTarget who ends it, before it is ended (a
 * Job's podFailurePolicy looks at it). @failed: it is said to have Failed, too,
 * as its node no longer can. 0 also when it is no more, or another by now. */
int pods_disrupted(struct ctl *c, const struct informer_object *pod,
		   const char *reason, const char *message, bool failed,
		   struct err *e);

/* Drop the pods from @l that have ended or are ending. */
void pods_keep_active(struct informer_list *l);

#endif /* CONTROLPLANE_CONTROLLERS_PODS_H */
