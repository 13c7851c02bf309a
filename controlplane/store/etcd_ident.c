// SPDX-License-Identifier: Apache-2.0
/*
 * Whose an etcd is. Before its first job a shard's thread makes sure that this
 * is the etcd it should be: a key there says of which store it is which
 * cluster, another of which StorageCluster object (by the revision that made
 * it), and etcd's own revision is not below one that was seen before. So an
 * address that was mistyped, and a cluster that came back empty or from an old
 * copy, is not written to.
 *
 * The first key's revision fences what is written: who takes over an etcd after
 * a StorageCluster that is gone puts it again, and whatever servers that are
 * late still do in the name of that one does nothing any more.
 */
#include <openssl/rand.h>
#include <stdio.h>

#include "controlplane/store/etcd_shard.h"
#include "lib/str.h"

static int copy_value(void *arg, const struct etcd_kv *kv)
{
	struct buf *b = arg;

	buf_reset(b);
	buf_add(b, kv->value, kv->value_len);
	return buf_error(b);
}

/* The number of the whole store, made when it is first needed. */
static int store_id(struct etcd *c, char out[40], struct err *e)
{
	auto_free char *key = str_printf("%sid", c->prefix);
	auto_buf struct buf reply = BUF_INIT;
	auto_buf struct buf found = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;
	unsigned char raw[16];
	struct etcd_answer a;
	char text[33];
	int r;

	pthread_rwlock_rdlock(&c->shards->lock);
	memcpy(out, c->shards->store_id, 40);
	pthread_rwlock_unlock(&c->shards->lock);
	if (*out)
		return 0;
	if (!key || RAND_bytes(raw, sizeof(raw)) != 1)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(text + i * 2, 3, "%02x", raw[i]);
	etcd_if_create(&q, key, 0);
	etcd_do_put(&q, ETCD_THEN, key, text, 32, 0);
	etcd_do_range(&q, ETCD_ELSE, &(struct etcd_range){ .key = key });
	r = etcd_call(c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, e);
	if (r == 0)
		r = etcd_read_txn(&reply, &a, copy_value, &found);
	if (r < 0)
		return err_wrap(e, r,
				"the system's cluster does not say of "
				"which store this is");
	snprintf(out, 40, "%.32s", a.succeeded ? text : buf_str(&found));
	pthread_rwlock_wrlock(&c->shards->lock);
	memcpy(c->shards->store_id, out, 40);
	pthread_rwlock_unlock(&c->shards->lock);
	return 0;
}

struct ident {
	const struct shard *sh;
	struct buf value;
	uint64_t mod;   /* 0: it is nobody's */
	uint64_t since; /* revision of its StorageCluster; 0: not told */
};

static int take_ident(void *arg, const struct etcd_kv *kv)
{
	struct ident *id = arg;
	char text[24];

	if (kv->key_len == strlen(id->sh->ident) &&
	    memcmp(kv->key, id->sh->ident, kv->key_len) == 0) {
		id->mod = kv->mod_revision;
		return copy_value(&id->value, kv);
	}
	snprintf(text, sizeof(text), "%.*s",
		 (int)(kv->value_len < 20 ? kv->value_len : 20), kv->value);
	id->since = strtoull(text, NULL, 10);
	return 0;
}

static int ask(struct shard *sh, const struct buf *q, struct ident *id,
	       struct etcd_answer *ret, struct err *e)
{
	auto_buf struct buf reply = BUF_INIT;
	int r = etcd_call(&sh->c, "/etcdserverpb.KV/Txn", q, &reply, NULL, e);

	id->mod = id->since = 0;
	if (r == 0 && etcd_read_txn(&reply, ret, take_ident, id) < 0)
		r = err_set(e, -EBADMSG, "its answer cannot be read");
	return r;
}

static int read_ident(struct shard *sh, struct ident *id,
		      struct etcd_answer *ret, struct err *e)
{
	auto_buf struct buf q = BUF_INIT;

	etcd_do_range(&q, ETCD_THEN, &(struct etcd_range){ .key = sh->ident });
	etcd_do_range(&q, ETCD_THEN, &(struct etcd_range){ .key = sh->since });
	return ask(sh, &q, id, ret, e);
}

/* It becomes ours, unless it has changed since it was looked at. */
static int claim(struct shard *sh, const char *want, struct ident *id,
		 struct etcd_answer *ret, struct err *e)
{
	auto_free char *behind = etcd_log_key(&sh->c, sh->created + 1);
	auto_buf struct buf q = BUF_INIT;
	char since[24];
	int r;

