#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# The verbs of kubectl that act on what runs and on who may do what: nodes,
# rollouts, set, certificates, waiting, watching, editing, explaining; with both
# versions, on simulated nodes.
. "$(dirname "$0")/kubectl.sh"

# The output of a command once it matches; for what takes a while by itself.
soon() # PATTERN COMMAND
{
	local i out
	for i in $(seq 100); do
		out=$(eval "$2" 2>&1)
		grep -qE -- "$1" <<<"$out" && break
		read -rt 0.2 <> <(:) || :
	done
	echo "$out"
}
at() { k get "$1" -o jsonpath="$2"; }

name() # LENGTH
{
	printf "%0$1d" 0 | tr 0 a
}

node_verbs()
{
	t cordon "a node" 'node/hollow-0 cordoned' 'k cordon hollow-0'
	t cordon "is shown" 'SchedulingDisabled' 'k get node hollow-0'
	t cordon "again" 'already cordoned' 'k cordon hollow-0'
	t cordon "taints it" 'node.kubernetes.io/unschedulable' 'soon unschedulable "at node/hollow-0 {.spec.taints[*].key}"'
	t uncordon "a node" 'node/hollow-0 uncordoned' 'k uncordon hollow-0'
	t uncordon "its taint goes" '^none$' 'soon ^none$ "echo \$(at node/hollow-0 {.spec.taints[*].key})none"'
	t cordon "by label" 'cordoned' 'k cordon -l kubernetes.io/hostname=hollow-1; k uncordon hollow-1'
	t taint "adds" 'node/hollow-1 tainted' 'k taint node hollow-1 a=b:NoSchedule'
	t taint "is there" '^a=b:NoSchedule$' 'at node/hollow-1 "{.spec.taints[0].key}={.spec.taints[0].value}:{.spec.taints[0].effect}"'
	t taint "twice" 'already has a taint|already has' 'k taint node hollow-1 a=c:NoSchedule'
	t taint "overwrite" 'modified' 'k taint node hollow-1 a=c:NoSchedule --overwrite'
	t taint "wrong effect" 'invalid taint effect' 'k taint node hollow-1 a=b:Nonsense'
	t taint "removes" 'untainted' 'k taint node hollow-1 a-'
	k create deployment away --image=x --replicas=4 >/dev/null
	k rollout status deployment away --timeout=20s >/dev/null
	k create pdb away --selector=app=away --min-available=1 >/dev/null
	t drain "a pod nobody owns" 'not managed by|declare no controller' 'k run alone --image=x --overrides='"'"'{"spec":{"nodeName":"hollow-0"}}'"'"' >/dev/null; k drain hollow-0'
	t drain "a node, within the budget" 'node/hollow-0 (drained|evicted)' 'k drain hollow-0 --force --ignore-daemonsets --timeout=25s'
	t drain "nothing is left" '^0$' 'k get pods --field-selector spec.nodeName=hollow-0 -o name | wc -l'
	t drain "they run elsewhere" '^4$' 'soon ^4$ "at deploy/away {.status.readyReplicas}"'
	t drain "dry run" '\(server dry run\)|\(dry run\)' 'k drain hollow-1 --force --dry-run=server'
	t drain "and back" 'uncordoned' 'k uncordon hollow-0'
	t describe "a node" 'Allocated resources' 'k describe node hollow-1'
	k delete deploy/away pdb/away >/dev/null
}

