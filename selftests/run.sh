#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run the whole suite and print TAP, ending with one line that counts it:
#
#	selftests/run.sh [--native] [part of a name ...]
#
# A test is a program below $O/selftests/ (test_*) or a script below selftests/
# (test_*.sh), which prints TAP and exits 0 (passed), 1 (failed) or 4 (all of it
# skipped), like kselftest. Its head may hold, in the source file, one line
#
#	LANE: native | guest | both	where it runs; native if absent
#	SECONDS: N			its time limit; 120 if absent
#
# The guest lane (selftests/guest/) runs the same programs in a QEMU guest with
# a stock Debian kernel. With --native everything runs here: on real hardware
# this machine is the guest lane.
set -u
cd "$(dirname "$0")/.."
O=${O:-build}
export O BUILD="${BUILD:-build}"
native_only=
[ "${1-}" = --native ] && { native_only=1; shift; }

passed=0 failed=0 skipped=0
failures=
logs=$O/selftests/logs
mkdir -p "$logs"

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
	[ "$f" -gt 0 ] && failures+=" $name"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

run_one() # NAME SECONDS COMMAND...
{
	local name=$1 limit=$2 log rc begin
	shift 2
	log=$logs/$(echo "$name" | tr / _).log
	begin=$(date +%s)
	echo "# $name"
	timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	[ $rc -eq 124 ] && echo "# $name: time limit of $limit s" >>"$log"
	grep -aE '^(ok|not ok|1\.\.)|^# SKIP' "$log"
	if [ $rc -ne 0 ] && [ $rc -ne 4 ] || grep -qE '^not ok' "$log"; then
		grep -avE '^(ok|1\.\.|TAP)' "$log" | tail -40 | sed 's,^,#   ,'
	fi
	account "$name" $rc "$log"
	echo "# $name: $(($(date +%s) - begin)) s"
}

[ "$(id -u)" = 0 ] || echo "# not root: what needs root skips itself"
echo "TAP version 13"

native=() guest=()
while read -r src; do
	case $src in
	*.c) name=${src%.c} cmd=$O/${src%.c} ;;
	*) name=${src%.sh} cmd=$src ;;
	esac
	wanted "$name" "$@" || continue
	lane=$(head_value "$src" LANE native)
	if [ -n "$native_only" ] || [ "$lane" != guest ]; then
		native+=("$name $(head_value "$src" SECONDS 120) $cmd")
	fi
	if [ -z "$native_only" ] && [ "$lane" != native ]; then
		guest+=("$name $(head_value "$src" SECONDS 120) $cmd")
	fi
done < <(find selftests \( -name 'test_*.c' -o -name 'test_*.sh' \) | sort)

for t in "${native[@]+"${native[@]}"}"; do
	read -r name limit cmd <<<"$t"
	run_one "$name" "$limit" "$cmd"
done

# Boot the guest for one list of tests.
run_lane() # NAME ACCELERATOR
{
	local log=$logs/$1.log rc
	[ -s "$logs/$1.list" ] || return 0
	echo "# guest lane: $1"
	LANE_ACCEL=$2 LANE_SECONDS=1200 timeout -k 10 1260 \
		selftests/guest/lane.sh "$logs/$1.list" >"$log" 2>&1 </dev/null
	rc=$?
	grep -aE '^(ok|not ok|#)' "$log"
	[ $rc -ne 0 ] && tail -40 "$log" | sed 's,^,#   ,'
	account "$1" $rc "$log"
}

# With a thread per vCPU QEMU 7.2 may run half-patched code when the kernel
# changes its own (a tc hook's static key, while packets come in): int3 Oops. So
# what works on the datapath gets a guest whose vCPUs take turns.
if [ ${#guest[@]} -gt 0 ] && [ -x selftests/guest/lane.sh ]; then
	printf '%s\n' "${guest[@]}" | grep -E '^[^ ]*(/network/|netns|bpf)' \
		>"$logs/guest-network.list"
	printf '%s\n' "${guest[@]}" | grep -vE '^[^ ]*(/network/|netns|bpf)' \
		>"$logs/guest.list"
	run_lane guest tcg
	run_lane guest-network tcg,thread=single
fi

[ -n "$failures" ] && echo "# failed:$failures (whole logs in $logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
