// SPDX-License-Identifier: Apache-2.0
/* configMap, secret, downwardAPI and projected volumes, and what containers get
 * as environment from there: files of ours in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/volume/internal.h"
#include "agent/volume/payload.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

/* As in Kubernetes: whatever the mode says, the fsGroup may read. */
#define FS_GROUP_READS 0440
#define TMPFS_BYTES                                               \
	(8 * PAYLOAD_BYTES_MAX) /* old, new, and the blocks' rest \
				 */

void payload_set_free(struct payload_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->nr; i++) {
		struct payload_volume *v = &set->v[i];

		for (size_t k = 0; k < v->nr; k++) {
			free((void *)(uintptr_t)v->files[k].path);
			free((void *)(uintptr_t)v->files[k].data);
		}
		free(v->files);
		free(v->name);
	}
	free(set->v);
	free(set);
}

struct payload_volume *payload_set_add(struct payload_set *set,
				       const char *name)
{
	struct payload_volume *v =
		realloc(set->v, (set->nr + 1) * sizeof(*set->v));

	if (!v)
		return NULL;
	set->v = v;
	v = &set->v[set->nr];
	*v = (struct payload_volume){ .name = strdup(name) };
	if (!v->name)
		return NULL;
	set->nr++;
	return v;
}

const struct payload_volume *payload_set_find(const struct payload_set *set,
					      const char *name)
{
	for (size_t i = 0; set && i < set->nr; i++)
		if (str_eq(set->v[i].name, name))
			return &set->v[i];
	return NULL;
}

int payload_volume_add(struct payload_volume *v, const char *path,
		       const void *data, size_t len, mode_t mode)
{
	struct payload_file *f;
	char *copy = malloc(len + 1), *p = strdup(path);

	f = copy && p && v->nr < PAYLOAD_FILES_MAX
		    ? realloc(v->files, (v->nr + 1) * sizeof(*f))
		    : NULL;
	if (!f) {
		free(copy);
		free(p);
		return v->nr < PAYLOAD_FILES_MAX ? -ENOMEM : -E2BIG;
	}
	memcpy(copy, data, len);
	copy[len] = '\0';
	v->files = f;
	v->files[v->nr++] = (struct payload_file){
		.path = p, .data = copy, .len = len, .mode = mode
	};
	return 0;
}

static int setup(struct volume_set *set, struct volume *v, struct err *e)
{
	v->path = str_printf("%s/%s", set->run, v->spec->name);
	if (!v->path)
		return err_set(e, -ENOMEM, "out of memory");
	return volume_tmpfs(set, v->path, 0755, TMPFS_BYTES, e);
}

const struct volume_kind_ops payload_ops = {
	.setup = setup,
	.ours = true,
};

static int fill_one(const struct volume_set *set, const struct volume *v,
		    const struct payload_set *content, struct err *e)
{
	const struct payload_owner owner = {
		.uid = set->memory_ids,
		.gid = volume_memory_gid(set),
		.add = set->pod->has_fs_group ? FS_GROUP_READS : 0,
	};
	auto_close int dir = -EBADF;

	for (size_t i = 0; i < content->nr; i++) {
		const struct payload_volume *pv = &content->v[i];

		if (!str_eq(pv->name, v->spec->name))
			continue;
		dir = open(v->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return err_sys(e, "open '%s'", v->path);
		return payload_write(dir, pv->files, pv->nr, &owner, NULL, e);
	}
	return 0;
}

int volume_fill(const struct volume_set *set, const struct payload_set *content,
		struct err *e)
{
	for (size_t i = 0; i < set->nr; i++) {
		int r;

		if (set->v[i].spec->kind != VOLUME_PAYLOAD)
			continue;
		r = fill_one(set, &set->v[i], content, e);
		if (r < 0)
			return err_wrap(e, r, "volume '%s'",
					set->v[i].spec->name);
	}
	return 0;
}

bool volume_is_filled(const struct volume_set *set)
{
	for (size_t i = 0; i < set->nr; i++) {
		auto_free char *data = NULL;
		struct stat st;

		if (set->v[i].spec->kind != VOLUME_PAYLOAD)
			continue;
		data = str_printf("%s/..data", set->v[i].path);
		if (!data || lstat(data, &st) < 0)
			return false;
	}
	return true;
}
