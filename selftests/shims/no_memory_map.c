// SPDX-License-Identifier: Apache-2.0
/* A kernel before 6.3: mounts of a tmpfs cannot map ids. */
#include <errno.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int mount_setattr(int fd, const char *path, unsigned int flags,
		  struct mount_attr *attr, size_t size)
{
	struct statfs fs;

	if (attr->attr_set & MOUNT_ATTR_IDMAP && fstatfs(fd, &fs) == 0 &&
	    fs.f_type == TMPFS_MAGIC) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_mount_setattr, fd, path, flags, attr, size);
}
