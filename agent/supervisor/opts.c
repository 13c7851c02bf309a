// SPDX-License-Identifier: Apache-2.0
/* The command line: "--key=value" only, since the agent writes it. */
#include <string.h>

#include "agent/supervisor/sup.h"
#include "lib/err.h"
#include "lib/str.h"

#define SHM_BYTES_DEFAULT (UINT64_C(64) << 20)

static const char *value_of(const char *arg, const char *key)
{
	size_t len = strlen(key);

	return strncmp(arg, key, len) == 0 && arg[len] == '=' ? arg + len + 1
							      : NULL;
}

static int get_fd(const char *v, int *ret)
{
	int r = str_to_int(v, ret);

	return r < 0 ? r : *ret < 3 ? -EINVAL : 0;
}

/* "100000:65536" */
static int get_range(const char *v, struct opts *o)
{
	char text[32];
	char *colon;
	uint64_t base, size;

	if (strlen(v) >= sizeof(text))
		return -EINVAL;
	memcpy(text, v, strlen(v) + 1);
	colon = strchr(text, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (str_to_u64(text, &base) < 0 || str_to_u64(colon + 1, &size) < 0 ||
	    !base || !size || base + size >= UINT32_MAX)
		return -EINVAL;
	o->userns_base = (uint32_t)base;
	o->userns_size = (uint32_t)size;
	return 0;
}

static int parse_one(struct opts *o, const char *arg)
{
	const char *v;

	if ((v = value_of(arg, "--uid")))
		o->uid = v;
	else if ((v = value_of(arg, "--run")))
		o->run_dir = v;
	else if ((v = value_of(arg, "--state")))
		o->state_dir = v;
	else if ((v = value_of(arg, "--hostname")))
		o->hostname = v;
	else if ((v = value_of(arg, "--netns-fd")))
		return get_fd(v, &o->netns_fd);
	else if ((v = value_of(arg, "--ready-fd")))
		return get_fd(v, &o->ready_fd);
	else if ((v = value_of(arg, "--cgroup-dir")))
		return get_fd(v, &o->cgroup_dir);
	else if ((v = value_of(arg, "--cgroup-fd")))
		return o->nr_cgroup_fds == OPTS_FDS_MAX
			       ? -E2BIG
			       : get_fd(v, &o->cgroup_fds[o->nr_cgroup_fds++]);
	else if ((v = value_of(arg, "--userns")))
		return get_range(v, o);
	else if ((v = value_of(arg, "--shm-bytes")))
		return str_to_u64(v, &o->shm_bytes);
	else if ((v = value_of(arg, "--oom-score-adj"))) {
		o->has_oom_score_adj = true;
		return str_to_int(v, &o->oom_score_adj);
	} else if ((v = value_of(arg, "--sysctl"))) {
		if (o->nr_sysctls == OPTS_SYSCTLS_MAX)
			return -E2BIG;
		o->sysctls[o->nr_sysctls++] = v;
	} else if (str_eq(arg, "--host-pid"))
		o->host_pid = true;
	else if (str_eq(arg, "--host-ipc"))
		o->host_ipc = true;
	else
		return -EINVAL;
	return 0;
}

int opts_parse(struct opts *o, int argc, char **argv, struct err *e)
{
	*o = (struct opts){
		.netns_fd = -1,
		.ready_fd = -1,
		.cgroup_dir = -1,
		.shm_bytes = SHM_BYTES_DEFAULT,
	};
	for (int i = 1; i < argc; i++) {
		int r = parse_one(o, argv[i]);

		if (r < 0)
			return err_set(e, r,
				       "'%s': no such option; arktos-pod is "
				       "started by arktos-node",
				       argv[i]);
	}
	if (o->ready_fd < 0 || !o->uid || !o->run_dir || o->run_dir[0] != '/' ||
	    !o->state_dir || o->state_dir[0] != '/')
		return err_set(e, -EINVAL,
			       "--ready-fd, --uid, --run and --state are "
			       "needed (absolute paths)");
	return 0;
}
