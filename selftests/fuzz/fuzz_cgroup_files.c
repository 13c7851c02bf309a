// SPDX-License-Identifier: Apache-2.0
// FUZZ: cgroups/parse.c cgroups/cpu.c cgroups/file.c lib/str.c lib/err.c
// lib/buf.c
/* Texts of control files. The first byte chooses the parser. */
#include <stdlib.h>
#include <string.h>

#include "cgroups/cpu.h"
#include "cgroups/cpuset.h"
#include "cgroups/internal.h"
#include "cgroups/io.h"
#include "cgroups/memory.h"
#include "cgroups/pressure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is understood must read the same when written again. */
static void list_round_trip(const char *text)
{
	char again[CG_CPUSET_TEXT];
	cpu_set_t a, b;

	if (cg_cpu_list_parse(text, &a) < 0)
		return;
	if (cg_cpu_list_format(&a, again, sizeof(again)) < 0)
		return;
	if (cg_cpu_list_parse(again, &b) < 0 || !CPU_EQUAL(&a, &b))
		__builtin_trap();
}

static void max_round_trip(const char *text)
{
	struct cg_cpu_max a, b;
	char again[CG_CPU_MAX_TEXT];

	if (cg_cpu_max_parse(text, &a) < 0)
		return;
	(void)cg_cpu_max_to_milli(&a);
	if (cg_cpu_max_format(&a, again, sizeof(again)) < 0 ||
	    cg_cpu_max_parse(again, &b) < 0 || a.quota_us != b.quota_us ||
	    a.period_us != b.period_us)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union {
		struct cg_cpu_stat cpu;
		struct cg_mem_stat mem;
		struct cg_mem_events events;
		struct cg_pressure psi;
		struct cg_io_stat io;
		struct cg_io_max max;
		uint64_t number;
		uint32_t mask;
	} u = { 0 };
	char *text;

	if (size == 0)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0] % 12) {
	case 0:
		(void)cg_cpu_stat_parse(text, &u.cpu);
		break;
	case 1:
	case 2:
		(void)cg_mem_stat_parse(text, data[0] % 12 == 1, &u.mem);
		break;
	case 3:
		(void)cg_mem_events_parse(text, &u.events);
		break;
	case 4:
		(void)cg_pressure_parse(text, &u.psi);
		break;
	case 5:
		(void)cg_io_stat_parse(text, &u.io);
		break;
	case 6:
		(void)cg_blkio_parse(text, true, &u.io);
		break;
	case 7:
		u.max.major = 8;
		(void)cg_io_max_find(text, &u.max);
		break;
	case 8:
		(void)cg_blkio_max_find(text, 8, 0, &u.number);
		break;
	case 9:
		list_round_trip(text);
		break;
	case 10:
		max_round_trip(text);
		break;
	case 11:
		(void)cg_u64_parse(text, &u.number);
		(void)cg_controllers_parse(text, &u.mask);
		break;
	}
	free(text);
	return 0;
}
