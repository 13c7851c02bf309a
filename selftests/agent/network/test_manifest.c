// SPDX-License-Identifier: Apache-2.0
#include <errno.h>

#include "agent/network/manifest.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/harness.h"

#define HEAD "{\"apiVersion\":\"arktos.futurewei.com/v1\",\"kind\":\"Network\","

static struct err e;

static int parse(const char *text, yyjson_doc **doc, struct network_spec *spec)
{
	e = (struct err){ 0 };
	return manifest_parse(text, strlen(text), doc, spec, &e);
}

static void refused(int *verdict_, const char *text, int code, const char *why)
{
	struct network_spec spec;
	yyjson_doc *doc = NULL;

	EXPECT_EQ(parse(text, &doc, &spec), code);
	EXPECT_STREQ(e.msg, why);
}

TEST(a_manifest_says_what_a_network_should_be)
{
	struct network_spec spec;
	yyjson_doc *doc = NULL;

	ASSERT_EQ(
		parse(HEAD
		      "\"metadata\":{\"name\":\"blue\",\"tenant\":\"acme\","
		      "\"annotations\":{\"arktos.futurewei.com/egress\":\"snat\"}},"
		      "\"spec\":{\"type\":\"flat\",\"cidr\":\"10.1.0.0/16\",\"mtu\":1400,\"netID\":77}}",
		      &doc, &spec),
		0);
	EXPECT_STREQ(spec.tenant, "acme");
	EXPECT_STREQ(spec.name, "blue");
	EXPECT_STREQ(spec.cidr, "10.1.0.0/16");
	EXPECT_EQ(spec.egress, NETWORK_EGRESS_SNAT);
	EXPECT_EQ(spec.mtu, 1400);
	EXPECT_EQ(spec.net_id, 77);
	yyjson_doc_free(doc);

	ASSERT_EQ(parse(HEAD "\"metadata\":{\"name\":\"blue\"},"
			     "\"spec\":{\"cidr\":\"10.1.0.0/16\"}}",
			&doc, &spec),
		  0);
	EXPECT_STREQ(spec.tenant, "system");
	EXPECT_EQ(spec.egress, NETWORK_EGRESS_NONE);
	yyjson_doc_free(doc);
}

TEST(a_wrong_manifest_is_refused_by_field)
{
	refused(verdict_, "{\"apiVersion\":\"v1\",\"kind\":\"Network\"}",
		-EBADMSG, "apiVersion: must be 'arktos.futurewei.com/v1'");
	refused(verdict_, HEAD "\"metadata\":{},\"spec\":{}}", -EINVAL,
		"metadata.name: is required");
	refused(verdict_, HEAD "\"metadata\":{\"name\":\"n\"},\"spec\":{}}",
		-EINVAL, "spec.cidr: is required");
	refused(verdict_,
		HEAD
		"\"metadata\":{\"name\":\"n\"},\"spec\":{\"type\":\"vpc\",\"cidr\":\"10.0.0.0/8\"}}",
		-EINVAL,
		"spec.type: 'vpc' networks are not supported, only 'flat'");
	refused(verdict_,
		HEAD
		"\"metadata\":{\"name\":\"n\",\"annotations\":{\"arktos.futurewei.com/egress\":\"yes\"}}}",
		-EINVAL, "egress 'yes' is neither 'snat' nor 'none'");
}

static int check(const char *tenant, const char *name, const char *cidr,
		 uint32_t mtu)
{
	const struct network_spec spec = {
		.tenant = tenant, .name = name, .cidr = cidr, .mtu = mtu
	};
	unsigned int prefix;
	uint32_t base;

	e = (struct err){ 0 };
	return network_spec_check(&spec, &base, &prefix, &e);
}

