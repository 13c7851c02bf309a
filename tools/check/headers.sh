#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone, so that its reader sees all it needs.
set -u
cd "$(dirname "$0")/../.."
deps=${BUILD:-build}/deps/usr/include
bad=0
for h in $(git ls-files '*.h' | grep -vE '\.bpf\.h$|selftests/harness'); do
	[ -e "$h" ] || continue
	# shellcheck disable=SC2086
	out=$(gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fsyntax-only \
		-Wno-unused-function -I. -I"$deps" -isystem /usr/include/libnl3 \
		-x c -include "$h" /dev/null 2>&1) || {
		echo "$h does not compile alone:"
		echo "$out" | head -5
		bad=1
	}
done
exit $bad
