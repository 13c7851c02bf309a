// SPDX-License-Identifier: Apache-2.0
/* What a network should be, read from a manifest or an option. Pure. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/network/ipam.h"
#include "agent/network/manifest.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/str.h"

#define API_VERSION "arktos.futurewei.com/v1"
#define EGRESS_KEY  "arktos.futurewei.com/egress"
#define MTU_MIN     576
#define MTU_MAX     65521 /* 64 KiB less the largest IPv4 header, even */

int ip_parse(const char *text, uint32_t *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		return -EINVAL;
	*ret = ntohl(a.s_addr);
	return 0;
}

void ip_format(uint32_t ip, char ret[INET_ADDRSTRLEN])
{
	struct in_addr a = { .s_addr = htonl(ip) };

	inet_ntop(AF_INET, &a, ret, INET_ADDRSTRLEN);
}

static int cidr_parse(const char *cidr, uint32_t *ret_base,
		      unsigned int *ret_prefix, struct err *e)
{
	const char *slash = strchr(cidr, '/');
	char ip[INET_ADDRSTRLEN];
	uint64_t prefix;
	uint32_t base;

	if (!slash || (size_t)(slash - cidr) >= sizeof(ip))
		return err_set(e, -EINVAL,
			       "cidr '%.40s' is not like '10.88.0.0/16'", cidr);
	memcpy(ip, cidr, (size_t)(slash - cidr));
	ip[slash - cidr] = '\0';
	if (ip_parse(ip, &base) < 0 || str_to_u64(slash + 1, &prefix) < 0)
		return err_set(e, -EINVAL,
			       "cidr '%.40s' is not like '10.88.0.0/16'", cidr);
	if (prefix < IPAM_PREFIX_MIN || prefix > IPAM_PREFIX_MAX)
		return err_set(e, -EINVAL,
			       "cidr '%.40s': the prefix must be /%d to /%d",
			       cidr, IPAM_PREFIX_MIN, IPAM_PREFIX_MAX);
	if (base & (0xffffffffU >> prefix))
		return err_set(e, -EINVAL,
			       "cidr '%.40s' has address bits beyond its prefix",
			       cidr);
	if (base >> 24 == 0 || base >> 24 == 127 || base >> 24 >= 224 ||
	    base >> 16 == (169U << 8 | 254))
		return err_set(
			e, -EINVAL,
			"cidr '%.40s' is loopback, link-local, multicast or reserved: pods need others",
			cidr);
	*ret_base = base;
	*ret_prefix = (unsigned int)prefix;
	return 0;
}

int network_spec_check(const struct network_spec *spec, uint32_t *ret_base,
		       unsigned int *ret_prefix, struct err *e)
{
	if (!spec->tenant || !str_is_dns_label(spec->tenant))
		return err_set(e, -EINVAL,
			       "tenant '%.64s' is not a DNS label (a-z, 0-9, -)",
			       spec->tenant ? spec->tenant : "");
	if (!spec->name || !str_is_dns_subdomain(spec->name))
		return err_set(
			e, -EINVAL,
			"network name '%.64s' is not a DNS name (a-z, 0-9, -, .)",
			spec->name ? spec->name : "");
	if (!spec->cidr)
		return err_set(e, -EINVAL, "cidr is required");
	if (spec->mtu && (spec->mtu < MTU_MIN || spec->mtu > MTU_MAX))
		return err_set(e, -EINVAL, "mtu %u is not within %d to %d",
			       spec->mtu, MTU_MIN, MTU_MAX);
	return cidr_parse(spec->cidr, ret_base, ret_prefix, e);
}

static int egress_parse(const char *text, enum network_egress *ret,
			struct err *e)
{
	if (strcmp(text, "snat") == 0)
		*ret = NETWORK_EGRESS_SNAT;
	else if (strcmp(text, "none") == 0)
		*ret = NETWORK_EGRESS_NONE;
	else
		return err_set(e, -EINVAL,
			       "egress '%.32s' is neither 'snat' nor 'none'",
			       text);
	return 0;
}

