#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The formatter is the gate, so nobody argues: 'make format' repairs.
set -u
cd "$(dirname "$0")/../.."
bad=$(git ls-files '*.c' '*.h' | while read -r f; do
	[ -e "$f" ] || continue
	clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || echo "$f"
done)
[ -z "$bad" ] && exit 0
echo "not formatted (make format repairs):" $bad
exit 1
