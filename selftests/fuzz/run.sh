#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run every fuzzer for FUZZ_SECONDS (60) from its checked-in corpus ('make fuzz'):
#
#	selftests/fuzz/run.sh [part of a name ...]
#
# As many at once as there are CPUs, or $JOBS. What is found new goes to
# $O/fuzz/<name>/; a crash is kept there as crash-*. One that hangs beyond its
# time is ended, and has failed.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
seconds=${FUZZ_SECONDS:-60} jobs=${JOBS:-$(nproc)}
n=0 running=0
names=()

wanted() # NAME PART...
{
	local name=$1 part
	shift
	[ $# -eq 0 ] && return 0
	for part in "$@"; do
		case $name in *"$part"*) return 0 ;; esac
	done
	return 1
}

run_one() # NUMBER NAME
{
	local n=$1 name=$2 found=$O/fuzz/$2 corpus
	corpus=selftests/fuzz/corpus/${name#fuzz_}
	mkdir -p "$found"
	[ -d "$corpus" ] || corpus=
	if nice timeout -k 5 $((seconds * 2 + 60)) "$O/selftests/fuzz/$name" \
		-max_total_time="$seconds" -rss_limit_mb=2048 -timeout=20 \
		-print_final_stats=1 -artifact_prefix="$found/" "$found" $corpus \
		>"$found.log" 2>&1 </dev/null; then
		echo "ok $n $name: $(awk '/number_of_executed_units/{print $2}' \
			"$found.log") runs in $seconds s"
		return
	fi
	tail -30 "$found.log" | sed 's,^,# ,'
	echo "not ok $n $name (the whole log is $found.log)"
}

mkdir -p "$O/fuzz"
for src in selftests/fuzz/fuzz_*.c; do
	name=$(basename "$src" .c)
	wanted "$name" "$@" || continue
	n=$((n + 1))
	[ $running -lt "$jobs" ] || { wait -n; running=$((running - 1)); }
	{
		run_one $n "$name" >"$O/fuzz/$name.tap"
		flock 9
		cat "$O/fuzz/$name.tap"
	} 9>"$O/fuzz/lock" &
	running=$((running + 1))
	names+=("$name")
done
wait
echo "1..$n"
for name in "${names[@]+"${names[@]}"}"; do
	grep -q '^ok ' "$O/fuzz/$name.tap" || exit 1
done
