// SPDX-License-Identifier: Apache-2.0
/* What a server is asked: its discovery, which says that it is there, and now
 * and then its OpenAPI, which it need not have. */
#include <errno.h>
#include <stdio.h>

#include "controlplane/apiserver/aggregator/follow.h"
#include "controlplane/apiserver/authn/user.h"
#include "controlplane/apiserver/internal.h"
#include "lib/json.h"
#include "lib/str.h"

/* A tenant's server gets less of our memory. */
#define TENANT_SHARE 8

static void ask(struct followed *w, enum probe_step step, const char *target,
		size_t max);

static bool is_system(const struct followed *w)
{
	return strcmp(w->tenant, SYSTEM) == 0;
}

static size_t share(const struct followed *w, size_t max)
{
	return is_system(w) ? max : max / TENANT_SHARE;
}

static uint64_t hash_more(uint64_t h, const struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		h = (h ^ (unsigned char)b->data[i]) * 0x100000001b3;
	return h;
}

/* The answer as a document; NULL with the story in the probe's error. */
static yyjson_doc *document(struct followed *w, size_t max)
{
	struct json_limits limits = { .len = max, .nodes = max / 8 };
	struct buf *b = &w->fetch.body;
	yyjson_doc *doc = NULL;

	if (w->fetch.status != 200)
		err_set(&w->probe_err, -EREMOTEIO, "bad status: %d",
			w->fetch.status);
	else if (json_parse_within(buf_str(b), b->len, &limits, &doc,
				   &w->probe_err) == 0)
		return doc;
	return NULL;
}

static bool is_list_of(const struct followed *w, yyjson_val *root)
{
	auto_free char *gv = str_printf("%s/%s", w->group, w->version);
	const char *kind = yyjson_get_str(yyjson_obj_get(root, "kind"));
	const char *said = yyjson_get_str(yyjson_obj_get(root, "groupVersion"));

	return str_eq(kind, "APIResourceList") && gv && str_eq(said, gv) &&
	       yyjson_is_arr(yyjson_obj_get(root, "resources"));
}

/* What has been put together is what is known from now on. */
static void finish(struct followed *w)
{
	ext_docs_unref(w->docs);
	w->docs = take_ptr(w->fresh);
	follow_done(w, 0);
}

static void on_resources(struct followed *w)
{
	size_t max = share(w, DISCOVERY_MAX);
	uint64_t hash = hash_more(0xcbf29ce484222325, &w->fetch.body);
	yyjson_doc *doc = document(w, max);

	if (doc && !is_list_of(w, yyjson_doc_get_root(doc))) {
		err_set(&w->probe_err, -EBADMSG,
			"its answer is no APIResourceList of %s/%s", w->group,
			w->version);
		yyjson_doc_free(doc);
		doc = NULL;
	}
	if (!doc) {
		follow_done(w, -EBADMSG);
		return;
	}
	if (w->docs && w->resources_hash == hash &&
	    w->looks++ % OPENAPI_EVERY) {
		yyjson_doc_free(doc);
		follow_done(w, 0);
		return;
	}
	w->looks = 1;
	w->resources_hash = hash;
	ext_docs_unref(w->fresh);
	w->fresh = ext_docs_new();
	if (!w->fresh) {
		yyjson_doc_free(doc);
		follow_done(w, 0);
		return;
	}
	w->fresh->resources = doc;
	w->fresh->hash = hash;
	ask(w, PROBE_V3, "/openapi/v3", share(w, DISCOVERY_MAX));
}

static void on_v3(struct followed *w)
{
	auto_free char *path = str_printf("apis/%s/%s", w->group, w->version);
	yyjson_doc *doc = document(w, share(w, DISCOVERY_MAX));
	yyjson_val *paths = yyjson_obj_get(yyjson_doc_get_root(doc), "paths");

	if (path && yyjson_is_obj(yyjson_obj_get(paths, path)))
		w->fresh->openapi_v3 = true;
	if (doc)
		w->fresh->hash = hash_more(w->fresh->hash, &w->fetch.body);
	yyjson_doc_free(doc);
	ask(w, PROBE_V2, "/openapi/v2", share(w, OPENAPI_MAX));
}

static void on_v2(struct followed *w)
{
	w->fresh->openapi = document(w, share(w, OPENAPI_MAX));
	if (w->fresh->openapi)
		w->fresh->hash = hash_more(w->fresh->hash, &w->fetch.body);
	finish(w);
}

static void on_answer(void *arg, int result)
{
	struct followed *w = arg;

	if (result < 0) {
		w->probe_err = w->fetch.err;
		/* It is there, only its OpenAPI is not. */
		if (w->step == PROBE_RESOURCES)
			follow_done(w, result);
		else
			finish(w);
		return;
	}
	if (w->step == PROBE_RESOURCES)
		on_resources(w);
	else if (w->step == PROBE_V3)
		on_v3(w);
	else
		on_v2(w);
}

static void ask(struct followed *w, enum probe_step step, const char *target,
		size_t max)
{
	static const struct user prober = {
		.name = (char *)"system:kube-aggregator",
		.tenant = (char *)SYSTEM,
		.groups = { (char *)"system:masters" },
		.nr_groups = 1,
	};
	auto_buf struct buf fields = BUF_INIT;
	struct fetch_opts o = {
		.to = &w->place.addrs[w->at],
		.tls = w->tls,
		.host = w->place.host,
		.target = target,
		.accept = "application/json",
		.max = max,
	};

	w->step = step;
	(void)identity_put(&fields, &prober, w->tenant);
	o.fields = buf_str(&fields);
	fetch_start(&w->fetch, w->follower->loop, &o, on_answer, w);
}

void probe_start(struct followed *w)
{
	auto_free char *target =
		str_printf("/apis/%s/%s", w->group, w->version);

	w->probe_err = (struct err){ 0 };
	ask(w, PROBE_RESOURCES, target ? target : "/", share(w, DISCOVERY_MAX));
}
