// SPDX-License-Identifier: Apache-2.0
/* LANE: native SECONDS: 30 */
#include <errno.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/spawn.h"
#include "selftests/harness.h"

struct args {
	bool follow, tty;
	const char *container;
	int64_t tail;
	uint64_t timeout_ms, cpu_milli, mem_bytes;
	const char *output;
	struct cli_strs labels;
};

static const struct cli_option options[] = {
	{ "follow", 'f', CLI_BOOL, offsetof(struct args, follow), NULL,
	  "keep on printing", NULL },
	{ "tty", 't', CLI_BOOL, offsetof(struct args, tty), NULL, "a terminal",
	  NULL },
	{ "container", 'c', CLI_STR, offsetof(struct args, container), "NAME",
	  "which one", NULL },
	{ "tail", 0, CLI_INT, offsetof(struct args, tail), "N", "last lines",
	  NULL },
	{ "timeout", 0, CLI_DURATION, offsetof(struct args, timeout_ms), "TIME",
	  "how long to wait", NULL },
	{ "cpu", 0, CLI_CPU, offsetof(struct args, cpu_milli), "CPUS", "CPUs",
	  NULL },
	{ "memory", 'm', CLI_MEM, offsetof(struct args, mem_bytes), "BYTES",
	  "memory", NULL },
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "how to print", "wide|json" },
	{ "label", 'l', CLI_STRS, offsetof(struct args, labels), "K=V", "label",
	  NULL },
	CLI_END
};

static int run_logs(const struct cli_command *c, int argc, char **argv)
{
	(void)c, (void)argv;
	return 40 + argc;
}

static const struct cli_command commands[] = {
	{ "logs", "POD", "print a log", "More text.", options, run_logs,
	  "pods" },
	{ "ps", "", "list pods", NULL, NULL, run_logs, NULL },
	{ "__complete", "KIND", NULL, NULL, NULL, run_logs, NULL },
	{ 0 }
};

static const struct cli_program program = { "arktos-test", "1.2", "a test",
					    commands };

static struct args a;
static struct err e;
static char *left[16];

/* Parse; keep what is left as operands. */
#define PARSE(...)                                                  \
	({                                                          \
		const char *v_[] = { "logs", __VA_ARGS__, NULL };   \
		char **argv_ = (char **)(uintptr_t)v_;              \
		int argc_ = (int)ARRAY_SIZE(v_) - 1, r_;            \
		a = (struct args){ .tail = -1 };                    \
		memset(left, 0, sizeof(left));                      \
		r_ = cli_parse(&commands[0], argc_, argv_, &a, &e); \
		for (int i_ = r_; r_ > 0 && i_ < argc_; i_++)       \
			left[i_ - r_] = argv_[i_];                  \
		r_ < 0 ? r_ : argc_ - r_;                           \
	})

TEST(options_may_stand_anywhere_before_the_dashes)
{
	EXPECT_EQ(PARSE("web", "-f", "--tail", "5", "x", "--container=c"), 2);
	EXPECT_EQ(a.follow, true);
	EXPECT_EQ(a.tail, 5);
	EXPECT_STREQ(a.container, "c");
	EXPECT_STREQ(left[0], "web");
	EXPECT_STREQ(left[1], "x");
	EXPECT_EQ(PARSE("-ft", "web", "-cmain", "--", "ls", "-f", "--tail"), 4);
	EXPECT_EQ(a.tty, true);
	EXPECT_STREQ(a.container, "main");
	EXPECT_STREQ(left[0], "web");
	EXPECT_STREQ(left[1], "ls");
	EXPECT_STREQ(left[3], "--tail");
	EXPECT_EQ(PARSE("-"), 1);
	EXPECT_STREQ(left[0], "-");
}