rollout_verbs()
{
	k create deployment web --image=nginx:1 --replicas=2 >/dev/null
	t rollout "status" 'successfully rolled out' 'k rollout status deploy/web --timeout=20s'
	t set "image" 'image updated' 'k set image deploy/web nginx=nginx:2'
	t rollout "status of the next" 'successfully rolled out' 'k rollout status deploy/web --timeout=20s'
	t set "image of all" '^nginx:3$' 'k set image deploy "*=nginx:3" --all >/dev/null; at deploy/web {.spec.template.spec.containers[0].image}'
	t rollout "history" '^3 ' 'k rollout status deploy/web --timeout=20s >/dev/null; k rollout history deploy/web'
	t rollout "one of it" 'Image:.*nginx:2' 'k rollout history deploy/web --revision=2'
	t rollout "undo" 'rolled back' 'k rollout undo deploy/web'
	t rollout "undone" '^nginx:2$' 'at deploy/web {.spec.template.spec.containers[0].image}'
	t rollout "undo to" '^nginx:1$' 'k rollout undo deploy/web --to-revision=1 >/dev/null; at deploy/web {.spec.template.spec.containers[0].image}'
	t rollout "undo to what is not there" 'unable to find specified revision' 'k rollout undo deploy/web --to-revision=99'
	t rollout "pause" 'paused' 'k rollout pause deploy/web'
	t rollout "undo while paused" 'cannot rollback a paused deployment|resume it first' 'k rollout undo deploy/web'
	t rollout "paused is paused" 'already paused' 'k rollout pause deploy/web'
	t rollout "resume" 'resumed' 'k rollout resume deploy/web'
	t rollout "restart" 'restarted' 'k rollout restart deploy/web'
	t rollout "restarted pods" 'kubectl.kubernetes.io/restartedAt' 'k get deploy web -o yaml'
	t set "resources" '^100m/64Mi$' 'k set resources deploy/web --requests=cpu=100m,memory=64Mi >/dev/null; at deploy/web "{.spec.template.spec.containers[0].resources.requests.cpu}/{.spec.template.spec.containers[0].resources.requests.memory}"'
	t set "env" '^A=1$' 'k set env deploy/web A=1 >/dev/null; at deploy/web "{.spec.template.spec.containers[0].env[0].name}={.spec.template.spec.containers[0].env[0].value}"'
	t set "env list" 'A=1' 'k set env deploy/web --list'
	t set "env from" 'FROM_X' 'k create cm from --from-literal=x=y >/dev/null; k set env deploy/web --from=cm/from --prefix=FROM_ >/dev/null; at deploy/web {.spec.template.spec.containers[0].env[*].name}'
	t set "env gone" '^FROM_X$' 'k set env deploy/web A- >/dev/null; at deploy/web {.spec.template.spec.containers[0].env[*].name}'
	t set "serviceaccount" '^bot$' 'k create sa bot >/dev/null; k set serviceaccount deploy web bot >/dev/null; at deploy/web {.spec.template.spec.serviceAccountName}'
	t expose "a deployment" 'service/web exposed' 'k expose deploy web --port=80 --target-port=8080'
	t expose "endpoints" ':8080' 'soon :8080 "k get endpoints web"'
	t set "selector" '{"app":"other"}' 'k set selector svc web app=other >/dev/null; at svc/web {.spec.selector}'
	t expose "a service, as another" 'exposed' 'k expose svc web --name=web2 --port=81 --type=NodePort'
	t expose "of which nobody serves the port, which is told" 'Warning: node ports and load balancers are not served' 'k expose svc web --name=web3 --port=81 --type=NodePort 2>&1; k delete svc web3 >/dev/null'
	t create "a policy that is not enforced, which is told" 'Warning: NetworkPolicy is not enforced' 'echo "{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"np\"},\"spec\":{\"podSelector\":{}}}" | kin create -f - 2>&1; k delete networkpolicy np >/dev/null'
	t expose "a pod without labels" "couldn't retrieve selectors|the pod has no labels" 'k run bare --image=x >/dev/null; k label pod bare run- >/dev/null; k expose pod bare --port=1'
	t set "subject" 'ServiceAccount.*bot|bot' 'k create rolebinding rb --clusterrole=view --user=joe >/dev/null; k set subject rolebinding rb --serviceaccount=default:bot >/dev/null; at rolebinding/rb {.subjects}'
	t autoscale "a deployment" 'autoscaled' 'k autoscale deploy web --min=2 --max=5 --cpu-percent=80'
	t autoscale "is told to be stored only" 'Warning: HorizontalPodAutoscaler is stored only' 'k autoscale deploy web --name=told --max=5 2>&1; k delete hpa told >/dev/null'
	t autoscale "is shown" '2 +5' 'k get hpa web'
	t autoscale "needs a maximum" 'max=MAXPODS is required|must be|"max" not set' 'k autoscale deploy web --name=x'
	t scale "on condition" 'Expected replicas to be 9' 'k scale deploy/web --replicas=3 --current-replicas=9'
	t scale "several" 'scaled' 'k create deployment web3 --image=x >/dev/null; k scale deploy/web deploy/web3 --replicas=1'
	t scale "to zero" '^0$' 'k scale deploy/web3 --replicas=0 >/dev/null; at deploy/web3 {.spec.replicas}'
	kin create -f - >/dev/null <<-EOF
	apiVersion: apps/v1
	kind: StatefulSet
	metadata: {name: ss}
	spec:
	  serviceName: web
	  replicas: 2
	  selector: {matchLabels: {app: ss}}
	  template: {metadata: {labels: {app: ss}}, spec: {containers: [{name: c, image: "i:1"}]}}
	EOF
	t create "a name of 253 characters" "^configmap/$(name 253)$" 'k create cm $(name 253) -o name'
	t create "and one more" 'metadata.name: Invalid value: .*: must be no more than 253 characters' 'k create cm $(name 254)'
	t create "a service's may have 63" 'metadata.name: Invalid value: .*: must be no more than 63 characters' 'k create svc clusterip $(name 64) --tcp=1'
	t create "a container's, too" 'containers\[0\].name: Invalid value: .*: must be no more than 63 characters' 'k run $(name 64) --image=x'
	t rollout "a deployment with a long name" 'successfully rolled out' 'k create deployment x --image=x --dry-run=client -o json | jq ".metadata.name = \"$(name 200)\"" | kin create -f - >/dev/null; k rollout status deploy/$(name 200) --timeout=20s'
	t get "its pods are named as far as it fits" "^pod/$(name 58)[a-z0-9]{5}$" 'k get pods -l app=x -o name'
	t patch "a label's value that is too long" 'metadata.labels: Invalid value: .*: must be no more than 63 characters' 'k patch cm $(name 253) -p "{\"metadata\":{\"labels\":{\"x\":\"$(name 64)\"}}}"; k delete deploy $(name 200) >/dev/null'
	t rollout "a stateful set" 'rolling update complete|partitioned roll out complete' 'kin rollout status sts/ss --timeout=25s'
	t rollout "its restart" 'restarted' 'k rollout restart sts/ss'
	t rollout "its history" 'REVISION' 'k rollout history sts/ss'
}

