// SPDX-License-Identifier: Apache-2.0
/* What kubectl rollout status reads: counts, Available, Progressing. */
#include <stdio.h>

#include "controlplane/client/object.h"
#include "controlplane/controllers/deployment.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

struct counts {
	int64_t have, updated, ready, available, unavailable;
};

struct condition {
	const char *status, *reason;
	char message[512];
};

static struct counts count(const struct dep *d)
{
	struct counts n = { 0 };
	int64_t spec = 0;

	for (size_t i = 0; i < d->nr; i++) {
		n.have += d->sets[i].n.have;
		n.ready += d->sets[i].n.ready;
		n.available += d->sets[i].n.available;
		spec += d->sets[i].n.spec;
	}
	n.updated = d->new ? d->new->n.have : 0;
	n.unavailable = spec > n.available ? spec - n.available : 0;
	return n;
}

static void available(const struct dep *d, const struct counts *n,
		      struct condition *c)
{
	bool yes = n->available >= d->want.replicas - d->want.unavailable;

	c->status = yes ? "True" : "False";
	c->reason =
		yes ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable";
	snprintf(c->message, sizeof(c->message), "%s",
		 yes ? "Deployment has minimum availability."
		     : "Deployment does not have minimum availability.");
}

static bool moved(const struct dep *d, const struct counts *n)
{
	yyjson_val *st = yyjson_obj_get(d->root, "status");
	int64_t had = obj_int(st, "replicas", 0);
	int64_t updated = obj_int(st, "updatedReplicas", 0);

	return n->updated > updated || n->have - n->updated < had - updated ||
	       n->ready > obj_int(st, "readyReplicas", 0) ||
	       n->available > obj_int(st, "availableReplicas", 0);
}

/* False: it stays as it is. */
static bool progressing(struct ctl *c, const struct dep *d,
			const struct counts *n, bool complete, yyjson_val *old,
			struct condition *k)
{
	const char *name = d->new ? d->new->obj->name : d->new_name;
	const char *was = obj_str(old, "reason");
	int64_t since = obj_time(old, "lastUpdateTime");
	bool paused = str_eq(was, "DeploymentPaused");

	k->status = "True";
	if (d->want.paused) {
		k->status = "Unknown";
		k->reason = "DeploymentPaused";
		snprintf(k->message, sizeof(k->message),
			 "Deployment is paused");
		return !paused;
	}
	if (complete) {
		k->reason = "NewReplicaSetAvailable";
		snprintf(k->message, sizeof(k->message),
			 "ReplicaSet \"%s\" has successfully progressed.",
			 name);
		return !str_eq(was, k->reason) ||
		       !str_eq(obj_str(old, "message"), k->message);
	}
	if (d->made) {
		k->reason = "NewReplicaSetCreated";
		snprintf(k->message, sizeof(k->message),
			 "Created new replica set \"%s\"", name);
		return true;
	}
	if (paused) {
		k->status = "Unknown";
		k->reason = "DeploymentResumed";
		snprintf(k->message, sizeof(k->message),
			 "Deployment is resumed");
		return true;
	}
	if (moved(d, n) || !old || str_eq(was, "NewReplicaSetAvailable")) {
		k->reason = "ReplicaSetUpdated";
		snprintf(k->message, sizeof(k->message),
			 "ReplicaSet \"%s\" is progressing.", name);
		return true;
	}
	if (d->deadline_s >= INT32_MAX || !since)
		return false;
	if (since + d->deadline_s > d->now_s) {
		ctl_add_after(c, d->obj->key,
			      (since + d->deadline_s - d->now_s) * 1000 + 500);
		return false;
	}
	k->status = "False";
	k->reason = "ProgressDeadlineExceeded";
	snprintf(k->message, sizeof(k->message),
		 "ReplicaSet \"%s\" has timed out progressing.", name);
	return !str_eq(was, k->reason);
}

