// SPDX-License-Identifier: Apache-2.0
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/image/oci.h"
#include "agent/image/vmfile.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define SECTOR 512

/* qcow2, docs/interop/qcow2.txt of QEMU: offsets into its header. */
#define Q_VERSION        4
#define Q_BACKING_OFFSET 8
#define Q_CLUSTER_BITS   20
#define Q_SIZE           24
#define Q_CRYPT          32
#define Q_V2_LEN         72
#define Q_INCOMPATIBLE   72
#define Q_HEADER_LEN     100
#define Q_V3_LEN         104
#define Q_BIT_CORRUPT    (UINT64_C(1) << 1)
#define Q_BIT_DATA_FILE  (UINT64_C(1) << 2)
#define Q_BITS_KNOWN     UINT64_C(0x1f)
#define Q_EXT_END        0
#define Q_EXT_DATA_FILE  0x44415441
#define Q_EXT_BACKING    0xe2792aca
#define Q_EXT_CRYPTO     0x0537be77

static const struct signature {
	size_t at;
	const char *bytes;
	size_t len;
	const char *name;
} signatures[] = {
	{ 0, "QFI\xfb", 4, "qcow2" },
	{ 0, "QED\0", 4, "qed" },
	{ 0, "KDMV", 4, "vmdk" },
	{ 0, "COWD", 4, "vmdk" },
	{ 0, "# Disk DescriptorFile", 21, "vmdk" },
	{ 0, "vhdxfile", 8, "vhdx" },
	{ 0, "conectix", 8, "vpc" },
	{ 64, "\x7f\x10\xda\xbe", 4, "vdi" },
	{ 0, "LUKS\xba\xbe", 6, "luks" },
	{ 0, "WithoutFreeSpace", 16, "parallels" },
	{ 0, "WithouFreSpacExt", 16, "parallels" },
	{ 0, "Bochs Virtual HD Image", 22, "bochs" },
	{ 0, "#!/bin/sh\n#V2.0 Format", 22, "cloop" },
};

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static const char *look(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(signatures); i++) {
		const struct signature *s = &signatures[i];

		if (s->at + s->len <= len &&
		    memcmp(head + s->at, s->bytes, s->len) == 0)
			return s->name;
	}
	return "raw";
}

static int outside(const char *what, struct err *e)
{
	return err_set(e, -EPERM,
		       "the disk names a %s, which could be any file of this "
		       "host; merge it first: qemu-img convert -O qcow2",
		       what);
}

static int check_extensions(const uint8_t *head, size_t len, size_t at,
			    struct err *e)
{
	while (at + 8 <= len) {
		uint32_t type = be32(head + at), size = be32(head + at + 4);

		if (type == Q_EXT_END)
			return 0;
		if (type == Q_EXT_DATA_FILE)
			return outside("data file", e);
		if (type == Q_EXT_BACKING)
			return outside("backing file", e);
		if (type == Q_EXT_CRYPTO)
			return err_set(e, -EBADMSG,
				       "the disk is encrypted: not supported");
		if (size > len - at - 8)
			break;
		at += 8 + ((size_t)size + 7) / 8 * 8;
	}
	return err_set(e, -EBADMSG, "the qcow2 header has no end");
}

static int probe_v3(const uint8_t *head, size_t len, struct err *e)
{
	uint64_t bits = be64(head + Q_INCOMPATIBLE);
	uint32_t header = be32(head + Q_HEADER_LEN);

	if (bits & Q_BIT_DATA_FILE)
		return outside("data file", e);
	if (bits & Q_BIT_CORRUPT)
		return err_set(e, -EBADMSG, "the disk is marked as corrupt");
	if (bits & ~Q_BITS_KNOWN)
		return err_set(e, -EBADMSG, "unknown qcow2 features: %#llx",
			       (unsigned long long)bits);
	if (header < Q_V3_LEN || header > len)
		return err_set(e, -EBADMSG, "a qcow2 header of %u bytes",
			       header);
	return check_extensions(head, len, header, e);
}

static int probe_qcow2(const uint8_t *head, size_t len, struct disk_info *ret,
		       struct err *e)
{
	uint32_t version, cluster_bits;
	uint64_t size;