wait_verbs()
{
	t wait "condition" 'condition met' 'k wait deploy/web --for=condition=Available --timeout=20s'
	t wait "condition with a value" 'condition met' 'k wait deploy/web --for=condition=Available=True --timeout=20s'
	t wait "not met" 'timed out waiting' 'k wait deploy/web --for=condition=Nonsense --timeout=1s'
	t wait "all by label" 'condition met' 'k wait pods -l app=web --for=condition=Ready --timeout=20s'
	t wait "nothing matches" 'no matching resources found' 'k wait pods -l app=nobody --for=condition=Ready --timeout=1s'
	t wait "delete" 'condition met|^pod/gone condition met|deleted' 'k create cm gone >/dev/null; k patch cm gone -p "{\"metadata\":{\"finalizers\":[\"a.b/c\"]}}" >/dev/null; k delete cm gone --wait=false >/dev/null; k wait cm/gone --for=delete --timeout=20s & k patch cm gone --type=merge -p "{\"metadata\":{\"finalizers\":null}}" >/dev/null; wait $!; k get cm gone >/dev/null 2>&1 || echo deleted'
	if [ "$v" != 1.20 ]; then
		t wait "jsonpath" 'condition met' 'k wait deploy/web --for=jsonpath="{.status.readyReplicas}"=1 --timeout=20s'
		t wait "jsonpath exists" 'condition met' 'k wait deploy/web --for=jsonpath="{.status.observedGeneration}" --timeout=20s'
		t wait "create" 'created|condition met' 'k create cm later >/dev/null; k wait cm/later --for=create --timeout=10s'
	fi
	t watch "only what comes" '^configmap/new$' '(timeout 20 $kubectl --cache-dir=$dir/cache-$v get cm --watch-only -o name >$dir/only-$v 2>&1 & w=$!; soon . "k get --raw /metrics | grep -E \"longrunning.*resource=\\\"configmaps\\\".*WATCH.* [1-9]\"" >/dev/null; k create cm new >/dev/null; soon new "cat $dir/only-$v" >/dev/null; kill $w; cat $dir/only-$v | head -1)'
	t watch "and nothing of before" '^0$' 'grep -c kube-root-ca $dir/only-$v'
	t watch "events' types" '^ADDED' 'k get cm -w --output-watch-events --request-timeout=3s | grep -m1 ADDED'
}

