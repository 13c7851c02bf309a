/* SPDX-License-Identifier: Apache-2.0 */
/* Number of tasks (threads count) a cgroup may have. */
#ifndef CGROUPS_PIDS_H
#define CGROUPS_PIDS_H

#include <stdint.h>

struct cg;
struct err;

#define CG_PIDS_UNLIMITED UINT64_MAX

/* fork() and clone() beyond @max fail with EAGAIN. -ENOENT: no controller. */
int cg_pids_max_write(const struct cg *cg, uint64_t max, struct err *e);
int cg_pids_max_read(const struct cg *cg, uint64_t *ret, struct err *e);
int cg_pids_current_read(const struct cg *cg, uint64_t *ret, struct err *e);
/* How many forks were refused by a limit here or below. */
int cg_pids_events_read(const struct cg *cg, uint64_t *ret, struct err *e);

#endif /* CGROUPS_PIDS_H */
