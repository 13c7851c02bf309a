// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/supervisor/request.c lib/str.c lib/err.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* What a client may send to a pod's supervisor. The first byte is the number
 * of descriptors that came along. */
#include <stdlib.h>
#include <string.h>

#include "agent/supervisor/request.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fd(int fd, size_t nr_fds)
{
	if (fd != FD_NONE && (fd < 0 || (size_t)fd >= nr_fds))
		abort();
}

static void check_list(const struct spec_list *l)
{
	for (size_t i = 0; i < l->nr; i++)
		if (!l->v[i])
			abort();
	if (l->nr && l->v[l->nr])
		abort();
}

/* The promises of request.h, that the supervisor relies on blindly. */
static void check(const struct spec *s, size_t nr_fds)
{
	if (!s->name || strlen(s->name) > PROTO_NAME_MAX || !s->argv.nr)
		abort();
	check_list(&s->argv);
	check_list(&s->env);
	check_list(&s->layers);
	check_fd(s->seccomp, nr_fds);
	check_fd(s->cgroup_dir, nr_fds);
	check_fd(s->oom, nr_fds);
	check_fd(s->exit_fd, nr_fds);
	for (size_t i = 0; i < s->cgroups.nr; i++)
		if (s->cgroups.v[i] < 0)
			abort();
	for (size_t i = 0; i < s->fds.nr; i++)
		if (s->fds.v[i] < 0)
			abort();
	for (size_t i = 0; i < s->nr_mounts; i++) {
		check_fd(s->mounts[i].fd, nr_fds);
		if (!s->mounts[i].dest || s->mounts[i].dest[0] != '/')
			abort();
	}
	for (size_t i = 0; i < s->nr_symlinks; i++)
		if (!s->symlinks[i].path || !s->symlinks[i].target)
			abort();
	if (s->cgroups.nr > 16 || s->nr_groups > PROTO_GROUPS_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request *req = NULL;
	struct err e = { 0 };
	uint64_t id;
	size_t nr_fds;

	if (!size)
		return 0;
	nr_fds = data[0] % (PROTO_FDS_MAX + 1);
	if (request_parse((const char *)data + 1, size - 1, nr_fds, &req, &id,
			  &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	check_fd(req->out[0], nr_fds);
	check_fd(req->out[1], nr_fds);
	if (req->spec)
		check(req->spec, nr_fds);
	request_free(req);
	return 0;
}
