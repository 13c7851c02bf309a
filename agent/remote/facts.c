// SPDX-License-Identifier: Apache-2.0
/* What there is to say of this host in its Node. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "agent/address.h"
#include "agent/remote/internal.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/json.h"
#include "lib/str.h"

#define KUBELET_VERSION  "v1.32.0+arktos-" ARKTOS_VERSION
#define PODS_MAX         "1000"
/* As kubelet's default eviction thresholds. */
#define MEMORY_LOW_BYTES (100ULL << 20)
#define PIDS_LOW_PERCENT 5

int facts_address(const struct remote *r, char *buf, size_t size)
{
	return host_address(r->o.address, buf, size);
}

/* --- single facts --- */

/* First line of a file; "" when it cannot be read. */
static const char *line_of(const char *path, char *buf, size_t size)
{
	auto_buf struct buf b = BUF_INIT;

	buf[0] = '\0';
	if (fs_read(AT_FDCWD, path, 65536, &b, NULL) == 0)
		snprintf(buf, size, "%.*s", (int)strcspn(buf_str(&b), "\n"),
			 buf_str(&b));
	return buf;
}

/* The first of the files that says anything: these must not be empty. */
static const char *id_of(const char *path, char *buf, size_t size)
{
	const char *const paths[] = { path, "/etc/machine-id",
				      "/proc/sys/kernel/random/boot_id" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (*line_of(paths[i], buf, size))
			break;
	return buf;
}

static void os_image(char *buf, size_t size)
{
	auto_buf struct buf b = BUF_INIT;
	const char *at;

	snprintf(buf, size, "Linux");
	if (fs_read(AT_FDCWD, "/etc/os-release", 65536, &b, NULL) < 0)
		return;
	at = strstr(buf_str(&b), "PRETTY_NAME=\"");
	if (at) {
		at += strlen("PRETTY_NAME=\"");
		snprintf(buf, size, "%.*s", (int)strcspn(at, "\"\n"), at);
	}
}

static uint64_t available_memory(void)
{
	auto_buf struct buf b = BUF_INIT;
	unsigned long long kib = UINT64_MAX >> 10;
	const char *at;

	if (fs_read(AT_FDCWD, "/proc/meminfo", 65536, &b, NULL) == 0 &&
	    (at = strstr(buf_str(&b), "MemAvailable:")))
		(void)sscanf(at, "MemAvailable: %llu", &kib);
	return (uint64_t)kib << 10;
}

static unsigned free_pids_percent(void)
{
	char text[64];
	unsigned long long now = 0, max = 0;

	(void)sscanf(line_of("/proc/loadavg", text, sizeof(text)),
		     "%*s %*s %*s %*u/%llu", &now);
	(void)sscanf(line_of("/proc/sys/kernel/pid_max", text, sizeof(text)),
		     "%llu", &max);
	return max > now ? (unsigned)((max - now) * 100 / max) : max ? 0 : 100;
}

/* --- the object --- */

struct node_out {
	struct json_out *o;
	yyjson_val *old; /* conditions in the API */
	char now[32];
};

static yyjson_val *old_condition(const struct node_out *n, const char *type)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(n->old);
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it)))
		if (str_eq(yyjson_get_str(yyjson_obj_get(c, "type")), type))
			return c;
	return NULL;
}

static void put_condition(struct node_out *n, const char *type, bool status,
			  const char *reason, const char *message)
{
	yyjson_val *old = old_condition(n, type);
	const char *word = status ? "True" : "False", *since = NULL;

	if (str_eq(yyjson_get_str(yyjson_obj_get(old, "status")), word))
		since = yyjson_get_str(
			yyjson_obj_get(old, "lastTransitionTime"));
	json_put_object(n->o, NULL);
	json_put_str(n->o, "type", type);
	json_put_str(n->o, "status", word);
	json_put_str(n->o, "reason", reason);
	json_put_str(n->o, "message", message);
	json_put_str(n->o, "lastHeartbeatTime", n->now);
	json_put_str(n->o, "lastTransitionTime", since ? since : n->now);
	json_put_end(n->o);
}

/* What the agent says of itself: runtimes, and more of our own. */
static void put_own(struct node_out *n, yyjson_val *node)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(
		yyjson_obj_get(yyjson_obj_get(node, "status"), "conditions"));
	yyjson_val *c;

	while ((c = yyjson_arr_iter_next(&it))) {
		const char *reason =
			yyjson_get_str(yyjson_obj_get(c, "reason"));
		const char *message =
			yyjson_get_str(yyjson_obj_get(c, "message"));
		const char *type = yyjson_get_str(yyjson_obj_get(c, "type"));

		put_condition(n, type,
			      str_eq(yyjson_get_str(
					     yyjson_obj_get(c, "status")),
				     "True"),
			      reason ? reason : "", message ? message : "");
	}
}

/* That of disks is among what the agent says of itself. */
static void put_pressures(struct node_out *n)
{
	bool memory = available_memory() < MEMORY_LOW_BYTES;
	bool pids = free_pids_percent() < PIDS_LOW_PERCENT;

	put_condition(n, "MemoryPressure", memory,
		      memory ? "NodeHasInsufficientMemory"
			     : "NodeHasSufficientMemory",
		      memory ? "less than 100Mi of memory is available"
			     : "memory is available");
	put_condition(n, "PIDPressure", pids,
		      pids ? "NodeHasInsufficientPID" : "NodeHasSufficientPID",
		      pids ? "process ids are running out"
			   : "process ids are available");
}

