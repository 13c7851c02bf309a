// SPDX-License-Identifier: Apache-2.0
/* arktos-node net, and arktos-node node */
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
#include "lib/yaml.h"

struct args {
	struct cmd_common common;
	const char *output;
};

const struct cli_option net_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "print the object itself", "json|yaml" },
	CMD_COMMON_OPTIONS,
	CLI_END
};

const struct cli_option node_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "print the object itself", "json|yaml" },
	CMD_COMMON_OPTIONS,
	CLI_END
};

static void put_networks(const struct json_ref *list, struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;

	cli_row(&t, "TENANT", "NETWORK", "ID", "CIDR", "GATEWAY", "EGRESS",
		"ADDRESSES", NULL);
	json_for_each (it, list) {
		char id[24], used[64];

		snprintf(id, sizeof(id), "%" PRIu64, view_u64(&it.item, "id"));
		snprintf(used, sizeof(used), "%" PRIu64 " of %" PRIu64,
			 view_u64(&it.item, "used"),
			 view_u64(&it.item, "addresses"));
		cli_row(&t, view_str(&it.item, "tenant"),
			view_str(&it.item, "name"), id,
			view_str(&it.item, "cidr"),
			view_str(&it.item, "gateway"),
			view_str(&it.item, "egress"), used, NULL);
	}
	(void)cli_table_print(&t, b); /* the buf keeps the failure */
	cli_table_clear(&t);
}

static uint64_t sum(const struct json_ref *drops)
{
	uint64_t n = 0;

	json_for_each (it, drops)
		n += yyjson_get_uint(it.item.val);
	return n;
}

static void put_endpoints(const struct json_ref *list, struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;

	cli_row(&t, "POD", "NETWORK", "IP", "MAC", "LINK", "RECEIVED", "SENT",
		"DROPPED", NULL);
	json_for_each (it, list) {
		struct json_ref drops = view_get(&it.item, "drops");
		char rx[QUANTITY_TEXT_SIZE], tx[QUANTITY_TEXT_SIZE],
			dropped[24];

		quantity_format_human(view_u64(&it.item, "rxBytes"), rx);
		quantity_format_human(view_u64(&it.item, "txBytes"), tx);
		snprintf(dropped, sizeof(dropped), "%" PRIu64, sum(&drops));
		cli_row(&t, view_str(&it.item, "pod"),
			view_str(&it.item, "network"), view_str(&it.item, "ip"),
			view_str(&it.item, "mac"), view_str(&it.item, "link"),
			rx, tx, dropped, NULL);
	}
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
}

static void put_drops(const struct json_ref *list, struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;

	cli_row(&t, "DROPPED BECAUSE", "PACKETS", NULL);
	json_for_each (it, list) {
		char count[24];

		snprintf(count, sizeof(count), "%" PRIu64,
			 view_u64(&it.item, "count"));
		cli_row(&t, view_str(&it.item, "reason"), count, NULL);
	}
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
}

static void put_net(const struct json_ref *root, struct buf *b)
{
	struct json_ref networks = json_get(root, "networks");
	struct json_ref endpoints = json_get(root, "endpoints");
	struct json_ref drops = json_get(root, "drops");

	put_networks(&networks, b);
	if (json_len(&endpoints)) {
		buf_putc(b, '\n');
		put_endpoints(&endpoints, b);
	}
	if (json_len(&drops)) {
		buf_putc(b, '\n');
		put_drops(&drops, b);
	}
}

/* "7.7Gi", as in the other tables. */
static const char *bytes_of(const struct json_ref *set, const char *name,
			    char text[QUANTITY_TEXT_SIZE])
{
	const char *exact = view_str(set, name);
	uint64_t bytes;

	return quantity_parse_mem(exact, &bytes, NULL) == 0
		       ? quantity_format_human(bytes, text)
		       : exact;
}

static void put_node(const struct json_ref *root, struct buf *b)
{
	static const char *const rows[] = { "capacity", "allocatable",
					    "allocated" };
	struct json_ref conditions = view_get(root, "status.conditions");
	struct json_ref api = view_get(root, "status.apiServer");
	struct json_ref answers = view_get(&api, "answers");
	struct cli_table t = CLI_TABLE_INIT;

	buf_printf(b, "Name:      %s\nKernel:    %s\nVersion:   %s\n",
		   view_str(root, "metadata.name"),
		   view_str(root, "status.nodeInfo.kernelVersion"),
		   view_str(root, "status.nodeInfo.arktosVersion"));
	if (api.val)
		buf_printf(b, "Joined:    %s%s\n", view_str(&api, "url"),
			   yyjson_get_bool(answers.val)
				   ? ""
				   : " (does not answer: pods go on)");
	buf_putc(b, '\n');
	cli_row(&t, "RESOURCES", "CPU", "MEMORY", "DISK", NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json_ref status = view_get(root, "status");
		struct json_ref set = view_get(&status, rows[i]);
		char mem[QUANTITY_TEXT_SIZE], disk[QUANTITY_TEXT_SIZE];

		cli_row(&t, rows[i], view_str(&set, "cpu"),
			bytes_of(&set, "memory", mem),
			bytes_of(&set, "ephemeral-storage", disk), NULL);
	}
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
	buf_putc(b, '\n');
	cli_row(&t, "CONDITION", "STATUS", "REASON", "MESSAGE", NULL);
	json_for_each (it, &conditions)
		cli_row(&t, view_str(&it.item, "type"),
			view_str(&it.item, "status"),
			view_str(&it.item, "reason"),
			view_str(&it.item, "message"), NULL);
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
}

static int print_answer(const struct buf *answer, const char *format,
			void (*put)(const struct json_ref *, struct buf *),
			struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_ref root;
	yyjson_doc *doc;
	int r;

	if (format && str_eq(format, "yaml")) {
		r = yaml_from_json(buf_str(answer), answer->len, &b, e);
		return r < 0 ? r : cmd_print(&b);
	}
	r = json_parse(buf_str(answer), answer->len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	if (format) {
		(void)json_write(root.val, true, &b);
		buf_putc(&b, '\n');
	} else {
		put(&root, &b);
	}
	yyjson_doc_free(doc);
	return cmd_print(&b);
}

static int show(const struct cli_command *c, int argc, char **argv,
		const char *target,
		void (*put)(const struct json_ref *, struct buf *))
{
	auto_buf struct buf out = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .output = NULL };
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 0, 0);

	if (r < 0)
		return CMD_EXIT(r);
	r = cmd_connect(&a.common, &client, &e);
	if (r == 0)
		r = cmd_call(client, "GET", target, NULL, 0, &out, &e);
	if (r == 0)
		r = print_answer(&out, a.output, put, &e);
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : r;
}

int cmd_net(const struct cli_command *c, int argc, char **argv)
{
	return show(c, argc, argv, "/network", put_net);
}

int cmd_node(const struct cli_command *c, int argc, char **argv)
{
	return show(c, argc, argv, "/node", put_node);
}
