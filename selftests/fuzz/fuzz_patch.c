// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/schema/[!e]*.c lib/json*.c lib/buf.c lib/err.c lib/str.c
// FUZZ: controlplane/schema/expressions.c
// FUZZ: lib/map.c lib/podfields.c lib/re*.c lib/quantity.c lib/yaml*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* A kind of patch, a target, NUL, a patch: the three kinds, and server-side
 * apply, whose sets of fields must be consistent with what they are made of. */
#include <stdint.h>

#include "controlplane/schema/fields.h"
#include "lib/json.h"
#include "selftests/fuzz/schema_mini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_sets(const struct schema *s, yyjson_mut_doc *doc,
		       yyjson_mut_val *v)
{
	struct fields *all = fields_of(s, v), *again = NULL;
	struct fields_change c;

	assert(all);
	assert(fields_from_json(fields_to_json(all, doc), &again) == 0);
	assert(fields_equal(all, again));
	assert(fields_compare(s, v, v, &c) == 0);
	assert(fields_empty(c.added) && fields_empty(c.modified) &&
	       fields_empty(c.removed));
	fields_change_clear(&c);
	fields_subtract(again, all);
	assert(fields_empty(again));
	fields_free(all);
	fields_free(again);
}

static void apply(const struct schema *s, yyjson_mut_doc *doc,
		  yyjson_mut_val *live, yyjson_mut_val *applied)
{
	yyjson_mut_val *copy = yyjson_mut_val_mut_copy(doc, live), *out;
	struct fields *set = fields_of(s, applied), *none;
	struct fields_change c;

	assert(set);
	out = fields_merge(s, doc, copy, applied);
	if (out) {
		check_sets(s, doc, out);
		none = calloc(1, sizeof(*none));
		assert(fields_compare(s, live, out, &c) == 0);
		fields_change_clear(&c);
		fields_remove(s, out, set, none);
		fields_free(none);
	}
	fields_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct schema *s = mini_type()->schema;
	const char *text = (const char *)data + 1;
	yyjson_doc *a = NULL, *b = NULL;
	yyjson_mut_doc *doc;
	yyjson_mut_val *target, *patch, *out = NULL;
	struct err e = { 0 };
	size_t n;

	if (len < 3)
		return 0;
	n = strnlen(text, len - 1);
	if (n == len - 1 || json_parse(text, n, &a, NULL) ||
	    json_parse(text + n + 1, len - n - 2, &b, NULL))
		goto out;
	doc = yyjson_doc_mut_copy(a, NULL);
	target = yyjson_mut_doc_get_root(doc);
	patch = yyjson_val_mut_copy(doc, yyjson_doc_get_root(b));
	if (data[0] % 4 == 0)
		out = patch_json(doc, target, yyjson_doc_get_root(b), &e);
	else if (data[0] % 4 == 1)
		out = patch_merge(doc, target, patch, &e);
	else if (data[0] % 4 == 2)
		out = patch_strategic(s, doc, target, patch, &e);
	else if (yyjson_mut_is_obj(target) && yyjson_mut_is_obj(patch))
		apply(s, doc, target, patch);
	if (out) {
		struct buf text_out = BUF_INIT;

		json_write_mut(out, false, &text_out);
		buf_clear(&text_out);
	}
	yyjson_mut_doc_free(doc);
out:
	yyjson_doc_free(a);
	yyjson_doc_free(b);
	return 0;
}
