// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* Regular expressions: RE2's syntax, and cost that no pattern can blow up. */
#include "lib/re.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "selftests/harness.h"

static int match(const char *pattern, const char *text)
{
	struct err e = { 0 };
	struct re *re = NULL;
	int r = re_compile(pattern, &re, &e);

	if (r == 0)
		r = re_match(re, text, strlen(text), NULL);
	free(re);
	return r;
}

TEST(matches)
{
	static const struct {
		const char *pattern, *text;
		int want;
	} all[] = {
		{ "a", "cat", 1 },
		{ "^a", "cat", 0 },
		{ "^c.t$", "cat", 1 },
		{ "^$", "", 1 },
		{ "", "x", 1 },
		{ "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "web-1", 1 },
		{ "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "web-", 0 },
		{ "^(a|b|cd)+$", "abcdcd", 1 },
		{ "^(a|b|cd)+$", "abc", 0 },
		{ "^a{2,3}$", "aa", 1 },
		{ "^a{2,3}$", "aaaa", 0 },
		{ "^a{2}$", "aaa", 0 },
		{ "^a{0,2}$", "", 1 },
		{ "^a{0,2}$", "aaa", 0 },
		{ "^a{2,}$", "aaaaa", 1 },
		{ "^a{2,}$", "a", 0 },
		{ "^(ab){1,3}$", "ababab", 1 },
		{ "^(ab){1,3}$", "abababab", 0 },
		{ "^a{,2}$", "a{,2}", 1 },
		{ "^\\d+(\\.\\d+)?$", "12.5", 1 },
		{ "^\\d+(\\.\\d+)?$", "12.", 0 },
		{ "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$",
		  "* * * * */5", 1 },
		{ "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$", "* * *",
		  0 },
		{ "^\\w+\\s\\S+$", "hello w!", 1 },
		{ "(?i)^HeLLo$", "hEllO", 1 },
		{ "^(?i:a)b$", "Ab", 1 },
		{ "^(?i:a)b$", "AB", 0 },
		{ "^(?i)[a-c]+$", "aBC", 1 },
		{ "^[^a-c]+$", "xyz", 1 },
		{ "^[^a-c]+$", "xaz", 0 },
		{ "^[]a]+$", "]a]", 1 },
		{ "^[a\\]-]+$", "a]-", 1 },
		{ "^[[:alpha:]_]+$", "ab_", 1 },
		{ "^[[:^digit:]]+$", "ab1", 0 },
		{ "^[\\d.]+$", "1.2", 1 },
		{ "\\bcat\\b", "a cat.", 1 },
		{ "\\bcat\\b", "concat", 0 },
		{ "\\Bcat", "concat", 1 },
		{ "a.b", "a\nb", 0 },
		{ "(?s)a.b", "a\nb", 1 },
		{ "^b$", "a\nb", 0 },
		{ "(?m)^b$", "a\nb", 1 },
		{ "\\Aab\\z", "ab", 1 },
		{ "^\\x41\\x{e4}$", "A\xc3\xa4", 1 },
		{ "^.$", "\xf0\x9f\x98\x80", 1 },
		{ "^[\xc3\xa4-\xc3\xbc]$", "\xc3\xb6", 1 },
		{ "^a*?b+?$", "aab", 1 },
		{ "^(?P<name>x)(?:y)$", "xy", 1 },
		{ "^\\Qa.b\\E$", "a.b", 1 },
		{ "^\\Qa.b\\E$", "axb", 0 },
		{ "^\\.\\/\\-\\_$", "./-_", 1 },
		{ "^\\pL+$", "aB\xc3\xa4", 1 },
		{ "^(|a)$", "", 1 },
		{ "^(a|)b$", "b", 1 },
		{ "^(a*)*$", "aaa", 1 },
		{ "^(a*)+$", "b", 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (match(all[i].pattern, all[i].text) != all[i].want)
			FAIL("/%s/ on '%s'", all[i].pattern, all[i].text);
}

TEST(refused)
{
	static const char *const bad[] = {
		"(",       ")",          "[a",        "a**",     "*a",
		"\\",      "\\y",        "[b-a]",     "(?=a)",   "(?<!a)",
		"a{3,2}",  "(?z)",       "[[:foo:]]", "\\x{zz}", "\\1",
		"a{2000}", "\\p{Greek}",
	};
	char *deep = malloc(3000);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (match(bad[i], "a") != -EINVAL)
			FAIL("/%s/", bad[i]);
	/* Repetitions of repetitions grow out of bounds: refused. */
	EXPECT_EQ(match("((a{1000}){1000}){1000}", "a"), -E2BIG);
	memset(deep, '(', 2999);
	deep[2999] = '\0';
	EXPECT_EQ(match(deep, "a"), -EINVAL);
	free(deep);
}

/* What makes backtracking matchers take for ever. */
TEST(bounded)
{
	size_t len = 50000;
	char *text = malloc(len + 1);

	memset(text, 'a', len);
	text[len] = '\0';
	EXPECT_EQ(match("^(a+)+$", text), 1);
	EXPECT_EQ(match("^(a|aa)*b$", text), 0);
	EXPECT_EQ(match("(x+x+)+y", text), 0);
	free(text);
}

TEST(budget)
{
	uint64_t budget = 1000;
	struct re *re = NULL;

	ASSERT_EQ(re_compile("^(a|b)*c", &re, NULL), 0);
	EXPECT_EQ(re_match(re, "ababc", 5, &budget), 1);
	EXPECT_EQ(budget < 1000 && budget > 0, 1);
	budget = 10;
	EXPECT_EQ(re_match(re, "ababababababab", 14, &budget), -E2BIG);
	EXPECT_EQ((long)budget, 0L);
	free(re);
}

TEST_MAIN()