change_verbs()
{
	local list=allowlist
	[ "$v" = 1.20 ] && list=whitelist
	t edit "an object" 'configmap/ed edited' 'k create cm ed --from-literal=a=old >/dev/null; KUBE_EDITOR="sed -i s/old/fresh/" k edit cm ed'
	t edit "is changed" '^fresh$' 'at cm/ed {.data.a}'
	t edit "nothing" 'Edit cancelled, no changes made' 'KUBE_EDITOR=true k edit cm ed'
	t edit "invalid is told and kept" 'Invalid value|error: Edit cancelled|is invalid' 'KUBE_EDITOR="sed -i s/^data:/Data:/" k edit cm ed --validate=true; KUBE_EDITOR="sed -i s/name:.ed/name:_X/" k edit cm ed'
	t edit "last applied" 'edited' 'k create cm la --dry-run=client --from-literal=a=old -o yaml | kin apply -f - >/dev/null; KUBE_EDITOR="sed -i s/old/new/" k apply edit-last-applied cm/la'
	t apply "view last applied" 'a: new' 'k apply view-last-applied cm/la'
	t diff "no difference" '^0$' 'k get cm ed -o yaml | kin diff -f - ; echo $?'
	t diff "a difference" '^\+ +a: other' 'k get cm ed -o yaml | sed s/fresh/other/ | kin diff -f -'
	t diff "of what is not there" '^\+ +name: unborn' 'k create cm unborn --dry-run=client -o yaml | kin diff -f -'
	t diff "changes nothing" '^fresh$' 'at cm/ed {.data.a}'
	t apply "prune" 'configmap/pruned pruned' 'k create cm pruned --dry-run=client -o yaml | sed "s/name: pruned/name: pruned\n  labels: {set: p}/" | kin apply -f - >/dev/null; k create cm keeps --dry-run=client -o yaml | sed "s/name: keeps/name: keeps\n  labels: {set: p}/" | kin apply --prune -l set=p --prune-$list=core/v1/ConfigMap -f -'
	t replace "force" 'replaced' 'k get cm ed -o yaml | kin replace --force -f -'
	t patch "from a file" 'patched' 'echo "{\"data\":{\"b\":\"1\"}}" >$dir/patch; k patch cm ed --patch "$(cat $dir/patch)"'
	t label "list" 'x=y' 'k label cm ed x=y >/dev/null; k label cm ed --list'
	t label "overwrite" "already has a value|'x' already has" 'k label cm ed x=z'
	t annotate "with a version that is old" 'the object has been modified|Conflict' 'k annotate cm ed n=1 --resource-version=1'
	t delete "by label" '"ed" deleted' 'k delete cm -l x=y'
	t delete "what is not there" 'NotFound' 'k delete cm ed'
	t delete "ignores it" '^$' 'k delete cm ed --ignore-not-found'
	t delete "now" 'deleted' 'k run now --image=x >/dev/null; k delete pod now --now'
	t delete "orphans" '^replicaset' 'k create deployment orph --image=x >/dev/null; k rollout status deploy/orph --timeout=20s >/dev/null; k delete deploy orph --cascade=orphan >/dev/null; k get rs -l app=orph -o name; k delete rs -l app=orph >/dev/null'
	t create "a field nobody knows" 'unknown field|ValidationError' 'echo "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"s\"},\"dat\":{}}" | kin create -f -'
	if [ "$v" != 1.20 ]; then
		local odd='{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"odd"},"dat":{}}'
		t validate "strict" 'strict decoding error: unknown field "dat"' 'echo $odd | kin create --validate=strict -f -'
		t validate "warn" 'Warning: unknown field "dat"' 'echo $odd | kin create --validate=warn -f -'
		t validate "ignore" '^configmap/odd (configured|unchanged)' 'echo $odd | kin apply --validate=ignore -f - 2>/dev/null'
		k delete cm odd >/dev/null
	fi
}

