// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/spec.c agent/spec_parse.c agent/spec_fields.c agent/spec_ctx.c
// FUZZ: agent/spec_container.c agent/spec_probe.c agent/spec_vm.c
// FUZZ: agent/spec_volume.c agent/spec_check.c agent/spec_dns.c agent/total.c
// FUZZ: agent/ports.c agent/network/ports_text.c agent/network/manifest.c
// FUZZ: lib/buf.c lib/err.c lib/str.c lib/quantity.c lib/json.c lib/json_out.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Whatever a manifest holds, it is refused with a reason or read whole. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pod_spec *s = NULL, *again = NULL;
	struct err e = { 0 };
	int r = pod_spec_parse((const char *)data, size, &s, &e);

	if (r < 0) {
		assert(e.code == r && e.msg[0] && !s);
		return 0;
	}
	assert(s->name && s->tenant && s->namespace && s->network);
	assert((s->vm != NULL) != (s->nr_containers > 0));
	assert(pod_spec_qos(s) <= QOS_BEST_EFFORT);
	(void)pod_spec_total(s);
	assert(pod_spec_parse(s->json, s->json_len, &again, &e) == 0);
	pod_spec_free(again);
	pod_spec_free(s);
	return 0;
}
