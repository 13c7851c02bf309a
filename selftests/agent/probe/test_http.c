// SPDX-License-Identifier: Apache-2.0
/* LANE: native
 * SECONDS: 30
 *
 * The texts of HTTP probes, and outcomes against thresholds.
 */
#include <errno.h>

#include "agent/probe/internal.h"
#include "selftests/harness.h"

TEST(request_is_what_kubelet_sends)
{
	struct key_value h[] = { { (char *)"X-A", (char *)"b" },
				 { (char *)"host", (char *)"example.com" },
				 { (char *)"Connection", (char *)"upgrade" } };
	struct key_values none = { 0 }, some = { h, 3 };
	auto_buf struct buf b = BUF_INIT;
	struct probe_url u;

	ASSERT_EQ(probe_url_init(&u, false, "fd00::1", 80, "x y?q=\r\n"), 0);
	ASSERT_EQ(probe_request(&u, &none, &b), 0);
	EXPECT_STREQ(buf_str(&b),
		     "GET /x%20y?q=%0D%0A HTTP/1.1\r\nHost: [fd00::1]:80\r\n"
		     "User-Agent: kube-probe/arktos-" ARKTOS_VERSION "\r\n"
		     "Accept: */*\r\nConnection: close\r\n\r\n");
	ASSERT_EQ(probe_request(&u, &some, &b), 0);
	EXPECT_EQ(strstr(buf_str(&b), "[fd00::1]") == NULL, true);
	EXPECT_EQ(strstr(buf_str(&b), "host: example.com\r\n") != NULL, true);
	EXPECT_EQ(strstr(buf_str(&b), "upgrade") == NULL, true);
}

TEST(headers_cannot_break_the_request)
{
	static const char *const bad[][2] = {
		{ "A", "b\r\nX: y" }, { "A: b", "c" }, { "", "x" },
		{ "A\n", "x" },       { "A", "\x7f" }, { "Ä", "x" },
	};
	struct key_value ok = { (char *)"X-Tab", (char *)"a\tb \xc3\xa4" };
	struct key_values hs = { &ok, 1 };

	EXPECT_EQ(probe_headers_check(&hs), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct key_value kv = { (char *)bad[i][0], (char *)bad[i][1] };

		hs.v = &kv;
		EXPECT_EQ(probe_headers_check(&hs), -EINVAL);
	}
}

static int parse(const char *s, struct probe_answer *a)
{
	return probe_answer_parse(s, strlen(s), a);
}

TEST(answers_are_parsed_when_complete)
{
	static const char whole[] = "HTTP/1.1 302 Found\r\nA: b\r\n"
				    "location:  /x \r\n\r\nbody";
	struct probe_answer a = { 0 };

	for (size_t n = 0; n < sizeof(whole) - 5; n++)
		ASSERT_EQ(probe_answer_parse(whole, n, &a), 0);
	ASSERT_EQ(parse(whole, &a), 1);
	EXPECT_EQ(a.status, 302);
	ASSERT_EQ(a.location_len, 2);
	EXPECT_EQ(memcmp(a.location, "/x", 2), 0);
	ASSERT_EQ(parse("HTTP/1.0 204\n\n", &a), 1);
	EXPECT_EQ(a.status, 204);
	EXPECT_EQ(a.location == NULL, true);
	ASSERT_EQ(parse("HTTP/1.1 100 Continue\r\n\r\n"
			"HTTP/1.1 103 Early Hints\r\nLocation: /no\r\n\r\n"
			"HTTP/1.1 500 Oops\r\n\r\n",
			&a),
		  1);
	EXPECT_EQ(a.status, 500);
	EXPECT_EQ(a.location == NULL, true);
}

TEST(what_is_no_http_is_refused_at_once)
{
	static const char *const bad[] = {
		"SSH-2.0-x\r\n",
		"\x15\x03\x01",
		"\r\n\r\n",
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000\r\n\r\n",
		"HTTP/1.1 099 x\r\n\r\n",
		"HTTP/1.1  200\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
	};
	struct probe_answer a;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(parse(bad[i], &a), -EBADMSG);
}

