// SPDX-License-Identifier: Apache-2.0
/* The host's programs, disks and limits; and the command. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/local/cmd.h"
#include "agent/local/doctor.h"
#include "agent/vm/kvm_probe.h"
#include "lib/auto.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/spawn.h"
#include "lib/str.h"

#define DISK_MIN_BYTES  (UINT64_C(1) << 30)
#define DISK_GOOD_BYTES (UINT64_C(10) << 30)
#define NOFILE_GOOD     16384
#define TIME_MIN        1704067200 /* 2024: no clock that is set is before */

/* --- programs ----------------------------------------------------------------
 */

/* The first line of "NAME --version", without the end of line. */
static int version_of(const char *name, char *ret, size_t size)
{
	char arg[] = "--version";
	char *argv[] = { (char *)(uintptr_t)name, arg, NULL };
	struct spawn_opts o = { .argv = argv };
	struct spawn_io io = { .timeout_ms = 10000 };
	struct spawn_result res = SPAWN_RESULT_INIT;
	struct err e = { 0 };
	int r = spawn_run(&o, &io, &res, &e);

	if (r == 0)
		r = spawn_check(&res, name, &e);
	if (r == 0)
		snprintf(ret, size, "%.*s",
			 (int)strcspn(buf_str(&res.out), "\n"),
			 buf_str(&res.out));
	else
		snprintf(ret, size, "%s", e.msg);
	spawn_result_clear(&res);
	return r;
}

static void check_qemu(struct doctor *d)
{
	const char *qemu = d->qemu ? d->qemu : "qemu-system-x86_64";
	static const char fix[] = "apt-get install qemu-system-x86 qemu-utils";
	char text[ERR_MSG_SIZE];
	int major = 0, minor = 0;
	const char *at;

	if (version_of(qemu, text, sizeof(text)) < 0) {
		checks_note(&d->found, "qemu", VERDICT_WARNING, fix,
			    "%s: VM pods cannot run", text);
		return;
	}
	at = strstr(text, "version ");
	if (at)
		(void)sscanf(at + 8, "%d.%d", &major, &minor);
	if (major * 100 + minor < 702)
		checks_note(&d->found, "qemu", VERDICT_WARNING, fix,
			    "%s: VM pods want 7.2 or later", text);
	else
		checks_note(&d->found, "qemu", VERDICT_OK, "", "%s", text);
	if (version_of("qemu-img", text, sizeof(text)) < 0)
		checks_note(&d->found, "qemu-img", VERDICT_WARNING, fix,
			    "%s: VM disks cannot be made", text);
	else
		checks_note(&d->found, "qemu-img", VERDICT_OK, "", "%s", text);
}

static void check_skopeo(struct doctor *d)
{
	char text[ERR_MSG_SIZE];

	if (version_of("skopeo", text, sizeof(text)) < 0)
		checks_note(&d->found, "skopeo", VERDICT_WARNING,
			    "apt-get install skopeo",
			    "%s: images cannot be pulled or imported", text);
	else
		checks_note(&d->found, "skopeo", VERDICT_OK, "", "%s", text);
}

static void check_kvm(struct doctor *d)
{
	struct kvm_verdict v = { .usable = false };
	struct kvm_host host;

	kvm_probe("/dev/kvm", &v);
	kvm_host_look(&host);
	checks_note(&d->found, "kvm", v.usable ? VERDICT_OK : VERDICT_WARNING,
		    kvm_remedy(&v, &host), "%s%s", v.why,
		    v.usable ? ""
			     : ": VM pods run in software, some 10 times"
			       " slower");
}

/* --- disks, limits, clock ----------------------------------------------------
 */

