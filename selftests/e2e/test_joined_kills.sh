#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# LANE: native
# SECONDS: 400
# What a user types into kubectl, while the agent, the control plane or both are
# killed with -9 at a random moment of it: what was acknowledged is there,
# nothing is doubled or left over, no other pod is touched.
# KILLS_SEED repeats a run; KILLS_SECONDS makes it longer (VMs are switched, grown,
# snapshot then, too); KILLS_ONLY="scale drain" chooses commands.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/joined.sh"
seconds=${KILLS_SECONDS:-75}
seed=${KILLS_SEED:-$((RANDOM * RANDOM % 100000))}
RANDOM=$seed
echo "# seed $seed, $seconds s"
backoff=(--restart-backoff 20ms --restart-backoff-max 200ms)

control_start && node_join "${backoff[@]}" || exit 1
image_web && for name in web:1 web:2; do
	node image import "oci:$BUILD/images/web:latest" --name $name
done >/dev/null || exit 1
image_vm || exit 1
mkdir "$E2E/shared"

# --- manifests --------------------------------------------------------------------
# POD-SPEC of one container: NAME [COMMAND]
spec()
{
	cat <<-END
	terminationGracePeriodSeconds: 1
	containers:
	- name: c
	  image: web:1
	  command: [/bin/sh, -c, "${2:-trap 'exit 0' TERM; while :; do sleep 0.1; done}"]
	  resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}
	END
}
pod_yaml() # NAME [COMMAND]
{
	printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n' "$1"
	spec "$@" | sed 's,^,  ,'
}
deployment_yaml() # NAME REPLICAS
{
	printf 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n' "$1"
	printf '  replicas: %s\n  selector: {matchLabels: {app: %s}}\n' "$2" "$1"
	printf '  template:\n    metadata: {labels: {app: %s}}\n    spec:\n' "$1"
	spec "$1" | sed 's,^,      ,'
}

# --- what is asserted --------------------------------------------------------------
# Looking needs no kubectl, which takes a tenth of a second to begin.
for f in certificate-authority client-certificate client-key; do
	sed -n "s/.*$f-data: *//p" "$KUBECONFIG" | tr -d '" ' | base64 -d >"$E2E/$f.pem"