TEST(values_are_typed)
{
	EXPECT_EQ(PARSE("--timeout", "1m30s", "--cpu", "250m", "-m", "64Mi",
			"-l", "a=1", "-l", "b=2", "--follow=true",
			"--no-follow", "-o=json", "--tail=-3"),
		  0);
	EXPECT_EQ(a.timeout_ms, 90000);
	EXPECT_EQ(a.cpu_milli, 250);
	EXPECT_EQ(a.mem_bytes, 67108864);
	EXPECT_EQ(a.labels.nr, 2);
	EXPECT_STREQ(a.labels.v[1], "b=2");
	EXPECT_EQ(a.follow, false);
	EXPECT_STREQ(a.output, "json");
	EXPECT_EQ(a.tail, -3);
}

TEST(wrong_usage_is_explained)
{
	EXPECT_EQ(PARSE("--tial", "5"), -EINVAL);
	EXPECT_STREQ(e.msg, "unknown option '--tial' (did you mean '--tail'?)");
	EXPECT_EQ(PARSE("-x"), -EINVAL);
	EXPECT_STREQ(e.msg, "unknown option '-x'");
	EXPECT_EQ(PARSE("--tail"), -EINVAL);
	EXPECT_STREQ(e.msg, "--tail needs a value");
	EXPECT_EQ(PARSE("--tail", "five"), -EINVAL);
	EXPECT_STREQ(e.msg, "--tail: 'five' is not a whole number");
	EXPECT_EQ(PARSE("--timeout", "5 s"), -EINVAL);
	EXPECT_STREQ(e.msg, "--timeout: '5 s' is not a duration like 30s, 5m"
			    " or 1h30m");
	EXPECT_EQ(PARSE("--cpu", "many"), -EINVAL);
	EXPECT_EQ(strncmp(e.msg, "--cpu: 'many' is not a quantity", 31), 0);
	EXPECT_EQ(PARSE("--follow=maybe"), -EINVAL);
	EXPECT_STREQ(e.msg, "--follow: 'maybe' is not true or false");
	EXPECT_EQ(PARSE("-o", "xml"), -EINVAL);
	EXPECT_STREQ(e.msg, "--output: 'xml' is not one of wide|json");
	EXPECT_EQ(PARSE("--zzzzzz"), -EINVAL);
	EXPECT_STREQ(e.msg, "unknown option '--zzzzzz'");
}

TEST(durations)
{
	uint64_t ms = 7;

	EXPECT_EQ(cli_parse_duration("90", &ms), 0);
	EXPECT_EQ(ms, 90000);
	EXPECT_EQ(cli_parse_duration("250ms", &ms), 0);
	EXPECT_EQ(ms, 250);
	EXPECT_EQ(cli_parse_duration("1d2h3m4s5ms", &ms), 0);
	EXPECT_EQ(ms, 93784005);
	EXPECT_EQ(cli_parse_duration("0", &ms), 0);
	EXPECT_EQ(ms, 0);
	ms = 7;
	EXPECT_EQ(cli_parse_duration("", &ms), -EINVAL);
	EXPECT_EQ(cli_parse_duration("1m30", &ms), -EINVAL);
	EXPECT_EQ(cli_parse_duration("-1s", &ms), -EINVAL);
	EXPECT_EQ(cli_parse_duration("1x", &ms), -EINVAL);
	EXPECT_EQ(cli_parse_duration("s", &ms), -EINVAL);
	EXPECT_EQ(cli_parse_duration("99999999999999999999", &ms), -ERANGE);
	EXPECT_EQ(cli_parse_duration("9999999999999999d", &ms), -ERANGE);
	EXPECT_EQ(ms, 7);
}

TEST(commands_are_found_or_proposed)
{
	const char *v[] = { "p", "logs", "x", NULL };
	const char *wrong[] = { "p", "logz", NULL };
	const char *none[] = { "p", NULL };

	EXPECT_EQ(cli_main(&program, 3, (char **)(uintptr_t)v), 42);
	EXPECT_EQ(cli_main(&program, 2, (char **)(uintptr_t)wrong), 2);
	EXPECT_EQ(cli_main(&program, 1, (char **)(uintptr_t)none), 2);
}

