// SPDX-License-Identifier: Apache-2.0
/* arktos-node reboot POD, snapshot POD, restore POD */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

#define TIMEOUT_MS     (5 * 60 * 1000)
#define TIMEOUT_MAX_MS 86400000

struct args {
	struct cmd_common common;
	const char *name, *delete;
	uint64_t timeout_ms, delay_ms;
};

#define TIMEOUT                                                                \
	{                                                                      \
		"timeout", 0, CLI_DURATION, offsetof(struct args, timeout_ms), \
			"TIME", "wait no longer than this (5m)", NULL          \
	}

const struct cli_option reboot_options[] = {
	{ "delay", 0, CLI_DURATION, offsetof(struct args, delay_ms), "TIME",
	  "wait before (0s)", NULL },
	TIMEOUT,
	CMD_POD_OPTIONS,
	CLI_END
};

const struct cli_option snapshot_options[] = {
	{ "name", 0, CLI_STR, offsetof(struct args, name), "NAME",
	  "of the snapshot (snapshot-TIME)", NULL },
	{ "delete", 0, CLI_STR, offsetof(struct args, delete), "NAME",
	  "delete that one instead", NULL },
	TIMEOUT,
	CMD_POD_OPTIONS,
	CLI_END
};

const struct cli_option restore_options[] = { { "snapshot", 0, CLI_STR,
						offsetof(struct args, name),
						"NAME", "the snapshot", NULL },
					      TIMEOUT,
					      CMD_POD_OPTIONS,
					      CLI_END };

static void put_body(const char *operation, const struct args *a, struct buf *b)
{
	const char *snapshot = a->delete ? a->delete : a->name;
	struct json_out o = JSON_OUT(b);
	char params[64];

	json_put_object(&o, NULL);
	json_put_str(&o, "operation", operation);
	if (a->delay_ms) {
		json_put_object(&o, "rebootParams");
		json_put_u64(&o, "delayInSeconds", a->delay_ms / 1000);
		json_put_end(&o);
	}
	if (snapshot) {
		snprintf(params, sizeof(params), "%sParams", operation);
		json_put_object(&o, params);
		json_put_str(&o,
			     str_eq(operation, "snapshot") ? "snapshotName"
							   : "snapshotID",
			     snapshot);
		json_put_end(&o);
	}
	json_put_end(&o);
}

/* "pod/vm snapshot s1 taken, 412 ms" */
static int print_result(const struct pod_ref *ref, const char *done,
			const struct args *a, const struct buf *answer,
			struct err *e)
{
	const char *state, *snapshot;
	struct json_ref root;
	yyjson_doc *doc;
	int r;

	r = json_parse(buf_str(answer), answer->len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	state = view_str(&root, "state");
	snapshot = view_str(&root, "snapshotID");
	if (str_eq(state, "Done"))
		printf("pod/%s %s%s%s, %" PRIu64 " ms\n", ref->name, done,
		       *snapshot ? " " : "", snapshot,
		       view_u64(&root, "milliseconds"));
	else if (str_eq(state, "InProgress"))
		r = err_set(e, -ETIMEDOUT,
			    "pod/%s: not done within %" PRIu64 " s; it goes on",
			    ref->name, a->timeout_ms / 1000);
	else
		r = err_set(e, -EIO, "pod/%s: %s", ref->name,
			    view_str(&root, "message"));
	yyjson_doc_free(doc);
	return r;
}

static int run(struct args *a, const char *pod, const char *operation,
	       const char *done)
{
	auto_buf struct buf target = BUF_INIT, body = BUF_INIT, out = BUF_INIT;
	struct http_client *client = NULL;
	struct pod_ref ref;
	struct err e = { 0 };
	uint64_t seconds;
	int r;

	if (a->timeout_ms > TIMEOUT_MAX_MS)
		a->timeout_ms = TIMEOUT_MAX_MS;
	seconds = (a->timeout_ms + 999) / 1000;
	r = pod_ref_find(&a->common, pod, &ref, &e);
	if (r == 0)
		r = cmd_connect(&a->common, &client, &e);
	if (r == 0) {
		pod_ref_target(&ref, "/action", &target);
		buf_printf(&target, "?timeoutSeconds=%" PRIu64, seconds);
		put_body(operation, a, &body);
		r = cmd_call(client, "POST", buf_str(&target), buf_str(&body),
			     (int)(seconds + 30) * 1000, &out, &e);
	}
	http_client_close(client);
	if (r == 0)
		r = print_result(&ref, done, a, &out, &e);
	return r < 0 ? cli_fail(&e) : 0;
}

int cmd_reboot(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .timeout_ms = TIMEOUT_MS };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	return r < 0 ? CMD_EXIT(r) : run(&a, argv[r], "reboot", "rebooted");
}

int cmd_snapshot(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .timeout_ms = TIMEOUT_MS };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	return a.delete ? run(&a, argv[r], "deleteSnapshot", "deleted snapshot")
			: run(&a, argv[r], "snapshot", "took snapshot");
}

int cmd_restore(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .timeout_ms = TIMEOUT_MS };
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	if (!a.name) {
		err_set(&e, -EINVAL,
			"say which: --snapshot NAME; 'describe' lists them");
		return cli_usage(c, -EINVAL, &e);
	}
	return run(&a, argv[r], "restore", "restored");
}
