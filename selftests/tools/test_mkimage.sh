#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# The demo images are real: foreign tools read them, they boot, the guest does
# what its kernel arguments and its cloud-init seed tell it, and the same inputs
# give the same image.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
n=0 rc=0
dir=$(mktemp -d /tmp/arktos-mkimage.XXXXXX)
trap 'rm -rf "$dir"' EXIT

ok() # NAME CONDITION...
{
	local name=$1
	shift
	n=$((n + 1))
	if "$@" >"$dir/why" 2>&1; then
		echo "ok $n $name"
	else
		tail -20 "$dir/why" "$dir"/*.console 2>/dev/null | sed 's,^,# ,'
		echo "not ok $n $name"
		rc=1
	fi
}

build() # FOLDER IMAGE...
{
	local to=$1
	shift
	mkdir -p "$to"
	ln -sfn "$(realpath "$BUILD/deps")" "$to/deps"
	BUILD=$to tools/mkimage/mkimage.sh "$@"
}

same() { diff -r "$dir/a/images/$1" "$dir/b/images/$1"; }

# The guest tells what it sees on its console and powers off, so all of it can
# be judged from outside, by QEMU's end and the serial log.
seed() # SCRIPT
{
	mkdir -p "$dir/seed"
	printf '#!/bin/sh\n{ %s; } >/dev/console 2>&1\npoweroff\n' "$1" \
		>"$dir/seed/user-data"
	cat >"$dir/seed/meta-data" <<-'END'
		{"instance-id": "i-1", "local-hostname": "seeded",
		 "public-keys": ["ssh-ed25519 AAAAC3Nz arktos@test"]}
	END
	cat >"$dir/seed/network-config" <<-'END'
		version: 2
		ethernets:
		  eth0:
		    addresses: [10.9.8.7/24]
		    gateway4: 10.9.8.1
		    mtu: 1400
		    nameservers:
		      addresses: [10.9.8.2, 10.9.8.3]
	END
	genisoimage -quiet -V cidata -r -o "$dir/seed.iso" "$dir/seed"
}

boot() # NAME QEMU-ARGUMENTS...
{
	local name=$1
	shift
	timeout 60 nice qemu-system-x86_64 -name "arktos-mkimage" -nodefaults \
		-no-user-config -display none -no-reboot -cpu max \
		-machine q35,accel=tcg -m 160M \
		-serial "file:$dir/$name.console" \
		-netdev hubport,hubid=0,id=n -device virtio-net-pci,netdev=n \
		-drive "file=$dir/seed.iso,if=virtio,readonly=on,format=raw" "$@"
}

shows() { grep -qE "$2" "$dir/$1.console"; }

quiet_build() { build "$dir/a" web vm | wc -c; }

build "$dir/a" web vm disk >"$dir/log" 2>&1 || sed 's,^,# ,' "$dir/log"
ok "a second build does nothing" [ "$(quiet_build)" = 0 ]
build "$dir/b" web vm >/dev/null 2>&1
ok "the web image is the same, byte for byte" same web
ok "the VM bundle is the same, byte for byte" same vm
ok "skopeo takes the web image" skopeo copy --insecure-policy \
	"oci:$dir/a/images/web:latest" "dir:$dir/copy"
ok "its two layers are verified and there" \
	[ "$(grep -o tar+gzip "$dir/copy/manifest.json" | wc -l)" = 2 ]

seed 'hostname; ip -o addr show eth0; ip route; cat /etc/resolv.conf;
      echo "keys $(cat /root/.ssh/authorized_keys)"; ls -l /root/.ssh;
      ls /dev/virtio-ports; wget -qO- http://127.0.0.1/ | grep Hello'
vm=$dir/a/images/vm
cmdline=$(sed -n 's/.*"cmdline": "\(.*\)",/\1/p' "$vm/arktos-vm.json")
ok "the bundle boots and powers off" boot bundle -kernel "$vm/vmlinux" \
	-initrd "$vm/initrd.img" -device virtio-serial-pci \
	-chardev null,id=ga \
	-device virtserialport,chardev=ga,name=org.qemu.guest_agent.0 \
	-append "$cmdline arktos.ip=10.1.2.3/32 arktos.gw=10.1.0.1 \
arktos.hostname=named arktos.dns=10.1.0.9"
ok "its name is from the kernel's arguments" shows bundle '^named'
ok "its address too" shows bundle 'inet 10\.1\.2\.3/32'
ok "a gateway outside its prefix is reached" \
	shows bundle 'default via 10\.1\.0\.1 dev eth0'
ok "its resolver is the one it was told" shows bundle 'nameserver 10\.1\.0\.9'
ok "it has the guest agent's port" shows bundle '^org\.qemu\.guest_agent\.0'
ok "it serves HTTP" shows bundle 'Hello from a VM pod'

qemu-img create -q -f qcow2 -b "$dir/a/images/vm.qcow2" -F qcow2 "$dir/o.qcow2"
ok "the disk boots by itself and powers off" boot disk \
	-drive "file=$dir/o.qcow2,if=none,id=d,format=qcow2" \
	-device virtio-blk-pci,drive=d,bootindex=1,addr=0x2
ok "its name is from the seed" shows disk '^seeded'
ok "its network too" shows disk 'mtu 1400|inet 10\.9\.8\.7/24'
ok "its gateway too" shows disk 'default via 10\.9\.8\.1'
ok "its resolvers too" shows disk 'nameserver 10\.9\.8\.3'
ok "the seed's key may log in" shows disk 'keys ssh-ed25519 AAAAC3Nz'
ok "and nobody else can read it" shows disk '^-rw------- .* authorized_keys'

: >"$dir/disk.console"
timeout 60 qemu-system-x86_64 -name arktos-mkimage -nodefaults -display none \
	-no-reboot -cpu max -machine q35,accel=tcg -m 160M \
	-serial "file:$dir/again.console" \
	-drive "file=$dir/o.qcow2,if=none,id=d,format=qcow2" \
	-device virtio-blk-pci,drive=d,bootindex=1,addr=0x2 \
	-drive "file=$dir/seed.iso,if=virtio,readonly=on,format=raw" &
pid=$!
until grep -qE '/#' "$dir/again.console" 2>/dev/null ||
	! kill -0 $pid 2>/dev/null; do
	read -rt 0.2 <> <(:)
done
ok "a script runs once per instance, not at every boot" kill $pid
wait $pid 2>/dev/null
echo "1..$n"
exit $rc
