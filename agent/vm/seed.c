// SPDX-License-Identifier: Apache-2.0
/*
 * The files QEMU is given: the disk overlay and the NoCloud seed.
 *
 * The seed's texts are JSON, which is YAML too: nothing a tenant writes can
 * change what they mean.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
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
#define SEED_MODE     0400
#define OVERLAY_MODE  0600
#define CIDATA        "cidata"
#define SCRIPT_PREFIX "#!/bin/sh\n"

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

static ssize_t take_bytes(struct archive *a, void *to, const void *data,
			  size_t len)
{
	struct buf *b = to;

	if (buf_add(b, data, len) < 0) {
		archive_set_error(a, -buf_error(b), "the seed is too large");
		return -1;
	}
	return (ssize_t)len;
}

static int archive_failed(struct archive *a, struct err *e)
{
	const char *why = archive_error_string(a);

	return err_set(e, -EIO, "seed: %s", why ? why : "cannot be written");
}

static int add_file(struct archive *a, const char *name, const struct buf *b,
		    struct err *e)
{
	struct archive_entry *entry = archive_entry_new();
	int r = 0;

	if (!entry)
		return err_set(e, -ENOMEM, "out of memory");
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0444);
	archive_entry_set_size(entry, (int64_t)b->len);
	archive_entry_set_mtime(entry, 0, 0);
	if (archive_write_header(a, entry) != ARCHIVE_OK ||
	    archive_write_data(a, b->data, b->len) != (ssize_t)b->len)
		r = archive_failed(a, e);
	archive_entry_free(entry);
	return r;
}

static int write_iso(struct archive *a, const struct vm_config *cfg,
		     struct buf *out, struct err *e)
{
	auto_buf struct buf meta = BUF_INIT, user = BUF_INIT, net = BUF_INIT;
	int r;

	r = meta_data(cfg, &meta, e);
	if (r == 0)
		r = user_data(cfg->spec, &user, e);
	if (r == 0 && cfg->net.ip && cfg->net.mac)
		r = network_config(&cfg->net, &net, e);
	if (r < 0)
		return r;
	if (archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
	    archive_write_set_options(a, "volume-id=" CIDATA) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(a, 2048) != ARCHIVE_OK ||
	    archive_write_open(a, out, NULL, take_bytes, NULL) != ARCHIVE_OK)
		return archive_failed(a, e);
	r = add_file(a, "meta-data", &meta, e);
	if (r == 0)
		r = add_file(a, "user-data", &user, e);
	if (r == 0 && net.len)
		r = add_file(a, "network-config", &net, e);
	if (r == 0 && archive_write_close(a) != ARCHIVE_OK)
		r = archive_failed(a, e);
	return r;
}

int vm_seed_build(const struct vm_config *cfg, struct buf *ret, struct err *e)
{
	auto_buf struct buf out = { .max = SEED_MAX };
	struct archive *a = archive_write_new();
	int r;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	r = write_iso(a, cfg, &out, e);
	archive_write_free(a);
	if (r < 0)
		return r;
	r = buf_add(ret, out.data, out.len);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
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
