// SPDX-License-Identifier: Apache-2.0
/* arktos-node delete POD... */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/ev.h"
#include "lib/json.h"
#include "lib/str.h"

struct args {
	struct cmd_common common;
	uint64_t grace_ms, timeout_ms;
	bool force, wait;
};

#define GRACE_UNSET UINT64_MAX

const struct cli_option delete_options[] = {
	{ "grace-period", 0, CLI_DURATION, offsetof(struct args, grace_ms),
	  "TIME", "time to end by itself (the pod's own)", NULL },
	{ "force", 0, CLI_BOOL, offsetof(struct args, force), NULL,
	  "kill it at once, as --grace-period 0", NULL },
	{ "wait", 0, CLI_BOOL, offsetof(struct args, wait), NULL,
	  "wait until it is gone (true)", NULL },
	{ "timeout", 0, CLI_DURATION, offsetof(struct args, timeout_ms), "TIME",
	  "wait no longer than this (5m)", NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

/* A watch of the one pod, opened before it is deleted, so that nothing is
 * missed. */
static int open_watch(const struct args *a, const struct pod_ref *ref,
		      struct http_client **ret, struct err *e)
{
	auto_buf struct buf target = BUF_INIT;
	struct http_call call = { .method = "GET",
				  .timeout_ms = (int)a->timeout_ms };
	int r, status;

	buf_printf(&target,
		   "/api/v1/tenants/%s/namespaces/%s/pods?watch=1&name=%s",
		   ref->tenant, ref->namespace, ref->name);
	call.target = buf_str(&target);
	r = cmd_connect(&a->common, ret, e);
	if (r == 0)
		r = http_begin(*ret, &call, &status, e);
	if (r == 0 && status != 200)
		r = err_set(e, -EREMOTEIO, "the agent answered %d", status);
	return r;
}

/* Is this line of the watch the end of the pod? */
static bool is_end(const char *line, size_t len)
{
	struct json_ref root;
	yyjson_doc *doc;
	bool end;

	if (json_parse(line, len, &doc, NULL) < 0)
		return false;
	root = json_root(doc);
	end = str_eq(view_str(&root, "type"), "DELETED");
	yyjson_doc_free(doc);
	return end;
}

static int wait_gone(struct http_client *watch, const struct args *a,
		     const char *name, struct err *e)
{
	uint64_t end = ev_clock_ms() + a->timeout_ms;
	auto_buf struct buf in = BUF_INIT;
	char piece[16384], *nl;
	ssize_t n;

	while (ev_clock_ms() < end) {
		n = http_read(watch, piece, sizeof(piece), e);
		if (n == -ETIMEDOUT)
			break;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return err_set(e, -ECONNRESET,
				       "the agent stopped in between");
		buf_add(&in, piece, (size_t)n);
		while (in.len && (nl = memchr(in.data, '\n', in.len))) {
			if (is_end(in.data, (size_t)(nl - in.data)))
				return 0;
			buf_consume(&in, (size_t)(nl - in.data) + 1);
		}
	}
	return err_set(e, -ETIMEDOUT,
		       "pod/%s: still there after %" PRIu64
		       " s; --force kills it",
		       name, a->timeout_ms / 1000);
}

static int delete_one(const struct args *a, const char *name, struct err *e)
{
	auto_buf struct buf target = BUF_INIT, out = BUF_INIT;
	struct http_client *c = NULL, *watch = NULL;
	struct pod_ref ref;
	int r;

	r = pod_ref_parse(&a->common, name, &ref, e);
	if (r == 0)
		r = cmd_connect(&a->common, &c, e);
	if (r == 0 && a->wait)
		r = open_watch(a, &ref, &watch, e);
	if (r == 0) {
		pod_ref_target(&ref, "", &target);
		if (a->force)
			buf_puts(&target, "?gracePeriodSeconds=0");
		else if (a->grace_ms != GRACE_UNSET)
			buf_printf(&target, "?gracePeriodSeconds=%" PRIu64,
				   (a->grace_ms + 999) / 1000);
		r = cmd_call(c, "DELETE", buf_str(&target), NULL, 0, &out, e);
	}
	if (r == 0 && a->wait) {
		/* Gone already, before the watch had seen it? */
		buf_reset(&target);
		pod_ref_target(&ref, "", &target);
		r = cmd_call(c, "GET", buf_str(&target), NULL, 0, &out, e);
		if (r == 0)
			r = wait_gone(watch, a, ref.name, e);
		else if (r == -ENOENT)
			r = 0;
	}
	http_client_close(c);
	http_client_close(watch);
	if (r < 0)
		return r;
	printf("pod/%s deleted\n", ref.name);
	return 0;
}

int cmd_delete(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .grace_ms = GRACE_UNSET,
			  .timeout_ms = 5 * 60 * 1000,
			  .wait = true };
	int first = cmd_begin(c, argc, argv, &a, 1, -1);
	int code = 0;

	if (first < 0)
		return CMD_EXIT(first);
	for (int i = first; i < argc; i++) {
		struct err e = { 0 };

		if (delete_one(&a, argv[i], &e) < 0)
			code = cli_fail(&e);
	}
	return code;
}
