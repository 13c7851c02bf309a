/* SPDX-License-Identifier: Apache-2.0 */
/* Where an extension server is, and what it is told of who asks. */
#ifndef CONTROLPLANE_APISERVER_AGGREGATOR_PLACE_H
#define CONTROLPLANE_APISERVER_AGGREGATOR_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <yyjson.h>

#define ADDRS_MAX  8 /* addresses of one server that are used */
#define CIDRS_MAX  64
#define REASON_MAX 48

struct api;
struct buf;
struct err;
struct user;

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

struct cidr {
	unsigned char ip[16]; /* IPv4 as it is mapped into IPv6 */
	int bits;
};

struct cidrs {
	struct cidr v[CIDRS_MAX];
	size_t nr;
};

/* "10.0.0.0/8,fd00::/8" (or NULL). -EINVAL. */
int cidrs_parse(const char *text, struct cidrs *ret, struct err *e);

/* May a tenant's server be at @sa? Whatever @allowed says: never at what
 * leads back to this host, or is a cloud's metadata service. @own: [@nr_own]
 * this host's addresses. */
bool address_is_safe(const struct sockaddr *sa, const struct cidrs *allowed,
		     const struct address *own, size_t nr_own);
/* For the system's: anything that can be a server at all. */
bool address_is_usable(const struct sockaddr *sa);

struct place {
	struct address addrs[ADDRS_MAX];
	size_t nr;
	char host[320];          /* NAME.NAMESPACE.svc */
	char reason[REASON_MAX]; /* when there is none, as the condition says */
	char message[512];
};

/* Where the service of @spec (an APIService's) of @tenant is. */
void place_find(struct api *api, const struct cidrs *allowed,
		const char *tenant, yyjson_val *spec, struct place *ret);

/* The lines of a request's head that say that @u asks, to a server of tenant
 * @owner. -EINVAL: it cannot be said. */
int identity_put(struct buf *b, const struct user *u, const char *owner);

#endif /* CONTROLPLANE_APISERVER_AGGREGATOR_PLACE_H */
