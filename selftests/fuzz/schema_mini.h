/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in types of the fuzzers of schemas: few, with one of everything. */
#ifndef SELFTESTS_FUZZ_SCHEMA_MINI_H
#define SELFTESTS_FUZZ_SCHEMA_MINI_H

#include <assert.h>
#include <string.h>

#include "controlplane/schema/types.h"

static const char mini_yaml[] =
	"group: \"\"\n"
	"version: v1\n"
	"package: io.k8s.api.core.v1\n"
	"resources:\n"
	"- {name: configmaps, kind: ConfigMap, scope: Namespaced, selectable: "
	"[spec.kind]}\n"
	"definitions:\n"
	"  ObjectMeta:\n"
	"    type: object\n"
	"    properties:\n"
	"      name: {type: string, x-kubernetes-protobuf: \"1\"}\n"
	"      labels: {type: object, additionalProperties: {type: string}, "
	"x-kubernetes-protobuf: \"11\"}\n"
	"      finalizers: {type: array, items: {type: string}, "
	"x-kubernetes-list-type: set, x-kubernetes-patch-strategy: merge, "
	"x-kubernetes-protobuf: \"14\"}\n"
	"      creationTimestamp: {type: string, format: date-time, nullable: "
	"true, x-kubernetes-protobuf: \"8?\"}\n"
	"  Port:\n"
	"    type: object\n"
	"    required: [port]\n"
	"    properties:\n"
	"      port: {type: integer, x-kubernetes-protobuf: \"1\"}\n"
	"      protocol: {type: string, default: TCP, enum: [TCP, UDP], "
	"x-kubernetes-protobuf: \"2\"}\n"
	"      target: {x-kubernetes-int-or-string: true, type: string, "
	"x-kubernetes-protobuf: \"3?\"}\n"
	"  Spec:\n"
	"    type: object\n"
	"    properties:\n"
	"      kind: {type: string, pattern: '^[a-z]+$', "
	"x-kubernetes-protobuf: \"1.1\"}\n"
	"      ports: {type: array, items: {$ref: Port}, "
	"x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [port, "
	"protocol], x-kubernetes-patch-strategy: merge, "
	"x-kubernetes-patch-merge-key: port, x-kubernetes-protobuf: \"2\"}\n"
	"      limits: {type: object, additionalProperties: {type: string, "
	"format: quantity}, x-kubernetes-protobuf: \"3\"}\n"
	"      one: {$ref: Port, x-kubernetes-map-type: atomic, "
	"x-kubernetes-protobuf: \"4?\"}\n"
	"      bytes: {type: string, format: byte, x-kubernetes-protobuf: "
	"\"5\"}\n"
	"      any: {type: object, x-kubernetes-preserve-unknown-fields: "
	"true}\n"
	"  ConfigMap:\n"
	"    type: object\n"
	"    properties:\n"
	"      apiVersion: {type: string}\n"
	"      kind: {type: string}\n"
	"      metadata: {$ref: ObjectMeta, x-kubernetes-protobuf: \"1\"}\n"
	"      spec: {$ref: Spec, x-kubernetes-protobuf: \"2\"}\n"
	"      data: {type: object, additionalProperties: {type: string}, "
	"x-kubernetes-protobuf: \"3\"}\n";

int type_set_builtin(struct type_set **ret, struct err *e)
{
	static struct type_set set;

	if (!set.nr && type_set_load(&set, mini_yaml, strlen(mini_yaml), e))
		abort();
	*ret = &set;
	return 0;
}

static inline const struct type *mini_type(void)
{
	struct type_set *set;

	type_set_builtin(&set, NULL);
	return type_find(set, "", "v1", "configmaps");
}

#endif /* SELFTESTS_FUZZ_SCHEMA_MINI_H */
