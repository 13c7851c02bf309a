// SPDX-License-Identifier: Apache-2.0
/* The server as a whole: data folder, certificates, store, loops. */
#include <fcntl.h>
#include <openssl/rand.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "controlplane/apiserver/admission/policy.h"
#include "controlplane/apiserver/admission/quota.h"
#include "controlplane/apiserver/admission/webhook.h"
#include "controlplane/apiserver/aggregator/aggregator.h"
#include "controlplane/apiserver/authn/jwt.h"
#include "controlplane/apiserver/authn/keeper.h"
#include "controlplane/apiserver/authn/serving.h"
#include "controlplane/apiserver/aside.h"
#include "controlplane/apiserver/crd.h"
#include "controlplane/apiserver/authz/rbac.h"
#include "controlplane/apiserver/flow.h"
#include "controlplane/apiserver/hook.h"
#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/origin.h"
#include "controlplane/store/admin.h"
#include "controlplane/apiserver/admission/lifecycle.h"
#include "controlplane/apiserver/subresource/node.h"
#include "controlplane/apiserver/usage/usage.h"
#include "lib/fs.h"
#include "lib/str.h"

#define ADMIN_DAYS   3650
#define CONNS_MAX    20000
#define FILES_KEPT   512
#define EVENT_TTL_MS (60ull * 60 * 1000) /* as kube-apiserver has it */
#define ISSUER       "https://kubernetes.default.svc.cluster.local"

int api_kubeconfig(struct api *api, const char *tenant, const char *user,
		   const char *groups, struct buf *b, struct err *e)
{
	auto_buf struct buf cert = BUF_INIT, key = BUF_INIT, org = BUF_INIT;
	auto_buf struct buf server = BUF_INIT, context = BUF_INIT;
	struct cert_request req = { .common_name = user, .days = ADMIN_DAYS };
	int r;

	buf_printf(&org, "tenant:%s", tenant);
	if (strcmp(tenant, SYSTEM) == 0)
		req.organizations = groups;
	else
		req.organization = buf_str(&org), req.units = groups;
	r = ca_issue(api->ca, &req, &cert, &key, e);
	if (r < 0)
		return r;
	buf_printf(&server, "https://%s", api->advertise);
	buf_printf(&context, "%s-%s", tenant, user);
	return kubeconfig_write(ca_cert_pem(api->ca), buf_str(&server),
				buf_str(&context), user, buf_str(&cert),
				buf_str(&key), b);
}

static int write_admin(struct api *api, struct err *e)
{
	auto_free char *path = str_printf("%s/admin.kubeconfig", api->data_dir);
	auto_buf struct buf b = BUF_INIT;
	auto_buf struct buf old = BUF_INIT, server = BUF_INIT;
	int r;

	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	/* Kept as it is while it leads here. */
	buf_printf(&server, "server: https://%s\n", api->advertise);
	if (fs_exists(AT_FDCWD, path) &&
	    fs_read(AT_FDCWD, path, 1 << 20, &old, NULL) == 0 &&
	    strstr(buf_str(&old), buf_str(&server)))
		return 0;
	r = api_kubeconfig(api, SYSTEM, "system-admin", "system:masters", &b,
			   e);
	if (r < 0)
		return r;
	return fs_write_atomic(AT_FDCWD, path, b.data, b.len, 0600, e);
}

static int set_token(struct api *api, struct err *e)
{
	unsigned char random[16];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return err_set(e, -EIO, "no random numbers");
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(api->rv_token + 2 * i, 3, "%02x", random[i]);
	return 0;
}

static int set_address(struct api *api, const struct api_opts *opts)
{
	const char *colon = strrchr(api->address, ':');
	const char *host = opts->advertise;
	int len = host ? (int)strlen(host) : (int)(colon - api->address);

	if (!host)
		host = api->address;
	/* "Everywhere" is no place to connect to. */
	if (!len || !strncmp(host, "0.0.0.0", len) ||
	    !strncmp(host, "[::]", len))
		host = "127.0.0.1", len = 9;
	api->advertise = str_printf("%.*s:%u", len, host, api->port);
	return api->advertise ? 0 : -ENOMEM;
}

static int open_keyring(struct api *api, struct err *e)
{
	auto_free char *dir = str_printf("%s/sa-keys", api->data_dir);

	return dir ? keyring_open(dir, &api->keyring, e)
		   : err_set(e, -ENOMEM, "out of memory");
}

/* Those this process may run on: a part of the machine, perhaps. */
static unsigned int nr_cpus(void)
{
	cpu_set_t mine;
	long all = sysconf(_SC_NPROCESSORS_ONLN);

	/* More than fit into the set: those of the machine. */
	if (sched_getaffinity(0, sizeof(mine), &mine) == 0)
		all = CPU_COUNT(&mine);
	return all < 1 ? 1 : (unsigned int)all;
}

