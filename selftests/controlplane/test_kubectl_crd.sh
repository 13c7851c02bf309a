#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# CustomResourceDefinitions with both kubectls: schemas, versions, columns,
# subresources, conflicts, tenants with the same names, forced sharing, the end.
. "$(dirname "$0")/kubectl.sh"

crd() # KIND GROUP MAXIMUM
{
	local low=${1,,}
	cat <<-EOF
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata: {name: ${low}s.$2}
	spec:
	  group: $2
	  scope: ${4:-Namespaced}
	  names: {plural: ${low}s, kind: $1, shortNames: [${low:0:3}], categories: [all]}
	  versions:
	  - name: v1
	    served: true
	    storage: true
	    subresources:
	      status: {}
	      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
	    additionalPrinterColumns:
	    - {name: Spec, type: string, jsonPath: .spec.cron}
	    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
	    - {name: Wide, type: string, priority: 1, jsonPath: .spec.image}
	    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
	    selectableFields: [{jsonPath: .spec.image}]
	    schema:
	      openAPIV3Schema:
	        type: object
	        description: runs things
	        required: [spec]
	        properties:
	          spec:
	            type: object
	            description: what to run when
	            required: [cron]
	            properties:
	              cron: {type: string, pattern: '^(\d+|\*)(\s+(\d+|\*)){4}$', description: five fields}
	              image: {type: string, maxLength: 10}
	              replicas: {type: integer, minimum: 1, maximum: $3, default: 1}
	              mode: {type: string, enum: [a, b]}
	              any: {type: object, x-kubernetes-preserve-unknown-fields: true}
	              size: {x-kubernetes-int-or-string: true}
	              when: {type: string, format: date-time}
	              nothing: {type: string, nullable: true}
	              labels: {type: object, additionalProperties: {type: string}, maxProperties: 2}
	              tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
	              ports:
	                type: array
	                maxItems: 3
	                x-kubernetes-list-type: map
	                x-kubernetes-list-map-keys: [port]
	                items:
	                  type: object
	                  required: [port]
	                  properties: {port: {type: integer}, name: {type: string, default: none}}
	              either:
	                type: object
	                properties: {p: {type: integer}, q: {type: integer}}
	                oneOf: [{required: [p]}, {required: [q]}]
	          status:
	            type: object
	            properties: {replicas: {type: integer}, selector: {type: string}}
	  - name: v1beta1
	    served: true
	    storage: false
	    deprecated: true
	    schema:
	      openAPIV3Schema:
	        type: object
	        properties:
	          spec: {type: object, properties: {cron: {type: string}, note: {type: string, default: old}}}
	EOF
}

one() # NAME SPEC...
{
	printf '{"apiVersion":"ex.io/v1","kind":"Cron","metadata":{"name":"%s"},"spec":{"cron":"* * * * *",%s}}' "$1" "${2:-\"replicas\":1}"
}

