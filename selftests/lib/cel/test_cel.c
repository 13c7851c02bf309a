// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
/* Expressions: what they come to, what is wrong with them, what they cost. The
 * cases follow the language's definition and Kubernetes' documentation. */
#include "lib/cel/cel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"
#include "selftests/harness.h"

static const char self_json[] =
	"{\"n\":3,\"max\":5,\"name\":\"web-1\",\"on\":true,\"half\":0.5,"
	"\"list\":[1,2,3],\"words\":[\"a\",\"b\",\"c\"],\"nothing\":null,"
	"\"map\":{\"a\":1,\"b\":2},\"a.b/c\":1,\"uni\":\"h\\u00e9llo\","
	"\"ports\":[{\"name\":\"http\",\"port\":80},"
	"{\"name\":\"tls\",\"port\":443}]}";

/* What an expression about that comes to, as JSON; or its error. */
static const char *value_of(const char *text, char *out, size_t size)
{
	struct cel_var vars[] = { { .name = "self" },
				  { .name = "gone", .optional = true } };
	struct cel_env env = { .vars = vars, .nr_vars = 2 };
	yyjson_doc *doc = yyjson_read(self_json, sizeof(self_json) - 1, 0);
	yyjson_mut_doc *mut = yyjson_doc_mut_copy(doc, NULL);
	yyjson_mut_val *in[] = { yyjson_mut_doc_get_root(mut), NULL }, *v;
	uint64_t budget = 100000;
	struct cel *cel = NULL;
	struct err e = { 0 };
	struct buf b = BUF_INIT;
	int r = cel_compile(text, &env, CEL_DYN, &cel, &e);

	if (r == 0)
		r = cel_eval_json(cel, in, &budget, mut, &v, &e);
	if (r == 0)
		json_write_mut(v, false, &b);
	snprintf(out, size, "%s", r ? e.msg : buf_str(&b));
	buf_clear(&b);
	cel_free(cel);
	yyjson_mut_doc_free(mut);
	yyjson_doc_free(doc);
	return out;
}

struct expect {
	const char *text, *want;
};

static void all_come_to(int *verdict_, const struct expect *all, size_t nr)
{
	char out[400];

	for (size_t i = 0; i < nr; i++) {
		value_of(all[i].text, out, sizeof(out));
		if (strcmp(out, all[i].want) != 0)
			fprintf(stderr, "# %s\n", all[i].text);
		EXPECT_STREQ(out, all[i].want);
	}
}
#define ALL(...)                                                 \
	do {                                                     \
		static const struct expect all_[] = __VA_ARGS__; \
		all_come_to(verdict_, all_, ARRAY_LEN(all_));    \
	} while (0)

TEST(literals)
{
	ALL({ { "1", "1" },
	      { "-9223372036854775808", "-9223372036854775808" },
	      { "0x1F", "31" },
	      { "7u", "7" },
	      { "1.5", "1.5" },
	      { ".5 + 1e1", "10.5" },
	      { "'it\\'s' + \"\\u00e9\\n\"", "\"it's\xc3\xa9\\n\"" },
	      { "r'\\d' + '''a'b'''", "\"\\\\da'b\"" },
	      { "string(b'\\x41\\102')", "\"AB\"" },
	      { "[1, 'a', null, true,]", "[1,\"a\",null,true]" },
	      { "{'a': 1, 'b': [2]}", "{\"a\":1,\"b\":[2]}" },
	      { "1 + 2 // what follows is no matter", "3" } });
}

TEST(operators)
{
	ALL({ { "1 + 2 * 3 - 4 / 2", "5" },
	      { "(1 + 2) * 3 % 4", "1" },
	      { "-7 / 2", "-3" },
	      { "!true || false && true", "false" },
	      { "1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2", "true" },
	      { "'a' < 'b' && b'a' < b'b' && false < true", "true" },
	      { "1 == 1.0 && 1u == 1 && 1 < 1.5", "true" },
	      { "[1, 2] == [1.0, 2u] && {'a': 1} == {'a': 1.0}", "true" },
	      { "2 in [1, 2] && 'a' in {'a': 1} && !(3 in [1])", "true" },
	      { "true ? 1 : 1 / 0", "1" },
	      { "self.n > 2 ? 'many' : 'few'", "\"many\"" },
	      { "'a' + 'b'", "\"ab\"" },
	      { "[1] + [2, 3]", "[1,2,3]" },
	      { "--5 + -(-5)", "10" },
	      { "1 in dyn('x')", "no such overload" } });
}