TEST(help_comes_from_the_tables)
{
	struct buf b = BUF_INIT;

	cli_print_help(&program, &b);
	EXPECT_EQ(strstr(buf_str(&b), "  logs  print a log\n") != NULL, true);
	EXPECT_EQ(strstr(buf_str(&b), "__complete") == NULL, true);
	buf_reset(&b);
	cli_print_command_help("arktos-test", &commands[0], &b);
	EXPECT_EQ(strncmp(buf_str(&b),
			  "usage: arktos-test logs [OPTIONS] POD\n\n"
			  "print a log\n\noptions:\n"
			  "  -f, --follow          keep on printing\n",
			  90),
		  0);
	EXPECT_EQ(strstr(buf_str(&b), "how to print (wide|json)\n") != NULL,
		  true);
	buf_clear(&b);
}

/* Run the script in a real bash and ask what it proposes. */
static void complete(const char *line, char *ret, size_t size)
{
	struct spawn_result res = SPAWN_RESULT_INIT;
	struct buf script = BUF_INIT;
	const char *argv[] = { "bash", "-c", NULL, NULL };

	buf_puts(&script, "arktos-test() { echo pod-a pod-b; }\n");
	cli_completion(&program, "bash", &script);
	buf_printf(&script,
		   "COMP_WORDS=(%s); [[ \"%s\" == *' ' ]] && "
		   "COMP_WORDS+=('')\n"
		   "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
		   "_arktos_test; echo \"${COMPREPLY[*]}\"\n",
		   line, line);
	argv[2] = buf_str(&script);
	spawn_run(&(struct spawn_opts){ .argv = (char *const *)(uintptr_t)
						argv },
		  &(struct spawn_io){ .timeout_ms = 10000 }, &res, NULL);
	snprintf(ret, size, "%s%s", buf_str(&res.out), buf_str(&res.err));
	spawn_result_clear(&res);
	buf_clear(&script);
}

TEST(bash_completes_from_the_tables)
{
	char got[512];

	complete("arktos-test l", got, sizeof(got));
	EXPECT_STREQ(got, "logs\n");
	complete("arktos-test logs --t", got, sizeof(got));
	EXPECT_STREQ(got, "--tty --tail --timeout\n");
	complete("arktos-test logs -o ", got, sizeof(got));
	EXPECT_STREQ(got, "wide json\n");
	complete("arktos-test logs ", got, sizeof(got));
	EXPECT_STREQ(got, "pod-a pod-b\n");
}

TEST(tables_look_like_those_of_kubectl)
{
	struct cli_table t = CLI_TABLE_INIT;
	struct buf b = BUF_INIT;

	cli_row(&t, "NAME", "CPU", "AGE", NULL);
	cli_row(&t, "web", "500m \xe2\x86\x92 2", "5s", NULL);
	cli_row(&t, "a-longer-name", "", "x\033[2Jy", NULL);
	EXPECT_EQ(cli_table_print(&t, &b), 0);
	EXPECT_STREQ(buf_str(&b), "NAME            CPU        AGE\n"
				  "web             500m \xe2\x86\x92 2   5s\n"
				  "a-longer-name   <none>     x?[2Jy\n");
	EXPECT_EQ(cli_row(&t, "too", "few", NULL), -EINVAL);
	cli_table_clear(&t);
	buf_clear(&b);
}

TEST(ages_look_like_those_of_kubectl)
{
	static const struct {
		uint64_t s;
		const char *text;
	} want[] = {
		{ 0, "0s" },       { 119, "119s" },    { 190, "3m10s" },
		{ 660, "11m" },    { 18000, "5h" },    { 19000, "5h16m" },
		{ 100000, "27h" }, { 180000, "2d2h" }, { 1036800, "12d" },
	};
	char got[32];

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		cli_format_age(want[i].s, got, sizeof(got));
		EXPECT_STREQ(got, want[i].text);
	}
}

TEST_MAIN()
