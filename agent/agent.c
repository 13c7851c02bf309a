// SPDX-License-Identifier: Apache-2.0
/*
 * The agent: opens what the node has, takes over the pods that are here, and
 * serves until it is told to stop. Pods go on without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/attach.h"
#include "agent/backend.h"
#include "agent/container/sandbox.h"
#include "agent/disk.h"
#include "agent/figures.h"
#include "agent/address.h"
#include "agent/internal.h"
#include "agent/probe/probe.h"
#include "agent/puller.h"
#include "agent/remote/remote.h"
#include "agent/usage.h"
#include "agent/vm/kvm_probe.h"
#include "agent/volume/volume.h"
#include "cgroups/cgroup.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define WORKERS_DEFAULT 4
#define SETTLE_MS       60000
#define BACKOFF_BASE_MS 10000
#define BACKOFF_MAX_MS  300000

static char *own_folder(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (n < 0)
		return NULL;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	return strdup(path);
}

struct defaults {
	char host[64];
	char *libexec, *manifests;
};

static int fill_defaults(struct agent_opts *o, struct defaults *d,
			 struct err *e)
{
	if (!o->state_dir)
		o->state_dir = AGENT_STATE_DIR;
	if (!o->run_dir)
		o->run_dir = AGENT_RUN_DIR;
	if (!o->log_dir)
		o->log_dir = AGENT_LOG_DIR;
	if (!o->cgroup_name)
		o->cgroup_name = "arktos";
	if (!o->backoff_base_ms)
		o->backoff_base_ms = BACKOFF_BASE_MS;
	if (!o->backoff_max_ms)
		o->backoff_max_ms = BACKOFF_MAX_MS;
	if (!o->workers)
		o->workers = WORKERS_DEFAULT;
	if (gethostname(d->host, sizeof(d->host) - 1) < 0)
		return err_sys(e, "read the host's name");
	/* A Node's name is in lower case, a host's may be in any. */
	str_lower(d->host);
	if (!o->node_name)
		o->node_name = d->host;
	if (!o->cluster_domain)
		o->cluster_domain = "cluster.local";
	d->libexec = o->libexec ? strdup(o->libexec) : own_folder();
	d->manifests = o->manifests_dir
			       ? strdup(o->manifests_dir)
			       : str_printf("%s/manifests", o->state_dir);
	if (!d->libexec || !d->manifests)
		return err_set(e, -ENOMEM, "out of memory");
	o->libexec = d->libexec;
	o->manifests_dir = d->manifests;
	if (o->state_dir[0] != '/' || o->run_dir[0] != '/' ||
	    o->log_dir[0] != '/')
		return err_set(e, -EINVAL,
			       "state, run and log folders must be absolute "
			       "paths");
	return 0;
}

static int open_cgroups(struct agent *a, struct err *e)
{
	static const char *const names[] = {
		[QOS_GUARANTEED] = "guaranteed",
		[QOS_BURSTABLE] = "burstable",
		[QOS_BEST_EFFORT] = "besteffort",
	};
	auto_buf struct buf losses = BUF_INIT;
	int r;

	r = cg_root_open(a->opts.cgroup_parent, a->opts.cgroup_name, &a->root,
			 e);
	for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
		r = cg_create(a->root, names[i], 0, &a->qos[i], e);
	if (r < 0)
		return err_wrap(e, r, "cgroups");
	if (!a->quiet && cg_describe(a->root, &losses) > 0)
		for (char *s = losses.data, *line; (line = strsep(&s, "\n"));)
			if (line[0])
				log_warn("cgroups: %s", line);
	return 0;
}

static int open_network(struct agent *a, struct err *e)
{
	auto_free char *bpf = str_printf("%s/bpf", a->opts.run_dir);
	struct network_opts o = {
		.run_dir = a->opts.run_dir,
		.state_dir = a->opts.state_dir,
		.bpf_dir = bpf,
		.default_cidr = a->opts.default_cidr,
		.default_egress = a->opts.default_snat ? NETWORK_EGRESS_SNAT
						       : NETWORK_EGRESS_NONE,
	};
	int r;

	if (!bpf)
		return err_set(e, -ENOMEM, "out of memory");
	r = network_mgr_open(&o, &a->network, e);
	for (size_t i = 0; i < a->opts.nr_networks && r == 0; i++)
		r = network_define_option(a->network, a->opts.networks[i], e);
	return r < 0 ? err_wrap(e, r, "network") : 0;
}

/* A pod holds some twenty descriptors, more on hosts with v1 hierarchies. */
static void raise_nofile(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 &&
	    lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim); /* doctor tells */
	}
}

static void work(void *arg, const char *key)
{
	if (str_eq(key, FIGURES_KEY))
		figures_look(arg);
	else if (str_eq(key, DISK_KEY))
		disk_look(arg);
	else if (str_eq(key, USAGE_KEY))
		usage_look(arg);
	else
		pod_reconcile(arg, key);
}

