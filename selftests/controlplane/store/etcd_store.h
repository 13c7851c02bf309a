/* SPDX-License-Identifier: Apache-2.0 */
/* Stores on real etcd servers, and what is in those. For one inclusion. */
#ifndef SELFTESTS_CONTROLPLANE_STORE_ETCD_STORE_H
#define SELFTESTS_CONTROLPLANE_STORE_ETCD_STORE_H

#include "controlplane/store/admin.h"
#include "controlplane/store/etcd_proto.h"
#include "lib/grpc/grpc.h"
#include "selftests/controlplane/store/etcd_server.h"
#include "selftests/harness.h"

#define NEED_ETCD()                                                    \
	do {                                                           \
		if (!etcd_present())                                   \
			SKIP("no /usr/bin/etcd: package etcd-server"); \
	} while (0)

#define NEED_ETCDCTL()                                                    \
	do {                                                              \
		if (access("/usr/bin/etcdctl", X_OK))                     \
			SKIP("no /usr/bin/etcdctl: package etcd-client"); \
	} while (0)

static inline int etcd_ctl(const char *endpoints, const char *what)
{
	char cmd[1024];

	snprintf(cmd, sizeof(cmd),
		 "export ETCDCTL_API=3 ETCD_AT=%s; timeout 10 etcdctl --endpoints %s %s "
		 ">>ctl.log 2>&1",
		 endpoints, endpoints, what);
	return system(cmd);
}

/* Until its quota is used up: by others' keys. */
static inline void etcd_ctl_fill(const char *endpoints)
{
	(void)!system("head -c 400000 /dev/zero | tr '\\0' x >big");
	for (int i = 0; i < 20; i++)
		if (etcd_ctl(endpoints, "put /junk/a <big"))
			break;
}

/* What an operator does with one that is full. */
static inline int etcd_ctl_room(const char *endpoints)
{
	return etcd_ctl(endpoints, "del /junk/a") ||
	       etcd_ctl(endpoints,
			"compact $(etcdctl get / -w json --endpoints $ETCD_AT "
			"| grep -o 'revision\":[0-9]*' | grep -o '[0-9]*$')") ||
	       etcd_ctl(endpoints, "defrag") ||
	       etcd_ctl(endpoints, "alarm disarm");
}

static inline struct store *open_at(const char *endpoints, struct err *e)
{
	struct store_etcd etcd = { .endpoints = endpoints, .timeout_ms = 3000 };
	struct store_opts opts = { .etcd = &etcd };
	struct store *s = NULL;

	if (store_open(&opts, &s, e) < 0)
		printf("# open: %s\n", e ? e->msg : "");
	return s;
}

static inline int change(struct store *s, const char *key, bool remove,
			 uint64_t *rv, struct err *e)
{
	struct store_op op = { .key = key,
			       .data = "value",
			       .len = 5,
			       .rv_off = STORE_NO_RV,
			       .remove = remove };
	struct store_txn txn = { .ops = &op, .nr_ops = 1 };
	int r = store_commit(s, &txn, e);

	object_unref(op.ret);
	if (rv)
		*rv = txn.revision;
	return r;
}

/* Until it is done for sure: what is in doubt is asked for again. Members that
 * are refused connections say so at once, and an election takes seconds: how
 * often it was tried means nothing, the test's own limit ends it. */
static inline int insist(struct store *s, const char *key, bool remove)
{
	int r = -EIO;

	while (r < 0 && r != -ENOENT) {
		r = change(s, key, remove, NULL, NULL);
		if (r < 0)
			poll(NULL, 0, 20);
	}
	return r;
}

static inline size_t count_keys(const char *endpoints)
{
	struct grpc_opts o = { .endpoints = endpoints, .max_message = 1 << 26 };
	auto_buf struct buf q = BUF_INIT;
	struct grpc_call call = { .method = "/etcdserverpb.KV/Range",
				  .timeout_ms = 5000 };
	size_t nr = 0, at = 0;
	struct grpc *g = NULL;

	etcd_range_request(&q, &(struct etcd_range){ .key = "/arktos/log/",
						     .end = "/arktos/log0" });
	call.data = q.data;
	call.len = q.len;
	if (grpc_open(&o, &g, NULL) == 0 && grpc_call(g, &call, NULL) == 0)
		for (; at + 12 < call.reply.len; at++)
			nr += memcmp(call.reply.data + at, "/arktos/log/",
				     12) == 0;
	grpc_close(g);
	buf_clear(&call.reply);
	return nr;
}

/* Write and compact until at most @want segments are left; how many are. */
static inline size_t collect(struct store *s, const struct etcd_servers *sv,
			     size_t want)
{
	size_t keys = want + 1;

	/* Collected between commits, once the lease is held. */
	for (int i = 0; i < 500 && keys > want; i++) {
		(void)insist(s, "p/t/n/a", false);
		(void)store_compact(s, store_revision(s), NULL);
		keys = count_keys(sv->endpoints);
	}
	printf("# %zu segments are left\n", keys);
	return keys;
}

#endif /* SELFTESTS_CONTROLPLANE_STORE_ETCD_STORE_H */
