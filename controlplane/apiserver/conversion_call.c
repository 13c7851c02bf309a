// SPDX-License-Identifier: Apache-2.0
#include "controlplane/apiserver/conversion_call.h"

#include <stdio.h>

#include "controlplane/apiserver/hook.h"
#include "lib/json.h"
#include "lib/str.h"

#define BATCH       256                /* objects of one question */
#define BATCH_BYTES (1024 * 1024)      /* and bytes, but for the last one */
#define ANSWER_MAX  (16 * 1024 * 1024) /* bytes of one answer */
#define ALL_MAX     (96 * 1024 * 1024) /* bytes of all answers to a request */
#define WHY_MAX     1024               /* of what a webhook says went wrong */

bool conversion_is_of(const struct type *t, const char *data, size_t len)
{
	char version[256], head[288];
	yyjson_doc *doc;
	int n;
	bool is;

	type_api_version(t, version, sizeof(version));
	n = snprintf(head, sizeof(head), "{\"apiVersion\":\"%s\"", version);
	if (len > (size_t)n && memcmp(data, head, (size_t)n) == 0)
		return true;
	doc = yyjson_read(data, len, 0);
	is = yyjson_equals_str(yyjson_obj_get(yyjson_doc_get_root(doc),
					      "apiVersion"),
			       version);
	yyjson_doc_free(doc);
	return is;
}

bool conversion_is_of_object(const struct type *t, const struct object_bytes *o)
{
	auto_buf struct buf room = BUF_INIT;
	const char *text = object_text(o, &room);

	return text && conversion_is_of(t, text, o->len);
}

/* --- the answer --- */

static const char *text_of(yyjson_val *obj, const char *pointer)
{
	const char *s = yyjson_get_str(yyjson_ptr_get(obj, pointer));

	return s ? s : "";
}

static bool same(yyjson_val *was, yyjson_val *now, const char *pointer,
		 const char *what, struct buf *why)
{
	if (strcmp(text_of(was, pointer), text_of(now, pointer)) == 0)
		return true;
	buf_printf(why, "must have the same %s: %.253s != %.253s", what,
		   text_of(was, pointer), text_of(now, pointer));
	return false;
}

static bool is_strings(yyjson_val *map)
{
	yyjson_val *k, *v;
	size_t i, max;

	if (!map || yyjson_is_null(map))
		return true;
	if (!yyjson_is_obj(map))
		return false;
	json_obj_foreach (map, i, max, k, v)
		if (!yyjson_is_str(v))
			return false;
	return true;
}

/* Labels and annotations are the webhook's; all other metadata is ours. */
static int put_metadata(yyjson_mut_doc *doc, yyjson_mut_val *obj,
			yyjson_val *was, yyjson_val *now)
{
	static const char *const theirs[] = { "labels", "annotations" };
	yyjson_mut_val *meta =
		yyjson_val_mut_copy(doc, yyjson_obj_get(was, "metadata"));

	for (size_t i = 0; meta && i < ARRAY_LEN(theirs); i++) {
		yyjson_val *v = yyjson_obj_get(yyjson_obj_get(now, "metadata"),
					       theirs[i]);

		yyjson_mut_obj_remove_key(meta, theirs[i]);
		if (yyjson_obj_size(v) &&
		    mut_put(doc, meta, theirs[i], yyjson_val_mut_copy(doc, v)))
			return -ENOMEM;
	}
	if (!meta)
		return -ENOMEM;
	return mut_put(doc, obj, "metadata", meta);
}

static int put_one(struct object_bytes **slot, yyjson_val *was, yyjson_val *now)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *obj = doc ? yyjson_val_mut_copy(doc, now) : NULL;
	int r = obj ? put_metadata(doc, obj, was, now) : -ENOMEM;

	if (r == 0) {
		yyjson_mut_doc_set_root(doc, obj);
		r = object_rewrite(slot, doc);
	}
	yyjson_mut_doc_free(doc);
	return r;
}

