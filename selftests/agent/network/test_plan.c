// SPDX-License-Identifier: Apache-2.0
/* All 4096 things that may be found, and every place to stop at: the plan leads
 * to where it should, and never through a state in which a link is open. */
#include "agent/network/plan.h"
#include "selftests/harness.h"

static struct endpoint_have have_from(unsigned int bits, bool has_ns)
{
	struct endpoint_have h = {
		.ns_pin = has_ns && (bits & 1),
		.ns = has_ns && (bits & 1) && (bits & 2),
		.link = bits & 4,
	};

	h.link_right = h.link && (bits & 8) && (!has_ns || h.ns);
	h.configured = has_ns && h.link_right && (bits & 16);
	h.known_any = h.link && (bits & 32);
	h.known = h.known_any && (bits & 2048);
	h.known_old = bits & 64;
	h.program = h.link && (bits & 128);
	h.up = h.link && (bits & 256);
	h.shown_any = bits & 512;
	h.shown = h.link && h.shown_any && (bits & 1024);
	return h;
}

static void remove_link(struct endpoint_have *h)
{
	h->known_old |= h->known_any;
	h->link = h->link_right = h->configured = false;
	h->known = h->known_any = false;
	h->program = h->up = h->shown = false;
}

/* What the world does when a step is taken. False: it cannot be. */
static bool take(struct endpoint_have *h, enum endpoint_step step,
		 bool link_goes)
{
	switch (step) {
	case STEP_FORGET_LINK:
		h->known_old = false;
		if (link_goes)
			h->known = h->known_any = false;
		return true;
	case STEP_LINK_REMOVE:
		remove_link(h);
		return true;
	case STEP_HIDE:
		h->shown = h->shown_any = false;
		return true;
	case STEP_NS_REMOVE:
		h->ns = h->ns_pin = false;
		return true;
	case STEP_NS_CREATE:
		h->ns = h->ns_pin = true;
		return true;
	case STEP_LINK_CREATE:
		if (h->link)
			return false;
		h->link = h->link_right = true;
		return true;
	case STEP_LINK_KNOWN:
		return h->known = h->known_any = h->link;
	case STEP_PROGRAM:
		return h->program = h->link;
	case STEP_LINK_UP:
		return h->up = h->link && h->known && h->program;
	case STEP_NS_CONFIGURE:
		return h->configured = h->link_right && h->ns;
	case STEP_SHOW:
		h->shown_any = true;
		return h->shown = h->link;
	case STEP_NR:
		break;
	}
	return false;
}

static bool is_there(const struct endpoint_have *h, bool has_ns)
{
	return h->link_right && h->known && h->program && h->up && h->shown &&
	       !h->known_old && (!has_ns || (h->ns && h->configured));
}

static bool is_gone(const struct endpoint_have *h)
{
	return !h->link && !h->known_any && !h->known_old && !h->shown_any &&
	       !h->ns_pin;
}

/* Follow the plan for @stop steps, then make a new one to the end. */
static void follow(int *verdict_, unsigned int bits, bool has_ns, bool present,
		   size_t stop)
{
	const struct endpoint_want want = { present, has_ns };
	struct endpoint_have h = have_from(bits, has_ns);
	enum endpoint_step steps[STEP_NR];

	for (int round = 0; round < 2; round++) {
		size_t nr = endpoint_plan(&want, &h, steps);
		bool link_goes = false;

		for (size_t i = 0; i < nr; i++)
			link_goes |= steps[i] == STEP_LINK_REMOVE;
		if (round == 0 && stop < nr)
			nr = stop;
		for (size_t i = 0; i < nr; i++)
			if (!take(&h, steps[i], link_goes))
				FAIL("%x %d: '%s' cannot be", bits, has_ns,
				     endpoint_step_name(steps[i]));
	}
	if (present ? !is_there(&h, has_ns) : !is_gone(&h))
		FAIL("%x: ns %d, present %d, stop %zu: not where it should be",
		     bits, has_ns, present, stop);
	if (endpoint_plan(&want, &h, steps) != 0)
		FAIL("%x: something is left to do", bits);
}

TEST(every_plan_leads_there_from_everywhere)
{
	for (unsigned int bits = 0; bits < 4096; bits++)
		for (size_t stop = 0; stop <= STEP_NR; stop++)
			for (int i = 0; i < 4; i++)
				follow(verdict_, bits, i & 1, i & 2, stop);
}

TEST(what_is_as_it_should_be_is_left_alone)
{
	const struct endpoint_want want = { true, true };
	const struct endpoint_have have = {
		.ns_pin = true,
		.ns = true,
		.link = true,
		.link_right = true,
		.configured = true,
		.known_any = true,
		.known = true,
		.program = true,
		.up = true,
		.shown = true,
		.shown_any = true,
	};
	enum endpoint_step steps[STEP_NR];

	EXPECT_EQ(endpoint_plan(&want, &have, steps), 0);
}

TEST_MAIN()
