#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 400
# Agent, supervisors and QEMU are killed with -9, 200 times, at random steps of
# create, resize and delete of containers and of a VM: afterwards no pod is lost,
# doubled or left over, and one that nobody touched runs as it did.
# STORM_SEED repeats a run, STORM_KILLS makes it longer.
. "$(dirname "$0")/lib.sh"
kills=${STORM_KILLS:-210}
seed=${STORM_SEED:-$((RANDOM * RANDOM % 100000))}
RANDOM=$seed
echo "# seed $seed, $kills kills"
pods=(s0 s1 s2 s3)
calm= goes=()
export ARKTOS_NODE_SOCKET=$RUN/node.sock
backoff=(--restart-backoff 20ms --restart-backoff-max 200ms)

of_role() # supervisor|qemu|agent|forker
{
	local p comm
	[ "$1" = agent ] && echo "$AGENT_PID" && return
	[ "$1" = forker ] && pgrep -P "$AGENT_PID" -x arktos-forker && return
	our_cgroups | while read -r c; do
		find "$c" -name cgroup.procs -exec cat {} + 2>/dev/null
	done | sort -un | while read -r p; do
		read -r comm 2>/dev/null <"/proc/$p/comm" || continue
		case $1:$comm in
		supervisor:arktos-pod) [ "$p" = "$calm" ] || echo "$p" ;;
		qemu:qemu-system*) echo "$p" ;;
		esac
	done
}

operate_vm()
{
	case $((RANDOM % 4)) in
	0) timeout 5 "$NODE" delete vm --grace-period 0s ;;
	1) timeout 5 "$NODE" resize vm --timeout 2s \
		--memory $((128 + RANDOM % 3 * 64))Mi ;;
	2) timeout 5 "$NODE" resize vm --timeout 2s --cpu $((1 + RANDOM % 2)) ;;
	esac >/dev/null 2>&1
	vm_manifest vm 1 128Mi | timeout 5 "$NODE" apply -f /dev/stdin \
		>/dev/null 2>&1
}

# One after another, what a user does; what is known of it afterwards is kept:
# an answer is a promise, no answer is not.
operate()
{
	local p size
	RANDOM=$((seed + 1))
	while ! [ -e "$E2E/enough" ]; do
		p=${pods[RANDOM % ${#pods[@]}]}
		echo unknown >"$E2E/want.$p"
		if [ $((RANDOM % 12)) = 0 ]; then
			operate_vm
			continue
		fi
		case $((RANDOM % 4)) in
		0 | 1) web_manifest "$p" | timeout 5 "$NODE" \
			apply -f /dev/stdin && echo present >"$E2E/want.$p" ;;
		2) size=$((48 + RANDOM % 4 * 16))
			timeout 5 "$NODE" resize "$p" \
				--memory ${size}Mi --timeout 3s ;;
		3) timeout 5 "$NODE" delete "$p" &&
			echo absent >"$E2E/want.$p" ;;
		esac >/dev/null 2>&1
	done
}

ok "the agent starts" agent_start "${backoff[@]}"
ok "the images are imported" eval 'image_web && image_vm'
vm_manifest vm 1 128Mi | apply >/dev/null 2>&1
# What the first agent has found out by trying the next 120 need not try again.
accelerator() { pod vm .status.virtualMachineStatus.accelerator; }
ok "it says how VMs run" wait_for 20 prints '^(kvm|tcg)$' accelerator
backoff+=(--accel "$(accelerator)")
# Nobody touches this one, nor kills its supervisor.
lives() # what any disturbance would change
{
	pod calm '[.metadata.uid, .status.podIP, .status.startTime,
		(.status.containerStatuses[0] | .restartCount, .containerID,
		.state.running.startedAt)] | tojson'
	our_cgroups | while read -r c; do
		find "$c" -path "*pod$(pod calm .metadata.uid)/web/cgroup.procs" \
			-exec head -1 {} +
	done | grep '^[0-9]' | sort -un
}
ok "a pod is ready that nobody touches" eval \
	'web_manifest calm | apply && wait_for 30 pod_ready calm'
