// SPDX-License-Identifier: Apache-2.0
/* arktos-node logs POD */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "lib/auto.h"
#include "lib/http/url.h"

struct args {
	struct cmd_common common;
	const char *container;
	bool follow, previous, timestamps;
	int64_t tail;
	uint64_t since_ms;
};

const struct cli_option logs_options[] = {
	{ "container", 'c', CLI_STR, offsetof(struct args, container), "NAME",
	  "which container", NULL },
	{ "follow", 'f', CLI_BOOL, offsetof(struct args, follow), NULL,
	  "go on as more is written", NULL },
	{ "tail", 0, CLI_INT, offsetof(struct args, tail), "N",
	  "only the last N lines", NULL },
	{ "previous", 'p', CLI_BOOL, offsetof(struct args, previous), NULL,
	  "of the run before the last restart", NULL },
	{ "since", 0, CLI_DURATION, offsetof(struct args, since_ms), "TIME",
	  "only what is not older, like 5m", NULL },
	{ "timestamps", 0, CLI_BOOL, offsetof(struct args, timestamps), NULL,
	  "begin each line with its time", NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

static void put_target(const struct pod_ref *ref, const struct args *a,
		       struct buf *b)
{
	pod_ref_target(ref, "/log?", b);
	buf_printf(b, "follow=%d&previous=%d&timestamps=%d", a->follow,
		   a->previous, a->timestamps);
	if (a->tail >= 0)
		buf_printf(b, "&tailLines=%" PRId64, a->tail);
	if (a->since_ms)
		buf_printf(b, "&sinceSeconds=%" PRIu64,
			   (a->since_ms + 999) / 1000);
	if (a->container) {
		buf_puts(b, "&container=");
		url_encode(b, a->container);
	}
}

static int print_log(struct http_client *c, const char *target, struct err *e)
{
	struct http_call call = { .method = "GET",
				  .target = target,
				  .timeout_ms = -1 };
	auto_buf struct buf failure = BUF_INIT;
	char piece[32768];
	ssize_t n;
	int r, status;

	r = http_begin(c, &call, &status, e);
	if (r < 0)
		return r;
	while ((n = http_read(c, piece, sizeof(piece), e)) > 0) {
		if (status != 200)
			buf_add(&failure, piece, (size_t)n);
		else if (fwrite(piece, 1, (size_t)n, stdout) != (size_t)n ||
			 fflush(stdout) != 0)
			return err_sys(e, "write");
	}
	if (n < 0)
		return err_wrap(e, (int)n, "the log was cut off");
	return status == 200 ? 0 : cmd_status(status, &failure, e);
}

int cmd_logs(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf target = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .tail = -1 };
	struct pod_ref ref;
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	r = pod_ref_find(&a.common, argv[r], &ref, &e);
	if (r == 0)
		r = cmd_connect(&a.common, &client, &e);
	if (r == 0) {
		put_target(&ref, &a, &target);
		r = print_log(client, buf_str(&target), &e);
	}
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : 0;
}
