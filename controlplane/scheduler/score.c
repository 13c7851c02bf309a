// SPDX-License-Identifier: Apache-2.0
/*
 * The scan. Scores are those of Kubernetes' default profile: least allocated
 * and balanced (weight 1 each), preferred affinity (2) and taints (3) from the
 * class, and spreading over nodes and zones (2).
 */
#include <math.h>
#include <stdlib.h>

#include "controlplane/scheduler/class.h"

static bool ext_fits(const struct sclass *k, const struct columns *c,
		     uint32_t row)
{
	for (unsigned i = 0; i < k->ask.nr_ext; i++)
		if (columns_ext_free(c, row, k->ask.ext[i].name) <
		    k->ask.ext[i].amount)
			return false;
	return true;
}

/* Nothing asked is no reason to stay away from an over-committed node. */
static inline bool room(int64_t free, int64_t want)
{
	return !want || free >= want;
}

bool class_fits(const struct sclass *k, const struct columns *c, uint32_t i)
{
	const struct ask *a = &k->ask;

	return c->live[i] && !k->verdict[i] && c->pods[i] >= 1 &&
	       room(c->cpu[i], a->cpu_milli) && room(c->mem[i], a->mem_bytes) &&
	       room(c->eph[i], a->eph_bytes) &&
	       (!a->nr_ports || columns_port_free(c, i, a)) &&
	       (!a->nr_ext || ext_fits(k, c, i));
}

static inline float score(const struct sclass *k, const struct columns *c,
			  uint32_t i, float same_part, float zone_part)
{
	float cpu =
		(float)(c->cpu_score[i] - k->ask.cpu_score) * c->cpu_part[i];
	float mem =
		(float)(c->mem_score[i] - k->ask.mem_score) * c->mem_part[i];
	float spread;

	cpu = cpu < 0 ? 0 : cpu;
	mem = mem < 0 ? 0 : mem;
	spread = (float)k->same[i] * same_part;
	if (zone_part > 0 && c->zone[i] < k->nr_zones)
		spread += (float)k->zone_same[c->zone[i]] * zone_part;
	return (cpu + mem) * 50.0f + 100.0f - fabsf(cpu - mem) * 50.0f +
	       k->bonus[i] - spread;
}

uint32_t class_decide(const struct sclass *k, const struct columns *c,
		      uint32_t start)
{
	float same_part = k->most_same ? 100.0f / (float)k->most_same : 0;
	float zone_part = k->most_zone ? 100.0f / (float)k->most_zone : 0;
	uint32_t best = NODE_NONE;
	float most = -1e30f;
	size_t nr = c->nr;

	if (!nr)
		return NODE_NONE;
	start %= (uint32_t)nr;
	for (int part = 0; part < 2; part++) {
		uint32_t from = part ? 0 : start;
		uint32_t to = part ? start : (uint32_t)nr;

		for (uint32_t i = from; i < to; i++) {
			float s;

			if (!class_fits(k, c, i))
				continue;
			s = score(k, c, i, same_part, zone_part);
			if (s > most) {
				most = s;
				best = i;
			}
		}
	}
	return best;
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
	if (sign > 0 && k->same[row] < UINT16_MAX) {
		if (++k->same[row] > k->most_same)
			k->most_same = k->same[row];
	} else if (sign < 0 && k->same[row]) {
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
	free(k->zone_same);
	free(k->message);
	free(k);
}
