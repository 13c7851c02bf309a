// SPDX-License-Identifier: Apache-2.0
/* An ISO 9660 volume of a few small files. Written here so that the agent
 * itself carries no archive library. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/image/unpack/verbs.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/str.h"

#define FILE_MAX     (4u << 20)
#define SECTOR_BYTES 2048

static int failed(struct archive *a, struct err *e)
{
	const char *why = archive_error_string(a);

	return err_set(e, -EIO, "iso9660: %s", why ? why : "cannot be written");
}

static int add_file(struct archive *a, const char *name, const char *data,
		    size_t len, struct err *e)
{
	struct archive_entry *entry = archive_entry_new();
	int r = 0;

	if (!entry)
		return err_set(e, -ENOMEM, "out of memory");
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0444);
	archive_entry_set_size(entry, (int64_t)len);
	archive_entry_set_mtime(entry, 0, 0);
	if (archive_write_header(a, entry) != ARCHIVE_OK ||
	    archive_write_data(a, data, len) != (ssize_t)len)
		r = failed(a, e);
	archive_entry_free(entry);
	return r;
}

static int copy_file(struct archive *a, const char *name, const char *size,
		     struct err *e)
{
	auto_free char *data = NULL;
	uint64_t len = 0;

	if (!size || str_to_u64(size, &len) < 0 || len > FILE_MAX)
		return err_set(e, -EINVAL, "iso9660: size of '%s'", name);
	data = malloc(len + 1);
	if (!data)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t have = 0; have < len;) {
		ssize_t n = read(STDIN_FILENO, data + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, -EIO, "iso9660: '%s' is cut", name);
		have += (size_t)n;
	}
	return add_file(a, name, data, len, e);
}

static int write_volume(struct archive *a, char **args, struct err *e)
{
	auto_free char *options = str_printf("volume-id=%s", args[0]);
	int r = 0;

	if (!options)
		return err_set(e, -ENOMEM, "out of memory");
	if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
	    archive_write_set_options(a, options) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(a, SECTOR_BYTES) != ARCHIVE_OK ||
	    archive_write_open_fd(a, STDOUT_FILENO) != ARCHIVE_OK)
		return failed(a, e);
	for (args++; r == 0 && args[0]; args += 2)
		r = copy_file(a, args[0], args[1], e);
	if (r == 0 && archive_write_close(a) != ARCHIVE_OK)
		r = failed(a, e);
	return r;
}

int verb_iso(char **args)
{
	struct archive *a = archive_write_new();
	struct err e = { .code = 0 };
	int r = a ? write_volume(a, args, &e)
		  : err_set(&e, -ENOMEM, "out of memory");

	if (a)
		archive_write_free(a);
	if (r < 0)
		dprintf(STDERR_FILENO, "%s\n", e.msg);
	return r < 0;
}
