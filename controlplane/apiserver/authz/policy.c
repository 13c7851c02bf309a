// SPDX-License-Identifier: Apache-2.0
/*
 * Kubernetes' default roles, and Arktos' admin-role. A rule is one line,
 * VERBS|GROUPS|RESOURCES, or VERBS|PATHS; "core" is the group without a name.
 * Roles that are made of others (aggregation) list the rules of those, too.
 */
#include "controlplane/apiserver/authz/policy.h"
#include "lib/auto.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/str.h"

#define READ  "get,list,watch"
#define WRITE "create,delete,deletecollection,patch,update"
#define CSR   "certificates.k8s.io"

enum {
	SYSTEM_ONLY = 1 << 0,
	TENANTS_ONLY = 1 << 1,
};

struct role {
	const char *name;
	unsigned int flags;
	const char *into; /* aggregated into this role */
	const char *from; /* made of the roles that go into this one */
	const char *rules;
};

static const struct role roles[] = {
	{ .name = "cluster-admin", .rules = "*|*|*\n*|*\n" },
	{ .name = "admin-role",
	  .flags = TENANTS_ONLY,
	  .rules = "*|*|*\n*|*\n" },
	{ .name = "admin", .from = "admin" },
	{ .name = "edit", .into = "admin", .from = "edit" },
	{ .name = "view", .into = "edit", .from = "view" },
	{ .name = "system:aggregate-to-admin",
	  .into = "admin",
	  .rules =
		  "create|authorization.k8s.io|localsubjectaccessreviews\n" READ
		  "," WRITE "|rbac.authorization.k8s.io|roles,rolebindings\n" },
	{ .name = "system:aggregate-to-edit",
	  .into = "edit",
	  .rules = READ
	  "|core|pods/attach,pods/exec,pods/portforward,"
	  "pods/proxy,secrets,services/proxy\n"
	  "impersonate|core|serviceaccounts\n" WRITE
	  "|core|pods,pods/attach,pods/exec,pods/portforward,"
	  "pods/proxy,pods/resize,pods/action\n"
	  "create|core|pods/eviction\n" WRITE
	  "|core|configmaps,events,persistentvolumeclaims,"
	  "replicationcontrollers,replicationcontrollers/scale,"
	  "secrets,serviceaccounts,services,services/proxy\n"
	  "create|core|serviceaccounts/token\n" WRITE
	  "|apps|daemonsets,deployments,deployments/rollback,"
	  "deployments/scale,replicasets,replicasets/scale,"
	  "statefulsets,statefulsets/scale\n" WRITE
	  "|autoscaling|horizontalpodautoscalers\n" WRITE
	  "|batch|cronjobs,jobs\n" WRITE "|policy|poddisruptionbudgets\n" WRITE
	  "|networking.k8s.io|ingresses,networkpolicies\n" READ "," WRITE
	  "|coordination.k8s.io|leases\n" },
	{ .name = "system:aggregate-to-view",
	  .into = "view",
	  .rules = READ
	  "|core|configmaps,endpoints,persistentvolumeclaims,"
	  "persistentvolumeclaims/status,pods,pods/log,pods/status,"
	  "replicationcontrollers,replicationcontrollers/scale,"
	  "replicationcontrollers/status,serviceaccounts,services,"
	  "services/status,bindings,events,actions,limitranges,namespaces,"
	  "namespaces/status,resourcequotas,resourcequotas/status\n" READ
	  "|discovery.k8s.io|endpointslices\n" READ
	  "|apps|controllerrevisions,daemonsets,daemonsets/status,"
	  "deployments,deployments/scale,deployments/status,replicasets,"
	  "replicasets/scale,replicasets/status,statefulsets,"
	  "statefulsets/scale,statefulsets/status\n" READ
	  "|autoscaling|horizontalpodautoscalers,"
	  "horizontalpodautoscalers/status\n" READ "|metrics.k8s.io|pods\n" READ
	  "|batch|cronjobs,cronjobs/status,jobs,jobs/status\n" READ
	  "|policy|poddisruptionbudgets,poddisruptionbudgets/status\n" READ
	  "|networking.k8s.io|ingresses,ingresses/status,networkpolicies\n" },
	{ .name = "system:basic-user",
	  .rules = "create|authorization.k8s.io|selfsubjectaccessreviews,"
		   "selfsubjectrulesreviews\n"
		   "create|authentication.k8s.io|selfsubjectreviews\n" },
	{ .name = "system:discovery",
	  .rules = "get|/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,"
		   "/openapi/*,/readyz,/version,/version/\n" },
	{ .name = "system:service-account-issuer-discovery",
	  .rules = "get|/.well-known/openid-configuration,"
		   "/.well-known/openid-configuration/,/openid/v1/jwks,"
		   "/openid/v1/jwks/\n" },
	{ .name = "system:auth-delegator",
	  .flags = SYSTEM_ONLY,
	  .rules = "create|authentication.k8s.io|tokenreviews\n"
		   "create|authorization.k8s.io|subjectaccessreviews\n" },
	{ .name = "system:monitoring",
	  .flags = SYSTEM_ONLY,
	  .rules = "get|/healthz,/healthz/*,/livez,/livez/*,/metrics,"
		   "/metrics/slis,/readyz,/readyz/*\n" },
	{ .name = "system:public-info-viewer",
	  .flags = SYSTEM_ONLY,
	  .rules = "get|/healthz,/livez,/readyz,/version,/version/\n" },
	{ .name = "system:node-bootstrapper",
	  .flags = SYSTEM_ONLY,
	  .rules = "create," READ "|" CSR "|certificatesigningrequests\n" },
	{ .name = "system:certificates.k8s.io:certificatesigningrequests:"
		  "nodeclient",
	  .flags = SYSTEM_ONLY,
	  .rules = "create|" CSR "|certificatesigningrequests/nodeclient\n" },
	{ .name = "system:certificates.k8s.io:certificatesigningrequests:"
		  "selfnodeclient",
	  .flags = SYSTEM_ONLY,
	  .rules = "create|" CSR
		   "|certificatesigningrequests/selfnodeclient\n" },
	{ .name = "system:node-proxier",
	  .flags = SYSTEM_ONLY,
	  .rules = "list,watch|core|endpoints,services\n" READ
		   "|core|nodes\ncreate,patch,update|core,events.k8s.io|events"
		   "\nlist,watch|discovery.k8s.io|endpointslices\n" },
	{ .name = "system:kube-scheduler",
	  .flags = SYSTEM_ONLY,
	  .rules = "create,patch,update|core,events.k8s.io|events\n"
		   "create,get,list,patch,update,watch|coordination.k8s.io|"
		   "leases\n" READ "|core|nodes,namespaces,"
		   "persistentvolumeclaims,persistentvolumes,"
		   "replicationcontrollers,services\n"
		   "delete," READ "|core|pods\n"
		   "create|core|bindings,pods/binding\n"
		   "patch,update|core|pods/status\n" READ
		   "|apps|replicasets,statefulsets\n" READ
		   "|policy|poddisruptionbudgets\n" READ
		   "|storage.k8s.io|csidrivers,csinodes,storageclasses\n" },
};

