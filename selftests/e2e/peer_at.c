// SPDX-License-Identifier: Apache-2.0
/*
 * What stands at a path of a JSON document: what 'jq -r PATH' prints, at a
 * hundredth of its start (jq 1.6 compiles its library of 30 ms each time, half
 *a second in an emulated guest), for tests that look again and again.
 *
 *	peer_at [-n NAME] [-d DEFAULT] .status.conditions[type=Ready].status
 *
 * With -n of each of .items whose metadata.name that is. A step is ".key",
 *"[2]" or "[key=text]", the first item with that. Missing is "null", or
 *DEFAULT. No input prints nothing, as nobody answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"

#define BYTES_MAX (16 * 1024 * 1024)

static yyjson_val *item_with(yyjson_val *array, const char *key,
			     const char *text)
{
	yyjson_val *item;
	size_t i, nr;

	yyjson_arr_foreach(array, i, nr,
			   item) if (yyjson_equals_str(yyjson_obj_get(item,
								      key),
						       text)) return item;
	return NULL;
}

/* @path is eaten up. NULL is missing, or null. */
static yyjson_val *at(yyjson_val *val, char *path)
{
	while (val && *path) {
		char step = *path++;
		size_t len = strcspn(path, step == '[' ? "]" : ".[");
		char *next = path + len, *eq;
		char after = *next;

		if ((step != '.' && step != '[') || !len ||
		    (step == '[' && after != ']')) {
			fprintf(stderr, "peer_at: what is '%c%s'?\n", step,
				path);
			exit(2);
		}
		*next = '\0';
		eq = strchr(path, '=');
		if (step == '.') {
			val = yyjson_obj_get(val, path);
		} else if (eq) {
			*eq = '\0';
			val = item_with(val, path, eq + 1);
		} else {
			val = yyjson_arr_get(val, strtoul(path, NULL, 10));
		}
		path = next;
		if (step == '[')
			path++;
		else
			*path = after;
	}
	return yyjson_is_null(val) ? NULL : val;
}

static void print(yyjson_val *val, const char *missing)
{
	char *text;

	if (!val) {
		puts(missing);
		return;
	}
	if (yyjson_is_str(val)) {
		puts(yyjson_get_str(val));
		return;
	}
	text = yyjson_val_write(val, 0, NULL);
	puts(text ? text : "");
	free(text);
}

static int usage(void)
{
	fputs("usage: peer_at [-n NAME] [-d DEFAULT] PATH\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *name = NULL, *missing = "null";
	auto_buf struct buf text = BUF_INIT;
	yyjson_val *root, *item;
	struct err e = { 0 };
	yyjson_doc *doc;
	size_t i, nr;
	int c, r;

	while ((c = getopt(argc, argv, "n:d:")) != -1) {
		if (c == 'n')
			name = optarg;
		else if (c == 'd')
			missing = optarg;
		else
			return usage();
	}
	if (optind + 1 != argc)
		return usage();
	r = buf_read_fd(&text, STDIN_FILENO, BYTES_MAX);
	if (r == 0 && text.len == 0)
		return 0;
	if (r == 0)
		r = json_parse(buf_str(&text), text.len, &doc, &e);
	if (r < 0) {
		fprintf(stderr, "peer_at: %s\n",
			e.msg[0] ? e.msg : strerror(-r));
		return 2;
	}
	root = yyjson_doc_get_root(doc);
	if (!name) {
		print(at(root, argv[optind]), missing);
	} else {
		yyjson_arr_foreach(yyjson_obj_get(root, "items"), i, nr, item)
		{
			char path[] = ".metadata.name";
			auto_free char *want = strdup(argv[optind]);

			if (want && yyjson_equals_str(at(item, path), name))
				print(at(item, want), missing);
		}
	}
	yyjson_doc_free(doc);
	return 0;
}
