// SPDX-License-Identifier: Apache-2.0
/*
 * CertificateSigningRequests: who asks is what authentication says, decisions
 * are made through approval and certificates stored through status, each by
 * who may do so for the signer (CertificateApproval, CertificateSigning), and
 * no request asks for more than its tenant (CertificateSubjectRestriction).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

#include "controlplane/apiserver/admission/plugins.h"
#include "controlplane/apiserver/authn/csr.h"
#include "controlplane/apiserver/authz/access.h"
#include "controlplane/apiserver/conn.h"
#include "controlplane/apiserver/internal.h"
#include "lib/str.h"

#define GROUP "certificates.k8s.io"

static void put_requestor(struct admission *a)
{
	const struct user *u = a->user;
	yyjson_mut_val *groups = yyjson_mut_arr(a->doc), *extra;

	for (size_t i = 0; i < u->nr_groups; i++)
		yyjson_mut_arr_add_strcpy(a->doc, groups, u->groups[i]);
	mut_set_str(a->doc, a->obj, "spec.username", u->name);
	mut_set_str(a->doc, a->obj, "spec.tenant", u->tenant);
	mut_set(a->doc, a->obj, "spec.groups", groups);
	mut_remove(a->obj, "spec.uid");
	mut_remove(a->obj, "spec.extra");
	if (u->uid)
		mut_set_str(a->doc, a->obj, "spec.uid", u->uid);
	if (!u->nr_extra)
		return;
	extra = yyjson_mut_obj(a->doc);
	for (size_t i = 0; i < u->nr_extra; i++) {
		yyjson_mut_val *list =
			yyjson_mut_obj_get(extra, u->extra[i].key);

		if (!list) {
			list = yyjson_mut_arr(a->doc);
			mut_put(a->doc, extra, u->extra[i].key, list);
		}
		yyjson_mut_arr_add_strcpy(a->doc, list, u->extra[i].value);
	}
	mut_set(a->doc, a->obj, "spec.extra", extra);
}

static bool is_decision(yyjson_mut_val *condition)
{
	const char *type = mut_str(condition, "type");

	return str_eq(type, "Approved") || str_eq(type, "Denied");
}

/* Conditions of one kind from @from and of the other from @obj. */
static void mix_conditions(struct admission *a, bool approval)
{
	yyjson_mut_val *mixed = yyjson_mut_arr(a->doc), *c;
	char now[32];
	size_t i, max;

	now_text(now);
	yyjson_mut_arr_foreach(mut_get(a->old, "status.conditions"), i, max, c)
	{
		if (is_decision(c) != approval)
			yyjson_mut_arr_append(mixed,
					      yyjson_mut_val_mut_copy(a->doc,
								      c));
	}
	yyjson_mut_arr_foreach(mut_get(a->obj, "status.conditions"), i, max, c)
	{
		if (!yyjson_mut_is_obj(c) || is_decision(c) != approval)
			continue;
		c = yyjson_mut_val_mut_copy(a->doc, c);
		if (!mut_str(c, "status"))
			mut_set_str(a->doc, c, "status", "True");
		if (!mut_str(c, "lastUpdateTime"))
			mut_set_str(a->doc, c, "lastUpdateTime", now);
		if (!mut_str(c, "lastTransitionTime"))
			mut_set_str(a->doc, c, "lastTransitionTime", now);
		yyjson_mut_arr_append(mixed, c);
	}
	if (yyjson_mut_arr_size(mixed))
		mut_set(a->doc, a->obj, "status.conditions", mixed);
	else
		mut_remove(a->obj, "status.conditions");
}

static int mutate(struct admission *a)
{
	yyjson_mut_val *cert;
	bool approval;

	if (!admission_is(a, GROUP, "certificatesigningrequests"))
		return 0;
	if (a->op == ADMIT_CREATE) {
		put_requestor(a);
		return 0;
	}
	approval = strcmp(a->subresource, "approval") == 0;
	if (!approval && strcmp(a->subresource, "status") != 0)
		return 0;
	mix_conditions(a, approval);
	cert = mut_get(a->old, "status.certificate");
	/* An issued certificate stays what it is. */
	if (approval && !cert)
		mut_remove(a->obj, "status.certificate");
	else if (cert)
		mut_set(a->doc, a->obj, "status.certificate",
			yyjson_mut_val_mut_copy(a->doc, cert));
	return 0;
}

/* May the user @verb what this signer signs? By its own name, or by that of
 * all signers of its domain. */
static bool may(struct admission *a, const char *verb, const char *signer)
{
	struct access want = { .verb = verb,
			       .group = GROUP,
			       .resource = "signers",
			       .name = signer,
			       .tenant = a->tenant };
	auto_free char *all =
		str_printf("%.*s/*", (int)strcspn(signer, "/"), signer);

	if (access_allowed(a->api, a->user, &want))
		return true;
	want.name = all;
	return all && access_allowed(a->api, a->user, &want);
}

