/* SPDX-License-Identifier: Apache-2.0 */
/* An object's text as a string, good until eight others have been asked for. */
#include "controlplane/store/store.h"
#include "lib/buf.h"

static inline const char *text_of(const struct object_bytes *o)
{
	static __thread struct buf rooms[8];
	static __thread unsigned int turn;
	const char *text = object_text(o, &rooms[turn++ % 8]);

	return text ? text : "(out of memory)";
}
