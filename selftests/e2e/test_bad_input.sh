#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 180
# What cannot work is refused with what, why and what to do; and harms no pod.
. "$(dirname "$0")/lib.sh"

refused() # REGEX, manifest on stdin
{
	local out
	out=$(apply 2>&1) && {
		echo "was taken: $out"
		return 1
	}
	grep -qE -- "$1" <<<"$out" || {
		echo "want /$1/, got: $out"
		return 1
	}
}
edited() { web_manifest bad | sed "$1"; }

# Its image store cannot be a folder.
fails_cleanly()
{
	: >"$STATE/images"
	"$NODE" run --state-dir "$STATE" --run-dir "$RUN" --log-dir "$LOG" \
		--cgroup-name "$CG" "${AGENT_ARGS[@]}" >"$E2E/failed" 2>&1 &&
		return 1
	rm "$STATE/images"
	grep -q 'image store' "$E2E/failed" && ! our_cgroups | grep .
}

ok "an agent that cannot start leaves no cgroup" fails_cleanly
ok "the agent starts" agent_start --restart-backoff 100ms
ok "the image is imported" image_web
ok "a good pod runs" eval 'web_manifest good | apply && wait_for 30 pod_ready good'
ok "text that is no YAML" refused "expected ','" <<<'kind: [Pod'
ok "another kind" refused 'Pod' <<<'{"apiVersion": "v1", "kind": "Pot",
"metadata": {"name": "bad"}}'
ok "an unknown field is named" \
	refused 'imagePolicy' < <(edited 's/imagePullPolicy/imagePolicy/')
ok "a request above its limit" \
	refused 'cpu|limit' < <(edited 's/cpu: 50m/cpu: 5/')
ok "a quantity that is none" refused '64Mo' < <(edited 's/64Mi/64Mo/')
ok "both kinds of payload at once" refused 'virtualMachine|containers' \
	< <(edited '$a\  virtualMachine: {name: x, image: y}')
ok "no name" refused 'name' < <(edited 's/name: bad/labels: {}/')
ok "a pod no node can hold waits, and says why" eval '
	edited "s/memory: 32Mi/memory: 900Gi/; s/memory: 64Mi/memory: 900Gi/" |
		apply; wait_for 10 prints "emory" node describe bad'
ok "and is seen to" prints '^bad .* Pending ' node ps
ok "it has no logs yet" prints "'web' in pod 'bad' is waiting to start: Pending" \
	node logs bad
node delete bad >/dev/null 2>&1
wait_for 10 pod_gone bad
ok "an image that is not there is named" eval '
	edited "s/image: web/image: nowhere/" | apply
	wait_for 10 prints "ErrImageNeverPull" node describe bad'
ok "also where logs are asked for" prints 'to start: ErrImageNeverPull' \
	node logs bad
head -c 100000 /dev/urandom >"$E2E/disk"
ok "a disk that has to be a container is refused" prints \
	'no container image: neither a tar' \
	node image import "$E2E/disk" --name disk --kind container
cp "$E2E/disk" "$E2E/disk.tar"
ok "so are bytes that are nothing" prints \
	'neither an image nor a disk that says so; --format raw takes it' \
	node image import "$E2E/disk.tar"
ok "unless they are said to be a disk; the name it has got is told" prints \
	'^image disk$' node image import "$E2E/disk.tar" --format raw
ok "images have an age" prints '^disk +vm-disk +[0-9.KMi]+ +[0-9]+s ' \
	node image ls
ok "a reference that cannot be is shown" prints "'UPPER/\.\.' is not an image" \
	node image pull 'UPPER/..'
ok "a VM's disk is no container, and that is the reason" eval '
	node delete bad >/dev/null; wait_for 10 pod_gone bad
	edited "s/image: web/image: disk/" | apply
	wait_for 10 prints "ImageInspectError" node describe bad'
ok "a container has no console" prints "^error: console is for VMs" \
	script -qec "$NODE console good --socket $RUN/node.sock" /dev/null
ok "the other pod is not disturbed" pod_is good \
	'.status.containerStatuses[0].restartCount' 0
ok "no such pod" eval '! prints "." node exec nobody -- true >/dev/null ||
	prints nobody node exec nobody -- true'
e2e_end
