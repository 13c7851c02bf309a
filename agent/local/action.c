// SPDX-License-Identifier: Apache-2.0
/* POST .../pods/{name}/action: a CustomAction, answered when it has ended. */
#include <errno.h>

#include "agent/local/action.h"
#include "agent/local/internal.h"
#include "lib/json.h"
#include "lib/str.h"

#define TIMEOUT_S     60
#define TIMEOUT_MAX_S 86400

/* The parameters of each operation, as in Arktos' CustomAction. */
static int read_action(const struct json_ref *root, struct api_action *a,
		       struct err *e)
{
	struct json_ref op = json_get(root, "operation"), params, v;
	uint64_t delay = 0;
	int r = json_str(&op, &a->operation, e);

	if (r < 0)
		return -EBADMSG;
	params = json_get(root, "rebootParams");
	v = json_get(&params, "delayInSeconds");
	if (json_opt_u64(&v, UINT32_MAX, &delay, e) < 0)
		return -EBADMSG;
	a->delay_s = (uint32_t)delay;
	params = json_get(root, "snapshotParams");
	v = json_get(&params, "snapshotName");
	if (!str_eq(a->operation, "snapshot")) {
		params = json_get(root, str_eq(a->operation, "restore")
						? "restoreParams"
						: "deleteSnapshotParams");
		v = json_get(&params, "snapshotID");
	}
	return json_opt_str(&v, &a->snapshot, e) < 0 ? -EBADMSG : 0;
}

static void put_result(struct buf *b, const struct api_action *a,
		       const struct api_action_result *res)
{
	static const char *const states[] = {
		[API_ACTION_DONE] = "Done",
		[API_ACTION_IN_PROGRESS] = "InProgress",
		[API_ACTION_FAILED] = "Failed",
	};
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "kind", "ActionResult");
	json_put_str(&o, "operation", a->operation);
	json_put_str(&o, "state", states[res->state]);
	if (res->snapshot[0])
		json_put_str(&o, "snapshotID", res->snapshot);
	json_put_u64(&o, "milliseconds", res->took_ms);
	json_put_str(&o, "message", res->why);
	json_put_end(&o);
}

static int action(struct task *t)
{
	struct api_action a = { .pod = route_pod(&t->route),
				.cancel = &t->cancel };
	struct api_action_result res = { .state = API_ACTION_FAILED };
	const struct api_backend *backend = t->api->o.backend;
	int64_t seconds = TIMEOUT_S;
	struct json_ref root;
	yyjson_doc *doc;
	int r;

	if (!backend->pod_action)
		return err_set(&t->err, -EOPNOTSUPP,
			       "this agent cannot do that");
	r = route_number(&t->route, "timeoutSeconds", 0, TIMEOUT_MAX_S,
			 &seconds, &t->err);
	if (r == 0)
		r = json_parse(t->req->body, t->req->body_len, &doc, &t->err);
	if (r < 0)
		return r;
	a.timeout_ms = (uint32_t)seconds * 1000;
	root = json_root(doc);
	r = read_action(&root, &a, &t->err);
	if (r == 0)
		r = backend->pod_action(t->api->o.arg, &a, &res, &t->err);
	if (r == 0)
		put_result(&t->out, &a, &res);
	yyjson_doc_free(doc);
	return r;
}

static void run_action(struct task *t)
{
	t->r = action(t);
}

void handle_action(struct api *api, struct http_req *req, struct route *r)
{
	struct task *t = task_new(api, req, r, sizeof(*t));

	if (!t)
		return;
	t->run = run_action;
	task_start_long(t);
}
