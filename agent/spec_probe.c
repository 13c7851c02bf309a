// SPDX-License-Identifier: Apache-2.0
/* securityContext and probes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec_fields.h"
#include "lib/err.h"
#include "lib/str.h"

#define HEADERS_MAX 64
#define GROUPS_MAX  1024

struct id {
	bool given;
	uint32_t value;
};

static int id(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct id *to = out;

	int r = spec_u32(c, v, &to->value);

	to->given |= r == 0;
	return r;
}

static int seccomp_type(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "RuntimeDefault", "Unconfined" };

	return spec_choice(c, v, words, ARRAY_LEN(words), out);
}

static int seccomp(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		{ "type", seccomp_type, 0 },
		SPEC_UNSUPPORTED("localhostProfile"),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

static int capabilities(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct security_spec, "add", spec_strv, cap_add),
		SPEC_FIELD(struct security_spec, "drop", spec_strv, cap_drop),
	};

	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

/* securityContext as written, before it is merged. */
struct context {
	struct id user, group;
	bool allow_escalation;
	struct security_spec *to;
};

static int caps(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return capabilities(c, v, ((struct context *)out)->to);
}

static int seccomp_profile(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return seccomp(c, v, &((struct context *)out)->to->seccomp);
}

static int privileged(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return spec_bool(c, v, &((struct context *)out)->to->privileged);
}

static int non_root(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return spec_bool(c, v, &((struct context *)out)->to->run_as_non_root);
}

static int read_only(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return spec_bool(c, v, &((struct context *)out)->to->read_only_root);
}

static int proc_mount(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return str_eq(yyjson_get_str(v), "Default")
		       ? 0
		       : spec_unsupported(c, v, out);
}

/* No label is ever set: who asks for one shall not believe to have it. */
static int app_armor(struct spec_ctx *c, yyjson_val *v, void *out)
{
	return str_eq(yyjson_get_str(yyjson_obj_get(v, "type")), "Unconfined")
		       ? 0
		       : spec_unsupported(c, v, out);
}

int spec_security(struct spec_ctx *c, yyjson_val *v,
		  struct security_spec *inout)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct context, "runAsUser", id, user),
		SPEC_FIELD(struct context, "runAsGroup", id, group),
		{ "runAsNonRoot", non_root, 0 },
		{ "privileged", privileged, 0 },
		{ "readOnlyRootFilesystem", read_only, 0 },
		SPEC_FIELD(struct context, "allowPrivilegeEscalation",
			   spec_bool, allow_escalation),
		{ "capabilities", caps, 0 },
		{ "seccompProfile", seccomp_profile, 0 },
		SPEC_UNSUPPORTED("seLinuxOptions"),
		SPEC_UNSUPPORTED("windowsOptions"),
		{ "procMount", proc_mount, 0 },
		{ "appArmorProfile", app_armor, 0 },
	};
	struct context ctx = {
		.user = { inout->has_user, inout->user },
		.group = { inout->has_group, inout->group },
		.allow_escalation = !inout->no_new_privs,
		.to = inout,
	};
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), &ctx);

	if (!yyjson_is_obj(v))
		return r;
	inout->has_user = ctx.user.given;
	inout->user = ctx.user.value;
	inout->has_group = ctx.group.given;
	inout->group = ctx.group.value;
	inout->no_new_privs = !ctx.allow_escalation;
	if (inout->privileged && inout->no_new_privs)
		spec_fault(c, &r, NULL,
			   "privileged needs allowPrivilegeEscalation; drop "
			   "one of the two");
	if (inout->run_as_non_root && inout->has_user && inout->user == 0)
		spec_fault(c, &r, NULL, "runAsNonRoot contradicts runAsUser 0");
	return r;
}

void spec_security_clear(struct security_spec *s)
{
	free(s->supplemental_groups);
	spec_strv_clear(&s->cap_add);
	spec_strv_clear(&s->cap_drop);
}

static int exec_action(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct probe_spec, "command", spec_strv, exec),
	};
	struct probe_spec *p = out;
	int r;

	if (p->kind != PROBE_NONE)
		return spec_fail(c, -EINVAL, "a probe has only one action");
	p->kind = PROBE_EXEC;
	r = spec_read_object(c, v, fields, ARRAY_LEN(fields), p);
	if (yyjson_is_obj(v) && p->exec.nr == 0 && !spec_faulty(c, "command"))
		spec_fault(c, &r, "command", "is required");
	return r;
}

static int header(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_value *kv = out;
	int r = spec_name_value(c, v, kv);

	if (!yyjson_is_obj(v))
		return r;
	if (!spec_faulty(c, "name") &&
	    (!kv->key || !kv->key[0] || strpbrk(kv->key, "\r\n: ")))
		spec_fault(c, &r, "name", "is not a header name");
	if (kv->value && strpbrk(kv->value, "\r\n"))
		spec_fault(c, &r, "value", "must be one line");
	return r;
}

static int headers(struct spec_ctx *c, yyjson_val *v, void *out)
{
	struct key_values *kv = out;

	return spec_read_array(c, v, sizeof(*kv->v), HEADERS_MAX, header,
			       &kv->v, &kv->nr);
}

static int scheme(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const char *const words[] = { "HTTP", "HTTPS" };
	int i = 0, r = spec_choice(c, v, words, ARRAY_LEN(words), &i);

	if (r == 0)
		*(bool *)out = i == 1;
	return r;
}

