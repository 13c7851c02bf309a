/* SPDX-License-Identifier: Apache-2.0 */
/* Image names, as docker completes them. Pure. */
#ifndef AGENT_IMAGE_NAMES_H
#define AGENT_IMAGE_NAMES_H

#include <stdbool.h>

#include "agent/image/digest.h"
#include "agent/image/image.h"

struct err;

#define IMAGE_TAG_MAX  128
/* Any name in full: repository, tag, digest. */
#define IMAGE_REF_SIZE (IMAGE_NAME_MAX + IMAGE_TAG_MAX + DIGEST_TEXT_MAX + 3)

struct image_name {
	char repo[IMAGE_NAME_MAX + 1]; /* "docker.io/library/busybox" */
	char tag[IMAGE_TAG_MAX + 1];   /* "latest"; "" beside a digest */
	char digest[DIGEST_TEXT_MAX];  /* or "" */
};

/* "busybox", "r.io:5000/a/b:1", "a@sha256:..."; "docker://" before it is fine.
 * Return: 0 or -EINVAL. */
int image_name_parse(const char *ref, struct image_name *ret, struct err *e);

/* "docker.io/library/busybox:latest" or "...@sha256:...". */
void image_name_format(const struct image_name *name,
		       char text[IMAGE_REF_SIZE]);

/* Is its registry on this host: localhost, 127.0.0.0/8, [::1]? */
bool image_name_is_loopback(const struct image_name *name);

/**
 * image_name_meant() - Which of an image's names @ref means.
 * @names: As they were given: "web", "docker.io/library/web:latest".
 *
 * The one spelled as @ref, else the one that means the same: "web",
 * "web:latest" and "docker.io/library/web:latest" are one name.
 *
 * Return: borrowed from @names, or NULL.
 */
const char *image_name_meant(const struct strv *names, const char *ref);

/* May an import be called so? Letters, digits and ._-/:@ after a letter or
 * digit. */
bool image_name_is_fine(const char *name);

#endif /* AGENT_IMAGE_NAMES_H */
