// SPDX-License-Identifier: Apache-2.0
/* The Node and its lease: there as long as we are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "agent/remote/certs.h"
#include "agent/remote/internal.h"
#include "controlplane/client/rest.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

#define LOOK_MS   10000 /* at the host, and at the lease, at most */
#define RETRY_MS  1000
#define REPORT_S  300 /* a Node that is as it was is told so often */
#define LEASE_S   40
#define STRATEGIC "application/strategic-merge-patch+json"
#define LEASES                                                    \
	"/apis/coordination.k8s.io/v1/tenants/system/namespaces/" \
	"kube-node-lease/leases"

/* What is compared: all but the times of the heartbeats. */
static bool same_status(yyjson_val *a, yyjson_val *b)
{
	static const char *const fields[] = { "capacity", "allocatable",
					      "addresses", "nodeInfo",
					      "daemonEndpoints" };
	yyjson_val *list = yyjson_obj_get(b, "conditions"), *c, *d;
	yyjson_arr_iter it = yyjson_arr_iter_with(list), in;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!yyjson_equals(yyjson_obj_get(a, fields[i]),
				   yyjson_obj_get(b, fields[i])))
			return false;
	while ((c = yyjson_arr_iter_next(&it))) {
		bool same = false;

		in = yyjson_arr_iter_with(yyjson_obj_get(a, "conditions"));
		while ((d = yyjson_arr_iter_next(&in)))
			same |= yyjson_equals(yyjson_obj_get(c, "type"),
					      yyjson_obj_get(d, "type")) &&
				yyjson_equals(yyjson_obj_get(c, "status"),
					      yyjson_obj_get(d, "status")) &&
				yyjson_equals(yyjson_obj_get(c, "reason"),
					      yyjson_obj_get(d, "reason"));
		if (!same)
			return false;
	}
	return true;
}

static void node_path(const struct remote *r, const char *tail,
		      char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "/api/v1/nodes/%s%s", r->o.node_name, tail);
}

static int create(struct remote *r, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	int ret = facts_node(r, NULL, &body, e);

	if (ret < 0)
		return ret;
	ret = remote_request(r, "POST", "/api/v1/nodes", buf_str(&body), NULL,
			     &answer, e);
	if (ret == 409)
		return 0; /* the next look finds it */
	ret = ret < 0 ? ret : rest_check(ret, &answer, e);
	if (ret == 0)
		log_info("node %s: registered", r->o.node_name);
	return ret;
}

/* Labels that are ours, and the status if it has changed or is due. */
static int update(struct remote *r, yyjson_val *old, bool due, bool *ret_sent,
		  struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	auto_buf struct buf patch = BUF_INIT;
	char path[PATH_SIZE];
	yyjson_doc *doc;
	yyjson_val *status;
	int ret = facts_node(r, old, &body, e);

	if (ret < 0)
		return ret;
	doc = yyjson_read(buf_str(&body), body.len, 0);
	if (!doc)
		return -ENOMEM;
	status = yyjson_obj_get(yyjson_doc_get_root(doc), "status");
	if (due || !same_status(yyjson_obj_get(old, "status"), status)) {
		buf_puts(&patch, "{\"status\":");
		(void)json_write(status, false, &patch);
		buf_puts(&patch, "}");
		node_path(r, "/status", path);
		ret = remote_request(r, "PATCH", path, buf_str(&patch),
				     STRATEGIC, &answer, e);
		ret = ret < 0 ? ret : rest_check(ret, &answer, e);
		*ret_sent = ret == 0;
	}
	yyjson_doc_free(doc);
	return ret;
}

static int keep_node(struct remote *r, bool due, bool *ret_sent, struct err *e)
{
	auto_buf struct buf answer = BUF_INIT;
	char path[PATH_SIZE];
	const char *uid;
	yyjson_doc *doc;
	int ret;

	node_path(r, "", path);
	ret = remote_request(r, "GET", path, NULL, NULL, &answer, e);
	if (ret == 404) {
		ret = create(r, e);
		if (ret == 0) /* its status is written like any other */
			ret = remote_request(r, "GET", path, NULL, NULL,
					     &answer, e);
	}
	if (ret < 0 || ret >= 400)
		return ret < 0 ? ret : rest_check(ret, &answer, e);
	doc = yyjson_read(buf_str(&answer), answer.len, 0);
	if (!doc)
		return -ENOMEM;
	uid = yyjson_get_str(
		yyjson_ptr_get(yyjson_doc_get_root(doc), "/metadata/uid"));
	if (uid)
		mirror_node_is(r, uid);
	ret = update(r, yyjson_doc_get_root(doc), due, ret_sent, e);
	yyjson_doc_free(doc);
	return ret;
}

/* Times of leases have microseconds. */
static void micro_time(char text[40])
{
	struct timeval tv;
	char day[32];
	struct tm tm;

	gettimeofday(&tv, NULL);
	gmtime_r(&tv.tv_sec, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, 40, "%s.%06uZ", day, (unsigned)tv.tv_usec % 1000000);
}

static int lease_s(const struct remote *r)
{
	return r->o.lease_s ? (int)r->o.lease_s : LEASE_S;
}

static unsigned look_ms(const struct remote *r)
{
	unsigned quarter = (unsigned)lease_s(r) * 250;

	return quarter < LOOK_MS ? quarter : LOOK_MS;
}

static int keep_lease(struct remote *r, struct err *e)
{
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT;
	char path[PATH_SIZE], now[40];
	int ret;

	micro_time(now);
	snprintf(path, sizeof(path), "%s/%s", LEASES, r->o.node_name);
	buf_printf(&body,
		   "{\"spec\":{\"holderIdentity\":\"%s\",\"renewTime\":\"%s\","
		   "\"leaseDurationSeconds\":%d}}",
		   r->o.node_name, now, lease_s(r));
	ret = remote_request(r, "PATCH", path, buf_str(&body),
			     "application/merge-patch+json", &answer, e);
	if (ret == 404) {
		buf_reset(&body);
		buf_printf(&body,
			   "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\""
			   ":\"Lease\",\"metadata\":{\"name\":\"%s\"},\"spec\":{"
			   "\"holderIdentity\":\"%s\",\"renewTime\":\"%s\","
			   "\"leaseDurationSeconds\":%d}}",
			   r->o.node_name, r->o.node_name, now, lease_s(r));
		ret = remote_request(r, "POST", LEASES, buf_str(&body), NULL,
				     &answer, e);
	}
	return ret < 0 ? ret : rest_check(ret, &answer, e);
}

void *node_run(void *arg)
{
	struct remote *r = arg;
	time_t reported = 0;
	bool told = false;
	int ret;

	do {
		struct timespec now;
		struct err e = { 0 };
		bool sent = false;

		clock_gettime(CLOCK_MONOTONIC, &now);
		ret = keep_node(r,
				!reported || now.tv_sec - reported > REPORT_S,
				&sent, &e);
		if (ret == 0 && sent)
			reported = now.tv_sec;
		if (ret == 0)
			ret = keep_lease(r, &e);
		if (ret == 0)
			ret = certs_keep(r, &e);
		if (ret < 0 && !told && !atomic_load(&r->stopping))
			log_warn("node %s: %s, retrying", r->o.node_name,
				 e.msg);
		told = ret < 0;
		objects_sweep(r);
	} while (remote_pause(r, ret < 0 ? RETRY_MS : look_ms(r)));
	return NULL;
}
