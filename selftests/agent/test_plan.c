// SPDX-License-Identifier: Apache-2.0
// LANE: native
#include <assert.h>

#include "selftests/harness.h"

#include "agent/plan.h"

#define NOW_MS 1000000

/* A pod of @nr containers, the first @nr_init of them init containers. */
struct world {
	struct pod_spec spec;
	struct container_spec specs[8];
	struct vm_spec vm;
	struct pod pod;
	struct ctr ctrs[8];
	struct image *image; /* only its address matters */
	struct plan plan;
};

static struct world *world(size_t nr_init, size_t nr, bool up)
{
	static struct world w;
	static char image;

	memset(&w, 0, sizeof(w));
	w.pod.spec = &w.spec;
	w.pod.ctrs = w.ctrs;
	w.pod.nr_ctrs = nr;
	w.pod.nr_init = nr_init;
	w.spec.nr_init = nr_init;
	w.spec.nr_containers = nr - nr_init;
	for (size_t i = 0; i < nr; i++) {
		w.ctrs[i].spec = &w.specs[i];
		w.ctrs[i].name = "c";
		w.ctrs[i].init = i < nr_init;
		if (up)
			w.ctrs[i].image = (struct image *)&image;
	}
	w.image = (struct image *)&image;
	if (up) {
		w.pod.saved = w.pod.admitted = w.pod.cgroup_up = true;
		w.pod.network_up = w.pod.volumes_up = true;
		w.pod.sandbox_state = SANDBOX_UP;
	}
	return &w;
}

static const struct plan *plan_at(struct world *w, uint64_t ms)
{
	struct plan_now now = { ms, (int64_t)ms * 1000 };

	pod_plan(&w->pod, &now, &w->plan);
	return &w->plan;
}

static const struct plan *plan(struct world *w)
{
	return plan_at(w, NOW_MS);
}

static bool has(const struct plan *p, enum step_kind kind, size_t ctr)
{
	for (size_t i = 0; i < p->nr; i++)
		if (p->steps[i].kind == kind && p->steps[i].ctr == ctr)
			return true;
	return false;
}

static void ends(struct ctr *c, int code)
{
	c->phase = CTR_EXITED;
	c->exit.valid = true;
	c->exit.code = code;
	c->started_once = true;
}

TEST(a_new_pod_is_saved_before_anything_is_made)
{
	struct world *w = world(0, 1, false);
	const struct plan *p = plan(w);

	ASSERT_EQ(p->nr, 1); /* nothing before it is admitted */
	EXPECT_EQ(p->steps[0].kind, STEP_ADMIT); /* which saves */
	w->pod.admitted = true;
	EXPECT_EQ(plan(w)->steps[0].kind, STEP_SAVE);
}

TEST(all_images_are_asked_for_at_once)
{
	struct world *w = world(1, 3, false);

	w->pod.saved = w->pod.admitted = true;
	plan(w);
	for (size_t i = 0; i < 3; i++)
		EXPECT_EQ(has(&w->plan, STEP_IMAGE, i), true);
	EXPECT_EQ(has(&w->plan, STEP_START, 0), false);
}

TEST(init_containers_run_one_after_another_and_before_the_others)
{
	struct world *w = world(2, 3, true);

	EXPECT_EQ(has(plan(w), STEP_START, 0), true);
	EXPECT_EQ(has(&w->plan, STEP_START, 1), false);
	EXPECT_EQ(has(&w->plan, STEP_START, 2), false);
	w->ctrs[0].phase = CTR_RUNNING;
	EXPECT_EQ(plan(w)->nr, 0);
	ends(&w->ctrs[0], 0);
	EXPECT_EQ(has(plan(w), STEP_START, 1), true);
	ends(&w->ctrs[1], 0);
	EXPECT_EQ(has(plan(w), STEP_START, 2), true);
}

/* Two sidecars, an init container between them, and the work. */
static struct world *with_sidecars(void)
{
	struct world *w = world(3, 4, true);

