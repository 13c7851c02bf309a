/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API server: Kubernetes' REST API with tenants above namespaces, over
 * TLS, out of the store.
 *
 *	struct api_opts opts = { .data_dir = dir, .listen = "127.0.0.1:6443" };
 *
 *	api_start(&opts, &api, e);	serves on threads of its own
 *	...
 *	api_stop(api);
 *
 * A fresh data folder gets a CA (P-256), the system tenant, and
 * admin.kubeconfig, which carries its certificate and key inline (mode 0600).
 */
#ifndef CONTROLPLANE_APISERVER_APISERVER_H
#define CONTROLPLANE_APISERVER_APISERVER_H

#include <stddef.h>
#include <stdint.h>

#include "controlplane/apiserver/audit/audit.h"

struct api;
struct buf;
struct err;
struct store_opts;

/* What one tenant, and all of them, may have at once; 0: the default. */
struct api_limits {
	unsigned int seats;          /* of all tenants (2000), see flow.h */
	unsigned int tenant_seats;   /* 200 */
	unsigned int tenant_queue;   /* requests waiting for them (500) */
	unsigned int tenant_conns;   /* 5000 */
	unsigned int tenant_watches; /* 10000 */
	unsigned int conns;          /* of everybody (20000) */
	/* From one address, and those of them that have not said who they are;
	 * from the loopback ten times as many. See origin.h. */
	unsigned int address_conns;   /* 5000 */
	unsigned int address_unknown; /* 500 */
};

/* How long a client may take; 0: the default. */
struct api_patience {
	unsigned int handshake_ms; /* 15000 */
	unsigned int request_ms;   /* first byte to last of a request, 30000 */
	unsigned int idle_ms;      /* between requests, 300000 */
	unsigned int stall_ms;     /* without reading what there is, 60000 */
};

struct api_opts {
	struct api_limits limits;
	struct api_patience patience;
	const char *data_dir; /* created when missing, mode 0700 */
	const char *listen;   /* ADDRESS:PORT; port 0 picks one */
	const char
		*advertise;   /* host or address in kubeconfigs; NULL: listen */
	unsigned int threads; /* that serve; 0: one a CPU, at most 8 */
	const char *issuer; /* of service accounts' tokens; NULL: Kubernetes' */
	uint64_t event_ttl_ms; /* life of events and actions; 0: an hour */
	/* Where extension servers of tenants may be, "10.0.0.0/8,..."; NULL:
	 * nowhere (aggregator/place.c). */
	const char *extension_cidrs;
	struct audit_opts audit;
	/* Where objects are kept; NULL: embedded, in the data folder. Without a
	 * key file they are sealed with DIR/encryption.keys. Borrowed. */
	const struct store_opts *store;
	/* Appends what other roles have counted to /metrics; from any of the
	 * serving threads, until api_stop(). NULL: nothing. */
	void (*metrics)(void *arg, struct buf *b);
	void *metrics_arg;
};

/**
 * api_start() - Open the data folder and serve.
 * @opts: Borrowed.
 * @ret:  The server, owned by the caller.
 * @e:    Filled on error.
 *
 * Return: 0 once it listens, or a negative errno (-EADDRINUSE, -EBUSY when
 * another process has the data folder, ...).
 */
int api_start(const struct api_opts *opts, struct api **ret, struct err *e);

/* Close all connections, finish what is being committed, and free. */
void api_stop(struct api *api);

/* Read the encryption keys again, and rewrite what is not sealed with the first
 * of them, while serving. */
int api_reencrypt(struct api *api, uint64_t *ret_rewritten, struct err *e);

/**
 * api_connect() - A connection from within this process.
 * @tenant, @user, @groups: Who the other end is, as in api_kubeconfig().
 * @e: Filled on error.
 *
 * HTTP is spoken on it in the clear: no byte leaves the process. To all else
 * it is a client like any other: RBAC, fairness and the audit log see @user.
 * From any thread, until api_stop().
 *
 * Return: a socket (non-blocking, owned by the caller), or a negative errno.
 */
int api_connect(struct api *api, const char *tenant, const char *user,
		const char *groups, struct err *e);

/* The port it listens on. */
uint16_t api_port(const struct api *api);

/* The kubeconfig of @user in @tenant, signed by this server's CA; appended to
 * @b. @groups: comma-separated, may be NULL. */
int api_kubeconfig(struct api *api, const char *tenant, const char *user,
		   const char *groups, struct buf *b, struct err *e);

#endif /* CONTROLPLANE_APISERVER_APISERVER_H */
