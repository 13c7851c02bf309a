#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 30
# What a pod of the system tenant can do with an added SYS_ADMIN: mount in its
# own namespaces, and nothing to the host's /proc/sys.
. "$(dirname "$0")/lib.sh"

admin() # NAME [SPEC LINE]
{
	apply <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  terminationGracePeriodSeconds: 0
	  ${2-}
	  containers:
	  - name: c
	    image: web
	    imagePullPolicy: Never
	    command: [/bin/sh, -c, "exec sleep 100000"]
	    securityContext: {runAsUser: 0, capabilities: {add: [SYS_ADMIN]}}
	END
}
# What it writes is what is there: a success changes nothing, and is seen.
attack() # POD [COMMAND TO RUN IT BY]
{
	local how=${2-}

	node exec "$1" -- $how /bin/sh -c '
		mount -o remount,rw /proc/sys
		mount -o remount,bind,rw /proc/sys
		mkdir -p /tmp/p && mount -t proc proc /tmp/p
		for f in /proc/sys /tmp/p/sys; do
			v=$(cat $f/kernel/core_pattern 2>/dev/null) &&
			echo "$v" >$f/kernel/core_pattern && echo "got in by $f"
		done
		: end'
}
mounts()
{
	node exec "$1" -- unshare -m /bin/sh -c \
		'mkdir /tmp/t && mount -t tmpfs t /tmp/t && echo x >/tmp/t/x'
}
running() { wait_for 20 pod_is "$1" .status.phase Running; }

ok "the agent starts" agent_start
ok "the image is imported" image_web
ok "pods that add SYS_ADMIN run" eval \
	'admin plain && admin open "hostUsers: true" && running plain && running open'
ok "one may mount, in a mount namespace of its own" mounts plain
ok "it is not root of the host" eval '! prints "^ +0 +0 " \
	node exec plain -- cat /proc/self/uid_map'
ok "it cannot write the host's core_pattern" eval \
	'! prints "got in" attack plain'
ok "nor from a mount namespace of its own" eval \
	'! prints "got in" attack plain "unshare -m"'
ok "with hostUsers: true it is, and can: as documented" prints "got in" \
	attack open
ok "pods are deleted" node delete plain open
e2e_end
