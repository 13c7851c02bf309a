#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest: run the tests of a list and print one stream of TAP.
#
#	inside.sh TREE LIST O tests N
#	inside.sh TREE FILE O script N	run the shell commands in FILE instead
#
# N counts the boots of the lane (LANE_BOOT).
#
# Every test gets a cgroup of its own: selftests/cgroup.sh.
set -u
cd "$1" || exit 1
. selftests/cgroup.sh
. selftests/sanitizer.sh
list=$2
export O=$3 BUILD=${3%%/*} ARKTOS_LANE=guest LANE_BOOT=$5
failed=0 ran=0 skipped=0

prepare()
{
	local lane
	hostname arktos-lane
	mkdir -p /lib/modules
	ln -sfn "$PWD/$BUILD/deps/kernel/6.12/modules" \
		"/lib/modules/$(uname -r)"
	[ -x /sbin/modprobe ] || ln -sf /bin/busybox /sbin/modprobe
	# udev does this for devices a machine has; here nobody else would.
	modprobe -qa kvm_amd kvm_intel tun loop virtio_blk 2>/dev/null
	ip link set lo up
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
	cgroup_share /sys/fs/cgroup
	# Packages that only this lane may run; the host's own come first.
	lane=$PWD/$BUILD/deps/lane/usr
	cp -sn "$lane"/bin/* /usr/bin/
	cp -sn "$lane"/sbin/* /usr/sbin/ 2>/dev/null
	cp -sn "$lane"/lib/x86_64-linux-gnu/*.so* /usr/lib/x86_64-linux-gnu/
}

# Code the kernel patches when a thing is used for the first time, and again when
# it is used no more. With several vCPUs QEMU 7.2 may run half of such a patch, so
# what our tests use stays in use: this, and what hold.c says. One vCPU alone has
# nobody who could run what it patches.
hold()
{
	mkdir /sys/fs/cgroup/hold
	echo 50000 100000 >/sys/fs/cgroup/hold/cpu.max
	# We wait until it is: else things are patched beside the second CPU's
	# first steps.
	read -rt 120 -u 7 _ 7< <(exec /proc/1/exe hold /sys/fs/cgroup/hold)
	ip netns add lane-hold
	ip -n lane-hold link add h0 type veth peer name h1
	tc -n lane-hold qdisc add dev h0 clsact
	ip netns exec lane-hold nft -f - <<-END
		table inet hold {
			chain a { type filter hook prerouting priority 0; }
			chain b { type filter hook input priority 0; }
			chain c { type filter hook forward priority 0; }
			chain d { type filter hook output priority 0; }
			chain e { type nat hook postrouting priority 100; }
		}
	END
}

judge() # NAME RC LOG SECONDS
{
	local name=$1 rc=$2 log=$3
	grep -aE '^(ok|not ok|1\.\.)|^# SKIP' "$log"
	if [ "$rc" -ne 0 ] && [ "$rc" -ne 4 ] || grep -aqE '^not ok' "$log"; then
		failed=$((failed + 1))
		grep -avE '^(ok|1\.\.|TAP)' "$log" | tail -80 | sed 's,^,#   ,'
		grep -aqE '^not ok' "$log" ||
			echo "not ok - $name (guest) ended with status $rc"
	elif [ "$rc" -eq 4 ]; then
		skipped=$((skipped + 1))
	elif ! grep -aqE '^ok ' "$log"; then
		failed=$((failed + 1))
		echo "not ok - $name (guest) ran no test"
	fi
	echo "# guest: $name: $4 s"
}

run_one() # NAME SECONDS COMMAND...
{
	local name=$1 limit=$2 log=/run/lane.log rc begin
	shift 2
	ran=$((ran + 1))
	begin=$SECONDS
	echo "# guest: $name"
	cgroup_run /sys/fs/cgroup/test$ran "$name (guest)" "$limit" $log "$@"
	rc=$?
	[ $rc -eq 124 ] && echo "# $name: time limit of $limit s" >>"$log"
	sanitizers_silent >>"$log" ||
		echo "not ok - $name (guest): a sanitizer has complained" >>"$log"
	rm -f "$SANITIZER_LOG".*
	judge "$name" $rc "$log" $((SECONDS - begin))
}

prepare
[ ! -e /sys/devices/system/cpu/cpu1 ] || hold
sanitizers_to /run/sanitizer
# Booted with one CPU (maxcpus=1): nobody ran what was patched until now.
for cpu in /sys/devices/system/cpu/cpu[0-9]*/online; do
	[ ! -e "$cpu" ] || echo 1 >"$cpu"
done
if [ "$4" = script ]; then
	mkdir /sys/fs/cgroup/test0 && echo $$ >/sys/fs/cgroup/test0/cgroup.procs
	exec bash "$list"
fi
while read -r -a t; do
	[ ${#t[@]} -ge 3 ] && run_one "${t[@]}"
done <"$list"
if [ $ran -eq 0 ]; then
	echo "not ok - the guest lane was given no test"
	exit 1
fi
[ $failed -gt 0 ] && exit 1
[ $skipped -eq $ran ] && exit 4
exit 0
