// SPDX-License-Identifier: Apache-2.0
/* arktos-node completion SHELL, version, and what completion asks for */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

struct args {
	struct cmd_common common;
};

const struct cli_option completion_options[] = { CLI_END };
const struct cli_option version_options[] = { CMD_COMMON_OPTIONS, CLI_END };
const struct cli_option complete_options[] = { CMD_COMMON_OPTIONS, CLI_END };

int cmd_completion(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf b = BUF_INIT;
	struct args a = { .common = { .socket = NULL } };
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	if (cli_completion(cmd_program, argv[r], &b) < 0) {
		err_set(&e, -EINVAL, "'%s' is none of bash, zsh, fish",
			argv[r]);
		return cli_usage(c, -EINVAL, &e);
	}
	return cmd_print(&b);
}

int cmd_version(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf out = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .common = { .socket = NULL } };
	struct json_ref root;
	yyjson_doc *doc;
	int r = cmd_begin(c, argc, argv, &a, 0, 0);

	if (r < 0)
		return CMD_EXIT(r);
	printf("arktos-node %s\n", ARKTOS_VERSION);
	/* An agent that does not run is nothing to complain about here. */
	if (cmd_connect(&a.common, &client, NULL) < 0)
		return 0;
	if (cmd_call(client, "GET", "/version", NULL, 5000, &out, NULL) == 0 &&
	    json_parse(buf_str(&out), out.len, &doc, NULL) == 0) {
		root = json_root(doc);
		printf("agent %s\n", view_str(&root, "arktosVersion"));
		yyjson_doc_free(doc);
	}
	http_client_close(client);
	return 0;
}

static void print_pods(const struct buf *list)
{
	struct json_ref root, items;
	yyjson_doc *doc;

	if (json_parse(buf_str(list), list->len, &doc, NULL) < 0)
		return;
	root = json_root(doc);
	items = json_get(&root, "items");
	json_for_each (it, &items) {
		const char *tenant = view_str(&it.item, "metadata.tenant");
		const char *ns = view_str(&it.item, "metadata.namespace");
		const char *name = view_str(&it.item, "metadata.name");

		if (!str_eq(tenant, "system"))
			printf("%s/%s/%s\n", tenant, ns, name);
		else if (!str_eq(ns, "default"))
			printf("%s/%s\n", ns, name);
		else
			printf("%s\n", name);
	}
	yyjson_doc_free(doc);
}

int cmd_complete(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf out = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .common = { .socket = NULL } };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	if (str_eq(argv[r], "shells"))
		puts("bash\nzsh\nfish");
	if (str_eq(argv[r], "image-verbs"))
		puts("ls\npull\nimport\nrm");
	if (!str_eq(argv[r], "pods"))
		return 0;
	if (cmd_connect(&a.common, &client, NULL) == 0 &&
	    cmd_call(client, "GET", "/api/v1/pods", NULL, 2000, &out, NULL) ==
		    0)
		print_pods(&out);
	http_client_close(client);
	return 0;
}
