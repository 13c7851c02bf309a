/* SPDX-License-Identifier: Apache-2.0 */
/* The node agent as one call. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define AGENT_STATE_DIR "/var/lib/arktos"
#define AGENT_RUN_DIR   "/run/arktos"
#define AGENT_LOG_DIR   "/var/log/arktos"

#define AGENT_LOG_MIN       4096
#define AGENT_LOG_FILES_MAX 17 /* as many as readers look at */

/* All strings are borrowed for as long as agent_run() runs. */
struct agent_opts {
	const char *node_name; /* NULL: the host's name */
	const char *state_dir; /* NULL: the defaults above */
	const char *run_dir;
	const char *log_dir;
	const char *manifests_dir;   /* NULL: <state>/manifests */
	const char *libexec;         /* folder of arktos-pod; NULL: our own */
	const char *cgroup_parent;   /* NULL: the cgroup we are in */
	const char *cgroup_name;     /* NULL: "arktos" */
	const char *qemu;            /* NULL: qemu-system-x86_64 */
	const char *accel;           /* "auto", "kvm", "tcg"; NULL: auto */
	const char *const *networks; /* "tenant/name=CIDR[,egress=snat]" */
	size_t nr_networks;
	const char *default_cidr;   /* NULL: NETWORK_CIDR */
	const char *kubeconfig;     /* of this node; NULL: alone */
	const char *admin;          /* kubeconfig of the host's CLI, or NULL */
	const char *node_ip;        /* NULL: of the default route's interface */
	const char *cluster_domain; /* of pods with a subdomain; NULL:
				       cluster.local */
	uint32_t lease_s;           /* of the node's lease; 0: 40 */
	bool default_snat;
	uint64_t reserved_cpu_milli; /* kept from pods */
	uint64_t reserved_mem_bytes;
	uint32_t backoff_base_ms; /* of restarts; 0: 10 s */
	uint32_t backoff_max_ms;  /* 0: 300 s */
	uint64_t log_max_bytes;   /* of a log file, then rotated; 0: 10 MiB */
	unsigned int log_files;   /* kept of each container; 0: 4 */
	unsigned int workers;     /* 0: 4 */
	int ready_fd;             /* written to and closed when we serve; -1 */
};

/**
 * agent_run() - Serve this node until SIGTERM or SIGINT.
 * @opts: Borrowed.
 * @e:    Filled on error.
 *
 * Pods outlive it: a later agent_run() on the same directories takes them over.
 *
 * Return: 0 after an orderly stop, or
 *   -EBUSY  another agent works on this state directory
 *   -EPERM  not root; @e says what is missing
 *   -errno  of what could not be set up
 */
int agent_run(const struct agent_opts *opts, struct err *e);

/* Remove every process, cgroup, link, mount and BPF object of a stopped agent's
 * pods; with @purge all state, too. What 'make down' does. */
int agent_down(const struct agent_opts *opts, bool purge, struct err *e);

#endif /* AGENT_AGENT_H */
