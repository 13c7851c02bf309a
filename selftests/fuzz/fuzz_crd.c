// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/schema/[!e]*.c lib/json*.c lib/buf.c lib/err.c lib/str.c
// FUZZ: controlplane/schema/expressions.c
// FUZZ: lib/map.c lib/podfields.c lib/re*.c lib/quantity.c lib/yaml*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Definitions of custom resources: what passes validation compiles, and what
 * is compiled takes any object. The object follows the definition's NUL. */
#include <stdint.h>

#include "lib/json.h"
#include "selftests/fuzz/schema_mini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_object(const struct type *t, const char *text, size_t len)
{
	struct field_errors errs = { .nr = 0 };
	struct path at = { .len = 0 };
	struct buf b = BUF_INIT;
	yyjson_doc *doc = NULL;
	yyjson_mut_doc *mut;
	yyjson_mut_val *obj;

	if (json_parse(text, len, &doc, NULL))
		return;
	mut = yyjson_doc_mut_copy(doc, NULL);
	obj = yyjson_mut_doc_get_root(mut);
	(void)schema_prune(t->schema, obj, NULL, NULL);
	(void)schema_default(t->schema, mut, obj);
	schema_validate(t->schema, obj, &at, &errs);
	assert(at.len == 0);
	table_cells(t, yyjson_doc_get_root(doc), 0, &b);
	field_errors_clear(&errs);
	buf_clear(&b);
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	size_t n = strnlen(text, len);
	struct field_errors errs = { .nr = 0 };
	yyjson_doc *doc = NULL;
	yyjson_mut_doc *mut;
	struct type_set *set = NULL;
	struct err e = { 0 };
	int r;

	if (json_parse(text, n, &doc, NULL))
		return 0;
	mut = yyjson_doc_mut_copy(doc, NULL);
	crd_prepare(mut, yyjson_mut_doc_get_root(mut), NULL, "");
	crd_validate(yyjson_mut_doc_get_root(mut), &errs);
	r = type_set_of_crd(text, n, true, &set, &e);
	if (r == 0)
		for (size_t i = 0; i < set->nr; i++)
			try_object(&set->types[i], n < len ? text + n + 1 : "",
				   n < len ? len - n - 1 : 0);
	type_set_unref(set);
	field_errors_clear(&errs);
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
	return 0;
}
