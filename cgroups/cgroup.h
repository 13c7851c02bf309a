/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups by directory descriptors, the same functions on every host.
 *
 * A struct cg is one control group. On a v2 host that is one directory; on a
 * hybrid or v1 host the same tree is kept in every hierarchy that holds a
 * controller we use, and the struct holds one descriptor for each. Which file
 * of which hierarchy answers a question is decided once, in cg_root_open().
 *
 *	auto_ptr(cg) root = NULL;	and pod, and web
 *
 *	cg_root_open(NULL, "arktos", &root, &e);	<own cgroup>/arktos
 *	cg_create(root, "pod42", 0, &pod, &e);
 *	cg_create(pod, "web", CG_HOLD, &web, &e);
 *	cg_cpu_max_write(web, &max, &e);		cgroups/cpu.h
 *	cg_attach(web, pid, &e);
 *	cg_kill(web, &e);				then cgroups/events.h
 *	cg_remove(root, "pod42", &e);
 *
 * A struct cg never changes once opened: any number of threads may use one.
 * It stays valid when its parent is closed. No call blocks for longer than the
 * kernel takes for the write, except where said.
 *
 * On hybrid hosts kill, freeze, populated, and pressure come from the unified
 * hierarchy; what is lost there is told by cg_describe().
 */
#ifndef CGROUPS_CGROUP_H
#define CGROUPS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/auto.h"

struct buf;
struct cg;
struct err;

enum cg_controller {
	CG_CPU,
	CG_CPUACCT, /* on v2 part of cpu.stat, always there */
	CG_CPUSET,
	CG_IO, /* v1: blkio */
	CG_MEMORY,
	CG_PIDS,
	CG_FREEZER, /* on v2 part of every cgroup */
	CG_NR_CONTROLLERS,
};

enum cg_mode {
	CG_UNIFIED, /* every controller there is, on v2 */
	CG_HYBRID,  /* some on v1, and a v2 hierarchy beside them */
	CG_LEGACY,  /* v1 only */
};

enum cg_flags {
	/* For threads (of a process that is in the parent): v2 makes it a
	 * threaded child; on v1 it exists for cpu, cpuacct, cpuset, pids only.
	 */
	CG_THREADED = 1 << 0,
	/* Keep what a resize writes (cpu.max, memory.max) open: one more
	 * descriptor each, and a resize becomes a single write(2). */
	CG_HOLD = 1 << 1,
};

#define CG_NAME_MAX        200 /* bytes of one component */
#define CG_HIERARCHIES_MAX 8   /* of one struct cg */
#define CG_DEPTH_MAX       32  /* cg_remove(), cg_procs() below one cgroup */
#define CG_PROCS_MAX       (1 << 20)

/**
 * cg_root_open() - Open, or create, the cgroup all of ours live beneath.
 * @parent: Cgroup path as in /proc/PID/cgroup ("/system.slice/x.service"), the
 *          same in every hierarchy, which must exist. NULL: the one this
 *          process is in, per hierarchy.
 * @name:   One component, "arktos". <parent>/<name> is created if missing.
 * @ret:    Set to the cgroup. Owned; cg_close() it.
 * @e:      Filled on error. May be NULL.
 *
 * On v2 the controllers we use are enabled for <parent>/<name> and below. A
 * cgroup with processes in it cannot do that (unless it is the hierarchy's
 * root), so if the calling process is in <parent>, it moves itself to the leaf
 * <parent>/<name>.agent. When it is in such a leaf already (a restart from
 * within), NULL means the leaf's parent, so the same tree is found again.
 * Nothing else outside <parent>/<name> is touched, no other process moved.
 *
 * Asks libcgroup which controller is mounted where; serialised internally
 * since libcgroup keeps that in globals. May take some 50 ms.
 *
 * Return: 0, or
 *   -EINVAL  @name or @parent is not usable as such
 *   -EBUSY   other processes are in <parent>; @e names them and the remedy
 *   -ENOENT  no cgroup hierarchy is mounted, or no such @parent
 *   -ENXIO   this process' cgroup is outside of what is mounted here
 *   -errno   of mkdir(2), open(2), write(2)
 */
int cg_root_open(const char *parent, const char *name, struct cg **ret,
		 struct err *e);

/* Remove what cg_root_open() with the same arguments has made: the tree, as
 * cg_remove() does, and the agent's leaf unless somebody is in it. */
int cg_root_remove(const char *parent, const char *name, struct err *e);

