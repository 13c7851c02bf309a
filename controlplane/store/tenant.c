// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "controlplane/store/internal.h"
#include "controlplane/store/tenant.h"

#define DROP_AT_ONCE 512
#define DROP_BYTES   (512u << 10)

/* One segment of a key: anything that could end it is refused. */
static bool is_name(const char *s)
{
	size_t len = strlen(s);

	for (size_t i = 0; i < len; i++)
		if (s[i] == '/' || (unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return len > 0 && len <= TENANT_NAME_MAX && strcmp(s, ".") != 0 &&
	       strcmp(s, "..") != 0;
}

/* "group/plural" */
static bool is_resource(const char *s)
{
	const char *slash = strchr(s, '/');
	char group[TENANT_NAME_MAX + 1];

	if (!slash || (size_t)(slash - s) >= sizeof(group))
		return false;
	snprintf(group, sizeof(group), "%.*s", (int)(slash - s), s);
	return is_name(group) && is_name(slash + 1);
}

int tenant_view_init(struct tenant_view *v, struct store *s, const char *tenant,
		     struct err *e)
{
	if (!tenant || !is_name(tenant))
		return err_set(e, -EINVAL, "'%s' is no name of a tenant",
			       tenant ? tenant : "");
	v->s = s;
	snprintf(v->tenant, sizeof(v->tenant), "%s", tenant);
	return 0;
}

int tenant_key(const struct tenant_view *v, const char *resource,
	       const char *space, const char *name, char out[STORE_KEY_MAX],
	       struct err *e)
{
	int n;

	if (!is_resource(resource))
		return err_set(e, -EINVAL, "'%s' is no resource", resource);
	if (space && *space && !is_name(space))
		return err_set(e, -EINVAL, "'%s' is no namespace", space);
	if (name && (!space || !is_name(name)))
		return err_set(e, -EINVAL, "'%s' is no name", name);
	n = snprintf(out, STORE_KEY_MAX, "%s/%s/%s%s%s", resource, v->tenant,
		     space ? space : "", space ? "/" : "", name ? name : "");
	return n < STORE_KEY_MAX ? 0
				 : err_set(e, -EINVAL,
					   "a key of %d bytes is too long", n);
}

struct object_bytes *tenant_get(const struct tenant_view *v,
				const char *resource, const char *space,
				const char *name)
{
	char key[STORE_KEY_MAX];

	if (!name || tenant_key(v, resource, space, name, key, NULL))
		return NULL;
	return store_get(v->s, key);
}

int tenant_list(const struct tenant_view *v, const char *resource,
		const char *space, const struct store_range *r,
		struct store_list *ret, struct err *e)
{
	struct store_range own = r ? *r : (struct store_range){ 0 };
	char prefix[STORE_KEY_MAX];
	int res = tenant_key(v, resource, space, NULL, prefix, e);

	if (res < 0)
		return res;
	/* Comes out of a client's token. */
	if (own.after && strncmp(own.after, prefix, strlen(prefix)) != 0)
		return err_set(e, -EINVAL, "the list goes on somewhere else");
	own.prefix = prefix;
	return store_list(v->s, &own, ret, e);
}

int tenant_watch_open(const struct tenant_view *v, const char *resource,
		      const char *space, uint64_t revision,
		      void (*notify)(void *arg), void *arg,
		      struct store_watch **ret, struct err *e)
{
	char prefix[STORE_KEY_MAX];
	int r = tenant_key(v, resource, space, NULL, prefix, e);

	return r < 0 ? r
		     : store_watch_open(v->s, prefix, revision, notify, arg,
					ret, e);
}

/* The next resource at or behind @at that has anything, as "group/plural/". */
static bool next_resource(struct store *s, const char *at, char *out)
{
	struct entry *en;
	const char *end = NULL;

	pthread_rwlock_rdlock(&s->lock);
	en = index_seek(&s->index, at);
	if (en)
		end = strchr(en->key, '/');
	end = end ? strchr(end + 1, '/') : NULL;
	if (end)
		snprintf(out, STORE_KEY_MAX, "%.*s", (int)(end + 1 - en->key),
			 en->key);
	pthread_rwlock_unlock(&s->lock);
	return end != NULL;
}

static int drop_some(struct store *s, const char *prefix, size_t *ret_nr,
		     struct err *e)
{
	struct store_range r = { .prefix = prefix, .limit = DROP_AT_ONCE };
	static const struct store_op remove = { .remove = true };
	struct store_op *ops = calloc(DROP_AT_ONCE, sizeof(*ops));
	struct store_txn txn = { .ops = ops };
	struct store_list l = { 0 };
	size_t bytes = 0;
	int res = ops ? store_list(s, &r, &l, e)
		      : err_set(e, -ENOMEM, "out of memory");

	for (size_t i = 0; res == 0 && i < l.nr; i++) {
		bytes += l.v[i]->len + l.v[i]->tags_len;
		if (i && bytes > DROP_BYTES)
			break; /* a back end takes only so much at once */
		ops[i] = remove;
		ops[i].key = l.v[i]->key;
		txn.nr_ops++;
	}
	if (txn.nr_ops)
		res = store_commit(s, &txn, e);
	for (size_t i = 0; i < txn.nr_ops; i++)
		object_unref(ops[i].ret);
	*ret_nr = txn.nr_ops;
	store_list_clear(&l);
	free(ops);
	return res == -ENOENT ? 0 : res; /* another was faster: look again */
}

int tenant_drop(const struct tenant_view *v, size_t *ret_nr, struct err *e)
{
	char at[STORE_KEY_MAX] = "", prefix[STORE_KEY_MAX + 256];
	size_t total = 0, nr;
	int r;

	while (next_resource(v->s, at, at)) {
		snprintf(prefix, sizeof(prefix), "%s%s/", at, v->tenant);
		do {
			r = drop_some(v->s, prefix, &nr, e);
			if (r < 0)
				return r;
			total += nr;
		} while (nr);
		at[strlen(at) - 1] = '/' + 1; /* behind all of this one */
	}
	*ret_nr = total;
	return 0;
}