static int start(struct api *api, const struct api_opts *opts, struct err *e)
{
	auto_free char *db = str_printf("%s/store", api->data_dir);
	auto_free char *keys = str_printf("%s/encryption.keys", api->data_dir);
	struct store_opts so = { 0 };
	unsigned int threads = opts->threads, cpus = nr_cpus();
	int r;

	if (!threads)
		threads = cpus > 8 ? 8 : cpus;
	if (opts->store)
		so = *opts->store;
	so.dir = db;
	if (!so.key_file) {
		so.key_file = keys;
		so.create_key_file = true;
	}
	r = db && keys ? fs_mkdirs(api->data_dir, 0700, e) : -ENOMEM;
	if (r == 0)
		r = audit_open(api, &opts->audit, e);
	if (r == 0)
		r = store_open(&so, &api->store, e);
	if (r == 0)
		r = type_set_builtin(&api->types, e);
	if (r == 0)
		r = crds_open(api, e);
	if (r == 0)
		r = ca_open(api->data_dir, &api->ca, e);
	if (r == 0)
		r = open_keyring(api, e);
	if (r == 0)
		r = aggregator_open(api, opts->extension_cidrs, e);
	if (r == 0)
		r = set_token(api, e);
	if (r == 0)
		r = lifecycle_bootstrap(api, e);
	if (r == 0)
		r = rbac_open(api, e);
	if (r == 0)
		r = policies_open(api, e);
	if (r == 0)
		r = server_listen(api, e);
	if (r == 0)
		r = set_address(api, opts);
	if (r == 0)
		r = serving_open(api, e);
	if (r == 0)
		r = write_admin(api, e);
	if (r == 0)
		r = crds_start(api, e);
	if (r == 0)
		r = lifecycle_start(api, e);
	if (r == 0)
		r = keeper_start(api, e);
	if (r == 0)
		r = quota_start(api, e);
	if (r == 0)
		r = hook_callers_start(api, e);
	if (r == 0)
		r = webhooks_start(api, e);
	if (r == 0)
		r = aggregator_start(api, e);
	if (r == 0)
		r = server_start(api, threads, e);
	return r;
}

/* Files are needed for more than connections: the store, nodes, webhooks. */
static unsigned int conns_max(unsigned int asked)
{
	struct rlimit files;

	asked = asked ? asked : CONNS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return asked;
	/* As many as we may have. */
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* else those there are */
	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
	    files.rlim_cur >= asked + FILES_KEPT)
		return asked;
	return files.rlim_cur > 2 * FILES_KEPT
		       ? (unsigned int)files.rlim_cur - FILES_KEPT
		       : FILES_KEPT;
}

static struct api_patience patience(const struct api_patience *asked)
{
	struct api_patience p = *asked;

	p.handshake_ms = p.handshake_ms ? p.handshake_ms : 15000;
	p.request_ms = p.request_ms ? p.request_ms : 30000;
	p.idle_ms = p.idle_ms ? p.idle_ms : 300000;
	p.stall_ms = p.stall_ms ? p.stall_ms : 60000;
	return p;
}

int api_start(const struct api_opts *opts, struct api **ret, struct err *e)
{
	struct api *api = calloc(1, sizeof(*api));
	int r;

	if (!api)
		return err_set(e, -ENOMEM, "out of memory");
	/* A client that goes away must not end the process. */
	signal(SIGPIPE, SIG_IGN);
	clock_gettime(CLOCK_MONOTONIC, &api->started);
	pthread_mutex_init(&api->doc_lock, NULL);
	pthread_mutex_init(&api->reserve_lock, NULL);
	api->listen_fd = -EBADF;
	api->conns_max = conns_max(opts->limits.conns);
	api->patience = patience(&opts->patience);
	api->more_metrics = opts->metrics;
	api->more_arg = opts->metrics_arg;
	api->data_dir = strdup(opts->data_dir);
	api->address = strdup(opts->listen);
	api->event_ttl_ms =
		opts->event_ttl_ms ? opts->event_ttl_ms : EVENT_TTL_MS;
	api->issuer = strdup(opts->issuer ? opts->issuer : ISSUER);
	api->usage = usage_cache_new();
	if (!api->data_dir || !api->address || !api->issuer || !api->usage ||
	    asides_open(api) < 0 || flow_open(api, &opts->limits) < 0 ||
	    origins_open(api, &opts->limits) < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	else if (!strrchr(api->address, ':'))
		r = err_set(e, -EINVAL, "listen '%s': want ADDRESS:PORT",
			    api->address);
	else
		r = start(api, opts, e);
	if (r < 0) {
		api_stop(api);
		return r;
	}
	*ret = api;
	return 0;
}

void api_stop(struct api *api)
{
	if (!api)
		return;
	lifecycle_stop(api);
	keeper_stop(api);
	quota_stop(api);
	crds_stop(api);
	server_stop(api);
	webhooks_stop(api);
	hook_callers_free(api);
	aggregator_stop(api);
	rbac_close(api);
	policies_close(api);
	quota_close(api);
	/* Finishes what is queued; its results still go to the loops. */
	store_close(api->store);
	server_free(api);
	audit_close(api);
	usage_cache_free(api->usage);
	aggregator_close(api);
	crds_close(api);
	if (api->listen_fd >= 0)
		close(api->listen_fd);
	serving_close(api);
	node_tls_free(api);
	ca_free(api->ca);
	keyring_free(api->keyring);
	free(api->issuer);
	pthread_mutex_destroy(&api->doc_lock);
	asides_close(api);
	flow_close(api);
	origins_close(api);
	pthread_mutex_destroy(&api->reserve_lock);
	map_clear(&api->reserved, NULL);
	buf_clear(&api->doc_v2);
	buf_clear(&api->doc_v2_pb);
	free(api->data_dir);
	free(api->address);
	free(api->advertise);
	free(api);
}

int api_reencrypt(struct api *api, uint64_t *ret_rewritten, struct err *e)
{
	return store_reencrypt(api->store, ret_rewritten, e);
}

uint16_t api_port(const struct api *api)
{
	return api->port;
}
