#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Build the demo images from Debian packages, into $BUILD/images/:
#
#	tools/mkimage/mkimage.sh [web] [vm] [disk]	(default: web vm)
#
#	web/		OCI image layout, tag latest: busybox httpd, two layers
#	vm/		kernel+initrd bundle: arktos-vm.json names its files
#	vm.qcow2	the same guest on a disk: SeaBIOS, syslinux, ext4 root
#
# Each is rebuilt only when something that goes into it has changed. The first
# two come out the same, byte for byte, from the same inputs.
set -euo pipefail
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
deps=$BUILD/deps
out=$BUILD/images
here=tools/mkimage
busybox=/bin/busybox
export SOURCE_DATE_EPOCH=0 E2FSPROGS_FAKE_TIME=1 TZ=UTC LC_ALL=C

die() { echo "mkimage: $*" >&2; exit 1; }

need() # FILE
{
	[ -e "$1" ] || die "no $1: run 'make deps' first"
}

fingerprint() # FILE...
{
	sha256sum "$@" | sha256sum | cut -d ' ' -f 1
}

# True when image $1 was built from the same inputs.
is_fresh() # NAME FINGERPRINT
{
	[ -e "$out/$1" ] && [ "$(cat "$out/.$1.inputs" 2>/dev/null)" = "$2" ]
}

# Replace an image in one step: nobody ever reads half of one.
finish() # NAME FINGERPRINT NEW
{
	rm -rf "${out:?}/$1"
	mv "$3" "$out/$1"
	echo "$2" >"$out/.$1.inputs"
	echo "mkimage: built $out/$1 ($(du -sh "$out/$1" | cut -f 1))"
}

# --- web: an OCI image layout ------------------------------------------------

pack_layer() # ROOT BLOBS: prints 'diffid digest size'
{
	local tar=$2/layer.tar diff digest
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
		--format=ustar -C "$1" -cf "$tar" .
	diff=$(sha256sum "$tar" | cut -d ' ' -f 1)
	gzip -n -9 "$tar"
	digest=$(sha256sum "$tar.gz" | cut -d ' ' -f 1)
	mv "$tar.gz" "$2/$digest"
	echo "$diff $digest $(stat -c %s "$2/$digest")"
}

blob() # BLOBS TEXT: prints 'digest size'
{
	local digest
	digest=$(printf %s "$2" | sha256sum | cut -d ' ' -f 1)
	printf %s "$2" >"$1/$digest"
	echo "$digest $(stat -c %s "$1/$digest")"
}

web_base_layer() # ROOT
{
	mkdir -p "$1"/{bin,sbin,etc,tmp,proc,sys,dev,root,home,var,usr/bin}
	chmod 1777 "$1/tmp"
	install -m 755 $busybox "$1/bin/busybox"
	$busybox --list | grep -v '^busybox$' | while read -r applet; do
		ln -s busybox "$1/bin/$applet"
	done
	cat >"$1/etc/passwd" <<-'END'
		root:x:0:0:root:/root:/bin/sh
		web:x:10001:10001:web:/srv/www:/bin/sh
		nobody:x:65534:65534:nobody:/:/bin/false
	END
	printf 'root:x:0:\nweb:x:10001:\nnogroup:x:65534:\n' >"$1/etc/group"
}

web_site_layer() # ROOT
{
	mkdir -p "$1/srv/www/cgi-bin"
	cat >"$1/srv/www/index.html" <<-'END'
		<!doctype html>
		<title>Arktos</title>
		<h1>Hello from a container pod</h1>
		<p><a href="/cgi-bin/info">What this pod is given right now</a></p>
	END
	cat >"$1/srv/www/cgi-bin/info" <<-'END'
		#!/bin/sh
		printf 'Content-Type: text/plain\r\n\r\n'
		echo "host $(hostname)"
		echo "user $(id -u)"
		cd /sys/fs/cgroup && for f in cpu.max memory.max memory.current \
			cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes; do
			[ -r $f ] && echo "$f $(cat $f)"
		done
		env | grep '^ARKTOS_' | sort
	END
	chmod 755 "$1/srv/www/cgi-bin/info"
}

