// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "controlplane/apiserver/authn/csr.h"
#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

void csr_free(struct csr *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CSR_NAMES_MAX; i++) {
		free(c->organizations[i]);
		free(c->units[i]);
		free(c->alt[i]);
	}
	free(c->name);
	free(c->pem);
	free(c);
}

bool csr_has_organization(const struct csr *c, const char *o)
{
	for (size_t i = 0; i < c->nr_organizations; i++)
		if (strcmp(c->organizations[i], o) == 0)
			return true;
	return false;
}

/* Lists of names travel with commas: a name with one could become two. */
static bool is_plain(const unsigned char *s, int len)
{
	for (int i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] == 0x7f || s[i] == ',')
			return false;
	return len > 0 && len <= 256;
}

static char *entry_text(X509_NAME *name, int at)
{
	X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, at);
	unsigned char *utf8 = NULL;
	char *out = NULL;
	int len;

	len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
	if (len > 0 && is_plain(utf8, len))
		out = strndup((char *)utf8, len);
	OPENSSL_free(utf8);
	return out;
}

static int read_subject(struct csr *c, X509_NAME *name, struct err *e)
{
	for (int i = 0; i < X509_NAME_entry_count(name); i++) {
		X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		char *text = entry_text(name, i);

		if (!text)
			return err_set(e, -EINVAL,
				       "spec.request: a part of the subject is "
				       "empty, too long, or has a comma or "
				       "control characters");
		if (nid == NID_commonName && !c->name)
			c->name = text;
		else if (nid == NID_organizationName &&
			 c->nr_organizations < CSR_NAMES_MAX)
			c->organizations[c->nr_organizations++] = text;
		else if (nid == NID_organizationalUnitName &&
			 c->nr_units < CSR_NAMES_MAX)
			c->units[c->nr_units++] = text;
		else {
			free(text);
			return err_set(e, -EINVAL,
				       "spec.request: the subject may have one "
				       "CN and at most %d each of O and OU",
				       CSR_NAMES_MAX);
		}
	}
	return c->name ? 0
		       : err_set(e, -EINVAL,
				 "spec.request: the subject has no CN");
}

static char *alt_text(const GENERAL_NAME *g)
{
	char ip[INET6_ADDRSTRLEN] = "";
	char *dns, *out = NULL;

	if (g->type == GEN_DNS) {
		dns = strndup((char *)ASN1_STRING_get0_data(g->d.dNSName),
			      ASN1_STRING_length(g->d.dNSName));
		if (dns &&
		    (int)strlen(dns) == ASN1_STRING_length(g->d.dNSName) &&
		    str_is_dns_subdomain(dns))
			out = str_printf("DNS:%s", dns);
		free(dns);
		return out;
	}
	if (ASN1_STRING_length(g->d.iPAddress) == 4)
		inet_ntop(AF_INET, ASN1_STRING_get0_data(g->d.iPAddress), ip,
			  sizeof(ip));
	else if (ASN1_STRING_length(g->d.iPAddress) == 16)
		inet_ntop(AF_INET6, ASN1_STRING_get0_data(g->d.iPAddress), ip,
			  sizeof(ip));
	return *ip ? str_printf("IP:%s", ip) : NULL;
}

static int read_alt(struct csr *c, X509_REQ *req, struct err *e)
{
	STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
	GENERAL_NAMES *names =
		X509V3_get_d2i(exts, NID_subject_alt_name, NULL, NULL);
	int r = 0;

	for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && r == 0;
	     i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		char *text;

		if (g->type != GEN_DNS && g->type != GEN_IPADD) {
			c->other_alt = true;
			continue;
		}
		text = c->nr_alt < CSR_NAMES_MAX ? alt_text(g) : NULL;
		if (text)
			c->alt[c->nr_alt++] = text;
		else
			r = err_set(e, -EINVAL,
				    "spec.request: bad alternative names (at "
				    "most %d DNS names and IP addresses)",
				    CSR_NAMES_MAX);
	}
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	return r;
}

