#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run the whole suite and print TAP, ending with one line that counts it:
#
#	selftests/run.sh [--native | --guest] [part of a name ...]
#
# A test is a program below $O/selftests/ (test_*) or a script below selftests/
# (test_*.sh), which prints TAP and exits 0 (passed), 1 (failed) or 4 (all of it
# skipped), like kselftest. Its head may hold, in the source file, one line
#
#	LANE: native | guest | both	where it runs; native if absent. none: another
#					test runs it
#	SECONDS: N			its time limit; 120 if absent. Who may take
#					longest begins first
#	ALONE: yes			no other test beside it
#
# Most wait for something most of the time: two run side by side for each CPU, or
# $JOBS; each guest takes the place of one. What each says comes in one piece when
# it ends. $SECONDS_TIMES (3) multiplies the time limits; the guests' are three
# times as long again. The last lines name the slowest and what CPU it took.
#
# The guest lane (selftests/guest/) runs the same programs in a QEMU guest with
# a stock Debian kernel. With --native everything runs here: on real hardware
# this machine is the guest lane. What it lacks for that is told first, and what
# needs it skips itself. With --guest only the guest lane runs, with GUEST=no
# in the environment none of it.
#
# Whatever sanitized programs have to say (SAN=) fails the test that ran them.
set -u
cd "$(dirname "$0")/.."
. selftests/cgroup.sh
. selftests/sanitizer.sh
O=${O:-build}
export O BUILD="${BUILD:-build}"
native_only= guest_only=
all=("$@")
[ "${1-}" = --guest ] && { guest_only=1; shift; }
[ "${1-}" = --native ] && { native_only=1 ARKTOS_LANE=native; shift; }
export ARKTOS_LANE=${ARKTOS_LANE-}

passed=0 failed=0 skipped=0
failures=
logs=$O/selftests/logs
mkdir -p "$logs"
jobs=${JOBS:-$((2 * $(nproc)))}
export SECONDS_TIMES=${SECONDS_TIMES:-3}
times=$SECONDS_TIMES

wanted()
{
	local name=$1 part
	shift
	[ $# -eq 0 ] && return 0
	for part in "$@"; do
		case $name in *"$part"*) return 0 ;; esac
	done
	return 1
}

head_value() # FILE KEY DEFAULT
{
	local v
	v=$(sed -nE "1,20s,^.*\\b$2: *([A-Za-z0-9]+).*,\\1,p" "$1" | head -1)
	echo "${v:-$3}"
}

# Count the TAP lines of one program, and judge its end as well: a program that
# died half-way has failed, whatever it had printed before.
account() # NAME RC LOG
{
	local name=$1 rc=$2 log=$3 p f s
	s=$(grep -cE '^ok .*# SKIP' "$log")
	p=$(($(grep -cE '^ok ' "$log") - s))
	f=$(grep -cE '^not ok ' "$log")
	if [ "$rc" -ne 0 ] && [ "$rc" -ne 4 ] && [ "$f" -eq 0 ]; then
		f=1
		echo "not ok - $name ended with status $rc"
	fi
	if [ "$rc" -eq 0 ] && [ $((p + f + s)) -eq 0 ]; then
		f=1
		echo "not ok - $name ran no test"
	fi
	echo "$p $f $s" >"$(log_of "$name").count"
}

# Programs run in subshells: what they came to is read from files.
add_up() # NAME...
{
	local name p f s
	for name in "$@"; do
		read -r p f s <"$(log_of "$name").count" || p=0 f=1 s=0
		[ "$f" -gt 0 ] && failures+=" $name"
		passed=$((passed + p)) failed=$((failed + f))
		skipped=$((skipped + s))
	done
}

log_of() { echo "$logs/${1//\//_}"; }

# Sets $took to "N s, CPU N s": of the children of this shell that it has waited
# for, and of theirs. ('times' in a subshell knows of nobody.)
take_time() # BEGIN FILE
{
	times >"$2"
	took="$((SECONDS - $1)) s, CPU $(awk -F '[ms ]+' 'NR == 2 {
		printf "%.1f", ($1 + $3) * 60 + $2 + $4 }' "$2") s"
}

# At its limit a test tells what it waits for: timeout's group are its processes.
limited() # SECONDS LOG COMMAND...
{
	local limit=$1 log=$2 pid watch rc begin=$SECONDS
	shift 2
	timeout -k 10 $((limit + 5)) "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	{ read -rt "$limit" <> <(:) || { group_of $pid | processes_tell; } >>"$log"; } &
	watch=$!
	wait $pid
	rc=$?
	[ $((SECONDS - begin)) -gt "$limit" ] || kill $watch 2>/dev/null
	wait $watch 2>/dev/null
	return $rc
}

