#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# Away for longer than the lease: the control plane, which is looked for now and
# then, and pods run on; the agent, and its Node is NotReady, its pods leave as their
# tolerations say, and what is still wanted was never restarted.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

start() { control_start --node-monitor-grace-period 8s; }
join() { node_join --node-lease-duration 8s; }
start && join && image_web || exit 1
ok "the Node is Ready" wait_for 20 node_ready
lease() { k -n kube-node-lease get lease $NAME -o jsonpath="{.spec.$1}"; }
ok "its lease is as long as was said" prints '^8$' lease leaseDurationSeconds
leaver() { web_manifest leave | bound && cat <<-END
	  tolerations:
	  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
	END
}
web_manifest stay | bound | k create -f - >/dev/null
leaver | k create -f - >/dev/null
web_manifest own | apply >/dev/null
ok "pods run" wait_for 30 k_ready stay
ok "and another" wait_for 30 k_ready leave
ok "and the node's own" wait_for 30 k_ready "own-$NAME"
started() { pod "$1" '.status.containerStatuses[0].state.running.startedAt'; }
all() { echo "$(started stay) $(started leave) $(started own)"; }
since=$(all)
ready_since() { k get node $NAME -o json | jq -r '.status.conditions[] | select(.type == "Ready") | .lastTransitionTime'; }
taints() { k get node $NAME -o json | jq -r '[.spec.taints[]?.key] | join(" ")'; }
untainted() { [ -z "$(taints)" ]; }
ok "no taint is left" wait_for 20 untainted

# --- the control plane away, for longer than the lease -------------------------------
since_ready=$(ready_since)
control_kill
# Refused connections of this network namespace: attempts to find it again.
refused() { awk '/^Tcp:/ { if (n++) print $8 }' /proc/net/snmp; }
[ "$(awk '/^Tcp:/ { print $8; exit }' /proc/net/snmp)" = AttemptFails ] || exit 1
before=$(refused) SECONDS=0
pause 11
tried=$(($(refused) - before)) took=$SECONDS
ok "it is looked for some times a second ($tried in $took s)" [ $tried -ge 45 ]
ok "but not hammered" [ $tried -le $(((took + 1) * 24)) ]
ok "without it all run on" [ "$(all)" = "$since" ]
ok "it comes back" start
renewed=$(lease renewTime)
again() { [ "$(lease renewTime)" != "$renewed" ]; }
ok "the lease is renewed again" wait_for 20 again
ok "nothing was restarted" [ "$(all)" = "$since" ]
ok "the Node was Ready all the time" [ "$(ready_since)" = "$since_ready" ]
ok "no pod has left" k_ready leave
web_manifest later | bound | k create -f - >/dev/null
ok "pods are taken again" wait_for 30 k_ready later

# --- the agent away ------------------------------------------------------------------
agent_kill
unknown() { k get node $NAME -o json | jq -e '.status.conditions[]
	| select(.type == "Ready" and .status == "Unknown")'; }
ok "without the agent the Node is NotReady" wait_for 40 unknown
for kubectl in "${KUBECTLS[@]}"; do
	ok "as get nodes says" prints "^$NAME +NotReady" k get nodes
done
tainted() { prints 'node.kubernetes.io/unreachable' taints; }
ok "it is tainted" wait_for 20 tainted
unready() { k_is stay "$READY" False; }
ok "its pods are not Ready" wait_for 20 unready
leaving() { k_is leave '.metadata.deletionTimestamp != null' true; }
ok "one that tolerates it for 2 s is to leave" wait_for 30 leaving
ok "one that tolerates it for longer stays" k_is stay \
	'.metadata.deletionTimestamp' null
ok "so does the node's own" k_is "own-$NAME" .metadata.deletionTimestamp null
ok "none is gone: nobody knows that it has ended" k_is leave .status.phase Running

hold=$E2E/hold saw=$E2E/saw
touch "$saw"
export SHIM_FSYNC_HOLD=$hold SHIM_FSYNC_SAW=$saw SHIM_FSYNC_OF=/state/pods/
export LD_PRELOAD=$(shim slow_fsync)
ok "the agent comes back" join
unset SHIM_FSYNC_HOLD SHIM_FSYNC_SAW SHIM_FSYNC_OF LD_PRELOAD
ok "the Node is Ready again" wait_for 30 node_ready
ok "without taints" wait_for 30 untainted
ok "what was to leave has left" wait_for 30 k_gone leave
ok "from the node, too" wait_for 10 pod_gone leave
ok "what stayed is Ready" wait_for 30 k_ready stay
ok "and the node's own" wait_for 30 k_ready "own-$NAME"
ok "and neither was restarted" [ "$(started stay) $(started own)" = \
	"${since%% *} ${since##* }" ]

# --- what the API knows need not be on the node's disk before it runs ----------------
touch "$hold"
web_manifest eager | bound | k create -f - >/dev/null
ok "a pod runs while the disk does not answer" wait_for 20 k_is eager .status.phase Running
ok "nothing of it was made durable until then" [ -z "$(grep "$(pod eager \
	.metadata.uid)" "$saw")" ]
rm "$hold"
ok "it is soon after" wait_for 20 grep -q "$(pod eager .metadata.uid)/pod.json" "$saw"
since=$(started eager)
agent_kill
ok "the agent is killed" join
ok "the Node is there" wait_for 30 node_ready
ok "the pod is Ready" wait_for 30 k_ready eager
ok "and was not restarted" [ "$(started eager)" = "$since" ]

for p in stay later eager; do k delete pod $p --wait=false >/dev/null; done
node delete own >/dev/null
ok "they go" wait_for 20 k_gone "own-$NAME"
control_stop
e2e_end
