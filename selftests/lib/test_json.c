// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <errno.h>
#include <math.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "selftests/harness.h"

static int parse(const char *text, struct err *e)
{
	yyjson_doc *doc = NULL;
	int r = json_parse(text, strlen(text), &doc, e);

	if (r == 0)
		yyjson_doc_free(doc);
	return r;
}

TEST(refuses_what_is_not_strict_json)
{
	static const char *const bad[] = {
		"",          "{",           "{\"a\":1,}", "[1,]",
		"nul",       "{'a':1}",     "01",         "1 2",
		"\"\x01\"",  "\"\xff\"",    "[NaN]",      "// c\n1",
		"{\"a\" 1}", "\"\\ud800\"", "+1",         "\xef\xbb\xbf{}",
	};
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i], &e) != -EBADMSG)
			FAIL("'%s' is taken for JSON", bad[i]);
	EXPECT_EQ(parse("{\n  \"a\": tru\n}", &e), -EBADMSG);
	EXPECT_EQ(strncmp(e.msg, "not JSON: line 2, column ", 25), 0);
}

TEST(refuses_a_key_twice_and_says_where)
{
	struct buf b = BUF_INIT;
	struct err e = { 0 };

	EXPECT_EQ(parse("{\"a\":1,\"a\":2}", &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "a: the key is there twice");
	EXPECT_EQ(parse("{\"spec\":{\"c\":[0,{\"n\":1,\"m\":1,\"n\":2}]}}", &e),
		  -EBADMSG);
	EXPECT_STREQ(e.msg, "spec.c[1].n: the key is there twice");
	/* The same, written differently. */
	EXPECT_EQ(parse("{\"a\":1,\"\\u0061\":2}", &e), -EBADMSG);

	buf_puts(&b, "{");
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "\"k%d\":%d,", i, i);
	buf_puts(&b, "\"x\":1}");
	EXPECT_EQ(parse(buf_str(&b), &e), 0);
	buf_reset(&b);
	buf_puts(&b, "{");
	for (int i = 0; i < 100; i++)
		buf_printf(&b, "\"k%d\":%d,", i, i);
	buf_puts(&b, "\"k7\":1}");
	EXPECT_EQ(parse(buf_str(&b), &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "k7: the key is there twice");
	buf_clear(&b);
}

TEST(refuses_nul_inside_strings)
{
	struct err e = { 0 };

	EXPECT_EQ(parse("{\"image\":\"a\\u0000b\"}", &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "image: must not contain NUL");
	EXPECT_EQ(parse("{\"a\\u0000b\":1}", &e), -EBADMSG);
}

TEST(keeps_to_its_limits)
{
	struct json_limits few = { .nodes = 4 }, shallow = { .depth = 2 };
	struct json_limits brief = { .len = 3 };
	struct buf b = BUF_INIT;
	yyjson_doc *doc = NULL;
	struct err e = { 0 };

	EXPECT_EQ(json_parse_within("[1,2,3]", 7, &few, &doc, &e), 0);
	yyjson_doc_free(doc);
	EXPECT_EQ(json_parse_within("[1,2,3,4]", 9, &few, &doc, &e), -E2BIG);
	EXPECT_STREQ(e.msg, "5 values in JSON: the limit is 4");
	EXPECT_EQ(json_parse_within("[[1]]", 5, &shallow, &doc, &e), 0);
	yyjson_doc_free(doc);
	EXPECT_EQ(json_parse_within("[[[1]]]", 7, &shallow, &doc, &e), -E2BIG);
	EXPECT_EQ(json_parse_within("1234", 4, &brief, &doc, &e), -E2BIG);

	for (int i = 0; i < 100000; i++)
		buf_puts(&b, "[");
	for (int i = 0; i < 100000; i++)
		buf_puts(&b, "]");
	EXPECT_EQ(json_parse(b.data, b.len, &doc, &e), -E2BIG);
	EXPECT_STREQ(e.msg, "nested too deeply: the limit is 64");
	buf_clear(&b);
}

static const char pod[] =
	"{\"spec\":{\"replicas\":3,\"big\":18446744073709551615,\"neg\":-1,"
	"\"frac\":1.5,\"on\":true,\"nothing\":null,"
	"\"labels\":{\"app.kubernetes.io/name\":7},"
	"\"containers\":[{\"image\":5,\"name\":\"web\"}]}}";

TEST(typed_reads_name_the_field)
{
	struct json_ref root, spec, list, first, f, labels;
	const char *s = "before";
	struct err e = { 0 };
	yyjson_doc *doc;
	uint64_t u = 9;
	int64_t i = 9;
	bool on = false;

	ASSERT_EQ(json_parse(pod, strlen(pod), &doc, &e), 0);
	root = json_root(doc);
	spec = json_get(&root, "spec");
	list = json_get(&spec, "containers");
	first = json_at(&list, 0);

	f = json_get(&first, "image");
	EXPECT_EQ(json_str(&f, &s, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "spec.containers[0].image: must be a string");
	EXPECT_STREQ(s, "before");
	f = json_get(&first, "name");
	EXPECT_EQ(json_str(&f, &s, &e), 0);
	EXPECT_STREQ(s, "web");
	f = json_get(&first, "command");
	EXPECT_EQ(json_str(&f, &s, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "spec.containers[0].command: is required");
	EXPECT_EQ(json_opt_str(&f, &s, &e), 0);
	f = json_get(&spec, "nothing");
	EXPECT_EQ(json_has(&f), false);
	f = json_get(&spec, "replicas");
	EXPECT_EQ(json_i64(&f, 0, 10, &i, &e), 0);
	EXPECT_EQ(i, 3);
	EXPECT_EQ(json_i64(&f, 0, 2, &i, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "spec.replicas: must be from 0 to 2");
	f = json_get(&spec, "big");
	EXPECT_EQ(json_i64(&f, INT64_MIN, INT64_MAX, &i, &e), -EINVAL);
	EXPECT_EQ(json_u64(&f, UINT64_MAX, &u, &e), 0);
	EXPECT_EQ(u == UINT64_MAX, true);
	f = json_get(&spec, "neg");
	EXPECT_EQ(json_u64(&f, 5, &u, &e), -EINVAL);
	EXPECT_EQ(json_i64(&f, -1, 5, &i, &e), 0);
	EXPECT_EQ(i, -1);
	f = json_get(&spec, "frac");
	EXPECT_EQ(json_i64(&f, 0, 5, &i, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "spec.frac: must be a whole number");
	f = json_get(&spec, "on");
	EXPECT_EQ(json_bool(&f, &on, &e), 0);
	EXPECT_EQ(on, true);
	EXPECT_EQ(json_want_object(&f, &e), -EINVAL);
	EXPECT_EQ(json_want_array(&list, 0, &e), -E2BIG);
	EXPECT_STREQ(e.msg, "spec.containers: has 1 items: the limit is 0");
	labels = json_get(&spec, "labels");
	f = json_get(&labels, "app.kubernetes.io/name");
	EXPECT_EQ(json_str(&f, &s, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "spec.labels['app.kubernetes.io/name']: must be a"
			    " string");
	yyjson_doc_free(doc);
}

TEST(an_unknown_field_is_refused_with_a_proposal)
{
	static const char *const known[] = { "containers", "volumes", NULL };
	const char *text = "{\"contianers\":[]}";
	struct json_ref root;
	struct err e = { 0 };
	yyjson_doc *doc;

	ASSERT_EQ(json_parse(text, strlen(text), &doc, &e), 0);
	root = json_root(doc);
	EXPECT_EQ(json_only(&root, known, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "contianers: unknown field (did you mean"
			    " 'containers'?)");
	yyjson_doc_free(doc);
}

TEST(walks_objects_and_arrays)
{
	const char *text = "{\"a\":[1,[2,3],4],\"b\":{\"c\":5},\"d\":null}";
	struct json_ref root;
	char seen[64] = "", path[64];
	yyjson_doc *doc;

	ASSERT_EQ(json_parse(text, strlen(text), &doc, NULL), 0);
	root = json_root(doc);
	json_for_each (it, &root) {
		json_path(&it.item, path, sizeof(path));
		strcat(seen, path);
		json_for_each (in, &it.item) {
			json_path(&in.item, path, sizeof(path));
			strcat(seen, path);
		}
	}
	EXPECT_STREQ(seen, "aa[0]a[1]a[2]bb.cd");
	yyjson_doc_free(doc);
}

TEST(writes_what_reads_back)
{
	struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	struct err e = { 0 };

	json_put_object(&o, NULL);
	json_put_str(&o, "s", "a\"\\\n\t\x01/\xc3\xa4");
	json_put_array(&o, "list");
	json_put_i64(&o, NULL, -5);
	json_put_u64(&o, NULL, UINT64_MAX);
	json_put_object(&o, NULL);
	json_put_end(&o);
	json_put_end(&o);
	json_put_bool(&o, "t", true);
	json_put_null(&o, "n");
	json_put_double(&o, "d", 0.1);
	json_put_double(&o, "inf", INFINITY);
	json_put_fmt(&o, "f", "%d%%", 50);
	json_put_str(&o, "bad", "x\xffy\xed\xa0\x80");
	json_put_raw(&o, "raw", "[1]", 3);
	json_put_end(&o);
	EXPECT_STREQ(buf_str(&b),
		     "{\"s\":\"a\\\"\\\\\\n\\t\\u0001/\xc3\xa4\",\"list\":[-5,"
		     "18446744073709551615,{}],\"t\":true,\"n\":null,\"d\":0.1,"
		     "\"inf\":null,\"f\":\"50%\",\"bad\":\"x\xef\xbf\xbdy"
		     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\"raw\":[1]}");
	EXPECT_EQ(parse(buf_str(&b), &e), 0);
	buf_clear(&b);
}

TEST_MAIN()
