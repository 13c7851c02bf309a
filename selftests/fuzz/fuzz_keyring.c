// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/image/keyring.c lib/base64.c lib/buf.c lib/err.c lib/json.c
// FUZZ: lib/str.c lib/map.c lib/json_out.c build/deps/src/yyjson/src/yyjson.c
/* Users' docker configuration files: read, looked up, written for one host. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/keyring.h"
#include "lib/buf.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const repos[] = { "r.io/team/app",
					     "docker.io/library/x",
					     "a.example.com:5000/x", "h" };
	struct keyring k = { 0 };
	struct err e = { 0 };

	for (int twice = 0; twice < 2; twice++)
		if (keyring_add(&k, (const char *)data, len, &e) < 0)
			assert(e.msg[0]);
	for (size_t i = 1; i < k.nr; i++)
		assert(strlen(k.v[i - 1].where) >= strlen(k.v[i].where));
	for (size_t i = 0; i < sizeof(repos) / sizeof(*repos); i++) {
		const struct keyring_entry *en = keyring_find(&k, 0, repos[i]);
		auto_buf struct buf b = BUF_INIT;
		struct keyring one = { 0 };

		if (!en)
			continue;
		assert(keyring_put(en, repos[i], &b) == 0);
		/* What was written is read as what it was. */
		assert(keyring_add(&one, b.data, b.len, NULL) == 0);
		assert(one.nr == 1 && keyring_find(&one, 0, repos[i]));
		assert(strcmp(one.v[0].auth, en->auth) == 0);
		keyring_clear(&one);
	}
	keyring_clear(&k);
	return 0;
}
