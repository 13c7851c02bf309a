#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# Who manages which fields, server-side apply, and what users get wrong: with
# both kubectls, in the words of Kubernetes.
. "$(dirname "$0")/kubectl.sh"

web() # REPLICAS IMAGE EXTRA-ENV
{
	cat <<-EOF
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: web, labels: {app: web, tier: a}}
	spec:
	  replicas: $1
	  selector: {matchLabels: {app: web}}
	  template:
	    metadata: {labels: {app: web}}
	    spec:
	      containers:
	      - name: c
	        image: $2
	        env: [{name: A, value: "1"}${3:-}]
	        ports: [{containerPort: 80}]
	EOF
}

part() # SPEC: of another manager
{
	printf '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":%s}' "$1" |
		kin apply --server-side --validate=false --field-manager=other -f -
}

fields() { k get deploy web -o jsonpath="$1"; }
managers() { fields '{range .metadata.managedFields[*]}{.manager}/{.operation}{.subresource} {end}'; }
make() { printf '%s' "$1" | kin create --validate=false -f -; }

apply_path()
{
	t apply "creates" 'serverside-applied' 'web 2 i:1 | kin apply --server-side -f -'
	t apply "manager is noted" '^kubectl/Apply ' managers
	t apply "again changes nothing" '^same$' 'a=$(fields {.metadata.resourceVersion}); web 2 i:1 | kin apply --server-side -f - >/dev/null; [ "$a" = "$(fields {.metadata.resourceVersion})" ] && echo same'
	t apply "defaults are nobody's" '^0$' 'fields {.metadata.managedFields} | grep -c progressDeadline'
	t apply "items are known by their keys" 'k:\{.*containerPort.*80.*protocol.*TCP' 'fields {.metadata.managedFields}'
	t scale "scale is a manager of its own" 'scaled' 'k scale deploy web --replicas=5'
	t apply "the subresource is noted" '/Updatescale ' managers
	t apply "conflict" 'conflict with "kubectl" with subresource "scale" using apps/v1.*: .spec.replicas' 'web 2 i:1 | kin apply --server-side -f -'
	t apply "force" 'serverside-applied' 'web 2 i:1 | kin apply --server-side --force-conflicts -f -'
	t apply "forced" '^2$' 'fields {.spec.replicas}'
	t apply "an item that is no longer applied goes" '^A$' 'web 2 i:1 ", {name: B, value: \"2\"}" | kin apply --server-side -f - >/dev/null; web 2 i:1 | kin apply --server-side -f - >/dev/null; fields {.spec.template.spec.containers[0].env[*].name}'
	t apply "a label that is no longer applied goes" '^web$' 'web 2 i:1 | sed "s/, tier: a//" | kin apply --server-side -f - >/dev/null; fields {.metadata.labels.app}{.metadata.labels.tier}'
	t apply "another manager adds" '^A C c side$' 'part "{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"C\",\"value\":\"3\"}]},{\"name\":\"side\",\"image\":\"x\"}]}}}" >/dev/null; fields "{.spec.template.spec.containers[0].env[*].name} {.spec.template.spec.containers[*].name}"'
	t apply "conflicts are listed" 'Apply failed with 2 conflicts: conflicts with "kubectl":' 'part "{\"replicas\":7,\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"foo\"}]}}}"'
	t apply "by their paths" '\.spec\.template\.spec\.containers\[name="c"\]\.image' 'part "{\"replicas\":7,\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"foo\"}]}}}"'
	t apply "the same value is shared" 'serverside-applied' 'part "{\"replicas\":2}"'
	t apply "shared fields stay while one has them" '^2$' 'web 2 i:1 | grep -v replicas | kin apply --server-side -f - >/dev/null; fields {.spec.replicas}'
	t apply "what is given up goes" '^A c$' 'part "{}" >/dev/null; fields "{.spec.template.spec.containers[0].env[*].name} {.spec.template.spec.containers[*].name}"'
	t apply "dry run changes nothing" '^i:1$' 'web 2 i:9 | kin apply --server-side --dry-run=server -f - >/dev/null; fields {.spec.template.spec.containers[0].image}'
	t diff "server-side diff" '^\+ +(- )?image: i:2' 'web 2 i:2 | kin diff --server-side -f -'
	t edit "update takes a field over" '^i:3$' 'k set image deploy/web c=i:3 >/dev/null; fields {.spec.template.spec.containers[0].image}'
	t apply "and is in conflict then" 'conflict with "kubectl-set"|conflict with "kubectl' 'web 2 i:1 | kin apply --server-side -f -'
	t apply "needs a manager" 'fieldManager: Required value: is required for apply patch' 'arktos_patch ""'
	t apply "managedFields cannot be applied" 'metadata.managedFields must be nil' 'printf "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\",\"managedFields\":[{\"manager\":\"x\"}]}}" | kin apply --server-side --validate=false -f -'
	t apply "from client-side apply" 'serverside-applied' 'web 1 i:1 | sed s/web/csa/g | kin apply -f - >/dev/null; web 1 i:2 | sed s/web/csa/g | kin apply --server-side -f -'
	t apply "and back" 'configured|unchanged' 'web 1 i:2 | sed s/web/csa/g | kin apply -f -'
	t apply "a namespace is born with its content" '^serviceaccount/default$' 'printf "apiVersion: v1\nkind: Namespace\nmetadata: {name: born}\n" | kin apply --server-side -f - >/dev/null; k -n born get sa -o name'
	t label "updates are joined beyond ten" '^10$' 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do k label ns born l$i=v --field-manager=m$i >/dev/null; done; k get ns born -o jsonpath="{.metadata.managedFields[*].manager}" | tr " " "\n" | grep -vc "^kubectl$"'
	k delete deploy web csa >/dev/null
	k delete ns born >/dev/null
}

