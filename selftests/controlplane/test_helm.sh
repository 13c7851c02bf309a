#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# The unmodified helm: a local chart with a custom type, hooks and look-ups is
# installed, upgraded, rolled back and uninstalled, on simulated nodes; by the
# system and by two tenants, who use the same names.
. "$(dirname "$0")/kubectl.sh"

chart=$dir/shop
write_chart()
{
	mkdir -p "$chart"/{crds,templates/tests}
	cat >"$chart/Chart.yaml" <<-EOF
	apiVersion: v2
	name: shop
	version: 0.1.0
	appVersion: "7"
	kubeVersion: ">=1.28.0-0"
	EOF
	cat >"$chart/values.yaml" <<-EOF
	replicas: 2
	image: "shop:7"
	ready: "true"
	hook: "0"
	EOF
	cat >"$chart/crds/till.yaml" <<-EOF
	apiVersion: apiextensions.k8s.io/v1
	kind: CustomResourceDefinition
	metadata: {name: tills.shop.example}
	spec:
	  group: shop.example
	  scope: Namespaced
	  names: {plural: tills, kind: Till}
	  versions:
	  - name: v1
	    served: true
	    storage: true
	    schema:
	      openAPIV3Schema:
	        type: object
	        properties: {spec: {type: object, properties: {drawers: {type: integer}}}}
	EOF
	cat >"$chart/templates/all.yaml" <<-'EOF'
	apiVersion: v1
	kind: ServiceAccount
	metadata: {name: {{ .Release.Name }}}
	---
	apiVersion: v1
	kind: ConfigMap
	metadata: {name: {{ .Release.Name }}-facts}
	data:
	  kube: {{ .Capabilities.KubeVersion.Version | quote }}
	  apps: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
	  none: {{ .Capabilities.APIVersions.Has "none/v1" | quote }}
	  root: {{ len (lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt") | quote }}
	  lost: {{ len (lookup "v1" "ConfigMap" .Release.Namespace "not-there") | quote }}
	---
	apiVersion: v1
	kind: Service
	metadata: {name: {{ .Release.Name }}}
	spec:
	  selector: {app: {{ .Release.Name }}}
	  ports: [{name: http, port: 80, targetPort: http}]
	---
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
	spec:
	  replicas: {{ .Values.replicas }}
	  selector: {matchLabels: {app: {{ .Release.Name }}}}
	  template:
	    metadata:
	      labels: {app: {{ .Release.Name }}}
	      annotations:
	        checksum: {{ .Values.image | sha256sum }}
	        {{- if ne .Values.ready "true" }}
	        arktos.futurewei.com/hollow-unready: "true"
	        {{- end }}
	    spec:
	      serviceAccountName: {{ .Release.Name }}
	      containers:
	      - name: shop
	        image: {{ .Values.image }}
	        ports: [{name: http, containerPort: 8080}]
	        livenessProbe: {httpGet: {path: /, port: http}}
	---
	apiVersion: shop.example/v1
	kind: Till
	metadata: {name: {{ .Release.Name }}}
	spec: {drawers: {{ .Values.replicas }}}
	EOF
	hook pre pre-install,pre-upgrade >"$chart/templates/pre.yaml"
	hook test test >"$chart/templates/tests/test.yaml"
	cat >"$chart/templates/NOTES.txt" <<-'EOF'
	{{ .Release.Name }} revision {{ .Release.Revision }} in {{ .Release.Namespace }}
	EOF
}

hook() # NAME WHEN
{
	cat <<-EOF
	apiVersion: batch/v1
	kind: Job
	metadata:
	  name: {{ .Release.Name }}-$1
	  annotations:
	    helm.sh/hook: $2
	    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
	spec:
	  backoffLimit: 0
	  template:
	    metadata:
	      annotations: {arktos.futurewei.com/hollow-exit: {{ .Values.hook | quote }}}
	    spec:
	      restartPolicy: Never
	      containers: [{name: c, image: hook}]
	EOF
}

h() { timeout 60 "$helm" "$@" </dev/null; }
in_tenant() # TENANT ARGS...
{
	local t=$1
	shift
	h --kubeconfig "$dir/$t.kubeconfig" "$@"
}
replicas() { k get deploy "$1" -o jsonpath='{.spec.replicas}/{.status.readyReplicas}'; }

releases()
{
	t install "waits for hooks and readiness" 'one revision 1 in default' 'h install one $chart --wait --timeout 40s'
	t install "pods are there" '^2/2$' 'replicas one'
	t install "the hook's job went" '^0$' 'k get jobs -o name | wc -l'
	t install "capabilities" '^v1.32.0.* true false$' 'k get cm one-facts -o jsonpath="{.data.kube} {.data.apps} {.data.none}"'
	t install "look-ups" '^[1-9] 0$' 'k get cm one-facts -o jsonpath="{.data.root} {.data.lost}"'
	t install "a custom resource" '^2$' 'k get tills one -o jsonpath={.spec.drawers}'
	t template "against the server" 'kind: Till' 'h template a $chart --validate'
	t install "a dry run asks the server" 'KubeVersion|kube: "v1.32' 'h install dry $chart --dry-run=server'
	t install "and leaves nothing" 'not found' 'h status dry'
	t install "a name is used once" 'cannot re-?use a name that is still in use' 'h install one $chart'
	t install "the release is a secret" 'helm.sh/release.v1' 'k get secret sh.helm.release.v1.one.v1'
	t install "whose things are whose" 'invalid ownership metadata' 'h install two $chart --post-renderer $dir/rename'
	t list "one" '^one\s+default\s+1\s.*deployed\s+shop-0.1.0\s+7' 'h list'
	t get "values, manifest, notes" 'drawers: 2' 'h get manifest one'
	t upgrade "waits" 'one revision 2' 'h upgrade one $chart --set replicas=3,image=shop:8 --wait --timeout 40s'
	t upgrade "three-way" '^3/3 shop:8$' 'echo $(replicas one) $(k get deploy one -o jsonpath={.spec.template.spec.containers[0].image})'
	t upgrade "what others added stays" '^extra$' 'k label deploy one other=extra >/dev/null; h upgrade one $chart --reuse-values >/dev/null; k get deploy one -o jsonpath={.metadata.labels.other}'
	t upgrade "a failed hook" 'pre-upgrade hooks failed' 'h upgrade one $chart --set hook=1 --timeout 30s'
	t status "says so" 'STATUS: failed' 'h status one'
	t history "tells" '2 .*superseded.*Upgrade complete' 'h history one'
	t upgrade "atomic: comes back" 'context deadline exceeded|has been rolled back' 'h upgrade one $chart --set ready=no --atomic --timeout 3s'
	t rollback "to the first" 'Rollback was a success' 'h rollback one 1 --wait --timeout 40s'
	t rollback "is what it was" '^2/2 shop:7$' 'echo $(replicas one) $(k get deploy one -o jsonpath={.spec.template.spec.containers[0].image})'
	t rollback "a custom resource, too" '^2$' 'k get tills one -o jsonpath={.spec.drawers}'
	t test "runs" 'Phase: +Succeeded' 'h test one --timeout 30s'
	t test "fails" 'Phase: +Failed|failed' 'h upgrade one $chart --set hook=1 --no-hooks >/dev/null; h test one --timeout 30s'
	t install "in a new namespace" 'new revision 1 in born' 'h upgrade --install new $chart -n born --create-namespace'
	t list "all namespaces" 'new\s+born' 'h list -A'
	t uninstall "keeps history when told" 'kept' 'h uninstall new -n born --keep-history --description kept >/dev/null; h history new -n born'
	t uninstall "waits" 'release "one" uninstalled' 'h uninstall one --wait --timeout 40s'
	t uninstall "leaves nothing" '^end$' 'k get all,cm,sa,secrets,tills -o name | grep -E "one"; echo end'
	t uninstall "but the custom type" 'tills.shop.example' 'k get crd -o name'
	t uninstall "what is not there" 'not found' 'h uninstall one'
	t install "releases as config maps" 'map revision 1' 'HELM_DRIVER=configmap h install map $chart'
	t uninstall "them" 'uninstalled' 'HELM_DRIVER=configmap h uninstall map'
	t show "the server's version" 'v1.32' 'k version'
}

tenants()
{
	local a
	for a in acme beta; do
		"$O/bin/arktosctl" tenant create $a --out "$dir/$a.kubeconfig" >/dev/null
		t install "$a: the same release" 'same revision 1' 'in_tenant $a install same $chart --set image=of-$a --wait --timeout 40s'
	done
	for a in acme beta; do
		t list "$a: its own" "^1 of-$a$" 'echo $(in_tenant $a list -Aq | wc -l) $(as $a get deploy same -o jsonpath={.spec.template.spec.containers[0].image})'
	done
	t upgrade "acme's" 'same revision 2' 'in_tenant acme upgrade same $chart --set image=later'
	t rollback "acme's" 'success' 'in_tenant acme rollback same'
	t uninstall "acme's" 'uninstalled' 'in_tenant acme uninstall same --wait --timeout 40s'
	t list "beta's stays" '^same$' 'in_tenant beta list -q'
}

helm=$deps/kubectl-1.32/helm
use 1.32 && needs "$helm" || finish_tap
write_chart
cat >"$dir/rename" <<'EOF'
#!/bin/sh
sed 's/{name: two\([,}]\)/{name: one\1/'
EOF
chmod +x "$dir/rename"
start
nodes 2
v=helm-$("$helm" version --template '{{.Version}}')
releases
tenants
finish_tap
