// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <errno.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/yaml.h"
#include "selftests/harness.h"

static char json[4096];
static struct err e;

/* The documents' JSON, separated by blanks. */
static int convert(const char *text)
{
	struct yaml_docs docs;
	int r = yaml_to_json(text, strlen(text), &docs, &e);

	json[0] = '\0';
	if (r < 0)
		return r;
	for (size_t i = 0; i < docs.nr; i++) {
		if (i)
			strcat(json, " ");
		strcat(json, docs.v[i].json);
	}
	yaml_docs_clear(&docs);
	return 0;
}

/* What sigs.k8s.io/yaml makes of them. */
static const struct {
	const char *yaml, *json;
} same[] = {
	{ "a: yes", "{\"a\":true}" },
	{ "a: On", "{\"a\":true}" },
	{ "a: n", "{\"a\":false}" },
	{ "a: OFF", "{\"a\":false}" },
	{ "a: 'yes'", "{\"a\":\"yes\"}" },
	{ "a: yEs", "{\"a\":\"yEs\"}" },
	{ "a: 0644", "{\"a\":420}" },
	{ "a: 0o644", "{\"a\":420}" },
	{ "a: 08", "{\"a\":8}" },
	{ "a: 0x1F", "{\"a\":31}" },
	{ "a: 0b101", "{\"a\":5}" },
	{ "a: -0b101", "{\"a\":-5}" },
	{ "a: 1_000", "{\"a\":1000}" },
	{ "a: +12", "{\"a\":12}" },
	{ "a: -12", "{\"a\":-12}" },
	{ "a: 1.5", "{\"a\":1.5}" },
	{ "a: 1.0", "{\"a\":1}" },
	{ "a: 1e3", "{\"a\":1000}" },
	{ "a: .5", "{\"a\":0.5}" },
	{ "a: 18446744073709551615", "{\"a\":18446744073709551615}" },
	{ "a: -9223372036854775808", "{\"a\":-9223372036854775808}" },
	{ "a: 100m", "{\"a\":\"100m\"}" },
	{ "a: 64Mi", "{\"a\":\"64Mi\"}" },
	{ "a: 1.2.3", "{\"a\":\"1.2.3\"}" },
	{ "a: 12:30:45", "{\"a\":\"12:30:45\"}" },
	{ "a: 2001-12-14", "{\"a\":\"2001-12-14\"}" },
	{ "a: 2001-12-14T21:59:43.10-05:00",
	  "{\"a\":\"2001-12-14T21:59:43.10-05:00\"}" },
	{ "a: ~", "{\"a\":null}" },
	{ "a:", "{\"a\":null}" },
	{ "a: Null", "{\"a\":null}" },
	{ "a: \"\"", "{\"a\":\"\"}" },
	{ "a: !!str 12", "{\"a\":\"12\"}" },
	{ "a: ! 12", "{\"a\":\"12\"}" },
	{ "a: !!int '12'", "{\"a\":12}" },
	{ "on: 1", "{\"true\":1}" },
	{ "8080: x", "{\"8080\":\"x\"}" },
	{ "a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}" },
	{ "a: >-\n  x\n  y\n", "{\"a\":\"x y\"}" },
	{ "- 1\n- [2, {b: c}]", "[1,[2,{\"b\":\"c\"}]]" },
	{ "{\"a\": [1, \"\\u00e4\\/\"]}", "{\"a\":[1,\"\xc3\xa4/\"]}" },
	{ "a: &x [1]\nb: *x", "{\"a\":[1],\"b\":[1]}" },
	{ "b: &b {x: 1, z: 2}\nc:\n  <<: *b\n  z: 3",
	  "{\"b\":{\"x\":1,\"z\":2},\"c\":{\"x\":1,\"z\":3}}" },
	{ "y: 1", "{\"true\":1}" },
	{ "c:\n  a: 3\n  <<: [{a: 1, x: 1}, {x: 2, z: 2}]",
	  "{\"c\":{\"a\":3,\"x\":1,\"z\":2}}" },
	{ "a: 1\n---\nb: 2\n...\n---\n# nothing\n---\n- 3",
	  "{\"a\":1} {\"b\":2} [3]" },
	{ "", "" },
	{ "# only a comment\n", "" },
	{ "\xef\xbb\xbf"
	  "a: 1",
	  "{\"a\":1}" },
	{ "%YAML 1.1\n---\na: 1", "{\"a\":1}" },
};

TEST(reads_as_kubernetes_tools_do)
{
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		int r = convert(same[i].yaml);

		if (r < 0)
			FAIL("%s: %s", same[i].yaml, e.msg);
		else if (strcmp(json, same[i].json) != 0)
			FAIL("%s: got %s, want %s", same[i].yaml, json,
			     same[i].json);
	}
}

static const struct {
	const char *yaml, *msg;
} bad[] = {
	{ "a: 1\nb: 2\na: 3", "3:1: the key 'a' is there twice" },
	{ "1: a\n0x1: b", "2:1: the key '1' is there twice" },
	{ "a: *x", "1:4: unknown alias '*x'" },
	{ "a: &a [*a]", "1:8: unknown alias '*a'" },
	{ "a: .inf",
	  "1:4: '.inf' has no equivalent in JSON (quote it to mean text)" },
	{ "a: !foo x", "1:4: 'x' has an unknown tag" },
	{ "a: !!binary aGk=", "1:4: 'aGk=' has an unknown tag" },
	{ "a: !!int x", "1:4: 'x' is not what its tag says" },
	{ "a: !!set {x: y}", "1:4: unknown tag 'tag:yaml.org,2002:set'" },
	{ "[1]: x", "1:1: a key must be a string, number or boolean" },
	{ "~: x", "1:1: a key must be a string, number or boolean" },
	{ "a:\n  <<: 5", "2:3: '<<' needs a mapping or a list of mappings" },
	{ "a: \"x\\0y\"", "1:4: a string must not contain NUL" },
	{ "a:\n\t- b", "2:1: found character that cannot start any token" },
	{ "a: [1, 2", "2:1: did not find expected ',' or ']'" },
	{ "a: b: c", "1:5: mapping values are not allowed in this context" },
};

