#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# Guests that do not play along: with no agent, one that takes no second CPU,
# one that gives no memory back, a disk that does not boot. Each is told apart,
# with what to do, and nothing is given or taken that the guest does not confirm.
. "$(dirname "$0")/lib.sh"

odd() # NAME KERNEL-ARGUMENTS
{
	vm_manifest "$1" 1 256Mi | sed "s|^metadata:.*|metadata:\n  name: $1\n  \
annotations: {arktos.futurewei.com/kernel-args: \"$2\"}|" | apply
}
condition() # POD TYPE
{
	pod "$1" ".status.conditions[] | select(.type == \"$2\") |
		.reason + \": \" + .message"
}
answers_in() { node exec "$1" -- true; }
console_has() { node logs "$1" | tr -d '\r' | grep -aqE "$2"; }
# What a resize says that does not come to its end in time.
not_done() { node resize "$@" && echo "and was done"; }
resources() { pod "$1" ".spec.virtualMachine.resources | tojson"; }

ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_vm
truncate -s 16M "$E2E/zero.img"
ok "and a disk that nothing is on" node image import "$E2E/zero.img" \
	--format raw --name zero
ok "odd guests are applied" eval '
	odd mute rdinit=/bin/sh && odd single nr_cpus=1 &&
	vm_manifest blank 1 128Mi | sed "s/image: vm/image: zero/" | apply'

# --- no agent
ok "without an agent a VM boots" wait_for 60 console_has mute "can't access tty"
ok "it says that nobody answers, and what to do" prints \
	'^error: no guest agent answers in this VM: .*install qemu-guest-agent' \
	eval '! node exec mute -- true'
ok "its CPU is plugged in, but not said to be used" prints \
	'not done within 3 s: 2 vCPUs are plugged in, but no guest agent answers to' \
	not_done mute --cpu 2 --timeout 3s
ok "nor does its status say so" pod_is mute \
	.status.virtualMachineStatus.resources.limits.cpu 1
ok "it can be deleted" node delete mute --grace-period 1s

# --- a kernel that takes no CPU
ok "a guest with room for one CPU boots" wait_for 60 answers_in single
ok "a second one is not confirmed, with the reason" prints \
	'cpu 1 → 2, (in progress|failed).*(guest|vCPU)[^,]*$' \
	not_done single --cpu 2 --timeout 5s
ok "it has one" prints '^1$' vm_cpus single
ok "and goes on with it when that is what is asked for" node resize single \
	--cpu 1 --timeout 20s
ok "memory is another matter" node resize single --memory 384Mi --timeout 60s

# --- a wish that cannot come true leaves nothing behind
was=$(resources single)
ok "less than it was started with is infeasible" prints \
	'infeasible: 128Mi wanted, but the 256Mi .*recreate the pod' eval \
	'! node resize single --memory 128Mi --timeout 20s'
ok "taken back, its requests are what they were" eval \
	'node resize single --memory 384Mi --timeout 20s >/dev/null
	[ "$(resources single)" = "$was" ]'

# --- memory that the guest does not take
ok "a guest that leaves new memory offline" odd fixed \
	memhp_default_state=offline
ok "boots" wait_for 60 answers_in fixed
mib=$(vm_mib fixed)
ok "more memory is not said to be there" prints \
	'256Mi → 512Mi, (in progress|failed).*guest[^,]*$' \
	not_done fixed --memory 512Mi --timeout 6s
ok "as it is not" [ "$(vm_mib fixed)" -lt $((mib + 100)) ]
ok "the pod still runs, with an agent that answers" answers_in fixed

# --- what does not boot
ok "a disk that does not boot says so on its console" wait_for 60 console_has \
	blank 'No bootable device'
ok "its pod runs, and is not restarted for it" eval \
	'pod_is blank .status.virtualMachineStatus.restartCount 0 &&
	pod_is blank .status.phase Running'
ok "with a probe it would not be ready" prints 'false' \
	pod blank .status.virtualMachineStatus.guestAgent
ok "less memory than any VM boots with is refused" prints \
	'limits.memory: 64Mi is less than a VM boots with: give at least 128Mi' \
	eval '! vm_manifest tiny 1 64Mi | sed "s/128Mi/64Mi/" | apply'
ok "more CPUs than the node has wait, with the figures" eval '
	vm_manifest many 1 256Mi | sed "s/cpu: 100m/cpu: 50/; s/cpu: 1}/cpu: 50}/;
		s/cpu: 1,/cpu: 50,/" | apply
	wait_for 10 prints "cpu: 50 requested, the node has [0-9]+ in all" \
		condition many PodScheduled'
note_bpf
ok "all are deleted" node delete --grace-period 1s single fixed blank many
e2e_end
