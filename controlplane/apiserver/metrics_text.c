// SPDX-License-Identifier: Apache-2.0
/* /metrics: what the threads have counted, added up, as Kubernetes names it. */
#include <stdio.h>
#include <sys/statvfs.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/metrics_internal.h"
#include "controlplane/apiserver/origin.h"
#include "lib/str.h"

/* One series, of all threads. */
struct total {
	const struct series *of;
	struct prom_sum seconds, bytes;
	uint64_t open, events;
	size_t nr_codes;
	struct {
		int code;
		uint64_t nr;
	} codes[2 * CODES_MAX];
};

static void add_codes(struct total *t, struct series *s)
{
	unsigned nr = atomic_load_explicit(&s->nr_codes, memory_order_acquire);

	for (unsigned i = 0; i < nr; i++) {
		size_t j = 0;

		while (j < t->nr_codes && t->codes[j].code != s->codes[i].code)
			j++;
		if (j == ARRAY_LEN(t->codes))
			continue;
		if (j == t->nr_codes)
			t->nr_codes++;
		t->codes[j].code = s->codes[i].code;
		t->codes[j].nr += prom_get(&s->codes[i].nr);
	}
}

static void add_series(struct map *totals, struct series *s)
{
	auto_free char *name =
		str_printf("%s%s", s->labels, s->dry_run ? "!" : "");
	struct total *t = name ? map_get(totals, name) : NULL;

	if (!name)
		return;
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t || map_set(totals, name, t, NULL) < 0) {
			free(t);
			return;
		}
		t->of = s;
	}
	prom_collect(&t->seconds, &s->seconds);
	prom_collect(&t->bytes, &s->bytes);
	t->open += prom_get(&s->open);
	t->events += prom_get(&s->events);
	add_codes(t, s);
}

static void collect(struct api *api, struct map *totals)
{
	for (unsigned i = 0; i < api->nr_loops; i++) {
		struct metrics *m = api->loops[i].metrics;

		for (size_t j = 0; j < SLOTS; j++) {
			struct series *s =
				atomic_load_explicit(&m->slots[j],
						     memory_order_acquire);

			if (s)
				add_series(totals, s);
		}
	}
}

static void put_requests(struct map *totals, struct buf *b)
{
	struct map_iter it = MAP_ITER_INIT;

	prom_head(b, "apiserver_request_total", "counter",
		  "Counter of apiserver requests broken out for each verb, "
		  "dry run value, group, version, resource, scope, component, "
		  "and HTTP response code.");
	while (map_next(totals, &it)) {
		const struct total *t = it.value;

		for (size_t i = 0; i < t->nr_codes; i++)
			buf_printf(b,
				   "apiserver_request_total{code=\"%d\","
				   "dry_run=\"%s\",%s} %llu\n",
				   t->codes[i].code,
				   t->of->dry_run ? "All" : "", t->of->labels,
				   (unsigned long long)t->codes[i].nr);
	}
}

static void put_seconds(struct map *totals, const char *name, bool long_too,
			struct buf *b)
{
	struct map_iter it = MAP_ITER_INIT;

	while (map_next(totals, &it)) {
		const struct total *t = it.value;
		auto_free char *labels =
			str_printf("dry_run=\"%s\",%s",
				   t->of->dry_run ? "All" : "", t->of->labels);

		if (t->nr_codes && labels && (long_too || !t->of->long_running))
			prom_put_histogram(b, name,
					   long_too ? labels : t->of->labels,
					   &metrics_seconds, &t->seconds);
	}
}

static void put_bytes(struct map *totals, struct buf *b)
{
	struct map_iter it = MAP_ITER_INIT;

	prom_head(b, "apiserver_response_sizes", "histogram",
		  "Response size distribution in bytes for each group, "
		  "version, verb, resource, subresource, scope and component.");
	while (map_next(totals, &it)) {
		const struct total *t = it.value;

		if (t->nr_codes && t->of->sized)
			prom_put_histogram(b, "apiserver_response_sizes",
					   t->of->labels, &metrics_bytes,
					   &t->bytes);
	}
}