mk() { one "$@" | kin create -f -; }
patch() { k patch cron a --type=merge -p "{\"spec\":$1}"; }
bad() # SED-EXPRESSION: a definition that is wrong
{
	crd Bad ex.io 5 | sed "$1" | kin create --validate=false -f -
}
raw() # YAML of one property
{
	cat <<-EOF | kin create --validate=false -f -
	{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"bads.ex.io"},"spec":{"group":"ex.io","scope":"Namespaced","names":{"plural":"bads","kind":"Bad"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":$1}}}}]}}
	EOF
}

path()
{
	t apply "definition" 'crons.ex.io created' 'crd Cron ex.io 10 | kin apply -f -'
	t wait "established" 'condition met' \
		'k wait --for condition=established --timeout=10s crd/crons.ex.io'
	t get "names are accepted" '^crons cro Cron CronList cron$' \
		'k get crd crons.ex.io -o jsonpath="{.status.acceptedNames.plural} {.status.acceptedNames.shortNames[0]} {.status.acceptedNames.kind} {.status.acceptedNames.listKind} {.status.acceptedNames.singular}"'
	t get "stored versions" '^\["v1"\]$' \
		'k get crd crons.ex.io -o jsonpath="{.status.storedVersions}"'
	t get "get crd" '^crons.ex.io +20' 'k get crd'
	t api-resources "listed" '^crons +cro +ex.io/v1 +true +Cron' \
		'k api-resources --api-group=ex.io'
	t api-versions "listed" '^ex.io/v1beta1' 'k api-versions'
	t create "object" 'cron.ex.io/a created' 'mk a "\"image\":\"img\""'
	t get "columns" '^a +\* \* \* \* \* +1 +[0-9]+s' 'k get cro'
	t get "wide column" '^a +\* \* \* \* \* +1 +img' 'k get crons -o wide'
	t get "missing cell is empty" 'WIDE' 'mk b >/dev/null; k get crons -o wide'
	t get "by singular, kind and category" 'cron.ex.io/a' 'k get all -o name'
	t get "default is set" '^1$' 'k get cron a -o jsonpath={.spec.replicas}'
	t get "label selector" '^cron.ex.io/a$' \
		'k label cron a x=y >/dev/null; k get cron -l x=y -o name'
	t get "field selector" '^cron.ex.io/a$' \
		'k get cron --field-selector spec.image=img -o name'
	t get "field that is not selectable" 'field label not supported' \
		'k get cron --field-selector spec.mode=a'
	t get "other version" '^old$' \
		'k get crons.v1beta1.ex.io a -o jsonpath={.spec.note}'
	t get "deprecation is told" 'v1beta1 Cron is deprecated' \
		'k get --raw /apis/ex.io/v1beta1/namespaces/default/crons -v=6; k get crons.v1beta1.ex.io'
	t explain "description" 'runs things' 'k explain cron'
	t explain "field" 'five fields' 'k explain cron.spec.cron'
	t describe "describe" 'Cron: +\* \* \* \* \*' 'k describe cron a'
	t scale "scale" 'cron.ex.io/a scaled' 'k scale cron a --replicas=3'
	t get "scaled" '^3$' 'k get cron a -o jsonpath={.spec.replicas}'
	t scale "beyond the schema" 'less than or equal to 10' 'k scale cron a --replicas=30'
	t patch "pattern" "spec.cron: Invalid value: \"x\": spec.cron in body should match" 'patch "{\"cron\":\"x\"}"'
	t patch "maximum" 'spec.replicas: Invalid value: 99: spec.replicas in body should be less than or equal to 10' 'patch "{\"replicas\":99}"'
	t patch "minimum" 'should be greater than or equal to 1' 'patch "{\"replicas\":0}"'
	t patch "type" 'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"' 'patch "{\"replicas\":\"many\"}"'
	t patch "enum" 'spec.mode: Unsupported value: "c": supported values: "a", "b"' 'patch "{\"mode\":\"c\"}"'
	t patch "maxLength" 'spec.image: Too long: may not be more than 10 bytes' 'patch "{\"image\":\"12345678901\"}"'
	t patch "maxItems" 'spec.ports: Too many: 4: must have at most 3 items' 'patch "{\"ports\":[{\"port\":1},{\"port\":2},{\"port\":3},{\"port\":4}]}"'
	t patch "list keys" 'spec.ports\[1\]: Duplicate value: ..port.:1.' 'patch "{\"ports\":[{\"port\":1},{\"port\":1}]}"'
	t patch "set items" 'spec.tags\[1\]: Duplicate value: "x"' 'patch "{\"tags\":[\"x\",\"x\"]}"'
	t patch "required in an item" 'spec.ports\[0\].port: Required value' 'patch "{\"ports\":[{\"name\":\"x\"}]}"'
	t patch "format" 'must be of type date-time: "noon"' 'patch "{\"when\":\"noon\"}"'
	t patch "oneOf, both" 'must validate one and only one schema \(oneOf\)' 'patch "{\"either\":{\"p\":1,\"q\":2}}"'
	t patch "oneOf, one" 'patched' 'patch "{\"either\":{\"p\":1}}"'
	t patch "int or string" 'patched' 'patch "{\"size\":\"10%\"}"'
	t patch "neither int nor string" 'must be of type integer or string' 'patch "{\"size\":[]}"'
	t patch "maxProperties" 'spec.labels: Too many: 3' 'patch "{\"labels\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}}"'
	t patch "unknown fields are kept where asked" '^1$' 'patch "{\"any\":{\"deep\":{\"er\":1}}}" >/dev/null; k get cron a -o jsonpath={.spec.any.deep.er}'
	t patch "unknown fields go elsewhere" '^none$' 'patch "{\"other\":1}" >/dev/null; k get cron a -o jsonpath="{.spec.other}none"'
	t patch "items have defaults" '^none$' 'patch "{\"ports\":[{\"port\":9}]}" >/dev/null; k get cron a -o jsonpath={.spec.ports[0].name}'
	t patch "json patch" 'patched' "k patch cron a --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":2}]'"
	t patch "no strategic merge" 'not supported by ex.io/v1|UnsupportedMediaType' "k patch cron a -p '{\"spec\":{\"replicas\":2}}'"
	t apply "an object" 'cron.ex.io/applied created' 'one applied | kin apply -f -'
	t apply "and again, changed" 'cron.ex.io/applied configured' 'one applied "\"replicas\":2" | kin apply -f -'
	t get "it has changed" '^2$' 'k get cron applied -o jsonpath={.spec.replicas}; k delete cron applied >/dev/null'
	t get "patches that are offered for a custom type" '^application/apply-patch.yaml application/json-patch.json application/merge-patch.json$' 'k get --raw /openapi/v3/apis/ex.io/v1 | jq -r "[.paths[].patch.requestBody.content // {} | keys[]] | unique | join(\" \")"'
	t get "and for one of ours" 'strategic-merge-patch' 'k get --raw /openapi/v3/apis/apps/v1 | jq -c "[.paths[].patch.requestBody.content // {} | keys[]] | unique"'
	t create "unknown field is refused" 'unknown field|spec.wrong' 'mk c "\"wrong\":1"'
	t create "required" 'spec.cron: Required value|missing required field "cron"' 'printf "{\"apiVersion\":\"ex.io/v1\",\"kind\":\"Cron\",\"metadata\":{\"name\":\"c\"},\"spec\":{}}" | kin create -f -'
	t replace "replace" 'replaced' 'k get cron b -o yaml | kin replace -f -'
	t label "label" 'labeled' 'k label cron b z=1'
	t annotate "annotate" 'annotated' 'k annotate cron b z=1'
	t get "status is apart" '^none$' 'k patch cron a --type=merge -p "{\"status\":{\"replicas\":5}}" >/dev/null; k get cron a -o jsonpath="{.status.replicas}none"'
	t get "watch" '^cron.ex.io/w$' \
		'k get crons --watch-only -o name >$dir/w & p=$!; until k get --raw /metrics | grep -q "longrunning.* [1-9]"; do :; done; mk w >/dev/null; timeout 10 tail -F -n +1 $dir/w 2>/dev/null | grep -m1 .; kill $p'
	t apply "schema changes live" 'configured' 'crd Cron ex.io 100 | kin apply -f -'
	t patch "and holds at once" 'patched' 'patch "{\"replicas\":99}"'
	t apply "group cannot change" 'must be spec.names.plural|field is immutable' 'crd Cron ex.io 100 | sed "s/group: ex.io/group: ex.org/" | kin apply -f -'
	t apply "kind cannot change" 'spec.names.kind: Invalid value: "Other": field is immutable' 'crd Cron ex.io 100 | sed "s/kind: Cron/kind: Other/" | kin apply -f -'
	t apply "a stored version must stay" 'status.storedVersions\[0\]: Invalid value: "v1": must appear in spec.versions' 'crd Cron ex.io 100 | sed "s/name: v1$/name: v3/" | kin apply -f -'
	t create "conflict of kinds" 'NamesAccepted False KindConflict' \
		'crd Cron ex.io 5 | sed "s/crons/clones/;s/plural: crons/plural: clones/;s/shortNames: .cro./shortNames: [clo], singular: clone/" | kin create -f - >/dev/null; k get crd clones.ex.io -o jsonpath="{.status.conditions[0].type} {.status.conditions[0].status} {.status.conditions[0].reason}"'
	t delete "who is in conflict goes at once" 'deleted' 'k delete crd clones.ex.io'

	t create "definition: name" 'metadata.name: Invalid value.*must be spec.names.plural' 'bad "s/name: bads.ex.io/name: x.ex.io/"'
	t create "definition: group" 'spec.group: Invalid value: "ex": should be a domain with at least one dot' 'bad "s/ex[.]io/ex/"'
	t create "definition: protected group" 'protected groups must have approval annotation' 'crd Bad x.k8s.io 5 | kin create -f -'
	t create "definition: scope" 'spec.scope: Unsupported value: "World"' 'bad "s/Namespaced/World/"'
	t create "definition: storage" 'must have exactly one version marked as storage version' 'bad "s/storage: true/storage: false/"'
	t create "definition: untyped" 'properties\[spec\].type: Required value: must not be empty for specified object fields' 'raw "{}"'
	t create "definition: items" 'items: Required value: must be specified' 'raw "{\"type\":\"array\"}"'
	t create "definition: pattern" 'must be a valid regular expression' 'raw "{\"type\":\"string\",\"pattern\":\"(\"}"'
	t create "definition: default" 'properties\[spec\].default: Invalid value' 'raw "{\"type\":\"integer\",\"default\":\"x\"}"'
	t create "definition: \$ref" 'is not supported' 'raw "{\"type\":\"object\",\"\$ref\":\"#/x\"}"'
	t create "definition: uniqueItems" 'uniqueItems cannot be set to true' 'raw "{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"type\":\"string\"}}"'
	t create "definition: both maps" 'mutual exclusive' 'raw "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"}},\"additionalProperties\":{\"type\":\"string\"}}"'
	t create "definition: list keys" 'must not be empty if x-kubernetes-list-type is map' 'raw "{\"type\":\"array\",\"x-kubernetes-list-type\":\"map\",\"items\":{\"type\":\"object\"}}"'
	t create "definition: conversion by whom" 'spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook' 'bad "s/  scope:/  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1]}}\n  scope:/"'
	t create "definition: conversion by url or service" 'exactly one of url or service is required' 'bad "s/  scope:/  conversion: {strategy: Webhook, webhook: {clientConfig: {}, conversionReviewVersions: [v1]}}\n  scope:/"'
	t create "definition: conversion not by http" "'https' is the only allowed URL scheme" 'bad "s,  scope:,  conversion: {strategy: Webhook\, webhook: {clientConfig: {url: http://x}\, conversionReviewVersions: [v1]}}\n  scope:,"'
	t create "definition: conversion in which words" 'must include at least one of v1, v1beta1' 'bad "s/  scope:/  conversion: {strategy: Webhook, webhook: {clientConfig: {service: {name: a, namespace: b}}, conversionReviewVersions: [v7]}}\n  scope:/"'
	t create "definition: another conversion" 'spec.conversion.strategy: Unsupported value: "Magic": supported values: "None", "Webhook"' 'bad "s/  scope:/  conversion: {strategy: Magic}\n  scope:/"'

	t delete "a definition takes its objects" 'deleted' 'k delete crd crons.ex.io'
	t get "the type is gone" "have a resource type|could not find" 'k get crons'
	t apply "come back empty" 'No resources found' 'crd Cron ex.io 10 | kin apply -f - >/dev/null; k get crons'
	k delete crd crons.ex.io >/dev/null 2>&1
}

