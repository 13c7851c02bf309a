// SPDX-License-Identifier: Apache-2.0
/*
 * A part of the build: YAML on the standard input becomes JSON, one document a
 * line. The declared types are carried by the program in this form, since
 * reading YAML would be most of its start.
 */
#include <stdio.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/yaml.h"

int main(void)
{
	auto_buf struct buf b = BUF_INIT;
	struct yaml_docs docs = { 0 };
	struct err e = { 0 };
	int r = buf_read_fd(&b, STDIN_FILENO, YAML_LEN_MAX);

	if (r == 0)
		r = yaml_to_json(buf_str(&b), b.len, &docs, &e);
	for (size_t i = 0; r == 0 && i < docs.nr; i++)
		if (printf("%s\n", docs.v[i].json) < 0)
			r = -1;
	yaml_docs_clear(&docs);
	if (r == 0 && fflush(stdout) == 0)
		return 0;
	fprintf(stderr, "mktypes: %s\n", e.msg);
	return 1;
}