who_verbs()
{
	local csr name
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$dir/joe.key" -subj /CN=joe-$v/O=dev >"$dir/joe.csr" 2>/dev/null
	csr=$(base64 -w0 <"$dir/joe.csr")
	for name in joe bad; do
		printf 'apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {request: %s, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}\n' $name "$csr" >"$dir/$name.yaml"
	done
	t certificate "a request" 'Pending' 'k create -f $dir/joe.yaml >/dev/null; k get csr joe'
	t certificate "approve" 'approved' 'k certificate approve joe'
	t certificate "is issued" 'Approved,Issued' 'soon Issued "k get csr joe"'
	t certificate "is one" "CN ?= ?joe-$v" 'at csr/joe {.status.certificate} | base64 -d | openssl x509 -noout -subject'
	t certificate "is believed" "joe-$v.*cannot list|Forbidden" 'at csr/joe {.status.certificate} | base64 -d >$dir/joe.pem; k --kubeconfig=/dev/null --server=$(k config view -o jsonpath={.clusters[0].cluster.server}) --insecure-skip-tls-verify --client-certificate=$dir/joe.pem --client-key=$dir/joe.key get secrets'
	t certificate "deny" 'denied' 'k create -f $dir/bad.yaml >/dev/null; k certificate deny bad'
	t certificate "is shown" 'Denied' 'k get csr bad'
	t certificate "approve what is denied" 'already|Approved.*Denied|both|Forbidden|invalid' 'k certificate approve bad'
	k delete csr joe bad >/dev/null
	t auth "can-i" '^yes$' 'k auth can-i "*" "*"'
	t auth "can-i as another" '^no' 'k auth can-i get pods --as=nobody'
	t auth "can-i as a service account" '^yes$' 'k create rolebinding v --clusterrole=view --serviceaccount=default:bot >/dev/null; k auth can-i list pods --as=system:serviceaccount:default:bot'
	t auth "can-i a subresource" '^no' 'k auth can-i create pods --subresource=exec --as=system:serviceaccount:default:bot'
	t auth "can-i a path" '^yes' 'k auth can-i get /healthz'
	t auth "can-i --list" 'pods/log +\[\] +\[\] +\[get list watch\]' 'k auth can-i --list --as=system:serviceaccount:default:bot'
	t auth "can-i, quietly" '^1$' 'k auth can-i get secrets --as=nobody -q; echo $?'
	t auth "reconcile" 'reconciled' 'k create role rec -n default --verb=get --resource=pods --dry-run=client -o yaml | kin auth reconcile -f -'
	if [ "$v" != 1.20 ]; then
		t auth "whoami" 'Username +system-admin' 'k auth whoami'
		t auth "whoami as another" 'joe' 'k auth whoami --as=joe --as-group=dev -o jsonpath={.status.userInfo.username}'
		t create "token" '^eyJ' 'k create token bot'
		t create "token for a while" '^[1-9]' 'k create token bot --duration=10m | cut -d. -f2 | base64 -d 2>/dev/null | grep -oE "exp\":[0-9]+" | cut -d: -f2'
		t create "token of nobody" 'not found' 'k create token nobody'
		t create "token works" 'system:serviceaccount:default:bot' 'k --kubeconfig=/dev/null --server=$(k config view -o jsonpath={.clusters[0].cluster.server}) --insecure-skip-tls-verify --token=$(k create token bot) auth whoami'
	fi
}

