/* SPDX-License-Identifier: Apache-2.0 */
/* Inside agent/volume/. */
#ifndef AGENT_VOLUME_INTERNAL_H
#define AGENT_VOLUME_INTERNAL_H

#include <sys/types.h>

#include "agent/volume/volume.h"

struct volume {
	const struct volume_spec *spec; /* borrowed */
	const struct volume_kind_ops *ops;
	char *path; /* on the host, absolute */
};

struct volume_set {
	const struct pod_spec *pod; /* borrowed */
	uint32_t memory_ids;
	struct volume *v;
	size_t nr;
	char *state; /* <state>/pods/<uid>/volumes */
	char *run;   /* <run>/pods/<uid>/volumes */
};

/* One kind of volume. A new kind is one more of these, in the table. */
struct volume_kind_ops {
	/* Make it be there; sets v->path. Idempotent. */
	int (*setup)(struct volume_set *set, struct volume *v, struct err *e);
	/* Is what was opened (O_PATH) still what it should be? May be NULL. */
	int (*check)(const struct volume *v, int fd, struct err *e);
	bool ours;   /* counted, limited and removed by us */
	bool nested; /* other mounts in it are shown, too */
};

extern const struct volume_kind_ops empty_dir_ops;
extern const struct volume_kind_ops host_path_ops;
extern const struct volume_kind_ops payload_ops;

/* Whose group what lies in memory is. */
uint32_t volume_memory_gid(const struct volume_set *set);

/* A tmpfs at @path, unless there is one; @bytes 0: without a limit. */
int volume_tmpfs(const struct volume_set *set, const char *path, mode_t mode,
		 uint64_t bytes, struct err *e);

int volume_unmount_all(const char *run, struct err *e);

#endif /* AGENT_VOLUME_INTERNAL_H */