# v1 says {at: HOST:PORT}, v2 {host: HOST, port: PORT}.
converter()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
		-days 2 -subj /CN=converter -addext subjectAltName=IP:127.0.0.1 \
		-keyout "$dir/hook.key" -out "$dir/hook.crt" 2>/dev/null
	cat >"$dir/convert.py" <<-'EOF'
	import http.server, json, ssl, sys
	class Hook(http.server.BaseHTTPRequestHandler):
	    protocol_version = "HTTP/1.1"
	    def do_POST(self):
	        ask = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
	        for o in ask["objects"]:
	            s = o.get("spec", {})
	            if ask["desiredAPIVersion"].endswith("/v2") and "at" in s:
	                host, port = s["at"].split(":")
	                s = {"host": host, "port": int(port)}
	            elif ask["desiredAPIVersion"].endswith("/v1") and "host" in s:
	                s = {"at": "%s:%d" % (s["host"], s["port"])}
	            o["spec"], o["apiVersion"] = s, ask["desiredAPIVersion"]
	        answer = json.dumps({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
	            "response": {"uid": ask["uid"], "result": {"status": "Success"}, "convertedObjects": ask["objects"]}}).encode()
	        self.send_response(200)
	        self.send_header("Content-Length", str(len(answer)))
	        self.end_headers()
	        self.wfile.write(answer)
	    def log_message(self, *args):
	        pass
	server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
	context.load_cert_chain(sys.argv[1], sys.argv[2])
	server.socket = context.wrap_socket(server.socket, server_side=True)
	print(server.server_port, flush=True)
	server.serve_forever()
	EOF
	coproc HOOK { exec timeout 280 python3 "$dir/convert.py" "$dir/hook.crt" "$dir/hook.key"; }
	hook=$HOOK_PID
	read -rt 20 hook_port <&"${HOOK[0]}"
}

