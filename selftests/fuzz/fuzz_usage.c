// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/usage/report.c lib/json.c lib/buf.c lib/err.c
// FUZZ: lib/str.c build/deps/src/yyjson/src/yyjson.c
/* A node's summary: what is taken over is within the report, and can be
 * found. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "controlplane/apiserver/usage/report.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct usage_report *r = NULL;
	struct err e = { 0 };

	if (usage_report_parse((const char *)data, len, &r, &e) < 0) {
		assert(*e.msg && !r);
		return 0;
	}
	assert(!*r->node.time || strlen(r->node.time) == USAGE_TIME_LEN);
	for (size_t i = 0; i < r->nr_pods; i++) {
		const struct usage_pod *p = &r->pods[i];
		const char *uid = r->text.data + p->uid;

		assert(p->nr && p->first + p->nr <= r->nr_containers);
		assert(p->uid < r->text.len && *uid);
		p = usage_report_pod(r, uid);
		assert(p && strcmp(r->text.data + p->uid, uid) == 0);
	}
	for (size_t i = 0; i < r->nr_containers; i++) {
		const struct usage_container *c = &r->containers[i];

		assert(c->name < r->text.len && r->text.data[c->name]);
		assert(strlen(c->usage.time) == USAGE_TIME_LEN);
		assert(c->usage.window_ms);
	}
	usage_report_unref(r);
	return 0;
}
