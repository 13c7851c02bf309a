// SPDX-License-Identifier: Apache-2.0
/* The node itself through the local API: images, networks. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "agent/backend.h"
#include "agent/disk.h"
#include "agent/internal.h"
#include "agent/remote/remote.h"
#include "cgroups/cgroup.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/quantity.h"
#include "lib/str.h"

/* --- images
 * -------------------------------------------------------------------------- */

static const char *kind_word(enum image_kind kind)
{
	return kind == IMAGE_CONTAINER ? "container"
	       : kind == IMAGE_KERNEL  ? "vm-kernel"
				       : "vm-disk";
}

static void put_image(struct json_out *o, const char *ref,
		      const struct image *img, size_t used_by)
{
	char time[40] = "", stored[40] = "";

	if (img->created_s)
		rfc3339(img->created_s * 1000000, time);
	if (img->stored_s)
		rfc3339(img->stored_s * 1000000, stored);
	json_put_object(o, NULL);
	json_put_str(o, "ref", ref);
	json_put_str(o, "id", img->id);
	json_put_str(o, "kind", kind_word(img->kind));
	json_put_u64(o, "size", img->bytes);
	json_put_str(o, "created", time);
	json_put_str(o, "stored", stored);
	json_put_u64(o, "usedBy", used_by);
	json_put_end(o);
}

int backend_image_list(void *arg, struct buf *out, struct err *e)
{
	struct agent *a = arg;
	struct json_out o = JSON_OUT(out);
	struct image_item *items = NULL;
	struct strv used = { 0 };
	size_t nr = 0;
	int r = used_images(a, &used);

	if (r == 0)
		r = image_list(a->images, &items, &nr);
	if (r < 0) {
		used_images_free(&used);
		return err_wrap(e, r, "list images");
	}
	json_put_object(&o, NULL);
	json_put_array(&o, "items");
	for (size_t i = 0; i < nr; i++) {
		size_t by = 0;

		for (size_t k = 0; k < used.nr; k++)
			by += str_eq(used.v[k], items[i].image->id);
		for (size_t k = 0; k < items[i].names.nr; k++)
			put_image(&o, items[i].names.v[k], items[i].image, by);
		if (!items[i].names.nr)
			put_image(&o, "<none>", items[i].image, by);
	}
	json_put_end(&o);
	json_put_end(&o);
	image_list_free(items, nr);
	used_images_free(&used);
	return buf_error(out);
}

static void tell_progress(const struct image_progress *p, void *arg)
{
	static const char *const words[] = { "downloading", "unpacking",
					     "flushing", "done" };
	const struct api_progress *to = arg;
	auto_buf struct buf b = BUF_INIT;
	struct json_out o = JSON_OUT(&b);

	if (!to->tell)
		return;
	json_put_object(&o, NULL);
	json_put_str(&o, "phase", words[p->phase]);
	json_put_u64(&o, "bytes", p->bytes);
	json_put_u64(&o, "totalBytes", p->total_bytes);
	json_put_u64(&o, "layer", p->layer);
	json_put_u64(&o, "layers", p->nr_layers);
	json_put_end(&o);
	if (!buf_error(&b))
		to->tell(to->arg, b.data, b.len);
}

static int image_kind(const char *word, enum image_kind *ret, struct err *e)
{
	*ret = IMAGE_AUTO;
	if (!word)
		return 0;
	if (str_eq(word, "container"))
		*ret = IMAGE_CONTAINER;
	else if (str_eq(word, "vm"))
		*ret = IMAGE_DISK;
	else
		return err_set(e, -EBADMSG,
			       "kind '%s' is neither container nor vm", word);
	return 0;
}

static int put_result(const char *ref, struct image *img, struct buf *out)
{
	struct json_out o = JSON_OUT(out);

	put_image(&o, ref, img, 0);
	image_unref(img);
	return buf_error(out);
}

