// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/yaml.c lib/yaml_scalar.c lib/yaml_out.c lib/json.c
// FUZZ: lib/json_out.c lib/map.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What is accepted is JSON, and written as YAML reads back as the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void round_trip(const struct yaml_doc *doc)
{
	struct json_limits limits = { .nodes = SIZE_MAX };
	struct yaml_docs again = { .v = NULL };
	struct buf b = BUF_INIT;
	yyjson_doc *json;
	struct err e = { 0 };
	int r;

	r = json_parse_within(doc->json, doc->len, &limits, &json, &e);
	assert(r == 0);
	yyjson_doc_free(json);
	r = yaml_from_json(doc->json, doc->len, &b, &e);
	assert(r == 0);
	r = yaml_to_json(b.data, b.len, &again, &e);
	assert(r == 0 || r == -7 /* E2BIG */);
	if (r == 0) {
		assert(again.nr == 1);
		assert(strcmp(again.v[0].json, doc->json) == 0);
		yaml_docs_clear(&again);
	}
	buf_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct yaml_docs docs;
	struct err e = { 0 };
	int r = yaml_to_json((const char *)data, len, &docs, &e);

	if (r < 0) {
		assert(e.msg[0]);
		return 0;
	}
	for (size_t i = 0; i < docs.nr; i++)
		round_trip(&docs.v[i]);
	yaml_docs_clear(&docs);
	return 0;
}
