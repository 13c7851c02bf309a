// SPDX-License-Identifier: Apache-2.0
/* reboot, snapshot, restore POD: make an Action, and wait for what its node
 * says of it. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/client/rest.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define TIMEOUT_MS (5 * 60 * 1000)

struct args {
	const char *verb, *pod, *namespace, *tenant;
	const char *snapshot, *delete;
	uint64_t delay_ms, timeout_ms;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *operation_of(const struct args *a)
{
	return a->delete ? "deleteSnapshot" : a->verb;
}

static void put_request(const struct args *a, struct buf *b)
{
	const char *snapshot = a->delete ? a->delete : a->snapshot;
	bool take = strcmp(operation_of(a), "snapshot") == 0;
	struct json_out o = JSON_OUT(b);
	char params[64];

	snprintf(params, sizeof(params), "%sParams", operation_of(a));
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "CustomAction");
	json_put_str(&o, "operation", operation_of(a));
	json_put_object(&o, params);
	if (snapshot)
		json_put_str(&o, take ? "snapshotName" : "snapshotID",
			     snapshot);
	if (a->delay_ms)
		json_put_u64(&o, "delayInSeconds", (a->delay_ms + 999) / 1000);
	json_put_end(&o);
	json_put_end(&o);
}

static yyjson_val *status_of(yyjson_val *action)
{
	return yyjson_obj_get(action, "status");
}

static bool is_complete(yyjson_val *action)
{
	return yyjson_get_bool(yyjson_obj_get(status_of(action), "complete"));
}

/* Follow the Action until it has ended. @ret is the caller's. */
static int wait_end(struct rest *c, const char *path, uint64_t until_ms,
		    yyjson_doc **ret, struct err *e)
{
	const char *name = strrchr(path, '/') + 1;
	uint64_t now = now_ms();
	auto_free char *watch =
		str_printf("%.*s?watch=1&timeoutSeconds=%" PRIu64
			   "&fieldSelector=metadata.name%%3D%s",
			   (int)(name - 1 - path), path,
			   now < until_ms ? (until_ms - now + 999) / 1000 : 1,
			   name);
	auto_buf struct buf answer = BUF_INIT;
	const char *line;
	size_t len;
	int r;

	r = watch ? rest_stream(c, watch, &answer, e) : -ENOMEM;
	if (r != 200)
		return r < 0 ? r : rest_check(r, &answer, e);
	while ((r = rest_stream_line(c, &line, &len, e)) > 0) {
		yyjson_doc *doc = yyjson_read(line, len, 0);
		yyjson_val *root = yyjson_doc_get_root(doc);

		if (is_complete(yyjson_obj_get(root, "object"))) {
			*ret = doc;
			break;
		}
		if (str_eq(yyjson_get_str(yyjson_obj_get(root, "type")),
			   "DELETED"))
			r = err_set(e, -ENOENT, "action %s is gone", name);
		yyjson_doc_free(doc);
		if (r < 0)
			break;
	}
	rest_stream_end(c);
	return r > 0   ? 0
	       : r < 0 ? r
		       : err_set(e, -ETIMEDOUT,
				 "not done in time, it goes on; see 'kubectl "
				 "get actions %s'",
				 name);
}

static int print_end(const struct args *a, yyjson_val *action, struct err *e)
{
	yyjson_val *st = status_of(action), *took;
	const char *error = yyjson_get_str(yyjson_obj_get(st, "error"));
	const char *id = yyjson_get_str(
		yyjson_obj_get(yyjson_obj_get(st, "snapshotStatus"),
			       "snapshotID"));

	if (error && *error)
		return err_set(e, -EIO, "pod/%s: %s", a->pod, error);
	took = yyjson_obj_get(st, "durationMilliseconds");
	printf("pod/%s ", a->pod);
	if (a->delete)
		printf("deleted snapshot %s", a->delete);
	else if (strcmp(a->verb, "snapshot") == 0)
		printf("took snapshot %s", id ? id : "");
	else if (strcmp(a->verb, "restore") == 0)
		printf("restored %s", a->snapshot);
	else
		printf("rebooted");
	printf(", %" PRId64 " ms\n", yyjson_get_sint(took));
	return 0;
}