TEST(numbers_and_names_are_checked)
{
	static const char *const bad[] = {
		"10.0.0.0",    "10.0.0.0/33",    "10.0.0.0/7",  "10.0.0.0/31",
		"10.0.0.1/24", "127.0.0.0/16",   "0.0.0.0/8",   "224.0.0.0/8",
		"banana/16",   "169.254.0.0/16", "10.0.0.0/ 8", "/16",
	};

	EXPECT_EQ(check("acme", "blue", "10.0.0.0/8", 0), 0);
	EXPECT_EQ(check("acme", "blue", "10.0.0.0/30", 9000), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (check("acme", "blue", bad[i], 0) != -EINVAL)
			FAIL("'%s' passes", bad[i]);
	EXPECT_EQ(check("acme", "blue", "10.0.0.1/24", 0), -EINVAL);
	EXPECT_STREQ(e.msg,
		     "cidr '10.0.0.1/24' has address bits beyond its prefix");
	EXPECT_EQ(check("Acme", "blue", "10.0.0.0/8", 0), -EINVAL);
	EXPECT_STREQ(e.msg, "tenant 'Acme' is not a DNS label (a-z, 0-9, -)");
	EXPECT_EQ(check("acme", "../x", "10.0.0.0/8", 0), -EINVAL);
	EXPECT_EQ(check("acme", "blue", "10.0.0.0/8", 100), -EINVAL);
	EXPECT_STREQ(e.msg, "mtu 100 is not within 576 to 65521");
}

TEST(an_option_says_it_in_one_word)
{
	char all[] = "acme/blue=10.1.0.0/16,egress=snat,mtu=1400";
	char bad[] = "acme/blue", extra[] = "acme/blue=10.1.0.0/16,dns=no";
	struct network_spec spec;

	ASSERT_EQ(option_parse(all, &spec, &e), 0);
	EXPECT_STREQ(spec.tenant, "acme");
	EXPECT_STREQ(spec.name, "blue");
	EXPECT_STREQ(spec.cidr, "10.1.0.0/16");
	EXPECT_EQ(spec.egress, NETWORK_EGRESS_SNAT);
	EXPECT_EQ(spec.mtu, 1400);
	EXPECT_EQ(option_parse(bad, &spec, &e), -EINVAL);
	EXPECT_STREQ(
		e.msg,
		"network 'acme/blue' is not like 'tenant/name=10.88.0.0/16'");
	EXPECT_EQ(option_parse(extra, &spec, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'dns=no' is neither 'egress=' nor 'mtu='");
}

TEST(what_is_written_is_read_back)
{
	const struct network_spec spec = {
		.tenant = "acme",
		.name = "blue",
		.cidr = "10.1.0.0/16",
		.egress = NETWORK_EGRESS_SNAT,
		.mtu = 1400,
		.net_id = 5,
	};
	struct lease_text lease = { NETWORK_VM, 0x0a010002 }, back;
	char text[LEASE_TEXT_SIZE];
	auto_buf struct buf b = BUF_INIT;
	struct network_spec got;
	yyjson_doc *doc = NULL;
	uint32_t slot = 0;

	ASSERT_EQ(manifest_write(&spec, 33, &b), 0);
	ASSERT_EQ(parse(buf_str(&b), &doc, &got), 0);
	EXPECT_STREQ(got.cidr, "10.1.0.0/16");
	EXPECT_EQ(got.net_id, 5);
	EXPECT_EQ(egress_slot_parse(doc, &slot, &e), 0);
	EXPECT_EQ(slot, 33);
	yyjson_doc_free(doc);

	lease_format(&lease, text);
	EXPECT_STREQ(text, "10.1.0.2,vm");
	ASSERT_EQ(lease_parse(text, &back), 0);
	EXPECT_EQ(back.kind, NETWORK_VM);
	EXPECT_EQ(back.ip, 0x0a010002);
	EXPECT_EQ(lease_parse("10.1.0.2", &back), -EBADMSG);
	EXPECT_EQ(lease_parse("10.1.0.2,pod", &back), -EBADMSG);
	EXPECT_EQ(lease_parse("10.1.0,vm", &back), -EBADMSG);
}

TEST_MAIN()
