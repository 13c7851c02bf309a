// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/image/vmfile.c agent/image/oci.c agent/image/digest.c
// FUZZ: lib/json.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* No qcow2 header that names another file is ever taken. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/image/vmfile.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t none[8];
	static const char *const formats[] = { NULL, "raw", "qcow2" };
	struct disk_info info;

	for (int i = 0; i < 3; i++) {
		struct err e = { 0 };

		if (disk_probe(data, len, len, formats[i], &info, &e) < 0) {
			assert(e.msg[0]);
			continue;
		}
		if (strcmp(info.format, "raw") == 0) {
			assert(info.virtual_bytes >= len);
			continue;
		}
		assert(memcmp(data + 8, none, 8) == 0);  /* backing file */
		assert(memcmp(data + 32, none, 4) == 0); /* encryption */
		if (data[7] == 3)
			assert(!(data[79] & 4)); /* data file */
		assert(info.virtual_bytes <= DISK_VIRTUAL_MAX);
	}
	return 0;
}