# kubectl always names itself: the bare request, through its proxy-less raw.
arktos_patch()
{
	web 1 i:1 >"$dir/raw.yaml"
	k config view --raw -o jsonpath='{.users[0].user.client-certificate-data}' | base64 -d >"$dir/c.pem"
	k config view --raw -o jsonpath='{.users[0].user.client-key-data}' | base64 -d >"$dir/k.pem"
	curl -sk --cert "$dir/c.pem" --key "$dir/k.pem" -X PATCH \
		-H 'Content-Type: application/apply-patch+yaml' --data-binary @"$dir/raw.yaml" \
		"$(k config view -o jsonpath='{.clusters[0].cluster.server}')/apis/apps/v1/namespaces/default/deployments/web$1"
}

rules_path()
{
	t describe "a pod with a gRPC probe" 'Liveness: +grpc <pod>:9|Liveness: +unknown' 'k run grpc --image=x --dry-run=client -o json | jq ".spec.containers[0].livenessProbe={grpc: {port: 9}}" | kin create -f - >/dev/null; k describe pod grpc; k delete pod grpc --force >/dev/null 2>&1'
	t create "service: an address" '^10\.96\.' 'k create service clusterip a --tcp=80 >/dev/null; k get svc a -o jsonpath={.spec.clusterIP}'
	t create "service: node port" '^3[0-2][0-9]{3}$' 'k create service nodeport n --tcp=80 >/dev/null; k get svc n -o jsonpath={.spec.ports[0].nodePort}'
	t create "service: headless" '^None$' 'k create service clusterip h --clusterip=None --tcp=1 >/dev/null; k get svc h -o jsonpath={.spec.clusterIP}'
	t create "service: external name has no address" '^none$' 'k create service externalname e --external-name=a.b >/dev/null; k get svc e -o jsonpath={.spec.clusterIP}none'
	t create "service: address out of range" 'provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16' 'k create service clusterip x --tcp=80 --clusterip=10.97.0.5'
	t create "service: address taken" 'provided IP is already allocated' 'k create service clusterip x --tcp=80 --clusterip=$(k get svc a -o jsonpath={.spec.clusterIP})'
	t create "service: port out of range" '^The Service "x" is invalid: spec.ports\[0\].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767$' 'k create service nodeport x --tcp=80 --node-port=80 --dry-run=client -o yaml | kin create -f -'
	t create "service: port taken" 'provided port is already allocated' 'k create service nodeport x --tcp=80 --node-port=$(k get svc n -o jsonpath={.spec.ports[0].nodePort})'
	t patch "service: address is fixed" 'may not change once set' "k patch svc a --type=merge -p '{\"spec\":{\"clusterIP\":\"10.96.0.77\"}}'"
	t patch "service: to node port and back" '^80/TCP$' "k patch svc a -p '{\"spec\":{\"type\":\"NodePort\"}}' >/dev/null; k patch svc a -p '{\"spec\":{\"type\":\"ClusterIP\"}}' >/dev/null; k get svc a --no-headers | awk '{print \$5}'"
	t create "service: names of several ports" 'spec.ports\[0\].name: Required value' 'make "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"ports\":[{\"port\":1},{\"port\":2}]}}"'
	t delete "an address can be used again" 'created' 'ip=$(k get svc a -o jsonpath={.spec.clusterIP}); k delete svc a >/dev/null; k create service clusterip again --tcp=80 --clusterip=$ip'
	t create "cronjob: fields" 'expected exactly 5 fields, found 2: \[x y\]' 'make "{\"apiVersion\":\"batch/v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"schedule\":\"x y\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}}}"'
	t create "cronjob: a minute" 'spec.schedule: Invalid value: "61 \* \* \* \*"' 'make "{\"apiVersion\":\"batch/v1\",\"kind\":\"CronJob\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"schedule\":\"61 * * * *\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}}}}}"'
	t create "job" 'job.batch/j created' 'k create job j --image=i'
	t patch "job: completions are fixed" 'spec.completions: Invalid value: 5: field is immutable' "k patch job j -p '{\"spec\":{\"completions\":5}}'"
	t create "priority class: too high" 'maximum allowed value of a user defined priority is 1000000000' 'k create priorityclass p --value=2000000000'
	t create "priority class: reserved" "are reserved for system use only" 'k create priorityclass system-p --value=2'
	t patch "priority class: value is fixed" 'value: Forbidden: may not be changed in an update' "k create priorityclass p --value=5 >/dev/null; k patch priorityclass p -p '{\"value\":6}'"
	t create "secret of TLS" 'data\[tls.crt\]: Required value' 'k create secret generic s --type=kubernetes.io/tls --from-literal=a=b'
	t create "budget: one of two" 'minAvailable and maxUnavailable cannot be both set' 'make "{\"apiVersion\":\"policy/v1\",\"kind\":\"PodDisruptionBudget\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"minAvailable\":1,\"maxUnavailable\":1}}"'
	t create "ingress: something" 'either `defaultBackend` or `rules` must be specified' 'make "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"Ingress\",\"metadata\":{\"name\":\"x\"},\"spec\":{}}"'
	t create "claim: modes" 'at least 1 access mode is required' 'make "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}"'
	t create "claim" 'created' 'make "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}"'
	t patch "claim: fixed" 'spec is immutable after creation except' "k patch pvc x -p '{\"spec\":{\"accessModes\":[\"ReadOnlyMany\"]}}'"
	t create "deployment: selector" 'selector. does not match template .labels' 'web 1 i | sed "s/matchLabels: {app: web}/matchLabels: {app: other}/" | kin create -f -'
	t patch "deployment: surge" 'may not be 0 when `maxSurge` is 0' "k create deploy w --image=i >/dev/null; k patch deploy w -p '{\"spec\":{\"strategy\":{\"rollingUpdate\":{\"maxSurge\":0,\"maxUnavailable\":0}}}}'"
	t patch "deployment: selector is fixed" 'spec.selector: Invalid value.*field is immutable' "k patch deploy w -p '{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}}}}}'"
	t autoscale "autoscale" 'autoscaled' 'k autoscale deploy w --max=5 --cpu-percent=70'
	t get "autoscaler v1" '^70$' 'k get horizontalpodautoscalers.v1.autoscaling w -o jsonpath={.spec.targetCPUUtilizationPercentage}'
	t get "autoscaler v2" '^70$' 'k get horizontalpodautoscalers.v2.autoscaling w -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}'
	t patch "autoscaler by its old version" '^60$' "k patch horizontalpodautoscalers.v1.autoscaling w --type=merge -p '{\"spec\":{\"targetCPUUtilizationPercentage\":60}}' >/dev/null; k get horizontalpodautoscalers.v2.autoscaling w -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}"
	t patch "autoscaler: limits" 'must be greater than or equal to `minReplicas`' "k patch hpa w --type=merge -p '{\"spec\":{\"minReplicas\":9}}'"
	t create "event of events.k8s.io" 'created' 'make "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"ev\"},\"eventTime\":\"2024-01-01T00:00:00.000000Z\",\"regarding\":{\"kind\":\"Pod\",\"name\":\"p\",\"namespace\":\"default\"},\"reason\":\"Why\",\"note\":\"hello\",\"type\":\"Normal\",\"action\":\"x\",\"reportingController\":\"a\",\"reportingInstance\":\"b\"}"'
	t get "is one of core, too" '^hello p$' 'k get events.v1. ev -o jsonpath="{.message} {.involvedObject.name}"'
	t get "selected in either name" '^ev ev$' 'echo $(k get events.v1.events.k8s.io --field-selector regarding.name=p -o jsonpath={.items[0].metadata.name}) $(k get events.v1. --field-selector involvedObject.name=p -o jsonpath={.items[0].metadata.name})'
	t get "hash range" '^configmap/h$' 'k create cm h >/dev/null; h=$(k get cm h -o jsonpath={.metadata.hashKey}); k get cm -o name --field-selector "metadata.hashkey=gte:$h,metadata.hashkey=lte:$h"'
	t rollout "pause, resume, restart" 'restarted' 'k rollout pause deploy w >/dev/null && k rollout resume deploy w >/dev/null && k rollout restart deploy w'
	t set "resources, env" 'env updated' 'k set resources deploy w --limits=cpu=1 >/dev/null; k set env deploy/w A=b'
	k delete all --all >/dev/null 2>&1
	k delete pvc,cm,events,priorityclass --all >/dev/null 2>&1
}

start
both apply_path
both rules_path
finish_tap
