/* SPDX-License-Identifier: Apache-2.0 */
/* Which CPUs and memory nodes the tasks of a cgroup may use. */
#ifndef CGROUPS_CPUSET_H
#define CGROUPS_CPUSET_H

#include <sched.h>
#include <stddef.h>

struct cg;
struct err;

#define CG_CPUSET_TEXT 4096

/* "0-3,8" <-> set. Strict: -EBADMSG for what is not a list, -ERANGE beyond
 * CPU_SETSIZE; -ENOSPC when the text does not fit. format returns its length.
 */
int cg_cpu_list_parse(const char *text, cpu_set_t *ret);
int cg_cpu_list_format(const cpu_set_t *set, char *buf, size_t size);

/* Restrict; an empty set means: all of the parent's. -ENOENT: no controller,
 * -EINVAL or -EACCES: not a subset of the parent's (v1). */
int cg_cpuset_cpus_write(const struct cg *cg, const cpu_set_t *cpus,
			 struct err *e);
int cg_cpuset_mems_write(const struct cg *cg, const cpu_set_t *nodes,
			 struct err *e);
/* What tasks really get. */
int cg_cpuset_cpus_read(const struct cg *cg, cpu_set_t *ret, struct err *e);
int cg_cpuset_mems_read(const struct cg *cg, cpu_set_t *ret, struct err *e);

#endif /* CGROUPS_CPUSET_H */
