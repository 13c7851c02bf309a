#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What gcc has built clang takes as well, with the same warnings for errors: all
# but fields that an initializer leaves out, of which gcc means other ones.
set -u
cd "$(dirname "$0")/../.." || exit 1
O=${O:-build}
eval "flags=($(make -s --no-print-directory SAN= cflags))"
git ls-files '*.c' | grep -vE '\.bpf\.c$|^selftests/fuzz/' |
	xargs -d '\n' -P "$(nproc)" -n 20 clang "${flags[@]}" -I"$O" \
		-Wno-missing-field-initializers -fsyntax-only
