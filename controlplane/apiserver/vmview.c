// SPDX-License-Identifier: Apache-2.0
/*
 * A VM pod has no containers, but kubectl looks for one in spec.containers
 * before it asks for a log, a command or a console, and ends there (some
 * versions by a crash). So, and only so, it is shown the VM as a container; and
 * for describe, which would tell nothing of what the VM has.
 *
 * Who that is: kubectl from 1.22 on names its command in a header. An older one
 * does not; it accepts anything besides JSON only in commands that read a typed
 * pod, while get, edit, apply and patch ask for "application/json".
 * Nothing of this is stored, and what is written is checked as ever.
 */
#include <stdio.h>
#include <strings.h>

#include "controlplane/apiserver/internal.h"
#include "controlplane/apiserver/vmview.h"
#include "lib/json.h"
#include "lib/str.h"

#define HEADER_SINCE 22 /* kubectl 1.22 */

/* The value of a field of the head, up to its line's end. */
static const char *field_of(const struct req *r, const char *name)
{
	size_t n = strlen(name);
	const char *p = buf_str(&r->fields);

	while (*p) {
		const char *end = strstr(p, "\r\n");

		if (strncasecmp(p, name, n) == 0 && p[n] == ':')
			return p + n + 1 + (p[n + 1] == ' ');
		if (!end)
			break;
		p = end + 2;
	}
	return NULL;
}

static bool is_command(const char *value)
{
	static const char *const commands[] = { "kubectl exec",
						"kubectl attach",
						"kubectl logs", "kubectl cp",
						"kubectl describe" };
	size_t len = strcspn(value, "\r\n");

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (len == strlen(commands[i]) &&
		    strncmp(value, commands[i], len) == 0)
			return true;
	return false;
}

bool vm_view_wanted(const struct req *r)
{
	const char *command = field_of(r, "Kubectl-Command");
	unsigned minor;

	if (strcmp(r->route.plural, "pods") != 0 || *r->route.group ||
	    r->route.subresource || r->view != VIEW_OBJECT)
		return false;
	if (command)
		return is_command(command);
	return r->user_agent && str_eq(r->accept, "application/json, */*") &&
	       sscanf(r->user_agent, "kubectl/v1.%u.", &minor) == 1 &&
	       minor < HEADER_SINCE;
}

static int add_container(yyjson_mut_doc *doc, yyjson_mut_val *spec,
			 yyjson_mut_val *vm)
{
	static const char *const same[] = { "name", "image", "imagePullPolicy",
					    "resources" };
	yyjson_mut_val *c = yyjson_mut_obj(doc), *list = yyjson_mut_arr(doc);

	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		yyjson_mut_val *v = yyjson_mut_obj_get(vm, same[i]);

		if (v)
			mut_put(doc, c, same[i],
				yyjson_mut_val_mut_copy(doc, v));
	}
	/* Its console is a terminal. */
	if (!yyjson_mut_obj_add_bool(doc, c, "stdin", true) ||
	    !yyjson_mut_obj_add_bool(doc, c, "tty", true) ||
	    !yyjson_mut_arr_append(list, c))
		return -ENOMEM;
	return mut_put(doc, spec, "containers", list);
}

int vm_view(struct object_bytes **slot)
{
	struct object_bytes *o = *slot;
	yyjson_mut_val *spec, *vm;
	yyjson_mut_doc *doc;
	int r = 0;

	if (!object_has(o, "\"virtualMachine\""))
		return 0;
	doc = object_tree(o);
	spec = doc ? mut_get(yyjson_mut_doc_get_root(doc), "spec") : NULL;
	vm = yyjson_mut_obj_get(spec, "virtualMachine");
	if (!yyjson_mut_is_obj(vm) ||
	    yyjson_mut_arr_size(yyjson_mut_obj_get(spec, "containers"))) {
		yyjson_mut_doc_free(doc);
		return doc ? 0 : -ENOMEM;
	}
	r = add_container(doc, spec, vm);
	if (r == 0)
		r = object_rewrite(slot, doc);
	yyjson_mut_doc_free(doc);
	return r < 0 ? -ENOMEM : 0;
}
