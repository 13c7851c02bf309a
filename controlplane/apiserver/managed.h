/* SPDX-License-Identifier: Apache-2.0 */
/* Who manages which fields of an object (metadata.managedFields), and
 * server-side apply. */
#ifndef CONTROLPLANE_APISERVER_MANAGED_H
#define CONTROLPLANE_APISERVER_MANAGED_H

#include "controlplane/apiserver/write.h"

#define MANAGERS_MAX     256 /* entries of one object that are looked at */
#define MANAGER_UPDATES  10  /* entries of Update; older ones are joined */
#define MANAGER_NAME_MAX 128

/* After a create, update or patch: note that @w's client has changed @obj from
 * @old (NULL for a create). -ENOMEM. */
int managed_update(struct write *w, yyjson_mut_doc *doc, yyjson_mut_val *obj,
		   yyjson_mut_val *old);
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