look_verbs()
{
	t explain "recursively" 'matchExpressions' 'k explain deployment.spec --recursive'
	t explain "a list's items" 'imagePullPolicy' 'k explain pod.spec.containers'
	t explain "what is not there" 'field "nonsense" does not exist|not exist' 'k explain pod.spec.nonsense'
	t explain "another version" 'targetCPUUtilizationPercentage' 'k explain hpa.spec --api-version=autoscaling/v1'
	t get "raw" '"kind":"NamespaceList"' 'k get --raw /api/v1/namespaces'
	t get "raw: livez" '^ok' 'k get --raw /livez'
	t get "raw: readyz, told in full" 'passed' 'k get --raw "/readyz?verbose"'
	t get "raw: not there" 'NotFound|could not find' 'k get --raw /nonsense'
	t cluster-info "where it is" 'control plane.* is running at .*https://' 'k cluster-info'
	t cluster-info "dump" '"kind": "NodeList"' 'k cluster-info dump --namespaces=default 2>/dev/null | grep -m1 NodeList'
	t get "go-template" 'default kube-' 'k get ns -o go-template="{{range .items}}{{.metadata.name}} {{end}}"'
	t get "custom columns" '^NAME +PHASE' 'k get ns -o custom-columns=NAME:.metadata.name,PHASE:.status.phase'
	t get "sorted" '^namespace/default' 'k get ns --sort-by=.metadata.name -o name'
	t get "labels as columns" 'APP' 'k get deploy -L app'
	t get "several kinds" 'service/web' 'k get deploy,svc'
	t get "all" 'replicaset.apps/' 'k get all'
	t get "by short name" 'web' 'k get deploy web -o wide'
	t get "nothing" 'No resources found' 'k get ingress'
	t get "a kind nobody knows" "doesn't have a resource type" 'k get nonsense'
	t describe "a deployment" 'NewReplicaSet:' 'k describe deploy web'
	t describe "a service" 'Endpoints:' 'k describe svc web'
	t describe "a namespace" 'Status: +Active' 'k describe ns default'
	t describe "a service account" 'Name: +bot' 'k describe sa bot'
	t describe "an autoscaler" 'web' 'k describe hpa web'
	t describe "a role" 'PolicyRule' 'k describe clusterrole view'
	t describe "a secret hides its data" '3 bytes' 'k create secret generic hid --from-literal=a=abc >/dev/null; k describe secret hid'
	t api-resources "by group" 'deployments' 'k api-resources --api-group=apps'
	t api-resources "by verb" 'pods' 'k api-resources --verbs=list,patch -o name'
	t api-versions "all" '^apps/v1$' 'k api-versions'
	t version "short" 'Server Version' 'k version'
	t top "pods" 'NAME|not available|no metrics|not found|error' 'k top pods'
	t get "the service of the API" '^ClusterIP 443/https$' 'at svc/kubernetes "{.spec.type} {.spec.ports[0].port}/{.spec.ports[0].name}"'
	t get "a loopback address is no endpoint" '^endpoints/kubernetes none$' 'echo $(k get endpoints kubernetes -o name) $(at endpoints/kubernetes {.subsets})none'
	t delete "it comes back" '^service/kubernetes$' 'k delete svc kubernetes >/dev/null; soon ^service/kubernetes$ "k get svc kubernetes -o name"'
	if [ "$v" != 1.20 ]; then
		t events "all" 'Scheduled|ScalingReplicaSet' 'k events'
		t events "of an object" 'ScalingReplicaSet' 'k events --for deploy/web'
		t events "by type" 'No events|LAST SEEN' 'k events --types=Warning'
		t explain "as OpenAPI" 'openapi|"spec"' 'k explain deployment.spec.replicas --output=plaintext-openapiv2; k get --raw /openapi/v3 | head -c 100'
	fi
}

path()
{
	node_verbs
	rollout_verbs
	wait_verbs
	change_verbs
	who_verbs
	look_verbs
	k delete deploy,sts,rs,svc,hpa,rolebinding,role,cm,secret,pod --all --grace-period=0 --force >/dev/null 2>&1
	k delete sa bot >/dev/null 2>&1
}

start
nodes 2
use 1.32 >/dev/null && soon 'hollow-1 +Ready' "k get nodes" >/dev/null
both path
finish_tap
