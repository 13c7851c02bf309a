/* SPDX-License-Identifier: Apache-2.0 */
/* What a layer's tar entry may be called, and what its name means. Pure. */
#ifndef AGENT_IMAGE_ENTRY_H
#define AGENT_IMAGE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>

struct err;

#define ENTRY_PATH_MAX  3800 /* a report of it fits into one pipe buffer */
#define ENTRY_DEPTH_MAX 200  /* less than fs_remove_tree() can remove */
#define ENTRY_TEXT_MAX  160

enum entry_kind {
	ENTRY_NODE,     /* a file, folder, link, ... */
	ENTRY_ROOT,     /* the layer's own root folder */
	ENTRY_WHITEOUT, /* .wh.NAME: NAME of the layers below is gone */
	ENTRY_OPAQUE,   /* .wh..wh..opq: so is all of this folder */
	ENTRY_IGNORED   /* other .wh..wh. names: bookkeeping of aufs */
};

struct entry_path {
	enum entry_kind kind;
	size_t base; /* where the last component begins in @path */
	char path[ENTRY_PATH_MAX + 1]; /* relative, clean; "" is the root */
};

/**
 * entry_path_check() - Clean an entry's name, or refuse it.
 * @name:      As the archive has it: NUL-terminated bytes.
 * @whiteouts: Names beginning with .wh. mean something (OCI layers).
 * @ret:       ENTRY_NODE: what to make; ENTRY_WHITEOUT: the hidden name;
 *             ENTRY_OPAQUE: the folder.
 *
 * Return: 0, -EPERM (..), -ENAMETOOLONG, or -EINVAL (a whiteout of nothing).
 */
int entry_path_check(const char *name, bool whiteouts, struct entry_path *ret,
		     struct err *e);

/* Does this extended attribute survive? Those that steer overlayfs or hold
 * another host's labels do not. */
bool entry_xattr_kept(const char *name);

/* @name for an error message: printable, at most ENTRY_TEXT_MAX bytes. */
const char *entry_text(const char *name, char text[ENTRY_TEXT_MAX]);

#endif /* AGENT_IMAGE_ENTRY_H */
