// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/network/manifest.c agent/network/ports_text.c lib/json.c
// FUZZ: lib/json_out.c lib/buf.c lib/err.c lib/str.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Networks from manifests and options, leases from state files: the first byte
 * chooses. What is accepted must survive being written and read again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/network/manifest.h"
#include "agent/network/ports.h"
#include "lib/buf.h"
#include "lib/err.h"

static void ports(const char *text)
{
	struct lease_port p[NETWORK_PORTS_MAX], back[NETWORK_PORTS_MAX];
	auto_buf struct buf b = BUF_INIT;
	int nr = lease_ports_parse(text, p);

	if (nr < 0)
		return;
	assert(nr <= NETWORK_PORTS_MAX);
	assert(lease_ports_format(p, (size_t)nr, &b) == 0);
	assert(lease_ports_parse(buf_str(&b), back) == nr);
	for (int i = 0; i < nr; i++)
		assert(p[i].via == back[i].via &&
		       p[i].p.port == back[i].p.port &&
		       network_ports_collide(&p[i].p, &back[i].p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void write_and_read(const struct network_spec *spec)
{
	auto_buf struct buf b = BUF_INIT;
	struct network_spec again;
	yyjson_doc *doc = NULL;
	unsigned int prefix;
	uint32_t base, slot;

	if (network_spec_check(spec, &base, &prefix, NULL) < 0)
		return;
	assert(manifest_write(spec, 7, &b) == 0);
	assert(manifest_parse(b.data, b.len, &doc, &again, NULL) == 0);
	assert(strcmp(again.tenant, spec->tenant) == 0);
	assert(strcmp(again.name, spec->name) == 0);
	assert(strcmp(again.cidr, spec->cidr) == 0);
	assert(again.egress == spec->egress && again.mtu == spec->mtu);
	assert(egress_slot_parse(doc, &slot, NULL) == 0 && slot == 7);
	yyjson_doc_free(doc);
}

static void manifest(const char *text, size_t len)
{
	struct network_spec spec = { 0 };
	yyjson_doc *doc = NULL;
	struct err e = { 0 };

	if (manifest_parse(text, len, &doc, &spec, &e) < 0) {
		assert(e.msg[0] && !doc);
		return;
	}
	write_and_read(&spec);
	yyjson_doc_free(doc);
}

static void option(char *text)
{
	struct network_spec spec = { 0 };
	struct err e = { 0 };

	if (option_parse(text, &spec, &e) == 0)
		write_and_read(&spec);
	else
		assert(e.msg[0]);
}

static void lease(const char *text)
{
	char out[LEASE_TEXT_SIZE];
	struct lease_text l;

	if (lease_parse(text, &l) < 0)
		return;
	lease_format(&l, out);
	assert(strcmp(text, out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text;

	if (len == 0 || !(text = strndup((const char *)data + 1, len - 1)))
		return 0;
	if (data[0] % 4 == 0)
		manifest((const char *)data + 1, len - 1);
	else if (data[0] % 4 == 1)
		option(text);
	else if (data[0] % 4 == 2)
		ports(text);
	else
		lease(text);
	free(text);
	return 0;
}
