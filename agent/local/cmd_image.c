// SPDX-License-Identifier: Apache-2.0
/* arktos-node image ls|pull|import|rm */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/http/url.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

struct args {
	struct cmd_common common;
	const char *output, *name, *kind, *format, *username, *password_file;
	bool always, insecure, quiet;
};

const struct cli_option image_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "ls: how to print", "json|name" },
	{ "name", 0, CLI_STR, offsetof(struct args, name), "NAME",
	  "import: what to call it here", NULL },
	{ "kind", 0, CLI_STR, offsetof(struct args, kind), "KIND",
	  "what it has to be", "container|vm" },
	{ "format", 0, CLI_STR, offsetof(struct args, format), "FORMAT",
	  "import of a disk: not guessed", "qcow2|raw" },
	{ "always", 0, CLI_BOOL, offsetof(struct args, always), NULL,
	  "pull: also when it is here", NULL },
	{ "insecure", 0, CLI_BOOL, offsetof(struct args, insecure), NULL,
	  "pull: by plain HTTP, or with any certificate", NULL },
	{ "username", 0, CLI_STR, offsetof(struct args, username), "NAME",
	  "pull: at the registry", NULL },
	{ "password-file", 0, CLI_STR, offsetof(struct args, password_file),
	  "FILE", "pull: holds the password", NULL },
	{ "quiet", 'q', CLI_BOOL, offsetof(struct args, quiet), NULL,
	  "show no progress", NULL },
	CMD_COMMON_OPTIONS,
	CLI_END
};

/* --- ls ---------------------------------------------------------------------
 */

static int put_images(const struct json_ref *items, const struct args *a,
		      struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;
	int r;

	cli_row(&t, "NAME", "KIND", "SIZE", "AGE", "USED BY", "ID", NULL);
	json_for_each (it, items) {
		char size[QUANTITY_TEXT_SIZE], age[32], used[24], id[24];
		const char *full = view_str(&it.item, "id");

		if (a->output) {
			buf_printf(b, "%s\n", view_str(&it.item, "ref"));
			continue;
		}
		if (str_starts(full, "sha256:"))
			full += 7;
		snprintf(id, sizeof(id), "%.12s", full);
		snprintf(used, sizeof(used), "%" PRIu64,
			 view_u64(&it.item, "usedBy"));
		view_age(view_str(&it.item, "stored"), age, sizeof(age));
		quantity_format_human(view_u64(&it.item, "size"), size);
		cli_row(&t, view_str(&it.item, "ref"),
			view_str(&it.item, "kind"), size, age, used, id, NULL);
	}
	r = a->output ? 0 : cli_table_print(&t, b);
	cli_table_clear(&t);
	return r;
}

static int list(struct http_client *c, const struct args *a, struct err *e)
{
	auto_buf struct buf out = BUF_INIT, b = BUF_INIT;
	struct json_ref root, items;
	yyjson_doc *doc;
	int r;

	r = cmd_call(c, "GET", "/images", NULL, 0, &out, e);
	if (r == 0)
		r = json_parse(buf_str(&out), out.len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	items = json_get(&root, "items");
	if (a->output && str_eq(a->output, "json")) {
		r = json_write(root.val, true, &b);
		buf_putc(&b, '\n');
	} else {
		r = put_images(&items, a, &b);
	}
	yyjson_doc_free(doc);
	return r < 0 ? r : cmd_print(&b);
}

/* --- pull and import --------------------------------------------------------
 */

static void show_progress(const struct json_ref *p)
{
	char done[QUANTITY_TEXT_SIZE], of[QUANTITY_TEXT_SIZE];
	uint64_t total = view_u64(p, "totalBytes");

	quantity_format_human(view_u64(p, "bytes"), done);
	quantity_format_human(total, of);
	fprintf(stderr, "\r\033[K%s", view_str(p, "phase"));
	if (view_u64(p, "layers"))
		fprintf(stderr, " layer %" PRIu64 " of %" PRIu64,
			view_u64(p, "layer"), view_u64(p, "layers"));
	fprintf(stderr, ", %s%s%s", done, total ? " of " : "", total ? of : "");
}

/* A line of the answer. 1 once the result is there. */
static int take_line(const char *line, size_t len, bool progress, struct err *e)
{
	struct buf copy = { .data = (char *)(uintptr_t)line, .len = len };
	struct json_ref root, p, result;
	yyjson_doc *doc;
	int r;

	r = json_parse(line, len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	p = view_get(&root, "progress");
	result = view_get(&root, "result");
	if (json_has(&p)) {
		if (progress)
			show_progress(&p);
	} else if (json_has(&result)) {
		if (progress)
			fputs("\r\033[K", stderr);
		printf("image %s\n", view_str(&result, "ref"));
		r = 1;
	} else {
		if (progress)
			fputs("\r\033[K", stderr);
		r = cmd_status((int)view_u64(&root, "code"), &copy, e);
	}
	yyjson_doc_free(doc);
	return r;
}

static int take_answer(struct http_client *c, int status, bool progress,
		       struct err *e)
{
	auto_buf struct buf in = BUF_INIT;
	char piece[8192], *nl;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = http_read(c, piece, sizeof(piece), e)) != 0) {
		if (n < 0)
			return (int)n;
		buf_add(&in, piece, (size_t)n);
		while (status == 200 && r == 0 && in.len &&
		       (nl = memchr(in.data, '\n', in.len))) {
			r = take_line(in.data, (size_t)(nl - in.data), progress,
				      e);
			buf_consume(&in, (size_t)(nl - in.data) + 1);
		}
	}
	if (status != 200)
		return cmd_status(status, &in, e);
	if (r == 0)
		return err_set(e, -ECONNRESET, "the agent stopped in between");
	return r < 0 ? r : 0;
}

