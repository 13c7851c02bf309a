// SPDX-License-Identifier: Apache-2.0
/*
 * Two libarchive readers in a row: the outer one only unpacks (gzip, zstd), so
 * that the tar stream can be hashed and counted before the inner one sees it.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/image/entry.h"
#include "agent/image/unpack/layer.h"
#include "lib/auto.h"
#include "lib/err.h"

#define CHUNK          (128 * 1024)
#define XATTR_MAX      64
#define XATTR_SIZE_MAX (64 * 1024)
#define PROGRESS_BYTES (4u << 20)

struct stream {
	int fd;
	const struct layer_opts *opts;
	struct archive *outer;
	struct archive *inner;
	struct digest digest;
	uint64_t bytes_in, bytes_out, told;
	struct err err; /* a verdict of ours inside a libarchive callback */
	char in[CHUNK];
	char out[CHUNK];
};

struct unpacking {
	struct stream *s;
	struct tree *t;
	struct layer_result *result;
};

int layer_prepare(struct err *e)
{
	char text[DIGEST_TEXT_MAX];

	/* Names are bytes to us; libarchive converts pax names to the locale's
	 * character set and loses what does not fit. UTF-8 fits. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return err_set(e, -ENOENT, "no C.UTF-8 locale");
	/* OpenSSL reads its configuration at the first use. */
	return digest_of("", 0, text);
}

static la_ssize_t read_in(struct archive *a, void *arg, const void **ret)
{
	struct stream *s = arg;
	ssize_t n;

	do
		n = read(s->fd, s->in, sizeof(s->in));
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		archive_set_error(a, errno, "read");
		return -1;
	}
	s->bytes_in += (uint64_t)n;
	*ret = s->in;
	return n;
}

static int check_limits(struct stream *s)
{
	const struct layer_opts *o = s->opts;

	if (s->bytes_out > o->max_bytes)
		return err_set(&s->err, -EFBIG,
			       "unpacks to more than the limit of %" PRIu64
			       " bytes",
			       o->max_bytes);
	if (s->bytes_out > o->ratio_free_bytes &&
	    s->bytes_out / o->max_ratio > s->bytes_in)
		return err_set(&s->err, -EFBIG,
			       "unpacks to more than %" PRIu64
			       " times its size: a bomb",
			       o->max_ratio);
	return 0;
}

static la_ssize_t read_out(struct archive *a, void *arg, const void **ret)
{
	struct stream *s = arg;
	la_ssize_t n = archive_read_data(s->outer, s->out, sizeof(s->out));

	if (n < 0) {
		err_set(&s->err, -EBADMSG, "damaged: %s",
			archive_error_string(s->outer) ?: "unreadable");
		archive_set_error(a, EIO, "outer stream");
		return -1;
	}
	digest_add(&s->digest, s->out, (size_t)n);
	s->bytes_out += (uint64_t)n;
	if (check_limits(s) < 0) {
		archive_set_error(a, EFBIG, "limit");
		return -1;
	}
	if (s->opts->progress && s->bytes_out - s->told >= PROGRESS_BYTES) {
		s->told = s->bytes_out;
		s->opts->progress(s->opts->arg, s->told);
	}
	*ret = s->out;
	return n;
}

/* What libarchive has to say, or what stopped it. */
static int bad(struct stream *s, struct archive *a, struct err *e)
{
	if (s->err.code)
		return err_set(e, s->err.code, "%s", s->err.msg);
	if (archive_errno(a) == ENOMEM)
		return err_set(e, -ENOMEM, "out of memory");
	return err_set(e, -EBADMSG, "damaged: %s",
		       archive_error_string(a) ?: "unreadable");
}

static int stream_open(struct stream *s, struct err *e)
{
	struct archive_entry *entry;
	int r;

	archive_read_support_filter_gzip(s->outer);
	archive_read_support_filter_zstd(s->outer);
	archive_read_support_format_raw(s->outer);
	archive_read_support_format_empty(s->outer);
	r = archive_read_open2(s->outer, s, NULL, read_in, NULL, NULL);
	if (r == ARCHIVE_OK)
		r = archive_read_next_header(s->outer, &entry);
	if (r == ARCHIVE_EOF)
		return err_set(e, -EBADMSG, "damaged: empty");
	if (r != ARCHIVE_OK)
		return bad(s, s->outer, e);
	/* One coat and the bare stream; more is nobody's layer. */
	if (archive_filter_count(s->outer) > 2)
		return err_set(e, -EBADMSG, "compressed more than once");
	archive_read_support_format_tar(s->inner);
	archive_read_support_format_empty(s->inner);
	if (archive_read_open2(s->inner, s, NULL, read_out, NULL, NULL) !=
	    ARCHIVE_OK)
		return bad(s, s->inner, e);
	return 0;
}

