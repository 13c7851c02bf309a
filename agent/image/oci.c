// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/image/oci.h"
#include "lib/auto.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define INDEX_MAX  1000
#define TAG_KEY    "org.opencontainers.image.ref.name"
#define LISTED_MAX 160

/* One line of an index. Strings are the document's. */
struct choice {
	struct oci_blob blob;
	const char *os, *architecture; /* "" when not given */
	const char *tag;
};

const char *oci_architecture(void)
{
#if defined(__x86_64__)
	return "amd64";
#elif defined(__aarch64__)
	return "arm64";
#elif defined(__riscv) && __riscv_xlen == 64
	return "riscv64";
#elif defined(__powerpc64__)
	return "ppc64le";
#elif defined(__s390x__)
	return "s390x";
#else
#error "name this machine as images do"
#endif
}

int oci_blame(int code, const char *what, struct err *e)
{
	err_wrap(e, code, "%s", what);
	if (code != -EINVAL && code != -E2BIG)
		return code;
	if (e)
		e->code = -EBADMSG;
	return -EBADMSG;
}

static int parse_blob(const struct json_ref *at, struct oci_blob *ret,
		      struct err *e)
{
	struct json_ref digest = json_get(at, "digest");
	struct json_ref size = json_get(at, "size");
	const char *text;
	int r = json_str(&digest, &text, e);

	if (r == 0 && !digest_is_valid(text))
		r = json_err(&digest, -EINVAL, e, "must be sha256:<64 hex>");
	if (r == 0)
		r = json_u64(&size, OCI_BLOB_MAX, &ret->size, e);
	if (r == 0)
		memcpy(ret->digest, text, DIGEST_TEXT_MAX);
	return r;
}

static int parse_layer(const struct json_ref *at, struct oci_blob *ret,
		       struct err *e)
{
	struct json_ref media = json_get(at, "mediaType");
	struct json_ref urls = json_get(at, "urls");
	const char *type = "";
	int r = json_opt_str(&media, &type, e);

	if (r < 0)
		return r;
	if (strstr(type, "encrypted"))
		return json_err(&media, -EINVAL, e,
				"encrypted layers are not supported");
	if (strstr(type, "foreign") || json_len(&urls))
		return json_err(&media, -EINVAL, e,
				"layers kept elsewhere are not supported");
	if (*type && !strstr(type, ".tar") && !strstr(type, "rootfs.diff"))
		return json_err(&media, -EINVAL, e,
				"'%.60s' is no file system layer: this is "
				"something else than a container image",
				type);
	return parse_blob(at, ret, e);
}

static int parse_layers(const struct json_ref *root, struct oci_manifest *ret,
			struct err *e)
{
	struct json_ref config = json_get(root, "config");
	struct json_ref layers = json_get(root, "layers");
	int r = parse_blob(&config, &ret->config, e);

	if (r == 0)
		r = json_want_array(&layers, IMAGE_LAYERS_MAX, e);
	if (r < 0)
		return r;
	if (ret->config.size > OCI_CONFIG_MAX)
		return json_err(&config, -E2BIG, e, "is too large");
	json_for_each (it, &layers) {
		r = parse_layer(&it.item, &ret->layers[ret->nr_layers], e);
		if (r < 0)
			return r;
		ret->nr_layers++;
	}
	return 0;
}

static int parse_choice(const struct json_ref *at, struct choice *c,
			struct err *e)
{
	struct json_ref platform = json_get(at, "platform");
	struct json_ref os = json_get(&platform, "os");
	struct json_ref arch = json_get(&platform, "architecture");
	struct json_ref notes = json_get(at, "annotations");
	struct json_ref tag = json_get(&notes, TAG_KEY);
	int r;

	*c = (struct choice){ .os = "", .architecture = "", .tag = "" };
	r = parse_blob(at, &c->blob, e);
	if (r == 0)
		r = json_opt_str(&os, &c->os, e);
	if (r == 0)
		r = json_opt_str(&arch, &c->architecture, e);
	if (r == 0)
		r = json_opt_str(&tag, &c->tag, e);
	return r;
}

static bool choice_fits(const struct choice *c, const struct oci_want *want)
{
	if (want->tag && !str_eq(c->tag, want->tag))
		return false;
	if (*c->os && !str_eq(c->os, "linux"))
		return false;
	return !*c->architecture || str_eq(c->architecture, want->architecture);
}

static void list_choice(char *list, const struct choice *c)
{
	size_t at = strlen(list);

	(void)snprintf(list + at, LISTED_MAX - at, "%s%.40s%s%.20s/%.20s",
		       at ? ", " : "", c->tag, *c->tag ? " " : "",
		       *c->os ? c->os : "any",
		       *c->architecture ? c->architecture : "any");
}

/* "name:tag" and "tag" are both in use for the annotation; without a wish,
 * several images that fit are a question and not an answer, unless one of them
 * is "latest". */
static int pick_from_index(const struct json_ref *list,
			   const struct oci_want *want,
			   struct oci_manifest *ret, struct err *e)
{
	char listed[LISTED_MAX] = "";
	size_t fitting = 0;
	bool latest = false;
	int r = json_want_array(list, INDEX_MAX, e);

	if (r < 0)
		return r;
	json_for_each (it, list) {
		struct choice c;

		r = parse_choice(&it.item, &c, e);
		if (r < 0)
			return r;
		list_choice(listed, &c);
		if (!choice_fits(&c, want) || latest)
			continue;
		/* Of the same image for several machines, the first is it. */
		if (fitting && str_eq(c.blob.digest, ret->pick.digest))
			continue;
		latest = str_eq(c.tag, "latest");
		if (!fitting || latest)
			ret->pick = c.blob;
		if (!fitting || *c.tag)
			fitting++;
	}
	if (!fitting)
		return err_set(e, -ENOENT,
			       "nothing for %s%slinux/%s: there is %s",
			       want->tag ? want->tag : "",
			       want->tag ? " on " : "", want->architecture,
			       *listed ? listed : "nothing at all");
	if (fitting > 1 && !latest && !want->tag)
		return err_set(e, -EBADMSG, "which of these? Name its tag: %s",
			       listed);
	ret->is_index = true;
	return 0;
}

int oci_manifest_parse(const char *text, size_t len,
		       const struct oci_want *want, struct oci_manifest *ret,
		       struct err *e)
{
	struct json_limits limits = { .len = OCI_MANIFEST_MAX };
	struct json_ref root, list;
	yyjson_doc *doc;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = json_parse_within(text, len, &limits, &doc, e);
	if (r < 0)
		return oci_blame(r, "manifest", e);
	root = json_root(doc);
	list = json_get(&root, "manifests");
	if (json_has(&list)) {
		r = pick_from_index(&list, want, ret, e);
	} else {
		struct json_ref old = json_get(&root, "fsLayers");

		if (json_has(&old))
			r = err_set(e, -EBADMSG,
				    "a manifest of the old schema 1; push the "
				    "image anew with a current tool");
		else
			r = parse_layers(&root, ret, e);
	}
	yyjson_doc_free(doc);
	/* What is wrong with it is the sender's fault, whatever it is. */
	return r < 0 ? oci_blame(r, "manifest", e) : 0;
}
