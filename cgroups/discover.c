// SPDX-License-Identifier: Apache-2.0
/* Which hierarchy has which controller, and where this process is in it. */
#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PROC_TEXT_MAX (4 * 1024 * 1024)

/* libcgroup keeps its mount table in globals. */
static pthread_mutex_t libcgroup_lock = PTHREAD_MUTEX_INITIALIZER;

static void mark_named(struct cg_mounts *m, const char *point)
{
	for (size_t i = 0; i < m->nr; i++)
		if (str_eq(m->v[i].point, point))
			m->v[i].named = true;
}

/*
 * Where a hierarchy is mounted several times, libcgroup decides which mount is
 * meant, as it does for every other tool on the host. Its failure is none of
 * ours: mountinfo alone has all that is needed.
 */
static void ask_libcgroup(struct cg_mounts *m)
{
	auto_free struct cgroup_mount_point *info = malloc(sizeof(*info));
	void *it = NULL;
	int r;

	if (!info)
		return;
	pthread_mutex_lock(&libcgroup_lock);
	if (cgroup_init() == 0) {
		r = cgroup_get_controller_begin(&it, info);
		for (; r == 0; r = cgroup_get_controller_next(&it, info))
			mark_named(m, info->path);
		cgroup_get_controller_end(&it);
	}
	pthread_mutex_unlock(&libcgroup_lock);
}

struct place {
	const char *proc;   /* text of /proc/self/cgroup */
	const char *parent; /* or NULL */
	const char *leaf;
	bool has_v2; /* the parent is a cgroup of that one */
};

static void strip_leaf(char *path, const char *leaf)
{
	char *slash = strrchr(path, '/');

	if (!slash || !str_eq(slash + 1, leaf))
		return;
	slash[slash == path] = '\0';
}

static int own_place(const struct cg_mount *m, const struct place *p,
		     char **ret_path, char **ret_dir)
{
	auto_free char *path = NULL;
	int r = cg_proc_path(p->proc, m, &path);

	if (r < 0)
		return r;
	strip_leaf(path, p->leaf);
	r = cg_mount_path(m, path, ret_dir);
	if (r == 0)
		*ret_path = take_ptr(path);
	return r;
}

static int named_place(const struct cg_mount *m, const struct place *p,
		       char **ret_path, char **ret_dir)
{
	auto_free char *dir = NULL;
	int r = cg_mount_path(m, p->parent, &dir);

	if (r < 0)
		return r;
	/* On a hybrid host systemd delegates some hierarchies only. */
	if (!m->v2 && p->has_v2 && access(dir, F_OK) < 0 && errno == ENOENT)
		return own_place(m, p, ret_path, ret_dir);
	*ret_path = strdup(p->parent);
	if (!*ret_path)
		return -ENOMEM;
	*ret_dir = take_ptr(dir);
	return 0;
}

static int locate(const struct cg_mount *m, const struct place *p,
		  struct cg_hierarchy *ret)
{
	auto_free char *path = NULL;
	auto_free char *dir = NULL;
	int r = p->parent ? named_place(m, p, &path, &dir)
			  : own_place(m, p, &path, &dir);

	if (r < 0)
		return r;
	ret->v2 = m->v2;
	ret->path = take_ptr(path);
	ret->dir = take_ptr(dir);
	return 0;
}

/* The first mount of the hierarchy that shows us, libcgroup's choice first. */
static int find(const struct cg_mounts *m, bool v2, uint32_t bit,
		const struct place *p, struct cg_hierarchy *ret)
{
	int r, worst = -ENOENT;

	for (int named = 1; named >= 0; named--) {
		for (size_t i = 0; i < m->nr; i++) {
			const struct cg_mount *c = &m->v[i];

			if (c->named != named || c->v2 != v2 ||
			    (!v2 && !(c->controllers & bit)))
				continue;
			r = locate(c, p, ret);
			if (r == 0 && !v2)
				ret->controllers = c->controllers;
			if (r == 0 || r == -ENOMEM)
				return r;
			worst = r;
		}
	}
	return worst;
}