static int take_one(struct object_bytes **slot, yyjson_val *now,
		    const struct type *to, struct buf *why)
{
	yyjson_doc *doc = object_doc(*slot);
	yyjson_val *was = yyjson_doc_get_root(doc);
	yyjson_val *meta = yyjson_obj_get(now, "metadata");
	char want[256];
	int r = -EBADMSG;

	type_api_version(to, want, sizeof(want));
	if (strcmp(text_of(now, "/apiVersion"), want) != 0)
		buf_printf(why,
			   "invalid groupVersion (expected %s, received %.253s)",
			   want, text_of(now, "/apiVersion"));
	else if (!yyjson_is_obj(meta))
		buf_puts(why, "missing metadata in converted object");
	else if (!is_strings(yyjson_obj_get(meta, "labels")) ||
		 !is_strings(yyjson_obj_get(meta, "annotations")))
		buf_puts(why, "invalid metadata of type string to string map "
			      "in labels or annotations of converted object");
	else if (same(was, now, "/kind", "kind", why) &&
		 same(was, now, "/metadata/name", "name", why) &&
		 same(was, now, "/metadata/namespace", "namespace", why) &&
		 same(was, now, "/metadata/uid", "UID", why)) {
		r = put_one(slot, was, now);
		if (r < 0)
			buf_puts(why, "out of memory");
	}
	yyjson_doc_free(doc);
	return r;
}

/* What is wrong with the answer as a whole; false: nothing. */
static bool is_wrong(yyjson_val *root, const char *uid, struct buf *why)
{
	yyjson_val *response = yyjson_obj_get(root, "response");
	const char *status = text_of(response, "/result/status");
	const char *message = text_of(response, "/result/message");

	if (strcmp(text_of(root, "/kind"), "ConversionReview") != 0)
		buf_printf(why,
			   "expected webhook response of "
			   "apiextensions.k8s.io/v1, Kind=ConversionReview, "
			   "got %.253s, Kind=%.253s",
			   text_of(root, "/apiVersion"),
			   text_of(root, "/kind"));
	else if (!response)
		buf_puts(why, "no response provided");
	else if (strcmp(text_of(response, "/uid"), uid) != 0)
		buf_printf(why, "expected response.uid=\"%s\", got \"%.64s\"",
			   uid, text_of(response, "/uid"));
	else if (strcmp(status, "Success") != 0 && *message)
		buf_printf(why, "%.*s", WHY_MAX, message);
	else if (strcmp(status, "Success") != 0)
		buf_printf(why,
			   "response.result.status was '%.64s', not 'Success'",
			   status);
	return why->len;
}

int conversion_take(const char *answer, size_t len, const char *uid,
		    const struct type *to, struct object_bytes ***slots,
		    size_t nr, struct buf *why)
{
	struct json_limits limits = { .len = ANSWER_MAX };
	yyjson_doc *doc = NULL;
	struct err e = { 0 };
	yyjson_val *list, *v;
	size_t i, max;
	int r = json_parse_within(answer, len, &limits, &doc, &e);

	if (r < 0) {
		buf_printf(why, " failed: its answer: %s", e.msg);
		return r;
	}
	if (is_wrong(yyjson_doc_get_root(doc), uid, why)) {
		auto_buf struct buf what = BUF_INIT;

		buf_add(&what, why->data, why->len);
		buf_reset(why);
		buf_printf(why, " failed: %s", buf_str(&what));
		yyjson_doc_free(doc);
		return -EREMOTEIO;
	}
	list = yyjson_ptr_get(yyjson_doc_get_root(doc),
			      "/response/convertedObjects");
	if (yyjson_arr_size(list) != nr) {
		buf_printf(why, " returned %zu objects, expected %zu",
			   yyjson_arr_size(list), nr);
		r = -EBADMSG;
	}
	yyjson_arr_foreach(list, i, max, v)
	{
		auto_buf struct buf what = BUF_INIT;

		if (r < 0)
			break;
		r = take_one(slots[i], v, to, &what);
		if (r < 0)
			buf_printf(why,
				   " returned invalid converted object at "
				   "index %zu: %s",
				   i, buf_str(&what));
	}
	yyjson_doc_free(doc);
	return r;
}

/* --- the question --- */

/* As it was stored, with the defaults that its version has by now. */
static void put_object(const struct conversion *c, const struct object_bytes *o,
		       struct buf *b)
{
	yyjson_mut_doc *doc = object_tree(o);
	yyjson_mut_val *obj = doc ? yyjson_mut_doc_get_root(doc) : NULL;
	char text[256];

