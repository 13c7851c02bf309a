// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/client/cache.c lib/json.c lib/json_out.c lib/buf.c
// FUZZ: lib/err.c lib/map.c lib/str.c build/deps/src/yyjson/src/yyjson.c
// lib/json_out.c lib/map.c lib/str.c build/deps/src/yyjson/src/yyjson.c
/* What a server may send an informer: pages of lists and lines of watches. */
#include "controlplane/client/cache.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct informer_opts opts = { .label = "app" };
	const char *p = (const char *)data, *end = p + size, *nl;
	struct cache_page page = { 0 };
	struct err e = { 0 };
	uint64_t rv = 0;
	struct cache c;

	cache_init(&c, &opts);
	cache_begin(&c);
	(void)cache_page(&c, p, size, &page, &e);
	free(page.more);
	for (; p < end; p = nl + 1) {
		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl)
			nl = end;
		(void)cache_line(&c, p, (size_t)(nl - p), &rv, &e);
	}
	(void)cache_end(&c);
	cache_clear(&c);
	return 0;
}
