// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/image/names.c agent/image/entry.c agent/image/digest.c
// FUZZ: lib/err.c lib/str.c
/* Image names survive being completed and read again; the names of archive
 * entries never lead out. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/entry.h"
#include "agent/image/names.h"
#include "lib/err.h"
#include "lib/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_name(const char *text)
{
	char full[IMAGE_REF_SIZE], again[IMAGE_REF_SIZE];
	struct image_name n;

	if (image_name_parse(text, &n, NULL) < 0)
		return;
	image_name_format(&n, full);
	assert(!strstr(n.repo, "..")); /* a tag may have them */
	assert(full[0] != '-');        /* never an option to anybody */
	assert(image_name_parse(full, &n, NULL) == 0);
	image_name_format(&n, again);
	assert(str_eq(full, again));
}

static void try_entry(const char *text, bool whiteouts)
{
	char shown[ENTRY_TEXT_MAX];
	struct entry_path p;
	struct err e = { 0 };
	size_t depth = 0;

	assert(strlen(entry_text(text, shown)) < ENTRY_TEXT_MAX);
	if (entry_path_check(text, whiteouts, &p, &e) < 0) {
		assert(e.msg[0]);
		return;
	}
	assert(p.path[0] != '/' && strlen(p.path) <= ENTRY_PATH_MAX);
	assert((p.kind == ENTRY_ROOT) <= !p.path[0]);
	assert(p.base <= strlen(p.path));
	assert(!p.base || p.path[p.base - 1] == '/');
	for (const char *s = p.path; *s; depth++) {
		size_t part = strcspn(s, "/");

		assert(part >= 1 && part <= 255);
		assert(!(part == 1 && s[0] == '.'));
		assert(!(part == 2 && s[0] == '.' && s[1] == '.'));
		s += part + (s[part] == '/');
	}
	assert(depth <= ENTRY_DEPTH_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	try_name(text);
	try_entry(text, true);
	try_entry(text, false);
	free(text);
	return 0;
}
