/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One version of one object: immutable, shared, freed with the last reference.
 * Its text is the serialized object with its own revision spliced in. Parts of
 * the text that many objects have in common, word for word, are in memory once
 * (share.h), so the text is in pieces: take them as they are, copy them, or
 * have them put together.
 */
#ifndef CONTROLPLANE_STORE_OBJECT_H
#define CONTROLPLANE_STORE_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/auto.h"

#define OBJECT_SHARES_MAX 8
#define OBJECT_PIECES_MAX (2 * OBJECT_SHARES_MAX + 1)

struct buf;
struct share;
struct store_op;

struct object_share {
	struct share *share; /* a reference */
	uint32_t at, len;    /* where it belongs in the text */
};

/*
 * @tags are what selectors look at, so that no reader parses the object:
 * NUL-terminated strings in pairs, name and value.
 */
struct object_bytes {
	atomic_uint refs;
	uint32_t len; /* of the text */
	uint32_t tags_len;
	uint32_t rv_off; /* where the revision's digits begin, or STORE_NO_RV */
	uint16_t key_len;
	uint8_t rv_len;
	bool deleted;        /* the last state of an object that is gone */
	uint8_t nr_shares;   /* ordered by place */
	uint64_t revision;   /* of this version */
	uint64_t created;    /* revision at which the object was created */
	uint64_t stored_ms;  /* wall clock when it was committed */
	uint64_t expires_ms; /* wall clock when it goes by itself; 0: never */
	struct object_bytes *older; /* the store's own; not for readers */
	const char *key;            /* NUL-terminated */
	const char *tags;
	/* The shares, the object's own part of the text, NUL-terminated, the
	 * tags and the key. */
	_Alignas(struct object_share) char room[];
};

struct object_bytes *object_ref(struct object_bytes *o);
void object_unref(struct object_bytes *o);
DEFINE_AUTO_PTR(object_bytes, object_unref)

/* A version made outside the store, from @op's data, key and tags; it is the
 * caller's. NULL when out of memory. */
struct object_bytes *object_new(const struct store_op *op, uint64_t revision);

/* The value of tag @name in @o, or NULL. Borrowed. */
const char *object_tag(const struct object_bytes *o, const char *name);

struct object_piece {
	const char *data; /* the object's */
	size_t len;       /* not 0 */
};

/* The text in pieces, in order. Returns their number. */
size_t object_pieces(const struct object_bytes *o,
		     struct object_piece v[OBJECT_PIECES_MAX]);

/* Whether @part is somewhere in the text; also when out of memory. */
bool object_has(const struct object_bytes *o, const char *part);

/* Copy @len bytes of the text, from @at on; they are there. */
void object_copy(const struct object_bytes *o, size_t at, char *to, size_t len);

/* The text as one string, NUL-terminated: the object's, or put together in
 * @room, whose content goes. NULL when out of memory. */
const char *object_text(const struct object_bytes *o, struct buf *room);

#endif /* CONTROLPLANE_STORE_OBJECT_H */
