// SPDX-License-Identifier: Apache-2.0
/* Immutable versions: one allocation each, shared by reference count. */
#include <stdio.h>

#include "controlplane/store/internal.h"

struct object_bytes *object_alloc(size_t len, size_t tags_len, size_t key_len)
{
	struct object_bytes *o;

	o = malloc(sizeof(*o) + len + 1 + tags_len + key_len + 1);
	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	atomic_init(&o->refs, 1);
	o->len = len;
	o->tags_len = tags_len;
	o->key_len = key_len;
	o->tags = o->data + len + 1;
	o->key = o->data + len + 1 + tags_len;
	o->data[len] = '\0';
	o->data[len + 1 + tags_len + key_len] = '\0';
	return o;
}

struct object_bytes *object_new(const struct store_op *op, uint64_t revision)
{
	size_t key_len = strlen(op->key);
	struct object_bytes *o;
	char digits[24];
	int nr = 0;

	if (op->rv_off != STORE_NO_RV)
		nr = snprintf(digits, sizeof(digits), "%llu",
			      (unsigned long long)revision);
	o = object_alloc(op->len + nr, op->tags_len, key_len);
	if (!o)
		return NULL;
	if (nr) {
		memcpy(o->data, op->data, op->rv_off);
		memcpy(o->data + op->rv_off, digits, nr);
		memcpy(o->data + op->rv_off + nr, op->data + op->rv_off,
		       op->len - op->rv_off);
	} else if (op->len) {
		memcpy(o->data, op->data, op->len);
	}
	if (op->tags_len)
		memcpy((char *)o->tags, op->tags, op->tags_len);
	memcpy((char *)o->key, op->key, key_len);
	o->rv_off = op->rv_off;
	o->rv_len = nr;
	o->revision = revision;
	return o;
}

struct object_bytes *object_at(const struct object_bytes *o, uint64_t revision)
{
	struct store_op op = {
		.key = o->key,
		.len = o->len - o->rv_len,
		.rv_off = o->rv_off,
		.tags = o->tags,
		.tags_len = o->tags_len,
	};
	auto_free char *plain = NULL;

	op.data = o->data;
	if (o->rv_len) {
		plain = malloc(o->len);
		if (!plain)
			return NULL;
		memcpy(plain, o->data, o->rv_off);
		memcpy(plain + o->rv_off, o->data + o->rv_off + o->rv_len,
		       o->len - o->rv_off - o->rv_len);
		op.data = plain;
	}
	return object_new(&op, revision);
}

struct object_bytes *object_ref(struct object_bytes *o)
{
	if (o)
		atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void object_unref(struct object_bytes *o)
{
	if (o &&
	    atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
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
