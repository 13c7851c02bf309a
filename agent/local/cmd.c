// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/local/cmd.h"
#include "agent/local/view.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/str.h"

/* One part of a name: from the name itself, from the option, or the default. */
static int ref_part(const char *what, const char *text, size_t len,
		    const char *option, char *ret, size_t size, struct err *e)
{
	if (text && option &&
	    (strlen(option) != len || memcmp(option, text, len)))
		return err_set(e, -EINVAL,
			       "the %s is '%.*s' in the pod's name and '%s' in "
			       "--%s: give it once",
			       what, (int)len, text, option, what);
	if (!text && option) {
		text = option;
		len = strlen(option);
	}
	if (!text)
		return 0;
	if (len >= size)
		return err_set(e, -EINVAL, "the pod's %s is too long", what);
	snprintf(ret, size, "%.*s", (int)len, text);
	return 0;
}

static int check_label(const char *what, const char *text, struct err *e)
{
	if (str_is_dns_label(text))
		return 0;
	return err_set(e, -EINVAL,
		       "'%s' is not a %s: use lower case letters, digits "
		       "and '-'",
		       text, what);
}

int cmd_check_place(const struct cmd_common *c, struct err *e)
{
	int r = c->tenant ? check_label("tenant", c->tenant, e) : 0;

	if (r == 0 && c->namespace)
		r = check_label("namespace", c->namespace, e);
	return r;
}

int pod_ref_parse(const struct cmd_common *c, const char *text,
		  struct pod_ref *ret, struct err *e)
{
	const char *part[3] = { NULL }, *whole = text;
	size_t len[3] = { 0 };
	size_t nr = 1, at;
	int r;

	for (const char *s = text; *s; s++)
		nr += *s == '/';
	if (nr > 3)
		return err_set(e, -EINVAL,
			       "'%s' is not a pod: write NAME, NAMESPACE/NAME"
			       " or TENANT/NAMESPACE/NAME",
			       text);
	for (at = 3 - nr; at < 3; at++) {
		part[at] = text;
		len[at] = strcspn(text, "/");
		text += len[at] + 1;
	}
	*ret = (struct pod_ref){ .tenant = "system", .namespace = "default" };
	r = ref_part("tenant", part[0], len[0], c->tenant, ret->tenant,
		     sizeof(ret->tenant), e);
	if (r == 0)
		r = ref_part("namespace", part[1], len[1], c->namespace,
			     ret->namespace, sizeof(ret->namespace), e);
	if (r == 0)
		r = ref_part("name", part[2], len[2], NULL, ret->name,
			     sizeof(ret->name), e);
	if (r < 0)
		return r;
	r = check_label("tenant", ret->tenant, e);
	if (r == 0)
		r = check_label("namespace", ret->namespace, e);
	if (r == 0 && !str_is_dns_subdomain(ret->name))
		r = err_set(e, -EINVAL,
			    "'%s' is not a pod's name: use lower case"
			    " letters, digits and '-'",
			    whole);
	return r;
}

void pod_ref_target(const struct pod_ref *ref, const char *sub, struct buf *b)
{
	buf_puts(b, "/api/v1/");
	if (!str_eq(ref->tenant, "system"))
		buf_printf(b, "tenants/%s/", ref->tenant);
	buf_printf(b, "namespaces/%s/pods/%s%s", ref->namespace, ref->name,
		   sub);
}

/* Of all pods with that name: how many there are, and the last of them. */
static size_t same_name(const struct buf *list, struct pod_ref *ref,
			struct buf *names)
{
	struct json_ref root, items;
	yyjson_doc *doc;
	size_t nr = 0;

	if (json_parse(buf_str(list), list->len, &doc, NULL) < 0)
		return 0;
	root = json_root(doc);
	items = json_get(&root, "items");
	json_for_each (it, &items) {
		const char *tenant = view_str(&it.item, "metadata.tenant");
		const char *ns = view_str(&it.item, "metadata.namespace");

		if (!str_eq(view_str(&it.item, "metadata.name"), ref->name))
			continue;
		buf_printf(names, "%s%s/%s/%s", nr++ ? ", " : "", tenant, ns,
			   ref->name);
		snprintf(ref->tenant, sizeof(ref->tenant), "%s", tenant);
		snprintf(ref->namespace, sizeof(ref->namespace), "%s", ns);
	}
	yyjson_doc_free(doc);
	return nr;
}

int pod_ref_find(const struct cmd_common *c, const char *text,
		 struct pod_ref *ret, struct err *e)
{
	auto_buf struct buf target = BUF_INIT, out = BUF_INIT, names = BUF_INIT;
	struct http_client *client = NULL;
	struct pod_ref other;
	size_t nr = 0;
	int r = pod_ref_parse(c, text, ret, e);

