// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/store/share.c controlplane/store/object.c
// FUZZ: controlplane/store/record.c controlplane/store/keys.c
// FUZZ: lib/buf.c lib/err.c lib/fs.c lib/random.c lib/base64.c
/* Whatever an object's text is: what is shared of it changes nothing of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/store/internal.h"
#include "controlplane/store/record.h"
#include "lib/buf.h"

/* @o says @text, with its revision at @off. */
static void expect(const struct object_bytes *o, const char *text, size_t len,
		   uint32_t off)
{
	auto_buf struct buf want = BUF_INIT, room = BUF_INIT;
	const char *got = object_text(o, &room);

	if (off == STORE_NO_RV) {
		buf_add(&want, text, len);
	} else {
		buf_add(&want, text, off);
		buf_printf(&want, "%llu", (unsigned long long)o->revision);
		buf_add(&want, text + off, len - off);
	}
	if (!got || o->len != want.len || memcmp(got, buf_str(&want), want.len))
		__builtin_trap();
}

static struct object_bytes *through_disk(const struct object_bytes *o)
{
	char *record = malloc(record_size(o, NULL));
	struct object_bytes *made = NULL;

	if (record_encode(o, NULL, record) < 0 ||
	    record_decode(record, record_size(o, NULL), o->revision, NULL, "x",
			  &made, NULL) < 0)
		__builtin_trap();
	free(record);
	return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct share_table *t = share_table_new();
	struct share_refs refs;
	struct store_op op = { .key = "k/t/n/a", .rv_off = STORE_NO_RV };
	struct object_bytes *o, *gone, *read;
	uint16_t at;

	if (!t || len < sizeof(at)) {
		share_table_unref(t);
		return 0;
	}
	memcpy(&at, data, sizeof(at));
	op.data = (const char *)data + sizeof(at);
	op.len = (uint32_t)(len - sizeof(at));
	if (at <= op.len)
		op.rv_off = at;
	/* What has been seen is shared. */
	for (int i = 0; i < 2; i++) {
		share_refs_find(t, op.data, op.len, op.rv_off, 0, &refs);
		if (!i)
			share_refs_clear(&refs);
	}
	op.shares = &refs;
	o = object_new(&op, 12345);
	expect(o, op.data, op.len, op.rv_off);
	gone = object_at(o, 7);
	expect(gone, op.data, op.len, op.rv_off);
	read = share_object(t, through_disk(o));
	expect(read, op.data, op.len, op.rv_off);
	object_unref(o);
	o = share_object(t, through_disk(gone));
	expect(o, op.data, op.len, op.rv_off);
	share_refs_clear(&refs);
	object_unref(o);
	object_unref(gone);
	object_unref(read);
	if (share_count(t))
		__builtin_trap();
	share_table_unref(t);
	return 0;
}
