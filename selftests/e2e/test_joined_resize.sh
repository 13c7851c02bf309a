#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 240
# Resize through the API: in the container's cgroup, in the VM's guest; two
# tenants with the same names on one node.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"

control_start && node_join && image_web && image_vm || exit 1
web_manifest web | bound | k create -f - >/dev/null
vm_manifest wrong | sed 's,image: vm,image: 127.0.0.1:1/no/image:1,; /Never/d' |
	bound | k create -f - >/dev/null
vm_manifest vm | bound | k create -f - >/dev/null
ok "a container pod runs" wait_for 30 k_ready web

ok "a VM whose image is wrong says so, as a container does" wait_for 30 prints \
	'^wrong +0/1 +(ErrImagePull|ImagePullBackOff) ' k get pods
ok "on the node, too" wait_for 10 prints \
	'^wrong .* (ErrImagePull|ImagePullBackOff) ' node ps
ok "and why" prints 'connection refused' k_get wrong \
	.status.virtualMachineStatus.message
k delete pod wrong --wait=false >/dev/null

resize() # POD JSON
{
	k patch pod "$1" --subresource resize --type strategic -p "$2"
}
container()
{
	printf '{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"%s","memory":"%s"}}}]}}' "$1" "$2"
}
inside_is() # POD SIZE
{
	prints "^$2\$" container_size "$1"
}
resized() # POD CPU MEMORY
{
	k_is "$1" '.status.containerStatuses[0].resources.limits
		| "\(.cpu) \(.memory)"' "$2 $3"
}
settled() # POD
{
	k_is "$1" '[.status.conditions[].type
		| select(startswith("PodResize"))] | length' 0
}
# All that a watch shows of its resize conditions, one after the other.
timeout 300 "$kubectl" --cache-dir="$E2E/cache" get --raw \
	"/api/v1/namespaces/default/pods?watch=1&fieldSelector=metadata.name%3Dweb&timeoutSeconds=300" \
	>"$E2E/watched" 2>/dev/null &
watcher=$!
wait_for 10 grep -q ADDED "$E2E/watched"
conditions() # seen so far, each once: TYPE/STATUS/REASON or none
{
	jq -r '[.object.status.conditions[]? | select(.type | startswith("PodResize"))
		| "\(.type | ltrimstr("PodResize"))/\(.status)/\(.reason // "")"] |
		if . == [] then "none" else join("+") end' "$E2E/watched" 2>/dev/null |
		uniq | tr '\n' ' '
}
shows() { prints "$1" conditions; }
began=$(k_get web '.status.containerStatuses[0].state.running.startedAt')
ok "kubectl patch --subresource resize" resize web "$(container 700m 96Mi)"
ok "the container has it" wait_for 10 inside_is web '700m 96'
ok "its status says so" wait_for 10 resized web 700m 96Mi
ok "the node has allocated it" k_is web \
	'.status.containerStatuses[0].allocatedResources | "\(.cpu) \(.memory)"' \
	"50m 32Mi"
ok "no condition is left" wait_for 5 settled web
ok "an event says what has changed" wait_for 10 prints \
	'resize completed in [0-9]+ ms: web: cpu 500m → 700m, memory 64Mi → 96Mi$' \
	k describe pod web
ok "nothing was restarted" k_is web \
	'.status.containerStatuses[0] | "\(.restartCount) \(.state.running.startedAt)"' \
	"0 $began"
ok "arktos-node resize goes through the API" node resize web --cpu 300m
ok "the API has the wish" k_is web '.spec.containers[0].resources.limits.cpu' 300m
ok "and the container" wait_for 10 inside_is web '300m 96'
ok "and the status" wait_for 10 resized web 300m 96Mi
refused()
{
	! node resize web -c nope --cpu 1 >"$E2E/out" 2>&1 && cat "$E2E/out"
}
ok "what is not there is not resized" prints "no container 'nope'" refused
fails() # POD OPTION...
{
	! node resize "$@" >"$E2E/out" 2>&1 && cat "$E2E/out"
}
ok "less than a page is refused, with why" prints 'less than one page' fails web --memory 100
ok "and a limit of 0" prints 'would be no limit at all' fails web --cpu 0
ok "and another QoS" prints 'QoS is immutable' fails web --cpu 50m --memory 32Mi
ok "the API has heard of none of it" k_is web \
	'.spec.containers[0].resources | "\(.limits) \(.requests)"' \
	'{"cpu":"300m","memory":"96Mi"} {"cpu":"50m","memory":"32Mi"}'
