#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native SECONDS: 120
# Rules in CEL (x-kubernetes-validations): what they refuse, in which words.
. "$(dirname "$0")/kubectl.sh"

crd() # RULES of spec
{
	cat <<-END
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata: {name: apps.ex.io}
	spec:
	  group: ex.io
	  scope: Namespaced
	  names: {plural: apps, singular: app, kind: App}
	  versions:
	  - name: v1
	    served: true
	    storage: true
	    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
	    schema:
	      openAPIV3Schema:
	        type: object
	        x-kubernetes-validations:
	        - {rule: "self.metadata.name.startsWith('a')", message: names begin with a}
	        - {rule: "!has(self.status) || self.status.replicas <= self.spec.replicas", message: more than wanted, fieldPath: .status.replicas}
	        properties:
	          status: {type: object, properties: {replicas: {type: integer}}}
	          spec:
	            type: object
	            required: [replicas]
	            x-kubernetes-validations: $1
	            properties:
	              replicas: {type: integer}
	              max: {type: integer, default: 5}
	              size: {type: string}
	              until: {type: string, format: date-time}
	              namespace: {type: string}
	              kind:
	                type: string
	                x-kubernetes-validations: [{rule: self == oldSelf, message: kind is immutable}]
	              labels: {type: object, additionalProperties: {type: string, x-kubernetes-validations: [{rule: "self != 'bad'"}]}}
	              ports:
	                type: array
	                x-kubernetes-list-type: map
	                x-kubernetes-list-map-keys: [name]
	                items:
	                  type: object
	                  required: [name]
	                  properties:
	                    name: {type: string}
	                    port: {type: integer, x-kubernetes-validations: [{rule: self >= oldSelf, messageExpression: "'port may not go down from ' + string(oldSelf)"}]}
	              list: {type: array, items: {type: integer}}
	END
}
rules="
            - {rule: self.replicas <= self.max, messageExpression: \"'%d is over %d'.replace('%d', string(self.replicas), 1).replace('%d', string(self.max))\"}
            - {rule: \"!has(self.size) || quantity(self.size).isLessThan(quantity('1Gi'))\", message: too large, reason: FieldValueForbidden, fieldPath: .size}
            - {rule: \"!has(self.until) || self.until > timestamp('2020-01-01T00:00:00Z')\"}
            - {rule: \"!has(self.__namespace__) || self.__namespace__ != 'x'\", message: not x}
            - {rule: \"!has(self.list) || self.list[0] > 0\"}
            - {rule: \"!oldSelf.hasValue() || oldSelf.value().replicas - self.replicas < 3\", optionalOldSelf: true, message: slowly}"

app() # NAME FIELDS
{
	printf '%s\n' "apiVersion: ex.io/v1" "kind: App" "metadata: {name: $1}" \
		"spec: {replicas: 1, ${2-}}"
}
mk() { app "$@" | kin create -f -; }
patch() { k patch app a --type=merge -p "spec: {$1}"; }

path()
{
	k delete crd apps.ex.io >/dev/null 2>&1
	t create "definition with rules" 'created' 'crd "$rules" | kin create -f -; k wait --for=condition=Established crd/apps.ex.io >/dev/null'
	t create "object that keeps them" 'app.ex.io/a created' 'mk a "kind: x, ports: [{name: p, port: 80}, {name: q, port: 1}]"'
	t create "a rule about the name" '<nil>: Invalid value: "object": names begin with a|The App "b" is invalid: .*Invalid value: "object": names begin with a' 'mk b'
	t patch "a message that is computed" 'spec: Invalid value: "object": 9 is over 5$' 'patch "replicas: 9"'
	t scale "scaling keeps them, too" 'spec: Invalid value: "object": 7 is over 5$' 'k scale app a --replicas=7'
	t patch "reason and path of its own" 'spec.size: Forbidden: too large' 'patch "size: 2Gi"'
	t patch "a quantity that is none" 'quantities must match the regular expression.* evaluating rule: too large' 'patch "size: big"'
	t patch "no message: the rule itself" 'spec: Invalid value: "object": failed rule: !has\(self.until\)' 'patch "until: \"2019-01-01T00:00:00Z\""'
	t patch "reserved names are escaped" 'not x' 'patch "namespace: x"'
	t patch "an index that is not there" 'spec: Invalid value: "object": index out of bounds: 0 evaluating rule' 'patch "list: []"'
	t patch "values of a map" 'spec.labels\[l\]: Invalid value: "string": failed rule: self != .bad' 'patch "labels: {l: bad}"'
	t patch "what may not change" 'spec.kind: Invalid value: "string": kind is immutable' 'patch "kind: z"'
	t patch "items are found by their keys" 'spec.ports\[1\].port: Invalid value: "integer": port may not go down from 80' 'patch "ports: [{name: q, port: 2}, {name: p, port: 79}]"'
	t patch "not by their place" 'patched' 'patch "ports: [{name: q, port: 2}, {name: p, port: 81}]"'
	t patch "what is new has no old self" 'patched' 'patch "ports: [{name: new, port: 1}]"'
	t patch "optional old self" 'slowly' 'patch "replicas: 5" >/dev/null; patch "replicas: 2"'
	t patch "status, by its own rule" 'status.replicas: Invalid value: "object": more than wanted' 'k get app a -o json | jq ".status={replicas: 50}" | kin replace --raw /apis/ex.io/v1/namespaces/default/apps/a/status -f -'
	t create "nothing is evaluated of what is wrong" 'some validation rules were not checked because the object was invalid' 'app a2 "max: many" | kin create --validate=false -f -'
	t patch "dry run" '9 is over 5' 'k patch app a --dry-run=server --type=merge -p "spec: {replicas: 9}"'
	t apply "server side" '9 is over 5' 'app a "replicas: 9" | sed "s/replicas: 1, //" | kin apply --server-side --force-conflicts -f -'
	t get "nothing has changed" '^5$' 'k get app a -o jsonpath={.spec.replicas}'

	t apply "definition: a field that is not there" 'properties\[spec\].x-kubernetes-validations\[0\].rule: Invalid value: "self.other": compilation failed: ERROR: <input>:1:5: undefined field .other.' 'crd "[{rule: self.other}]" | kin apply -f -'
	t apply "definition: kinds that do not fit" "found no matching overload for '_<_' applied to '\\(int, string\\)'" 'crd "[{rule: self.replicas < self.size}]" | kin apply -f -'
	t apply "definition: not true or false" 'must evaluate to a bool' 'crd "[{rule: self.replicas}]" | kin apply -f -'
	t apply "definition: syntax" 'Syntax error' 'crd "[{rule: self.replicas >}]" | kin apply -f -'
	t apply "definition: a message that is no text" 'messageExpression must evaluate to a string' 'crd "[{rule: \"true\", messageExpression: \"1\"}]" | kin apply -f -'
	t apply "definition: old selves in lists without keys" 'oldSelf cannot be used on the uncorrelatable portion' 'crd "[]" | sed "s/list: {type: array, items: {type: integer}/list: {type: array, items: {type: integer, x-kubernetes-validations: [{rule: self == oldSelf}]}/" | kin apply -f -'
	t apply "definition: only the name of the metadata" "undefined field .labels." 'crd "[]" | sed "s/self.metadata.name.startsWith(.a.)/self.metadata.labels.a/" | kin apply -f -'

	t apply "a rule that takes too long" 'configured' 'crd "[{rule: \"self.list.all(a, self.list.all(b, self.list.all(c, self.list.all(d, a + b + c + d >= 0))))\"}]" | kin apply -f -'
	t patch "is refused" 'actual cost limit exceeded: validation failed due to running out of cost budget' 'patch "list: [$(seq -s, 1 200)]"'
	t patch "others are not" 'patched' 'patch "list: [1, 2]"'
	t delete "gone" 'deleted' 'k delete crd apps.ex.io'
}

start
both path
finish_tap
