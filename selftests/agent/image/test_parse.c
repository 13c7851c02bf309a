// SPDX-License-Identifier: Apache-2.0
/* What is read of foreign names, manifests, configurations and disks. */
#include <endian.h>
#include <errno.h>

#include "agent/image/names.h"
#include "agent/image/oci.h"
#include "agent/image/entry.h"
#include "agent/image/vmfile.h"
#include "selftests/harness.h"
#include "lib/err.h"
#include "lib/str.h"

#define D1 \
	"sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 \
	"sha256:2222222222222222222222222222222222222222222222222222222222222222"

TEST(registries_of_this_host_are_known_by_their_names)
{
	static const struct {
		const char *ref;
		bool loopback;
	} cases[] = {
		{ "127.0.0.1:5000/a", true },    { "127.255.0.1/a", true },
		{ "localhost/a", true },         { "localhost:5000/a", true },
		{ "[::1]:5000/a", true },        { "[::2]:5000/a", false },
		{ "128.0.0.1:5000/a", false },   { "localhost.io/a", false },
		{ "127.0.0.1.nip.io/a", false }, { "busybox", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct image_name name;

		ASSERT_EQ(image_name_parse(cases[i].ref, &name, NULL), 0);
		if (image_name_is_loopback(&name) != cases[i].loopback)
			FAIL("%s", cases[i].ref);
	}
}

TEST(names_are_completed_as_docker_does)
{
	static const struct {
		const char *ref, *full;
	} cases[] = {
		{ "busybox", "docker.io/library/busybox:latest" },
		{ "busybox:1.36", "docker.io/library/busybox:1.36" },
		{ "a/b", "docker.io/a/b:latest" },
		{ "docker.io/busybox", "docker.io/library/busybox:latest" },
		{ "index.docker.io/a/b:1", "docker.io/a/b:1" },
		{ "r.io/a", "r.io/a:latest" },
		{ "r.io:5000/a/b:x_Y.z-1", "r.io:5000/a/b:x_Y.z-1" },
		{ "localhost/a", "localhost/a:latest" },
		{ "127.0.0.1:80/a", "127.0.0.1:80/a:latest" },
		{ "[::1]:80/a", "[::1]:80/a:latest" },
		{ "a__b/c-d.e", "docker.io/a__b/c-d.e:latest" },
		{ "a@" D1, "docker.io/library/a@" D1 },
		{ "a:tag@" D1, "docker.io/library/a@" D1 },
		{ "docker://r.io/a:1", "r.io/a:1" },
	};
	char full[IMAGE_REF_SIZE];
	struct image_name n;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(image_name_parse(cases[i].ref, &n, NULL), 0);
		image_name_format(&n, full);
		EXPECT_STREQ(full, cases[i].full);
	}
}