struct binding {
	const char *name;
	unsigned int flags;
	const char *role, *kind, *subject;
};

static const struct binding bindings[] = {
	{ "cluster-admin", SYSTEM_ONLY, "cluster-admin", "Group",
	  "system:masters" },
	{ "admin-role-binding", TENANTS_ONLY, "admin-role", "User", "admin" },
	{ "system:basic-user", 0, "system:basic-user", "Group",
	  "system:authenticated" },
	{ "system:discovery", 0, "system:discovery", "Group",
	  "system:authenticated" },
	{ "system:service-account-issuer-discovery", 0,
	  "system:service-account-issuer-discovery", "Group",
	  "system:serviceaccounts" },
	{ "system:monitoring", SYSTEM_ONLY, "system:monitoring", "Group",
	  "system:monitoring" },
	{ "system:node-bootstrappers", SYSTEM_ONLY, "system:node-bootstrapper",
	  "Group", "system:bootstrappers" },
	{ "system:node-autoapprove-bootstrap", SYSTEM_ONLY,
	  "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
	  "Group", "system:bootstrappers" },
	{ "system:node-autoapprove-certificate-rotation", SYSTEM_ONLY,
	  "system:certificates.k8s.io:certificatesigningrequests:"
	  "selfnodeclient",
	  "Group", "system:nodes" },
	{ "system:kube-scheduler", SYSTEM_ONLY, "system:kube-scheduler", "User",
	  "system:kube-scheduler" },
};

static bool is_for(unsigned int flags, bool system)
{
	return !(flags & (system ? TENANTS_ONLY : SYSTEM_ONLY));
}

