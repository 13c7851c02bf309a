// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/admission/pod_security_check.c
// FUZZ: controlplane/apiserver/admission/names.c controlplane/schema/mut.c
// FUZZ: lib/buf.c lib/err.c lib/str.c lib/map.c lib/json.c lib/json_out.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Any object as a pod: what is restricted forbids all that baseline forbids,
 * and whatever is forbidden has a reason and its details. */
#include <assert.h>
#include <stdint.h>

#include "controlplane/apiserver/admission/pod_security.h"
#include "lib/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t check(yyjson_mut_val *pod, enum pod_level level)
{
	struct pod_verdict v = { .reasons = BUF_INIT };
	size_t len;

	pod_security_check(pod, level, &v);
	len = v.reasons.len;
	assert(!len == !v.details.len);
	assert(v.details.len >= len);
	pod_verdict_clear(&v);
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	yyjson_doc *doc = NULL;
	yyjson_mut_doc *mut;
	yyjson_mut_val *pod;
	size_t baseline;

	if (json_parse((const char *)data, size, &doc, NULL) < 0)
		return 0;
	mut = yyjson_doc_mut_copy(doc, NULL);
	pod = yyjson_mut_doc_get_root(mut);
	assert(check(pod, POD_PRIVILEGED) == 0);
	baseline = check(pod, POD_BASELINE);
	assert(!baseline || check(pod, POD_RESTRICTED));
	(void)check(pod, POD_RESTRICTED);
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
	return 0;
}