uid=$(pod calm .metadata.uid)
calm=$(our_cgroups | while read -r c; do
	find "$c" -path "*pod$uid*" -name cgroup.procs -exec cat {} +
done | sort -un | while read -r p; do
	grep -q '^arktos-pod' "/proc/$p/comm" && echo "$p"
done)
before=$(lives)
ok "its processes are known" [ -n "$calm" -a "$(wc -l <<<"$before")" = 2 ]
operate &
operator=$!

declare -A done_to=([agent]=0 [supervisor]=0 [qemu]=0 [forker]=0)
for ((i = 0; i < kills;)); do
	case $((RANDOM % 10)) in
	0) role=qemu ;;
	1 | 2) role=supervisor ;;
	3) role=forker ;;
	*) role=agent ;;
	esac
	pause "0.$((RANDOM % 150 + 100))"
	mapfile -t victims < <(of_role $role)
	[ ${#victims[@]} -gt 0 ] || continue
	victim=${victims[RANDOM % ${#victims[@]}]}
	kill -9 "$victim" 2>/dev/null || continue
	done_to[$role]=$((done_to[$role] + 1)) i=$((i + 1))
	[ $role != agent ] || agent_start "${backoff[@]}" || break
	[ $((i % 50)) -ne 0 ] || note_bpf
done
touch "$E2E/enough"
wait $operator
echo "# killed: agent ${done_to[agent]}, supervisor ${done_to[supervisor]}," \
	"qemu ${done_to[qemu]}, forker ${done_to[forker]}"
ok "$kills kills, and the agent answers" [ "$i" -ge "$kills" ]

promised()
{
	local p
	for p in "${pods[@]}"; do
		case $(cat "$E2E/want.$p" 2>/dev/null) in
		present) [ -n "$(pod "$p" .metadata.name)" ] || {
				echo "$p was applied, and is lost"
				return 1
			} ;;
		absent) pod_gone "$p" || {
				echo "$p was deleted, and is still there"
				return 1
			} ;;
		esac
	done
}
ok "what was promised holds" wait_for 30 promised
# One whose deletion was accepted goes first.
applied() { web_manifest "$1" | apply; }
for p in "${pods[@]}"; do
	wait_for 40 applied "$p"
done
vm_applied() { vm_manifest vm 1 128Mi | apply; }
wait_for 40 vm_applied
all_ready()
{
	local p
	for p in "${pods[@]}" vm; do
		pod_ready "$p" || return
	done
}
ok "all pods get ready" wait_for 90 all_ready
ok "the one that nobody touched is as it was" diff <(echo "$before") <(lives)
calm=
ok "each has one supervisor" [ "$(of_role supervisor | wc -l)" = 6 ]
ok "there is one QEMU" [ "$(of_role qemu | wc -l)" = 1 ]
ok "and one folder per pod" [ "$(find "$RUN/pods" -mindepth 1 -maxdepth 1 |
	wc -l)" = 6 ]
for p in "${pods[@]}"; do
	ok "$p can be resized" node resize "$p" --memory 80Mi --timeout 20s
	ok "and has it" prints ' 80$' container_size "$p"
done
note_bpf
for p in "${pods[@]}" vm calm; do
	timeout 120 "$NODE" delete "$p" >/dev/null 2>&1 &
	goes+=($!)
done
wait "${goes[@]}"
empty() { [ "$(node ps -o json | jq '.items | length')" = 0 ]; }
ok "all pods can be deleted" wait_for 40 empty
ok "their cgroups are gone" [ -z "$(our_cgroups | while read -r c; do
	find "$c" -name 'pod*'
done)" ]
ok "their processes too" [ -z "$(of_role supervisor)$(of_role qemu)" ]
e2e_end
