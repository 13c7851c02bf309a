// SPDX-License-Identifier: Apache-2.0
/* What a client counts of its calls: on its loop's thread, without a lock. */
#include <stdio.h>

#include "controlplane/client/internal.h"

/* As Kubernetes' buckets. */
static const struct prom_bounds bounds = {
	.nr = 11,
	.unit = 1000000,
	.v = { 5000, 25000, 100000, 250000, 500000, 1000000, 2000000, 4000000,
	       8000000, 15000000, 60000000 },
};

uint64_t client_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void client_count(struct client *c, const struct client_call *call)
{
	unsigned nr =
		atomic_load_explicit(&c->nr_results, memory_order_relaxed);
	int status = call->status > 0 ? call->status : 0;
	struct client_result *r = c->results;

	if (!call->stream)
		prom_observe(&c->seconds, &bounds,
			     client_now_us() - call->started_us);
	while (r < c->results + nr &&
	       (r->status != status || strcmp(r->method, call->method) != 0))
		r++;
	if (r == c->results + CLIENT_RESULTS_MAX)
		return; /* a server that makes up codes */
	if (r == c->results + nr) {
		snprintf(r->method, sizeof(r->method), "%s", call->method);
		r->status = status;
		atomic_store_explicit(&c->nr_results, nr + 1,
				      memory_order_release);
	}
	prom_add(&r->nr, 1);
}

void client_metrics(struct client *c, struct buf *b)
{
	unsigned nr =
		atomic_load_explicit(&c->nr_results, memory_order_acquire);
	struct prom_sum sum = { .sum = 0 };
	char labels[400];

	prom_head(b, "rest_client_requests_total", "counter",
		  "Number of HTTP requests, partitioned by status code, "
		  "method, and host.");
	for (unsigned i = 0; i < nr; i++) {
		struct client_result *r = &c->results[i];
		char code[16] = "<error>";

		if (r->status)
			snprintf(code, sizeof(code), "%d", r->status);
		snprintf(labels, sizeof(labels),
			 "code=\"%s\",host=\"%.200s:%s\",method=\"%s\"", code,
			 c->to->host, c->to->port, r->method);
		prom_put(b, "rest_client_requests_total", labels,
			 prom_get(&r->nr));
	}
	prom_collect(&sum, &c->seconds);
	snprintf(labels, sizeof(labels), "host=\"%.200s:%s\"", c->to->host,
		 c->to->port);
	prom_head(b, "rest_client_request_duration_seconds", "histogram",
		  "Request latency in seconds, of what is no watch.");
	prom_put_histogram(b, "rest_client_request_duration_seconds", labels,
			   &bounds, &sum);
}
