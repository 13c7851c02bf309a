// SPDX-License-Identifier: Apache-2.0
/* arktos-node apply -f FILE */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

struct args {
	struct cmd_common common;
	struct cli_strs files;
};

const struct cli_option apply_options[] = {
	{ "filename", 'f', CLI_STRS, offsetof(struct args, files), "FILE",
	  "YAML or JSON, several documents allowed; '-' is standard input; "
	  "of a folder all .yaml, .yml and .json files",
	  NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

/* Where a manifest goes: "pods" of its namespace, or "networks". */
static int put_target(const struct cmd_common *c, const struct json_ref *o,
		      struct buf *b, struct err *e)
{
	const char *kind = view_str(o, "kind");
	const char *tenant = view_str(o, "metadata.tenant");
	const char *ns = view_str(o, "metadata.namespace");

	/* What contradicts the manifest is refused by the agent; and what
	 * cannot be, with all else that is wrong: it is no part of a path. */
	if (c->tenant)
		tenant = c->tenant;
	if (c->namespace)
		ns = c->namespace;
	if (str_eq(kind, "Pod") && ((*tenant && !str_is_dns_label(tenant)) ||
				    (*ns && !str_is_dns_label(ns))))
		buf_puts(b, "/api/v1/pods");
	else if (str_eq(kind, "Pod"))
		buf_printf(b, "/api/v1/tenants/%s/namespaces/%s/pods",
			   *tenant ? tenant : "system", *ns ? ns : "default");
	else if (*tenant && !str_is_dns_label(tenant))
		return err_set(e, -EINVAL,
			       "metadata.tenant: '%.80s' is not a DNS label",
			       tenant);
	else if (str_eq(kind, "Network"))
		buf_printf(b, "/api/v1/tenants/%s/networks",
			   *tenant ? tenant : "system");
	else if (!*kind)
		return err_set(e, -EINVAL, "kind: is required");
	else
		return err_set(e, -EINVAL,
			       "kind: a node knows Pod and Network, not '%s'",
			       kind);
	buf_puts(b, "?outcome=true");
	return 0;
}

static int apply_object(struct http_client *c, const struct cmd_common *common,
			const struct json_ref *o, struct buf *told,
			struct err *e)
{
	auto_buf struct buf target = BUF_INIT, body = BUF_INIT, out = BUF_INIT;
	struct json_ref root;
	yyjson_doc *doc;
	int r;

	r = put_target(common, o, &target, e);
	if (r == 0)
		r = json_write(o->val, false, &body);
	if (r == 0)
		r = cmd_call_told(c, "POST", buf_str(&target), buf_str(&body),
				  &out, told, e);
	if (r == 0)
		r = json_parse(buf_str(&out), out.len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	printf("%s/%s %s\n",
	       str_eq(view_str(o, "kind"), "Pod") ? "pod" : "network",
	       view_str(&root, "object.metadata.name"),
	       view_str(&root, "outcome"));
	yyjson_doc_free(doc);
	return 0;
}

/* One of them in a line, several below each other. */
static void tell_faults(const char *file, size_t line, const char *name,
			const char *faults)
{
	bool many = strchr(faults, '\n');
	size_t n;

	fflush(stdout);
	fprintf(stderr, "error: %s:%zu: %s%s%s\n", file, line, name,
		*name ? ": " : "", many ? "is invalid:" : faults);
	for (; many && *faults; faults += n + (faults[n] != '\0')) {
		n = strcspn(faults, "\n");
		fprintf(stderr, "* %.*s\n", (int)n, faults);
	}
}

/* Go on after a failure: the other documents may be good. */
static void apply_one(struct http_client *c, const struct cmd_common *common,
		      const char *file, size_t line, const struct json_ref *o,
		      int *failed)
{
	auto_buf struct buf told = BUF_INIT;
	struct err e = { 0 };
	const char *name = view_str(o, "metadata.name");
	int r;

	if (!yyjson_is_obj(o->val))
		r = err_set(&e, -EINVAL,
			    "is no manifest: that begins with 'apiVersion: v1' "
			    "and 'kind: Pod'");
	else
		r = apply_object(c, common, o, &told, &e);
	if (r == 0)
		return;
	tell_faults(file, line, name, told.len ? buf_str(&told) : e.msg);
	++*failed;
}

static int apply_doc(struct http_client *c, const struct cmd_common *common,
		     const char *file, const struct yaml_doc *d, int *failed,
		     struct err *e)
{
	struct json_ref root, items;
	yyjson_doc *doc;
	int r;

	r = json_parse(d->json, d->len, &doc, e);
	if (r < 0)
		return err_wrap(e, r, "%s", file);
	root = json_root(doc);
	items = view_get(&root, "items");
	if (str_ends(view_str(&root, "kind"), "List")) {
		json_for_each (it, &items)
			apply_one(c, common, file, d->line, &it.item, failed);
	} else {
		apply_one(c, common, file, d->line, &root, failed);
	}
	yyjson_doc_free(doc);
	return 0;
}

static int apply_file(struct http_client *c, const struct cmd_common *common,
		      const char *file, int *failed, struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	struct yaml_docs docs = { .v = NULL };
	int r;

	if (str_eq(file, "-")) {
		r = buf_read_fd(&text, STDIN_FILENO, YAML_LEN_MAX);
		if (r < 0)
			return err_wrap(e, r, "read standard input");
	} else {
		r = fs_read(AT_FDCWD, file, YAML_LEN_MAX, &text, e);
	}
	if (r < 0)
		return r;
	r = yaml_to_json(buf_str(&text), text.len, &docs, e);
	if (r < 0)
		return err_wrap(e, r, "%s", file);
	if (!docs.nr)
		r = err_set(e, -EINVAL, "%s: holds no object", file);
	for (size_t i = 0; i < docs.nr && r == 0; i++)
		r = apply_doc(c, common, file, &docs.v[i], failed, e);
	yaml_docs_clear(&docs);
	return r;
}

static int is_manifest(const struct dirent *d)
{
	return d->d_name[0] != '.' &&
	       (str_ends(d->d_name, ".yaml") || str_ends(d->d_name, ".yml") ||
		str_ends(d->d_name, ".json"));
}

/* A file, or all manifests of a folder in the order of their names. What is
 * wrong with one file of a folder does not keep the others back. */
static int apply_path(struct http_client *c, const struct cmd_common *common,
		      const char *path, int *failed, struct err *e)
{
	struct dirent **names = NULL;
	struct stat st;
	int nr;

	if (str_eq(path, "-") || stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return apply_file(c, common, path, failed, e);
	nr = scandir(path, &names, is_manifest, alphasort);
	if (nr < 0)
		return err_sys(e, "read the folder '%s'", path);
	for (int i = 0; i < nr; i++) {
		auto_free char *file =
			str_printf("%s/%s", path, names[i]->d_name);
		struct err why = { 0 };

		if (!file)
			err_set(&why, -ENOMEM, "out of memory");
		if (!file || apply_file(c, common, file, failed, &why) < 0) {
			fflush(stdout);
			fprintf(stderr, "error: %s\n", why.msg);
			++*failed;
		}
		free(names[i]);
	}
	free(names);
	return nr ? 0
		  : err_set(e, -ENOENT,
			    "'%s' holds no .yaml, .yml or .json file", path);
}

int cmd_apply(const struct cli_command *c, int argc, char **argv)
{
	struct http_client *client = NULL;
	struct args a = { .files = { .nr = 0 } };
	struct err e = { 0 };
	int failed = 0;
	int r = cmd_begin(c, argc, argv, &a, 0, -1);

	if (r < 0)
		return CMD_EXIT(r);
	if (!a.files.nr || r < argc) {
		if (r < argc)
			err_set(&e, -EINVAL,
				"'%s' is too much: files are named with -f: "
				"apply -f %s",
				argv[r], argv[r]);
		else
			err_set(&e, -EINVAL,
				"say what to apply: -f FILE, or -f -");
		return cli_usage(c, -EINVAL, &e);
	}
	r = cmd_connect(&a.common, &client, &e);
	for (size_t i = 0; i < a.files.nr && r == 0; i++)
		r = apply_path(client, &a.common, a.files.v[i], &failed, &e);
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : failed ? 1 : 0;
}
