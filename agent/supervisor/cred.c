// SPDX-License-Identifier: Apache-2.0
/* User, capabilities, no_new_privs, seccomp: the last things before exec. */
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/supervisor/child.h"
#include "agent/supervisor/request.h"
#include "agent/supervisor/sys.h"

#define CAP_BITS 64

static int drop_bounding(uint64_t keep, struct err *e)
{
	for (unsigned long cap = 0; cap < CAP_BITS; cap++) {
		if (keep & UINT64_C(1) << cap)
			continue;
		/* EINVAL: a capability this kernel does not have. */
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
			return err_sys(e, "drop capability %lu", cap);
	}
	return 0;
}

static int cap_set(uint64_t permitted, uint64_t effective, uint64_t inheritable)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	for (int i = 0; i < 2; i++) {
		d[i].permitted = (uint32_t)(permitted >> 32 * i);
		d[i].effective = (uint32_t)(effective >> 32 * i);
		d[i].inheritable = (uint32_t)(inheritable >> 32 * i);
	}
	return (int)syscall(SYS_capset, &h, d);
}

static uint64_t cap_permitted(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = { 0 };

	if (syscall(SYS_capget, &h, d) < 0)
		return 0;
	return (uint64_t)d[1].permitted << 32 | d[0].permitted;
}

static int raise_ambient(uint64_t mask, struct err *e)
{
	for (unsigned long cap = 0; cap < CAP_BITS; cap++)
		if (mask & UINT64_C(1) << cap &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(e, "ambient capability %lu", cap);
	return 0;
}

static int load_filter(const void *filter, size_t len, struct err *e)
{
	struct sock_fprog prog = {
		.len = (unsigned short)(len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)filter,
	};

	if (!len)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return err_sys(e, "load the seccomp filter");
	return 0;
}

static int become(const struct ids *ids, struct err *e)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, "keep capabilities");
	/* Raw calls: the C library would want to tell threads it believes in.
	 */
	if (syscall(SYS_setgroups, ids->nr_groups, ids->groups) < 0)
		return err_sys(e, "setgroups");
	if (syscall(SYS_setresgid, ids->gid, ids->gid, ids->gid) < 0)
		return err_sys(e, "setgid %u: not in the pod's range of ids?",
			       ids->gid);
	if (syscall(SYS_setresuid, ids->uid, ids->uid, ids->uid) < 0)
		return err_sys(e, "setuid %u: not in the pod's range of ids?",
			       ids->uid);
	return 0;
}

int cred_drop(const struct child *c, const struct ids *ids, int userns_fd,
	      const void *filter, size_t filter_len, struct err *e)
{
	const struct spec *spec = c->spec;
	uint64_t have, keep;
	int r;

	if (userns_fd >= 0 && setns(userns_fd, CLONE_NEWUSER) < 0)
		return err_sys(e, "enter the pod's user namespace");
	if (prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0)
		return err_sys(e, "securebits");
	r = drop_bounding(spec->caps, e);
	if (r < 0)
		return r;
	/* Without no_new_privs only CAP_SYS_ADMIN may load a filter, and
	 * soon we shall not have it. */
	if (!spec->no_new_privs) {
		r = load_filter(filter, filter_len, e);
		if (r < 0)
			return r;
	}
	r = become(ids, e);
	if (r < 0)
		return r;
	have = cap_permitted();
	keep = have & spec->caps;
	if (cap_set(keep, keep, keep & spec->ambient) < 0)
		return err_sys(e, "capset");
	r = raise_ambient(keep & spec->ambient, e);
	if (r < 0)
		return r;
	if (!spec->no_new_privs)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no_new_privs");
	return load_filter(filter, filter_len, e);
}
