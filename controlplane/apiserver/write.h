/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLPLANE_APISERVER_WRITE_H
#define CONTROLPLANE_APISERVER_WRITE_H

#include "controlplane/apiserver/admission/admission.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/admission/lifecycle.h"

#define WRITE_TRIES 50 /* against others changing the same object */

enum write_kind { WRITE_CREATE, WRITE_UPDATE, WRITE_PATCH, WRITE_DELETE };

/*
 * One change under way. attempt() builds the new object from what is stored
 * and submits it on condition that it is still stored; if it is not, it is
 * tried again, unless the client named the version it meant.
 */
struct write {
	struct store_txn txn;
	struct req *req; /* NULL: the client has gone */
	struct loop *loop;
	struct seats *seats; /* of one whose client has gone */
	struct write *next;  /* of the loop's done list */
	enum write_kind kind;
	int tries, code;
	struct hook_memo *hooks; /* what webhooks have said */
	uint64_t base;           /* revision of what is changed; 0: a create */
	bool set_aside;          /* until they have */
	struct quota_hold *hold; /* of quotas, until it is stored */
	bool dry_run, only_rv;   /* the client named a version */
	bool in_flight, generated;
	bool binding, scale; /* the body is not the object itself */
	bool evict;
	bool apply, force; /* server-side apply */
	bool replied;      /* a refusal has been told */
	/* Of custom types, see conversion.h: what is changed, in the version
	 * of the request; it is stored in a version that no longer is. */
	struct object_bytes *converted;
	bool migrates;
	bool status_reply; /* deleted: reply with a Status */
	yyjson_doc *body;
	yyjson_val *options; /* of a delete */
	char *manager;
	enum { FIELDS_IGNORE, FIELDS_WARN, FIELDS_STRICT } validation;
	char *name; /* of a create, when generated */
	struct buf key, space_key, data, tags;
	struct store_op own_ops[2];
	struct born born;
	struct store_op *all_ops;
};

/* Answer with an object as it is stored. */
void reply_written(struct write *w, struct object_bytes **slot);

/* Submit the change of @obj (of @cur, NULL for a create). */
void write_submit(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		  struct object_bytes *cur, bool remove);

/* The same of an object in the version it is stored in. */
void write_submit_as(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		     struct object_bytes *cur, bool remove);
/* Try it again, from what is stored now. */
void write_again(struct write *w);

/* check.c: envelope, names, metadata, schema. On failure it has replied. */
int write_check(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		yyjson_mut_val *old);

/* What admission is told of @w: a delete when @obj is NULL. */
void write_admission(struct write *w, struct admission *a, yyjson_mut_doc *doc,
		     yyjson_mut_val *obj, yyjson_mut_val *old);

/* The body as an object; on failure it has replied. */
int write_body(struct write *w);

void delete_attempt(struct write *w);

/* @obj, at @revision, with what the body, a Scale or a patch of one, says;
 * NULL: the story is in @e, as of a patch (scale.c). */
yyjson_mut_val *scale_change(struct write *w, yyjson_mut_doc *doc,
			     yyjson_mut_val *obj, uint64_t revision,
			     struct err *e);

/* May @cur, a pod, be evicted? Counts its disruption budget down. 0, or a
 * negative errno after the refusal was sent (eviction.c). */
int evict_allowed(struct write *w, const struct object_bytes *cur);
/* Its condition DisruptionTarget says who ends it. */
void evict_tell(yyjson_mut_doc *doc, yyjson_mut_val *pod);
/* Mark @obj as being deleted; false: nothing holds it, remove it. @asked:
 * seconds of grace, negative: as the object says. */
bool delete_mark(const struct type *t, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		 int64_t asked);
/* Delete these, each by its own rules. */
int delete_objects(struct api *api, const struct type *t,
		   struct object_bytes **v, size_t nr_all, struct err *e);
/* Delete all of a prefix that match; *ret_left is how many are still there. */
int delete_range(struct api *api, const struct type *t, const char *prefix,
		 bool (*match)(const struct object_bytes *o, void *arg),
		 void *arg, size_t *ret_left, struct err *e);

#endif /* CONTROLPLANE_APISERVER_WRITE_H */
