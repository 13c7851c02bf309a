// SPDX-License-Identifier: Apache-2.0
/* Environment of a container: image, pod, $(NAME), fieldRef, resourceFieldRef.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/container/build.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/str.h"

#define EXPANDED_MAX (4 * SPEC_TEXT_MAX) /* one value may quote others */

void strings_add(struct strings *l, char *owned)
{
	char **v;

	if (owned && l->nr >= PROTO_ARGS_MAX && l->error == 0)
		l->error = -E2BIG;
	else if (!owned && l->error == 0)
		l->error = -ENOMEM;
	if (l->error) {
		free(owned);
		return;
	}
	v = realloc(l->v, (l->nr + 2) * sizeof(*v));
	if (!v) {
		free(owned);
		l->error = -ENOMEM;
		return;
	}
	l->v = v;
	l->v[l->nr++] = owned;
	l->v[l->nr] = NULL;
}

void strings_clear(struct strings *l)
{
	for (size_t i = 0; i < l->nr; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct strings){ .v = NULL };
}

static bool is_named(const char *entry, const char *name, size_t len)
{
	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

const char *env_lookup(const struct strings *env, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = env->nr; i-- > 0;)
		if (is_named(env->v[i], name, len))
			return env->v[i] + len + 1;
	return NULL;
}

static void env_set(struct strings *env, const char *name, const char *value)
{
	size_t len = strlen(name);
	char *entry = str_printf("%s=%s", name, value);

	for (size_t i = 0; entry && i < env->nr; i++) {
		if (is_named(env->v[i], name, len)) {
			free(env->v[i]);
			env->v[i] = entry;
			return;
		}
	}
	strings_add(env, entry);
}

char *env_expand(const char *text, const struct strings *env)
{
	auto_buf struct buf b = { .max = EXPANDED_MAX };
	auto_free char *name = NULL;
	const char *end, *value;

	buf_puts(&b, "");
	for (const char *s = text; *s; s++) {
		if (s[0] != '$' || (s[1] != '$' && s[1] != '(')) {
			buf_putc(&b, *s);
			continue;
		}
		if (s[1] == '$') {
			buf_putc(&b, '$');
			s++;
			continue;
		}
		end = strchr(s, ')');
		if (!end) {
			buf_puts(&b, s);
			break;
		}
		free(name);
		name = strndup(s + 2, (size_t)(end - s - 2));
		value = name ? env_lookup(env, name) : NULL;
		if (value)
			buf_puts(&b, value);
		else
			buf_add(&b, s, (size_t)(end - s + 1));
		s = end;
	}
	return buf_error(&b) ? NULL : b.data ? buf_take(&b) : strdup("");
}

/* --- valueFrom ------------------------------------------------------------ */

/* "metadata.labels['app']": the value in @map, "" when it has none. NULL when
 * @path is not of that form. */
static const char *from_map(const char *path, const char *prefix,
			    const struct key_values *map)
{
	size_t len = strlen(prefix), n = strlen(path);

	if (!str_starts(path, prefix) || n < len + 4 ||
	    !str_starts(path + len, "['") || !str_ends(path, "']"))
		return NULL;
	for (size_t i = 0; i < map->nr; i++)
		if (strlen(map->v[i].key) == n - len - 4 &&
		    strncmp(map->v[i].key, path + len + 2, n - len - 4) == 0)
			return map->v[i].value;
	return "";
}

static int field_value(const struct container_input *in, const char *path,
		       const char **ret, struct err *e)
{
	const struct pod_spec *pod = in->pod;
	const struct {
		const char *path, *value;
	} fields[] = {
		{ "metadata.name", pod->name },
		{ "metadata.namespace", pod->namespace },
		{ "metadata.uid", pod->uid },
		{ "metadata.tenant", pod->tenant },
		{ "spec.nodeName", in->node_name },
		{ "status.hostIP", in->host_ip },
		{ "status.hostIPs", in->host_ip },
		{ "status.podIP", in->pod_ip },
		{ "status.podIPs", in->pod_ip },
	};
	const char *v;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (!str_eq(path, fields[i].path))
			continue;
		if (!fields[i].value)
			return err_set(e, -EINVAL,
				       "fieldRef '%s': not known (yet)", path);
		*ret = fields[i].value;
		return 0;
	}
	v = from_map(path, "metadata.labels", &pod->labels);
	if (!v)
		v = from_map(path, "metadata.annotations", &pod->annotations);
	if (!v)
		return err_set(e, -EINVAL, "fieldRef '%.100s': not supported",
			       path);
	*ret = v;
	return 0;
}

