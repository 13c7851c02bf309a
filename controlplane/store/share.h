/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What many objects say word for word, in memory once. That is the sets of
 * fields in their managedFields: half of a pod's text, and the same in all pods
 * that were made alike. It is bytes that are shared, wherever they are from:
 * nothing depends on what they mean. On disk every record is whole.
 */
#ifndef CONTROLPLANE_STORE_SHARE_H
#define CONTROLPLANE_STORE_SHARE_H

#include "controlplane/store/object.h"

#define SHARE_MIN 128 /* bytes that are worth it */

struct share_table;
struct share_shard;

struct share {
	atomic_uint refs;
	uint32_t len;
	uint64_t hash;
	struct share_shard *shard;
	struct share *next; /* in its bucket */
	char text[];
};

struct share_span {
	uint32_t at, len;
};

/* The references an operation brings to its new version. */
struct share_refs {
	size_t nr;
	struct object_share v[OBJECT_SHARES_MAX];
};

struct share_table *share_table_new(void);
/* The owner gives it up; it goes with the last share. NULL is fine. */
void share_table_unref(struct share_table *t);

/*
 * share_spans() - What may be worth sharing of a text.
 * @hole:     What is the object's own, or where something will be inserted.
 * @hole_len: Its length.
 *
 * Return: how many spans there are in @v: in order, apart, without the hole, of
 * SHARE_MIN bytes or more.
 */
size_t share_spans(const char *data, size_t len, size_t hole, size_t hole_len,
		   struct share_span v[OBJECT_SHARES_MAX]);

/* The share that says @text, with a reference; NULL: nobody has said so before
 * (it is remembered), or out of memory. Any thread. */
struct share *share_find(struct share_table *t, const char *text, size_t len);
struct share *share_ref(struct share *s);
void share_unref(struct share *s);

/* The references for a text; see share_spans(). */
void share_refs_find(struct share_table *t, const char *data, size_t len,
		     size_t hole, size_t hole_len, struct share_refs *ret);
void share_refs_clear(struct share_refs *r);

/* How many shares there are. */
size_t share_count(struct share_table *t);

/* @o, or (then the reference to @o is gone) one that says the same with what
 * it can share. Nobody else has seen @o yet. */
struct object_bytes *share_object(struct share_table *t,
				  struct object_bytes *o);

#endif /* CONTROLPLANE_STORE_SHARE_H */