	if (r < 0 || c->tenant || c->namespace || strchr(text, '/'))
		return r;
	other = *ret;
	pod_ref_target(ret, "", &target);
	/* Whatever else is wrong, the command itself will say it. */
	if (cmd_connect(c, &client, NULL) < 0)
		return 0;
	if (cmd_call(client, "GET", buf_str(&target), NULL, 0, &out, NULL) ==
	    -ENOENT) {
		buf_reset(&out);
		if (cmd_call(client, "GET", "/api/v1/pods", NULL, 0, &out,
			     NULL) == 0)
			nr = same_name(&out, &other, &names);
	}
	http_client_close(client);
	if (nr > 1)
		return err_set(e, -ENOTUNIQ,
			       "%zu pods on this node are called '%s': say "
			       "which one: %s",
			       nr, ret->name, buf_str(&names));
	if (nr == 1)
		*ret = other;
	return 0;
}

int cmd_connect(const struct cmd_common *c, struct http_client **ret,
		struct err *e)
{
	const char *path = c->socket;
	char address[160];
	int r;

	if (!path)
		path = getenv("ARKTOS_NODE_SOCKET");
	if (!path)
		path = CMD_SOCKET;
	snprintf(address, sizeof(address), "unix:%s", path);
	r = http_client_open(address, 5000, ret, e);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return err_set(e, r,
			       "the agent is not running (nobody serves %s): "
			       "start it with 'systemctl start arktos-node' or "
			       "'arktos-node run'",
			       path);
	if (r == -EACCES || r == -EPERM)
		return err_set(e, r,
			       "%s is for root only: run this command as root",
			       path);
	return r;
}

static int read_status(int status, const struct buf *body, struct buf *told,
		       struct err *e)
{
	static const struct {
		int status, code;
	} codes[] = {
		{ 404, -ENOENT },    { 409, -EBUSY },  { 400, -EBADMSG },
		{ 413, -E2BIG },     { 422, -EINVAL }, { 403, -EACCES },
		{ 504, -ETIMEDOUT }, { 503, -EAGAIN }, { 501, -EOPNOTSUPP },
	};
	const char *message = NULL;
	yyjson_doc *doc = NULL;
	int code = -EREMOTEIO;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].status == status)
			code = codes[i].code;
	if (json_parse(buf_str(body), body->len, &doc, NULL) == 0) {
		struct json_ref root = json_root(doc);
		struct json_ref f = json_get(&root, "message");

		(void)json_opt_str(&f, &message, NULL);
	}
	if (message && *message) {
		err_set(e, code, "%s", message);
		if (told)
			buf_puts(told, message);
	} else {
		err_set(e, code, "the agent answered %d: %.*s", status,
			(int)strcspn(buf_str(body), "\r\n"), buf_str(body));
	}
	if (doc)
		yyjson_doc_free(doc);
	return code;
}

int cmd_status(int status, const struct buf *body, struct err *e)
{
	return read_status(status, body, NULL, e);
}

static int call(struct http_client *c, const char *method, const char *target,
		const char *body, int timeout_ms, struct buf *out,
		struct buf *told, struct err *e)
{
	struct http_call ask = { .method = method,
				 .target = target,
				 .body = body,
				 .len = body ? strlen(body) : 0,
				 .timeout_ms = timeout_ms };
	struct http_answer a = HTTP_ANSWER_INIT;
	int r;

	r = http_call(c, &ask, &a, e);
	if (r < 0)
		r = err_wrap(e, r, "ask the agent");
	else if (a.status / 100 != 2)
		r = read_status(a.status, &a.body, told, e);
	else if (buf_add(out, buf_str(&a.body), a.body.len) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	buf_clear(&a.body);
	return r;
}

int cmd_call(struct http_client *c, const char *method, const char *target,
	     const char *body, int timeout_ms, struct buf *out, struct err *e)
{
	return call(c, method, target, body, timeout_ms, out, NULL, e);
}

int cmd_call_told(struct http_client *c, const char *method, const char *target,
		  const char *body, struct buf *out, struct buf *told,
		  struct err *e)
{
	return call(c, method, target, body, 0, out, told, e);
}

int cmd_begin(const struct cli_command *c, int argc, char **argv, void *args,
	      int min, int max)
{
	struct err e = { 0 };
	int first = cli_parse(c, argc, argv, args, &e);

	if (first >= 0 && argc - first < min)
		first = err_set(&e, -EINVAL, "%s is missing",
				c->operands[0] ? c->operands : "an operand");
	else if (first >= 0 && max >= 0 && argc - first > max)
		first = err_set(&e, -EINVAL, "'%s' is too much",
				argv[first + max]);
	return first < 0 ? -cli_usage(c, first, &e) - 1 : first;
}

int cmd_print(const struct buf *b)
{
	if (buf_error(b)) {
		fputs("error: out of memory\n", stderr);
		return 1;
	}
	if (fwrite(buf_str(b), 1, b->len, stdout) != b->len ||
	    fflush(stdout) != 0) {
		fprintf(stderr, "error: write: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
