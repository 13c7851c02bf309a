#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 60
# The program in Documentation/qmp.md compiles as it stands, and does what the
# page says.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
BUILD=${BUILD:-build}
tmp=$(mktemp -d /tmp/arktos-doc.XXXXXX)
pid=
trap '[ -n "$pid" ] && kill -9 "$pid" 2>/dev/null; rm -rf "$tmp"' EXIT
san=
[ "$O" = "$BUILD/san" ] && san=-fsanitize=address,undefined
[ "$O" = "$BUILD/tsan" ] && san=-fsanitize=thread

echo 1..2
awk '/^```c$/{on=1; next} /^```$/{on=0} on' Documentation/qmp.md >"$tmp/doc.c"
if out=$(gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -pthread $san -I. \
	-I"$BUILD/deps/usr/include" "$tmp/doc.c" "$O/libqmp.a" "$O/liblib.a" \
	"$BUILD/deps/lib/libyyjson.a" -o "$tmp/doc" 2>&1); then
	echo "ok 1 the example compiles"
else
	echo "$out" | sed 's,^,# ,'
	echo "not ok 1 the example compiles"
	exit 1
fi

qemu-system-x86_64 -name arktos-selftest -nodefaults -display none \
	-machine pc-q35-7.2,accel=tcg -m 64M \
	-qmp "unix:$tmp/q,server=on,wait=off" >/dev/null 2>&1 &
pid=$!
for _ in $(seq 500); do
	[ -S "$tmp/q" ] && break
	/bin/busybox usleep 20000
done
got=$("$tmp/doc" "$tmp/q" 2>&1)
if [ "$got" = "QEMU 7.2
after STOP: paused
machine pc-q35-7.2-machine" ]; then
	echo "ok 2 the example runs against a QEMU"
else
	echo "$got" | sed 's,^,# ,'
	echo "not ok 2 the example runs against a QEMU"
	exit 1
fi