TEST(fields_and_items)
{
	ALL({ { "self.n + self['max']", "8" },
	      { "self.ports[1].port", "443" },
	      { "self.list[self.n - 1]", "3" },
	      { "has(self.name) && !has(self.other)", "true" },
	      { "self.other", "no such key: other" },
	      { "self.list[3]", "index out of bounds: 3" },
	      { "self.nothing == null", "true" },
	      { "self['a.b/c']", "1" },
	      { "{1: 'a'}[1]", "\"a\"" },
	      { "self.name.n", "no such overload" } });
}

TEST(errors_that_do_not_matter)
{
	ALL({ { "true || 1 / 0 == 1", "true" },
	      { "1 / 0 == 1 || true", "true" },
	      { "false && self.x == 1", "false" },
	      { "self.x == 1 && false", "false" },
	      { "self.x == 1 || false", "no such key: x" },
	      { "self.list.exists(i, 1 / (i - 1) == 1)", "true" },
	      { "self.list.all(i, 1 / (i - 1) == 5)", "false" },
	      { "[1, 0].all(i, 1 / i == 1)", "division by zero" } });
}

TEST(loops)
{
	ALL({ { "self.list.all(i, i > 0)", "true" },
	      { "self.list.exists(i, i == 2)", "true" },
	      { "self.list.exists_one(i, i > 2)", "true" },
	      { "self.list.map(i, i * 2)", "[2,4,6]" },
	      { "self.list.map(i, i > 1, i * 2)", "[4,6]" },
	      { "self.list.filter(i, i != 2)", "[1,3]" },
	      { "self.map.all(k, self.map[k] > 0)", "true" },
	      { "self.map.map(k, k)", "[\"a\",\"b\"]" },
	      { "self.ports.filter(p, p.port < 100).map(p, p.name)",
		"[\"http\"]" },
	      { "self.list.all(i, self.list.exists(j, i == j))", "true" },
	      { "self.map.all(k, v, k != '' && v > 0)", "true" },
	      { "self.list.transformList(i, v, i + v)", "[1,3,5]" },
	      { "self.map.transformMap(k, v, v > 1, v * 2)", "{\"b\":4}" },
	      { "cel.bind(x, self.n + 1, x * x)", "16" } });
}

TEST(text)
{
	ALL({ { "size(self.uni) == 5 && self.uni.size() == 5", "true" },
	      { "self.name.startsWith('web') && self.name.endsWith('-1')",
		"true" },
	      { "self.name.contains('b-') && 'abc'.matches('^a.c$')", "true" },
	      { "self.uni.charAt(1)", "\"\xc3\xa9\"" },
	      { "self.uni.substring(1, 3)", "\"\xc3\xa9l\"" },
	      { "self.uni.substring(9)", "index out of range: 9" },
	      { "self.uni.indexOf('l') + self.uni.lastIndexOf('l')", "5" },
	      { "'aXbX'.replace('X', '--')", "\"a--b--\"" },
	      { "'aXbX'.replace('X', '', 1)", "\"abX\"" },
	      { "'ab'.replace('', '.')", "\".a.b.\"" },
	      { "'a,b,c'.split(',')", "[\"a\",\"b\",\"c\"]" },
	      { "'a,b,c'.split(',', 2)", "[\"a\",\"b,c\"]" },
	      { "'abc'.split('')", "[\"a\",\"b\",\"c\"]" },
	      { "self.words.join('-') + ['x'].join()", "\"a-b-cx\"" },
	      { "' a '.trim() + 'b'.upperAscii() + 'C'.lowerAscii()",
		"\"aBc\"" },
	      { "self.uni.reverse()", "\"oll\xc3\xa9h\"" },
	      { "strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\"" },
	      { "'x'.matches('(')", "ERROR: <input>:1:13: invalid matches "
				    "argument: error parsing regexp: missing "
				    "closing ): `(`\n"
				    " | 'x'.matches('(')\n"
				    " | ............^" } });
}

TEST(conversions)
{
	ALL({ { "int('12') + int(3.9) + int(2u)", "17" },
	      { "double('1.5') + double(1)", "2.5" },
	      { "string(1) + string(true) + string(1.5) + string(3u)",
		"\"1true1.53\"" },
	      { "bool('true') && !bool('0')", "true" },
	      { "uint(5) == 5u", "true" },
	      { "int('x')", "invalid integer 'x'" },
	      { "int(1e30)", "integer overflow" },
	      { "uint(-1)", "unsigned integer overflow" },
	      { "type(1) == int && type('') == string && type([]) == list",
		"true" },
	      { "type(null) == null_type && type(type(1)) == type", "true" },
	      { "9223372036854775807 + 1", "integer overflow" } });
}