static int read_password(const char *path, char *buf, size_t size,
			 struct err *e)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return err_sys(e, "open '%s'", path);
	if (!fgets(buf, (int)size, f))
		buf[0] = '\0';
	buf[strcspn(buf, "\r\n")] = '\0';
	fclose(f);
	return 0;
}

/* What is imported, for the agent, which has another current directory. Owned;
 * NULL: out of memory. */
static char *absolute(const char *ref)
{
	static const char *const schemes[] = { "oci:", "dir:", "oci-archive:",
					       "docker-archive:" };
	char path[PATH_MAX];

	if (!strchr(ref, ':'))
		return strdup(realpath(ref, path) ? path : ref);
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		const char *rest = ref + strlen(schemes[i]);

		/* Of "PATH:TAG" only the agent can tell which is which. */
		if (str_starts(ref, schemes[i]) && *rest != '/' &&
		    getcwd(path, sizeof(path)))
			return str_printf("%s%s/%s", schemes[i], path, rest);
	}
	return strdup(ref);
}

static int put_job(const struct args *a, bool pull, const char *ref,
		   struct buf *b, struct err *e)
{
	struct json_out o = JSON_OUT(b);
	auto_free char *source = pull ? strdup(ref) : absolute(ref);
	char password[1024] = "";

	if (!source)
		return err_set(e, -ENOMEM, "out of memory");
	if (a->password_file) {
		int r = read_password(a->password_file, password,
				      sizeof(password), e);
		if (r < 0)
			return r;
	}
	json_put_object(&o, NULL);
	json_put_str(&o, pull ? "pull" : "import", source);
	json_put_str(&o, "name", a->name);
	json_put_str(&o, "kind", a->kind);
	json_put_str(&o, "format", a->format);
	json_put_str(&o, "username", a->username);
	json_put_str(&o, "password", a->password_file ? password : NULL);
	json_put_bool(&o, "always", a->always);
	json_put_bool(&o, "insecure", a->insecure);
	json_put_end(&o);
	explicit_bzero(password, sizeof(password));
	return buf_error(b);
}

static int add(struct http_client *c, const struct args *a, bool pull,
	       const char *ref, struct err *e)
{
	struct http_call call = { .method = "POST",
				  .target = "/images",
				  .timeout_ms = -1 };
	bool progress = !a->quiet && isatty(STDERR_FILENO);
	auto_buf struct buf body = BUF_INIT;
	int r, status;

	r = put_job(a, pull, ref, &body, e);
	if (r < 0)
		return r;
	call.body = body.data;
	call.len = body.len;
	r = http_begin(c, &call, &status, e);
	return r < 0 ? r : take_answer(c, status, progress, e);
}

/* --- rm ---------------------------------------------------------------------
 */

static int remove_images(struct http_client *c, char **refs, int nr,
			 struct err *e)
{
	for (int i = 0; i < nr; i++) {
		auto_buf struct buf target = BUF_INIT, out = BUF_INIT;
		int r;

		buf_puts(&target, "/images?ref=");
		url_encode(&target, refs[i]);
		r = cmd_call(c, "DELETE", buf_str(&target), NULL, 0, &out, e);
		if (r < 0)
			return r;
		printf("image %s removed\n", refs[i]);
	}
	return 0;
}

static int run(struct http_client *c, const struct args *a, const char *verb,
	       char **refs, int nr, struct err *e)
{
	if (str_eq(verb, "ls"))
		return list(c, a, e);
	if (str_eq(verb, "rm"))
		return remove_images(c, refs, nr, e);
	for (int i = 0; i < nr; i++) {
		int r = add(c, a, str_eq(verb, "pull"), refs[i], e);

		if (r < 0)
			return r;
	}
	return 0;
}

int cmd_image(const struct cli_command *c, int argc, char **argv)
{
	static const char *const verbs[] = { "ls", "pull", "import", "rm",
					     NULL };
	struct http_client *client = NULL;
	struct args a = { .output = NULL };
	struct err e = { 0 };
	const char *verb, *near;
	int first = cmd_begin(c, argc, argv, &a, 1, -1);
	int r = -1;

	if (first < 0)
		return CMD_EXIT(first);
	verb = argv[first++];
	for (size_t i = 0; verbs[i]; i++)
		if (str_eq(verb, verbs[i]))
			r = 0;
	near = str_nearest(verb, verbs, sizeof(*verbs));
	if (r < 0)
		err_set(&e, -EINVAL, "unknown verb '%s'%s%s%s", verb,
			near ? " (did you mean '" : "", near ? near : "",
			near ? "'?)" : "");
	else if (!str_eq(verb, "ls") && first == argc)
		r = err_set(&e, -EINVAL, "say which image to %s", verb);
	else if (str_eq(verb, "ls") && first < argc)
		r = err_set(&e, -EINVAL, "'%s' is too much: ls lists all",
			    argv[first]);
	else if (a.name && argc - first > 1)
		r = err_set(&e, -EINVAL, "--name is for one image");
	if (r < 0)
		return cli_usage(c, -EINVAL, &e);
	r = cmd_connect(&a.common, &client, &e);
	if (r == 0)
		r = run(client, &a, verb, argv + first, argc - first, &e);
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : r;
}
