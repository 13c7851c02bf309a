/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder tree being written from foreign instructions.
 *
 * Every path is walked by the kernel with RESOLVE_BENEATH: a symlink may be
 * passed through while it stays inside, and nothing is ever made, linked or
 * removed outside. The last component is never followed.
 */
#ifndef AGENT_IMAGE_UNPACK_TREE_H
#define AGENT_IMAGE_UNPACK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

struct err;
struct entry_path;
struct tree_dirs;

struct tree {
	int root; /* borrowed */
	/* Called for each folder that hides what is below it in other layers;
	 * overlayfs keeps that in an attribute only privilege can set. */
	int (*opaque)(void *arg, const char *path, struct err *e);
	void *arg;
	struct tree_dirs *dirs; /* whose times are set at the end */
	int parent;             /* the folder written to last, or -EBADF */
	char *parent_path;
};

struct tree_meta {
	mode_t mode; /* permissions only */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
};

void tree_init(struct tree *t, int root);
void tree_clear(struct tree *t);

/* Each replaces what an earlier entry of the same name made. */
int tree_put_dir(struct tree *t, const struct entry_path *p,
		 const struct tree_meta *m, int *ret_fd, struct err *e);
int tree_put_symlink(struct tree *t, const struct entry_path *p,
		     const struct tree_meta *m, const char *target,
		     struct err *e);
int tree_put_link(struct tree *t, const struct entry_path *p,
		  const struct entry_path *to, struct err *e);
int tree_put_fifo(struct tree *t, const struct entry_path *p,
		  const struct tree_meta *m, struct err *e);

/* A new, empty file. Write it, then tree_finish_file(). */
int tree_put_file(struct tree *t, const struct entry_path *p, int *ret_fd,
		  struct err *e);
int tree_finish_file(int fd, const struct tree_meta *m, struct err *e);

/* Hide @p of the layers below, unless this layer itself has it. */
int tree_put_whiteout(struct tree *t, const struct entry_path *p,
		      struct err *e);
int tree_put_opaque(struct tree *t, const struct entry_path *p, struct err *e);

/* Set the times of all folders, last of all. */
int tree_finish(struct tree *t, struct err *e);

#endif /* AGENT_IMAGE_UNPACK_TREE_H */
