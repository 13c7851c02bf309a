// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/apiserver/apiserver.h"
#include "controlplane/control.h"
#include "controlplane/roles.h"
#include "lib/err.h"
#include "lib/buf.h"
#include "lib/cli.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/memory.h"
#include "lib/str.h"

void control_help(FILE *to)
{
	fputs("usage: arktos-control run --data-dir DIR [--listen "
	      "ADDRESS:PORT]\n"
	      "                          [--advertise HOST] [--threads N]\n"
	      "                          [--roles api,scheduler,controllers]\n"
	      "                          [--event-ttl 1h]\n"
	      "                          [--node-monitor-grace-period 40s]\n"
	      "                          [--terminated-pod-gc-threshold 12500]\n"
	      "       arktos-control run --roles scheduler,controllers "
	      "--kubeconfig FILE\n"
	      "                          [--shard I/N]\n"
	      "       arktos-control backup --data-dir DIR --to DIR\n"
	      "       arktos-control restore --data-dir DIR --from DIR\n"
	      "       arktos-control rotate-key|reencrypt --data-dir DIR\n\n"
	      "run serves the Kubernetes API. A fresh DIR gets a CA and\n"
	      "DIR/admin.kubeconfig. Objects are kept in DIR/store, or with\n"
	      "  --store etcd=https://HOST:PORT,...  in etcd 3.4 or newer\n"
	      "  --etcd-cafile, --etcd-certfile, --etcd-keyfile FILE\n"
	      "  --etcd-prefix PREFIX  (/arktos/)\n"
	      "  --etcd-compaction-interval 5m  (least history kept)\n"
	      "and encrypted with the keys in DIR/encryption.keys, or\n"
	      "  --encryption-key-file FILE\n"
	      "which are read again, and used for everything, on SIGHUP.\n"
	      "What one tenant may have at once, and all together:\n"
	      "  --max-tenant-seats 200, --max-tenant-queue 500,\n"
	      "  --max-tenant-connections 5000, --max-tenant-watches 10000,\n"
	      "  --max-seats 2000, --max-connections 20000\n"
	      "and one address (the loopback ten times that):\n"
	      "  --max-address-connections 5000, and of those that have not\n"
	      "  said who they are, --max-address-unauthenticated 500\n"
	      "Extension servers (APIServices) of tenants may be in\n"
	      "  --tenant-extension-cidrs ADDRESS/BITS,...  (nowhere)\n"
	      "Who did what is written, as audit.k8s.io/v1 events, with\n"
	      "  --audit-log-path FILE  (- is stdout; SIGHUP opens it anew)\n"
	      "  --audit-policy-file FILE  (Metadata of everything)\n"
	      "  --audit-log-mode batch|blocking  (batch)\n"
	      "  --audit-log-maxsize MB (100), --audit-log-maxage DAYS,\n"
	      "  --audit-log-maxbackup N  (all stay)\n",
	      to);
}

int control_wrong(const char *msg)
{
	fprintf(stderr, "arktos-control: %s\n\n", msg);
	control_help(stderr);
	return 2;
}

int control_failed(const struct err *e)
{
	fprintf(stderr, "arktos-control: %s\n", e->msg);
	return 1;
}

struct run {
	struct api_opts api;
	struct roles_opts roles;
	struct control_store store;
	unsigned mask;
	pthread_mutex_t lock; /* @started */
	struct roles *started;
};

static void more_metrics(void *arg, struct buf *b)
{
	struct run *run = arg;

	pthread_mutex_lock(&run->lock);
	if (run->started)
		roles_metrics(run->started, b);
	pthread_mutex_unlock(&run->lock);
}

static void show_metrics(struct run *run, struct roles *roles)
{
	pthread_mutex_lock(&run->lock);
	run->started = roles;
	pthread_mutex_unlock(&run->lock);
}

static bool parse_shard(const char *text, struct roles_opts *o)
{
	const char *slash = strchr(text, '/');
	auto_free char *first =
		slash ? strndup(text, (size_t)(slash - text)) : NULL;
	int shard, shards;

	if (!first || str_to_int(first, &shard) < 0 ||
	    str_to_int(slash + 1, &shards) < 0 || shard < 0 ||
	    shard >= shards || shards > 1024)
		return false;
	o->shard = (unsigned)shard;
	o->shards = (unsigned)shards;
	return true;
}

enum {
	AUDIT_PATH = 256,
	AUDIT_POLICY,
	AUDIT_MODE,
	AUDIT_SIZE,
	AUDIT_AGE,
	AUDIT_BACKUPS
};