run_one() # NUMBER NAME SECONDS COMMAND...
{
	local ran=$1 name=$2 limit=$3 log rc begin=$SECONDS took
	shift 3
	log=$(log_of "$name").log
	echo "# $name"
	SANITIZER_LOG=$(realpath "$logs")/$(basename "$log" .log).san
	rm -f "$SANITIZER_LOG".*
	sanitizers_to "$SANITIZER_LOG"
	if [ -n "$cgroup" ]; then
		cgroup_run "$cgroup/test$ran" "$name" "$limit" "$log" "$@"
	else
		limited "$limit" "$log" "$@"
	fi
	rc=$?
	[ $rc -eq 124 ] && echo "# $name: time limit of $limit s" >>"$log"
	sanitizers_silent >>"$log" ||
		echo "not ok - $name: a sanitizer has complained" >>"$log"
	grep -aE '^(ok|not ok|1\.\.)|^# SKIP' "$log"
	if [ $rc -ne 0 ] && [ $rc -ne 4 ] || grep -qE '^not ok' "$log"; then
		grep -avE '^(ok|1\.\.|TAP)' "$log" | tail -40 | sed 's,^,#   ,'
	fi
	account "$name" $rc "$log"
	take_time "$begin" "${log%.log}.time"
	echo "# $name: $took"
	echo "$took: ${name#selftests/}" >>"$logs/took"
}

# On cgroup v2 alone we need a cgroup that is ours to part: the one we are in, if
# nobody else is, or a scope that systemd delegates.
cgroup=
own_cgroup()
{
	local own others
	own=/sys/fs/cgroup$(sed 's/^0:://; s,^/$,,' /proc/self/cgroup)
	others=$(grep -vx $$ "$own/cgroup.procs")
	if [ -n "$others" ] && [ -z "${ARKTOS_SCOPE-}" ] &&
		[ -d /run/systemd/system ]; then
		ARKTOS_SCOPE=1 exec systemd-run --scope --quiet \
			--unit=arktos-check-$$ -p Delegate=yes -- \
			selftests/run.sh "${all[@]+"${all[@]}"}"
	fi
	mkdir "$own/arktos-check" &&
		echo $$ >"$own/arktos-check/cgroup.procs" &&
		cgroup_share "$own" || {
		echo "# cgroup v2: processes other than this test run are in" \
			"$own, so no test gets controllers"
		return
	}
	cgroup=$own
}

# What of the guest lane this machine is not.
missing()
{
	local d
	cgroup_v2_alone ||
		echo "# missing here: cgroup v2 alone (boot with" \
			"systemd.unified_cgroup_hierarchy=1)"
	d=$("$O/bin/arktos-node" doctor -o json 2>/dev/null | jq -r '.checks[]
		| select(.name == "kvm" and .result != "ok")
		| "usable KVM: " + .detail + " (" + .remedy + ")"')
	[ -z "$d" ] || echo "# missing here: $d"
	for d in crun containerd /lib/systemd/systemd; do
		command -v $d >/dev/null || echo "# missing here: $d"
	done
}

[ "$(id -u)" = 0 ] || echo "# not root: what needs root skips itself"
[ "$(id -u)" = 0 ] && cgroup_v2_alone && own_cgroup
echo "TAP version 13"
[ -z "$native_only" ] || missing

native=() guest=()
while read -r src; do
	case $src in
	*.c) name=${src%.c} cmd=$O/${src%.c} ;;
	*) name=${src%.sh} cmd=$src ;;
	esac
	wanted "$name" "$@" || continue
	lane=$(head_value "$src" LANE native)
	[ "$lane" != none ] || continue
	if [ -z "$guest_only" ] &&
		{ [ -n "$native_only" ] || [ "$lane" != guest ]; }; then
		native+=("$(head_value "$src" ALONE no) \
			$(head_value "$src" SECONDS 120) $name $cmd")
	fi
	if [ -z "$native_only" ] && [ "$lane" != native ]; then
		limit=$(($(head_value "$src" SECONDS 120) * times * 3))
		guest+=("$name $limit $cmd")
	fi
done < <(find selftests \( -name 'test_*.c' -o -name 'test_*.sh' \) | sort)

# Boot a guest for one list of tests.
run_lane() # NAME VCPUS
{
	local limit=$((900 * times)) begin=$SECONDS took
	LANE_CPUS=$2 LANE_SECONDS=$limit timeout -k 10 $((limit + 60)) \
		selftests/guest/lane.sh "$logs/$1.list" >"$logs/$1.log" 2>&1 \
		</dev/null
	echo $? >"$logs/$1.rc"
	take_time "$begin" "$logs/$1.time"
	echo "$took: $1" >>"$logs/took"
}

