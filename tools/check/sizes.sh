#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ceilings on file length. An exception carries, in its first 30 lines, a line
# 'SIZE: why'.
set -u
cd "$(dirname "$0")/../.."
bad=0
for f in $(git ls-files '*.c' '*.h'); do
	[ -e "$f" ] || continue
	case $f in
	*.bpf.c) max=350 ;;
	selftests/*) max=900 ;;
	*main.c) max=80 ;;
	*.h) max=260 ;;
	*) max=700 ;;
	esac
	n=$(wc -l <"$f")
	[ "$n" -le $max ] && continue
	head -30 "$f" | grep -q 'SIZE: ' && continue
	echo "$f: $n lines, the ceiling is $max: find its seam"
	bad=1
done
exit $bad