int backend_image_pull(void *arg, const struct api_image_job *job,
		       struct buf *out, struct err *e)
{
	struct agent *a = arg;
	struct image_pull_opts o = {
		.policy = job->always ? PULL_ALWAYS : PULL_IF_NOT_PRESENT,
		.username = job->username,
		.password = job->password,
		.insecure_tls = job->insecure,
		.progress = tell_progress,
		.progress_arg = (void *)(uintptr_t)&job->progress,
		.cancel = job->cancel,
	};
	struct image *img = NULL;
	int r = image_kind(job->kind, &o.kind, e);

	if (r == 0)
		r = image_pull(a->images, job->ref, &o, &img, e);
	return r < 0 ? r : put_result(job->ref, img, out);
}

int backend_image_import(void *arg, const struct api_image_job *job,
			 struct buf *out, struct err *e)
{
	struct agent *a = arg;
	auto_free char *name = NULL;
	struct image_import_opts o = {
		.name = job->name,
		.ret_name = &name,
		.format = job->format,
		.progress = tell_progress,
		.progress_arg = (void *)(uintptr_t)&job->progress,
		.cancel = job->cancel,
	};
	struct image *img = NULL;
	int r = image_kind(job->kind, &o.kind, e);

	if (r == 0)
		r = image_import(a->images, job->ref, &o, &img, e);
	return r < 0 ? r : put_result(name ? name : job->ref, img, out);
}

int backend_image_remove(void *arg, const char *ref, struct err *e)
{
	struct agent *a = arg;
	auto_buf struct buf pods = BUF_INIT;
	struct image *img = NULL;
	struct strv used = { 0 };
	int r = used_images(a, &used);

	r = r < 0 ? err_wrap(e, r, "look who uses it")
		  : image_remove(a->images, ref, &used, e);
	used_images_free(&used);
	if (r == -EBUSY && image_find(a->images, ref, &img, NULL) == 0 &&
	    image_users(a, img->id, &pods) == 0 && pods.len)
		err_set(e, r, "image '%s' is used by pod %s: delete that first",
			ref, buf_str(&pods));
	image_unref(img);
	return r;
}

/* --- the node
 * ---------------------------------------------------------------------------
 */

static void put_amounts(struct json_out *o, const char *key, uint64_t cpu,
			uint64_t mem, uint64_t disk)
{
	char text[QUANTITY_TEXT_SIZE];

	json_put_object(o, key);
	json_put_str(o, "cpu", quantity_format_cpu(cpu, text));
	json_put_str(o, "memory", quantity_format_mem(mem, text));
	json_put_str(o, "ephemeral-storage", quantity_format_mem(disk, text));
	json_put_end(o);
}

static void put_condition(struct json_out *o, const char *type, bool status,
			  const char *reason, const char *message)
{
	json_put_object(o, NULL);
	json_put_str(o, "type", type);
	json_put_str(o, "status", status ? "True" : "False");
	json_put_str(o, "reason", reason);
	json_put_str(o, "message", message);
	json_put_end(o);
}

/* A runtime is ready when its program is there to be run. */
static void put_runtimes(struct json_out *o, const struct agent *a)
{
	auto_free char *pod = str_printf("%s/arktos-pod", a->opts.libexec);
	bool container = pod && access(pod, X_OK) == 0;
	bool vm = container && access(a->opts.qemu, X_OK) == 0;

	auto_free char *no_pod = str_printf(
		"'%s' cannot be run: install it there, or say --libexec",
		pod ? pod : "");
	auto_free char *no_qemu =
		str_printf("'%s' cannot be run: apt-get install "
			   "qemu-system-x86, or say --qemu",
			   a->opts.qemu);

	put_condition(o, "ContainerRuntimeReady", container && !a->lacks[0],
		      !container    ? "SupervisorMissing"
		      : a->lacks[0] ? "KernelLacksFeature"
				    : "RuntimeReady",
		      !container    ? no_pod
		      : a->lacks[0] ? a->lacks
				    : pod);
	put_condition(o, "VmRuntimeReady", vm,
		      vm           ? "RuntimeReady"
		      : !container ? "SupervisorMissing"
				   : "QemuMissing",
		      !container ? no_pod
		      : !vm      ? no_qemu
		      : a->kvm   ? "QEMU with KVM"
				 : "QEMU, software emulation");
}

