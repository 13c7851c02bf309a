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
# LANE_SECONDS (900) is the hard limit of the whole; LANE_MEMORY (3G) and
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

finish()
{
	local p
	# TERM, which timeout passes on: with KILL its QEMU would live on.
	for p in "${pids[@]+"${pids[@]}"}"; do
		kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
	done
	rm -rf "$work" "$list"
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
	gcc -std=gnu11 -D_GNU_SOURCE -Os -static -s selftests/guest/init.c \
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
cpu=max
[ "$accel" = kvm ] && cpu=host

make_initrd
start_virtiofsd
touch "$work/console" "$work/tap"
timeout -k 5 "${LANE_SECONDS:-900}" qemu-system-x86_64 -name arktos-lane \
	-nodefaults -no-user-config -display none -no-reboot \
	-machine q35,memory-backend=ram -accel "$accel" -cpu $cpu \
	-smp "${LANE_CPUS:-2}" -m "$memory" \
	-object "memory-backend-memfd,id=ram,size=$memory,share=on" \
	-chardev "socket,id=fs,path=$work/fs.sock" \
	-device vhost-user-fs-pci,chardev=fs,tag=host,queue-size=1024 \
	-device virtio-serial-pci -chardev "file,id=tap,path=$work/tap" \
	-device virtserialport,chardev=tap,name=arktos.tap,nr=1 \
	-serial "file:$work/console" \
	-kernel $kernel/vmlinux -initrd "$work/initrd.img" \
	-append "console=ttyS0 loglevel=${LANE_LOGLEVEL:-5} panic=-1 oops=panic mitigations=off \
cryptomgr.notests maxcpus=1 random.trust_cpu=on no_timer_check \
initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init \
-- $run" >"$work/qemu.log" 2>&1 </dev/null &
pids+=($!)
qemu=${pids[1]}
# In the background: a trap waits for the command in front.
tail -f --pid="$qemu" -s 0.2 -c +1 "$work/tap" 2>/dev/null |
	grep -av --line-buffered '^# lane-status' &
wait $!
wait "$qemu"
rc=$?

[ $rc -eq 124 ] && fail "time limit of ${LANE_SECONDS:-900} s"
status=$(sed -n 's/^# lane-status \([0-9]*\).*/\1/p' "$work/tap" | tail -1)
[ -n "$status" ] || {
	sed 's,^,# qemu: ,' "$work/qemu.log"
	fail "the guest died before it was done"
}
grep -aE 'WARNING: CPU|BUG:|Oops' "$work/console" | sed 's,^,# kernel: ,'
grep -aqE 'BUG: (unable|kernel|KASAN)|Oops:' "$work/console" &&
	fail "the kernel complained"
exit "$status"
