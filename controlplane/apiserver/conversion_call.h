/* SPDX-License-Identifier: Apache-2.0 */
/* What a conversion webhook is asked, and what its answers are worth. */
#ifndef CONTROLPLANE_APISERVER_CONVERSION_CALL_H
#define CONTROLPLANE_APISERVER_CONVERSION_CALL_H

#include "controlplane/apiserver/conversion.h"

/* Whether an object's text is of version @t. */
bool conversion_is_of(const struct type *t, const char *data, size_t len);
bool conversion_is_of_object(const struct type *t,
			     const struct object_bytes *o);
/* Convert all of c->list that are not of c->to; on a thread that may wait. */
void conversion_call(struct api *api, struct conversion *c);

/* An answer's objects in the place of [@nr] slots: 0, or -errno, with the story
 * for users in @why. @uid is what was asked by. */
int conversion_take(const char *answer, size_t len, const char *uid,
		    const struct type *to, struct object_bytes ***slots,
		    size_t nr, struct buf *why);

#endif /* CONTROLPLANE_APISERVER_CONVERSION_CALL_H */