static bool node_is_ready(struct api *api, const char *name)
{
	const struct type *t = type_find(api->types, "", "v1", "nodes");
	auto_ptr(object_bytes) o = NULL;
	auto_buf struct buf key = BUF_INIT;
	yyjson_val *list, *c;
	yyjson_doc *doc;
	bool ready = false;
	size_t i, max;

	key_of(&key, t, "", "", name);
	o = store_get(api->store, buf_str(&key));
	doc = object_doc(o);
	list = yyjson_ptr_get(yyjson_doc_get_root(doc), "/status/conditions");
	yyjson_arr_foreach(list, i, max, c)
	{
		if (str_eq(yyjson_get_str(yyjson_obj_get(c, "type")), "Ready"))
			ready = str_eq(yyjson_get_str(
					       yyjson_obj_get(c, "status")),
				       "True");
	}
	yyjson_doc_free(doc);
	return ready;
}

static bool same_host(const struct sockaddr_storage *x,
		      const struct sockaddr_storage *y)
{
	if (x->ss_family != y->ss_family)
		return false;
	if (x->ss_family == AF_INET)
		return ((const struct sockaddr_in *)x)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)y)->sin_addr.s_addr;
	return x->ss_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)x)->sin6_addr,
		      &((const struct sockaddr_in6 *)y)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

/* Was it asked by somebody on the server's own host? */
static bool is_from_here(const struct req *r)
{
	struct sockaddr_storage peer = { 0 }, own = { 0 };
	socklen_t peer_len = sizeof(peer), own_len = sizeof(own);

	return r && r->conn &&
	       getpeername(r->conn->fd, (void *)&peer, &peer_len) == 0 &&
	       getsockname(r->conn->fd, (void *)&own, &own_len) == 0 &&
	       same_host(&peer, &own);
}

/*
 * A node's server with a name of the API server could be taken for it. What is
 * the API server's alone nobody gets; its address only who has it as well,
 * being on the same host.
 */
static int check_names(struct admission *a, const struct csr *c)
{
	static const char *const own[] = {
		"DNS:kubernetes",
		"DNS:kubernetes.default",
		"DNS:kubernetes.default.svc",
		"DNS:kubernetes.default.svc.cluster.local",
	};
	const char *advertise = a->api->advertise;
	size_t len = (size_t)(strrchr(advertise, ':') - advertise);

	for (size_t i = 0; i < c->nr_alt; i++) {
		const char *name = strchr(c->alt[i], ':') + 1;
		bool shared = str_eq(name, "localhost") ||
			      str_starts(name, "127.") || str_eq(name, "::1") ||
			      (strlen(name) == len &&
			       strncasecmp(name, advertise, len) == 0);
		bool taken = shared && !is_from_here(a->req);

		for (size_t j = 0; j < ARRAY_LEN(own); j++)
			taken = taken || strcasecmp(c->alt[i], own[j]) == 0;
		if (taken)
			return admission_forbid(a,
						"%s is the API server's own "
						"name",
						name);
	}
	return 0;
}

static int check_subject(struct admission *a, const char *signer)
{
	const char *node = user_node(a->user);
	auto_ptr(csr) c = NULL;
	struct err e = { 0 };

	if (csr_parse(mut_str(a->obj, "spec.request"), &c, &e) < 0)
		return admission_refuse(a, 422, "Invalid", "%s", e.msg);
	if (strcmp(signer, SIGNER_CLIENT) && strcmp(signer, SIGNER_KUBELET) &&
	    strcmp(signer, SIGNER_SERVING))
		return str_starts(signer, "kubernetes.io/")
			       ? admission_forbid(a,
						  "the signer %s is not "
						  "supported",
						  signer)
			       : 0;
	if (csr_check(c, signer, mut_get(a->obj, "spec.usages"), a->tenant,
		      &e) < 0)
		return admission_forbid(a, "%s", e.msg);
	/* Who has a token alone is nobody yet, and becomes nobody who works. */
	if (strcmp(signer, SIGNER_KUBELET) == 0 &&
	    user_in_group(a->user, "system:bootstrappers") &&
	    node_is_ready(a->api, c->name + strlen("system:node:")))
		return admission_forbid(a,
					"the name is taken: node \"%s\" is "
					"Ready; choose another one "
					"(--node-name), or take that node "
					"away first (kubectl delete node)",
					c->name + strlen("system:node:"));
	if (strcmp(signer, SIGNER_SERVING) == 0 && check_names(a, c) < 0)
		return -EACCES;
	/* A node asks for itself. */
	if (node && strcmp(c->name, a->user->name) != 0)
		return admission_forbid(a,
					"can only create a node CSR with "
					"CN=%s",
					a->user->name);
	return 0;
}

static int validate(struct admission *a)
{
	const char *signer, *verb = NULL;

	if (!admission_is(a, GROUP, "certificatesigningrequests") || !a->obj)
		return 0;
	signer = mut_str(a->obj, "spec.signerName");
	if (!signer)
		return 0;
	if (a->op == ADMIT_CREATE)
		return check_subject(a, signer);
	if (strcmp(a->subresource, "approval") == 0)
		verb = "approve";
	else if (strcmp(a->subresource, "status") == 0)
		verb = "sign";
	if (verb && !may(a, verb, signer))
		return admission_forbid(a,
					"user not permitted to %s requests "
					"with signerName \"%s\"",
					verb, signer);
	return 0;
}

const struct admission_plugin admission_certificates = {
	.name = "Certificates",
	.ops = ADMIT_CREATE | ADMIT_UPDATE,
	.mutate = mutate,
	.validate = validate,
};
