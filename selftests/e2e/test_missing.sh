#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 120
# What a host may lack: 'arktos-node doctor' names each thing and says what to
# do, and so does the agent, which works without what is not required. System
# calls are taken away by a filter, files by a mount namespace of one command.
. "$(dirname "$0")/lib.sh"
DENY=$PWD/$O/selftests/peer_deny
mkdir "$E2E/empty" "$E2E/root"

doctor() { "$NODE" doctor --state-dir "$E2E" "$@"; }
says() # CHECK RESULT REGEX-OF-DETAIL REGEX-OF-REMEDY COMMAND... (prints JSON)
{
	local name=$1 want=$2 detail=$3 remedy=$4 out line
	shift 4
	out=$("$@" -o json)
	line=$(jq -r --arg n "$name" '.checks[] | select(.name == $n) |
		"\(.result)|\(.detail)|\(.remedy)"' <<<"$out")
	grep -qE "^$want\|[^|]*($detail)[^|]*\|.*($remedy)" <<<"$line" || {
		echo "$name: got '$line'"
		return 1
	}
}
denied() # CALL=ERRNO... -- ; then doctor's options
{
	local calls=()
	while [ "$1" != -- ]; do calls+=("$1"); shift; done
	shift
	"$DENY" "${calls[@]}" -- "$NODE" doctor --state-dir "$E2E" "$@"
}
# Doctor in a mount namespace of its own, in which @1 was done.
hidden() { env DO="$1" unshare -m --propagation private bash -c \
	'eval "$DO" || exit 99; exec "$@"' - "$NODE" doctor \
	--state-dir "$E2E" "${@:2}"; }
not_passed() { ! "$@" >/dev/null; }

ok "a host that lacks nothing required passes" doctor
ok "no clone3: containers cannot be made" says namespaces missing \
	'Function not implemented' 'kernel 6.1 or later' denied clone3=ENOSYS --
ok "and that is a failure" not_passed denied clone3=ENOSYS --
ok "told as a table, with what to do below it" prints \
	'^What to do:' eval 'denied clone3=ENOSYS -- |
	grep -A20 "What to do" | grep -B20 "^  namespaces: run a kernel"'
ok "and what it comes to" prints \
	'^1 requirement is missing: pods cannot run here' denied clone3=ENOSYS --
ok "no mount API" says 'mount API' missing 'not implemented' 'kernel 6.1' \
	denied fsopen=ENOSYS --
ok "no overlayfs" says overlayfs missing 'No such device' 'modprobe overlay' \
	denied fsopen=ENODEV --
ok "no pidfds" says pidfd missing 'not implemented' 'pidfd_open' \
	denied pidfd_open=ENOSYS --
ok "no BPF: no network" says 'bpf tc' missing 'data path: ' \
	'CONFIG_BPF_SYSCALL' denied bpf=EPERM --
ok "no program on a veth" says 'tc clsact' missing 'not permitted' \
	'modprobe sch_ingress' denied bpf=EPERM --
ok "no cgroup v2" says cgroups missing 'no cgroup v2 hierarchy' \
	'systemd.unified_cgroup_hierarchy=1' hidden 'mount -t tmpfs t /sys/fs/cgroup'
ok "no pressure figures, which are not required" says pressure warning \
	'top shows none' 'psi=1' hidden "mount --bind '$E2E/empty' /proc/pressure"
ok "no user namespaces, neither" says 'user namespaces' warning \
	'root in a pod is root on the host' 'max_user_namespaces' hidden \
	"mount --rbind / '$E2E/root' && cd '$E2E/root' && set -- chroot . \"\$@\""
ok "no tap devices" says tun '(missing|warning)' '.' 'modprobe tun|CONFIG_TUN' \
	hidden 'mount --bind /dev/null /dev/net/tun'
no_kvm='mkdir /tmp/d && mount -t tmpfs d /tmp/d &&
	cp -a /dev/null /dev/zero /dev/urandom /dev/full /tmp/d &&
	mount --move /tmp/d /dev && rmdir /tmp/d'
no_kvm=${no_kvm//\/tmp\/d/$E2E/dev}
ok "a /dev/kvm that is none" says kvm warning "does not speak KVM's API: VM pods run in software" \
	'kvm_intel or kvm_amd' hidden "$no_kvm && touch /dev/kvm && mount --bind /dev/null /dev/kvm"
ok "none at all" says kvm warning "open '/dev/kvm': No such file" \
	'in the firmware|nested virtualization|make the device|load kvm_' hidden "$no_kvm"
ok "programs that are not installed" says skopeo warning \
	'cannot be pulled' 'apt-get install skopeo' env PATH=/none \
	"$NODE" doctor --state-dir "$E2E"
ok "QEMU is one of them" says qemu warning 'VM pods cannot run' \
	'apt-get install qemu-system-x86' doctor --qemu /none/qemu
ok "a disk without room" says disk missing '100Mi free for' 'free some space' \
	hidden "mount -t tmpfs -o size=100m t '$E2E/empty'" --state-dir "$E2E/empty"
ok "few descriptors" says 'open files' warning 'at most 1000 ' LimitNOFILE \
	bash -c 'ulimit -n 1000; exec "$@"' - "$NODE" doctor --state-dir "$E2E"

# --- not root
chmod 711 "$E2E"
install -m 755 "$NODE" "$E2E/arktos-node"
anyone() { setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$E2E/arktos-node" "$@"; }
ok "not root: doctor says so first" says root missing 'not root' sudo \
	anyone doctor --state-dir "$E2E"
ok "and so does the agent" prints \
	'must run as root: it makes namespaces, cgroups and links.*sudo' \
	anyone run --state-dir "$E2E/s"

# --- the agent
run() # COMMAND... : the agent under it, which has to end by itself
{
	timeout 20 "$@" "$NODE" run --state-dir "$STATE" --run-dir "$RUN" \
		--log-dir "$LOG" --cgroup-name "$CG" "${AGENT_ARGS[@]}" 2>&1
}
ok "an agent that cannot load its network says what it would need" prints \
	'error network: load the datapath: not permitted: needs CAP_BPF' \
	run "$DENY" bpf=EPERM --
ok "a state folder that cannot be made is named, with the option" prints \
	"mkdir '/proc/none': .*: name another folder with --state-dir" \
	"$NODE" run --state-dir /proc/none
ok "so is a network that is none" prints \
	"network: --default-cidr: .*10.0.0.0/33" "$NODE" run --state-dir "$STATE" \
	--run-dir "$RUN" --log-dir "$LOG" --cgroup-name "$CG" \
	"${AGENT_ARGS[@]}" --default-cidr 10.0.0.0/33
ok "and a host of which nothing is left" prints \
	"--reserved-memory 9Ti leaves pods nothing of this host's [0-9.]+Gi" \
	"$NODE" run --state-dir "$STATE" --run-dir "$RUN" --log-dir "$LOG" \
	--cgroup-name "$CG" "${AGENT_ARGS[@]}" --reserved-memory 9Ti

agent_without() # COMMAND...
{
	timeout 100 env -C / "$@" "$NODE" run --state-dir "$STATE" \
		--run-dir "$RUN" --log-dir "$LOG" --cgroup-name "$CG" \
		"${AGENT_ARGS[@]}" >>"$LOG/agent.log" 2>&1 </dev/null &
	wait_for 20 answers
}
condition() # TYPE
{
	node node -o json | jq -r --arg t "$1" '.status.conditions[] |
		select(.type == $t) | "\(.status) \(.reason): \(.message)"'
}
ends() # the agent that answers
{
	AGENT_PID=$(cat "$RUN/run.lock")
	agent_stop
}
ok "an agent starts where the kernel lacks something" agent_without "$DENY" \
	fsopen=ENOSYS --
ok "its log says what, and what to do" grep -qE \
	'cannot run pods: mount API: .*not implemented; run a kernel 6.1' \
	"$LOG/agent.log"
ok "so does its condition" prints '^False KernelLacksFeature: mount API: ' \
	condition ContainerRuntimeReady
ok "it ends" ends
ok "an agent starts without /dev/kvm" agent_without env DO="$no_kvm" unshare -m \
	--propagation private bash -c 'eval "$DO" && exec "$@"' -
ok "its condition names it" prints \
	"^False KVMUnusable: open '/dev/kvm': No such file" \
	condition HardwareAccelerated
ok "containers run there all the same" prints '^True RuntimeReady' \
	condition ContainerRuntimeReady
ok "it ends, too" ends
ok "without QEMU it says where it looked" agent_start --qemu /none/qemu
ok "in a condition" prints \
	"^False QemuMissing: '/none/qemu' cannot be run: apt-get install" \
	condition VmRuntimeReady
e2e_end
