// SPDX-License-Identifier: Apache-2.0
/* arktos-node exec POD -- CMD..., and arktos-node console POD */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "agent/local/stream.h"
#include "agent/local/terminal.h"
#include "lib/auto.h"
#include "lib/http/url.h"

#define EXEC_HEAD_MS 120000

struct args {
	struct cmd_common common;
	const char *container;
	bool in, tty;
};

const struct cli_option exec_options[] = {
	{ "stdin", 'i', CLI_BOOL, offsetof(struct args, in), NULL,
	  "pass standard input on", NULL },
	{ "tty", 't', CLI_BOOL, offsetof(struct args, tty), NULL,
	  "give it a terminal", NULL },
	{ "container", 'c', CLI_STR, offsetof(struct args, container), "NAME",
	  "which container", NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

const struct cli_option console_options[] = {
	{ "container", 'c', CLI_STR, offsetof(struct args, container), "NAME",
	  "which container", NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

static void put_container(struct buf *b, const struct args *a)
{
	if (!a->container)
		return;
	buf_puts(b, "&container=");
	url_encode(b, a->container);
}

static void put_exec(const struct pod_ref *ref, const struct args *a,
		     char *const *argv, int argc, struct buf *b)
{
	uint16_t rows, cols;

	pod_ref_target(ref, "/exec?", b);
	buf_printf(b, "stdin=%d&tty=%d", a->in, a->tty);
	terminal_size(&rows, &cols);
	if (a->tty && rows)
		buf_printf(b, "&rows=%u&columns=%u", rows, cols);
	put_container(b, a);
	for (int i = 0; i < argc; i++) {
		buf_puts(b, "&command=");
		url_encode(b, argv[i]);
	}
}

/* Run the session; the command's exit code, or -errno. */
static int session(const struct args *a, const char *target,
		   const struct terminal_opts *o, struct err *e)
{
	/* A guest may have to be asked first; then there is no time limit. */
	struct http_call call = { .method = "POST",
				  .target = target,
				  .timeout_ms = -1,
				  .head_ms = EXEC_HEAD_MS };
	auto_buf struct buf early = BUF_INIT, failure = BUF_INIT;
	struct http_client *c = NULL;
	auto_close int fd = -EBADF;
	int r, status = 0, code = 0;
	char piece[4096];
	ssize_t n;

	r = cmd_connect(&a->common, &c, e);
	if (r == 0)
		r = http_upgrade(c, &call, STREAM_PROTOCOL, &status, &fd,
				 &early, e);
	if (r == 0 && fd < 0) {
		while ((n = http_read(c, piece, sizeof(piece), NULL)) > 0)
			buf_add(&failure, piece, (size_t)n);
		r = cmd_status(status, &failure, e);
	}
	http_client_close(c);
	if (r < 0)
		return r;
	if (o->greeting)
		fputs(o->greeting, stderr);
	r = terminal_run(fd, &early, o, &code, e);
	if (o->greeting)
		fputs("\n", stderr);
	return r < 0 ? r : code;
}

int cmd_exec(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .container = NULL };
	struct terminal_opts o = { .raw = false };
	auto_buf struct buf target = BUF_INIT;
	struct pod_ref ref;
	struct err e = { 0 };
	int first = cmd_begin(c, argc, argv, &a, 2, -1);
	int r;

	if (first < 0)
		return CMD_EXIT(first);
	if (a.tty && !isatty(STDIN_FILENO)) {
		fputs("warning: standard input is no terminal, going on"
		      " without one\n",
		      stderr);
		a.tty = false;
	}
	o.in = a.in;
	o.raw = a.tty;
	r = pod_ref_find(&a.common, argv[first], &ref, &e);
	if (r == 0) {
		put_exec(&ref, &a, argv + first + 1, argc - first - 1, &target);
		if (target.len > 8000)
			r = err_set(&e, -E2BIG,
				    "the command is too long: the limit is"
				    " some 7 KiB");
	}
	if (r == 0)
		r = session(&a, buf_str(&target), &o, &e);
	return r < 0 ? cli_fail(&e) : r;
}

int cmd_console(const struct cli_command *c, int argc, char **argv)
{
	bool raw = isatty(STDIN_FILENO);
	struct args a = { .container = NULL };
	struct terminal_opts o = { .raw = raw, .in = true, .detach = raw };
	auto_buf struct buf target = BUF_INIT;
	char hello[sizeof(struct pod_ref) + 40];
	struct pod_ref ref;
	struct err e = { 0 };
	int first = cmd_begin(c, argc, argv, &a, 1, 1);
	int r;

	if (first < 0)
		return CMD_EXIT(first);
	r = pod_ref_find(&a.common, argv[first], &ref, &e);
	if (r == 0) {
		pod_ref_target(&ref, "/attach?stdin=1&tty=1", &target);
		put_container(&target, &a);
		snprintf(hello, sizeof(hello),
			 "Connected to %s. Ctrl-] leaves.\n", ref.name);
		if (raw)
			o.greeting = hello;
		r = session(&a, buf_str(&target), &o, &e);
	}
	return r < 0 ? cli_fail(&e) : r;
}
