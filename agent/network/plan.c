// SPDX-License-Identifier: Apache-2.0
#include "agent/network/plan.h"

const char *endpoint_step_name(enum endpoint_step step)
{
	static const char *const names[STEP_NR] = {
		[STEP_FORGET_LINK] = "forget-link",
		[STEP_LINK_REMOVE] = "link-remove",
		[STEP_HIDE] = "hide",
		[STEP_NS_REMOVE] = "ns-remove",
		[STEP_NS_CREATE] = "ns-create",
		[STEP_LINK_CREATE] = "link-create",
		[STEP_NS_CONFIGURE] = "ns-configure",
		[STEP_LINK_KNOWN] = "link-known",
		[STEP_PROGRAM] = "program",
		[STEP_LINK_UP] = "link-up",
		[STEP_SHOW] = "show",
	};

	return step < STEP_NR ? names[step] : "unknown";
}

struct steps {
	enum endpoint_step *v;
	size_t nr;
};

static void add_if(struct steps *s, bool needed, enum endpoint_step step)
{
	if (needed)
		s->v[s->nr++] = step;
}

static void plan_absent(struct steps *s, const struct endpoint_have *have)
{
	add_if(s, have->known_any || have->known_old, STEP_FORGET_LINK);
	add_if(s, have->link, STEP_LINK_REMOVE);
	add_if(s, have->shown_any, STEP_HIDE);
	add_if(s, have->ns_pin, STEP_NS_REMOVE);
}

static void plan_present(struct steps *s, const struct endpoint_have *have,
			 bool has_ns)
{
	bool new_ns = has_ns && !have->ns;
	bool link_stays = have->link && have->link_right && !new_ns;

	add_if(s, have->known_old || (have->known_any && !link_stays),
	       STEP_FORGET_LINK);
	add_if(s, have->link && !link_stays, STEP_LINK_REMOVE);
	add_if(s, have->shown_any && !link_stays, STEP_HIDE);
	add_if(s, new_ns && have->ns_pin, STEP_NS_REMOVE);
	add_if(s, new_ns, STEP_NS_CREATE);
	add_if(s, !link_stays, STEP_LINK_CREATE);
	add_if(s, !(link_stays && have->known), STEP_LINK_KNOWN);
	add_if(s, !(link_stays && have->program), STEP_PROGRAM);
	add_if(s, !(link_stays && have->up), STEP_LINK_UP);
	add_if(s, has_ns && !(link_stays && have->configured),
	       STEP_NS_CONFIGURE);
	add_if(s, !(link_stays && have->shown), STEP_SHOW);
}

size_t endpoint_plan(const struct endpoint_want *want,
		     const struct endpoint_have *have,
		     enum endpoint_step ret_steps[STEP_NR])
{
	struct steps s = { ret_steps, 0 };

	if (want->present)
		plan_present(&s, have, want->has_ns);
	else
		plan_absent(&s, have);
	return s.nr;
}
