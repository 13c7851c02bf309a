// SPDX-License-Identifier: Apache-2.0
/* Immutable versions: one allocation each, shared by reference count. */
#include <stdio.h>

#include "controlplane/store/internal.h"
#include "lib/buf.h"

static struct object_bytes *alloc(size_t own_len, size_t nr_shares,
				  size_t tags_len, size_t key_len)
{
	size_t room = nr_shares * sizeof(struct object_share) + own_len + 1;
	struct object_bytes *o =
		malloc(sizeof(*o) + room + tags_len + key_len + 1);

	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	atomic_init(&o->refs, 1);
	o->nr_shares = nr_shares;
	o->tags_len = tags_len;
	o->key_len = key_len;
	o->tags = o->room + room;
	o->key = o->tags + tags_len;
	o->room[room - 1] = '\0';
	o->room[room + tags_len + key_len] = '\0';
	return o;
}

struct object_bytes *object_alloc(size_t len, size_t tags_len, size_t key_len)
{
	struct object_bytes *o = alloc(len, 0, tags_len, key_len);

	if (o)
		o->len = len;
	return o;
}

/* --- putting one together --- */

struct maker {
	const struct store_op *op;
	char digits[24];
	size_t nr_digits; /* still to be inserted */
	char *to;
};

static void put_own(struct maker *m, size_t from, size_t end)
{
	size_t off = m->op->rv_off;

	if (m->nr_digits && off >= from && off <= end) {
		memcpy(m->to, m->op->data + from, off - from);
		m->to += off - from;
		memcpy(m->to, m->digits, m->nr_digits);
		m->to += m->nr_digits;
		m->nr_digits = 0;
		from = off;
	}
	if (end > from)
		memcpy(m->to, m->op->data + from, end - from);
	m->to += end - from;
}

static void put_text(struct maker *m, struct object_bytes *o,
		     const struct share_refs *refs)
{
	struct object_share *v = object_shares(o);
	size_t at = 0;

	m->to = object_own(o);
	for (size_t i = 0; i < o->nr_shares; i++) {
		v[i] = refs->v[i];
		share_ref(v[i].share);
		put_own(m, at, v[i].at);
		at = v[i].at + v[i].len;
		if (o->rv_len && v[i].at >= o->rv_off)
			v[i].at += o->rv_len;
	}
	put_own(m, at, m->op->len);
}

struct object_bytes *object_new(const struct store_op *op, uint64_t revision)
{
	static const struct share_refs none;
	const struct share_refs *refs = op->shares ? op->shares : &none;
	size_t key_len = strlen(op->key), own;
	struct maker m = { .op = op };
	struct object_bytes *o;

	if (op->rv_off != STORE_NO_RV)
		m.nr_digits =
			(size_t)snprintf(m.digits, sizeof(m.digits), "%llu",
					 (unsigned long long)revision);
	own = op->len + m.nr_digits;
	for (size_t i = 0; i < refs->nr; i++)
		own -= refs->v[i].len;
	o = alloc(own, refs->nr, op->tags_len, key_len);
	if (!o)
		return NULL;
	o->len = op->len + m.nr_digits;
	o->rv_off = op->rv_off;
	o->rv_len = m.nr_digits;
	o->revision = revision;
	put_text(&m, o, refs);
	if (op->tags_len)
		memcpy((char *)o->tags, op->tags, op->tags_len);
	memcpy((char *)o->key, op->key, key_len);
	return o;
}

/* The text without its revision's digits; NULL when out of memory. */
static char *without_digits(const struct object_bytes *o)
{
	char *plain = malloc(o->len + 1u);
	size_t digits_end = (size_t)o->rv_off + o->rv_len;

	if (!plain)
		return NULL;
	if (!o->rv_len) {
		object_copy(o, 0, plain, o->len);
		return plain;
	}
	object_copy(o, 0, plain, o->rv_off);
	object_copy(o, digits_end, plain + o->rv_off, o->len - digits_end);
	return plain;
}

