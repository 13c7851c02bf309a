// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "controlplane/store/etcd_proto.h"
#include "lib/grpc/pb.h"

/* --- requests; the numbers are etcd's --- */

static void put_str(struct buf *b, uint32_t number, const char *s)
{
	if (s)
		pb_put_bytes(b, number, s, strlen(s));
}

void etcd_range_request(struct buf *b, const struct etcd_range *r)
{
	put_str(b, 1, r->key);
	put_str(b, 2, r->end);
	pb_put_u64(b, 3, r->limit);
	pb_put_u64(b, 4, r->revision);
}

void etcd_compact_request(struct buf *b, uint64_t revision)
{
	pb_put_u64(b, 1, revision);
}

void etcd_lease_grant_request(struct buf *b, uint64_t ttl_s)
{
	pb_put_u64(b, 1, ttl_s);
}

void etcd_lease_id_request(struct buf *b, uint64_t id)
{
	pb_put_u64(b, 1, id);
}

void etcd_watch_request(struct buf *b, const struct etcd_range *r,
			bool progress)
{
	size_t at = pb_begin(b, 1);

	put_str(b, 1, r->key);
	put_str(b, 2, r->end);
	pb_put_u64(b, 3, r->revision);
	pb_put_u64(b, 4, progress);
	pb_put_u64(b, 8, true); /* large answers may come in fragments */
	pb_end(b, at);
}

static void compare(struct buf *b, uint32_t target, uint32_t field,
		    const char *key, uint64_t revision)
{
	size_t at = pb_begin(b, 1);

	pb_put_u64(b, 2, target);
	put_str(b, 3, key);
	/* Zero is a value here: it means that there is no such key. */
	if (revision)
		pb_put_u64(b, field, revision);
	else
		buf_add(b, (char[]){ (char)(field << 3), 0 }, 2);
	pb_end(b, at);
}

void etcd_if_mod(struct buf *b, const char *key, uint64_t mod_revision)
{
	compare(b, 2, 6, key, mod_revision);
}

void etcd_if_create(struct buf *b, const char *key, uint64_t create_revision)
{
	compare(b, 1, 5, key, create_revision);
}

void etcd_do_put(struct buf *b, enum etcd_branch to, const char *key,
		 const void *value, size_t len, uint64_t lease)
{
	size_t op = pb_begin(b, to), at = pb_begin(b, 2);

	put_str(b, 1, key);
	pb_put_bytes(b, 2, value, len);
	pb_put_u64(b, 3, lease);
	pb_end(b, at);
	pb_end(b, op);
}

void etcd_do_delete(struct buf *b, enum etcd_branch to, const char *key,
		    const char *end)
{
	size_t op = pb_begin(b, to), at = pb_begin(b, 3);

	put_str(b, 1, key);
	put_str(b, 2, end);
	pb_end(b, at);
	pb_end(b, op);
}

void etcd_do_range(struct buf *b, enum etcd_branch to,
		   const struct etcd_range *r)
{
	size_t op = pb_begin(b, to), at = pb_begin(b, 1);

	etcd_range_request(b, r);
	pb_end(b, at);
	pb_end(b, op);
}

/* --- answers --- */

static struct pb_in all_of(const struct buf *b)
{
	return (struct pb_in){ b->data, b->data ? b->data + b->len : b->data };
}

static int read_header(struct pb_in in, struct etcd_answer *a)
{
	struct pb_field f;
	int r;

	while ((r = pb_next(&in, &f)) > 0)
		if (f.number == 3 && f.type == PB_VARINT)
			a->revision = f.value;
	return r;
}

static int read_kv(struct pb_in in, struct etcd_kv *kv)
{
	struct pb_field f;
	int r;

	memset(kv, 0, sizeof(*kv));
	kv->key = kv->value = "";
	while ((r = pb_next(&in, &f)) > 0) {
		if (f.number == 1 && f.type == PB_BYTES) {
			kv->key = f.data;
			kv->key_len = f.len;
		} else if (f.number == 5 && f.type == PB_BYTES) {
			kv->value = f.data;
			kv->value_len = f.len;
		} else if (f.number == 2) {
			kv->create_revision = f.value;
		} else if (f.number == 3) {
			kv->mod_revision = f.value;
		} else if (f.number == 6) {
			kv->lease = f.value;
		}
	}
	return r;
}

