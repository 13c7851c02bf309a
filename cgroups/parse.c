// SPDX-License-Identifier: Apache-2.0
/* Texts of control files. Pure. They come from the kernel, but newer kernels
 * add keys and fields, so what is not known is skipped and not refused. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cgroups/cpu.h"
#include "cgroups/cpuset.h"
#include "cgroups/internal.h"
#include "cgroups/io.h"
#include "cgroups/memory.h"
#include "cgroups/pressure.h"
#include "lib/str.h"

/* Decimal digits at *@s, which moves on. 0 or -EBADMSG. */
static int number(const char **s, uint64_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return -EBADMSG;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -EBADMSG;
	*s = p;
	*ret = v;
	return 0;
}

static int number_or_max(const char **s, uint64_t *ret)
{
	if (strncmp(*s, "max", 3) == 0) {
		*s += 3;
		*ret = UINT64_MAX;
		return 0;
	}
	return number(s, ret);
}

static bool at_end(const char *s)
{
	return s[0] == '\0' || (s[0] == '\n' && s[1] == '\0');
}

int cg_u64_parse(const char *text, uint64_t *ret)
{
	uint64_t v;

	if (number_or_max(&text, &v) < 0 || !at_end(text))
		return -EBADMSG;
	*ret = v;
	return 0;
}

int cg_line_next(const char **text, const char **ret_key, size_t *ret_len,
		 uint64_t *ret)
{
	const char *s = *text;
	size_t len = strcspn(s, " \n");

	if (*s == '\0')
		return 0;
	if (s[len] != ' ')
		return -EBADMSG;
	*ret_key = s;
	*ret_len = len;
	s += len + 1;
	if (number_or_max(&s, ret) < 0 || (*s != '\n' && *s != '\0'))
		return -EBADMSG;
	*text = *s ? s + 1 : s;
	return 1;
}

/* A key of a flat file and where its number goes. */
struct slot {
	const char *key;
	size_t offset;
};

static int flat_parse(const char *text, const struct slot *slots, size_t nr,
		      void *ret)
{
	const char *key;
	uint64_t value;
	size_t len;
	int r;

	while ((r = cg_line_next(&text, &key, &len, &value)) > 0) {
		for (size_t i = 0; i < nr; i++) {
			const char *want = slots[i].key;

			if (strlen(want) != len || memcmp(want, key, len) != 0)
				continue;
			memcpy((char *)ret + slots[i].offset, &value,
			       sizeof(value));
		}
	}
	return r;
}

int cg_cpu_max_parse(const char *text, struct cg_cpu_max *ret)
{
	struct cg_cpu_max max;

	if (number_or_max(&text, &max.quota_us) < 0 || *text++ != ' ' ||
	    number(&text, &max.period_us) < 0 || !at_end(text))
		return -EBADMSG;
	*ret = max;
	return 0;
}

int cg_cpu_stat_parse(const char *text, struct cg_cpu_stat *ret)
{
#define SLOT(name, field)                                 \
	{                                                 \
		name, offsetof(struct cg_cpu_stat, field) \
	}
	static const struct slot slots[] = {
		SLOT("usage_usec", usage_us),
		SLOT("user_usec", user_us),
		SLOT("system_usec", system_us),
		SLOT("nr_periods", nr_periods),
		SLOT("nr_throttled", nr_throttled),
		SLOT("throttled_usec", throttled_us),
	};
#undef SLOT
	struct cg_cpu_stat st = { 0 };
	int r = flat_parse(text, slots, ARRAY_LEN(slots), &st);

	if (r == 0)
		*ret = st;
	return r;
}

/* v1 counts anonymous memory as rss and page cache as cache; its lines that
 * include the children start with "total_". */