	w->specs[0].sidecar = w->specs[2].sidecar = true;
	w->specs[0].startup.kind = PROBE_TCP;
	return w;
}

TEST(a_sidecar_is_up_before_what_comes_after_it_and_stays)
{
	struct world *w = with_sidecars();
	const struct plan *p = plan(w);

	EXPECT_EQ(has(p, STEP_START, 0), true);
	EXPECT_EQ(has(p, STEP_START, 1), false);
	w->ctrs[0].phase = CTR_RUNNING;
	EXPECT_EQ(has(plan(w), STEP_START, 1), false); /* not probed yet */
	w->ctrs[0].probe_started = true;
	p = plan(w);
	EXPECT_EQ(has(p, STEP_START, 1), true);
	EXPECT_EQ(has(p, STEP_START, 2), false);
	ends(&w->ctrs[1], 0);
	EXPECT_EQ(has(plan(w), STEP_START, 2), true);
	w->ctrs[2].phase = CTR_RUNNING;
	EXPECT_EQ(has(plan(w), STEP_START, 3), true);
	w->ctrs[3].phase = CTR_RUNNING;
	/* It ends well, and comes back whatever the pod's policy is. */
	w->spec.restart = RESTART_NEVER;
	ends(&w->ctrs[0], 0);
	w->ctrs[0].probe_started = false;
	EXPECT_EQ(has(plan(w), STEP_START, 0), true);
	EXPECT_EQ(pod_is_over(&w->pod), false);
}

TEST(sidecars_end_after_the_work_the_last_one_first)
{
	struct world *w = with_sidecars();
	const struct plan *p;

	w->spec.restart = RESTART_NEVER;
	w->ctrs[0].phase = w->ctrs[2].phase = CTR_RUNNING;
	ends(&w->ctrs[1], 0);
	ends(&w->ctrs[3], 0);
	p = plan(w);
	EXPECT_EQ(has(p, STEP_STOP, 2), true);
	EXPECT_EQ(has(p, STEP_STOP, 0), false);
	EXPECT_EQ(pod_is_over(&w->pod), false);
	ends(&w->ctrs[2], 143);
	p = plan(w);
	EXPECT_EQ(has(p, STEP_START, 2), false);
	EXPECT_EQ(has(p, STEP_STOP, 0), true);
	ends(&w->ctrs[0], 143);
	EXPECT_EQ(pod_is_over(&w->pod), true);
	EXPECT_STREQ(pod_phase(&w->pod), "Succeeded");
}

TEST(a_deleted_pod_asks_its_sidecars_last_but_within_its_grace)
{
	struct world *w = with_sidecars();
	const struct plan *p;

	w->pod.deleting = true;
	w->pod.delete_due_ms = NOW_MS + 5000;
	w->ctrs[0].phase = w->ctrs[2].phase = CTR_RUNNING;
	w->ctrs[3].phase = CTR_RUNNING;
	ends(&w->ctrs[1], 0);
	p = plan(w);
	EXPECT_EQ(has(p, STEP_STOP, 3), true);
	EXPECT_EQ(has(p, STEP_STOP, 0) || has(p, STEP_STOP, 2), false);
	p = plan_at(w, NOW_MS + 5000);
	EXPECT_EQ(has(p, STEP_STOP, 0) && has(p, STEP_STOP, 2), true);
}

TEST(a_failed_init_container_fails_a_pod_that_never_restarts)
{
	struct world *w = world(1, 2, true);

	w->spec.restart = RESTART_NEVER;
	ends(&w->ctrs[0], 3);
	EXPECT_EQ(pod_is_over(&w->pod), true);
	EXPECT_EQ(has(plan(w), STEP_START, 1), false);
	EXPECT_EQ(has(&w->plan, STEP_SANDBOX_DOWN, 0), true);
	w->spec.restart = RESTART_ON_FAILURE;
	EXPECT_EQ(has(plan(w), STEP_START, 0), true);
}