TEST(times)
{
	ALL({ { "timestamp('2024-02-29T10:20:30.5Z').getFullYear()", "2024" },
	      { "timestamp('2024-02-29T23:00:00Z').getDate('+02:00')", "1" },
	      { "timestamp('2024-02-29T00:00:00Z').getDayOfWeek()", "4" },
	      { "timestamp('2024-01-01T00:00:00Z') + duration('36h')",
		"\"2024-01-02T12:00:00Z\"" },
	      { "timestamp('2024-01-02T00:00:00Z') - "
		"timestamp('2024-01-01T00:00:00Z') == duration('24h')",
		"true" },
	      { "duration('1h30m').getMinutes() + duration('90s').getSeconds()",
		"180" },
	      { "string(duration('1.5s')) + string(duration('-2ms'))",
		"\"1.5s-0.002s\"" },
	      { "duration('5 s')", "invalid duration '5 s'" },
	      { "timestamp('yesterday')", "invalid timestamp 'yesterday'" },
	      { "duration('1m') < duration('2m') && "
		"timestamp(0) < timestamp('1970-01-01T00:00:01+00:00')",
		"true" } });
}

TEST(lists_and_sets)
{
	ALL({ { "[1, 2, 3].sum() + [1, 5, 2].max() - [4, 2].min()", "9" },
	      { "[1, 2].isSorted() && !['b', 'a'].isSorted()", "true" },
	      { "[1, 2, 1].indexOf(1) + [1, 2, 1].lastIndexOf(1)", "2" },
	      { "[].min()", "min called on empty list" },
	      { "sets.contains([1, 2], [1]) && !sets.contains([1], [2])",
		"true" },
	      { "sets.equivalent([1, 2, 2], [2, 1])", "true" },
	      { "sets.intersects([1, 2], [2, 3])", "true" } });
}

TEST(optional_values)
{
	ALL({ { "self.?n.orValue(0) + self.?other.orValue(4)", "7" },
	      { "self.?a.?b.?c.hasValue()", "false" },
	      { "self.list[?7].orValue(-1)", "-1" },
	      { "optional.of(3).optMap(x, x + 1).value()", "4" },
	      { "optional.none().or(optional.of(2)).value()", "2" },
	      { "optional.ofNonZeroValue('').hasValue()", "false" },
	      { "gone.hasValue()", "false" },
	      { "[?self.?other, 1]", "[1]" },
	      { "{?'x': self.?other, ?'n': self.?n}", "{\"n\":3}" },
	      { "optional.none().value()", "optional.none() dereference" } });
}

TEST(what_kubernetes_adds)
{
	ALL({ { "quantity('1.5Gi').isGreaterThan(quantity('1500Mi'))", "true" },
	      { "quantity('1').compareTo(quantity('1000m'))", "0" },
	      { "quantity('50k').add(quantity('1')).asInteger()", "50001" },
	      { "quantity('1e3').sub(1000).sign()", "0" },
	      { "isQuantity('200 G') || isQuantity('')", "false" },
	      { "quantity('100m').asApproximateFloat()", "0.1" },
	      { "url('https://u:p@a.b:80/c%20d?x=1&x=2&y=%41').getHost()",
		"\"a.b:80\"" },
	      { "url('https://[::1]:80/p').getHostname()", "\"::1\"" },
	      { "url('/p?x=1&x=2').getQuery()", "{\"x\":[\"1\",\"2\"]}" },
	      { "isURL('../x') || isURL('http://a b')", "false" },
	      { "ip('10.0.0.1').family() == 4 && ip('::1').isLoopback()",
		"true" },
	      { "isIP('1.2.3') || isIP('::ffff:1.2.3.4')", "false" },
	      { "ip.isCanonical('::1') && !ip.isCanonical('0:0::1')", "true" },
	      { "cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true" },
	      { "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
		"true" },
	      { "string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\"" },
	      { "cidr('::/0').prefixLength()", "0" } });
}

