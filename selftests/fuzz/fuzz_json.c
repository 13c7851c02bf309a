// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/json.c lib/json_out.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What is accepted must keep to the limits and survive being written and read
 * again. */
#include <assert.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static size_t walk(const struct json_ref *r, size_t depth)
{
	size_t n = 1;
	char path[40];

	assert(depth <= JSON_DEPTH_MAX);
	json_path(r, path, sizeof(path));
	json_for_each (it, r)
		n += walk(&it.item, depth + 1);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct json_limits limits = { .nodes = 10000 };
	yyjson_doc *doc = NULL, *again = NULL;
	struct buf b = BUF_INIT;
	struct json_ref root;
	struct err e = { 0 };
	int r;

	r = json_parse_within((const char *)data, len, &limits, &doc, &e);
	if (r < 0) {
		assert(e.msg[0] && e.code == r && !doc);
		return 0;
	}
	root = json_root(doc);
	assert(walk(&root, 0) <= limits.nodes);
	r = json_write(yyjson_doc_get_root(doc), len & 1, &b);
	assert(r == 0);
	r = json_parse(b.data, b.len, &again, &e);
	assert(r == 0);
	yyjson_doc_free(doc);
	yyjson_doc_free(again);
	buf_reset(&b);
	json_escape(&b, (const char *)data, len);
	r = json_parse_within(b.data, b.len, &limits, &again, NULL);
	if (r == 0)
		yyjson_doc_free(again);
	buf_clear(&b);
	return 0;
}
