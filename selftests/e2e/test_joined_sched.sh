#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 300
# Where pods go, and why not, on a real node: every refusal is told, runtimes that
# are missing, a VM that is switched off gives its room away; rollouts, budgets and
# a deployment's end, as seen by containers.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

. "$(dirname "$0")/beside.sh"

control_start && node_join --qemu /nonexistent && image_web && image_vm || exit 1
for name in web:1 web:2; do
	node image import "oci:$BUILD/images/web:latest" --name $name >/dev/null
done
ok "the node is ready" wait_for 20 node_ready

pod_yaml() # NAME [CPU] [LINE-OF-SPEC] [LINE-OF-CONTAINER]
{
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 1
	  ${3-}
	  containers:
	  - name: c
	    image: web:1
	    command: [sleep, "1000000"]
	    ${4-}
	    resources: {requests: {cpu: ${2-10m}}}
	END
}
told() # POD REGEX: in its condition, and in an event
{
	prints "^Unschedulable: 0/1 nodes are available: $2" k get pod "$1" -o \
		'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}: {.status.conditions[?(@.type=="PodScheduled")].message}' &&
		prints "FailedScheduling.*0/1 nodes are available: $2" \
			k get events --field-selector "involvedObject.name=$1"
}
refused() # WHAT REGEX ARGUMENT-OF-POD_YAML...
{
	local what=$1 why=$2
	shift 2
	pod_yaml r "$@" | k create -f - >/dev/null
	ok "$what is told" wait_for 20 told r "$why"
	k delete pod r --wait=false >/dev/null
	wait_for 10 k_gone r
}

# --- refusals ---------------------------------------------------------------------
refused "too much CPU" '1 Insufficient cpu' 99
refused "another kind of node" "1 node\(s\) didn't match Pod's node affinity/selector" \
	10m 'nodeSelector: {disk: ssd}'
k taint node $NAME only=me:NoSchedule >/dev/null
refused "a taint" '1 node\(s\) had untolerated taint \{only: me\}'
k taint node $NAME only- >/dev/null
k cordon $NAME >/dev/null
refused "a cordoned node" '1 node\(s\) were unschedulable'
k uncordon $NAME >/dev/null
with_port() # NAME
{
	web_manifest "$1" | sed '/imagePullPolicy/a\    ports: [{containerPort: 8080, hostPort: 8099}]' |
		k create -f - >/dev/null
}
page() # from beside the host
{
	nsenter -t $beside -n curl -sS -m 5 "http://192.0.2.1:8099/"
}
with_port p
ok "a pod with a port of the host runs" wait_for 30 k_ready p
ok "a machine beside the host reaches it" prints Hello page
refused "a host port that is taken" "1 node\(s\) didn't have free ports for the requested pod ports" \
	10m '' 'ports: [{containerPort: 80, hostPort: 8099}]'
with_port q
ok "another pod with that port waits" wait_for 20 told q "1 node\(s\) didn't have free ports"
ok "and is Pending" k_is q .status.phase Pending
k delete pod p --wait=false >/dev/null
ok "it runs when the first has gone" wait_for 40 k_ready q
ok "and is who answers" prints Hello page
k delete pod q --wait=false --grace-period=0 --force >/dev/null 2>&1