int cg_mem_stat_parse(const char *text, bool v1, struct cg_mem_stat *ret)
{
#define SLOT(name, field)                                 \
	{                                                 \
		name, offsetof(struct cg_mem_stat, field) \
	}
	static const struct slot v2_slots[] = {
		SLOT("anon", anon),
		SLOT("file", file),
		SLOT("shmem", shmem),
		SLOT("kernel", kernel),
		SLOT("slab", slab),
		SLOT("file_mapped", mapped),
		SLOT("inactive_anon", inactive_anon),
		SLOT("active_anon", active_anon),
		SLOT("inactive_file", inactive_file),
		SLOT("active_file", active_file),
		SLOT("pgfault", pgfault),
		SLOT("pgmajfault", pgmajfault),
	};
	static const struct slot v1_slots[] = {
		SLOT("total_rss", anon),
		SLOT("total_cache", file),
		SLOT("total_shmem", shmem),
		SLOT("total_mapped_file", mapped),
		SLOT("total_inactive_anon", inactive_anon),
		SLOT("total_active_anon", active_anon),
		SLOT("total_inactive_file", inactive_file),
		SLOT("total_active_file", active_file),
		SLOT("total_pgfault", pgfault),
		SLOT("total_pgmajfault", pgmajfault),
	};
#undef SLOT
	static const char refault[] = "workingset_refault_";
	size_t skip = v1 ? strlen("total_") : 0;
	struct cg_mem_stat st = { 0 };
	const char *s = text, *key;
	uint64_t value;
	size_t len;
	int r;

	r = v1 ? flat_parse(text, v1_slots, ARRAY_LEN(v1_slots), &st)
	       : flat_parse(text, v2_slots, ARRAY_LEN(v2_slots), &st);
	if (r < 0)
		return r;
	while (cg_line_next(&s, &key, &len, &value) > 0) /* _anon and _file */
		if (len > skip + strlen(refault) &&
		    (!v1 || memcmp(key, "total_", skip) == 0) &&
		    memcmp(key + skip, refault, strlen(refault)) == 0)
			st.refault += value;
	*ret = st;
	return 0;
}

int cg_mem_events_parse(const char *text, struct cg_mem_events *ret)
{
#define SLOT(name, field)                                   \
	{                                                   \
		name, offsetof(struct cg_mem_events, field) \
	}
	static const struct slot slots[] = {
		SLOT("low", low),
		SLOT("high", high),
		SLOT("max", max),
		SLOT("oom", oom),
		SLOT("oom_kill", oom_kill),
		SLOT("oom_group_kill", oom_group_kill),
	};
#undef SLOT
	struct cg_mem_events ev = { 0 };
	int r = flat_parse(text, slots, ARRAY_LEN(slots), &ev);

	if (r == 0)
		*ret = ev;
	return r;
}

/* "12.34" as 1234. */
static int percent(const char **s, uint32_t *ret)
{
	uint64_t whole, part;

	if (number(s, &whole) < 0 || *(*s)++ != '.')
		return -EBADMSG;
	if (!((*s)[0] >= '0' && (*s)[0] <= '9') ||
	    !((*s)[1] >= '0' && (*s)[1] <= '9'))
		return -EBADMSG;
	part = (uint64_t)((*s)[0] - '0') * 10 + (uint64_t)((*s)[1] - '0');
	*s += 2;
	if (whole > 100 || (whole == 100 && part))
		return -EBADMSG;
	*ret = (uint32_t)(whole * 100 + part);
	return 0;
}

static bool expect(const char **s, const char *word)
{
	if (!str_starts(*s, word))
		return false;
	*s += strlen(word);
	return true;
}

static int stall(const char **s, struct cg_stall *ret)
{
	if (!expect(s, " avg10=") || percent(s, &ret->avg10) < 0 ||
	    !expect(s, " avg60=") || percent(s, &ret->avg60) < 0 ||
	    !expect(s, " avg300=") || percent(s, &ret->avg300) < 0 ||
	    !expect(s, " total=") || number(s, &ret->total_us) < 0)
		return -EBADMSG;
	*s += strcspn(*s, "\n"); /* fields of a later kernel */
	if (**s)
		(*s)++;
	return 0;
}

int cg_pressure_parse(const char *text, struct cg_pressure *ret)
{
	struct cg_pressure p = { 0 };

	if (!expect(&text, "some") || stall(&text, &p.some) < 0)
		return -EBADMSG;
	if (expect(&text, "full")) {
		if (stall(&text, &p.full) < 0)
			return -EBADMSG;
		p.has_full = true;
	}
	*ret = p;
	return 0;
}