static void put_conditions(struct json_out *o, struct agent *a)
{
	auto_buf struct buf losses = BUF_INIT, told = BUF_INIT;
	char why[256] = "the state and log folders have room";
	bool low = disk_low(a, why, sizeof(why));
	int nr = cg_describe(a->root, &losses);

	/* One line of it. */
	for (char *rest = losses.data, *line; (line = strsep(&rest, "\n"));)
		if (*line)
			buf_printf(&told, "%s%s", told.len ? "; " : "", line);
	json_put_array(o, "conditions");
	put_condition(o, "Ready", true, "AgentReady", "the agent serves");
	put_runtimes(o, a);
	put_condition(o, "DiskPressure", low,
		      low ? "NodeHasDiskPressure" : "NodeHasNoDiskPressure",
		      why);
	put_condition(o, "HardwareAccelerated", a->kvm,
		      a->kvm ? "KVMUsable" : "KVMUnusable", a->kvm_why);
	put_condition(o, "UserNamespaces", a->userns,
		      a->userns ? "Supported" : "Unsupported", a->userns_why);
	put_condition(o, "CgroupsComplete", nr == 0,
		      nr == 0 ? "V2" : "LegacyHierarchies", buf_str(&told));
	json_put_end(o);
}

/* Whom this node is joined to; nothing when it works alone. */
static void put_join(struct json_out *o, struct agent *a)
{
	struct remote *r = __atomic_load_n(&a->remote, __ATOMIC_ACQUIRE);

	if (!r)
		return;
	json_put_object(o, "apiServer");
	json_put_str(o, "url", remote_server(r));
	json_put_bool(o, "answers", remote_answers(r));
	json_put_end(o);
}

int backend_node(void *arg, struct buf *out, struct err *e)
{
	struct agent *a = arg;
	struct node_resources *n = &a->node;
	struct json_out o = JSON_OUT(out);
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "uname");
	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", "v1");
	json_put_str(&o, "kind", "Node");
	json_put_object(&o, "metadata");
	json_put_str(&o, "name", a->opts.node_name);
	json_put_end(&o);
	json_put_object(&o, "status");
	pthread_mutex_lock(&n->lock);
	put_amounts(&o, "capacity", n->cpu_milli + a->opts.reserved_cpu_milli,
		    n->mem_bytes + a->opts.reserved_mem_bytes,
		    n->disk_all_bytes);
	put_amounts(&o, "allocatable", n->cpu_milli, n->mem_bytes,
		    n->disk_bytes);
	put_amounts(&o, "allocated", n->used_cpu, n->used_mem, n->used_disk);
	pthread_mutex_unlock(&n->lock);
	put_conditions(&o, a);
	put_join(&o, a);
	json_put_object(&o, "nodeInfo");
	json_put_str(&o, "kernelVersion", u.release);
	json_put_str(&o, "architecture", "amd64");
	json_put_str(&o, "operatingSystem", "linux");
	json_put_str(&o, "arktosVersion", ARKTOS_VERSION);
	json_put_str(&o, "containerRuntimeVersion", "arktos://" ARKTOS_VERSION);
	json_put_end(&o);
	json_put_end(&o);
	json_put_end(&o);
	return buf_error(out);
}

/* --- networks
 * --------------------------------------------------------------------------------
 */