/* The container's port of that name. */
static int named_port(struct spec_ctx *c, const char *name, uint16_t *ret)
{
	size_t i, max;
	yyjson_val *port;

	yyjson_arr_foreach(c->ports, i, max, port)
	{
		yyjson_val *n = yyjson_obj_get(port, "containerPort");

		if (str_eq(yyjson_get_str(yyjson_obj_get(port, "name")),
			   name) &&
		    yyjson_get_uint(n) <= UINT16_MAX) {
			/* What is wrong with it is told where it stands. */
			*ret = (uint16_t)(yyjson_get_uint(n)
						  ? yyjson_get_uint(n)
						  : 1);
			return 0;
		}
	}
	return spec_fail(c, -EINVAL,
			 "no port of this container is called '%.64s': name "
			 "one in its ports, or give the number",
			 name);
}

static int probe_port(struct spec_ctx *c, yyjson_val *v, void *out)
{
	uint64_t n = 0;

	if (yyjson_is_str(v)) {
		if (str_to_u64(yyjson_get_str(v), &n) < 0)
			return named_port(c, yyjson_get_str(v), out);
		if (n < 1 || n > UINT16_MAX)
			return spec_fail(c, -EINVAL,
					 "must be between 1 and 65535, is "
					 "%" PRIu64,
					 n);
		*(uint16_t *)out = (uint16_t)n;
		return 0;
	}
	return spec_port(c, v, out);
}

static int net_action(struct spec_ctx *c, yyjson_val *v, struct probe_spec *p,
		      enum probe_kind kind, const struct spec_field *fields,
		      size_t nr)
{
	int r;

	if (p->kind != PROBE_NONE)
		return spec_fail(c, -EINVAL, "a probe has only one action");
	p->kind = kind;
	r = spec_read_object(c, v, fields, nr, p);
	if (yyjson_is_obj(v) && !p->port && !spec_faulty(c, "port"))
		spec_fault(c, &r, "port", "is required");
	return r;
}

static int http_action(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct probe_spec, "port", probe_port, port),
		SPEC_FIELD(struct probe_spec, "host", spec_str, host),
		SPEC_FIELD(struct probe_spec, "path", spec_str, path),
		SPEC_FIELD(struct probe_spec, "scheme", scheme, https),
		SPEC_FIELD(struct probe_spec, "httpHeaders", headers, headers),
	};
	struct probe_spec *p = out;
	int r = net_action(c, v, p, PROBE_HTTP, fields, ARRAY_LEN(fields));

	if (p->path && strpbrk(p->path, "\r\n "))
		spec_fault(c, &r, "path", "must not hold blanks");
	return r;
}

static int tcp_action(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct probe_spec, "port", probe_port, port),
		SPEC_FIELD(struct probe_spec, "host", spec_str, host),
	};

	return net_action(c, v, out, PROBE_TCP, fields, ARRAY_LEN(fields));
}

/* A number here, never a name, as in Kubernetes. */
static int grpc_action(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct probe_spec, "port", spec_port, port),
		SPEC_FIELD(struct probe_spec, "service", spec_str, service),
	};

	return net_action(c, v, out, PROBE_GRPC, fields, ARRAY_LEN(fields));
}

static int positive(struct spec_ctx *c, yyjson_val *v, void *out)
{
	int r = spec_u32(c, v, out);

	if (r == 0 && *(uint32_t *)out == 0)
		return spec_fail(c, -EINVAL, "must be 1 or more");
	return r;
}

int spec_probe(struct spec_ctx *c, yyjson_val *v, void *out)
{
#define F(json, fn, member) SPEC_FIELD(struct probe_spec, json, fn, member)
	static const struct spec_field fields[] = {
		{ "exec", exec_action, 0 },
		{ "httpGet", http_action, 0 },
		{ "tcpSocket", tcp_action, 0 },
		{ "grpc", grpc_action, 0 },
		F("initialDelaySeconds", spec_u32, initial_delay_s),
		F("periodSeconds", positive, period_s),
		F("timeoutSeconds", positive, timeout_s),
		F("successThreshold", positive, success_threshold),
		F("failureThreshold", positive, failure_threshold),
		F("terminationGracePeriodSeconds", positive,
		  termination_grace_s),
	};
#undef F
	struct probe_spec *p = out;
	int r;

	p->period_s = 10;
	p->timeout_s = 1;
	p->success_threshold = 1;
	p->failure_threshold = 3;
	r = spec_read_object(c, v, fields, ARRAY_LEN(fields), p);
	if (yyjson_is_obj(v) && p->kind == PROBE_NONE)
		spec_fault(c, &r, NULL,
			   "needs one of exec, httpGet, tcpSocket, grpc");
	return r;
}

#define HOOK_S 86400 /* the container's end is the hook's */

static int sleep_action(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		SPEC_FIELD(struct hook_spec, "seconds", spec_u32, sleep_s),
	};

	((struct hook_spec *)out)->sleep = true;
	return spec_read_object(c, v, fields, ARRAY_LEN(fields), out);
}

int spec_hook(struct spec_ctx *c, yyjson_val *v, void *out)
{
	static const struct spec_field fields[] = {
		{ "exec", exec_action, offsetof(struct hook_spec, run) },
		{ "httpGet", http_action, offsetof(struct hook_spec, run) },
		{ "sleep", sleep_action, 0 },
		SPEC_UNSUPPORTED("tcpSocket"),
	};
	struct hook_spec *h = out;
	int r = spec_read_object(c, v, fields, ARRAY_LEN(fields), h);

	if (yyjson_is_obj(v) && (h->run.kind == PROBE_NONE) != h->sleep)
		spec_fault(c, &r, NULL, "needs one of exec, httpGet, sleep");
	if (r < 0)
		return r;
	h->run.period_s = h->run.timeout_s = HOOK_S;
	h->run.success_threshold = h->run.failure_threshold = 1;
	return 0;
}

void spec_probe_clear(struct probe_spec *p)
{
	spec_strv_clear(&p->exec);
	free(p->host);
	free(p->path);
	free(p->service);
	spec_key_values_clear(&p->headers);
}