# --- runtimes ------------------------------------------------------------------------
condition() # TYPE STATUS
{
	[ "$(k get node $NAME -o "jsonpath={.status.conditions[?(@.type==\"$1\")].status}")" = "$2" ]
}
ok "without QEMU the VM runtime is not ready" condition VmRuntimeReady False
vm_manifest vm 2 256Mi | sed 's/cpu: 100m/cpu: 1500m/' | k create -f - >/dev/null
ok "a VM waits for it" wait_for 20 told vm '1 node\(s\) runtime is not ready'
pod_yaml free | k create -f - >/dev/null
ok "a container does not" wait_for 30 k_ready free
agent_stop
node_join
ok "with QEMU it is" wait_for 30 condition VmRuntimeReady True
ok "and the VM runs" wait_for 90 k_ready vm

# --- a VM that is off gives its room away -----------------------------------------------
pod_yaml next 1 | k create -f - >/dev/null
ok "beside it there is no room" wait_for 20 told next '1 Insufficient cpu'
power() # STATE
{
	k patch pod vm --type merge -p \
		"{\"spec\":{\"virtualMachine\":{\"powerSpec\":\"$1\"}}}"
}
ok "it is switched off" power Shutdown
ok "and is told to be" wait_for 60 k_is vm .status.phase NoSchedule
ok "what waited runs" wait_for 30 k_ready next
ok "it is switched on" power Running
waits() { k_is vm .status.phase Pending; }
ok "now the VM waits" wait_for 20 waits
k delete pod next --wait=false >/dev/null
ok "and runs when there is room" wait_for 90 k_ready vm
k delete pod vm free --wait=false >/dev/null
ok "both go" wait_for 40 k_gone vm

# --- rollouts, with real containers ---------------------------------------------------------
images() # of the pods the node runs
{
	node ps -o json | jq -r '[.items[] | select(.metadata.labels.app == "w")
		| .spec.containers[0].image] | unique | join(" ")'
}
count() # of them
{
	node ps -o json | jq '[.items[] | select(.metadata.labels.app == "w")] | length'
}
is() { [ "$("${@:2}")" = "$1" ] || { echo "got $("${@:2}")"; return 1; }; }
patch_short()
{
	k patch deployment w --type json -p '[
	{"op":"add","path":"/spec/template/spec/terminationGracePeriodSeconds","value":1},
	{"op":"add","path":"/spec/template/spec/containers/0/command","value":["sleep","1000000"]}]'
}
rolled() { k rollout status deployment w --timeout=60s; }
for v in 1.20 1.32; do
	kubectl=${KUBECTLS[0]}
	[ $v = 1.20 ] || kubectl=${KUBECTLS[1]}
	k create deployment w --image=web:1 --replicas=2 >/dev/null
	patch_short >/dev/null
	ok "$v: a deployment is rolled out" rolled
	ok "$v: a new image" k set image deployment w web=web:2
	ok "$v: is rolled out" rolled
	ok "$v: the containers have it" wait_for 20 is web:2 images
	ok "$v: history" prints '^3 ' k rollout history deployment w
	ok "$v: undo" k rollout undo deployment w
	ok "$v: is rolled out, too" rolled
	ok "$v: the containers have the old one" wait_for 20 is web:1 images
	k rollout pause deployment w >/dev/null
	k set image deployment w web=web:2 >/dev/null
	ok "$v: paused" prints 'true' k get deployment w -o 'jsonpath={.spec.paused}'
	ok "$v: resume" k rollout resume deployment w
	rolled >/dev/null
	ok "$v: brings it" wait_for 20 is web:2 images
	names() { k get pods -l app=w -o name | sort | tr '\n' ' '; }
	before=$(names)
	ok "$v: restart" k rollout restart deployment w
	ok "$v: makes all anew" rolled
	new() { [ -z "$(comm -12 <(tr ' ' '\n' <<<"$before" | grep .) <(names | tr ' ' '\n' | grep .))" ]; }
	ok "$v: no old pod is left" wait_for 20 new

	# A budget holds a drain, and lets it go.
	cat <<-END | k create -f - >/dev/null
	apiVersion: policy/v1
	kind: PodDisruptionBudget
	metadata: {name: w}
	spec: {minAvailable: 2, selector: {matchLabels: {app: w}}}
	END
	allowed() { k get pdb w -o 'jsonpath={.status.currentHealthy}' | grep -qx 2; }
	ok "$v: a budget counts them" wait_for 20 allowed
	ok "$v: it holds a drain" prints 'disruption budget' \
		k drain $NAME --pod-selector=app=w --timeout=2s
	ok "$v: nobody was evicted" is 2 count
	k delete pdb w >/dev/null
	ok "$v: without it the node is drained" k drain $NAME \
		--pod-selector=app=w --timeout=40s
	ok "$v: their containers are gone" wait_for 20 is 0 count
	k uncordon $NAME >/dev/null
	ok "$v: uncordoned, they come back" wait_for 40 is 2 count
	k delete deployment w >/dev/null
	ok "$v: with the deployment its containers go" wait_for 30 is 0 count
done
# --- drained of all tenants -----------------------------------------------------------------
tenant_create acme
kt acme create deployment w --image=web:1 --replicas=2 >/dev/null
kt acme patch deployment w --type json -p '[{"op":"add","path":"/spec/template/spec/terminationGracePeriodSeconds","value":1}]' >/dev/null
cat <<-END | kt acme create -f - >/dev/null
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: w}
spec: {minAvailable: 2, selector: {matchLabels: {app: w}}}
END
pod_yaml alone | kt acme create -f - >/dev/null
ok "a tenant's pods run" wait_for 30 kt acme rollout status deployment w --timeout=20s
ok "its budget counts them" wait_for 20 eval '[ "$(kt acme get pdb w -o "jsonpath={.status.currentHealthy}")" = 2 ]'
t_running() { kt acme get pods --field-selector=status.phase=Running -o name | wc -l; }
ok "all of them" wait_for 20 is 3 t_running
ok "kubectl drain knows those of the system alone" k drain $NAME --timeout=20s
ok "the tenant's are there" is 3 t_running
k uncordon $NAME >/dev/null
drain() { timeout 90 "$CTL" node drain $NAME "$@"; }
ok "arktosctl node drain tells whose would be lost" prints \
	'acme/default/alone is nobody.s, .*--force' drain
ok "and has done nothing" prints 'false|^$' k get node $NAME -o 'jsonpath={.spec.unschedulable}'
ok "it heeds budgets" prints 'acme/default/w-.* waits: .*disruption budget.*' drain --force --timeout 3s
ok "with nobody evicted that one holds" is 2 t_running
kt acme delete pdb w >/dev/null
ok "without it the node is drained" prints "^node/$NAME drained" drain --force --timeout 60s
ok "of everybody's" is 0 count
k uncordon $NAME >/dev/null
ok "uncordoned, the tenant's come back" wait_for 40 is 2 t_running
kt acme delete deployment w >/dev/null

empty() { [ "$(node ps -A -o json | jq '.items | length')" = 0 ]; }
ok "all pods go" wait_for 40 empty
kill $beside
ip link del uplink 2>/dev/null
control_stop
e2e_end
