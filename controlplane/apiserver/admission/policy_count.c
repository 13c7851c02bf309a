// SPDX-License-Identifier: Apache-2.0
/* apiserver_validating_admission_policy_*: the system's policies by name, all
 * of the tenants' own as one. */
#include <pthread.h>
#include <stdio.h>

#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/internal.h"
#include "lib/prom.h"
#include "lib/str.h"

#define SERIES_MAX 1024 /* more are counted as one */

static const struct prom_bounds seconds = {
	.nr = 5,
	.unit = 1000000000,
	.v = { 500, 1000000, 10000000, 100000000, 1000000000 },
};

struct policy_counts {
	pthread_mutex_t lock;
	struct map series; /* labels -> struct prom_histogram */
};

struct policy_counts *policy_counts_new(void)
{
	struct policy_counts *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void policy_counts_free(struct policy_counts *c)
{
	if (!c)
		return;
	map_clear(&c->series, free);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void put_labels(char *out, size_t size, const char *policy,
		       const char *binding, const char *error,
		       const char *action)
{
	snprintf(out, size,
		 "enforcement_action=\"%s\",error_type=\"%s\",policy=\"%s\","
		 "policy_binding=\"%s\"",
		 action, error, policy ? policy : "(tenants)",
		 policy ? binding : "(tenants)");
}

void policy_count(struct policy_counts *c, const char *policy,
		  const char *binding, const char *error, const char *action,
		  uint64_t took_ns)
{
	struct prom_histogram *h;
	char labels[768];

	/* Names are of objects: they need no quoting. */
	put_labels(labels, sizeof(labels), policy, binding, error, action);
	pthread_mutex_lock(&c->lock);
	h = map_get(&c->series, labels);
	if (!h && map_len(&c->series) >= SERIES_MAX) {
		put_labels(labels, sizeof(labels), "(others)", "(others)",
			   error, action);
		h = map_get(&c->series, labels);
	}
	if (!h) {
		h = calloc(1, sizeof(*h));
		if (h && map_set(&c->series, labels, h, NULL)) {
			free(h);
			h = NULL;
		}
	}
	if (h)
		prom_observe(h, &seconds, took_ns);
	pthread_mutex_unlock(&c->lock);
}

void policy_metrics(struct api *api, struct buf *b)
{
	static const char total[] =
		"apiserver_validating_admission_policy_check_total";
	static const char took[] =
		"apiserver_validating_admission_policy_check_duration_seconds";
	struct policy_counts *c = api->policies->counts;
	struct map_iter it = MAP_ITER_INIT;

	pthread_mutex_lock(&c->lock);
	prom_head(b, total, "counter",
		  "Validation admission policy check total, labeled by policy "
		  "and further identified by binding and enforcement action "
		  "taken.");
	while (map_next(&c->series, &it)) {
		struct prom_sum sum = { 0 };
		uint64_t nr = 0;

		prom_collect(&sum, it.value);
		for (unsigned i = 0; i <= seconds.nr; i++)
			nr += sum.counts[i];
		prom_put(b, total, it.key, nr);
	}
	prom_head(b, took, "histogram",
		  "Validation admission latency for individual validation "
		  "expressions in seconds, labeled by policy and further "
		  "including binding and enforcement action taken.");
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&c->series, &it)) {
		struct prom_sum sum = { 0 };

		prom_collect(&sum, it.value);
		prom_put_histogram(b, took, it.key, &seconds, &sum);
	}
	pthread_mutex_unlock(&c->lock);
}
