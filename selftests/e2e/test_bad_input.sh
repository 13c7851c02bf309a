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

all_wrong()
{
	web_manifest bad | sed 's/name: bad/&, namespace: x y/
		s/limits: {/&nvidia.com\/gpu: 1, /
		s/^  containers:/  volumes: [{name: c, configMap: {name: c}}]\n&/
		$a\    volumeMounts: [{name: gone, mountPath: /x}]\n    envFrom: [{configMapRef: {name: c}}]'
}
wrong() { all_wrong | apply 2>&1; }

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
ok "all that is wrong is told at once, also of what else is not looked at" eval '
	refused "^error: /dev/stdin:1: bad: is invalid:$" < <(all_wrong) &&
	prints "^[*] metadata.namespace: .x y. is not a DNS label" wrong &&
	prints "^[*] spec.containers\\[0\\].resources.limits.nvidia.com/gpu: this node has" wrong &&
	prints "^[*] spec.containers\\[0\\].volumeMounts\\[0\\].name: no volume .gone. in" wrong &&
	prints "^[*] spec.volumes\\[0\\]: configMap, .* are for pods of the API server" wrong &&
	prints "^[*] spec.containers\\[0\\].env: ConfigMaps and Secrets are in the API" wrong &&
	[ $(wrong | wc -l) = 6 ]'
ok "no name" refused 'name' < <(edited 's/name: bad/labels: {}/')
ok "a pod no node can hold waits, and says why" eval '
	edited "s/memory: 32Mi/memory: 900Gi/; s/memory: 64Mi/memory: 900Gi/" |
		apply; wait_for 10 prints "emory" node describe bad'
ok "and is seen to" prints '^bad .* Pending ' node ps
ok "it has no logs yet" prints '"web" in pod "bad" is waiting to start: Pending' \
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
ok "an image in use is not removed, and who uses it is told" prints \
	"image 'web' is used by pod 'system/default/good': delete that first" \
	node image rm web
ok "one that is not here: where to look" prints \
	"image 'nowhere' is not here: 'arktos-node image ls' lists" \
	node image rm nowhere
ok "manifests of a folder, of which one is bad" eval '
	mkdir "$E2E/m"; echo "kind: [" >"$E2E/m/a.yaml"
	web_manifest good >"$E2E/m/b.yaml"
	prints "pod/good unchanged" node apply -f "$E2E/m"'
ok "the same name twice: the first stays, the second is refused by its field" eval '
	{ web_manifest good; echo ---; web_manifest good | sed "s/8080/8081/"; } >"$E2E/two.yaml"
	prints "readinessProbe.* cannot be changed while the pod lives; delete the pod" \
		node apply -f "$E2E/two.yaml"'
ok "text that is no manifest" refused "begins with 'apiVersion: v1'" <<<"hello"
ok "no document at all" refused 'holds no object' </dev/null
ok "bytes" refused 'UTF-8|control' < <(head -c 4096 /dev/urandom)
ok "far too much" refused 'larger than|too (large|long|many)' < <(yes a: | head -c 9000000)
ok "names of another script" refused 'is not a DNS name' < <(edited 's/name: bad/name: bäd/')
ok "a field of another type" refused 'must be a string, is a number: put it in quotes' \
	< <(edited 's/image: web/image: 7/')
ok "a probe of a port that is not there" refused "no port of this container is called 'http'" \
	< <(edited 's/port: 8080/port: http/')
ok "the other pod is not disturbed" pod_is good \
	'.status.containerStatuses[0].restartCount' 0
ok "no such pod" eval '! prints "." node exec nobody -- true >/dev/null ||
	prints nobody node exec nobody -- true'
e2e_end
