// SPDX-License-Identifier: Apache-2.0
/* Credentials out of docker's files, and which are for an image. */
#include <errno.h>
#include <string.h>

#include "agent/image/keyring.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "selftests/harness.h"

static int add(struct keyring *k, const char *json, struct err *e)
{
	return keyring_add(k, json, strlen(json), e);
}

static const char *where(const struct keyring *k, size_t from, const char *repo)
{
	const struct keyring_entry *en = keyring_find(k, from, repo);

	return en ? en->where : "none";
}

TEST(the_most_exact_place_comes_first)
{
	struct keyring k = { 0 };

	ASSERT_EQ(add(&k,
		      "{\"auths\":{\"r.io\":{\"auth\":\"YTpi\"},"
		      "\"r.io/team\":{\"username\":\"u\",\"password\":\"p\"},"
		      "\"https://index.docker.io/v1/\":{\"auth\":\"YTpi\"},"
		      "\"*.example.com\":{\"auth\":\"YTpi\"},"
		      "\"h:5000\":{\"auth\":\"YTpi\"}}}",
		      NULL),
		  0);
	EXPECT_EQ(k.nr, 5);
	EXPECT_STREQ(where(&k, 0, "r.io/team/app"), "r.io/team");
	EXPECT_STREQ(where(&k, 0, "r.io/other"), "r.io");
	EXPECT_STREQ(where(&k, 0, "docker.io/library/x"), "docker.io");
	EXPECT_STREQ(where(&k, 0, "a.example.com/x"), "*.example.com");
	EXPECT_STREQ(where(&k, 0, "a.b.example.com/x"), "none");
	EXPECT_STREQ(where(&k, 0, "example.com/x"), "none");
	EXPECT_STREQ(where(&k, 0, "h:5000/x"), "h:5000");
	EXPECT_STREQ(where(&k, 0, "h:5001/x"), "none");
	EXPECT_STREQ(where(&k, 0, "h/x"), "none");
	keyring_clear(&k);
}

TEST(several_files_are_tried_in_turn)
{
	struct keyring k = { 0 };
	const struct keyring_entry *en;

	ASSERT_EQ(add(&k, "{\"r.io\":{\"auth\":\"YTpi\"}}", NULL), 0);
	ASSERT_EQ(add(&k,
		      "{\"r.io\":{\"username\":\"c\",\"password\":\"d\"},"
		      "\"helped.io\":{}}",
		      NULL),
		  0);
	en = keyring_find(&k, 0, "r.io/x");
	ASSERT_EQ(en != NULL, 1);
	EXPECT_STREQ(en->auth, "YTpi");
	en = keyring_find(&k, (size_t)(en - k.v) + 1, "r.io/x");
	ASSERT_EQ(en != NULL, 1);
	EXPECT_STREQ(en->auth, "Yzpk");
	EXPECT_STREQ(where(&k, 2, "r.io/x"), "none");
	keyring_clear(&k);
}

TEST(what_is_written_is_for_one_host)
{
	auto_buf struct buf b = BUF_INIT;
	struct keyring k = { 0 };

	ASSERT_EQ(add(&k,
		      "{\"auths\":{\"r.io:5000/team\":{\"identitytoken\":"
		      "\"t\"},\"x.io\":{\"auth\":\"YTpi\"}}}",
		      NULL),
		  0);
	ASSERT_EQ(keyring_put(keyring_find(&k, 0, "r.io:5000/team/a"),
			      "r.io:5000/team/a", &b),
		  0);
	EXPECT_STREQ(buf_str(&b),
		     "{\"auths\":{\"r.io:5000\":{\"identitytoken\":\"t\"}}}");
	keyring_clear(&k);
}

TEST(bad_files_are_told_and_change_nothing)
{
	static const struct {
		const char *json, *says;
	} bad[] = {
		{ "{\"auths\":[]}", "not a JSON object with \"auths\" in it" },
		{ "[]", "not a JSON object with \"auths\" in it" },
		{ "{", "not JSON" },
		{ "{\"r.io\":\"secret\"}", "\"r.io\" is not an object" },
		{ "{\"r.io\":{\"auth\":\"bm9jb2xvbg==\"}}",
		  "\"r.io\" has neither username and password, nor auth "
		  "(base64 of USER:PASSWORD)" },
		{ "{\"r.io\":{\"username\":\"secret\"}}",
		  "\"r.io\" has neither username and password, nor auth "
		  "(base64 of USER:PASSWORD)" },
	};
	struct keyring k = { 0 };

	ASSERT_EQ(add(&k, "{\"a.io\":{\"auth\":\"YTpi\"}}", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = { 0 };

		EXPECT_EQ(add(&k, bad[i].json, &e), -EBADMSG);
		EXPECT_STREQ(e.msg, bad[i].says);
		EXPECT_EQ(k.nr, 1);
	}
	keyring_clear(&k);
}

TEST_MAIN()
