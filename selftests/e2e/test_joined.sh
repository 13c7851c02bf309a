#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# A node joined to the API server, as kubectl sees it: the Node, pods, their
# status, their end; the API server away, the agent away, both killed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

ok "the API server serves" control_start
refused() # TOKEN HASH
{
	! "$NODE" join "https://127.0.0.1:$CONTROL_PORT" --token "$1" \
		--ca-hash "$2" --node-name $NAME --out "$E2E/none" >"$E2E/out" 2>&1 &&
		cat "$E2E/out"
}
read -ra words <<<"$("$CTL" node token)"
ok "a server of another CA is not believed" prints 'not of the CA' \
	refused "${words[4]}" "sha256:$(printf %064d 1)"
ok "a wrong token gets nothing" prints 'does not take the token' \
	refused "${words[4]%?????}aaaaa" "${words[6]}"
ok "and is told what to do" grep -q "'arktosctl node token' makes another" "$E2E/out"
ok "and leaves nothing" eval '[ ! -e "$E2E/none" ] && [ ! -e "$E2E/none.bootstrap" ]'
echo mine >"$E2E/none"
ok "a file that is there is left alone" prints 'is no kubeconfig: it is left alone' \
	refused "${words[4]}" "${words[6]}"
ok "as it was" [ "$(cat "$E2E/none")" = mine ]
cp "$KUBECONFIG" "$E2E/none"
ok "and so are credentials" prints "this host is joined to https://127.0.0.1:$CONTROL_PORT" \
	refused "${words[4]}" "${words[6]}"
rm "$E2E/none"
ok "the node joins" node_join
ok "the Node is Ready" wait_for 20 node_ready
ok "its name is not another one's to take" prints 'node "n1" is Ready; choose another' \
	refused "${words[4]}" "${words[6]}"
k -n kube-system patch secret "bootstrap-token-${words[4]%.*}" --type merge \
	-p '{"stringData":{"expiration":"2020-01-01T00:00:00Z"}}' >/dev/null
ok "a token that has expired gets nothing" prints 'older than a day' \
	refused "${words[4]}" "${words[6]}"
there=$CONTROL_PORT CONTROL_PORT=1
ok "where nobody listens it is told" prints 'Connection refused; is the control plane running' \
	refused "${words[4]}" "${words[6]}"
CONTROL_PORT=$there
ok "its image is there" image_web
node_is() # EXPRESSION REGEX
{
	prints "$2" sh -c "'$kubectl' get node $NAME -o json | jq -c '$1'"
}
ok "it tells its size" node_is .status.allocatable \
	'"cpu":"[0-9]+m?","ephemeral-storage":"[1-9].*"memory"'
ok "it tells what runs pods" node_is \
	'[.status.conditions[] | select(.status == "True") | .type]' \
	'"Ready","ContainerRuntimeReady","VmRuntimeReady"'
ok "it tells what presses" node_is '[.status.conditions[].type] | map(select(endswith("Pressure"))) | sort' \
	'"DiskPressure","MemoryPressure","PIDPressure"'
for kubectl in "${KUBECTLS[@]}"; do
	ok "get nodes -o wide" prints "^$NAME +Ready .*arktos://" \
		k get nodes -o wide
	ok "describe node" prints 'Allocatable' k describe node $NAME
done
renewed() { k -n kube-node-lease get lease $NAME -o jsonpath='{.spec.renewTime}'; }
ok "it holds its lease" prints '^20.*Z$' renewed

web_manifest web | bound | k create -f - >/dev/null
ok "a pod runs" wait_for 30 k_ready web
ok "the node has it, too" wait_for 5 pod_ready web
ok "its phase" k_is web .status.phase Running
ok "its addresses" k_is web \
	'.status | .podIP == .podIPs[0].ip and .hostIP != null' true
ok "its conditions are kubelet's" k_is web \
	'[.status.conditions[] | select(.status == "True") | .type] | sort | join(" ")' \
	"ContainersReady Initialized PodReadyToStartContainers PodScheduled Ready"
ok "its container" k_is web '.status.containerStatuses[0]
	| [.name, .ready, .started, .restartCount, .state.running != null]
	| map(tostring) | join(" ")' "web true true 0 true"
for kubectl in "${KUBECTLS[@]}"; do
	ok "get pods -o wide" prints "^web +1/1 +Running +0 .* $NAME " \
		k get pods -o wide
	ok "describe pod, with events" wait_for 10 prints 'Started' \
		k describe pod web
done
version=$(k_get web .metadata.resourceVersion)
quiet() # nothing is written while nothing happens
{
	local before after
	before=$(k_get web .metadata.resourceVersion)
	agent_poke
	pause 1.5
	after=$(k_get web .metadata.resourceVersion)
	[ "$before" = "$after" ] || echo "was $before, is $after" | grep -v .
}
agent_poke() { node describe web >/dev/null; }
ok "status is not written for nothing" quiet