static void on_signal(void *arg, int signo)
{
	struct agent *a = arg;

	log_info("%s: stopping, pods go on", strsignal(signo));
	ev_stop(a->loop);
}

static void on_hangup(void *arg, int signo)
{
	struct agent *a = arg;

	(void)signo;
	if (agent_remote(a))
		remote_renew(agent_remote(a));
}

static int open_all(struct agent *a, struct err *e)
{
	struct wq_opts wq = {
		.work = work,
		.arg = a,
		.workers = a->opts.workers,
		.name = "arktos-worker",
	};
	struct image_store_opts images = { .libexec = a->opts.libexec };
	int r;

	r = claim_take(a, e);
	if (r == 0)
		r = node_init(a, e);
	if (r == 0)
		r = open_cgroups(a, e);
	if (r == 0)
		r = open_network(a, e);
	if (r == 0)
		r = image_store_open(a->opts.state_dir, &images, &a->images, e);
	if (r == 0)
		r = puller_new(a, &a->puller, e);
	if (r == 0)
		r = probes_open(a, e);
	if (r < 0)
		return r;
	host_probe(a);
	(void)host_address(a->opts.node_ip, a->host_ip, sizeof(a->host_ip));
	return wq_new(&wq, &a->queue, e);
}

static int start_api(struct agent *a, char **path, struct err *e)
{
	struct api_opts o = {
		.loop = a->loop,
		.backend = &agent_backend,
		.arg = a,
	};

	*path = str_printf("%s/node.sock", a->opts.run_dir);
	if (!*path)
		return err_set(e, -ENOMEM, "out of memory");
	o.socket_path = *path;
	return api_start(&o, &a->api, e);
}

/* What a crash may have left of pods that no checkpoint knows. */
static void collect_garbage(struct agent *a, struct pod **pods, size_t nr)
{
	const char **uids = calloc(nr + 1, sizeof(*uids));
	struct err e = { 0 };

	if (!uids)
		return; /* the next start does it */
	for (size_t i = 0; i < nr; i++)
		uids[i] = pods[i]->uid;
	if (network_gc(a->network, uids, nr, &e) < 0)
		log_warn("remove leftovers of networks: %s", e.msg);
	free(uids);
	strays_remove(a, pods, nr);
}

