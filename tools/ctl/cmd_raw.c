// SPDX-License-Identifier: Apache-2.0
/* One request as it is, for scripts on hosts without kubectl. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define BODY_MAX  (3 * 1024 * 1024) /* what the server takes */
#define TIMEOUT_S 30
#define WAIT_MAX  86400

struct args {
	const char *method, *path, *file, *type;
	int timeout_s;
};

static bool parse(int argc, char **argv, struct args *a)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "type", required_argument, NULL, 't' },
		{ "timeout", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	int ch;

	optind = 0;
	while ((ch = getopt_long(argc, argv, "f:", options, NULL)) != -1) {
		if (ch == 'f')
			a->file = optarg;
		else if (ch == 't')
			a->type = optarg;
		else if (ch != 'w' || str_to_int(optarg, &a->timeout_s) < 0 ||
			 a->timeout_s < 1 || a->timeout_s > WAIT_MAX)
			return false;
	}
	if (argc - optind != 2 || argv[optind + 1][0] != '/')
		return false;
	a->method = argv[optind];
	a->path = argv[optind + 1];
	/* Neither may break out of the request's first line. */
	return strspn(a->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") ==
		       strlen(a->method) &&
	       !strpbrk(a->path, " \r\n\t");
}

static int read_body(const struct args *a, struct buf *b, struct err *e)
{
	const char *file = str_eq(a->file, "-") ? "/dev/stdin" : a->file;
	int r = fs_read(AT_FDCWD, file, BODY_MAX, b, e);

	if (r == 0 && strlen(buf_str(b)) != b->len)
		r = err_set(e, -EINVAL, "'%s' is no text", a->file);
	return r;
}

/* What it says itself, else YAML, of which JSON is a part. */
static const char *type_of(const struct args *a)
{
	return a->type                      ? a->type
	       : str_eq(a->method, "PATCH") ? "application/merge-patch+json"
	       : a->file && *a->file        ? "application/yaml"
					    : NULL;
}

static int send_request(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	int r = a->file ? read_body(a, &body, e) : 0;

	if (r < 0)
		return r;
	rest_set_patience(c, a->timeout_s);
	r = rest_call(c, a->method, a->path, a->file ? buf_str(&body) : NULL,
		      type_of(a), &answer, e);
	r = r < 0 ? r : rest_check(r, &answer, e);
	if (r == 0 &&
	    (fwrite(buf_str(&answer), 1, answer.len, stdout) != answer.len ||
	     fflush(stdout) != 0))
		r = err_sys(e, "write");
	return r;
}

int cmd_raw(const char *kubeconfig, int argc, char **argv)
{
	struct args a = { .timeout_s = TIMEOUT_S };
	auto_ptr(rest) c = NULL;
	struct err e = { 0 };
	int r;

	if (!parse(argc, argv, &a)) {
		fputs("arktosctl: want raw METHOD /PATH; see arktosctl "
		      "--help\n",
		      stderr);
		return 2;
	}
	r = ctl_open(kubeconfig, &c, &e);
	if (r == 0)
		r = send_request(c, &a, &e);
	if (r == 0)
		return 0;
	fprintf(stderr, "arktosctl: %s\n", e.msg);
	return 1;
}