TEST(what_is_wrong_is_shown_where)
{
	ALL({ { "self.n +",
		"ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>'\n"
		" | self.n +\n | ........^" },
	      { "self.n > 'a' + 1",
		"ERROR: <input>:1:14: found no matching overload for '_+_' "
		"applied to '(string, int)'\n | self.n > 'a' + 1\n"
		" | .............^" },
	      { "other.n",
		"ERROR: <input>:1:1: undeclared reference to 'other' (in "
		"container '')\n | other.n\n | ^" },
	      { "self.n.find('a')",
		"ERROR: <input>:1:7: undeclared reference to 'find' (in "
		"container '')\n | self.n.find('a')\n | ......^" },
	      { "true ||\n'a'", "ERROR: <input>:2:1: expected type 'bool' but "
				"found 'string'\n | 'a'\n | ^" },
	      { "'abc", "ERROR: <input>:1:5: Syntax error: a string without "
			"end\n | 'abc\n | ....^" },
	      { "import", "ERROR: <input>:1:1: reserved identifier: import\n"
			  " | import\n | ^" },
	      { "has(self)", "ERROR: <input>:1:1: invalid argument to has() "
			     "macro\n | has(self)\n | ^" } });
}

TEST(the_result_is_of_the_kind_that_is_wanted)
{
	struct cel_env env = { 0 };
	struct cel *cel = NULL;
	struct err e = { 0 };

	EXPECT_EQ(cel_compile("1 + 1", &env, CEL_BOOL, &cel, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "must evaluate to a bool");
	EXPECT_EQ(cel_compile("true", &env, CEL_STRING, &cel, &e), -EINVAL);
	EXPECT_EQ(cel_compile("1 == 1", &env, CEL_BOOL, &cel, &e), 0);
	EXPECT_EQ(cel_eval_bool(cel, NULL, NULL, &e), 1);
	cel_free(cel);
}

TEST(cost_is_bounded)
{
	static const char *const costly[] = {
		/* 10^10 steps */
		"[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b,"
		"[0,1,2,3,4,5,6,7,8,9].all(c, [0,1,2,3,4,5,6,7,8,9].all(d,"
		"[0,1,2,3,4,5,6,7,8,9].all(e, [0,1,2,3,4,5,6,7,8,9].all(f,"
		"[0,1,2,3,4,5,6,7,8,9].all(g, [0,1,2,3,4,5,6,7,8,9].all(h,"
		"[0,1,2,3,4,5,6,7,8,9].all(i, [0,1,2,3,4,5,6,7,8,9].all(j,"
		"true))))))))))",
		/* 10^12 bytes */
		"cel.bind(a, 'xxxxxxxxxx', cel.bind(b, a+a+a+a+a+a+a+a+a+a,"
		"cel.bind(c, b+b+b+b+b+b+b+b+b+b, cel.bind(d, "
		"c+c+c+c+c+c+c+c+c+c, cel.bind(e, d+d+d+d+d+d+d+d+d+d,"
		"cel.bind(f, e+e+e+e+e+e+e+e+e+e, cel.bind(g, "
		"f+f+f+f+f+f+f+f+f+f, cel.bind(h, g+g+g+g+g+g+g+g+g+g,"
		"cel.bind(i, h+h+h+h+h+h+h+h+h+h, size(i) > 0)))))))))",
	};
	struct cel_env env = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(costly); i++) {
		uint64_t budget = 1000000;
		struct cel *cel = NULL;
		struct err e = { 0 };

		ASSERT_EQ(cel_compile(costly[i], &env, CEL_BOOL, &cel, &e), 0);
		EXPECT_EQ(cel_eval_bool(cel, NULL, &budget, &e), -E2BIG);
		EXPECT_STREQ(e.msg, i ? "it takes more than 4 MiB of memory"
				      : "actual cost limit exceeded");
		cel_free(cel);
	}
}

TEST(nesting_is_bounded)
{
	auto_buf struct buf b = BUF_INIT;
	struct cel_env env = { 0 };
	struct cel *cel = NULL;
	struct err e = { 0 };

	for (int i = 0; i < 1000; i++)
		buf_putc(&b, '(');
	EXPECT_EQ(cel_compile(buf_str(&b), &env, CEL_DYN, &cel, &e), -EINVAL);
	EXPECT_EQ(strstr(e.msg, "nested too deeply") != NULL, 1);
	buf_reset(&b);
	for (int i = 0; i < 6000; i++)
		buf_puts(&b, "!");
	buf_puts(&b, "true");
	EXPECT_EQ(cel_compile(buf_str(&b), &env, CEL_BOOL, &cel, &e), 0);
	EXPECT_EQ(cel_eval_bool(cel, NULL, NULL, &e), 1);
	cel_free(cel);
	for (int i = 0; i < 6000; i++)
		buf_puts(&b, " || true");
	EXPECT_EQ(cel_compile(buf_str(&b), &env, CEL_BOOL, &cel, &e), -E2BIG);
}