/**
 * cg_create() - Create @name below @parent in every hierarchy, and open it.
 * @parent: Borrowed. Gets its controllers enabled for children (v2), so no
 *          process may be in it (with %CG_THREADED: may, must even).
 * @name:   One component: not empty, no '/', no leading '.', %CG_NAME_MAX.
 * @flags:  enum cg_flags.
 * @ret:    Set to the cgroup. Owned. NULL if only its existence matters.
 * @e:      Filled on error. May be NULL.
 *
 * Idempotent: what exists is kept as it is, what is missing is added. On v1 a
 * fresh cpuset inherits the parent's CPUs and memory nodes, as on v2.
 *
 * Return: 0, or
 *   -EINVAL      bad @name
 *   -EBUSY       processes are in @parent (v2)
 *   -EOPNOTSUPP  @parent cannot have children of this type (v2 threads)
 *   -errno       of mkdirat(2) otherwise
 */
int cg_create(const struct cg *parent, const char *name, unsigned int flags,
	      struct cg **ret, struct err *e);

/* Open what cg_create() made, with the same @flags. -ENOENT names what is
 * missing. */
int cg_open(const struct cg *parent, const char *name, unsigned int flags,
	    struct cg **ret, struct err *e);

/* Adopt a directory as a v2 cgroup with every controller (tests; a cgroup that
 * somebody else made). @dirfd is borrowed (duplicated), @label is for messages.
 */
int cg_open_fd(int dirfd, const char *label, unsigned int flags,
	       struct cg **ret, struct err *e);

void cg_close(struct cg *cg);
DEFINE_AUTO_PTR(cg, cg_close)

/**
 * cg_remove() - Remove @name below @parent and all beneath, everywhere.
 *
 * Kills nothing: -EBUSY, with the processes named in @e, when one is left in
 * it. What was empty is gone by then. 0 also when nothing is there.
 */
int cg_remove(const struct cg *parent, const char *name, struct err *e);

/* The cgroup's path in the unified hierarchy (else: the first one), as in
 * /proc/PID/cgroup. Borrowed from @cg. */
const char *cg_path(const struct cg *cg);

enum cg_mode cg_mode(const struct cg *cg);

/* Can this controller be used in @cg (and so, by default, below)? */
bool cg_has(const struct cg *cg, enum cg_controller controller);

/* "v2", "hybrid: ..." plus what this host loses against pure v2: one line per
 * loss, for doctor and for the agent's warning. Returns the number of losses,
 * or -ENOMEM. */
int cg_describe(const struct cg *cg, struct buf *b);

/* --- processes --- */

/* Move process @pid (0: the caller) with all its threads, in every hierarchy;
 * on failure it may have moved in some. */
int cg_attach(const struct cg *cg, pid_t pid, struct err *e);

/* Move one thread. @cg was made with %CG_THREADED, and on v2 the thread's
 * process is in its parent (or in a threaded sibling). */
int cg_attach_thread(const struct cg *cg, pid_t tid, struct err *e);

/**
 * cg_tasks_fds() - The v1 half of getting into a cgroup without a wait.
 * @fds: [%CG_HIERARCHIES_MAX] provided by the caller; the first @ret_nr are set
 *       to the 'tasks' files of the v1 hierarchies, opened for writing,
 *       O_CLOEXEC. Owned. None on a host with v2 alone.
 *
 * Whoever has one thread and writes "0" to each has moved; with being born in
 * cg_unified_fd() (CLONE_INTO_CGROUP) that does what cg_attach() does.
 *
 * Any write to cgroup.procs, and of any number but 0 to tasks, takes a lock
 * whose first writer after a pause waits for an RCU grace period, 5 to 18 ms,
 * even if nobody moves. These two ways do not take it.
 */
int cg_tasks_fds(const struct cg *cg, int *fds, size_t *ret_nr, struct err *e);

/* Directory in the v2 hierarchy, to attach BPF programs to and to be born in.
 * Borrowed; -EBADF where there is none (legacy). */
int cg_unified_fd(const struct cg *cg);

/* The processes in @cg and in all cgroups below, unsorted, malloc()ed: @ret is
 * owned. Only what this process can see in its pid namespace. */
int cg_procs(const struct cg *cg, pid_t **ret, size_t *ret_nr, struct err *e);

/* Is any process in @cg or below? 1, 0, or negative. */
int cg_populated(const struct cg *cg, struct err *e);

/**
 * cg_kill() - SIGKILL every process in @cg and below.
 *
 * One write where the kernel has cgroup.kill. Else: freeze, signal all, thaw,
 * again until a pass finds nobody new, for at most 100 ms.
 * Does not wait for the end of the processes: see cgroups/events.h.
 *
 * Return: 0, -EAGAIN if (without cgroup.kill) new ones kept appearing, -errno
 */
int cg_kill(const struct cg *cg, struct err *e);

/* Send @sig to every process in @cg and below, once. */
int cg_signal(const struct cg *cg, int sig, struct err *e);

/* Ask the kernel to stop or resume all in @cg; does not wait for it. */
int cg_freeze(const struct cg *cg, struct err *e);
int cg_thaw(const struct cg *cg, struct err *e);

/* 1 when everything in it has stopped, 0 when not (yet), or negative. */
int cg_frozen(const struct cg *cg, struct err *e);

#endif /* CGROUPS_CGROUP_H */
