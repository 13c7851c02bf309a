#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Keep the cgroup of the systemd unit this is started in (arktos-pods.service):
# systemd removes that of a unit without processes, and pods may come later. One
# process stays in a leaf, since a v2 cgroup that shares its controllers takes
# none itself.
set -e
cgroup=$(sed -n 's/^0:://p' /proc/self/cgroup)
for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
	[ ! -e "$mount$cgroup/cgroup.procs" ] || break
done
mkdir -p "$mount$cgroup/arktos.hold"
(exec -a arktos-hold sleep infinity) </dev/null >/dev/null 2>&1 &
echo $! >"$mount$cgroup/arktos.hold/cgroup.procs"
