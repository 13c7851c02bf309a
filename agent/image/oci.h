/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of OCI and Docker images: indexes, manifests, configurations. Pure;
 * everything here comes from strangers. */
#ifndef AGENT_IMAGE_OCI_H
#define AGENT_IMAGE_OCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/image/digest.h"
#include "agent/image/image.h"

struct err;
struct json_ref;

#define OCI_MANIFEST_MAX (4 * 1024 * 1024) /* bytes, as registries limit it */
#define OCI_CONFIG_MAX   (8 * 1024 * 1024)
#define OCI_BLOB_MAX     (UINT64_C(1) << 40)

struct oci_blob {
	char digest[DIGEST_TEXT_MAX];
	uint64_t size;
};

struct oci_manifest {
	bool is_index;
	struct oci_blob pick; /* of an index: the manifest to read next */
	struct oci_blob config;
	struct oci_blob layers[IMAGE_LAYERS_MAX];
	size_t nr_layers;
};

struct oci_want {
	const char *architecture; /* "amd64" */
	const char *tag;          /* in an OCI folder; NULL: the only one */
};

/**
 * oci_manifest_parse() - Read a manifest, or choose one from an index.
 *
 * Return: 0, or
 *   -EBADMSG  not one, or one we cannot run: old, encrypted, an artifact
 *   -ENOENT   nothing in the index for this tag or machine; @e lists it
 */
int oci_manifest_parse(const char *text, size_t len,
		       const struct oci_want *want, struct oci_manifest *ret,
		       struct err *e);

struct oci_config {
	struct image_config config;
	int64_t created_s;
	char (*diff_ids)[DIGEST_TEXT_MAX];
	size_t nr_diff_ids;
};

int oci_config_parse(const char *text, size_t len, struct oci_config *ret,
		     struct err *e);
void oci_config_clear(struct oci_config *c);
void image_config_clear(struct image_config *c);

/* Append the strings of list @key of @at, at most @max, to @ret. Absent: none.
 */
int image_get_list(const struct json_ref *at, const char *key, size_t max,
		   struct strv *ret, struct err *e);

/* What is wrong with a sender's text is -EBADMSG, whatever it is. Wraps @e. */
int oci_blame(int code, const char *what, struct err *e);

/* RFC 3339 to Unix time; 0 when it is none. */
int64_t oci_time(const char *text);

/* The machine's name in images: "amd64". */
const char *oci_architecture(void);

#endif /* AGENT_IMAGE_OCI_H */
