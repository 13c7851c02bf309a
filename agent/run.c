// SPDX-License-Identifier: Apache-2.0
/* 'arktos-node run' and 'arktos-node down': options to agent_run(). */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/run.h"
#include "lib/cli.h"
#include "lib/err.h"
#include "lib/log.h"
#include "lib/str.h"

struct run_args {
	const char *node_name, *state_dir, *run_dir, *log_dir, *manifests;
	const char *libexec, *cgroup_parent, *cgroup_name, *qemu, *accel;
	const char *default_cidr, *log_level, *kubeconfig, *node_ip, *admin;
	const char *cluster_domain;
	const char *maybe_kubeconfig;
	struct cli_strs networks;
	bool snat, purge;
	uint64_t reserved_cpu, reserved_mem, backoff_base, backoff_max;
	uint64_t lease;
	uint64_t log_max;
	int64_t log_files, workers, ready_fd;
};

/* As the help says them. */
#define RUN_DEFAULTS                                                 \
	{                                                            \
		.reserved_mem = 256ULL << 20, .backoff_base = 10000, \
		.backoff_max = 300000, .log_files = 4, .workers = 4, \
		.ready_fd = -1,                                      \
	}

/* clang-format off */
#define OPT(name, type, member, value, help)                                   \
	{ name, 0, type, offsetof(struct run_args, member), value, help, NULL }
#define COMMON                                                                 \
	OPT("state-dir", CLI_STR, state_dir, "DIR",                            \
	    "pods and images (" AGENT_STATE_DIR ")"),                          \
		OPT("run-dir", CLI_STR, run_dir, "DIR",                        \
		    "sockets and mounts (" AGENT_RUN_DIR ")"),                 \
		OPT("log-dir", CLI_STR, log_dir, "DIR",                        \
		    "logs of containers (" AGENT_LOG_DIR ")"),                 \
		OPT("cgroup-parent", CLI_STR, cgroup_parent, "PATH",           \
		    "cgroup to work in (the one we are in)"),                  \
		OPT("cgroup-name", CLI_STR, cgroup_name, "NAME",               \
		    "our cgroup there (arktos)")

const struct cli_option run_options[] = {
	COMMON,
	OPT("node-name", CLI_STR, node_name, "NAME", "(the host's name)"),
	OPT("kubeconfig", CLI_STR, kubeconfig, "FILE",
	    "join that API server as this node (work alone)"),
	OPT("kubeconfig-if-exists", CLI_STR, maybe_kubeconfig, "FILE",
	    "the same if that file is there (what 'join' makes)"),
	OPT("admin-kubeconfig", CLI_STR, admin, "FILE",
	    "as whom this CLI changes pods of the API server "
	    "(/etc/arktos/admin.kubeconfig)"),
	OPT("node-lease-duration", CLI_DURATION, lease, "TIME",
	    "of this node's lease, renewed at a quarter of it (40s)"),
	OPT("node-ip", CLI_STR, node_ip, "ADDRESS",
	    "of this node (of the default route's interface)"),
	OPT("cluster-domain", CLI_STR, cluster_domain, "NAME",
	    "end of the names of pods with a subdomain (cluster.local)"),
	OPT("manifests", CLI_STR, manifests, "DIR",
	    "pods that should be here (STATE/manifests)"),
	OPT("network", CLI_STRS, networks, "TENANT/NAME=CIDR[,egress=snat]",
	    "define a network; may be repeated"),
	OPT("default-cidr", CLI_STR, default_cidr, "CIDR",
	    "of each tenant's default network (10.88.0.0/16)"),
	OPT("default-snat", CLI_BOOL, snat, NULL,
	    "default networks may reach the host's networks"),
	OPT("accel", CLI_STR, accel, "auto|kvm|tcg",
	    "how VMs run (auto: KVM if it works)"),
	OPT("qemu", CLI_STR, qemu, "PATH", "(/usr/bin/qemu-system-x86_64)"),
	OPT("libexec", CLI_STR, libexec, "DIR",
	    "where arktos-pod is (beside arktos-node)"),
	OPT("reserved-cpu", CLI_CPU, reserved_cpu, "CPU",
	    "kept from pods (0)"),
	OPT("reserved-memory", CLI_MEM, reserved_mem, "BYTES",
	    "kept from pods (256Mi)"),
	OPT("restart-backoff", CLI_DURATION, backoff_base, "TIME",
	    "first pause between restarts (10s)"),
	OPT("restart-backoff-max", CLI_DURATION, backoff_max, "TIME",
	    "longest pause between restarts (5m)"),
	OPT("container-log-max-size", CLI_MEM, log_max, "BYTES",
	    "a log that is longer is rotated (10Mi)"),
	OPT("container-log-max-files", CLI_INT, log_files, "N",
	    "log files kept of each container (4)"),
	OPT("workers", CLI_INT, workers, "N", "threads (4)"),
	OPT("ready-fd", CLI_INT, ready_fd, "FD",
	    "write a line there when ready"),
	{ "log-level", 0, CLI_STR, offsetof(struct run_args, log_level),
	  "LEVEL", "(info)", "error|warn|info|debug" },
	CLI_END
};

const struct cli_option down_options[] = {
	COMMON,
	OPT("purge", CLI_BOOL, purge, NULL, "remove pods, images and logs too"),
	CLI_END
};

