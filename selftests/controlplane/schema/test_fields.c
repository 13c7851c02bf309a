// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* Sets of fields: what they hold, how values differ, merging, giving up. */
#include "controlplane/schema/fields.h"
#include "controlplane/schema/types.h"
#include "lib/json.h"
#include "selftests/harness.h"

static yyjson_mut_doc *doc;

static const struct schema *deployment(void)
{
	struct type_set *set;

	if (type_set_builtin(&set, NULL))
		abort();
	return type_find(set, "apps", "v1", "deployments")->schema;
}

static yyjson_mut_val *value(const char *text)
{
	yyjson_doc *in = yyjson_read(text, strlen(text), 0);
	yyjson_mut_val *v;

	if (!doc)
		doc = yyjson_mut_doc_new(NULL);
	v = yyjson_val_mut_copy(doc, yyjson_doc_get_root(in));
	yyjson_doc_free(in);
	return v;
}

/* A set as text; it is freed. */
static const char *text_of(struct fields *s)
{
	static struct buf b;

	buf_reset(&b);
	json_write_mut(fields_to_json(s, doc), false, &b);
	fields_free(s);
	return buf_str(&b);
}

static const char *json_of(yyjson_mut_val *v)
{
	static struct buf b;

	buf_reset(&b);
	json_write_mut(v, false, &b);
	return buf_str(&b);
}

TEST(items_are_known_by_their_keys)
{
	struct fields *s = fields_of(
		deployment(),
		value("{\"spec\":{\"replicas\":1,\"template\":{\"spec\":{"
		      "\"containers\":[{\"name\":\"c\",\"ports\":[{"
		      "\"containerPort\":80}]}]}}}}"));

	EXPECT_STREQ(text_of(s),
		     "{\"f:spec\":{\"f:replicas\":{},\"f:template\":{"
		     "\"f:spec\":{\"f:containers\":{\"k:{\\\"name\\\":\\\"c\\\""
		     "}\":{\".\":{},\"f:name\":{},\"f:ports\":{\"k:{"
		     "\\\"containerPort\\\":80,\\\"protocol\\\":\\\"TCP\\\"}\":"
		     "{\".\":{},\"f:containerPort\":{}}}}}}}}}");
}

TEST(differences)
{
	struct fields_change c;

	ASSERT_EQ(fields_compare(
			  deployment(),
			  value("{\"spec\":{\"replicas\":1,\"paused\":true}}"),
			  value("{\"spec\":{\"replicas\":2,\"minReadySeconds\":"
				"1}}"),
			  &c),
		  0);
	EXPECT_STREQ(text_of(c.modified), "{\"f:spec\":{\"f:replicas\":{}}}");
	EXPECT_STREQ(text_of(c.removed), "{\"f:spec\":{\"f:paused\":{}}}");
	EXPECT_STREQ(text_of(c.added),
		     "{\"f:spec\":{\"f:minReadySeconds\":{}}}");
}

TEST(atomic_is_one_field)
{
	struct fields_change c;

	ASSERT_EQ(fields_compare(
			  deployment(),
			  value("{\"spec\":{\"selector\":{\"matchLabels\":{"
				"\"a\":\"b\"}}}}"),
			  value("{\"spec\":{\"selector\":{\"matchLabels\":{"
				"\"a\":\"c\"}}}}"),
			  &c),
		  0);
	EXPECT_STREQ(text_of(c.modified), "{\"f:spec\":{\"f:selector\":{}}}");
	fields_free(c.added);
	fields_free(c.removed);
}

TEST(merging_keeps_places)
{
	yyjson_mut_val *live = value(
		"{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":"
		"\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"}]}}}}");
	yyjson_mut_val *applied = value(
		"{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":"
		"\"c\"},{\"name\":\"a\",\"image\":\"9\"}]}}}}");

	EXPECT_STREQ(json_of(fields_merge(deployment(), doc, live, applied)),
		     "{\"spec\":{\"template\":{\"spec\":{\"containers\":[{"
		     "\"name\":\"a\",\"image\":\"9\"},{\"name\":\"b\",\"image\":"
		     "\"2\"},{\"name\":\"c\"}]}}}}");
}