static bool parse_count(const char *text, unsigned int *ret)
{
	int n;

	if (str_to_int(text, &n) < 0 || n < 0 || n > 1000000)
		return false;
	*ret = (unsigned int)n;
	return true;
}

static bool audit_option(struct audit_opts *o, int c, const char *value)
{
	switch (c) {
	case AUDIT_PATH:
		o->path = value;
		return true;
	case AUDIT_POLICY:
		o->policy_file = value;
		return true;
	case AUDIT_MODE:
		o->blocking = strcmp(value, "blocking") == 0;
		return o->blocking || strcmp(value, "batch") == 0;
	case AUDIT_SIZE:
		return parse_count(value, &o->max_size_mb);
	case AUDIT_AGE:
		return parse_count(value, &o->max_age_days);
	case AUDIT_BACKUPS:
		return parse_count(value, &o->max_backups);
	default:
		return false;
	}
}

enum {
	MAX_SEATS = 600,
	MAX_TENANT_SEATS,
	MAX_TENANT_QUEUE,
	MAX_TENANT_CONNS,
	MAX_TENANT_WATCHES,
	MAX_CONNS,
	MAX_ADDRESS_CONNS,
	MAX_ADDRESS_UNKNOWN,
};

static bool limit_option(struct api_limits *l, int c, const char *text)
{
	unsigned int *const slots[] = {
		&l->seats,         &l->tenant_seats,   &l->tenant_queue,
		&l->tenant_conns,  &l->tenant_watches, &l->conns,
		&l->address_conns, &l->address_unknown
	};
	int n;

	if (c < MAX_SEATS || c > MAX_ADDRESS_UNKNOWN ||
	    str_to_int(text, &n) < 0 || n <= 0)
		return false;
	*slots[c - MAX_SEATS] = (unsigned int)n;
	return true;
}

static bool parse_run(int argc, char **argv, struct run *run)
{
	static const struct option options[] = {
		{ "data-dir", required_argument, NULL, 'd' },
		{ "listen", required_argument, NULL, 'l' },
		{ "advertise", required_argument, NULL, 'a' },
		{ "threads", required_argument, NULL, 't' },
		{ "roles", required_argument, NULL, 'r' },
		{ "kubeconfig", required_argument, NULL, 'k' },
		{ "shard", required_argument, NULL, 's' },
		{ "event-ttl", required_argument, NULL, 'e' },
		{ "node-monitor-grace-period", required_argument, NULL, 'g' },
		{ "terminated-pod-gc-threshold", required_argument, NULL, 'o' },
		{ "tenant-extension-cidrs", required_argument, NULL, 'x' },
		{ "audit-log-path", required_argument, NULL, AUDIT_PATH },
		{ "audit-policy-file", required_argument, NULL, AUDIT_POLICY },
		{ "audit-log-mode", required_argument, NULL, AUDIT_MODE },
		{ "audit-log-maxsize", required_argument, NULL, AUDIT_SIZE },
		{ "audit-log-maxage", required_argument, NULL, AUDIT_AGE },
		{ "audit-log-maxbackup", required_argument, NULL,
		  AUDIT_BACKUPS },
		{ "max-seats", required_argument, NULL, MAX_SEATS },
		{ "max-tenant-seats", required_argument, NULL,
		  MAX_TENANT_SEATS },
		{ "max-tenant-queue", required_argument, NULL,
		  MAX_TENANT_QUEUE },
		{ "max-tenant-connections", required_argument, NULL,
		  MAX_TENANT_CONNS },
		{ "max-tenant-watches", required_argument, NULL,
		  MAX_TENANT_WATCHES },
		{ "max-connections", required_argument, NULL, MAX_CONNS },
		{ "max-address-connections", required_argument, NULL,
		  MAX_ADDRESS_CONNS },
		{ "max-address-unauthenticated", required_argument, NULL,
		  MAX_ADDRESS_UNKNOWN },
		CONTROL_STORE_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	int c, n;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'd')
			run->api.data_dir = optarg;
		else if (c == 'l')
			run->api.listen = optarg;
		else if (c == 'a')
			run->api.advertise = optarg;
		else if (c == 'k')
			run->roles.kubeconfig = optarg;
		else if (c == 'x')
			run->api.extension_cidrs = optarg;
		else if (c == 't' && str_to_int(optarg, &n) == 0 && n > 0 &&
			 n <= 64)
			run->api.threads = (unsigned)n;
		else if (c == 'r' && roles_parse(optarg))
			run->mask = roles_parse(optarg);
		else if (c == 'e' &&
			 cli_parse_duration(optarg, &run->api.event_ttl_ms) ==
				 0)
			continue;
		else if (c == 'g' &&
			 cli_parse_duration(optarg,
					    &run->roles.node_grace_ms) == 0 &&
			 run->roles.node_grace_ms >= 1000)
			continue;
		else if (c == 'o' && str_to_int(optarg, &n) == 0 && n > 0)
			run->roles.pods_over_max = (size_t)n;
		else if (c == 's' && parse_shard(optarg, &run->roles))
			continue;
		else if (limit_option(&run->api.limits, c, optarg))
			continue;
		else if (audit_option(&run->api.audit, c, optarg))
			continue;
		else if (!control_store_option(&run->store, c, optarg))
			return false;
	}
	return optind == argc;
}