int cg_cpu_list_parse(const char *text, cpu_set_t *ret)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	while (!at_end(text)) {
		uint64_t from, to;

		if (number(&text, &from) < 0)
			return -EBADMSG;
		to = from;
		if (*text == '-') {
			text++;
			if (number(&text, &to) < 0 || to < from)
				return -EBADMSG;
		}
		if (to >= CPU_SETSIZE)
			return -ERANGE;
		for (; from <= to; from++)
			CPU_SET(from, &set);
		if (*text == ',' && !at_end(text + 1))
			text++;
		else if (!at_end(text))
			return -EBADMSG;
	}
	*ret = set;
	return 0;
}

int cg_cpu_list_format(const cpu_set_t *set, char *buf, size_t size)
{
	size_t len = 0;

	if (size == 0)
		return -ENOSPC;
	buf[0] = '\0';
	for (int i = 0; i < CPU_SETSIZE; i++) {
		int first = i, n;

		if (!CPU_ISSET(i, set))
			continue;
		while (i + 1 < CPU_SETSIZE && CPU_ISSET(i + 1, set))
			i++;
		n = snprintf(buf + len, size - len,
			     first == i ? "%s%d" : "%s%d-%d", len ? "," : "",
			     first, i);
		if ((size_t)n >= size - len)
			return -ENOSPC;
		len += (size_t)n;
	}
	return (int)len;
}

/* "8:16 " at *@s, which moves on. */
static int device(const char **s, uint32_t *major, uint32_t *minor)
{
	uint64_t ma, mi;

	if (number(s, &ma) < 0 || *(*s)++ != ':' || number(s, &mi) < 0 ||
	    ma > UINT32_MAX || mi > UINT32_MAX)
		return -EBADMSG;
	*major = (uint32_t)ma;
	*minor = (uint32_t)mi;
	return 0;
}

static struct cg_io_counts *io_device(struct cg_io_stat *st, uint32_t major,
				      uint32_t minor)
{
	struct cg_io_counts *d;

	for (size_t i = 0; i < st->nr_dev; i++)
		if (st->dev[i].major == major && st->dev[i].minor == minor)
			return &st->dev[i];
	if (st->nr_dev == CG_IO_DEVICES_MAX)
		return NULL;
	d = &st->dev[st->nr_dev++];
	*d = (struct cg_io_counts){ .major = major, .minor = minor };
	return d;
}

static void io_add(struct cg_io_counts *to, const struct cg_io_counts *n)
{
	to->rbytes += n->rbytes;
	to->wbytes += n->wbytes;
	to->rios += n->rios;
	to->wios += n->wios;
	to->dbytes += n->dbytes;
	to->dios += n->dios;
}

static void io_count(struct cg_io_stat *st, const struct cg_io_counts *n)
{
	struct cg_io_counts *d = io_device(st, n->major, n->minor);

	io_add(&st->total, n);
	if (d)
		io_add(d, n);
}

static uint64_t *io_field(struct cg_io_counts *n, const char *key, size_t len)
{
#define SLOT(field)                                          \
	{                                                    \
#field, offsetof(struct cg_io_counts, field) \
	}
	static const struct slot slots[] = {
		SLOT(rbytes), SLOT(wbytes), SLOT(rios),
		SLOT(wios),   SLOT(dbytes), SLOT(dios),
	};
#undef SLOT

	for (size_t i = 0; i < ARRAY_LEN(slots); i++)
		if (strlen(slots[i].key) == len &&
		    memcmp(slots[i].key, key, len) == 0)
			return (uint64_t *)((char *)n + slots[i].offset);
	return NULL;
}

/* "rbytes=1 wbytes=2 ..." up to the end of the line. Other controllers append
 * keys of their own ("cost.vrate=100.00"), so only ours have to be numbers. */
static int io_line(const char **s, struct cg_io_counts *n)
{
	while (**s == ' ') {
		const char *key = ++(*s);
		size_t len = strcspn(key, "= \n");
		uint64_t *to;

		if (key[len] != '=') {
			*s = key + len;
			continue;
		}
		to = io_field(n, key, len);
		*s = key + len + 1;
		if (to && number(s, to) < 0)
			return -EBADMSG;
		*s += strcspn(*s, " \n");
	}
	return 0;
}

