// SPDX-License-Identifier: Apache-2.0
/* Names to numbers, by the image's own files: foreign bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/supervisor/child.h"
#include "agent/supervisor/request.h"
#include "agent/supervisor/sys.h"
#include "lib/buf.h"
#include "lib/str.h"

#define USER_FILE_MAX (1024 * 1024)
#define USER_NAME_MAX 256

/* A line's fields, separated by colons. */
struct fields {
	const char *v[7];
	size_t len[7];
	size_t nr;
};

static const char *next_line(const char *s, struct fields *f)
{
	const char *end = strchrnul(s, '\n');

	f->nr = 0;
	for (const char *p = s; f->nr < ARRAY_LEN(f->v);) {
		const char *c = memchr(p, ':', (size_t)(end - p));

		f->v[f->nr] = p;
		f->len[f->nr++] = (size_t)((c ? c : end) - p);
		if (!c)
			break;
		p = c + 1;
	}
	return *end ? end + 1 : NULL;
}

static bool field_is(const struct fields *f, size_t i, const char *s)
{
	return i < f->nr && f->len[i] == strlen(s) &&
	       memcmp(f->v[i], s, f->len[i]) == 0;
}

static bool field_id(const struct fields *f, size_t i, uint32_t *ret)
{
	char text[16];
	uint64_t n;

	if (i >= f->nr || f->len[i] == 0 || f->len[i] >= sizeof(text))
		return false;
	memcpy(text, f->v[i], f->len[i]);
	text[f->len[i]] = '\0';
	if (str_to_u64(text, &n) < 0 || n >= UINT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static void field_copy(const struct fields *f, size_t i, char *ret, size_t size)
{
	size_t n = i < f->nr ? f->len[i] : 0;

	if (n >= size)
		n = 0;
	memcpy(ret, f->v[i < f->nr ? i : 0], n);
	ret[n] = '\0';
}

int user_find(const char *passwd, const char *name, uid_t uid, struct ids *ret,
	      char *ret_name, size_t size)
{
	struct fields f;

	while (passwd && *passwd) {
		uint32_t u, g;

		passwd = next_line(passwd, &f);
		if (!field_id(&f, 2, &u) || !field_id(&f, 3, &g))
			continue;
		if (name ? !field_is(&f, 0, name) : u != uid)
			continue;
		ret->uid = u;
		ret->gid = g;
		field_copy(&f, 5, ret->home, sizeof(ret->home));
		field_copy(&f, 0, ret_name, size);
		return 0;
	}
	return -ENOENT;
}

int group_find(const char *group, const char *name, gid_t *ret)
{
	struct fields f;

	while (group && *group) {
		group = next_line(group, &f);
		if (field_is(&f, 0, name) && field_id(&f, 2, ret))
			return 0;
	}
	return -ENOENT;
}

static bool lists(const struct fields *f, const char *user)
{
	const char *p = f->v[3], *end = p + f->len[3];
	size_t len = strlen(user);

	while (p < end) {
		const char *c = memchr(p, ',', (size_t)(end - p));

		if (!c)
			c = end;
		if ((size_t)(c - p) == len && memcmp(p, user, len) == 0)
			return true;
		p = c + 1;
	}
	return false;
}

static void add_group(struct ids *ids, gid_t gid)
{
	for (size_t i = 0; i < ids->nr_groups; i++)
		if (ids->groups[i] == gid)
			return;
	if (ids->nr_groups < ARRAY_LEN(ids->groups))
		ids->groups[ids->nr_groups++] = gid;
}

void group_members(const char *group, const char *user, struct ids *ids)
{
	struct fields f;
	gid_t gid;

	while (group && *group && *user) {
		group = next_line(group, &f);
		if (f.nr >= 4 && field_id(&f, 2, &gid) && lists(&f, user))
			add_group(ids, gid);
	}
}

/* A missing file is an empty one. A FIFO or a device in its place must not
 * hold us up. */
static int read_file(const char *path, struct buf *b, struct err *e)
{
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = -EBADF;
	struct stat st;
	int r;

	fd = sys_openat2(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
			 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open '%s' of the image", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "'%s' of the image is no file",
			       path);
	r = buf_read_fd(b, fd, USER_FILE_MAX);
	return r < 0 ? err_wrap(e, r, "'%s' of the image", path) : 0;
}

static int resolve_text(const char *text, const char *passwd, const char *group,
			struct ids *ids, char *name, size_t size, struct err *e)
{
	char user[USER_NAME_MAX];
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	uint64_t n;

	if (len >= sizeof(user))
		return err_set(e, -EINVAL, "user name too long");
	memcpy(user, text, len);
	user[len] = '\0';
	if (len && str_to_u64(user, &n) == 0 && n < UINT32_MAX) {
		/* A number needs no entry. */
		ids->uid = (uid_t)n;
		(void)user_find(passwd, NULL, ids->uid, ids, name, size);
	} else if (len && user_find(passwd, user, 0, ids, name, size) < 0) {
		return err_set(e, -ENOENT,
			       "no user '%s' in the image's /etc/passwd: use a "
			       "number, or an image that has it",
			       user);
	} else if (!len) {
		(void)user_find(passwd, NULL, 0, ids, name, size);
	}
	if (!colon || !colon[1])
		return 0;
	if (str_to_u64(colon + 1, &n) == 0 && n < UINT32_MAX)
		ids->gid = (gid_t)n;
	else if (group_find(group, colon + 1, &ids->gid) < 0)
		return err_set(e, -ENOENT,
			       "no group '%.100s' in the image's /etc/group: "
			       "use a number, or an image that has it",
			       colon + 1);
	return 0;
}

int user_resolve(const struct spec *spec, struct ids *ret, struct err *e)
{
	auto_buf struct buf passwd = BUF_INIT, group = BUF_INIT;
	char name[USER_NAME_MAX] = "";
	int r = 0;

	memset(ret, 0, sizeof(*ret));
	if (spec->kind != KIND_HOST) {
		r = read_file("/etc/passwd", &passwd, e);
		if (r == 0)
			r = read_file("/etc/group", &group, e);
	}
	if (r < 0)
		return r;
	if (spec->has_uid) {
		ret->uid = spec->uid;
		(void)user_find(buf_str(&passwd), NULL, spec->uid, ret, name,
				sizeof(name));
	} else {
		r = resolve_text(spec->user ? spec->user : "", buf_str(&passwd),
				 buf_str(&group), ret, name, sizeof(name), e);
		if (r < 0)
			return r;
	}
	if (spec->has_gid)
		ret->gid = spec->gid;
	group_members(buf_str(&group), name, ret);
	for (size_t i = 0; i < spec->nr_groups; i++)
		add_group(ret, spec->groups[i]);
	return 0;
}