build_web()
{
	local print tmp=$out/web.tmp blobs l1 l2 config manifest
	print=$(fingerprint $here/mkimage.sh $busybox)
	is_fresh web "$print" && return
	blobs=$tmp/blobs/sha256
	rm -rf "$tmp" && mkdir -p "$blobs" "$tmp/base" "$tmp/site"
	web_base_layer "$tmp/base"
	web_site_layer "$tmp/site"
	read -r -a l1 <<<"$(pack_layer "$tmp/base" "$blobs")"
	read -r -a l2 <<<"$(pack_layer "$tmp/site" "$blobs")"
	rm -rf "$tmp/base" "$tmp/site"
	read -r -a config <<<"$(blob "$blobs" '{"created":"1970-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{"User":"web","ExposedPorts":{"8080/tcp":{}},"Env":["PATH=/bin:/usr/bin:/sbin","ARKTOS_IMAGE=web"],"Entrypoint":["/bin/httpd","-f","-p","8080"],"Cmd":["-h","/srv/www"],"WorkingDir":"/srv/www","StopSignal":"SIGTERM","Labels":{"org.opencontainers.image.title":"arktos demo web server"}},"rootfs":{"type":"layers","diff_ids":["sha256:'"${l1[0]}"'","sha256:'"${l2[0]}"'"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"mkimage: busybox-static"},{"created":"1970-01-01T00:00:00Z","created_by":"mkimage: site"}]}')"
	read -r -a manifest <<<"$(blob "$blobs" '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:'"${config[0]}"'","size":'"${config[1]}"'},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:'"${l1[1]}"'","size":'"${l1[2]}"'},{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:'"${l2[1]}"'","size":'"${l2[2]}"'}]}')"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$tmp/oci-layout"
	printf '%s' '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:'"${manifest[0]}"'","size":'"${manifest[1]}"',"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' >"$tmp/index.json"
	finish web "$print" "$tmp"
}

# --- vm: kernel, initramfs, and what the kernel is told ----------------------

kernel=$deps/kernel/6.1
guest=$(realpath -m "$deps/guest")
boot_modules="virtio_pci virtio_console virtio_net virtio_mem virtio_balloon
 virtio-rng virtio_blk button evdev"
cmdline="console=ttyS0 quiet loglevel=4 panic=1 reboot=t cryptomgr.notests \
random.trust_cpu=on swiotlb=noforce memhp_default_state=online_movable \
initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init"

# A module's files, what it needs before itself. busybox depmod names all it
# needs in one line, in no order, so go down by recursion.
module_order() # NAME...
{
	awk -v want="$*" '
		{ split($0, a, ":"); need[a[1]] = a[2]
		  base = a[1]; sub(/.*\//, "", base); sub(/\.ko$/, "", base)
		  file[base] = a[1] }
		function load(f,    n, i, d) {
			if (f in done) return
			done[f] = 1
			n = split(need[f], d, " ")
			for (i = 1; i <= n; i++) load(d[i])
			print f
		}
		END { n = split(want, w, " ")
		      for (i = 1; i <= n; i++) {
			      if (!(w[i] in file)) {
				      print "mkimage: no module " w[i] \
					      > "/dev/stderr"
				      exit 1
			      }
			      load(file[w[i]])
		      } }' "$kernel/modules/modules.dep"
}

install_modules() # ROOT LIST MODULE...
{
	local root=$1 list=$2 f
	shift 2
	mkdir -p "$root/lib/modules"
	module_order "$@" | while read -r f; do
		install -m 644 "$kernel/modules/$f" "$root/lib/modules/"
		echo "/lib/modules/${f##*/}"
	done >"$root/lib/modules/$list.list"
}

# A program of a Debian package with the libraries it links, at their paths.
install_program() # ROOT PROGRAM
{
	local lib path=$guest/usr/lib/x86_64-linux-gnu:$guest/lib/x86_64-linux-gnu
	install -D -m 755 "$guest$2" "$1$2"
	LD_LIBRARY_PATH=$path ldd "$guest$2" | awk '/=>/{print $3}' |
		while read -r lib; do
			case $lib in
			"$guest"/*) ;;
			*) die "$2 needs $lib, which no unpacked package has" ;;
			esac
			install -D -m 644 "$lib" \
				"$1/lib/x86_64-linux-gnu/${lib##*/}"
		done
	mkdir -p "$1/lib64"
	install -m 755 "$guest/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" \
		"$1/lib64/"
}