static void put_amounts(struct json_out *o, const char *key, yyjson_val *node)
{
	yyjson_val *from = yyjson_obj_get(yyjson_obj_get(node, "status"), key);
	const char *cpu = yyjson_get_str(yyjson_obj_get(from, "cpu"));
	const char *mem = yyjson_get_str(yyjson_obj_get(from, "memory"));
	const char *disk =
		yyjson_get_str(yyjson_obj_get(from, "ephemeral-storage"));

	json_put_object(o, key);
	json_put_str(o, "cpu", cpu ? cpu : "0");
	json_put_str(o, "memory", mem ? mem : "0");
	json_put_str(o, "ephemeral-storage", disk ? disk : "0");
	json_put_str(o, "pods", PODS_MAX);
	json_put_end(o);
}

static void put_info(struct json_out *o)
{
	char text[256];
	struct utsname u;

	if (uname(&u) < 0)
		memset(&u, 0, sizeof(u));
	json_put_object(o, "nodeInfo");
	json_put_str(o, "machineID",
		     id_of("/etc/machine-id", text, sizeof(text)));
	json_put_str(o, "systemUUID",
		     id_of("/sys/class/dmi/id/product_uuid", text,
			   sizeof(text)));
	json_put_str(o, "bootID",
		     line_of("/proc/sys/kernel/random/boot_id", text,
			     sizeof(text)));
	json_put_str(o, "kernelVersion", u.release);
	os_image(text, sizeof(text));
	json_put_str(o, "osImage", text);
	json_put_str(o, "containerRuntimeVersion", "arktos://" ARKTOS_VERSION);
	json_put_str(o, "kubeletVersion", KUBELET_VERSION);
	json_put_str(o, "kubeProxyVersion", KUBELET_VERSION);
	json_put_str(o, "operatingSystem", "linux");
	json_put_str(o, "architecture",
		     str_eq(u.machine, "x86_64")    ? "amd64"
		     : str_eq(u.machine, "aarch64") ? "arm64"
						    : u.machine);
	json_put_end(o);
}

static void put_addresses(struct json_out *o, const struct remote *r)
{
	const char *const a[][2] = { { "InternalIP", r->host_ip },
				     { "Hostname", r->o.node_name } };

	json_put_array(o, "addresses");
	for (size_t i = 0; i < ARRAY_LEN(a); i++) {
		json_put_object(o, NULL);
		json_put_str(o, "type", a[i][0]);
		json_put_str(o, "address", a[i][1]);
		json_put_end(o);
	}
	json_put_end(o);
}

static void put_labels(struct json_out *o, const struct remote *r)
{
	struct utsname u;
	const char *arch;

	if (uname(&u) < 0)
		memset(&u, 0, sizeof(u));
	arch = str_eq(u.machine, "x86_64") ? "amd64" : "arm64";
	json_put_object(o, "labels");
	json_put_str(o, "kubernetes.io/hostname", r->o.node_name);
	json_put_str(o, "kubernetes.io/os", "linux");
	json_put_str(o, "kubernetes.io/arch", arch);
	json_put_str(o, "beta.kubernetes.io/os", "linux");
	json_put_str(o, "beta.kubernetes.io/arch", arch);
	json_put_end(o);
}

static void put_node(struct remote *r, yyjson_val *own, struct node_out *n)
{
	struct json_out *o = n->o;

	json_put_object(o, NULL);
	json_put_str(o, "apiVersion", "v1");
	json_put_str(o, "kind", "Node");
	json_put_object(o, "metadata");
	json_put_str(o, "name", r->o.node_name);
	put_labels(o, r);
	json_put_end(o);
	json_put_object(o, "status");
	put_amounts(o, "capacity", own);
	put_amounts(o, "allocatable", own);
	json_put_array(o, "conditions");
	put_pressures(n);
	put_own(n, own);
	json_put_end(o);
	put_addresses(o, r);
	put_info(o);
	if (server_port(r)) {
		json_put_object(o, "daemonEndpoints");
		json_put_object(o, "kubeletEndpoint");
		json_put_i64(o, "Port", server_port(r));
		json_put_end(o);
		json_put_end(o);
	}
	json_put_end(o);
	json_put_end(o);
}

int facts_node(struct remote *r, yyjson_val *old, struct buf *out,
	       struct err *e)
{
	auto_buf struct buf own = BUF_INIT;
	struct json_out o = JSON_OUT(out);
	struct node_out n = { .o = &o };
	time_t now = time(NULL);
	yyjson_doc *doc;
	struct tm tm;
	int ret = r->o.ops->node(r->o.arg, &own, e);

	if (ret < 0)
		return ret;
	doc = yyjson_read(buf_str(&own), own.len, 0);
	if (!doc)
		return err_set(e, -ENOMEM, "out of memory");
	n.old = yyjson_obj_get(yyjson_obj_get(old, "status"), "conditions");
	gmtime_r(&now, &tm);
	strftime(n.now, sizeof(n.now), "%Y-%m-%dT%H:%M:%SZ", &tm);
	put_node(r, yyjson_doc_get_root(doc), &n);
	yyjson_doc_free(doc);
	return buf_error(out);
}
