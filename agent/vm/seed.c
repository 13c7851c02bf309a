// SPDX-License-Identifier: Apache-2.0
/*
 * The files QEMU is given: the disk overlay and the NoCloud seed.
 *
 * The seed's texts are JSON, which is YAML too: nothing a tenant writes can
 * change what they mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yyjson.h>

#include "agent/spec.h"
#include "agent/vm/command.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fs.h"
#include "lib/spawn.h"
#include "lib/str.h"

#define SEED_MAX      (4U << 20)
#define QEMU_IMG_MS   30000
#define UNPACKER_MS   10000
#define SEED_MODE     0400
#define OVERLAY_MODE  0600
#define CIDATA        "cidata"
#define SCRIPT_PREFIX "#!/bin/sh\n"
#define SEED_FILES    3

static int json_text(yyjson_mut_doc *doc, yyjson_mut_val *root, bool ok,
		     const char *what, struct buf *out, struct err *e)
{
	auto_free char *text = NULL;
	size_t len = 0;
	int r;

	if (!ok)
		return err_set(e, -ENOMEM, "out of memory");
	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, &len);
	if (!text)
		return err_set(e, -EINVAL, "seed: %s is not UTF-8", what);
	r = buf_add(out, text, len);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

static int meta_data(const struct vm_config *cfg, struct buf *out,
		     struct err *e)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	bool ok;
	int r;

	ok = yyjson_mut_obj_add_str(doc, root, "instance-id", cfg->uid) &&
	     (!cfg->hostname ||
	      yyjson_mut_obj_add_str(doc, root, "local-hostname",
				     cfg->hostname));
	if (ok && cfg->spec->public_key) {
		yyjson_mut_val *keys =
			yyjson_mut_obj_add_arr(doc, root, "public-keys");

		ok = yyjson_mut_arr_add_str(doc, keys, cfg->spec->public_key);
	}
	r = json_text(doc, root, ok, "meta-data", out, e);
	yyjson_mut_doc_free(doc);
	return r;
}

static bool add_route(yyjson_mut_doc *doc, yyjson_mut_val *link,
		      const struct vm_net *net)
{
	yyjson_mut_val *routes = yyjson_mut_obj_add_arr(doc, link, "routes");
	yyjson_mut_val *route = yyjson_mut_arr_add_obj(doc, routes);

	return yyjson_mut_obj_add_str(doc, route, "to", "0.0.0.0/0") &&
	       yyjson_mut_obj_add_str(doc, route, "via", net->gateway) &&
	       yyjson_mut_obj_add_bool(doc, route, "on-link", true);
}

static bool add_link(yyjson_mut_doc *doc, yyjson_mut_val *links,
		     const struct vm_net *net, const char *address)
{
	yyjson_mut_val *link = yyjson_mut_obj_add_obj(doc, links, "eth0");
	yyjson_mut_val *match = yyjson_mut_obj_add_obj(doc, link, "match");
	yyjson_mut_val *v;
	bool ok;

	ok = yyjson_mut_obj_add_str(doc, match, "macaddress", net->mac) &&
	     yyjson_mut_obj_add_bool(doc, link, "dhcp4", false);
	v = yyjson_mut_obj_add_arr(doc, link, "addresses");
	ok = ok && yyjson_mut_arr_add_str(doc, v, address);
	if (ok && net->mtu)
		ok = yyjson_mut_obj_add_uint(doc, link, "mtu", net->mtu);
	if (ok && net->gateway)
		ok = add_route(doc, link, net);
	if (ok && net->dns) {
		v = yyjson_mut_obj_add_obj(doc, link, "nameservers");
		v = yyjson_mut_obj_add_arr(doc, v, "addresses");
		ok = yyjson_mut_arr_add_str(doc, v, net->dns);
	}
	return ok;
}

static int network_config(const struct vm_net *net, struct buf *out,
			  struct err *e)
{
	auto_free char *address = str_printf("%s/%u", net->ip, net->prefix);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	yyjson_mut_val *links;
	bool ok;
	int r;

	ok = address && yyjson_mut_obj_add_uint(doc, root, "version", 2);
	links = yyjson_mut_obj_add_obj(doc, root, "ethernets");
	ok = ok && add_link(doc, links, net, address);
	r = json_text(doc, root, ok, "network-config", out, e);
	yyjson_mut_doc_free(doc);
	return r;
}

/* A script stands in for user data, as in Arktos. */
static int user_data(const struct vm_spec *spec, struct buf *out, struct err *e)
{
	const char *script = spec->cloud_init_script;

	if (script && script[0] != '#')
		buf_puts(out, SCRIPT_PREFIX);
	if (script)
		buf_puts(out, script);
	else if (spec->user_data_len)
		buf_add(out, spec->user_data, spec->user_data_len);
	else
		buf_puts(out, "#cloud-config\n{}\n");
	if (buf_error(out))
		return err_set(e, buf_error(out), "out of memory");
	return 0;
}