TEST(restart_policy_decides_what_happens_after_an_exit)
{
	static const struct {
		enum restart_policy policy;
		int code;
		bool again;
	} cases[] = {
		{ RESTART_ALWAYS, 0, true },
		{ RESTART_ALWAYS, 1, true },
		{ RESTART_ON_FAILURE, 0, false },
		{ RESTART_ON_FAILURE, 1, true },
		{ RESTART_NEVER, 0, false },
		{ RESTART_NEVER, 1, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world *w = world(0, 1, true);

		w->spec.restart = cases[i].policy;
		ends(&w->ctrs[0], cases[i].code);
		EXPECT_EQ(has(plan(w), STEP_START, 0), cases[i].again);
		EXPECT_EQ(pod_is_over(&w->pod), !cases[i].again);
	}
}

TEST(a_container_is_not_started_before_its_back_off_is_over)
{
	struct world *w = world(0, 1, true);

	ends(&w->ctrs[0], 1);
	w->ctrs[0].not_before_ms = NOW_MS + 500;
	EXPECT_EQ(has(plan(w), STEP_START, 0), false);
	EXPECT_EQ(w->plan.wake_ms, NOW_MS + 500);
	EXPECT_EQ(has(plan_at(w, NOW_MS + 500), STEP_START, 0), true);
}

TEST(back_off_doubles_up_to_its_limit_and_forgets_after_ten_minutes)
{
	struct ctr c = { .started_ms = NOW_MS };

	EXPECT_EQ(ctr_backoff_next(&c, NOW_MS + 1, 10000, 300000), 0);
	c.attempt = 1;
	c.backoff_ms = 0;
	EXPECT_EQ(ctr_backoff_next(&c, NOW_MS + 1, 10000, 300000), 10000);
	c.backoff_ms = 10000;
	EXPECT_EQ(ctr_backoff_next(&c, NOW_MS + 1, 10000, 300000), 20000);
	c.backoff_ms = 200000;
	EXPECT_EQ(ctr_backoff_next(&c, NOW_MS + 1, 10000, 300000), 300000);
	EXPECT_EQ(ctr_backoff_next(&c, NOW_MS + 600000, 10000, 300000), 10000);
}

TEST(a_deleted_pod_is_asked_first_and_forced_when_its_grace_is_over)
{
	struct world *w = world(0, 2, true);

	w->ctrs[0].phase = w->ctrs[1].phase = CTR_RUNNING;
	w->pod.deleting = true;
	w->pod.delete_due_ms = NOW_MS + 30000;
	EXPECT_EQ(has(plan(w), STEP_STOP, 0), true);
	EXPECT_EQ(has(&w->plan, STEP_STOP, 1), true);
	EXPECT_EQ(has(&w->plan, STEP_SANDBOX_DOWN, 0), false);
	for (int i = 0; i < 2; i++) {
		w->ctrs[i].stop_sent_ms = NOW_MS;
		w->ctrs[i].kill_due_ms = NOW_MS + 30000;
	}
	EXPECT_EQ(plan(w)->nr, 0);
	EXPECT_EQ(w->plan.wake_ms, NOW_MS + 30000);
	EXPECT_EQ(has(plan_at(w, NOW_MS + 30000), STEP_KILL, 1), true);
	w->ctrs[0].kill_sent = w->ctrs[1].kill_sent = true;
	EXPECT_EQ(plan_at(w, NOW_MS + 40000)->nr, 0); /* its exit is awaited */
}

TEST(a_pod_is_dismantled_in_the_reverse_order_of_its_making)
{
	static const enum step_kind order[] = {
		STEP_SANDBOX_DOWN, STEP_NETWORK_DOWN, STEP_VOLUMES_DOWN,
		STEP_CGROUP_DOWN,  STEP_RELEASE,      STEP_FORGET,
	};
	struct world *w = world(0, 1, true);

	ends(&w->ctrs[0], 0);
	w->pod.deleting = true;
	plan(w);
	ASSERT_EQ(w->plan.nr, ARRAY_SIZE(order));
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		EXPECT_EQ(w->plan.steps[i].kind, order[i]);
}

TEST(a_deleted_pod_that_was_taken_over_is_dismantled_as_if_all_were_there)
{
	struct world *w = world(0, 1, false);

	w->pod.saved = w->pod.deleting = true;
	w->pod.cgroup_maybe = w->pod.network_maybe = true;
	w->pod.volumes_maybe = true;
	plan(w);
	EXPECT_EQ(has(&w->plan, STEP_NETWORK_DOWN, 0), true);
	EXPECT_EQ(has(&w->plan, STEP_VOLUMES_DOWN, 0), true);
	EXPECT_EQ(has(&w->plan, STEP_CGROUP_DOWN, 0), true);
}

TEST(a_dead_supervisor_is_replaced_before_containers_are)
{
	struct world *w = world(0, 1, true);

	w->pod.sandbox_state = SANDBOX_NONE;
	ends(&w->ctrs[0], 137);
	plan(w);
	ASSERT_EQ(w->plan.nr, 2);
	EXPECT_EQ(w->plan.steps[0].kind, STEP_SANDBOX);
	EXPECT_EQ(w->plan.steps[1].kind, STEP_START);
}

TEST(a_liveness_failure_stops_one_container_only)
{
	struct world *w = world(0, 2, true);

	w->ctrs[0].phase = w->ctrs[1].phase = CTR_RUNNING;
	w->ctrs[1].stop_why = STOP_LIVENESS;
	plan(w);
	ASSERT_EQ(w->plan.nr, 1);
	EXPECT_EQ(w->plan.steps[0].kind, STEP_STOP);
	EXPECT_EQ(w->plan.steps[0].ctr, 1);
}

TEST(a_restart_for_a_resize_happens_whatever_the_policy_says)
{
	struct world *w = world(0, 1, true);

	w->spec.restart = RESTART_ON_FAILURE;
	ends(&w->ctrs[0], 0);
	w->ctrs[0].stop_why = STOP_RESIZE;
	EXPECT_EQ(has(plan(w), STEP_START, 0), true);
}

TEST(another_image_restarts_what_runs_whatever_the_policy_says)
{
	struct world *w = world(1, 3, true);
	char was[] = "a:1", is[] = "a:2";

	for (size_t i = 0; i < 3; i++) {
		w->ctrs[i].image_ref = was;
		w->specs[i].image = was;
	}
	ends(&w->ctrs[0], 0);
	w->ctrs[1].phase = w->ctrs[2].phase = CTR_RUNNING;
	w->spec.restart = RESTART_NEVER;
	EXPECT_EQ(plan(w)->nr, 0);
	/* The init container is over: it is not run again. */
	w->specs[0].image = w->specs[2].image = is;
	plan(w);
	ASSERT_EQ(w->plan.nr, 1);
	EXPECT_EQ(w->plan.steps[0].kind, STEP_STOP);
	EXPECT_EQ(w->plan.steps[0].ctr, 2);
	EXPECT_EQ(w->plan.steps[0].why, STOP_IMAGE);
	/* It is stopped once, and its image got only when it has ended. */
	w->ctrs[2].stop_why = STOP_IMAGE;
	w->ctrs[2].stop_sent_ms = NOW_MS;
	w->ctrs[2].kill_due_ms = NOW_MS + 1000;
	EXPECT_EQ(plan(w)->nr, 0);
	ends(&w->ctrs[2], 0);
	w->ctrs[2].stop_sent_ms = 0;
	EXPECT_EQ(has(plan(w), STEP_IMAGE, 2), true);
	EXPECT_EQ(has(&w->plan, STEP_START, 2), false);
	w->ctrs[2].image_ref = is;
	EXPECT_EQ(has(plan(w), STEP_START, 2), true);
}

TEST(another_image_restarts_a_sidecar)
{
	struct world *w = world(1, 2, true);
	char was[] = "a:1", is[] = "a:2";

	w->specs[0].sidecar = true;
	for (size_t i = 0; i < 2; i++) {
		w->ctrs[i].image_ref = w->specs[i].image = was;
		w->ctrs[i].phase = CTR_RUNNING;
	}
	EXPECT_EQ(plan(w)->nr, 0);
	w->specs[0].image = is;
	plan(w);
	ASSERT_EQ(w->plan.nr, 1);
	EXPECT_EQ(w->plan.steps[0].ctr, 0);
	EXPECT_EQ(w->plan.steps[0].why, STOP_IMAGE);
}

TEST(what_had_ended_before_its_image_changed_stays_ended)
{
	struct world *w = world(0, 2, true);
	char was[] = "a:1", is[] = "a:2";

	w->spec.restart = RESTART_NEVER;
	w->ctrs[0].image_ref = w->ctrs[1].image_ref = was;
	w->specs[0].image = is;
	w->specs[1].image = was;
	ends(&w->ctrs[0], 0);
	w->ctrs[1].phase = CTR_RUNNING;
	EXPECT_EQ(plan(w)->nr, 0);
}

TEST(an_init_container_that_runs_keeps_its_image_until_it_runs_again)
{
	struct world *w = world(1, 2, true);
	char was[] = "a:1", is[] = "a:2";

	w->ctrs[0].image_ref = was;
	w->specs[0].image = is;
	w->ctrs[0].phase = CTR_RUNNING;
	EXPECT_EQ(plan(w)->nr, 0);
	ends(&w->ctrs[0], 1);
	EXPECT_EQ(has(plan(w), STEP_IMAGE, 0), true);
	EXPECT_EQ(has(&w->plan, STEP_START, 0), false);
}

TEST(the_active_deadline_fails_the_pod)
{
	struct world *w = world(0, 1, true);

	w->ctrs[0].phase = CTR_RUNNING;
	w->spec.active_deadline_s = 10;
	w->pod.start_us = (int64_t)NOW_MS * 1000;
	EXPECT_EQ(has(plan_at(w, NOW_MS + 5000), STEP_FAIL, 0), false);
	EXPECT_EQ(w->plan.wake_ms, NOW_MS + 10001);
	EXPECT_EQ(has(plan_at(w, NOW_MS + 10001), STEP_FAIL, 0), true);
	w->pod.failed = true;
	EXPECT_EQ(has(plan_at(w, NOW_MS + 10002), STEP_STOP, 0), true);
}

TEST(a_vm_is_shut_down_and_started_again_by_its_power_spec)
{
	struct world *w = world(0, 1, true);

	w->ctrs[0].spec = NULL;
	w->spec.vm = &w->vm;
	w->ctrs[0].phase = CTR_RUNNING;
	w->vm.power = POWER_SHUTDOWN;
	EXPECT_EQ(has(plan(w), STEP_STOP, 0), true);
	ends(&w->ctrs[0], 0);
	EXPECT_EQ(has(plan(w), STEP_START, 0), false);
	EXPECT_EQ(has(&w->plan, STEP_RELEASE, 0), true);
	w->vm.power = POWER_RUNNING;
	EXPECT_EQ(has(plan(w), STEP_START, 0), true);
}

/* --- the world answers at random, and the plan must still get there ---------
 */

static void do_step(struct world *w, const struct step *s, unsigned int *seed)
{
	struct pod *pod = &w->pod;
	struct ctr *c = &w->ctrs[s->ctr];

	switch (s->kind) {
	case STEP_SAVE:
		pod->saved = true;
		break;
	case STEP_ADMIT:
		pod->admitted = pod->saved = true;
		break;
	case STEP_CGROUP:
		pod->cgroup_up = true;
		break;
	case STEP_IMAGE:
		c->image = w->image;
		break;
	case STEP_NETWORK:
		pod->network_up = true;
		break;
	case STEP_VOLUMES:
		pod->volumes_up = true;
		break;
	case STEP_SANDBOX:
		pod->sandbox_state = SANDBOX_UP;
		break;
	case STEP_START:
		assert(c->phase != CTR_RUNNING);
		assert(pod->sandbox_state == SANDBOX_UP && pod->network_up &&
		       pod->volumes_up && pod->cgroup_up && pod->admitted);
		if (c->phase == CTR_EXITED)
			c->attempt++;
		c->phase = CTR_RUNNING;
		c->started_once = true;
		c->stop_sent_ms = c->kill_due_ms = 0;
		c->kill_sent = false;
		c->stop_why = STOP_NONE;
		break;
	case STEP_STOP:
		c->stop_sent_ms = NOW_MS;
		c->kill_due_ms = NOW_MS + rand_r(seed) % 100;
		break;
	case STEP_KILL:
		c->kill_sent = true;
		break;
	case STEP_SANDBOX_DOWN:
		for (size_t i = 0; i < pod->nr_ctrs; i++)
			assert(w->ctrs[i].phase != CTR_RUNNING);
		pod->sandbox_state = SANDBOX_NONE;
		break;
	case STEP_NETWORK_DOWN:
		pod->network_up = false;
		break;
	case STEP_VOLUMES_DOWN:
		pod->volumes_up = false;
		break;
	case STEP_CGROUP_DOWN:
		pod->cgroup_up = false;
		break;
	case STEP_RELEASE:
		pod->admitted = false;
		break;
	case STEP_FORGET:
		assert(!pod->network_up && !pod->cgroup_up &&
		       pod->sandbox_state == SANDBOX_NONE);
		pod->gone = true;
		break;
	default:
		break;
	}
}

static void disturb(struct world *w, unsigned int *seed)
{
	struct ctr *c = &w->ctrs[(size_t)rand_r(seed) % w->pod.nr_ctrs];

	switch (rand_r(seed) % 8) {
	case 0: /* the supervisor is killed, and all in it */
		w->pod.sandbox_state = SANDBOX_NONE;
		for (size_t i = 0; i < w->pod.nr_ctrs; i++)
			if (w->ctrs[i].phase == CTR_RUNNING)
				ends(&w->ctrs[i], 137);
		break;
	case 1:
	case 2:
		if (c->phase == CTR_RUNNING)
			ends(c, (int)(rand_r(seed) % 2));
		break;
	case 3:
		if (c->phase == CTR_RUNNING && !c->stop_sent_ms)
			c->stop_why = STOP_LIVENESS;
		break;
	case 4: /* the agent starts anew: it finds things, or makes them again
		 */
		w->pod.network_up = w->pod.cgroup_up = w->pod.volumes_up =
			false;
		break;
	default:
		break;
	}
}

TEST(whatever_happens_a_deleted_pod_is_gone_in_the_end)
{
	unsigned int seed = 4711;

	for (int run = 0; run < 20000; run++) {
		size_t nr = 1 + (size_t)rand_r(&seed) % 4;
		struct world *w = world((size_t)rand_r(&seed) % nr, nr, false);
		uint64_t ms = NOW_MS;
		int rounds;

		w->spec.restart = (enum restart_policy)(rand_r(&seed) % 3);
		for (rounds = 0; rounds < 500 && !w->pod.gone; rounds++) {
			const struct plan *p = plan_at(w, ms++);
			size_t upto =
				p->nr ? (size_t)rand_r(&seed) % p->nr + 1 : 0;

			/* The agent may die between any two steps. */
			for (size_t i = 0; i < upto && !w->pod.gone; i++)
				do_step(w, &p->steps[i], &seed);
			if (rounds < 40)
				disturb(w, &seed);
			if (rounds == 40) {
				w->pod.deleting = true;
				w->pod.delete_due_ms = ms + 20;
			}
			if (rounds > 40)
				for (size_t i = 0; i < nr; i++)
					if (w->ctrs[i].kill_sent)
						ends(&w->ctrs[i], 137);
		}
		if (!w->pod.gone) {
			FAIL("run %d: still there after %d rounds", run,
			     rounds);
			return;
		}
	}
}

TEST_MAIN()