TEST(bad_names_are_refused)
{
	static const char *const bad[] = {
		"",          "A",         "a:",
		":a",        "a//b",      "/a",
		"a/",        "a b",       "-a",
		"a-",        "a..b",      "a___b",
		"a@sha256",  "a@" D1 "1", "a:b:c/d",
		"a:.tag",    "r.io:/a",   "r.io:123456/a",
		"a@md5:0",   "http://x",  "a\nb",
		"a..b.io/x", "a-.io/x",   "../../etc",
		"-r.io/a",
	};
	struct err e = { 0 };
	struct image_name n;
	char tag[200];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (image_name_parse(bad[i], &n, &e) != -EINVAL)
			FAIL("'%s' should be refused", bad[i]);
	memset(tag, 't', sizeof(tag));
	memcpy(tag, "a:", 2);
	tag[131] = '\0';
	EXPECT_EQ(image_name_parse(tag, &n, &e), -EINVAL);
	EXPECT_EQ(image_name_parse("docker-archive:/x.tar", &n, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'docker-archive:/x.tar' is a file or folder, not "
			    "an image in a registry: 'arktos-node image import'"
			    " takes it");
	EXPECT_EQ(image_name_parse("UPPER", &n, &e), -EINVAL);
	EXPECT_STREQ(e.msg, "'UPPER' is not an image name: want "
			    "[host[:port]/]path[:tag][@sha256:digest] in lower "
			    "case");
}

static int manifest(const char *text, const char *tag, struct oci_manifest *m,
		    struct err *e)
{
	struct oci_want want = { .architecture = "amd64", .tag = tag };

	return oci_manifest_parse(text, strlen(text), &want, m, e);
}

TEST(a_manifest_is_read)
{
	static struct oci_manifest m;

	ASSERT_EQ(manifest("{\"schemaVersion\":2,\"config\":{\"digest\":\"" D1
			   "\",\"size\":5},\"layers\":[{\"mediaType\":"
			   "\"application/vnd.docker.image.rootfs.diff.tar."
			   "gzip\",\"digest\":\"" D2 "\",\"size\":7}]}",
			   NULL, &m, NULL),
		  0);
	EXPECT_EQ(m.is_index, 0);
	EXPECT_STREQ(m.config.digest, D1);
	EXPECT_EQ(m.nr_layers, 1);
	EXPECT_STREQ(m.layers[0].digest, D2);
	EXPECT_EQ(m.layers[0].size, 7);
}

#define ENTRY(digest, os, arch, tag)                                       \
	"{\"digest\":\"" digest "\",\"size\":3,\"platform\":{\"os\":\"" os \
	"\",\"architecture\":\"" arch "\"},\"annotations\":{"              \
	"\"org.opencontainers.image.ref.name\":\"" tag "\"}}"
#define INDEX(list) "{\"manifests\":[" list "]}"

TEST(an_index_is_chosen_from)
{
	static struct oci_manifest m;
	struct err e = { 0 };

	ASSERT_EQ(manifest(INDEX(ENTRY(D1, "linux", "arm64",
				       "") "," ENTRY(D2, "linux", "amd64", "")),
			   NULL, &m, &e),
		  0);
	EXPECT_STREQ(m.pick.digest, D2);
	ASSERT_EQ(manifest(INDEX(ENTRY(D1, "linux", "amd64",
				       "a") "," ENTRY(D2, "linux", "amd64",
						      "b")),
			   "a", &m, &e),
		  0);
	EXPECT_STREQ(m.pick.digest, D1);
	ASSERT_EQ(manifest(INDEX(ENTRY(D1, "linux", "amd64",
				       "a") "," ENTRY(D2, "linux", "amd64",
						      "latest")),
			   NULL, &m, &e),
		  0);
	EXPECT_STREQ(m.pick.digest, D2);
	EXPECT_EQ(manifest(INDEX(ENTRY(D1, "linux", "amd64",
				       "a") "," ENTRY(D2, "linux", "amd64",
						      "b")),
			   NULL, &m, &e),
		  -EBADMSG);
	EXPECT_STREQ(e.msg, "manifest: which of these? Name its tag: a "
			    "linux/amd64, b linux/amd64");
	EXPECT_EQ(manifest(INDEX(ENTRY(D1, "linux", "arm64", "a")), NULL, &m,
			   &e),
		  -ENOENT);
	EXPECT_STREQ(e.msg, "manifest: nothing for linux/amd64: there is a "
			    "linux/arm64");
	EXPECT_EQ(manifest(INDEX(""), "x", &m, &e), -ENOENT);
}

TEST(what_is_no_image_is_refused)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "manifest: " },
		{ "[]", "is required" },
		{ "{\"config\":{\"digest\":\"x\",\"size\":1}}",
		  "must be sha256:<64 hex>" },
		{ "{\"config\":{\"digest\":\"" D1 "\",\"size\":-1}}", "size" },
		{ "{\"fsLayers\":[]}", "schema 1" },
		{ "{\"config\":{\"digest\":\"" D1
		  "\",\"size\":1},\"layers\":[{\"mediaType\":\"application/"
		  "vnd.cncf.helm.chart.content.v1+gzip\",\"digest\":\"" D2
		  "\",\"size\":7}]}",
		  "is no file system layer" },
		{ "{\"config\":{\"digest\":\"" D1
		  "\",\"size\":1},\"layers\":[{\"mediaType\":\"application/"
		  "vnd.oci.image.layer.v1.tar+gzip+encrypted\",\"digest\":\"" D2
		  "\",\"size\":7}]}",
		  "encrypted layers are not supported" },
		{ "{\"config\":{\"digest\":\"" D1
		  "\",\"size\":99999999},\"layers\":[]}",
		  "too large" },
	};
	static struct oci_manifest m;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = { 0 };

		EXPECT_EQ(manifest(cases[i].text, NULL, &m, &e), -EBADMSG);
		if (!strstr(e.msg, cases[i].words))
			FAIL("'%s' should say '%s'", e.msg, cases[i].words);
	}
}

