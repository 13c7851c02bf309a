// SPDX-License-Identifier: Apache-2.0
/* arktos-node top: what pods use, as it changes */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

struct args {
	struct cmd_common common;
	bool once;
	uint64_t interval_ms;
	const char *output;
};

const struct cli_option top_options[] = {
	{ "once", 0, CLI_BOOL, offsetof(struct args, once), NULL,
	  "print one table and end", NULL },
	{ "interval", 0, CLI_DURATION, offsetof(struct args, interval_ms),
	  "TIME", "between two tables (2s)", NULL },
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "how to print, once", "json" },
	CMD_COMMON_OPTIONS,
	CLI_END
};

/* Two readings: rates are what happened between them. */
struct reading {
	yyjson_doc *doc;
	uint64_t at_ms;
};

static struct json_ref pods_of(const struct reading *r)
{
	struct json_ref root = { .val = NULL };

	if (r->doc)
		root = json_root(r->doc);
	return view_get(&root, "pods");
}

static struct json_ref same_pod(const struct reading *before,
				const struct json_ref *pod)
{
	struct json_ref pods = pods_of(before);
	const char *uid = view_str(pod, "podRef.uid");
	const char *name = view_str(pod, "podRef.name");

	json_for_each (it, &pods)
		if (str_eq(view_str(&it.item, "podRef.uid"), uid) &&
		    str_eq(view_str(&it.item, "podRef.name"), name))
			return (struct json_ref){ .val = it.item.val };
	return (struct json_ref){ .val = NULL };
}

/* The growth of a counter, per second. */
static uint64_t rate(const struct json_ref *then, const struct json_ref *now,
		     const char *path, uint64_t ms)
{
	uint64_t a = view_u64(then, path), b = view_u64(now, path);

	return json_has(then) && ms && b > a ? (b - a) * 1000 / ms : 0;
}

static double pressure(const struct json_ref *pod, const char *path)
{
	struct json_ref f = view_get(pod, path);

	return yyjson_is_num(f.val) ? yyjson_get_num(f.val) : 0;
}

static void add_row(struct cli_table *t, const struct json_ref *then,
		    const struct json_ref *now, uint64_t ms)
{
	uint64_t nano = rate(then, now, "cpu.usageCoreNanoSeconds", ms);
	uint64_t held = rate(then, now, "cpu.throttledNanoSeconds", ms);
	char cpu[24], throttled[24], psi[64], mem[QUANTITY_TEXT_SIZE],
		rd[QUANTITY_TEXT_SIZE], wr[QUANTITY_TEXT_SIZE], io[64];

	if (!json_has(then))
		nano = view_u64(now, "cpu.usageNanoCores");
	snprintf(cpu, sizeof(cpu), "%" PRIu64 "m", nano / 1000000);
	snprintf(throttled, sizeof(throttled), "%" PRIu64 "%%",
		 held / 10000000);
	quantity_format_human(view_u64(now, "memory.workingSetBytes"), mem);
	snprintf(psi, sizeof(psi), "%.1f/%.1f/%.1f",
		 pressure(now, "cpu.psi.some.avg10"),
		 pressure(now, "memory.psi.some.avg10"),
		 pressure(now, "io.psi.some.avg10"));
	quantity_format_human(rate(then, now, "io.readBytes", ms), rd);
	quantity_format_human(rate(then, now, "io.writeBytes", ms), wr);
	snprintf(io, sizeof(io), "%s/%s", rd, wr);
	cli_row(t, view_str(now, "podRef.tenant"),
		view_str(now, "podRef.namespace"), view_str(now, "podRef.name"),
		cpu, throttled, mem, psi, io, NULL);
}

static int put_table(const struct reading *then, const struct reading *now,
		     struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;
	struct json_ref pods = pods_of(now);
	int r;

	cli_row(&t, "TENANT", "NAMESPACE", "NAME", "CPU", "THROTTLED", "MEMORY",
		"PRESSURE % (CPU/MEM/IO)", "IO/S (READ/WRITE)", NULL);
	json_for_each (it, &pods) {
		struct json_ref before = same_pod(then, &it.item);

		add_row(&t, &before, &it.item, now->at_ms - then->at_ms);
	}
	r = cli_table_print(&t, b);
	cli_table_clear(&t);
	return r;
}

static int take_reading(struct http_client *c, struct reading *ret,
			struct err *e)
{
	auto_buf struct buf out = BUF_INIT;
	int r;

	r = cmd_call(c, "GET", "/stats/summary", NULL, 0, &out, e);
	if (r < 0)
		return r;
	ret->at_ms = ev_clock_ms();
	return json_parse(buf_str(&out), out.len, &ret->doc, e);
}

/* 0 when the time is over, 1 when it shall end. */
static int pause_or_end(int sigfd, uint64_t ms)
{
	struct pollfd p = { .fd = sigfd, .events = POLLIN };

	return poll(&p, 1, ms > 3600000 ? 3600000 : (int)ms) != 0;
}

static int show(struct http_client *c, const struct args *a, int sigfd,
		struct err *e)
{
	bool screen = !a->once && isatty(STDOUT_FILENO);
	struct reading then = { NULL, 0 }, now = { NULL, 0 };
	uint64_t pause = a->once ? 500 : a->interval_ms;
	int r;

	r = take_reading(c, &then, e);
	while (r == 0) {
		auto_buf struct buf b = BUF_INIT;

		if (pause_or_end(sigfd, pause))
			break;
		r = take_reading(c, &now, e);
		if (r < 0)
			break;
		if (screen)
			buf_puts(&b, "\033[H\033[2J");
		r = put_table(&then, &now, &b);
		if (r == 0)
			r = cmd_print(&b) ? -EIO : 0;
		yyjson_doc_free(then.doc);
		then = now;
		now.doc = NULL;
		if (a->once)
			break;
	}
	if (then.doc)
		yyjson_doc_free(then.doc);
	return r;
}

static int run(struct http_client *c, const struct args *a, struct err *e)
{
	auto_buf struct buf out = BUF_INIT;
	auto_close int sigfd = -EBADF;
	sigset_t set;
	int r;

	if (a->output) {
		r = cmd_call(c, "GET", "/stats/summary", NULL, 0, &out, e);
		buf_putc(&out, '\n');
		return r < 0 ? r : cmd_print(&out);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigfd = signalfd(-1, &set, SFD_CLOEXEC);
	return show(c, a, sigfd, e);
}

int cmd_top(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .interval_ms = 2000 };
	struct http_client *client = NULL;
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 0, 0);

	if (r < 0)
		return CMD_EXIT(r);
	if (a.interval_ms < 100)
		a.interval_ms = 100;
	r = cmd_connect(&a.common, &client, &e);
	if (r == 0)
		r = run(client, &a, &e);
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : r;
}