static int log_level_of(const char *word)
{
	return str_eq(word, "error") ? LOG_ERR :
	       str_eq(word, "warn")  ? LOG_WARNING :
	       str_eq(word, "debug") ? LOG_DEBUG :
				       LOG_INFO;
}

static struct agent_opts to_opts(const struct run_args *a)
{
	return (struct agent_opts){
		.node_name = a->node_name,
		.state_dir = a->state_dir,
		.run_dir = a->run_dir,
		.log_dir = a->log_dir,
		.manifests_dir = a->manifests,
		.libexec = a->libexec,
		.cgroup_parent = a->cgroup_parent,
		.cgroup_name = a->cgroup_name,
		.qemu = a->qemu ? a->qemu : "/usr/bin/qemu-system-x86_64",
		.accel = a->accel,
		.networks = a->networks.v,
		.nr_networks = a->networks.nr,
		.default_cidr = a->default_cidr,
		.default_snat = a->snat,
		.kubeconfig = a->kubeconfig ? a->kubeconfig :
			      a->maybe_kubeconfig &&
					      access(a->maybe_kubeconfig,
						     F_OK) == 0 ?
					      a->maybe_kubeconfig :
					      NULL,
		.admin = a->admin ? a->admin : "/etc/arktos/admin.kubeconfig",
		.node_ip = a->node_ip,
		.cluster_domain = a->cluster_domain,
		.reserved_cpu_milli = a->reserved_cpu,
		.reserved_mem_bytes = a->reserved_mem,
		.lease_s = (uint32_t)(a->lease / 1000),
		.backoff_base_ms = (uint32_t)a->backoff_base,
		.backoff_max_ms = (uint32_t)a->backoff_max,
		.log_max_bytes = a->log_max,
		.log_files = (unsigned int)a->log_files,
		.workers = a->workers > 0 ? (unsigned int)a->workers : 0,
		.ready_fd = (int)a->ready_fd,
	};
}

static int check(const struct run_args *a, int argc, char **argv, int first,
		 struct err *e)
{
	if (first < argc)
		return err_set(e, -EINVAL, "unexpected '%s'", argv[first]);
	if (a->accel && !str_eq(a->accel, "auto") &&
	    !str_eq(a->accel, "kvm") && !str_eq(a->accel, "tcg"))
		return err_set(e, -EINVAL,
			       "--accel is auto, kvm or tcg, not '%s'",
			       a->accel);
	if (a->cluster_domain && !str_is_dns_subdomain(a->cluster_domain))
		return err_set(e, -EINVAL,
			       "--cluster-domain '%s' is not a DNS name",
			       a->cluster_domain);
	if (a->workers < 1 || a->workers > 64)
		return err_set(e, -EINVAL, "--workers is 1 to 64");
	if (a->log_max && a->log_max < AGENT_LOG_MIN)
		return err_set(e, -EINVAL,
			       "--container-log-max-size is 4Ki at least");
	if (a->log_files < 2 || a->log_files > AGENT_LOG_FILES_MAX)
		return err_set(e, -EINVAL,
			       "--container-log-max-files is 2 to %d",
			       AGENT_LOG_FILES_MAX);
	if (a->lease && (a->lease < 4000 || a->lease > 3600000))
		return err_set(e, -EINVAL,
			       "--node-lease-duration is 4s to 1h");
	if (!a->backoff_base || a->backoff_base > UINT32_MAX ||
	    !a->backoff_max || a->backoff_max > UINT32_MAX)
		return err_set(e, -EINVAL, "%s is 1ms to 49d",
			       !a->backoff_base || a->backoff_base > UINT32_MAX
				       ? "--restart-backoff"
				       : "--restart-backoff-max");
	return 0;
}

static int parse(const struct cli_command *c, int argc, char **argv,
		 struct run_args *args, struct agent_opts *opts, int *ret_exit)
{
	struct err e = { 0 };
	int r;

	r = cli_parse(c, argc, argv, args, &e);
	if (r >= 0)
		r = check(args, argc, argv, r, &e);
	if (r == -ECANCELED) {
		*ret_exit = 0;
		return r;
	}
	if (r < 0) {
		*ret_exit = cli_usage(c, r, &e);
		return r;
	}
	log_set_level(log_level_of(args->log_level));
	*opts = to_opts(args);
	return 0;
}

int cmd_run(const struct cli_command *c, int argc, char **argv)
{
	struct run_args args = RUN_DEFAULTS;
	struct agent_opts opts;
	struct err e = { 0 };
	int code = 0;

	if (parse(c, argc, argv, &args, &opts, &code) < 0)
		return code;
	/* Whoever started us: pods read what is made for them. */
	umask(022);
	if (agent_run(&opts, &e) < 0) {
		log_error("%s", e.msg);
		return 1;
	}
	return 0;
}

int cmd_down(const struct cli_command *c, int argc, char **argv)
{
	struct run_args args = RUN_DEFAULTS;
	struct agent_opts opts;
	struct err e = { 0 };
	int code = 0;

	if (parse(c, argc, argv, &args, &opts, &code) < 0)
		return code;
	if (agent_down(&opts, args.purge, &e) < 0)
		return cli_fail(&e);
	return 0;
}
