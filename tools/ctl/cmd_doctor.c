// SPDX-License-Identifier: Apache-2.0
/* Is the control plane well, and what is to be done if not. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/client/object.h"
#include "controlplane/client/rest.h"
#include "controlplane/heartbeat.h"
#include "lib/checks.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define PATIENCE_S  10
#define SLOW_MS     1000
#define DAY_S       INT64_C(86400)
#define SOON_DAYS   14
#define ROOM_MIN    (UINT64_C(128) << 20)
#define ROOM_LITTLE (UINT64_C(1) << 30)
#define CA_REMEDY                                                         \
	"take a backup, and give the control plane a new CA: ca.crt and " \
	"ca.key in its data folder; every kubeconfig is to be made again"
#define START_REMEDY                                                        \
	"is it running? 'systemctl status arktos-control' or 'make up' on " \
	"its host; the address is the kubeconfig's"

struct doctor {
	struct rest *rest;
	struct checks found;
	int64_t now_s;
	yyjson_doc *leases; /* of kube-system */
};

/* The answer as JSON; what is refused is skipped, what fails has failed. */
static yyjson_doc *get(struct doctor *d, const char *name, const char *path,
		       const char *remedy)
{
	auto_buf struct buf answer = BUF_INIT;
	yyjson_doc *doc = NULL;
	struct err e = { 0 };
	int r = rest_call(d->rest, "GET", path, NULL, NULL, &answer, &e);

	r = r < 0 ? r : rest_check(r, &answer, &e);
	if (r == 0)
		r = json_parse(buf_str(&answer), answer.len, &doc, &e);
	if (r == -EACCES && !strstr(e.msg, "nauthorized"))
		checks_note(&d->found, name, VERDICT_SKIPPED, "",
			    "for the system's admin: run it with "
			    "/etc/arktos/admin.kubeconfig");
	else if (r < 0)
		checks_note(&d->found, name, VERDICT_FAILED, remedy, "%s",
			    e.msg);
	return r < 0 ? NULL : doc;
}

/* --- the server, and how long certificates are good --- */

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool check_server(struct doctor *d)
{
	auto_buf struct buf answer = BUF_INIT;
	struct err e = { 0 };
	int64_t begin_ms = clock_ms(), ms;
	int r = rest_call(d->rest, "GET", "/readyz", NULL, NULL, &answer, &e);

	r = r < 0 ? r : rest_check(r, &answer, &e);
	ms = clock_ms() - begin_ms;
	if (r < 0)
		checks_note(&d->found, "api server", VERDICT_FAILED,
			    START_REMEDY, "%s", e.msg);
	else
		checks_note(
			&d->found, "api server",
			ms > SLOW_MS ? VERDICT_WARNING : VERDICT_OK,
			"look for load on its host, and for the disk of its store",
			"%s is ready, %" PRId64 " ms with the handshake",
			rest_server(d->rest), ms);
	return r == 0;
}

static void check_until(struct doctor *d, const char *name, int64_t until_s,
			const char *remedy)
{
	int64_t left_s = until_s - d->now_s;
	char date[OBJ_TIME_SIZE];

	if (!until_s) /* a token, say */
		return;
	time_format(until_s, date);
	if (left_s <= 0)
		checks_note(&d->found, name, VERDICT_FAILED, remedy,
			    "expired at %s", date);
	else
		checks_note(&d->found, name,
			    left_s < SOON_DAYS * DAY_S ? VERDICT_WARNING
						       : VERDICT_OK,
			    remedy, "good until %s, %" PRId64 " days", date,
			    left_s / DAY_S);
}

/* Ours first: with an expired one nothing else can be asked. */
static void check_certificates(struct doctor *d, bool connected)
{
	struct rest_expiry x;

	rest_expiry(d->rest, &x);
	if (connected)
		check_until(d, "certificate: server", x.server_s,
			    "it renews itself after two thirds of its life; if "
			    "tls.crt is in the data folder, replace it");
	else
		check_until(d, "certificate: this kubeconfig", x.client_s,
			    "'arktosctl tenant kubeconfig TENANT' makes "
			    "another; for the admin's own, remove "
			    "admin.kubeconfig in the data folder and restart "
			    "arktos-control");
	if (!connected)
		check_until(d, "certificate: CA", x.ca_s, CA_REMEDY);
}

/* --- nodes --- */

static void check_condition(struct doctor *d, const char *name,
			    yyjson_val *conds, const char *type, bool good,
			    const char *remedy)
{
	yyjson_val *c = obj_item(conds, "type", type);
	const char *status = obj_str(c, "status");

	if (c && !str_eq(status, good ? "True" : "False"))
		checks_note(&d->found, name, VERDICT_WARNING, remedy,
			    "%s is %s: %s", type, status,
			    obj_str(c, "message"));
}