static void put_network(struct json_out *o, const struct network_info *n)
{
	char ip[INET_ADDRSTRLEN];

	json_put_object(o, NULL);
	json_put_str(o, "tenant", n->tenant);
	json_put_str(o, "name", n->name);
	json_put_u64(o, "id", n->net_id);
	inet_ntop(AF_INET, &n->base, ip, sizeof(ip));
	json_put_fmt(o, "cidr", "%s/%u", ip, n->prefix);
	inet_ntop(AF_INET, &n->gateway, ip, sizeof(ip));
	json_put_str(o, "gateway", ip);
	json_put_str(o, "egress",
		     n->egress == NETWORK_EGRESS_SNAT ? "snat" : "none");
	json_put_u64(o, "used", n->nr_used);
	json_put_u64(o, "addresses", n->nr_addresses);
	json_put_end(o);
}

static void put_endpoint(struct json_out *o, struct agent *a, struct pod *pod,
			 uint64_t drops[DP_DROP_NR])
{
	struct endpoint_stats st;
	struct endpoint ep;
	char ip[INET_ADDRSTRLEN], network[256];
	bool up;

	pthread_mutex_lock(&pod->lock);
	up = pod->network_up;
	ep = pod->endpoint;
	snprintf(network, sizeof(network), "%s", pod->spec->network);
	pthread_mutex_unlock(&pod->lock);
	if (!up || network_stats(a->network, pod->uid, &st, NULL) < 0)
		return;
	inet_ntop(AF_INET, &ep.ip, ip, sizeof(ip));
	json_put_object(o, NULL);
	json_put_str(o, "pod", pod->key);
	json_put_str(o, "network", network);
	json_put_str(o, "ip", ip);
	json_put_fmt(o, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", ep.mac[0],
		     ep.mac[1], ep.mac[2], ep.mac[3], ep.mac[4], ep.mac[5]);
	json_put_str(o, "link", ep.ifname);
	json_put_u64(o, "rxPackets", st.rx_packets);
	json_put_u64(o, "rxBytes", st.rx_bytes);
	json_put_u64(o, "txPackets", st.tx_packets);
	json_put_u64(o, "txBytes", st.tx_bytes);
	json_put_object(o, "drops");
	for (int i = 0; i < DP_DROP_NR; i++) {
		drops[i] += st.drops[i];
		if (st.drops[i])
			json_put_u64(o, dp_drop_name(i), st.drops[i]);
	}
	json_put_end(o);
	json_put_end(o);
}

int backend_network(void *arg, struct buf *out, struct err *e)
{
	struct agent *a = arg;
	struct json_out o = JSON_OUT(out);
	uint64_t drops[DP_DROP_NR] = { 0 };
	struct network_info *nets = NULL;
	struct pod **pods;
	size_t nr = 0, nr_pods;
	int r = network_list(a->network, &nets, &nr, e);

	if (r < 0)
		return r;
	if (pods_all(a, &pods, &nr_pods) < 0) {
		free(nets);
		return err_set(e, -ENOMEM, "out of memory");
	}
	json_put_object(&o, NULL);
	json_put_array(&o, "networks");
	for (size_t i = 0; i < nr; i++)
		put_network(&o, &nets[i]);
	json_put_end(&o);
	json_put_array(&o, "endpoints");
	for (size_t i = 0; i < nr_pods; i++)
		put_endpoint(&o, a, pods[i], drops);
	json_put_end(&o);
	json_put_array(&o, "drops");
	for (int i = 0; i < DP_DROP_NR; i++) {
		if (!drops[i])
			continue;
		json_put_object(&o, NULL);
		json_put_str(&o, "reason", dp_drop_name(i));
		json_put_u64(&o, "count", drops[i]);
		json_put_end(&o);
	}
	json_put_end(&o);
	json_put_end(&o);
	pod_list_free(pods, nr_pods);
	free(nets);
	return buf_error(out);
}

int network_manifest(struct agent *a, const char *json, size_t len,
		     struct err *e)
{
	yyjson_doc *doc;
	bool network;
	int r = json_parse(json, len, &doc, e);

	if (r < 0)
		return r;
	network = str_eq(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc),
						       "kind")),
			 "Network");
	yyjson_doc_free(doc);
	return network ? network_define_json(a->network, json, len, e)
		       : -ENOENT;
}
