// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/store/etcd_proto.c controlplane/store/segment.c
// FUZZ: controlplane/store/record.c controlplane/store/object.c
// FUZZ: controlplane/store/share.c lib/random.c
// FUZZ: controlplane/store/keys.c lib/grpc/pb.c lib/buf.c lib/err.c lib/fs.c
/* Answers of etcd, the segments in them, the records in those. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/store/etcd_proto.h"
#include "controlplane/store/record.h"
#include "controlplane/store/segment.h"

static int pair(void *arg, const struct etcd_kv *kv)
{
	struct segment_record rec;
	struct segment_in in;
	uint64_t last = 0;

	(void)arg;
	if (segment_open(&in, kv->value, kv->value_len) < 0)
		return 0;
	while (segment_next(&in, &rec) > 0) {
		struct object_bytes *o = NULL;

		if (rec.revision <= last)
			__builtin_trap();
		last = rec.revision;
		if (record_decode(rec.data, rec.len, rec.revision, NULL, "x",
				  &o, NULL) == 0)
			(void)object_tag(o, "l:a");
		object_unref(o);
		(void)record_is_current(rec.data, rec.len, NULL);
	}
	return 0;
}

static int event(void *arg, bool deleted, const struct etcd_kv *kv)
{
	(void)deleted;
	return pair(arg, kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = { .data = (char *)data + (size > 0),
			 .len = size ? size - 1 : 0 };
	struct etcd_kv kv = { .value = b.data, .value_len = b.len };
	struct object_bytes *o = NULL;
	struct etcd_answer a;

	if (!size)
		return 0;
	switch (data[0] % 7) {
	case 0:
		(void)etcd_read_range(&b, &a, pair, NULL);
		break;
	case 1:
		(void)etcd_read_txn(&b, &a, pair, NULL);
		break;
	case 2:
		(void)etcd_read_lease(b.data, b.len, &a);
		break;
	case 3:
		(void)etcd_read_status(&b, &a);
		break;
	case 4:
		(void)etcd_read_watch(b.data, b.len, &a, event, NULL);
		break;
	case 5:
		(void)pair(NULL, &kv);
		break;
	default:
		(void)record_decode(b.data, b.len, 7, NULL, "x", &o, NULL);
		object_unref(o);
	}
	return 0;
}
