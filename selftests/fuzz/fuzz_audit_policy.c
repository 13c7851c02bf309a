// SPDX-License-Identifier: Apache-2.0
// FUZZ: controlplane/apiserver/audit/policy.c lib/buf.c lib/err.c lib/json.c
// FUZZ: lib/json_out.c lib/map.c lib/str.c lib/yaml.c lib/yaml_scalar.c
// FUZZ: build/deps/src/yyjson/src/yyjson.c
/* Audit policies: one is refused with a reason, or answers any request. Behind
 * a NUL the request: user, verb, resource, subresource, namespace, path, each
 * up to a line's end. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/apiserver/audit/policy.h"
#include "controlplane/apiserver/authn/user.h"
#include "lib/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* NULL: none, or it is empty. */
static char *line(char **at)
{
	char *s = *at ? strsep(at, "\n") : NULL;

	return s && *s ? s : NULL;
}

static void ask(const struct audit_policy *p, char *text)
{
	char *name = line(&text), *group = line(&text);
	struct user u = { .name = name ? name : (char *)"",
			  .tenant = (char *)"system",
			  .groups = { group },
			  .nr_groups = group ? 1 : 0 };
	const char *verb = line(&text);
	struct audit_attrs a = { .user = &u, .verb = verb ? verb : "get" };
	struct audit_verdict v;

	a.tenant = "acme";
	a.resource = line(&text);
	if (a.resource) {
		a.group = "";
		a.subresource = line(&text);
		a.namespace = line(&text);
		a.name = line(&text);
	} else {
		a.path = line(&text);
	}
	v = audit_policy_ask(p, &a);
	assert(v.level <= AUDIT_REQUEST_RESPONSE);
	assert(v.omit < 1u << (STAGE_PANIC + 1));
	a.user = NULL;
	(void)audit_policy_ask(p, &a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *nul = memchr(text, '\0', size);
	size_t len = nul ? (size_t)(nul - text) : size;
	struct audit_policy *p = NULL;
	struct err e = { 0 };
	char *rest = nul ? strndup(nul + 1, size - len - 1) : strdup("");
	int r = audit_policy_parse(text, len, &p, &e);

	if (r < 0)
		assert(!p && *e.msg);
	else
		ask(p, rest);
	audit_policy_free(p);
	free(rest);
	return 0;
}