static void put_watches(struct map *totals, struct buf *b)
{
	struct map_iter it = MAP_ITER_INIT;
	struct map kinds = MAP_INIT;
	uint64_t *n;

	prom_head(b, "apiserver_longrunning_requests", "gauge",
		  "Gauge of all active long-running apiserver requests broken "
		  "out by verb, group, version, resource, scope and component.");
	while (map_next(totals, &it)) {
		const struct total *t = it.value;

		if (t->of->long_running)
			prom_put(b, "apiserver_longrunning_requests",
				 t->of->labels, t->open);
		if (!t->of->kind)
			continue;
		/* Over all scopes. */
		n = map_get(&kinds, t->of->kind);
		if (!n) {
			n = calloc(1, sizeof(*n));
			if (n && map_set(&kinds, t->of->kind, n, NULL) < 0) {
				free(n);
				n = NULL;
			}
		}
		if (n)
			*n += t->events;
	}
	prom_head(b, "apiserver_watch_events_total", "counter",
		  "Number of events sent in watch clients.");
	it = (struct map_iter)MAP_ITER_INIT;
	while (map_next(&kinds, &it))
		prom_put(b, "apiserver_watch_events_total", it.key,
			 *(uint64_t *)it.value);
	map_clear(&kinds, free);
}

static uint64_t sum_of(const struct loop *v, unsigned int nr, size_t offset)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < nr; i++)
		n += prom_get((prom_counter *)((char *)v[i].metrics + offset));
	return n;
}

#define SUM(api, field) \
	sum_of((api)->loops, (api)->nr_loops, offsetof(struct metrics, field))

static void put_server(struct api *api, struct buf *b)
{
	prom_head(b, "apiserver_current_inflight_requests", "gauge",
		  "Number of requests being served, by kind.");
	prom_put(b, "apiserver_current_inflight_requests",
		 "request_kind=\"mutating\"", SUM(api, writing));
	prom_put(b, "apiserver_current_inflight_requests",
		 "request_kind=\"readOnly\"", SUM(api, reading));
	prom_head(b, "apiserver_tls_handshake_errors_total", "counter",
		  "Number of requests dropped with 'TLS handshake error from' "
		  "error");
	prom_put(b, "apiserver_tls_handshake_errors_total", "",
		 sum_of(api->greeters, api->nr_greeters,
			offsetof(struct metrics, handshakes_failed)));
	prom_head(b, "authentication_attempts", "counter",
		  "Counter of authenticated attempts.");
	prom_put(b, "authentication_attempts", "result=\"success\"",
		 SUM(api, known));
	prom_put(b, "authentication_attempts", "result=\"failure\"",
		 SUM(api, unknown));
	prom_head(b, "arktos_apiserver_connections", "gauge",
		  "Connections open.");
	prom_put(b, "arktos_apiserver_connections", "",
		 atomic_load(&api->nr_conns));
	prom_head(b, "arktos_relayed_requests", "gauge",
		  "Requests that nodes and extension servers are answering.");
	prom_put(b, "arktos_relayed_requests", "",
		 atomic_load(&api->nr_relays));
	origin_metrics(api, b);
	audit_metrics(api, b);
	prom_head(b, "kubernetes_build_info", "gauge",
		  "A metric with a constant '1' value labeled by the version "
		  "of Kubernetes' API and of the program that serves it.");
	prom_put(b, "kubernetes_build_info",
		 "git_version=\"" VERSION_TEXT "+arktos-" ARKTOS_VERSION
		 "\",major=\"1\",minor=\"32\"",
		 1);
}