end_lane() # NAME
{
	local log=$logs/$1.log rc
	rc=$(cat "$logs/$1.rc" 2>/dev/null || echo 1)
	echo "# guest lane: $1"
	grep -aE '^(ok|not ok|#)' "$log"
	[ "$rc" -ne 0 ] && tail -40 "$log" | sed 's,^,#   ,'
	account "$1" "$rc" "$log"
	add_up "$1"
	sed -nE "s,^# guest: selftests/(.*): ([0-9]+) s\$,\2 s: \1 ($1),p" \
		"$log" >>"$logs/took"
}

# With a thread per vCPU QEMU 7.2 may run half-patched code when the kernel
# changes its own (a tc hook's static key, while packets come in): int3 Oops. So
# what works on the datapath gets a guest with one vCPU, and what wants two CPUs,
# as VMs that are resized do, another one (inside.sh holds it together).
part_guests()
{
	local two
	two='^[^ ]*(/agent/(vm|container|image|volume)/|/guest/|/cgroups/|/qmp/'
	two+='|/controlplane/|e2e/test_(vm|resize_states))'
	tools/mkimage/mkimage.sh >"$logs/mkimage.log" 2>&1 ||
		cat "$logs/mkimage.log"
	printf '%s\n' "${guest[@]}" | grep -vE "$two" >"$logs/guest-1.list"
	printf '%s\n' "${guest[@]}" | grep -E "$two" >"$logs/guest-2.list"
	for n in 1 2; do
		[ -s "$logs/guest-$n.list" ] && lanes+=(guest-$n)
	done
	echo "# booting: ${lanes[*]}"
}

# The guests' tests are waited for as those here are, but not counted yet.
run_all() # JOBS, lines 'alone seconds name command' on stdin
{
	local n=$1 i=0 running=0 names=() limit name cmd lane
	for lane in "${lanes[@]+"${lanes[@]}"}"; do
		rm -f "$logs/$lane.rc"
		run_lane "$lane" "${lane#guest-}" &
		running=$((running + 1))
	done
	[ "$n" -gt $running ] || n=$((running + 1))
	while read -r _ limit name cmd; do
		i=$((i + 1))
		[ $running -lt "$n" ] || { wait -n; running=$((running - 1)); }
		{
			run_one $i "$name" $((limit * times)) \
				"$cmd" >"$(log_of "$name").tap"
			flock 9
			cat "$(log_of "$name").tap"
		} 9>"$logs/lock" &
		running=$((running + 1))
		names+=("$name")
	done
	wait
	for lane in "${lanes[@]+"${lanes[@]}"}"; do
		end_lane "$lane"
	done
	lanes=()
	add_up "${names[@]+"${names[@]}"}"
}

# The CPUs' ticks at work, and all.
ticks()
{
	awk '/^cpu / { at_work = $2 + $3 + $4 + $7 + $8
		print at_work, at_work + $5 + $6 }' /proc/stat
}

# Two lines to begin with when all of it takes too long.
tell_times()
{
	local at_work all now_at_work now_all
	read -r at_work all <<<"$ticks_before"
	read -r now_at_work now_all < <(ticks)
	grep -vE ': guest-[12]$' "$logs/took" | sort -nr | head -12 |
		awk '{ l = l (NR > 1 ? "; " : "") $0 } END { print "# slowest: " l }'
	echo "# took $SECONDS s, CPUs $((100 * (now_at_work - at_work) /
		(now_all - all + 1))) % at work; $(awk '
		/: guest-[12]$/ { l = l "; " $6 " " $1 " s, " $4 " s of CPU"; next }
		/CPU/ { n++; cpu += $4 }
		END { print n " tests here " cpu " s of CPU" l }' "$logs/took")"
}

lanes=() ticks_before=$(ticks)
: >"$logs/took"
if [ ${#guest[@]} -gt 0 ] && [ "${GUEST-yes}" = no ]; then
	echo "# ${#guest[@]} tests of the guest lane are left out: GUEST=no"
elif [ ${#guest[@]} -gt 0 ]; then
	part_guests
fi
printf '%s\n' "${native[@]+"${native[@]}"}" | sort -k2nr >"$logs/native.list"
run_all "$jobs" < <(grep '^no ' "$logs/native.list")
run_all 1 < <(grep '^yes ' "$logs/native.list")
tell_times

[ -n "$failures" ] && echo "# failed:$failures (whole logs in $logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