static int run(struct rest *c, const struct args *a, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	uint64_t until_ms = now_ms() + a->timeout_ms;
	yyjson_doc *doc = NULL, *end = NULL;
	auto_free char *path = NULL;
	int r;

	path = str_printf("/api/v1%s%s/namespaces/%s/pods/%s/action",
			  a->tenant ? "/tenants/" : "",
			  a->tenant ? a->tenant : "", a->namespace, a->pod);
	put_request(a, &body);
	if (!path || buf_error(&body))
		return err_set(e, -ENOMEM, "out of memory");
	r = rest_call(c, "POST", path, buf_str(&body), NULL, &answer, e);
	r = r < 0 ? r : rest_check(r, &answer, e);
	if (r < 0)
		return r;
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	free(path);
	path = NULL;
	(void)str_set(&path,
		      yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(doc),
						    "/metadata/selfLink")));
	yyjson_doc_free(doc);
	if (!path || !strchr(path, '/'))
		return err_set(e, -EBADMSG,
			       "the server does not say which Action it made");
	r = wait_end(c, path, until_ms, &end, e);
	if (r == 0)
		r = print_end(a,
			      yyjson_obj_get(yyjson_doc_get_root(end),
					     "object"),
			      e);
	yyjson_doc_free(end);
	return r;
}

/* What belongs to which of them. */
static bool fits(const struct args *a)
{
	if (strcmp(a->verb, "snapshot") == 0)
		return !(a->snapshot && a->delete) && !a->delay_ms;
	if (strcmp(a->verb, "restore") == 0)
		return a->snapshot && !a->delete &&!a->delay_ms;
	return !a->snapshot && !a->delete;
}

static bool parse(struct args *a, int argc, char **argv)
{
	static const struct option options[] = {
		{ "namespace", required_argument, NULL, 'n' },
		{ "tenant", required_argument, NULL, 't' },
		{ "name", required_argument, NULL, 's' },
		{ "snapshot", required_argument, NULL, 's' },
		{ "delete", required_argument, NULL, 'd' },
		{ "delay", required_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 'T' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "n:t:", options, NULL)) != -1) {
		if (c == 'n')
			a->namespace = optarg;
		else if (c == 't')
			a->tenant = optarg;
		else if (c == 's')
			a->snapshot = optarg;
		else if (c == 'd')
			a->delete = optarg;
		else if (c == 'w' && !cli_parse_duration(optarg, &a->delay_ms))
			continue;
		else if (c == 'T' &&
			 !cli_parse_duration(optarg, &a->timeout_ms))
			continue;
		else
			return false;
	}
	if (optind != argc - 1)
		return false;
	a->pod = argv[optind];
	return fits(a);
}

static bool is_word(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0' &&
	       *s;
}

int cmd_action(const char *kubeconfig, int argc, char **argv)
{
	struct args a = { .verb = argv[0],
			  .namespace = "default",
			  .timeout_ms = TIMEOUT_MS };
	auto_ptr(rest) c = NULL;
	struct err e = { 0 };

	if (!parse(&a, argc, argv)) {
		fprintf(stderr,
			"arktosctl: want %s POD%s; see arktosctl --help\n",
			a.verb,
			strcmp(a.verb, "restore") == 0 ? " --snapshot NAME"
						       : "");
		return 2;
	}
	/* They become part of a path. */
	if (!is_word(a.pod) || !is_word(a.namespace) ||
	    (a.tenant && !is_word(a.tenant))) {
		fputs("arktosctl: not a name of a pod, namespace or tenant\n",
		      stderr);
		return 2;
	}
	if (ctl_open(kubeconfig, &c, &e) == 0 && run(c, &a, &e) == 0)
		return 0;
	fprintf(stderr, "arktosctl: %s\n", e.msg);
	return 1;
}