static void put_list(struct json_out *o, const char *name, const char *p,
		     size_t len)
{
	const char *end = p + len;

	json_put_array(o, name);
	while (p < end) {
		size_t n = strcspn(p, ",|\n");

		if (n == 4 && strncmp(p, "core", n) == 0)
			json_put_str(o, NULL, "");
		else
			json_put_strn(o, NULL, p, n);
		p += n + 1;
	}
	json_put_end(o);
}

static void put_rules(struct json_out *o, const char *rules)
{
	for (const char *p = rules; p && *p;) {
		size_t line = strcspn(p, "\n"), verbs = strcspn(p, "|\n");
		const char *what = p + verbs + 1;
		size_t n = strcspn(what, "|\n");

		json_put_object(o, NULL);
		put_list(o, "verbs", p, verbs);
		if (what + n < p + line) {
			put_list(o, "apiGroups", what, n);
			put_list(o, "resources", what + n + 1,
				 p + line - what - n - 1);
		} else {
			put_list(o, "nonResourceURLs", what, n);
		}
		json_put_end(o);
		p += line + 1;
	}
}

/* The rules of all roles that go into @into, and into those. */
static void put_aggregated(struct json_out *o, const char *into)
{
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (!str_eq(roles[i].into, into))
			continue;
		put_rules(o, roles[i].rules);
		if (roles[i].from)
			put_aggregated(o, roles[i].from);
	}
}

static void put_meta(struct json_out *o, const char *kind, const char *name,
		     const char *into)
{
	auto_free char *label = into ? str_printf("rbac.authorization.k8s.io/"
						  "aggregate-to-%s",
						  into)
				     : NULL;

	json_put_str(o, "apiVersion", "rbac.authorization.k8s.io/v1");
	json_put_str(o, "kind", kind);
	json_put_object(o, "metadata");
	json_put_str(o, "name", name);
	json_put_object(o, "labels");
	json_put_str(o, "kubernetes.io/bootstrapping", "rbac-defaults");
	if (label)
		json_put_str(o, label, "true");
	json_put_end(o);
	json_put_object(o, "annotations");
	json_put_str(o, "rbac.authorization.kubernetes.io/autoupdate", "true");
	json_put_end(o);
	json_put_end(o);
}

bool policy_role(size_t i, bool system, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	auto_free char *label = NULL;
	const struct role *r;

	for (r = roles; r < roles + ARRAY_LEN(roles); r++)
		if (is_for(r->flags, system) && i-- == 0)
			break;
	if (r == roles + ARRAY_LEN(roles))
		return false;
	json_put_object(&o, NULL);
	put_meta(&o, "ClusterRole", r->name, r->into);
	if (r->from) {
		label = str_printf("rbac.authorization.k8s.io/aggregate-to-%s",
				   r->from);
		json_put_object(&o, "aggregationRule");
		json_put_array(&o, "clusterRoleSelectors");
		json_put_object(&o, NULL);
		json_put_object(&o, "matchLabels");
		if (label)
			json_put_str(&o, label, "true");
		json_put_end(&o);
		json_put_end(&o);
		json_put_end(&o);
		json_put_end(&o);
	}
	json_put_array(&o, "rules");
	put_rules(&o, r->rules);
	if (r->from)
		put_aggregated(&o, r->from);
	json_put_end(&o);
	json_put_end(&o);
	return true;
}

bool policy_binding(size_t i, bool system, struct buf *b)
{
	struct json_out o = JSON_OUT(b);
	const struct binding *v;

	for (v = bindings; v < bindings + ARRAY_LEN(bindings); v++)
		if (is_for(v->flags, system) && i-- == 0)
			break;
	if (v == bindings + ARRAY_LEN(bindings))
		return false;
	json_put_object(&o, NULL);
	put_meta(&o, "ClusterRoleBinding", v->name, NULL);
	json_put_array(&o, "subjects");
	json_put_object(&o, NULL);
	json_put_str(&o, "kind", v->kind);
	json_put_str(&o, "apiGroup", "rbac.authorization.k8s.io");
	json_put_str(&o, "name", v->subject);
	json_put_end(&o);
	json_put_end(&o);
	json_put_object(&o, "roleRef");
	json_put_str(&o, "apiGroup", "rbac.authorization.k8s.io");
	json_put_str(&o, "kind", "ClusterRole");
	json_put_str(&o, "name", v->role);
	json_put_end(&o);
	json_put_end(&o);
	return true;
}
