// SPDX-License-Identifier: Apache-2.0
/*
 * Who it is, from the client's certificate: CN is the user. O "tenant:NAME"
 * says whose user; then the groups are the OUs. Without it, the user is the
 * system's, and the groups are the Os. A name with colons says nothing about
 * tenants (in Arktos it did: `a:b` was taken for tenant `a`).
 */
#include <errno.h>
#include <stdlib.h>

#include "controlplane/apiserver/authn/user.h"
#include "lib/err.h"
#include "lib/str.h"

/* The @i-th entry of kind @nid as text; NULL: there is none, or it holds a
 * NUL. */
static char *name_entry(X509_NAME *name, int nid, int *at)
{
	unsigned char *utf8 = NULL;
	X509_NAME_ENTRY *entry;
	char *out = NULL;
	int len;

	*at = X509_NAME_get_index_by_NID(name, nid, *at);
	if (*at < 0)
		return NULL;
	entry = X509_NAME_get_entry(name, *at);
	len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry));
	if (len > 0 && !memchr(utf8, 0, len))
		out = strndup((char *)utf8, len);
	OPENSSL_free(utf8);
	return out;
}

static int add_groups(struct user *u, X509_NAME *name, int nid)
{
	int at = -1;
	char *g;

	while ((g = name_entry(name, nid, &at)) || at >= 0) {
		if (!g)
			continue;
		if (u->nr_groups == GROUPS_MAX - 1) {
			free(g);
			return -E2BIG;
		}
		u->groups[u->nr_groups++] = g;
	}
	return 0;
}

/* Exactly one O "tenant:NAME", or no O that begins so. */
static int find_tenant(struct user *u, X509_NAME *name, struct err *e)
{
	int at = -1, tenants = 0, others = 0;
	char *o;

	while ((o = name_entry(name, NID_organizationName, &at)) || at >= 0) {
		if (!o)
			continue;
		if (str_starts(o, "tenant:")) {
			tenants++;
			str_set(&u->tenant, o + 7);
		} else {
			others++;
		}
		free(o);
	}
	if (!tenants)
		return str_set(&u->tenant, "system");
	if (tenants > 1 || others)
		return err_set(e, -EACCES,
			       "the certificate names a tenant and further "
			       "organizations");
	if (!u->tenant || !str_is_dns_label(u->tenant) ||
	    strcmp(u->tenant, "all") == 0)
		return err_set(e, -EACCES,
			       "the certificate names no valid tenant");
	return 0;
}

int user_from_cert(X509 *cert, struct user **ret, struct err *e)
{
	X509_NAME *name = X509_get_subject_name(cert);
	auto_ptr(user) u = calloc(1, sizeof(*u));
	bool system;
	int at = -1, r;

	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	u->name = name_entry(name, NID_commonName, &at);
	if (!u->name || !*u->name)
		return err_set(e, -EACCES, "the certificate names no user");
	r = find_tenant(u, name, e);
	if (r < 0)
		return r;
	system = strcmp(u->tenant, "system") == 0;
	at = -1;
	if (!system)
		u->tenant_uid = name_entry(name, NID_dnQualifier, &at);
	r = add_groups(u, name,
		       system ? NID_organizationName
			      : NID_organizationalUnitName);
	if (r < 0)
		return err_set(e, r, "the certificate names too many groups");
	if (user_add_group(u, "system:authenticated"))
		return err_set(e, -ENOMEM, "out of memory");
	*ret = take_ptr(u);
	return 0;
}