TEST(redirects_lead_where_they_say)
{
	static const struct {
		const char *location, *want; /* NULL: refused */
	} cases[] = {
		{ "/b", "http://10.0.0.1:8080/b" },
		{ "b?q#f", "http://10.0.0.1:8080/dir/b?q" },
		{ "?q=2", "http://10.0.0.1:8080/dir/a?q=2" },
		{ "", "http://10.0.0.1:8080/" },
		{ "http://10.0.0.1/x", "http://10.0.0.1:80/x" },
		{ "https://10.0.0.1", "https://10.0.0.1:443/" },
		{ "HTTP://h:81?x", "http://h:81/?x" },
		{ "//other:9/p", "http://other:9/p" },
		{ "http://[fd00::1]:7/p", "http://[fd00::1]:7/p" },
		{ "/\xc3\xa4 b", "http://10.0.0.1:8080/%C3%A4%20b" },
		{ "http://", NULL },
		{ "http://a:0/", NULL },
		{ "http://a:99999/", NULL },
		{ "http://user@a/", NULL },
		{ "http://[::1/", NULL },
		{ "http://[::1]x/", NULL },
		{ "javascript:x", NULL },
		{ "/a\rb", NULL },
		{ "\\\\evil", NULL },
	};
	struct probe_url u, to;
	char text[512];

	ASSERT_EQ(probe_url_init(&u, false, "10.0.0.1", 8080, "/dir/a?q=1"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = probe_url_follow(&u, cases[i].location,
					 strlen(cases[i].location), &to);

		EXPECT_EQ(r, cases[i].want ? 0 : -EBADMSG);
		if (r < 0 || !cases[i].want)
			continue;
		probe_url_format(&to, text, sizeof(text));
		EXPECT_STREQ(text, cases[i].want);
	}
}

TEST(message_is_cut_between_characters)
{
	char text[PROBE_MESSAGE_MAX + 8];

	memset(text, 'x', sizeof(text));
	EXPECT_EQ(probe_message_cut(text, 7), 7);
	EXPECT_EQ(probe_message_cut(text, sizeof(text)), PROBE_MESSAGE_MAX);
	memcpy(text + PROBE_MESSAGE_MAX - 1, "\xe2\x82\xac", 3);
	EXPECT_EQ(probe_message_cut(text, sizeof(text)), PROBE_MESSAGE_MAX - 1);
}

/* Outcomes as 0 and 1; what is expected: the state after each, as + - or ?. */
static const char *states(enum probe_type type, uint32_t good, uint32_t bad,
			  const char *outcomes)
{
	struct probe_spec spec = { .success_threshold = good,
				   .failure_threshold = bad };
	static char out[64];
	struct probe_count c;
	size_t n = 0;
	int before;

	probe_count_init(&c, type, &spec);
	for (; *outcomes; outcomes++) {
		before = (int)c.state;
		if (probe_count_note(&c, *outcomes == '1') !=
		    (before != (int)c.state))
			return "the change was not told";
		out[n++] = "?+-"[c.state];
	}
	out[n] = '\0';
	return out;
}

TEST(thresholds_count_as_kubelet_does)
{
	EXPECT_STREQ(states(PROBE_LIVENESS, 1, 3, "00100011"), "+++++-++");
	EXPECT_STREQ(states(PROBE_READINESS, 1, 3, "01000100"), "-+++-+++");
	EXPECT_STREQ(states(PROBE_READINESS, 3, 1, "11011101"), "-----+--");
	EXPECT_STREQ(states(PROBE_STARTUP, 1, 4, "0001"), "???+");
	EXPECT_STREQ(states(PROBE_STARTUP, 1, 2, "00"), "?-");
	EXPECT_STREQ(states(PROBE_LIVENESS, 0, 0, "01"), "-+");
}

TEST_MAIN()
