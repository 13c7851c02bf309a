// SPDX-License-Identifier: Apache-2.0
/* The datapath from user space: load, pin, take over, attach. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "bpf/dp.h"
#include "bpf/endpoint.skel.h"
#include "bpf/internal.h"

DEFINE_AUTO_PTR(endpoint_bpf, endpoint_bpf__destroy)

/* libbpf tells what went wrong only to a callback. Keep the first line of it,
 * which is nearest to the cause, for whoever has failed in this thread. */
static _Thread_local char libbpf_said[160];

static int __attribute__((format(printf, 2, 0)))
libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[sizeof(libbpf_said)];

	if (level != LIBBPF_WARN || libbpf_said[0])
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	memcpy(libbpf_said, line, sizeof(line));
	return 0;
}

static int fail(struct err *e, int code, const char *what)
{
	if (code == -EPERM)
		return err_set(
			e, code,
			"%s: not permitted: needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
			what);
	return err_set(e, code, "%s: %s%s%s", what, strerror(-code),
		       libbpf_said[0] ? ": " : "", libbpf_said);
}

static int path_in(char *ret, const char *dir, const char *name, struct err *e)
{
	if (snprintf(ret, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "path too long: '%s'", dir);
	return 0;
}

/* With a pin path, loading takes over the map there, or makes and pins one. */
static int set_pins(struct endpoint_bpf *skel, const char *dir, struct err *e)
{
	char path[PATH_MAX];
	struct bpf_map *map;
	int r;

	bpf_object__for_each_map(map, skel->obj)
	{
		r = path_in(path, dir, bpf_map__name(map), e);
		if (r == 0 && bpf_map__set_pin_path(map, path))
			r = err_set(e, -ENOMEM, "out of memory");
		if (r < 0)
			return r;
	}
	return 0;
}

static int keep_fd(int fd, int *ret, struct err *e)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (*ret < 0)
		return err_sys(e, "keep a BPF descriptor");
	return 0;
}

static int keep_maps(struct dp *dp, const struct endpoint_bpf *skel,
		     struct err *e)
{
	const struct bpf_map *const maps[DP_MAP_NR] = {
		[DP_MAP_ENDPOINTS] = skel->maps.ark_endpoints,
		[DP_MAP_IFACES] = skel->maps.ark_ifaces,
		[DP_MAP_NETWORKS] = skel->maps.ark_networks,
		[DP_MAP_TRAFFIC] = skel->maps.ark_traffic,
		[DP_MAP_LINK_DROPS] = skel->maps.ark_link_drops,
		[DP_MAP_DROPS] = skel->maps.ark_drops,
		[DP_MAP_EVENTS] = skel->maps.ark_events,
	};
	int r = 0;

	for (int i = 0; r == 0 && i < DP_MAP_NR; i++)
		r = keep_fd(bpf_map__fd(maps[i]), &dp->maps[i], e);
	return r;
}

#define DP_PROG_MAPS_MAX 16

struct prog_identity {
	uint8_t tag[BPF_TAG_SIZE]; /* hash of the instructions */
	uint32_t maps[DP_PROG_MAPS_MAX];
	uint32_t nr_maps;
};

static int identify(int fd, struct prog_identity *ret, uint32_t *ret_id)
{
	struct bpf_prog_info info = {
		.map_ids = (uintptr_t)ret->maps,
		.nr_map_ids = DP_PROG_MAPS_MAX,
	};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	memcpy(ret->tag, info.tag, sizeof(ret->tag));
	ret->nr_maps = info.nr_map_ids;
	*ret_id = info.id;
	return 0;
}

static bool same_program(int a, int b, uint32_t *ret_b_id)
{
	struct prog_identity x = { 0 }, y = { 0 };
	uint32_t id;

	return identify(a, &x, &id) == 0 && identify(b, &y, ret_b_id) == 0 &&
	       memcmp(&x, &y, sizeof(x)) == 0;
}

/* Put @fd at @path in one step, whatever is there. */
static int pin_over(int fd, const char *path, struct err *e)
{
	char tmp[PATH_MAX];

	if (snprintf(tmp, sizeof(tmp), "%s_new", path) >= (int)sizeof(tmp))
		return err_set(e, -ENAMETOOLONG, "path too long: '%s'", path);
	if (unlink(tmp) < 0 && errno != ENOENT)
		return err_sys(e, "remove '%s'", tmp);
	if (bpf_obj_pin(fd, tmp))
		return err_sys(e, "pin a program to '%s'", tmp);
	if (rename(tmp, path) < 0)
		return err_sys(e, "rename '%s' to '%s'", tmp, path);
	return 0;
}

