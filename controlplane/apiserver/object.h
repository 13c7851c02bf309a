/* SPDX-License-Identifier: Apache-2.0 */
/* Between JSON trees and stored bytes. */
#ifndef CONTROLPLANE_APISERVER_OBJECT_H
#define CONTROLPLANE_APISERVER_OBJECT_H

#include <yyjson.h>

#include "controlplane/store/store.h"
#include "lib/buf.h"

struct api;
struct type;

/* The object of @o; NULL of NULL. */
yyjson_doc *object_doc(const struct object_bytes *o);
/* The object of @o, as a mutable tree in a document of its own. */
yyjson_mut_doc *object_tree(const struct object_bytes *o);
/* The same, in the version @t of an object that may be stored in another one,
 * or before there were all of today's defaults: they are set. */
yyjson_mut_doc *object_tree_as(const struct type *t,
			       const struct object_bytes *o);
/* Whether storing @obj, of version @t, would store just what @o has. */
bool object_is_stored(const struct type *t, yyjson_mut_doc *doc,
		      yyjson_mut_val *obj, const struct object_bytes *o);
/* Exchange the reference in *@slot for one in version @t; most types have one
 * version, and nothing happens. On -ENOMEM *@slot is as it was. */
int object_as(const struct type *t, struct object_bytes **slot);
/* The same for one that says what @doc says (not consumed). */
int object_rewrite(struct object_bytes **slot, yyjson_mut_doc *doc);
int object_retext(struct object_bytes **slot, const char *text, size_t len);
/* Serialize for the store (@obj is changed to the stored version): bytes
 * without revision, its place, the tags. */
int object_pack(struct api *api, const struct type *t, yyjson_mut_doc *doc,
		yyjson_mut_val *obj, struct buf *data, uint32_t *rv_off,
		struct buf *tags);
/* Commit @op alone, with @obj as its object (NULL: it has none, or is set).
 * 0, what store_commit() returns, or -ENOMEM. */
int object_commit(struct api *api, const struct type *t, struct store_op *op,
		  yyjson_mut_doc *doc, yyjson_mut_val *obj, struct err *e);
/* Condition @type of @obj's status; an empty one is made when it is not there.
 */
yyjson_mut_val *object_condition_of(yyjson_mut_doc *doc, yyjson_mut_val *obj,
				    const char *type);
/* Set condition @type of @obj's status; false: it is so already. */
bool object_condition(yyjson_mut_doc *doc, yyjson_mut_val *obj,
		      const char *type, bool status, const char *reason,
		      const char *message);
/* A name from generateName. -EINVAL: there is none. */
int object_generate_name(yyjson_mut_doc *doc, yyjson_mut_val *obj);
void new_uid(char out[37]);
void now_text(char out[32]);

#endif /* CONTROLPLANE_APISERVER_OBJECT_H */
