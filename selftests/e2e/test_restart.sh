#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: both
# SECONDS: 400
# An agent that stops, crashes or is upgraded touches no pod, and comes back to
# where it was: even in the middle of a resize. In the guest lane what a kernel
# has a part in; locks, changed images and a slow disk are the same on each.
. "$(dirname "$0")/lib.sh"

pids() # of all containers
{
	our_cgroups | while read -r c; do
		find "$c" -path '*/web/cgroup.procs' -exec cat {} +
	done | sort -un | tr '\n' ' '
}
# A server has a child for as long as it answers.
same_pids() { [ "$(pids)" = "$pids" ]; }
ip_of() { pod "$1" .status.podIP; }

ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_web
for p in a b; do
	web_manifest $p | apply >"$E2E/said" 2>&1
done
ok "two pods are ready" wait_for 30 eval 'pod_ready a && pod_ready b'
pids=$(pids) ip=$(ip_of a)
restarts=$(pod a '.status.containerStatuses[0].restartCount')
[ -n "$pids" ] || echo "# no process found in the pods' cgroups"

nsenter --net="$RUN/pods/$(pod b .metadata.uid)/netns" \
	ping -i 0.1 "$ip" >"$E2E/ping" 2>&1 &
pinger=$!
ok "pods reach each other" wait_for 10 grep -q 'seq=3' "$E2E/ping"
ok "the agent stops" agent_stop
ok "containers run on without it" wait_for 5 same_pids
ok "they are served without it" prints Hello fetch "http://$ip:8080/"
ok "it starts again" agent_start --restart-backoff 100ms
ok "the pods are ready" wait_for 20 eval 'pod_ready a && pod_ready b'
ok "they are the same processes" wait_for 5 same_pids
ok "with the same address" [ "$ip" = "$(ip_of a)" ]
ok "not restarted" pod_is a '.status.containerStatuses[0].restartCount' \
	"$restarts"
ok "exec works on" prints '^a$' node exec a -- hostname
# As long as its supervisor has not answered, nobody knows what runs in b.
supervisor()
{
	our_cgroups | while read -r c; do
		find "$c" -path "*pod$1/_supervisor/cgroup.procs" -exec cat {} +
	done | sort -un | head -1
}
early() { ss -xH state connected src "$RUN/node.sock" | grep .; }
stopped=$(supervisor "$(pod b .metadata.uid)")
ok "the agent stops" agent_stop
kill -STOP "$stopped"
ok "it starts again" agent_start --restart-backoff 100ms
node exec b -- hostname >"$E2E/early" 2>&1 &
exec_pid=$!
ok "a command comes before it has looked" wait_for 5 early
kill -CONT "$stopped"
ok "and waits for that" wait_for 10 grep -qx b "$E2E/early"
wait $exec_pid
kill -INT $pinger 2>/dev/null
wait $pinger
ok "and no ping was lost" prints ' 0% packet loss' cat "$E2E/ping"

tries=5
[ "${ARKTOS_LANE-}" = guest ] && tries=2
for ((i = 1; i <= tries; i++)); do
	size=$((64 + 16 * i))
	timeout 100 env ARKTOS_NODE_SOCKET="$RUN/node.sock" "$NODE" resize a \
		--memory ${size}Mi >"$E2E/said" 2>&1 &
	resizer=$!
	wait_for 1 eval '[ $RANDOM -lt 16384 ]'
	agent_kill
	agent_start --restart-backoff 100ms
	wait $resizer
	node resize a --memory ${size}Mi --timeout 20s >"$E2E/said" 2>&1
	ok "killed in resize $i: it gets there" \
		wait_for 20 prints " $size\$" container_size a
done
ok "still the same processes" wait_for 5 same_pids

# --- another agent would take these pods for leftovers, and remove them
second() # OPTION...
{
	timeout 30 "$NODE" run --state-dir "$E2E/s2" --log-dir "$E2E/l2" \
		--cgroup-name "$CG-2" "${AGENT_ARGS[@]}" "$@"
}
no_other()
{
	ok "no second agent works on the same run folder" prints \
		"another agent \(pid $AGENT_PID\) works on '$RUN'.*--run-dir" \
		second --run-dir "$RUN"
	ok "nor on the same state folder" prints \
		"another agent \(pid $AGENT_PID\) works on '$STATE'.*--state-dir" \
		second --run-dir "$E2E/r2" --state-dir "$STATE"
	ok "nor in the same network namespace" prints \
		"another agent \(pid $AGENT_PID\) has its links.*unshare -n" \
		second --run-dir "$E2E/r2"
	ok "nor takes any other than its own agent's pods down" prints \
		"another agent \(pid $AGENT_PID\)" "$NODE" down \
		--run-dir "$E2E/r2" --state-dir "$E2E/s2" \
		--log-dir "$E2E/l2" --cgroup-name "$CG-2"
	ok "the pods are not disturbed" eval \
		'wait_for 5 same_pids && ping_once() { nsenter \
		--net="$RUN/pods/$(pod b .metadata.uid)/netns" \
		ping -c 1 -W 2 "$ip"; } && ping_once'
}
[ "${ARKTOS_LANE-}" = guest ] || no_other