ok "a resize that also names an image" resize web "$(container 350m 96Mi |
	sed 's/"name":"web"/&,"image":"nothing"/')"
ok "resizes" wait_for 10 inside_is web '350m 96'
ok "and nothing else" k_is web '.spec.containers[0].image' web
ok "no container comes by a resize" prints 'pod updates may not change fields' \
	k patch pod web --subresource resize --type strategic \
	-p '{"spec":{"containers":[{"name":"more","image":"web"}]}}'
pending()
{
	k_is "$1" '[.status.conditions[] | select(.type == "PodResizePending")
		| .reason][0]' "$2"
}
ok "too much for this node" resize web "$(container 300m 4Ti |
	sed 's,"limits",&,; s,}}]}},\,"requests":{"memory":"4Ti"}}}]}},')"
ok "is infeasible, and the status says so" wait_for 10 pending web Infeasible
ok "with the reason" k_is web '[.status.conditions[]
	| select(.type == "PodResizePending") | .message | test("memory|Mi|Gi")][0]' true
ok "the container keeps what it had" inside_is web '350m 96'
ok "another wish takes it back, and says so" prints \
	'cpu 350m → 300m.*which was infeasible .*is taken back' node resize web --cpu 300m
ok "the condition goes" wait_for 10 settled web
ok "the watch has shown it come and go" wait_for 10 shows \
	'none (InProgress/True/ none )*Pending/True/Infeasible (InProgress/True/ )?none $'

# --- one that takes its time -------------------------------------------------------------
# What a container writes to a tmpfs counts as its memory, and cannot be taken away.
ok "the container fills its memory" k exec web -- dd if=/dev/zero of=/dev/shm/full bs=1M count=40
ok "less than it uses is wished for" resize web "$(container 300m 32Mi)"
ok "the watch shows that it is under way, and why it takes so long" wait_for 20 shows \
	'none InProgress/True/Error $'
ok "with the numbers" prints 'memory limit of 32Mi is below what container .web. uses: 4[0-9]' \
	k_get web '.status.conditions[] | select(.type == "PodResizeInProgress") | .message'
ok "it has what it had" inside_is web '300m 96'
k exec web -- rm /dev/shm/full
ok "when it uses less it gets there" wait_for 40 inside_is web '300m 32'
ok "and the watch shows that this is over" wait_for 20 shows \
	'none InProgress/True/Error (InProgress/True/ )?none $'

# --- one that has to wait for another pod ---------------------------------------------------
free_milli=$(k get node $NAME -o json | jq -r '.status.allocatable.cpu |
	if endswith("m") then rtrimstr("m") | tonumber else tonumber * 1000 end')
web_manifest big $((free_milli))m | sed "s/cpu: 50m/cpu: $((free_milli - 500))m/" | bound |
	k create -f - >/dev/null
ok "a large pod runs beside it" wait_for 30 k_ready big
ok "more than is left is wished for" resize web \
	'{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"600m"},"limits":{"cpu":"700m"}}}]}}'
ok "the watch shows that it is deferred" wait_for 20 shows 'none (InProgress/True/ )?Pending/True/Deferred $'
ok "it has what it had until then" inside_is web '300m 32'
k delete pod big --wait=false >/dev/null
ok "it gets it when the other has gone" wait_for 40 inside_is web '700m 32'
ok "and the watch shows that this is over, too" wait_for 20 shows \
	'Pending/True/Deferred (InProgress/True/ )?none $'
kill $watcher 2>/dev/null
ok "and back" resize web "$(container 300m 96Mi |
	sed 's,}}]}},\,"requests":{"cpu":"50m"\,"memory":"32Mi"}}}]}},')"
ok "the container has it" wait_for 20 inside_is web '300m 96'
ok "no condition is left" wait_for 10 settled web

