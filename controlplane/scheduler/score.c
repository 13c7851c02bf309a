// SPDX-License-Identifier: Apache-2.0
/*
 * The scan. Scores are those of Kubernetes' default profile: least allocated
 * and balanced (weight 1 each), preferred affinity (2) and taints (3) from the
 * class, and spreading over nodes and zones (2).
 */
#include <math.h>
#include <stdlib.h>

#include "controlplane/scheduler/class.h"

/* clang does so by itself. */
#ifdef __clang__
#define MANY_AT_ONCE
#else
#define MANY_AT_ONCE \
	__attribute__((optimize("O3", "no-trapping-math", "no-signed-zeros")))
#endif

static bool ext_fits(const struct sclass *k, const struct columns *c,
		     uint32_t row)
{
	for (unsigned i = 0; i < k->ask.nr_ext; i++)
		if (columns_ext_free(c, row, k->ask.ext[i].name) <
		    k->ask.ext[i].amount)
			return false;
	return true;
}

/* What a row must have at least: nothing asked is no reason to stay away from
 * an over-committed node. */
struct least {
	int32_t cpu, mem, eph;
};

static struct least least_of(const struct ask *a)
{
	return (struct least){
		.cpu = a->cpu_milli ? milli_of(a->cpu_milli) : INT32_MIN,
		.mem = a->mem_bytes ? units_up(a->mem_bytes) : INT32_MIN,
		.eph = a->eph_bytes ? units_up(a->eph_bytes) : INT32_MIN,
	};
}

bool class_fits(const struct sclass *k, const struct columns *c, uint32_t i)
{
	const struct ask *a = &k->ask;
	struct least l = least_of(a);

	return c->live[i] && !k->verdict[i] && c->pods[i] >= 1 &&
	       c->cpu[i] >= l.cpu && c->mem[i] >= l.mem && c->eph[i] >= l.eph &&
	       (!a->nr_ports || columns_port_free(c, i, a)) &&
	       (!a->nr_ext || ext_fits(k, c, i));
}

/*
 * All rows at once, without a branch, so that the compiler can take several in
 * one instruction. Zones are left to pick().
 */
MANY_AT_ONCE static void score_rows(const struct sclass *k,
				    const struct columns *c, size_t nr)
{
	const int32_t *restrict cpu = c->cpu, *restrict mem = c->mem;
	const int32_t *restrict eph = c->eph, *restrict pods = c->pods;
	const float *restrict cpu_free = c->cpu_free;
	const float *restrict mem_free = c->mem_free;
	const float *restrict cpu_part = c->cpu_part;
	const float *restrict mem_part = c->mem_part;
	const float *restrict bonus = k->bonus, *restrict same = k->same;
	float *restrict scores = k->scores;
	float cpu_ask = (float)k->ask.cpu_score;
	float mem_ask = (float)k->ask.mem_score;
	float part = k->most_same > 0 ? 100.0f / k->most_same : 0;
	struct least l = least_of(&k->ask);

	for (size_t i = 0; i < nr; i++) {
		float x = cpu_free[i] - cpu_ask * cpu_part[i];
		float y = mem_free[i] - mem_ask * mem_part[i];
		int room = (cpu[i] >= l.cpu) & (mem[i] >= l.mem) &
			   (eph[i] >= l.eph) & (pods[i] >= 1);
		float s;

		x = x > 0 ? x : 0;
		y = y > 0 ? y : 0;
		s = (x + y) * 50.0f + 100.0f - fabsf(x - y) * 50.0f + bonus[i] -
		    same[i] * part;
		scores[i] = room ? s : CLASS_NEVER;
	}
}

/* Pods in the emptiest zone: what every row is charged at least. */
static float least_zone(const struct sclass *k, const struct columns *c)
{
	uint32_t least = UINT32_MAX;

	/* The first one is that of rows without a zone. */
	for (uint32_t z = 1; z < k->nr_zones; z++)
		least = k->zone_same[z] < least ? k->zone_same[z] : least;
	return k->nr_zones > 1 && !c->zoneless ? (float)least : 0;
}

/* The best row, rows before @start coming last among equals. */
static uint32_t pick(const struct sclass *k, const struct columns *c,
		     uint32_t start)
{
	float part = k->most_zone ? 100.0f / (float)k->most_zone : 0;
	uint32_t best = NODE_NONE, nr = (uint32_t)c->nr;
	float most = CLASS_NEVER / 2, least = least_zone(k, c) * part;
	bool hard = k->ask.nr_ports || k->ask.nr_ext;

	for (int half = 0; half < 2; half++) {
		uint32_t to = half ? start : nr;

		for (uint32_t i = half ? 0 : start; i < to; i++) {
			float s = k->scores[i];

			if (s - least <= most)
				continue;
			if (part > 0 && c->zone[i] < k->nr_zones)
				s -= (float)k->zone_same[c->zone[i]] * part;
			if (s <= most || (hard && !class_fits(k, c, i)))
				continue;
			most = s;
			best = i;
		}
	}
	return best;
}

uint32_t class_decide(const struct sclass *k, const struct columns *c,
		      uint32_t start)
{
	if (!c->nr)
		return NODE_NONE;
	score_rows(k, c, c->nr);
	return pick(k, c, start % (uint32_t)c->nr);
}

static void count_zone(struct sclass *k, uint32_t zone, int sign)
{
	if (zone >= k->nr_zones) {
		uint32_t *v = realloc(k->zone_same, (zone + 1) * sizeof(*v));

		if (!v)
			return;
		for (uint32_t z = k->nr_zones; z <= zone; z++)
			v[z] = 0;
		k->zone_same = v;
		k->nr_zones = zone + 1;
	}
	if (sign > 0 && ++k->zone_same[zone] > k->most_zone)
		k->most_zone = k->zone_same[zone];
	else if (sign < 0 && k->zone_same[zone])
		k->zone_same[zone]--;
}

void class_count(struct sclass *k, const struct columns *c, uint32_t row,
		 int sign)
{
	if (row >= k->room)
		return;
	if (sign > 0) {
		k->same[row]++;
		if (k->same[row] > k->most_same)
			k->most_same = k->same[row];
	} else if (k->same[row] > 0) {
		k->same[row]--;
	}
	/* One zone alone is nothing to spread over. */
	if (map_len(&c->zones) > 1)
		count_zone(k, c->zone[row], sign);
}

void class_free(struct sclass *k)
{
	yyjson_doc_free(k->doc);
	free(k->key);
	free(k->verdict);
	free(k->bonus);
	free(k->same);
	free(k->scores);
	free(k->zone_same);
	free(k->message);
	free(k);
}
