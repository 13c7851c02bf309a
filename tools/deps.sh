#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install what is missing. Silent and instant when nothing is.
#
#	tools/deps.sh [build] [run] [test]
#
# Debian packages go to the host; what Debian 12 has not (yyjson), and what must
# not touch the host (guest kernels), is unpacked under $BUILD/deps.
set -euo pipefail
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
deps=$BUILD/deps

build="gcc make pkg-config clang llvm clang-format bpftool libbpf-dev libelf-dev
 zlib1g-dev libnl-3-dev libnl-route-3-dev libcgroup-dev libseccomp-dev
 libcap-ng-dev libarchive-dev libyaml-dev libssl-dev libnghttp2-dev
 libprotobuf-c-dev protobuf-c-compiler liblmdb-dev"
run="qemu-system-x86 qemu-utils seabios ipxe-qemu skopeo iproute2 nftables
 busybox-static xz-utils zstd lz4 cpio"
test="libclang-rt-14-dev runc iputils-ping iptables squashfs-tools
 genisoimage mtools dosfstools e2fsprogs curl python3-minimal git"

want=
for set in "${@:-build}"; do
	want+=" ${!set}"
done

missing=
for p in $want; do
	[ -e "/var/lib/dpkg/info/$p.list" ] ||
		[ -e "/var/lib/dpkg/info/$p:$(dpkg --print-architecture).list" ] ||
		missing+=" $p"
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
