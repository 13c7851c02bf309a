/* SPDX-License-Identifier: Apache-2.0 */
/* Shared inside cgroups/ (and with its tests and fuzzers) only. */
#ifndef CGROUPS_INTERNAL_H
#define CGROUPS_INTERNAL_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cgroups/cgroup.h"

struct cg_io_max;
struct cg_io_stat;
struct err;

#define CG_BIT(controller) (1u << (controller))
#define CG_ALL_BITS        (CG_BIT(CG_NR_CONTROLLERS) - 1)
/* What v2 lets be enabled, and what of it may be in threaded cgroups. */
#define CG_V2_BITS                                            \
	(CG_BIT(CG_CPU) | CG_BIT(CG_CPUSET) | CG_BIT(CG_IO) | \
	 CG_BIT(CG_MEMORY) | CG_BIT(CG_PIDS))
#define CG_THREADED_BITS                                           \
	(CG_BIT(CG_CPU) | CG_BIT(CG_CPUACCT) | CG_BIT(CG_CPUSET) | \
	 CG_BIT(CG_PIDS))

#define CG_TEXT_SIZE 8192 /* of any one control file but io.stat */

/* Files kept open by CG_HOLD. */
enum cg_hold_file {
	CG_HOLD_CPU_MAX, /* v1: cfs_quota_us */
	CG_HOLD_CPU_PERIOD,
	CG_HOLD_MEM_MAX,
	CG_NR_HOLDS,
};

struct cg {
	char *path;         /* see cg_path() */
	int nr;             /* hierarchies in use: dir[0 .. nr - 1] */
	int unified;        /* which of them is v2; -1: none */
	enum cg_mode mode;  /* of the host */
	unsigned int flags; /* enum cg_flags */
	uint32_t missing;   /* controllers this host does not give us */
	signed char at[CG_NR_CONTROLLERS]; /* index into dir[]; -1: none */
	int dir[CG_HIERARCHIES_MAX];
	int hold[CG_NR_HOLDS]; /* -EBADF: not held */
};

/* --- tree.c --- */
struct cg *cg_alloc(const char *parent, const char *name);
int cg_hold_files(struct cg *cg, struct err *e);
uint32_t cg_mask_at(const struct cg *cg, int hierarchy);
int cg_enable(int dir, const char *path, uint32_t want, struct err *e);
int cg_name_check(const char *name, struct err *e);

/* --- file.c: control files of one cgroup --- */
bool cg_is_v2(const struct cg *cg, enum cg_controller c);
int cg_dir(const struct cg *cg, enum cg_controller c, struct err *e);
int cg_write(const struct cg *cg, enum cg_controller c, const char *name,
	     const char *text, struct err *e);
int cg_write_u64(const struct cg *cg, enum cg_controller c, const char *name,
		 uint64_t value, struct err *e);
int cg_write_held(const struct cg *cg, enum cg_hold_file which,
		  enum cg_controller c, const char *name, const char *text,
		  struct err *e);
int cg_read(const struct cg *cg, enum cg_controller c, const char *name,
	    char *buf, size_t size, struct err *e);
/* "max" reads as UINT64_MAX. */
int cg_read_u64(const struct cg *cg, enum cg_controller c, const char *name,
		uint64_t *ret, struct err *e);
int cg_unsupported(const struct cg *cg, const char *what, struct err *e);

/* The same by directory: no cgroup in the message. */
int cg_file_write(int dir, const char *name, const char *text, struct err *e);
int cg_file_read(int dir, const char *name, char *buf, size_t size,
		 struct err *e);

/* Call @fn for every directory beneath @dir, deepest first, then for @dir
 * itself; stops at the first failure. */
int cg_walk(int dir, int depth, int (*fn)(int dir, void *arg, struct err *e),
	    void *arg, struct err *e);
/* Directory entries of @dir without disturbing its offset. */
DIR *cg_opendir(int dir);

/* --- procs.c --- */
struct cg_pids {
	pid_t *v;
	size_t nr, size;
};
int cg_pids_add_file(struct cg_pids *pids, int dir, const char *name,
		     struct err *e);
/* "123 (sleep), 124 (sh)", of at most @max processes; "" if there is none. */
void cg_pids_name(const struct cg_pids *pids, size_t max, char *buf,
		  size_t size);

/* --- parse.c --- */
/* One line "<key> <number>" at *@text, which moves on. 1, 0 at the end, or
 * -EBADMSG. @key is not terminated: @ret_len says. */
int cg_line_next(const char **text, const char **ret_key, size_t *ret_len,
		 uint64_t *ret);
int cg_u64_parse(const char *text, uint64_t *ret); /* "max", trailing \n */
int cg_controllers_parse(const char *text, uint32_t *ret);
const char *cg_controller_name(enum cg_controller c);
/* v1: add one file's figures, bytes or requests, to @stat. 0 or -EBADMSG. */
int cg_blkio_parse(const char *text, bool bytes, struct cg_io_stat *stat);
/* The limits of the device named in @ret (v1: of one kind): 1 when found, 0
 * when it has none (@ret is kept), or -EBADMSG. */
int cg_io_max_find(const char *text, struct cg_io_max *ret);
int cg_blkio_max_find(const char *text, uint32_t major, uint32_t minor,
		      uint64_t *ret);

/* --- host.c: /proc/self/mountinfo and /proc/self/cgroup, pure --- */
#define CG_MOUNTS_MAX 64

struct cg_mount {
	bool v2;
	bool named;           /* libcgroup named it, too */
	uint32_t controllers; /* v1: of ours */
	char *root, *point;
};

struct cg_mounts {
	struct cg_mount v[CG_MOUNTS_MAX];
	size_t nr;
};

int cg_mounts_parse(const char *text, struct cg_mounts *ret);
void cg_mounts_clear(struct cg_mounts *m);
/* This process' path in @m's hierarchy, from /proc/PID/cgroup. -ENOENT. */
int cg_proc_path(const char *text, const struct cg_mount *m, char **ret);
/* Where cgroup @path is beneath the mount point. -ENXIO: not visible. */
int cg_mount_path(const struct cg_mount *m, const char *path, char **ret);

/* --- discover.c --- */
struct cg_hierarchy {
	bool v2;
	uint32_t controllers;
	char *path; /* of the parent, in the hierarchy */
	char *dir;  /* the same in the file system */
};

struct cg_host {
	enum cg_mode mode;
	size_t nr;
	struct cg_hierarchy h[CG_HIERARCHIES_MAX]; /* v2 first, if any */
};

/* @parent as in cg_root_open(); @leaf: a last component that is taken off. */
int cg_host_discover(const char *parent, const char *leaf, struct cg_host *ret,
		     struct err *e);
void cg_host_clear(struct cg_host *host);

#endif /* CGROUPS_INTERNAL_H */
