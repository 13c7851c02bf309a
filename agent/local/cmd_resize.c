// SPDX-License-Identifier: Apache-2.0
/* arktos-node resize POD --cpu 2 --memory 512Mi */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

struct args {
	struct cmd_common common;
	const char *container, *output;
	uint64_t cpu_milli, mem_bytes, timeout_ms;
};

#define UNSET UINT64_MAX

const struct cli_option resize_options[] = {
	{ "cpu", 0, CLI_CPU, offsetof(struct args, cpu_milli), "CPUS",
	  "new limit, like 2, 1.5 or 250m", NULL },
	{ "memory", 0, CLI_MEM, offsetof(struct args, mem_bytes), "BYTES",
	  "new limit, like 512Mi", NULL },
	{ "container", 'c', CLI_STR, offsetof(struct args, container), "NAME",
	  "which container", NULL },
	{ "timeout", 0, CLI_DURATION, offsetof(struct args, timeout_ms), "TIME",
	  "wait so long for its end (30s); 0: do not wait", NULL },
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "how to print", "json" },
	CMD_POD_OPTIONS,
	CLI_END
};

#define ARROW " \xe2\x86\x92 "

/* "cpu 500m -> 2, memory 64Mi -> 512Mi": what it became when it is @done, else
 * what was asked for. */
static void put_amounts(const struct json_ref *res, const struct args *a,
			bool done, struct buf *b)
{
	struct json_ref before = view_get(res, "before");
	struct json_ref after = view_get(res, "after");
	struct quantity_set was, is;
	char x[QUANTITY_TEXT_SIZE], y[QUANTITY_TEXT_SIZE];

	set_read(&before, &was);
	set_read(&after, &is);
	if (!done)
		is = (struct quantity_set){ .has_cpu = true,
					    .has_mem = true,
					    .cpu_milli = a->cpu_milli,
					    .mem_bytes = a->mem_bytes };
	if (a->cpu_milli != UNSET) {
		set_cpu_text(&was, x, sizeof(x));
		set_cpu_text(&is, y, sizeof(y));
		buf_printf(b, "cpu %s" ARROW "%s, ", x, y);
	}
	if (a->mem_bytes != UNSET) {
		set_mem_text(&was, x, sizeof(x));
		set_mem_text(&is, y, sizeof(y));
		buf_printf(b, "memory %s" ARROW "%s, ", x, y);
	}
}

static int print_result(const struct buf *answer, const struct args *a,
			struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	const char *state, *why;
	struct json_ref root;
	yyjson_doc *doc;
	int code = 0, r;

	r = json_parse(buf_str(answer), answer->len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	state = view_str(&root, "state");
	why = view_str(&root, "message");
	put_amounts(&root, a, str_eq(state, "Done"), &b);
	if (str_eq(state, "Done")) {
		buf_printf(&b, "%s confirmed, %" PRIu64 " ms%s%s\n",
			   view_str(&root, "confirmedBy"),
			   view_u64(&root, "milliseconds"), *why ? "; " : "",
			   why);
	} else if (str_eq(state, "Accepted")) {
		buf_printf(&b, "accepted, %s\n", why);
	} else if (str_eq(state, "InProgress")) {
		buf_printf(&b,
			   "in progress, not done within %" PRIu64 " s%s%s\n",
			   a->timeout_ms / 1000, *why ? ": " : "", why);
		code = a->timeout_ms ? 1 : 0;
	} else if (str_eq(state, "Deferred")) {
		buf_printf(&b, "deferred until there is room: %s\n", why);
		code = 1;
	} else if (str_eq(state, "Infeasible")) {
		buf_printf(&b, "infeasible: %s\n", why);
		code = 1;
	} else if (str_eq(state, "Superseded")) {
		buf_printf(&b, "superseded: %s\n", why);
		code = 1;
	} else {
		buf_printf(&b, "failed: %s\n", why);
		code = 1;
	}
	yyjson_doc_free(doc);
	r = cmd_print(&b);
	return r ? r : code;
}

static void put_body(const struct args *a, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	char text[QUANTITY_TEXT_SIZE];

	json_put_object(&o, NULL);
	if (a->container)
		json_put_str(&o, "container", a->container);
	if (a->cpu_milli != UNSET)
		json_put_str(&o, "cpu",
			     quantity_format_cpu(a->cpu_milli, text));
	if (a->mem_bytes != UNSET)
		json_put_str(&o, "memory",
			     quantity_format_mem(a->mem_bytes, text));
	json_put_end(&o);
}

static int resize(const struct args *a, const struct pod_ref *ref,
		  struct buf *out, struct err *e)
{
	auto_buf struct buf target = BUF_INIT, body = BUF_INIT;
	struct http_client *client = NULL;
	uint64_t seconds = (a->timeout_ms + 999) / 1000;
	int r;

	pod_ref_target(ref, "/resize", &target);
	buf_printf(&target, "?timeoutSeconds=%" PRIu64, seconds);
	put_body(a, &body);
	r = cmd_connect(&a->common, &client, e);
	if (r == 0)
		r = cmd_call(client, "PATCH", buf_str(&target), buf_str(&body),
			     (int)(seconds + 30) * 1000, out, e);
	http_client_close(client);
	return r;
}

int cmd_resize(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .cpu_milli = UNSET,
			  .mem_bytes = UNSET,
			  .timeout_ms = 30000 };
	auto_buf struct buf out = BUF_INIT;
	struct pod_ref ref;
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	if (a.cpu_milli == UNSET && a.mem_bytes == UNSET) {
		err_set(&e, -EINVAL, "say what to change: --cpu, --memory");
		return cli_usage(c, -EINVAL, &e);
	}
	if (a.timeout_ms > 86400000)
		a.timeout_ms = 86400000;
	r = pod_ref_find(&a.common, argv[r], &ref, &e);
	if (r == 0)
		r = resize(&a, &ref, &out, &e);
	if (r == 0 && a.output) {
		buf_putc(&out, '\n');
		r = cmd_print(&out);
	} else if (r == 0) {
		r = print_result(&out, &a, &e);
	}
	return r < 0 ? cli_fail(&e) : r;
}
