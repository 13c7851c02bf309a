#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Inside the guest: run the tests of a list and print one stream of TAP.
#
#	inside.sh TREE LIST O tests
#	inside.sh TREE FILE O script	run the shell commands in FILE instead
#
# Every test gets a cgroup of its own with all controllers, as a systemd unit
# with Delegate=yes would; what is left in there afterwards is killed, and named.
set -u
cd "$1" || exit 1
list=$2
export O=$3 BUILD=${3%%/*} ARKTOS_LANE=guest
failed=0 ran=0 skipped=0

prepare()
{
	local m lane
	hostname arktos-lane
	mkdir -p /lib/modules
	ln -sfn "$PWD/$BUILD/deps/kernel/6.12/modules" \
		"/lib/modules/$(uname -r)"
	[ -x /sbin/modprobe ] || ln -sf /bin/busybox /sbin/modprobe
	# udev does this for devices a machine has; here nobody else would.
	for m in kvm_amd kvm_intel tun loop; do
		modprobe -q "$m" 2>/dev/null
	done
	ip link set lo up
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
	tr ' ' '\n' </sys/fs/cgroup/cgroup.controllers | sed 's/^/+/' |
		while read -r c; do
			echo "$c" >/sys/fs/cgroup/cgroup.subtree_control
		done
	# Packages that only this lane may run; the host's own come first.
	lane=$PWD/$BUILD/deps/lane/usr
	cp -sn "$lane"/bin/* /usr/bin/
	cp -sn "$lane"/sbin/* /usr/sbin/ 2>/dev/null
	cp -sn "$lane"/lib/x86_64-linux-gnu/*.so* /usr/lib/x86_64-linux-gnu/
}

judge() # NAME RC LOG SECONDS
{
	local name=$1 rc=$2 log=$3
	grep -aE '^(ok|not ok|1\.\.)|^# SKIP' "$log"
	if [ "$rc" -ne 0 ] && [ "$rc" -ne 4 ] || grep -aqE '^not ok' "$log"; then
		failed=$((failed + 1))
		grep -avE '^(ok|1\.\.|TAP)' "$log" | tail -40 | sed 's,^,#   ,'
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
	local name=$1 limit=$2 cg log=/run/lane.log rc begin
	shift 2
	ran=$((ran + 1))
	cg=/sys/fs/cgroup/test$ran
	mkdir "$cg"
	begin=$SECONDS
	echo "# guest: $name"
	# Alone in it: a cgroup that holds others cannot be delegated further.
	timeout -k 5 "$limit" bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' \
		"$cg" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	[ $rc -eq 124 ] && echo "# $name: time limit of $limit s" >>"$log"
	[ -z "$(find "$cg" -name cgroup.procs -exec cat {} +)" ] || {
		echo "# guest: $name left processes behind:"
		find "$cg" -name cgroup.procs -exec cat {} + |
			while read -r p; do
				tr '\0' ' ' <"/proc/$p/cmdline"
				echo
			done | sed 's,^,#   ,'
	}
	echo 1 >"$cg/cgroup.kill"
	find "$cg" -depth -type d -exec rmdir {} + 2>/dev/null
	judge "$name" $rc "$log" $((SECONDS - begin))
}

prepare
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
