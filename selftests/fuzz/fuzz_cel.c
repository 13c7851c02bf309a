// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c lib/json.c lib/json_out.c lib/re.c
// FUZZ: lib/re_match.c lib/err.c lib/str.c lib/buf.c
/* Any expression about a fixed object: within memory and its budget, and the
 * same twice. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cel/cel.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char json[] =
	"{\"n\":3,\"s\":\"web-1\",\"l\":[1,2,3],\"m\":{\"a\":1,\"b\":{}},"
	"\"d\":0.5,\"z\":null,\"w\":[\"a\",\"b\"]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cel_var vars[] = { { .name = "self" },
				  { .name = "o", .optional = true } };
	struct cel_env env = { .vars = vars, .nr_vars = 2 };
	yyjson_mut_val *in[2], *out = NULL;
	char *text = malloc(len + 1);
	struct cel *cel = NULL;
	struct err e = { 0 };
	int r, again;

	memcpy(text, data, len);
	text[len] = '\0';
	r = cel_compile(text, &env, CEL_DYN, &cel, &e);
	assert(r == 0 || r == -EINVAL || r == -E2BIG);
	assert(r == 0 || e.msg[0]);
	if (r == 0) {
		yyjson_doc *doc = yyjson_read(json, sizeof(json) - 1, 0);
		yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);
		uint64_t budget = 100000;

		in[0] = in[1] = yyjson_mut_doc_get_root(mut);
		r = cel_eval_json(cel, in, &budget, mut, &out, &e);
		assert(r == 0 || r == -EINVAL || r == -E2BIG);
		assert(r == 0 || e.msg[0]);
		budget = 100000;
		again = cel_eval_json(cel, in, &budget, mut, &out, &e);
		assert(again == r);
		yyjson_mut_doc_free(mut);
		yyjson_doc_free(doc);
	}
	cel_free(cel);
	free(text);
	return 0;
}