static int take_over(struct agent *a, struct err *e)
{
	struct pod **pods;
	size_t nr;
	int r;

	r = checkpoint_load_all(a, e);
	/* Before any link is looked at: none may vanish unseen. */
	if (r == 0)
		r = links_start(a, &a->links, e);
	if (r < 0)
		return r;
	if (pods_all(a, &pods, &nr) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	disk_look(a); /* before any pod asks */
	(void)wq_add(a->queue, FIGURES_KEY);
	collect_garbage(a, pods, nr);
	for (size_t i = 0; i < nr; i++) {
		struct quantity_set claim = pod_claim(pods[i]);

		pods[i]->cgroup_maybe = pods[i]->network_maybe = true;
		pods[i]->volumes_maybe = true;
		pods[i]->unknown = pods[i]->unsettled = true;
		pods[i]->settle_due_ms = ev_clock_ms() + SETTLE_MS;
		/* It has it already, whether it fits or not. */
		if (pods[i]->admitted)
			node_claim_anyway(pods[i], &claim);
		pod_publish(pods[i]);
	}
	for (size_t i = 0; i < nr; i++)
		pod_poke(pods[i]);
	if (nr)
		log_info("taking over %zu pods", nr);
	pod_list_free(pods, nr);
	return 0;
}

static void tell_ready(const struct agent *a)
{
	int fd = a->opts.ready_fd;

	log_info("ready: node '%s', socket %s/node.sock", a->opts.node_name,
		 a->opts.run_dir);
	if (fd < 0)
		return;
	if (write(fd, "ready\n", 6) < 0)
		log_warn("tell that we are ready: %s", strerror(errno));
	close(fd);
}

static void free_pod(void *p)
{
	struct pod *pod = p;

	/* The loop stands still: its watches may go without asking it. */
	watch_stop(pod);
	sandbox_close(take_ptr(pod->sandbox));
	volume_close(take_ptr(pod->volumes));
	pod_unref(pod);
}

static void close_all(struct agent *a)
{
	atomic_store(&a->stopping, true);
	manifests_stop(a->manifests);
	links_stop(a->links);
	if (a->api)
		api_stop(a->api);
	prober_free(a->prober);
	puller_free(a->puller);
	/* Probe threads end by themselves: their commands are being killed. */
	while (__atomic_load_n(&a->probe_threads, __ATOMIC_ACQUIRE))
		usleep(1000);
	/* Only now does nobody tell it anything any more. */
	remote_stop(a->remote);
	a->remote = NULL;
	map_clear(&a->pods, free_pod);
	wq_free(a->queue);
	image_store_close(a->images);
	network_close(a->network);
	for (size_t i = 0; i < ARRAY_LEN(a->qos); i++)
		cg_close(a->qos[i]);
	cg_close(a->root);
	for (size_t i = 0; i < a->nr_seccomp; i++)
		close(a->seccomp[i].fd);
	claim_drop(a);
}

/* Workers may wait for the loop: it turns until the last of them has ended. */
static void *stop_queue(void *arg)
{
	struct agent *a = arg;

	wq_stop(a->queue, false);
	atomic_store(&a->drained, true);
	ev_stop(a->loop);
	return NULL;
}

static void drain_workers(struct agent *a)
{
	pthread_t t;

	atomic_store(&a->stopping, true);
	if (pthread_create(&t, NULL, stop_queue, a) != 0)
		return;
	/* A second signal stops the loop, too. */
	while (!atomic_load(&a->drained))
		(void)ev_run(a->loop);
	pthread_join(t, NULL);
}

/* We could not start: the cgroups go again, unless pods live in them. */
static void give_up_cgroups(struct agent *a)
{
	if (!a->root)
		return;
	for (size_t i = 0; i < ARRAY_LEN(a->qos); i++)
		cg_close(take_ptr(a->qos[i]));
	cg_close(take_ptr(a->root));
	(void)cg_root_remove(a->opts.cgroup_parent, a->opts.cgroup_name, NULL);
}

static int serve(struct agent *a, struct err *e)
{
	struct ev_signal term = { 0 }, intr = { 0 }, hup = { 0 };
	char *path = NULL;
	int r;

	/* Before any thread is started: they inherit the mask. */
	signal(SIGPIPE, SIG_IGN);
	r = ev_signal_add(a->loop, &term, SIGTERM, on_signal, a, e);
	if (r == 0)
		r = ev_signal_add(a->loop, &intr, SIGINT, on_signal, a, e);
	if (r == 0)
		r = ev_signal_add(a->loop, &hup, SIGHUP, on_hangup, a, e);
	if (r == 0)
		r = open_all(a, e);
	if (r == 0)
		r = take_over(a, e);
	if (r == 0)
		r = start_api(a, &path, e);
	if (r == 0)
		r = manifests_start(a, a->opts.manifests_dir, &a->manifests, e);
	if (r == 0)
		r = backend_join(a, e);
	if (r == 0) {
		tell_ready(a);
		r = ev_run(a->loop);
	}
	if (a->queue)
		drain_workers(a);
	if (r < 0 && map_len(&a->pods) == 0)
		give_up_cgroups(a);
	close_all(a);
	free(path);
	ev_signal_del(&term);
	ev_signal_del(&intr);
	ev_signal_del(&hup);
	return r;
}

static int with_agent(const struct agent_opts *opts,
		      int (*fn)(struct agent *a, struct err *e), struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	struct defaults d = { 0 };
	int r;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	a->opts = *opts;
	for (size_t i = 0; i < ARRAY_LEN(a->claims); i++)
		a->claims[i] = -EBADF;
	a->started_us = time_us();
	a->loop_thread = pthread_self();
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->node.lock, NULL);
	pthread_mutex_init(&a->disk.lock, NULL);
	if (geteuid() != 0)
		r = err_set(e, -EPERM,
			    "the agent must run as root: it makes namespaces, "
			    "cgroups and links. Try 'sudo arktos-node run'");
	else
		r = fill_defaults(&a->opts, &d, e);
	if (r == 0) {
		raise_nofile();
		r = ev_new(&a->loop, e);
	}
	if (r == 0)
		r = fn(a, e);
	ev_free(a->loop);
	free(d.libexec);
	free(d.manifests);
	pthread_mutex_destroy(&a->lock);
	free(a->node.ports);
	pthread_mutex_destroy(&a->node.lock);
	pthread_mutex_destroy(&a->disk.lock);
	free(a);
	return r;
}

int agent_run(const struct agent_opts *opts, struct err *e)
{
	memory_few_heaps();
	return with_agent(opts, serve, e);
}

static int take_down(struct agent *a, bool purge, struct err *e)
{
	int r = claim_take(a, e);

	a->quiet = true; /* what this host lacks does not matter any more */
	if (r == 0)
		r = open_cgroups(a, e);
	if (r == 0)
		r = open_network(a, e);
	if (r == 0)
		r = agent_down_all(a, purge, e);
	close_all(a);
	return r;
}

static int down_keep(struct agent *a, struct err *e)
{
	return take_down(a, false, e);
}

static int down_purge(struct agent *a, struct err *e)
{
	return take_down(a, true, e);
}

int agent_down(const struct agent_opts *opts, bool purge, struct err *e)
{
	return with_agent(opts, purge ? down_purge : down_keep, e);
}