static void check_disk(struct doctor *d)
{
	char path[4096], text[QUANTITY_TEXT_SIZE];
	struct statvfs st;
	uint64_t bytes;

	/* The folder itself may not be there yet: its nearest parent is. */
	snprintf(path, sizeof(path), "%s", d->state_dir);
	while (statvfs(path, &st) < 0) {
		char *slash = strrchr(path, '/');

		if (!slash)
			return;
		slash[slash == path] = '\0';
		if (slash == path && statvfs(path, &st) < 0)
			return;
	}
	bytes = (uint64_t)st.f_bavail * st.f_frsize;
	quantity_format_human(bytes, text);
	checks_note(&d->found, "disk",
		    bytes < DISK_MIN_BYTES    ? VERDICT_FAILED
		    : bytes < DISK_GOOD_BYTES ? VERDICT_WARNING
					      : VERDICT_OK,
		    "free some space, or run the agent with --state-dir"
		    " elsewhere",
		    "%s free for %s", text, d->state_dir);
}

static void check_limits(struct doctor *d)
{
	struct rlimit rl = { 0, 0 };

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	checks_note(&d->found, "open files",
		    rl.rlim_max < NOFILE_GOOD ? VERDICT_WARNING : VERDICT_OK,
		    "raise it: LimitNOFILE=1048576 in the unit, or ulimit -Hn",
		    "at most %" PRIu64 " descriptors", (uint64_t)rl.rlim_max);
}

static void check_clock(struct doctor *d)
{
	struct timex tx = { .modes = 0 };
	time_t now = time(NULL);

	if (now < TIME_MIN)
		checks_note(&d->found, "clock", VERDICT_FAILED,
			    "set it, and keep it so: apt-get install chrony",
			    "the clock is not set: certificates and tokens"
			    " would be refused");
	else if (adjtimex(&tx) == TIME_ERROR || tx.status & STA_UNSYNC)
		checks_note(&d->found, "clock", VERDICT_WARNING,
			    "keep it in time: apt-get install chrony",
			    "nothing keeps the clock in time");
	else
		checks_note(&d->found, "clock", VERDICT_OK, "", "kept in time");
}

void doctor_run(struct doctor *d)
{
	doctor_kernel(d);
	doctor_network(d);
	check_kvm(d);
	check_qemu(d);
	check_skopeo(d);
	check_disk(d);
	check_limits(d);
	check_clock(d);
}

/* --- telling
 * ------------------------------------------------------------------ */

/* The list, and what it means for pods. */
static void put_text(const struct checks *found, struct buf *b)
{
	size_t missing = checks_count(found, VERDICT_FAILED);

	checks_put_text(found, b);
	if (missing)
		buf_printf(
			b,
			"\n%zu requirement%s missing: pods cannot run here.\n",
			missing, missing > 1 ? "s are" : " is");
	else
		buf_printf(b, "\nThis host can run pods%s.\n",
			   checks_count(found, VERDICT_WARNING)
				   ? ", with the losses above"
				   : "");
}

struct args {
	struct cmd_common common;
	const char *output, *state_dir, *qemu;
};

const struct cli_option doctor_options[] = {
	{ "output", 'o', CLI_STR, offsetof(struct args, output), "FORMAT",
	  "how to print", "json" },
	{ "state-dir", 0, CLI_STR, offsetof(struct args, state_dir), "DIR",
	  "of the agent (" AGENT_STATE_DIR ")", NULL },
	{ "qemu", 0, CLI_STR, offsetof(struct args, qemu), "PATH",
	  "(qemu-system-x86_64)", NULL },
	CLI_END
};

int cmd_doctor(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .state_dir = AGENT_STATE_DIR };
	struct doctor d = DOCTOR_INIT;
	auto_buf struct buf b = BUF_INIT;
	int r = cmd_begin(c, argc, argv, &a, 0, 0);

	if (r < 0)
		return CMD_EXIT(r);
	d.state_dir = a.state_dir;
	d.qemu = a.qemu;
	doctor_run(&d);
	(a.output ? checks_put_json : put_text)(&d.found, &b);
	r = cmd_print(&b);
	if (r == 0 && !checks_passed(&d.found))
		r = 1;
	checks_clear(&d.found);
	return r;
}
