// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/cel/*.c lib/base64.c
// FUZZ: controlplane/schema/[!e]*.c lib/json*.c lib/buf.c lib/err.c lib/str.c
// FUZZ: controlplane/schema/expressions.c
// FUZZ: lib/map.c lib/podfields.c lib/re*.c lib/quantity.c lib/yaml*.c
// FUZZ: controlplane/apiserver/selector.c controlplane/store/object.c
// FUZZ: controlplane/store/share.c lib/random.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Label and field selectors, and the fieldsV1 of managed fields. */
#include <stdint.h>
#include <stdlib.h>

#include "controlplane/apiserver/selector.h"
#include "controlplane/store/store.h"
#include "selftests/fuzz/schema_mini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char tags[] = "l:app\0web\0l:tier\0a\0f:spec.kind\0x\0"
				   "f:metadata.hashkey\0"
				   "12345\0";
	struct store_op op = { .key = "core/configmaps/t/ns/n",
			       .data = "{}",
			       .len = 2,
			       .rv_off = STORE_NO_RV,
			       .tags = tags,
			       .tags_len = sizeof(tags) - 1 };
	struct object_bytes *o = object_new(&op, 1);
	struct selector s = { .nr = 0 };
	struct err e = { 0 };
	char *text = strndup((const char *)data, len);
	char *half = strchr(text, '\n');

	if (half)
		*half++ = '\0';
	if (selector_parse_labels(&s, text, &e) == 0 &&
	    (!half || selector_parse_fields(&s, mini_type(), half, &e) == 0))
		(void)selector_match(&s, o);
	selector_clear(&s);
	object_unref(o);
	free(text);
	return 0;
}
