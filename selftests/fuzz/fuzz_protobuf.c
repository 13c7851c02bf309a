// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/schema/[!e]*.c lib/json*.c lib/buf.c lib/err.c lib/str.c
// FUZZ: controlplane/schema/expressions.c
// FUZZ: lib/map.c lib/podfields.c lib/re*.c lib/quantity.c lib/yaml*.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Bodies in Kubernetes' protobuf: whatever comes out is JSON. */
#include <errno.h>
#include <stdint.h>

#include "lib/json.h"
#include "selftests/fuzz/schema_mini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	struct protobuf_envelope env;
	yyjson_mut_val *obj = NULL;
	struct buf b = BUF_INIT;
	struct err e = { 0 };
	const void *raw = data;
	size_t raw_len = len;
	int r;

	if (schema_protobuf_envelope(data, len, &env, &e) == 0 && env.raw) {
		raw = env.raw;
		raw_len = env.raw_len;
	}
	r = schema_from_protobuf(mini_type()->schema, doc, raw, raw_len, &obj,
				 &e);
	assert(r == 0 || r == -EBADMSG || r == -ENOTSUP);
	if (r == 0)
		json_write_mut(obj, false, &b);
	buf_clear(&b);
	yyjson_mut_doc_free(doc);
	return 0;
}
