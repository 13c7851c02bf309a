// SPDX-License-Identifier: Apache-2.0
/* What the kernel says about mounted hierarchies and our place in them. Pure:
 * text in, data out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cgroups/internal.h"
#include "lib/auto.h"
#include "lib/str.h"

/* One field of a mountinfo line; 0 at its end. */
static size_t field(const char *s, const char *end)
{
	size_t n = 0;

	while (s + n < end && s[n] != ' ')
		n++;
	return n;
}

/* The kernel writes blanks, tabs, newlines and backslashes as \ooo. */
static char *unescape(const char *s, size_t len)
{
	char *out = malloc(len + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && len - i > 3 && s[i + 1] >= '0' &&
		    s[i + 1] <= '3' && s[i + 2] >= '0' && s[i + 2] <= '7' &&
		    s[i + 3] >= '0' && s[i + 3] <= '7') {
			out[n++] = (char)((s[i + 1] - '0') << 6 |
					  (s[i + 2] - '0') << 3 |
					  (s[i + 3] - '0'));
			i += 3;
		} else {
			out[n++] = s[i];
		}
	}
	out[n] = '\0';
	return out;
}

static uint32_t controller_bit(const char *s, size_t len)
{
	static const char *const v1[CG_NR_CONTROLLERS] = {
		[CG_CPU] = "cpu",         [CG_CPUACCT] = "cpuacct",
		[CG_CPUSET] = "cpuset",   [CG_IO] = "blkio",
		[CG_MEMORY] = "memory",   [CG_PIDS] = "pids",
		[CG_FREEZER] = "freezer",
	};

	for (int c = 0; c < CG_NR_CONTROLLERS; c++)
		if (strlen(v1[c]) == len && memcmp(v1[c], s, len) == 0)
			return CG_BIT(c);
	return 0;
}

/* Our controllers in "rw,cpu,cpuacct". */
static uint32_t controllers_in(const char *s, const char *end)
{
	uint32_t mask = 0;

	while (s < end) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *stop = comma ? comma : end;

		mask |= controller_bit(s, (size_t)(stop - s));
		s = stop + 1;
	}
	return mask;
}

struct mount_line {
	const char *root, *point, *type, *options; /* up to a blank or @end */
	const char *end;
};

static bool split_line(const char *s, const char *end, struct mount_line *ret)
{
	const char *f[6];

	ret->end = end;
	for (int i = 0; i < 6; i++) { /* id parent dev root point options */
		if (s >= end)
			return false;
		f[i] = s;
		s += field(s, end) + 1;
	}
	while (s < end && !(s[0] == '-' && field(s, end) == 1))
		s += field(s, end) + 1; /* optional fields */
	for (int i = 0; i < 4; i++) {   /* - type source options */
		if (s >= end)
			return false;
		if (i == 1)
			ret->type = s;
		ret->options = s;
		s += field(s, end) + 1;
	}
	ret->root = f[3];
	ret->point = f[4];
	return true;
}

static int add_line(const struct mount_line *l, struct cg_mounts *ret)
{
	size_t type = field(l->type, l->end);
	struct cg_mount m = { 0 };

	m.v2 = type == 7 && memcmp(l->type, "cgroup2", 7) == 0;
	if (!m.v2 && !(type == 6 && memcmp(l->type, "cgroup", 6) == 0))
		return 0;
	if (!m.v2)
		m.controllers =
			controllers_in(l->options,
				       l->options + field(l->options, l->end));
	if (!m.v2 && !m.controllers)
		return 0;
	if (ret->nr == CG_MOUNTS_MAX)
		return -E2BIG;
	m.root = unescape(l->root, field(l->root, l->end));
	m.point = unescape(l->point, field(l->point, l->end));
	ret->v[ret->nr++] = m;
	return m.root && m.point ? 0 : -ENOMEM;
}

int cg_mounts_parse(const char *text, struct cg_mounts *ret)
{
	struct mount_line l;
	int r = 0;

	*ret = (struct cg_mounts){ 0 };
	while (*text && r == 0) {
		const char *end = strchrnul(text, '\n');

		if (split_line(text, end, &l))
			r = add_line(&l, ret);
		text = *end ? end + 1 : end;
	}
	if (r < 0)
		cg_mounts_clear(ret);
	return r;
}

void cg_mounts_clear(struct cg_mounts *m)
{
	for (size_t i = 0; i < m->nr; i++) {
		free(m->v[i].root);
		free(m->v[i].point);
	}
	m->nr = 0;
}

/* Is this /proc/PID/cgroup line ("4:cpu,cpuacct:/x") of @m's hierarchy? */
static const char *line_path(const char *s, const char *end,
			     const struct cg_mount *m)
{
	const char *names = memchr(s, ':', (size_t)(end - s));
	const char *path;

	if (!names)
		return NULL;
	names++;
	path = memchr(names, ':', (size_t)(end - names));
	if (!path)
		return NULL;
	if (m->v2 ? path != names
		  : !(controllers_in(names, path) & m->controllers))
		return NULL;
	return path + 1;
}

int cg_proc_path(const char *text, const struct cg_mount *m, char **ret)
{
	while (*text) {
		const char *end = strchrnul(text, '\n');
		const char *path = line_path(text, end, m);

		if (path && path < end && *path == '/') {
			char *own = strndup(path, (size_t)(end - path));

			if (!own)
				return -ENOMEM;
			*ret = own;
			return 0;
		}
		text = *end ? end + 1 : end;
	}
	return -ENOENT;
}

static bool climbs(const char *path)
{
	for (const char *s = path; (s = strstr(s, "/..")); s++)
		if (s[3] == '/' || s[3] == '\0')
			return true;
	return false;
}

int cg_mount_path(const struct cg_mount *m, const char *path, char **ret)
{
	size_t root = strcmp(m->root, "/") ? strlen(m->root) : 0;
	char *dir;

	/* "/.." shows what is outside of our cgroup namespace. */
	if (path[0] != '/' || climbs(path) || climbs(m->root))
		return -ENXIO;
	if (strncmp(path, m->root, root) != 0 ||
	    (path[root] != '/' && path[root] != '\0'))
		return -ENXIO;
	dir = str_printf("%s%s", m->point, path + root);
	if (!dir)
		return -ENOMEM;
	*ret = dir;
	return 0;
}