/* The padding after the tar's end belongs to its digest. */
static int drain(struct stream *s, struct err *e)
{
	const void *data;
	la_ssize_t n;

	do
		n = read_out(s->inner, s, &data);
	while (n > 0);
	return n < 0 ? bad(s, s->inner, e) : 0;
}

static int write_block(int fd, const char *data, size_t len, la_int64_t at,
		       struct err *e)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "write");
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_data(struct unpacking *u, int fd, uint64_t size, struct err *e)
{
	uint64_t max = u->s->opts->max_bytes;
	const void *data;
	la_int64_t at;
	size_t len;
	int r;

	if (size > max || u->result->bytes + size > max)
		return err_set(e, -EFBIG,
			       "files of more than the limit of %" PRIu64
			       " bytes",
			       max);
	for (;;) {
		r = archive_read_data_block(u->s->inner, &data, &len, &at);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK)
			return bad(u->s, u->s->inner, e);
		if (at < 0 || (uint64_t)at > size || len > size - (uint64_t)at)
			return err_set(e, -EBADMSG,
				       "damaged: data past the file's end");
		r = write_block(fd, data, len, at, e);
		if (r < 0)
			return r;
	}
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, "truncate");
	u->result->bytes += size;
	return 0;
}

static int set_xattrs(int fd, struct archive_entry *ae, struct err *e)
{
	const char *name;
	const void *value;
	size_t size;
	int nr = 0;

	archive_entry_xattr_reset(ae);
	while (archive_entry_xattr_next(ae, &name, &value, &size) ==
	       ARCHIVE_OK) {
		if (++nr > XATTR_MAX || size > XATTR_SIZE_MAX)
			return err_set(e, -EFBIG,
				       "too many or too large attributes");
		if (!name || !entry_xattr_kept(name))
			continue;
		/* A file system without user attributes is not an error. */
		if (fsetxattr(fd, name, value, size, 0) < 0 &&
		    errno != EOPNOTSUPP)
			return err_sys(e, "set attribute");
	}
	return 0;
}

static int get_meta(struct archive_entry *ae, struct tree_meta *m,
		    struct err *e)
{
	la_int64_t uid = archive_entry_uid(ae), gid = archive_entry_gid(ae);

	if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return err_set(e, -EINVAL, "owner %lld:%lld is out of range",
			       (long long)uid, (long long)gid);
	*m = (struct tree_meta){
		.mode = archive_entry_perm(ae) & 07777,
		.uid = (uid_t)uid,
		.gid = (gid_t)gid,
		.mtime.tv_sec = archive_entry_mtime(ae),
		.mtime.tv_nsec = archive_entry_mtime_nsec(ae),
	};
	if (m->mtime.tv_nsec < 0 || m->mtime.tv_nsec > 999999999)
		m->mtime.tv_nsec = 0;
	return 0;
}

static int put_file(struct unpacking *u, struct archive_entry *ae,
		    const struct entry_path *p, const struct tree_meta *m,
		    struct err *e)
{
	la_int64_t size = archive_entry_size(ae);
	auto_close int fd = -EBADF;
	int r;

	if (size < 0)
		return err_set(e, -EBADMSG, "a size below zero");
	r = tree_put_file(u->t, p, &fd, e);
	if (r < 0)
		return r;
	r = write_data(u, fd, (uint64_t)size, e);
	if (r < 0)
		return r;
	r = tree_finish_file(fd, m, e);
	return r < 0 ? r : set_xattrs(fd, ae, e);
}

static int put_dir(struct unpacking *u, struct archive_entry *ae,
		   const struct entry_path *p, const struct tree_meta *m,
		   struct err *e)
{
	auto_close int fd = -EBADF;
	int r = tree_put_dir(u->t, p, m, &fd, e);

	return r < 0 ? r : set_xattrs(fd, ae, e);
}

