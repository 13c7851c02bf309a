/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a pod's specification to the process the supervisor shall start.
 *
 * Pure: nothing here opens, reads or mounts anything, except the two functions
 * at the end. What is wrong with the wish itself (runAsNonRoot with a root
 * image, an unknown capability) is a CreateContainerConfigError here, before
 * anything has been done.
 */
#ifndef AGENT_CONTAINER_CONTAINER_H
#define AGENT_CONTAINER_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/container/sandbox.h"
#include "agent/spec.h"

struct err;

/* What of an image's configuration a process needs. All borrowed. */
struct container_image {
	struct strv entrypoint;
	struct strv cmd;
	struct strv env;  /* NAME=value */
	const char *user; /* as in the image: "", "1000", "app:app" */
	const char *working_dir;
	struct strv layers; /* unpacked directories, topmost first */
};

/* Something to be seen in the container. */
struct container_mount {
	const char *dest; /* absolute, inside */
	int fd;           /* sandbox_mount_open(); or -1: */
	const char *path; /* absolute on the host, without symlinks */
	bool read_only;
	bool no_exec;
	bool idmap; /* where the pod has a userns: owners as seen inside;
		     * refused when the file system cannot */
};

/* 0: the supervisor's own (10 MiB, 4 files). */
struct log_limits {
	uint64_t max_bytes;
	unsigned int files; /* with the one being written */
};

struct container_input {
	const struct pod_spec *pod;
	const struct container_spec *ctr; /* one of @pod's */
	const struct container_image *image;
	uint32_t attempt;
	const char *node_name, *host_ip;
	const char *host_name;   /* HOSTNAME; NULL: the pod's */
	const char *pod_ip;      /* NULL while there is none */
	uint64_t node_cpu_milli; /* what resourceFieldRef of a missing limit */
	uint64_t node_mem_bytes; /* yields: the node's allocatable */
	uint64_t node_disk_bytes;
	const struct resources *resources; /* allocated; NULL: @ctr's */
	const char *rw_dir;   /* <state>/pods/<uid>/containers/<name>/<n> */
	const char *log_path; /* <log>/pods/.../<container>/<attempt>.log */
	/* What agent/remote has found: of envFrom, in order, and of env. */
	const struct key_values *env_from, *env_values;
	struct log_limits log;
	const struct container_mount *mounts; /* volumes, /etc/hosts, ... */
	size_t nr_mounts;
	const int *cgroup_tasks; /* cg_tasks_fds() */
	size_t nr_cgroup_tasks;
	int cgroup_dir; /* v2 directory for CLONE_INTO_CGROUP; -1: none */
	int oom_fd;     /* memory.events or memory.oom_control; -1: none */
	int seccomp_fd; /* seccomp_default_fd(); -1: unconfined */
	bool userns;    /* the sandbox was spawned with one */
};

/**
 * container_build() - Make the process spec of one container.
 * @in:       Borrowed.
 * @ret:      Set on success; sandbox_spec_clear(). Its descriptors are @in's.
 * @ret_fail: Filled on error: CreateContainerConfigError and the message.
 *
 * Kubernetes' rules: command replaces the entrypoint and the image's cmd, args
 * replaces the cmd; $(VAR) is expanded from the variables before it, $$(VAR)
 * stays; an unknown reference stays as it is written.
 *
 * Return: 0, -EINVAL (the wish is contradictory), -E2BIG, -ENOMEM.
 */
int container_build(const struct container_input *in, struct sandbox_spec *ret,
		    struct sandbox_failure *ret_fail, struct err *e);

/* The spec of a further process in the same container: its environment,
 * user and rights, but @argv. For sandbox_exec(). */
int exec_build(const struct container_input *in, const struct strv *argv,
	       struct sandbox_spec *ret, struct sandbox_failure *ret_fail,
	       struct err *e);

/* A host binary, as QEMU is: it sees only @read_only and @mounts. */
struct host_input {
	const char *name;
	struct strv argv; /* argv[0] absolute */
	struct strv env;
	const char *cwd;
	uint32_t uid, gid;
	const uint32_t *groups;
	size_t nr_groups;
	uint64_t caps;         /* mask; 0: none */
	struct strv read_only; /* host paths: /usr, /etc/ld.so.cache, ... */
	const struct container_mount *mounts; /* also with dest != path */
	size_t nr_mounts;
	struct strv devices; /* "/dev/kvm", "/dev/vhost-net" */
	const int *fds;      /* become 3, 4, ... */
	size_t nr_fds;
	const int *cgroup_tasks;
	size_t nr_cgroup_tasks;
	int cgroup_dir; /* -1: none */
	int oom_fd;     /* -1: none */
	int oom_score_adj;
	uint64_t nofile; /* RLIMIT_NOFILE; 0: as is */
	const char *log_path;
	struct log_limits log;
	uint32_t attempt;
};

/* Reads the host's /bin, /lib, ... links, so that programs find theirs. */
int host_build(const struct host_input *in, struct sandbox_spec *ret,
	       struct err *e);

/* Kubernetes' oom_score_adj of a container. */
int container_oom_score_adj(enum qos qos, const struct resources *r,
			    uint64_t node_mem_bytes);

/* The mask of capability names as Kubernetes writes them (NET_ADMIN, ALL),
 * starting from the default set. -EINVAL names the unknown one. */
int container_caps(const struct strv *add, const struct strv *drop,
		   uint64_t *ret_mask, struct err *e);

#define CONTAINER_CAPS_DEFAULT UINT64_C(0xa80425fb) /* Docker's fourteen */

/* The default seccomp profile as a sealed memfd of BPF, for containers with
 * the capabilities @caps. Owned by the caller; takes some 10 ms, so keep it. */
int seccomp_default_fd(uint64_t caps, int *ret_fd, struct err *e);

#endif /* AGENT_CONTAINER_CONTAINER_H */
