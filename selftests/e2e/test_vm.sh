#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: both
# SECONDS: 400
# The life of a VM pod, from outside and from inside its guest: boot, reach,
# resize up and down, reboot, power off, delete.
. "$(dirname "$0")/lib.sh"
boot_limit=60 resize_limit=60 rows=5000 log_size=16Ki
# KVM in an emulated machine: a boot takes a minute. What KVM has no part in, as
# the console's log, is left to the native lane.
in_guest=
[ "${ARKTOS_LANE-}" = guest ] && in_guest=1 boot_limit=150 resize_limit=200

reach() { fetch "http://$(pod vm .status.podIP)/cgi-bin/info"; }
boot_id() { node exec vm -- cat /proc/sys/kernel/random/boot_id; }
at_least() # NUMBER COMMAND...
{
	local want=$1 got
	shift
	got=$("$@") && [ "$got" -ge "$want" ] || {
		echo "got '$got', want at least $want"
		return 1
	}
}
less_than() { ! at_least "$@"; }
guest_answers() { node exec vm -- true; }
rebooted() { [ "$(boot_id)" != "$before" ] && [ -n "$(boot_id)" ]; }

rows() # on the console, as logged
{
	node logs vm "$@" | tr -d '\r' | grep -a '^row [0-9]*$' | cut -d ' ' -f 2
}
has_all_rows() { diff <(seq $rows) <(rows "$@"); }
log_files() { find "$LOG" -path '*/vm/0.log*' | wc -l; }
qemu_pid()
{
	our_processes | while read -r p; do
		grep -q qemu-system "/proc/$p/comm" && echo "$p"
	done
}

ok "the agent starts" agent_start --restart-backoff 100ms \
	--container-log-max-size $log_size --container-log-max-files 17
ok "the image is imported" image_vm
ok "a VM is applied" eval 'vm_manifest vm | sed \
	"/imagePullPolicy/a\\    ports: [{containerPort: 80, hostPort: 8070}]" | apply'
ok "it runs" wait_for $boot_limit pod_is vm .status.phase Running
ok "its guest answers" wait_for $boot_limit guest_answers
ok "and the pod is ready" wait_for 20 pod_ready vm
ok "it says how it is accelerated" prints '^(kvm|tcg)$' \
	pod vm .status.virtualMachineStatus.accelerator
[ -z "$in_guest" ] ||
	ok "which is KVM in this lane" pod_is vm \
		.status.virtualMachineStatus.accelerator kvm
ok "it is reached at its address" wait_for 10 prints '^host vm' reach
ok "and by its port of the host" prints '^host vm' \
	curl -sS -m 10 http://127.0.0.1:8070/cgi-bin/info
note_descriptors $AGENT_PID
ok "one CPU is online" prints '^1$' vm_cpus vm
ARKTOS_NODE_SOCKET=$RUN/node.sock timeout 2 "$NODE" exec vm -- \
	sh -c 'sleep 4321; true'
no_sleep() { ! node exec vm -- sh -c 'ps | grep "[s]leep 4321"'; }
ok "a command ends with its client" wait_for 10 no_sleep
# More than its agent takes at a time: through a file, of which nothing stays.
head -c 5000000 /dev/urandom >"$E2E/much"
much() { node exec -i vm -- md5sum <"$E2E/much"; }
ok "a command has all of its input" prints "^$(md5sum <"$E2E/much" | cut -c -32) " much
ok "and its own exit code" eval '! node exec -i vm -- sh -c "exit 3" <"$E2E/much"'
ok "nothing of it stays in the guest" prints '^0$' node exec vm -- sh -c \
	'ls -d /tmp/arktos-stdin* 2>/dev/null | wc -l'
mib=$(vm_mib vm)
before=$(boot_id)
ok "CPU and memory grow in place, confirmed by the guest" prints 'guest' \
	node resize vm --cpu 2 --memory 512Mi --timeout ${resize_limit}s
ok "the guest has two CPUs" prints '^2$' vm_cpus vm
ok "and more memory" at_least $((mib + 200)) vm_mib vm
ok "of several at once those that are replaced hear of it" resize_race vm \
	$resize_limit 320Mi 384Mi 448Mi 480Mi
ok "they shrink in place" \
	node resize vm --cpu 1 --memory 256Mi --timeout ${resize_limit}s