TEST(giving_up_spares_what_others_have)
{
	static const char *const all =
		"{\"metadata\":{\"labels\":{\"a\":\"1\"}},\"spec\":{\"template"
		"\":{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\"}"
		",{\"name\":\"b\",\"image\":\"2\",\"tty\":true}]}}}}";
	yyjson_mut_val *v = value(all);
	struct fields *gone = fields_of(deployment(), value(all));
	struct fields *kept = fields_of(
		deployment(),
		value("{\"spec\":{\"template\":{\"spec\":{\"containers\":[{"
		      "\"name\":\"b\",\"image\":\"2\"}]}}}}"));

	fields_subtract(gone, kept);
	fields_remove(deployment(), v, gone, kept);
	EXPECT_STREQ(json_of(mut_get(v, "spec.template.spec.containers")),
		     "[{\"name\":\"b\",\"image\":\"2\"}]");
	EXPECT_EQ(mut_get(v, "metadata.labels") == NULL, 1);
	fields_free(gone);
	fields_free(kept);
}

static void note(void *arg, const char *path)
{
	buf_printf(arg, "%s ", path);
}

TEST(paths_for_people)
{
	struct fields *s = NULL;
	struct buf b = BUF_INIT;

	ASSERT_EQ(fields_from_json(
			  value("{\"f:spec\":{\"f:ports\":{\"k:{\\\"port\\\":"
				"80}\":{\"f:name\":{}}},\"f:set\":{\"v:\\\"x\\"
				"\"\":{}}}}"),
			  &s),
		  0);
	fields_each(s, note, &b);
	EXPECT_STREQ(buf_str(&b),
		     ".spec.ports[port=80].name .spec.set[=\"x\"] ");
	buf_clear(&b);
	fields_free(s);
	EXPECT_EQ(fields_from_json(value("{\"x\":{}}"), &s), -EINVAL);
	EXPECT_EQ(fields_from_json(value("[]"), &s), -EINVAL);
}

/* @nr elements "f:k00".. from @first on, as fieldsV1. */
static struct fields *many(int first, int nr)
{
	auto_buf struct buf b = BUF_INIT;
	struct fields *s = NULL;

	buf_putc(&b, '{');
	for (int i = first; i < first + nr; i++)
		buf_printf(&b, "%s\"f:k%02d\":{}", i > first ? "," : "", i);
	buf_putc(&b, '}');
	if (fields_from_json(value(buf_str(&b)), &s))
		return NULL;
	return s;
}

/* Long sets are indexed, short ones searched: nothing else tells them apart. */
TEST(long_sets_shrink_and_grow)
{
	struct fields *s = many(0, 60), *gone = many(5, 50);
	struct fields *back = many(5, 50), *same = many(0, 60), *both;

	ASSERT_EQ(s && gone && back && same, true);
	EXPECT_EQ(fields_equal(s, same), true);
	fields_subtract(s, gone);
	EXPECT_EQ(fields_below(s, "f:k05") == NULL, true);
	EXPECT_EQ(fields_below(s, "f:k04") != NULL, true);
	EXPECT_EQ(fields_below(s, "f:k55") != NULL, true);
	EXPECT_EQ(fields_equal(s, same), false);
	for (int round = 0; round < 50; round++) {
		ASSERT_EQ(fields_add(s, back), 0);
		EXPECT_EQ(fields_equal(s, same), true);
		fields_subtract(s, gone);
	}
	both = fields_common(same, s);
	fields_free(gone);
	fields_free(back);
	fields_free(same);
	EXPECT_STREQ(text_of(s), "{\"f:k00\":{},\"f:k01\":{},\"f:k02\":{},"
				 "\"f:k03\":{},\"f:k04\":{},\"f:k55\":{},"
				 "\"f:k56\":{},\"f:k57\":{},\"f:k58\":{},"
				 "\"f:k59\":{}}");
	fields_drop(both, "f:k57");
	EXPECT_EQ(fields_below(both, "f:k57") == NULL, true);
	fields_free(both);
}

/* --- without sets --- */

static const char *const none_of_meta[] = { "f:name", "f:uid", NULL };
static const char *const none_of_root[] = { "f:apiVersion", "f:kind", NULL };

/* What a set of all that is new says, less what is nobody's. */
static char *text_by_sets(const struct schema *s, const char *json)
{
	struct fields_change c;
	struct fields *meta;
	char *out;

	if (fields_compare(s, NULL, value(json), &c))
		return NULL;
	fields_drop(c.added, "f:apiVersion");
	fields_drop(c.added, "f:kind");
	meta = fields_below(c.added, "f:metadata");
	if (meta) {
		fields_drop(meta, "f:name");
		fields_drop(meta, "f:uid");
		meta->member = false;
		if (fields_empty(meta))
			fields_drop(c.added, "f:metadata");
	}
	fields_free(c.modified);
	fields_free(c.removed);
	out = strdup(text_of(c.added));
	return out;
}