TEST(a_configuration_is_read)
{
	static const char text[] =
		"{\"os\":\"linux\",\"created\":\"2024-05-06T07:08:09.123Z\","
		"\"config\":{\"Entrypoint\":[\"/bin/a\"],\"Cmd\":[\"b\",\"c\"],"
		"\"Env\":[\"X=1\"],\"User\":\"app:app\",\"WorkingDir\":\"/w\","
		"\"StopSignal\":\"SIGINT\",\"ExposedPorts\":{\"80/tcp\":{}},"
		"\"Volumes\":{\"/data\":{}},\"Labels\":{\"k\":\"v\"},"
		"\"Unknown\":1},\"rootfs\":{\"diff_ids\":[\"" D1 "\"]}}";
	struct oci_config c;

	ASSERT_EQ(oci_config_parse(text, strlen(text), &c, NULL), 0);
	EXPECT_STREQ(c.config.entrypoint.v[0], "/bin/a");
	EXPECT_EQ(c.config.cmd.nr, 2);
	EXPECT_STREQ(c.config.cmd.v[1], "c");
	EXPECT_EQ(c.config.cmd.v[2] == NULL, 1);
	EXPECT_STREQ(c.config.env.v[0], "X=1");
	EXPECT_STREQ(c.config.user, "app:app");
	EXPECT_STREQ(c.config.working_dir, "/w");
	EXPECT_STREQ(c.config.stop_signal, "SIGINT");
	EXPECT_STREQ(c.config.ports.v[0], "80/tcp");
	EXPECT_STREQ(c.config.volumes.v[0], "/data");
	EXPECT_STREQ(c.config.labels.v[0].key, "k");
	EXPECT_STREQ(c.config.labels.v[0].value, "v");
	EXPECT_EQ(c.created_s, 1714979289);
	EXPECT_EQ(c.nr_diff_ids, 1);
	oci_config_clear(&c);
}