static int want_str(const struct json_ref *r, const char *want, struct err *e)
{
	const char *s = NULL;
	int code = json_str(r, &s, e);

	if (code < 0)
		return code;
	if (strcmp(s, want) != 0)
		return json_err(r, -EBADMSG, e, "must be '%s'", want);
	return 0;
}

static int metadata_parse(const struct json_ref *root, struct network_spec *ret,
			  struct err *e)
{
	struct json_ref meta = json_get(root, "metadata");
	struct json_ref name = json_get(&meta, "name");
	struct json_ref tenant = json_get(&meta, "tenant");
	struct json_ref notes = json_get(&meta, "annotations");
	struct json_ref egress = json_get(&notes, EGRESS_KEY);
	const char *text = NULL;
	int r;

	ret->tenant = "system";
	r = json_str(&name, &ret->name, e);
	if (r == 0)
		r = json_opt_str(&tenant, &ret->tenant, e);
	if (r == 0)
		r = json_opt_str(&egress, &text, e);
	if (r == 0 && text)
		r = egress_parse(text, &ret->egress, e);
	return r;
}

static int spec_parse(const struct json_ref *root, struct network_spec *ret,
		      struct err *e)
{
	static const char *const known[] = { "type", "cidr", "mtu", "netID",
					     NULL };
	struct json_ref spec = json_get(root, "spec");
	struct json_ref type = json_get(&spec, "type");
	struct json_ref cidr = json_get(&spec, "cidr");
	struct json_ref mtu = json_get(&spec, "mtu");
	struct json_ref id = json_get(&spec, "netID");
	uint64_t mtu_bytes = 0, net_id = 0;
	const char *kind = "flat";
	int r;

	r = json_want_object(&spec, e);
	if (r == 0)
		r = json_only(&spec, known, e);
	if (r == 0)
		r = json_opt_str(&type, &kind, e);
	if (r == 0 && strcmp(kind, "flat") != 0)
		r = json_err(&type, -EINVAL, e,
			     "'%.32s' networks are not supported, only 'flat'",
			     kind);
	if (r == 0)
		r = json_str(&cidr, &ret->cidr, e);
	if (r == 0)
		r = json_opt_u64(&mtu, MTU_MAX, &mtu_bytes, e);
	if (r == 0)
		r = json_opt_u64(&id, NETWORK_ID_MAX, &net_id, e);
	ret->mtu = (uint32_t)mtu_bytes;
	ret->net_id = (uint32_t)net_id;
	return r;
}

int manifest_parse(const char *json, size_t len, yyjson_doc **ret_doc,
		   struct network_spec *ret, struct err *e)
{
	struct json_limits limits = { .len = NETWORK_FILE_MAX };
	struct network_spec spec = { 0 };
	struct json_ref root, version, kind;
	yyjson_doc *doc = NULL;
	int r;

	r = json_parse_within(json, len, &limits, &doc, e);
	if (r < 0)
		return r;
	root = json_root(doc);
	version = json_get(&root, "apiVersion");
	kind = json_get(&root, "kind");
	r = want_str(&version, API_VERSION, e);
	if (r == 0)
		r = want_str(&kind, "Network", e);
	if (r == 0)
		r = metadata_parse(&root, &spec, e);
	if (r == 0)
		r = spec_parse(&root, &spec, e);
	if (r < 0) {
		yyjson_doc_free(doc);
		return r;
	}
	*ret = spec;
	*ret_doc = doc;
	return 0;
}

int manifest_write(const struct network_spec *spec, uint32_t egress_slot,
		   struct buf *b)
{
	struct json_out o = JSON_OUT(b);