/* Who may do what: pods may be read, by who is asked about in @arg. */
static int decide(void *arg, const struct cel_check *c, struct buf *reason,
		  struct err *e)
{
	struct buf *asked = arg;

	buf_printf(asked, "%s/%s|%s|%s/%s/%s|%s|%s|%s;",
		   c->account_ns ? c->account_ns : "",
		   c->account ? c->account : "", c->path ? c->path : "",
		   c->group ? c->group : "", c->resource ? c->resource : "",
		   c->subresource ? c->subresource : "", c->ns ? c->ns : "",
		   c->name ? c->name : "", c->verb);
	if (strcmp(c->verb, "fail") == 0)
		return err_set(e, -EIO, "nobody answers");
	buf_puts(reason, "because");
	return strcmp(c->verb, "get") == 0;
}

TEST(questions_go_to_the_authorizer)
{
	static const struct expect all[] = {
		{ "authorizer.path('/x').check('get').allowed()", "true" },
		{ "authorizer.path('/x').check('post').allowed()", "false" },
		{ "authorizer.path('/x').check('get').reason()",
		  "\"because\"" },
		{ "authorizer.path('/x').check('fail').errored()", "true" },
		{ "authorizer.path('/x').check('fail').error()",
		  "\"nobody answers\"" },
		{ "authorizer.path('/x').check('fail').reason()", "\"\"" },
		{ "authorizer.path(' ').check('get').allowed()",
		  "path must not be empty" },
		{ "authorizer.group('').resource('').check('get').allowed()",
		  "resource must not be empty" },
		{ "authorizer.requestResource.check('get').allowed()", "true" },
		{ "authorizer.serviceAccount('a.b', 'c').path('/').check('get')"
		  ".allowed()",
		  "Invalid service account namespace" },
		{ "authorizer.serviceAccount('s', 'b').group('apps').resource("
		  "'d').subresource('status').namespace('n').name('x')"
		  ".fieldSelector('a=b').labelSelector('c').check('get')"
		  ".allowed()",
		  "true" },
		{ "type(authorizer) == type(authorizer.group(''))", "false" },
		/* A question is dear. */
		{ "[1,2,3,4,5,6].all(i, authorizer.path('/x').check('get')"
		  ".allowed())",
		  "actual cost limit exceeded" },
		{ "authorizer == authorizer", "no such overload" },
	};
	struct cel_var vars[] = { { .name = "authorizer",
				    .authorizer = true } };
	struct cel_env env = { .vars = vars, .nr_vars = 1 };
	auto_buf struct buf asked = BUF_INIT;
	struct cel_authorizer who = {
		.request = { .group = "g", .resource = "r", .ns = "n" },
		.decide = decide,
		.arg = &asked,
	};
	yyjson_mut_val *in[] = { NULL };
	struct cel_session *session = cel_session_new(NULL, 0, in, &who);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		auto_buf struct buf b = BUF_INIT;
		yyjson_mut_val *v = NULL;
		uint64_t budget = 100000;
		struct cel *cel = NULL;
		struct err e = { 0 };
		int r = cel_compile(all[i].text, &env, CEL_DYN, &cel, &e);

		if (r == 0)
			r = cel_session_json(session, cel, &budget, doc, &v,
					     &e);
		if (r == 0)
			json_write_mut(v, false, &b);
		EXPECT_STREQ(r ? e.msg : buf_str(&b), all[i].want);
		cel_free(cel);
	}
	EXPECT_EQ(strstr(buf_str(&asked), "/||g/r/|n||get;") != NULL, 1);
	EXPECT_EQ(strstr(buf_str(&asked), "s/b||apps/d/status|n|x|get;") !=
			  NULL,
		  1);
	cel_session_free(session);
	yyjson_mut_doc_free(doc);
}