/* Keep the pinned program if it is the same, so that the links that have it
 * need no change; else pin ours instead. */
static int keep_program(struct dp *dp, const struct endpoint_bpf *skel,
			const char *dir, struct err *e)
{
	int fresh = bpf_program__fd(skel->progs.from_endpoint);
	struct prog_identity identity = { 0 };
	auto_close int pinned = -EBADF;
	char path[PATH_MAX];
	int r;

	r = path_in(path, dir, "from_endpoint", e);
	if (r < 0)
		return r;
	pinned = bpf_obj_get(path);
	if (pinned >= 0 && same_program(fresh, pinned, &dp->prog_id)) {
		dp->prog = take_fd(&pinned);
		return 0;
	}
	r = keep_fd(fresh, &dp->prog, e);
	if (r < 0)
		return r;
	r = identify(dp->prog, &identity, &dp->prog_id);
	if (r < 0)
		return err_set(e, r, "identify the datapath: %s", strerror(-r));
	return pin_over(dp->prog, path, e);
}

static int load(struct dp *dp, const char *dir, struct err *e)
{
	auto_ptr(endpoint_bpf) skel = endpoint_bpf__open();
	int r;

	if (!skel)
		return fail(e, -errno, "open the datapath");
	r = set_pins(skel, dir, e);
	if (r < 0)
		return r;
	r = endpoint_bpf__load(skel);
	if (r == -EINVAL && strstr(libbpf_said, "reuse pinned map"))
		return fail(e, -EBADMSG, "take over the pinned datapath");
	if (r < 0)
		return fail(e, r, "load the datapath");
	r = keep_maps(dp, skel, e);
	if (r == 0)
		r = keep_program(dp, skel, dir, e);
	return r;
}

int dp_open(const char *dir, struct dp **ret, struct err *e)
{
	auto_ptr(dp) dp = calloc(1, sizeof(*dp));
	char layout[PATH_MAX];
	int r;

	if (!dp)
		return err_set(e, -ENOMEM, "out of memory");
	pthread_mutex_init(&dp->lock, NULL);
	dp->prog = -EBADF;
	for (int i = 0; i < DP_MAP_NR; i++)
		dp->maps[i] = -EBADF;
	dp->nr_cpus = libbpf_num_possible_cpus();
	if (dp->nr_cpus < 0)
		return err_set(e, dp->nr_cpus, "count the CPUs");
	if (snprintf(layout, sizeof(layout), "%s/dp%d", dir, DP_LAYOUT) >=
	    (int)sizeof(layout))
		return err_set(e, -ENAMETOOLONG, "path too long: '%s'", dir);
	r = fs_mkdirs(layout, 0700, e);
	if (r < 0)
		return r;
	libbpf_set_print(libbpf_print);
	libbpf_said[0] = '\0';
	r = load(dp, layout, e);
	if (r < 0)
		return r;
	r = dp_slots_load(dp);
	if (r < 0)
		return err_set(e, r, "read the datapath's tables: %s",
			       strerror(-r));
	*ret = take_ptr(dp);
	return 0;
}

void dp_close(struct dp *dp)
{
	if (!dp)
		return;
	auto_close_(&dp->prog);
	for (int i = 0; i < DP_MAP_NR; i++)
		auto_close_(&dp->maps[i]);
	pthread_mutex_destroy(&dp->lock);
	free(dp->slots);
	free(dp);
}

int dp_program(const struct dp *dp)
{
	return dp->prog;
}

int dp_events_map(const struct dp *dp)
{
	return dp->maps[DP_MAP_EVENTS];
}

static bool is_ours(const char *name)
{
	return strncmp(name, "dp", 2) == 0 &&
	       strspn(name + 2, "0123456789") == strlen(name + 2);
}

int dp_unpin(const char *dir, bool all, struct err *e)
{
	DIR *d = opendir(dir);
	char current[16];
	struct dirent *ent;
	int r = 0;

	if (!d && errno == ENOENT)
		return 0;
	if (!d)
		return err_sys(e, "open '%s'", dir);
	snprintf(current, sizeof(current), "dp%d", DP_LAYOUT);
	while (r == 0 && (ent = readdir(d)))
		if (is_ours(ent->d_name) &&
		    (all || strcmp(ent->d_name, current) != 0))
			r = fs_remove_tree(dirfd(d), ent->d_name, e);
	closedir(d);
	return r;
}
