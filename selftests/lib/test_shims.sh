#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native SECONDS: 180
# The library's tests again, on a bad day: with short and interrupted reads and
# writes, with a full disk, and with allocations that fail.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
shims=$(realpath "$O/selftests/shims")
n=0 rc=0

verdict() # RC NAME
{
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		rc=1
	fi
}

case $O in
*san)
	echo "1..0 # SKIP the sanitizers bring their own malloc"
	exit 4
	;;
esac

for t in spawn ev http/test_server; do
	t=${t#http/test_}
	bin=$O/selftests/lib/test_$t
	[ -x "$bin" ] || bin=$O/selftests/lib/http/test_$t
	out=$(LD_PRELOAD=$shims/short_io.so "$bin" 2>&1)
	verdict $? "$t with short and interrupted reads and writes"
	echo "$out" | grep -E '^(#|not ok)' | sed 's,^,# ,'
done

out=$(LD_PRELOAD=$shims/malloc_nth.so "$O/selftests/lib/test_no_memory" 2>&1)
verdict $? "every allocation may fail"
echo "$out" | grep -E '^(#|not ok)' | sed 's,^,# ,'

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo old >"$dir/file"
out=$(SHIM_DIR=$dir LD_PRELOAD=$shims/enospc.so "$O/selftests/lib/test_fs_full" \
	2>&1)
verdict $? "a full disk leaves the old file as it was"
echo "$out" | grep -E '^(#|not ok)' | sed 's,^,# ,'
echo "1..$n"
exit $rc
