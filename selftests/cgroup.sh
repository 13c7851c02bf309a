# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A cgroup of its own for each test, with all controllers, as a systemd unit with
# Delegate=yes would have: where cgroup v2 is alone. Sourced by run.sh and
# guest/inside.sh.

cgroup_v2_alone() { [ "$(cut -c -3 /proc/self/cgroup)" = 0:: ]; }

# Give all controllers to what is below; fails while processes are in @1 itself.
cgroup_share() # CGROUP
{
	local c
	for c in $(cat "$1/cgroup.controllers"); do
		echo "+$c" >"$1/cgroup.subtree_control" || return
	done 2>/dev/null
}

group_of() # PID: the processes of its process group
{
	cat /proc/[0-9]*/stat 2>/dev/null | sed -E 's/ \(.*\) / - /' |
		awk -v g="$1" '$5 == g { print $1 }'
}

# What processes wait for, by their ids on stdin.
processes_tell()
{
	local p t
	while read -r p; do
		echo "# pid $p: $(tr '\0' ' ' <"/proc/$p/cmdline" | cut -c -150)"
		for t in /proc/"$p"/task/*; do
			echo "#  $(cat "$t/comm" "$t/wchan" | tr '\n' ' ')" \
				"$(awk '{ print $3, "user", $14, "sys", $15 }' \
					"$t/stat") ticks"
		done
	done 2>/dev/null
	echo "# load $(cat /proc/loadavg), up $(cut -d ' ' -f 1 /proc/uptime) s," \
		"$(date +%T)," "$(cat /sys/devices/system/clocksource/*/current_clocksource)"
	dmesg 2>/dev/null | tail -12 | sed 's,^,# ,'
}

# Alone in it: a cgroup that holds others cannot be delegated further. What is
# left in there afterwards is named on stdout, and killed.
cgroup_run() # CGROUP NAME SECONDS LOG COMMAND...
{
	local cg=$1 name=$2 limit=$3 log=$4 rc pids watch begin=$SECONDS
	shift 4
	mkdir "$cg"
	: >"$log"
	{ read -rt "$limit" <> <(:) || find "$cg" -name cgroup.procs \
		-exec cat {} + | processes_tell >>"$log"; } &
	watch=$!
	timeout -k 5 $((limit + 5)) bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' \
		"$cg" "$@" >>"$log" 2>&1 </dev/null
	rc=$?
	[ $((SECONDS - begin)) -gt "$limit" ] || kill $watch 2>/dev/null
	wait $watch 2>/dev/null
	pids=$(find "$cg" -name cgroup.procs -exec cat {} +)
	if [ -n "$pids" ]; then
		echo "# $name left processes behind:"
		for p in $pids; do
			tr '\0' ' ' <"/proc/$p/cmdline"
			echo
		done 2>/dev/null | sed 's,^,#   ,'
	fi
	echo 1 >"$cg/cgroup.kill"
	find "$cg" -depth -type d -exec rmdir {} + 2>/dev/null
	return $rc
}
