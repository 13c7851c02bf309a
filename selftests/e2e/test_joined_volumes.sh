#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 200
# What pods get from the API: configMap, secret, downwardAPI and projected
# volumes that follow their objects, tokens, environment.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

control_start && node_join && image_web || exit 1
k create configmap conf --from-literal=color=red --from-literal=size=10 >/dev/null
k create secret generic key --from-literal=word=xyzzy >/dev/null
cat >"$E2E/pod.yaml" <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: all, labels: {app: a1}, annotations: {note: hi}}
	spec:
	  nodeName: $NAME
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: web
	    image: web
	    imagePullPolicy: Never
	    resources: {limits: {cpu: 500m, memory: 64Mi}}
	    env:
	    - {name: COLOR, valueFrom: {configMapKeyRef: {name: conf, key: color}}}
	    - {name: WORD, valueFrom: {secretKeyRef: {name: key, key: word}}}
	    - {name: NONE, valueFrom: {configMapKeyRef: {name: nothing, key: x, optional: true}}}
	    - {name: BOTH, value: "\$(COLOR)-\$(WORD)-\$(C_size)"}
	    envFrom: [{prefix: C_, configMapRef: {name: conf}}]
	    volumeMounts:
	    - {name: conf, mountPath: /conf}
	    - {name: key, mountPath: /key, readOnly: true}
	    - {name: down, mountPath: /down}
	    - {name: all, mountPath: /all}
	  volumes:
	  - {name: conf, configMap: {name: conf}}
	  - {name: key, secret: {secretName: key, defaultMode: 0444, items: [{key: word, path: sub/word}]}}
	  - name: down
	    downwardAPI:
	      items:
	      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
	      - {path: cpu, resourceFieldRef: {containerName: web, resource: limits.cpu, divisor: 1m}}
	  - name: all
	    projected:
	      sources:
	      - configMap: {name: conf, items: [{key: color, path: c}]}
	      - secret: {name: key}
	      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
	      - serviceAccountToken: {path: token, audience: tests, expirationSeconds: 600}
END
k create -f "$E2E/pod.yaml" >/dev/null
ok "a pod with all of it runs" wait_for 30 k_ready all
cat_() { node exec all -- /bin/sh -c "cat $1"; }
is() { prints "^$1\$" cat_ "$2"; }
ok "configMap" is red /conf/color
ok "secret, with a path and a mode" is xyzzy /key/sub/word
mode() { node exec all -- stat -L -c %a "$1"; }
ok "its mode" prints '^444$' mode /key/sub/word
ok "labels" is 'app="a1"' /down/labels
writes() { node exec all -- /bin/sh -c 'for d in conf key down all var/run/secrets/kubernetes.io/serviceaccount; do touch /$d/x; rm -rf /$d/..data; done; echo went on' 2>&1; }
ok "nobody writes to any of them" [ "$(writes | grep -c 'Read-only file system')" = 10 ]
ok "limits, divided" is 500 /down/cpu
ok "projected: all sources" prints '^redxyzzyall$' cat_ "/all/c /all/word /all/name"
# An API server that makes no tokens does without these.
tokens() { k create token default >/dev/null 2>&1; }
with_tokens()
{
	tokens && { "$@"; return; }
	tests=$((tests + 1))
	echo "ok $tests $2 # SKIP the API server makes no tokens"
}
with_tokens ok "a token of the service account" prints '^eyJ.*\..*\..' cat_ /all/token
SA=/var/run/secrets/kubernetes.io/serviceaccount
ok "what every pod gets: the CA" prints 'BEGIN CERTIFICATE' cat_ $SA/ca.crt
ok "the namespace" is default $SA/namespace
works() # the token is who it says it is
{
	curl -sS --cacert <(cat_ $SA/ca.crt) -H "Authorization: Bearer $(cat_ $SA/token)" \
		-X POST -H 'Content-Type: application/json' \
		"https://127.0.0.1:$CONTROL_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews" \
		-d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
}
with_tokens ok "and its token is good" prints 'system:serviceaccount:default:default' works
env_() { node exec all -- /bin/sh -c 'echo "$COLOR $WORD ${NONE-unset} $BOTH $C_size"'; }
ok "environment" prints '^red xyzzy unset red-xyzzy-10 10$' env_
on_disk() { ! grep -rqs xyzzy "$STATE/pods"; }
ok "the secret is nowhere on disk" on_disk

