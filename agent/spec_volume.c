// SPDX-License-Identifier: Apache-2.0
/* spec.volumes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/err.h"
#include "lib/str.h"

#define VOLUMES_MAX 256

static int medium(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "", "Memory" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = i == 1;
	return r;
}

static int empty_dir(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct volume_spec, "medium", medium, memory),
		SPEC_FIELD(struct volume_spec, "sizeLimit", spec_quantity_mem,
			   size_limit),
	};

	((struct volume_spec *)out)->kind = VOLUME_EMPTY_DIR;
	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int host_path_type(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = {
		"",           "DirectoryOrCreate",
		"Directory",  "FileOrCreate",
		"File",       "Socket",
		"CharDevice", "BlockDevice",
	};
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(enum host_path_type *)out = (enum host_path_type)i;
	return r;
}

static int host_path(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct volume_spec, "path", spec_str, path),
		SPEC_FIELD(struct volume_spec, "type", host_path_type, type),
	};
	struct volume_spec *vol = out;
	int r;

	vol->kind = VOLUME_HOST_PATH;
	r = spec_read_object(c, v, fields, ARRAY_LEN(fields), vol);
	if (!yyjson_is_obj(v) || spec_faulty(c, "path"))
		return r;
	if (!vol->path || vol->path[0] != '/')
		spec_fault(c, &r, "path", "must be an absolute path");
	else if (strstr(vol->path, "/../") || str_ends(vol->path, "/.."))
		spec_fault(c, &r, "path", "must not contain '..'");
	return r;
}

/* What is in it is agent/remote's business. */
static int payload(struct spec_ctx *c, yyjson_val *v, void *out)
{
	if (!yyjson_is_obj(v))
		return spec_fail(c, -EINVAL, "must be an object");
	((struct volume_spec *)out)->kind = VOLUME_PAYLOAD;
	return 0;
}

static int volume(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct volume_spec, "name", spec_str, name),
		{ "emptyDir", empty_dir, 0 },
		{ "hostPath", host_path, 0 },
		{ "configMap", payload, 0 },
		{ "secret", payload, 0 },
		{ "projected", payload, 0 },
		{ "downwardAPI", payload, 0 },
		SPEC_UNSUPPORTED("persistentVolumeClaim"),
		SPEC_UNSUPPORTED("ephemeral"),
		SPEC_UNSUPPORTED("csi"),
		SPEC_UNSUPPORTED("nfs"),
		SPEC_UNSUPPORTED("iscsi"),
		SPEC_UNSUPPORTED("image"),
	};
	struct volume_spec *vol = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), vol);
	size_t nr = yyjson_obj_size(v) - !!yyjson_obj_get(v, "name");
	bool odd = nr > 1 && r == 0; /* else what is too much was told */

	if (!yyjson_is_obj(v))
		return r;
	if (!spec_faulty(c, "name") &&
	    (!vol->name || !str_is_dns_label(vol->name)))
		spec_fault(c, &r, "name", "must be a DNS label");
	if (!nr || odd)
		spec_fault(c, &r, NULL,
			   "needs exactly one of emptyDir, hostPath, "
			   "configMap, secret, downwardAPI, projected");
	return r;
}

int spec_volumes(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct pod_spec *pod = out;
	int r = spec_read_array(c, v, sizeof(*pod->volumes), VOLUMES_MAX,
				volume, &pod->volumes, &pod->nr_volumes);

	for (size_t i = 0; i < pod->nr_volumes; i++)
		for (size_t j = 0; j < i && pod->volumes[i].name; j++)
			if (str_eq(pod->volumes[i].name,
				   pod->volumes[j].name)) {
				spec_fault(c, &r, NULL,
					   "two volumes are named '%.80s'",
					   pod->volumes[i].name);
				break;
			}
	return r;
}