	for (size_t i = 0; obj && i < c->types->nr; i++) {
		const struct type *t = &c->types->types[i];

		if (str_eq(mut_str(obj, "apiVersion"),
			   type_api_version(t, text, sizeof(text))) &&
		    schema_default(t->schema, doc, obj))
			b->error = -ENOMEM;
	}
	if (!obj || json_write_mut(obj, false, b) < 0)
		b->error = -ENOMEM;
	yyjson_mut_doc_free(doc);
}

/* The first of the versions it understands that we speak. */
static const char *review_version(yyjson_val *webhook)
{
	yyjson_val *v;
	size_t i, max;

	yyjson_arr_foreach(yyjson_obj_get(webhook, "conversionReviewVersions"),
			   i, max, v)
	{
		if (yyjson_equals_str(v, "v1"))
			break;
		if (yyjson_equals_str(v, "v1beta1"))
			return "v1beta1";
	}
	return "v1";
}

static void begin_review(const struct conversion *c, const char *uid,
			 struct buf *b)
{
	char want[256];

	buf_printf(b,
		   "{\"kind\":\"ConversionReview\",\"apiVersion\":"
		   "\"apiextensions.k8s.io/%s\",\"request\":{\"uid\":\"%s\","
		   "\"desiredAPIVersion\":\"%s\",\"objects\":[",
		   review_version(c->to->webhook), uid,
		   type_api_version(c->to, want, sizeof(want)));
}

/* Whose conversion failed: "conversion webhook for ex.io/v1, Kind=Foo". */
static void put_whose(const struct object_bytes *o, struct buf *b)
{
	yyjson_doc *doc = object_doc(o);
	yyjson_val *root = yyjson_doc_get_root(doc);

	buf_printf(b, "conversion webhook for %s, Kind=%s",
		   text_of(root, "/apiVersion"), text_of(root, "/kind"));
	yyjson_doc_free(doc);
}

/* [@nr] of them in one question. */
static int ask(struct hook_caller *caller, struct conversion *c,
	       struct object_bytes ***slots, size_t nr, size_t *bytes)
{
	yyjson_val *config = yyjson_obj_get(c->to->webhook, "clientConfig");
	auto_buf struct buf body = BUF_INIT, answer = BUF_INIT, url = BUF_INIT;
	auto_buf struct buf why = BUF_INIT;
	struct err e = { 0 };
	char uid[37];
	int r;

	new_uid(uid);
	begin_review(c, uid, &body);
	for (size_t i = 0; i < nr; i++) {
		if (i)
			buf_putc(&body, ',');
		put_object(c, *slots[i], &body);
	}
	buf_puts(&body, "]}}");
	answer.max = ANSWER_MAX;
	hook_url(config, CONVERSION_S, &url);
	r = buf_error(&body) ? err_set(&e, -ENOMEM, "out of memory")
			     : hook_post(caller, c->owner, config, CONVERSION_S,
					 buf_str(&body), &answer, &e);
	if (r < 0)
		buf_printf(&why, " failed: Post \"%s\": %s", buf_str(&url),
			   e.msg);
	else
		r = conversion_take(buf_str(&answer), answer.len, uid, c->to,
				    slots, nr, &why);
	*bytes += answer.len;
	if (r == 0 && *bytes > ALL_MAX) {
		r = -E2BIG;
		buf_printf(&why,
			   " made more than %d MiB of one list, ask for it in "
			   "pages (limit)",
			   ALL_MAX / 1024 / 1024);
	}
	if (r < 0) {
		put_whose(*slots[0], &c->why);
		buf_add(&c->why, why.data, why.len);
	}
	return r;
}

void conversion_call(struct api *api, struct conversion *c)
{
	auto_ptr(hook_caller) caller = hook_caller_new(api);
	struct object_bytes **slots[BATCH];
	size_t nr = 0, size = 0, bytes = 0;
	int r = caller ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i <= c->list.nr; i++) {
		bool last = i == c->list.nr;

		if (nr && (last || nr == BATCH || size > BATCH_BYTES)) {
			r = ask(caller, c, slots, nr, &bytes);
			nr = size = 0;
		}
		if (last || r < 0 ||
		    conversion_is_of_object(c->to, c->list.v[i]))
			continue;
		size += c->list.v[i]->len;
		slots[nr++] = &c->list.v[i];
	}
	c->failed = r < 0;
	if (!caller)
		buf_puts(&c->why, "out of memory");
}
