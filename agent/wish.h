/* SPDX-License-Identifier: Apache-2.0 */
/* What is wished for a living pod, by a manifest or by a resize. */
#ifndef AGENT_WISH_H
#define AGENT_WISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/pod.h"

struct agent;
struct buf;
struct err;

/**
 * agent_resize() - set resources of one container of a pod of this node
 * @container: its name; NULL: the only one
 * @want:      missing values stay as they are
 * @ret_seq:   the wish's number, see pod.resize_public
 * @note:      set to what became of an earlier wish that was not granted: it
 *             is taken back
 *
 * Return: 0, -ENOENT, -EINVAL (nothing to change, a limit of 0, a size that
 * cannot be, another QoS), -EBUSY (being deleted), -ENOMEM.
 */
int agent_resize(struct agent *a, const char *key, const char *container,
		 const struct resources *want, uint64_t *ret_seq,
		 char note[POD_MESSAGE_MAX], struct err *e);

/**
 * pod_resize_patch() - the same as a strategic merge patch, for the API server
 * @out:      appended to: {"spec":{"containers":[..]}} with the resources of
 * all
 *
 * What the node would not take afterwards is refused here, as above.
 */
int pod_resize_patch(struct pod *pod, const char *container,
		     const struct resources *want, struct buf *out,
		     char note[POD_MESSAGE_MAX], struct err *e);

/* What is wished for now for one container. Under the pod's lock. 0, -ENOENT,
 * -ENOMEM. */
int pod_wish_now(const struct pod *pod, const char *container,
		 struct resources *ret);
/* Does that have all that @want has? */
bool resources_hold(const struct resources *r, const struct resources *want);
bool pod_wish_holds(const struct pod *pod, const char *container,
		    const struct resources *want);

/* update.c: may @spec follow the manifest @was? Under the pod's lock. */
int pod_check_update(const struct pod *pod, const char *was, size_t was_len,
		     const struct pod_spec *spec, bool *ret_equal,
		     struct err *e);
/* update.c: is a pod of @a to be resized to become one of @b? */
bool pod_resources_differ(const struct pod_spec *a, const struct pod_spec *b);
/* update.c: note @spec as the newest wish; it is taken with 0. @ret_what:
 * "configured" or "unchanged". */
int pod_update(struct pod *pod, struct pod_spec *spec, const char **ret_what,
	       uint64_t *ret_seq, struct err *e);

#endif /* AGENT_WISH_H */