static int read_range(struct pb_in in, struct etcd_answer *a, etcd_kv_fn fn,
		      void *arg)
{
	struct etcd_kv kv;
	struct pb_field f;
	int r, res;

	while ((r = pb_next(&in, &f)) > 0) {
		res = 0;
		if (f.number == 1 && f.type == PB_BYTES)
			res = read_header(pb_inside(&f), a);
		else if (f.number == 2 && f.type == PB_BYTES) {
			res = read_kv(pb_inside(&f), &kv);
			if (res == 0)
				res = fn(arg, &kv);
		} else if (f.number == 3)
			a->more = f.value;
		else if (f.number == 4)
			a->count = f.value;
		if (res < 0)
			return res;
	}
	return r;
}

int etcd_read_range(const struct buf *b, struct etcd_answer *ret, etcd_kv_fn fn,
		    void *arg)
{
	memset(ret, 0, sizeof(*ret));
	return read_range(all_of(b), ret, fn, arg);
}

/* One of a transaction's answers: only a range has something to say. */
static int read_op(struct pb_in in, struct etcd_answer *a, etcd_kv_fn fn,
		   void *arg)
{
	struct etcd_answer inner = { 0 };
	struct pb_field f;
	int r, res = 0;

	while ((r = pb_next(&in, &f)) > 0 && res >= 0)
		if (f.number == 1 && f.type == PB_BYTES) {
			res = read_range(pb_inside(&f), &inner, fn, arg);
			a->more |= inner.more;
		}
	return res < 0 ? res : r;
}

int etcd_read_txn(const struct buf *b, struct etcd_answer *ret, etcd_kv_fn fn,
		  void *arg)
{
	struct pb_in in = all_of(b);
	struct pb_field f;
	int r, res;

	memset(ret, 0, sizeof(*ret));
	while ((r = pb_next(&in, &f)) > 0) {
		res = 0;
		if (f.number == 1 && f.type == PB_BYTES)
			res = read_header(pb_inside(&f), ret);
		else if (f.number == 2)
			ret->succeeded = f.value;
		else if (f.number == 3 && f.type == PB_BYTES)
			res = read_op(pb_inside(&f), ret, fn, arg);
		if (res < 0)
			return res;
	}
	return r;
}

int etcd_read_lease(const void *data, size_t len, struct etcd_answer *ret)
{
	struct pb_in in = { data, (const char *)data + len };
	struct pb_field f;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = pb_next(&in, &f)) > 0) {
		if (f.number == 1 && f.type == PB_BYTES &&
		    read_header(pb_inside(&f), ret) < 0)
			return -EBADMSG;
		if (f.number == 2)
			ret->lease = f.value;
		else if (f.number == 3)
			ret->ttl = f.value;
	}
	return r;
}

int etcd_read_status(const struct buf *b, struct etcd_answer *ret)
{
	struct pb_in in = all_of(b);
	struct pb_field f;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = pb_next(&in, &f)) > 0) {
		if (f.number == 1 && f.type == PB_BYTES &&
		    read_header(pb_inside(&f), ret) < 0)
			return -EBADMSG;
		if (f.number == 3)
			ret->db_bytes = f.value;
		else if (f.number == 4)
			ret->leader = f.value;
		else if (f.number == 9)
			ret->db_used_bytes = f.value;
	}
	return r;
}

static int read_event(struct pb_in in, etcd_event_fn fn, void *arg)
{
	struct etcd_kv kv = { .key = "", .value = "" };
	struct pb_field f;
	bool deleted = false;
	int r;

	while ((r = pb_next(&in, &f)) > 0) {
		if (f.number == 1)
			deleted = f.value;
		else if (f.number == 2 && f.type == PB_BYTES &&
			 read_kv(pb_inside(&f), &kv) < 0)
			return -EBADMSG;
	}
	return r < 0 ? r : fn(arg, deleted, &kv);
}

int etcd_read_watch(const void *data, size_t len, struct etcd_answer *ret,
		    etcd_event_fn fn, void *arg)
{
	struct pb_in in = { data, (const char *)data + len };
	struct pb_field f;
	int r, res;

	memset(ret, 0, sizeof(*ret));
	while ((r = pb_next(&in, &f)) > 0) {
		res = 0;
		if (f.number == 1 && f.type == PB_BYTES)
			res = read_header(pb_inside(&f), ret);
		else if (f.number == 3)
			ret->created = f.value;
		else if (f.number == 4)
			ret->canceled = f.value;
		else if (f.number == 5)
			ret->compacted = f.value;
		else if (f.number == 7)
			ret->fragment = f.value;
		else if (f.number == 11 && f.type == PB_BYTES) {
			ret->events++;
			res = read_event(pb_inside(&f), fn, arg);
		}
		if (res < 0)
			return res;
	}
	return r;
}
