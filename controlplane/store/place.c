// SPDX-License-Identifier: Apache-2.0
/*
 * Tenant and StorageCluster objects say where others are stored, so some of
 * their changes are checked here, one after the other: whoever asked before,
 * and elsewhere, cannot have known of all the others.
 */
#include <stdio.h>

#include "controlplane/store/internal.h"
#include "lib/str.h"

#define TENANTS  "core/tenants///"
#define CLUSTERS "core/storageclusters///"

/* An object below @prefix whose @tag is @value; unpublished ones count. */
static const struct object_bytes *find(struct store *s, const char *prefix,
				       const char *tag, const char *value)
{
	struct entry *en = index_seek(&s->index, prefix);

	for (; en && str_starts(en->key, prefix); en = entry_next(en)) {
		const char *have = NULL;

		if (en->head && !en->head->deleted)
			have = object_tag(en->head, tag);
		if (have && strcmp(have, value) == 0)
			return en->head;
	}
	return NULL;
}

bool place_is_tenant(const char *key)
{
	return str_starts(key, TENANTS);
}

/* Nobody should have a tenant in which nothing can be made. */
static int check_ready(struct store *s, const char *id, struct err *e)
{
	struct store_cluster c;
	int n;

	if (str_to_int(id, &n) || store_cluster(s, n, &c) < 0 || c.asked)
		return err_set(e, -EINPROGRESS,
			       "storage cluster %s has not answered yet", id);
	return c.ready ? 0
		       : err_set(e, -EHOSTUNREACH,
				 "storage cluster %d (%s) cannot take a "
				 "tenant: %s",
				 n, c.name, c.why);
}

static int check_tenant(struct store *s, const struct store_op *op,
			const struct object_bytes *cur, struct err *e)
{
	struct object_bytes tags = { .tags = op->tags,
				     .tags_len = op->tags_len };
	const char *id = object_tag(&tags, "f:spec.storageClusterId");

	if (op->remove || cur || !id || strcmp(id, "0") == 0)
		return 0;
	if (!s->backend->ops->cluster)
		return err_set(e, -ENOTSUP,
			       "storage cluster %s cannot be used: the store "
			       "is embedded, there is only 0; further ones "
			       "need --store etcd=...",
			       id);
	if (!find(s, CLUSTERS, "f:storageClusterId", id))
		return err_set(e, -ENOTSUP,
			       "there is no StorageCluster whose "
			       "storageClusterId is %s",
			       id);
	return check_ready(s, id, e);
}

static int check_cluster(struct store *s, const struct store_op *op,
			 const struct object_bytes *cur, struct err *e)
{
	const struct object_bytes *o;
	const char *id;

	if (op->remove) {
		id = cur ? object_tag(cur, "f:storageClusterId") : NULL;
		o = id ? find(s, TENANTS, "f:spec.storageClusterId", id) : NULL;
		return o ? err_set(e, -EBUSY,
				   "tenant %s is stored there; delete it first",
				   o->key + strlen(TENANTS))
			 : 0;
	}
	if (cur)
		return 0;
	id = object_tag(&(struct object_bytes){ .tags = op->tags,
						.tags_len = op->tags_len },
			"f:storageClusterId");
	o = id ? find(s, CLUSTERS, "f:storageClusterId", id) : NULL;
	return o ? err_set(e, -ENOTSUP,
			   "storageClusterId %s is that of StorageCluster %s",
			   id, o->key + strlen(CLUSTERS))
		 : 0;
}

int place_check(struct store *s, const struct store_op *op,
		const struct object_bytes *cur, struct err *e)
{
	if (!str_starts(op->key, "core/"))
		return 0;
	if (str_starts(op->key, TENANTS))
		return check_tenant(s, op, cur, e);
	if (str_starts(op->key, CLUSTERS))
		return check_cluster(s, op, cur, e);
	return 0;
}
