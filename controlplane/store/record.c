// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/internal.h"
#include "controlplane/store/record.h"

/* What a seal vouches for beside the bytes: a record moved to another revision
 * or key does not open. */
struct vouched {
	uint64_t revision, created, expires_ms;
	uint32_t len, tags_len, rv_off;
	uint8_t rv_len, deleted;
	uint16_t key_len;
	char key[STORE_KEY_MAX];
};

static uint64_t checksum(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0x9fb21c651e98df25;
		h ^= h >> 32;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3;
	return h;
}

static size_t vouch(struct vouched *v, const struct record *rec,
		    uint64_t revision, uint64_t expires_ms, const char *key)
{
	memset(v, 0, offsetof(struct vouched, key));
	v->revision = revision;
	v->created = rec->created;
	v->expires_ms = expires_ms;
	v->len = rec->len;
	v->tags_len = rec->tags_len;
	v->rv_off = rec->rv_off;
	v->rv_len = rec->rv_len;
	v->deleted = rec->flags & RECORD_DELETED;
	v->key_len = rec->key_len;
	memcpy(v->key, key, rec->key_len);
	return offsetof(struct vouched, key) + rec->key_len;
}

size_t record_size(const struct object_bytes *o, const struct store_keys *keys)
{
	return sizeof(struct record) + (o->expires_ms ? 8 : 0) +
	       (keys ? STORE_SEAL_BYTES : 0) + o->len + o->tags_len +
	       o->key_len;
}

int record_encode(const struct object_bytes *o, struct store_keys *keys,
		  void *out)
{
	size_t size = record_size(o, keys);
	struct record *rec = out;
	char *p = rec->bytes, *seal;
	int r = 0;

	*rec = (struct record){
		.created = o->created,
		.stored_ms = o->stored_ms,
		.len = o->len,
		.tags_len = o->tags_len,
		.rv_off = o->rv_off,
		.key_len = o->key_len,
		.rv_len = o->rv_len,
		.flags = (o->deleted ? RECORD_DELETED : 0) |
			 (keys ? RECORD_SEALED : 0) |
			 (o->expires_ms ? RECORD_EXPIRES : 0),
	};
	if (o->expires_ms) {
		memcpy(p, &o->expires_ms, 8);
		p += 8;
	}
	seal = p;
	if (keys)
		p += STORE_SEAL_BYTES;
	object_copy(o, 0, p, o->len);
	memcpy(p + o->len, o->tags, o->tags_len);
	memcpy(p + o->len + o->tags_len, o->key, o->key_len);
	if (keys) {
		struct vouched v;
		size_t n = vouch(&v, rec, o->revision, o->expires_ms, o->key);

		r = store_seal(keys, (unsigned char *)seal, p,
			       o->len + o->tags_len, &v, n);
	}
	rec->sum = checksum((char *)rec + sizeof(rec->sum),
			    size - sizeof(rec->sum));
	return r;
}

struct parts {
	uint64_t expires_ms;
	const char *seal, *body, *key;
	struct record rec; /* without its bytes */
};

/* Is this a whole record? */
static bool split(const void *data, size_t size, struct parts *p)
{
	const char *at = (const char *)data + sizeof(p->rec);
	size_t room = size - sizeof(p->rec), want;

	if (size < sizeof(p->rec))
		return false;
	memcpy(&p->rec, data, sizeof(p->rec));
	want = (size_t)p->rec.len + p->rec.tags_len + p->rec.key_len +
	       (p->rec.flags & RECORD_EXPIRES ? 8 : 0) +
	       (p->rec.flags & RECORD_SEALED ? STORE_SEAL_BYTES : 0);
	if (room != want || p->rec.key_len > STORE_KEY_MAX || !p->rec.key_len ||
	    p->rec.sum != checksum((const char *)data + sizeof(p->rec.sum),
				   size - sizeof(p->rec.sum)))
		return false;
	p->expires_ms = 0;
	if (p->rec.flags & RECORD_EXPIRES) {
		memcpy(&p->expires_ms, at, 8);
		at += 8;
	}
	p->seal = p->rec.flags & RECORD_SEALED ? at : NULL;
	p->body = at + (p->seal ? STORE_SEAL_BYTES : 0);
	p->key = p->body + p->rec.len + p->rec.tags_len;
	return p->rec.rv_off == STORE_NO_RV ||
	       (uint64_t)p->rec.rv_off + p->rec.rv_len <= p->rec.len;
}

static int unseal(const struct parts *p, struct object_bytes *o,
		  struct store_keys *keys, const char *where, struct err *e)
{
	struct vouched v;
	size_t n = vouch(&v, &p->rec, o->revision, p->expires_ms, o->key);
	auto_free char *plain = malloc(o->len + o->tags_len + 1);
	int r;

	if (!plain)
		return err_set(e, -ENOMEM, "store: out of memory");
	memcpy(plain, p->body, o->len + o->tags_len);
	r = keys ? store_unseal(keys, (const unsigned char *)p->seal, plain,
				o->len + o->tags_len, &v, n)
		 : -ENOKEY;
	if (r == -ENOKEY)
		return err_set(e, r,
			       "%s: revision %llu is encrypted with a key "
			       "that is not in the key file; put it back",
			       where, (unsigned long long)o->revision);
	if (r < 0)
		return err_set(e, -EBADMSG,
			       "%s: the record of revision %llu does not "
			       "open: it was changed; restore a backup",
			       where, (unsigned long long)o->revision);
	memcpy(object_own(o), plain, o->len);
	memcpy((char *)o->tags, plain + o->len, o->tags_len);
	return 0;
}

int record_decode(const void *data, size_t size, uint64_t revision,
		  struct store_keys *keys, const char *where,
		  struct object_bytes **ret, struct err *e)
{
	struct object_bytes *o;
	struct parts p;
	int r = 0;

	if (!split(data, size, &p))
		return err_set(e, -EBADMSG,
			       "%s: the record of revision %llu is damaged; "
			       "restore a backup",
			       where, (unsigned long long)revision);
	o = object_alloc(p.rec.len, p.rec.tags_len, p.rec.key_len);
	if (!o)
		return err_set(e, -ENOMEM, "store: out of memory");
	memcpy((char *)o->key, p.key, p.rec.key_len);
	o->revision = revision;
	o->rv_off = p.rec.rv_off;
	o->rv_len = p.rec.rv_len;
	o->created = p.rec.created;
	o->stored_ms = p.rec.stored_ms;
	o->deleted = p.rec.flags & RECORD_DELETED;
	o->expires_ms = p.expires_ms;
	if (p.seal) {
		r = unseal(&p, o, keys, where, e);
	} else {
		memcpy(object_own(o), p.body, o->len);
		memcpy((char *)o->tags, p.body + o->len, o->tags_len);
	}
	if (r < 0) {
		object_unref(o);
		return r;
	}
	*ret = o;
	return 0;
}

bool record_is_current(const void *data, size_t size, struct store_keys *keys)
{
	struct parts p;

	if (!split(data, size, &p))
		return true; /* nothing that rewriting could repair */
	if (!keys || !p.seal)
		return !keys == !p.seal;
	return store_seal_is_current(keys, (const unsigned char *)p.seal);
}
