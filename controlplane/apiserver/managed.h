/* SPDX-License-Identifier: Apache-2.0 */
/* Who manages which fields of an object (metadata.managedFields), and
 * server-side apply. */
#ifndef CONTROLPLANE_APISERVER_MANAGED_H
#define CONTROLPLANE_APISERVER_MANAGED_H

#include "controlplane/apiserver/write.h"
#include "controlplane/schema/fields.h"

#define MANAGERS_MAX     256 /* entries of one object that are looked at */
#define MANAGER_UPDATES  10  /* entries of Update; older ones are joined */
#define MANAGER_NAME_MAX 128

/**
 * managed_update() - Who manages what after a create, update or patch.
 * @w:   The request. What its client has changed is its own, as is what has
 *       got a default; what admission changes afterwards is nobody's, as in
 *       Kubernetes.
 * @obj: As the client wants it, with defaults.
 * @old: As it is stored; NULL for a create.
 * @ret: The new managedFields, for managed_put(); NULL: none.
 *
 * Return: 0 or -ENOMEM.
 */
int managed_update(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		   yyjson_mut_val *old, yyjson_mut_val **ret);
/* After the last check of @obj's schema: the list may hold text as it is. */
int managed_put(yyjson_mut_doc *doc, yyjson_mut_val *obj, yyjson_mut_val *list);

/* managed_quick.c: what is common, without making sets. -EAGAIN: it is not. */
int managed_born(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		 yyjson_mut_val **ret);
int managed_again(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		  yyjson_mut_val *old, const struct fields_change *c,
		  yyjson_mut_val **ret);

/* Fields of metadata that are nobody's; NULL-terminated. */
extern const char *const managed_not_meta[];
/**
 * managed_apply() - Apply a configuration.
 * @w:    The request.
 * @doc:  Where the result is made.
 * @live: What is stored; NULL: nothing is.
 *
 * Return: the object with its managedFields, or NULL: it has replied.
 */
yyjson_mut_val *managed_apply(struct write *w, yyjson_mut_doc *doc,
			      yyjson_mut_val *live);
/* The name of the request's client, as it says itself. */
int managed_name(struct req *r, char *buf, size_t size);

#endif /* CONTROLPLANE_APISERVER_MANAGED_H */
