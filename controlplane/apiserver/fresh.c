// SPDX-License-Identifier: Apache-2.0
/*
 * Several servers on one store: what was acknowledged by another one must be
 * seen by who asks here afterwards. So a request that does not say with which
 * resourceVersion it is content waits until memory shows everything that was
 * acknowledged before it came; all who wait at one time share one question to
 * the store.
 */
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/conn.h"
#include "lib/str.h"

static bool is_content(const struct req *r)
{
	char text[STORE_KEY_MAX * 2];

	return (query_get(r, "resourceVersion", text, sizeof(text)) && *text) ||
	       (query_get(r, "continue", text, sizeof(text)) && *text);
}

static void on_fresh(struct store_txn *txn)
{
	struct aside *a = txn->arg;

	a->result = txn->result;
	a->err = txn->err;
	aside_post(a);
}

static void go_on(struct aside *a)
{
	struct req *r = a->req;

	if (a->result < 0)
		reply_error(r, 504, "Timeout",
			    "the store does not answer, so what is known here "
			    "may be old: %s",
			    a->err.msg);
	else
		peer_again(r, handle);
}

static void done_with(struct aside *a)
{
	free(a->data);
}

bool fresh_wait(struct req *r)
{
	struct store_txn *txn;
	struct aside *a;

	if (r->fresh || !store_is_shared(r->api->store) ||
	    !str_starts(r->path, "/api") || is_content(r))
		return false;
	r->fresh = true;
	txn = calloc(1, sizeof(*txn));
	a = calloc(1, sizeof(*a));
	if (!txn || !a) {
		free(txn);
		free(a);
		reply_error(r, 500, "InternalError", "out of memory");
		return true;
	}
	*a = (struct aside){ .req = r,
			     .api = r->api,
			     .loop = r->loop,
			     .kind = ASIDE_READ,
			     .done = go_on,
			     .free = done_with,
			     .data = txn };
	r->aside = a;
	txn->done = on_fresh;
	txn->arg = a;
	store_submit(r->api->store, txn);
	return true;
}