	json_put_object(&o, NULL);
	json_put_str(&o, "apiVersion", API_VERSION);
	json_put_str(&o, "kind", "Network");
	json_put_object(&o, "metadata");
	json_put_str(&o, "tenant", spec->tenant);
	json_put_str(&o, "name", spec->name);
	json_put_object(&o, "annotations");
	json_put_str(&o, EGRESS_KEY,
		     spec->egress == NETWORK_EGRESS_SNAT ? "snat" : "none");
	json_put_end(&o);
	json_put_end(&o);
	json_put_object(&o, "spec");
	json_put_str(&o, "type", "flat");
	json_put_str(&o, "cidr", spec->cidr);
	json_put_u64(&o, "mtu", spec->mtu);
	json_put_u64(&o, "netID", spec->net_id);
	json_put_end(&o);
	json_put_object(&o, "status");
	json_put_u64(&o, "egressSlot", egress_slot);
	json_put_end(&o);
	json_put_end(&o);
	return buf_error(b);
}

static int option_extra(char *text, struct network_spec *ret, struct err *e)
{
	uint64_t mtu;

	if (str_starts(text, "egress="))
		return egress_parse(text + strlen("egress="), &ret->egress, e);
	if (!str_starts(text, "mtu="))
		return err_set(e, -EINVAL,
			       "'%.32s' is neither 'egress=' nor 'mtu='", text);
	if (str_to_u64(text + strlen("mtu="), &mtu) < 0 || mtu > MTU_MAX)
		return err_set(e, -EINVAL, "'%.32s': not an MTU", text);
	ret->mtu = (uint32_t)mtu;
	return 0;
}

int option_parse(char *option, struct network_spec *ret, struct err *e)
{
	struct network_spec spec = { 0 };
	char *slash = strchr(option, '/');
	char *equals = strchr(option, '=');
	char *comma;
	int r;

	if (!slash || !equals || slash > equals)
		return err_set(
			e, -EINVAL,
			"network '%.64s' is not like 'tenant/name=10.88.0.0/16'",
			option);
	*slash = *equals = '\0';
	spec.tenant = option;
	spec.name = slash + 1;
	spec.cidr = equals + 1;
	for (comma = strchr(equals + 1, ','); comma;) {
		char *text = comma + 1;

		*comma = '\0';
		comma = strchr(text, ',');
		if (comma)
			*comma = '\0';
		r = option_extra(text, &spec, e);
		if (r < 0)
			return r;
	}
	*ret = spec;
	return 0;
}

int lease_parse(const char *text, struct lease_text *ret)
{
	const char *comma = strchr(text, ',');
	char ip[INET_ADDRSTRLEN];
	struct lease_text l;

	if (!comma || (size_t)(comma - text) >= sizeof(ip))
		return -EBADMSG;
	memcpy(ip, text, (size_t)(comma - text));
	ip[comma - text] = '\0';
	if (ip_parse(ip, &l.ip) < 0)
		return -EBADMSG;
	if (strcmp(comma + 1, "vm") == 0)
		l.kind = NETWORK_VM;
	else if (strcmp(comma + 1, "container") == 0)
		l.kind = NETWORK_CONTAINER;
	else
		return -EBADMSG;
	*ret = l;
	return 0;
}

void lease_format(const struct lease_text *l, char ret[LEASE_TEXT_SIZE])
{
	char ip[INET_ADDRSTRLEN];

	ip_format(l->ip, ip);
	snprintf(ret, LEASE_TEXT_SIZE, "%s,%s", ip,
		 l->kind == NETWORK_VM ? "vm" : "container");
}

int egress_slot_parse(yyjson_doc *doc, uint32_t *ret, struct err *e)
{
	struct json_ref root = json_root(doc);
	struct json_ref status = json_get(&root, "status");
	struct json_ref f = json_get(&status, "egressSlot");
	uint64_t slot = 0;
	int r = json_opt_u64(&f, EGRESS_SLOTS - 1, &slot, e);

	if (r == 0)
		*ret = (uint32_t)slot;
	return r;
}