TEST(configurations_of_other_machines_are_refused)
{
	static const char arch[] = "{\"architecture\":\"vax\"}";
	static const char os[] = "{\"os\":\"windows\"}";
	static const char type[] = "{\"config\":{\"Env\":\"X=1\"}}";
	struct err e = { 0 };
	struct oci_config c;
	char want[128];

	EXPECT_EQ(oci_config_parse(arch, strlen(arch), &c, &e), -EBADMSG);
	snprintf(want, sizeof(want),
		 "image configuration: is for vax; this machine is %s",
		 oci_architecture());
	EXPECT_STREQ(e.msg, want);
	EXPECT_EQ(oci_config_parse(os, strlen(os), &c, &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "image configuration: is for windows, not for "
			    "linux");
	EXPECT_EQ(oci_config_parse(type, strlen(type), &c, &e), -EBADMSG);
}

TEST(times_are_read)
{
	EXPECT_EQ(oci_time("1970-01-01T00:00:01Z"), 1);
	EXPECT_EQ(oci_time("1970-01-01T01:00:00+01:00"), 0);
	EXPECT_EQ(oci_time("1970-01-01T00:00:00.999-00:30"), 1800);
	EXPECT_EQ(oci_time("yesterday"), 0);
	EXPECT_EQ(oci_time("2024-13-01T00:00:00Z"), 0);
	EXPECT_EQ(oci_time(""), 0);
}

/* A qcow2 header; further fields by hand. */
static void qcow2(uint8_t head[512], uint32_t version)
{
	uint32_t v = htobe32(version), bits = htobe32(16), len = htobe32(104);
	uint64_t size = htobe64(1 << 20);

	memset(head, 0, 512);
	memcpy(head, "QFI\xfb", 4);
	memcpy(head + 4, &v, 4);
	memcpy(head + 20, &bits, 4);
	memcpy(head + 24, &size, 8);
	memcpy(head + 100, &len, 4);
	if (version == 2)
		memset(head + 72, 0, 40);
}

TEST(disks_are_told_apart)
{
	struct disk_info d;
	struct err e = { 0 };
	uint8_t head[512];

	qcow2(head, 3);
	ASSERT_EQ(disk_probe(head, 512, 4096, NULL, &d, &e), 0);
	EXPECT_STREQ(d.format, "qcow2");
	EXPECT_EQ(d.virtual_bytes, 1 << 20);
	qcow2(head, 2);
	ASSERT_EQ(disk_probe(head, 512, 4096, "qcow2", &d, &e), 0);
	memset(head, 0, sizeof(head));
	ASSERT_EQ(disk_probe(head, 512, 1000, NULL, &d, &e), 0);
	EXPECT_STREQ(d.format, "raw");
	EXPECT_EQ(d.virtual_bytes, 1024);
	memcpy(head, "KDMV", 4);
	EXPECT_EQ(disk_probe(head, 512, 1000, NULL, &d, &e), -EBADMSG);
	EXPECT_STREQ(e.msg, "the disk is in the format vmdk; convert it: "
			    "qemu-img convert -O qcow2");
	EXPECT_EQ(disk_probe(head, 512, 1000, "raw", &d, &e), 0);
	EXPECT_EQ(disk_probe(head, 512, 1000, "qcow2", &d, &e), -EBADMSG);
	EXPECT_EQ(disk_probe(head, 512, 1000, "vmdk", &d, &e), -EINVAL);
	EXPECT_EQ(disk_probe(head, 0, 0, NULL, &d, &e), -EBADMSG);
}

TEST(disks_that_name_other_files_are_refused)
{
	uint64_t one = htobe64(1024), feature = htobe64(1 << 2);
	uint32_t ext = htobe32(0x44415441);
	struct disk_info d;
	struct err e = { 0 };
	uint8_t head[512];

	qcow2(head, 3);
	memcpy(head + 8, &one, 8);
	EXPECT_EQ(disk_probe(head, 512, 4096, NULL, &d, &e), -EPERM);
	if (!strstr(e.msg, "names a backing file"))
		FAIL("%s", e.msg);
	qcow2(head, 2);
	memcpy(head + 8, &one, 8);
	EXPECT_EQ(disk_probe(head, 512, 4096, NULL, &d, &e), -EPERM);
	qcow2(head, 3);
	memcpy(head + 72, &feature, 8);
	EXPECT_EQ(disk_probe(head, 512, 4096, NULL, &d, &e), -EPERM);
	qcow2(head, 3);
	memcpy(head + 104, &ext, 4);
	EXPECT_EQ(disk_probe(head, 512, 4096, NULL, &d, &e), -EPERM);
	if (!strstr(e.msg, "names a data file"))
		FAIL("%s", e.msg);
}

TEST(broken_qcow2_headers_are_refused)
{
	static const struct {
		size_t at;
		uint32_t value;
	} cases[] = {
		{ 4, 1 },
		{ 4, 4 },
		{ 20, 8 },
		{ 20, 64 },
		{ 24, 0x7fffffff },
		{ 32, 1 },
		{ 76, 2 /* corrupt */ },
		{ 72, 1 /* unknown */ },
		{ 100, 72 },
		{ 100, 0xffffffff },
	};
	struct disk_info d;
	uint8_t head[512];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t v = htobe32(cases[i].value);

		qcow2(head, 3);
		memcpy(head + cases[i].at, &v, 4);
		EXPECT_EQ(disk_probe(head, 512, 4096, NULL, &d, NULL),
			  -EBADMSG);
	}
	qcow2(head, 3);
	EXPECT_EQ(disk_probe(head, 60, 60, NULL, &d, NULL), -EBADMSG);
}

