#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The formatter is the gate, so nobody argues: 'make format' repairs.
set -u
cd "$(dirname "$0")/../.." || exit 1
# Many at once: to start it takes longer than most files do.
out=$(git ls-files '*.c' '*.h' | while read -r f; do
	[ ! -e "$f" ] || echo "$f"
done | xargs -d '\n' -P "$(nproc)" -n 40 clang-format --dry-run -Werror 2>&1) &&
	exit 0
echo "not formatted (make format repairs):"
echo "$out" | grep -E 'error:|not found' | head -40
exit 1
