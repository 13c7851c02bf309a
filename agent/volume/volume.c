// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/volume/internal.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

static const struct volume_kind_ops *const kinds[] = {
	[VOLUME_EMPTY_DIR] = &empty_dir_ops,
	[VOLUME_HOST_PATH] = &host_path_ops,
	[VOLUME_PAYLOAD] = &payload_ops,
};

/* The uid becomes part of paths. */
static int check_uid(const char *uid, struct err *e)
{
	if (!uid || !*uid || uid[0] == '.' || strchr(uid, '/'))
		return err_set(e, -EINVAL, "pod uid '%.64s' is malformed",
			       uid ? uid : "");
	return 0;
}

static int make_paths(const struct volume_dirs *dirs, const char *uid,
		      char **state, char **run, struct err *e)
{
	int r = check_uid(uid, e);

	if (r < 0)
		return r;
	*state = str_printf("%s/pods/%s/volumes", dirs->state_dir, uid);
	*run = str_printf("%s/pods/%s/volumes", dirs->run_dir, uid);
	return *state && *run ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int setup_one(struct volume_set *set, const struct volume_spec *spec,
		     struct err *e)
{
	struct volume *v = &set->v[set->nr];
	int r;

	v->spec = spec;
	if ((size_t)spec->kind >= ARRAY_LEN(kinds))
		return err_set(e, -ENOTSUP, "volume '%s': unknown kind",
			       spec->name);
	v->ops = kinds[spec->kind];
	set->nr++;
	r = v->ops->setup(set, v, e);
	return r < 0 ? err_wrap(e, r, "volume '%s'", spec->name) : 0;
}

int volume_setup(const struct volume_dirs *dirs, const struct pod_spec *pod,
		 struct volume_set **ret, struct err *e)
{
	struct volume_set *set = calloc(1, sizeof(*set));
	int r;

	if (!set)
		return err_set(e, -ENOMEM, "out of memory");
	set->pod = pod;
	set->memory_ids = dirs->memory_ids;
	set->v = calloc(pod->nr_volumes + 1, sizeof(*set->v));
	r = set->v ? make_paths(dirs, pod->uid, &set->state, &set->run, e)
		   : err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < pod->nr_volumes; i++)
		r = setup_one(set, &pod->volumes[i], e);
	if (r < 0) {
		volume_close(set);
		return r;
	}
	*ret = set;
	return 0;
}

void volume_close(struct volume_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->nr; i++)
		free(set->v[i].path);
	free(set->v);
	free(set->state);
	free(set->run);
	free(set);
}

static const struct volume *find(const struct volume_set *set, const char *name)
{
	for (size_t i = 0; i < set->nr; i++)
		if (str_eq(set->v[i].spec->name, name))
			return &set->v[i];
	return NULL;
}

const char *volume_path(const struct volume_set *set, const char *name)
{
	const struct volume *v = find(set, name);

	return v ? v->path : NULL;
}

int volume_teardown(const struct volume_dirs *dirs, const char *uid,
		    struct err *e)
{
	char *state = NULL, *run = NULL;
	int r = make_paths(dirs, uid, &state, &run, e);

	if (r == 0)
		r = volume_unmount_all(run, e);
	if (r == 0)
		r = fs_remove_tree(AT_FDCWD, run, e);
	if (r == 0)
		r = fs_remove_tree(AT_FDCWD, state, e);
	free(state);
	free(run);
	return r < 0 ? err_wrap(e, r, "volumes of pod '%s'", uid) : 0;
}