TEST(bundles_are_read)
{
	static const char good[] = "{\"kernel\":\"vmlinux\",\"initrd\":"
				   "\"sub/initrd\",\"cmdline\":\"quiet\"}";
	static const struct {
		const char *text, *words;
	} bad[] = {
		{ "{}", "arktos-vm.json: kernel: is required" },
		{ "{\"kernel\":\"/etc/shadow\"}", "kernel: must be the name" },
		{ "{\"kernel\":\"../x\"}", "kernel: must be the name" },
		{ "{\"kernel\":\"\"}", "kernel: must be the name" },
		{ "{\"kernel\":\"k\",\"kernal\":1}", "unknown field" },
		{ "{\"kernel\":\"k\",\"cmdline\":\"a\\nb\"}", "one line" },
		{ "no", "arktos-vm.json: " },
	};
	struct vm_bundle b;

	ASSERT_EQ(vm_bundle_parse(good, strlen(good), &b, NULL), 0);
	EXPECT_STREQ(b.kernel, "vmlinux");
	EXPECT_STREQ(b.initrd, "sub/initrd");
	EXPECT_STREQ(b.cmdline, "quiet");
	vm_bundle_clear(&b);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = { 0 };

		EXPECT_EQ(vm_bundle_parse(bad[i].text, strlen(bad[i].text), &b,
					  &e),
			  -EBADMSG);
		if (!strstr(e.msg, bad[i].words))
			FAIL("'%s' should say '%s'", e.msg, bad[i].words);
	}
}

TEST(entry_names_are_cleaned)
{
	static const struct {
		const char *name, *path;
		enum entry_kind kind;
		size_t base;
	} cases[] = {
		{ "a", "a", ENTRY_NODE, 0 },
		{ "./a//b/", "a/b", ENTRY_NODE, 2 },
		{ "/a/./b", "a/b", ENTRY_NODE, 2 },
		{ "./", "", ENTRY_ROOT, 0 },
		{ "/", "", ENTRY_ROOT, 0 },
		{ "...", "...", ENTRY_NODE, 0 },
		{ "a/.wh.b", "a/b", ENTRY_WHITEOUT, 2 },
		{ ".wh.b", "b", ENTRY_WHITEOUT, 0 },
		{ "a/b/.wh..wh..opq", "a/b", ENTRY_OPAQUE, 2 },
		{ ".wh..wh..opq", "", ENTRY_OPAQUE, 0 },
		{ ".wh..wh.aufs", ".wh..wh.aufs", ENTRY_IGNORED, 0 },
		{ ".wh..wh.plnk/1", ".wh..wh.plnk/1", ENTRY_IGNORED, 13 },
	};
	struct entry_path p;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ASSERT_EQ(entry_path_check(cases[i].name, true, &p, NULL), 0);
		EXPECT_STREQ(p.path, cases[i].path);
		EXPECT_EQ(p.kind, cases[i].kind);
		EXPECT_EQ(p.base, cases[i].base);
	}
	ASSERT_EQ(entry_path_check("a/.wh.b", false, &p, NULL), 0);
	EXPECT_STREQ(p.path, "a/.wh.b"); /* a bundle knows no whiteouts */
}

TEST_MAIN()
