/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One version as bytes, the same on every medium: a header, then, if sealed,
 * the seal, then data, tags (both encrypted under the seal), and the key.
 */
#ifndef CONTROLPLANE_STORE_RECORD_H
#define CONTROLPLANE_STORE_RECORD_H

#include "controlplane/store/keys.h"
#include "controlplane/store/store.h"

#define RECORD_FORMAT 2 /* 1 had no flags but RECORD_DELETED */

enum record_flags {
	RECORD_DELETED = 1 << 0,
	RECORD_SEALED = 1 << 1,
	RECORD_EXPIRES = 1 << 2, /* 8 bytes behind the header: when, in ms */
};

struct record {
	uint64_t sum; /* of everything behind it */
	uint64_t created;
	uint64_t stored_ms;
	uint32_t len, tags_len, rv_off;
	uint16_t key_len;
	uint8_t rv_len;
	uint8_t flags;
	char bytes[];
};

size_t record_size(const struct object_bytes *o, const struct store_keys *keys);

/* Write record_size() bytes to @out. @keys: seal with them, or NULL. */
int record_encode(const struct object_bytes *o, struct store_keys *keys,
		  void *out);

/* Read a record. @where: for the story ("store /x"). -EBADMSG, -ENOKEY. */
int record_decode(const void *data, size_t size, uint64_t revision,
		  struct store_keys *keys, const char *where,
		  struct object_bytes **ret, struct err *e);

/* Sealed (or not) as record_encode() would do it now? */
bool record_is_current(const void *data, size_t size, struct store_keys *keys);

#endif /* CONTROLPLANE_STORE_RECORD_H */