TEST(says_what_is_wrong_and_where)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (convert(bad[i].yaml) != -EBADMSG)
			FAIL("%s: taken", bad[i].yaml);
		else if (strcmp(e.msg, bad[i].msg) != 0)
			FAIL("%s: '%s'", bad[i].yaml, e.msg);
	}
	EXPECT_EQ(convert("a: \"\xff\""), -EBADMSG);
}

TEST(a_billion_laughs_are_refused)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 12; i++) {
		buf_printf(&b, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			buf_printf(&b, "%s*a%d", k ? "," : "", i - 1);
		buf_puts(&b, "]\n");
	}
	EXPECT_EQ(convert(buf_str(&b)), -E2BIG);
	EXPECT_EQ(strstr(e.msg, "too many values: the limit is 200000") != NULL,
		  true);
	buf_clear(&b);

	buf_puts(&b, "a: &a x\nb:\n");
	for (int i = 0; i <= YAML_ALIASES_MAX; i++)
		buf_puts(&b, "- *a\n");
	EXPECT_EQ(convert(buf_str(&b)), -E2BIG);
	EXPECT_STREQ(e.msg, "1003:3: too many aliases: the limit is 1000");
	buf_clear(&b);
}

TEST(depth_and_size_are_limited)
{
	struct buf b = BUF_INIT;
	struct yaml_docs docs;
	char *big;

	for (int i = 0; i < 65; i++)
		buf_puts(&b, "[");
	EXPECT_EQ(convert(buf_str(&b)), -E2BIG);
	EXPECT_STREQ(e.msg, "1:65: nested too deeply: the limit is 64");
	buf_clear(&b);

	/* By aliases, too: each adds ten levels. */
	buf_puts(&b, "a0: &a0 [[[[[[[[[x]]]]]]]]]\n");
	for (int i = 1; i < 9; i++)
		buf_printf(&b, "a%d: &a%d [[[[[[[[[*a%d]]]]]]]]]\n", i, i,
			   i - 1);
	EXPECT_EQ(convert(buf_str(&b)), -E2BIG);
	buf_clear(&b);

	big = calloc(1, YAML_LEN_MAX + 1);
	memset(big, ' ', YAML_LEN_MAX + 1);
	EXPECT_EQ(yaml_to_json(big, YAML_LEN_MAX + 1, &docs, &e), -E2BIG);
	free(big);
}

TEST(documents_know_their_line)
{
	const char *text = "# head\n\na: 1\n---\n\nb: 2\n";
	struct yaml_docs docs;

	ASSERT_EQ(yaml_to_json(text, strlen(text), &docs, &e), 0);
	ASSERT_EQ(docs.nr, 2);
	EXPECT_EQ(docs.v[0].line, 3);
	EXPECT_EQ(docs.v[1].line, 6);
	yaml_docs_clear(&docs);
}

static const char tricky[] =
	"{\"a\":[1,{\"b\":\"yes\",\"c\":[]},[[2]],[]],\"s\":\"0644\",\"t\":"
	"\"a: b\",\"u\":\"x #y\",\"v\":\"\",\"w\":\" x\",\"n\":null,\"m\":{},"
	"\"l\":\"a\\nb\\n\",\"1\":true,\"q\":\"it's \\\"q\\\"\",\"d\":\"- x\","
	"\"e\":\"*x\",\"f\":\"docker://a/b:1\",\"g\":\"2001-01-01\",\"h\":-1.5,"
	"\"i\":\"~\",\"j\":\"x:\",\"k\":\"\xc3\xa4\",\"true\":\"!t\"}";

TEST(what_is_written_reads_back_the_same)
{
	struct buf b = BUF_INIT;

	ASSERT_EQ(yaml_from_json(tricky, strlen(tricky), &b, &e), 0);
	if (convert(buf_str(&b)) < 0)
		FAIL("%s\n%s", e.msg, buf_str(&b));
	EXPECT_STREQ(json, tricky);
	buf_clear(&b);
	ASSERT_EQ(yaml_from_json("{\"a\":{\"b\":[{\"c\":1,\"d\":\"x\"}]}}", 29,
				 &b, &e),
		  0);
	EXPECT_STREQ(buf_str(&b), "a:\n  b:\n  - c: 1\n    d: x\n");
	buf_clear(&b);
}

/* Found by the fuzzer: a colon beyond 1024 bytes is not seen. */
TEST(a_long_key_survives)
{
	struct buf in = BUF_INIT, b = BUF_INIT;

	buf_puts(&in, "{\"a\":[{\"");
	for (int i = 0; i < 1500; i++)
		buf_puts(&in, "k");
	buf_puts(&in, "\":{\"x\":1}}]}");
	ASSERT_EQ(yaml_from_json(in.data, in.len, &b, &e), 0);
	ASSERT_EQ(convert(buf_str(&b)), 0);
	EXPECT_STREQ(json, buf_str(&in));
	buf_clear(&in);
	buf_clear(&b);
}

TEST_MAIN()