link_crd() # STORED
{
	cat <<-EOF
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata: {name: links.ex.io}
	spec:
	  group: ex.io
	  scope: Namespaced
	  names: {plural: links, kind: Link}
	  conversion:
	    strategy: Webhook
	    webhook:
	      conversionReviewVersions: [v1]
	      clientConfig: {url: "https://127.0.0.1:$hook_port/convert", caBundle: $(base64 -w0 "$dir/hook.crt")}
	  versions:
	  - name: v1
	    served: true
	    storage: $([ $1 = v1 ] && echo true || echo false)
	    additionalPrinterColumns: [{name: At, type: string, jsonPath: .spec.at}]
	    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {at: {type: string}}}}}}
	  - name: v2
	    served: true
	    storage: $([ $1 = v2 ] && echo true || echo false)
	    additionalPrinterColumns: [{name: Host, type: string, jsonPath: .spec.host}]
	    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {host: {type: string}, port: {type: integer, maximum: 65535}}}}}}
	EOF
}
link() { printf '{"apiVersion":"ex.io/%s","kind":"Link","metadata":{"name":"%s"},"spec":%s}' "$@"; }

# A change by one version, watched as the other.
watch_other()
{
	local out line
	coproc WATCH { exec timeout 20 "$kubectl" --cache-dir="$dir/cache-$v" get links.v2.ex.io a -w -o jsonpath='{.spec.host}-{.spec.port}{"\n"}'; }
	out=${WATCH[0]}
	exec {out}<&"$out"
	read -rt 20 line <&"$out"
	k patch links.v1.ex.io a --type=merge -p '{"spec":{"at":"a:82"}}' >/dev/null
	read -rt 20 line <&"$out"
	kill "$WATCH_PID" 2>/dev/null
	exec {out}<&-
	echo "$line"
}