ok "the guest has one CPU again" prints '^1$' vm_cpus vm
ok "and less memory" less_than $((mib + 100)) vm_mib vm
ok "all in one boot" [ "$before" = "$(boot_id)" ]
note_bpf
ok "a reboot is asked for" node reboot vm
ok "and the guest boots anew" wait_for $boot_limit rebooted
ok "which is one restart" pod_is vm .status.virtualMachineStatus.restartCount 1
ok "the guest answers again" wait_for $boot_limit guest_answers
before=$(boot_id)
restarts=1
reboot_and_flood()
{
	ok "one more, and a resize at once" eval \
		'node reboot vm &&
		node resize vm --cpu 2 --timeout ${resize_limit}s'
	ok "is another boot" wait_for $boot_limit rebooted
	restarts=2
	ok "and one more restart" pod_is vm \
		.status.virtualMachineStatus.restartCount $restarts
	# Far more than one file holds, while the files are being replaced.
	ok "the guest floods its console" node exec vm -- /bin/busybox awk \
		"BEGIN { print >\"/dev/console\"; for (i = 1; i <= $rows; i++) print \"row \" i >\"/dev/console\" }"
	ok "which has been rotated" wait_for 10 at_least 5 log_files
	ok "and not a row is lost" wait_for 20 has_all_rows
	ok "the last of it is found from the end" prints "^row $rows" \
		node logs vm --tail 3
}
ok "the console has been logged" prints 'login|BusyBox|reboot' node logs vm
if [ -z "$in_guest" ]; then
	reboot_and_flood
else
	ok "a guest that was rebooted grows" node resize vm --cpu 2 \
		--timeout ${resize_limit}s
fi
# --- snapshots, by whatever accelerates it; with another number of CPUs since
writes() { node exec vm -- /bin/sh -c "echo $1 >/tmp/kept"; }
kept() { node exec vm -- cat /tmp/kept; }
before=$(boot_id)
ok "what is in its memory, with two CPUs" writes "of two"
ok "is kept by a snapshot" prints '^pod/vm took snapshot two, [0-9]+ ms$' \
	node snapshot vm --name two --timeout ${resize_limit}s
ok "what is written later" writes later
ok "is gone when it has gone back" eval 'node restore vm --snapshot two \
	--timeout ${resize_limit}s && wait_for $boot_limit prints "^of two$" kept'
ok "without a boot" prints "^$before$" boot_id
# On a KVM that is itself emulated, a guest that was just restored may take minutes
# to give up a CPU. There it is enough that the pod wants one when it starts again.
one_cpu()
{
	if [ -z "$in_guest" ]; then
		node resize vm --cpu 1 --timeout ${resize_limit}s
	else
		node resize vm --cpu 1 --timeout 2s || :
	fi
}
ok "the pod has one CPU now" one_cpu
[ -n "$in_guest" ] || ok "and its console is the same file" has_all_rows
kill -9 "$(qemu_pid)"
ok "a VM whose QEMU was killed is started again" wait_for 20 pod_is vm \
	.status.virtualMachineStatus.restartCount $((restarts + 1))
[ -n "$in_guest" ] ||
	ok "its console of before is there" has_all_rows --previous
ok "and it boots" wait_for $boot_limit guest_answers
ok "with one CPU" prints '^1$' vm_cpus vm
ok "it goes back to the snapshot of two CPUs, which are plugged in for it" \
	node restore vm --snapshot two --timeout ${resize_limit}s
ok "to what was in its memory" wait_for $boot_limit prints '^of two$' kept
ok "in the boot of then" prints "^$before$" boot_id
if [ -z "$in_guest" ]; then
	ok "and has the CPU of now" wait_for $resize_limit prints '^1$' vm_cpus vm
	ok "which is told" wait_for 20 pod_is vm \
		.status.virtualMachineStatus.resources.limits.cpu 1
	before=$(boot_id)
	kill -9 "$(qemu_pid)"
	ok "one more boot" wait_for $boot_limit rebooted
	ok "a snapshot of one CPU" node snapshot vm --name one
	ok "of a VM that grows then" node resize vm --cpu 2 \
		--timeout ${resize_limit}s
	ok "is not gone back to: what is too much is told, and what to do" \
		prints "taken with 1 CPUs plugged in, the VM has 2: .*powerSpec" \
		eval '! node restore vm --snapshot one'
	ok "and nothing has happened to the VM" prints '^2$' vm_cpus vm
fi
ok "all of that left no descriptor open" wait_for 20 holds_no_more $AGENT_PID
ok "a VM is deleted" node delete vm
ok "and is gone" wait_for 30 pod_gone vm
e2e_end
