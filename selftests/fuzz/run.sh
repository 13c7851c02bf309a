#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run every fuzzer for FUZZ_SECONDS (60) from its checked-in corpus ('make fuzz'):
#
#	selftests/fuzz/run.sh [part of a name ...]
#
# What is found new goes to $O/fuzz/<name>/; a crash is kept there as crash-*.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
seconds=${FUZZ_SECONDS:-60}
n=0 rc=0

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

for src in selftests/fuzz/fuzz_*.c; do
	name=$(basename "$src" .c)
	wanted "$name" "$@" || continue
	n=$((n + 1))
	found=$O/fuzz/$name
	corpus=selftests/fuzz/corpus/${name#fuzz_}
	mkdir -p "$found"
	[ -d "$corpus" ] || corpus=
	if nice "$O/selftests/fuzz/$name" -max_total_time="$seconds" \
		-rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$found/" "$found" $corpus \
		>"$found.log" 2>&1; then
		echo "ok $n $name: $(awk '/number_of_executed_units/{print $2}' \
			"$found.log") runs in $seconds s"
	else
		tail -30 "$found.log" | sed 's,^,# ,'
		echo "not ok $n $name (the whole log is $found.log)"
		rc=1
	fi
done
echo "1..$n"
exit $rc
