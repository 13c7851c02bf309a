// SPDX-License-Identifier: Apache-2.0
/* The pod as a whole: metadata, what its parts share, and sums over them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/spec.h"
#include "lib/str.h"
#include "agent/spec_fields.h"
#include "agent/total.h"

struct resources pod_spec_total(const struct pod_spec *spec)
{
	struct totals t = totals_of(spec);

	return totals_bounds(&t);
}

static bool any(const struct resources *r)
{
	return (r->requests.has_cpu && r->requests.cpu_milli) ||
	       (r->requests.has_mem && r->requests.mem_bytes) ||
	       (r->limits.has_cpu && r->limits.cpu_milli) ||
	       (r->limits.has_mem && r->limits.mem_bytes);
}

static bool guaranteed(const struct resources *r)
{
	return r->limits.has_cpu && r->limits.cpu_milli && r->limits.has_mem &&
	       r->limits.mem_bytes &&
	       r->requests.cpu_milli == r->limits.cpu_milli &&
	       r->requests.mem_bytes == r->limits.mem_bytes;
}

enum qos pod_spec_qos(const struct pod_spec *spec)
{
	bool some = false, all = true;

	if (spec->vm) {
		some = any(&spec->vm->resources);
		all = guaranteed(&spec->vm->resources);
	}
	for (size_t i = 0; i < spec->nr_containers; i++) {
		some |= any(&spec->containers[i].resources);
		all &= guaranteed(&spec->containers[i].resources);
	}
	for (size_t i = 0; i < spec->nr_init; i++) {
		some |= any(&spec->init[i].resources);
		all &= guaranteed(&spec->init[i].resources);
	}
	if (!some)
		return QOS_BEST_EFFORT;
	return all ? QOS_GUARANTEED : QOS_BURSTABLE;
}

const char *qos_name(enum qos qos)
{
	static const char *const names[] = {
		[QOS_GUARANTEED] = "Guaranteed",
		[QOS_BURSTABLE] = "Burstable",
		[QOS_BEST_EFFORT] = "BestEffort",
	};

	return names[qos];
}

const struct container_spec *pod_spec_container(const struct pod_spec *spec,
						const char *name)
{
	for (size_t i = 0; i < spec->nr_containers; i++)
		if (str_eq(spec->containers[i].name, name))
			return &spec->containers[i];
	for (size_t i = 0; i < spec->nr_init; i++)
		if (str_eq(spec->init[i].name, name))
			return &spec->init[i];
	return NULL;
}

void pod_spec_free(struct pod_spec *spec)
{
	if (!spec)
		return;
	free(spec->tenant);
	free(spec->namespace);
	free(spec->name);
	free(spec->uid);
	spec_key_values_clear(&spec->labels);
	spec_key_values_clear(&spec->annotations);
	free(spec->network);
	free(spec->requested_ip);
	free(spec->hostname);
	free(spec->subdomain);
	spec_strv_clear(&spec->dns.nameservers);
	spec_strv_clear(&spec->dns.searches);
	spec_key_values_clear(&spec->dns.options);
	for (size_t i = 0; i < spec->nr_volumes; i++) {
		free(spec->volumes[i].name);
		free(spec->volumes[i].path);
	}
	free(spec->volumes);
	spec_key_values_clear(&spec->host_aliases);
	spec_key_values_clear(&spec->sysctls);
	for (size_t i = 0; i < spec->nr_init; i++)
		spec_container_clear(&spec->init[i]);
	free(spec->init);
	for (size_t i = 0; i < spec->nr_containers; i++)
		spec_container_clear(&spec->containers[i]);
	free(spec->containers);
	spec_vm_free(spec->vm);
	free(spec->json);
	free(spec);
}

static bool adds_sys_admin(const struct container_spec *c)
{
	const struct security_spec *s = &c->security;

	for (size_t i = 0; i < s->cap_add.nr && !s->privileged; i++) {
		const char *name = s->cap_add.v[i];

		if (strncasecmp(name, "CAP_", 4) == 0)
			name += 4;
		if (strcasecmp(name, "SYS_ADMIN") == 0 ||
		    strcasecmp(name, "ALL") == 0)
			return true;
	}
	return false;
}

static bool any_privileged(const struct pod_spec *spec)
{
	bool any = false;

	for (size_t i = 0; i < spec->nr_init; i++)
		any |= spec->init[i].security.privileged;
	for (size_t i = 0; i < spec->nr_containers; i++)
		any |= spec->containers[i].security.privileged;
	return any;
}

bool pod_spec_may_mount(const struct pod_spec *spec)
{
	bool may = false;

	for (size_t i = 0; i < spec->nr_init; i++)
		may |= adds_sys_admin(&spec->init[i]);
	for (size_t i = 0; i < spec->nr_containers; i++)
		may |= adds_sys_admin(&spec->containers[i]);
	/* The host is what a privileged container is for. */
	return may && !any_privileged(spec);
}