vm_site() # ROOT
{
	mkdir -p "$1/srv/www/cgi-bin" "$1/etc" "$1/root"
	cat >"$1/srv/www/index.html" <<-'END'
		<!doctype html>
		<title>Arktos</title>
		<h1>Hello from a VM pod</h1>
		<p><a href="/cgi-bin/info">What this machine has right now</a></p>
	END
	cat >"$1/srv/www/cgi-bin/info" <<-'END'
		#!/bin/sh
		printf 'Content-Type: text/plain\r\n\r\n'
		echo "host $(hostname)"
		echo "kernel $(uname -r)"
		echo "cpus $(nproc)"
		grep MemTotal /proc/meminfo
	END
	chmod 755 "$1/srv/www/cgi-bin/info"
	echo 'root::0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
	echo "PS1='\\h:\\w# '" >"$1/etc/profile"
	echo '127.0.0.1 localhost' >"$1/etc/hosts"
}

# qemu-ga asks for these names when the host wants the guest to stop.
vm_shutdown_command() # ROOT
{
	rm -f "$1/sbin/shutdown"
	cat >"$1/sbin/shutdown" <<-'END'
		#!/bin/sh
		case "$*" in
		*-r*) exec /bin/busybox reboot ;;
		*-H*) exec /bin/busybox halt ;;
		*) exec /bin/busybox poweroff ;;
		esac
	END
	chmod 755 "$1/sbin/shutdown"
}

vm_root() # ROOT
{
	mkdir -p "$1"/{bin,sbin,dev,proc,sys,run,tmp,usr/bin,usr/sbin,var/run}
	install -m 755 $busybox "$1/bin/busybox"
	$busybox --list | grep -v '^busybox$' | while read -r applet; do
		ln -s busybox "$1/bin/$applet"
	done
	gcc -std=gnu11 -D_GNU_SOURCE -I. -Os -static -s -Wl,--build-id=none \
		$here/guest_init.c $here/guest_config.c -o "$1/sbin/init"
	ln -s sbin/init "$1/init"
	install_program "$1" /usr/sbin/qemu-ga
	install_modules "$1" boot $boot_modules
	install_modules "$1" iso9660 isofs nls_utf8
	install_modules "$1" vfat vfat nls_cp437 nls_iso8859-1 nls_ascii nls_utf8
	vm_site "$1"
	vm_shutdown_command "$1"
}

pack_initrd() # ROOT FILE
{
	find "$1" -exec touch -h -d @0 {} +
	(cd "$1" && find . | sort |
		cpio -o -H newc -R 0:0 --reproducible --quiet) >"$2"
}

