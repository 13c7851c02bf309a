// SPDX-License-Identifier: Apache-2.0
/* The agent dies between any two steps of an attach or a detach: the next one
 * ends where it should have, and nothing is left behind.
 * LANE: both
 * SECONDS: 240 */
#include <dirent.h>

#include "selftests/agent/network/lab.h"

static int steps_left; /* until the crash; -1: none */
static char crashed_at[32];

static int step(void *arg, const char *name)
{
	(void)arg;
	if (steps_left < 0 || steps_left-- > 0)
		return 0;
	snprintf(crashed_at, sizeof(crashed_at), "%s", name);
	return -EINTR;
}

static int attach(struct lab *l, const char *uid, enum network_kind kind,
		  struct endpoint *ep)
{
	return network_attach(l->mgr, "demo", "out", uid, kind, NULL, ep,
			      &lab_err);
}

static bool works(struct endpoint *ep, enum network_kind kind)
{
	struct guest g = { 0 };
	bool ok;

	if (kind == NETWORK_CONTAINER)
		return ping_once(ep->netns_fd, ep->gateway);
	if (guest_start(&g, ep, true) < 0)
		return false;
	ok = ping_once(g.ns, ep->gateway);
	guest_stop(&g);
	return ok;
}

static int count_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *ent;
	int nr = 0;

	while (d && (ent = readdir(d)))
		nr += ent->d_name[0] != '.';
	if (d)
		closedir(d);
	return nr;
}

static int count_link(const struct rt_link *link, void *arg)
{
	*(int *)arg += strncmp(link->name, "ark", 3) == 0;
	return 0;
}

static int ark_links(void)
{
	struct rt *rt = NULL;
	int nr = 0;

	if (rt_open(NS_OWN, &rt, NULL) < 0)
		return -1;
	rt_link_for_each(rt, count_link, &nr, NULL);
	rt_close(rt);
	return nr;
}

static int map_entries(const char *map)
{
	char cmd[128], line[16] = "";
	FILE *f;

	snprintf(
		cmd, sizeof(cmd),
		"bpftool -j map dump pinned run/bpf/dp1/%s | grep -o '\"formatted\"' | wc -l",
		map);
	f = popen(cmd, "r");
	if (f) {
		(void)!fgets(line, sizeof(line), f);
		pclose(f);
	}
	return atoi(line);
}

/* A place costs an emulated guest a second: there it is each third one. */
static int stride(void)
{
	const char *lane = getenv("ARKTOS_LANE");

	return lane && strcmp(lane, "guest") == 0 ? 3 : 1;
}

static void crash_everywhere(enum network_kind kind, bool gateway_too,
			     int *verdict_)
{
	struct lab l = { .opts.step = step };
	bool done = false;
	int at;

	test_alarm(
		110); /* some forty attaches, each looked at from all sides */
	OK(lab_start(&l));
	for (at = 0; !done && at < 64; at += stride()) {
		struct endpoint ep = ENDPOINT_INIT;
		int r;

		OK(network_define_option(l.mgr,
					 "demo/out=10.1.0.0/16,egress=snat",
					 &lab_err));
		if (!gateway_too) {
			steps_left = -1;
			OK(attach(&l, "pod-first", NETWORK_VM, &ep));
			endpoint_clear(&ep);
		}
		steps_left = at;
		r = attach(&l, "pod-a", kind, &ep);
		done = r == 0;
		if (r && r != -EINTR)
			FAIL("attach, crash at %d: %s", at, lab_err.msg);
		steps_left = -1;
		endpoint_clear(&ep);
		OK(lab_restart(&l));
		OK(attach(&l, "pod-a", kind, &ep));
		if (!works(&ep, kind))
			FAIL("after a crash before '%s' nothing goes through",
			     crashed_at);
		endpoint_clear(&ep);
		OK(network_detach(l.mgr, "pod-a", &lab_err));
		OK(network_detach(l.mgr, "pod-first", &lab_err));
		OK(network_remove(l.mgr, "demo", "out", &lab_err));
		EXPECT_EQ(ark_links(), 0);
		EXPECT_EQ(count_files("run/netns"), 0);
	}
	EXPECT_EQ(done, true);
	EXPECT_EQ(map_entries("ark_ifaces"), 0);
	EXPECT_EQ(map_entries("ark_endpoints"), 0);
	EXPECT_EQ(map_entries("ark_networks"), 0);
	EXPECT_EQ(map_entries("ark_link_drops"), 0);
	printf("# %d places to crash at\n", at);
	network_close(l.mgr);
}

