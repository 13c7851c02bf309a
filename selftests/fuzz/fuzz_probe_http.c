// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/probe/http.c lib/str.c lib/err.c lib/buf.c
/* What a probed pod answers, and where its redirects lead. */
#include <stdlib.h>
#include <string.h>

#include "agent/probe/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A request line must never be broken by what came from outside. */
static void check_request(const struct probe_url *u)
{
	const struct key_values none = { 0 };
	auto_buf struct buf b = BUF_INIT;
	char text[4096];

	probe_url_format(u, text, sizeof(text));
	if (probe_request(u, &none, &b) < 0)
		return;
	for (const char *s = u->path; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
			__builtin_trap();
	if (u->path[0] != '/' || strpbrk(u->host, "\r\n"))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1); /* its exact size: no byte beyond */
	struct probe_answer a;
	struct probe_url u, to;

	if (!text)
		return 0;
	memcpy(text, data, size);
	(void)probe_message_cut(text, size);
	if (probe_url_init(&u, false, "10.0.0.1", 80, "/dir/a?q") < 0)
		__builtin_trap();
	if (probe_answer_parse(text, size, &a) > 0 && a.location &&
	    probe_url_follow(&u, a.location, a.location_len, &to) == 0)
		check_request(&to);
	if (probe_url_follow(&u, text, size, &to) == 0)
		check_request(&to);
	free(text);
	return 0;
}
