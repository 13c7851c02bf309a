// SPDX-License-Identifier: Apache-2.0
// FUZZ: agent/logs/record.c agent/logs/files.c agent/logs/logs.c
// FUZZ: lib/str.c lib/err.c lib/buf.c
/*
 * A log folder with hostile content: one byte of options, then the files, the
 * oldest first, apart by 0xff. What tail gives must be the end of the whole.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/logs/logs.h"
#include "lib/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/arktos-fuzz.XXXXXX";
static int dir = -1;

static void clean(void)
{
	char name[32];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), i ? "0.log.%d" : "0.log", i);
		unlinkat(dir, name, 0);
	}
	rmdir(folder);
}

static void put(int number, const uint8_t *data, size_t size)
{
	char name[32];
	int fd;

	snprintf(name, sizeof(name), number ? "0.log.%d" : "0.log", number);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (write(fd, data, size) < 0)
		__builtin_trap();
	close(fd);
}

static void read_all(const struct log_opts *o, struct buf *out)
{
	auto_ptr(log_reader) log = NULL;
	int r = log_open(dir, 0, o, &log, NULL);

	while (r >= 0 && (r = log_read(log, 512, out, NULL)) > 0)
		;
	if (r < 0 || (!o->follow && !log_ended(log)))
		__builtin_trap();
	log_finish(log);
	while (r >= 0 && !log_ended(log))
		r = log_read(log, 512, out, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf struct buf whole = BUF_INIT;
	auto_buf struct buf last = BUF_INIT;
	struct log_opts o = { 0 };
	int number = 0;

	if (dir < 0) {
		if (!mkdtemp(folder))
			return 0;
		dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		atexit(clean);
	}
	if (size == 0)
		return 0;
	o.timestamps = data[0] & 1;
	o.no_stderr = data[0] & 2;
	o.follow = data[0] & 4;
	o.tail = data[0] >> 4;
	data++;
	size--;
	for (int i = 0; i < 4; i++) {
		char name[32];

		snprintf(name, sizeof(name), i ? "0.log.%d" : "0.log", i);
		unlinkat(dir, name, 0);
	}
	/* The last part is the newest. */
	do {
		const uint8_t *sep =
			number < 3 && size ? memrchr(data, 0xff, size) : NULL;
		size_t begin = sep ? (size_t)(sep - data) + 1 : 0;

		put(number++, data + begin, size - begin);
		if (!sep)
			break;
		size = begin - 1;
	} while (true);
	read_all(&o, &whole);
	o.has_tail = true;
	read_all(&o, &last);
	if (last.len > whole.len ||
	    (last.len && memcmp(whole.data + whole.len - last.len, last.data,
				last.len) != 0))
		__builtin_trap();
	return 0;
}
