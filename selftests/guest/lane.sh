#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guest test lane: run tests in a QEMU guest with Debian's 6.12 kernel.
#
#	selftests/guest/lane.sh LIST	lines 'name seconds command...'
#	selftests/guest/lane.sh -- COMMAND...	one command, output as it comes
#
# Prints their TAP as it comes and exits 0 (passed), 1 (failed), 4 (all skipped).
# A kernel that crashes or hangs is a failure, told with the console's end. The
# host's root is seen read-only, at the same paths; see init.c and inside.sh.
#
# QEMU's own crash of a guest with several vCPUs (int3 Oops: half-patched code, see
# Documentation/testing.md) is none: it is told, and what was not done by then
# runs in a guest booted anew, up to LANE_BOOTS (3) in all.
#
# LANE_SECONDS (900) is the hard limit of each boot; LANE_MEMORY (3G) and
# LANE_CPUS (2) size the guest; LANE_ACCEL (tcg) may be kvm where that works,
# or tcg,thread=single.
set -u
cd "$(dirname "$0")/../.."
O=${O:-build}
BUILD=${BUILD:-build}
kernel=$BUILD/deps/kernel/6.12
work=$(mktemp -d /tmp/arktos-lane.XXXXXX)
list=$PWD/$BUILD/${work##*/}.list # the guest has a /tmp of its own
pids=()

end_all()
{
	local p
	# TERM, which timeout passes on: with KILL its QEMU would live on.
	for p in "${pids[@]+"${pids[@]}"}"; do
		kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	pids=()
}

finish()
{
	end_all
	rm -rf "$work" "$list" "$list.rest"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() # MESSAGE
{
	echo "not ok - guest lane: $*"
	if [ -s "$work/console" ]; then
		echo "# the end of its console:"
		tail -80 "$work/console" | tr -d '\r' | sed 's,^,#   ,'
	fi
	exit 1
}

# The initramfs: one static program, and overlayfs, which Debian has as module.
make_initrd()
{
	local root=$work/initrd
	mkdir -p "$root"
	gcc -std=gnu11 -D_GNU_SOURCE -Os -static -s \
		selftests/guest/init.c selftests/guest/hold.c \
		-o "$root/init" || fail "cannot build its init"
	cp $kernel/modules/kernel/fs/overlayfs/overlay.ko "$root/"
	echo /overlay.ko >"$root/modules.list"
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$work/initrd.img"
}

start_virtiofsd()
{
	/usr/lib/qemu/virtiofsd --socket-path="$work/fs.sock" -o source=/ \
		-o sandbox=chroot -o cache=always --rlimit-nofile=0 ${LANE_FSD_OPTS-} \
		>"$work/virtiofsd.log" 2>&1 &
	pids+=($!)
	while ! [ -S "$work/fs.sock" ]; do
		kill -0 "${pids[0]}" 2>/dev/null || {
			cat "$work/virtiofsd.log"
			fail "virtiofsd ended"
		}
		read -rt 0.05 <> <(:)
	done
}

# Sets $rc to QEMU's end, and $status to what the tests came to, if it was told.
boot() # NUMBER
{
	local qemu
	end_all
	rm -f "$work/fs.sock"
	start_virtiofsd
	: >"$work/console"
	: >"$work/tap"
	timeout -k 5 "${LANE_SECONDS:-900}" qemu-system-x86_64 -name arktos-lane \
		-nodefaults -no-user-config -display none -no-reboot \
		-machine q35,memory-backend=ram -accel "$accel" -cpu $cpu \
		-smp "$cpus" -m "$memory" \
		-object "memory-backend-memfd,id=ram,size=$memory,share=on" \
		-chardev "socket,id=fs,path=$work/fs.sock" \
		-device vhost-user-fs-pci,chardev=fs,tag=host,queue-size=1024 \
		-device virtio-serial-pci -chardev "file,id=tap,path=$work/tap" \
		-device virtserialport,chardev=tap,name=arktos.tap,nr=1 \
		-drive "file=$work/disk,format=raw,if=none,id=disk" \
		-device virtio-blk-pci,drive=disk \
		-serial "file:$work/console" \
		-kernel $kernel/vmlinux -initrd "$work/initrd.img" \
		-append "console=ttyS0 loglevel=${LANE_LOGLEVEL:-5} panic=-1 oops=panic mitigations=off \
cryptomgr.notests maxcpus=1 random.trust_cpu=on no_timer_check tsc=reliable lpj=10000000 \
initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init \
-- $run $1" >"$work/qemu.log" 2>&1 </dev/null &
	pids+=($!)
	qemu=$!
	# In the background: a trap waits for the command in front.
	tail -f --pid="$qemu" -s 0.2 -c +1 "$work/tap" 2>/dev/null |
		grep -av --line-buffered '^# lane-status' &
	wait $!
	wait "$qemu"
	rc=$?
	status=$(sed -n 's/^# lane-status \([0-9]*\).*/\1/p' "$work/tap" | tail -1)
}

# Did QEMU run code that the guest's kernel was just patching?
half_patched()
{
	[ "$how" = tests ] && [ "$accel" = tcg ] && [ "$cpus" -gt 1 ] &&
		[ $rc -ne 124 ] && [ -z "$status" ] &&
		grep -aq 'Oops: int3' "$work/console"
}

# Leave in the list what has not been judged.
keep_undone()
{
	awk 'NR == FNR { if ($2 == "guest:" && $4 ~ /^[0-9]+$/ && $5 == "s") {
			sub(/:$/, "", $3); done[$3] = 1 }; next }
		!($1 in done)' "$work/tap" "$list" >"$list.rest" &&
		mv "$list.rest" "$list"
}

[ -e $kernel/vmlinux ] || fail "no $kernel: run 'make deps' first"
[ $# -gt 0 ] || fail "usage: lane.sh LIST | lane.sh -- COMMAND..."
if [ "$1" = -- ]; then
	shift
	echo "$*" >"$list"
	how=script
else
	cp "$1" "$list" || fail "no list of tests in '$1'"
	how=tests
fi
run="/bin/bash $PWD/selftests/guest/inside.sh $PWD $list $O $how"
memory=${LANE_MEMORY:-3G}
accel=${LANE_ACCEL:-tcg}
cpus=${LANE_CPUS:-2}
cpu=max
[ "$accel" = kvm ] && cpu=host

make_initrd
truncate -s 64M "$work/disk"
failed=0
for ((n = 1; ; n++)); do
	boot $n
	half_patched && [ $n -lt "${LANE_BOOTS:-3}" ] || break
	keep_undone
	grep -aq '^not ok' "$work/tap" && failed=1
	echo "# guest lane: QEMU ran half-patched code (int3 Oops)," \
		"$(wc -l <"$list") tests left to run"
	[ -s "$list" ] || exit $failed
done

[ $rc -eq 124 ] && fail "time limit of ${LANE_SECONDS:-900} s"
[ -n "$status" ] || {
	sed 's,^,# qemu: ,' "$work/qemu.log"
	fail "the guest died before it was done"
}
grep -aE 'WARNING: CPU|BUG:|Oops' "$work/console" | sed 's,^,# kernel: ,'
grep -aqE 'BUG: (unable|kernel|KASAN)|Oops:' "$work/console" &&
	fail "the kernel complained"
[ $failed -eq 1 ] && status=1
exit "$status"