# --- whose they are ---------------------------------------------------------------
# Modes that only the owner or the fsGroup may read, for root and for others.
owned() # NAME SECURITY
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  nodeName: $NAME
	  terminationGracePeriodSeconds: 1
	  securityContext: {$2}
	  containers:
	  - name: web
	    image: web
	    imagePullPolicy: Never
	    volumeMounts:
	    - {name: key, mountPath: /key}
	    - {name: conf, mountPath: /conf}
	    - {name: tmp, mountPath: /mem, subPath: sub}
	  volumes:
	  - {name: key, secret: {secretName: key, defaultMode: 0400, items: [{key: word, path: sub/word}]}}
	  - {name: conf, configMap: {name: conf, defaultMode: 0600}}
	  - {name: tmp, emptyDir: {medium: Memory}}
	END
}
reads() # POD OWNER:GROUP MODE
{
	prints "^xyzzy $2 $3 [a-z]+ $2\$" node exec "$1" -- /bin/sh -c 'echo $(cat /key/sub/word) \
		$(stat -L -c "%u:%g %a" /key/sub/word) $(cat /conf/color) $(stat -L -c %u:%g /key/..data)' &&
		prints '^mine$' node exec "$1" -- /bin/sh -c 'echo mine >/mem/f; cat /mem/f'
}
readers() # PREFIX
{
	owned $1-root 'runAsUser: 0' | k create -f - >/dev/null
	owned $1-group 'runAsUser: 1000, fsGroup: 2000' | k create -f - >/dev/null
	wait_for 30 k_ready $1-root && wait_for 30 k_ready $1-group &&
		reads $1-root 0:0 400 && reads $1-group 0:2000 440
}
ok "secrets of narrow modes are read by root and by the fsGroup" readers new
k delete pod new-root new-group --wait=false >/dev/null

# --- they follow ------------------------------------------------------------------
# The server's count of watches: those of configmaps and secrets are ours, one
# for an object, however many pods use it.
watches()
{
	k get --raw /metrics | awk '/^apiserver_longrunning_requests[{].*"(configmaps|secrets)"/ {
		n += $NF } END { print n + 0 }'
}
before=$(watches)
sed 's/name: all, labels/name: both, labels/' "$E2E/pod.yaml" | k create -f - >/dev/null
ok "a second pod of the same objects runs" wait_for 30 k_ready both
no_more() { [ "$(watches)" -le "$before" ]; }
ok "they share their watches" wait_for 10 no_more
k create configmap lone --from-literal=a=b >/dev/null
k create configmap fixed --from-literal=a=b >/dev/null
k patch configmap fixed -p '{"immutable":true}' >/dev/null
wears() # NAME CONFIGMAP
{
	web_manifest "$1" | bound && cat <<-END
	    volumeMounts: [{name: v, mountPath: /v}]
	  volumes: [{name: v, configMap: {name: $2}}]
	END
}
wears fixed fixed | k create -f - >/dev/null
ok "a pod of an immutable one runs" wait_for 30 k_ready fixed
ok "it is not watched" wait_for 10 no_more
wears lone lone | k create -f - >/dev/null
ok "a pod of another one runs" wait_for 30 k_ready lone
more() { [ "$(watches)" -gt "$before" ]; }
ok "which is watched" wait_for 10 more
as_node() { k --kubeconfig "$E2E/node.kubeconfig" "$@"; }
k create configmap foreign --from-literal=a=b >/dev/null
watch_() { as_node get --raw "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&$1"; }
ok "a node may watch what its pods use" prints '"ADDED"|^$' \
	watch_ fieldSelector=metadata.name%3Dlone
ok "nothing else" prints 'cannot watch resource' \
	watch_ fieldSelector=metadata.name%3Dforeign
ok "and never all" prints 'cannot watch resource' watch_ limit=1
k delete configmap lone >/dev/null
k create configmap lone --from-literal=a=again >/dev/null
lone() { node exec lone -- cat /v/a; }
ok "deleted and made again, it is seen" wait_for 20 prints again lone
for p in both fixed lone; do k delete pod $p --wait=false >/dev/null; done
k patch configmap conf -p '{"data":{"color":"blue"}}' >/dev/null
k label pod all app=a2 --overwrite >/dev/null
ok "a changed ConfigMap is seen" wait_for 20 is blue /conf/color
ok "everywhere" wait_for 20 is blue /all/c
ok "a changed label is" wait_for 20 is 'app="a2"' /down/labels
ok "nothing was restarted" k_is all '.status.containerStatuses[0].restartCount' 0
agent_kill
control_kill
node_join
ok "without the API server the files stay" is blue /conf/color
ok "and the environment" prints 'xyzzy' env_
control_start
k patch configmap conf -p '{"data":{"color":"brown"}}' >/dev/null
ok "with a new one they follow again" wait_for 40 is brown /conf/color
k patch configmap conf -p '{"data":{"color":"blue"}}' >/dev/null
ok "and are watched" wait_for 20 is blue /conf/color