static void check_node(struct doctor *d, yyjson_val *node)
{
	yyjson_val *conds = obj_at(node, "status.conditions");
	yyjson_val *ready = obj_item(conds, "type", "Ready");
	bool good = str_eq(obj_str(ready, "status"), "True");
	char name[128];

	snprintf(name, sizeof(name), "node %s", obj_str(node, "metadata.name"));
	if (!ready)
		checks_note(
			&d->found, name, VERDICT_FAILED,
			"start the agent there: systemctl start arktos-node, or "
			"'make up'",
			"has never told how it is");
	else
		checks_note(
			&d->found, name, good ? VERDICT_OK : VERDICT_FAILED,
			"on that host: 'systemctl status arktos-node' or 'make "
			"up', then 'arktos-node doctor'",
			"Ready is %s: %s%s%s", obj_str(ready, "status"),
			obj_str(ready, "reason"),
			*obj_str(ready, "message") ? ": " : "",
			obj_str(ready, "message"));
	if (!good)
		return;
	if (obj_bool(node, "spec.unschedulable", false))
		checks_note(&d->found, name, VERDICT_WARNING,
			    "kubectl uncordon it", "is cordoned: no new pods");
	check_condition(d, name, conds, "ContainerRuntimeReady", true,
			"'arktos-node doctor' there says what is missing");
	check_condition(d, name, conds, "VmRuntimeReady", true,
			"'arktos-node doctor' there says what is missing");
	check_condition(d, name, conds, "DiskPressure", false,
			"make room there: 'arktos-node image rm', logs");
	check_condition(d, name, conds, "MemoryPressure", false,
			"give it fewer pods, or more memory");
	check_condition(d, name, conds, "PIDPressure", false,
			"give it fewer pods");
}

static void check_nodes(struct doctor *d)
{
	yyjson_doc *doc =
		get(d, "nodes", "/api/v1/nodes?limit=200", START_REMEDY);
	yyjson_val *items, *v;
	yyjson_arr_iter it;

	if (!doc)
		return;
	items = obj_at(yyjson_doc_get_root(doc), "items");
	it = yyjson_arr_iter_with(items);
	if (!yyjson_arr_size(items))
		checks_note(&d->found, "nodes", VERDICT_WARNING,
			    "'arktosctl node token' says how one joins",
			    "there is none: nothing can run");
	while ((v = yyjson_arr_iter_next(&it)))
		check_node(d, v);
	yyjson_doc_free(doc);
}

/* --- the store --- */

static bool metric(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	for (const char *l = text; l; l = strchr(l, '\n')) {
		const char *v;

		l += *l == '\n';
		v = l + len;
		if (strncmp(l, name, len) == 0 && *v == '{')
			v += strcspn(v, " \n"); /* labels of ours: no blanks */
		if (strncmp(l, name, len) != 0 || *v != ' ')
			continue;
		return sscanf(v, "%" SCNu64, ret) == 1;
	}
	return false;
}

static void check_store(struct doctor *d)
{
	static const char remedy[] =
		"make room on that disk, or move the data folder; deleting "
		"objects works even when it is full";
	auto_buf struct buf answer = BUF_INIT;
	char a[QUANTITY_TEXT_SIZE], b[QUANTITY_TEXT_SIZE];
	uint64_t size = 0, room = 0, failed = 0;
	struct err e = { 0 };
	int r = rest_call(d->rest, "GET", "/metrics", NULL, NULL, &answer, &e);

	r = r < 0 ? r : rest_check(r, &answer, &e);
	if (r < 0) {
		checks_note(&d->found, "store",
			    r == -EACCES ? VERDICT_SKIPPED : VERDICT_FAILED,
			    START_REMEDY, "%s",
			    r == -EACCES ? "for the system's admin" : e.msg);
		return;
	}
	(void)metric(buf_str(&answer), "apiserver_storage_size_bytes", &size);
	quantity_format_human(size, a);
	if (metric(buf_str(&answer), "arktos_store_available_bytes", &room)) {
		quantity_format_human(room, b);
		checks_note(&d->found, "store",
			    room < ROOM_MIN + size      ? VERDICT_FAILED
			    : room < ROOM_LITTLE + size ? VERDICT_WARNING
							: VERDICT_OK,
			    remedy, "%s, %s free beside it", a, b);
	} else {
		checks_note(&d->found, "store", VERDICT_OK, "",
			    "%s, not on the server's disk", a);
	}
	(void)metric(buf_str(&answer), "arktos_store_failed_commits_total",
		     &failed);
	if (failed)
		checks_note(
			&d->found, "store", VERDICT_WARNING,
			"the log of arktos-control says why: a full or a failing "
			"disk",
			"%" PRIu64 " commits have failed since the start",
			failed);
}

/* --- controllers and scheduler --- */