	if (!behind)
		return err_set(e, -ENOMEM, "out of memory");
	snprintf(since, sizeof(since), "%llu", (unsigned long long)sh->created);
	etcd_if_mod(&q, sh->ident, id->mod);
	if (want) {
		etcd_do_put(&q, ETCD_THEN, sh->ident, want, strlen(want), 0);
		/* What one before has left. */
		etcd_do_delete(&q, ETCD_THEN, sh->c.log, behind);
	}
	etcd_do_put(&q, ETCD_THEN, sh->since, since, strlen(since), 0);
	r = ask(sh, &q, id, ret, e);
	return r < 0 ? r : read_ident(sh, id, ret, e);
}

/* Is it as it should be? It may be nobody's yet, that of a StorageCluster that
 * is gone, or of a version of ours that did not say of which. */
static int take_it(struct shard *sh, const char *want, struct ident *id,
		   struct etcd_answer *a, struct err *e)
{
	bool used = atomic_load(&sh->used);
	int r = read_ident(sh, id, a, e);

	if (r < 0)
		return r;
	if (!id->mod)
		return used ? 0 : claim(sh, want, id, a, e);
	if (strcmp(buf_str(&id->value), want) != 0 || id->since >= sh->created)
		return 0;
	if (id->since && used)
		return 0;
	return claim(sh, used ? NULL : want, id, a, e);
}

int shard_identify(struct shard *sh, struct err *e)
{
	struct ident id = { .sh = sh, .value = BUF_INIT };
	auto_free char *want = NULL;
	struct etcd_answer a = { 0 };
	char store[40];
	int r = store_id(sh->owner, store, e);

	if (r == 0)
		want = str_printf("store %s cluster %d", store, sh->id);
	if (r == 0 && !want)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = take_it(sh, want, &id, &a, e);
	if (r == 0 && !id.mod)
		r = err_set(e, -EREMOTEIO,
			    "at %s there is nothing of this cluster: the "
			    "address is wrong, or its data was lost",
			    sh->c.prefix);
	else if (r == 0 && strcmp(buf_str(&id.value), want) != 0)
		r = err_set(e, -EREMOTEIO,
			    "this etcd is '%s', and '%s' is wanted: the "
			    "address is wrong",
			    buf_str(&id.value), want);
	else if (r == 0 && id.since != sh->created)
		r = err_set(e, -EREMOTEIO,
			    "this etcd is that of a StorageCluster made with "
			    "revision %llu, and this one was made with %llu",
			    (unsigned long long)id.since,
			    (unsigned long long)sh->created);
	else if (r == 0 && a.revision < atomic_load(&sh->at))
		r = err_set(e, -EREMOTEIO,
			    "it went back from etcd revision %llu to %llu: "
			    "its data was lost or restored",
			    (unsigned long long)atomic_load(&sh->at),
			    (unsigned long long)a.revision);
	pthread_mutex_lock(&sh->c.lock);
	sh->ident_mod = id.mod;
	pthread_mutex_unlock(&sh->c.lock);
	buf_clear(&id.value);
	return r;
}

int shard_try_room(struct shard *sh, struct err *e)
{
	auto_free char *key = str_printf("%sroom", sh->c.prefix);
	auto_buf struct buf reply = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;
	int r;

	if (!key)
		return err_set(e, -ENOMEM, "out of memory");
	etcd_if_mod(&q, sh->ident, sh->ident_mod);
	etcd_do_put(&q, ETCD_THEN, key, "", 0, 0);
	r = etcd_call(&sh->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, e);
	if (r < 0)
		return r;
	buf_reset(&q);
	etcd_do_delete(&q, ETCD_THEN, key, NULL);
	return etcd_call(&sh->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, e);
}

/* Its StorageCluster is gone, and no tenant was there: what is left is history
 * that nobody can ask for. If the etcd is another StorageCluster's by now, only
 * what is older than that goes. */
void shard_leave_nothing(struct shard *sh)
{
	auto_free char *behind = etcd_log_key(&sh->c, sh->empty + 1);
	auto_free char *end = strdup(sh->c.prefix);
	auto_buf struct buf reply = BUF_INIT;
	auto_buf struct buf q = BUF_INIT;

	if (!end || !behind || !sh->ident_mod || shard_state(sh) == SHARD_AWAY)
		return;
	end[strlen(end) - 1]++; /* '/' and what follows it */
	etcd_if_mod(&q, sh->ident, sh->ident_mod);
	etcd_do_delete(&q, ETCD_THEN, sh->c.prefix, end);
	etcd_do_delete(&q, ETCD_ELSE, sh->c.log, behind);
	(void)etcd_call(&sh->c, "/etcdserverpb.KV/Txn", &q, &reply, NULL, NULL);
}