TEST(an_attach_can_crash_anywhere)
{
	NEED_ROOT();
	crash_everywhere(NETWORK_CONTAINER, false, verdict_);
}

TEST(a_vms_attach_can_crash_anywhere)
{
	NEED_ROOT();
	crash_everywhere(NETWORK_VM, false, verdict_);
}

TEST(a_networks_first_attach_can_crash_anywhere)
{
	NEED_ROOT();
	crash_everywhere(NETWORK_CONTAINER, true, verdict_);
}

TEST(a_detach_can_crash_anywhere)
{
	struct lab l = { .opts.step = step };
	struct endpoint ep = ENDPOINT_INIT;
	struct in_addr ip;
	bool done = false;

	NEED_ROOT();
	steps_left = -1;
	OK(lab_start(&l));
	OK(network_define_option(l.mgr, "demo/out=10.1.0.0/16", &lab_err));
	for (int at = 0; !done && at < 64; at += stride()) {
		int r;

		OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
		ip = ep.ip;
		endpoint_clear(&ep);
		steps_left = at;
		r = network_detach(l.mgr, "pod-a", &lab_err);
		done = r == 0;
		if (r && r != -EINTR)
			FAIL("detach, crash at %d: %s", at, lab_err.msg);
		steps_left = -1;
		OK(lab_restart(&l));
		if (at % 2) { /* it lives on after all ... */
			OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
			if (!done)
				EXPECT_EQ(ep.ip.s_addr, ip.s_addr);
			EXPECT_EQ(works(&ep, NETWORK_CONTAINER), true);
			endpoint_clear(&ep);
		}
		OK(network_gc(l.mgr, NULL, 0, &lab_err));
		EXPECT_EQ(ark_links(), 1);
		EXPECT_EQ(access("run/pods/pod-a/netns", F_OK), -1);
		EXPECT_EQ(count_files("state/networks/1/pods"), 0);
	}
	EXPECT_EQ(map_entries("ark_ifaces"), 1);
	EXPECT_EQ(map_entries("ark_endpoints"), 1);
	network_close(l.mgr);
}

/* What others may do to what is ours. */
TEST(what_went_missing_is_repaired)
{
	struct endpoint ep = ENDPOINT_INIT;
	struct lab l = { 0 };
	struct rt *rt = NULL;
	char cmd[128];

	NEED_ROOT();
	OK(lab_start(&l));
	OK(network_define_option(l.mgr, "demo/out=10.1.0.0/16", &lab_err));
	OK(rt_open(NS_OWN, &rt, &lab_err));

	OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
	OK(rt_link_del(rt, ep.ifname, &lab_err));
	endpoint_clear(&ep);
	OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
	EXPECT_EQ(works(&ep, NETWORK_CONTAINER), true);

	snprintf(cmd, sizeof(cmd), "tc qdisc del dev %s clsact", ep.ifname);
	EXPECT_EQ(system(cmd), 0);
	EXPECT_EQ(works(&ep, NETWORK_CONTAINER), false);
	endpoint_clear(&ep);
	OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
	EXPECT_EQ(works(&ep, NETWORK_CONTAINER), true);

	EXPECT_EQ(umount2(ep.netns_path, MNT_DETACH), 0);
	endpoint_clear(&ep);
	OK(attach(&l, "pod-a", NETWORK_CONTAINER, &ep));
	EXPECT_EQ(works(&ep, NETWORK_CONTAINER), true);
	endpoint_clear(&ep);
	OK(network_gc(l.mgr, NULL, 0, &lab_err));
	EXPECT_EQ(map_entries("ark_ifaces"), 1);
	EXPECT_EQ(map_entries("ark_link_drops"), 1);
	rt_close(rt);
	network_close(l.mgr);
}

TEST_MAIN()