static void check_health(struct doctor *d, const char *name, const char *text)
{
	yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
	yyjson_val *h = yyjson_doc_get_root(doc), *v;
	yyjson_arr_iter it = yyjson_arr_iter_with(obj_at(h, "failing"));
	int64_t stuck_s = obj_int(h, "stuckSeconds", 0);
	const char *last = obj_str(h, "lastSync");

	if (!obj_bool(h, "synced", false))
		checks_note(
			&d->found, name, VERDICT_FAILED,
			"it has to list all objects first; if this stays, its "
			"log says why",
			"does not know all objects yet");
	else if (stuck_s)
		checks_note(&d->found, name, VERDICT_FAILED,
			    "restart arktos-control, and report it",
			    "has not moved for %" PRId64 " s, %" PRId64
			    " keys wait",
			    stuck_s, obj_int(h, "waiting", 0));
	else
		checks_note(&d->found, name, VERDICT_OK, "", "in step%s%s",
			    *last ? ", last sync " : "", last);
	while ((v = yyjson_arr_iter_next(&it))) {
		char what[128];

		snprintf(what, sizeof(what), "controller %s",
			 obj_str(v, "controller"));
		checks_note(
			&d->found, what, VERDICT_WARNING,
			"it is tried again; 'kubectl describe' of the object and "
			"the message say what it wants",
			"%s: %s (%" PRId64 " times, last %s)",
			obj_str(v, "key"), obj_str(v, "message"),
			obj_int(v, "times", 0), obj_str(v, "last"));
	}
	yyjson_doc_free(doc);
}

static void check_lease(struct doctor *d, const char *name, yyjson_val *lease)
{
	int64_t age_s = d->now_s - obj_time(lease, "spec.renewTime");
	const char *holder = obj_str(lease, "spec.holderIdentity");

	if (age_s > HEARTBEAT_LEASE_S)
		checks_note(
			&d->found, name, VERDICT_FAILED,
			"start them: arktos-control run --roles "
			"scheduler,controllers --kubeconfig FILE, or all in one",
			"%s has not been heard of for %" PRId64 " s", holder,
			age_s);
	else
		check_health(d, name,
			     obj_annotation(lease, HEARTBEAT_ANNOTATION));
}

/* All leases that are called so: shards have one each. */
static void check_role(struct doctor *d, const char *role, const char *lease)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(
		obj_at(yyjson_doc_get_root(d->leases), "items"));
	yyjson_val *v;
	size_t nr = 0;

	while ((v = yyjson_arr_iter_next(&it))) {
		const char *name = obj_str(v, "metadata.name");

		if (!str_starts(name, lease))
			continue;
		nr++;
		check_lease(d, strlen(name) > strlen(lease) ? name : role, v);
	}
	if (!nr)
		checks_note(
			&d->found, role, VERDICT_FAILED,
			"start them: arktos-control run --roles "
			"scheduler,controllers --kubeconfig FILE, or all in one",
			"none has ever run here");
}

static void check_roles(struct doctor *d)
{
	d->leases = get(d, "controllers",
			"/apis/coordination.k8s.io/v1/tenants/system/"
			"namespaces/kube-system/leases?limit=500",
			START_REMEDY);
	if (!d->leases)
		return;
	check_role(d, "controllers", "arktos-controllers");
	check_role(d, "scheduler", "arktos-scheduler");
	yyjson_doc_free(d->leases);
}

/* --- the whole --- */

static void examine(struct doctor *d)
{
	d->now_s = time_now();
	check_certificates(d, false);
	if (!checks_passed(&d->found) || !check_server(d))
		return;
	check_certificates(d, true);
	check_nodes(d);
	check_store(d);
	check_roles(d);
}

int cmd_doctor(const char *kubeconfig, int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	struct doctor d = { .found = CHECKS_INIT };
	auto_buf struct buf b = BUF_INIT;
	auto_ptr(rest) c = NULL;
	struct err e = { 0 };
	bool json = false, failed;
	int ch;

	optind = 0;
	while ((ch = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (ch != 'o' || strcmp(optarg, "json") != 0)
			goto usage;
		json = true;
	}
	if (optind != argc)
		goto usage;
	if (ctl_open(kubeconfig, &c, &e) < 0) {
		checks_note(
			&d.found, "kubeconfig", VERDICT_FAILED,
			"name one with --kubeconfig or $KUBECONFIG; the admin's "
			"is /etc/arktos/admin.kubeconfig, or in the data folder",
			"%s", e.msg);
	} else {
		rest_set_patience(c, PATIENCE_S);
		d.rest = c;
		examine(&d);
	}
	(json ? checks_put_json : checks_put_text)(&d.found, &b);
	failed = fwrite(buf_str(&b), 1, b.len, stdout) != b.len ||
		 fflush(stdout) || !checks_passed(&d.found);
	checks_clear(&d.found);
	return failed;
usage:
	fputs("arktosctl: want doctor [-o json]; see arktosctl --help\n",
	      stderr);
	return 2;
}
