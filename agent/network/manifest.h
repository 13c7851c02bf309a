/* SPDX-License-Identifier: Apache-2.0 */
/* Networks and leases as text: manifests, options, state files. Pure. */
#ifndef AGENT_NETWORK_MANIFEST_H
#define AGENT_NETWORK_MANIFEST_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#include "agent/network/network.h"

struct buf;
struct err;

#define NETWORK_FILE_MAX (64 * 1024) /* bytes of a state file or manifest */
#define NETWORK_ID_MAX   0xffffff    /* a VNI has 24 bits */
#define NETWORK_UID_MAX  128
#define EGRESS_SLOTS     8192 /* pairs of addresses in 169.254.64.0/18 */

/* A plain dotted quad, in host byte order. 0 or -EINVAL. */
int ip_parse(const char *text, uint32_t *ret);
void ip_format(uint32_t ip, char ret[INET_ADDRSTRLEN]);

/* Check names and numbers. @ret_base: the CIDR, in host byte order. */
int network_spec_check(const struct network_spec *spec, uint32_t *ret_base,
		       unsigned int *ret_prefix, struct err *e);

/* The spec's strings are borrowed from @ret_doc, which the caller frees. */
int manifest_parse(const char *json, size_t len, yyjson_doc **ret_doc,
		   struct network_spec *ret, struct err *e);
/* ... borrowed from @option, which is cut into pieces. */
int option_parse(char *option, struct network_spec *ret, struct err *e);

/* The manifest we keep as state has its egress addresses in it, too. */
int manifest_write(const struct network_spec *spec, uint32_t egress_slot,
		   struct buf *b);
int egress_slot_parse(yyjson_doc *doc, uint32_t *ret, struct err *e);

/* "10.88.0.2,container" */
#define LEASE_TEXT_SIZE 32

struct lease_text {
	enum network_kind kind;
	uint32_t ip; /* host byte order */
};

/* 0 or -EBADMSG. */
int lease_parse(const char *text, struct lease_text *ret);
void lease_format(const struct lease_text *l, char ret[LEASE_TEXT_SIZE]);

#endif /* AGENT_NETWORK_MANIFEST_H */