struct object_bytes *object_at(const struct object_bytes *o, uint64_t revision)
{
	struct share_refs refs = { .nr = o->nr_shares };
	struct store_op op = {
		.key = o->key,
		.len = o->len - o->rv_len,
		.rv_off = o->rv_len ? o->rv_off : STORE_NO_RV,
		.tags = o->tags,
		.tags_len = o->tags_len,
		.shares = &refs,
	};
	auto_free char *plain = without_digits(o);

	memcpy(refs.v, object_shares(o), refs.nr * sizeof(*refs.v));
	for (size_t i = 0; i < refs.nr; i++)
		if (o->rv_len && refs.v[i].at > o->rv_off)
			refs.v[i].at -= o->rv_len;
	op.data = plain;
	return plain ? object_new(&op, revision) : NULL;
}

struct object_bytes *object_with(const struct object_bytes *o,
				 struct share_refs *refs)
{
	struct store_op op = {
		.key = o->key,
		.data = object_own(o),
		.len = o->len,
		.rv_off = STORE_NO_RV, /* it is in there */
		.tags = o->tags,
		.tags_len = o->tags_len,
		.shares = refs,
	};
	struct object_bytes *made = object_new(&op, o->revision);

	if (!made)
		return NULL;
	made->rv_off = o->rv_off;
	made->rv_len = o->rv_len;
	made->deleted = o->deleted;
	made->created = o->created;
	made->stored_ms = o->stored_ms;
	made->expires_ms = o->expires_ms;
	return made;
}

/* --- its text --- */

size_t object_pieces(const struct object_bytes *o,
		     struct object_piece v[OBJECT_PIECES_MAX])
{
	const struct object_share *shares = object_shares(o);
	const char *own = object_own(o);
	size_t at = 0, nr = 0;

	for (size_t i = 0; i < o->nr_shares; i++) {
		size_t before = shares[i].at - at;

		if (before)
			v[nr++] = (struct object_piece){ own, before };
		own += before;
		v[nr++] = (struct object_piece){ shares[i].share->text,
						 shares[i].len };
		at = (size_t)shares[i].at + shares[i].len;
	}
	if (at < o->len)
		v[nr++] = (struct object_piece){ own, o->len - at };
	return nr;
}

void object_copy(const struct object_bytes *o, size_t at, char *to, size_t len)
{
	struct object_piece v[OBJECT_PIECES_MAX];
	size_t nr = object_pieces(o, v);

	for (size_t i = 0; i < nr && len; i++) {
		size_t n = v[i].len;

		if (at >= n) {
			at -= n;
			continue;
		}
		n = n - at < len ? n - at : len;
		memcpy(to, v[i].data + at, n);
		to += n;
		len -= n;
		at = 0;
	}
}

bool object_has(const struct object_bytes *o, const char *part)
{
	auto_buf struct buf room = BUF_INIT;
	const char *text = object_text(o, &room);

	return !text || memmem(text, o->len, part, strlen(part));
}

const char *object_text(const struct object_bytes *o, struct buf *room)
{
	char *p;

	if (!o->nr_shares)
		return object_own(o);
	buf_reset(room);
	p = buf_reserve(room, o->len);
	if (!p)
		return NULL;
	object_copy(o, 0, p, o->len);
	buf_commit(room, o->len);
	return buf_error(room) ? NULL : buf_str(room);
}

struct object_bytes *object_ref(struct object_bytes *o)
{
	if (o)
		atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void object_unref(struct object_bytes *o)
{
	if (!o ||
	    atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < o->nr_shares; i++)
		share_unref(object_shares(o)[i].share);
	free(o);
}

const char *object_tag(const struct object_bytes *o, const char *name)
{
	const char *p = o->tags, *end = o->tags + o->tags_len;

	while (p < end) {
		const char *value = p + strlen(p) + 1;

		if (value >= end)
			break;
		if (strcmp(p, name) == 0)
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}
