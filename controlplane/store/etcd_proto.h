/* SPDX-License-Identifier: Apache-2.0 */
/*
 * etcd's v3 messages, as far as they are needed: requests are appended to a
 * buffer, answers are read with limits. Pure, and fuzzed.
 */
#ifndef CONTROLPLANE_STORE_ETCD_PROTO_H
#define CONTROLPLANE_STORE_ETCD_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

struct etcd_kv {
	const char *key, *value; /* borrowed, not NUL-terminated */
	size_t key_len, value_len;
	uint64_t create_revision, mod_revision, lease;
};

typedef int (*etcd_kv_fn)(void *arg, const struct etcd_kv *kv);

struct etcd_range {
	const char *key, *end; /* NULL: only @key */
	uint64_t limit;
	uint64_t revision; /* 0: the newest */
};

/* Whole requests. */
void etcd_range_request(struct buf *b, const struct etcd_range *r);
void etcd_compact_request(struct buf *b, uint64_t revision);
void etcd_lease_grant_request(struct buf *b, uint64_t ttl_s);
void etcd_lease_id_request(struct buf *b, uint64_t id); /* revoke, keep alive */
void etcd_watch_request(struct buf *b, const struct etcd_range *r,
			bool progress);

/* Parts of a transaction request, in this order. */
enum etcd_branch { ETCD_THEN = 2, ETCD_ELSE = 3 };
void etcd_if_mod(struct buf *b, const char *key, uint64_t mod_revision);
void etcd_if_create(struct buf *b, const char *key, uint64_t create_revision);
void etcd_do_put(struct buf *b, enum etcd_branch to, const char *key,
		 const void *value, size_t len, uint64_t lease);
void etcd_do_delete(struct buf *b, enum etcd_branch to, const char *key,
		    const char *end);
void etcd_do_range(struct buf *b, enum etcd_branch to,
		   const struct etcd_range *r);

struct etcd_answer {
	uint64_t revision; /* of the header */
	bool succeeded;    /* a transaction's conditions held */
	bool more;         /* of a range */
	uint64_t count;
	uint64_t lease, ttl; /* of a lease */
	/* Of a watch. */
	bool created, canceled, fragment;
	uint64_t compacted;
	size_t events;
	uint64_t leader, db_bytes, db_used_bytes; /* of a status */
};

/* Read an answer; @fn is called for each pair in it. -EBADMSG. */
int etcd_read_range(const struct buf *b, struct etcd_answer *ret, etcd_kv_fn fn,
		    void *arg);
int etcd_read_txn(const struct buf *b, struct etcd_answer *ret, etcd_kv_fn fn,
		  void *arg);
int etcd_read_lease(const void *data, size_t len, struct etcd_answer *ret);
int etcd_read_status(const struct buf *b, struct etcd_answer *ret);

typedef int (*etcd_event_fn)(void *arg, bool deleted, const struct etcd_kv *kv);
int etcd_read_watch(const void *data, size_t len, struct etcd_answer *ret,
		    etcd_event_fn fn, void *arg);

#endif /* CONTROLPLANE_STORE_ETCD_PROTO_H */
