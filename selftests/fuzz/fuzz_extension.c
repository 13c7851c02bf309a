// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/schema/[!e]*.c lib/json*.c lib/buf.c lib/err.c lib/str.c
// FUZZ: controlplane/schema/expressions.c
// FUZZ: lib/map.c lib/podfields.c lib/re*.c lib/quantity.c lib/yaml*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What an extension server says of itself: its resources and, behind a NUL, its
 * OpenAPI. Whatever it is, our own documents stay JSON. */
#include <stdint.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "selftests/fuzz/schema_mini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must_be_json(struct buf *b)
{
	yyjson_doc *doc = yyjson_read(buf_str(b), b->len, 0);

	assert(doc);
	yyjson_doc_free(doc);
	buf_clear(b);
}

static void try_all(const struct discovery *d)
{
	struct buf b = BUF_INIT, pb = BUF_INIT;

	discovery_apis(d, &b);
	must_be_json(&b);
	assert(discovery_group(d, "a.b", &b) == 0);
	must_be_json(&b);
	discovery_aggregated(d, false, "v2", &b);
	must_be_json(&b);
	openapi_v3_index(d, &b);
	must_be_json(&b);
	openapi_v2(d, &b);
	(void)openapi_v2_protobuf(buf_str(&b), b.len, &pb);
	must_be_json(&b);
	buf_clear(&pb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct type_set none;
	const char *text = (const char *)data;
	const char *nul = memchr(text, '\0', len);
	size_t first = nul ? (size_t)(nul - text) : len;
	yyjson_doc *resources = NULL, *openapi = NULL;
	struct discovery_foreign f[2] = {
		{ .group = "a.b", .version = "v1", .openapi_v3 = true },
		{ .group = "a.b", .version = "v2" },
	};
	struct discovery d = { .set = &none, .foreign = f, .nr_foreign = 2 };

	if (json_parse(text, first, &resources, NULL) < 0)
		return 0;
	if (nul)
		(void)json_parse(nul + 1, len - first - 1, &openapi, NULL);
	f[0].resources = f[1].resources = yyjson_doc_get_root(resources);
	f[0].openapi = f[1].openapi = yyjson_doc_get_root(openapi);
	if (discovery_open(&d) == 0)
		try_all(&d);
	discovery_close(&d);
	yyjson_doc_free(resources);
	yyjson_doc_free(openapi);
	return 0;
}
