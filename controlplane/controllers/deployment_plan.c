// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/deployment_plan.h"

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void dep_limits(struct dep_want *w)
{
	if (w->recreate)
		w->surge = w->unavailable = 0;
	else if (!w->surge && !w->unavailable)
		w->unavailable = 1;
	w->unavailable = min(w->unavailable, w->replicas);
}

static int64_t total(const struct dep_rs *v, size_t nr)
{
	int64_t sum = 0;

	for (size_t i = 0; i < nr; i++)
		sum += v[i].spec;
	return sum;
}

int64_t dep_new_size(const struct dep_want *w, const struct dep_rs *v,
		     size_t nr)
{
	int64_t room = w->replicas + w->surge - total(v, nr);

	if (w->recreate)
		return w->replicas;
	return room <= 0 ? 0 : min(room, w->replicas);
}

/* --- the size itself has changed: in proportion --- */

static bool was_scaled(const struct dep_want *w, const struct dep_rs *v,
		       size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (v[i].spec > 0 && v[i].desired >= 0 &&
		    v[i].desired != w->replicas)
			return true;
	return false;
}

static int64_t share(const struct dep_want *w, const struct dep_rs *rs,
		     int64_t left, int64_t all)
{
	int64_t was = rs->max > 0 ? rs->max : all;
	int64_t size = w->replicas + (w->replicas ? w->surge : 0);
	int64_t now = was ? (rs->spec * size * 2 + was) / (was * 2) : size;
	int64_t n = now - rs->spec;

	return left > 0 ? min(max(n, 0), left) : max(min(n, 0), left);
}

static void scale(const struct dep_want *w, struct dep_rs *v, size_t nr)
{
	int64_t size = w->replicas ? w->replicas + w->surge : 0;
	int64_t all = total(v, nr), left, n;
	struct dep_rs *first = NULL, *only = NULL;
	size_t active = 0;

	for (size_t i = 0; i < nr; i++)
		if (v[i].spec > 0 || (v[i].is_new && !only)) {
			active += v[i].spec > 0;
			if (v[i].spec > 0 || !only)
				only = &v[i];
		}
	/* One set alone gets it all. */
	if (active <= 1) {
		if (only)
			only->to = w->replicas;
		return;
	}
	left = size - all;
	for (size_t i = 0; i < nr; i++) {
		/* Growing, the newest first; shrinking, the oldest. */
		struct dep_rs *rs = &v[left > 0 ? nr - 1 - i : i];

		if (rs->spec <= 0)
			continue;
		if (!first || rs->spec > first->spec)
			first = rs;
		n = left ? share(w, rs, left, all) : 0;
		rs->to = rs->spec + n;
		left -= n;
	}
	/* What rounding left goes to the largest. */
	if (first && left)
		first->to = max(first->to + left, 0);
}

/* --- the template has changed: step by step --- */

static void recreate(const struct dep_want *w, struct dep_rs *v, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (!v[i].is_new)
			v[i].to = 0;
		else if (!w->old_pods_left)
			v[i].to = w->replicas;
	}
}

static void grow_new(const struct dep_want *w, struct dep_rs *rs, int64_t all)
{
	int64_t room = w->replicas + w->surge - all;

	if (rs->spec > w->replicas)
		rs->to = w->replicas;
	else if (rs->spec < w->replicas && room > 0)
		rs->to = rs->spec + min(room, w->replicas - rs->spec);
}

/* Take old pods away: those that serve nobody at once, the others as far as
 * what must stay available allows. */
static void shrink_old(const struct dep_want *w, struct dep_rs *v, size_t nr,
		       const struct dep_rs *new)
{
	int64_t least = w->replicas - w->unavailable, serving = 0, left, n;

	left = total(v, nr) - least -
	       (new ? max(new->spec - new->available, 0) : 0);
	for (size_t i = 0; i < nr && left > 0; i++) {
		if (v[i].is_new || !v[i].spec)
			continue;
		n = min(max(v[i].spec - v[i].available, 0), left);
		v[i].to -= n;
		left -= n;
	}
	for (size_t i = 0; i < nr; i++)
		serving += v[i].is_new ? v[i].available
				       : min(v[i].available, v[i].to);
	left = serving - least;
	for (size_t i = 0; i < nr && left > 0; i++) {
		if (v[i].is_new)
			continue;
		n = min(v[i].to, left);
		v[i].to -= n;
		left -= n;
	}
}

void dep_plan(const struct dep_want *w, struct dep_rs *v, size_t nr)
{
	struct dep_rs *new = NULL;

	for (size_t i = 0; i < nr; i++) {
		v[i].to = v[i].spec;
		if (v[i].is_new)
			new = &v[i];
	}
	if (w->paused || (!w->recreate && was_scaled(w, v, nr))) {
		if (was_scaled(w, v, nr))
			scale(w, v, nr);
		return;
	}
	if (w->recreate) {
		recreate(w, v, nr);
		return;
	}
	if (new)
		grow_new(w, new, total(v, nr));
	/* One thing at a time: what was just started is no longer room. */
	if (new &&new->to == new->spec)
		shrink_old(w, v, nr, new);
	else if (new &&new->to > new->spec)
		return;
	else if (!new)
		shrink_old(w, v, nr, NULL);
}