static char *text_at_once(const struct schema *s, const char *json)
{
	struct buf b = BUF_INIT;

	if (fields_text(s, value(json), none_of_root, none_of_meta, &b)) {
		buf_clear(&b);
		return NULL;
	}
	return buf_take(&b);
}

/* A list with more items, and an object with more fields, than are sorted as
 * they come. */
static char *long_one(void)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "{\"metadata\":{\"labels\":{");
	for (int i = 0; i < 40; i++)
		buf_printf(&b, "%s\"k%02d\":\"v\"", i ? "," : "", i * 7 % 40);
	buf_puts(&b, "}},\"spec\":{\"template\":{\"spec\":{\"containers\":[");
	for (int i = 0; i < 40; i++)
		buf_printf(&b, "%s{\"name\":\"c%02d\",\"tty\":true}",
			   i ? "," : "", i * 11 % 40);
	buf_puts(&b, "]}}}}");
	return buf_take(&b);
}

TEST(what_is_new_is_written_as_sets_would)
{
	auto_free char *many_of_all = long_one();
	const char *const cases[] = {
		"{}",
		"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":"
		"{\"name\":\"a\",\"uid\":\"u\"}}",
		"{\"metadata\":{\"labels\":{\"b\":\"1\",\"a.b/c\":\"2\"},"
		"\"annotations\":{},\"name\":\"x\",\"finalizers\":[\"z\",\"a\"],"
		"\"ownerReferences\":[{\"uid\":\"7\",\"kind\":\"A\"}]},"
		"\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
		"\"replicas\":3,\"template\":{\"metadata\":{\"labels\":{\"x\":"
		"\"y\"},\"name\":\"kept\"},\"spec\":{\"containers\":[{\"name\":"
		"\"b\",\"env\":[{\"name\":\"Z\",\"value\":\"\"},{\"name\":\"A\","
		"\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"spec\"}}}],\"ports\":"
		"[{\"containerPort\":80},{\"containerPort\":53,\"protocol\":"
		"\"UDP\"}],\"args\":[\"x\",\"y\"]},{\"name\":\"a\"}],"
		"\"volumes\":[],\"securityContext\":{}}}}}",
		"{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{"
		"\"quote\\\"d\":\"1\",\"back\\\\slash\":\"2\",\"\u00e9\":\"3\"}},"
		"\"spec\":{\"containers\":[{\"name\":\"q\\\"uote\"},"
		"{\"image\":\"has no name\"}]}}}}",
		"{\"spec\":null,\"status\":{\"conditions\":[{\"type\":\"B\"},"
		"{\"type\":\"A\"}]},\"unknown\":{\"deep\":[{\"x\":1}]}}",
		many_of_all,
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *want = text_by_sets(deployment(), cases[i]);
		auto_free char *got = text_at_once(deployment(), cases[i]);

		ASSERT_EQ(want && got, true);
		EXPECT_STREQ(got, want);
	}
}

/* A set would have one; text would have two. Whoever asks makes a set then. */
TEST(the_same_item_twice_is_not_written_at_once)
{
	struct buf b = BUF_INIT;

	EXPECT_EQ(fields_text(deployment(),
			      value("{\"spec\":{\"template\":{\"spec\":{"
				    "\"containers\":[{\"name\":\"a\"},{"
				    "\"name\":\"a\"}]}}}}"),
			      NULL, NULL, &b),
		  -EEXIST);
	buf_clear(&b);
}

TEST(fieldsv1_is_looked_into)
{
	yyjson_mut_val *v = value(
		"{\"f:spec\":{\".\":{},\"f:a\":{},\"f:b\":{\"f:c\":{}}}}");
	struct fields *s = NULL;

	ASSERT_EQ(fields_from_json(value("{\"f:spec\":{\"f:a\":{}}}"), &s), 0);
	EXPECT_EQ(fields_json_has_all(v, s), true);
	EXPECT_EQ(fields_json_has_any(v, s), true);
	fields_free(s);
	/* "f:b" is on the way to a member, but none itself. */
	ASSERT_EQ(fields_from_json(value("{\"f:spec\":{\"f:b\":{}}}"), &s), 0);
	EXPECT_EQ(fields_json_has_all(v, s), false);
	EXPECT_EQ(fields_json_has_any(v, s), false);
	fields_free(s);
	ASSERT_EQ(fields_from_json(
			  value("{\"f:spec\":{\"f:a\":{},\"f:x\":{}}}"), &s),
		  0);
	EXPECT_EQ(fields_json_has_all(v, s), false);
	EXPECT_EQ(fields_json_has_any(v, s), true);
	fields_free(s);
}

TEST_MAIN()
