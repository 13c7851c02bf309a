// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/image/oci.c agent/image/config.c agent/image/vmfile.c
// FUZZ: agent/image/digest.c lib/json.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Manifests, indexes, configurations, bundles: what is accepted keeps its
 * promises, and everything is freed. The first byte says which. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/image/oci.h"
#include "agent/image/vmfile.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_manifest(const char *text, size_t len, const char *tag)
{
	struct oci_want want = { .architecture = "amd64", .tag = tag };
	static struct oci_manifest m;
	struct err e = { 0 };
	int r = oci_manifest_parse(text, len, &want, &m, &e);

	assert(r <= 0);
	if (r < 0) {
		assert(e.code == r && e.msg[0]);
		return;
	}
	if (m.is_index) {
		assert(digest_is_valid(m.pick.digest));
		return;
	}
	assert(digest_is_valid(m.config.digest));
	assert(m.nr_layers <= IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < m.nr_layers; i++)
		assert(digest_is_valid(m.layers[i].digest));
}

static void try_config(const char *text, size_t len)
{
	struct err e = { 0 };
	struct oci_config c;
	int r = oci_config_parse(text, len, &c, &e);

	if (r < 0) {
		assert(e.code == r && e.msg[0]);
		return;
	}
	assert(c.config.user && c.config.working_dir && c.config.stop_signal);
	for (size_t i = 0; i < c.nr_diff_ids; i++)
		assert(digest_is_valid(c.diff_ids[i]));
	oci_config_clear(&c);
}

static void try_bundle(const char *text, size_t len)
{
	struct err e = { 0 };
	struct vm_bundle b;
	int r = vm_bundle_parse(text, len, &b, &e);

	if (r < 0) {
		assert(e.code == r && e.msg[0]);
		return;
	}
	assert(b.kernel[0] != '/' && !strstr(b.kernel, ".."));
	assert(!strchr(b.cmdline, '\n'));
	vm_bundle_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data + 1;

	if (!len--)
		return 0;
	switch (data[0]) {
	case 'm':
		try_manifest(text, len, NULL);
		break;
	case 't':
		try_manifest(text, len, "latest");
		break;
	case 'c':
		try_config(text, len);
		break;
	case 'b':
		try_bundle(text, len);
		break;
	default:
		break;
	}
	return 0;
}