vm_inputs()
{
	need $kernel/vmlinux
	need $guest/usr/sbin/qemu-ga
	fingerprint $here/* $busybox $kernel/version $guest/usr/sbin/qemu-ga \
		$guest/lib/x86_64-linux-gnu/libc.so.6
}

build_vm()
{
	local print tmp=$out/vm.tmp
	print=$(vm_inputs)
	is_fresh vm "$print" && return
	rm -rf "$tmp" && mkdir -p "$tmp/root"
	vm_root "$tmp/root"
	pack_initrd "$tmp/root" "$tmp/initrd.img"
	rm -rf "$tmp/root"
	install -m 644 $kernel/vmlinux "$tmp/vmlinux"
	cat >"$tmp/arktos-vm.json" <<-END
		{
		  "kernel": "vmlinux",
		  "initrd": "initrd.img",
		  "cmdline": "$cmdline",
		  "version": "Debian $(cat $kernel/version)"
		}
	END
	finish vm "$print" "$tmp"
}

# --- vm.qcow2: the same guest on a disk of its own ---------------------------

root_uuid=61726b74-6f73-4361-8000-000000000001

# One entry of an MBR, in hex: flag, type, first sector, sectors. Addresses by
# cylinder are filled with what means "see the sector numbers".
partition() # FLAG TYPE FIRST SECTORS
{
	printf '%sfeffff%sfeffff%s%s' "$1" "$2" "$(le32 "$3")" "$(le32 "$4")"
}

le32() # NUMBER
{
	printf '%02x%02x%02x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) \
		$(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# The loader for a disk without a kernel from outside: MBR code, then syslinux
# in a FAT partition, then a small first stage that mounts the second one.
build_disk()
{
	local print tmp=$out/disk.tmp raw boot_mib=64 root_mib=64
	print=$(vm_inputs)
	is_fresh vm.qcow2 "$print" && return
	need $deps/boot/usr/bin/syslinux
	raw=$tmp/disk.raw
	rm -rf "$tmp" && mkdir -p "$tmp/root" "$tmp/first"
	vm_root "$tmp/root"
	mkdir -p "$tmp/first/bin" "$tmp/first/sbin"
	cp "$tmp/root/sbin/init" "$tmp/first/sbin/init"
	ln -s sbin/init "$tmp/first/init"
	install_modules "$tmp/first" boot $boot_modules
	pack_initrd "$tmp/first" "$tmp/initrd.img"
	gzip -n -9 <"$tmp/initrd.img" >"$tmp/initrd.gz"
	find "$tmp/root" -exec touch -h -d @0 {} +
	mke2fs -q -t ext4 -F -O ^has_journal,^metadata_csum -m 0 \
		-U $root_uuid \
		-E hash_seed=61726b74-6f73-4361-8000-000000000002,root_owner=0:0 \
		-d "$tmp/root" "$tmp/root.ext4" "${root_mib}M" >/dev/null
	cat >"$tmp/syslinux.cfg" <<-END
		SERIAL 0 115200
		DEFAULT arktos
		LABEL arktos
			LINUX vmlinuz
			INITRD initrd.gz
			APPEND $cmdline root=UUID=$root_uuid
	END
	truncate -s "${boot_mib}M" "$tmp/boot.fat"
	mkfs.fat -F 16 -i 41524b54 -n ARKTOSBOOT --invariant \
		"$tmp/boot.fat" >/dev/null
	mcopy -i "$tmp/boot.fat" $kernel/vmlinuz ::vmlinuz
	mcopy -i "$tmp/boot.fat" "$tmp/initrd.gz" ::initrd.gz
	mcopy -i "$tmp/boot.fat" "$tmp/syslinux.cfg" ::syslinux.cfg
	PATH=$PATH:/usr/sbin $deps/boot/usr/bin/syslinux --install "$tmp/boot.fat"
	truncate -s $((1 + boot_mib + root_mib))M "$raw"
	dd if="$deps/boot/usr/lib/SYSLINUX/mbr.bin" of="$raw" bs=440 count=1 \
		conv=notrunc status=none
	{
		partition 80 0e 2048 $((boot_mib * 2048))
		partition 00 83 $((2048 * (1 + boot_mib))) $((root_mib * 2048))
		printf '%032d%032d55aa' 0 0
	} | $busybox xxd -r -p | dd of="$raw" bs=1 seek=446 conv=notrunc status=none
	dd if="$tmp/boot.fat" of="$raw" bs=1M seek=1 conv=notrunc,sparse \
		status=none
	dd if="$tmp/root.ext4" of="$raw" bs=1M seek=$((1 + boot_mib)) \
		conv=notrunc,sparse status=none
	qemu-img convert -q -f raw -O qcow2 -c "$raw" "$tmp/vm.qcow2"
	mv "$tmp/vm.qcow2" "$out/vm.qcow2.tmp"
	rm -rf "$tmp"
	finish vm.qcow2 "$print" "$out/vm.qcow2.tmp"
}

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
for image in "${@:-web vm}"; do
	for one in $image; do
		case $one in
		web | vm | disk) build_"$one" ;;
		*) die "no image called '$one': web, vm, disk" ;;
		esac
	done
done
