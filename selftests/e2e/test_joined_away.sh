#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# Away for longer than the lease: the control plane, which is looked for now and
# then, and pods run on; the agent, and its Node is NotReady, its pods leave as their
# tolerations say, and what is still wanted was never restarted.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

start() { control_start --node-monitor-grace-period 8s --terminated-pod-gc-threshold 3; }
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
for i in 1 2 3 4 5; do
	web_manifest over$i | sed '/readinessProbe/d; s/^spec:/&\n  restartPolicy: Never/
		s/imagePullPolicy: Never/&\n    command: ["true"]/' | bound | k create -f - >/dev/null
	ok "pod $i of those that end has ended" wait_for 30 k_is over$i .status.phase Succeeded
done
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

# --- the power goes before it is on the disk --------------------------------------------
# What is on the disk, if nothing of later came there but names.
cp -a "$STATE" "$E2E/disk"
touch "$hold"
agent_stop
export SHIM_FSYNC_HOLD=$hold SHIM_FSYNC_SAW=$saw SHIM_FSYNC_OF=/state/pods/
export LD_PRELOAD=$(shim slow_fsync)
ok "an agent on a disk that does not answer" join
unset SHIM_FSYNC_HOLD SHIM_FSYNC_SAW SHIM_FSYNC_OF LD_PRELOAD
wait_for 30 node_ready
for p in none empty torn; do web_manifest $p | bound | k create -f - >/dev/null; done
web_manifest left | bound | k create -f - >/dev/null
for p in none empty torn left; do
	ok "pod $p runs" wait_for 30 k_ready $p
	declare uid_$p="$(pod $p .metadata.uid)"
done
uid_later=$(pod later .metadata.uid)
power_cut() # takes all but the disk
{
	note_bpf
	kill -9 "$AGENT_PID"
	wait_for 5 gone "$AGENT_PID"
	our_cgroups | while read -r c; do
		find "$c" -name cgroup.procs -exec cat {} +
	done | sort -un | xargs -r kill -9 2>/dev/null
	our_cgroups | while read -r c; do
		until find "$c" -depth -type d -exec rmdir {} + 2>/dev/null || ! [ -d "$c" ]; do
			pause
		done
	done
	grep -F "$E2E" /proc/self/mountinfo | cut -d ' ' -f 5 | sort -r | while read -r m; do
		umount -l "$m"
	done
	ip -o link | sed -n 's/^[0-9]*: \([^:@]*\).*/\1/p' | grep -vx lo | while read -r l; do
		ip link del "$l" 2>/dev/null
	done
	nft flush ruleset 2>/dev/null
	rm -rf "$RUN" "$STATE"
	mkdir "$RUN"
	mv "$E2E/disk" "$STATE"
	mkdir -p "$STATE/pods/$uid_empty" "$STATE/pods/$uid_torn" "$STATE/pods/$uid_left"
	: >"$STATE/pods/$uid_empty/pod.json.late"
	printf '{"version":1,"uid":"%s","rem' "$uid_torn" >"$STATE/pods/$uid_torn/pod.json.late"
	: >"$STATE/pods/$uid_left/pod.json.late"
	: >"$STATE/pods/$uid_later/pod.json.late"
	rm "$hold"
}
power_cut
k delete pod left --grace-period=0 --force >/dev/null 2>&1
ok "the machine comes up again" join
ok "its Node is Ready" wait_for 40 node_ready
anew() # POD
{
	pod_ready "$1" && [ "$(pod "$1" .metadata.uid)" = "$2" ] && k_ready "$1"
}
for p in none empty torn; do
	uid=uid_$p
	ok "pod $p, of which the disk has '$p', is made anew" wait_for 40 anew $p "${!uid}"
done
for p in stay later; do
	ok "pod $p, which is on the disk, runs again" wait_for 40 pod_ready $p
done
once() # of every pod there is one container and one supervisor
{
	local c n
	for c in $(our_cgroups | sed 1q); do
		n=$(find "$c" -type d -name web | wc -l)
		[ "$n" = "$(node ps -A -o json | jq '[.items[] | select(.status.phase == "Running")] | length')" ] ||
			{ echo "$n containers"; return 1; }
	done
}
ok "each has one container" once
known() # no folder of a pod that is not there
{
	[ "$(ls "$STATE/pods" | sort)" = "$(node ps -A -o json | jq -r '.items[].metadata.uid' | sort)" ] || {
		ls "$STATE/pods"
		node ps -A -o json | jq -r '.items[].metadata.uid'
		return 1
	}
}
ok "nothing is left of the pod that was deleted meanwhile" wait_for 20 known

# --- pods that are over are not kept for ever ----------------------------------------
over() { k get pods -o name | grep -c over; }
kept() { [ "$(over)" = 3 ]; }
ok "of five that are over three are kept" wait_for 40 kept
ok "the eldest have gone" k_gone over1
ok "the newest is there" k_is over5 .status.phase Succeeded

# --- the Node is deleted for good ------------------------------------------------------
agent_kill
k delete node $NAME >/dev/null
orphans() { k get pods -o name | grep -q . || echo none; }
ok "without their Node its pods go" wait_for 60 prints none orphans
ok "the agent comes again" join
ok "it makes its Node anew" wait_for 40 node_ready
none_left() { [ "$(node ps -A -o json | jq -r '[.items[].metadata.name] | join(" ")')" = own ]; }
ok "and ends what the API has no more" wait_for 40 none_left
ok "its own pod has a mirror again" wait_for 40 k_ready "own-$NAME"
node delete own >/dev/null
ok "which goes with it" wait_for 20 k_gone "own-$NAME"
control_stop
e2e_end
