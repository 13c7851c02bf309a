#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native SECONDS: 120
# Rules in CEL: of custom types (x-kubernetes-validations), and policies of
# admission: what they refuse, in which words.
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

policy() # NAME SPEC
{
	printf '%s\n' "apiVersion: admissionregistration.k8s.io/v1" \
		"kind: ValidatingAdmissionPolicy" "metadata: {name: $1}" "spec: $2"
}
binding() # NAME POLICY ACTIONS MORE
{
	printf '%s\n' "apiVersion: admissionregistration.k8s.io/v1" \
		"kind: ValidatingAdmissionPolicyBinding" "metadata: {name: $1}" \
		"spec: {policyName: $2, validationActions: [$3]${4:+, $4}}"
}
maps="apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]"
rule="resourceRules: [{$maps}]"
limits="{matchConstraints: {$rule, excludeResourceRules: [{$maps, resourceNames: [limits]}]}, paramKind: {apiVersion: v1, kind: ConfigMap},
  matchConditions: [{name: not-kube, expression: \"!object.metadata.name.startsWith('kube-')\"}],
  variables: [{name: nr, expression: \"has(object.data) ? size(object.data) : 0\"}, {name: most, expression: int(params.data.most)}],
  validations: [{expression: variables.nr <= variables.most, messageExpression: \"'at most ' + string(variables.most) + ' keys, not ' + string(variables.nr)\"},
    {expression: \"!has(object.data) || !('bad' in object.data)\", message: no bad keys, reason: Forbidden}],
  auditAnnotations: [{key: keys, valueExpression: \"variables.nr > 1 ? string(variables.nr) : null\"}]}"
params="paramRef: {name: limits, parameterNotFoundAction: Deny}"
note() { k -n pol create cm "$1" --from-literal=a=1 "${@:2}"; }

policies()
{
	k get ns pol >/dev/null 2>&1 || k create ns pol >/dev/null
	k -n pol delete cm --all >/dev/null
	t create "policy" 'validatingadmissionpolicy.admissionregistration.k8s.io/limits created' 'policy limits "$limits" | kin create -f -'
	t get "policies" '^NAME +VALIDATIONS +PARAMKIND +AGE.*limits +2 +v1/ConfigMap ' 'k get validatingadmissionpolicies | tr "\n" " "'
	t get "status of a policy" '^1 \{' 'k get validatingadmissionpolicy limits -o "jsonpath={.status.observedGeneration} {.status}"'
	t create "without a binding nothing is asked" 'created' 'note free --from-literal=b=2 --from-literal=c=3'
	t create "binding" 'validatingadmissionpolicybinding.admissionregistration.k8s.io/limits created' 'binding limits limits Deny "$params, matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: pol}}}" | kin create -f -'
	t get "bindings" '^NAME +POLICYNAME +PARAMREF +AGE.*limits +limits +\*/limits ' 'k get validatingadmissionpolicybindings | tr "\n" " "'
	t create "no parameters" 'ValidatingAdmissionPolicy .limits. with binding .limits. denied request: failed to configure binding: no params found for policy binding with .Deny. parameterNotFoundAction' 'note x'
	t create "elsewhere" 'created' 'k create cm pol-elsewhere --from-literal=a=1; k delete cm pol-elsewhere >/dev/null'
	t create "the parameters" 'created' 'k -n pol create cm limits --from-literal=most=2'
	t create "what keeps to it" 'created' 'note ok --from-literal=b=2'
	t create "what does not" 'The configmaps "many" is invalid: : ValidatingAdmissionPolicy .limits. with binding .limits. denied request: at most 2 keys, not 3' 'note many --from-literal=b=2 --from-literal=c=3 --dry-run=client -o json | kin create -f -'
	t create "for a reason of its own" 'configmaps "b" is forbidden: ValidatingAdmissionPolicy .limits. with binding .limits. denied request: no bad keys' 'note b --from-literal=bad=1'
	t patch "a change" 'denied request: at most 2 keys, not 4' 'k -n pol patch cm ok --type=merge -p "data: {c: c, d: d}"'
	t patch "a change, dry" 'denied request: at most 2 keys, not 4' 'k -n pol patch cm ok --dry-run=server --type=merge -p "data: {c: c, d: d}"'
	t patch "other parameters count at once" 'patched.*patched' 'k -n pol patch cm limits --type=merge -p "data: {most: \"4\"}" | tr "\n" " "; k -n pol patch cm ok --type=merge -p "data: {c: c, d: d}"'
	t apply "server side" 'denied request: at most 4 keys, not 5' 'printf "%s\n" "apiVersion: v1" "kind: ConfigMap" "metadata: {name: ok, namespace: pol}" "data: {e: e}" | kin apply --server-side -f -'
	t patch "warned, instead" 'Warning: Validation failed for ValidatingAdmissionPolicy .limits. with binding .limits.: at most 4 keys, not 5 *configmap/ok patched' 'k patch validatingadmissionpolicybinding limits --type=merge -p "spec: {validationActions: [Warn, Audit]}" >/dev/null; k -n pol patch cm ok --type=merge -p "data: {e: e}" 2>&1 | tr "\n" " "'
	t get "the audit log has it" '"validation.policy.admission.k8s.io/validation_failure":"\[\{.*at most 4 keys, not 5.*expressionIndex.*:0,.*"limits/keys":"5"|"limits/keys":"5".*at most 4 keys, not 5' 'grep "\"name\":\"ok\"" "$dir/audit" | grep validation_failure'
	t get "metrics" 'apiserver_validating_admission_policy_check_total\{enforcement_action="warn",error_type="no_error",policy="limits",policy_binding="limits"\} [1-9]' 'k get --raw /metrics | grep policy_check_total'


	for t in pola polb; do
		[ -f "$dir/$t.kubeconfig" ] || {
			"$O/bin/arktosctl" tenant create $t --out "$dir/$t.kubeconfig" >/dev/null
			as $t create ns pol >/dev/null
		}
	done
	t create "the system's, in a tenant" 'no params found' 'as pola -n pol create cm x; k patch validatingadmissionpolicybinding limits --type=merge -p "spec: {validationActions: [Deny]}" >/dev/null; as pola -n pol create cm x --from-literal=a=1'
	t create "with the tenant's parameters" 'created.*at most 0 keys, not 1' 'as pola -n pol create cm limits --from-literal=most=0 | tr "\n" " "; as pola -n pol create cm x --from-literal=a=1'
	t create "but for the tenants it does not name" 'created' 'k annotate validatingadmissionpolicybinding limits arktos.futurewei.com/tenants=polb >/dev/null; as pola -n pol create cm "x$v" --from-literal=a=1'
	t create "a tenant's own" 'created.*created' 'policy own "{matchConstraints: {$rule}, validations: [{expression: request.tenant == authorizer.requestResource.check(\"x\").reason()}]}" | as pola create -f - | tr "\n" " "; binding own own Deny | as pola create -f -'
	t create "is about the tenant" 'denied request: failed expression: request.tenant' 'as pola -n pol create cm own'
	t create "and no other" 'created' 'k delete validatingadmissionpolicybinding limits >/dev/null; as polb -n pol create cm "own$v"'
	t get "which does not see it" '^$|No resources found' 'as polb get validatingadmissionpolicies -o name; as polb get validatingadmissionpolicybindings'
	t delete "it lets itself go" 'deleted.*deleted' 'as pola delete validatingadmissionpolicy own | tr "\n" " "; as pola delete validatingadmissionpolicybinding own; as pola -n pol delete cm --all >/dev/null'
	t create "an expression that is wrong" "spec.validations\\[0\\].expression: Invalid value: \"object.x ===\": compilation failed: ERROR.*Syntax error" 'policy wrong "{matchConstraints: {$rule}, validations: [{expression: object.x ===}]}" | kin create -f -'
	t create "no parameters, no params" "undeclared reference to .params." 'policy wrong "{matchConstraints: {$rule}, validations: [{expression: params.x}]}" | kin create -f -'
	t create "nothing asked" 'spec.validations: Required value: validations or auditAnnotations must contain at least one item' 'policy wrong "{matchConstraints: {$rule}}" | kin create -f -'
	t create "both warned and denied" 'must not contain both Deny and Warn' 'binding wrong limits "Deny, Warn" | kin create -f -'
	t delete "gone" 'deleted' 'k delete validatingadmissionpolicy limits'
}

start 0 --audit-log-path "$dir/audit" --audit-log-mode blocking
both path
both policies
finish_tap