static void put_objects(struct api *api, struct buf *b)
{
	prom_head(b, "apiserver_storage_objects", "gauge",
		  "Number of stored objects at the time of last check split "
		  "by kind.");
	for (size_t i = 0; i < api->types->nr; i++) {
		const struct type *t = &api->types->types[i];
		auto_buf struct buf prefix = BUF_INIT;
		char labels[256];

		if (t->virtual || t->stored)
			continue;
		buf_printf(&prefix, "%s/%s/", *t->group ? t->group : "core",
			   t->plural);
		snprintf(labels, sizeof(labels), "resource=\"%s%s%s\"",
			 t->plural, *t->group ? "." : "", t->group);
		prom_put(b, "apiserver_storage_objects", labels,
			 store_count(api->store, buf_str(&prefix)));
	}
}

/* Room beside the embedded store. */
static void put_room(const struct api *api, struct buf *b)
{
	struct statvfs fs;

	if (statvfs(api->data_dir, &fs) < 0)
		return;
	prom_head(b, "arktos_store_available_bytes", "gauge",
		  "Free for the store, where it is embedded.");
	prom_put(b, "arktos_store_available_bytes", "",
		 (uint64_t)fs.f_bavail * fs.f_frsize);
	prom_head(b, "arktos_store_disk_bytes", "gauge",
		  "Size of the disk with the store, where it is embedded.");
	prom_put(b, "arktos_store_disk_bytes", "",
		 (uint64_t)fs.f_blocks * fs.f_frsize);
}

static void put_store(struct api *api, struct buf *b)
{
	struct store_stats st;

	store_stats(api->store, &st);
	if (st.file_bytes)
		put_room(api, b);
	prom_head(b, "apiserver_storage_size_bytes", "gauge",
		  "Size of the storage database file physically allocated in "
		  "bytes.");
	prom_put(b, "apiserver_storage_size_bytes", "storage_cluster_id=\"0\"",
		 st.file_bytes);
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} own[] = {
		{ "arktos_store_revision", "gauge", "Newest revision.",
		  st.revision },
		{ "arktos_store_compacted_revision", "gauge",
		  "Watches cannot begin before it.", st.compacted },
		{ "arktos_store_commits_total", "counter",
		  "Transactions written and synced; one holds many changes.",
		  st.commits },
		{ "arktos_store_changes_total", "counter",
		  "Objects created, changed and deleted.", st.changes },
		{ "arktos_store_failed_commits_total", "counter",
		  "Transactions that could not be written.",
		  st.failed_commits },
		{ "arktos_store_history_bytes", "gauge",
		  "Past states kept for watches.", st.history_bytes },
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		prom_head(b, own[i].name, own[i].type, own[i].help);
		prom_put(b, own[i].name, "", own[i].value);
	}
}

void metrics_text(struct api *api, struct buf *b)
{
	struct map totals = MAP_INIT;
	struct timespec real, mono;

	collect(api, &totals);
	put_requests(&totals, b);
	prom_head(b, "apiserver_request_duration_seconds", "histogram",
		  "Response latency distribution in seconds for each verb, "
		  "dry run value, group, version, resource, subresource, scope "
		  "and component.");
	put_seconds(&totals, "apiserver_request_duration_seconds", true, b);
	prom_head(b, "apiserver_request_sli_duration_seconds", "histogram",
		  "Response latency distribution in seconds of requests that "
		  "are not long-running.");
	put_seconds(&totals, "apiserver_request_sli_duration_seconds", false,
		    b);
	put_bytes(&totals, b);
	put_watches(&totals, b);
	map_clear(&totals, free);
	flow_metrics(api, b);
	policy_metrics(api, b);
	put_server(api, b);
	put_objects(api, b);
	put_store(api, b);
	if (api->more_metrics)
		api->more_metrics(api->more_arg, b);
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	prom_put_process(b,
			 (double)(real.tv_sec - mono.tv_sec) +
				 (double)(real.tv_nsec - mono.tv_nsec) / 1e9 +
				 (double)api->started.tv_sec +
				 (double)api->started.tv_nsec / 1e9);
}