static int find_v1(const struct cg_mounts *m, const struct place *p,
		   struct cg_host *host, struct err *e)
{
	uint32_t found = 0;

	for (int c = 0; c < CG_NR_CONTROLLERS; c++) {
		struct cg_hierarchy h = { 0 };
		int r;

		/* The unified hierarchy freezes better. */
		if ((found & CG_BIT(c)) ||
		    (c == CG_FREEZER && host->nr && host->h[0].v2))
			continue;
		r = find(m, false, CG_BIT(c), p, &h);
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return err_set(e, r,
				       "the %s hierarchy is mounted, but not "
				       "the part of it this process is in",
				       cg_controller_name(c));
		found |= h.controllers;
		host->h[host->nr++] = h;
	}
	return 0;
}

static int add_v2_controllers(struct cg_host *host, struct err *e)
{
	struct cg_hierarchy *h = &host->h[0];
	auto_close int fd = -EBADF;
	char text[CG_TEXT_SIZE];
	uint32_t have;
	int r;

	fd = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open cgroup '%s'", h->dir);
	r = cg_file_read(fd, "cgroup.controllers", text, sizeof(text), e);
	if (r < 0)
		return err_wrap(e, r, "cgroup '%s'", h->path);
	r = cg_controllers_parse(text, &have);
	if (r < 0)
		return err_set(e, r, "cgroup '%s': odd cgroup.controllers",
			       h->path);
	h->controllers = have & CG_V2_BITS;
	return 0;
}

static int fill(const struct cg_mounts *m, struct place *p,
		struct cg_host *host, struct err *e)
{
	int r;

	r = find(m, true, 0, p, &host->h[0]);
	if (r == 0)
		host->nr = 1;
	else if (r != -ENOENT)
		return err_set(e, r,
			       "cgroup2 is mounted, but not the part of it "
			       "this process is in");
	p->has_v2 = host->nr > 0;
	r = find_v1(m, p, host, e);
	if (r < 0)
		return r;
	if (host->nr == 0)
		return err_set(e, -ENOENT,
			       "no cgroup hierarchy is mounted: mount -t "
			       "cgroup2 none /sys/fs/cgroup");
	if (host->h[0].v2) {
		r = add_v2_controllers(host, e);
		if (r < 0)
			return r;
		host->mode = host->nr > 1 ? CG_HYBRID : CG_UNIFIED;
	} else {
		host->mode = CG_LEGACY;
	}
	return 0;
}

int cg_host_discover(const char *parent, const char *leaf, struct cg_host *ret,
		     struct err *e)
{
	auto_buf struct buf info = BUF_INIT;
	auto_buf struct buf proc = BUF_INIT;
	struct place p = { .parent = parent, .leaf = leaf };
	struct cg_host host = { 0 };
	struct cg_mounts mounts;
	int r;

	r = fs_read(AT_FDCWD, "/proc/self/mountinfo", PROC_TEXT_MAX, &info, e);
	if (r < 0)
		return r;
	r = fs_read(AT_FDCWD, "/proc/self/cgroup", PROC_TEXT_MAX, &proc, e);
	if (r < 0)
		return r;
	r = cg_mounts_parse(buf_str(&info), &mounts);
	if (r < 0)
		return err_set(e, r, "/proc/self/mountinfo cannot be used");
	ask_libcgroup(&mounts);
	p.proc = buf_str(&proc);
	r = fill(&mounts, &p, &host, e);
	cg_mounts_clear(&mounts);
	if (r < 0) {
		cg_host_clear(&host);
		return r;
	}
	*ret = host;
	return 0;
}

void cg_host_clear(struct cg_host *host)
{
	for (size_t i = 0; i < CG_HIERARCHIES_MAX; i++) {
		free(host->h[i].path);
		free(host->h[i].dir);
	}
	*host = (struct cg_host){ 0 };
}
