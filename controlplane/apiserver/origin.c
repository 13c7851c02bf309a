// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/origin.h"
#include "lib/prom.h"

struct origin {
	unsigned int nr, nr_unknown;
	char name[INET6_ADDRSTRLEN];
};

struct origins {
	pthread_mutex_t lock;
	struct map all; /* those with connections */
	unsigned int max, max_unknown;
	uint64_t refused, refused_unknown;
};

int origins_open(struct api *api, const struct api_limits *limits)
{
	struct origins *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	s->max = limits->address_conns ? limits->address_conns : 5000;
	s->max_unknown =
		limits->address_unknown ? limits->address_unknown : 500;
	api->origins = s;
	return 0;
}

void origins_close(struct api *api)
{
	struct origins *s = api->origins;

	if (!s)
		return;
	map_clear(&s->all, free);
	pthread_mutex_destroy(&s->lock);
	free(s);
	api->origins = NULL;
}

/* Its name; true for the loopback. */
static bool name_of(const struct sockaddr_storage *from, char *buf, size_t size)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;
	struct in6_addr net = v6->sin6_addr;
	struct in_addr a = v4->sin_addr;

	if (from->ss_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&net)) {
		bool loopback = IN6_IS_ADDR_LOOPBACK(&net);

		memset(net.s6_addr + 8, 0, 8);
		inet_ntop(AF_INET6, &net, buf, (socklen_t)size);
		return loopback;
	}
	if (from->ss_family == AF_INET6)
		memcpy(&a, net.s6_addr + 12, sizeof(a));
	inet_ntop(AF_INET, &a, buf, (socklen_t)size);
	return ntohl(a.s_addr) >> 24 == IN_LOOPBACKNET;
}

static struct origin *find(struct origins *s, const char *name)
{
	struct origin *o = map_get(&s->all, name);

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	snprintf(o->name, sizeof(o->name), "%s", name);
	if (map_set(&s->all, name, o, NULL) < 0) {
		free(o);
		return NULL;
	}
	return o;
}

static void drop_unused(struct origins *s, struct origin *o)
{
	if (o->nr)
		return;
	map_del(&s->all, o->name);
	free(o);
}

struct origin *origin_enter(struct api *api,
			    const struct sockaddr_storage *from)
{
	struct origins *s = api->origins;
	char name[INET6_ADDRSTRLEN];
	unsigned int times =
		name_of(from, name, sizeof(name)) ? ORIGIN_LOOPBACK_TIMES : 1;
	struct origin *o;
	bool ok = false;

	pthread_mutex_lock(&s->lock);
	o = find(s, name);
	if (!o)
		;
	else if (o->nr / times >= s->max)
		s->refused++;
	else if (o->nr_unknown / times >= s->max_unknown)
		s->refused_unknown++;
	else
		ok = true;
	if (ok) {
		o->nr++;
		o->nr_unknown++;
	} else if (o) {
		drop_unused(s, o);
	}
	pthread_mutex_unlock(&s->lock);
	return ok ? o : NULL;
}

const char *origin_name(const struct origin *o)
{
	return o->name;
}

void origin_known(struct api *api, struct origin *o)
{
	struct origins *s = api->origins;

	pthread_mutex_lock(&s->lock);
	o->nr_unknown--;
	pthread_mutex_unlock(&s->lock);
}

void origin_leave(struct api *api, struct origin *o, bool known)
{
	struct origins *s = api->origins;

	pthread_mutex_lock(&s->lock);
	o->nr--;
	o->nr_unknown -= !known;
	drop_unused(s, o);
	pthread_mutex_unlock(&s->lock);
}

void origin_metrics(struct api *api, struct buf *b)
{
	struct origins *s = api->origins;
	uint64_t refused, unknown;

	pthread_mutex_lock(&s->lock);
	refused = s->refused;
	unknown = s->refused_unknown;
	pthread_mutex_unlock(&s->lock);
	prom_head(b, "arktos_apiserver_connections_refused_total", "counter",
		  "Connections closed at once: too many from one address, or "
		  "too many from it that had not said who they are.");
	prom_put(b, "arktos_apiserver_connections_refused_total",
		 "reason=\"address\"", refused);
	prom_put(b, "arktos_apiserver_connections_refused_total",
		 "reason=\"unauthenticated\"", unknown);
}
