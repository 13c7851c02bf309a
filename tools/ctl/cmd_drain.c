// SPDX-License-Identifier: Apache-2.0
/* 'node drain NAME': what 'kubectl drain' is for one tenant, for all of them:
 * the node is cordoned, and each pod on it is evicted, as budgets allow. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/client/rest.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/map.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define TIMEOUT_MS (10 * 60 * 1000)
#define LOOK_S     1
#define MIRROR     "kubernetes.io/config.mirror"

static const char usage[] =
	"usage: arktosctl node drain NAME [--force] [--timeout TIME]\n\n"
	"Cordons the node and evicts the pods of all tenants, as their "
	"PodDisruptionBudgets\nallow; those of DaemonSets and static pods "
	"stay.\n\n"
	"  --force         delete pods that are nobody's, too\n"
	"  --timeout TIME  wait so long for all to be gone (10m)\n";

struct drain {
	struct rest *c;
	const char *node;
	bool force, help;
	size_t left;     /* pods that were there at the last look */
	struct map told; /* why a pod waits, by its uid: said once */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *text(yyjson_val *v, const char *pointer)
{
	const char *s = yyjson_get_str(yyjson_ptr_get(v, pointer));

	return s ? s : "";
}

static yyjson_val *controller_of(yyjson_val *pod)
{
	yyjson_val *refs = yyjson_ptr_get(pod, "/metadata/ownerReferences"), *o;
	size_t i, max;

	yyjson_arr_foreach(refs, i, max, o)
	{
		if (yyjson_get_bool(yyjson_obj_get(o, "controller")))
			return o;
	}
	return NULL;
}

/* Does it count? Not the node's own, not a daemon's, which would come again,
 * and not what has ended. */
static bool is_to_go(yyjson_val *pod)
{
	yyjson_val *notes = yyjson_ptr_get(pod, "/metadata/annotations");
	const char *phase = text(pod, "/status/phase");

	return !yyjson_obj_get(notes, MIRROR) && !str_eq(phase, "Succeeded") &&
	       !str_eq(phase, "Failed") &&
	       !str_eq(text(controller_of(pod), "/kind"), "DaemonSet");
}

static int cordon(struct drain *d, struct err *e)
{
	auto_free char *path = str_printf("/api/v1/nodes/%s", d->node);
	auto_buf struct buf answer = BUF_INIT;
	int r = path ? rest_call(d->c, "PATCH", path,
				 "{\"spec\":{\"unschedulable\":true}}",
				 "application/merge-patch+json", &answer, e)
		     : -ENOMEM;

	r = r < 0 ? r : rest_check(r, &answer, e);
	if (r == 0)
		printf("node/%s cordoned\n", d->node);
	return r;
}

/* Said again only when it is something else. */
static int tell_waits(struct drain *d, yyjson_val *pod, const char *why,
		      struct err *e)
{
	const char *uid = text(pod, "/metadata/uid");
	char *now = map_get(&d->told, uid), *old = NULL;

	if (now && str_eq(now, why))
		return 0;
	printf("pod %s/%s/%s waits: %s\n", text(pod, "/metadata/tenant"),
	       text(pod, "/metadata/namespace"), text(pod, "/metadata/name"),
	       why);
	now = strdup(why);
	if (!now || map_set(&d->told, uid, now, (void **)&old) < 0) {
		free(now);
		return err_set(e, -ENOMEM, "out of memory");
	}
	free(old);
	return 0;
}

static int evict(struct drain *d, yyjson_val *pod, struct err *e)
{
	const char *tenant = text(pod, "/metadata/tenant");
	const char *ns = text(pod, "/metadata/namespace");
	const char *name = text(pod, "/metadata/name");
	auto_free char *path =
		str_printf("/api/v1/tenants/%s/namespaces/%s/pods/%s/eviction",
			   tenant, ns, name);
	auto_free char *body =
		str_printf("{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\""
			   ",\"metadata\":{\"name\":\"%s\"},\"deleteOptions\":{"
			   "\"preconditions\":{\"uid\":\"%s\"}}}",
			   name, text(pod, "/metadata/uid"));
	auto_buf struct buf answer = BUF_INIT;
	struct err why = { 0 };
	int r = path && body
			? rest_call(d->c, "POST", path, body, NULL, &answer, e)
			: -ENOMEM;

	if (r < 0)
		return r;
	if (r == 404 ||
	    r == 409) /* gone, or another one: the next look tells */
		return 0;
	if (r == 429) {
		(void)rest_check(r, &answer, &why);
		return tell_waits(d, pod, why.msg, e);
	}
	r = rest_check(r, &answer, e);
	if (r == 0)
		printf("pod %s/%s/%s evicted\n", tenant, ns, name);
	return r < 0 ? err_wrap(e, r, "pod %s/%s/%s", tenant, ns, name) : 0;
}