#define MEMORY_LOOK_S 5
#define ROLES_TENANT  "system"
#define ROLES_USER    "system:arktos-control"
#define ROLES_GROUP   "system:masters"

static int connect_role(void *arg, struct err *e)
{
	return api_connect(arg, ROLES_TENANT, ROLES_USER, ROLES_GROUP, e);
}

/* The other roles are clients: with a certificate of their own, or, of an API
 * in this process, by connections that never leave it. */
static int start_roles(struct run *run, struct api *api, struct roles **ret,
		       struct err *e)
{
	auto_buf struct buf text = BUF_INIT;
	int r = 0;

	run->roles.roles = run->mask;
	if (!(run->mask & ~(unsigned)ROLE_API))
		return 0;
	if (api) {
		r = api_kubeconfig(api, ROLES_TENANT, ROLES_USER, ROLES_GROUP,
				   &text, e);
		run->roles.text = buf_str(&text);
		run->roles.connect = connect_role;
		run->roles.connect_arg = api;
	}
	return r < 0 ? r : roles_start(&run->roles, ret, e);
}

static void reencrypt(struct api *api)
{
	struct err e = { 0 };
	uint64_t nr = 0;

	if (api_reencrypt(api, &nr, &e) < 0)
		log_error("encryption keys: %s", e.msg);
	else
		log_info("encryption keys read, %llu records rewritten",
			 (unsigned long long)nr);
}

/* The next one; what is free goes back to the kernel meanwhile. */
static int wait_signal(const sigset_t *set)
{
	const struct timespec look = { .tv_sec = MEMORY_LOOK_S };
	struct memory_mark mark = { 0 };
	int sig;

	while ((sig = sigtimedwait(set, NULL, &look)) < 0)
		if (errno == EAGAIN)
			(void)memory_give_back(&mark);
	return sig;
}

int control_run(int argc, char **argv)
{
	struct run run = { .api = { .listen = "127.0.0.1:6443" },
			   .mask = ROLE_ALL,
			   .lock = PTHREAD_MUTEX_INITIALIZER };
	struct roles *roles = NULL;
	struct api *api = NULL;
	struct err e = { 0 };
	sigset_t set;
	int sig;

	if (!parse_run(argc, argv, &run))
		return control_wrong("wrong option");
	if ((run.mask & ROLE_API) && !run.api.data_dir)
		return control_wrong("--data-dir is required");
	if (!(run.mask & ROLE_API) && !run.roles.kubeconfig)
		return control_wrong(
			"--kubeconfig is required: the API is not among "
			"the roles");
	/* Blocked before there are threads, which inherit it. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	memory_few_heaps();
	run.api.store = &run.store.opts;
	run.api.metrics = more_metrics;
	run.api.metrics_arg = &run;
	if ((run.mask & ROLE_API) && api_start(&run.api, &api, &e) < 0)
		return control_failed(&e);
	if (start_roles(&run, api, &roles, &e) < 0) {
		if (api)
			api_stop(api);
		return control_failed(&e);
	}
	show_metrics(&run, roles);
	if (api)
		log_info("serving on port %u, kubeconfig %s/admin.kubeconfig",
			 api_port(api), run.api.data_dir);
	while ((sig = wait_signal(&set)) == SIGHUP)
		if (api) {
			audit_reopen(api);
			reencrypt(api);
		}
	log_info("stopping on signal %d", sig);
	show_metrics(&run, NULL);
	roles_stop(roles);
	if (api)
		api_stop(api);
	return 0;
}