done
api() # PATH
{
	curl -sS -m 20 --cacert "$E2E/certificate-authority.pem" \
		--cert "$E2E/client-certificate.pem" --key "$E2E/client-key.pem" \
		"https://127.0.0.1:$CONTROL_PORT$1"
}
path_of() # KIND NAME
{
	case $1 in
	node | namespace) echo "/api/v1/${1}s/$2" ;;
	deployment) echo "/apis/apps/v1/namespaces/default/deployments/$2" ;;
	job) echo "/apis/batch/v1/namespaces/default/jobs/$2" ;;
	*) echo "/api/v1/namespaces/default/${1}s/$2" ;;
	esac
}
value() # WANT KIND NAME EXPRESSION
{
	local got
	got=$(api "$(path_of "$2" "$3")" | jq -r "$4" 2>&1)
	[ "$got" = "$1" ] || { echo "$2 $3: $4 is '$got', want '$1'"; return 1; }
}
absent() { value 404 "$1" "$2" .code; }
READY='[.status.conditions[]? | select(.type == "Ready") | .status][0]'
ready_node() { value True node "$NAME" "$READY"; }
running() # POD
{
	value 'Running True' pod "$1" ".status.phase + \" \" + $READY"
}
# Of a deployment: so many pods, all ready, all of the newest set, no more.
rolled_out() # NAME REPLICAS
{
	value "$2 $2 $2" deployment "$1" \
		'.status | "\(.replicas) \(.readyReplicas) \(.updatedReplicas)"' &&
		pods_of "$1" app "$2"
}
pods_of() # VALUE LABEL COUNT
{
	local n
	n=$(api "/api/v1/namespaces/default/pods?labelSelector=$2=$1" | jq '.items | length')
	[ "$n" = "$3" ] || { echo "$1: $n pods, want $3"; return 1; }
}
# The API, the agent and the kernel know of the same pods, each once.
agree()
{
	local api agent kernel
	api=$(api /api/v1/pods | jq -r ".items[]
		| select(.spec.nodeName == \"$NAME\") | .metadata.uid" | sort)
	agent=$(node ps -A -o json | jq -r '.items[].metadata.uid' | sort)
	kernel=$(our_cgroups | head -1 | while read -r c; do
		find "$c" -type d -name 'pod*' -printf '%f\n' | sed 's/^pod//'
	done | sort)
	# What has ended has no cgroup any more.
	agent_live=$(node ps -A -o json | jq -r '.items[]
		| select(.status.phase | IN("Succeeded", "Failed") | not)
		| .metadata.uid' | sort)
	[ "$api" = "$agent" ] || {
		echo "the API has $api, the agent $agent"
		return 1
	}
	[ -z "$(comm -23 <(echo "$agent_live") <(echo "$kernel"))" ] &&
		[ -z "$(comm -13 <(echo "$agent") <(echo "$kernel"))" ] || {
		echo "the agent has $agent, the kernel $kernel"
		return 1
	}
}
# Processes of a pod, and when they were started: nothing of it was touched. What
# exec has brought in is short.
life() # POD
{
	local uid
	uid=$(cat "$E2E/uid.$1")
	our_cgroups | while read -r c; do
		find "$c" -path "*pod$uid*" -name cgroup.procs -exec cat {} + 2>/dev/null
	done | sort -un | while read -r p; do
		sed 's/.*) . //' "/proc/$p/stat" 2>/dev/null |
			awk -v p="$p" '{ print p ":" $19 }'
	done | tr '\n' ' '
}
untouched()
{
	local p now
	for p in calm calmvm; do
		now=$(life $p)
		[ "$now" = "$(cat "$E2E/life.$p")" ] || {
			echo "$p was $(cat "$E2E/life.$p"), is $now"
			return 1
		}
		running $p || return 1
		value 0 pod $p '.status | .containerStatuses[0].restartCount
			// .virtualMachineStatus.restartCount' || return 1
	done
}

pod_yaml calm "exec sleep 1000000" | k create -f - >/dev/null
pod_yaml tool "trap 'exit 0' TERM; echo hello; httpd -p 8080 -h /tmp; while :; do sleep 0.1; done" |
	k create -f - >/dev/null
vm_manifest calmvm 1 128Mi | k create -f - >/dev/null
deployment_yaml w 3 | k create -f - >/dev/null
ok "a container pod runs" wait_for 30 running calm
ok "one to talk to" wait_for 30 running tool
ok "a deployment" wait_for 60 rolled_out w 3
ok "a VM" wait_for 90 running calmvm
for p in calm calmvm; do
	k_get $p .metadata.uid >"$E2E/uid.$p"
	life $p >"$E2E/life.$p"
done

# --- commands ------------------------------------------------------------------------
# do_X types it; yes_X must come true if it was acknowledged, any_X whether or
# not; undo_X brings all back, whatever has happened (it is tried again).
any_default() { :; }
undo_default() { :; }
size_now() { api "$(path_of deployment w)" | jq .spec.replicas; }
w_whole() { rolled_out w "$(size_now)"; }
go_away() # KIND NAME...
{
	k delete "$@" --ignore-not-found --timeout=20s
}

do_run() { k run r --image=web:1 --restart=Never -- sleep 1000000; }
yes_run() { running r; }
undo_run() { go_away pod r --grace-period=1; }

do_create() { pod_yaml c | k create -f -; }
yes_create() { running c && value 0 pod c '.status.containerStatuses[0].restartCount'; }
undo_create() { go_away pod c; }

do_apply()
{
	pod_yaml a | sed 's/name: a}/name: a, labels: {round: "1"}}/' | k apply -f -
}
yes_apply() { running a && value 1 pod a .metadata.labels.round; }
undo_apply() { go_away pod a; }

do_delete() { k delete pod d --wait=false; }
pre_delete() { pod_yaml d | k create -f - && wait_for 30 running d; }
yes_delete() { absent pod d; }
undo_delete() { go_away pod d; }

do_delete_wait() { k delete pod d --timeout=20s; }
pre_delete_wait() { pre_delete; }
# It was told that the pod has gone, so it has.
yes_delete_wait() { absent pod d; }
undo_delete_wait() { undo_delete; }

do_force() { k delete pod d --force --grace-period=0; }
pre_force() { pre_delete; }
yes_force() { absent pod d; }
undo_force() { undo_delete; }

do_deployment() { deployment_yaml nd 3 | k create -f -; }
yes_deployment() { rolled_out nd 3; }
undo_deployment() { go_away deployment nd && pods_of nd app 0; }

do_undeploy() { k delete deployment nd; }
pre_undeploy() { deployment_yaml nd 2 | k create -f - && wait_for 30 rolled_out nd 2; }
yes_undeploy() { absent deployment nd && pods_of nd app 0; }
undo_undeploy() { undo_deployment; }

do_scale() { k scale deployment w --replicas="$size"; }
yes_scale() { rolled_out w "$size"; }
any_scale() { w_whole; }

do_image() { k set image deployment w c=web:$((size % 2 + 1)); }
any_image() { w_whole; }
do_env() { k set env deployment w ROUND=$round; }
yes_env() { value $round deployment w '.spec.template.spec.containers[0].env[] | select(.name == "ROUND").value' && w_whole; }
any_env() { w_whole; }
do_resources() { k set resources deployment w --limits=memory=$((24 + round % 8))Mi; }
yes_resources() { value $((24 + round % 8))Mi deployment w '.spec.template.spec.containers[0].resources.limits.memory'; }
any_resources() { w_whole; }
do_restart() { k rollout restart deployment w; }
any_restart() { w_whole; }
do_undo() { k rollout undo deployment w; }
any_undo() { w_whole; }
do_status() { k rollout restart deployment w && k rollout status deployment w --timeout=20s; }
any_status() { w_whole; }
do_pause() { k rollout pause deployment w && k set env deployment w P=$round; }
undo_pause() { k rollout resume deployment w || :; w_whole; }

# The job's only pod writes a line: one, whatever happens around it.
do_job()
{
	cat <<-END | k create -f -
	apiVersion: batch/v1
	kind: Job
	metadata: {name: j}
	spec:
	  backoffLimit: 0
	  template:
	    spec:
	      restartPolicy: Never
	      volumes: [{name: v, hostPath: {path: $E2E/shared}}]
	$(spec j "sleep 0.2; echo done >>/v/lines" | sed 's,^,      ,')
	        volumeMounts: [{name: v, mountPath: /v}]
	END
}
# Its root is nobody here.
pre_job() { : >"$E2E/shared/lines" && chmod 666 "$E2E/shared/lines"; }
yes_job()
{
	value 1 job j .status.succeeded && any_job
}
any_job()
{
	local n
	n=$(wc -l <"$E2E/shared/lines")
	[ "$n" -le 1 ] || { echo "the job's pod ran $n times"; return 1; }
}
undo_job() { go_away job j && pods_of j job-name 0; }

do_resize()
{
	"${KUBECTLS[1]}" --cache-dir="$E2E/cache" patch pod tool --subresource resize \
		-p '{"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"'$memory'Mi"}}}]}}'
}
yes_resize()
{
	value ${memory}Mi pod tool '.status.containerStatuses[0].resources.limits.memory' &&
		prints " $memory\$" container_size tool
}
any_resize() { running tool && value 0 pod tool '.status.containerStatuses[0].restartCount'; }

do_exec() { k exec tool -- sh -c 'for i in 1 2 3 4 5; do echo $i; sleep 0.1; done'; }
any_exec() { any_resize && prints '^again$' k exec tool -- echo again; }
do_logs() { timeout 2 "$kubectl" --cache-dir="$E2E/cache" logs -f tool; }
any_logs() { any_resize && prints '^hello$' k logs tool; }

do_cordon() { k cordon $NAME; }
yes_cordon() { value true node $NAME .spec.unschedulable; }
undo_cordon() { k uncordon $NAME; }
do_taint() { k taint node $NAME round=$round:NoSchedule; }
yes_taint() { value "$round" node $NAME '.spec.taints[]? | select(.key == "round") | .value'; }
undo_taint()
{
	value 0 node $NAME '[.spec.taints[]? | select(.key == "round")] | length' ||
		k taint node $NAME round-
}
do_drain() { k drain $NAME --pod-selector=app=w --timeout=15s; }
# Those that come instead find no node.
yes_drain()
{
	value true node $NAME .spec.unschedulable &&
		[ "$(api '/api/v1/namespaces/default/pods?labelSelector=app=w' |
			jq '[.items[] | select(.spec.nodeName)] | length')" = 0 ]
}
undo_drain() { k uncordon $NAME && w_whole; }

do_config()
{
	k create configmap m --from-literal=round=$round &&
		k create secret generic m --from-literal=round=$round
}
yes_config() { value $round configmap m .data.round && value "$(printf %s $round | base64)" secret m .data.round; }
undo_config() { go_away configmap,secret m; }
do_label() { k label pod tool --overwrite round=$round; }
yes_label() { value $round pod tool .metadata.labels.round; }
any_label() { any_resize; }
do_namespace()
{
	k create namespace s && pod_yaml s | k -n s create -f - &&
		k delete namespace s --wait=false
}
yes_namespace() { absent namespace s; }
undo_namespace() { go_away namespace s; }

# The same wish by the node's own command: through the API as well.
do_noderesize() { node resize tool --memory "${memory}Mi" --timeout 20s; }
yes_noderesize() { yes_resize; }
any_noderesize() { any_resize; }
do_attach() { timeout 1 "$kubectl" --cache-dir="$E2E/cache" attach tool; }
any_attach() { any_resize; }
do_cp() { k cp "$E2E/file" tool:/tmp/copied-$round; }
yes_cp() { k exec tool -- cat /tmp/copied-$round | cmp - "$E2E/file"; }
any_cp() { any_resize; }
do_forward()
{
	timeout 2 "$kubectl" --cache-dir="$E2E/cache" port-forward tool 18090:8080 &
	local forward=$!
	for _ in 1 2 3 4 5 6 7 8; do
		curl -s -o /dev/null -m 1 http://127.0.0.1:18090/ || :
		pause 0.1
	done
	kill $forward 2>/dev/null
	wait $forward 2>/dev/null
}
any_forward() { any_resize; }
do_look()
{
	k get nodes -o wide && k describe node $NAME && k get pods -o wide &&
		k describe pod calmvm && k get events && k top node && k top pod
	timeout 1 "$kubectl" --cache-dir="$E2E/cache" get pods -w
}
any_look() { prints "^calm +1/1 +Running +0" k get pods -o wide; }

# Of a VM that may be touched.
machine() { value "Running $1" pod toolvm ".status.phase + \" \" + $READY"; }
guest_cpus() { prints "^$1\$" k exec toolvm -- nproc; }
do_vmexec() { k exec toolvm -- sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'; }
any_vmexec() { machine True && prints '^again$' k exec toolvm -- echo again; }
do_vmlogs() { k logs toolvm; timeout 1 "$kubectl" --cache-dir="$E2E/cache" attach toolvm; }
any_vmlogs() { machine True; }
do_vmresize()
{
	k patch pod toolvm --subresource resize --type merge -p '{"spec":{"virtualMachine":
		{"resources":{"limits":{"cpu":"'$((size % 2 + 1))'","memory":"'$((128 + size % 2 * 64))'Mi"}}}}}'
}
yes_vmresize()
{
	value "$((size % 2 + 1)) $((128 + size % 2 * 64))Mi" pod toolvm \
		'.status.virtualMachineStatus.resources.limits | "\(.cpu) \(.memory)"' &&
		guest_cpus $((size % 2 + 1))
}
any_vmresize() { machine True; }
do_vmresize_node() { node resize toolvm --cpu $((size % 2 + 1)) --timeout 20s; }
yes_vmresize_node() { guest_cpus $((size % 2 + 1)); }
any_vmresize_node() { machine True; }
power() { k patch pod toolvm --type merge -p "{\"spec\":{\"virtualMachine\":{\"powerSpec\":\"$1\"}}}"; }
do_power() { power Shutdown; }
yes_power() { value NoSchedule pod toolvm .status.phase; }
undo_power() { power Running; wait_for 60 machine True && guest_cpus '[12]'; }
ctl() { timeout 30 "$CTL" "$@"; }
do_reboot() { ctl reboot toolvm; }
any_reboot() { machine True && guest_cpus '[12]'; }
do_snapshot() { ctl snapshot toolvm --name r$round; }
snapshots() { value "$1" pod toolvm "[.status.virtualMachineStatus.snapshots[]? | select(.name == \"r$round\")] | length"; }
yes_snapshot() { snapshots 1; }
any_snapshot() { machine True && ! snapshots 2; }
pre_restore() { snapshots 1 || ctl snapshot toolvm --name r$round; }
do_restore() { ctl restore toolvm --snapshot r$round; }
any_restore() { machine True && guest_cpus '[12]'; }

do_vm() { vm_manifest v 1 128Mi | k create -f -; }
yes_vm() { running v; }
undo_vm() { go_away pod v --grace-period=1; }

commands=(run create apply delete delete_wait force deployment undeploy scale image
	env resources restart undo status pause job resize exec logs cordon taint
	drain config label namespace noderesize attach cp forward look)
machines=(vm vmexec vmlogs vmresize vmresize_node power reboot snapshot restore)
if [ "$seconds" -gt 150 ] || [[ " ${machines[*]} " == *" ${KILLS_ONLY-x} "* ]]; then
	vm_manifest toolvm 1 128Mi | k create -f - >/dev/null
	ok "a VM to be touched" wait_for 90 machine True
	commands+=("${machines[@]}")
fi
head -c 100000 /dev/urandom >"$E2E/file"
[ -z "${KILLS_ONLY-}" ] || read -ra commands <<<"$KILLS_ONLY"

# --- rounds ----------------------------------------------------------------------------
has() { declare -F "$1" >/dev/null; }
call() # PREFIX COMMAND: or its default
{
	if has "$1_$2"; then "$1_$2"; elif has "$1_default"; then "$1_default"; fi
}
# The answer is written when it has come, so that nobody waits for one that hangs.
type_it() # COMMAND
{
	"do_$1" >"$E2E/typed" 2>&1
	echo $? >"$E2E/answer"
}
answered() { [ -s "$E2E/answer" ]; }

play() # COMMAND VICTIM MILLISECONDS
{
	local c=$1 who=$2 ms=$3 typing rc
	! has "pre_$c" || wait_for 30 "pre_$c" || { cat "$E2E/why"; return 1; }
	rm -f "$E2E/answer"
	type_it "$c" &
	typing=$!
	pause "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
	[ $who = agent ] || kill -9 "$CONTROL_PID"
	[ $who = control ] || kill -9 "$AGENT_PID"
	[ $who = agent ] || wait_for 5 gone "$CONTROL_PID"
	[ $who = control ] || wait_for 5 gone "$AGENT_PID"
	[ $who = agent ] || control_start || return 1
	[ $who = control ] || node_join "${backoff[@]}" || return 1
	wait_for 40 answered || { echo "it never ended"; return 1; }
	wait "$typing" 2>/dev/null
	rc=$(cat "$E2E/answer")
	echo "it said ($rc): $(head -c 300 "$E2E/typed")"
	wait_for 40 ready_node || return 1
	if [ "$rc" = 0 ] && has "yes_$c"; then
		wait_for 60 "yes_$c" || { cat "$E2E/why"; return 1; }
	fi
	wait_for 60 call any "$c" || { cat "$E2E/why"; return 1; }
	wait_for 60 call undo "$c" || { cat "$E2E/why"; return 1; }
	wait_for 60 agree || { cat "$E2E/why"; return 1; }
	wait_for 20 untouched || { cat "$E2E/why"; return 1; }
}

victims=(agent control both)
end=$(($(now_ms) + seconds * 1000))
for ((round = 0; $(now_ms) < end && failures == 0; round++)); do
	i=$((round % ${#commands[@]}))
	# Another order each time round, so that a short run meets all in turns.
	[ $i != 0 ] || mapfile -t commands < <(for c in "${commands[@]}"; do
		echo "$RANDOM $c"
	done | sort -n | cut -d ' ' -f 2)
	c=${commands[i]}
	who=${victims[RANDOM % 3]}
	ms=$((RANDOM % 700))
	kubectl=${KUBECTLS[RANDOM % 2]}
	size=$((RANDOM % 5 + 1)) memory=$((40 + RANDOM % 20))
	[ $((round % 10)) -ne 0 ] || note_bpf
	ok "$c, $who killed after $ms ms" play "$c" "$who" "$ms"
done
echo "# $round kills"

k delete deployment w --wait=false >/dev/null
k delete pod calm calmvm tool toolvm --ignore-not-found --wait=false --grace-period=1 >/dev/null
empty() { [ "$(node ps -A -o json | jq '.items | length')" = 0 ] && ! k get pods 2>/dev/null | grep .; }
ok "all pods go" wait_for 60 empty
control_stop
e2e_end