/* "variables.NAME" counts what it costs: once. */
TEST(names_are_evaluated_once_and_when_used)
{
	static const char *const texts[] = {
		("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, "
		 "a * b > 0))"),
		"self.nothing",
		"duration('1h')",
		"variables.c + variables.c",
		"variables.b || variables.a",
	};
	static const struct expect all[] = {
		{ "variables.a", "true" },
		{ "variables.d == duration('2h')", "true" },
		{ "variables.e", "true" },
		{ "variables.b", "composited variable \"b\" fails to evaluate: "
				 "no such key: nothing" },
		{ "has(variables.b)", "true" },
		{ "variables.?a.orValue(false)", "true" },
		{ "[1].map(variables, variables + 1)[0] == 2", "true" },
		{ "variables.f",
		  "ERROR: <input>:1:10: undefined field 'f'\n | variables.f\n "
		  "| .........^" },
		{ "variables",
		  "ERROR: <input>:1:1: undeclared reference to 'variables' (in "
		  "container '')\n | variables\n | ^" },
	};
	struct cel_named named[ARRAY_SIZE(texts)];
	struct cel_var vars[] = { { .name = "self" } };
	struct cel_env env = { .vars = vars, .nr_vars = 1, .named = named };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *in[] = { yyjson_mut_obj(doc) };
	static const char *const names[] = { "a", "b", "c", "d", "e" };
	struct cel_session *session;
	uint64_t budget = 100000, before;
	struct cel *cel = NULL;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		ASSERT_EQ(cel_compile(texts[i], &env, CEL_DYN, &cel, &e), 0);
		named[i] = (struct cel_named){ names[i], cel };
		env.nr_named = i + 1;
	}
	session = cel_session_new(named, env.nr_named, in, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int r = cel_compile(all[i].text, &env, CEL_BOOL, &cel, &e);

		before = budget;
		if (r == 0)
			r = cel_session_bool(session, cel, &budget, &e);
		EXPECT_STREQ(r < 0 ? e.msg : r ? "true" : "false", all[i].want);
		if (i == 0) /* it is paid for, */
			EXPECT_EQ(before - budget > 200, 1);
		if (i == 0) {
			before = budget; /* and then it is known */
			EXPECT_EQ(cel_session_bool(session, cel, &budget, &e),
				  1);
			EXPECT_EQ(before - budget, 1);
		}
		if (r >= 0 || strstr(e.msg, "fails"))
			cel_free(cel);
		cel = NULL;
	}
	/* One that had too little may be asked again. */
	cel_session_free(session);
	session = cel_session_new(named, env.nr_named, in, NULL);
	ASSERT_EQ(cel_compile("variables.a", &env, CEL_BOOL, &cel, &e), 0);
	budget = 20;
	EXPECT_EQ(cel_session_bool(session, cel, &budget, &e), -E2BIG);
	budget = 100000;
	EXPECT_EQ(cel_session_bool(session, cel, &budget, &e), 1);
	/* Without a session there is nobody to know them. */
	EXPECT_EQ(cel_eval_bool(cel, in, &budget, &e), -EINVAL);
	cel_free(cel);
	cel_session_free(session);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cel_free((struct cel *)named[i].cel);
	yyjson_mut_doc_free(doc);
}

TEST(names_of_names_are_bounded)
{
	struct cel_named named[1100];
	struct cel_env env = { .named = named };
	auto_buf struct buf b = BUF_INIT;
	yyjson_mut_val *in[] = { NULL };
	struct cel_session *session;
	struct cel *cel = NULL;
	struct err e = { 0 };
	char names[1100][8];

	for (size_t i = 0; i < ARRAY_SIZE(named); i++) {
		snprintf(names[i], sizeof(names[i]), "n%zu", i);
		buf_reset(&b);
		buf_puts(&b, "1");
		if (i)
			buf_printf(&b, " + variables.n%zu", i - 1);
		if (cel_compile(buf_str(&b), &env, CEL_DYN, &cel, &e) < 0)
			break;
		named[env.nr_named++] = (struct cel_named){ names[i], cel };
		cel = NULL;
	}
	EXPECT_EQ(env.nr_named, 1024);
	EXPECT_EQ(strstr(e.msg, "nested too deeply") != NULL, 1);
	session = cel_session_new(named, env.nr_named, in, NULL);
	ASSERT_EQ(cel_compile("variables.n1022 == 1023", &env, CEL_BOOL, &cel,
			      &e),
		  0);
	EXPECT_EQ(cel_session_bool(session, cel, NULL, &e), 1);
	cel_free(cel);
	cel_session_free(session);
	for (size_t i = env.nr_named; i--;)
		cel_free((struct cel *)named[i].cel);
}

TEST_MAIN()
