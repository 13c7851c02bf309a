// SPDX-License-Identifier: Apache-2.0
/* arktos-node describe POD */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/yaml.h"

struct args {
	struct cmd_common common;
	const char *output;
};

const struct cli_option describe_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "print the object itself", "json|yaml" },
	CMD_POD_OPTIONS,
	CLI_END
};

/* "Name:   value", control characters made harmless; nothing if it is empty. */
static void put(struct buf *b, int indent, const char *name, const char *value)
{
	if (!*value)
		return;
	buf_printf(b, "%*s%s:%*s", indent, "", name,
		   (int)(strlen(name) < 17 ? 17 - strlen(name) : 1), "");
	for (; *value; value++)
		buf_putc(b, (unsigned char)*value < ' ' ? ' ' : *value);
	buf_putc(b, '\n');
}

static void put_map(struct buf *b, const char *name, const struct json_ref *of)
{
	const char *head = name;

	json_for_each (it, of) {
		const char *value = yyjson_get_str(it.item.val);

		buf_printf(b, "%s%s%*s%s=%s\n", head, *head ? ":" : "",
			   *head ? (int)(17 - strlen(head)) : 18, "",
			   it.item.key, value ? value : "");
		head = "";
	}
}

static void put_state(struct buf *b, const char *name,
		      const struct json_ref *st)
{
	json_for_each (it, st) {
		const char *reason = view_str(&it.item, "reason");
		struct json_ref code = view_get(&it.item, "exitCode");
		auto_buf struct buf text = BUF_INIT;

		buf_puts(&text, it.item.key);
		if (*reason)
			buf_printf(&text, ", %s", reason);
		if (json_has(&code))
			buf_printf(&text, ", exit code %" PRIu64,
				   yyjson_get_uint(code.val));
		if (*view_str(&it.item, "startedAt"))
			buf_printf(&text, ", since %s",
				   view_str(&it.item, "startedAt"));
		if (*view_str(&it.item, "finishedAt"))
			buf_printf(&text, ", until %s",
				   view_str(&it.item, "finishedAt"));
		put(b, 4, name, buf_str(&text));
		put(b, 4, "Message", view_str(&it.item, "message"));
	}
}

static void put_set(struct buf *b, const char *name, const struct json_ref *of)
{
	char cpu[32], mem[32], text[80];
	struct quantity_set s;

	set_read(of, &s);
	if (!s.has_cpu && !s.has_mem)
		return;
	set_cpu_text(&s, cpu, sizeof(cpu));
	set_mem_text(&s, mem, sizeof(mem));
	snprintf(text, sizeof(text), "cpu %s, memory %s", cpu, mem);
	put(b, 4, name, text);
}

static struct json_ref find_named(const struct json_ref *list, const char *name)
{
	json_for_each (it, list)
		if (str_eq(view_str(&it.item, "name"), name))
			return (struct json_ref){ .val = it.item.val };
	return (struct json_ref){ .val = NULL };
}