conversion()
{
	converter
	t apply "definition converted by a webhook" 'created' 'link_crd v1 | kin apply -f -'
	t apply "an object of the stored version" 'created' 'link v1 a "{\"at\":\"a:80\"}" | kin apply -f -'
	t get "the preferred version" '^ex.io/v2 a 80$' 'k get link a -o jsonpath="{.apiVersion} {.spec.host} {.spec.port}"'
	t get "the stored version" '^a:80$' 'k get links.v1.ex.io a -o jsonpath={.spec.at}'
	t get "columns of each version" '^a +a$' 'k get links'
	t get "columns of the other" '^a +a:80$' 'k get links.v1.ex.io'
	t apply "by the other version" 'configured' 'link v2 a "{\"host\":\"a\",\"port\":81}" | kin apply -f -'
	t apply "the same again" 'unchanged' 'link v2 a "{\"host\":\"a\",\"port\":81}" | kin apply -f -'
	t apply "on the server's side" 'serverside-applied' 'link v2 b "{\"host\":\"b\",\"port\":1}" | kin apply --server-side -f -'
	t get "as the stored version" '^a:81 b:1$' 'k get links.v1.ex.io -o jsonpath={.items[*].spec.at}'
	t patch "the other version's schema" 'spec.port: Invalid value: 70000' 'k patch links.v2.ex.io a --type=merge -p "{\"spec\":{\"port\":70000}}"'
	t watch "as the other version" '^a-82$' watch_other
	t apply "another version is stored" 'configured' 'link_crd v2 | kin apply -f -'
	t get "both were stored" '^\["v1","v2"\]$' 'k get crd links.ex.io -o jsonpath="{.status.storedVersions}"'
	t replace "rewrites" 'replaced' 'k get link a -o json | kin replace -f -'
	t label "one by the old version" 'labeled' 'k label links.v1.ex.io b x=y'
	t get "by label" '^b b:1$' 'k get links.v1.ex.io -l x=y -o jsonpath="{.items[*].metadata.name} {.items[*].spec.at}"'
	kill "$hook"
	wait "$hook" 2>/dev/null
	t get "without it, the stored one" '^a$' 'k get link a -o jsonpath={.spec.host}'
	t get "without it, the other one" 'conversion webhook for ex.io/v2, Kind=Link failed: Post "https://127.0.0.1:[0-9]+/convert.timeout=30s"' 'k get links.v1.ex.io a'
	t delete "the stored one" 'deleted' 'k delete link a'
	t delete "the definition, and what is left" 'deleted' 'k delete crd links.ex.io'
}