ok "the API has what is wished for now" k_is web \
	'.spec.containers[0].resources | "\(.limits) \(.requests)"' \
	'{"cpu":"300m","memory":"96Mi"} {"cpu":"50m","memory":"32Mi"}'

# --- another image, and what else the API lets change: the node takes all of it
ok "the image has a second name" node image import \
	"oci:$BUILD/images/web:latest" --name web:2
ok "kubectl set image" k set image pod/web web=web:2
runs() # IMAGE RESTARTS
{
	k_is web '.status.containerStatuses[0] | "\(.image) \(.restartCount)
		\(.state | keys[0])"' "$1 $2
		running"
}
ok "restarts the container in place" wait_for 40 runs web:2 1
ok "which is told in Kubernetes' words" wait_for 10 prints \
	'Normal +Killing .*Container web definition changed, will be restarted' \
	k describe pod web
ok "what else may change" k patch pod web --type merge -p '{"spec":{
	"activeDeadlineSeconds":3600,"terminationGracePeriodSeconds":3,
	"tolerations":[{"operator":"Exists"}]}}'
ok "and what may not" prints 'Forbidden: pod updates may not change' k \
	patch pod web --type strategic -p '{"spec":{"containers":[{"name":"web",
	"resources":{"limits":{"ephemeral-storage":"1Gi"}}}]}}'
ok "it is resized as before" resize web "$(container 200m 80Mi)"
ok "in its cgroup" wait_for 20 inside_is web '200m 80'
ok "and restarted no more" runs web:2 1
ok "an image that is not here" k set image pod/web web=nothing
gone_for_it()
{
	k_is web '.status.containerStatuses[0] | "\(.state.waiting.reason)
		\(.lastState.terminated | type)"' "ErrImageNeverPull
		object"
}
ok "is waited for" wait_for 40 gone_for_it
ok "and no longer than the next one" k set image pod/web web=web
ok "which runs" wait_for 40 runs web 2
# One that does not go by itself: within ten minutes, and then within a second.
k create -f - >/dev/null <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: stays}
	spec:
	  nodeName: $NAME
	  terminationGracePeriodSeconds: 600
	  containers:
	  - {name: web, image: web, imagePullPolicy: Never,
	     command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"]}
END
ok "a pod with a long grace period" wait_for 30 k_ready stays
ok "which becomes a short one" k patch pod stays --type merge -p \
	'{"spec":{"terminationGracePeriodSeconds":1}}'
ok "and gets another image" k set image pod/stays web=web:2
stays_runs()
{
	k_is stays '.status.containerStatuses[0] | "\(.image) \(.restartCount)
		\(.lastState.terminated.exitCode)"' "web:2 1
		137"
}
ok "is restarted when that one is over" wait_for 40 stays_runs
k delete pod stays --wait=false --grace-period=0 --force >/dev/null 2>&1
refused_is() # 0|1
{
	k_is web '[.status.conditions[] | select(.type == "UpdateRefused")]
		| length' "$1"
}
ok "the node has refused nothing" prints '^0$' eval 'k get events -o json |
	jq "[.items[] | select(.reason == \"FailedUpdate\")] | length"'
ok "a value that no node can take" resize web "$(container 200m 100 |
	sed 's,}}]}},\,"requests":{"memory":"100"}}}]}},')"
ok "is told by a condition, not only an event" wait_for 20 refused_is 1
ok "which goes" resize web "$(container 200m 64Mi |
	sed 's,}}]}},\,"requests":{"memory":"32Mi"}}}]}},')"
ok "when the spec is mended" wait_for 20 refused_is 0
ok "and that one holds" wait_for 20 inside_is web '200m 64'

for what in delete; do
	ok "arktos-node delete goes through the API" node delete web
	ok "and it is gone in both" wait_for 20 k_gone web
done

# --- a virtual machine -----------------------------------------------------------
ok "a VM pod runs" wait_for 90 k_ready vm
ok "its state is Arktos'" k_is vm '.status.virtualMachineStatus
	| "\(.state) \(.powerState) \(.ready) \(.restartCount)"' \
	"active running true 0"