static void put_resources(struct buf *b, const struct json_ref *spec,
			  const struct json_ref *st)
{
	static const struct {
		const char *name, *path;
		bool of_status;
	} sets[] = {
		{ "Requests", "resources.requests", false },
		{ "Limits", "resources.limits", false },
		{ "Allocated", "allocatedResources", true },
		{ "Alloc. limits", "allocatedLimits", true },
		{ "Actual requests", "resources.requests", true },
		{ "Actual limits", "resources.limits", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
		struct json_ref f =
			view_get(sets[i].of_status ? st : spec, sets[i].path);

		put_set(b, sets[i].name, &f);
	}
}

static void put_workload(struct buf *b, const struct json_ref *spec,
			 const struct json_ref *st)
{
	struct json_ref state = view_get(st, "state");
	struct json_ref last = view_get(st, "lastState");
	struct json_ref ready = view_get(st, "ready");
	char restarts[24];

	snprintf(restarts, sizeof(restarts), "%" PRIu64,
		 view_u64(st, "restartCount"));
	buf_printf(b, "  %s:\n", view_str(spec, "name"));
	put(b, 4, "Image", view_str(spec, "image"));
	put(b, 4, "Image ID", view_str(st, "imageID"));
	put(b, 4, "Image ID", view_str(st, "imageId"));
	if (yyjson_is_str(state.val)) {
		put(b, 4, "State", yyjson_get_str(state.val));
		put(b, 4, "Power", view_str(st, "powerState"));
		put(b, 4, "Accelerator", view_str(st, "accelerator"));
		put(b, 4, "Reason", view_str(st, "reason"));
		put(b, 4, "Message", view_str(st, "message"));
		last = view_get(st, "lastTerminationState");
	} else {
		put_state(b, "State", &state);
	}
	put_state(b, "Last state", &last);
	put(b, 4, "Ready", yyjson_is_true(ready.val) ? "True" : "False");
	put(b, 4, "Restarts", restarts);
	put_resources(b, spec, st);
}

static void put_containers(struct buf *b, const char *title,
			   const struct json_ref *specs,
			   const struct json_ref *statuses)
{
	if (!json_len(specs))
		return;
	buf_printf(b, "%s:\n", title);
	json_for_each (it, specs) {
		struct json_ref st =
			find_named(statuses, view_str(&it.item, "name"));

		put_workload(b, &it.item, &st);
	}
}

static void put_snapshots(struct buf *b, const struct json_ref *status)
{
	struct json_ref list = json_get(status, "snapshots");
	struct cli_table t = CLI_TABLE_INIT;

	if (!json_len(&list))
		return;
	cli_row(&t, "  SNAPSHOT", "MEMORY", "AGE", NULL);
	json_for_each (it, &list) {
		char name[80], age[32];

		snprintf(name, sizeof(name), "  %s",
			 view_str(&it.item, "name"));
		view_age(view_str(&it.item, "creationTimestamp"), age,
			 sizeof(age));
		cli_row(&t, name, view_str(&it.item, "memory"), age, NULL);
	}
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
}

static void put_payload(struct buf *b, const struct json_ref *pod)
{
	struct json_ref init = view_get(pod, "spec.initContainers");
	struct json_ref init_st = view_get(pod, "status.initContainerStatuses");
	struct json_ref ctrs = view_get(pod, "spec.containers");
	struct json_ref st = view_get(pod, "status.containerStatuses");
	struct json_ref vm = view_get(pod, "spec.virtualMachine");
	struct json_ref vm_st = view_get(pod, "status.virtualMachineStatus");

	put_containers(b, "Init containers", &init, &init_st);
	put_containers(b, "Containers", &ctrs, &st);
	if (json_has(&vm)) {
		buf_puts(b, "Virtual machine:\n");
		put_workload(b, &vm, &vm_st);
		put_snapshots(b, &vm_st);
	}
}

static void put_conditions(struct buf *b, const struct json_ref *list)
{
	struct cli_table t = CLI_TABLE_INIT;

	if (!json_len(list))
		return;
	buf_puts(b, "Conditions:\n");
	cli_row(&t, "  TYPE", "STATUS", "REASON", "MESSAGE", NULL);
	json_for_each (it, list) {
		char type[80];

		snprintf(type, sizeof(type), "  %s",
			 view_str(&it.item, "type"));
		cli_row(&t, type, view_str(&it.item, "status"),
			view_str(&it.item, "reason"),
			view_str(&it.item, "message"), NULL);
	}
	(void)cli_table_print(&t, b); /* the buf keeps the failure */
	cli_table_clear(&t);
}

static void put_events(struct buf *b, const struct json_ref *list)
{
	struct cli_table t = CLI_TABLE_INIT;

	if (!json_len(list)) {
		buf_puts(b, "Events:           <none>\n");
		return;
	}
	buf_puts(b, "Events:\n");
	cli_row(&t, "  TYPE", "REASON", "AGE", "COUNT", "MESSAGE", NULL);
	json_for_each (it, list) {
		char type[40], age[32], count[24];

		snprintf(type, sizeof(type), "  %s",
			 view_str(&it.item, "type"));
		snprintf(count, sizeof(count), "%" PRIu64,
			 view_u64(&it.item, "count"));
		view_age(view_str(&it.item, "lastTimestamp"), age, sizeof(age));
		cli_row(&t, type, view_str(&it.item, "reason"), age, count,
			view_str(&it.item, "message"), NULL);
	}
	(void)cli_table_print(&t, b);
	cli_table_clear(&t);
}

static void describe(const struct json_ref *pod, const struct json_ref *events,
		     struct buf *b)
{
	struct json_ref labels = view_get(pod, "metadata.labels");
	struct json_ref annotations = view_get(pod, "metadata.annotations");
	struct json_ref conditions = view_get(pod, "status.conditions");
	struct pod_view v;

	pod_view(pod, &v);
	put(b, 0, "Name", v.name);
	put(b, 0, "Namespace", v.namespace);
	put(b, 0, "Tenant", v.tenant);
	put(b, 0, "UID", view_str(pod, "metadata.uid"));
	put(b, 0, "Kind", v.vm ? "virtual machine" : "containers");
	put(b, 0, "Created", view_str(pod, "metadata.creationTimestamp"));
	put(b, 0, "Started", view_str(pod, "status.startTime"));
	put_map(b, "Labels", &labels);
	put_map(b, "Annotations", &annotations);
	put(b, 0, "Status", v.state);
	put(b, 0, "Reason", view_str(pod, "status.reason"));
	put(b, 0, "Message", view_str(pod, "status.message"));
	put(b, 0, "IP", v.ip);
	put(b, 0, "QoS class", view_str(pod, "status.qosClass"));
	put(b, 0, "Resize", view_str(pod, "status.resize"));
	put_payload(b, pod);
	put_conditions(b, &conditions);
	put_events(b, events);
}

static int print_described(const struct buf *pod, const struct buf *events,
			   struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_doc *doc, *events_doc;
	struct json_ref root, ev, items;
	int r;

	r = json_parse(buf_str(pod), pod->len, &doc, e);
	if (r < 0)
		return r;
	r = json_parse(buf_str(events), events->len, &events_doc, e);
	if (r < 0) {
		yyjson_doc_free(doc);
		return r;
	}
	root = json_root(doc);
	ev = json_root(events_doc);
	items = json_get(&ev, "items");
	describe(&root, &items, &b);
	yyjson_doc_free(doc);
	yyjson_doc_free(events_doc);
	return cmd_print(&b);
}

static int print_object(const struct buf *pod, const char *format,
			struct err *e)
{
	auto_buf struct buf b = BUF_INIT;
	yyjson_doc *doc;
	int r;

	if (str_eq(format, "yaml")) {
		r = yaml_from_json(buf_str(pod), pod->len, &b, e);
		return r < 0 ? r : cmd_print(&b);
	}
	r = json_parse(buf_str(pod), pod->len, &doc, e);
	if (r < 0)
		return r;
	r = json_write(yyjson_doc_get_root(doc), true, &b);
	buf_putc(&b, '\n');
	yyjson_doc_free(doc);
	return r < 0 ? r : cmd_print(&b);
}

int cmd_describe(const struct cli_command *c, int argc, char **argv)
{
	auto_buf struct buf target = BUF_INIT, pod = BUF_INIT,
			    events = BUF_INIT;
	struct http_client *client = NULL;
	struct args a = { .output = NULL };
	struct pod_ref ref;
	struct err e = { 0 };
	int r = cmd_begin(c, argc, argv, &a, 1, 1);

	if (r < 0)
		return CMD_EXIT(r);
	r = pod_ref_find(&a.common, argv[r], &ref, &e);
	if (r == 0)
		r = cmd_connect(&a.common, &client, &e);
	if (r == 0) {
		pod_ref_target(&ref, "", &target);
		r = cmd_call(client, "GET", buf_str(&target), NULL, 0, &pod,
			     &e);
	}
	if (r == 0 && a.output) {
		r = print_object(&pod, a.output, &e);
	} else if (r == 0) {
		buf_reset(&target);
		buf_printf(&target,
			   "/api/v1/tenants/%s/namespaces/%s/events?pod=%s",
			   ref.tenant, ref.namespace, ref.name);
		r = cmd_call(client, "GET", buf_str(&target), NULL, 0, &events,
			     &e);
		if (r == 0)
			r = print_described(&pod, &events, &e);
	}
	http_client_close(client);
	return r < 0 ? cli_fail(&e) : r;
}
