// SPDX-License-Identifier: Apache-2.0
/* arktos-node ps */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

#define WATCH_ROWS 500 /* kept, for the width of the columns */

struct args {
	struct cmd_common common;
	const char *output;
	bool all, watch;
};

const struct cli_option ps_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "how to print", "wide|json|yaml|name" },
	{ "all", 'A', CLI_BOOL, offsetof(struct args, all), NULL,
	  "pods of all tenants and namespaces", NULL },
	{ "watch", 'w', CLI_BOOL, offsetof(struct args, watch), NULL,
	  "go on and print each change", NULL },
	CMD_POD_OPTIONS,
	CLI_END
};

static void put_target(const struct args *a, struct buf *b)
{
	if (a->all)
		buf_puts(b, "/api/v1/pods");
	else
		buf_printf(b, "/api/v1/tenants/%s/namespaces/%s/pods",
			   a->common.tenant ? a->common.tenant : "system",
			   a->common.namespace ? a->common.namespace
					       : "default");
}

/* @nr cells of one row; those of a heading when @pod is NULL. */
static void add_row(struct cli_table *t, const struct args *a,
		    const struct json_ref *pod)
{
	bool wide = a->output && str_eq(a->output, "wide");
	const char *cells[CLI_COLUMNS_MAX];
	char cpu[100], mem[100], restarts[24];
	struct pod_view v = { .name = "NAME", .ip = "IP", .image = "IMAGE" };
	size_t nr = 0;

	if (pod) {
		pod_view(pod, &v);
		snprintf(restarts, sizeof(restarts), "%" PRIu64, v.restarts);
		(wide ? pod_view_cpu_all : pod_view_cpu)(&v, cpu, sizeof(cpu));
		(wide ? pod_view_mem_all : pod_view_mem)(&v, mem, sizeof(mem));
	} else {
		snprintf(cpu, sizeof(cpu), "CPU%s",
			 wide ? " (DESIRED/ALLOCATED/ACTUAL)" : "");
		snprintf(mem, sizeof(mem), "MEMORY%s",
			 wide ? " (DESIRED/ALLOCATED/ACTUAL)" : "");
	}
	if (a->all) {
		cells[nr++] = pod ? v.tenant : "TENANT";
		cells[nr++] = pod ? v.namespace : "NAMESPACE";
	}
	cells[nr++] = v.name;
	cells[nr++] = !pod ? "KIND" : v.vm ? "vm" : "container";
	cells[nr++] = pod ? v.ready : "READY";
	cells[nr++] = pod ? v.state : "STATE";
	cells[nr++] = pod ? restarts : "RESTARTS";
	cells[nr++] = pod ? v.age : "AGE";
	cells[nr++] = v.ip;
	cells[nr++] = cpu;
	cells[nr++] = mem;
	if (wide)
		cells[nr++] = v.image;
	(void)cli_rowv(t, cells, nr); /* the table keeps the failure */
}

static void put_names(const struct json_ref *items, struct buf *b)
{
	json_for_each (it, items)
		buf_printf(b, "pod/%s\n", view_str(&it.item, "metadata.name"));
}

static int put_table(const struct args *a, const struct json_ref *items,
		     struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;
	int r;

	if (!json_len(items)) {
		if (a->all)
			fputs("No pods on this node\n", stderr);
		else
			fprintf(stderr,
				"No pods in namespace %s (-A shows all)\n",
				a->common.namespace ? a->common.namespace
						    : "default");
		return 0;
	}
	add_row(&t, a, NULL);
	json_for_each (it, items)
		add_row(&t, a, &it.item);
	r = cli_table_print(&t, b);
	cli_table_clear(&t);
	return r;
}

static int print_list(const struct args *a, const struct buf *list,
		      struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_ref root, items;
	yyjson_doc *doc;
	int r;

	if (a->output && str_eq(a->output, "yaml")) {
		r = yaml_from_json(buf_str(list), list->len, &b, e);
		return r < 0 ? r : cmd_print(&b);
	}
	r = json_parse(buf_str(list), list->len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	items = json_get(&root, "items");
	if (a->output && str_eq(a->output, "json")) {
		r = json_write(root.val, true, &b);
		buf_putc(&b, '\n');
	} else if (a->output && str_eq(a->output, "name")) {
		put_names(&items, &b);
	} else {
		r = put_table(a, &items, &b);
	}
	yyjson_doc_free(doc);
	return r < 0 ? r : cmd_print(&b);
}

/* One event of the watch. Columns are as wide as any row of @t, which keeps
 * those that were printed. */
static int print_change(const struct args *a, const char *line, size_t len,
			struct cli_table *t, struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	struct json_ref root, pod;
	bool first = !t->nr_rows;
	const char *rows;
	yyjson_doc *doc;
	int r;

	r = json_parse(line, len, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	pod = json_get(&root, "object");
	if (first || t->nr_rows > WATCH_ROWS) {
		cli_table_clear(t);
		*t = (struct cli_table)CLI_TABLE_INIT;
		add_row(t, a, NULL);
	}
	add_row(t, a, &pod);
	r = cli_table_print(t, &b);
	yyjson_doc_free(doc);
	rows = buf_str(&b);
	if (!first && r == 0) {
		/* The last line of it is new. */
		b.data[--b.len] = '\0';
		rows = strrchr(b.data, '\n') + 1;
		r = puts(rows) < 0 || fflush(stdout) < 0 ? err_sys(e, "write")
							 : 0;
	} else if (r == 0 && (fputs(rows, stdout) < 0 || fflush(stdout) < 0)) {
		r = err_sys(e, "write");
	}
	return r;
}

static int watch(struct http_client *c, const struct args *a, struct err *e)
{
	auto_buf struct buf target = BUF_INIT, in = BUF_INIT;
	struct http_call call = { .method = "GET", .timeout_ms = -1 };
	struct cli_table t = CLI_TABLE_INIT;
	char piece[16384];
	ssize_t n;
	int r, status;

	put_target(a, &target);
	buf_puts(&target, "?watch=1");
	call.target = buf_str(&target);
	r = http_begin(c, &call, &status, e);
	while (r == 0) {
		char *end;

		n = http_read(c, piece, sizeof(piece), e);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		buf_add(&in, piece, (size_t)n);
		while (status == 200 && r == 0 && in.len &&
		       (end = memchr(in.data, '\n', in.len))) {
			r = print_change(a, in.data, (size_t)(end - in.data),
					 &t, e);
			buf_consume(&in, (size_t)(end - in.data) + 1);
		}
	}
	if (r == 0 && status != 200)
		r = cmd_status(status, &in, e);
	cli_table_clear(&t);
	return r;
}

int cmd_ps(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf target = BUF_INIT, list = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .output = NULL };
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 0, 0);

	if (r < 0)
		return CMD_EXIT(r);
	r = cmd_check_place(&a.common, &e);
	if (r == 0)
		r = cmd_connect(&a.common, &client, &e);
	if (r == 0 && a.watch) {
		r = watch(client, &a, &e);
	} else if (r == 0) {
		put_target(&a, &target);
		r = cmd_call(client, "GET", buf_str(&target), NULL, 0, &list,
			     &e);
		if (r == 0)
			r = print_list(&a, &list, &e);
	}
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : r;
}
