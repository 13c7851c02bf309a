/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML to JSON, as Kubernetes' own tools convert it (sigs.k8s.io/yaml, which
 * resolves plain scalars by YAML 1.1): yes/no/on/off/y/n are booleans, 0644 is
 * octal, 0x1F hexadecimal, 1_000 a number; ~ and nothing are null; timestamps
 * and everything quoted are strings; numbers and booleans as keys become
 * strings.
 *
 * Unlike it, this refuses duplicate keys, .inf and .nan (JSON has no such
 * numbers), unknown tags, and streams that grow by aliases.
 */
#ifndef LIB_YAML_H
#define LIB_YAML_H

#include <stddef.h>

struct err;

#define YAML_LEN_MAX     (4 * 1024 * 1024) /* bytes of one stream */
#define YAML_DEPTH_MAX   64
#define YAML_NODES_MAX   200000 /* per stream, copies by aliases counted */
#define YAML_ALIASES_MAX 1000   /* per stream */
#define YAML_DOCS_MAX    1000

struct yaml_doc {
	char *json; /* compact JSON, NUL-terminated */
	size_t len;
	size_t line; /* where it begins in the stream, from 1 */
};

struct yaml_docs {
	struct yaml_doc *v;
	size_t nr;
};

/**
 * yaml_to_json() - Convert a stream of documents.
 * @text: UTF-8 (or UTF-16 with a byte order mark). JSON is YAML. Borrowed.
 * @len:  Its length.
 * @ret:  Set on success; release with yaml_docs_clear(). Empty documents are
 *        left out, so nr may be 0.
 * @e:    Filled on error, beginning with "line:column: ".
 *
 * Return: 0, or
 *   -EBADMSG  not YAML, a duplicate key, an unknown alias, no JSON equivalent
 *   -E2BIG    beyond a limit above
 *   -ENOMEM
 */
int yaml_to_json(const char *text, size_t len, struct yaml_docs *ret,
		 struct err *e);
void yaml_docs_clear(struct yaml_docs *docs);

struct buf;

/* Append @json (text) as block-style YAML, keys in their order (-o yaml). */
int yaml_from_json(const char *json, size_t len, struct buf *b, struct err *e);

#endif /* LIB_YAML_H */
