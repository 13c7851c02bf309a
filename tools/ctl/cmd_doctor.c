// SPDX-License-Identifier: Apache-2.0
/* Is the control plane well, and what is to be done if not. */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/client/object.h"
#include "controlplane/client/rest.h"
#include "controlplane/heartbeat.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"
#include "tools/ctl/ctl.h"

#define CHECKS_MAX  256
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

enum verdict { OK, SKIPPED, WARNING, FAILED };

struct check {
	char name[128];
	enum verdict verdict;
	char detail[512];
	const char *remedy;
};

struct doctor {
	struct rest *rest;
	struct check checks[CHECKS_MAX];
	size_t nr;
	int64_t now_s;
	yyjson_doc *leases; /* of kube-system */
};

static const char *word(enum verdict v)
{
	static const char *const words[] = { [OK] = "ok",
					     [SKIPPED] = "skipped",
					     [WARNING] = "warning",
					     [FAILED] = "failed" };
	return words[v];
}

__attribute__((format(printf, 5, 6))) static void
note(struct doctor *d, const char *name, enum verdict v, const char *remedy,
     const char *fmt, ...)
{
	struct check *c;
	va_list ap;

	if (d->nr == CHECKS_MAX)
		return;
	c = &d->checks[d->nr++];
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->verdict = v;
	c->remedy = v == OK || v == SKIPPED ? "" : remedy;
	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
}

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
		note(d, name, SKIPPED, "",
		     "for the system's admin: run it with "
		     "/etc/arktos/admin.kubeconfig");
	else if (r < 0)
		note(d, name, FAILED, remedy, "%s", e.msg);
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
		note(d, "api server", FAILED, START_REMEDY, "%s", e.msg);
	else
		note(d, "api server", ms > SLOW_MS ? WARNING : OK,
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
		note(d, name, FAILED, remedy, "expired at %s", date);
	else
		note(d, name, left_s < SOON_DAYS * DAY_S ? WARNING : OK, remedy,
		     "good until %s, %" PRId64 " days", date, left_s / DAY_S);
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
		note(d, name, WARNING, remedy, "%s is %s: %s", type, status,
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
		note(d, name, FAILED,
		     "start the agent there: systemctl start arktos-node, or "
		     "'make up'",
		     "has never told how it is");
	else
		note(d, name, good ? OK : FAILED,
		     "on that host: 'systemctl status arktos-node' or 'make "
		     "up', then 'arktos-node doctor'",
		     "Ready is %s: %s%s%s", obj_str(ready, "status"),
		     obj_str(ready, "reason"),
		     *obj_str(ready, "message") ? ": " : "",
		     obj_str(ready, "message"));
	if (!good)
		return;
	if (obj_bool(node, "spec.unschedulable", false))
		note(d, name, WARNING, "kubectl uncordon it",
		     "is cordoned: no new pods");
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
		note(d, "nodes", WARNING,
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
		note(d, "store", r == -EACCES ? SKIPPED : FAILED, START_REMEDY,
		     "%s", r == -EACCES ? "for the system's admin" : e.msg);
		return;
	}
	(void)metric(buf_str(&answer), "apiserver_storage_size_bytes", &size);
	quantity_format_human(size, a);
	if (metric(buf_str(&answer), "arktos_store_available_bytes", &room)) {
		quantity_format_human(room, b);
		note(d, "store",
		     room < ROOM_MIN + size      ? FAILED
		     : room < ROOM_LITTLE + size ? WARNING
						 : OK,
		     remedy, "%s, %s free beside it", a, b);
	} else {
		note(d, "store", OK, "", "%s, not on the server's disk", a);
	}
	(void)metric(buf_str(&answer), "arktos_store_failed_commits_total",
		     &failed);
	if (failed)
		note(d, "store", WARNING,
		     "the log of arktos-control says why: a full or a failing "
		     "disk",
		     "%" PRIu64 " commits have failed since the start", failed);
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
		note(d, name, FAILED,
		     "it has to list all objects first; if this stays, its "
		     "log says why",
		     "does not know all objects yet");
	else if (stuck_s)
		note(d, name, FAILED, "restart arktos-control, and report it",
		     "has not moved for %" PRId64 " s, %" PRId64 " keys wait",
		     stuck_s, obj_int(h, "waiting", 0));
	else
		note(d, name, OK, "", "in step%s%s",
		     *last ? ", last sync " : "", last);
	while ((v = yyjson_arr_iter_next(&it))) {
		char what[128];

		snprintf(what, sizeof(what), "controller %s",
			 obj_str(v, "controller"));
		note(d, what, WARNING,
		     "it is tried again; 'kubectl describe' of the object and "
		     "the message say what it wants",
		     "%s: %s (%" PRId64 " times, last %s)", obj_str(v, "key"),
		     obj_str(v, "message"), obj_int(v, "times", 0),
		     obj_str(v, "last"));
	}
	yyjson_doc_free(doc);
}

static void check_lease(struct doctor *d, const char *name, yyjson_val *lease)
{
	int64_t age_s = d->now_s - obj_time(lease, "spec.renewTime");
	const char *holder = obj_str(lease, "spec.holderIdentity");

	if (age_s > HEARTBEAT_LEASE_S)
		note(d, name, FAILED,
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
		note(d, role, FAILED,
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

static bool has_failed(const struct doctor *d)
{
	for (size_t i = 0; i < d->nr; i++)
		if (d->checks[i].verdict == FAILED)
			return true;
	return false;
}

static void put_text(const struct doctor *d, struct buf *b)
{
	struct cli_table t = CLI_TABLE_INIT;
	bool heading = false;

	cli_row(&t, "CHECK", "RESULT", "DETAIL", NULL);
	for (size_t i = 0; i < d->nr; i++)
		cli_row(&t, d->checks[i].name, word(d->checks[i].verdict),
			d->checks[i].detail, NULL);
	(void)cli_table_print(&t, b); /* the buf keeps the failure */
	cli_table_clear(&t);
	for (size_t i = 0; i < d->nr; i++) {
		if (!*d->checks[i].remedy)
			continue;
		if (!heading)
			buf_puts(b, "\nWhat to do:\n");
		heading = true;
		buf_printf(b, "  %s: %s\n", d->checks[i].name,
			   d->checks[i].remedy);
	}
}

static void put_json(const struct doctor *d, struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_bool(&o, "passed", !has_failed(d));
	json_put_array(&o, "checks");
	for (size_t i = 0; i < d->nr; i++) {
		const struct check *c = &d->checks[i];

		json_put_object(&o, NULL);
		json_put_str(&o, "name", c->name);
		json_put_str(&o, "result", word(c->verdict));
		json_put_str(&o, "detail", c->detail);
		json_put_str(&o, "remedy", c->remedy);
		json_put_end(&o);
	}
	json_put_end(&o);
	json_put_end(&o);
	buf_putc(b, '\n');
}

static void examine(struct doctor *d)
{
	d->now_s = time_now();
	check_certificates(d, false);
	if (has_failed(d) || !check_server(d))
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
	auto_free struct doctor *d = calloc(1, sizeof(*d));
	auto_buf struct buf b = BUF_INIT;
	auto_ptr(rest) c = NULL;
	struct err e = { 0 };
	bool json = false;
	int ch;

	optind = 0;
	while ((ch = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (ch != 'o' || strcmp(optarg, "json") != 0)
			goto usage;
		json = true;
	}
	if (optind != argc)
		goto usage;
	if (!d)
		return 1;
	if (ctl_open(kubeconfig, &c, &e) < 0) {
		note(d, "kubeconfig", FAILED,
		     "name one with --kubeconfig or $KUBECONFIG; the admin's "
		     "is /etc/arktos/admin.kubeconfig, or in the data folder",
		     "%s", e.msg);
	} else {
		rest_set_patience(c, PATIENCE_S);
		d->rest = c;
		examine(d);
	}
	(json ? put_json : put_text)(d, &b);
	if (fwrite(buf_str(&b), 1, b.len, stdout) != b.len || fflush(stdout))
		return 1;
	return has_failed(d);
usage:
	fputs("arktosctl: want doctor [-o json]; see arktosctl --help\n",
	      stderr);
	return 2;
}