	if (len < Q_V3_LEN)
		return err_set(e, -EBADMSG, "the qcow2 header is cut off");
	version = be32(head + Q_VERSION);
	cluster_bits = be32(head + Q_CLUSTER_BITS);
	size = be64(head + Q_SIZE);
	if (version != 2 && version != 3)
		return err_set(e, -EBADMSG, "qcow2 of unknown version %u",
			       version);
	if (be64(head + Q_BACKING_OFFSET))
		return outside("backing file", e);
	if (be32(head + Q_CRYPT))
		return err_set(e, -EBADMSG,
			       "the disk is encrypted: not supported");
	if (cluster_bits < 9 || cluster_bits > 21)
		return err_set(e, -EBADMSG, "qcow2 clusters of 2^%u bytes",
			       cluster_bits);
	if (size > DISK_VIRTUAL_MAX)
		return err_set(e, -EBADMSG,
			       "the disk claims to hold %llu bytes",
			       (unsigned long long)size);
	*ret = (struct disk_info){ .format = "qcow2", .virtual_bytes = size };
	return version == 3 ? probe_v3(head, len, e)
			    : check_extensions(head, len, Q_V2_LEN, e);
}

int disk_probe(const uint8_t *head, size_t len, uint64_t file_bytes,
	       const char *format, struct disk_info *ret, struct err *e)
{
	const char *seen = look(head, len);
	struct disk_info info;
	int r = 0;

	if (format && !str_eq(format, "raw") && !str_eq(format, "qcow2"))
		return err_set(e, -EINVAL,
			       "disk format '%.20s': want qcow2 or raw",
			       format);
	if (!file_bytes)
		return err_set(e, -EBADMSG, "the disk is empty");
	if (format && str_eq(format, "qcow2") && !str_eq(seen, "qcow2"))
		return err_set(e, -EBADMSG, "the disk is %s, not qcow2", seen);
	if (format && str_eq(format, "raw"))
		seen = "raw";
	if (str_eq(seen, "qcow2")) {
		r = probe_qcow2(head, len, &info, e);
	} else if (!str_eq(seen, "raw")) {
		return err_set(e, -EBADMSG,
			       "the disk is in the format %s; convert it: "
			       "qemu-img convert -O qcow2",
			       seen);
	} else {
		info = (struct disk_info){
			.format = "raw",
			.virtual_bytes =
				(file_bytes + SECTOR - 1) / SECTOR * SECTOR,
		};
	}
	if (r == 0)
		*ret = info;
	return r;
}

void vm_bundle_clear(struct vm_bundle *b)
{
	free(b->kernel);
	free(b->initrd);
	free(b->disk);
	free(b->cmdline);
	*b = (struct vm_bundle){ .kernel = NULL };
}

static int parse_file(const struct json_ref *root, const char *key, char **ret,
		      struct err *e)
{
	struct json_ref at = json_get(root, key);
	const char *s;
	int r;

	if (!json_has(&at))
		return 0;
	r = json_str(&at, &s, e);
	if (r < 0)
		return r;
	if (!*s || *s == '/' || strlen(s) > 255 || strstr(s, ".."))
		return json_err(&at, -EINVAL, e,
				"must be the name of a file in the bundle");
	*ret = strdup(s);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int parse_cmdline(const struct json_ref *root, char **ret, struct err *e)
{
	struct json_ref at = json_get(root, "cmdline");
	const char *s = "";
	int r = json_opt_str(&at, &s, e);

	if (r < 0)
		return r;
	if (strlen(s) > CMDLINE_MAX || strpbrk(s, "\n\r"))
		return json_err(&at, -EINVAL, e,
				"must be one line of at most %d bytes",
				CMDLINE_MAX);
	*ret = strdup(s);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int vm_bundle_parse(const char *text, size_t len, struct vm_bundle *ret,
		    struct err *e)
{
	static const char *const known[] = { "kernel",  "initrd",  "disk",
					     "cmdline", "version", NULL };
	struct json_limits limits = { .len = BUNDLE_MAX, .nodes = 64 };
	struct vm_bundle b = { .kernel = NULL };
	struct json_ref root;
	yyjson_doc *doc;
	int r = json_parse_within(text, len, &limits, &doc, e);

	if (r < 0)
		return oci_blame(r, BUNDLE_FILE, e);
	root = json_root(doc);
	r = json_only(&root, known, e);
	if (r == 0)
		r = parse_file(&root, "kernel", &b.kernel, e);
	if (r == 0)
		r = parse_file(&root, "initrd", &b.initrd, e);
	if (r == 0)
		r = parse_file(&root, "disk", &b.disk, e);
	if (r == 0)
		r = parse_cmdline(&root, &b.cmdline, e);
	if (r == 0 && !b.kernel)
		r = err_set(e, -EINVAL, "kernel: is required");
	yyjson_doc_free(doc);
	if (r < 0) {
		vm_bundle_clear(&b);
		return oci_blame(r, BUNDLE_FILE, e);
	}
	*ret = b;
	return 0;
}