int csr_parse(const char *base64, struct csr **ret, struct err *e)
{
	auto_ptr(csr) c = calloc(1, sizeof(*c));
	auto_buf struct buf pem = BUF_INIT;
	X509_REQ *req = NULL;
	EVP_PKEY *key = NULL;
	BIO *bio = NULL;
	int r = -EINVAL;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	if (!base64 || strlen(base64) > CSR_LEN_MAX ||
	    base64_get(base64, strlen(base64), &pem))
		return err_set(e, -EINVAL,
			       "spec.request: not base64, or too long");
	bio = BIO_new_mem_buf(buf_str(&pem), pem.len);
	if (bio)
		req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	if (req)
		key = X509_REQ_get_pubkey(req);
	if (!key || X509_REQ_verify(req, key) != 1 ||
	    EVP_PKEY_get_security_bits(key) < 112)
		err_set(e, -EINVAL,
			"spec.request: no PEM of a certificate signing "
			"request that its own key (of 112 bits of security at "
			"least) has signed");
	else
		r = read_subject(c, X509_REQ_get_subject_name(req), e);
	if (r == 0)
		r = read_alt(c, req, e);
	ERR_clear_error();
	EVP_PKEY_free(key);
	X509_REQ_free(req);
	BIO_free(bio);
	if (r < 0)
		return r;
	c->pem = buf_take(&pem);
	if (!c->pem)
		return err_set(e, -ENOMEM, "out of memory");
	*ret = take_ptr(c);
	return 0;
}

/* --- what each signer signs --- */

/* All of @usages are among the allowed, @need is there. */
static bool usages_fit(yyjson_mut_val *usages, const char *need)
{
	size_t i, max;
	yyjson_mut_val *v;
	bool found = false;

	yyjson_mut_arr_foreach(usages, i, max, v)
	{
		const char *s = yyjson_mut_get_str(v);

		if (str_eq(s, need))
			found = true;
		else if (!str_eq(s, "digital signature") &&
			 !str_eq(s, "key encipherment"))
			return false;
	}
	return found;
}

static int check_node(const struct csr *c, const char *tenant, struct err *e)
{
	if (strcmp(tenant, "system") != 0)
		return err_set(e, -EINVAL,
			       "certificates of nodes are requested in the "
			       "tenant system");
	if (c->nr_organizations != 1 ||
	    !csr_has_organization(c, "system:nodes") || c->nr_units)
		return err_set(e, -EINVAL,
			       "organization is not exactly system:nodes");
	if (!str_starts(c->name, "system:node:") ||
	    !str_is_dns_subdomain(c->name + strlen("system:node:")))
		return err_set(e, -EINVAL,
			       "common name does not start with system:node: "
			       "and go on with the name of a node");
	return 0;
}

/* A tenant's request can only be for users of that tenant. */
static int check_client(const struct csr *c, const char *tenant, struct err *e)
{
	bool system = strcmp(tenant, "system") == 0;

	if (csr_has_organization(c, API_SERVERS))
		return err_set(e, -EINVAL,
			       "the organization " API_SERVERS
			       " is the API server's own");
	if (csr_has_organization(c, "system:masters"))
		return err_set(e, -EINVAL,
			       "use of %s signer with system:masters group is "
			       "not allowed",
			       SIGNER_CLIENT);
	for (size_t i = 0; i < c->nr_organizations && !system; i++)
		if (str_starts(c->organizations[i], "tenant:") &&
		    strcmp(c->organizations[i] + 7, tenant) != 0)
			return err_set(e, -EINVAL,
				       "the request is for a user of another "
				       "tenant than '%s'",
				       tenant);
	if (c->nr_alt || c->other_alt)
		return err_set(e, -EINVAL,
			       "alternative names are not allowed in a "
			       "client's certificate");
	return 0;
}

int csr_check(const struct csr *c, const char *signer, yyjson_mut_val *usages,
	      const char *tenant, struct err *e)
{
	bool serving = strcmp(signer, SIGNER_SERVING) == 0;
	int r;

	if (!usages_fit(usages, serving ? "server auth" : "client auth"))
		return err_set(e, -EINVAL,
			       "usages must be '%s auth', and may be 'digital "
			       "signature' and 'key encipherment'",
			       serving ? "server" : "client");
	if (strcmp(signer, SIGNER_CLIENT) == 0)
		return check_client(c, tenant, e);
	r = check_node(c, tenant, e);
	if (r < 0)
		return r;
	if (c->other_alt)
		return err_set(e, -EINVAL,
			       "only DNS names and IP addresses may be "
			       "alternative names");
	if (serving && !c->nr_alt)
		return err_set(e, -EINVAL,
			       "a server's certificate needs a DNS name or an "
			       "IP address");
	if (!serving && c->nr_alt)
		return err_set(e, -EINVAL,
			       "alternative names are not allowed in a "
			       "client's certificate");
	return 0;
}