static void put_condition(struct json_out *o, const char *type,
			  const struct condition *c, yyjson_val *old,
			  int64_t now_s)
{
	const char *since = obj_str(old, "lastTransitionTime");
	char now[OBJ_TIME_SIZE];

	time_format(now_s, now);
	json_put_object(o, NULL);
	json_put_str(o, "type", type);
	json_put_str(o, "status", c->status);
	json_put_str(o, "reason", c->reason);
	json_put_str(o, "message", c->message);
	json_put_str(o, "lastUpdateTime", now);
	json_put_str(o, "lastTransitionTime",
		     str_eq(obj_str(old, "status"), c->status) && *since ? since
									 : now);
	json_put_end(o);
}

static void put_counts(struct json_out *o, const struct dep *d,
		       const struct counts *n)
{
	json_put_i64(o, "observedGeneration", d->generation);
	json_put_i64(o, "replicas", n->have);
	json_put_i64(o, "updatedReplicas", n->updated);
	json_put_i64(o, "readyReplicas", n->ready);
	json_put_i64(o, "availableReplicas", n->available);
	json_put_i64(o, "unavailableReplicas", n->unavailable);
}

static bool counts_are(yyjson_val *st, const struct dep *d,
		       const struct counts *n)
{
	return obj_int(st, "observedGeneration", 0) == d->generation &&
	       obj_int(st, "replicas", 0) == n->have &&
	       obj_int(st, "updatedReplicas", 0) == n->updated &&
	       obj_int(st, "readyReplicas", 0) == n->ready &&
	       obj_int(st, "availableReplicas", 0) == n->available &&
	       obj_int(st, "unavailableReplicas", 0) == n->unavailable;
}

/* kubectl rollout history reads the deployment's revision, too. */
static int put_revision(struct ctl *c, struct dep *d, struct err *e)
{
	const char *have = obj_annotation(d->root, DEP_REVISION);
	int64_t revision = d->made  ? d->last_revision + 1
			   : d->new ? d->new->revision
				    : 0;
	auto_free char *body = NULL;
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)revision);
	if (!revision || str_eq(have, text))
		return 0;
	body = str_printf("{\"metadata\":{\"annotations\":{\"" DEP_REVISION
			  "\":\"%s\"}}}",
			  text);
	if (!body)
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_DEPLOYMENT, d->obj, NULL, body, e);
}

int dep_status(struct ctl *c, struct dep *d, bool *ret_complete, struct err *e)
{
	yyjson_val *st = yyjson_obj_get(d->root, "status");
	yyjson_val *conds = obj_at(st, "conditions"), *was_failed, *failed;
	yyjson_val *was_available = obj_item(conds, "type", "Available");
	yyjson_val *was_progressing = obj_item(conds, "type", "Progressing");
	struct counts n = count(d);
	struct condition a = { 0 }, p = { 0 };
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);
	bool complete = d->new &&n.updated == d->want.replicas &&n.have ==
			d->want.replicas &&n.available == d->want.replicas;
	bool change;
	int r = d->going ? 0 : put_revision(c, d, e);

	if (r < 0)
		return r;
	*ret_complete = complete;
	available(d, &n, &a);
	change = progressing(c, d, &n, complete, was_progressing, &p);
	was_failed = obj_item(conds, "type", "ReplicaFailure");
	failed = d->new ? obj_item(obj_at(d->new->root, "status.conditions"),
				   "type", "ReplicaFailure")
			: NULL;
	if (!change && counts_are(st, d, &n) &&
	    str_eq(obj_str(was_available, "status"), a.status) &&
	    str_eq(obj_str(was_failed, "message"), obj_str(failed, "message")))
		return 0;
	json_put_object(&o, NULL);
	json_put_object(&o, "status");
	put_counts(&o, d, &n);
	json_put_array(&o, "conditions");
	if (str_eq(obj_str(was_available, "status"), a.status))
		json_put_val(&o, NULL, was_available);
	else
		put_condition(&o, "Available", &a, was_available, d->now_s);
	if (change)
		put_condition(&o, "Progressing", &p, was_progressing, d->now_s);
	else if (was_progressing)
		json_put_val(&o, NULL, was_progressing);
	if (failed)
		json_put_val(&o, NULL, failed);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	if (buf_error(&b))
		return err_set(e, -ENOMEM, "out of memory");
	return ctl_patch(c, KIND_DEPLOYMENT, d->obj, "status", buf_str(&b), e);
}
