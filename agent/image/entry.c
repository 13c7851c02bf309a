// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "agent/image/entry.h"
#include "lib/err.h"
#include "lib/str.h"

#define COMPONENT_MAX 255
#define WHITEOUT      ".wh."
#define WHITEOUT_META ".wh..wh."
#define WHITEOUT_OPQ  ".wh..wh..opq"

const char *entry_text(const char *name, char text[ENTRY_TEXT_MAX])
{
	size_t i;

	for (i = 0; name[i] && i < ENTRY_TEXT_MAX - 4; i++)
		text[i] = name[i] >= ' ' && name[i] < 0x7f ? name[i] : '?';
	memcpy(text + i, name[i] ? "..." : "", name[i] ? 4 : 1);
	return text;
}

bool entry_xattr_kept(const char *name)
{
	if (str_eq(name, "security.capability"))
		return true;
	return str_starts(name, "user.") && !str_starts(name, "user.overlay.");
}

static int add_component(struct entry_path *p, const char *s, size_t len)
{
	size_t at = strlen(p->path);

	if (len > COMPONENT_MAX || at + 1 + len > ENTRY_PATH_MAX)
		return -ENAMETOOLONG;
	if (at)
		p->path[at++] = '/';
	p->base = at;
	memcpy(p->path + at, s, len);
	p->path[at + len] = '\0';
	return 0;
}

/* The last component is in place: what does it say? */
static int judge_last(struct entry_path *p)
{
	char *last = p->path + p->base;
	const char *hidden = last + strlen(WHITEOUT);

	if (!str_starts(last, WHITEOUT))
		return 0;
	if (str_eq(last, WHITEOUT_OPQ)) {
		p->kind = ENTRY_OPAQUE;
		p->path[p->base ? p->base - 1 : 0] = '\0';
		last = strrchr(p->path, '/');
		p->base = last ? (size_t)(last + 1 - p->path) : 0;
		return 0;
	}
	if (str_starts(last, WHITEOUT_META)) {
		p->kind = ENTRY_IGNORED;
		return 0;
	}
	if (!*hidden || str_eq(hidden, ".") || str_eq(hidden, ".."))
		return -EINVAL;
	p->kind = ENTRY_WHITEOUT;
	memmove(last, hidden, strlen(hidden) + 1);
	return 0;
}

static int split(const char *name, bool whiteouts, struct entry_path *p)
{
	int depth = 0, r;

	for (const char *s = name; *s;) {
		size_t len = strcspn(s, "/");
		const char *rest = s + len;

		rest += strspn(rest, "/");
		if (len == 0 || (len == 1 && *s == '.')) {
			s = rest;
			continue;
		}
		if (len == 2 && s[0] == '.' && s[1] == '.')
			return -EPERM;
		if (++depth > ENTRY_DEPTH_MAX)
			return -ENAMETOOLONG;
		if (whiteouts && *rest && str_starts(s, WHITEOUT_META))
			p->kind = ENTRY_IGNORED;
		else if (whiteouts && *rest && str_starts(s, WHITEOUT))
			return -EINVAL;
		r = add_component(p, s, len);
		if (r < 0)
			return r;
		s = rest;
	}
	return 0;
}

int entry_path_check(const char *name, bool whiteouts, struct entry_path *ret,
		     struct err *e)
{
	char text[ENTRY_TEXT_MAX];
	int r;

	ret->kind = ENTRY_NODE;
	ret->base = 0;
	ret->path[0] = '\0';
	r = split(name, whiteouts, ret);
	if (r == 0 && whiteouts && ret->kind == ENTRY_NODE)
		r = judge_last(ret);
	if (r == 0 && ret->kind == ENTRY_NODE && !ret->path[0])
		ret->kind = ENTRY_ROOT;
	switch (r) {
	case 0:
		return 0;
	case -EPERM:
		return err_set(e, r, "entry '%s' leads out of the archive",
			       entry_text(name, text));
	case -EINVAL:
		return err_set(e, r, "entry '%s' is a whiteout of nothing",
			       entry_text(name, text));
	default:
		return err_set(e, r, "the name of entry '%s' is too long",
			       entry_text(name, text));
	}
}