note_bpf
agent_kill
kill -9 ${pids%% *}
ok "the agent comes back after a container died meanwhile" agent_start \
	--restart-backoff 100ms
ok "and starts that one again" wait_for 30 eval 'pod_ready a && pod_ready b'
ok "applied pods are not doubled" [ "$(node ps -o json |
	jq '.items | length')" = 2 ]
# --- another image: the agent dies before what has the old one has ended
stubborn() # IMAGE GRACE
{
	sed "s,IMAGE,$1,; s,GRACE,$2," <<-'END' | apply
	apiVersion: v1
	kind: Pod
	metadata: {name: img}
	spec:
	  terminationGracePeriodSeconds: GRACE
	  restartPolicy: Never
	  containers:
	  - name: c
	    image: IMAGE
	    imagePullPolicy: Never
	    resources: {limits: {cpu: 100m, memory: 32Mi}}
	    command: [/bin/sh, -c, "trap '' TERM; while :; do sleep 0.2; done"]
	END
}
runs() # IMAGE RESTARTS
{
	pod_is img '.status.containerStatuses[0]
		| "\(.image) \(.restartCount) \(.state | keys[0])"' "$1 $2 running"
}
waits()
{
	pod_is img '.status.containerStatuses[0] | "\(.state.waiting.reason)
		\(.lastState.terminated.exitCode)"' "ErrImageNeverPull
		137"
}
another_image()
{
	ok "the image has a second name" node image import \
		"oci:$BUILD/images/web:latest" --name web:2
	ok "a pod that does not stop when asked" stubborn web 20
	ok "runs" wait_for 20 runs web 0
	ok "its image may change" prints configured stubborn web:2 6
	ok "it is stopped for it" wait_for 20 prints \
		'Killing .*Container c definition changed, will be restarted' \
		node describe img
	note_bpf
	ok "killed before it has ended" agent_kill
	ok "the agent starts" agent_start --restart-backoff 100ms
	ok "it runs with the new image, whatever its policy" wait_for 40 runs web:2 1
	ok "it is resized as ever" prints 'memory 32Mi → 48Mi' node resize img --memory 48Mi
	ok "another agent" eval 'agent_kill && agent_start --restart-backoff 100ms'
	ok "finds it as it was" wait_for 20 pod_ready img
	ok "an image that is not here" stubborn nothing 1
	ok "is told, and who had the old one has ended" wait_for 40 waits
	ok "the next one need not wait for it" stubborn web 1
	ok "and runs" wait_for 20 runs web 2
	node delete img >/dev/null 2>&1
}
[ "${ARKTOS_LANE-}" = guest ] || another_image

note_bpf
node delete a >/dev/null 2>&1
ok "a delete goes on over a crash" agent_kill
ok "the agent starts" agent_start --restart-backoff 100ms
node delete a >/dev/null 2>&1
ok "the pod is gone" wait_for 20 pod_gone a

[ "${ARKTOS_LANE-}" != guest ] || e2e_end
# What was answered is on disk, however slow that is.
ok "the agent stops" agent_stop
export SHIM_FSYNC_MS=200 LD_PRELOAD=$(shim slow_fsync)
ok "the agent starts on a slow disk" agent_start --restart-backoff 100ms
unset SHIM_FSYNC_MS LD_PRELOAD
web_manifest late | apply >"$E2E/said" 2>&1
note_bpf
ok "killed as soon as 'apply' has said so" agent_kill
ok "the agent starts" agent_start --restart-backoff 100ms
ok "what was applied is there" wait_for 30 pod_ready late
ok "the agent stops" agent_stop
export SHIM_FSYNC_MS=200 LD_PRELOAD=$(shim slow_fsync)
ok "the agent starts on a slow disk" agent_start --restart-backoff 100ms
unset SHIM_FSYNC_MS LD_PRELOAD
ns=/api/v1/tenants/system/namespaces/default
curl -sf --unix-socket "$RUN/node.sock" -X DELETE \
	"http://node$ns/pods/late?gracePeriodSeconds=5" >"$E2E/said"
note_bpf
ok "killed as soon as the deletion is accepted" agent_kill
ok "the agent starts" agent_start --restart-backoff 100ms
ok "the pod goes" wait_for 40 pod_gone late
e2e_end