static int resource_value(const struct container_input *in, const char *name,
			  uint64_t unit, char **ret, struct err *e)
{
	const struct resources *r =
		in->resources ? in->resources : &in->ctr->resources;
	uint64_t n;

	if (str_eq(name, "limits.cpu"))
		n = r->limits.has_cpu ? r->limits.cpu_milli
				      : in->node_cpu_milli;
	else if (str_eq(name, "requests.cpu"))
		n = r->requests.has_cpu ? r->requests.cpu_milli : 0;
	else if (str_eq(name, "limits.memory"))
		n = r->limits.has_mem ? r->limits.mem_bytes
				      : in->node_mem_bytes;
	else if (str_eq(name, "requests.memory"))
		n = r->requests.has_mem ? r->requests.mem_bytes : 0;
	else if (str_eq(name, "limits.ephemeral-storage"))
		n = r->limits.has_disk ? r->limits.disk_bytes
				       : in->node_disk_bytes;
	else if (str_eq(name, "requests.ephemeral-storage"))
		n = r->requests.disk_bytes;
	else
		return err_set(e, -EINVAL,
			       "resourceFieldRef '%.100s': not supported",
			       name);
	/* Rounded up; CPUs are told whole, memory in bytes, unless it is said
	 * otherwise. */
	if (!unit)
		unit = str_ends(name, ".cpu") ? 1000 : 1;
	n = n / unit + (n % unit != 0);
	*ret = str_printf("%" PRIu64, n);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static const char *api_value(const struct container_input *in, const char *name)
{
	for (size_t i = 0; in->env_values && i < in->env_values->nr; i++)
		if (str_eq(in->env_values->v[i].key, name))
			return in->env_values->v[i].value;
	return NULL;
}

static int var_value(const struct container_input *in, const struct env_var *v,
		     const struct strings *before, char **ret, struct err *e)
{
	const char *field = NULL;
	int r;

	if (v->from_api) {
		field = api_value(in, v->name);
		if (!field) /* optional, and not there */
			return 0;
		*ret = strdup(field);
		return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
	}
	if (v->resource)
		return resource_value(in, v->resource, v->divisor, ret, e);
	if (v->field_path) {
		r = field_value(in, v->field_path, &field, e);
		if (r < 0)
			return r;
		*ret = strdup(field);
	} else {
		*ret = env_expand(v->value ? v->value : "", before);
	}
	return *ret ? 0
		    : err_set(e, -E2BIG, "longer than %d bytes", EXPANDED_MAX);
}

int env_build(const struct container_input *in, struct strings *ret,
	      struct strings *ret_own, struct err *e)
{
	const struct container_spec *ctr = in->ctr;
	int r;

	for (size_t i = 0; i < in->image->env.nr; i++)
		if (strchr(in->image->env.v[i], '='))
			strings_add(ret, strdup(in->image->env.v[i]));
	if (in->host_name || in->pod->hostname)
		env_set(ret, "HOSTNAME",
			in->host_name ? in->host_name : in->pod->hostname);
	if (ctr->tty)
		env_set(ret, "TERM", "xterm");
	for (size_t i = 0; in->env_from && i < in->env_from->nr; i++) {
		const struct key_value *kv = &in->env_from->v[i];

		env_set(ret_own, kv->key, kv->value);
		env_set(ret, kv->key, kv->value);
	}
	for (size_t i = 0; i < ctr->nr_env; i++) {
		const struct env_var *v = &ctr->env[i];
		auto_free char *value = NULL;

		r = var_value(in, v, ret_own, &value, e);
		if (r < 0)
			return err_wrap(e, r, "env '%s'", v->name);
		if (!value)
			continue;
		env_set(ret_own, v->name, value);
		env_set(ret, v->name, value);
	}
	if (ret->error || ret_own->error)
		return err_set(e, ret->error ? ret->error : ret_own->error,
			       "too many environment variables");
	return 0;
}
