#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run the benchmarks ('make bench'): lines 'name value unit', ratios last.
#
#	tools/bench/run.sh [part of a name ...]
#
# A benchmark whose head says 'LANE: guest' (or both) runs in the guest lane (as
# well): there TCG is part of every figure, and only ratios mean something.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
export O BUILD="${BUILD:-build}"
rc=0
list=$(mktemp)
trap 'rm -f "$list"' EXIT

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

for src in tools/bench/bench_*.c; do
	name=$(basename "$src" .c)
	wanted "$name" "$@" || continue
	lane=$(sed -nE '1,20s,^.*\bLANE: *([a-z]+).*,\1,p' "$src" | head -1)
	if [ "${lane:-native}" != guest ]; then
		echo "# $name"
		"$O/tools/bench/$name" || { echo "# $name: status $?"; rc=1; }
	fi
	[ "${lane:-native}" = native ] ||
		echo "echo '# $name (guest lane)'; $O/tools/bench/$name" >>"$list"
done
if [ -s "$list" ]; then
	LANE_SECONDS=600 selftests/guest/lane.sh -- "$(paste -sd ';' "$list")" ||
		rc=1
fi
exit $rc
