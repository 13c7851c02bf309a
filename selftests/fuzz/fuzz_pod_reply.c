// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/container/reply.c lib/str.c lib/err.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What a pod's supervisor may say, and what exits.json may hold. */
#include <stdlib.h>
#include <string.h>

#include "agent/container/reply.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sandbox_reply rep;
	struct err e = { 0 };

	if (sandbox_reply_parse((const char *)data, size, &rep, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < rep.nr_procs; i++)
		if (!rep.procs[i].name[0] ||
		    strnlen(rep.procs[i].message, sizeof(rep.procs->message)) ==
			    sizeof(rep.procs->message))
			abort();
	if (!rep.is_event && !rep.ok && rep.code >= 0)
		abort();
	sandbox_reply_clear(&rep);
	return 0;
}