int cg_io_stat_parse(const char *text, struct cg_io_stat *ret)
{
	*ret = (struct cg_io_stat){ 0 };
	while (*text) {
		struct cg_io_counts n = { 0 };

		/* A dying device leaves its name out: "(unknown)". */
		if (*text < '0' || *text > '9') {
			text += strcspn(text, "\n");
		} else if (device(&text, &n.major, &n.minor) < 0 ||
			   io_line(&text, &n) < 0) {
			return -EBADMSG;
		} else {
			io_count(ret, &n);
		}
		if (*text == '\n')
			text++;
		else if (*text)
			return -EBADMSG;
	}
	return 0;
}

/* v1: "8:16 Read 1234", and a last line "Total 5678". @bytes: else requests. */
int cg_blkio_parse(const char *text, bool bytes, struct cg_io_stat *stat)
{
	while (*text) {
		struct cg_io_counts n = { 0 };
		uint64_t v;
		uint64_t *to = NULL;

		if (str_starts(text, "Total "))
			return 0;
		if (device(&text, &n.major, &n.minor) < 0)
			return -EBADMSG;
		if (expect(&text, " Read "))
			to = bytes ? &n.rbytes : &n.rios;
		else if (expect(&text, " Write "))
			to = bytes ? &n.wbytes : &n.wios;
		else if (expect(&text, " Discard "))
			to = bytes ? &n.dbytes : &n.dios;
		if (to) {
			if (number(&text, &v) < 0)
				return -EBADMSG;
			*to = v;
			io_count(stat, &n);
		}
		text += strcspn(text, "\n");
		if (*text)
			text++;
	}
	return 0;
}

/* One line of io.max: "8:16 rbps=max wbps=1048576 riops=max wiops=max". */
int cg_io_max_find(const char *text, struct cg_io_max *ret)
{
	while (*text) {
		uint32_t major, minor;

		if (device(&text, &major, &minor) < 0)
			return -EBADMSG;
		if (major == ret->major && minor == ret->minor) {
			if (!expect(&text, " rbps=") ||
			    number_or_max(&text, &ret->rbps) < 0 ||
			    !expect(&text, " wbps=") ||
			    number_or_max(&text, &ret->wbps) < 0 ||
			    !expect(&text, " riops=") ||
			    number_or_max(&text, &ret->riops) < 0 ||
			    !expect(&text, " wiops=") ||
			    number_or_max(&text, &ret->wiops) < 0)
				return -EBADMSG;
			return 1;
		}
		text += strcspn(text, "\n");
		if (*text)
			text++;
	}
	return 0;
}

/* v1: one number per device and file. */
int cg_blkio_max_find(const char *text, uint32_t major, uint32_t minor,
		      uint64_t *ret)
{
	while (*text) {
		uint32_t ma, mi;

		if (device(&text, &ma, &mi) < 0)
			return -EBADMSG;
		if (ma == major && mi == minor) {
			if (*text++ != ' ' || number(&text, ret) < 0)
				return -EBADMSG;
			return 1;
		}
		text += strcspn(text, "\n");
		if (*text)
			text++;
	}
	return 0;
}

const char *cg_controller_name(enum cg_controller c)
{
	static const char *const names[CG_NR_CONTROLLERS] = {
		[CG_CPU] = "cpu",         [CG_CPUACCT] = "cpuacct",
		[CG_CPUSET] = "cpuset",   [CG_IO] = "io",
		[CG_MEMORY] = "memory",   [CG_PIDS] = "pids",
		[CG_FREEZER] = "freezer",
	};

	return names[c];
}

/* "cpuset cpu io memory\n" */
int cg_controllers_parse(const char *text, uint32_t *ret)
{
	uint32_t mask = 0;

	while (!at_end(text)) {
		size_t len = strcspn(text, " \n");

		if (len == 0)
			return -EBADMSG;
		for (int c = 0; c < CG_NR_CONTROLLERS; c++)
			if (strlen(cg_controller_name(c)) == len &&
			    memcmp(cg_controller_name(c), text, len) == 0)
				mask |= CG_BIT(c);
		text += len;
		if (*text == ' ')
			text++;
	}
	*ret = mask;
	return 0;
}
