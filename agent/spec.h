/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pod should be: a Kubernetes Pod manifest as plain C data.
 *
 * One struct for both kinds: a pod has containers, or exactly one virtual
 * machine (spec.virtualMachine, as in Arktos). Field names follow the Pod API.
 * Everything is owned by the struct pod_spec and immutable once parsed, except
 * the resources, which a resize replaces. Strings are NULL when not given.
 */
#ifndef AGENT_SPEC_H
#define AGENT_SPEC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/spec_probe.h"

struct buf;
struct err;

#define SPEC_CONTAINERS_MAX 64
#define SPEC_MANIFEST_MAX   (1024 * 1024) /* bytes of one manifest */
#define SPEC_ENV_VOLUME     ".env"        /* see VOLUME_PAYLOAD */
#define SPEC_PULL_VOLUME    ".pull"       /* imagePullSecrets; never a volume */
#define SPEC_TEXT_MAX       (64 * 1024)   /* bytes of one string in it */

/* One of requests, limits, allocated, actual. A missing value is not zero. */
struct quantity_set {
	bool has_cpu;
	bool has_mem;
	uint64_t cpu_milli; /* thousandths of a CPU */
	uint64_t mem_bytes;
	bool has_disk; /* ephemeral-storage; never resized */
	uint64_t disk_bytes;
};

struct resources {
	struct quantity_set requests;
	struct quantity_set limits;
};

/* resizePolicy, NotRequired (also NoRestart) unless said otherwise. */
struct resize_policy {
	bool cpu_restart;
	bool mem_restart;
};

enum pull_policy { PULL_IF_NOT_PRESENT, PULL_ALWAYS, PULL_NEVER };
enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };
enum qos { QOS_GUARANTEED, QOS_BURSTABLE, QOS_BEST_EFFORT };

/* securityContext of a container, the pod's already merged in. */
struct security_spec {
	bool has_user, has_group;
	uint32_t user, group;
	uint32_t *supplemental_groups; /* with fsGroup, if any */
	size_t nr_supplemental_groups;
	bool run_as_non_root;
	bool privileged;
	bool read_only_root;
	bool no_new_privs;   /* !allowPrivilegeEscalation; false at first */
	struct strv cap_add; /* as written: NET_ADMIN, ALL */
	struct strv cap_drop;
	enum { SECCOMP_RUNTIME_DEFAULT, SECCOMP_UNCONFINED } seccomp;
};

struct env_var {
	char *name;
	char *value;      /* $(VAR) still unexpanded */
	char *field_path; /* valueFrom.fieldRef: metadata.name, status.podIP */
	char *resource;   /* valueFrom.resourceFieldRef: limits.cpu, ... */
	uint64_t divisor; /* of it: thousandths of a CPU, bytes; 0: 1 */
	bool from_api;    /* a key of a ConfigMap or Secret */
};

struct port_spec {
	char *name;
	uint16_t container_port;
	uint16_t host_port;     /* 0: none */
	struct in_addr host_ip; /* 0.0.0.0: every one of the host's */
	enum { PORT_TCP, PORT_UDP, PORT_SCTP } protocol;
};

struct mount_spec {
	char *volume;
	char *mount_path;
	char *sub_path;
	bool read_only;
};

struct container_spec {
	char *name;
	char *image;
	enum pull_policy pull_policy;
	struct strv command; /* replaces the image's entrypoint */
	struct strv args;    /* replaces the image's cmd */
	char *working_dir;
	struct env_var *env;
	size_t nr_env;
	bool env_from_api; /* envFrom, or some of env */
	struct mount_spec *mounts;
	size_t nr_mounts;
	struct port_spec *ports;
	size_t nr_ports;
	struct resources resources;
	struct resize_policy resize;
	struct probe_spec liveness, readiness, startup;
	struct hook_spec post_start, pre_stop;
	struct security_spec security;
	bool tty, stdin_open, stdin_once;
	bool sidecar; /* an init container that stays: restartPolicy Always */
	char *termination_log; /* terminationMessagePath */
	bool termination_fallback_to_logs;
};

enum power_spec {
	POWER_RUNNING,
	POWER_PAUSED,
	POWER_SUSPENDED,
	POWER_SHUTDOWN
};

struct vm_spec {
	char *name;
	char *image;
	enum pull_policy pull_policy;
	struct resources resources;
	struct resize_policy resize;
	struct mount_spec *mounts;
	size_t nr_mounts;
	char *key_pair_name;
	char *public_key;
	char *user_data; /* decoded */
	size_t user_data_len;
	char *cloud_init_script;
	enum power_spec power;
	char *kernel_args; /* annotation arktos.futurewei.com/kernel-args */
	struct probe_spec liveness, readiness, startup;
	struct port_spec *ports;
	size_t nr_ports;
};