ok "its conditions, too" k_is vm '[.status.conditions[]
	| select(.status == "True") | .type] | sort | join(" ")' \
	"PodReadyToStartContainers PodScheduled Ready VirtualMachineReady"
ok "get pods shows it" prints '^vm +1/1 +Running' k get pods
k patch pod vm --subresource resize --type merge -p '{"spec":{"virtualMachine":
	{"resources":{"limits":{"cpu":"2","memory":"384Mi"}}}}}' >/dev/null
two_cpus() { prints '^2$' vm_cpus vm; }
vm_resized()
{
	k_is vm '.status.virtualMachineStatus.resources.limits
		| "\(.cpu) \(.memory)"' "2 384Mi"
}
ok "a resized VM's guest has the CPUs" wait_for 60 two_cpus
ok "and its status says so" wait_for 30 vm_resized
described() { k describe pod vm | tr '\n' ' '; }
ok "kubectl describe, too" prints \
	'Containers: +vm:.* Limits: +cpu: +2 +memory: +384Mi .*: vm: cpu 1 → 2, memory 256Mi → 384Mi' \
	described
ok "its image is its disk" prints 'Forbidden: pod updates may not change' \
	k patch pod vm --type merge -p '{"spec":{"virtualMachine":{"image":"web"}}}'

ok "of several resizes at once those that are replaced hear of it" \
	resize_race vm 60 320Mi 352Mi 400Mi 448Mi
ok "a VM of less than a page is refused" prints 'less than one page' fails vm --memory 1Ki

# --- two tenants -------------------------------------------------------------------
for t in acme zeta; do
	ok "tenant $t" tenant_create $t
	web_manifest same | bound | kt $t create -f - >/dev/null
	cat >>"$E2E/$t.why" <<<"$(kt $t get pod same -o wide 2>&1)"
done
tenants() { "$CTL" tenant list | tr -s ' ' | tr '\n' '|'; }
ok "they are listed under a head" prints \
	'^NAME STATUS AGE\|acme Active [0-9]+[sm]' tenants
t_ready() { kt "$1" get pod same -o json | jq -e "$READY == \"True\""; }
t_ip() { kt "$1" get pod same -o json | jq -r .status.podIP; }
for t in acme zeta; do
	ok "the pod of $t runs" wait_for 30 t_ready $t
done
ok "both have the same address, each in its own network" \
	[ "$(t_ip acme)" = "$(t_ip zeta)" ]
serve() # TENANT
{
	kt "$1" exec same -- sh -c "mkdir -p /tmp/w && echo of $1 >/tmp/w/index.html && httpd -p 9090 -h /tmp/w"
}
ask() { kt "$1" exec peer -- timeout 5 wget -qO- "http://$2:9090/"; }
for t in acme zeta; do
	web_manifest peer | bound | kt $t create -f - >/dev/null
	ok "one of $t serves" serve $t
done
peer_ready() { kt "$1" get pod peer -o json | jq -e "$READY == \"True\""; }
for t in acme zeta; do
	ok "another of $t runs" wait_for 30 peer_ready $t
	# kubectl 1.32 on a loaded machine drops what comes before it has made
	# its streams, and says so: "Unknown stream id 1, discarding message".
	ok "and reaches its own" wait_for 10 prints "^of $t\$" ask $t "$(t_ip $t)"
done
# An address that only acme has.
web_manifest more | bound | kt acme create -f - >/dev/null
more_ip() { kt acme get pod more -o json | jq -re .status.podIP; }
ok "a third of acme has an address" wait_for 30 more_ip
kt acme exec more -- sh -c 'httpd -p 9090 -h /tmp' >/dev/null
reach() { kt "$1" exec peer -- timeout 5 wget -O- "http://$(more_ip):9090/" 2>&1; }
ok "which acme reaches" prints '404' reach acme
ok "and zeta does not" prints 'exit code (124|143)|timed out|unreachable|No route' reach zeta
kt acme delete pod more peer --wait=false --grace-period=1 >/dev/null
ok "one is deleted" kt acme delete pod same
ok "the other one does not care" t_ready zeta
ok "a tenant's deletion waits for its pods on the node" \
	"$CTL" tenant delete zeta
ok "and they are gone" pod_gone same

control_stop
e2e_end
