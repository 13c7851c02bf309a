#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# SECONDS: 500
# The rules of the house, executable: tools/check/*.sh.
set -u
cd "$(dirname "$0")/.."
n=0 rc=0
for c in tools/check/*.sh; do
	n=$((n + 1))
	name=$(basename "$c" .sh)
	if out=$("$c" 2>&1); then
		echo "ok $n house rule: $name"
	else
		echo "$out" | sed 's,^,# ,'
		echo "not ok $n house rule: $name"
		rc=1
	fi
done
echo "1..$n"
exit $rc