enum volume_kind {
	VOLUME_EMPTY_DIR,
	VOLUME_HOST_PATH,
	VOLUME_PAYLOAD, /* configMap, secret, ...; agent/remote fills it */
};
enum host_path_type {
	HOST_PATH_ANY,
	HOST_PATH_DIRECTORY_OR_CREATE,
	HOST_PATH_DIRECTORY,
	HOST_PATH_FILE_OR_CREATE,
	HOST_PATH_FILE,
	HOST_PATH_SOCKET,
	HOST_PATH_CHAR_DEVICE,
	HOST_PATH_BLOCK_DEVICE,
};

struct volume_spec {
	char *name;
	enum volume_kind kind;
	char *path; /* VOLUME_HOST_PATH */
	enum host_path_type type;
	bool memory;         /* VOLUME_EMPTY_DIR: medium Memory */
	uint64_t size_limit; /* VOLUME_EMPTY_DIR; 0: none */
};

/* dnsConfig, and of dnsPolicy what matters without a DNS of the cluster's. */
struct dns_spec {
	bool none; /* nothing of the host's */
	struct strv nameservers, searches;
	struct key_values options; /* value: "" for none */
};

struct pod_spec {
	char *tenant;    /* metadata.tenant; "system" when not given */
	char *namespace; /* "default" when not given */
	char *name;
	char *uid; /* from the manifest, or made by the agent */
	struct key_values labels;
	struct key_values annotations;
	char *network; /* label arktos.futurewei.com/network, or "default" */
	char *requested_ip; /* spec.nics[0].ipAddress */
	char *hostname;     /* spec.hostname, or the name */
	char *subdomain;
	bool fqdn; /* setHostnameAsFQDN */
	struct dns_spec dns;
	bool host_network, host_pid, host_ipc, share_process_namespace;
	bool has_host_users;
	bool host_users; /* false: in a user namespace of its own */
	enum restart_policy restart;
	uint32_t grace_s;           /* terminationGracePeriodSeconds, 30 */
	uint64_t active_deadline_s; /* 0: none */
	struct volume_spec *volumes;
	size_t nr_volumes;
	struct key_values host_aliases; /* key: ip, value: names, blank apart */
	struct key_values sysctls;
	bool has_fs_group;
	uint32_t fs_group;
	struct container_spec *init;
	size_t nr_init;
	struct container_spec *containers; /* empty for a VM pod */
	size_t nr_containers;
	struct vm_spec *vm; /* NULL for a container pod */
	bool pull_secrets;  /* imagePullSecrets; agent/remote reads them */
	bool needs_api;     /* something of it comes from the API server */
	char *json;         /* the manifest it came from, defaulted */
	size_t json_len;
};

/**
 * pod_spec_parse() - Read one Pod manifest.
 * @json: JSON text of one object of kind Pod. Borrowed.
 * @len:  Its length in bytes, at most %SPEC_MANIFEST_MAX.
 * @ret:  Set to the parsed pod, owned by the caller.
 * @e:    Filled on error with the field's path, what is wrong, what is
 *        allowed: "spec.containers[0].image: is required".
 *
 * Defaults as the Kubernetes API does. Unknown fields are refused: a typo in a
 * limit must not become "no limit". Fields known to Kubernetes but not
 * supported here are refused by name, too.
 *
 * Return: 0, or
 *   -EBADMSG  not JSON, or not a Pod
 *   -EINVAL   a field is unknown, missing, contradictory or out of range
 *   -E2BIG    a limit above is exceeded
 */
int pod_spec_parse(const char *json, size_t len, struct pod_spec **ret,
		   struct err *e);
/* The same. @standalone: what comes from the API server is wrong, too. @told
 * (empty) gets all that is wrong, one a line; @e has only so much room. */
int pod_spec_read(const char *json, size_t len, bool standalone,
		  struct pod_spec **ret, struct buf *told, struct err *e);
void pod_spec_free(struct pod_spec *spec);

/* The QoS class Kubernetes gives this pod. */
enum qos pod_spec_qos(const struct pod_spec *spec);
const char *qos_name(enum qos qos); /* "Guaranteed" */

/* Requests and limits of the whole pod (max of init and sum of containers, or
 * the VM's), as the scheduler and the pod's cgroup count them. A limit is
 * missing when any container has none. */
struct resources pod_spec_total(const struct pod_spec *spec);

/* Find by name among containers and init containers; NULL if there is none. */
const struct container_spec *pod_spec_container(const struct pod_spec *spec,
						const char *name);

#endif /* AGENT_SPEC_H */
