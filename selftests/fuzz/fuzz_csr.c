// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/authn/csr.c controlplane/schema/mut.c
// FUZZ: lib/base64.c lib/buf.c lib/err.c lib/str.c lib/map.c lib/json.c
// FUZZ: lib/json_out.c build/deps/src/yyjson/src/yyjson.c
/* Certificate signing requests: DER that is wrapped here, and text as it is. */
#include <stdint.h>
#include <stdlib.h>

#include "controlplane/apiserver/authn/csr.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try(const char *base64)
{
	struct err e = { 0 };
	struct csr *c = NULL;

	if (csr_parse(base64, &c, &e) == 0) {
		(void)csr_check(c, SIGNER_CLIENT, NULL, "acme", &e);
		(void)csr_check(c, SIGNER_SERVING, NULL, "system", &e);
	}
	csr_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf der = BUF_INIT, pem = BUF_INIT, text = BUF_INIT;

	if (size > 16384)
		return 0;
	base64_put(&der, data, size);
	buf_printf(&pem,
		   "-----BEGIN CERTIFICATE REQUEST-----\n%s\n"
		   "-----END CERTIFICATE REQUEST-----\n",
		   buf_str(&der));
	base64_put(&text, pem.data, pem.len);
	try(buf_str(&text));
	buf_reset(&text);
	base64_put(&text, data, size);
	try(buf_str(&text));
	buf_reset(&text);
	buf_add(&text, data, size);
	try(buf_str(&text));
	buf_clear(&der);
	buf_clear(&pem);
	buf_clear(&text);
	return 0;
}
