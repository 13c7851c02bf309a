// SPDX-License-Identifier: Apache-2.0
/* The agent goes and comes: pods do not notice.
 * LANE: both
 * SECONDS: 240 */
#include <bpf/bpf.h>

#include "bpf/dp.h"
#include "selftests/agent/network/lab.h"

#define RESTARTS 20

/* Pings, one after another, until told to stop. */
struct flood {
	int fd;
	struct in_addr to;
	bool stop;
	unsigned int sent, lost;
};

static void *flood_main(void *arg)
{
	struct flood *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		f->lost += !ping(f->fd, f->to, (uint16_t)f->sent, 56, 3000);
		__atomic_fetch_add(&f->sent, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Wait until @nr more pings are through. */
static bool flood_on(struct flood *f, unsigned int nr)
{
	unsigned int until = __atomic_load_n(&f->sent, __ATOMIC_RELAXED) + nr;
	uint64_t end = now_ms() + 10000;

	while (__atomic_load_n(&f->sent, __ATOMIC_RELAXED) < until)
		if (now_ms() > end || poll(NULL, 0, 1) < 0)
			return false;
	return true;
}

struct scene {
	struct lab l;
	struct endpoint a, b, v;
	struct guest g;
	struct flood flood[3];
	pthread_t threads[3];
};

static int scene_start(struct scene *s)
{
	int r = lab_start(&s->l);

	test_alarm(110); /* slow on a slow machine, and so be it */
	if (r == 0)
		r = network_attach(s->l.mgr, "demo", "default", "pod-a",
				   NETWORK_CONTAINER, NULL, &s->a, &lab_err);
	if (r == 0)
		r = network_attach(s->l.mgr, "demo", "default", "pod-b",
				   NETWORK_CONTAINER, NULL, &s->b, &lab_err);
	if (r == 0)
		r = network_attach(s->l.mgr, "demo", "default", "vm-v",
				   NETWORK_VM, NULL, &s->v, &lab_err);
	if (r == 0)
		r = guest_start(&s->g, &s->v, true);
	if (r < 0)
		return r;
	s->flood[0].to = s->b.ip;
	s->flood[1].to = s->v.ip;
	s->flood[2].to = s->a.gateway;
	for (int i = 0; i < 3; i++) {
		s->flood[i].fd = ping_fd(s->a.netns_fd);
		pthread_create(&s->threads[i], NULL, flood_main, &s->flood[i]);
	}
	return 0;
}

static void scene_stop(struct scene *s, int *verdict_)
{
	for (int i = 0; i < 3; i++) {
		__atomic_store_n(&s->flood[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(s->threads[i], NULL);
		close(s->flood[i].fd);
		EXPECT_EQ(s->flood[i].lost, 0);
		EXPECT_GE(s->flood[i].sent, RESTARTS);
	}
	guest_stop(&s->g);
	endpoint_clear(&s->a);
	endpoint_clear(&s->b);
	network_close(s->l.mgr);
}

#define SCENE_INIT                                                          \
	{                                                                   \
		.a = ENDPOINT_INIT, .b = ENDPOINT_INIT, .v = ENDPOINT_INIT, \
	}

TEST(no_ping_is_lost_while_the_agent_is_away)
{
	struct scene s = SCENE_INIT;

	NEED_ROOT();
	OK(scene_start(&s));
	for (int i = 0; i < RESTARTS; i++) {
		network_close(s.l.mgr);
		s.l.mgr = NULL;
		EXPECT_EQ(flood_on(&s.flood[i % 3], 20), true);
		OK(lab_open(&s.l));
		EXPECT_EQ(flood_on(&s.flood[i % 3], 5), true);
	}
	scene_stop(&s, verdict_);
}

/* The id of the pinned program, which all links should have. */
static uint32_t pinned_id(void)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = bpf_obj_get("run/bpf/dp1/from_endpoint");

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	close(fd);
	return info.id;
}

/* Once no link has a program any more, the kernel forgets it. */
static void gone_within(int *verdict_, uint32_t id, int ms)
{
	uint64_t end = now_ms() + (uint64_t)ms;
	int fd;

	while ((fd = bpf_prog_get_fd_by_id(id)) >= 0 && now_ms() < end) {
		close(fd);
		poll(NULL, 0, 10);
	}
	if (fd >= 0) {
		FAIL("program %u is still attached somewhere", id);
		close(fd);
	}
}

TEST(an_upgrade_replaces_the_program_without_loss)
{
	struct scene s = SCENE_INIT;
	uint32_t before, after;

	NEED_ROOT();
	OK(scene_start(&s));
	before = pinned_id();
	for (int i = 0; i < RESTARTS; i++) {
		/* Another build's program would not be the pinned one. */
		network_close(s.l.mgr);
		s.l.mgr = NULL;
		EXPECT_EQ(unlink("run/bpf/dp1/from_endpoint"), 0);
		OK(lab_open(&s.l));
		EXPECT_EQ(flood_on(&s.flood[i % 3], 5), true);
	}
	after = pinned_id();
	EXPECT_GE(before, 1);
	EXPECT_GE(after, before + 1);
	gone_within(verdict_, before, 2000);
	scene_stop(&s, verdict_);
}

/* It begins with clsact: adding that to a link that is up makes the kernel
 * empty the link's queue, which would be no fault of ours. */
TEST(from_clsact_to_tcx_and_back_without_loss)
{
	struct scene s = SCENE_INIT;

	NEED_ROOT();
	OK(scene_start(&s));
	for (int i = 0; i < RESTARTS; i++) {
		s.l.opts.use_tcx = i % 2 == 0;
		OK(lab_restart(&s.l));
		EXPECT_EQ(flood_on(&s.flood[i % 3], 5), true);
	}
	scene_stop(&s, verdict_);
}

TEST(another_layout_of_the_maps_is_taken_over_without_loss)
{
	struct scene s = SCENE_INIT;

	NEED_ROOT();
	OK(scene_start(&s));
	for (int i = 0; i < RESTARTS; i++) {
		network_close(s.l.mgr);
		s.l.mgr = NULL;
		EXPECT_EQ(rename("run/bpf/dp1", "run/bpf/dp0"), 0);
		OK(lab_open(&s.l));
		EXPECT_EQ(access("run/bpf/dp0", F_OK), -1);
		EXPECT_EQ(flood_on(&s.flood[i % 3], 5), true);
	}
	scene_stop(&s, verdict_);
}

TEST_MAIN()
