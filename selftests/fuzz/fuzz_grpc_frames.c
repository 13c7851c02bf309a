// SPDX-License-Identifier: Apache-2.0
// FUZZ: lib/grpc/frame.c lib/grpc/pb.c lib/buf.c
/* What a gRPC peer sends: frames cut anywhere, fields of any kind in them, and
 * the text of a status. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/grpc/internal.h"
#include "lib/grpc/pb.h"

static void walk(struct pb_in in, int depth)
{
	struct pb_field f;

	while (pb_next(&in, &f) > 0)
		if (f.type == PB_BYTES && depth < 8)
			walk(pb_inside(&f), depth + 1);
}

static int message(void *arg, const void *data, size_t len)
{
	size_t *nr = arg;

	++*nr;
	walk((struct pb_in){ data, (const char *)data + len }, 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frames whole = { .max = 4096 }, cut = { .max = 4096 };
	size_t nr_whole = 0, nr_cut = 0, at = 0;
	char text[64];
	int a, b = 0;

	a = grpc_frames_feed(&whole, data, size, message, &nr_whole);
	while (b == 0 && at < size) {
		size_t n = 1 + data[at] % 13;

		if (n > size - at)
			n = size - at;
		b = grpc_frames_feed(&cut, data + at, n, message, &nr_cut);
		at += n;
	}
	/* How it is cut makes no difference. */
	if (a != b || nr_whole != nr_cut)
		__builtin_trap();
	buf_clear(&whole.b);
	buf_clear(&cut.b);
	grpc_message_decode(text, sizeof(text), (const char *)data, size);
	if (strlen(text) >= sizeof(text))
		__builtin_trap();
	(void)grpc_errno(size ? data[0] : 0);
	return 0;
}