/* Nothing is begun that --force is needed for and not there. */
static int refuse(struct drain *d, yyjson_val *items, struct err *e)
{
	yyjson_val *pod;
	size_t i, max;

	yyjson_arr_foreach(items, i, max, pod)
	{
		if (!d->force && is_to_go(pod) && !controller_of(pod))
			return err_set(e, -EINVAL,
				       "pod %s/%s/%s is nobody's, it would not "
				       "come again elsewhere: --force deletes "
				       "such pods",
				       text(pod, "/metadata/tenant"),
				       text(pod, "/metadata/namespace"),
				       text(pod, "/metadata/name"));
	}
	return 0;
}

/* @first: the look before anything is done. */
static int look(struct drain *d, bool first, struct err *e)
{
	auto_free char *path = str_printf(
		"/api/v1/tenants/all/pods?fieldSelector=spec.nodeName%%3D%s",
		d->node);
	auto_buf struct buf answer = BUF_INIT;
	yyjson_val *items, *pod;
	yyjson_doc *doc;
	size_t i, max;
	int r = path ? rest_call(d->c, "GET", path, NULL, NULL, &answer, e)
		     : -ENOMEM;

	r = r < 0 ? r : rest_check(r, &answer, e);
	if (r < 0)
		return r;
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	items = yyjson_obj_get(yyjson_doc_get_root(doc), "items");
	if (first)
		r = refuse(d, items, e);
	d->left = 0;
	yyjson_arr_foreach(items, i, max, pod)
	{
		if (r < 0 || !is_to_go(pod))
			continue;
		d->left++;
		if (!first && !*text(pod, "/metadata/deletionTimestamp"))
			r = evict(d, pod, e);
	}
	yyjson_doc_free(doc);
	return r;
}

static int drain(struct drain *d, uint64_t timeout_ms, struct err *e)
{
	uint64_t until = now_ms() + timeout_ms;
	int r = look(d, true, e);

	if (r == 0)
		r = cordon(d, e);
	while (r == 0) {
		r = look(d, false, e);
		if (r < 0 || !d->left)
			break;
		if (now_ms() >= until)
			return err_set(e, -ETIMEDOUT,
				       "%zu pods are still on node %s; it "
				       "stays cordoned",
				       d->left, d->node);
		fflush(stdout);
		nanosleep(&(struct timespec){ .tv_sec = LOOK_S }, NULL);
	}
	if (r == 0)
		printf("node/%s drained\n", d->node);
	return r;
}

static bool parse(struct drain *d, uint64_t *timeout_ms, int argc, char **argv)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ "timeout", required_argument, NULL, 'T' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'f')
			d->force = true;
		else if (c == 'h')
			return d->help = true;
		else if (c != 'T' || cli_parse_duration(optarg, timeout_ms) < 0)
			return false;
	}
	if (optind + 1 != argc || !str_is_dns_subdomain(argv[optind]))
		return false;
	d->node = argv[optind];
	return true;
}

int cmd_drain(const char *kubeconfig, int argc, char **argv)
{
	uint64_t timeout_ms = TIMEOUT_MS;
	auto_ptr(rest) c = NULL;
	struct drain d = { .told = MAP_INIT };
	struct err e = { 0 };
	int r = -1;

	if (!parse(&d, &timeout_ms, argc, argv)) {
		fputs("arktosctl: want node drain NAME [--force] "
		      "[--timeout TIME]; see arktosctl --help\n",
		      stderr);
		return 2;
	}
	if (d.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (ctl_open(kubeconfig, &c, &e) == 0) {
		d.c = c;
		r = drain(&d, timeout_ms, &e);
	}
	map_clear(&d.told, free);
	if (r == 0)
		return 0;
	fprintf(stderr, "arktosctl: %s\n", e.msg);
	return 1;
}
