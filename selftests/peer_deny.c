// SPDX-License-Identifier: Apache-2.0
/*
 * Run a program for which some system calls fail, as on a kernel without them
 * or in a container that may not use them:
 *
 *	peer_deny clone3=ENOSYS bpf=EPERM -- COMMAND ARGS...
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int number_of(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {
		{ "ENOSYS", ENOSYS },
		{ "EPERM", EPERM },
		{ "EINVAL", EINVAL },
		{ "ENODEV", ENODEV },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].number;
	return 0;
}

static int deny(scmp_filter_ctx ctx, char *rule)
{
	char *name = strsep(&rule, "=");
	int call = seccomp_syscall_resolve_name(name);
	int number = rule ? number_of(rule) : 0;

	if (call == __NR_SCMP_ERROR || !number)
		return -EINVAL;
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)number), call, 0);
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int i = 1, r = ctx ? 0 : -ENOMEM;

	/* Root keeps what no_new_privs would take. */
	if (r == 0)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	for (; r == 0 && i < argc && strcmp(argv[i], "--") != 0; i++)
		r = deny(ctx, argv[i]);
	if (r == 0 && i + 1 < argc)
		r = seccomp_load(ctx);
	if (r < 0 || i + 1 >= argc) {
		fprintf(stderr, "peer_deny: %s: %s\n", argv[i < argc ? i : 0],
			strerror(-r));
		return 126;
	}
	seccomp_release(ctx);
	execvp(argv[i + 1], argv + i + 1);
	fprintf(stderr, "peer_deny: %s: %s\n", argv[i + 1], strerror(errno));
	return 127;
}
