// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/authn/jwt.c lib/fs.c
// FUZZ: lib/base64.c lib/buf.c lib/err.c lib/str.c lib/map.c lib/json.c
// FUZZ: lib/json_out.c build/deps/src/yyjson/src/yyjson.c
/* Bearer tokens, against a ring of one key; and base64 there and back. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/authn/jwt.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *ring(void)
{
	static char dir[] = "/tmp/arktos-fuzz-jwt.XXXXXX";
	static struct keyring *k;
	struct err e;

	if (!k && mkdtemp(dir))
		(void)keyring_open(dir, &k, &e);
	return k;
}

static void there_and_back(const char *text, size_t len)
{
	struct buf raw = BUF_INIT, again = BUF_INIT;

	if (base64url_get(text, len, &raw) == 0) {
		base64url_put(&again, raw.data, raw.len);
		assert(again.len == len &&
		       (!len || memcmp(again.data, text, len) == 0));
	}
	buf_reset(&raw);
	buf_reset(&again);
	if (base64_get(text, len, &raw) == 0) {
		base64_put(&again, raw.data, raw.len);
		assert(again.len == len &&
		       (!len || memcmp(again.data, text, len) == 0));
	}
	buf_clear(&raw);
	buf_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	yyjson_doc *doc = NULL;
	struct err e = { 0 };

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	there_and_back(text, size);
	if (ring() && jwt_verify(ring(), text, &doc, &e) == 0)
		assert(!"nobody has our key");
	if (jwt_claims(text, &doc, &e) == 0)
		yyjson_doc_free(doc);
	free(text);
	return 0;
}
