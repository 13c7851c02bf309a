// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/client/target.c lib/buf.c lib/err.c lib/fs.c lib/json.c
// FUZZ: lib/json_out.c lib/map.c lib/str.c lib/yaml.c lib/yaml_scalar.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Kubeconfigs: one is refused with a reason, or can be connected with. Files
 * it names are not looked at: they would be this machine's. */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "controlplane/client/target.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool names_files(const uint8_t *data, size_t size)
{
	static const char *const keys[] = {
		"certificate-authority:", "client-certificate:", "client-key:"
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (memmem(data, size, keys[i], strlen(keys[i])))
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target *t = NULL;
	struct err e = { 0 };
	SSL *ssl;

	if (names_files(data, size))
		return 0;
	if (target_parse((const char *)data, size, "it", &t, &e) < 0) {
		assert(*e.msg && !t);
		return 0;
	}
	assert(strncmp(t->server, "https://", 8) == 0);
	assert(t->host && t->port && t->ca_pem && !strchr(t->port, '/'));
	assert(!strchr(t->host, '/'));
	ssl = target_session(t);
	assert(ssl);
	SSL_free(ssl);
	target_free(t);
	return 0;
}