/* arktos-unpack lays the files out: no archive library in the agent. */
static int write_iso(const char *unpacker, const struct buf *files,
		     const char *const *names, size_t nr, struct buf *ret,
		     struct err *e)
{
	const char *argv[2 * SEED_FILES + 4] = { unpacker, "iso", CIDATA };
	char sizes[SEED_FILES][24];
	auto_buf struct buf in = { .max = SEED_MAX };
	struct spawn_opts o = { .argv = (char *const *)argv };
	struct spawn_io io = { .timeout_ms = UNPACKER_MS, .out_max = SEED_MAX };
	struct spawn_result res = SPAWN_RESULT_INIT;
	size_t n = 3;
	int r;

	for (size_t i = 0; i < nr; i++) {
		(void)snprintf(sizes[i], sizeof(sizes[i]), "%zu", files[i].len);
		argv[n++] = names[i];
		argv[n++] = sizes[i];
		buf_add(&in, files[i].data, files[i].len);
	}
	if (buf_error(&in))
		return err_set(e, -EFBIG, "seed: larger than %u bytes",
			       SEED_MAX);
	io.in = in.data;
	io.in_len = in.len;
	r = spawn_run(&o, &io, &res, e);
	if (r == 0)
		r = spawn_check(&res, "arktos-unpack iso", e);
	if (r == 0 && buf_add(ret, res.out.data, res.out.len) < 0)
		r = err_set(e, buf_error(ret), "out of memory");
	spawn_result_clear(&res);
	return r;
}

int vm_seed_build(const struct vm_config *cfg, struct buf *ret, struct err *e)
{
	static const char *const names[SEED_FILES] = { "meta-data", "user-data",
						       "network-config" };
	auto_buf struct buf meta = BUF_INIT, user = BUF_INIT, net = BUF_INIT;
	size_t nr = cfg->net.ip && cfg->net.mac ? SEED_FILES : SEED_FILES - 1;
	int r;

	r = meta_data(cfg, &meta, e);
	if (r == 0)
		r = user_data(cfg->spec, &user, e);
	if (r == 0 && nr == SEED_FILES)
		r = network_config(&cfg->net, &net, e);
	if (r < 0)
		return r;
	return write_iso(cfg->unpacker ? cfg->unpacker : "arktos-unpack",
			 (struct buf[]){ meta, user, net }, names, nr, ret, e);
}

static int give_to(const char *path, uid_t uid, gid_t gid, struct err *e)
{
	if (lchown(path, uid, gid) < 0)
		return err_sys(e, "give '%s' to user %u", path, uid);
	return 0;
}

static int make_seed(const struct vm_config *cfg, const char *path, uid_t uid,
		     gid_t gid, struct err *e)
{
	auto_buf struct buf iso = BUF_INIT;
	int r;

	r = vm_seed_build(cfg, &iso, e);
	if (r == 0)
		r = fs_write_atomic(AT_FDCWD, path, iso.data, iso.len,
				    SEED_MODE, e);
	if (r < 0)
		return r;
	return give_to(path, uid, gid, e);
}

/* Under another name first: half an overlay must never look like a whole one.
 */
static int make_overlay(const struct vm_config *cfg, const char *path,
			uid_t uid, gid_t gid, struct err *e)
{
	auto_free char *new = str_printf("%s.new", path);
	const char *argv[] = { "qemu-img",
			       "create",
			       "-q",
			       "-f",
			       "qcow2",
			       "-F",
			       cfg->image.disk_format,
			       "-b",
			       cfg->image.disk,
			       new,
			       NULL };
	struct spawn_opts o = { .argv = (char *const *)argv };
	struct spawn_io io = { .timeout_ms = QEMU_IMG_MS };
	struct spawn_result res = SPAWN_RESULT_INIT;
	int r;

	if (!new)
		return err_set(e, -ENOMEM, "out of memory");
	if (fs_exists(AT_FDCWD, path))
		return give_to(path, uid, gid, e);
	if (access(cfg->image.disk, R_OK) < 0)
		return err_sys(e, "disk image '%s'", cfg->image.disk);
	r = spawn_run(&o, &io, &res, e);
	if (r == 0)
		r = spawn_check(&res, "qemu-img", e);
	spawn_result_clear(&res);
	if (r == 0 && chmod(new, OVERLAY_MODE) < 0)
		r = err_sys(e, "chmod '%s'", new);
	if (r == 0)
		r = give_to(new, uid, gid, e);
	if (r == 0 && rename(new, path) < 0)
		r = err_sys(e, "rename '%s'", new);
	if (r < 0)
		unlink(new);
	return r;
}

int vm_prepare(const struct vm_config *cfg, const struct vm_command *cmd,
	       uid_t uid, gid_t gid, struct err *e)
{
	int r = 0;

	if (cmd->seed_path)
		r = make_seed(cfg, cmd->seed_path, uid, gid, e);
	if (r == 0 && cmd->overlay_path)
		r = make_overlay(cfg, cmd->overlay_path, uid, gid, e);
	return r;
}