# --- what is not there --------------------------------------------------------------
sed 's/name: all, labels/name: lacks, labels/; s/name: conf}}$/name: later}}/' "$E2E/pod.yaml" |
	k create -f - >/dev/null
ok "a missing ConfigMap is told" wait_for 20 prints \
	'FailedMount.*configmap "later" not found' k describe pod lacks
ok "the pod waits" k_is lacks .status.phase Pending
k create configmap later --from-literal=color=green >/dev/null
ok "and runs when it is there" wait_for 30 k_ready lacks

sed 's/name: all, labels/name: never, labels/; s/name: conf}}$/name: nowhere}}/' "$E2E/pod.yaml" |
	k create -f - >/dev/null
ok "one that waits for what never comes" wait_for 20 prints \
	'FailedMount.*configmap "nowhere" not found' k describe pod never
ok "can be deleted" k delete pod never --timeout=20s
# At whatever step of its making: each is gone, and all it had.
for i in $(seq 24); do
	sed "s/name: all, labels/name: short$i, labels/" "$E2E/pod.yaml"
	echo ---
done | k create -f - >/dev/null
ok "so can those that are being made" k delete pod --timeout=60s \
	$(seq -f 'short%g' 24)
left() { [ "$(node ps -A -o json | jq '[.items[].metadata.name | select(startswith("short"))] | length')" = 0 ]; }
ok "nothing of them is left" wait_for 20 left

# --- an environment that is not there keeps its container waiting, as a kubelet's does --
k create -f - >/dev/null <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: noenv}
	spec:
	  terminationGracePeriodSeconds: 1
	  initContainers:
	  - {name: first, image: web, imagePullPolicy: Never, command: [/bin/sh, -c, "exit 0"], envFrom: [{configMapRef: {name: nope}}]}
	  containers:
	  - {name: web, image: web, imagePullPolicy: Never}
END
waits_for() { k_is noenv "[.status.$1[0].state.waiting.reason, .status.$1[0].state.waiting.message] | join(\": \")" "$2"; }
ok "it says which" wait_for 20 waits_for initContainerStatuses \
	'CreateContainerConfigError: configmap "nope" not found'
ok "the containers after it say what they wait for" waits_for containerStatuses 'PodInitializing: '
ok "its STATUS is the reason" prints '0/1 +Init:CreateContainerConfigError' k get pod noenv
ok "and an event is there" wait_for 20 prints \
	'Warning +Failed .*Error: configmap "nope" not found' k describe pod noenv
ok "nothing was restarted" k_is noenv '.status.initContainerStatuses[0].restartCount' 0
k create configmap nope --from-literal=a=b >/dev/null
ok "it goes on when the ConfigMap is there" wait_for 30 k_ready noenv

# --- a tenant's pod ------------------------------------------------------------------
tenant_create acme
kt acme create -f "$E2E/pod.yaml" >/dev/null
t_is() { kt acme get pod all -o json | jq -e "$1"; }
ok "a tenant's pod of the same names waits for its own" \
	wait_for 20 t_is "$READY == \"False\" and .status.hostIP"
t_exec() { node exec acme/default/all -- /bin/true; }
ok "and is told what it is" prints "container 'web' is not running" t_exec
t_ready() { t_is "$READY == \"True\""; }
not_yet() { ! t_ready; }
ok "which is not ready" not_yet
kt acme create configmap conf --from-literal=color=acme --from-literal=size=1 >/dev/null
kt acme create secret generic key --from-literal=word=acme >/dev/null
ok "it runs when they are there" wait_for 30 t_ready
t_cat() { node exec acme/default/all -- /bin/sh -c "cat $1"; }
ok "with its own" prints '^acmeacme$' t_cat "/conf/color /all/word"
ok "and so does the other" is blue /conf/color

# --- a node that is no longer joined ---------------------------------------------------
agent_kill
node_down >/dev/null 2>&1
agent_start --node-name "$NAME"
ok "alone, what the API's pods wait for is said" wait_for 30 prints \
	'noenv .* 0/1 +ControlPlaneNotJoined' node ps
ok "in words" prints 'waits for the control plane \(token.*this node is not joined' \
	node describe noenv
agent_kill
node_join
ok "joined again it goes on" wait_for 60 k_ready noenv
k delete pod noenv --wait=false >/dev/null

# --- on an older kernel ----------------------------------------------------------------
agent_kill
LD_PRELOAD=$(shim no_memory_map) node_join
ok "where no mount of a tmpfs maps ids they are read as well" readers old
k delete pod old-root old-group --wait=false >/dev/null

for p in all lacks; do k delete pod $p --wait=false >/dev/null; done
kt acme delete pod all >/dev/null
ok "they go" wait_for 20 pod_gone all
control_stop
e2e_end
