/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads, atomic durable writes, trees. Paths may be relative to a
 * directory fd (AT_FDCWD for the current one). */
#ifndef LIB_FS_H
#define LIB_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct buf;
struct err;

/* Append the file's content to @b; -EFBIG when it is larger than @max. */
int fs_read(int dirfd, const char *path, size_t max, struct buf *b,
	    struct err *e);

/* One write(2) to an existing file (kernel control files). */
int fs_write_control(int dirfd, const char *path, const char *text,
		     struct err *e);

/* Replace @path durably: temporary file, fsync, rename, fsync of the folder.
 * After a crash the old or the new content is there, whole. */
int fs_write_atomic(int dirfd, const char *path, const void *data, size_t len,
		    mode_t mode, struct err *e);
/* The same as far as this process may crash: whoever reads sees the old or the
 * new content, whole. After a crash of the machine there may be half of it, or
 * nothing: no place for what replaces something durable. */
int fs_write_quick(int dirfd, const char *path, const void *data, size_t len,
		   mode_t mode, struct err *e);
/* Make what fs_write_quick() has written durable, as @to. */
int fs_settle(int dirfd, const char *from, const char *to, struct err *e);

/* mkdir -p. 0 also when it exists already. */
int fs_mkdirs(const char *path, mode_t mode, struct err *e);

/* Remove a tree, however deep, without following symlinks and without leaving
 * @path's mount (-EXDEV). 0 also when nothing is there. */
int fs_remove_tree(int dirfd, const char *path, struct err *e);

bool fs_exists(int dirfd, const char *path);

#endif /* LIB_FS_H */