# --- the API server away -------------------------------------------------------
started() { pod web '.status.containerStatuses[0].state.running.startedAt'; }
before=$(started)
pid=$(node exec web -- /bin/sh -c 'echo 1')
control_kill
pause 1
ok "without the API server the pod runs on" pod_ready web
ok "the API server comes back" control_start
ok "the Node is Ready again" wait_for 20 node_ready
ok "nothing was restarted" [ "$(started)" = "$before" ]
web_manifest later | bound | k create -f - >/dev/null
ok "pods are taken again" wait_for 30 k_ready later

# --- the agent away ------------------------------------------------------------
k get pods -w -o json --output-watch-events 2>/dev/null | jq --unbuffered -c \
	'.object | [.metadata.name, ([.status.conditions[]?
	| select(.type == "Ready") | .status][0]),
	([.status.containerStatuses[]?.restartCount] | add), .status.phase,
	.status.podIP]' >"$E2E/watch" &
watcher=$!
ok "the watch shows both pods" wait_for 10 sh -c \
	'[ "$(sort -u "$0" | wc -l)" = 2 ]' "$E2E/watch"
agent_kill
web_manifest while_away | sed 's/while_away/away/' | bound | k create -f - >/dev/null
k delete pod later --wait=false >/dev/null
ok "the agent comes back" node_join
ok "what was created meanwhile runs" wait_for 30 k_ready away
ok "what was deleted meanwhile goes" wait_for 20 k_gone later
ok "nothing was restarted by the agent" [ "$(started)" = "$before" ]
pause 2
never_unready()
{
	! grep '^\["web"' "$E2E/watch" | sort -u | sed 1d | grep .
}
ok "its status has not changed at all" never_unready
kill $watcher 2>/dev/null

# --- both ----------------------------------------------------------------------
control_kill
agent_kill
control_start
node_join
ok "after both were killed the Node is Ready" wait_for 30 node_ready
ok "and the pods are" wait_for 30 k_ready web
ok "and were not restarted" [ "$(started)" = "$before" ]

# --- certificates ------------------------------------------------------------------
sum_() { sha256sum "$E2E/node.kubeconfig"; }
before=$(sum_)
shown() # by the node's server
{
	local port
	port=$(k get node $NAME -o jsonpath='{.status.daemonEndpoints.kubeletEndpoint.Port}')
	openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null |
		openssl x509 -noout -serial -subject
}
serving=$(shown)
kill -HUP "$AGENT_PID"
renewed_() { [ "$(sum_)" != "$before" ]; }
ok "on SIGHUP the node's certificate is renewed" wait_for 30 renewed_
changed() { [ "$(shown)" != "$serving" ]; }
ok "and its server's" wait_for 30 changed
ok "which is the node's" prints "CN = system:node:$NAME" shown
web_manifest fresh | bound | k create -f - >/dev/null
ok "with the new one it works" wait_for 30 k_ready fresh
ok "logs work" wait_for 10 k logs fresh
k delete pod fresh --wait=false >/dev/null

# --- the end of pods -------------------------------------------------------------
grace()
{
	local begin
	begin=$(now_ms)
	k delete pod web >/dev/null && k_gone web &&
		[ $(($(now_ms) - begin)) -lt 15000 ]
}
ok "delete waits until the pod is gone" grace
ok "it is gone from the node" pod_gone web
k delete pod away --force --grace-period=0 >/dev/null 2>&1
ok "a forced delete ends it on the node as well" wait_for 20 pod_gone away

cat >"$E2E/once.yaml" <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: once}
	spec:
	  restartPolicy: Never
	  nodeName: $NAME
	  containers:
	  - {name: c, image: web, imagePullPolicy: Never, command: [/bin/sh, -c, "exit 3"]}
END
k create -f "$E2E/once.yaml" >/dev/null
ok "a pod that fails is Failed" wait_for 20 k_is once .status.phase Failed
ok "with its exit code" k_is once \
	'.status.containerStatuses[0].state.terminated.exitCode' 3
agent_kill
node_join
wait_for 20 node_ready
pause 1
ok "and stays Failed with a new agent" k_is once .status.phase Failed
ok "it can be deleted" k delete pod once --timeout=10s

sed 's/name: once/name: odd/; s/name: c,/name: c, volumeDevices: [{name: x, devicePath: \/d}],/' \
	"$E2E/once.yaml" | k create -f - >/dev/null
ok "a pod that cannot be run says why" wait_for 10 k_is odd .status.reason \
	UnsupportedPodSpec
ok "and names the field" prints volumeDevices k describe pod odd
ok "it has no logs yet" prints \
	'BadRequest.: container "c" in pod "odd" is waiting to start: UnsupportedPodSpec' \
	k logs odd
ok "and nothing runs in it" prints 'container not found \("c"\)' k exec odd -- true
ok "it can be deleted, too" k delete pod odd --timeout=10s

control_stop
e2e_end
