#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fail on an #include that Documentation/architecture.md does not allow.
# One line per folder: who it is, then the folders it may look into.
set -eu
cd "$(dirname "$0")/../.."

allowed='
lib
cgroups      lib
netns        lib
qmp          lib
bpf          lib
agent        lib cgroups netns qmp bpf controlplane/client controlplane/schema
controlplane/schema lib
controlplane/store lib
controlplane/client lib controlplane/schema
controlplane/apiserver lib controlplane/schema controlplane/store controlplane/client
controlplane/scheduler lib controlplane/schema controlplane/client
controlplane/controllers lib controlplane/schema controlplane/client
tools        lib cgroups netns qmp bpf agent controlplane
'
echo "$allowed" | while read -r dir may; do
	[ -n "$dir" ] && [ -d "$dir" ] || continue
	grep -rnE '^#include "[^"]+/[^"]+"' "$dir" --include='*.[ch]' |
	while IFS= read -r hit; do
		inc=${hit#*\"}; inc=${inc%\"*}
		case $inc in
		*.skel.h) [ "$dir" = bpf ] && continue;;
		*/internal.h)
			file=${hit%%:*}
			case $file in "${inc%/*}"/*) continue;; esac
			echo "$hit: an internal.h is for its folder and those in it"
			continue;;
		esac
		for ok in "$dir" $may; do
			case $inc in "$ok"/*) continue 2;; esac
		done
		echo "$hit: $dir may not include this"
	done
done | { ! grep .; }