static int put_link(struct unpacking *u, const char *target,
		    const struct entry_path *p, struct err *e)
{
	struct entry_path to;
	int r = entry_path_check(target, u->s->opts->whiteouts, &to, e);

	if (r < 0)
		return err_wrap(e, r, "hard link");
	if (to.kind != ENTRY_NODE || p->kind != ENTRY_NODE)
		return err_set(e, -EPERM, "hard link to a folder or whiteout");
	return tree_put_link(u->t, p, &to, e);
}

static int put_node(struct unpacking *u, struct archive_entry *ae,
		    const struct entry_path *p, struct err *e)
{
	const char *link = archive_entry_hardlink(ae);
	struct tree_meta m;
	int r;

	if (link)
		return put_link(u, link, p, e);
	r = get_meta(ae, &m, e);
	if (r < 0)
		return r;
	if (p->kind == ENTRY_ROOT && archive_entry_filetype(ae) != AE_IFDIR)
		return err_set(e, -EPERM, "the root is not a folder");
	switch (archive_entry_filetype(ae)) {
	case AE_IFREG:
		return put_file(u, ae, p, &m, e);
	case AE_IFDIR:
		return put_dir(u, ae, p, &m, e);
	case AE_IFLNK:
		link = archive_entry_symlink(ae);
		if (!link)
			return err_set(e, -EBADMSG, "symlink to nothing");
		return tree_put_symlink(u->t, p, &m, link, e);
	case AE_IFIFO:
		return tree_put_fifo(u->t, p, &m, e);
	case AE_IFCHR:
	case AE_IFBLK:
	case AE_IFSOCK:
		u->result->skipped++;
		return 0;
	default:
		return err_set(e, -EBADMSG, "unknown kind of entry");
	}
}

static int put_entry(struct unpacking *u, struct archive_entry *ae,
		     struct err *e)
{
	const char *name = archive_entry_pathname(ae);
	char text[ENTRY_TEXT_MAX];
	struct entry_path p;
	int r;

	if (!name)
		return err_set(e, -EBADMSG, "damaged: an entry has no name");
	r = entry_path_check(name, u->s->opts->whiteouts, &p, e);
	if (r < 0)
		return r;
	switch (p.kind) {
	case ENTRY_IGNORED:
		return 0;
	case ENTRY_OPAQUE:
		return tree_put_opaque(u->t, &p, e);
	case ENTRY_WHITEOUT:
		return tree_put_whiteout(u->t, &p, e);
	default:
		r = put_node(u, ae, &p, e);
		return r < 0 ? err_wrap(e, r, "entry '%s'",
					entry_text(name, text))
			     : 0;
	}
}

static int unpack(struct unpacking *u, struct err *e)
{
	struct archive_entry *ae;
	int r = stream_open(u->s, e);

	if (r < 0)
		return r;
	for (;;) {
		r = archive_read_next_header(u->s->inner, &ae);
		if (r == ARCHIVE_EOF)
			break;
		if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
			return bad(u->s, u->s->inner, e);
		if (++u->result->entries > u->s->opts->max_entries)
			return err_set(e, -EFBIG,
				       "more than the limit of %" PRIu64
				       " entries",
				       u->s->opts->max_entries);
		r = put_entry(u, ae, e);
		if (r < 0)
			return r;
	}
	r = drain(u->s, e);
	return r < 0 ? r : tree_finish(u->t, e);
}

int layer_unpack(int in, struct tree *t, const struct layer_opts *opts,
		 struct layer_result *ret, struct err *e)
{
	auto_free struct stream *s = calloc(1, sizeof(*s));
	struct layer_result result = { .bytes = 0 };
	struct unpacking u = { .s = s, .t = t, .result = &result };
	struct err local = { .code = 0 };
	int r = -ENOMEM;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	e = e ? e : &local;
	s->fd = in;
	s->opts = opts;
	s->outer = archive_read_new();
	s->inner = archive_read_new();
	digest_begin(&s->digest);
	if (s->outer && s->inner)
		r = unpack(&u, e);
	if (r == 0)
		r = digest_end(&s->digest, result.diff_id);
	if (r == 0)
		*ret = result;
	digest_drop(&s->digest);
	archive_read_free(s->inner);
	archive_read_free(s->outer);
	return r;
}