tenants()
{
	local x
	for x in red blue; do
		arktosctl tenant create $x --out "$dir/$x.kubeconfig" >/dev/null
	done
	t apply "red: definition" 'created' 'crd Cron ex.io 5 | as red apply -f -'
	t apply "blue: the same name, another schema" 'created' 'crd Cron ex.io 500 | as blue apply -f -'
	t create "red: limit 5" 'less than or equal to 5' 'one a "\"replicas\":50" | as red create -f -'
	t create "blue: limit 500" 'created' 'one a "\"replicas\":50" | as blue create -f -'
	t create "red: the same object name" 'created' 'one a "\"replicas\":5" | as red create -f -'
	t get "red sees its own" '^5$' 'as red get crons -A -o jsonpath={.items[*].spec.replicas}'
	t get "blue sees its own" '^50$' 'as blue get crons -A -o jsonpath={.items[*].spec.replicas}'
	t get "the system has no such type" "have a resource type|could not find" 'k get crons'
	t get "red may not read blue" 'Forbidden' 'as red get --raw /apis/ex.io/v1/tenants/blue/crons'
	t get "red learns nothing of types it has not" 'Forbidden' 'as red get --raw /apis/none.io/v1/tenants/blue/things'
	t get "the system reads all" '"tenant":"blue".*"tenant":"red"' 'k get --raw /apis/ex.io/v1/tenants/all/crons'
	t explain "red: its own schema" 'five fields' 'as red explain cron.spec'
	t apply "cluster scope is the tenant's" 'created' 'crd Wide ex.io 5 Cluster | as red apply -f -'
	t create "an object of it" 'wide.ex.io/w created' 'one w | sed s/Cron/Wide/ | as red create -f -'
	t get "blue has none" "have a resource type|could not find" 'as blue get wides'
	t apply "forced: definition" 'labeled' 'crd Shared ex.io 7 | kin apply -f - >/dev/null; k label crd shareds.ex.io arktos.futurewei.com/crd-sharing-policy=forced'
	t get "red sees the definition" 'shareds.ex.io' 'as red get crd'
	t get "red gets it by name" 'shareds.ex.io' 'as red get crd shareds.ex.io -o name'
	t create "red uses it" 'created' 'one s | sed s/Cron/Shared/ | as red create -f -'
	t get "blue does not see red's object" 'No resources found' 'as blue get shareds'
	t delete "red cannot delete it" 'is a system CRD, it can only be deleted by a cluster admin' 'as red delete crd shareds.ex.io'
	t patch "red cannot change it" 'is a system CRD, you cannot overwrite it' "as red patch crd shareds.ex.io --type=merge -p '{\"spec\":{\"scope\":\"Cluster\"}}'"
	t create "red cannot have another" 'There is already a system forced CRD with the name shareds.ex.io' 'crd Shared ex.io 9 | as red create -f -'
	t delete "deleting it empties all tenants" '^0$' 'k delete crd shareds.ex.io >/dev/null; crd Shared ex.io 7 | as red apply -f - >/dev/null; as red get shareds -o name | wc -l'
	t delete "a namespace takes custom objects along" '^0$' 'as red create ns n >/dev/null; one q | as red -n n create -f - >/dev/null; as red delete ns n >/dev/null; as red get crons -n n -o name 2>/dev/null | wc -l'
	t delete "tenants go with all of it" '^0$' 'arktosctl tenant delete red >/dev/null; arktosctl tenant delete blue >/dev/null; k get --raw /apis/apiextensions.k8s.io/v1/tenants/all/customresourcedefinitions | grep -c "\"tenant\":\"\(red\|blue\)\""'
}

start
both path
both conversion
both tenants
finish_tap
